//! The broker's eyes: one reading of the machine and of all that its clients run.
//!
//! ```text
//! a run's group ── charged as before? ── yes ──▶ its jobs are as they were, for a second
//!                       │ no
//!                  each job's group;  what its client says of it where there is none
//! ```
//!
//! What a client says is believed up to its share, and its user's, where it is not the only user: a number costs nobody anything, and who
//! names a large one would stop all others.
//!
//! What runs have left behind that are gone is nobody's: it is taken off the budget until it is given back.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::client::{Client, Credit};
use super::place::Place;
use super::slice::Slice;
use crate::kernel::KernelError;
use crate::kernel::ground::Ground;
use crate::kernel::sensors::{GroupSensors, JobSensors, RunMemory, Sensors};
use crate::model::reading::{JobReading, Reading, Stalls};
use crate::model::{AttemptId, Bytes, Limits};
use crate::policy::broker::ClientId;
use crate::policy::broker::caps::All;
use crate::policy::tuning::CPU_WINDOW;

/// Page cache below this part of what is charged to a run is not looked for in every job.
const LITTLE_CACHE: u64 = 16;

/// While a run as a whole does not change by more than this, none of its jobs is looked at by itself.
const CHANGED: u64 = 1 << 20;

/// But for so long at the most: one may grow by what another gives back.
const SEEN_FOR: Duration = Duration::from_secs(1);

/// A run's cap is written when it rises by this much; it may come down by less.
const CAP_CHANGED: u64 = 4 << 20;

/// What is left of runs that are gone is watched for so many of them.
const MOST_LEFT: usize = 256;

/// What to look at beside the runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// Whether `/proc/pressure` is this machine's own, and not that of a container's host.
    pub own_machine: bool,
    /// The editor's v2 group, where it has one.
    pub editor: Option<PathBuf>,
}

/// All sensors.
#[derive(Debug)]
pub struct Eyes {
    view: View,
    /// Of the machine, where there is no slice.
    sensors: Sensors,
    /// Where all runs are in one.
    slice: Option<Slice>,
    /// When processor time was read last.
    cpu_read: Option<Duration>,
    runs: BTreeMap<ClientId, Run>,
    /// The last look, and the time between it and the one before.
    looked: Duration,
    interval: Duration,
    /// Groups of runs that are gone.
    left: Vec<GroupSensors>,
}

/// What was seen.
#[derive(Debug)]
pub struct Look {
    /// The machine, without jobs.
    pub machine: Reading,
    /// Whose jobs held what.
    pub jobs: Vec<(ClientId, JobReading)>,
    /// What is nobody's any more.
    pub nobodys: Bytes,
}

/// What is held open for one run, and what was seen of it last.
#[derive(Debug, Default)]
struct Run {
    sensors: Option<GroupSensors>,
    jobs: BTreeMap<AttemptId, JobSensors>,
    seen: Vec<JobReading>,
    at: Duration,
    memory: Option<RunMemory>,
    /// What it has grown by since the look before, bytes.
    growth: u64,
    /// What its `memory.max` was set to last.
    cap: Option<Bytes>,
}

impl Run {
    /// What it holds and can't be taken back.
    fn usage(&self) -> Option<Bytes> {
        self.memory.map(|all| Bytes(all.charged.0 - all.cache.0))
    }
}

impl Eyes {
    pub fn open(view: View) -> Eyes {
        Eyes {
            sensors: Sensors::open(&Ground::Bare, view.own_machine, view.editor.as_deref()),
            view,
            slice: None,
            cpu_read: None,
            runs: BTreeMap::new(),
            looked: Duration::ZERO,
            interval: Duration::ZERO,
            left: Vec::new(),
        }
    }

    /// There is something else to look at beside the runs, or not any more.
    pub fn turn_to(&mut self, view: &View) {
        if *view != self.view {
            *self = Eyes {
                runs: std::mem::take(&mut self.runs),
                left: std::mem::take(&mut self.left),
                ..Eyes::open(view.clone())
            };
        }
    }

