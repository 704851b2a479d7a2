//! What killed runs left behind, ended and removed at the next start.
//!
//! Only runs whose lock is free are touched, and groups only if they are of this boot and of the cgroup tree that is
//! in sight here. Nothing is killed by a stored number: cgroup.kill, or a pidfd of a process that carries the run's mark.

use std::path::Path;
use std::time::Duration;

use super::record::{RunFile, State, abandoned, boot_id, cgroup_root, write_run_file};
use super::temporary;
use crate::kernel::cgroup;
use crate::kernel::files::{self, Dir};
use crate::kernel::tree::{self, Mark};
use crate::model::RunId;

/// How long what was killed may take to go; what takes longer is the next start's.
const PATIENCE: Duration = Duration::from_secs(2);

/// A run that did not come to its end.
#[derive(Debug, PartialEq, Eq)]
pub struct Interrupted {
    /// Its id.
    pub run: String,
    /// Whether the machine has been started anew since.
    pub other_boot: bool,
    /// Whether all it left is gone.
    pub swept: bool,
}

/// Ends and removes what killed runs left.
pub fn sweep() -> Vec<Interrupted> {
    abandoned()
        .into_iter()
        .filter(|(_, file, _)| file.boot_id != boot_id() || file.cgroup_root == cgroup_root())
        .filter_map(|(folder, file, lock)| {
            let other_boot = file.boot_id != boot_id();
            let ended = file.state != State::Running;
            // Processes first: they may still write files.
            let groups_gone = ended || other_boot || sweep_one(&file);
            let files_gone = groups_gone && temporary::sweep(&file);
            let temporary = file.temporary.clone().filter(|_| !files_gone);
            let after = match groups_gone && !ended {
                true => RunFile { state: State::Interrupted, groups: vec![], temporary, ..file.clone() },
                false => RunFile { temporary, ..file.clone() },
            };
            if after != file {
                let _ = write_run_file(&folder, &after);
            }
            drop(lock);
            // Of a run that came to its end, its own last words have told what was left.
            (!ended).then_some(Interrupted { run: file.run, other_boot, swept: groups_gone && files_gone })
        })
        .collect()
}

fn sweep_one(file: &RunFile) -> bool {
    let Some(first) = file.groups.first() else {
        let mark = Mark::of_run(&RunId(file.run.clone()));
        return tree::kill_all(|| tree::marked(&mark), PATIENCE);
    };
    if !file.groups.iter().all(|path| removable(path)) {
        return false;
    }
    if let Ok(run) = Dir::open(first) {
        let _ = cgroup::kill(&run);
        let _ = cgroup::wait_empty(&run, PATIENCE);
    }
    file.groups.iter().all(|path| files::remove_group(path).is_ok())
}

/// Groups carry our name: a file that says otherwise is not believed.
fn removable(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("sandtest-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_groups_of_ours_are_removed() {
        assert!(removable(Path::new("/sys/fs/cgroup/x/sandtest-run-1")));
        assert!(!removable(Path::new("/sys/fs/cgroup/x")));
        assert!(!removable(Path::new("/")));
    }
}
