//! The settings of a run: a profile after inheritance, with every percentage resolved against this host.

use std::collections::BTreeMap;
use std::time::Duration;

use super::retry::{FlakyResult, LeakPolicy, Retry};
use super::{Bytes, Limits};

/// A resolved profile. Made by `crate::profile`; every field is in force as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// The name it is asked for by: `native`, `wsl2`, or a user's own.
    pub name: String,
    /// What all jobs together may use: the limits of the run's parent cgroup.
    pub budget: Limits,
    /// Memory that was taken off first, for the editor and everything else.
    pub reserve: Bytes,
    /// What one attempt's own cgroup may use.
    pub job: JobSettings,
    /// Parallel jobs when `-j` is not given; at least 1.
    pub jobs: Parallelism,
    /// Headroom lines of the governor, in percent of visible memory.
    pub pressure: PressureLines,
    /// Names of processes that belong to the editor.
    pub protect: Vec<String>,
    /// How long the whole run may take; `None` is for ever.
    pub run_timeout: Option<Duration>,
    /// How long a retry waits for its last attempt to be settled.
    pub settle_timeout: Duration,
    /// Named resources that jobs share, and how many of them may have each at once; at least 1.
    pub groups: BTreeMap<String, u32>,
    /// Which line of which file set a key: `job.memory_max` -> where.
    pub origins: BTreeMap<String, Origin>,
}

/// What a profile says of each attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct JobSettings {
    /// Limits of the attempt's cgroup.
    pub limits: Limits,
    /// `RLIMIT_NOFILE`, soft; `None` leaves what sandtest was started with.
    pub nofile: Option<u64>,
    /// Written to `/proc/self/oom_score_adj` before exec, so that the kernel takes a test before the editor.
    pub oom_score_adj: i16,
    /// How long an attempt may run; `None` is for ever.
    pub timeout: Option<Duration>,
    /// An attempt that runs longer is told of, once in each such period; `None` never.
    pub slow_after: Option<Duration>,
    /// How long an attempt may use no processor and write nothing; `None` is for ever.
    pub idle_timeout: Option<Duration>,
    /// Run when an attempt's time is up, before any signal: a debugger that says where it hangs.
    pub on_timeout: Option<OnTimeout>,
    /// Time between the stop signal and the kill.
    pub grace: Duration,
    /// How a failure is tried again.
    pub retry: Retry,
    /// What a job that failed and then passed counts as.
    pub flaky_result: FlakyResult,
    /// What is made of things left behind.
    pub leak: LeakPolicy,
    /// `PR_SET_NO_NEW_PRIVS`: setuid programs give nothing.
    pub no_new_privs: bool,
    /// Whether root's capabilities are taken from the jobs.
    pub drop_capabilities: bool,
}

/// A command that looks at an attempt whose time is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnTimeout {
    /// Its words; `{pid}` in them is the attempt's first process.
    pub command: Vec<String>,
    /// How long it may take.
    pub limit: Duration,
}

/// Bounds of the number of jobs at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parallelism {
    /// Never fewer, at least 1.
    pub min: usize,
    /// Never more, however busy.
    pub max: usize,
    /// Never more, however idle: as many may run while they leave processors free, as measured.
    pub idle_max: usize,
}

/// Where free memory changes the governor's mind, in percent of what is visible.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PressureLines {
    /// Below it nothing new starts.
    pub yellow: f64,
    /// Below it the newest are frozen.
    pub orange: f64,
    /// Below it one is evicted.
    pub red: f64,
    /// Waited for so much of the time (PSI), and nothing new starts.
    pub stall: f64,
}

/// The place that set a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The file as the user knows it: a path, or `built-in wsl2.yaml`.
    pub file: String,
    /// 1-based.
    pub line: usize,
    /// The value as written there.
    pub text: String,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}
