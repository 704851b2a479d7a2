//! What the governor knows of one job.
//!
//! ```text
//! queued ──▶ active ◀──▶ frozen
//!    ▲          │           │
//!    │          ▼           ▼
//!    └──────── dying (killed, its memory on its way back)
//! ```
//!
//! Age counts active time only: a frozen job neither grows older nor learns. One that its user has pinned is frozen, and
//! nobody but its user thaws it; under pressure it can be evicted like any other.

use std::time::Duration;

use super::JobFacts;
use super::estimate::{Estimate, NEARLY};
use super::track::Track;
use crate::model::reading::JobReading;
use crate::model::{AttemptId, Bytes, JobId};
use crate::policy::tuning::{CPU_WINDOW, GROWN, GROWN_LEAST, SENSE_AT_LEAST, SETTLED_AFTER, SLOPE_FADES};

/// One job, from before its first attempt to its end.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub id: JobId,
    /// Number of the attempt that runs, or ran last.
    pub attempt: u32,
    /// Jobs of one group are likely to be alike.
    pub group: u32,
    /// For how many of the usual number of jobs it counts.
    pub weight: u32,
    /// Bytes that it was said to need.
    pub declared: Option<f64>,
    pub restartable: bool,
    /// Whether it waits for others that run.
    pub drives: bool,
    /// Rank of its first start, kept over evictions; `None` before.
    pub seniority: Option<u32>,
    /// The largest size at which it was evicted.
    pub floor: f64,
    pub evicted: u32,
    pub phase: Phase,
    /// Whether its process has exec'd: a clone into a frozen group would block.
    pub born: bool,
    /// Whether it has been told to end: it must be able to, and its end is not the governor's any more.
    pub stopping: bool,
    /// Whether it dies because there was no room.
    pub evicting: bool,
    /// Whether its user wants it to stand still.
    pub pinned: bool,
    /// Of the present attempt.
    pub now: Growth,
    /// What it will come to, as far as is known since the last look or end. Of one that runs.
    pub estimate: Estimate,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Phase {
    Queued { since: Duration },
    Active,
    Frozen { since: Duration },
    Dying,
}

/// How an attempt's memory developed; sizes in bytes, ages in seconds.
#[derive(Debug, Clone, Default)]
pub(super) struct Growth {
    pub memory: f64,
    pub top: f64,
    pub age: f64,
    /// The age at which it last grew by more than a trickle, and its size then.
    pub grew_at: f64,
    grew_to: f64,
    /// Bytes a second.
    pub slope: f64,
    /// Processors that it keeps busy, as measured last.
    pub cpus: Option<f64>,
    pub track: Track,
    looks: u32,
    /// When it was last seen at all.
    seen: Duration,
    sensed: Duration,
    /// Processor time at the last measurement, and the age then.
    cpu_then: Option<(Duration, f64)>,
}

impl Job {
    pub fn new(id: JobId, facts: &JobFacts) -> Job {
        Job {
            id,
            attempt: 0,
            group: facts.group,
            weight: facts.weight,
            declared: facts.memory.map(|bytes| bytes.0 as f64),
            restartable: facts.restartable,
            drives: false,
            seniority: None,
            floor: 0.0,
            evicted: 0,
            phase: Phase::Queued { since: Duration::ZERO },
            born: false,
            stopping: false,
            evicting: false,
            pinned: false,
            now: Growth::default(),
            estimate: Estimate::default(),
        }
    }

    /// What it will take beyond what it has.
    pub fn remaining(&self) -> f64 {
        (self.estimate.mean - self.now.memory).max(0.0)
    }

    pub fn attempt_id(&self) -> AttemptId {
        AttemptId { job: self.id, number: self.attempt }
    }

    pub fn start(&mut self, now: Duration, attempt: u32) {
        self.attempt = attempt;
        (self.phase, self.born) = (Phase::Active, false);
        (self.stopping, self.evicting, self.pinned) = (false, false, false);
        self.now = Growth { sensed: now, ..Growth::default() };
    }

    pub fn sense(&mut self, now: Duration, seen: &JobReading) {
        let active = self.is_active();
        self.now.seen = now;
        self.now.sense(now, seen, active);
    }

