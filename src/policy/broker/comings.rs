//! Clients and requests that come and go.

use std::collections::BTreeSet;
use std::time::Duration;

use super::client::{Client, Known, Phase};
use super::messages::{ClientId, Effect, Refusal, Request, Stand, Terms, UserId, Who};
use super::shares::Account;
use super::{Broker, User};
use crate::model::view::JobState;
use crate::model::{AttemptId, JobId};
use crate::policy::governor::{Ending, Governor, JobFacts};

impl Broker {
    pub(super) fn hello(&mut self, now: Duration, client: ClientId, who: Who, instead_of: Option<ClientId>) {
        if self.clients.contains_key(&client) {
            return;
        }
        let before = instead_of.filter(|old| {
            self.clients.get(old).is_some_and(|old| old.lost_since.is_some() && old.who.user == who.user)
        });
        if let Some(old) = before
            && let Some(mut known) = self.clients.remove(&old)
        {
            for job in known.jobs.values() {
                self.owners[job.number.0 as usize] =
                    self.owners[job.number.0 as usize].map(|(_, job)| (client, job));
            }
            self.orders.hand_over(old, client);
            // Jobs inside of its jobs belong to the client that it is now.
            let nested = self.clients.values_mut().filter_map(|other| other.who.inside.as_mut());
            nested.filter(|(parent, _)| *parent == old).for_each(|(parent, _)| *parent = client);
            known.lost_since = None;
            (known.told_wait, known.told_share) = (None, None);
            known.told_stand = (now, Stand::default());
            self.shares_told = None;
            known.limit(who.parallel, who.groups.clone());
            known.account.set_weight(who.weight);
            (known.who.priority, known.who.inside) = (who.priority, who.inside);
            known.who.name = who.name;
            self.clients.insert(client, known);
            return;
        }
        let of_runs =
            level(self.clients.values().filter(|run| run.who.user == who.user).map(|run| &run.account));
        let of_users = level(self.users.values().filter(|user| user.clients > 0).map(|user| &user.account));
        let user = self.users.entry(who.user).or_insert_with(|| User::new(Terms::default(), of_users));
        user.clients += 1;
        let account = Account::new(who.weight, of_runs);
        self.clients.insert(client, Client::new(now, who, account));
        // It knows what it may count on before anything of it starts.
        self.shares_told = None;
    }

    pub(super) fn agree(&mut self, user: UserId, terms: Terms) {
        let of_users = level(self.users.values().filter(|user| user.clients > 0).map(|user| &user.account));
        let user = self.users.entry(user).or_insert_with(|| User::new(terms, of_users));
        (user.terms, user.known) = (terms, true);
        user.account.set_weight(terms.weight);
    }

    /// Makes what is known of a client agree with what it says that runs. What has run before is forgotten.
    pub(super) fn declare(&mut self, now: Duration, client: ClientId, running: &[Request]) {
        let Some(known) = self.clients.get(&client) else { return };
        let told: BTreeSet<AttemptId> = running.iter().map(|request| request.id).collect();
        let id = |job: JobId, known: &Known| AttemptId { job, number: known.attempt };
        let untrue: Vec<AttemptId> =
            known.running().map(|(job, known)| id(job, known)).filter(|id| !told.contains(id)).collect();
        for id in untrue {
            self.ended(now, client, id, Ending::Otherwise, true);
        }
        for request in running {
            let Some(known) = self.clients.get(&client) else { return };
            let runs = |known: &Known| matches!(known.phase, Phase::Running | Phase::Riding);
            if known.jobs.get(&request.id.job).is_some_and(runs) {
                continue;
            }
            // It runs already: nobody is asked whether it fits, and nothing starts until all of them do.
            self.meet(client, request);
            self.launch(now, client, request.id.job, request.token);
            self.about(client, request.id, Governor::born);
        }
        // What it still wants it says again; of what it does not, nobody would ever hear.
        let Some(known) = self.clients.get(&client) else { return };
        let rests = known.jobs.iter().filter(|(_, known)| known.phase == Phase::Resting);
        let rests: Vec<JobId> = rests.map(|(job, _)| *job).collect();
        rests.into_iter().for_each(|job| self.forget(now, client, job));
    }

