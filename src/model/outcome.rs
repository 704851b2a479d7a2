//! What happened to an attempt, the evidence for it, and what it means for the job.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::retry::FlakyResult;
use super::{Bytes, Leftovers};

/// How the attempt's first process ended, as `waitid(2)` told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exit {
    /// `_exit` with this code.
    Code(i32),
    /// Killed by this signal.
    Signal(i32),
}

/// What happened to an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It exited by itself.
    Exited,
    /// A signal ended it that was not ours.
    Signaled,
    /// A process of it was OOM-killed by the attempt's own limit.
    Oom,
    /// It hit `pids_max` and failed.
    Pids,
    /// Its time was up.
    Timeout,
    /// It was ended for a reason that is not its own: it runs again.
    Evicted,
    /// It never began.
    SpawnFailed,
}

/// What an outcome means for the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Exit code 0.
    Pass,
    /// Anything else that is its own doing.
    Fail,
    /// Failed, then passed.
    Flaky,
    /// Passed, but left something behind (where the profile makes that a failure).
    Leak,
    /// Nothing can be said of the job: its environment failed it.
    Infra,
    /// Sandtest did not see how it ended: only the command that started it did, or the run was killed.
    Unseen,
}

/// Among which jobs one is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// Those that passed.
    Passed,
    /// Those that failed.
    Failed,
    /// Neither: nobody told us.
    Unseen,
}

impl Verdict {
    /// What it counts as, with this said of flaky ones.
    pub fn counted(self, flaky: FlakyResult) -> Counted {
        match self {
            Verdict::Pass => Counted::Passed,
            Verdict::Flaky if flaky == FlakyResult::Pass => Counted::Passed,
            Verdict::Flaky | Verdict::Fail | Verdict::Leak | Verdict::Infra => Counted::Failed,
            Verdict::Unseen => Counted::Unseen,
        }
    }
}

/// Why an attempt ended the way it did, beyond its outcome; for people and for the scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// Its own doing.
    Own,
    /// The budget of the run was full, not the attempt's own limit.
    Budget,
    /// The budget of the run was full while nothing else of it ran: of what no process holds.
    Filled,
    /// The kernel's system-wide OOM killer, or a limit above the run.
    Outside,
    /// The broker killed it itself, since the run did not do in time what it was asked to.
    Broker,
    /// Someone asked the run to end.
    Interrupted,
    /// Its user had just this one killed.
    ByHand,
    /// So many others had failed that the run was to end at once.
    MaxFail,
    /// The command that had started it was over.
    Abandoned,
    /// The time of the command that had started it was up.
    CommandTimeout,
    /// It showed no sign of life for its idle time-out.
    Idle,
    /// The time of the whole run was up.
    RunTimeout,
    /// Nothing of the run could be started in the time that it was to wait for that.
    NoPermit,
}

/// A process seen alive when it should not be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its id at that time.
    pub pid: u32,
    /// `/proc/PID/comm`.
    pub name: String,
    /// The beginning of `/proc/PID/cmdline`, as a shell would read it.
    #[serde(default)]
    pub command: String,
    /// The TCP addresses and unix sockets at which it took connections.
    #[serde(default)]
    pub listening: Vec<String>,
}

/// What was read from the kernel about one attempt, once its cgroup was empty. Absent readings are `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// `memory.peak`, or v1 `memory.max_usage_in_bytes`, or the largest sample.
    pub memory_peak: Option<Bytes>,
    /// `pids.peak`, or the largest sample.
    pub pids_peak: Option<u64>,
    /// `oom_kill` of `memory.events.local` or v1 `memory.oom_control`. A flag, never a count of processes.
    pub oom_kill: Option<u64>,
    /// How often the attempt's own limit was the one that was full.
    pub oom_own: Option<u64>,
    /// Whether the run's budget was full during the attempt.
    pub oom_budget: Option<u64>,
    /// What all jobs together could have then: the budget, or less where the rest of the machine needed it. Only asked
    /// where a process was OOM-killed.
    pub budget_max: Option<Bytes>,
    /// `max` of `pids.events`: forks refused by `pids_max`.
    pub pids_max_events: Option<u64>,
    /// Whose limit refused them: `pids.events` counts where the fork was tried, whichever limit it met.
    pub pids_refused_by: Option<Cause>,
    /// `usage_usec` of `cpu.stat`.
    pub cpu_time: Option<Duration>,
    /// `throttled_usec` of `cpu.stat`: time held back by `cpu_max`.
    pub cpu_throttled: Option<Duration>,
    /// Alive when the command had ended, and killed.
    pub leaked: Vec<Process>,
    /// More than could be listed.
    pub leaked_count: u64,
    /// Still alive after the kill: in an uninterruptible sleep.
    pub unkillable: bool,
    /// How often systemd-oomd, or Meta's oomd, set out to kill it: `user.oomd_ooms` of its group. Only asked of what
    /// died by a SIGKILL that nobody owns up to.
    pub oomd_ooms: Option<u64>,
    /// Killed by sandtest because a sample was over this limit.
    pub sampled_over: Option<super::LimitName>,
    /// What it left beside processes.
    #[serde(default, skip_serializing_if = "Leftovers::is_empty")]
    pub left: Leftovers,
}

impl Evidence {
    /// Whether it left something behind that no other job can have left.
    pub fn left_something(&self) -> bool {
        self.leaked_count > 0 || self.left.is_certain()
    }

    /// Whether all that it left were files in its own temporary directory, and they are gone with it.
    pub fn left_only_rubbish(&self) -> bool {
        let removed = self.left.files.as_ref().is_some_and(|files| files.kept.is_none());
        removed && self.leaked_count == 0 && self.left.objects.is_empty() && self.left.memory.is_none()
    }
}
