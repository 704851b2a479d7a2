//! Which cgroup hierarchies are mounted, and where in them we stand.
//!
//! Follows cgroups(7) and proc_pid_mountinfo(5): `/proc/self/cgroup` gives a path per hierarchy, relative to
//! the root of our cgroup namespace; `mountinfo` gives the part of each hierarchy that a mount shows. Nothing
//! assumes `/user.slice`: WSL, containers and other inits put us elsewhere.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// How cgroups are mounted here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// v2 alone: what sandtest wants.
    Unified,
    /// v1 controllers, and a v2 tree that has none of them.
    Hybrid,
    /// v1 alone.
    Legacy,
    /// No cgroup filesystem in sight.
    None,
}

/// One mounted hierarchy and our group in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Its controllers as the mount names them; empty for v2, whose groups tell in `cgroup.controllers`.
    pub controllers: Vec<String>,
    /// Version 2.
    pub v2: bool,
    /// Mounted read-only, as containers do.
    pub read_only: bool,
    /// Where.
    pub mount: PathBuf,
    /// Our group's directory; `None` if it lies outside of what is mounted.
    pub own: Option<PathBuf>,
}

impl Hierarchy {
    /// Our group and all above it that can be seen, innermost first. Where ours can't be seen, the mount's root
    /// is the best ancestor there is.
    pub fn ancestors(&self) -> impl Iterator<Item = &Path> {
        let own = self.own.as_deref().unwrap_or(&self.mount);
        own.ancestors().take_while(|folder| folder.starts_with(&self.mount))
    }

    /// Whether its groups limit with this controller, or, in v2, may.
    pub fn may_have(&self, controller: &str) -> bool {
        self.v2 || self.controllers.iter().any(|name| name == controller)
    }
}

/// The directories of our own groups, as far as they can be reached.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OwnGroups {
    /// In the v2 tree (unified, or the controller-less one of a hybrid host).
    pub v2: Option<PathBuf>,
    /// In the v1 `memory` hierarchy.
    pub v1_memory: Option<PathBuf>,
    /// In the v1 `pids` hierarchy.
    pub v1_pids: Option<PathBuf>,
    /// In the v1 `cpu` hierarchy.
    pub v1_cpu: Option<PathBuf>,
}

impl OwnGroups {
    /// Those of this process, now.
    pub fn read() -> OwnGroups {
        OwnGroups::of(&here())
    }

    /// Those of another process, as far as the mounts that we see show them.
    pub fn of_process(pid: u32) -> OwnGroups {
        let read = |path: String| fs::read_to_string(path).unwrap_or_default();
        OwnGroups::of(&parse(&read("/proc/self/mountinfo".to_owned()), &read(format!("/proc/{pid}/cgroup"))))
    }

    fn of(hierarchies: &[Hierarchy]) -> OwnGroups {
        let own = |is: &dyn Fn(&Hierarchy) -> bool| hierarchies.iter().find(|h| is(h))?.own.clone();
        let v1 = |controller| own(&|h| !h.v2 && h.may_have(controller));
        OwnGroups { v2: own(&|h| h.v2), v1_memory: v1("memory"), v1_pids: v1("pids"), v1_cpu: v1("cpu") }
    }
}

/// The hierarchies of this process.
pub fn here() -> Vec<Hierarchy> {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    parse(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"))
}

/// The path of a v2 group from the root of that tree, as it is mounted here.
pub fn from_root(group: &Path) -> Option<String> {
    let mount = here().into_iter().find(|hierarchy| hierarchy.v2)?.mount;
    Some(format!("/{}", group.strip_prefix(mount).ok()?.to_str()?))
}

/// The hierarchies of a process with these `mountinfo` and `cgroup` files.
pub fn parse(mountinfo: &str, cgroup: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in mountinfo.lines() {
        // 36 25 0:32 ROOT MOUNT OPTIONS [optional ...] - TYPE SOURCE SUPER-OPTIONS
        let Some((before, after)) = line.split_once(" - ") else { continue };
        let (before, after): (Vec<&str>, Vec<&str>) =
            (before.split(' ').collect(), after.split(' ').collect());
        let (&[_, _, _, root, mount, options, ..], &[kind, _, super_options, ..]) =
            (before.as_slice(), after.as_slice())
        else {
            continue;
        };
        if kind != "cgroup" && kind != "cgroup2" {
            continue;
        }
        let v2 = kind == "cgroup2";
        let controllers: Vec<String> = if v2 {
            Vec::new()
        } else {
            super_options.split(',').filter(|o| !["rw", "ro"].contains(o)).map(str::to_owned).collect()
        };
        let mount = PathBuf::from(unescape(mount));
        let own = membership(cgroup, &controllers).and_then(|path| {
            // A bind mount shows the hierarchy from `root` on; `/..` is outside our cgroup namespace.
            let below = Path::new(path).strip_prefix(unescape(root)).ok()?;
            // Put together by parts: joining nothing would leave a slash at the end.
            (!path.starts_with("/..")).then(|| mount.iter().chain(below).collect())
        });
        let read_only = [options, super_options].iter().any(|list| list.split(',').any(|o| o == "ro"));
        let hierarchy = Hierarchy { controllers, v2, read_only, mount, own };
        // The same hierarchy again (/run/host/sys in a distrobox): the first one that shows us is enough.
        match found.iter_mut().find(|h| h.v2 == v2 && h.controllers == hierarchy.controllers) {
            Some(known) if known.own.is_none() => *known = hierarchy,
            Some(_) => {}
            None => found.push(hierarchy),
        }
    }
    found
}

/// The layout that these make.
pub fn layout(hierarchies: &[Hierarchy]) -> Layout {
    // `name=systemd` and other named hierarchies limit nothing.
    let v1 =
        hierarchies.iter().any(|h| h.controllers.iter().any(|c| ["memory", "pids", "cpu"].contains(&&**c)));
    match (hierarchies.iter().any(|h| h.v2), v1) {
        (true, false) => Layout::Unified,
        (true, true) => Layout::Hybrid,
        (false, _) if !hierarchies.is_empty() => Layout::Legacy,
        (false, _) => Layout::None,
    }
}

/// Our path in the hierarchy with exactly these controllers.
fn membership<'a>(cgroup: &'a str, controllers: &[String]) -> Option<&'a str> {
    cgroup.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (names, path) = (parts.next()?, parts.next()?);
        let ours = match controllers {
            [] => names.is_empty(),
            // The mount may name options beside the controllers (xattr, release_agent=...).
            some => !names.is_empty() && names.split(',').all(|name| some.iter().any(|c| c == name)),
        };
        ours.then_some(path)
    })
}

