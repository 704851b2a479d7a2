//! The run's side of the broker: it is told what happens, and says who may start, who stands still, who gives way.
//!
//! ```text
//!                tell                     lone: a broker of its own
//! scheduler ───────────────▶ Permits ──┬─▶ take ... decide ─┐
//!     ▲                                │                    │ hear: in the same step
//!     │◀───────────────────────────────│────────────────────┘
//!     │                                └─▶ with a daemon: a line is written ... and one is read
//!     └────────────────── Input::Heard ◀─────────────────────────────────────────────────────┘ in a later step
//! ```
//!
//! Whoever asks may therefore not count on an answer in the same step, and what is heard may have crossed what was said
//! meanwhile: a grant of what is not wanted any more is given back, an order about what ends anyway is passed over.
//!
//! That a frozen attempt stands still is said by the shell, which has seen it.
//!
//! - [`remote`]: a broker for many runs is asked; what becomes of the run when that one goes away
//! - [`window`]: which requests are said to it, of which no more than it takes wait there

mod remote;
#[cfg(test)]
mod tests;
mod window;

use std::fmt::Debug;
use std::mem;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::governor::{Decision, Governed};
use crate::model::reading::Reading;
use crate::model::{AttemptId, Bytes, JobId, Outcome, Verdict};
use crate::policy::broker::{self, Broker, ClientId, Effect, Input, Request, Share, Stand, UserId, Who};
use crate::policy::governor::{self, Ending};
pub(super) use remote::Remote;

/// Whoever decides what may start.
pub(super) trait Permits: Debug {
    /// Tells something that has happened.
    fn tell(&mut self, now: Duration, said: Said);
    /// All of this step is told: who starts now may be decided.
    fn decide(&mut self, now: Duration);
    /// What has been decided since the last time, if that is known at once.
    fn hear(&mut self) -> Vec<Heard>;
    /// Somebody else has said this: what is to be done about it is heard next.
    fn arrive(&mut self, now: Duration, heard: Heard);
    /// What is to be said to somebody else.
    fn say(&mut self) -> Vec<Said>;
    /// Whether nobody is kept waiting for longer than the line allows.
    fn is_calm(&self) -> bool;
    /// Whether memory is short, or something is held for want of it.
    fn is_tight(&self) -> bool;
    /// Whether jobs of other runs run beside those of this one.
    fn has_company(&self) -> bool;
    /// Whether somebody else kills attempts of the run, and may have killed one that ends now by a SIGKILL that nobody owns up
    /// to. `frozen`: it was to stand still.
    fn kills(&self, now: Duration, frozen: bool) -> bool;
    /// When it wants to be told what the sensors say, if at all. `settling`: whether somebody waits until it is calm, though
    /// nothing runs.
    fn next_look(&self, settling: bool) -> Option<Duration>;
    /// When it wants to be called if nothing happens before.
    fn next_deadline(&self) -> Option<Duration>;
    /// Whether a look is wanted before an end is told.
    fn wants_a_look(&self) -> bool;
    /// What the governor came to, where it is the run's own.
    fn governed(&self, now: Duration) -> Option<Governed>;
}

/// What is told: of [`Input`], what a run may say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Said {
    /// Just these run, the one that first started first.
    Declare(Vec<Ran>),
    /// An attempt wants to run.
    Want(Request),
    /// A job does not want to run any more, or not now.
    Withdraw {
        /// Which one.
        job: JobId,
        /// But it will want to again.
        again: bool,
    },
    /// Weight of jobs that may run at once, and how many may have each group.
    Limits(u32, Vec<u32>),
    /// An attempt's process has exec'd.
    Born(AttemptId),
    /// An attempt has been told to end, or ends by itself.
    Stopping(AttemptId),
    /// An attempt is killed for a reason of its own.
    Ending(AttemptId),
    /// An attempt is over.
    Ended {
        /// Which one.
        id: AttemptId,
        /// As far as it teaches something.
        ending: Ending,
        /// Whether its job will want to run again.
        again: bool,
        /// What happened to it, if it ever began.
        outcome: Option<Outcome>,
        /// What the job came to, if it is done.
        verdict: Option<Verdict>,
        /// From the grant to the exec.
        setup: Option<Duration>,
    },
    /// What the sensors say.
    Sensed(Box<Reading>),
    /// Nobody looked for so long.
    Gap(Duration),
}

/// An attempt that runs, told to one who does not know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ran {
    /// What was asked for.
    pub request: Request,
    /// How long it has worked, without the time in which it stood still.
    pub worked: Duration,
    /// Whether it stands still.
    pub frozen: bool,
}

/// How a broker for many runs wants to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Served {
    /// How often it wants to be told what jobs hold; `None` if it looks itself.
    pub sample: Option<Duration>,
}

/// What is heard: of [`Effect`], what concerns the run itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Heard {
    /// An attempt may start.
    Grant(AttemptId),
    /// It is to stand still.
    Freeze(AttemptId),
    /// It may go on.
    Thaw(AttemptId),
    /// It is to be killed; it may want to run again.
    Evict(AttemptId),
    /// It is to be killed since its user wants that; it is not to run again.
    Kill(AttemptId),
    /// `memory.max` of the whole run.
    Cap(Bytes),
    /// What was decided, and why.
    Decided(Decision),
    /// How things stand.
    Stands(Stand),
    /// What the run may count on if the broker goes away.
    Share(Share),
    /// As many wait there as may.
    NotTaken(AttemptId),
    /// The broker is gone, or the line to it.
    Lost,
    /// There is a broker again.
    Joined {
        /// See [`Served::sample`].
        sample: Option<Duration>,
    },
    /// The run goes on by itself, with this.
    Alone(Share),
}

