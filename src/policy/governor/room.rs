//! The budget of this moment: how much the run may use, how much of it is left, how soon to look again.
//!
//! ```text
//! budget = min(budget.memory_max, used by the run + available - line)      follows editor and neighbours
//! guard  = a little of it, that jobs may take until the next look
//! cap    = min(budget.memory_max, max(budget, used + 1 MiB, charged - a look's worth of page cache))
//! ```
//!
//! The cap is never below what is used and can't be taken back: then the kernel would choose the victim, and not we.
//! It may be below what is charged: page cache gives way to it. Kept above that too, a run whose cache fills the machine
//! would have a cap without the reserve in it (simulated: machine out of memory in 6 of 180 cases). By a look's worth
//! at a time, since the kernel takes it back within the write.

use std::time::Duration;

use super::Settings;
use super::job::Job;
use crate::model::{Bytes, reading::Reading};
use crate::policy::tuning::{
    FILL_RATE, GOVERNOR_AT_REST, GOVERNOR_SLOWEST, GOVERNOR_TICK, GUARD_LEAST, GUARD_MOST, GUARD_RATE,
    LOOKS_BEFORE_FULL,
};

const MIB: f64 = (1 << 20) as f64;

#[derive(Debug)]
pub(super) struct Room {
    settings: Settings,
    /// Bytes of the run that can't be taken back.
    usage: f64,
    charged: f64,
    available: Option<f64>,
    /// Growth of all jobs together, bytes a second.
    pub filling: f64,
    looked: Duration,
    pause: Duration,
    seen: bool,
    /// The cap in force.
    cap: Option<u64>,
}

impl Room {
    pub fn new(settings: Settings) -> Room {
        Room {
            settings,
            usage: 0.0,
            charged: 0.0,
            available: None,
            filling: 0.0,
            looked: Duration::ZERO,
            pause: GOVERNOR_TICK,
            seen: false,
            cap: None,
        }
    }

    pub fn sense<'a>(&mut self, now: Duration, reading: &Reading, jobs: impl Iterator<Item = &'a Job>) {
        self.usage = reading.usage.0 as f64;
        self.charged = reading.charged.0 as f64;
        self.available = reading.available.map(|bytes| bytes.0 as f64);
        self.filling = jobs.filter(|job| job.is_active()).map(|job| job.now.slope).sum();
        self.cap = reading.cap.map(|bytes| bytes.0);
        self.looked = now;
        self.seen = true;
        self.pause = if self.is_known() {
            let left = (self.free(self.settings.orange) - self.guard()).max(0.0);
            let fastest = self.filling.max(FILL_RATE as f64);
            Duration::from_secs_f64(left / fastest / f64::from(LOOKS_BEFORE_FULL))
                .clamp(GOVERNOR_TICK, GOVERNOR_AT_REST)
        } else {
            GOVERNOR_SLOWEST
        };
    }

    /// From now on; what follows from it is seen at the next look.
    pub fn set_budget(&mut self, budget: Option<Bytes>) {
        self.settings.budget = budget;
    }

    /// A job's memory has come back since the last look.
    pub fn gone(&mut self, memory: f64) {
        self.usage = (self.usage - memory).max(0.0);
        self.available = self.available.map(|available| available + memory);
    }

    /// What all hold.
    pub fn usage(&self) -> Bytes {
        Bytes(self.usage as u64)
    }

    /// Whether anything is known of a limit; without one the memory law rests.
    pub fn is_known(&self) -> bool {
        self.seen && (self.settings.budget.is_some() || self.available.is_some())
    }

    /// The budget with `line` kept available.
    fn budget(&self, line: Bytes) -> f64 {
        let fixed = self.settings.budget.map_or(f64::INFINITY, |bytes| bytes.0 as f64);
        let live = self.available.map_or(f64::INFINITY, |free| self.usage + free - line.0 as f64);
        fixed.min(live).max(0.0)
    }

    fn free(&self, line: Bytes) -> f64 {
        self.budget(line) - self.usage
    }

    /// For starts.
    pub fn for_starts(&self) -> f64 {
        self.budget(self.settings.yellow)
    }

    /// What is left before something must be frozen.
    pub fn before_freezing(&self) -> f64 {
        self.free(self.settings.orange)
    }

    /// What is left before something must be evicted.
    pub fn before_evicting(&self) -> f64 {
        self.free(self.settings.red)
    }

    /// The budget as it is now.
    pub fn whole(&self) -> f64 {
        self.budget(self.settings.red)
    }

    /// Kept free for what jobs take until the next look.
    pub fn guard(&self) -> f64 {
        let whole = self.whole();
        GUARD_LEAST * whole + (GUARD_RATE * self.horizon()).min(GUARD_MOST * whole)
    }

    /// How far ahead growth is thought of: to the look after the next, seconds.
    pub fn horizon(&self) -> f64 {
        1.5 * self.tick() + 0.005
    }

    /// The time between looks, seconds.
    pub fn tick(&self) -> f64 {
        self.pause.as_secs_f64()
    }

    /// `waited_for`: whether someone waits for what the next look may tell.
    pub fn next_look(&self, waited_for: bool) -> Duration {
        self.looked + if waited_for { self.pause.min(GOVERNOR_SLOWEST) } else { self.pause }
    }

    pub fn is_near(&self) -> bool {
        self.is_known() && self.pause < GOVERNOR_SLOWEST
    }

    /// What to write to the run's `memory.max`, where that has changed.
    pub fn cap(&self) -> Option<Bytes> {
        let fixed = self.settings.budget.map_or(f64::INFINITY, |bytes| bytes.0 as f64);
        // One that was lowered below what is held is come down to as that goes: the kernel would kill at once.
        let fixed = if self.usage > fixed { self.usage + MIB } else { fixed };
        let cap = fixed.min(self.whole().max(self.usage + MIB).max(self.charged - self.taken_back()));
        if !cap.is_finite() {
            return None;
        }
        // In whole MiB, so that it is not written for every page; the budget itself as it is.
        let cap = if cap < fixed { (cap / MIB).floor() * MIB } else { cap };
        let cap = cap.max(MIB) as u64;
        (self.cap != Some(cap)).then_some(Bytes(cap))
    }

    /// So much page cache may a lower cap take back at once: the kernel does it within the write, and nobody looks
    /// meanwhile. As fast as anyone can fill memory, though.
    fn taken_back(&self) -> f64 {
        FILL_RATE as f64 * self.tick()
    }

    pub fn left(&self) -> Bytes {
        Bytes(self.before_evicting().max(0.0) as u64)
    }

    pub fn whole_bytes(&self) -> Bytes {
        let whole = self.whole();
        Bytes(if whole.is_finite() { whole as u64 } else { u64::MAX })
    }
}
