//! Additive increase, multiplicative decrease: one more a second while all is well, half as many when it is not, and
//! lines of memory that must stay free (15, 10 and 6 % of the machine, half as much again without swap).

use std::time::Duration;

use super::pool::Pool;
use crate::model::AttemptId;
use crate::model::reading::Reading;
use crate::policy::scheduler::{Effect, Input};
use crate::simulate::case::Case;
use crate::simulate::machine::Swap;
use crate::simulate::play::Law;

const TICK: Duration = Duration::from_millis(50);
const WELL_FOR: Duration = Duration::from_secs(3);
const WIDENS: Duration = Duration::from_secs(1);
const HALVES: Duration = Duration::from_secs(2);
const FROZEN_FOR: Duration = Duration::from_secs(5);

/// A window that widens slowly and halves at once.
#[derive(Debug)]
pub struct Aimd {
    pool: Pool,
    jobs: usize,
    /// Yellow, orange, red: bytes of the budget that must stay free.
    lines: [f64; 3],
    cap: f64,
    look: Duration,
    window: usize,
    well_since: Option<Duration>,
    changed: Duration,
    frozen: Vec<(AttemptId, Duration)>,
    held: bool,
}

impl Aimd {
    /// With as many jobs as processors at most.
    pub fn new(case: &Case) -> Aimd {
        let cap = case.first_room();
        let more = if case.hardware.swap == Swap::None { 1.5 } else { 1.0 };
        Aimd {
            pool: Pool::new(case.plans.len()),
            jobs: case.jobs as usize,
            lines: [0.15, 0.10, 0.06].map(|part| part * more * cap),
            cap,
            look: Duration::ZERO,
            window: 1,
            well_since: None,
            changed: Duration::ZERO,
            frozen: Vec::new(),
            held: false,
        }
    }

    fn sense(&mut self, now: Duration, reading: &Reading) {
        self.look = now + TICK;
        let available = reading.available.map_or(f64::INFINITY, |free| free.0 as f64);
        let left = (self.cap - reading.usage.0 as f64).min(available);
        let [yellow, orange, red] = self.lines;
        self.held = left < yellow;
        if left > yellow {
            self.is_well(now);
        } else {
            self.well_since = None;
        }
        let stale = self.frozen.first().is_some_and(|(_, since)| now.saturating_sub(*since) > FROZEN_FOR);
        let may = now.saturating_sub(self.changed) >= HALVES;
        if (left < red || stale) && may {
            self.kill(now);
        } else if left < orange && may {
            self.halve(now);
        }
    }

    fn is_well(&mut self, now: Duration) {
        let since = *self.well_since.get_or_insert(now);
        if let Some((id, _)) = (now.saturating_sub(since) >= TICK).then(|| self.frozen.pop()).flatten() {
            self.pool.order(Effect::Thaw(id));
        }
        let long = now.saturating_sub(since) >= WELL_FOR || self.changed == Duration::ZERO;
        if long && now.saturating_sub(self.changed) >= WIDENS && self.window < self.jobs {
            (self.window, self.changed) = (self.window + 1, now);
        }
    }

    fn halve(&mut self, now: Duration) {
        (self.window, self.changed) = ((self.window / 2).max(1), now);
        for id in self.pool.running.iter().skip(self.window) {
            if self.frozen.iter().all(|(frozen, _)| frozen != id) {
                self.frozen.push((*id, now));
            }
        }
        let orders: Vec<Effect> = self.frozen.iter().map(|(id, _)| Effect::Freeze(*id)).collect();
        orders.into_iter().for_each(|order| self.pool.order(order));
    }

    fn kill(&mut self, now: Duration) {
        (self.window, self.changed) = ((self.window / 2).max(1), now);
        if self.pool.running.len() > 1
            && let Some(youngest) = self.pool.running.last()
        {
            self.pool.order(Effect::Kill(*youngest));
        }
    }

    /// Whoever is alone must not stand still.
    fn free_the_last(&mut self) {
        let frozen = |id: &AttemptId| self.frozen.iter().any(|(frozen, _)| frozen == id);
        if !self.pool.running.is_empty() && self.pool.running.iter().all(frozen) {
            let (id, _) = self.frozen.remove(0);
            self.pool.order(Effect::Thaw(id));
        }
    }
}

impl Law for Aimd {
    fn step(&mut self, now: Duration, input: Input) -> Vec<Effect> {
        match &input {
            Input::Ended(end) => {
                self.frozen.retain(|(id, _)| *id != end.id);
                self.pool.ended(end);
            }
            Input::Sense(reading) => self.sense(now, reading),
            _ => {}
        }
        let may = |law: &Aimd| law.pool.running.is_empty() || (!law.held && law.frozen.is_empty());
        while self.pool.running.len() < self.window && may(self) && self.pool.start() {}
        self.free_the_last();
        self.pool.orders()
    }

    fn next_look(&self) -> Option<Duration> {
        Some(self.look)
    }
}
