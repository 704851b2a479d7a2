//! Limits and readings of the memory, pids and cpu controllers, v2 and v1.
//!
//! Limits are written through cgroups-rs' controllers, on directories that are ours, and then read back here:
//! a limit counts only if the kernel repeats it. What cgroups-rs lacks (`memory.oom.group`, events, peaks) is
//! written and read directly. Its builder, `apply` and `delete` are not used: they drop errors.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use cgroups_rs::fs::MaxValue;
use cgroups_rs::fs::cpu::CpuController;
use cgroups_rs::fs::memory::MemController;
use cgroups_rs::fs::pid::PidController;

use super::KernelError;
use super::files::{Dir, keyed};
use super::process::page_size;
use crate::model::{Bytes, Cpus, Limits};

/// Period of `cpu.max`, microseconds: the kernel's default.
const CPU_PERIOD: u64 = 100_000;

/// v1 writes "no limit" as the largest number of pages.
const V1_UNLIMITED: u64 = i64::MAX as u64 / 4096 * 4096;

/// Memory in the buffers of TCP sockets (cgroup-v1/memory.rst, 2.7.3).
const V1_SOCKETS: &str = "memory.kmem.tcp.limit_in_bytes";

/// Which generation of files a controller's directory has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// The v1 hierarchy of one controller.
    V1,
    /// A group of the v2 tree.
    V2,
}

/// Which controllers a v2 group has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Controllers {
    /// memory
    pub memory: bool,
    /// pids
    pub pids: bool,
    /// cpu
    pub cpu: bool,
}

impl Controllers {
    /// From the text of `cgroup.controllers` or `cgroup.subtree_control`.
    pub fn parse(text: &str) -> Controllers {
        let has = |name: &str| text.split_ascii_whitespace().any(|word| word == name);
        Controllers { memory: has("memory"), pids: has("pids"), cpu: has("cpu") }
    }
}

/// Gives the children of `group` the controllers that it has. Returns those that they then have.
///
/// # Errors
/// [`KernelError::Write`], with `EBUSY` while a process sits in `group` itself.
pub fn enable_controllers(group: &Dir) -> Result<Controllers, KernelError> {
    let available = Controllers::parse(&group.read("cgroup.controllers")?);
    let words = [("memory", available.memory), ("pids", available.pids), ("cpu", available.cpu)];
    let line: Vec<String> =
        words.iter().filter(|(_, there)| *there).map(|(name, _)| format!("+{name}")).collect();
    if !line.is_empty() {
        group.write("cgroup.subtree_control", &line.join(" "))?;
    }
    Ok(Controllers::parse(&group.read("cgroup.subtree_control")?))
}

/// Puts `limits` in force in a v2 group, as far as it has the controllers. Returns them as read back. `whole`: an
/// OOM kill takes all of the group.
///
/// # Errors
/// [`KernelError::Write`], [`KernelError::NotApplied`].
pub fn set_limits(dir: &Dir, limits: &Limits, has: &Controllers, whole: bool) -> Result<Limits, KernelError> {
    let mut set = Limits::default();
    if has.memory {
        // Before memory.max: a limit below what exec needs may kill at once, and the whole group must go with it.
        if whole && dir.has("memory.oom.group") {
            set_memory_oom_group(dir)?;
        }
        (set.memory_max, set.memory_swap_max) =
            set_memory(dir, Version::V2, limits.memory_max, limits.memory_swap_max)?;
        if let Some(high) = limits.memory_high {
            set.memory_high = Some(set_memory_high(dir, high)?);
        }
    }
    if let Some(max) = limits.pids_max.filter(|_| has.pids) {
        set.pids_max = Some(set_pids(dir, Version::V2, max)?);
    }
    if let Some(max) = limits.cpu_max.filter(|_| has.cpu) {
        set.cpu_max = Some(set_cpu(dir, Version::V2, max)?);
    }
    Ok(set)
}

/// Sets `memory.max` and `memory.swap.max` (v1: `memory.limit_in_bytes` and `memory.memsw.limit_in_bytes`).
/// Returns what is in force: rounded down to pages. `swap` is `None` for no limit of its own.
///
/// # Errors
/// [`KernelError::Write`], [`KernelError::NotApplied`]; for swap only when the kernel has the file.
pub fn set_memory(
    group: &Dir,
    version: Version,
    max: Option<Bytes>,
    swap: Option<Bytes>,
) -> Result<(Option<Bytes>, Option<Bytes>), KernelError> {
    let controller = MemController::new(group.path().to_owned(), PathBuf::new(), version == Version::V2);
    let (max_file, swap_file) = match version {
        Version::V1 => ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"),
        Version::V2 => ("memory.max", "memory.swap.max"),
    };
    let set = |max: Bytes| {
        controller.set_limit(signed(max.0)).map_err(|error| write_error(group, max_file, max.0, error))?;
        check(group, max_file, max)
    };
    let max = max.map(set).transpose()?;
    if let (Version::V1, Some(max)) = (version, max)
        && group.has(V1_SOCKETS)
    {
        // v2 counts the buffers of sockets as memory; v1 leaves them to the whole machine unless they have a limit.
        group.write(V1_SOCKETS, &max.0.to_string())?;
        check(group, V1_SOCKETS, max)?;
    }
    // v1 counts memory and swap together, and wants memory lowered first; without that it can't tell them apart.
    let offset = match (version, max) {
        (Version::V2, _) => Bytes(0),
        (Version::V1, Some(max)) => max,
        (Version::V1, None) => return Ok((None, None)),
    };
    let Some(swap) = swap.filter(|_| group.has(swap_file)) else {
        return Ok((max, None));
    };
    let value = Bytes(offset.0.saturating_add(swap.0));
    controller
        .set_memswap_limit(signed(value.0))
        .map_err(|error| write_error(group, swap_file, value.0, error))?;
    let found = check(group, swap_file, value)?;
    Ok((max, Some(Bytes(found.0 - offset.0.min(found.0)))))
}

