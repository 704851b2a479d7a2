//! A lack -> the exact text that repairs it, to be pasted as it stands.
//!
//! Pure. No here-documents: doctor indents what it prints, and an indented EOF ends nothing. What is to be typed elsewhere (PowerShell, the container's host) says so in a comment.

use super::surroundings::{Engine, Surroundings};
use crate::kernel::hierarchy::Layout;
use crate::model::isolation::Missing;

/// Something that the environment should give and doesn't.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lack {
    /// The user manager's parent keeps these controllers.
    NotDelegated {
        /// Which.
        names: Vec<&'static str>,
    },
    /// The kernel doesn't offer these controllers.
    ControllersAbsent {
        /// Which.
        names: Vec<&'static str>,
    },
    /// An ordinary user without `systemd --user`.
    NoUserManager,
    /// v1 controllers.
    NotUnified {
        /// Hybrid or legacy.
        layout: Layout,
    },
    /// A cgroup filesystem that can't be written to, or none at all.
    ReadOnly,
    /// No `/proc/pressure`.
    PressureAbsent,
    /// `/proc/pressure` refuses.
    PressureOff,
    /// Few open files even at best.
    NofileLow {
        /// The hard limit.
        hard: u64,
    },
}

const DELEGATE: &str = "\
sudo mkdir -p /etc/systemd/system/user@.service.d
printf '[Service]\\nDelegate=cpu memory pids\\n' |
  sudo tee /etc/systemd/system/user@.service.d/delegate.conf
sudo systemctl daemon-reload
# then log out and in again, or: sudo systemctl restart user@$(id -u).service";

const LINGER: &str = "\
sudo loginctl enable-linger \"$USER\"
# or log in by PAM (ssh, console); su, sudo and docker exec start no user manager";

const WSL_SYSTEMD: &str = "\
printf '[boot]\\nsystemd=true\\n' | sudo tee -a /etc/wsl.conf
# then in PowerShell
wsl --shutdown";

const WSL_UNIFIED: &str = "\
# in PowerShell: a current WSL mounts v2 by itself
wsl --update
# in /etc/wsl.conf remove cgroups=v1 below [automount], if it is there
# if it stays as it is, in %UserProfile%\\.wslconfig
[wsl2]
kernelCommandLine = cgroup_no_v1=all
# then in PowerShell
wsl --shutdown";

const DOCKER: &str = "\
# on the host, Docker 28 or newer
docker run --cgroupns=private --security-opt writable-cgroups=true ...
# older
docker run --cgroupns=private --privileged ...
# devcontainer.json
\"runArgs\": [\"--cgroupns=private\", \"--security-opt=writable-cgroups=true\"]";

const PODMAN: &str = "\
# on the host
podman run --cgroupns=private --security-opt unmask=/sys/fs/cgroup ...
# devcontainer.json
\"runArgs\": [\"--cgroupns=private\", \"--security-opt=unmask=/sys/fs/cgroup\"]";

const KUBERNETES: &str = "\
# in the pod's container
securityContext:
  privileged: true
# or, less: containerd 2.1 or newer, in the node's /etc/containerd/config.toml
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  cgroup_writable = true";

const MOUNT: &str = "sudo mount -t cgroup2 -o nsdelegate cgroup2 /sys/fs/cgroup";

const WSL_UPDATE: &str = "\
# in PowerShell: kernels from 6.6 on have it, 5.15 does not
wsl --update
wsl --shutdown";

const PSI_BUILT_IN: &str = "\
grep CONFIG_PSI= /boot/config-$(uname -r)
# without =y only another kernel helps (4.20 or newer); with it";

const LIMITS: &str = "\
echo '* hard nofile 524288' | sudo tee /etc/security/limits.d/90-nofile.conf
# then log in again";

impl Lack {
    /// As found.
    pub fn what(&self) -> String {
        match self {
            Lack::NotDelegated { names } => {
                format!("{} not delegated to your user manager", listed(names, "is", "are"))
            }
            Lack::ControllersAbsent { names } => {
                format!("{} missing from this kernel's cgroup v2 controllers", listed(names, "is", "are"))
            }
            Lack::NoUserManager => "no user manager (systemd --user) runs for you".to_owned(),
            Lack::NotUnified { layout: Layout::Legacy } => "cgroups are mounted as v1 only".to_owned(),
            Lack::NotUnified { .. } => "cgroups are hybrid: memory, pids and cpu are on v1".to_owned(),
            Lack::ReadOnly => "the cgroup filesystem can't be written to".to_owned(),
            Lack::PressureAbsent => {
                "no /proc/pressure: switched off, or not built into this kernel".to_owned()
            }
            Lack::PressureOff => "pressure stall information is built in and switched off".to_owned(),
            Lack::NofileLow { hard } => format!("at most {hard} open files: some suites need more"),
        }
    }

