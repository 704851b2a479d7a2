//! Memory, pids, cpu: which of them the kernel has, and which reach us.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::kernel::hierarchy::{self, Hierarchy, Layout};

/// What sandtest limits with.
pub const NEEDED: [&str; 3] = ["memory", "pids", "cpu"];

/// Where a controller stops on its way to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// In our own group or, for a user, in the user manager's, which hands it to a scope.
    Ours,
    /// The kernel has it; somewhere above us it isn't handed on.
    NotDelegated,
    /// On a v1 hierarchy.
    V1,
    /// Not in this kernel, or switched off on its command line.
    Absent,
}

/// One controller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Controller {
    /// `memory`, `pids` or `cpu`.
    pub name: &'static str,
    /// How far it comes.
    pub reach: Reach,
}

/// The cgroup tree as seen from here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cgroups {
    /// How it is mounted.
    pub layout: Layout,
    /// Our own v2 group, or our v1 memory group where there is no other.
    pub own: Option<String>,
    /// Whether the filesystem is mounted read-only.
    pub read_only: bool,
    /// The group of our user manager, where there is one.
    pub user_manager: Option<String>,
    /// The three that matter.
    pub controllers: Vec<Controller>,
}

/// Reads what reaches us. `user_manager` is the path in `/proc/PID/cgroup` of the user's `systemd --user`.
pub fn read(hierarchies: &[Hierarchy], user_manager: Option<&str>) -> Cgroups {
    let v2 = hierarchies.iter().find(|h| h.v2);
    let manager = v2.zip(user_manager).map(|(h, path)| h.mount.join(path.trim_start_matches('/')));
    let of_v2 = v2.map(|h| (listed(&h.mount), reached(h, manager.as_ref())));
    let on_v1 = |name: &str| hierarchies.iter().any(|h| h.controllers.iter().any(|c| c == name));
    let controllers = NEEDED.map(|name| {
        let has = |list: &[String]| list.iter().any(|c| c == name);
        let reach = match &of_v2 {
            Some((_, ours)) if has(ours) => Reach::Ours,
            _ if on_v1(name) => Reach::V1,
            Some((all, _)) if has(all) => Reach::NotDelegated,
            _ => Reach::Absent,
        };
        Controller { name, reach }
    });
    let memory = || hierarchies.iter().find(|h| h.controllers.iter().any(|c| c == "memory"));
    let shown = v2.or_else(memory);
    let text = |path: &PathBuf| path.to_string_lossy().into_owned();
    Cgroups {
        layout: hierarchy::layout(hierarchies),
        own: shown.and_then(|h| h.own.as_ref()).map(text),
        read_only: shown.is_some_and(|h| h.read_only),
        user_manager: manager.as_ref().map(text),
        controllers: controllers.into(),
    }
}

/// The user manager's group decides for its user: a login's own scope has no controllers and needs none.
fn reached(v2: &Hierarchy, manager: Option<&PathBuf>) -> Vec<String> {
    manager.or(v2.own.as_ref()).map(|folder| listed(folder)).unwrap_or_default()
}

fn listed(folder: &Path) -> Vec<String> {
    let text = fs::read_to_string(folder.join("cgroup.controllers")).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree of groups, each with its `cgroup.controllers`.
    fn tree(groups: &[(&str, &str)]) -> (tempfile::TempDir, Hierarchy) {
        let root = tempfile::tempdir().unwrap();
        for (group, controllers) in groups {
            let folder = root.path().join(group);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("cgroup.controllers"), controllers).unwrap();
        }
        let own = Some(root.path().join("user.slice/login.scope"));
        let mount = root.path().to_owned();
        (root, Hierarchy { controllers: vec![], v2: true, read_only: false, mount, own })
    }

    fn reach(cgroups: &Cgroups) -> Vec<Reach> {
        cgroups.controllers.iter().map(|c| c.reach).collect()
    }

    #[test]
    fn the_user_manager_decides_not_the_login_scope() {
        let (_root, v2) = tree(&[
            ("", "cpuset cpu io memory pids"),
            ("user.slice/login.scope", ""),
            ("user.slice/user@7.service", "cpu memory pids"),
        ]);
        let cgroups = read(&[v2], Some("/user.slice/user@7.service"));
        assert_eq!(reach(&cgroups), [Reach::Ours; 3]);
    }

    #[test]
    fn a_controller_that_is_not_handed_on_is_named() {
        let (_root, v2) = tree(&[
            ("", "cpu memory pids"),
            ("user.slice/user@7.service", "memory pids"),
            ("user.slice", ""),
        ]);
        let cgroups = read(&[v2], Some("/user.slice/user@7.service"));
        assert_eq!(reach(&cgroups), [Reach::Ours, Reach::Ours, Reach::NotDelegated]);
    }

    #[test]
    fn a_controller_off_on_the_kernels_command_line_is_absent_not_undelegated() {
        let (_root, v2) = tree(&[("", "cpu pids"), ("user.slice/login.scope", "cpu pids")]);
        assert_eq!(reach(&read(&[v2], None)), [Reach::Absent, Reach::Ours, Reach::Ours]);
    }

    #[test]
    fn a_hybrid_hosts_controllers_are_on_v1() {
        let (_root, v2) = tree(&[("", "hugetlb")]);
        let v1 = |name: &str| Hierarchy {
            controllers: vec![name.to_owned()],
            v2: false,
            read_only: false,
            mount: PathBuf::from("/nowhere").join(name),
            own: None,
        };
        let cgroups = read(&[v1("memory"), v1("pids"), v1("cpu"), v2], None);
        assert_eq!(reach(&cgroups), [Reach::V1; 3]);
        assert_eq!(cgroups.layout, Layout::Hybrid);
    }
}
