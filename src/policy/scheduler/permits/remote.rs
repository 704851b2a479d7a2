//! A broker for many runs is asked, over a line that may be cut.
//!
//! ```text
//! served ── lost ──▶ between ── 1 s ──▶ alone
//!   ▲                   │                 │
//!   └───── joined ──────┴───── joined ────┘
//! ```
//!
//! - served: what is told is said there, and what is decided comes from there, later
//! - between: nothing starts; what runs goes on, under the kernel's cap
//! - alone: a broker of the run's own decides; its budget is the share that the run was told last
//! - joined: what runs is declared there, and what is wanted is asked for again
//!
//! What runs and what is wanted is noted here all the time, whoever decides, so that nothing is lost on the way.

use std::collections::BTreeMap;
use std::mem;
use std::time::Duration;

use super::window::Window;
use super::{Heard, Lone, Permits, Ran, Said, Served};
use crate::model::governor::{Governed, State};
use crate::model::{AttemptId, Bytes, JobId};
use crate::policy::broker::{Request, Share, Stand};
use crate::policy::governor;
use crate::policy::tuning::{BROKER_BACK, BY_ITSELF_AFTER, CLIENT_PATIENCE, SAID_NEAR};

/// A run that asks a broker for many.
#[derive(Debug)]
pub(in crate::policy::scheduler) struct Remote {
    side: Side,
    /// Of a broker of its own, should it come to that, with all of the budget.
    law: governor::Settings,
    parallel: u32,
    groups: Vec<u32>,
    /// Whether both are still what was said in the greeting.
    limits_hold: bool,
    /// How often the broker wants to be told what jobs hold.
    sample: Option<Duration>,
    sampled: Option<Duration>,
    stand: Stand,
    share: Option<Share>,
    wanted: Window,
    running: BTreeMap<JobId, Held>,
    /// The rank of each job's first start.
    ranks: BTreeMap<JobId, u32>,
    starts: u32,
    said: Vec<Said>,
    heard: Vec<Heard>,
    /// When something was asked last.
    stepped: Duration,
    /// When the broker was lost last.
    lost_at: Option<Duration>,
}

/// Who decides.
#[derive(Debug)]
enum Side {
    Served,
    Between { since: Duration },
    Alone(Box<Alone>),
}

#[derive(Debug)]
struct Alone {
    broker: Lone,
    since: Duration,
    /// What the run was told that it may count on.
    share: Bytes,
    /// What it may have now: more than that as long as it still holds more.
    budget: Bytes,
}

/// An attempt that was granted, and is not over.
#[derive(Debug)]
struct Held {
    request: Request,
    /// Since when it works, put off by the time in which it stood still.
    since: Option<Duration>,
    frozen: Option<Duration>,
    /// Whether it was told to end.
    stopping: bool,
}

impl Remote {
    /// `parallel`, `groups`: as in [`Said::Limits`], and as the greeting has said already.
    pub fn new(served: Served, law: governor::Settings, parallel: u32, groups: Vec<u32>) -> Remote {
        Remote {
            side: Side::Served,
            law,
            parallel,
            groups,
            limits_hold: true,
            sample: served.sample,
            sampled: None,
            stand: Stand::default(),
            share: None,
            wanted: Window::default(),
            running: BTreeMap::new(),
            ranks: BTreeMap::new(),
            starts: 0,
            said: Vec::new(),
            heard: Vec::new(),
            stepped: Duration::ZERO,
            lost_at: None,
        }
    }

    /// Notes what is told. Returns it as it is to be said; `None` for what is said later, or needs not be.
    fn note(&mut self, now: Duration, said: Said) -> Option<Said> {
        match said {
            Said::Want(request) => {
                self.wanted.want(request);
                return None;
            }
            Said::Withdraw { job, again } => {
                let again = self.wanted.withdraw(job, again)?;
                return Some(Said::Withdraw { job, again });
            }
            Said::Limits(parallel, ref groups) => {
                (self.parallel, self.groups, self.limits_hold) = (parallel, groups.clone(), false);
            }
            Said::Born(id) => {
                if let Some(held) = self.held(id) {
                    held.since.get_or_insert(now);
                }
            }
            Said::Stopping(id) | Said::Ending(id) => {
                if let Some(held) = self.held(id) {
                    held.stopping = true;
                    held.thaw(now);
                }
            }
            Said::Ended { id, ending, again, outcome, verdict, setup } => {
                if self.held(id).is_some() {
                    self.running.remove(&id.job);
                }
                if !again {
                    self.ranks.remove(&id.job);
                }
                let again = again && self.wanted.rest(id.job);
                return Some(Said::Ended { id, ending, again, outcome, verdict, setup });
            }
            Said::Sensed(_) => self.sampled = Some(now),
            Said::Gap(gap) => self.forgive(gap),
            Said::Declare(_) => {}
        }
        Some(said)
    }

