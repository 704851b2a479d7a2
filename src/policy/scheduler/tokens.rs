//! Tokens of make's jobserver: places for processes more in the attempts that run. Each attempt has a fifo of its own in
//! which they lie, so that with its end all of them are back, whoever held one.
//!
//! ```text
//! wanted ── granted ──▶ lies in the fifo ◀──▶ taken by a build
//!                           │ more of them than are likely to be taken; a job waits for a place; memory is short
//!                           └──▶ taken back            what a build holds can't be
//! ```
//!
//! Who waits for a token can't be seen, only how many lie there. So as many are offered as are taken, and one more: to a
//! build that takes them all twice as many at the next look.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::attempt::Phase;
use super::claims::Lack;
use super::messages::Effect;
use super::permits::Said;
use super::{Running, Scheduler};
use crate::model::{AttemptId, JobId};
use crate::policy::broker::{About, Request};
use crate::policy::governor::Ending;
use crate::policy::tuning::TOKENS_IDLE;

/// No machine has a use for more.
const MOST: u32 = 1 << 20;

/// Of a run whose jobs are given tokens.
#[derive(Debug)]
pub(super) struct Tokens {
    /// Tokens have the last of all numbers: jobs may be brought along.
    first: u32,
    /// At once, in all of them.
    most: u32,
    free: BTreeSet<u32>,
    /// Each wants to run anew under another attempt's number: an answer that comes late is not of the next one.
    turns: u32,
    pools: BTreeMap<AttemptId, Pool>,
}

/// The tokens of one attempt.
#[derive(Debug, Default)]
struct Pool {
    wanted: Vec<AttemptId>,
    granted: Vec<AttemptId>,
    /// How many of these lie in the fifo.
    lying: u32,
    /// The most that were taken lately, and when.
    peak: (u32, Duration),
}

/// What is to be done about a pool.
#[derive(Debug, Default, PartialEq, Eq)]
struct Change {
    want: u32,
    withdraw: u32,
    take_back: u32,
}

impl Tokens {
    /// With so many tokens at most.
    pub fn new(most: u32) -> Tokens {
        let most = most.min(MOST);
        Tokens { first: u32::MAX - MOST, most, free: (0..most).collect(), turns: 0, pools: BTreeMap::new() }
    }

    /// Whether this is the number of a token.
    fn is_token(&self, job: JobId) -> bool {
        job.0 >= self.first
    }

    /// How many are wanted that are not granted.
    pub fn wanted(&self) -> u32 {
        self.pools.values().map(|pool| len(&pool.wanted)).sum()
    }

    fn new_token(&mut self) -> Option<AttemptId> {
        let number = self.free.pop_first()?;
        self.turns = self.turns.wrapping_add(1).max(1);
        Some(AttemptId { job: JobId(self.first.saturating_add(number)), number: self.turns })
    }

    fn free(&mut self, id: AttemptId) {
        self.free.insert(id.job.0.saturating_sub(self.first));
    }
}

impl Pool {
    fn taken(&self) -> u32 {
        len(&self.granted).saturating_sub(self.lying)
    }

    /// So many lie there now.
    fn see(&mut self, now: Duration, lying: u32) {
        self.lying = lying.min(len(&self.granted));
        let taken = self.taken();
        if taken >= self.peak.0 || now.saturating_sub(self.peak.1) >= TOKENS_IDLE {
            self.peak = (taken, now);
        }
    }

    /// `most`: as many as there may be in all. `room`: whether there may be more than are taken.
    fn change(&self, most: u32, room: bool) -> Change {
        let (taken, granted, wanted) = (self.taken(), len(&self.granted), len(&self.wanted));
        let offered = if room { self.peak.0.max(taken) + 1 } else { 0 };
        let target = taken.saturating_add(offered).min(most.max(taken));
        let all = granted.saturating_add(wanted);
        Change {
            want: target.saturating_sub(all),
            withdraw: all.saturating_sub(target).min(wanted),
            take_back: granted.saturating_sub(target).min(self.lying),
        }
    }
}

impl Scheduler {
    /// What lies in each fifo is known.
    pub(super) fn see_tokens(&mut self, now: Duration, seen: &[(AttemptId, u32)]) {
        let Some(tokens) = &mut self.tokens else { return };
        for (id, lying) in seen {
            if let Some(pool) = tokens.pools.get_mut(id) {
                pool.see(now, *lying);
            }
        }
    }

    /// So many were taken back out of a fifo.
    pub(super) fn took_tokens(&mut self, id: AttemptId, count: u32) {
        let Some(pool) = self.tokens.as_mut().and_then(|tokens| tokens.pools.get_mut(&id)) else { return };
        pool.lying = pool.lying.saturating_sub(count);
        for _ in 0..count {
            let token = self.tokens.as_mut().and_then(|tokens| tokens.pools.get_mut(&id)?.granted.pop());
            let Some(token) = token else { return };
            self.give_back(token);
        }
    }

