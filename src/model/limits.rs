//! The limits of one cgroup, by the names of the kernel's files.

use serde::{Deserialize, Serialize};

use super::{Bytes, Cpus};

/// What one cgroup may use. `None` is the kernel's `max`: no limit of its own.
///
/// Names and meanings follow Documentation/admin-guide/cgroup-v2.rst; on v1 controllers each is written to
/// the file that does the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Limits {
    /// `memory.max`, bytes: what does not fit after reclaim is OOM-killed.
    pub memory_max: Option<Bytes>,
    /// `memory.high`, bytes: above it the group is throttled and reclaimed from. v2 only.
    pub memory_high: Option<Bytes>,
    /// `memory.swap.max`, bytes of swap; 0 keeps the group out of swap.
    pub memory_swap_max: Option<Bytes>,
    /// `pids.max`: processes and threads.
    pub pids_max: Option<u64>,
    /// `cpu.max`: CPUs' worth of time in each period of 100 ms.
    pub cpu_max: Option<Cpus>,
}
