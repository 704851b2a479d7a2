//! Between the connections and the state machine: news go in as inputs, effects go out as messages.
//!
//! ```text
//! news, as many as there are ── take ──▶ ┐
//! a look, where one is due ── sensed ──▶ ├ Broker ── decide, once ──▶ effects ──▶ lines, groups, metrics
//! time ─────────────────────── tick ───▶ ┘
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::WeakSender;

use super::Config;
use super::before::{self, Known, Noted};
use super::client::Client;
use super::eyes::Eyes;
use super::leases::Leases;
use super::limits::{MOST_OF_ONE_USER, MOST_PERMITS};
use super::news::{News, Question};
use super::onlookers::{Onlooker, Shown};
use crate::broker::metrics::{Metrics, MetricsError};
use crate::broker::protocol::{Job, Scope, ToBroker, ToRun};
use crate::kernel::readiness;
use crate::model::Bytes;
use crate::policy::broker::{Broker, ClientId, Effect, Force, Input, Settings};
use crate::policy::tuning::{GOVERNOR_AT_REST, RECOVERY_PATIENCE, SUSPENDED, UNKNOWN_SIZE};

/// No more than this part of the time is spent in looks: of thousands of jobs each takes milliseconds.
const LOOKS_AT_MOST: u32 = 6;

/// The same where the ceiling is far and nobody waits.
const AT_REST_AT_MOST: u32 = 1000;

/// What is outside is not looked at more often. It takes some milliseconds.
const OUTSIDE_FOR: Duration = Duration::from_secs(10);

/// But so often it is looked while anything runs. The fastest hog fills 4 GiB in it, and at rest there are ten.
const LOOK_AT_LEAST: Duration = Duration::from_secs(2);

/// All that is known.
pub struct Hub {
    pub(super) config: Config,
    pub(super) broker: Broker,
    pub(super) clients: BTreeMap<ClientId, Client>,
    pub(super) leases: Leases,
    pub(super) eyes: Eyes,
    pub(super) metrics: Metrics,
    pub(super) shown: Shown,
    /// For those that tell of news by themselves.
    pub(super) news: WeakSender<News>,
    began: Instant,
    /// When the last step was.
    stepped: Duration,
    /// When it was looked outside last.
    looked_outside: Duration,
    /// When it was looked last, and how long that took.
    looked: Option<(Duration, Duration)>,
    /// What is nobody's and off the budget.
    pub(super) nobodys: Bytes,
    /// Whether something has come that may let somebody start.
    stirred: bool,
    /// To whom something is said that is not sent yet.
    pub(super) told: BTreeSet<ClientId>,
    /// Who runs something, for the broker after this one.
    pub(super) noted: Noted,
    /// Who ran something under the one before, and has not told yet what still runs.
    awaited: BTreeSet<Known>,
    /// Whether it was told that something can't be written; once is enough.
    pub(super) complained: bool,
}

