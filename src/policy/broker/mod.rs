//! One budget for all runs of a box: who may start, who stands still, who gives way.
//!
//! Pure: `step(now, input)` returns what is to be told to whom. A lone run holds one of these itself and asks it in the
//! same step; `sandtest serve` holds one for all, behind a socket. Memory is the governor's say alone
//! ([`super::governor`]): there is one law, and one governor for all jobs of all runs. The broker says whose request it is
//! asked about first.
//!
//! ```text
//! client:   hello ──▶ served ──── connection lost ──▶ lost ── back: hello, declare ──▶ served
//!                        │ ▲                            │
//!              asked and │ │ did it                     │ process or groups gone, or 5 s
//!              2 s late  ▼ │                            ▼
//!                      overdue (nothing is granted) ──▶ gone: all it had is free
//!
//! attempt:  want ──▶ waiting ──▶ grant ──▶ born ──▶ ended ──▶ forgotten, or resting until its next want
//!                                            │ ▲
//!                                     freeze ▼ │ thaw         evict ──▶ ended
//!
//! whose turn:   users, the one who has had least for its weight     (none of its jobs runs: before all others)
//!                └▶ its runs: interactive before batch, then the same  (none of its jobs runs: before the others)
//!                    └▶ its requests: those that ran before, then as they came
//! ```
//!
//! - [`messages`]: what goes in, and what comes out
//! - [`client`], [`kins`]: what a client wants and holds; which jobs are alike
//! - [`comings`]: clients and requests that come and go
//! - [`shares`], [`starts`]: whose turn it is, and who starts now
//! - [`caps`]: how far each run's own limit is lowered where no group holds all runs
//! - [`orders`]: what clients were asked to do, and by when
//! - [`tell`]: what clients are told of their place and their share
//! - [`by_hand`]: what users want of their own jobs
//! - [`view`]: what they are shown

mod by_hand;
pub mod caps;
mod client;
mod comings;
mod kins;
mod messages;
mod orders;
pub mod shares;
mod starts;
mod tell;
#[cfg(test)]
mod tests;
mod view;

use std::collections::BTreeMap;
use std::time::Duration;

use super::governor::{Act, Governor};
use super::tuning::LOST_PATIENCE;
use crate::model::governor::{Action, Governed, State};
use crate::model::reading::{JobReading, Reading};
use crate::model::view::JobState;
use crate::model::{AttemptId, Bytes, JobId};
pub use by_hand::{Hand, NotDone};
use client::Client;
use kins::Kins;
pub use messages::{
    About, ClientId, Effect, Force, Input, Priority, Refusal, Request, Settings, Share, Stand, Terms, UserId,
    Wait, Who, Why,
};
use orders::Orders;
use shares::Account;

/// The budget's state machine.
#[derive(Debug)]
pub struct Broker {
    settings: Settings,
    governor: Governor,
    users: BTreeMap<UserId, User>,
    clients: BTreeMap<ClientId, Client>,
    /// Whose job each of the governor's numbers is.
    owners: Vec<Option<(ClientId, JobId)>>,
    kins: Kins,
    orders: Orders,
    recovering: Option<Duration>,
    /// Requests until now.
    arrivals: u64,
    /// First starts until now: a job's seniority among all.
    first_starts: u32,
    /// Whether the machine was ever looked at.
    looked: bool,
    /// When clients were told what they may count on.
    shares_told: Option<Duration>,
    /// When the last step was.
    stepped: Duration,
}

/// One user and all of its runs.
#[derive(Debug)]
struct User {
    terms: Terms,
    account: Account,
    /// The most that one of its runs was served.
    lead: f64,
    clients: u32,
    permits: u32,
    /// Bytes, and weight of jobs, without riding ones.
    memory: f64,
    load: u32,
    /// Since when it waits, or since its last grant, or since the last of its jobs ended.
    waiting_since: Option<Duration>,
    /// Whether a run of it waits.
    waits: bool,
    /// Whether it was ever said what it may have.
    known: bool,
}