/// Moves a v1 `memory.limit_in_bytes`, that of memory and swap with it where `swap` is limited (the second must never be
/// the smaller), and that of TCP buffers.
///
/// # Errors
/// [`KernelError::Write`], with `EBUSY` where the group holds more than `max`.
pub fn move_v1_limit(group: &Dir, max: Bytes, swap: Option<Bytes>) -> Result<(), KernelError> {
    let (memory, both) = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes");
    let number = |file| group.read_if_there(file).and_then(|text| text.parse::<u64>().ok());
    let value = max.0.to_string();
    let value_of_both = swap.map(|swap| max.0.saturating_add(swap.0).to_string());
    let raised = number(memory).is_some_and(|old| max.0 > old);
    if let Some(value) = value_of_both.as_ref().filter(|_| raised) {
        group.write(both, value)?;
    }
    group.write(memory, &value)?;
    if let Some(value) = value_of_both.as_ref().filter(|_| !raised) {
        group.write(both, value)?;
    }
    if group.has(V1_SOCKETS) { group.write(V1_SOCKETS, &value) } else { Ok(()) }
}

/// Swap that a v1 group may have beside its memory; `None` where that has no limit of its own.
pub fn v1_swap(group: &Dir) -> Option<Bytes> {
    let number = |file| group.read_if_there(file)?.parse::<u64>().ok();
    let both = number("memory.memsw.limit_in_bytes").filter(|both| *both < V1_UNLIMITED)?;
    Some(Bytes(both.saturating_sub(number("memory.limit_in_bytes")?)))
}

/// Sets `memory.high`, v2 only: above it the group is throttled.
///
/// # Errors
/// [`KernelError::Write`], [`KernelError::NotApplied`].
pub fn set_memory_high(group: &Dir, high: Bytes) -> Result<Bytes, KernelError> {
    group.write("memory.high", &high.0.to_string())?;
    check(group, "memory.high", high)
}

/// Makes an OOM kill take the whole group (`memory.oom.group`, Linux 4.19).
///
/// # Errors
/// [`KernelError::Write`], [`KernelError::NotApplied`].
pub fn set_memory_oom_group(group: &Dir) -> Result<(), KernelError> {
    group.set("memory.oom.group", "1")
}

/// Sets `pids.max`.
///
/// # Errors
/// [`KernelError::Write`], [`KernelError::NotApplied`].
pub fn set_pids(group: &Dir, version: Version, max: u64) -> Result<u64, KernelError> {
    PidController::new(group.path().to_owned(), PathBuf::new(), version == Version::V2)
        .set_pid_max(MaxValue::Value(signed(max)))
        .map_err(|error| write_error(group, "pids.max", max, error))?;
    compare(group, "pids.max", max.to_string())?;
    Ok(max)
}

/// Sets `cpu.max` (v1: `cpu.cfs_quota_us` and `cpu.cfs_period_us`).
///
/// # Errors
/// [`KernelError::Write`], [`KernelError::NotApplied`].
pub fn set_cpu(group: &Dir, version: Version, max: Cpus) -> Result<Cpus, KernelError> {
    let quota = max.milli * CPU_PERIOD / 1000;
    // Not `set_cfs_quota`: on v2 it takes 0 as no limit, without a word.
    CpuController::new(group.path().to_owned(), PathBuf::new(), version == Version::V2)
        .set_cfs_quota_and_period(Some(signed(quota)), Some(CPU_PERIOD))
        .map_err(|error| write_error(group, "cpu.max", quota, error))?;
    match version {
        Version::V1 => {
            compare(group, "cpu.cfs_quota_us", quota.to_string())?;
            compare(group, "cpu.cfs_period_us", CPU_PERIOD.to_string())?;
        }
        Version::V2 => compare(group, "cpu.max", format!("{quota} {CPU_PERIOD}"))?,
    }
    Ok(max)
}

