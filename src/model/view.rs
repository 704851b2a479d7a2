//! How things stand at a broker, for one of its users: own runs in full, of others only counts and sizes.
//!
//! What `status` answers and `sandtest top` draws. Times are in milliseconds, as the protocol has them.

use serde::{Deserialize, Serialize};

use super::governor::{Action, Decision, Signal, State};
use super::{AttemptId, Bytes, JobId};

/// For whom a broker decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// One user.
    User,
    /// All of them.
    System,
}

/// What `status` answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// For whom the broker decides.
    pub scope: Scope,
    /// Which broker this is: another one after each start.
    pub broker: String,
    /// Version of the program.
    pub program: String,
    /// Milliseconds since it was started.
    pub up_ms: u64,
    /// All else, for the user who asked.
    #[serde(flatten)]
    pub view: View,
}

/// All that one user is shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct View {
    /// Green to red.
    pub state: State,
    /// What was looked at last, and why it is not green; `None` where nothing is held.
    pub reason: Option<Reason>,
    /// Bytes that all jobs together may use now; `None` where nothing limits them.
    pub budget: Option<Bytes>,
    /// Bytes that all jobs hold now, without page cache that can be taken back.
    pub used: Bytes,
    /// Bytes that all that run are expected to come to.
    pub reserved: Bytes,
    /// Bytes that are left before something is evicted; `None` where nothing limits them.
    pub left: Option<Bytes>,
    /// How fast memory fills, bytes a second.
    pub filling: Bytes,
    /// Jobs that are held: waiting although there is a place for them, or frozen by the governor.
    pub held: u32,
    /// Who is kept waiting for what.
    pub pressure: Pressure,
    /// Runs of all users.
    pub runs: u64,
    /// Jobs that run, frozen ones too, without those that ride in another's room.
    pub running: u64,
    /// Of those, standing still.
    pub frozen: u64,
    /// Jobs that wait.
    pub waiting: u64,
    /// Users: the one who asked first, then who has most.
    pub users: Vec<UserView>,
    /// Runs of the one who asked, the oldest first.
    pub own: Vec<RunView>,
}

/// Why starts are held, or jobs stand still.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// What was looked at; `None` for processors that are busy.
    pub signal: Option<Signal>,
    /// What it said: bytes, milliseconds, thousandths or events a second, as the signal has it.
    pub value: u64,
    /// The line that it was held against.
    pub line: u64,
}

/// Who was kept waiting in the last second or so; `None` where that is not known, or not any more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pressure {
    /// The whole machine.
    pub system: Option<Stalled>,
    /// All that runs under the broker.
    pub jobs: Option<Stalled>,
    /// The editor.
    pub editor: Option<Stalled>,
}

/// Part of the time for which something was waited for, in thousandths.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stalled {
    /// Some task waited for memory.
    pub memory_some: u64,
    /// All tasks waited for memory.
    pub memory_full: u64,
    /// Some task waited for a processor.
    pub cpu_some: u64,
    /// Some task waited for a disk.
    pub io_some: u64,
    /// All tasks waited for a disk.
    pub io_full: u64,
}

/// A user, or several that are told as one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserView {
    /// Whether it is the one who asked.
    pub own: bool,
    /// Of how many this is the sum.
    pub users: u64,
    /// Runs.
    pub runs: u64,
    /// Jobs that run, those that ride in another's room too.
    pub running: u64,
    /// Of those, standing still.
    pub frozen: u64,
    /// Jobs that wait.
    pub waiting: u64,
    /// Bytes that they hold.
    pub memory: Bytes,
    /// Bytes that they are expected to come to.
    pub reserved: Bytes,
}

