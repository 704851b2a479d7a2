//! Whose turn it is, and who starts now.
//!
//! ```text
//! next in line ── the law ── start ──▶ grant; it holds more now, so the line is another one
//!                    │
//!                    ├─ wait ──▶ the next is asked: who fits goes on ── for 2 s; then only its own run's others may
//!                    │           nothing of its user runs ── for 1 s; then who has most gives way (evict)
//!                    ├─ stop, as it was evicted ──▶ nothing more of its user
//!                    └─ stop, as memory is short ──▶ nobody
//! ```
//!
//! With one client all of this is the law alone: its requests are asked about in their order.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::Duration;

use super::client::{Client, InLine, Lack, Phase};
use super::messages::{ClientId, Effect, UserId, Why};
use super::{Broker, User};
use crate::model::{AttemptId, Bytes, JobId};
use crate::policy::governor::{Admission, Answer, Hold};
use crate::policy::tuning::{CANDIDATES, HUNGRY_FOR, OVERTAKEN_FOR};

/// Of each client at least so many are asked about in a step, however many clients there are.
const ASKED_AT_LEAST: usize = 4;

/// A client in line.
#[derive(Debug, Clone, Copy)]
struct Turn {
    client: ClientId,
    user: UserId,
    /// Where its next request stands in its queue.
    at: usize,
    asked: usize,
    /// Those whose group is taken: they do not wait for the law.
    skipped: usize,
    over: bool,
}

/// A request that the law is asked about.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    id: AttemptId,
    /// The governor's number of its job.
    number: JobId,
    /// Whether nothing of its user runs.
    hungry: bool,
    token: bool,
}

/// What one start came to.
#[derive(Debug, Clone, Copy)]
enum Came {
    Started,
    Refused(Hold),
    UserRefused(Hold),
    AllRefused(Hold),
}

impl Broker {
    pub(super) fn start(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        self.ride(now, effects);
        self.serve_drivers(now, effects);
        self.note_who_waits();
        let mut line: Vec<Turn> =
            self.clients.iter().filter(|(_, of)| of.is_served() && of.places() > 0).map(turn).collect();
        // Before the first look nobody knows what there is.
        if self.recovering.is_some() || !self.looked || line.is_empty() {
            return self.governor.held(None, 0);
        }
        let each = (CANDIDATES / line.len()).max(ASKED_AT_LEAST);
        let (mut admission, mut held) = (self.governor.admission(), None);
        admission.beside(self.clients.values().fold(0, |sum, of| sum.saturating_add(of.tokens)));
        let mut again = None;
        while let Some(at) = again.take().or_else(|| self.next(now, &line)) {
            let turn = &mut line[at];
            if turn.asked >= each {
                turn.over = true;
                continue;
            }
            let Some(Candidate { id, number, hungry, token }) = self.candidate(turn) else {
                turn.over = true;
                continue;
            };
            let first = turn.asked == 0;
            turn.asked += 1;
            let (client, user) = (turn.client, turn.user);
            if token {
                match self.governor.spare(&mut admission) {
                    // Those behind it have moved up, and it is another one's turn.
                    true => {
                        self.launch(now, client, id.job, true);
                        effects.push(Effect::Grant(client, id));
                        line[at].at -= 1;
                    }
                    // It is in nobody's way, and no reason to make room.
                    false => again = (!line[at].over).then_some(at),
                }
                continue;
            }
            admission.regardless_of_processors(hungry);
            let came = self.ask(now, (client, id), number, &mut admission, effects);
            match came {
                // Those behind it have moved up.
                Came::Started => line[at].at -= 1,
                Came::Refused(hold) | Came::UserRefused(hold) => {
                    let first_of_all = held.is_none();
                    held = held.or(Some(hold));
                    let patience = if hungry { HUNGRY_FOR } else { OVERTAKEN_FOR };
                    if first && self.refused(now, client, id, hold) >= patience && first_of_all {
                        self.close(&mut line, Why::Turn, |other| other.client != client);
                        if hungry {
                            self.feed(now, client, id.job, effects);
                        }
                    }
                    if matches!(came, Came::UserRefused(_)) {
                        self.close(&mut line, Why::Held(hold), |other| other.user == user);
                    }
                }
                Came::AllRefused(hold) => {
                    held = held.or(Some(hold));
                    self.close(&mut line, Why::Held(hold), |_| true);
                }
            }
            // Only a start makes it another one's turn.
            again = (!matches!(came, Came::Started) && !line[at].over).then_some(at);
        }
        self.governor.held(held, self.held_back(&line));
    }