    /// Of one that was not seen at `now`: it holds nothing.
    pub fn miss(&mut self, now: Duration) {
        if self.now.seen != now {
            self.now.memory = 0.0;
        }
    }

    /// For how long it has worked until `now`; what went on since the last look counts, too.
    pub fn worked(&self, now: Duration) -> Duration {
        let since = if self.is_active() { now.saturating_sub(self.now.sensed) } else { Duration::ZERO };
        Duration::try_from_secs_f64(self.now.age).unwrap_or_default() + since
    }

    /// What was freezing when it was last sensed must not be charged for the time to the thaw.
    pub fn thaw(&mut self, now: Duration) {
        self.phase = Phase::Active;
        self.now.sensed = now;
    }

    /// At its end the kernel tells what no look saw: all of a short job, the last spike of a long one.
    pub fn note_peak(&mut self, now: Duration, peak: Option<Bytes>) {
        let most = self.believable(peak);
        let growth = &mut self.now;
        if self.phase == Phase::Active {
            growth.age += now.saturating_sub(growth.sensed).as_secs_f64();
        }
        if most > growth.top {
            growth.top = most;
            growth.track.note(growth.age, most);
        }
    }

    pub fn forgive(&mut self, gap: Duration) {
        self.now.sensed += gap;
        if let Phase::Frozen { since } | Phase::Queued { since } = &mut self.phase {
            *since += gap;
        }
    }

    /// It was evicted: it needs more than it had.
    pub fn note_eviction(&mut self, peak: Option<Bytes>) {
        self.floor = self.floor.max(self.now.top.max(NEARLY * self.believable(peak)));
        self.evicted += 1;
    }

    /// Of what the kernel counted: of a job that was looked at it may be page cache, so it counts a little only.
    fn believable(&self, peak: Option<Bytes>) -> f64 {
        let most = if self.now.looks < 3 { f64::INFINITY } else { 1.25 * self.now.top };
        peak.map_or(0.0, |peak| most.min(peak.0 as f64))
    }

    pub fn is_active(&self) -> bool {
        self.phase == Phase::Active
    }

    /// Since when it has been frozen.
    pub fn frozen_since(&self) -> Option<Duration> {
        match self.phase {
            Phase::Frozen { since } => Some(since),
            _ => None,
        }
    }

    /// Since when the governor lets it stand still: not of one that its user has pinned.
    pub fn braked_since(&self) -> Option<Duration> {
        self.frozen_since().filter(|_| !self.pinned)
    }

    /// Whether it still grows: it did within the last quarter of its age, or since about the last look.
    pub fn is_growing(&self, tick: f64) -> bool {
        self.now.age - self.now.grew_at <= (SETTLED_AFTER * self.now.age).max(1.5 * tick)
    }
}

impl Growth {
    fn sense(&mut self, now: Duration, seen: &JobReading, active: bool) {
        let since = now.saturating_sub(self.sensed);
        if since < SENSE_AT_LEAST {
            return;
        }
        let (seconds, memory) = (since.as_secs_f64(), seen.memory.0 as f64);
        // What one has that worked before it was ever seen did not come in a moment.
        let met = self.looks == 0 && self.age > 0.0;
        if active {
            self.age += seconds;
            self.sense_cpu(seen.cpu);
        }
        let grown = if met { 0.0 } else { memory - self.memory };
        self.slope = (grown / seconds).max(self.slope * SLOPE_FADES).max(0.0);
        if memory > self.grew_to * GROWN + GROWN_LEAST {
            (self.grew_at, self.grew_to) = (self.age, memory);
        }
        if memory > self.top {
            self.top = memory;
            self.track.note(self.age, memory);
        }
        (self.memory, self.sensed) = (memory, now);
        self.looks += 1;
    }

    fn sense_cpu(&mut self, cpu: Option<Duration>) {
        let Some(cpu) = cpu else { return };
        let (then, age) = *self.cpu_then.get_or_insert((cpu, self.age));
        let since = self.age - age;
        if since >= CPU_WINDOW.as_secs_f64() {
            self.cpus = Some(cpu.saturating_sub(then).as_secs_f64() / since);
            self.cpu_then = Some((cpu, self.age));
        }
    }
}
