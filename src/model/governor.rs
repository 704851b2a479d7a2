//! What the governor decides, and why.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{AttemptId, Bytes};

/// How things stand, for the user's eye.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Nothing is held back.
    #[default]
    Green,
    /// Starts are held.
    Yellow,
    /// Jobs are frozen.
    Orange,
    /// Jobs are evicted.
    Red,
}

/// One decision with its reason.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// What was decided.
    pub action: Action,
    /// About which attempt; `None` if about the whole run.
    pub attempt: Option<AttemptId>,
    /// How things stand then.
    pub state: State,
    /// What was looked at.
    pub signal: Signal,
    /// What it said: bytes, or thousandths.
    pub value: u64,
    /// The line that it was held against, in the same unit.
    pub line: u64,
    /// What is left of the budget as it is now.
    pub left: Bytes,
    /// The budget as it is now: it follows what the rest of the machine needs.
    pub budget: Bytes,
    /// How fast the run grows, bytes a second.
    pub filling: Bytes,
    /// How many jobs are held: waiting to start although a slot is free, or frozen.
    pub held: u32,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Nothing starts for now.
    Hold,
    /// Starts go on.
    Release,
    /// The attempt stands still.
    Freeze,
    /// It goes on.
    Thaw,
    /// It is killed, and runs again later.
    Evict,
}

/// What was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signal {
    /// Memory left in the budget, against what is about to be needed. Bytes.
    Memory,
    /// How long a job has been frozen, against how long it worked before. Milliseconds.
    FrozenTime,
    /// Part of the time in which memory was waited for. Thousandths.
    MemoryPressure,
    /// Part of the time in which the editor waited for a processor. Thousandths.
    CpuPressure,
    /// Part of the time in which a disk was waited for. Thousandths.
    IoPressure,
    /// Pages that were given up and read again at once: memory is short, on a machine without PSI. Pages a second.
    Refaults,
    /// Times that the run was slowed at its `memory_high`. A second.
    MemoryHigh,
}

/// What the governor came to over a run.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Governed {
    /// The most jobs that ran at once.
    pub peak_concurrency: u32,
    /// Attempts evicted to make room.
    pub evictions: u64,
    /// Times a job was frozen.
    pub freezes: u64,
    /// How long starts were held.
    pub held: Duration,
    /// The least that was left of the budget.
    pub least_left: Option<Bytes>,
    /// Part of the time in which the editor waited for memory.
    pub editor_memory_stall: Option<Duration>,
}

impl State {
    /// The word that users see.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Green => "green",
            State::Yellow => "yellow",
            State::Orange => "orange",
            State::Red => "red",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
