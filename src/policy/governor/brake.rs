//! Freeze and thaw: the fast brake. It frees nothing, so nothing stays frozen for longer than it has worked.
//!
//! Seniors first: whoever's growth until the next look does not fit beside that of those before it stands still.

use std::time::Duration;

use super::job::{Job, Phase};
use super::{Act, Governor};
use crate::model::governor::{Action, Signal};

/// Growth below this is nobody's reason to stand still.
const NOTHING: f64 = (1 << 20) as f64;

impl Governor {
    /// Freezes those whose growth does not fit. Returns what the others will need until the next look.
    pub(super) fn brake(&mut self, now: Duration, acts: &mut Vec<Act>) -> f64 {
        let room = self.room.before_freezing() - self.room.guard();
        let (horizon, whole) = (self.room.horizon(), self.room.whole());
        let (mut need, mut someone_active) = (0.0, false);
        for rank in 0..self.running.len() {
            let at = self.running[rank];
            let job = &self.jobs[at];
            if !job.is_active() {
                continue;
            }
            let estimate = job.estimate;
            // Not beyond what it can come to: a small job's first moments are steep, and short.
            let most = job.remaining() + 2.0 * estimate.deviation + 0.01 * whole;
            let growth = (job.now.slope * horizon).min(most);
            if growth > NOTHING && need + growth > room && someone_active && job.born && !job.stopping {
                let id = job.attempt_id();
                self.jobs[at].phase = Phase::Frozen { since: now };
                acts.push(Act::Freeze(id));
                self.standing.decide(Action::Freeze, Some(id), Signal::Memory, room, need + growth);
            } else {
                need += growth;
                // Who waits for others gets nowhere while they stand still.
                someone_active |= !job.drives;
            }
        }
        need
    }

    /// Lets those go on that fit again, and one at least if nobody is active.
    pub(super) fn thaw(&mut self, now: Duration, need: f64, acts: &mut Vec<Act>) {
        if self.running().all(|job| job.braked_since().is_none()) {
            return;
        }
        let room = self.room.before_freezing() - self.room.guard();
        let coming = self.coming();
        let mut remaining: f64 = self.running().filter(|job| job.is_active()).map(Job::remaining).sum();
        let mut someone_active = self.running().any(|job| job.is_active() && !job.drives);
        for rank in 0..self.running.len() {
            let at = self.running[rank];
            let job = &self.jobs[at];
            let Some(since) = job.braked_since() else { continue };
            let (id, more) = (job.attempt_id(), job.remaining());
            let long_enough = (now - since).as_secs_f64() > self.room.tick();
            let fits = long_enough && remaining + more <= room && need < room;
            let must = !someone_active && (rank == 0 || coming == 0.0);
            if fits || must {
                someone_active |= !job.drives;
                self.jobs[at].thaw(now);
                remaining += more;
                acts.push(Act::Thaw(id));
                self.standing.decide(Action::Thaw, Some(id), Signal::Memory, room, remaining);
            }
        }
    }
}
