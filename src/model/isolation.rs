//! What the environment allows: the tier, and limit by limit who holds it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How an attempt is kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tier {
    /// Unified cgroup v2 with memory, pids and cpu.
    Cgroup,
    /// A v2 group that kills and freezes, beside v1 controllers that limit (as root).
    Hybrid,
    /// No writable cgroup: process tree, rlimits, sampling.
    Process,
    /// `--isolation off`: nothing is limited.
    Off,
}

/// Who holds a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Enforcement {
    /// The kernel, at every instant; read back after it was written.
    Kernel,
    /// sandtest measures every few milliseconds and kills what is over.
    Sampled,
    /// Nobody.
    None,
}

/// A limit by the name that profile, results and messages share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitName {
    /// `memory_max`
    MemoryMax,
    /// `memory_swap_max`
    MemorySwapMax,
    /// `pids_max`
    PidsMax,
    /// `cpu_max`
    CpuMax,
}

/// What this environment gives, as probed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Isolation {
    /// The tier.
    pub tier: Tier,
    /// Who holds `memory_max`.
    pub memory_max: Enforcement,
    /// Who holds `memory_swap_max`.
    pub memory_swap_max: Enforcement,
    /// Who holds `pids_max`.
    pub pids_max: Enforcement,
    /// Who holds `cpu_max`.
    pub cpu_max: Enforcement,
    /// Why it is not more, each with the way out; empty when all limits are the kernel's.
    pub missing: Vec<Missing>,
}

/// Something the environment lacks, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// What is missing, as found: "the memory controller is not delegated to /sys/fs/cgroup/...".
    pub what: String,
    /// A command or lines that can be pasted.
    pub fix: String,
}

impl Isolation {
    /// Who holds `limit`.
    pub fn of(&self, limit: LimitName) -> Enforcement {
        match limit {
            LimitName::MemoryMax => self.memory_max,
            LimitName::MemorySwapMax => self.memory_swap_max,
            LimitName::PidsMax => self.pids_max,
            LimitName::CpuMax => self.cpu_max,
        }
    }

    /// The limits that `who` holds.
    pub fn held_by(&self, who: Enforcement) -> Vec<LimitName> {
        LimitName::ALL.into_iter().filter(|name| self.of(*name) == who).collect()
    }
}

impl LimitName {
    /// All of them, in the order in which they are shown.
    pub const ALL: [LimitName; 4] =
        [LimitName::MemoryMax, LimitName::MemorySwapMax, LimitName::PidsMax, LimitName::CpuMax];

    /// The name that profile, results and messages share.
    pub fn as_str(self) -> &'static str {
        match self {
            LimitName::MemoryMax => "memory_max",
            LimitName::MemorySwapMax => "memory_swap_max",
            LimitName::PidsMax => "pids_max",
            LimitName::CpuMax => "cpu_max",
        }
    }
}

impl fmt::Display for LimitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Tier::Cgroup => "cgroup",
            Tier::Hybrid => "hybrid",
            Tier::Process => "process",
            Tier::Off => "off",
        })
    }
}
