//! Between the connections and the state machine: news go in as inputs, effects go out as messages.
//!
//! ```text
//! news, as many as there are ── take ──▶ ┐
//! a look, where one is due ── sensed ──▶ ├ Broker ── decide, once ──▶ effects ──▶ lines, groups, metrics
//! time ─────────────────────── tick ───▶ ┘
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::Config;
use super::client::Client;
use super::eyes::Eyes;
use super::leases::Leases;
use super::limits::MOST_PERMITS;
use super::news::{News, Question};
use crate::broker::metrics::{Metrics, MetricsError};
use crate::broker::protocol::{Status, ToBroker, ToRun};
use crate::model::Bytes;
use crate::policy::broker::{Broker, ClientId, Effect, Force, Input};
use crate::policy::tuning::{CLIENT_PATIENCE, GOVERNOR_AT_REST, SUSPENDED};

/// No more than this part of the time is spent in looks: of thousands of jobs each takes milliseconds.
const LOOKS_AT_MOST: u32 = 6;

/// All that is known.
pub struct Hub {
    pub(super) config: Config,
    pub(super) broker: Broker,
    pub(super) clients: BTreeMap<ClientId, Client>,
    pub(super) leases: Leases,
    pub(super) eyes: Eyes,
    pub(super) metrics: Metrics,
    /// For those that tell of news by themselves.
    pub(super) news: tokio::sync::mpsc::WeakSender<News>,
    began: Instant,
    /// When the last step was.
    stepped: Duration,
    /// When it was looked last, and how long that took.
    looked: Option<(Duration, Duration)>,
    /// What is nobody's and off the budget.
    nobodys: Bytes,
    /// Whether something has come that may let somebody start.
    stirred: bool,
    /// To whom something is said that is not sent yet.
    pub(super) told: BTreeSet<ClientId>,
}

impl Hub {
    pub fn new(config: Config, news: tokio::sync::mpsc::WeakSender<News>) -> Result<Hub, MetricsError> {
        Ok(Hub {
            broker: Broker::new(config.settings),
            clients: BTreeMap::new(),
            leases: Leases::default(),
            eyes: Eyes::open(&config.view),
            metrics: Metrics::new()?,
            news,
            began: Instant::now(),
            stepped: Duration::ZERO,
            looked: None,
            nobodys: Bytes(0),
            stirred: false,
            told: BTreeSet::new(),
            config,
        })
    }

    /// Since the start.
    pub fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// When [`Hub::now`] will say `time`.
    pub fn instant(&self, time: Duration) -> Instant {
        self.began + time
    }

    /// Whether nobody is there, not even one that is lost.
    pub fn is_idle(&self) -> bool {
        self.clients.is_empty()
    }

    /// When to step if nothing happens before. Without clients there is nothing to wait for.
    pub fn next_wake(&self) -> Option<Instant> {
        if self.clients.is_empty() {
            return None;
        }
        self.broker.next_deadline().into_iter().chain(self.next_look()).min().map(|time| self.began + time)
    }

    /// When to look: as the law says, but not so often that nothing else is done.
    fn next_look(&self) -> Option<Duration> {
        let wanted = self.broker.next_look(self.broker.somebody_waits())?;
        Some(self.looked.map_or(wanted, |(at, took)| wanted.max(at + took * LOOKS_AT_MOST)))
    }

    /// Takes in something that has happened; who starts because of it is decided in [`Hub::step`].
    pub fn hear(&mut self, news: News) {
        match news {
            News::Hello { id, hello, peer, wire } => self.hello(id, *hello, peer, wire),
            News::Said(id, message) => self.said(id, message),
            News::Closed(id) => self.closed(id),
            News::Died(id) => self.gone(id),
            News::Asked(question) => self.answer(question),
        }
    }

