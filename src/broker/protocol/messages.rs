//! All that can be said. docs/protocol.md has the same for others.

use serde::{Deserialize, Serialize};

use crate::model::governor::{Action, Signal, State};
use crate::model::view::{Scope, Status, WaitsFor};
use crate::model::{Bytes, JobId, Outcome, Verdict};
use crate::policy::broker::{Priority, Stand};

/// What a run says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum ToBroker {
    /// The first message.
    Hello(Hello),
    /// Just these of its attempts run. Said after `hello` by one who was somewhere else before.
    Declare {
        /// Those that run.
        running: Vec<Job>,
        /// Whether another such message follows with the rest.
        #[serde(default)]
        more: bool,
    },
    /// Its `--jobs` and the sizes of its groups have changed.
    Limits {
        /// Weight of jobs at once.
        parallel: u32,
        /// How many jobs may have each group at once.
        #[serde(default)]
        groups: Vec<u32>,
    },
    /// An attempt wants to run.
    Want(Job),
    /// A job does not want to run any more, or not now.
    Withdraw {
        /// Which one.
        job: JobId,
        /// Whether it will want to again.
        #[serde(default)]
        again: bool,
    },
    /// Its process has exec'd: it can be frozen.
    Born(Of),
    /// It stands still, as it should.
    Frozen(Of),
    /// It has been told to end.
    Stopping(Of),
    /// It is killed, for a reason of the run's own.
    Ending(Of),
    /// It is over, and its group is empty.
    Ended {
        /// Which one.
        #[serde(flatten)]
        of: Of,
        /// How.
        how: How,
        /// `memory.peak`, in bytes.
        #[serde(default)]
        peak: Option<Bytes>,
        /// Whether the job will want to run again.
        #[serde(default)]
        again: bool,
        /// What happened to it. For the metrics.
        #[serde(default)]
        outcome: Option<Outcome>,
        /// What its job came to, if that is known now. For the metrics.
        #[serde(default)]
        verdict: Option<Verdict>,
        /// Microseconds from the grant to the exec. For the metrics.
        #[serde(default)]
        setup_us: Option<u64>,
    },
    /// What its jobs hold: from one whose groups the broker can't look at.
    Sample {
        /// Those that run.
        jobs: Vec<Sampled>,
    },
    /// Asks for a [`ToRun::Status`].
    Status {},
    /// A job of one's own is to stand still until it is unpinned.
    Pin(OfRun),
    /// It may go on.
    Unpin(OfRun),
    /// A job of one's own is to be killed, and not to run again.
    Kill(OfRun),
    /// Nothing of it runs any more.
    Bye {},
}

/// Who a run is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// What it speaks.
    pub version: u32,
    /// Its name, for people.
    pub run: String,
    /// Weight of its jobs that may run at once.
    pub parallel: u32,
    /// How many of its jobs may have each of its groups at once.
    #[serde(default)]
    pub groups: Vec<u32>,
    /// Against other runs of the same user.
    #[serde(default = "one")]
    pub weight: f64,
    /// Whether somebody waits in front of it.
    #[serde(default)]
    pub priority: Priority,
    /// The lease that it had before its connection was lost.
    #[serde(default)]
    pub lease: Option<String>,
    /// The job in which it runs.
    #[serde(default)]
    pub inside: Option<Inside>,
    /// The v2 group of the run, from the root of the hierarchy. It must be the peer's own.
    #[serde(default)]
    pub cgroup: Option<String>,
    /// Bytes: `memory_max` of that group. The broker may lower it for as long as it decides.
    #[serde(default)]
    pub budget: Option<Bytes>,
}

/// A job of another run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inside {
    /// That one's lease; known from `SANDTEST_LEASE`.
    pub lease: String,
    /// Which of its jobs.
    pub job: JobId,
}

/// One attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Of {
    /// Place of its job in the run, from 0.
    pub job: JobId,
    /// From 1.
    pub attempt: u32,
}

/// One attempt of any of the user's runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfRun {
    /// Number of the run, as `status` has it.
    pub run: u32,
    /// Which of its attempts.
    #[serde(flatten)]
    pub of: Of,
}

