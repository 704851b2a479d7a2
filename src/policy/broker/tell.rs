//! What clients are told: once a second at most their place and why they wait, and what they may count on; ten times a
//! second how things stand, and at once whether others' jobs run beside theirs.

use std::time::Duration;

use super::Broker;
use super::messages::{ClientId, Effect, Share, Stand, UserId, Wait, Why};
use super::shares::{Claim, divide};
use crate::model::Bytes;
use crate::policy::tuning::{STAND_EVERY, TELL_EVERY};

impl Broker {
    /// Tells those of which nothing runs why that is so. Only who has waited for a while: most do not wait that long.
    pub(super) fn tell_waiting(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        let is_due = |since: Duration| now.saturating_sub(since) >= TELL_EVERY;
        let due: Vec<ClientId> = self
            .clients
            .iter()
            .filter(|(_, of)| of.permits == 0 && !of.queue.is_empty() && of.lost_since.is_none())
            .filter(|(_, of)| of.waiting_since.is_some_and(is_due))
            .filter(|(_, of)| of.told_wait.is_none_or(|(at, _)| is_due(at)))
            .map(|(id, _)| *id)
            .collect();
        for client in due {
            let wait = self.wait(now, client);
            let Some(of) = self.clients.get_mut(&client) else { continue };
            // Figures change all the time; that is no news.
            let same = |told: Wait| {
                told.ahead == wait.ahead
                    && std::mem::discriminant(&told.why) == std::mem::discriminant(&wait.why)
            };
            if of.told_wait.is_none_or(|(_, told)| !same(told)) {
                effects.push(Effect::Waits(client, wait));
            }
            of.told_wait = Some((now, wait));
        }
    }

    /// Its place, and why it waits.
    pub(super) fn wait(&self, now: Duration, client: ClientId) -> Wait {
        let is_ahead = |other: &ClientId| *other != client && self.order(now, *other, client).is_lt();
        let waiting = self.clients.iter().filter(|(_, of)| of.is_served());
        let ahead = waiting.filter(|(other, _)| is_ahead(other)).count();
        let of = self.clients.get(&client);
        let why = match of {
            _ if self.recovering.is_some() => Why::Recovering,
            Some(of) if !of.overdue.is_empty() => Why::Overdue,
            Some(of) => of.why.unwrap_or(Why::Turn),
            None => Why::Turn,
        };
        Wait { ahead: u32::try_from(ahead).unwrap_or(u32::MAX), why }
    }

    /// Tells those that have jobs how things stand, if that has changed.
    pub(super) fn tell_standing(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        let running = self.clients.values().filter(|of| of.permits > 0).count();
        let (state, calm, near) = (self.governor.state(), self.governor.is_calm(), self.governor.is_near());
        for (client, of) in &mut self.clients {
            if of.jobs.is_empty() || of.lost_since.is_some() {
                continue;
            }
            let company = running > usize::from(of.permits > 0);
            let stand = Stand { state, calm, near, company };
            let (at, told) = of.told_stand;
            // A state may change with each look; whether somebody is evicted alone must be known when it is.
            let is_due = told.company != company || now.saturating_sub(at) >= STAND_EVERY;
            if told != stand && is_due {
                of.told_stand = (now, stand);
                effects.push(Effect::Stands(*client, stand));
            }
        }
    }

    /// Tells everybody what it may count on, if that has changed by more than a sixteenth.
    pub(super) fn tell_shares(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        if self.shares_told.is_some_and(|at| now.saturating_sub(at) < TELL_EVERY) {
            return;
        }
        self.shares_told = Some(now);
        for (client, share) in self.shares() {
            let Some(of) = self.clients.get_mut(&client).filter(|of| of.lost_since.is_none()) else {
                continue;
            };
            let near = |told: u64, now: u64| told.abs_diff(now) <= told / 16;
            let same = |told: Share| near(told.memory.0, share.memory.0) && told.jobs == share.jobs;
            if of.told_share.is_none_or(|(_, told)| !same(told)) {
                of.told_share = Some((now, share));
                effects.push(Effect::Share(client, share));
            }
        }
    }

    /// What each client may count on: the budget and the jobs, divided among users and then among the runs of each. What no
    /// run of a user asks for is divided, too: one that wants nothing more has jobs that grow.
    pub fn shares(&self) -> Vec<(ClientId, Share)> {
        let jobs = f64::from(self.settings.governor.jobs.max(1));
        let budget = self.governor.budget().0;
        let users: Vec<UserId> =
            self.users.iter().filter(|(_, user)| user.clients > 0).map(|(id, _)| *id).collect();
        let memory = self.divide_users(budget as f64, &users, |user| {
            (user.memory, user.terms.memory_max.map(|b| b.0 as f64))
        });
        let places = self
            .divide_users(jobs, &users, |user| (f64::from(user.load), user.terms.jobs_max.map(f64::from)));
        let mut shares = Vec::new();
        for ((user, memory), places) in users.iter().zip(memory).zip(places) {
            let runs: Vec<(&ClientId, &super::client::Client)> =
                self.clients.iter().filter(|(_, of)| of.who.user == *user).collect();
            let claim = |of: &super::client::Client, held: f64| Claim {
                weight: of.account.weight(),
                demand: if of.wants_more() { f64::INFINITY } else { held },
                most: f64::INFINITY,
            };
            let of_memory: Vec<Claim> = runs.iter().map(|(_, of)| claim(of, of.memory)).collect();
            let of_jobs: Vec<Claim> = runs.iter().map(|(_, of)| claim(of, f64::from(of.load))).collect();
            let divided = divide(memory, &of_memory).into_iter().zip(divide(places, &of_jobs));
            for ((client, _), (memory, jobs)) in runs.iter().zip(divided) {
                let memory = if budget == u64::MAX { u64::MAX } else { memory as u64 };
                shares.push((**client, Share { memory: Bytes(memory), jobs: (jobs as u32).max(1) }));
            }
        }
        shares
    }

    /// `of`: what a user holds, and the most that it may.
    fn divide_users(
        &self,
        all: f64,
        users: &[UserId],
        of: impl Fn(&super::User) -> (f64, Option<f64>),
    ) -> Vec<f64> {
        let waits = |user: &UserId| self.clients.values().any(|of| of.who.user == *user && of.wants_more());
        let claim = |id: &UserId| {
            let user = self.users.get(id)?;
            let (held, most) = of(user);
            let most = most.unwrap_or(f64::INFINITY);
            let demand = if waits(id) { f64::INFINITY } else { held.min(most) };
            // Beside others what it says that it holds is believed up to its share, so it has none of what it doesn't ask for.
            let most = if users.len() > 1 { demand.min(most) } else { most };
            Some(Claim { weight: user.account.weight(), demand, most })
        };
        // All of these are known: they were taken from there.
        let claims: Vec<Claim> = users
            .iter()
            .map(|id| claim(id).unwrap_or(Claim { weight: 1.0, demand: 0.0, most: 0.0 }))
            .collect();
        divide(all, &claims)
    }
}
