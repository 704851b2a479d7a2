//! Which environment is this? Pure: judges a [`HostView`], with the evidence in words.
//!
//! ```text
//! CI variable          ── yes ──▶ ci          whatever it runs in: nobody sits in front of it
//!   │ no
//! container marker     ── yes ─┬─ distrobox or toolbox marker ──▶ distrobox   it shares the host's session,
//!   │ no                       └─ none ────────────────────────▶ container   memory and editor
//! microsoft in kernel  ── yes ──▶ wsl2        a container inside WSL has this string too: so it comes after
//!   │ no
//! native
//! ```
//!
//! Markers of a box count only together with those of a container, since their variables leak to the host. The
//! first that says yes decides the profile; all that say yes are in [`Detection::layers`], so that a container
//! inside WSL2 is told as both.

use super::view::{CgroupFs, HostView};
use crate::kernel::hierarchy::{self, Layout};

/// A kind of environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Environment {
    /// A machine or a virtual machine of one's own.
    Native,
    /// WSL1: no Linux kernel, no cgroups.
    Wsl1,
    /// WSL2.
    Wsl2,
    /// A distrobox.
    Distrobox,
    /// A toolbox.
    Toolbox,
    /// Any other container.
    Container,
    /// A CI job.
    Ci,
}

/// What this is, and why we think so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detection {
    /// The one that decides.
    pub environment: Environment,
    /// All that apply, the outermost first; the last decides.
    pub layers: Vec<Environment>,
    /// How cgroups are mounted.
    pub cgroups: Layout,
    /// Whether systemd is the init.
    pub systemd: bool,
    /// The profile for it.
    pub profile: &'static str,
    /// One sentence a finding.
    pub evidence: Vec<String>,
}

impl Environment {
    /// The built-in profile that is made for it.
    pub fn profile(self) -> &'static str {
        match self {
            Environment::Native => "native",
            Environment::Wsl1 | Environment::Wsl2 => "wsl2",
            Environment::Distrobox | Environment::Toolbox => "distrobox",
            Environment::Container => "container",
            Environment::Ci => "ci",
        }
    }
}

impl Detection {
    /// Whether `/proc` tells of this machine, and not of one that others share with us.
    pub fn owns_proc(&self) -> bool {
        !self.layers.contains(&Environment::Container)
    }

    /// Whether this is a box that shares the host's session, and not its files.
    pub fn is_boxed(&self) -> bool {
        let kinds = [Environment::Distrobox, Environment::Toolbox];
        kinds.iter().any(|kind| self.layers.contains(kind))
    }
}

impl std::fmt::Display for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Environment::Native => "native Linux",
            Environment::Wsl1 => "WSL1",
            Environment::Wsl2 => "WSL2",
            Environment::Distrobox => "distrobox",
            Environment::Toolbox => "toolbox",
            Environment::Container => "container",
            Environment::Ci => "CI",
        })
    }
}

/// Judges a host.
pub fn detect(view: &HostView) -> Detection {
    let mut evidence = Vec::new();
    let findings = [wsl(view, &mut evidence), container(view, &mut evidence), ci(view, &mut evidence)];
    let mut layers: Vec<Environment> = findings.into_iter().flatten().collect();
    if evidence.is_empty() {
        evidence.push("no marker of WSL, a container or CI".to_owned());
    }
    let environment = layers.last().copied().unwrap_or(Environment::Native);
    if layers.is_empty() {
        layers.push(environment);
    }
    let profile = environment.profile();
    let systemd = view.has("/run/systemd/system");
    Detection { environment, layers, cgroups: layout(view), systemd, profile, evidence }
}

/// `Microsoft` in the kernel's name is WSL1, `microsoft` WSL2.
fn wsl(view: &HostView, evidence: &mut Vec<String>) -> Option<Environment> {
    let path = "/proc/sys/kernel/osrelease";
    if let Some(release) = view.file(path).filter(|release| release.to_lowercase().contains("microsoft")) {
        evidence.push(format!("{path} says {release}"));
        return Some(if release.contains("Microsoft") { Environment::Wsl1 } else { Environment::Wsl2 });
    }
    // A kernel that the user built need not have the name; then two signs of WSL's init must agree.
    let interop =
        ["/proc/sys/fs/binfmt_misc/WSLInterop", "/run/WSL"].into_iter().find(|path| view.has(path))?;
    let variable =
        ["WSL_DISTRO_NAME", "WSL_INTEROP"].into_iter().find(|name| view.variable(name).is_some())?;
    evidence.push(format!("{interop} exists and {variable} is set"));
    Some(Environment::Wsl2)
}