    /// Asks for tokens where they are likely to be taken, and for those back that are not.
    pub(super) fn settle_tokens(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        if self.tokens.is_none() {
            return;
        }
        self.open_and_close_pools(now);
        let room = self.has_room_for_tokens(now);
        let Some(tokens) = &self.tokens else { return };
        let changes: Vec<(AttemptId, Change)> = tokens
            .pools
            .iter()
            .map(|(id, pool)| {
                let stands_still = self
                    .running
                    .iter()
                    .any(|running| running.waiting.id == *id && running.frozen_at.is_some());
                (*id, pool.change(tokens.most, room && !stands_still))
            })
            .collect();
        for (id, change) in changes {
            for _ in 0..change.withdraw {
                let token = self.tokens.as_mut().and_then(|tokens| tokens.pools.get_mut(&id)?.wanted.pop());
                let Some(token) = token else { break };
                self.tell(Said::Withdraw { job: token.job, again: false });
                self.tokens.iter_mut().for_each(|tokens| tokens.free(token));
            }
            for _ in 0..change.want {
                self.want_token(id, effects);
            }
            if change.take_back > 0 {
                effects.push(Effect::TakeTokens(id, change.take_back));
            }
        }
    }

    /// A token may be put where it is to be taken from. Returns whether it is one at all.
    pub(super) fn token_granted(&mut self, token: AttemptId, effects: &mut Vec<Effect>) -> bool {
        let Some(tokens) = self.tokens.as_mut().filter(|tokens| tokens.is_token(token.job)) else {
            return false;
        };
        let wanted = tokens.pools.iter_mut().find_map(|(id, pool)| {
            let at = pool.wanted.iter().position(|wanted| *wanted == token)?;
            Some((*id, pool, at))
        });
        match wanted {
            Some((id, pool, at)) => {
                pool.wanted.swap_remove(at);
                if self.claims.take_place() {
                    pool.granted.push(token);
                    pool.lying += 1;
                    effects.push(Effect::PutToken(id));
                } else {
                    tokens.free(token);
                    self.tell(ended(token));
                }
            }
            // What was said that it is not wanted any more has crossed it.
            None => self.tell(ended(token)),
        }
        true
    }

    fn want_token(&mut self, id: AttemptId, effects: &mut Vec<Effect>) {
        let Some(tokens) = &mut self.tokens else { return };
        let Some(token) = tokens.new_token() else { return };
        if let Some(pool) = tokens.pools.get_mut(&id) {
            pool.wanted.push(token);
        }
        if self.permits.is_some() {
            self.tell(Said::Want(request(token)));
        } else {
            // Nobody is asked: as many run as there are places.
            self.token_granted(token, effects);
        }
    }

    /// One that nobody has any more.
    fn give_back(&mut self, token: AttemptId) {
        self.claims.give_place();
        self.tell(ended(token));
        self.tokens.iter_mut().for_each(|tokens| tokens.free(token));
    }

    /// Who runs has a pool; with the end of an attempt all of its tokens are back.
    fn open_and_close_pools(&mut self, now: Duration) {
        let Some(tokens) = &mut self.tokens else { return };
        // One that was brought along takes from its driver's.
        let is_driven = |id: AttemptId| self.jobs[id.job.0 as usize].driver.is_some();
        let runs = |running: &&Running| {
            matches!(running.phase, Phase::Running { .. }) && !is_driven(running.waiting.id)
        };
        for running in self.running.iter().filter(runs) {
            tokens
                .pools
                .entry(running.waiting.id)
                .or_insert_with(|| Pool { peak: (0, now), ..Pool::default() });
        }
        let is_over = |id: &AttemptId| !self.running.iter().any(|running| running.waiting.id == *id);
        let over: Vec<AttemptId> = tokens.pools.keys().copied().filter(is_over).collect();
        for id in over {
            let Some(pool) = self.tokens.as_mut().and_then(|tokens| tokens.pools.remove(&id)) else {
                continue;
            };
            for token in pool.wanted {
                self.tell(Said::Withdraw { job: token.job, again: false });
                self.tokens.iter_mut().for_each(|tokens| tokens.free(token));
            }
            pool.granted.into_iter().for_each(|token| self.give_back(token));
        }
    }

    /// Whether there may be more of them than builds hold: not while a job waits for a place, nor while memory is short.
    fn has_room_for_tokens(&self, now: Duration) -> bool {
        let (calm, tight) = match &self.permits {
            Some(permits) => (permits.is_calm(), permits.is_tight()),
            None => (true, false),
        };
        let waits = |waiting: &super::Waiting| {
            let spec = &self.jobs[waiting.id.job.0 as usize];
            waiting.is_ready(now, calm) && self.claims.lack(spec.weight, &spec.groups) == Some(Lack::Slots)
        };
        self.closed.is_none() && !tight && !self.queue.iter().any(waits)
    }
}

fn len(tokens: &[AttemptId]) -> u32 {
    u32::try_from(tokens.len()).unwrap_or(u32::MAX)
}

fn ended(token: AttemptId) -> Said {
    Said::Ended {
        id: token,
        ending: Ending::Otherwise,
        again: false,
        outcome: None,
        verdict: None,
        setup: None,
    }
}

fn request(id: AttemptId) -> Request {
    Request {
        id,
        kin: 0,
        memory: None,
        restartable: false,
        weight: 1,
        groups: Vec::new(),
        token: true,
        driver: None,
        at_once: false,
        about: About { name: "a token of make's".to_owned(), limit: None },
    }
}
