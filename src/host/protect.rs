//! What the editor and its language servers use now: what the reserve is measured from.
//!
//! `protect:` names them: by the name of the process, or by a cgroup, where an entry holds a slash and may hold `*`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::kernel::hierarchy;
use crate::kernel::process;
use crate::model::Bytes;

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Protected {
    /// Memory that only these processes pay for.
    pub memory: Bytes,
    /// How many there are.
    pub processes: usize,
    /// The v2 group that holds most of it, for its pressure.
    pub group: Option<PathBuf>,
}

/// Measures the processes that `protect` names.
pub fn measure(protect: &[String]) -> Protected {
    let (globs, names): (Vec<&String>, Vec<&String>) = protect.iter().partition(|entry| entry.contains('/'));
    let me = std::process::id();
    let mut found = Protected::default();
    let mut groups: BTreeMap<String, u64> = BTreeMap::new();
    for pid in process::all().into_iter().filter(|pid| *pid != me) {
        let named = is_named(&process::name(pid), &names);
        let group = if named || !globs.is_empty() { process::v2_group(pid) } else { None };
        let placed = group.as_ref().is_some_and(|group| globs.iter().any(|glob| matches(glob, group)));
        if !(named || placed) {
            continue;
        }
        let memory = process::private_resident(pid).unwrap_or(0);
        found.memory.0 += memory;
        found.processes += 1;
        *groups.entry(group.unwrap_or_default()).or_default() += memory;
    }
    let largest = groups.into_iter().max_by_key(|(_, memory)| *memory);
    found.group = largest.and_then(|(group, _)| v2_folder(&group));
    found
}

/// The kernel cuts a process' name at 15 bytes.
fn is_named(comm: &str, names: &[&String]) -> bool {
    names.iter().any(|name| *name == comm || (name.len() > 15 && name.get(..15) == Some(comm)))
}

/// Where the v2 tree shows a group; not for the root, whose pressure is everybody's.
fn v2_folder(group: &str) -> Option<PathBuf> {
    let below = group.strip_prefix('/').filter(|below| !below.is_empty())?;
    let v2 = hierarchy::here().into_iter().find(|hierarchy| hierarchy.v2)?;
    Some(v2.mount.join(below)).filter(|folder| folder.is_dir())
}

/// Whether the whole of `text` fits `glob`, where `*` stands for anything.
fn matches(glob: &str, text: &str) -> bool {
    let mut parts = glob.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        for (glob, text, wanted) in [
            ("/user.slice/*/app-code*.scope", "/user.slice/user-1000.slice/app-code-77.scope", true),
            ("/user.slice/*/app-code*.scope", "/user.slice/app-code-77.scope", false),
            ("/a", "/a", true),
            ("/a", "/ab", false),
            ("*/b", "/a/b", true),
            ("/a/*", "/a/", true),
            ("/a*a", "/a", false),
        ] {
            assert_eq!(matches(glob, text), wanted, "{glob} {text}");
        }
    }

    #[test]
    fn a_process_is_found_by_its_name() {
        let mut child = std::process::Command::new("sleep").arg("30").spawn().unwrap();
        let mut found = Protected::default();
        // Until it has exec'd it is called as we are.
        for _ in 0..1000 {
            found = measure(&["sleep".to_owned()]);
            if found.processes > 0 {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found.processes > 0 && found.memory > Bytes(0), "{found:?}");
        assert_eq!(measure(&["no such name".to_owned()]), Protected::default());
    }
}
