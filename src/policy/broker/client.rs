//! One client: what it wants, what it holds.
//!
//! ```text
//! job:  waiting ── grant ──▶ running ── ended for good ──▶ forgotten
//!          ▲  │                 │
//!          │  └─ parent's room ─▶ riding (inside of another client's job, which pays for it; a token: inside of its own)
//!          └──── want ◀── resting ◀── ended, and runs again
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::messages::{About, Priority, Request, Share, Stand, Wait, Who, Why};
use super::shares::Account;
use crate::model::view::JobState;
use crate::model::{AttemptId, JobId};
use crate::policy::tuning::BATCH_AGES;

/// Place among the requests of one client: those that have run before in the order of their first start, then the
/// others as they came.
pub(super) type Place = (u32, u64, JobId);

#[derive(Debug)]
pub(super) struct Client {
    pub who: Who,
    /// When it came.
    pub since: Duration,
    pub account: Account,
    /// By the client's own number.
    pub jobs: BTreeMap<JobId, Known>,
    /// In the order of their places. Those that come are the last mostly, and those that go among the first.
    pub queue: VecDeque<InLine>,
    /// Those that run, riding ones too: a look concerns them, and not the thousands that wait.
    running: BTreeMap<JobId, Held>,
    /// How many these are.
    pub permits: u32,
    /// Weight of those.
    weight: u32,
    /// How many have each group.
    groups: Vec<u32>,
    /// Bytes that its jobs are expected to come to; without riding ones.
    pub memory: f64,
    /// Weight of its jobs, without riding ones.
    pub load: u32,
    /// How much of it are tokens.
    pub tokens: u32,
    /// Whether a job of it ever waited for another one.
    pub drives: bool,
    /// What of both its user is charged with.
    pub counted: (f64, u32),
    /// Its first request that the law refused, and since when.
    pub refused: Option<(AttemptId, Duration)>,
    /// Why nothing of it started in the last step.
    pub why: Option<Why>,
    /// Since when it waits, or since its last grant.
    pub waiting_since: Option<Duration>,
    /// Since when it waits and nothing of it runs.
    pub hungry_since: Option<Duration>,
    /// Since when its connection is gone.
    pub lost_since: Option<Duration>,
    /// Jobs of which it has not done what it was asked to.
    pub overdue: BTreeSet<JobId>,
    /// What it was told last, and when.
    pub told_wait: Option<(Duration, Wait)>,
    pub told_share: Option<(Duration, Share)>,
    pub told_stand: (Duration, Stand),
}

#[derive(Debug)]
pub(super) struct Known {
    /// The governor's number of it.
    pub number: JobId,
    /// Of the attempt that waits, runs or ran last.
    pub attempt: u32,
    pub weight: u32,
    pub groups: Vec<u32>,
    /// The governor's number of its kin.
    pub kin: u32,
    pub phase: Phase,
    /// Rank of its first start among all.
    pub seniority: Option<u32>,
    /// Since when it waits or runs.
    pub since: Duration,
    /// For how long it had waited when it was granted.
    pub waited: Duration,
    /// What one does that rides; of others the governor knows.
    pub rides: JobState,
    /// See [`Request::token`].
    pub token: bool,
    /// See [`Request::driver`].
    pub driver: Option<JobId>,
    /// See [`Request::at_once`].
    pub at_once: bool,
    pub about: About,
}

/// Of one that runs, what is looked at in each look.
#[derive(Debug, Clone, Copy)]
struct Held {
    /// The governor's number of it.
    number: JobId,
    /// Bytes that count for it in [`Client::memory`].
    memory: f64,
    riding: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Waiting(Place),
    Running,
    Riding,
    Resting,
}

/// What is looked at of a request each time that it may be its turn: dozens of times in a step, and mostly in vain.
#[derive(Debug, Clone, Copy)]
pub(super) struct InLine {
    place: Place,
    /// The governor's number of its job.
    pub number: JobId,
    pub attempt: u32,
    pub weight: u32,
    /// Whether it needs any group.
    grouped: bool,
    /// See [`Request::token`].
    pub token: bool,
    /// See [`Request::at_once`].
    pub at_once: bool,
}

/// What a request has to wait for, whatever the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lack {
    /// As many of the client run as may: nothing behind it starts either, or a heavy one never would.
    Places,
    /// One of its groups is taken. Others go on.
    Group,
}

impl Client {
    pub fn new(now: Duration, who: Who, account: Account) -> Client {
        Client {
            groups: vec![0; who.groups.len()],
            who,
            since: now,
            account,
            jobs: BTreeMap::new(),
            queue: VecDeque::new(),
            running: BTreeMap::new(),
            permits: 0,
            weight: 0,
            memory: 0.0,
            load: 0,
            tokens: 0,
            drives: false,
            counted: (0.0, 0),
            refused: None,
            why: None,
            waiting_since: None,
            hungry_since: None,
            lost_since: None,
            overdue: BTreeSet::new(),
            told_wait: None,
            told_share: None,
            told_stand: (Duration::ZERO, Stand::default()),
        }
    }