    pub(super) fn want(
        &mut self,
        now: Duration,
        client: ClientId,
        request: &Request,
        effects: &mut Vec<Effect>,
    ) {
        let Some(known) = self.clients.get(&client) else { return };
        let most = self.settings.requests;
        match known.jobs.get(&request.id.job).map(|known| known.phase) {
            // It has what it asks for, or stands in line for it.
            Some(Phase::Waiting(_) | Phase::Running | Phase::Riding) => return,
            // It is counted already.
            Some(Phase::Resting) => {}
            // Those that rest are kept for the client, too.
            None if known.jobs.len() as u64 - u64::from(known.permits) >= most as u64 => {
                return effects.push(Effect::Refuse(client, request.id, Refusal::TooMany { most }));
            }
            None => {}
        }
        self.meet(client, request);
        self.arrivals += 1;
        let arrival = self.arrivals;
        let Some(known) = self.clients.get_mut(&client) else { return };
        known.enqueue(now, request.id.job, arrival);
        if let Some(user) = self.users.get_mut(&known.who.user) {
            user.waiting_since.get_or_insert(now);
        }
    }

    /// Gets to know a job, or its next attempt.
    fn meet(&mut self, client: ClientId, request: &Request) {
        let Some(of) = self.clients.get_mut(&client) else { return };
        of.leave(request.id.job);
        if let Some(known) = of.jobs.get_mut(&request.id.job) {
            known.attempt = request.id.number;
            known.weight = request.weight.max(1);
            return;
        }
        let kin = self.kins.join(of.who.user, request.kin, |kin| self.governor.knows_group(kin));
        let facts = JobFacts {
            group: kin,
            memory: request.memory,
            restartable: request.restartable,
            weight: request.weight.max(1),
        };
        let number = self.governor.add(&facts);
        of.drives |= request.driver.is_some();
        if let Some(driver) = request.driver.and_then(|driver| of.jobs.get(&driver)) {
            self.governor.drives(driver.number);
        }
        // Its driver waits for it, and it for the others.
        if request.at_once && request.driver.is_some() {
            self.governor.drives(number);
        }
        let at = number.0 as usize;
        self.owners.resize(self.owners.len().max(at + 1), None);
        self.owners[at] = Some((client, request.id.job));
        of.jobs.insert(request.id.job, Known::new(request, number, kin));
    }

    pub(super) fn withdraw(&mut self, now: Duration, client: ClientId, job: JobId, again: bool) {
        let Some(of) = self.clients.get_mut(&client) else { return };
        match of.jobs.get(&job).map(|known| known.phase) {
            Some(Phase::Waiting(_)) if again => of.rest(job),
            Some(Phase::Resting) if again => {}
            Some(Phase::Waiting(_) | Phase::Resting) => self.forget(now, client, job),
            // What runs ends by itself, and says so.
            Some(Phase::Running | Phase::Riding) | None => {}
        }
    }

    pub(super) fn ended(
        &mut self,
        now: Duration,
        client: ClientId,
        id: AttemptId,
        ending: Ending,
        again: bool,
    ) {
        let Some(of) = self.clients.get_mut(&client) else { return };
        let Some(known) = of.jobs.get(&id.job).filter(|known| known.attempt == id.number) else { return };
        let number = AttemptId { job: known.number, ..id };
        let Some(running) = of.give_back(now, id.job) else { return };
        self.orders.close(client, id);
        if running {
            self.governor.ended(now, number, ending);
        }
        if let Some(user) = self.users.get_mut(&of.who.user) {
            user.permits = user.permits.saturating_sub(1);
            if user.permits == 0 {
                user.waiting_since = Some(now);
            }
        }
        self.weigh(client);
        self.alight_from(now, client, id.job);
        if !again {
            self.forget(now, client, id.job);
        }
    }

