//! Who starts now.

use std::mem;
use std::time::Duration;

use super::attempt::{Clocks, Phase, Running};
use super::claims::Lack;
use super::messages::Effect;
use super::permits::{Heard, Said};
use super::queue::Waiting;
use super::retry::Settling;
use super::{JobSpec, Scheduler};
use crate::model::retry::Unsettled;
use crate::model::{Attempt, AttemptId};
use crate::policy::broker::{About, Request};
use crate::policy::governor::Ending;
use crate::policy::tuning::{GROUPS_AHEAD, START_PATIENCE};

impl Scheduler {
    pub(super) fn start(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        let heard = self.ask(now);
        if self.permits.is_none() {
            self.start_in_order(now, effects);
        }
        let (reports, orders): (Vec<Heard>, Vec<Heard>) =
            heard.into_iter().partition(|heard| matches!(heard, Heard::Decided(_)));
        orders.into_iter().for_each(|order| self.hear(now, order, effects));
        self.prepare(now, effects);
        // What starts now need not wait for its report.
        reports.into_iter().for_each(|report| self.hear(now, report, effects));
    }

    /// Asks for those that have nothing to wait for but their turn, and says what became of the others.
    fn ask(&mut self, now: Duration) -> Vec<Heard> {
        let goes_on = self.can_go_on();
        let Some(permits) = &mut self.permits else { return Vec::new() };
        let (calm, all) = (permits.is_calm(), !goes_on || !mem::replace(&mut self.asked, true));
        for waiting in self.queue.iter_mut().take_while(|waiting| all || waiting.seniority.is_some()) {
            let wants = goes_on && waiting.is_ready(now, calm);
            if wants == mem::replace(&mut waiting.wanted, wants) {
                continue;
            }
            let job = waiting.id.job;
            permits.tell(
                now,
                match wants {
                    true => Said::Want(self.jobs[job.0 as usize].request(waiting.id)),
                    // A retry that was ready, and is not any more: the machine is not calm.
                    false => Said::Withdraw { job, again: goes_on },
                },
            );
        }
        permits.decide(now);
        permits.hear()
    }

    /// An attempt may start. That it may has perhaps crossed what was said meanwhile: then it is given back.
    pub(super) fn granted(&mut self, now: Duration, id: AttemptId, effects: &mut Vec<Effect>) {
        if self.token_granted(id, effects) {
            return;
        }
        let calm = self.permits.as_ref().is_none_or(|permits| permits.is_calm());
        let at = self.queue.iter().position(|waiting| waiting.id == id);
        if let Some(at) = at.filter(|at| self.queue[*at].wanted && self.closed.is_none())
            && self.lack(now, at, calm).is_none()
        {
            return self.launch(now, at, calm, effects);
        }
        if self.find(id).is_some() {
            return;
        }
        if let Some(at) = at {
            // It is asked for again in the next step, if it still wants to.
            self.queue[at].wanted = false;
            self.asked = false;
        }
        let again = at.is_some() && self.closed.is_none();
        let ending = Ending::Otherwise;
        self.tell(Said::Ended { id, ending, again, outcome: None, verdict: None, setup: None });
    }

    fn start_in_order(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        let may_not_wait = |next: &Waiting, jobs: &[JobSpec]| jobs[next.id.job.0 as usize].at_once;
        while self.closed.is_none()
            && let Some(at) = self.queue.iter().position(|next| may_not_wait(next, &self.jobs))
        {
            self.launch(now, at, true, effects);
        }
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
        match next.is_ready(now, calm) {
            true if spec.at_once => None,
            true => self.claims.lack(spec.weight, &spec.groups),
            false => Some(Lack::Group),
        }
    }

    /// Starts the one at this place of the queue.
    fn launch(&mut self, now: Duration, at: usize, calm: bool, effects: &mut Vec<Effect>) {
        let spec = &self.jobs[self.queue[at].id.job.0 as usize];
        let claim = match spec.at_once {
            true => Some(self.claims.take_beyond()),
            false => self.claims.take(spec.weight, &spec.groups),
        };
        let Some(claim) = claim else { return };
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
        let others = self.permits.as_ref().is_some_and(|permits| permits.has_company());
        let had_company = others || !self.running.is_empty();
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
            launched: now,
            setup: None,
        });
    }

    /// Lets those that start soon have their groups made.
    fn prepare(&mut self, now: Duration, effects: &mut Vec<Effect>) {
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

impl JobSpec {
    /// Of an attempt of this job.
    fn request(&self, id: AttemptId) -> Request {
        Request {
            id,
            kin: u64::from(self.facts.group),
            memory: self.facts.memory,
            restartable: self.facts.restartable,
            weight: self.weight,
            groups: self.groups.clone(),
            // Names are the shell's: it adds them where somebody else is asked.
            token: false,
            driver: self.driver,
            at_once: self.at_once,
            about: About::default(),
        }
    }
}
