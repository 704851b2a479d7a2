//! Who and where we are, as far as a fix depends on it: user, WSL, container engine, user manager, descriptors.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::Serialize;

use crate::model::Bytes;

/// What made the container we are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// Docker, or something that leaves its mark.
    Docker,
    /// Podman; distrobox and toolbox by default.
    Podman,
    /// A pod.
    Kubernetes,
}

/// Soft and hard limit of open files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Nofile {
    /// In force now.
    pub soft: u64,
    /// As far as sandtest may raise it.
    pub hard: u64,
}

/// The facts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Surroundings {
    /// The effective user.
    pub uid: u32,
    /// A kernel of Windows' Linux subsystem, also below a container.
    pub wsl: bool,
    /// Inside a container.
    pub engine: Option<Engine>,
    /// `MemTotal`.
    pub memory_total: Option<Bytes>,
    /// Open files.
    pub nofile: Option<Nofile>,
    /// Where our `systemd --user` sits, as its `/proc/PID/cgroup` says.
    #[serde(skip)]
    pub user_manager: Option<String>,
}

/// Looks below `root`, which is `/` but in tests.
pub fn read(root: &Path, uid: u32, variable: &dyn Fn(&str) -> Option<String>) -> Surroundings {
    let text = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
    let engine = if variable("KUBERNETES_SERVICE_HOST").is_some() {
        Some(Engine::Kubernetes)
    } else if root.join("run/.containerenv").exists() {
        Some(Engine::Podman)
    } else if root.join(".dockerenv").exists() {
        Some(Engine::Docker)
    } else {
        None
    };
    Surroundings {
        uid,
        // WSL1 has a capital M and no cgroups at all.
        wsl: text("proc/sys/kernel/osrelease").contains("microsoft"),
        engine,
        memory_total: memory_total(&text("proc/meminfo")),
        nofile: nofile(&text("proc/self/limits")),
        user_manager: user_manager(&root.join("proc"), uid),
    }
}

fn memory_total(meminfo: &str) -> Option<Bytes> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok().map(Bytes::kib)
}

fn nofile(limits: &str) -> Option<Nofile> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let mut values =
        line.split_whitespace().map(|v| if v == "unlimited" { Some(u64::MAX) } else { v.parse().ok() });
    Some(Nofile { soft: values.next()??, hard: values.next()?? })
}

/// Its own process sits in `.../user@UID.service/init.scope`; the group above that is the delegated one.
fn user_manager(proc: &Path, uid: u32) -> Option<String> {
    let service = format!("user@{uid}.service");
    fs::read_dir(proc).ok()?.flatten().find_map(|entry| {
        let folder = entry.path();
        let ours = fs::metadata(&folder).ok()?.uid() == uid;
        if !ours || fs::read_to_string(folder.join("comm")).ok()?.trim() != "systemd" {
            return None;
        }
        let cgroup = fs::read_to_string(folder.join("cgroup")).ok()?;
        let path = cgroup.lines().find_map(|line| line.strip_prefix("0::"))?;
        let service = path.split('/').find(|part| *part == service)?;
        path.find(service).map(|at| path[..at + service.len()].to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> (tempfile::TempDir, u32) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let file = root.path().join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        let uid = fs::metadata(root.path()).unwrap().uid();
        (root, uid)
    }

    #[test]
    fn the_user_manager_is_found_wherever_its_slice_is() {
        let (root, uid) = machine(&[("proc/1/comm", "systemd\n"), ("proc/1/cgroup", "0::/init.scope\n")]);
        assert_eq!(read(root.path(), uid, &|_| None).user_manager, None);
        let folder = root.path().join("proc/400");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("comm"), "systemd\n").unwrap();
        fs::write(folder.join("cgroup"), format!("0::/wsl-user/x/user@{uid}.service/init.scope\n")).unwrap();
        let found = read(root.path(), uid, &|_| None).user_manager;
        assert_eq!(found, Some(format!("/wsl-user/x/user@{uid}.service")));
    }

    #[test]
    fn a_container_on_wsl_is_both() {
        let (root, uid) = machine(&[
            (".dockerenv", ""),
            ("proc/sys/kernel/osrelease", "5.15.90.1-microsoft-standard-WSL2\n"),
            ("proc/meminfo", "MemTotal:        8000000 kB\nMemFree: 1 kB\n"),
            ("proc/self/limits", "Limit   Soft  Hard  Units\nMax open files   1024    unlimited   files\n"),
        ]);
        let here = read(root.path(), uid, &|_| None);
        assert!(here.wsl);
        assert_eq!(here.engine, Some(Engine::Docker));
        assert_eq!(here.memory_total, Some(Bytes::kib(8_000_000)));
        assert_eq!(here.nofile, Some(Nofile { soft: 1024, hard: u64::MAX }));
    }

    #[test]
    fn a_pod_is_a_pod_whatever_files_its_engine_leaves() {
        let (root, uid) = machine(&[("run/.containerenv", "")]);
        assert_eq!(read(root.path(), uid, &|_| None).engine, Some(Engine::Podman));
        let pod = |name: &str| (name == "KUBERNETES_SERVICE_HOST").then(|| "10.0.0.1".to_owned());
        assert_eq!(read(root.path(), uid, &pod).engine, Some(Engine::Kubernetes));
    }
}
