//! What goes into the broker, and what comes out.
//!
//! Attempts carry the numbers that their own run gave them; together with the client they are unique.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::governor::{Decision, State};
use crate::model::reading::{JobReading, Reading};
use crate::model::{AttemptId, Bytes, JobId};
use crate::policy::governor::{self, Ending, Hold};

/// One connection: a run, or one that runs inside of another's job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClientId(pub u32);

/// Whoever the kernel says is at the other end (`SO_PEERCRED`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UserId(pub u32);

/// How the broker works.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// The law over all that runs.
    pub governor: governor::Settings,
    /// Requests of one client that may wait at once. More are refused, so that memory is bounded.
    pub requests: usize,
    /// How long a client may take to freeze or evict what it is asked to; `None` where nobody could do it in its stead.
    pub patience: Option<Duration>,
    /// Until then nothing new starts: those that ran under the broker before tell what still runs.
    pub recovering: Option<Duration>,
}

/// A client, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Who {
    /// Whose run.
    pub user: UserId,
    /// Its name, for people.
    #[serde(default)]
    pub name: String,
    /// For how much it counts against other runs of the same user; 1 is usual.
    pub weight: f64,
    /// Whether somebody waits in front of it.
    pub priority: Priority,
    /// Weight of its jobs that may run at once (its `--jobs`).
    pub parallel: u32,
    /// How many of its jobs may have each of its groups at once.
    pub groups: Vec<u32>,
    /// The job in which it runs, if it runs in one of another client.
    pub inside: Option<(ClientId, JobId)>,
}

impl Who {
    /// A run of which nothing else is said.
    pub fn of(user: UserId, parallel: u32) -> Who {
        Who {
            user,
            name: String::new(),
            weight: 1.0,
            priority: Priority::Interactive,
            parallel,
            groups: Vec::new(),
            inside: None,
        }
    }
}

/// Among runs of one user. Between users only shares count, or everyone would be in a hurry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Priority {
    /// First.
    #[default]
    Interactive,
    /// When no interactive one waits, and now and then nevertheless.
    Batch,
}

/// What a user may have.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Terms {
    /// Against other users; 1 is usual.
    pub weight: f64,
    /// Its jobs together; one may always run.
    pub memory_max: Option<Bytes>,
    /// Weight of its jobs at once.
    pub jobs_max: Option<u32>,
}

impl Default for Terms {
    fn default() -> Terms {
        Terms { weight: 1.0, memory_max: None, jobs_max: None }
    }
}

/// An attempt that wants to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Which one.
    pub id: AttemptId,
    /// Jobs of one user and one kin are likely to be alike, in whatever run.
    pub kin: u64,
    /// What it was said to need.
    pub memory: Option<Bytes>,
    /// Whether it may be killed and run again.
    pub restartable: bool,
    /// For how many jobs it counts; at least 1.
    pub weight: u32,
    /// Numbers of the client's groups that it takes one of each.
    pub groups: Vec<u32>,
    /// Whether it is a token of make's jobserver: a place for a process of a job that runs, which has its memory there.
    #[serde(default)]
    pub token: bool,
    /// A job of the same client that runs, and waits for this one: of these, one at a time starts at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<JobId>,
    /// Whether that one goes on only once all that it brings along run: this one may not wait.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub at_once: bool,
    /// For people. Nothing is decided by it.
    #[serde(default)]
    pub about: About,
}

/// What people are told of a job.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Its name; empty where nobody is there to be told.
    pub name: String,
    /// `memory_max` of its own group.
    pub limit: Option<Bytes>,
}

