//! Eviction: what is killed runs again, so the least work per byte goes first, and never the most senior.

use std::time::Duration;

use super::job::{Job, Phase};
use super::{Act, Governor};
use crate::model::governor::{Action, Signal};
use crate::policy::tuning::{AGAIN, SHORTEST_FREEZE};

/// Who holds less than this part of the budget is not worth killing.
const WORTHWHILE: f64 = 0.005;

impl Governor {
    /// Evicts until what is needed fits, or one that has been frozen for too long.
    pub(super) fn evict(&mut self, now: Duration, need: f64, acts: &mut Vec<Act>) {
        let room = self.room.before_evicting() + self.coming() - self.room.guard();
        self.pressed = room < need;
        if self.pressed {
            let remaining: f64 = self.running().filter(|job| job.is_active()).map(Job::remaining).sum();
            let mut deficit = (0.6 * remaining).max(need) - room;
            for at in self.by_cost() {
                if deficit <= 0.0 {
                    break;
                }
                let job = &self.jobs[at];
                deficit -= job.now.memory + if job.is_active() { job.remaining() } else { 0.0 };
                self.kill(at, Signal::Memory, room, need, acts);
            }
        } else if self.coming() == 0.0 {
            let tired = self.victims().find(|at| {
                let job = &self.jobs[*at];
                let patience = job.now.age.max(SHORTEST_FREEZE.as_secs_f64());
                job.braked_since().is_some_and(|since| (now - since).as_secs_f64() > patience)
            });
            if let Some(at) = tired {
                let job = &self.jobs[at];
                let frozen = job.frozen_since().map_or(0.0, |since| (now - since).as_secs_f64());
                let line = job.now.age.max(SHORTEST_FREEZE.as_secs_f64());
                self.kill(at, Signal::FrozenTime, frozen * 1000.0, line * 1000.0, acts);
            }
        }
    }

    /// Whether what runs needs more than there is, even with all that is on its way back; or did at the last look,
    /// so that nothing starts in the step of an eviction.
    pub(super) fn is_pressing(&self, need: f64) -> bool {
        self.room.is_known()
            && (self.pressed || self.room.before_evicting() + self.coming() - self.room.guard() < need)
    }

    /// All that may be evicted: neither the most senior, nor what must not be run twice. One that is pinned comes to no
    /// end by being the most senior, nor does one that waits for others; and with that one they would go.
    fn victims(&self) -> impl Iterator<Item = usize> + '_ {
        let may = |job: &Job| {
            job.restartable && !job.drives && job.born && !job.stopping && job.phase != Phase::Dying
        };
        let spared = self.running.iter().copied().find(|at| !self.jobs[*at].pinned && !self.jobs[*at].drives);
        self.running.iter().copied().filter(move |at| Some(*at) != spared && may(&self.jobs[*at]))
    }

    /// The cheapest first: the least work lost for a byte won.
    pub(super) fn by_cost(&self) -> Vec<usize> {
        let worthwhile = WORTHWHILE * self.room.whole();
        let cost = |job: &Job| {
            let frozen = if job.is_active() { 1.0 } else { 0.5 };
            job.now.age / job.now.memory * frozen * AGAIN.powi(job.evicted.cast_signed())
        };
        let mut victims: Vec<(f64, usize)> = self
            .victims()
            .filter(|at| self.jobs[*at].now.memory >= worthwhile.max(1.0))
            .map(|at| (cost(&self.jobs[at]), at))
            .collect();
        victims.sort_by(|a, b| a.0.total_cmp(&b.0));
        victims.into_iter().map(|(_, at)| at).collect()
    }

    pub(super) fn kill(&mut self, at: usize, signal: Signal, value: f64, line: f64, acts: &mut Vec<Act>) {
        let job = &mut self.jobs[at];
        (job.phase, job.evicting) = (Phase::Dying, true);
        let id = job.attempt_id();
        acts.push(Act::Evict(id));
        self.standing.decide(Action::Evict, Some(id), signal, value, line);
    }
}