/// How much goes on, for those who look at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// How things stand.
    pub state: State,
    /// Clients, lost ones too.
    pub clients: usize,
    /// Attempts that run, without those that ride in another's room.
    pub running: usize,
    /// Of those, standing still.
    pub frozen: usize,
    /// Jobs that are held: waiting although there is a place for them, or frozen by the governor.
    pub held: usize,
    /// Attempts that run, with those that ride in another's room.
    pub permits: usize,
    /// Requests that wait.
    pub waiting: usize,
    /// The budget of this moment; the largest number where nothing limits it.
    pub budget: Bytes,
    /// What all that run hold.
    pub used: Bytes,
    /// What all that run are expected to come to.
    pub reserved: Bytes,
    /// What is left before something is evicted.
    pub left: Bytes,
}

impl Broker {
    /// A broker that knows nobody yet.
    pub fn new(settings: Settings) -> Broker {
        Broker {
            governor: Governor::new(settings.governor, &[]),
            recovering: settings.recovering,
            users: BTreeMap::new(),
            clients: BTreeMap::new(),
            owners: Vec::new(),
            kins: Kins::default(),
            orders: Orders::default(),
            arrivals: 0,
            first_starts: 0,
            looked: false,
            shares_told: None,
            stepped: Duration::ZERO,
            settings,
        }
    }

    /// Takes in what has happened at `now` and says what follows from it.
    pub fn step(&mut self, now: Duration, input: Input) -> Vec<Effect> {
        let mut effects = self.take(now, input);
        effects.extend(self.decide(now));
        effects
    }

    /// Takes in what has happened, and starts nobody yet: who has several things to tell is heard out first.
    pub fn take(&mut self, now: Duration, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        if let Input::Gap(gap) = input {
            self.stepped = (self.stepped + gap).min(now);
        }
        self.charge(now);
        match input {
            Input::Hello { client, who, instead_of } => self.hello(now, client, who, instead_of),
            Input::Inside(client, outer) => {
                if let Some(client) = self.clients.get_mut(&client) {
                    client.who.inside = Some(outer);
                }
            }
            Input::Declare(client, running) => self.declare(now, client, &running),
            Input::Declared { client, id, worked, frozen } => {
                self.about(client, id, |governor, id| governor.resume(now, id, worked, frozen));
            }
            Input::Limits(client, parallel, groups) => {
                if let Some(client) = self.clients.get_mut(&client) {
                    client.limit(parallel, groups);
                }
            }
            Input::Want(client, request) => self.want(now, client, &request, &mut effects),
            Input::Withdraw { client, job, again } => self.withdraw(now, client, job, again),
            Input::Born(client, id) => {
                self.rides(client, id, JobState::Running);
                self.about(client, id, Governor::born);
            }
            Input::Stopping(client, id) => {
                self.done(client, id);
                self.rides(client, id, JobState::Stopping);
                self.about(client, id, |governor, id| governor.stopping(now, id));
            }
            Input::Ending(client, id) => {
                self.rides(client, id, JobState::Dying);
                self.about(client, id, Governor::ending);
            }
            Input::Frozen(client, id) => {
                if self.orders.frozen(client, id) {
                    self.pardon(client, id.job);
                }
            }
            Input::Ended { client, id, ending, again } => self.ended(now, client, id, ending, again),
            Input::Lost(client) => self.lost(now, client),
            Input::Gone(client) => self.gone(now, client),
            Input::Terms(user, terms) => self.agree(user, terms),
            Input::Budget(budget) => self.governor.set_budget(budget),
            Input::Sensed(machine, jobs) => self.sensed(now, *machine, &jobs, &mut effects),
            Input::Recovered => self.recovering = None,
            Input::Gap(gap) => self.forgive(gap),
            Input::Tick => {}
        }
        effects
    }