    /// Notes what was decided, and passes it on.
    fn pass_on(&mut self, now: Duration, heard: Heard) {
        match heard {
            Heard::Grant(id) => self.hold(id),
            Heard::Freeze(id) => {
                if let Some(held) = self.held(id).filter(|held| !held.stopping) {
                    held.frozen.get_or_insert(now);
                }
            }
            Heard::Thaw(id) => {
                if let Some(held) = self.held(id) {
                    held.thaw(now);
                }
            }
            _ => {}
        }
        self.heard.push(heard);
    }

    fn hold(&mut self, id: AttemptId) {
        let Some(request) = self.wanted.take(id) else { return };
        self.starts += 1;
        self.ranks.entry(id.job).or_insert(self.starts);
        self.running.insert(id.job, Held { request, since: None, frozen: None, stopping: false });
    }

    fn held(&mut self, id: AttemptId) -> Option<&mut Held> {
        self.running.get_mut(&id.job).filter(|held| held.request.id == id)
    }

    /// What runs, the one that first started first.
    fn declaration(&self, now: Duration) -> Vec<Ran> {
        let mut running: Vec<&Held> = self.running.values().collect();
        running.sort_by_key(|held| self.ranks.get(&held.request.id.job));
        running.into_iter().map(|held| held.declare(now)).collect()
    }

    /// Those of them that were told to end.
    fn stopping(&self) -> Vec<AttemptId> {
        self.running.values().filter(|held| held.stopping).map(|held| held.request.id).collect()
    }

    fn lost(&mut self, now: Duration) {
        if matches!(self.side, Side::Served) {
            (self.side, self.lost_at) = (Side::Between { since: now }, Some(now));
            self.wanted.lost();
            self.said.clear();
        }
    }

    fn joined(&mut self, now: Duration, sample: Option<Duration>) {
        // What the run's own broker took off, or the last one that decided: the next one does not know of it.
        self.heard.push(Heard::Cap(self.law.budget.unwrap_or(Bytes(u64::MAX))));
        (self.side, self.stand, self.sample) = (Side::Served, Stand::default(), sample);
        self.said = vec![Said::Declare(self.declaration(now))];
        self.said.extend(self.stopping().into_iter().map(Said::Stopping));
        if !self.limits_hold {
            self.said.push(Said::Limits(self.parallel, self.groups.clone()));
        }
    }

    fn go_alone(&mut self, now: Duration) {
        // One that was told nothing yet has nothing that runs.
        let share = self.share.unwrap_or(Share { memory: Bytes(u64::MAX), jobs: 1 });
        let law = governor::Settings { jobs: self.law.jobs.min(share.jobs), ..self.law };
        let mut broker = Lone::new(law, self.parallel, self.groups.clone());
        broker.tell(now, Said::Declare(self.declaration(now)));
        self.stopping().into_iter().for_each(|id| broker.tell(now, Said::Stopping(id)));
        self.wanted.all().for_each(|request| broker.tell(now, Said::Want(request.clone())));
        let budget = self.law.budget.unwrap_or(Bytes(u64::MAX));
        let share = Share { memory: share.memory.min(budget), ..share };
        self.side = Side::Alone(Box::new(Alone { broker, since: now, share: share.memory, budget }));
        self.heard.push(Heard::Alone(share));
    }

    fn forgive(&mut self, gap: Duration) {
        match &mut self.side {
            Side::Between { since } => *since += gap,
            Side::Alone(alone) => alone.since += gap,
            Side::Served => {}
        }
        for held in self.running.values_mut() {
            held.since = held.since.map(|since| since + gap);
            held.frozen = held.frozen.map(|since| since + gap);
        }
        self.wanted.forgive(gap);
    }

    /// Takes over what the run's own broker has decided.
    fn listen(&mut self, now: Duration) {
        let Side::Alone(alone) = &mut self.side else { return };
        for heard in alone.broker.hear() {
            self.pass_on(now, heard);
        }
    }
}

impl Alone {
    fn tell(&mut self, now: Duration, said: Said) {
        if let Said::Sensed(reading) = &said {
            // What ran when the broker went away goes on, and what starts then has to fit into the share.
            self.budget = self.budget.min(reading.usage).max(self.share);
            let budget = (self.budget.0 < u64::MAX).then_some(self.budget);
            self.broker.set_budget(now, budget);
        }
        self.broker.tell(now, said);
    }
}

impl Held {
    fn thaw(&mut self, now: Duration) {
        if let Some(frozen) = self.frozen.take() {
            self.since = self.since.map(|since| since + now.saturating_sub(frozen));
        }
    }

