//! GNU parallel `--memfree SIZE --retries`: starts while more than SIZE is free, kills the youngest where less than half
//! of it is.

use std::time::Duration;

use super::pool::Pool;
use crate::model::reading::Reading;
use crate::policy::scheduler::{Effect, Input};
use crate::simulate::case::Case;
use crate::simulate::play::Law;

/// It looks once a second, and starts one at a look where it has to ask.
const TICK: Duration = Duration::from_secs(1);

/// Starts while so much is free.
#[derive(Debug)]
pub struct Memfree {
    size: f64,
    jobs: usize,
    pool: Pool,
    look: Duration,
    free: f64,
}

impl Memfree {
    /// `--memfree size`, `-j` as many as processors.
    pub fn new(case: &Case, size: f64) -> Memfree {
        let pool = Pool::new(case.plans.len());
        Memfree { size, jobs: case.jobs as usize, pool, look: Duration::ZERO, free: 0.0 }
    }

    fn sense(&mut self, now: Duration, reading: &Reading) {
        self.look = now + TICK;
        self.free = reading.available.map_or(0.0, |free| free.0 as f64);
        if self.free < 0.5 * self.size
            && self.pool.running.len() > 1
            && let Some(youngest) = self.pool.running.last()
        {
            self.pool.order(Effect::Kill(*youngest));
        }
    }
}

impl Law for Memfree {
    fn step(&mut self, now: Duration, input: Input) -> Vec<Effect> {
        match &input {
            Input::Ended(end) => self.pool.ended(end),
            Input::Sense(reading) => self.sense(now, reading),
            _ => {}
        }
        // What it saw last may be a second old: it asks anew for each start only within its own tick.
        let may = |law: &Memfree| law.pool.running.is_empty() || law.free > law.size;
        while self.pool.running.len() < self.jobs && may(self) && self.pool.start() {}
        self.pool.orders()
    }

    fn next_look(&self) -> Option<Duration> {
        Some(self.look)
    }
}