    pub fn limit(&mut self, parallel: u32, groups: Vec<u32>) {
        self.groups.resize(groups.len().max(self.groups.len()), 0);
        (self.who.parallel, self.who.groups) = (parallel, groups);
    }

    /// Whether its turn comes before that of a batch run.
    pub fn is_urgent(&self, now: Duration) -> bool {
        let waited = self.waiting_since.map_or(Duration::ZERO, |since| now.saturating_sub(since));
        self.who.priority == Priority::Interactive || waited >= BATCH_AGES
    }

    /// Whether anything may be granted to it.
    pub fn is_served(&self) -> bool {
        self.lost_since.is_none() && self.overdue.is_empty() && !self.queue.is_empty()
    }

    /// Whether it would take more than it has. One that has just come will.
    pub fn wants_more(&self) -> bool {
        !self.queue.is_empty() || self.jobs.is_empty()
    }

    /// Whether a job of it will want to run again and does not yet: it may wait until the machine is calm.
    pub fn settles(&self) -> bool {
        self.lost_since.is_none() && self.jobs.len() > self.queue.len() + self.permits as usize
    }

    pub fn lack(&self, request: &InLine) -> Option<Lack> {
        let is_taken = |group: &u32| {
            let at = *group as usize;
            let most = self.who.groups.get(at).copied().unwrap_or(u32::MAX);
            self.groups.get(at).is_some_and(|taken| *taken >= most)
        };
        let (_, _, job) = request.place;
        if request.grouped && self.jobs.get(&job).is_some_and(|known| known.groups.iter().any(is_taken)) {
            return Some(Lack::Group);
        }
        if request.at_once {
            return None;
        }
        // One that weighs more than may run at once runs alone.
        let most = self.who.parallel.max(1);
        let weight = request.weight.clamp(1, most);
        (self.weight.saturating_add(weight) > most).then_some(Lack::Places)
    }

    /// Weight that may still start.
    pub fn places(&self) -> u32 {
        self.who.parallel.max(1).saturating_sub(self.weight)
    }

    /// Takes what the job needs of the client's own.
    pub fn take(&mut self, now: Duration, job: JobId, riding: bool) {
        let most = self.who.parallel.max(1);
        let Some(known) = self.jobs.get_mut(&job) else { return };
        let waited = matches!(known.phase, Phase::Waiting(_)).then(|| now.saturating_sub(known.since));
        if let Phase::Waiting(place) = known.phase {
            remove(&mut self.queue, place);
        }
        (known.since, known.waited) = (now, waited.unwrap_or_default());
        // A token has no process that would be born.
        known.rides = if known.token { JobState::Running } else { JobState::Starting };
        // What is given back later is what was taken, whatever becomes of the limit meanwhile.
        known.weight = known.weight.clamp(1, most);
        known.phase = if riding { Phase::Riding } else { Phase::Running };
        self.weight = self.weight.saturating_add(known.places());
        self.running.insert(job, Held { number: known.number, memory: 0.0, riding });
        self.permits += 1;
        self.hungry_since = None;
        if !riding || known.token {
            self.load = self.load.saturating_add(known.weight);
        }
        if known.token {
            self.tokens = self.tokens.saturating_add(known.weight);
        }
        for group in &known.groups {
            if let Some(taken) = self.groups.get_mut(*group as usize) {
                *taken += 1;
            }
        }
    }

    /// Gives it back. Returns whether it was running, and not riding; `None` if neither.
    pub fn give_back(&mut self, now: Duration, job: JobId) -> Option<bool> {
        let known = self.jobs.get_mut(&job)?;
        let running = match known.phase {
            Phase::Running => true,
            Phase::Riding => false,
            Phase::Waiting(_) | Phase::Resting => return None,
        };
        known.phase = Phase::Resting;
        self.weight = self.weight.saturating_sub(known.places());
        let memory = self.running.remove(&job).map_or(0.0, |held| held.memory);
        self.permits = self.permits.saturating_sub(1);
        self.hungry_since = (self.permits == 0).then_some(now);
        if running || known.token {
            self.load = self.load.saturating_sub(known.weight);
        }
        if known.token {
            self.tokens = self.tokens.saturating_sub(known.weight);
        }
        self.memory = (self.memory - memory).max(0.0);
        for group in &known.groups {
            if let Some(taken) = self.groups.get_mut(*group as usize) {
                *taken = taken.saturating_sub(1);
            }
        }
        self.overdue.remove(&job);
        Some(running)
    }

    /// The one that rides in another's room.
    pub fn rider(&self) -> Option<(JobId, &Known)> {
        self.running().find(|(_, known)| known.phase == Phase::Riding && !known.token)
    }

