//! What users want of their own jobs: `sandtest top` has keys for that.
//!
//! ```text
//! pin ───▶ is it the user's own, and does it run? ── yes ──▶ the run is told to freeze it, as if the governor wanted that
//! unpin ─▶ the same                               ── yes ──▶ the run is told to let it go on
//! kill ──▶ the same                               ── yes ──▶ the run is told to kill it; it does not run again
//! ```
//!
//! A run that does not do so in time has it done for it, as with any order. Others' runs are not told from runs that are not
//! there.

use std::time::Duration;

use super::Broker;
use super::client::Phase;
use super::messages::{ClientId, Effect, Force, UserId};
use crate::model::AttemptId;
use crate::model::view::JobState;

/// What is wanted of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hand {
    /// That it stands still until it is unpinned.
    Pin,
    /// That it goes on.
    Unpin,
    /// That it is killed, and does not run again.
    Kill,
}

/// Why it is not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotDone {
    /// The user has no such run.
    #[error("there is no such run of yours")]
    NoSuchRun,
    /// The run's connection is lost: nobody would hear it.
    #[error("the run does not answer")]
    Lost,
    /// It waits, is over, or is another attempt by now.
    #[error("it does not run")]
    NotRunning,
    /// Its process is about to begin.
    #[error("it has not begun yet")]
    NotBorn,
    /// It was told to end, or killed.
    #[error("it is ending")]
    Ending,
}

impl Broker {
    /// Does what `user` wants of an attempt of its run `client`. What is so already is no mistake.
    ///
    /// # Errors
    /// [`NotDone`]; then nothing is.
    pub fn by_hand(
        &mut self,
        now: Duration,
        user: UserId,
        client: ClientId,
        id: AttemptId,
        hand: Hand,
    ) -> Result<Vec<Effect>, NotDone> {
        let of = self.clients.get_mut(&client).filter(|of| of.who.user == user).ok_or(NotDone::NoSuchRun)?;
        if of.lost_since.is_some() {
            return Err(NotDone::Lost);
        }
        let known = of.jobs.get_mut(&id.job).filter(|known| known.attempt == id.number);
        let known = known.ok_or(NotDone::NotRunning)?;
        let number = AttemptId { job: known.number, ..id };
        let riding = known.phase == Phase::Riding;
        // The governor does not know those that ride.
        let state = match known.phase {
            Phase::Waiting(_) | Phase::Resting => return Err(NotDone::NotRunning),
            Phase::Riding => known.rides,
            Phase::Running => {
                self.governor.seen(now, known.number).map_or(JobState::Running, |seen| seen.state)
            }
        };
        match state {
            JobState::Dying => return Err(NotDone::Ending),
            JobState::Stopping if hand != Hand::Kill => return Err(NotDone::Ending),
            // A clone into a frozen group would block.
            JobState::Starting if hand != Hand::Kill => return Err(NotDone::NotBorn),
            _ => {}
        }
        let changed = match hand {
            Hand::Pin if riding => std::mem::replace(&mut known.rides, JobState::Pinned) != JobState::Pinned,
            Hand::Unpin if riding => {
                std::mem::replace(&mut known.rides, JobState::Running) == JobState::Pinned
            }
            Hand::Kill if riding => {
                known.rides = JobState::Dying;
                true
            }
            Hand::Pin => self.governor.pin(now, number),
            Hand::Unpin => self.governor.unpin(now, number),
            Hand::Kill => {
                self.governor.ending(number);
                true
            }
        };
        if !changed {
            return Ok(Vec::new());
        }
        let mut effects = Vec::new();
        match hand {
            Hand::Pin => self.demand(now, client, id, Force::Freeze),
            Hand::Unpin => self.done(client, id),
            Hand::Kill => self.demand(now, client, id, Force::Kill),
        }
        effects.push(match hand {
            Hand::Pin => Effect::Freeze(client, id),
            Hand::Unpin => Effect::Thaw(client, id),
            Hand::Kill => Effect::Kill(client, id),
        });
        Ok(effects)
    }
}
