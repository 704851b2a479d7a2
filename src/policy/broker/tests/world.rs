//! Clients that obey, on a machine that holds what they hold.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::*;
use crate::model::{Bytes, reading::Stalls};
use crate::policy::governor::{self, Ending};

pub fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub fn settings(budget: u64, jobs: u32) -> Settings {
    let line = Bytes::mib(32);
    let governor = governor::Settings {
        budget: Some(Bytes::mib(budget)),
        yellow: line,
        orange: line,
        red: line,
        cpus: jobs,
        jobs,
        max_pressure: 300,
    };
    Settings { governor, requests: 1000, patience: Some(Duration::from_secs(2)), recovering: None }
}

pub fn client(number: u32) -> ClientId {
    ClientId(number)
}

pub fn attempt(job: u32, number: u32) -> AttemptId {
    AttemptId { job: JobId(job), number }
}

/// An attempt of which all is said beforehand.
#[derive(Debug, Clone)]
pub struct Job {
    pub request: Request,
    pub size: Bytes,
    pub lasts: Duration,
}

impl Job {
    pub fn new(number: u32, mib: u64, lasts: Duration) -> Job {
        let size = Bytes::mib(mib);
        let request = Request {
            id: attempt(number, 1),
            kin: 0,
            memory: Some(size),
            restartable: true,
            weight: 1,
            groups: Vec::new(),
            token: false,
            driver: None,
            at_once: false,
            about: About::default(),
        };
        Job { request, size, lasts }
    }
}

#[derive(Debug)]
pub struct World {
    pub broker: Broker,
    pub now: Duration,
    pub budget: Bytes,
    pub users: BTreeMap<ClientId, UserId>,
    pub lost: BTreeSet<ClientId>,
    pub waiting: BTreeMap<(ClientId, JobId), Job>,
    pub running: BTreeMap<(ClientId, JobId), (Job, Duration)>,
    pub grants: u64,
    pub evictions: u64,
    pub effects: Vec<Effect>,
    /// Whether all jobs are of one size: then nobody may be passed over.
    pub alike: bool,
    next_client: u32,
}

impl World {
    pub fn new(budget: u64, jobs: u32) -> World {
        let mut world = World {
            broker: Broker::new(settings(budget, jobs)),
            now: Duration::ZERO,
            budget: Bytes::mib(budget),
            users: BTreeMap::new(),
            lost: BTreeSet::new(),
            waiting: BTreeMap::new(),
            running: BTreeMap::new(),
            grants: 0,
            evictions: 0,
            effects: Vec::new(),
            alike: false,
            next_client: 0,
        };
        world.look();
        world
    }

    pub fn hello(&mut self, who: Who) -> ClientId {
        self.next_client += 1;
        let client = ClientId(self.next_client);
        self.users.insert(client, who.user);
        self.step(Input::Hello { client, who, instead_of: None });
        client
    }

    pub fn want(&mut self, client: ClientId, job: Job) {
        let request = job.request.clone();
        self.waiting.insert((client, request.id.job), job);
        self.step(Input::Want(client, request));
    }

    pub fn end(&mut self, client: ClientId, job: JobId) {
        let Some((job, _)) = self.running.remove(&(client, job)) else { return };
        let ending = Ending::Finished { peak: Some(job.size) };
        self.step(Input::Ended { client, id: job.request.id, ending, again: false });
    }

    pub fn kill(&mut self, client: ClientId) {
        self.users.remove(&client);
        self.lost.remove(&client);
        self.waiting.retain(|(of, _), _| *of != client);
        self.running.retain(|(of, _), _| *of != client);
        self.step(Input::Gone(client));
    }

    pub fn lose(&mut self, client: ClientId) {
        if self.lost.insert(client) {
            self.step(Input::Lost(client));
        }
    }

    /// Back with a new connection: it says what runs, and asks again for what waited.
    pub fn back(&mut self, old: ClientId) {
        let Some(user) = self.users.remove(&old) else { return };
        self.lost.remove(&old);
        self.next_client += 1;
        let client = ClientId(self.next_client);
        self.users.insert(client, user);
        self.waiting = rename(std::mem::take(&mut self.waiting), old, client);
        self.running = rename(std::mem::take(&mut self.running), old, client);
        let running = self.running.iter().filter(|((of, _), _)| *of == client);
        let running = running.map(|(_, (job, _))| job.request.clone()).collect();
        // In one go, as one who reads from a socket would: nothing starts in between.
        let hello = Input::Hello { client, who: Who::of(user, 64), instead_of: Some(old) };
        let mut effects = self.broker.take(self.now, hello);
        effects.extend(self.broker.take(self.now, Input::Declare(client, running)));
        let waiting: Vec<Request> = self
            .waiting
            .iter()
            .filter(|((of, _), _)| *of == client)
            .map(|(_, job)| job.request.clone())
            .collect();
        for request in waiting {
            effects.extend(self.broker.take(self.now, Input::Want(client, request)));
        }
        effects.extend(self.broker.decide(self.now));
        self.obey(effects);
    }

    /// The broker is another one, and everybody comes back to it.
    pub fn restart(&mut self, jobs: u32) {
        let recovering = Some(self.now + ms(1000));
        let budget = self.budget.0 >> 20;
        self.broker = Broker::new(Settings { recovering, ..settings(budget, jobs) });
        let clients: Vec<ClientId> = self.users.keys().copied().collect();
        self.look();
        for client in clients {
            self.back(client);
            self.look();
        }
        self.step(Input::Recovered);
    }