    /// The first request that a job of this client waits for, of which none other runs, or `one_more` does not mind those that
    /// do, since the job goes on only with all of them: if that had to wait, the job would wait for it, and keep its own.
    pub fn waited_for(&self, one_more: impl Fn(JobId) -> bool) -> Option<AttemptId> {
        let driver = |job: &JobId| self.jobs.get(job).and_then(|known| known.driver);
        let is_free = |request: &&InLine| {
            let job = request.id().job;
            let Some(known) = self.jobs.get(&job) else { return false };
            known.driver.is_some_and(|wanted| {
                self.running.contains_key(&wanted)
                    && self.lack(request).is_none()
                    && (!self.running.keys().any(|job| driver(job) == Some(wanted))
                        || known.at_once && one_more(job))
            })
        };
        if self.drives { self.queue.iter().find(is_free).map(InLine::id) } else { None }
    }

    /// One that rides does this now.
    pub fn ride(&mut self, id: AttemptId, does: JobState) {
        let known = self.jobs.get_mut(&id.job).filter(|known| known.attempt == id.number);
        if let Some(known) = known.filter(|known| known.phase == Phase::Riding) {
            known.rides = does;
        }
    }

    /// A riding one is paid for by itself from now on.
    pub fn alight(&mut self, job: JobId) {
        if let Some(known) = self.jobs.get_mut(&job) {
            known.phase = Phase::Running;
            self.load = self.load.saturating_add(known.weight);
        }
        if let Some(held) = self.running.get_mut(&job) {
            held.riding = false;
        }
    }

    /// A job's request stands in line. `arrival`: larger for each.
    pub fn enqueue(&mut self, now: Duration, job: JobId, arrival: u64) {
        let Some(known) = self.jobs.get_mut(&job) else { return };
        let place = (known.seniority.unwrap_or(u32::MAX), arrival, job);
        (known.phase, known.since) = (Phase::Waiting(place), now);
        let Known { number, attempt, weight, token, at_once, .. } = *known;
        let grouped = !known.groups.is_empty();
        let at = self.queue.partition_point(|other| other.place < place);
        self.queue.insert(at, InLine { place, number, attempt, weight, grouped, token, at_once });
        self.waiting_since.get_or_insert(now);
        if self.permits == 0 {
            self.hungry_since.get_or_insert(now);
        }
    }

    /// It has left the line without a grant.
    pub fn leave(&mut self, job: JobId) {
        if let Some(Phase::Waiting(place)) = self.jobs.get(&job).map(|known| known.phase) {
            remove(&mut self.queue, place);
        }
        if self.queue.is_empty() {
            self.waiting_since = None;
        }
    }

    /// It has left the line, and will come back.
    pub fn rest(&mut self, job: JobId) {
        self.leave(job);
        if let Some(known) = self.jobs.get_mut(&job) {
            known.phase = Phase::Resting;
        }
    }

    /// Those that run, riding ones too.
    pub fn running(&self) -> impl Iterator<Item = (JobId, &Known)> {
        self.running.keys().filter_map(|job| Some((*job, self.jobs.get(job)?)))
    }

    /// Those that run in room of their own.
    pub fn counted_ones(&self) -> impl Iterator<Item = AttemptId> {
        let own = self.running.iter().filter(|(_, held)| !held.riding);
        own.filter_map(|(job, _)| Some(AttemptId { job: *job, number: self.jobs.get(job)?.attempt }))
    }

    /// The governor's number of a job.
    pub fn number(&self, job: JobId) -> Option<JobId> {
        let held = self.running.get(&job).map(|held| held.number);
        held.or_else(|| self.jobs.get(&job).map(|known| known.number))
    }

    /// What one that runs is expected to come to.
    pub fn expect(&mut self, job: JobId, memory: f64) {
        if let Some(held) = self.running.get_mut(&job) {
            self.memory += memory - held.memory;
            held.memory = memory;
        }
    }

    /// The same of all that don't ride; `of` says it by the governor's number.
    pub fn expect_all(&mut self, of: impl Fn(JobId) -> f64) {
        self.memory = 0.0;
        for held in self.running.values_mut().filter(|held| !held.riding) {
            held.memory = of(held.number);
            self.memory += held.memory;
        }
    }
}

impl InLine {
    /// Which attempt it is for.
    pub fn id(&self) -> AttemptId {
        AttemptId { job: self.place.2, number: self.attempt }
    }
}

fn remove(queue: &mut VecDeque<InLine>, place: Place) {
    if let Ok(at) = queue.binary_search_by(|request| request.place.cmp(&place)) {
        queue.remove(at);
    }
}

impl Known {
    /// What it takes of the places of its client: one that may not wait has its own.
    fn places(&self) -> u32 {
        if self.at_once { 0 } else { self.weight }
    }

    pub fn new(request: &Request, number: JobId, kin: u32) -> Known {
        Known {
            number,
            attempt: request.id.number,
            weight: request.weight.max(1),
            groups: request.groups.clone(),
            kin,
            phase: Phase::Resting,
            seniority: None,
            since: Duration::ZERO,
            waited: Duration::ZERO,
            rides: JobState::Starting,
            token: request.token,
            driver: request.driver,
            at_once: request.at_once,
            about: request.about.clone(),
        }
    }
}