/// A run of the one who asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunView {
    /// Its number at this broker.
    pub run: u32,
    /// Its own name.
    pub name: String,
    /// Since it came.
    pub for_ms: u64,
    /// Whether its turn comes after that of interactive ones.
    pub batch: bool,
    /// For how much it counts among the runs of its user.
    pub weight: f64,
    /// How many of its jobs may run at once.
    pub parallel: u32,
    /// Whether its connection is lost, and it may come back.
    pub lost: bool,
    /// The job in which it runs.
    pub inside: Option<InsideView>,
    /// Runs that are asked before it; `None` if nothing of it waits.
    pub ahead: Option<u32>,
    /// Why nothing of it started last; `None` if nothing of it waits.
    pub waits: Option<WaitView>,
    /// Jobs of it that run.
    pub running: u64,
    /// Of those, standing still.
    pub frozen: u64,
    /// Jobs that wait.
    pub waiting: u64,
    /// Bytes that it holds.
    pub memory: Bytes,
    /// Bytes that it is expected to come to.
    pub reserved: Bytes,
    /// Those that run, the oldest first, then those that wait, the first in line first.
    pub jobs: Vec<JobView>,
    /// How many more there are than are listed.
    pub unlisted: u64,
}

/// The job of a run around another run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct InsideView {
    /// Number of its run at this broker.
    pub run: u32,
    /// Place of the job in that run, from 0.
    pub job: JobId,
}

/// An attempt that runs or wants to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobView {
    /// Place of its job in the run, from 0.
    pub job: JobId,
    /// From 1.
    pub attempt: u32,
    /// Its name; empty if the run has not told.
    pub name: String,
    /// What it does.
    pub state: JobState,
    /// Since it runs, or since it waits.
    pub for_ms: u64,
    /// For how long it has worked: without the time in which it stood still. `None` for one that waits.
    pub worked_ms: Option<u64>,
    /// Bytes that it holds.
    pub memory: Bytes,
    /// The most that it was seen to hold.
    pub peak: Bytes,
    /// Bytes that it is expected to come to.
    pub expected: Bytes,
    /// Its own `memory_max`, if the run has told.
    pub limit: Option<Bytes>,
    /// Processors that it keeps busy, in thousandths; `None` where that was not measured.
    pub cpus: Option<u64>,
    /// How often its job was evicted.
    pub evicted: u32,
    /// Jobs of its run that stand before it in line; `None` for one that runs.
    pub place: Option<u32>,
    /// What it waits for; `None` for one that runs.
    pub waits: Option<WaitsFor>,
}

/// What an attempt does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobState {
    /// It may start, and has not exec'd yet.
    Starting,
    /// It runs.
    Running,
    /// The governor lets it stand still.
    Frozen,
    /// Its user lets it stand still.
    Pinned,
    /// It was told to end.
    Stopping,
    /// It was killed, and its memory is on its way back.
    Dying,
    /// It wants to run.
    Waiting,
}

/// Why nothing of a run starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitView {
    /// Why.
    pub why: WaitsFor,
    /// What the governor looked at, where it holds it.
    pub reason: Option<Reason>,
}

/// What is waited for.
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
    /// Its run has not done what it was asked to.
    Overdue,
    /// As many jobs of its run run as may.
    Places,
    /// One of its groups is taken.
    Group,
}

impl View {
    /// The same as a decision, for whoever puts decisions in words.
    pub fn decision(&self) -> Decision {
        let reason = self.reason.filter(|reason| reason.signal.is_some());
        let (value, line) = reason.map_or((0, 0), |reason| (reason.value, reason.line));
        Decision {
            action: if self.held > 0 { Action::Hold } else { Action::Release },
            attempt: None,
            state: self.state,
            signal: reason.and_then(|reason| reason.signal).unwrap_or(Signal::Memory),
            value,
            line,
            left: self.left.unwrap_or(Bytes(u64::MAX)),
            budget: self.budget.unwrap_or(Bytes(u64::MAX)),
            filling: self.filling,
            held: self.held,
        }
    }
}

impl JobView {
    /// Which attempt it is, within its run.
    pub fn id(&self) -> AttemptId {
        AttemptId { job: self.job, number: self.attempt }
    }
}
