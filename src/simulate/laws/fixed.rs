//! `-j N`: always so many at once, whatever happens.

use std::time::Duration;

use super::pool::Pool;
use crate::policy::scheduler::{Effect, Input};
use crate::simulate::case::Case;
use crate::simulate::play::Law;

/// Always so many at once.
#[derive(Debug)]
pub struct Fixed {
    jobs: usize,
    pool: Pool,
}

impl Fixed {
    /// `-j` so many.
    pub fn new(case: &Case, jobs: usize) -> Fixed {
        Fixed { jobs, pool: Pool::new(case.plans.len()) }
    }
}

impl Law for Fixed {
    fn step(&mut self, _: Duration, input: Input) -> Vec<Effect> {
        if let Input::Ended(end) = &input {
            self.pool.ended(end);
        }
        while self.pool.running.len() < self.jobs && self.pool.start() {}
        self.pool.orders()
    }

    fn next_look(&self) -> Option<Duration> {
        None
    }
}