fn container(view: &HostView, evidence: &mut Vec<String>) -> Option<Environment> {
    let marker = container_marker(view)?;
    evidence.push(marker);
    let exists =
        |paths: &[&str]| paths.iter().find(|path| view.has(path)).map(|path| format!("{path} exists"));
    let set = |names: &[&str]| {
        names.iter().find(|name| view.variable(name).is_some()).map(|name| format!("{name} is set"))
    };
    let toolbox = exists(&["/run/.toolboxenv", "/run/.toolbxenv"]).or_else(|| set(&["TOOLBOX_PATH"]));
    if let Some(toolbox) = toolbox {
        evidence.push(toolbox);
        return Some(Environment::Toolbox);
    }
    let distrobox = exists(&["/run/.distrobox.rootless", "/etc/profile.d/distrobox_profile.sh"])
        .or_else(|| set(&["DISTROBOX_ENTER_PATH", "DISTROBOX_PATH"]))
        // Others use this name too; with the host's tree beside it, it is a box's.
        .or_else(|| set(&["CONTAINER_ID"]).filter(|_| view.has("/run/host/etc")));
    if let Some(distrobox) = distrobox {
        evidence.push(distrobox);
        return Some(Environment::Distrobox);
    }
    Some(Environment::Container)
}

/// The first sign of a container.
fn container_marker(view: &HostView) -> Option<String> {
    for path in [
        "/.dockerenv",
        "/run/.containerenv",
        "/run/.toolboxenv",
        "/run/.toolbxenv",
        "/var/run/secrets/kubernetes.io/serviceaccount/namespace",
    ] {
        if view.has(path) {
            return Some(format!("{path} exists"));
        }
    }
    // systemd counts WSL among the containers, and says so in the same places.
    let kind = |value: &str| (!matches!(value, "" | "wsl")).then(|| value.to_owned());
    if let Some(kind) = view.variable("container").and_then(kind) {
        return Some(format!("container={kind} is set"));
    }
    if let Some(kind) = view.file("/run/systemd/container").and_then(kind) {
        return Some(format!("/run/systemd/container says {kind}"));
    }
    let variables =
        ["KUBERNETES_SERVICE_HOST", "CODESPACES", "REMOTE_CONTAINERS", "DEVCONTAINER", "GITPOD_WORKSPACE_ID"];
    if let Some(name) = variables.into_iter().find(|name| view.variable(name).is_some()) {
        return Some(format!("{name} is set"));
    }
    let groups = view.file("/proc/self/cgroup").unwrap_or_default();
    let part = ["/docker/", "/docker-", "/libpod-", "/kubepods", "/lxc.payload", "/machine.slice/"]
        .into_iter()
        .find(|part| groups.contains(part))?;
    Some(format!("/proc/self/cgroup names {}", part.trim_matches('/')))
}

fn ci(view: &HostView, evidence: &mut Vec<String>) -> Option<Environment> {
    let yes = |value: &str| !matches!(value.to_ascii_lowercase().as_str(), "false" | "0" | "no");
    let names = [
        "GITHUB_ACTIONS",
        "GITLAB_CI",
        "BUILDKITE",
        "CIRCLECI",
        "JENKINS_URL",
        "TEAMCITY_VERSION",
        "TF_BUILD",
        "TRAVIS",
        "CI",
    ];
    let name = names.into_iter().find(|name| view.variable(name).is_some_and(yes))?;
    evidence.push(format!("{name} is set"));
    Some(Environment::Ci)
}

/// Of the mounts, or of what `statfs` says where they can't be read.
fn layout(view: &HostView) -> Layout {
    match view.file("/proc/self/mountinfo") {
        Some(mountinfo) => hierarchy::layout(&hierarchy::parse(mountinfo, "")),
        None => match view.cgroup_fs {
            CgroupFs::Cgroup2 => Layout::Unified,
            CgroupFs::Tmpfs => Layout::Legacy,
            CgroupFs::Other => Layout::None,
        },
    }
}