    /// Looks, at `now`, at what runs, client by client; at processor time only where that is asked for, and only now and
    /// then. `parts`: each user's even part of the budget, where what users say is not believed without bounds.
    pub fn look(
        &mut self,
        now: Duration,
        clients: &BTreeMap<ClientId, Client>,
        running: impl Iterator<Item = (ClientId, AttemptId)>,
        wants_cpu: bool,
        parts: &BTreeMap<u32, Bytes>,
    ) -> Look {
        self.interval = now.saturating_sub(std::mem::replace(&mut self.looked, now));
        let with_cpu = wants_cpu && self.cpu_read.is_none_or(|then| now.saturating_sub(then) >= CPU_WINDOW);
        if with_cpu {
            self.cpu_read = Some(now);
        }
        let mut ids: BTreeMap<ClientId, Vec<AttemptId>> = BTreeMap::new();
        running.for_each(|(client, id)| ids.entry(client).or_default().push(id));
        let mut credits = credits(clients, parts);
        let (mut usage, mut charged, mut jobs) = (Bytes(0), Bytes(0), Vec::new());
        for (id, client) in clients {
            let run = self.runs.entry(*id).or_insert_with(|| Run::open(client));
            let running = ids.get(id).map_or(&[][..], Vec::as_slice);
            let credit = credits.entry(client.uid).or_insert(Credit(u64::MAX));
            run.look(now, client, running, with_cpu, credit);
            let sum = run.seen.iter().fold(0, |sum: u64, job| sum.saturating_add(job.memory.0));
            let sum = Bytes(sum);
            // What a client says of its jobs is no less than what the kernel says of all of them.
            let held = run.usage().map_or(sum, |usage| usage.max(sum));
            usage.0 = usage.0.saturating_add(held.0);
            charged.0 = charged.0.saturating_add(run.memory.map_or(sum, |all| all.charged.max(sum)).0);
            jobs.extend(run.seen.iter().map(|job| (*id, *job)));
        }
        let nobodys = self.nobodys(usage);
        let all = self.slice.as_mut().and_then(Slice::memory);
        let sensors = self.slice.as_mut().map_or(&mut self.sensors, |slice| &mut slice.sensors);
        let without = |bytes: Bytes| Bytes(bytes.0.saturating_sub(nobodys.0));
        let machine = Reading {
            usage,
            charged: all.map_or(charged, |all| without(all.charged)),
            cap: all.and_then(|all| all.cap).map(without),
            available: sensors.available(),
            stalls: sensors.stalls(),
            refaults: sensors.refaults(),
            high: sensors.high(),
            jobs: Vec::new(),
        };
        Look { machine, jobs, nobodys }
    }

    /// A run has shown its groups: perhaps a slice is above them. `budget`: what is to be in force there.
    ///
    /// # Errors
    /// [`KernelError`] if that can't be put in force.
    pub fn meet(&mut self, place: &Place, budget: &Limits) -> Result<(), KernelError> {
        // systemd removes an empty one, and makes another.
        if self.slice.as_mut().and_then(Slice::memory).is_none() {
            self.slice = None;
            self.slice = Slice::above(place, budget, &self.view)?;
        }
        Ok(())
    }

    /// Sets what all that runs may hold together: in the one group that holds all (with what is nobody's in it), or in each
    /// run's own, out of that and of what is `kept_back`.
    ///
    /// # Errors
    /// [`KernelError::Write`]: the last of those that were not taken.
    pub fn set_cap(
        &mut self,
        cap: Bytes,
        nobodys: Bytes,
        kept_back: Bytes,
        cpus: u32,
        clients: &BTreeMap<ClientId, Client>,
    ) -> Result<(), KernelError> {
        if let Some(slice) = &self.slice {
            return slice.set_cap(Bytes(cap.0.saturating_add(nobodys.0)));
        }
        let usage = |run: &Run| run.usage().map_or(0, |usage| usage.0);
        let sum = |of: &dyn Fn(&Run) -> u64| self.runs.values().map(of).fold(0, u64::saturating_add);
        let all = All {
            budget: Bytes(cap.0.saturating_add(kept_back.0)),
            usage: sum(&usage),
            growth: sum(&|run| run.growth),
            runs: self.runs.len() as u64,
            interval: self.interval,
            cpus,
        };
        let mut outcome = Ok(());
        for (id, run) in &mut self.runs {
            let place = clients.get(id).and_then(|client| client.place.as_ref());
            let Some((place, budget)) = place.and_then(|place| Some((place, place.budget()?))) else {
                continue;
            };
            // Of one that can't be looked at nobody knows what a lower one would kill.
            if run.usage().is_none() {
                continue;
            }
            let known = run.cap.unwrap_or(budget);
            let cap = all.cap(usage(run), run.growth).min(budget);
            // Each write costs.
            let is_lower = known.0.saturating_sub(cap.0) >= CHANGED;
            let is_higher = cap.0.saturating_sub(known.0) >= CAP_CHANGED;
            if (is_lower || is_higher) && outcome.is_ok() {
                outcome = place.set_cap(cap);
                run.cap = Some(cap);
            }
        }
        outcome
    }

    /// Gives all runs back what is their own.
    pub fn uncap(&mut self, clients: &BTreeMap<ClientId, Client>) {
        for (id, run) in &mut self.runs {
            let place = clients.get(id).and_then(|client| client.place.as_ref());
            if let Some((place, budget)) = place.and_then(|place| Some((place, place.budget()?)))
                && run.cap.take().is_some_and(|cap| cap != budget)
            {
                // One that does not get it back sets it by itself, when it decides by itself.
                let _ = place.set_cap(budget);
            }
        }
    }

