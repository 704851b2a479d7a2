//! What detection may look at, captured: a few small files and variables. Everything after it is pure, so that
//! each environment is a fixture, and a report of a wrong guess becomes one.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;

use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, TMPFS_MAGIC, statfs};

use crate::kernel::hierarchy::{self, Hierarchy};

/// Files that are read as they are. Of markers, only that they exist counts.
const FILES: [&str; 16] = [
    "/proc/sys/kernel/osrelease",
    "/proc/version",
    "/proc/meminfo",
    "/proc/self/cgroup",
    "/proc/self/mountinfo",
    "/proc/self/status",
    "/proc/1/comm",
    "/proc/sys/fs/binfmt_misc/WSLInterop",
    "/.dockerenv",
    "/run/.containerenv",
    "/run/.toolboxenv",
    "/run/.toolbxenv",
    "/run/.distrobox.rootless",
    "/etc/profile.d/distrobox_profile.sh",
    "/run/systemd/container",
    "/var/run/secrets/kubernetes.io/serviceaccount/namespace",
];

/// Folders of which only counts that they exist.
const FOLDERS: [&str; 3] = ["/run/systemd/system", "/run/host/etc", "/run/WSL"];

/// Files of each group above this process, by controller.
const GROUP_FILES: [(&str, &[&str]); 3] = [
    ("memory", &["memory.max", "memory.limit_in_bytes"]),
    ("cpu", &["cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us"]),
    ("pids", &["pids.max"]),
];

/// Variables that tell an environment. No other is captured: a view may be shown to others.
const VARIABLES: [&str; 23] = [
    "BUILDKITE",
    "CI",
    "CIRCLECI",
    "CODESPACES",
    "CONTAINER_ID",
    "DEVCONTAINER",
    "DISTROBOX_ENTER_PATH",
    "DISTROBOX_PATH",
    "GITHUB_ACTIONS",
    "GITLAB_CI",
    "GITPOD_WORKSPACE_ID",
    "JENKINS_URL",
    "KUBERNETES_SERVICE_HOST",
    "REMOTE_CONTAINERS",
    "TEAMCITY_VERSION",
    "TF_BUILD",
    "TOOLBOX_PATH",
    "TRAVIS",
    "WSL_DISTRO_NAME",
    "WSL_INTEROP",
    "XDG_RUNTIME_DIR",
    "container",
    "DBUS_SESSION_BUS_ADDRESS",
];

/// No file that is looked at is larger, but for a mountinfo with thousands of lines.
const LONGEST: u64 = 1 << 20;

/// What is mounted at `/sys/fs/cgroup`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CgroupFs {
    /// cgroup v2.
    Cgroup2,
    /// The folder of v1 mounts, and of hybrid ones.
    Tmpfs,
    /// Something else, or nothing.
    #[default]
    Other,
}

/// A captured host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostView {
    /// Path to content; of what only has to exist, the content is empty.
    pub files: BTreeMap<String, String>,
    /// The variables that tell.
    pub env: BTreeMap<String, String>,
    /// What `statfs` says of `/sys/fs/cgroup`.
    pub cgroup_fs: CgroupFs,
}

/// Why a text is no captured host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "line {line}: {text:?}; expected `file PATH`, `env NAME=VALUE`, `cgroupfs KIND`, or two spaces and content"
)]
pub struct ViewError {
    /// 1-based.
    pub line: usize,
    /// That line.
    pub text: String,
}

impl HostView {
    /// Looks at this host. What is not there or not readable is absent from the view.
    pub fn capture() -> HostView {
        let mut files: BTreeMap<String, String> = BTreeMap::new();
        for path in FILES {
            files.extend(read(path).map(|content| (path.to_owned(), content)));
        }
        for path in FOLDERS.into_iter().filter(|path| std::path::Path::new(path).is_dir()) {
            files.insert(path.to_owned(), String::new());
        }
        let text = |path: &str| files.get(path).cloned().unwrap_or_default();
        let hierarchies = hierarchy::parse(&text("/proc/self/mountinfo"), &text("/proc/self/cgroup"));
        for (controller, names) in GROUP_FILES {
            let limiting = hierarchies.iter().filter(|hierarchy| hierarchy.may_have(controller));
            for folder in limiting.flat_map(Hierarchy::ancestors) {
                for path in names.iter().map(|name| format!("{}/{name}", folder.display())) {
                    files.extend(read(&path).map(|content| (path, content)));
                }
            }
        }
        let value = |name: &str| Some((name.to_owned(), std::env::var(name).ok()?));
        let cgroup_fs = match statfs("/sys/fs/cgroup").map(|found| found.filesystem_type()) {
            Ok(CGROUP2_SUPER_MAGIC) => CgroupFs::Cgroup2,
            Ok(TMPFS_MAGIC) => CgroupFs::Tmpfs,
            _ => CgroupFs::Other,
        };
        HostView { files, env: VARIABLES.into_iter().filter_map(value).collect(), cgroup_fs }
    }

    /// Reads a host from its description:
    ///
    /// ```text
    /// # a comment
    /// cgroupfs cgroup2
    /// env CI=true
    /// file /.dockerenv
    /// file /proc/self/cgroup
    ///   0::/init.scope
    /// ```
    pub fn from_text(text: &str) -> Result<HostView, ViewError> {
        let mut view = HostView::default();
        let mut open: Option<&mut String> = None;
        for (number, line) in text.lines().enumerate() {
            let error = || ViewError { line: number + 1, text: line.to_owned() };
            if let Some(content) = line.strip_prefix("  ") {
                let file = open.as_mut().ok_or_else(error)?;
                file.push_str(content);
                file.push('\n');
            } else if let Some(path) = line.strip_prefix("file ") {
                open = Some(view.files.entry(path.trim().to_owned()).or_default());
            } else if let Some(variable) = line.strip_prefix("env ") {
                let (name, value) = variable.split_once('=').ok_or_else(error)?;
                view.env.insert(name.to_owned(), value.to_owned());
            } else if let Some(kind) = line.strip_prefix("cgroupfs ") {
                view.cgroup_fs = match kind.trim() {
                    "cgroup2" => CgroupFs::Cgroup2,
                    "tmpfs" => CgroupFs::Tmpfs,
                    "other" => CgroupFs::Other,
                    _ => return Err(error()),
                };
            } else if !(line.trim().is_empty() || line.starts_with('#')) {
                return Err(error());
            }
        }
        Ok(view)
    }

    /// A file's content, trimmed.
    pub fn file(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(|content| content.trim())
    }

    /// Whether the path is there.
    pub fn has(&self, path: &str) -> bool {
        self.files.contains_key(path)
    }

    /// A variable that is set and not empty.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.env.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

fn read(path: &str) -> Option<String> {
    let mut content = Vec::new();
    File::open(path).ok()?.take(LONGEST).read_to_end(&mut content).ok()?;
    Some(String::from_utf8_lossy(&content).into_owned())
}