    pub fn set_budget(&mut self, mib: u64) {
        self.budget = Bytes::mib(mib);
        self.step(Input::Budget(Some(self.budget)));
    }

    /// Time goes by, what has lasted long enough ends, and the broker looks.
    pub fn pass(&mut self, time: Duration) {
        self.now += time;
        let over =
            |(_, (job, since)): &(&(ClientId, JobId), &(Job, Duration))| self.now - *since >= job.lasts;
        let over: Vec<(ClientId, JobId)> = self.running.iter().filter(over).map(|(key, _)| *key).collect();
        self.look();
        for (client, job) in over {
            self.end(client, job);
        }
        if self.broker.next_deadline().is_some_and(|at| at <= self.now) {
            self.step(Input::Tick);
        }
    }

    /// Its user wants something of a job.
    pub fn by_hand(&mut self, client: ClientId, id: AttemptId, hand: Hand) -> Result<(), NotDone> {
        let user = self.users[&client];
        let effects = self.broker.by_hand(self.now, user, client, id, hand)?;
        self.obey(effects);
        Ok(())
    }

    pub fn held(&self) -> Bytes {
        Bytes(self.running.values().map(|(job, _)| job.size.0).sum())
    }

    pub fn look(&mut self) {
        let seen = |((client, _), (job, _)): (&(ClientId, JobId), &(Job, Duration))| {
            (*client, JobReading { id: job.request.id, memory: job.size, cpu: None })
        };
        let jobs = self.running.iter().map(seen).collect();
        let machine = Reading {
            usage: self.held(),
            charged: self.held(),
            available: Some(Bytes::gib(64)),
            stalls: Stalls::default(),
            ..Reading::default()
        };
        self.step(Input::Sensed(Box::new(machine), jobs));
    }

    pub fn step(&mut self, input: Input) {
        let effects = self.broker.step(self.now, input);
        self.obey(effects);
    }

    /// Does what is asked, and checks that it may be asked.
    fn obey(&mut self, effects: Vec<Effect>) {
        let mut then = Vec::new();
        let (mut granted, mut budget_broken) = (false, None);
        for effect in &effects {
            match *effect {
                Effect::Grant(client, id) => {
                    self.check_turn(client);
                    let job = self.waiting.remove(&(client, id.job));
                    let job = job.unwrap_or_else(|| panic!("{client:?} has not asked for {id}, or has it"));
                    assert_eq!(job.request.id, id);
                    assert!(!self.lost.contains(&client), "{client:?} can't hear that");
                    self.running.insert((client, id.job), (job, self.now));
                    self.grants += 1;
                    granted = true;
                    then.push(Input::Born(client, id));
                    // One may always run.
                    if self.running.len() > 1 && self.held() > self.budget {
                        budget_broken = Some((self.held(), self.budget));
                    }
                }
                Effect::Freeze(client, id) => then.push(Input::Frozen(client, id)),
                Effect::Kill(client, id) => {
                    self.running.remove(&(client, id.job)).expect("it runs");
                    then.push(Input::Ended { client, id, ending: Ending::Otherwise, again: false });
                }
                Effect::Evict(client, id) => {
                    self.evictions += 1;
                    let (mut job, _) = self.running.remove(&(client, id.job)).expect("it runs");
                    let peak = Some(job.size);
                    let ending = Ending::Evicted { peak };
                    then.push(Input::Ended { client, id, ending, again: true });
                    job.request.id.number += 1;
                    if !self.lost.contains(&client) {
                        then.push(Input::Want(client, job.request.clone()));
                    }
                    self.waiting.insert((client, id.job), job);
                }
                _ => {}
            }
        }
        assert!(!granted || budget_broken.is_none(), "granted {budget_broken:?}");
        self.effects.extend(effects);
        then.into_iter().for_each(|input| self.step(input));
    }

    /// Where all jobs are alike, nobody who has none is passed over.
    fn check_turn(&self, client: ClientId) {
        if !self.alike {
            return;
        }
        let user = self.users[&client];
        let has = |of: &dyn Fn(ClientId) -> bool| self.running.keys().any(|(client, _)| of(*client));
        let waits =
            |of: ClientId| !self.lost.contains(&of) && self.waiting.keys().any(|(client, _)| *client == of);
        if has(&|of| self.users[&of] == user) {
            let passed = self.users.iter().find(|(other, whose)| {
                waits(**other) && **whose != user && !has(&|of| self.users[&of] == **whose)
            });
            assert!(passed.is_none(), "{passed:?} has nothing, and {client:?} gets more");
        }
        if has(&|of| of == client) {
            let passed = self
                .users
                .iter()
                .find(|(other, whose)| waits(**other) && **whose == user && !has(&|of| of == **other));
            assert!(passed.is_none(), "{passed:?} has nothing, and {client:?} of the same user gets more");
        }
    }
}

fn rename<T>(
    of: BTreeMap<(ClientId, JobId), T>,
    old: ClientId,
    new: ClientId,
) -> BTreeMap<(ClientId, JobId), T> {
    of.into_iter().map(|((client, job), it)| ((if client == old { new } else { client }, job), it)).collect()
}
