//! buck2's resource control (`kill_and_retry`): every 300 ms the share of time in which memory was waited for; under
//! lasting pressure the youngest is killed, and no sooner than its forecast asks for.
//!
//! It needs pressure to be measurable. Where a machine has no swap there is none to speak of; use above 90 % of the cap
//! stands in for what `memory.high` would make of it, which flatters it.

use std::collections::VecDeque;
use std::time::Duration;

use super::pool::Pool;
use crate::model::reading::Reading;
use crate::policy::scheduler::{Effect, Input};
use crate::simulate::case::Case;
use crate::simulate::play::Law;

const TICK: Duration = Duration::from_millis(300);
/// Looks in 5, 10 and 30 seconds.
const FIVE: usize = 17;
const TEN: usize = 33;
const THIRTY: usize = 100;
/// The pressure over which oomd would kill, in per cent of 60 seconds.
const OOMD: f64 = 60.0;
const WAKE_EVERY: Duration = Duration::from_secs(3);

/// Kills the youngest under pressure.
#[derive(Debug)]
pub struct Buck2 {
    pool: Pool,
    jobs: usize,
    cap: f64,
    look: Duration,
    /// Per cent, the newest last.
    pressure: VecDeque<f64>,
    decreasing: Option<Duration>,
    /// So many may run now.
    window: usize,
    changed: Duration,
    usage: f64,
}

impl Buck2 {
    /// With as many jobs as processors.
    pub fn new(case: &Case) -> Buck2 {
        Buck2 {
            pool: Pool::new(case.plans.len()),
            jobs: case.jobs as usize,
            cap: case.first_room(),
            look: Duration::ZERO,
            pressure: VecDeque::new(),
            decreasing: None,
            window: case.jobs as usize,
            changed: Duration::ZERO,
            usage: 0.0,
        }
    }

    fn mean(&self, looks: usize) -> f64 {
        let newest = self.pressure.iter().rev().take(looks);
        newest.sum::<f64>() / looks as f64
    }

    fn sense(&mut self, now: Duration, reading: &Reading) {
        self.look = now + TICK;
        self.usage = reading.usage.0 as f64;
        let over = (self.usage / self.cap - 0.9) / 0.1;
        self.pressure.push_back(100.0 * over.clamp(0.0, 1.0));
        if self.pressure.len() > 2 * THIRTY {
            self.pressure.pop_front();
        }
        match self.decreasing {
            None if self.mean(FIVE) > 10.0 => self.decreasing = Some(now),
            Some(_) if self.mean(THIRTY) < 5.0 => self.decreasing = None,
            _ => {}
        }
        match self.decreasing {
            Some(since) => self.decrease(now, since),
            None => self.increase(now),
        }
    }

    fn decrease(&mut self, now: Duration, since: Duration) {
        let p = self.mean(TEN);
        let future = f64::min((100.0 + p) / 2.0, 1.5 * p);
        let mean = self.mean(2 * THIRTY);
        let running = self.pool.running.len();
        if future <= OOMD || running < 2 {
            return;
        }
        // Seconds until the mean of a minute is over the line, if it goes on like this.
        let left = 60.0 * (OOMD - mean).max(0.0) / (future - mean).max(1.0);
        let interval = left / ((running - 1) as f64 / 2.0).ceil();
        if now.saturating_sub(since.max(self.changed)).as_secs_f64() >= interval
            && let Some(youngest) = self.pool.running.last()
        {
            self.pool.order(Effect::Kill(*youngest));
            (self.window, self.changed) = (running - 1, now);
        }
    }

    fn increase(&mut self, now: Duration) {
        let need = f64::min((1u64 << 30) as f64, self.cap / 5.0);
        if self.window < self.jobs
            && now.saturating_sub(self.changed) >= WAKE_EVERY
            && self.usage + need < self.cap
        {
            (self.window, self.changed) = (self.window + 1, now);
        }
    }
}

impl Law for Buck2 {
    fn step(&mut self, now: Duration, input: Input) -> Vec<Effect> {
        match &input {
            Input::Ended(end) => self.pool.ended(end),
            Input::Sense(reading) => self.sense(now, reading),
            _ => {}
        }
        while self.pool.running.len() < self.window.max(1) && self.pool.start() {}
        self.pool.orders()
    }

    fn next_look(&self) -> Option<Duration> {
        Some(self.look)
    }
}
