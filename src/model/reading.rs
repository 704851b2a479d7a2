//! What the sensors said at one moment: the governor's whole view of the world.
//!
//! Whole numbers only, so that a written record reads back as it was.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{AttemptId, Bytes};

/// One look at the run, its jobs and the machine. `None` is a sensor that is not there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// What the run holds and nobody can take back: charged memory less page cache that can be reclaimed.
    pub usage: Bytes,
    /// All that is charged to the run: its cap must not go below.
    pub charged: Bytes,
    /// The run's cap as it is in force; `None` without one.
    pub cap: Option<Bytes>,
    /// What the machine and the groups above the run could still give: the smallest of MemAvailable and, of each
    /// group above, its limit less what it holds.
    pub available: Option<Bytes>,
    /// The running attempts.
    pub jobs: Vec<JobReading>,
    /// Time lost to a lack of something, since some time in the past (Documentation/accounting/psi.rst, `total`).
    pub stalls: Stalls,
    /// Pages that were read again soon after they were given up (`workingset_refault_*` of `/proc/vmstat`), since some
    /// time in the past. Looked at where the machine has no PSI.
    pub refaults: Option<u64>,
    /// How often the run was slowed at its `memory.high` (`high` of `memory.events`), since it began.
    pub high: Option<u64>,
}

/// One running attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobReading {
    /// Which one.
    pub id: AttemptId,
    /// `memory.current` less page cache.
    pub memory: Bytes,
    /// `usage_usec` of `cpu.stat`. Not read at every look.
    pub cpu: Option<Duration>,
}

/// Who was kept waiting, for what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stalls {
    /// The whole machine: `/proc/pressure`. Absent in a container, where it would be the node's.
    pub system: Option<Stall>,
    /// The run's own group.
    pub run: Option<Stall>,
    /// The group of the editor.
    pub editor: Option<Stall>,
}

/// PSI `total` of one group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stall {
    /// Some task waited for memory.
    pub memory_some: Duration,
    /// All tasks waited for memory.
    pub memory_full: Duration,
    /// Some task waited for a processor.
    pub cpu_some: Duration,
    /// Some task waited for a disk.
    pub io_some: Duration,
    /// All tasks waited for a disk.
    pub io_full: Duration,
}