    fn said(&mut self, id: ClientId, message: ToBroker) {
        let now = self.now();
        let Some(client) = self.clients.get_mut(&id).filter(|client| client.is_connected()) else { return };
        let message = match message {
            ToBroker::Status {} => {
                let status = Status::from(&self.broker.standing());
                return self.tell(id, &ToRun::Status(status));
            }
            ToBroker::Sample { jobs } => return client.sample(&jobs, MOST_PERMITS as usize),
            ToBroker::Bye {} => return self.gone(id),
            ToBroker::Hello(_) => {
                let message = "hello is said once".to_owned();
                return self.tell(id, &ToRun::Error { message, closing: false });
            }
            ToBroker::Declare { running, more } => {
                client.declared.extend(running);
                if client.declared.len() > MOST_PERMITS as usize {
                    let message = format!("more than {MOST_PERMITS} jobs are declared");
                    return self.dismiss(id, &ToRun::Error { message, closing: true });
                }
                if more {
                    return;
                }
                let running = std::mem::take(&mut client.declared);
                return self.take(Input::Declare(id, running.iter().map(|job| job.request()).collect()));
            }
            ToBroker::Limits { parallel, groups } => {
                ToBroker::Limits { parallel: parallel.min(MOST_PERMITS), groups }
            }
            ToBroker::Want(job) => {
                client.wanted.entry(job.of.job).or_insert(now);
                ToBroker::Want(job)
            }
            ToBroker::Withdraw { job, again } => {
                client.wanted.remove(&job);
                ToBroker::Withdraw { job, again }
            }
            ToBroker::Ended { of, how, peak, again, verdict, setup_us } => {
                client.samples.remove(&of.id());
                verdict.into_iter().for_each(|verdict| self.metrics.job_done(verdict));
                setup_us.into_iter().for_each(|us| self.metrics.set_up(Duration::from_micros(us)));
                // What has come free counts where the ceiling is near.
                if self.broker.wants_a_look() && self.may_look(now) {
                    self.look(now);
                }
                ToBroker::Ended { of, how, peak, again, verdict, setup_us }
            }
            other => other,
        };
        if let Some(input) = message.input(id) {
            self.take(input);
        }
    }

    /// The connection is gone; its process may come back.
    fn closed(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        client.wire = None;
        client.declared.clear();
        client.wanted.clear();
        self.take(Input::Lost(id));
    }

    /// A client is gone for good.
    fn gone(&mut self, id: ClientId) {
        self.take(Input::Gone(id));
        self.forget(id);
    }

    /// Lets go of a client that the state machine does not know any more.
    pub(super) fn forget(&mut self, id: ClientId) {
        let Some(client) = self.clients.remove(&id) else { return };
        self.leases.end(id, &client.lease);
        self.eyes.forget(id);
        if let Some(wire) = &client.wire {
            wire.end();
        }
    }

    fn answer(&mut self, question: Question) {
        // Who does not wait for the answer any more does not get it.
        match question {
            Question::Standing(answer) => drop(answer.send(self.broker.standing())),
            Question::Metrics(answer) => {
                self.metrics.stand(&self.broker.standing());
                drop(answer.send(self.metrics.text()));
            }
        }
    }

    /// Decides, once for all that has been heard, and says what is to be said.
    pub fn step(&mut self) {
        let now = self.now();
        self.forgive_a_gap(now);
        self.stepped = now;
        let due = self.next_look().is_some_and(|at| at <= now) && !self.clients.is_empty();
        // An idle broker has not looked for hours.
        let stale = self.stirred && self.looked.is_none_or(|(at, _)| now - at > GOVERNOR_AT_REST);
        if due || (stale && self.broker.somebody_waits()) {
            self.look(now);
        }
        let time = self.broker.next_deadline().is_some_and(|at| at <= now);
        if self.stirred || due || time {
            self.stirred = false;
            let effects = self.broker.decide(now);
            self.perform(now, effects);
        }
        for id in std::mem::take(&mut self.told) {
            if let Some(wire) = self.clients.get(&id).and_then(|client| client.wire.as_ref()) {
                wire.flush();
            }
        }
    }