    /// Asks the law, which knows its job by this `number`, and starts it if it may.
    fn ask(
        &mut self,
        now: Duration,
        (client, id): (ClientId, AttemptId),
        number: JobId,
        admission: &mut Admission,
        effects: &mut Vec<Effect>,
    ) -> Came {
        match self.governor.ask(admission, now, number) {
            Answer::Start => {
                self.launch(now, client, id.job, false);
                effects.push(Effect::Grant(client, id));
                Came::Started
            }
            Answer::Wait(hold) => Came::Refused(hold),
            Answer::Stop(hold) if admission.is_closed() => Came::AllRefused(hold),
            Answer::Stop(hold) => Came::UserRefused(hold),
        }
    }

    /// An attempt starts. `riding`: in the room of the job that it runs inside of, or as a token.
    pub(super) fn launch(&mut self, now: Duration, client: ClientId, job: JobId, riding: bool) {
        let Some(of) = self.clients.get_mut(&client) else { return };
        of.take(now, job, riding);
        let (nobody_waits, user) = (of.queue.is_empty(), of.who.user);
        of.waiting_since = (!nobody_waits).then_some(now);
        (of.why, of.told_wait) = (None, None);
        if of.refused.is_some_and(|(id, _)| id.job == job) {
            of.refused = None;
        }
        let Some(known) = of.jobs.get_mut(&job) else { return };
        if known.seniority.is_none() {
            self.first_starts += 1;
            known.seniority = Some(self.first_starts);
        }
        let id = AttemptId { job: known.number, number: known.attempt };
        if let Some(user) = self.users.get_mut(&user) {
            user.permits += 1;
            user.waiting_since = user.waiting_since.map(|_| now);
        }
        if !riding {
            self.governor.started(now, id);
            self.count(client, job);
            self.weigh(client);
        }
    }

    /// One job of a run that is inside of another's job starts at once, in that one's room: if it had to wait for room, the
    /// job would wait for it, and keep its own.
    fn ride(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        let inside = |(client, of): (&ClientId, &Client)| {
            let (parent, job) = of.who.inside.filter(|_| of.is_served())?;
            let known = self.clients.get(&parent)?.jobs.get(&job)?;
            let parent_runs = matches!(known.phase, Phase::Running | Phase::Riding);
            (parent_runs && of.rider().is_none()).then_some(*client)
        };
        let clients: Vec<ClientId> = self.clients.iter().filter_map(inside).collect();
        for client in clients {
            let Some(of) = self.clients.get(&client) else { continue };
            let may = of.queue.iter().find(|request| !request.token && of.lack(request).is_none());
            let Some(id) = may.map(InLine::id) else { continue };
            self.launch(now, client, id.job, true);
            effects.push(Effect::Grant(client, id));
        }
    }

    /// One job at a time that another job of its client waits for starts at once, whatever the law says: that one does
    /// nothing meanwhile. And all of them, where it goes on only then, but not beyond what its user may have.
    fn serve_drivers(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        let waited = |(client, of): (&ClientId, &Client)| {
            let one_more = |job| self.is_in_its_part(of, job);
            of.is_served().then(|| of.waited_for(one_more)).flatten().map(|id| (*client, id))
        };
        let wanted: Vec<(ClientId, AttemptId)> = self.clients.iter().filter_map(waited).collect();
        for (client, id) in wanted {
            self.launch(now, client, id.job, false);
            effects.push(Effect::Grant(client, id));
        }
    }

    /// Whether the terms of its user hold with this job, too, and beside other users an even part of the budget.
    fn is_in_its_part(&self, of: &Client, job: JobId) -> bool {
        let (Some(user), Some(known)) = (self.users.get(&of.who.user), of.jobs.get(&job)) else {
            return false;
        };
        let users = self.users.values().filter(|user| user.clients > 0).count();
        let part = if users > 1 { self.governor.budget().0 as f64 / users as f64 } else { f64::INFINITY };
        user.memory + self.governor.reserved_for(known.number).0 as f64 <= part
            && !self.is_over_terms(user, known.number, known.weight)
    }