    /// Those that ran inside of this job, and go on without it, count for themselves.
    fn alight_from(&mut self, now: Duration, parent: ClientId, job: JobId) {
        let inside = |client: &Client| client.who.inside == Some((parent, job));
        let nested: Vec<ClientId> =
            self.clients.iter().filter(|(_, client)| inside(client)).map(|(id, _)| *id).collect();
        for client in nested {
            let Some(of) = self.clients.get_mut(&client) else { continue };
            let Some((job, known)) = of.rider() else { continue };
            let id = AttemptId { job: known.number, number: known.attempt };
            let pinned = known.rides == JobState::Pinned;
            of.alight(job);
            self.governor.started(now, id);
            self.governor.born(id);
            if pinned {
                self.governor.pin(now, id);
            }
            self.count(client, job);
            self.weigh(client);
        }
    }

    pub(super) fn lost(&mut self, now: Duration, client: ClientId) {
        let Some(of) = self.clients.get_mut(&client) else { return };
        of.lost_since.get_or_insert(now);
        // It asks again when it is back; until then its place is not kept.
        let waiting: Vec<JobId> = of.queue.iter().map(|request| request.id().job).collect();
        for job in waiting {
            of.rest(job);
        }
    }

    pub(super) fn gone(&mut self, now: Duration, client: ClientId) {
        let Some(of) = self.clients.get(&client) else { return };
        let (user, jobs): (UserId, Vec<JobId>) = (of.who.user, of.jobs.keys().copied().collect());
        for job in jobs {
            let Some(known) = self.clients.get(&client).and_then(|of| of.jobs.get(&job)) else { continue };
            let id = AttemptId { job, number: known.attempt };
            self.ended(now, client, id, Ending::Otherwise, true);
            self.forget(now, client, job);
        }
        self.clients.remove(&client);
        self.orders.close_all(client);
        let Some(of) = self.users.get_mut(&user) else { return };
        of.clients = of.clients.saturating_sub(1);
        if of.clients == 0 {
            (of.waiting_since, of.permits) = (None, 0);
            // Whoever comes with another number each time is not remembered; what was agreed on is.
            if !of.known {
                self.users.remove(&user);
            }
        }
    }

    /// A job that will not run any more. It does not run now.
    fn forget(&mut self, now: Duration, client: ClientId, job: JobId) {
        let Some(of) = self.clients.get_mut(&client) else { return };
        of.leave(job);
        let Some(known) = of.jobs.remove(&job) else { return };
        self.governor.remove(now, known.number);
        self.owners[known.number.0 as usize] = None;
        self.kins.leave(known.kin);
    }

    /// One that rides in another's room does this now.
    pub(super) fn rides(&mut self, client: ClientId, id: AttemptId, does: JobState) {
        if let Some(of) = self.clients.get_mut(&client) {
            of.ride(id, does);
        }
    }

    /// Tells the governor something of an attempt that runs and is its business.
    pub(super) fn about(
        &mut self,
        client: ClientId,
        id: AttemptId,
        tell: impl FnOnce(&mut Governor, AttemptId),
    ) {
        let known = self.clients.get(&client).and_then(|client| client.jobs.get(&id.job));
        let known = known.filter(|known| known.phase == Phase::Running && known.attempt == id.number);
        if let Some(number) = known.map(|known| known.number) {
            tell(&mut self.governor, AttemptId { job: number, ..id });
        }
    }
}

impl User {
    fn new(terms: Terms, served: f64) -> User {
        User {
            account: Account::new(terms.weight, served),
            terms,
            lead: 0.0,
            clients: 0,
            permits: 0,
            memory: 0.0,
            load: 0,
            waiting_since: None,
            waits: false,
            known: false,
        }
    }

    /// Which parts of what the user has these are: a run is compared with the other runs of its user only.
    pub(super) fn part(&self, memory: f64, load: u32) -> (f64, f64) {
        (memory / self.memory.max(1.0), f64::from(load) / f64::from(self.load.max(1)))
    }
}

/// Where one starts who comes to these: level with the one who has had least.
fn level<'a>(accounts: impl Iterator<Item = &'a Account>) -> f64 {
    accounts.map(Account::served).min_by(f64::total_cmp).unwrap_or(0.0)
}
