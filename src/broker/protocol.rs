//! What is said between a run and the broker: one JSON object a line. Described for others in docs/protocol.md.
//!
//! ```text
//! run                                  broker
//!  │ hello {version} ─────────────────▶ │
//!  │ ◀───────────────────────── welcome │   or refused, and the connection ends
//!  │ declare, want, withdraw ─────────▶ │
//!  │ ◀──────────── grant, waits, share  │
//!  │ born, stopping, ending, ended ───▶ │
//!  │ ◀──────────── freeze, thaw, evict  │
//!  │ frozen, ended ───────────────────▶ │
//!  │ bye ─────────────────────────────▶ │   or the connection ends
//! ```
//!
//! Fields that are not known are passed over, so that a newer side may say more within a version; a message that is not
//! known is answered with `error` and passed over, too. What is no message at all ends the connection.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::model::governor::{Signal, State};
use crate::model::{AttemptId, Bytes, JobId, Verdict};
use crate::policy::broker::{self as policy, ClientId, Effect, Input, Priority, Refusal, UserId, Who, Why};
use crate::policy::governor::Ending;

use super::lines::{LONGEST, TooLong};

/// What this side speaks.
pub const VERSION: u32 = 1;

/// Names, kins and tokens are no longer than this, in bytes.
pub const LONGEST_NAME: usize = 256;

/// A run has no more groups than this, and a job takes no more of them.
pub const MOST_GROUPS: usize = 256;

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
    /// A job does not want to run any more.
    Withdraw {
        /// Which one.
        job: JobId,
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
    /// A request was not taken.
    NotTaken {
        /// Which one.
        #[serde(flatten)]
        of: Of,
        /// So many may wait.
        most: u64,
    },
    /// How things stand: the answer to `status`. Of others there are only counts and sizes.
    Status(Status),
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

/// For whom a broker decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// One user.
    User,
    /// All of them.
    System,
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

/// Why nothing of a run runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WaitsFor {
    /// The governor holds it.
    Held,
    /// Another one's turn is first.
    Turn,
    /// Its user has as much as it may.
    UserCap,
    /// A new broker hears first what still runs.
    Recovering,
    /// It has not done what it was asked to.
    Overdue,
}

/// How things stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Green to red.
    pub state: State,
    /// Runs.
    pub clients: u64,
    /// Jobs.
    pub running: u64,
    /// Of those, standing still.
    pub frozen: u64,
    /// Jobs that wait.
    pub waiting: u64,
    /// Bytes; `null` where nothing limits them.
    pub budget: Option<Bytes>,
    /// Bytes that all that run are expected to come to.
    pub reserved: Bytes,
    /// Bytes that are left before something is evicted; `null` where nothing limits them.
    pub left: Option<Bytes>,
}

/// Why a line is no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It was not kept.
    #[error(transparent)]
    TooLong(#[from] TooLong),
    /// It is no JSON, or a field is missing or of another type.
    #[error("not a message: {0}")]
    Malformed(String),
    /// A message of a newer side.
    #[error("a message of type {0:?} is not known here")]
    Unknown(String),
    /// Another version is spoken there.
    #[error("version {theirs} is spoken there, and version {VERSION} here")]
    Version {
        /// What the other side speaks.
        theirs: u32,
    },
    /// A field has more in it than may be.
    #[error("{field} is {found} long, and may be {most}")]
    TooMuch {
        /// Which.
        field: &'static str,
        /// How long it is.
        found: usize,
        /// How long it may be.
        most: usize,
    },
}

impl Fault {
    /// Whether the connection goes on: the other side may only be newer.
    pub fn is_survivable(&self) -> bool {
        matches!(self, Fault::Unknown(_))
    }
}

const TO_BROKER: [&str; 13] = [
    "hello", "declare", "limits", "want", "withdraw", "born", "frozen", "stopping", "ending", "ended",
    "sample", "status", "bye",
];
const TO_RUN: [&str; 11] = [
    "welcome",
    "refused",
    "grant",
    "freeze",
    "thaw",
    "evict",
    "waits",
    "share",
    "not-taken",
    "status",
    "error",
];

