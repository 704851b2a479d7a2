//! After the first process of an attempt has ended: what is left is named, killed and waited for.
//!
//! Blocking; runs aside from the loop, and only where something is left.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::live::Live;
use crate::kernel::files::Dir;
use crate::kernel::group::Group;
use crate::kernel::process::{self, Stat};
use crate::kernel::tree::{self, Mark};
use crate::kernel::{KernelError, cgroup};
use crate::model::Process;
use crate::policy::tuning::{KILL_PATIENCE, LEAK_GRACE};

/// What was left.
#[derive(Debug, Default)]
pub struct Leftovers {
    /// How many processes.
    pub count: u64,
    /// The first of them.
    pub processes: Vec<Process>,
    /// Whether some are still there.
    pub unkillable: bool,
}

impl Leftovers {
    /// Those that were found later, too.
    pub fn add(&mut self, later: Leftovers) {
        self.count += later.count;
        self.processes.extend(later.processes);
        self.unkillable |= later.unkillable;
    }
}

/// Whether nothing is left of an attempt in a cgroup: one read, for the common case.
pub fn is_clean(live: &Live) -> bool {
    live.group.v2().is_some_and(|dir| matches!(cgroup::populated(dir), Ok(false)))
}

/// Ends what is left in the attempt's cgroup. `killed`: we ended it ourselves, so nothing counts as left behind.
///
/// # Errors
/// What could not be read or written of the group.
pub fn in_cgroup(group: &Arc<Group>, killed: bool) -> Result<Leftovers, KernelError> {
    let Some(dir) = group.v2() else { return Ok(Leftovers::default()) };
    let mut left = Leftovers::default();
    if !killed && !empties(dir)? {
        (left.count, left.processes) = cgroup::processes(dir);
    }
    cgroup::kill(dir)?;
    left.unkillable = !cgroup::wait_empty(dir, KILL_PATIENCE)?;
    Ok(left)
}

/// Whether the group empties by itself within the grace that leftovers have.
fn empties(dir: &Dir) -> Result<bool, KernelError> {
    cgroup::wait_empty(dir, LEAK_GRACE)
}

/// Ends what is left of an attempt without a cgroup: orphans of ours that carry its mark, and, where it is the
/// only one, those that carry none.
pub fn in_tree(mark: &Mark, known: &[u32], only: bool, killed: bool) -> Leftovers {
    let (mut left, begin) = (Leftovers::default(), Instant::now());
    let (mut found, mut untold) = alive_in_tree(mark, known, only);
    // Whose one is that is in the middle of exec can be told a moment later.
    while (untold || !found.is_empty()) && begin.elapsed() < LEAK_GRACE && !killed {
        std::thread::sleep(Duration::from_millis(1));
        (found, untold) = alive_in_tree(mark, known, only);
    }
    if !killed {
        left.count = found.len() as u64;
        left.processes = found.iter().take(cgroup::LISTED).map(|stat| process::told(stat.pid)).collect();
    }
    let find = || alive_in_tree(mark, known, only).0.into_iter().map(|stat| stat.pid).collect();
    left.unkillable = !tree::kill_all(find, KILL_PATIENCE);
    left
}

/// What is alive of an attempt, and whether there is an orphan that can't be told from its yet.
fn alive_in_tree(mark: &Mark, known: &[u32], only: bool) -> (Vec<Stat>, bool) {
    let mut untold = false;
    let mut roots = tree::orphans(known);
    roots.retain(|pid| {
        let carries = mark.is_on(*pid);
        untold |= carries.is_none() && process::is_alive(*pid);
        only || carries == Some(true)
    });
    let alive = tree::with_descendants(roots).into_iter().filter_map(Stat::read).filter(Stat::is_alive);
    (alive.collect(), untold)
}