/// What has happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Input {
    /// A client is there. `instead_of`: the one that it was before its connection was lost.
    Hello {
        /// A number that nobody ever had.
        client: ClientId,
        /// Who it is.
        who: Who,
        /// What it ran goes on under the new number.
        instead_of: Option<ClientId>,
    },
    /// The job in which a client runs, which is known only now: the run around it has come after it.
    Inside(ClientId, (ClientId, JobId)),
    /// Of this client just these run, whatever was granted: it says so when it comes to a broker that does not know it.
    Declare(ClientId, Vec<Request>),
    /// More of one that it declared.
    Declared {
        /// Whose.
        client: ClientId,
        /// Which.
        id: AttemptId,
        /// How long it has worked, without the time in which it stood still.
        worked: Duration,
        /// Whether it stands still: somebody wanted that before.
        frozen: bool,
    },
    /// A client's `--jobs` and the sizes of its groups, from now on.
    Limits(ClientId, u32, Vec<u32>),
    /// An attempt wants to run.
    Want(ClientId, Request),
    /// A job does not want to run any more, or not now.
    Withdraw {
        /// Whose.
        client: ClientId,
        /// Which.
        job: JobId,
        /// Whether it will want to again: it keeps its seniority.
        again: bool,
    },
    /// An attempt's process has exec'd: it can be frozen.
    Born(ClientId, AttemptId),
    /// The client has done what it was asked to: the attempt stands still.
    Frozen(ClientId, AttemptId),
    /// The attempt has been told to end: it is neither frozen nor evicted any more.
    Stopping(ClientId, AttemptId),
    /// The attempt is killed for a reason of its own.
    Ending(ClientId, AttemptId),
    /// The attempt is over, its group is empty.
    Ended {
        /// Whose.
        client: ClientId,
        /// Which.
        id: AttemptId,
        /// As far as it teaches something.
        ending: Ending,
        /// Whether the job will want to run again: it keeps its seniority.
        again: bool,
    },
    /// The connection is gone, the client's process is not.
    Lost(ClientId),
    /// The client is gone, and its jobs with it.
    Gone(ClientId),
    /// What a user may have from now on.
    Terms(UserId, Terms),
    /// The budget from now on.
    Budget(Option<Bytes>),
    /// [`super::Broker::next_look`] has come. The machine as it was seen (its `jobs` empty), and whose jobs held what.
    Sensed(Box<Reading>, Vec<(ClientId, JobReading)>),
    /// All that ran under the broker before has been declared, or is gone.
    Recovered,
    /// Nobody looked for so long: nobody is charged for it.
    Gap(Duration),
    /// [`super::Broker::next_deadline`] has come.
    Tick,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Tell the client: the attempt may start.
    Grant(ClientId, AttemptId),
    /// Tell the client: let it stand still, and say so.
    Freeze(ClientId, AttemptId),
    /// Tell the client: let it go on.
    Thaw(ClientId, AttemptId),
    /// Tell the client: kill it; it may want to run again.
    Evict(ClientId, AttemptId),
    /// Tell the client: kill it, since its user wants that; it is not to run again.
    Kill(ClientId, AttemptId),
    /// The client did not do it in time. Where the broker has the right, it does so itself.
    Enforce(ClientId, Option<AttemptId>, Force),
    /// Set `memory.max` over all that runs.
    Cap(Bytes),
    /// Tell the client why nothing of it runs.
    Waits(ClientId, Wait),
    /// Tell the client what it may count on.
    Share(ClientId, Share),
    /// Tell the client how things stand.
    Stands(ClientId, Stand),
    /// Tell the client that its request was not taken.
    Refuse(ClientId, AttemptId, Refusal),
    /// What the governor decided, and about whose attempt.
    Decided(Option<ClientId>, Decision),
}

/// What is done to a client that does not do it itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    /// `cgroup.freeze` of the attempt's group.
    Freeze,
    /// `cgroup.kill` of the attempt's group; of all the client's where no attempt is named.
    Kill,
}

/// A place among those that wait.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wait {
    /// Clients that are asked before it.
    pub ahead: u32,
    /// Why.
    pub why: Why,
}

/// Why a client waits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Why {
    /// The governor holds it.
    Held(Hold),
    /// Another one has waited for longer, and is not overtaken.
    Turn,
    /// Its user has as much as it may.
    UserCap,
    /// Those that ran under the broker before tell first what still runs.
    Recovering,
    /// It has not done what it was asked to.
    Overdue,
}

/// What a client may count on if this broker goes away and it goes on by itself. All of these together are no more than
/// there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Bytes; the largest number where nothing limits them. It may hold more at the moment, while others want little.
    pub memory: Bytes,
    /// Jobs, at least 1.
    pub jobs: u32,
}

/// How things stand, as far as it matters to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stand {
    /// Green to red.
    pub state: State,
    /// Whether nobody is kept waiting (PSI) for longer than the line allows: retries wait for that.
    pub calm: bool,
    /// Whether memory is near its ceiling, so that it is looked at often.
    pub near: bool,
    /// Whether jobs of others run: what is evicted then was not alone.
    pub company: bool,
}

impl Default for Stand {
    fn default() -> Stand {
        Stand { state: State::Green, calm: true, near: false, company: false }
    }
}

/// Why a request was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// So many of this client wait already.
    TooMany {
        /// As many as may.
        most: usize,
    },
}