impl Hub {
    /// `noted`: who ran something under the last broker here.
    ///
    /// # Errors
    /// [`MetricsError`]
    pub fn new(config: Config, news: WeakSender<News>, noted: Noted) -> Result<Hub, MetricsError> {
        let awaited: BTreeSet<Known> = noted.runs().collect();
        let recovering = (!awaited.is_empty()).then_some(RECOVERY_PATIENCE);
        for run in &awaited {
            tokio::task::spawn_local(await_end(*run, news.clone()));
        }
        let mut broker = Broker::new(Settings { recovering, ..config.settings });
        for (user, terms) in &config.terms {
            broker.take(Duration::ZERO, Input::Terms(*user, *terms));
        }
        Ok(Hub {
            broker,
            clients: BTreeMap::new(),
            leases: Leases::default(),
            eyes: Eyes::open(config.outside.view.clone()),
            metrics: Metrics::new()?,
            shown: Shown::default(),
            noted,
            awaited,
            complained: false,
            news,
            began: Instant::now(),
            stepped: Duration::ZERO,
            looked_outside: Duration::ZERO,
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
        if self.is_idle() {
            return None;
        }
        self.broker.next_deadline().into_iter().chain(self.next_look()).min().map(|time| self.began + time)
    }

    /// When to look: as the law says, but not so often that nothing else is done, or that thousands who sleep cost something.
    fn next_look(&self) -> Option<Duration> {
        let waits = self.broker.somebody_waits();
        let wanted = self.broker.next_look(waits)?;
        let Some((at, took)) = self.looked else { return Some(wanted) };
        let at_rest = !waits && wanted.saturating_sub(at) >= GOVERNOR_AT_REST;
        let seldom = if at_rest { (took * AT_REST_AT_MOST).min(LOOK_AT_LEAST) } else { took * LOOKS_AT_MOST };
        Some(wanted.max(at + seldom))
    }

    /// The end: what runs goes on without a broker.
    pub fn close(&mut self) {
        self.eyes.uncap(&self.clients);
        self.noted.remove_if_empty();
    }

    /// Takes in something that has happened; who starts because of it is decided in [`Hub::step`].
    pub fn hear(&mut self, news: News) {
        match news {
            News::Hello { id, hello, peer, wire } => self.hello(id, *hello, peer, wire),
            News::Said(id, message) => self.said(id, message),
            News::LooksOn { uid, message, wire } => self.look_on(uid, &wire, &message),
            News::Closed(id) => self.closed(id),
            News::Died(id) => self.gone(id),
            News::Missed(run) => self.came_back(run),
            News::Asked(question) => self.answer(question),
        }
    }

    fn said(&mut self, id: ClientId, message: ToBroker) {
        let now = self.now();
        let Some(client) = self.clients.get_mut(&id).filter(|client| client.is_connected()) else { return };
        let message = match message {
            ToBroker::Status {} | ToBroker::Pin(_) | ToBroker::Unpin(_) | ToBroker::Kill(_) => {
                let (uid, wire) = (client.uid, client.wire.clone());
                return wire.into_iter().for_each(|wire| self.look_on(uid, &wire, &message));
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
                return self.declare(id, running);
            }
            ToBroker::Limits { parallel, groups } => {
                ToBroker::Limits { parallel: parallel.min(MOST_PERMITS), groups }
            }
            ToBroker::Ended { of, how, peak, again, outcome, verdict, setup_us } => {
                client.samples.remove(&of.id());
                outcome.into_iter().for_each(|outcome| self.metrics.attempt_ended(outcome));
                verdict.into_iter().for_each(|verdict| self.metrics.job_done(verdict));
                setup_us.into_iter().for_each(|us| self.metrics.set_up(Duration::from_micros(us)));
                // What has come free counts where the ceiling is near.
                if self.broker.wants_a_look() && self.may_look(now) {
                    self.look(now);
                }
                ToBroker::Ended { of, how, peak, again, outcome, verdict, setup_us }
            }
            other => other,
        };
        if let Some(input) = message.input(id) {
            self.take(input);
        }
    }

    /// Just these run, it says.
    fn declare(&mut self, id: ClientId, mut running: Vec<Job>) {
        let (own, of_user) = self.broker.permits(id);
        if (of_user - own) as usize + running.len() > MOST_PERMITS as usize {
            let message = format!("more than {MOST_PERMITS} jobs of one user are declared");
            return self.dismiss(id, &ToRun::Error { message, closing: true });
        }
        if let Some(client) = self.clients.get(&id)
            && let Some(part) = self.fair_part(client.uid)
        {
            // Of all of its runs, lost ones too: each time that it comes with another one would be another part.
            let others = self.clients.iter().filter(|(other, of)| **other != id && of.uid == client.uid);
            let claimed = others.fold(0, |sum: u64, (_, of)| sum.saturating_add(of.claimed.0));
            let claimed = believe_up_to(Bytes(part.0.saturating_sub(claimed)), &mut running);
            self.clients.entry(id).and_modify(|client| client.claimed = claimed);
        }
        self.take(Input::Declare(id, running.iter().map(Job::request).collect()));
        for job in &running {
            self.take(job.declared(id));
        }
        let Some(client) = self.clients.get_mut(&id) else { return };
        let run = client.process();
        let noted = std::mem::replace(&mut client.noted, !running.is_empty());
        match (noted, client.noted) {
            (false, true) => self.noted.add(run),
            (true, false) => self.noted.remove(run),
            _ => {}
        }
        self.came_back(run);
    }

    /// What a user may claim to have without being asked for it, where others may come: its part of the budget, if one more
    /// were there. Who claims all of it while alone would keep the next one waiting.
    pub(super) fn fair_part(&self, uid: u32) -> Option<Bytes> {
        let mut users: BTreeSet<u32> = self.clients.values().map(|client| client.uid).collect();
        users.insert(uid);
        let budget = self.config.settings.governor.budget.filter(|_| self.config.scope == Scope::System)?;
        Some(Bytes(budget.0 / (users.len() as u64 + 1)))
    }

    /// Of this one it is known what still runs. When it is of all, the broker grants.
    fn came_back(&mut self, run: Known) {
        self.noted.settle(run);
        if self.awaited.remove(&run) && self.awaited.is_empty() {
            self.take(Input::Recovered);
        }
    }

    /// The connection is gone; its process may come back, if there is anything to come back to.
    fn closed(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        client.wire = None;
        client.declared.clear();
        let uid = client.uid;
        if let (0, _) = self.broker.permits(id) {
            return self.gone(id);
        }
        self.take(Input::Lost(id));
        // Who connects again and again is not kept again and again.
        let lost = || self.clients.iter().filter(|(_, of)| of.uid == uid && !of.is_connected());
        if lost().count() > MOST_OF_ONE_USER
            && let Some((oldest, _)) = lost().next()
        {
            let oldest = *oldest;
            self.take(Input::Gone(oldest));
            self.enforce(oldest, None, Force::Kill);
        }
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
        if client.noted {
            self.noted.remove(client.process());
        }
        self.eyes.forget(id);
        if let Some(wire) = &client.wire {
            wire.end();
        }
    }

    fn answer(&mut self, question: Question) {
        // Who does not wait for the answer any more does not get it.
        match question {
            Question::Standing(answer) => drop(answer.send(self.broker.standing())),
            Question::Metrics(answer) => drop(answer.send(self.metrics_text())),
        }
    }

    fn metrics_text(&mut self) -> Result<Vec<u8>, MetricsError> {
        let begun = self.now();
        if let Some(text) = self.shown.find(begun, Onlooker::Prometheus) {
            return Ok(text.clone());
        }
        self.metrics.stand(&self.broker.standing());
        self.metrics.stalled(&self.eyes.stalls());
        if self.config.scope == Scope::System {
            self.metrics.users(&self.broker.users(begun));
        }
        let text = self.metrics.text()?;
        let made = self.now();
        self.shown.keep(made, made.saturating_sub(begun), Onlooker::Prometheus, text.clone());
        Ok(text)
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
            self.perform(effects);
        }
        // Before anybody hears of a permit: a broker that is killed now is followed by one that asks for it.
        if let Err(error) = self.noted.write() {
            let file = self.noted.file().display().to_string();
            self.complain(&format!(
                "write {file}: {error}; a new broker would not wait for the runs of this one"
            ));
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
        let parts: BTreeMap<u32, Bytes> = self
            .clients
            .values()
            .filter_map(|client| Some((client.uid, self.fair_part(client.uid)?)))
            .collect();
        let look = self.eyes.look(now, &self.clients, self.broker.running(), waits, &parts);
        if look.nobodys != self.nobodys {
            self.nobodys = look.nobodys;
            self.set_budget();
        }
        self.metrics.stalled(&look.machine.stalls);
        self.take(Input::Sensed(Box::new(look.machine), look.jobs));
        self.looked = Some((now, begun.elapsed()));
    }

    /// Somebody comes after a while in which nobody was there: the editor may use more by now, or be another.
    pub(super) fn look_outside(&mut self) {
        let now = self.now();
        if now.saturating_sub(self.looked_outside) < OUTSIDE_FOR {
            return;
        }
        self.looked_outside = now;
        let Some(outside) = self.config.look_outside.as_ref().and_then(|look| look()) else { return };
        self.eyes.turn_to(&outside.view);
        self.config.settings.governor.budget = outside.to_hand_out(self.config.scope);
        self.config.outside = outside;
        self.set_budget();
    }

    /// What is nobody's is off it.
    fn set_budget(&mut self) {
        let budget = self.config.settings.governor.budget;
        self.take(Input::Budget(budget.map(|budget| Bytes(budget.0.saturating_sub(self.nobodys.0)))));
    }

    /// Looks, unless that was done of late.
    pub(super) fn look_if_older_than(&mut self, time: Duration) {
        let now = self.now();
        if self.looked.is_none_or(|(at, _)| now.saturating_sub(at) >= time) {
            self.look(now);
        }
    }

    /// Does what was decided outside of a step; who may start because of it is decided in the next.
    pub(super) fn stir(&mut self, effects: Vec<Effect>) {
        self.stirred = true;
        self.perform(effects);
    }

    /// Tells the state machine.
    pub(super) fn take(&mut self, input: Input) {
        let now = self.now();
        self.stirred = true;
        let effects = self.broker.take(now, input);
        self.perform(effects);
    }
}

/// Tells when one that is waited for will not come back.
async fn await_end(run: Known, news: WeakSender<News>) {
    if let Some(Ok(pidfd)) =
        before::hold(run).map(|pidfd| readiness::watch(pidfd, tokio::io::Interest::READABLE))
    {
        let _ = pidfd.readable().await;
    }
    if let Some(news) = news.upgrade() {
        let _ = news.send(News::Missed(run)).await;
    }
}

/// Makes what is declared come to no more than `part`. To say that one has much costs nothing, and nobody could start beside
/// it. Returns what it comes to.
fn believe_up_to(part: Bytes, running: &mut [Job]) -> Bytes {
    let said = |job: &Job| job.memory.map_or(UNKNOWN_SIZE as u64, |memory| memory.0);
    let all = running.iter().fold(0, |sum: u64, job| sum.saturating_add(said(job)));
    if all <= part.0 {
        return Bytes(all);
    }
    let mut left = part.0;
    for job in running {
        let believed = said(job).min(left);
        left -= believed;
        job.memory = Some(Bytes(believed));
    }
    part
}