    /// Who starts now, who is late, and what has been decided since the last time.
    pub fn decide(&mut self, now: Duration) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.charge(now);
        self.expire(now, &mut effects);
        self.start(now, &mut effects);
        self.tell_waiting(now, &mut effects);
        self.tell_standing(now, &mut effects);
        for mut decision in self.governor.decisions(now) {
            let whose = decision.attempt.and_then(|id| self.owner(id.job));
            decision.attempt = whose.zip(decision.attempt).map(|((_, job), id)| AttemptId { job, ..id });
            // One that was evicted or frozen may be gone by now, with its client.
            if whose.is_some() || matches!(decision.action, Action::Hold | Action::Release) {
                effects.push(Effect::Decided(whose.map(|(client, _)| client), decision));
            }
        }
        effects
    }

    /// When to call [`Broker::step`] with [`Input::Tick`] if nothing happens before.
    pub fn next_deadline(&self) -> Option<Duration> {
        let lost = self.clients.values().filter_map(|client| client.lost_since).map(|at| at + LOST_PATIENCE);
        lost.chain(self.orders.next()).chain(self.recovering).min()
    }

    /// When to look at the machine and call [`Broker::step`] with [`Input::Sensed`]. `settling`: whether somebody waits
    /// until it is calm, though nothing runs.
    pub fn next_look(&self, settling: bool) -> Option<Duration> {
        if !self.looked {
            return Some(self.stepped);
        }
        let settling = settling || self.clients.values().any(Client::settles);
        self.governor.next_look(settling)
    }

    /// Whether a look is wanted before an end is told: the ceiling is near, and what has come free counts.
    pub fn wants_a_look(&self) -> bool {
        self.governor.is_near()
    }

    /// Whether nobody is kept waiting (PSI) for longer than the line allows.
    pub fn is_calm(&self) -> bool {
        self.governor.is_calm()
    }

    /// Whether memory is short, or somebody is held or kept waiting for want of it.
    pub fn is_tight(&self) -> bool {
        self.governor.state() != State::Green || !self.governor.is_calm()
    }

    /// What the governor came to.
    pub fn governed(&self, now: Duration) -> Governed {
        self.governor.summary(now)
    }

    /// Whether a request waits that is not held back by its own client alone.
    pub fn somebody_waits(&self) -> bool {
        self.clients.values().any(Client::is_served)
    }

    /// Clients that have jobs, running or waiting.
    pub fn busy(&self) -> impl Iterator<Item = ClientId> {
        self.clients.iter().filter(|(_, of)| !of.jobs.is_empty()).map(|(client, _)| *client)
    }

    /// How many attempts of a client run, and how many of all runs of its user.
    pub fn permits(&self, client: ClientId) -> (u32, u32) {
        let Some(of) = self.clients.get(&client) else { return (0, 0) };
        (of.permits, self.users.get(&of.who.user).map_or(0, |user| user.permits))
    }

    /// The attempts that run and count for themselves, each with its client.
    pub fn running(&self) -> impl Iterator<Item = (ClientId, AttemptId)> {
        self.clients.iter().flat_map(|(client, of)| of.counted_ones().map(|id| (*client, id)))
    }

    /// How much goes on.
    pub fn standing(&self) -> Standing {
        let (running, frozen) = self.governor.counts();
        Standing {
            state: self.governor.state(),
            clients: self.clients.len(),
            running,
            frozen,
            held: self.governor.holds().1 as usize,
            permits: self.clients.values().map(|client| client.permits as usize).sum(),
            waiting: self.clients.values().map(|client| client.queue.len()).sum(),
            budget: self.governor.budget(),
            used: self.governor.used(),
            reserved: self.governor.reserved(),
            left: self.governor.left(),
        }
    }

    /// Charges everybody for what was held since the last step.
    fn charge(&mut self, now: Duration) {
        let time = now.saturating_sub(self.stepped);
        self.stepped = self.stepped.max(now);
        // Who is alone takes nothing from anybody; whoever comes starts level.
        if time.is_zero() || self.clients.len() < 2 {
            return;
        }
        let mut lead = 0.0;
        for user in self.users.values_mut() {
            user.account.pass(time);
            lead = f64::max(lead, user.account.served());
            user.lead = 0.0;
        }
        self.users.values_mut().for_each(|user| user.account.keep_up(lead));
        for of in self.clients.values_mut() {
            if let Some(user) = self.users.get_mut(&of.who.user) {
                let (memory, load) = user.part(of.memory, of.load);
                of.account.hold(memory, load);
                of.account.pass(time);
                user.lead = user.lead.max(of.account.served());
            }
        }
        // A run keeps up with the other runs of its user; what those of others have is their users' business.
        for of in self.clients.values_mut() {
            of.account.keep_up(self.users.get(&of.who.user).map_or(0.0, |user| user.lead));
        }
    }

    fn sensed(
        &mut self,
        now: Duration,
        mut machine: Reading,
        jobs: &[(ClientId, JobReading)],
        effects: &mut Vec<Effect>,
    ) {
        machine.jobs = Vec::with_capacity(jobs.len());
        machine.jobs.extend(jobs.iter().filter_map(|(client, seen)| self.translate(*client, seen)));
        self.looked = true;
        self.governor.sense(now, &machine);
        for act in self.governor.act(now) {
            self.perform(now, act, effects);
        }
        self.weigh_all();
        self.tell_shares(now, effects);
    }

    /// The same in the governor's numbers.
    fn translate(&self, client: ClientId, seen: &JobReading) -> Option<JobReading> {
        let job = self.clients.get(&client)?.number(seen.id.job)?;
        Some(JobReading { id: AttemptId { job, ..seen.id }, ..*seen })
    }

    fn perform(&mut self, now: Duration, act: Act, effects: &mut Vec<Effect>) {
        let (id, force) = match act {
            Act::Cap(bytes) => return effects.push(Effect::Cap(bytes)),
            Act::Freeze(id) => (id, Some(Force::Freeze)),
            Act::Thaw(id) => (id, None),
            Act::Evict(id) => (id, Some(Force::Kill)),
        };
        let Some((client, job)) = self.owner(id.job) else { return };
        let id = AttemptId { job, ..id };
        if let Some(force) = force {
            self.demand(now, client, id, force);
        }
        effects.push(match force {
            Some(Force::Freeze) => Effect::Freeze(client, id),
            Some(Force::Kill) => Effect::Evict(client, id),
            None => {
                self.done(client, id);
                Effect::Thaw(client, id)
            }
        });
    }

    /// From now on the client owes this.
    fn demand(&mut self, now: Duration, client: ClientId, id: AttemptId, force: Force) {
        if let Some(patience) = self.settings.patience {
            self.orders.ask(client, id, force, now + patience);
        }
    }

    /// What is late now.
    fn expire(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        if self.recovering.is_some_and(|until| until <= now) {
            self.recovering = None;
        }
        if let Some(patience) = self.settings.patience {
            for (client, id, force) in self.orders.due(now, patience) {
                effects.push(Effect::Enforce(client, Some(id), force));
                if let Some(client) = self.clients.get_mut(&client) {
                    client.overdue.insert(id.job);
                }
            }
        }
        let late = |client: &Client| client.lost_since.is_some_and(|since| now >= since + LOST_PATIENCE);
        let late: Vec<ClientId> =
            self.clients.iter().filter(|(_, client)| late(client)).map(|(id, _)| *id).collect();
        for client in late {
            effects.push(Effect::Enforce(client, None, Force::Kill));
            self.gone(now, client);
        }
    }

    /// The client owes nothing about this attempt any more.
    fn done(&mut self, client: ClientId, id: AttemptId) {
        self.orders.close(client, id);
        self.pardon(client, id.job);
    }

    fn pardon(&mut self, client: ClientId, job: JobId) {
        if let Some(client) = self.clients.get_mut(&client) {
            client.overdue.remove(&job);
        }
    }

    fn forgive(&mut self, gap: Duration) {
        self.governor.forgive(gap);
        self.orders.forgive(gap);
        let refused = self.clients.values_mut().filter_map(|client| client.refused.as_mut());
        refused.for_each(|(_, since)| *since += gap);
        let jobs = self.clients.values_mut().flat_map(|client| client.jobs.values_mut());
        jobs.for_each(|job| job.since += gap);
        let of_users = self.users.values_mut().map(|user| &mut user.waiting_since);
        let of_clients = self
            .clients
            .values_mut()
            .flat_map(|client| [&mut client.waiting_since, &mut client.hungry_since, &mut client.lost_since]);
        of_users.chain(of_clients).chain([&mut self.recovering]).flatten().for_each(|time| *time += gap);
    }

    fn owner(&self, number: JobId) -> Option<(ClientId, JobId)> {
        *self.owners.get(number.0 as usize)?
    }
}
