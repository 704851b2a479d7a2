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
//! A daemon lets so many requests of a run wait and no more (`CLIENT_REQUESTS`). To say the others when there is room
//! is the business of the one who writes the lines; here all are told as soon as they are ready, the first in the queue
//! first. That a frozen attempt stands still is said by the shell, which has seen it.

#[cfg(test)]
mod tests;

use std::fmt::Debug;
use std::mem;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::governor::{Decision, Governed};
use crate::model::reading::Reading;
use crate::model::{AttemptId, Bytes, JobId};
use crate::policy::broker::{self, Broker, ClientId, Effect, Input, Request, UserId, Who};
use crate::policy::governor::{self, Ending};

/// Whoever decides what may start.
pub(super) trait Permits: Debug {
    /// Tells something that has happened.
    fn tell(&mut self, now: Duration, said: Said);
    /// All of this step is told: who starts now may be decided.
    fn decide(&mut self, now: Duration);
    /// What has been decided since the last time, if that is known at once.
    fn hear(&mut self) -> Vec<Heard>;
    /// Whether nobody is kept waiting for longer than the line allows.
    fn is_calm(&self) -> bool;
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
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Said {
    /// An attempt wants to run.
    Want(Request),
    /// A job does not want to run any more. `again`: but it will.
    Withdraw { job: JobId, again: bool },
    /// Weight of jobs that may run at once, and how many may have each group.
    Limits(u32, Vec<u32>),
    /// An attempt's process has exec'd.
    Born(AttemptId),
    /// An attempt has been told to end, or ends by itself.
    Stopping(AttemptId),
    /// An attempt is killed for a reason of its own.
    Ending(AttemptId),
    /// An attempt is over. `again`: its job will want to run again.
    Ended { id: AttemptId, ending: Ending, again: bool },
    /// What the sensors say.
    Sensed(Box<Reading>),
    /// Nobody looked for so long.
    Gap(Duration),
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
}

impl Permits for Lone {
    fn tell(&mut self, now: Duration, said: Said) {
        let effects = self.broker.take(now, said.input(RUN));
        self.heard.extend(effects.into_iter().filter_map(Heard::of));
    }

    fn decide(&mut self, now: Duration) {
        let effects = self.broker.decide(now);
        self.heard.extend(effects.into_iter().filter_map(Heard::of));
    }

    fn hear(&mut self) -> Vec<Heard> {
        mem::take(&mut self.heard)
    }

    fn is_calm(&self) -> bool {
        self.broker.is_calm()
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
            Said::Want(request) => Input::Want(client, request),
            Said::Withdraw { job, again } => Input::Withdraw { client, job, again },
            Said::Limits(parallel, groups) => Input::Limits(client, parallel, groups),
            Said::Born(id) => Input::Born(client, id),
            Said::Stopping(id) => Input::Stopping(client, id),
            Said::Ending(id) => Input::Ending(client, id),
            Said::Ended { id, ending, again } => Input::Ended { client, id, ending, again },
            Said::Sensed(mut reading) => {
                let jobs = mem::take(&mut reading.jobs).into_iter().map(|seen| (client, seen)).collect();
                Input::Sensed(reading, jobs)
            }
            Said::Gap(gap) => Input::Gap(gap),
        }
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
