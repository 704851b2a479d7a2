//! What is said, as the state machine takes it, and what that decides, as it is said.

use std::time::Duration;

use super::messages::{Decided, Hello, How, Job, Of, Order, ToBroker, ToRun};
use super::{Fault, LONGEST_SHOWN, Status, write};
use crate::model::governor::Decision;
use crate::model::text::harmless;
use crate::model::view::WaitView;
use crate::model::{AttemptId, Bytes, JobId};
use crate::policy::broker::{self as policy, About, ClientId, Effect, Input, Refusal, UserId, Who};
use crate::policy::governor::Ending;

impl ToBroker {
    /// What it means to the state machine. `None` for what is the connection's own business: the greeting (which needs to
    /// know who is there), a declaration in parts, samples, questions and farewells.
    pub fn input(self, client: ClientId) -> Option<Input> {
        Some(match self {
            ToBroker::Limits { parallel, groups } => Input::Limits(client, parallel, groups),
            ToBroker::Want(job) => Input::Want(client, job.request()),
            ToBroker::Withdraw { job, again } => Input::Withdraw { client, job, again },
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
            | ToBroker::Pin(_)
            | ToBroker::Unpin(_)
            | ToBroker::Kill(_)
            | ToBroker::Bye {} => return None,
        })
    }
}

impl ToRun {
    /// What is said to whom about an effect; `None` where it is nothing to say. `patience`: see [`Order::within_ms`].
    pub fn of(effect: &Effect, patience_ms: Option<u64>) -> Option<(ClientId, ToRun)> {
        let order = |id: AttemptId| Order { of: Of::from_id(id), within_ms: patience_ms };
        Some(match *effect {
            Effect::Grant(client, id) => (client, ToRun::Grant(Of::from_id(id))),
            Effect::Freeze(client, id) => (client, ToRun::Freeze(order(id))),
            Effect::Thaw(client, id) => (client, ToRun::Thaw(Of::from_id(id))),
            Effect::Evict(client, id) => (client, ToRun::Evict(order(id))),
            Effect::Kill(client, id) => (client, ToRun::Kill(order(id))),
            Effect::Waits(client, wait) => (client, waits(wait)),
            Effect::Share(client, share) => {
                (client, ToRun::Share { memory: limited(share.memory), jobs: share.jobs })
            }
            Effect::Refuse(client, id, Refusal::TooMany { most }) => {
                (client, ToRun::NotTaken { of: Of::from_id(id), most: most as u64 })
            }
            Effect::Stands(client, stand) => (client, ToRun::State(stand)),
            Effect::Decided(Some(client), decision) => (client, ToRun::Decided(decision.into())),
            Effect::Enforce(..) | Effect::Cap(_) | Effect::Decided(None, _) => return None,
        })
    }

    /// What is said about an effect to everybody who has jobs; `None` where it is nothing to say to all.
    pub fn to_all(effect: &Effect) -> Option<ToRun> {
        match *effect {
            Effect::Decided(None, decision) => Some(ToRun::Decided(decision.into())),
            _ => None,
        }
    }
}

fn waits(wait: policy::Wait) -> ToRun {
    let WaitView { why, reason } = wait.why.told();
    let (value, line) = reason.map_or((0, 0), |reason| (reason.value, reason.line));
    ToRun::Waits { ahead: wait.ahead, why, signal: reason.and_then(|reason| reason.signal), value, line }
}

/// The largest number is none at all.
fn limited(bytes: Bytes) -> Option<Bytes> {
    (bytes.0 != u64::MAX).then_some(bytes)
}

impl From<Decision> for Decided {
    fn from(decision: Decision) -> Decided {
        let Decision { action, attempt, state, signal, value, line, left, budget, filling, held } = decision;
        let (job, attempt) = (attempt.map(|id| id.job), attempt.map(|id| id.number));
        let (left, budget) = (limited(left), limited(budget));
        Decided { action, job, attempt, state, signal, value, line, left, budget, filling, held }
    }
}

impl From<Decided> for Decision {
    fn from(decided: Decided) -> Decision {
        let Decided { action, job, attempt, state, signal, value, line, filling, held, .. } = decided;
        let attempt = job.zip(attempt).map(|(job, number)| AttemptId { job, number });
        let or_none = |bytes: Option<Bytes>| bytes.unwrap_or(Bytes(u64::MAX));
        let (left, budget) = (or_none(decided.left), or_none(decided.budget));
        Decision { action, attempt, state, signal, value, line, left, budget, filling, held }
    }
}

impl Status {
    /// One line, with its end. Jobs that it has no room for are counted as unlisted.
    ///
    /// # Errors
    /// [`Fault::TooMuch`] if not even the runs fit.
    pub fn line(self) -> Result<Vec<u8>, Fault> {
        let mut message = ToRun::Status(Box::new(self));
        loop {
            let fault = match write(&message) {
                Ok(line) => return Ok(line),
                Err(fault) => fault,
            };
            let ToRun::Status(status) = &mut message else { return Err(fault) };
            let own = &mut status.view.own;
            let half = match own.iter().map(|run| run.jobs.len()).max() {
                None | Some(0) => return Err(fault),
                Some(longest) => longest / 2,
            };
            for run in own {
                run.unlisted += run.jobs.len().saturating_sub(half) as u64;
                run.jobs.truncate(half);
            }
        }
    }
}

impl Hello {
    /// What matters of it to the state machine. `user`: as the kernel says; `inside`: whose lease it named.
    pub fn who(&self, user: UserId, inside: Option<(ClientId, JobId)>) -> Who {
        Who {
            user,
            name: shown(&self.run),
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
            token: self.token,
            driver: self.driver,
            at_once: self.at_once,
            about: About { name: shown(&self.name), limit: self.limit },
        }
    }

    /// Of one that was declared, what else was said.
    pub fn declared(&self, client: ClientId) -> Input {
        let worked = Duration::from_millis(self.worked_ms);
        Input::Declared { client, id: self.of.id(), worked, frozen: self.frozen }
    }
}

impl Of {
    /// The same for others.
    pub fn id(self) -> AttemptId {
        AttemptId { job: self.job, number: self.attempt }
    }

    fn from_id(id: AttemptId) -> Of {
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

/// A name as people are shown it: nothing in it acts upon a terminal, and what is long lacks its middle, since command
/// lines differ at their ends.
pub fn shown(name: &str) -> String {
    let name = harmless(name);
    if name.len() <= LONGEST_SHOWN {
        return name;
    }
    let half = (LONGEST_SHOWN - "...".len()) / 2;
    let is_letter = |at: &usize| name.is_char_boundary(*at);
    let begin = (0..=half).rev().find(is_letter).unwrap_or(0);
    let end = (name.len() - half..name.len()).find(is_letter).unwrap_or(name.len());
    format!("{}...{}", &name[..begin], &name[end..])
}

/// FNV-1a. Kins are told apart within one user's jobs only, so that nobody gains by a collision.
fn fnv(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}