/// mountinfo writes space, tab, newline and backslash as three octal digits.
fn unescape(field: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(field.to_owned(), |text, (octal, plain)| text.replace(octal, plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(cgroup: &str, mounts: &str) -> OwnGroups {
        OwnGroups::of(&parse(mounts, cgroup))
    }

    #[test]
    fn a_unified_host_is_seen_with_all_groups_above_ours() {
        let mounts = "30 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        let found = parse(mounts, "0::/user.slice/a.scope\n");
        assert_eq!(layout(&found), Layout::Unified);
        let folders: Vec<_> = found[0].ancestors().map(|f| f.to_str().unwrap()).collect();
        assert_eq!(
            folders,
            ["/sys/fs/cgroup/user.slice/a.scope", "/sys/fs/cgroup/user.slice", "/sys/fs/cgroup"]
        );
    }

    #[test]
    fn a_hybrid_host_has_a_group_for_each_controller() {
        let mounts = "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
                      35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
                      40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/x,name=systemd\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
        let found =
            parse(mounts, "4:memory:/box/7\n3:name=systemd:/init.scope\n2:cpu,cpuacct:/\n0::/init.scope\n");
        assert_eq!(layout(&found), Layout::Hybrid);
        let own: Vec<_> = found.iter().map(|h| h.own.as_ref().unwrap().to_str().unwrap()).collect();
        assert_eq!(
            own,
            [
                "/sys/fs/cgroup/cpu",
                "/sys/fs/cgroup/memory/box/7",
                "/sys/fs/cgroup/systemd/init.scope",
                "/sys/fs/cgroup/unified/init.scope"
            ]
        );
    }

    #[test]
    fn a_containers_bind_mount_is_counted_from_its_root() {
        let mounts = "1 2 0:32 /docker/abc /sys/fs/cgroup/memory ro,nosuid - cgroup cgroup rw,memory\n";
        let found = parse(mounts, "4:memory:/docker/abc/x\n");
        assert_eq!(found[0].own.as_deref(), Some(Path::new("/sys/fs/cgroup/memory/x")));
        assert!(found[0].read_only);
        assert_eq!(layout(&found), Layout::Legacy);
    }

    #[test]
    fn a_group_outside_the_namespace_has_no_directory() {
        let mounts = "30 23 0:26 / /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        assert_eq!(parse(mounts, "0::/../../other\n")[0].own, None);
    }

    #[test]
    fn a_second_view_of_the_same_tree_is_not_a_second_tree() {
        let mounts = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n\
                      31 23 0:26 / /run/host/sys/fs/cgroup rw - cgroup2 cgroup rw\n";
        let found = parse(mounts, "0::/a\n");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].mount, Path::new("/sys/fs/cgroup"));
    }

    #[test]
    fn nothing_mounted_is_said_as_such() {
        assert_eq!(layout(&parse("27 1 254:0 / / rw - ext4 /dev/vda rw\n", "")), Layout::None);
    }

    const HYBRID: &str = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
        32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
        35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
        39 31 0:36 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

    #[test]
    fn a_hybrid_host_has_a_tree_a_controller() {
        let own = own("8:pids:/\n4:memory:/box/7\n1:cpu,cpuacct:/\n0::/\n", HYBRID);
        assert_eq!(own.v2, Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(own.v1_memory, Some("/sys/fs/cgroup/memory/box/7".into()));
        assert_eq!(own.v1_pids, Some("/sys/fs/cgroup/pids".into()));
        assert_eq!(own.v1_cpu, Some("/sys/fs/cgroup/cpu,cpuacct".into()));
    }

    #[test]
    fn a_mount_of_a_part_of_the_tree_shows_only_what_is_below() {
        let mounts = "28 23 0:25 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n";
        assert_eq!(own("0::/docker/abc/x\n", mounts).v2, Some("/sys/fs/cgroup/x".into()));
        assert_eq!(own("0::/docker/abc\n", mounts).v2, Some("/sys/fs/cgroup".into()));
        assert_eq!(own("0::/docker/other\n", mounts).v2, None);
    }

    #[test]
    fn mount_points_with_spaces_are_read() {
        let mounts = "28 23 0:25 / /my\\040cgroups rw - cgroup2 cgroup2 rw\n";
        assert_eq!(own("0::/a\n", mounts).v2, Some("/my cgroups/a".into()));
    }

    #[test]
    fn nonsense_gives_nothing() {
        assert_eq!(own("x\n::\n1:memory\n", "x - y\n - \n"), OwnGroups::default());
    }
}
