//! The one stream that every report reads. What is not in an event, no report can show.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::diagnosis::Diagnosis;
use super::governor::{Decision, Governed};
use super::profile::Origin;
use super::retry::Unsettled;
use super::view::WaitView;
use super::{Attempt, AttemptId, Bytes, Cause, Evidence, Exit, Isolation, Limits, Outcome, RunId, Verdict};

/// Something that happened in a run, in the order in which it happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The first event.
    RunStarted(RunStarted),
    /// A job's process is alive.
    AttemptStarted(AttemptStarted),
    /// A job runs for long.
    Slow {
        /// Which attempt.
        attempt: Attempt,
        /// The job's name.
        job: String,
        /// For how long it has run, without the time in which it was frozen.
        elapsed: Duration,
    },
    /// A retry starts although the attempt before it is not settled.
    Unsettled {
        /// The retry.
        attempt: AttemptId,
        /// The job's name.
        job: String,
        /// What is not.
        what: Unsettled,
    },
    /// A job that failed should have been tried again, and the run ends before: it has failed.
    GivenUp {
        /// Its last attempt.
        attempt: AttemptId,
        /// The job's name.
        job: String,
    },
    /// The governor has decided something.
    Governor {
        /// When, since the run began.
        at: Duration,
        /// What, and why.
        decision: Decision,
        /// The name of the job that it is about.
        job: Option<String>,
    },
    /// Something has changed between the run and the broker that decides for it and others.
    Broker {
        /// When, since the run began.
        at: Duration,
        /// What.
        news: BrokerNews,
    },
    /// An attempt ended, its cgroup is empty and its evidence read.
    AttemptFinished(Box<AttemptFinished>),
    /// The last event.
    RunFinished(RunFinished),
}

/// What has changed between a run and its broker.
#[derive(Debug, Clone, PartialEq)]
pub enum BrokerNews {
    /// Nothing of the run runs, and others are asked before it.
    Waits {
        /// So many runs.
        ahead: u32,
        /// Why.
        wait: WaitView,
    },
    /// It is gone: nothing starts for a second.
    Lost,
    /// The run goes on by itself.
    Alone {
        /// With so much memory; `None` where nothing limits it.
        memory: Option<Bytes>,
        /// And so many jobs, whatever processors they use.
        jobs: u32,
    },
    /// It is there again, and decides.
    Back,
    /// It did not understand something: one of both is mistaken.
    Complaint {
        /// In its words.
        message: String,
    },
}

/// The broker that decides for a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerPlace {
    /// Its socket.
    pub socket: PathBuf,
    /// For whom it decides: `user`, `system`.
    pub scope: String,
}

/// What a run is about to do.
#[derive(Debug, Clone, PartialEq)]
pub struct RunStarted {
    /// The run's id.
    pub run: RunId,
    /// Its command line, or the file that its jobs are from.
    pub name: String,
    /// When it began, since 1970-01-01 UTC.
    pub time: Duration,
    /// Name of the profile in force.
    pub profile: String,
    /// What this environment allows.
    pub isolation: Isolation,
    /// What all jobs together may use, as read back.
    pub budget: Limits,
    /// How many jobs there are.
    pub jobs: usize,
    /// How many of them may run at once.
    pub parallel: usize,
    /// Sensors that the governor has to do without; empty without a governor.
    pub absent_sensors: Vec<String>,
    /// Whether this is one job with its streams passed through.
    pub pass_through: bool,
    /// Who decides for it; `None`: it does itself.
    pub broker: Option<BrokerPlace>,
}

/// One attempt's begin.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptStarted {
    /// Which one, and in which slot.
    pub attempt: Attempt,
    /// The job's name.
    pub job: String,
    /// Name of the job that brought it along and waits for it; `None` for those of the list.
    pub driver: Option<String>,
    /// When it was about to be spawned, since the run began.
    pub began: Duration,
    /// The limits that are in force, as read back.
    pub limits: Limits,
}

