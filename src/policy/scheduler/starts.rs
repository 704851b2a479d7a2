//! Who starts now.

use std::time::Duration;

use super::Scheduler;
use super::attempt::{Clocks, Phase, Running};
use super::claims::Lack;
use super::messages::Effect;
use super::retry::Settling;
use crate::model::retry::Unsettled;
use crate::model::{Attempt, AttemptId};
use crate::policy::governor::{Answer, Governor};
use crate::policy::tuning::{CANDIDATES, GROUPS_AHEAD, START_PATIENCE};

impl Scheduler {
    pub(super) fn start(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        match self.governor.take() {
            Some(mut governor) => {
                self.start_governed(now, &mut governor, effects);
                self.governor = Some(governor);
            }
            None => self.start_in_order(now, effects),
        }
    }

    /// Whoever the governor lets, the first in the queue asked first.
    fn start_governed(&mut self, now: Duration, governor: &mut Governor, effects: &mut Vec<Effect>) {
        if self.closed.is_some() || self.queue.is_empty() || self.claims.are_exhausted() {
            return governor.held(None, 0);
        }
        let calm = governor.is_calm();
        let (mut admission, mut held) = (governor.admission(), None);
        let (mut at, mut asked, mut wait) = (0, 0, 0);
        while at < self.queue.len() && asked < CANDIDATES {
            match self.lack(now, at, calm) {
                Some(Lack::Slots) => break,
                Some(Lack::Group) => {
                    (at, wait) = (at + 1, wait + 1);
                    continue;
                }
                None => {}
            }
            asked += 1;
            let next = self.queue[at].id;
            match governor.ask(&mut admission, now, next.job) {
                Answer::Start => {
                    governor.started(now, next);
                    self.launch(now, at, calm, effects);
                }
                Answer::Wait(hold) => {
                    held = held.or(Some(hold));
                    at += 1;
                }
                Answer::Stop(hold) => {
                    held = held.or(Some(hold));
                    break;
                }
            }
        }
        governor.held(held, (self.queue.len() - wait).min(self.claims.free()));
    }

    fn start_in_order(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        let mut at = 0;
        while let Some(next) = self.queue.get(at).copied() {
            let someone_alone = self.running.iter().any(|running| running.waiting.alone());
            let must_wait = someone_alone || (next.alone() && !self.running.is_empty());
            match self.lack(now, at, true) {
                _ if self.closed.is_some() || must_wait => return,
                Some(Lack::Slots) => return,
                Some(Lack::Group) => at += 1,
                None => self.launch(now, at, true, effects),
            }
        }
    }

    /// What the one at this place of the queue has to wait for, whatever the memory. A retry that is not settled waits
    /// like one whose group is taken: others go on.
    fn lack(&self, now: Duration, at: usize, calm: bool) -> Option<Lack> {
        let next = self.queue[at];
        let spec = &self.jobs[next.id.job.0 as usize];
        if next.is_ready(now, calm) { self.claims.lack(spec.weight, &spec.groups) } else { Some(Lack::Group) }
    }

    /// Starts the one at this place of the queue.
    fn launch(&mut self, now: Duration, at: usize, calm: bool, effects: &mut Vec<Effect>) {
        let spec = &self.jobs[self.queue[at].id.job.0 as usize];
        let Some(claim) = self.claims.take(spec.weight, &spec.groups) else { return };
        let Some(mut next) = self.queue.remove(at) else { return };
        next.seniority.get_or_insert_with(|| {
            self.first_starts += 1;
            self.first_starts
        });
        self.prepared.remove(&next.id);
        match next.settling {
            Some(Settling { removed: false, .. }) => {
                effects.push(Effect::Unsettled(next.id, Unsettled::Groups));
            }
            Some(_) if !calm => effects.push(Effect::Unsettled(next.id, Unsettled::Pressure)),
            _ => {}
        }
        let had_company = !self.running.is_empty();
        // Of more than one each has had company already.
        if let [only] = self.running.as_mut_slice() {
            only.had_company = true;
        }
        // Its time begins with its exec; that may wait for its groups, which is not its doing.
        let deadline = spec.timeout.map(|timeout| now + timeout + START_PATIENCE);
        let attempt = Attempt { id: next.id, slot: claim.slot };
        effects.push(Effect::Start(attempt, claim.group_slots.clone()));
        self.running.push(Running {
            waiting: next,
            claim,
            phase: Phase::Starting { deadline },
            clocks: Clocks::default(),
            had_company,
            frozen_at: None,
        });
    }

    /// Lets those that start soon have their groups made.
    pub(super) fn prepare(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        if self.closed.is_some() {
            return;
        }
        let soon = (0..self.queue.len()).filter(|at| self.lack(now, *at, true) != Some(Lack::Group));
        let soon: Vec<AttemptId> = soon.take(GROUPS_AHEAD).map(|at| self.queue[at].id).collect();
        for id in soon {
            if self.prepared.insert(id) {
                effects.push(Effect::Prepare(id));
            }
        }
    }
}