/// An attempt with what is known of its job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Which one.
    #[serde(flatten)]
    pub of: Of,
    /// Jobs of one kin are likely to be alike, in whatever run of the same user.
    #[serde(default)]
    pub kin: String,
    /// Bytes that it was said to need.
    #[serde(default)]
    pub memory: Option<Bytes>,
    /// Whether it may be killed and run again.
    #[serde(default = "yes")]
    pub restartable: bool,
    /// For how many jobs it counts.
    #[serde(default = "one_job")]
    pub weight: u32,
    /// Numbers of the run's groups that it takes one of each.
    #[serde(default)]
    pub groups: Vec<u32>,
    /// Whether it is a token of make's jobserver: a place for a process of a job that runs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub token: bool,
    /// A job of the run that has a permit and waits for this one: of these, one at a time has a permit at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<JobId>,
    /// Whether that one goes on only once all of these run: each has a permit at once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub at_once: bool,
    /// Its name, for people.
    #[serde(default)]
    pub name: String,
    /// `memory_max` of its own group, for people.
    #[serde(default)]
    pub limit: Option<Bytes>,
    /// Of one that runs: milliseconds that it has worked, without the time in which it stood still.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub worked_ms: u64,
    /// Of one that runs: whether it stands still.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub frozen: bool,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// By itself.
    Finished,
    /// To make room.
    Evicted,
    /// In a way that teaches nothing.
    Otherwise,
}

/// What an attempt holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sampled {
    /// Which one.
    #[serde(flatten)]
    pub of: Of,
    /// Bytes, without page cache.
    pub memory: Bytes,
    /// Microseconds of processor time until now.
    #[serde(default)]
    pub cpu_us: Option<u64>,
}

/// What the broker says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum ToRun {
    /// The answer to `hello`.
    Welcome {
        /// What is spoken from now on.
        version: u32,
        /// To come back with, and for runs inside of its jobs. Nobody else's business.
        lease: String,
        /// Another one after each start of the broker.
        broker: String,
        /// For whom it decides.
        scope: Scope,
        /// It can't look at the run's groups: the run is to say `sample` this often, in milliseconds, while anything runs,
        /// and every 10 ms while memory is near its ceiling. `null`: it looks itself.
        #[serde(default)]
        sample_ms: Option<u64>,
    },
    /// The other answer to `hello`; the connection ends.
    Refused {
        /// Why.
        why: RefusedFor,
        /// What is spoken here.
        versions: Vec<u32>,
        /// For people.
        message: String,
    },
    /// The attempt may start.
    Grant(Of),
    /// It is to stand still.
    Freeze(Order),
    /// It may go on.
    Thaw(Of),
    /// It is to be killed; it may want to run again.
    Evict(Order),
    /// It is to be killed since its user wants that; it is not to run again.
    Kill(Order),
    /// Nothing of the run runs, and why.
    Waits {
        /// Runs that are asked before it.
        ahead: u32,
        /// Why.
        why: WaitsFor,
        /// What was looked at, where the governor holds it.
        signal: Option<Signal>,
        /// What it said: bytes, milliseconds, thousandths or events a second, as the signal has it.
        value: u64,
        /// The line that it was held against.
        line: u64,
    },
    /// What it may count on if the broker goes away.
    Share {
        /// Bytes; `null` where nothing limits them.
        memory: Option<Bytes>,
        /// Jobs.
        jobs: u32,
    },
    /// How things stand; said to those that have jobs, when it has changed.
    State(Stand),
    /// What the governor decided about one of its jobs, or about all starts, and why.
    Decided(Decided),
    /// A request was not taken.
    NotTaken {
        /// Which one.
        #[serde(flatten)]
        of: Of,
        /// So many may wait.
        most: u64,
    },
    /// How things stand: the answer to `status`. Of others there are only counts and sizes.
    Status(Box<Status>),
    /// What `pin`, `unpin` or `kill` asked for is on its way.
    Done(OfRun),
    /// Something that was said could not be understood, or was too much.
    Error {
        /// For people.
        message: String,
        /// Whether the connection ends.
        closing: bool,
    },
}

/// An attempt, and how soon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Which one.
    #[serde(flatten)]
    pub of: Of,
    /// Milliseconds after which the broker does it itself, where it can; `null`: it can't.
    pub within_ms: Option<u64>,
}

/// A decision of the governor, with its reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// What is done.
    pub action: Action,
    /// Of which job; `null`: of all that want to start.
    pub job: Option<JobId>,
    /// Which attempt of it.
    pub attempt: Option<u32>,
    /// How things stand then.
    pub state: State,
    /// What was looked at.
    pub signal: Signal,
    /// What it said: bytes, milliseconds, thousandths or events a second, as the signal has it.
    pub value: u64,
    /// The line that it was held against.
    pub line: u64,
    /// What is left of the budget then; `null` where nothing limits it.
    pub left: Option<Bytes>,
    /// The budget then; `null` where nothing limits it.
    pub budget: Option<Bytes>,
    /// How fast all jobs together grow, bytes a second.
    pub filling: Bytes,
    /// How many jobs of all runs are held: waiting although there is a place for them, or frozen.
    pub held: u32,
}

/// Why a run is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusedFor {
    /// It speaks another version.
    Version,
    /// As many are served as can be.
    Full,
    /// It is not who it says, or what it names is not its own.
    Denied,
    /// It did not say `hello` first, or not in time.
    Hello,
}

fn one() -> f64 {
    1.0
}

fn one_job() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn yes() -> bool {
    true
}
