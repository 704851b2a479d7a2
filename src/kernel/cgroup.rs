//! What every v2 group has, with or without controllers (Documentation/admin-guide/cgroup-v2.rst, "Core
//! Interface Files").

use std::time::{Duration, Instant};

use super::KernelError;
use super::files::{Dir, keyed};
use super::process;
use crate::model::Process;

/// At most so many processes are listed by name.
pub const LISTED: usize = 32;

/// Whether a process is in the group or below it: `populated` of `cgroup.events`.
///
/// # Errors
/// [`KernelError::Read`], [`KernelError::Malformed`].
pub fn populated(group: &Dir) -> Result<bool, KernelError> {
    let text = group.read("cgroup.events")?;
    keyed(&text, "populated").map(|value| value != 0).ok_or_else(|| KernelError::Malformed {
        path: group.path().join("cgroup.events"),
        text,
        expected: "a line `populated 0` or `populated 1`",
    })
}

/// Kills every process in the group and below it (`cgroup.kill`, Linux 5.14), frozen and stopped ones too.
///
/// # Errors
/// [`KernelError::Write`].
pub fn kill(group: &Dir) -> Result<(), KernelError> {
    group.write("cgroup.kill", "1")
}

/// Stops or resumes every process in the group and below it (`cgroup.freeze`, Linux 5.2).
///
/// # Errors
/// [`KernelError::Write`].
pub fn freeze(group: &Dir, frozen: bool) -> Result<(), KernelError> {
    group.write("cgroup.freeze", if frozen { "1" } else { "0" })
}

/// Whether every process in the group and below it stands still: `frozen` of `cgroup.events`.
///
/// # Errors
/// [`KernelError::Read`], [`KernelError::Malformed`].
pub fn frozen(group: &Dir) -> Result<bool, KernelError> {
    let text = group.read("cgroup.events")?;
    keyed(&text, "frozen").map(|value| value != 0).ok_or_else(|| KernelError::Malformed {
        path: group.path().join("cgroup.events"),
        text,
        expected: "a line `frozen 0` or `frozen 1`",
    })
}

/// Waits until no process is left, at most `limit`. Returns whether that came true.
///
/// # Errors
/// [`KernelError::Read`], [`KernelError::Malformed`].
pub fn wait_empty(group: &Dir, limit: Duration) -> Result<bool, KernelError> {
    // The kernel passes on notices of cgroup.events at most once in 10 ms; a kill takes a fraction of one.
    // So it is read again soon, then less and less often.
    let begin = Instant::now();
    let mut pause = Duration::from_micros(100);
    while populated(group)? {
        if begin.elapsed() >= limit {
            return Ok(false);
        }
        std::thread::sleep(pause);
        if begin.elapsed() > Duration::from_millis(10) {
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }
    Ok(true)
}

/// The processes in the group and below it: how many, and the first of them by name.
///
/// Those on their way out are not counted: the kernel lists a process until its last thread is gone.
pub fn processes(group: &Dir) -> (u64, Vec<Process>) {
    let mut pids = Vec::new();
    collect_pids(group, &mut pids);
    pids.retain(|pid| process::is_alive(*pid));
    let listed = pids.iter().take(LISTED).copied().map(process::told);
    (pids.len() as u64, listed.collect())
}

/// The process ids in the group and below it.
pub fn pids(group: &Dir) -> Vec<u32> {
    let mut pids = Vec::new();
    collect_pids(group, &mut pids);
    pids
}

fn collect_pids(group: &Dir, pids: &mut Vec<u32>) {
    // Read whole, however long: a fork bomb has more pids than a small file has room for.
    if let Ok(text) = std::fs::read_to_string(group.path().join("cgroup.procs")) {
        pids.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
    }
    for entry in std::fs::read_dir(group.path()).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir())
            && let Ok(nested) = Dir::open(entry.path())
        {
            collect_pids(&nested, pids);
        }
    }
}

/// How often an OOM daemon in user space chose the group: the attribute `user.oomd_ooms`, which systemd-oomd and Meta's
/// oomd set before they kill. `None` if none did.
pub fn oomd_ooms(group: &Dir) -> Option<u64> {
    let mut value = [0; 20];
    let length = rustix::fs::fgetxattr(group, "user.oomd_ooms", &mut value).ok()?;
    std::str::from_utf8(value.get(..length)?).ok()?.trim_end_matches('\0').trim().parse().ok()
}

/// `usage_usec` of the text of `cpu.stat`: there with and without the cpu controller.
pub fn cpu_time(stat: &str) -> Option<Duration> {
    keyed(stat, "usage_usec").map(Duration::from_micros)
}