/// One line, with its end.
///
/// # Errors
/// [`Fault::TooMuch`] if it would be longer than the other side takes.
pub fn write(message: &impl Serialize) -> Result<Vec<u8>, Fault> {
    let mut line = serde_json::to_vec(message).map_err(|error| Fault::Malformed(error.to_string()))?;
    line.push(b'\n');
    match line.len() {
        found if found > LONGEST => Err(Fault::TooMuch { field: "the line", found, most: LONGEST }),
        _ => Ok(line),
    }
}

/// What a run has said.
///
/// # Errors
/// [`Fault`], if this is no message.
pub fn from_run(line: &[u8]) -> Result<ToBroker, Fault> {
    match read(line, &TO_BROKER) {
        Ok(ToBroker::Hello(hello)) if hello.version != VERSION => {
            Err(Fault::Version { theirs: hello.version })
        }
        Ok(message) => message.check().map(|()| message),
        // Whatever else is in the greeting of another version: that it is another one is what matters.
        Err(fault) => Err(match serde_json::from_slice::<Greeting>(line) {
            Ok(Greeting { kind, version }) if kind == "hello" && version != VERSION => {
                Fault::Version { theirs: version }
            }
            _ => fault,
        }),
    }
}

/// What the broker has said.
///
/// # Errors
/// [`Fault`], if this is no message.
pub fn from_broker(line: &[u8]) -> Result<ToRun, Fault> {
    read(line, &TO_RUN)
}

#[derive(Deserialize)]
struct Greeting {
    #[serde(rename = "type")]
    kind: String,
    version: u32,
}

#[derive(Deserialize)]
struct Kind {
    #[serde(rename = "type")]
    kind: String,
}

fn read<T: DeserializeOwned>(line: &[u8], known: &[&str]) -> Result<T, Fault> {
    serde_json::from_slice(line).map_err(|error| match serde_json::from_slice::<Kind>(line) {
        Ok(Kind { kind }) if !known.contains(&kind.as_str()) => {
            Fault::Unknown(kind.chars().take(LONGEST_NAME).collect())
        }
        _ => Fault::Malformed(error.to_string()),
    })
}

impl ToBroker {
    /// Whether nothing in it is larger than may be.
    fn check(&self) -> Result<(), Fault> {
        match self {
            ToBroker::Hello(hello) => {
                let lease = hello.lease.as_deref().unwrap_or_default();
                let outer = hello.inside.as_ref().map_or("", |inside| &inside.lease);
                name("run", &hello.run)?;
                name("lease", lease)?;
                name("inside.lease", outer)?;
                most("cgroup", hello.cgroup.as_ref().map_or(0, String::len), 4096)?;
                most("groups", hello.groups.len(), MOST_GROUPS)
            }
            ToBroker::Limits { groups, .. } => most("groups", groups.len(), MOST_GROUPS),
            ToBroker::Want(job) => job.check(),
            ToBroker::Declare { running, .. } => running.iter().try_for_each(Job::check),
            _ => Ok(()),
        }
    }

    /// What it means to the state machine. `None` for what is the connection's own business: the greeting (which needs to
    /// know who is there), a declaration in parts, samples, questions and farewells.
    pub fn input(self, client: ClientId) -> Option<Input> {
        Some(match self {
            ToBroker::Limits { parallel, groups } => Input::Limits(client, parallel, groups),
            ToBroker::Want(job) => Input::Want(client, job.request()),
            ToBroker::Withdraw { job } => Input::Withdraw(client, job),
            ToBroker::Born(of) => Input::Born(client, of.id()),
            ToBroker::Frozen(of) => Input::Frozen(client, of.id()),
            ToBroker::Stopping(of) => Input::Stopping(client, of.id()),
            ToBroker::Ending(of) => Input::Ending(client, of.id()),
            ToBroker::Ended { of, how, peak, again, .. } => {
                Input::Ended { client, id: of.id(), ending: how.ending(peak), again }
            }
            ToBroker::Hello(_)
            | ToBroker::Declare { .. }
            | ToBroker::Sample { .. }
            | ToBroker::Status {}
            | ToBroker::Bye {} => return None,
        })
    }
}