/// Of a broker of its own the run is the only client.
const RUN: ClientId = ClientId(0);

/// A run that asks nobody else: the broker is its own, and answers at once.
#[derive(Debug)]
pub(super) struct Lone {
    broker: Broker,
    heard: Vec<Heard>,
}

impl Lone {
    /// `parallel`, `groups`: as in [`Said::Limits`].
    pub fn new(law: governor::Settings, parallel: u32, groups: Vec<u32>) -> Lone {
        // Nobody else is kept waiting by however many requests, or could do in its stead what the run does not.
        let settings =
            broker::Settings { governor: law, requests: usize::MAX, patience: None, recovering: None };
        let mut broker = Broker::new(settings);
        let who = Who { groups, ..Who::of(UserId(0), parallel) };
        broker.take(Duration::ZERO, Input::Hello { client: RUN, who, instead_of: None });
        Lone { broker, heard: Vec::new() }
    }

    /// What it may use from now on; `None` for no limit.
    pub fn set_budget(&mut self, now: Duration, budget: Option<Bytes>) {
        self.broker.take(now, Input::Budget(budget));
    }
}

impl Permits for Lone {
    fn tell(&mut self, now: Duration, said: Said) {
        let more = said.more(RUN);
        let mut effects = self.broker.take(now, said.input(RUN));
        effects.extend(more.into_iter().flat_map(|input| self.broker.take(now, input)));
        self.heard.extend(effects.into_iter().filter_map(Heard::of));
    }

    fn decide(&mut self, now: Duration) {
        let effects = self.broker.decide(now);
        self.heard.extend(effects.into_iter().filter_map(Heard::of));
    }

    fn hear(&mut self) -> Vec<Heard> {
        mem::take(&mut self.heard)
    }

    fn arrive(&mut self, _: Duration, _: Heard) {}

    fn say(&mut self) -> Vec<Said> {
        Vec::new()
    }

    fn is_calm(&self) -> bool {
        self.broker.is_calm()
    }

    fn is_tight(&self) -> bool {
        self.broker.is_tight()
    }

    fn has_company(&self) -> bool {
        false
    }

    fn kills(&self, _: Duration, _: bool) -> bool {
        false
    }

    fn next_look(&self, settling: bool) -> Option<Duration> {
        self.broker.next_look(settling)
    }

    fn next_deadline(&self) -> Option<Duration> {
        self.broker.next_deadline()
    }

    fn wants_a_look(&self) -> bool {
        self.broker.wants_a_look()
    }

    fn governed(&self, now: Duration) -> Option<Governed> {
        Some(self.broker.governed(now))
    }
}

impl Said {
    /// The same, said by `client`.
    pub fn input(self, client: ClientId) -> Input {
        match self {
            Said::Declare(running) => {
                Input::Declare(client, running.into_iter().map(|ran| ran.request).collect())
            }
            Said::Want(request) => Input::Want(client, request),
            Said::Withdraw { job, again } => Input::Withdraw { client, job, again },
            Said::Limits(parallel, groups) => Input::Limits(client, parallel, groups),
            Said::Born(id) => Input::Born(client, id),
            Said::Stopping(id) => Input::Stopping(client, id),
            Said::Ending(id) => Input::Ending(client, id),
            Said::Ended { id, ending, again, .. } => Input::Ended { client, id, ending, again },
            Said::Sensed(mut reading) => {
                let jobs = mem::take(&mut reading.jobs).into_iter().map(|seen| (client, seen)).collect();
                Input::Sensed(reading, jobs)
            }
            Said::Gap(gap) => Input::Gap(gap),
        }
    }

    /// What else is to be said of what is declared, after it.
    fn more(&self, client: ClientId) -> Vec<Input> {
        let Said::Declare(running) = self else { return Vec::new() };
        let of = |ran: &Ran| Input::Declared {
            client,
            id: ran.request.id,
            worked: ran.worked,
            frozen: ran.frozen,
        };
        running.iter().map(of).collect()
    }
}

impl Heard {
    /// What the run itself hears of an effect.
    pub(super) fn of(effect: Effect) -> Option<Heard> {
        Some(match effect {
            Effect::Grant(_, id) => Heard::Grant(id),
            Effect::Freeze(_, id) => Heard::Freeze(id),
            Effect::Thaw(_, id) => Heard::Thaw(id),
            Effect::Evict(_, id) => Heard::Evict(id),
            Effect::Kill(_, id) => Heard::Kill(id),
            Effect::Cap(bytes) => Heard::Cap(bytes),
            Effect::Decided(_, decision) => Heard::Decided(decision),
            // Of others, and of a daemon.
            Effect::Enforce(..)
            | Effect::Waits(..)
            | Effect::Share(..)
            | Effect::Stands(..)
            | Effect::Refuse(..) => return None,
        })
    }
}