    /// To be pasted.
    pub fn fix(&self, around: &Surroundings) -> String {
        let container = around.engine.is_some();
        match self {
            Lack::NotDelegated { .. } => DELEGATE.to_owned(),
            Lack::NoUserManager if around.wsl && !container => format!("{WSL_SYSTEMD}\n# and where systemd runs already\n{LINGER}"),
            Lack::NoUserManager => LINGER.to_owned(),
            Lack::ControllersAbsent { .. } | Lack::NotUnified { .. } if around.wsl => WSL_UNIFIED.to_owned(),
            Lack::ControllersAbsent { names } => {
                let arguments: Vec<_> = names.iter().map(|name| format!("cgroup_enable={name}")).collect();
                kernel(&arguments.join(" "), container)
            }
            Lack::NotUnified { .. } => kernel("systemd.unified_cgroup_hierarchy=1", container),
            Lack::ReadOnly => match around.engine {
                Some(Engine::Docker) => DOCKER,
                Some(Engine::Podman) => PODMAN,
                Some(Engine::Kubernetes) => KUBERNETES,
                None => MOUNT,
            }
            .to_owned(),
            Lack::PressureAbsent if around.wsl => WSL_UPDATE.to_owned(),
            Lack::PressureAbsent => {
                let command_line = kernel("psi=1", container);
                format!("{PSI_BUILT_IN}\n{command_line}")
            }
            Lack::PressureOff if around.wsl => {
                "# in %UserProfile%\\.wslconfig\n[wsl2]\nkernelCommandLine = psi=1\n# then in PowerShell\nwsl --shutdown"
                    .to_owned()
            }
            Lack::PressureOff => kernel("psi=1", container),
            Lack::NofileLow { .. } if container => "# on the host\n--ulimit nofile=1024:524288   # to docker or podman run".to_owned(),
            Lack::NofileLow { .. } => LIMITS.to_owned(),
        }
    }

    /// Both.
    pub fn missing(&self, around: &Surroundings) -> Missing {
        Missing { what: self.what(), fix: self.fix(around) }
    }
}

/// An argument for the kernel's command line, for the two tools that most distributions have.
fn kernel(argument: &str, container: bool) -> String {
    let place = if container { "# on the host of the container\n" } else { "" };
    format!(
        "{place}sudo sed -i 's/^GRUB_CMDLINE_LINUX=\"/&{argument} /' /etc/default/grub\n\
         sudo update-grub\n\
         # or, Fedora and its kin\n\
         sudo grubby --update-kernel=ALL --args=\"{argument}\"\n\
         # then reboot"
    )
}

fn listed(names: &[&str], one: &str, many: &str) -> String {
    match names {
        [name] => format!("{name} {one}"),
        [rest @ .., last] => format!("{} and {last} {many}", rest.join(", ")),
        [] => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around(wsl: bool, engine: Option<Engine>) -> Surroundings {
        Surroundings { uid: 7, wsl, engine, memory_total: None, nofile: None, user_manager: None }
    }

    fn fix(lack: &Lack, wsl: bool, engine: Option<Engine>) -> String {
        lack.fix(&around(wsl, engine))
    }

    #[test]
    fn delegation_is_a_drop_in_that_is_reloaded() {
        let lack = Lack::NotDelegated { names: vec!["pids", "cpu"] };
        assert_eq!(lack.what(), "pids and cpu are not delegated to your user manager");
        let text = fix(&lack, false, None);
        for part in
            ["/etc/systemd/system/user@.service.d/delegate.conf", "Delegate=cpu memory pids", "daemon-reload"]
        {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn wsl_is_repaired_from_windows() {
        let hybrid = Lack::NotUnified { layout: Layout::Hybrid };
        let text = fix(&hybrid, true, None);
        assert!(text.contains("[wsl2]\nkernelCommandLine = cgroup_no_v1=all"), "{text}");
        assert!(fix(&Lack::NoUserManager, true, None).contains(r"[boot]\nsystemd=true"));
        assert!(fix(&Lack::PressureAbsent, true, None).contains("wsl --update"));
        assert!(fix(&Lack::PressureOff, true, None).contains("kernelCommandLine = psi=1"));
    }

    #[test]
    fn elsewhere_the_kernels_command_line_is() {
        let hybrid = Lack::NotUnified { layout: Layout::Hybrid };
        assert!(fix(&hybrid, false, None).contains("systemd.unified_cgroup_hierarchy=1"));
        assert!(fix(&Lack::PressureOff, false, None).contains("psi=1"));
        assert!(fix(&Lack::NoUserManager, false, None).contains("loginctl enable-linger"));
        let absent = Lack::ControllersAbsent { names: vec!["memory"] };
        assert!(fix(&absent, false, None).contains("cgroup_enable=memory"));
    }

    // Seen on 6.1 with psi=0: the folder is missing although the kernel could.
    #[test]
    fn a_missing_folder_may_only_be_switched_off() {
        let text = fix(&Lack::PressureAbsent, false, None);
        assert!(text.contains("CONFIG_PSI=") && text.contains("psi=1"), "{text}");
    }

    #[test]
    fn each_engine_has_its_own_flag() {
        for (engine, flag) in [
            (Engine::Docker, "--security-opt writable-cgroups=true"),
            (Engine::Podman, "--security-opt unmask=/sys/fs/cgroup"),
            (Engine::Kubernetes, "cgroup_writable = true"),
        ] {
            assert!(fix(&Lack::ReadOnly, false, Some(engine)).contains(flag), "{engine:?}");
        }
        assert!(fix(&Lack::PressureOff, false, Some(Engine::Docker)).starts_with("# on the host"));
    }

    #[test]
    fn what_can_be_pasted_fits_a_terminal() {
        let lacks = [
            Lack::NotDelegated { names: vec!["cpu"] },
            Lack::NoUserManager,
            Lack::NotUnified { layout: Layout::Legacy },
            Lack::ReadOnly,
            Lack::PressureAbsent,
            Lack::NofileLow { hard: 1024 },
        ];
        for lack in &lacks {
            for (wsl, engine) in [(true, None), (false, Some(Engine::Docker)), (false, Some(Engine::Podman))]
            {
                for line in fix(lack, wsl, engine).lines() {
                    assert!(line.len() < 100 && !line.ends_with(' '), "{line:?}");
                    assert!(!line.contains("<<"), "an indented here-document never ends: {line:?}");
                }
            }
        }
    }
}
