//! The processes of an attempt where no cgroup holds them together.
//!
//! sandtest is their subreaper (PR_SET_CHILD_SUBREAPER), so what a test leaves behind becomes our child instead
//! of init's; the environment that it was started with tells whose it was. What clears its environment and
//! escapes its parent is found as a child of ours that nobody knows.

use std::fs;
use std::time::{Duration, Instant};

use super::process::{self, Stat};
use super::{KernelError, pidfd};
use crate::model::RunId;

/// What the environment of an attempt's processes holds.
#[derive(Debug, Clone)]
pub struct Mark {
    run: Vec<u8>,
    slot: Option<Vec<u8>>,
}

impl Mark {
    /// Of all attempts of a run.
    pub fn of_run(run: &RunId) -> Mark {
        Mark { run: format!("SANDTEST_RUN={run}").into_bytes(), slot: None }
    }

    /// Of the attempt that runs in `slot`.
    pub fn of_slot(run: &RunId, slot: u32) -> Mark {
        Mark { slot: Some(format!("SANDTEST_SLOT={slot}").into_bytes()), ..Mark::of_run(run) }
    }

    /// Whether `pid` carries it. `None` if that can't be told now: in the middle of exec a process shows no
    /// environment.
    pub fn is_on(&self, pid: u32) -> Option<bool> {
        let environment = process::environment(pid);
        let has =
            |wanted: &Vec<u8>| environment.split(|byte| *byte == 0).any(|entry| entry == wanted.as_slice());
        (!environment.is_empty()).then(|| has(&self.run) && self.slot.as_ref().is_none_or(has))
    }
}

/// Makes this process the parent of what its descendants orphan (prctl(2)).
///
/// # Errors
/// [`KernelError::Call`].
pub fn become_subreaper() -> Result<(), KernelError> {
    nix::sys::prctl::set_child_subreaper(true)
        .map_err(|errno| KernelError::Call { what: "become a subreaper", source: errno.into() })
}

/// The children of `pid`.
pub fn children(pid: u32) -> Vec<u32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for thread in threads.flatten() {
        match fs::read_to_string(thread.path().join("children")) {
            Ok(text) => found.extend(text.split_ascii_whitespace().filter_map(|pid| pid.parse::<u32>().ok())),
            // Without CONFIG_PROC_CHILDREN every process must be asked for its parent.
            Err(_) => {
                let stats = process::all().into_iter().filter_map(Stat::read);
                return stats.filter(|stat| stat.ppid == pid).map(|stat| stat.pid).collect();
            }
        }
    }
    found
}

/// `roots` and all that descends from them.
pub fn with_descendants(roots: Vec<u32>) -> Vec<u32> {
    let mut all = roots;
    let mut next = 0;
    while next < all.len() {
        let below = children(all[next]);
        all.extend(below.into_iter().filter(|pid| *pid != 0));
        next += 1;
    }
    all.sort_unstable();
    all.dedup();
    all
}

/// All processes but this one that carry `mark`, whoever their parent is.
pub fn marked(mark: &Mark) -> Vec<u32> {
    let me = std::process::id();
    process::all().into_iter().filter(|pid| *pid != me && mark.is_on(*pid) == Some(true)).collect()
}

/// Our children that are orphans of attempts: none of `known`.
pub fn orphans(known: &[u32]) -> Vec<u32> {
    let mut found = children(std::process::id());
    found.retain(|pid| !known.contains(pid));
    found
}

/// Kills what `find` finds until it finds nothing alive, for `limit` and at least once. Returns whether that came
/// true.
pub fn kill_all(mut find: impl FnMut() -> Vec<u32>, limit: Duration) -> bool {
    let begin = Instant::now();
    loop {
        let alive: Vec<Stat> = find().into_iter().filter_map(Stat::read).filter(Stat::is_alive).collect();
        if alive.is_empty() {
            return true;
        }
        for stat in alive {
            // Never by number: the pidfd is of the process that was looked at only if that is still there now.
            if let Some(handle) = pidfd::open(stat.pid)
                && Stat::read(stat.pid).is_some_and(|now| now.starttime == stat.starttime)
            {
                let _ = pidfd::kill(&handle);
            }
        }
        if begin.elapsed() >= limit {
            return false;
        }
        std::thread::sleep(Duration::from_micros(500));
    }
}

/// Reaps those of our children that have ended and are none of `known`, whose ends others wait for.
pub fn reap(known: &[u32]) {
    for pid in orphans(known) {
        if Stat::read(pid).is_some_and(|stat| !stat.is_alive())
            && let Ok(pid) = i32::try_from(pid)
        {
            let _ = nix::sys::wait::waitpid(
                nix::unistd::Pid::from_raw(pid),
                Some(nix::sys::wait::WaitPidFlag::WNOHANG),
            );
        }
    }
}