    /// Who was kept waiting until now.
    pub fn stalls(&mut self) -> Stalls {
        self.slice.as_mut().map_or(&mut self.sensors, |slice| &mut slice.sensors).stalls()
    }

    /// A client is gone, what it ran perhaps not yet.
    pub fn forget(&mut self, client: ClientId) {
        let left = self.runs.remove(&client).and_then(|run| run.sensors);
        self.left.extend(left);
        // Those that stay are of no use to anybody, and the oldest have been there for longest.
        self.left.drain(..self.left.len().saturating_sub(MOST_LEFT));
    }

    /// A client has become another.
    pub fn rename(&mut self, from: ClientId) {
        self.runs.remove(&from);
    }

    /// What is left of runs that are gone; in a slice all that is no run's that is here. `usage`: what those hold.
    fn nobodys(&mut self, usage: Bytes) -> Bytes {
        if let Some(all) = self.slice.as_mut().and_then(Slice::memory) {
            let nobodys = (all.charged.0 - all.cache.0).saturating_sub(usage.0);
            // What comes and goes between two readings is not worth a word.
            return Bytes(nobodys / CHANGED * CHANGED);
        }
        let mut sum: u64 = 0;
        self.left.retain(|group| {
            let left = group.charged().filter(|charged| charged.0 >= CHANGED);
            sum = sum.saturating_add(left.map_or(0, |charged| charged.0));
            left.is_some()
        });
        Bytes(sum)
    }
}

/// So much is believed of what all runs of a user say together: what those that are connected were told, or the user's even
/// part of the budget. A lost one was told more, perhaps, and whoever comes again and again has many of them.
fn credits(clients: &BTreeMap<ClientId, Client>, parts: &BTreeMap<u32, Bytes>) -> BTreeMap<u32, Credit> {
    let mut told: BTreeMap<u32, u64> = BTreeMap::new();
    for client in clients.values() {
        let credit = client.credit.filter(|_| client.is_connected()).map_or(0, |credit| credit.0);
        let of_user = told.entry(client.uid).or_default();
        *of_user = of_user.saturating_add(credit);
    }
    parts.iter().map(|(uid, part)| (*uid, Credit(part.0.max(told.get(uid).copied().unwrap_or(0))))).collect()
}

impl Run {
    fn open(client: &Client) -> Run {
        Run { sensors: client.place.as_ref().and_then(|place| place.sensors()), ..Run::default() }
    }

    /// `of_user`: what is left of what is believed of the user's samples.
    fn look(
        &mut self,
        now: Duration,
        client: &Client,
        running: &[AttemptId],
        with_cpu: bool,
        of_user: &mut Credit,
    ) {
        let charged = self.sensors.as_ref().and_then(GroupSensors::charged);
        if !with_cpu && self.is_still_true(now, charged, running) {
            self.growth = 0;
            return;
        }
        let before = self.usage();
        self.memory = charged.and(self.sensors.as_ref()).and_then(GroupSensors::memory);
        self.growth = before.zip(self.usage()).map_or(0, |(then, now)| now.0.saturating_sub(then.0));
        self.at = now;
        // Statistics cost ten times as much as one number.
        let much_cache = self.memory.is_some_and(|all| all.cache.0 > all.charged.0 / LITTLE_CACHE);
        // Numbers of jobs that are over come back in none.
        self.jobs.retain(|id, _| running.binary_search(id).is_ok());
        self.seen.clear();
        let most = client.credit.map_or(of_user.0, |credit| credit.0.min(of_user.0));
        let mut believed = Credit(most);
        for id in running {
            if self.sensors.is_some()
                && !self.jobs.contains_key(id)
                && let Some(sensors) = client.place.as_ref().and_then(|place| place.job_sensors(*id))
            {
                self.jobs.insert(*id, sensors);
            }
            let sensors = self.jobs.get(id);
            let sample = client.samples.get(id);
            let memory = sensors.and_then(|sensors| sensors.memory(much_cache));
            let cpu = sensors.filter(|_| with_cpu).and_then(JobSensors::cpu);
            if let Some(memory) = memory.or_else(|| believed.take(sample?.memory)) {
                let cpu = cpu.or_else(|| Some(Duration::from_micros(sample.filter(|_| with_cpu)?.cpu_us?)));
                self.seen.push(JobReading { id: *id, memory, cpu });
            }
        }
        of_user.0 -= most - believed.0;
    }

    fn is_still_true(&self, now: Duration, charged: Option<Bytes>, running: &[AttemptId]) -> bool {
        // Without a group there is nothing that would tell of a change.
        let (Some(charged), Some(before)) = (charged, self.memory) else { return false };
        now.saturating_sub(self.at) < SEEN_FOR
            && charged.0.abs_diff(before.charged.0) < CHANGED
            && self.seen.iter().map(|job| job.id).eq(running.iter().copied())
    }
}
