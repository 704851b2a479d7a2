//! Where the cgroup trees are mounted, and where a process sits in them.
//!
//! Follows cgroups(7) and proc_pid_mountinfo(5): `/proc/self/cgroup` gives a path per hierarchy, relative to
//! the root of our cgroup namespace; `mountinfo` gives the part of each hierarchy that a mount shows.

use std::path::{Path, PathBuf};

use super::KernelError;

/// The directories of one process's own groups, as far as they can be reached.
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
    ///
    /// # Errors
    /// [`KernelError::Read`] if `/proc` is not there.
    pub fn read() -> Result<OwnGroups, KernelError> {
        let read = |path: &str| {
            std::fs::read_to_string(path).map_err(|source| KernelError::Read { path: path.into(), source })
        };
        Ok(OwnGroups::parse(&read("/proc/self/cgroup")?, &read("/proc/self/mountinfo")?))
    }

    /// From the texts of `/proc/PID/cgroup` and `/proc/PID/mountinfo`.
    pub fn parse(cgroup: &str, mountinfo: &str) -> OwnGroups {
        let mut own = OwnGroups::default();
        let mounts: Vec<Mount> = mountinfo.lines().filter_map(Mount::parse).collect();
        for line in cgroup.lines() {
            let mut fields = line.splitn(3, ':');
            let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            if controllers.is_empty() {
                own.v2 = reachable(&mounts, "cgroup2", None, path);
                continue;
            }
            for controller in controllers.split(',') {
                let place = match controller {
                    "memory" => &mut own.v1_memory,
                    "pids" => &mut own.v1_pids,
                    "cpu" => &mut own.v1_cpu,
                    _ => continue,
                };
                *place = reachable(&mounts, "cgroup", Some(controller), path);
            }
        }
        own
    }
}

/// One line of `mountinfo`, as far as it matters here.
struct Mount<'a> {
    root: &'a str,
    point: String,
    kind: &'a str,
    options: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Mount<'a>> {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(3);
        let (root, point) = (left.next()?, left.next()?);
        let mut right = right.split(' ');
        let (kind, _source, options) = (right.next()?, right.next()?, right.next().unwrap_or(""));
        Some(Mount { root, point: unescape(point), kind, options })
    }
}

/// The directory in which `path` of a hierarchy can be seen.
fn reachable(mounts: &[Mount], kind: &str, controller: Option<&str>, path: &str) -> Option<PathBuf> {
    // "/../x": outside our cgroup namespace; no mount of ours shows it.
    if path.split('/').any(|part| part == "..") {
        return None;
    }
    mounts
        .iter()
        .filter(|mount| mount.kind == kind)
        .filter(|mount| controller.is_none_or(|name| mount.options.split(',').any(|option| option == name)))
        .find_map(|mount| {
            let below = Path::new(path).strip_prefix(mount.root).ok()?;
            // join("") would leave a slash at the end.
            Some(if below.as_os_str().is_empty() {
                PathBuf::from(&mount.point)
            } else {
                Path::new(&mount.point).join(below)
            })
        })
}

/// `mountinfo` writes space, tab, newline and backslash as three octal digits.
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (code, plain)| text.replace(code, plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
        32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
        35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
        39 31 0:36 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

    #[test]
    fn a_unified_host_has_one_tree() {
        let mounts = "28 23 0:25 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        let own = OwnGroups::parse("0::/user.slice/user-1000.slice/session-1.scope\n", mounts);
        assert_eq!(own.v2, Some("/sys/fs/cgroup/user.slice/user-1000.slice/session-1.scope".into()));
        assert_eq!(own.v1_memory, None);
    }

    #[test]
    fn a_hybrid_host_has_a_tree_a_controller() {
        let own = OwnGroups::parse("8:pids:/\n4:memory:/box/7\n1:cpu,cpuacct:/\n0::/\n", HYBRID);
        assert_eq!(own.v2, Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(own.v1_memory, Some("/sys/fs/cgroup/memory/box/7".into()));
        assert_eq!(own.v1_pids, Some("/sys/fs/cgroup/pids".into()));
        assert_eq!(own.v1_cpu, Some("/sys/fs/cgroup/cpu,cpuacct".into()));
    }

    #[test]
    fn a_group_outside_our_namespace_is_out_of_reach() {
        let mounts = "28 23 0:25 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(OwnGroups::parse("0::/../session-1.scope\n", mounts).v2, None);
    }

    #[test]
    fn a_mount_of_a_part_of_the_tree_shows_only_what_is_below() {
        let mounts = "28 23 0:25 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n";
        assert_eq!(OwnGroups::parse("0::/docker/abc/x\n", mounts).v2, Some("/sys/fs/cgroup/x".into()));
        assert_eq!(OwnGroups::parse("0::/docker/abc\n", mounts).v2, Some("/sys/fs/cgroup".into()));
        assert_eq!(OwnGroups::parse("0::/docker/other\n", mounts).v2, None);
    }

    #[test]
    fn mount_points_with_spaces_are_read() {
        let mounts = "28 23 0:25 / /my\\040cgroups rw - cgroup2 cgroup2 rw\n";
        assert_eq!(OwnGroups::parse("0::/a\n", mounts).v2, Some("/my cgroups/a".into()));
    }

    #[test]
    fn nonsense_gives_nothing() {
        assert_eq!(OwnGroups::parse("x\n::\n1:memory\n", "x - y\n - \n"), OwnGroups::default());
    }
}
