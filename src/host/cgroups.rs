//! The cgroup mounts of a host and the groups above a process, from the texts of `/proc/self/mountinfo` and
//! `/proc/self/cgroup`. Pure.
//!
//! Inside a container the two do not meet: the path may be the host's while the mount shows only the container's
//! part. What can't be seen then has no folder, and the mount's own root is the best ancestor there is.

/// How the controllers are mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupLayout {
    /// cgroup v2 alone.
    Unified,
    /// v1 controllers beside a v2 tree.
    Hybrid,
    /// v1 alone.
    Legacy,
    /// Nothing is mounted.
    Absent,
}

/// A cgroup mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The folder of the hierarchy that it shows as its root.
    pub root: String,
    /// Where it is.
    pub point: String,
    /// v1 controllers; `None` for v2.
    pub controllers: Option<Vec<String>>,
    /// Whether it is mounted read-only.
    pub read_only: bool,
}

/// All cgroup mounts of a `/proc/self/mountinfo`.
pub fn mounts(mountinfo: &str) -> Vec<Mount> {
    mountinfo.lines().filter_map(mount).collect()
}

/// `31 23 0:28 / /sys/fs/cgroup rw,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate`
fn mount(line: &str) -> Option<Mount> {
    let (place, kind) = line.split_once(" - ")?;
    let mut place = place.split(' ').skip(3);
    let (root, point, options) = (place.next()?, place.next()?, place.next()?);
    let mut kind = kind.split(' ');
    let (name, super_options) = (kind.next()?, kind.nth(1).unwrap_or_default());
    let controllers = match name {
        "cgroup2" => None,
        "cgroup" => Some(super_options.split(',').map(str::to_owned).collect()),
        _ => return None,
    };
    let read_only = options.split(',').any(|option| option == "ro");
    Some(Mount { root: root.to_owned(), point: point.to_owned(), controllers, read_only })
}

/// How the controllers are mounted.
pub fn layout(mounts: &[Mount]) -> CgroupLayout {
    // systemd's own v1 hierarchy has no controller, only a name.
    let v1 =
        mounts.iter().any(|m| m.controllers.as_ref().is_some_and(|c| c.iter().any(|c| is_controller(c))));
    let v2 = mounts.iter().any(|mount| mount.controllers.is_none());
    match (v1, v2) {
        (true, true) => CgroupLayout::Hybrid,
        (true, false) => CgroupLayout::Legacy,
        (false, true) => CgroupLayout::Unified,
        (false, false) => CgroupLayout::Absent,
    }
}

fn is_controller(name: &str) -> bool {
    matches!(name, "memory" | "pids" | "cpu")
}

/// The folders of all groups above and around the process for this controller, innermost first: on v2, and on v1
/// if the controller is mounted there.
pub fn ancestors(mounts: &[Mount], self_cgroup: &str, controller: &str) -> Vec<String> {
    let mut folders = Vec::new();
    for mount in mounts {
        let path = match &mount.controllers {
            None => path_of(self_cgroup, |controllers| controllers.is_empty()),
            Some(mounted) if mounted.iter().any(|name| name == controller) => {
                path_of(self_cgroup, |controllers| controllers.split(',').any(|name| name == controller))
            }
            Some(_) => continue,
        };
        let inside = path.and_then(|path| below(path, &mount.root)).unwrap_or_default();
        let mut rest = inside;
        while !rest.is_empty() {
            folders.push(format!("{}{rest}", mount.point));
            rest = &rest[..rest.rfind('/').unwrap_or(0)];
        }
        folders.push(mount.point.clone());
    }
    folders
}

/// The path of the line of `/proc/self/cgroup` whose controllers suit: `4:memory:/user.slice`, `0::/init.scope`.
fn path_of(self_cgroup: &str, suits: impl Fn(&str) -> bool) -> Option<&str> {
    self_cgroup.lines().find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        suits(controllers).then_some(path)
    })
}

/// The part of the path below the mount's root: empty, or with a leading slash. `None` where it lies outside.
fn below<'a>(path: &'a str, root: &str) -> Option<&'a str> {
    let inside = path.strip_prefix(root.trim_end_matches('/'))?.trim_end_matches('/');
    let outside =
        inside.split('/').any(|part| part == "..") || !(inside.is_empty() || inside.starts_with('/'));
    (!outside).then_some(inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIFIED: &str = "31 23 0:28 / /sys/fs/cgroup rw,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate";

    #[test]
    fn all_groups_above_are_found() {
        let mounts = mounts(UNIFIED);
        assert_eq!(
            ancestors(&mounts, "0::/user.slice/app.scope\n", "memory"),
            ["/sys/fs/cgroup/user.slice/app.scope", "/sys/fs/cgroup/user.slice", "/sys/fs/cgroup"]
        );
        assert_eq!(ancestors(&mounts, "0::/\n", "memory"), ["/sys/fs/cgroup"]);
    }

    #[test]
    fn a_path_outside_the_mount_falls_back_to_its_root() {
        let mounts = mounts("31 23 0:28 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory");
        assert_eq!(ancestors(&mounts, "4:memory:/docker/abc/x\n", "memory").len(), 2);
        for outside in ["4:memory:/docker/abcd\n", "4:memory:/\n", "4:memory:/../x\n", ""] {
            assert_eq!(ancestors(&mounts, outside, "memory"), ["/sys/fs/cgroup/memory"], "{outside}");
        }
        assert!(mounts[0].read_only);
        assert!(ancestors(&mounts, "4:memory:/docker/abc\n", "pids").is_empty());
    }
}