    fn declare(&self, now: Duration) -> Ran {
        let until = self.frozen.unwrap_or(now);
        let worked = self.since.map_or(Duration::ZERO, |since| until.saturating_sub(since));
        Ran { request: self.request.clone(), worked, frozen: self.frozen.is_some() }
    }
}

impl Permits for Remote {
    fn tell(&mut self, now: Duration, said: Said) {
        match &mut self.side {
            Side::Served => {
                let said = self.note(now, said);
                // Nobody there has a use for a gap of ours.
                self.said.extend(said.filter(|said| !matches!(said, Said::Gap(_))));
            }
            Side::Between { .. } => drop(self.note(now, said)),
            Side::Alone(alone) => {
                alone.tell(now, said.clone());
                self.listen(now);
                drop(self.note(now, said));
            }
        }
    }

    fn decide(&mut self, now: Duration) {
        self.stepped = now;
        match &mut self.side {
            Side::Served => {
                while let Some(request) = self.wanted.next(now, &self.groups) {
                    self.said.push(Said::Want(request));
                }
            }
            Side::Between { since } if now >= *since + BY_ITSELF_AFTER => self.go_alone(now),
            Side::Between { .. } => {}
            Side::Alone(alone) => {
                alone.broker.decide(now);
                self.listen(now);
            }
        }
    }

    fn arrive(&mut self, now: Duration, heard: Heard) {
        match heard {
            Heard::Joined { sample } => return self.joined(now, sample),
            Heard::Lost => return self.lost(now),
            // What comes over a line that is cut is of no use any more.
            _ if !matches!(self.side, Side::Served) => return,
            Heard::Stands(stand) => return self.stand = stand,
            Heard::Share(share) => return self.share = Some(share),
            Heard::NotTaken(id) => return self.wanted.not_taken(now, id),
            // Nobody is evicted who is alone, whatever was said of others until now.
            Heard::Evict(_) => self.stand.company = true,
            _ => {}
        }
        self.pass_on(now, heard);
    }

    fn hear(&mut self) -> Vec<Heard> {
        mem::take(&mut self.heard)
    }

    fn say(&mut self) -> Vec<Said> {
        mem::take(&mut self.said)
    }

    fn is_calm(&self) -> bool {
        match &self.side {
            Side::Alone(alone) => alone.broker.is_calm(),
            Side::Served | Side::Between { .. } => self.stand.calm,
        }
    }

    fn is_tight(&self) -> bool {
        match &self.side {
            Side::Alone(alone) => alone.broker.is_tight(),
            Side::Served => self.stand.state != State::Green || !self.stand.calm,
            Side::Between { .. } => true,
        }
    }

    fn has_company(&self) -> bool {
        match &self.side {
            // What needs more than a share is not lost for that: it may have more when the broker is back. If that is not
            // soon, it can't be helped.
            Side::Alone(alone) => self.stepped < alone.since + BROKER_BACK,
            Side::Served | Side::Between { .. } => self.stand.company,
        }
    }

    fn kills(&self, now: Duration, frozen: bool) -> bool {
        // A run that was away for so long that the broker has given it up is told of both at about the same time.
        let given_up = self.lost_at.is_some_and(|at| now < at + CLIENT_PATIENCE);
        match &self.side {
            // What stands still ends by nothing else: the run was late to say that it does.
            Side::Served => frozen || given_up,
            Side::Between { .. } => given_up,
            Side::Alone(_) => false,
        }
    }

    fn next_look(&self, settling: bool) -> Option<Duration> {
        match &self.side {
            Side::Alone(alone) => alone.broker.next_look(settling),
            Side::Served if !self.running.is_empty() => {
                let every = if self.stand.near { SAID_NEAR } else { Duration::MAX };
                let every = self.sample?.clamp(SAID_NEAR, Duration::from_secs(1)).min(every);
                Some(self.sampled.map_or(Duration::ZERO, |at| at + every))
            }
            Side::Served | Side::Between { .. } => None,
        }
    }

    fn next_deadline(&self) -> Option<Duration> {
        match &self.side {
            Side::Served => self.wanted.next_try(),
            Side::Between { since } => Some(*since + BY_ITSELF_AFTER),
            Side::Alone(alone) => alone.broker.next_deadline(),
        }
    }

    fn wants_a_look(&self) -> bool {
        match &self.side {
            Side::Served => self.sample.is_some() && self.stand.near,
            Side::Between { .. } => false,
            Side::Alone(alone) => alone.broker.wants_a_look(),
        }
    }

    fn governed(&self, now: Duration) -> Option<Governed> {
        match &self.side {
            Side::Alone(alone) => alone.broker.governed(now),
            Side::Served | Side::Between { .. } => None,
        }
    }
}