impl ToRun {
    /// What is said to whom about an effect; `None` where it is nothing to say. `patience`: see [`Order::within_ms`].
    pub fn of(effect: &Effect, patience_ms: Option<u64>) -> Option<(ClientId, ToRun)> {
        let order = |id: AttemptId| Order { of: Of::of(id), within_ms: patience_ms };
        Some(match *effect {
            Effect::Grant(client, id) => (client, ToRun::Grant(Of::of(id))),
            Effect::Freeze(client, id) => (client, ToRun::Freeze(order(id))),
            Effect::Thaw(client, id) => (client, ToRun::Thaw(Of::of(id))),
            Effect::Evict(client, id) => (client, ToRun::Evict(order(id))),
            Effect::Waits(client, wait) => (client, waits(wait)),
            Effect::Share(client, share) => {
                (client, ToRun::Share { memory: limited(share.memory), jobs: share.jobs })
            }
            Effect::Refuse(client, id, Refusal::TooMany { most }) => {
                (client, ToRun::NotTaken { of: Of::of(id), most: most as u64 })
            }
            Effect::Enforce(..) | Effect::Cap(_) | Effect::Decided(..) => return None,
        })
    }
}

fn waits(wait: policy::Wait) -> ToRun {
    let (why, hold) = match wait.why {
        Why::Held(hold) => (WaitsFor::Held, Some(hold)),
        Why::Turn => (WaitsFor::Turn, None),
        Why::UserCap => (WaitsFor::UserCap, None),
        Why::Recovering => (WaitsFor::Recovering, None),
        Why::Overdue => (WaitsFor::Overdue, None),
    };
    ToRun::Waits {
        ahead: wait.ahead,
        why,
        signal: hold.and_then(|hold| hold.signal),
        value: hold.map_or(0, |hold| hold.value.max(0.0) as u64),
        line: hold.map_or(0, |hold| hold.line.max(0.0) as u64),
    }
}

/// The largest number is none at all.
fn limited(bytes: Bytes) -> Option<Bytes> {
    (bytes.0 != u64::MAX).then_some(bytes)
}

impl From<&policy::Standing> for Status {
    fn from(standing: &policy::Standing) -> Status {
        let budget = limited(standing.budget);
        Status {
            state: standing.state,
            clients: standing.clients as u64,
            running: standing.running as u64,
            frozen: standing.frozen as u64,
            waiting: standing.waiting as u64,
            budget,
            reserved: standing.reserved,
            left: budget.and(limited(standing.left)),
        }
    }
}

impl Hello {
    /// What matters of it to the state machine. `user`: as the kernel says; `inside`: whose lease it named.
    pub fn who(&self, user: UserId, inside: Option<(ClientId, JobId)>) -> Who {
        Who {
            user,
            weight: self.weight,
            priority: self.priority,
            parallel: self.parallel,
            groups: self.groups.clone(),
            inside,
        }
    }
}

impl Job {
    /// The same for the state machine.
    pub fn request(&self) -> policy::Request {
        policy::Request {
            id: self.of.id(),
            kin: fnv(self.kin.as_bytes()),
            memory: self.memory,
            restartable: self.restartable,
            weight: self.weight.max(1),
            groups: self.groups.clone(),
        }
    }

    fn check(&self) -> Result<(), Fault> {
        name("kin", &self.kin)?;
        most("groups", self.groups.len(), MOST_GROUPS)
    }
}

impl Of {
    /// The same for others.
    pub fn id(self) -> AttemptId {
        AttemptId { job: self.job, number: self.attempt }
    }

    fn of(id: AttemptId) -> Of {
        Of { job: id.job, attempt: id.number }
    }
}

impl How {
    fn ending(self, peak: Option<Bytes>) -> Ending {
        match self {
            How::Finished => Ending::Finished { peak },
            How::Evicted => Ending::Evicted { peak },
            How::Otherwise => Ending::Otherwise,
        }
    }
}

fn name(field: &'static str, text: &str) -> Result<(), Fault> {
    most(field, text.len(), LONGEST_NAME)
}

fn most(field: &'static str, found: usize, most: usize) -> Result<(), Fault> {
    if found > most { Err(Fault::TooMuch { field, found, most }) } else { Ok(()) }
}

/// FNV-1a. Kins are told apart within one user's jobs only, so that nobody gains by a collision.
fn fnv(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

fn one() -> f64 {
    1.0
}

fn one_job() -> u32 {
    1
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests;