    /// Nobody is charged for a time in which the broker was stopped.
    fn forgive_a_gap(&mut self, now: Duration) {
        let due = self.broker.next_deadline().into_iter().chain(self.next_look()).min();
        if due.is_some_and(|due| now.saturating_sub(due) > SUSPENDED) && !self.clients.is_empty() {
            self.take(Input::Gap(now.saturating_sub(self.stepped)));
        }
    }

    fn may_look(&self, now: Duration) -> bool {
        self.looked.is_none_or(|(at, took)| now >= at + took * LOOKS_AT_MOST)
    }

    /// Looks at everything, and tells the state machine.
    fn look(&mut self, now: Duration) {
        let begun = Instant::now();
        let waits = self.broker.somebody_waits();
        let look = self.eyes.look(now, &self.clients, self.broker.running(), waits);
        if look.nobodys != self.nobodys {
            self.nobodys = look.nobodys;
            let budget = self.config.settings.governor.budget;
            self.take(Input::Budget(budget.map(|budget| Bytes(budget.0.saturating_sub(look.nobodys.0)))));
        }
        self.metrics.stalled(&look.machine.stalls);
        self.take(Input::Sensed(Box::new(look.machine), look.jobs));
        self.looked = Some((now, begun.elapsed()));
    }

    /// Tells the state machine.
    pub(super) fn take(&mut self, input: Input) {
        let now = self.now();
        self.stirred = true;
        let effects = self.broker.take(now, input);
        self.perform(now, effects);
    }

    fn perform(&mut self, now: Duration, effects: Vec<Effect>) {
        for effect in effects {
            self.count(now, &effect);
            match effect {
                Effect::Enforce(id, attempt, force) => self.enforce(id, attempt, force),
                Effect::Cap(_) | Effect::Decided(..) => {}
                _ => {
                    let patience = |id| self.clients.get(&id).and_then(|client| client.place.as_ref());
                    let of = ToRun::of(&effect, None);
                    let Some((id, _)) = of else { continue };
                    let can = patience(id).is_some_and(|place| place.has_right());
                    let within = can.then_some(CLIENT_PATIENCE.as_millis() as u64);
                    if let Some((id, message)) = ToRun::of(&effect, within) {
                        self.tell(id, &message);
                    }
                }
            }
        }
    }

    /// Does what a client has not done.
    fn enforce(&mut self, id: ClientId, attempt: Option<crate::model::AttemptId>, force: Force) {
        if let Some(client) = self.clients.get(&id) {
            if let Some(place) = client.place.as_ref().filter(|place| place.has_right()) {
                let forced = place.force(attempt, force);
                if let Err(error) = forced {
                    (self.config.log)(&format!("run {} of user {}: {error}", client.run, client.uid));
                }
            }
            // Of a lost one that has not come back the state machine knows nothing any more.
            if attempt.is_none() {
                self.forget(id);
            }
        }
    }

    fn count(&mut self, now: Duration, effect: &Effect) {
        match effect {
            Effect::Grant(id, attempt) => {
                let wanted = self.clients.get_mut(id).and_then(|client| client.wanted.remove(&attempt.job));
                self.metrics.granted(now.saturating_sub(wanted.unwrap_or(now)));
            }
            Effect::Freeze(..) => self.metrics.froze(),
            Effect::Evict(..) => self.metrics.evicted(),
            Effect::Enforce(..) => self.metrics.enforced(),
            _ => {}
        }
    }

    /// Says something to a client, at the end of the step.
    pub(super) fn tell(&mut self, id: ClientId, message: &ToRun) {
        if let Some(wire) = self.clients.get(&id).and_then(|client| client.wire.as_ref()) {
            wire.say(message);
            self.told.insert(id);
        }
    }

    /// Says one thing more, and ends the connection.
    fn dismiss(&mut self, id: ClientId, message: &ToRun) {
        if let Some(wire) = self.clients.get(&id).and_then(|client| client.wire.as_ref()) {
            wire.dismiss(message);
        }
    }
}