/// The file of a group's limit of memory.
pub fn memory_max_file(version: Version) -> &'static str {
    match version {
        Version::V1 => "memory.limit_in_bytes",
        Version::V2 => "memory.max",
    }
}

/// The largest amount of memory that was charged: `memory.peak` (Linux 5.19), v1 `memory.max_usage_in_bytes`.
pub fn memory_peak(group: &Dir, version: Version) -> Option<Bytes> {
    let file = match version {
        Version::V1 => "memory.max_usage_in_bytes",
        Version::V2 => "memory.peak",
    };
    group.read_if_there(file)?.parse().ok().map(Bytes)
}

/// No more than this is not told apart from what the kernel charges in advance: a batch of 64 pages.
pub const LEAST_SHARED: Bytes = Bytes(256 << 10);

/// Shared memory and files in tmpfs, in the group and below it. `None` for next to nothing.
///
/// What is charged in all is one number to read; only where that is more than next to nothing are the statistics.
pub fn shared_memory(group: &Dir, version: Version) -> Option<Bytes> {
    let charged = match version {
        Version::V1 => "memory.usage_in_bytes",
        Version::V2 => "memory.current",
    };
    let charged: u64 = group.read_if_there(charged)?.parse().ok()?;
    if charged <= LEAST_SHARED.0 {
        return None;
    }
    let shared = shared_in(&group.read_if_there("memory.stat")?, version).map(Bytes);
    shared.filter(|shared| *shared > LEAST_SHARED)
}

/// `shmem` in the text of `memory.stat`; in v1 `total_shmem`, and where a kernel lacks that what is
/// cache and on no list of files.
fn shared_in(stat: &str, version: Version) -> Option<u64> {
    if version == Version::V2 {
        return keyed(stat, "shmem");
    }
    let of_files =
        || Some(keyed(stat, "total_active_file")?.saturating_add(keyed(stat, "total_inactive_file")?));
    keyed(stat, "total_shmem").or_else(|| Some(keyed(stat, "total_cache")?.saturating_sub(of_files()?)))
}

/// Processes and threads at the most: `pids.peak` (Linux 6.1).
pub fn pids_peak(group: &Dir) -> Option<u64> {
    group.read_if_there("pids.peak")?.parse().ok()
}

/// Forks refused: `max` of `pids.events`.
pub fn pids_max_events(group: &Dir) -> Option<u64> {
    keyed(&group.read_if_there("pids.events")?, "max")
}

/// Time held back by `cpu.max`, in the text of `cpu.stat`: `throttled_usec`, v1 `throttled_time` (nanoseconds).
pub fn cpu_throttled(stat: &str, version: Version) -> Option<Duration> {
    match version {
        Version::V1 => keyed(stat, "throttled_time").map(Duration::from_nanos),
        Version::V2 => keyed(stat, "throttled_usec").map(Duration::from_micros),
    }
}

/// Reads a limit of memory back and compares it after rounding to pages, as the kernel does.
fn check(group: &Dir, file: &str, wanted: Bytes) -> Result<Bytes, KernelError> {
    let found = group.read(file)?;
    let rounded = wanted.0 / page_size() * page_size();
    let in_force = match found.as_str() {
        "max" => u64::MAX,
        number => number.parse().unwrap_or(u64::MAX),
    };
    if in_force != rounded && !(rounded >= V1_UNLIMITED && in_force >= V1_UNLIMITED) {
        return Err(not_applied(group, file, wanted.0.to_string(), found));
    }
    Ok(Bytes(rounded))
}

fn compare(group: &Dir, file: &str, wanted: String) -> Result<(), KernelError> {
    let found = group.read(file)?;
    if found == wanted { Ok(()) } else { Err(not_applied(group, file, wanted, found)) }
}

fn not_applied(group: &Dir, file: &str, wanted: String, found: String) -> KernelError {
    KernelError::NotApplied { path: group.path().join(file), wanted, found }
}

fn write_error(group: &Dir, file: &str, value: u64, error: cgroups_rs::fs::error::Error) -> KernelError {
    let cause = std::error::Error::source(&error).and_then(|cause| cause.downcast_ref::<io::Error>());
    let source = match cause.and_then(io::Error::raw_os_error) {
        Some(errno) => io::Error::from_raw_os_error(errno),
        None => io::Error::other(error.to_string()),
    };
    KernelError::Write { path: group.path().join(file), value: value.to_string(), source }
}

/// cgroups-rs takes signed numbers; what does not fit is more than any machine has.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_memory_is_told_from_page_cache() {
        assert_eq!(shared_in("anon 1\nfile 30\nshmem 20\n", Version::V2), Some(20));
        assert_eq!(shared_in("shmem 1\ntotal_shmem 20\n", Version::V1), Some(20));
        let old = "total_cache 30\ntotal_inactive_file 8\ntotal_active_file 2\n";
        assert_eq!(shared_in(old, Version::V1), Some(20));
        assert_eq!(shared_in("", Version::V1), None);
    }
}
