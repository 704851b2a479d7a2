//! The slowest, the fattest and the sleepiest of those that passed: where a run's time and memory went, if it says something.
//!
//! ```text
//! run of more than 3 jobs, of at least 10 s? ── no ──▶ nothing
//!   slowest    took a tenth of the run
//!   fattest    half of its own memory_max, or a tenth of the budget
//!   sleepiest  without a processor for a tenth of the run, with one for less than a fifth of its own time
//! ```
//!
//! What failed is told of anyway, with its reason. Of a command that brings tests along, these are the jobs: it takes as long as all of them.

use std::time::Duration;

use super::paragraph::short;
use crate::model::Bytes;
use crate::model::event::{AttemptFinished, RunStarted};

/// So many of each.
const MOST: usize = 3;

/// Of a shorter run nobody wants to know.
const LONG: Duration = Duration::from_secs(10);

/// What is told of one job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standout {
    /// Its figure, with what it is to be held against.
    pub figure: String,
    /// Its name.
    pub job: String,
}

/// The three of each kind, as far as jobs have ended.
#[derive(Debug, Default)]
pub struct Standouts {
    /// Those that are done.
    jobs: usize,
    /// Whether only what a command brings along is meant.
    brought: bool,
    budget: Option<Bytes>,
    slowest: Top<Duration>,
    fattest: Top<Bytes>,
    sleepiest: Top<Duration>,
}

impl Standouts {
    /// Of this run.
    pub fn of(started: &RunStarted) -> Standouts {
        Standouts { brought: started.pass_through, budget: started.budget.memory_max, ..Standouts::default() }
    }

    /// Takes in the end of an attempt.
    pub fn note(&mut self, attempt: &AttemptFinished) {
        if attempt.verdict.is_none() || (self.brought && attempt.driver.is_none()) {
            return;
        }
        self.jobs += 1;
        if attempt.failed {
            return;
        }
        let wall = attempt.wall;
        self.slowest.note(wall, &attempt.job, || short(wall));
        if let Some(peak) = attempt.evidence.memory_peak {
            let max = attempt.limits.memory_max;
            let much = |of: Option<Bytes>, part: u64| of.is_some_and(|of| peak.0 >= of.0 / part);
            if much(max, 2) || much(self.budget, 10) {
                let of = || max.map_or(peak.to_string(), |max| format!("{peak} of {max}"));
                self.fattest.note(peak, &attempt.job, of);
            }
        }
        if let Some(worked) = attempt.evidence.cpu_time.filter(|worked| *worked < wall / 5) {
            let slept = wall - worked;
            self.sleepiest.note(slept, &attempt.job, || format!("{} of {}", short(slept), short(wall)));
        }
    }

    /// The kinds that say something of a run that took `wall`, each with its jobs.
    pub fn told(&self, wall: Duration) -> Vec<(&'static str, Vec<Standout>)> {
        if self.jobs <= MOST || wall < LONG {
            return Vec::new();
        }
        let kinds = [
            ("slowest", self.slowest.from(wall / 10)),
            ("fattest", self.fattest.from(Bytes(0))),
            ("sleepiest", self.sleepiest.from(wall / 10)),
        ];
        kinds.into_iter().filter(|(_, jobs)| !jobs.is_empty()).collect()
    }
}

/// The first few of an order, the largest first.
#[derive(Debug)]
struct Top<T>(Vec<(T, Standout)>);

impl<T> Default for Top<T> {
    fn default() -> Top<T> {
        Top(Vec::new())
    }
}

impl<T: Ord + Copy> Top<T> {
    fn note(&mut self, value: T, job: &str, figure: impl FnOnce() -> String) {
        let at = self.0.partition_point(|(other, _)| *other >= value);
        if at < MOST {
            self.0.insert(at, (value, Standout { figure: figure(), job: job.to_owned() }));
            self.0.truncate(MOST);
        }
    }

    fn from(&self, least: T) -> Vec<Standout> {
        self.0.iter().filter(|(value, _)| *value >= least).map(|(_, standout)| standout.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_three_are_kept_in_their_order() {
        let mut top = Top::default();
        for (value, job) in [(2, "b"), (9, "d"), (1, "a"), (9, "e"), (3, "c")] {
            top.note(value, job, || value.to_string());
        }
        let kept: Vec<String> = top.from(2).into_iter().map(|one| one.job + &one.figure).collect();
        assert_eq!(kept, ["d9", "e9", "c3"]);
        assert_eq!(top.from(4).len(), 2);
    }
}