    /// Whether a user had more than its terms are, with this job.
    fn is_over_terms(&self, user: &User, number: JobId, weight: u32) -> bool {
        let memory = || user.memory + self.governor.reserved_for(number).0 as f64;
        user.terms.memory_max.is_some_and(|most| memory() > most.0 as f64)
            || user.terms.jobs_max.is_some_and(|most| user.load.saturating_add(weight) > most)
    }

    /// Whose turn it is.
    fn next(&self, now: Duration, line: &[Turn]) -> Option<usize> {
        let open = (0..line.len()).filter(|at| !line[*at].over);
        open.min_by(|a, b| self.order(now, line[*a].client, line[*b].client))
    }

    /// Whose turn is sooner, of two that wait.
    pub(super) fn order(&self, now: Duration, one: ClientId, two: ClientId) -> Ordering {
        let (Some(a), Some(b)) = (self.clients.get(&one), self.clients.get(&two)) else {
            return one.cmp(&two);
        };
        let of_users = || {
            let (Some(ua), Some(ub)) = (self.users.get(&a.who.user), self.users.get(&b.who.user)) else {
                return Ordering::Equal;
            };
            let hungry = match (ua.permits, ub.permits) {
                (0, 0) => ua.waiting_since.cmp(&ub.waiting_since),
                (one, two) => (one > 0).cmp(&(two > 0)),
            };
            hungry.then_with(|| ua.account.before(&ub.account)).then(a.who.user.cmp(&b.who.user))
        };
        let of_runs = || {
            let hungry = (a.permits > 0).cmp(&(b.permits > 0));
            let urgent = b.is_urgent(now).cmp(&a.is_urgent(now));
            let oldest = match (a.permits, b.permits) {
                (0, 0) => a.hungry_since.cmp(&b.hungry_since),
                _ => Ordering::Equal,
            };
            hungry.then(urgent).then(oldest).then_with(|| a.account.before(&b.account))
        };
        let users = if a.who.user == b.who.user { Ordering::Equal } else { of_users() };
        users.then_with(of_runs).then(one.cmp(&two))
    }

    /// The next request of this client that lacks nothing but memory.
    fn candidate(&mut self, turn: &mut Turn) -> Option<Candidate> {
        let of = self.clients.get(&turn.client)?;
        let user = self.users.get(&turn.user)?;
        let request = loop {
            let request = *of.queue.get(turn.at)?;
            turn.at += 1;
            match of.lack(&request) {
                Some(Lack::Places) => return None,
                Some(Lack::Group) => turn.skipped += 1,
                None => break request,
            }
        };
        // One may always run.
        if user.load > 0 && self.is_over_terms(user, request.number, request.weight) {
            if let Some(of) = self.clients.get_mut(&turn.client) {
                of.why = Some(Why::UserCap);
            }
            return None;
        }
        let (hungry, token) = (user.permits == 0, request.token);
        Some(Candidate { id: request.id(), number: request.number, hungry, token })
    }

    /// Makes room for a user of which nothing runs. Who has more than its share, and more than one job, gives way.
    fn feed(&mut self, now: Duration, client: ClientId, job: JobId, effects: &mut Vec<Effect>) {
        let Some(of) = self.clients.get(&client) else { return };
        let Some(number) = of.jobs.get(&job).map(|known| known.number) else { return };
        let hungry = of.who.user;
        let (held, weights) = self
            .users
            .values()
            .filter(|user| user.load > 0 || user.waiting_since.is_some())
            .fold((0.0, 0.0), |(held, sum), user| (held + user.account.held(), sum + user.account.weight()));
        let mut left: BTreeMap<UserId, u32> = self
            .users
            .iter()
            .filter(|(id, user)| {
                **id != hungry && user.account.held() / user.account.weight() > held / weights
            })
            .map(|(id, user)| (*id, user.permits))
            .collect();
        let (owners, clients) = (&self.owners, &self.clients);
        let may = |number: JobId| {
            let Some((whose, _)) = owners.get(number.0 as usize).copied().flatten() else { return false };
            let Some(left) = clients.get(&whose).and_then(|of| left.get_mut(&of.who.user)) else {
                return false;
            };
            let may = *left > 1;
            *left -= u32::from(may);
            may
        };
        for act in self.governor.make_room(number, may) {
            self.perform(now, act, effects);
        }
    }