/// One attempt's end, with everything that is known of it.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptFinished {
    /// Which one, and in which slot.
    pub attempt: Attempt,
    /// The job's name.
    pub job: String,
    /// Name of the job that brought it along and waited for it; `None` for those of the list.
    pub driver: Option<String>,
    /// The test that it was at when it ended, as far as it says such things.
    pub test: Option<String>,
    /// What happened.
    pub outcome: Outcome,
    /// Whose doing it was.
    pub cause: Cause,
    /// What it means for the job; `None` if the job runs again.
    pub verdict: Option<Verdict>,
    /// Whether it makes a failure of the run.
    pub failed: bool,
    /// It failed, and is tried again after this time at the earliest.
    pub retry_in: Option<Duration>,
    /// Which of how many tries it was; attempts that ended for no reason of their own are none.
    pub tries: Tries,
    /// How its first process ended; `None` if it never began or could not be killed.
    pub exit: Option<Exit>,
    /// Why it never began.
    pub spawn_error: Option<SpawnError>,
    /// When it was about to be spawned, since the run began.
    pub began: Duration,
    /// When its first process ended, since the run began.
    pub ended: Duration,
    /// From the one to the other, without the time frozen.
    pub wall: Duration,
    /// Of it, how long it was frozen.
    pub frozen: Duration,
    /// What the kernel told.
    pub evidence: Evidence,
    /// The limits that were in force, as read back.
    pub limits: Limits,
    /// Which rule set a key, where one did; else the profile.
    pub origins: BTreeMap<String, Origin>,
    /// The time it was given.
    pub timeout: Option<Duration>,
    /// How long it might show no sign of life.
    pub idle_timeout: Option<Duration>,
    /// What it was doing when its time was up.
    pub diagnosis: Option<Box<Diagnosis>>,
    /// Where the whole of that is written.
    pub diagnosis_file: Option<PathBuf>,
    /// What it wrote, where that was captured.
    pub output: Option<Captured>,
}

/// Which of how many tries an attempt was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tries {
    /// From 1.
    pub this: u32,
    /// At least 1.
    pub most: u32,
}

/// Why a command could not be started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpawnError {
    /// What failed, in words: the program, the step, the system's answer.
    pub message: String,
    /// 127 not found, 126 not executable, 125 sandtest's own failure.
    pub exit_code: i32,
}

/// The kept part of an attempt's standard output and error, in the order in which they arrived.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Captured {
    /// The beginning.
    pub head: Vec<u8>,
    /// The end; empty if all of it fits into `head`.
    pub tail: Vec<u8>,
    /// Bytes written in all: `head`, what was left out, `tail`.
    pub total: u64,
    /// Where the whole of it is, if it did not fit.
    pub file: Option<PathBuf>,
    /// Bytes that the file lacks because it reached its cap.
    pub file_lacks: u64,
}

impl Captured {
    /// Bytes between `head` and `tail`.
    pub fn left_out(&self) -> u64 {
        self.total - (self.head.len() + self.tail.len()) as u64
    }
}

/// What a run came to.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct RunFinished {
    /// Jobs that passed, flaky ones among them.
    pub passed: u64,
    /// Jobs that did not.
    pub failed: u64,
    /// Jobs whose end sandtest did not see.
    pub unseen: u64,
    /// Jobs that failed first and passed later.
    pub flaky: u64,
    /// Jobs that never ran, because the run ended before.
    pub not_run: u64,
    /// Attempts that were ended for a reason not their own.
    pub evictions: u64,
    /// Processes left behind by commands, and killed.
    pub leaked: u64,
    /// Whether someone asked for the end.
    pub interrupted: bool,
    /// Why nothing more was started before all had run: `MaxFail`, `RunTimeout`, `NoPermit` or `Interrupted`.
    pub closed: Option<Cause>,
    /// What the governor came to; `None` without one.
    pub governed: Option<Governed>,
    /// The whole run.
    pub wall: Duration,
}