    /// A client's first request was refused. Returns for how long it has been.
    fn refused(&mut self, now: Duration, client: ClientId, id: AttemptId, hold: Hold) -> Duration {
        let Some(of) = self.clients.get_mut(&client) else { return Duration::ZERO };
        of.why = Some(Why::Held(hold));
        let since = match of.refused {
            Some((refused, since)) if refused == id => since,
            _ => now,
        };
        of.refused = Some((id, since));
        now.saturating_sub(since)
    }

    /// Nobody of these is asked about in this step any more.
    fn close(&mut self, line: &mut [Turn], why: Why, which: impl Fn(&Turn) -> bool) {
        for turn in line.iter_mut().filter(|turn| !turn.over && which(turn)) {
            turn.over = true;
            if let Some(of) = self.clients.get_mut(&turn.client) {
                of.why = Some(why);
            }
        }
    }

    /// How many wait although their clients have a place for them.
    fn held_back(&self, line: &[Turn]) -> usize {
        let of = |turn: &Turn| {
            let Some(of) = self.clients.get(&turn.client) else { return 0 };
            of.queue.len().saturating_sub(turn.skipped).min(of.places() as usize)
        };
        line.iter().map(of).sum()
    }

    /// A user waits since its first run did that still waits.
    fn note_who_waits(&mut self) {
        self.users.values_mut().for_each(|user| user.waits = false);
        for of in self.clients.values_mut() {
            if of.queue.is_empty() {
                (of.waiting_since, of.hungry_since) = (None, None);
                (of.refused, of.why) = (None, None);
            } else if let Some(user) = self.users.get_mut(&of.who.user) {
                user.waits = true;
            }
        }
        let rests = self.users.values_mut().filter(|user| !user.waits);
        rests.for_each(|user| user.waiting_since = None);
    }

    /// What a job that runs counts for.
    pub(super) fn count(&mut self, client: ClientId, job: JobId) {
        let Some(of) = self.clients.get_mut(&client) else { return };
        if let Some(number) = of.number(job) {
            of.expect(job, self.governor.reserved_for(number).0 as f64);
        }
    }

    /// Charges a client, and its user, with what it has now.
    pub(super) fn weigh(&mut self, client: ClientId) {
        if let Some(of) = self.clients.get_mut(&client) {
            weigh(of, &mut self.users, self.governor.budget(), self.settings.governor.jobs);
        }
    }

    /// The same for all, after a look: jobs have grown, and are expected to come to something else.
    pub(super) fn weigh_all(&mut self) {
        let (budget, jobs) = (self.governor.budget(), self.settings.governor.jobs);
        for of in self.clients.values_mut() {
            of.expect_all(|number| self.governor.reserved_for(number).0 as f64);
            weigh(of, &mut self.users, budget, jobs);
        }
    }
}

fn weigh(of: &mut Client, users: &mut BTreeMap<UserId, User>, budget: Bytes, jobs: u32) {
    let Some(user) = users.get_mut(&of.who.user) else { return };
    let (memory, load) = std::mem::replace(&mut of.counted, (of.memory, of.load));
    user.memory = (user.memory + of.memory - memory).max(0.0);
    user.load = (user.load + of.load).saturating_sub(load);
    // Where nothing limits memory, it is not what there is too little of.
    let part = |memory: f64| if budget.0 == u64::MAX { 0.0 } else { memory / budget.0.max(1) as f64 };
    let (of_memory, of_jobs) = user.part(of.memory, of.load);
    of.account.hold(of_memory, of_jobs);
    user.account.hold(part(user.memory), f64::from(user.load) / f64::from(jobs.max(1)));
}

fn turn((client, of): (&ClientId, &Client)) -> Turn {
    Turn { client: *client, user: of.who.user, at: 0, asked: 0, skipped: 0, over: false }
}
