//! How far each run's `memory.max` is lowered where no group holds all runs.
//!
//! ```text
//! much is free     cap = what it holds + all that is free
//! little is free   cap = what it holds + its part of that     all caps together: the budget
//! ```
//!
//! Little is what all processors could fill until we look again: of that no two runs may count on the same byte. Half of it is
//! for all alike, half for those that grow. A job that is to be frozen grows on until its run has done that, out of what is kept
//! back of the budget; so the law has frozen or evicted long before the kernel has to kill. A run whose part is less than a MiB
//! has that all the same (`LEAST`), beyond the budget.

use std::time::Duration;

use crate::model::Bytes;
use crate::policy::tuning::FILL_RATE;

/// Between two looks near the ceiling, and the most by which it is believed that they come late.
const LOOKS: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(100));

/// A run has so much at least: it may have grown by that since it was looked at, and a write below what it holds kills.
const LEAST: u64 = 1 << 20;

/// All runs together.
#[derive(Debug, Clone, Copy)]
pub struct All {
    /// What they may hold, with what is kept back.
    pub budget: Bytes,
    /// What they hold and can't be taken back.
    pub usage: u64,
    /// What they have grown by between the last two looks.
    pub growth: u64,
    /// How many there are.
    pub runs: u64,
    /// The time between the last two looks.
    pub interval: Duration,
    /// Processors of the machine.
    pub cpus: u32,
}

impl All {
    /// The `memory.max` of a run that holds `usage` and has grown by `growth` between the last two looks.
    pub fn cap(&self, usage: u64, growth: u64) -> Bytes {
        let free = self.budget.0.saturating_sub(self.usage);
        let room = if free >= self.fill() { free } else { self.part(free, growth) };
        Bytes(usage.saturating_add(room.max(LEAST)))
    }

    /// What all processors could fill until the next look.
    fn fill(&self) -> u64 {
        let interval = self.interval.clamp(LOOKS.0, LOOKS.1);
        (f64::from(self.cpus) * FILL_RATE as f64 * interval.as_secs_f64()) as u64
    }

    fn part(&self, free: u64, growth: u64) -> u64 {
        let alike = (self.growth / self.runs.max(1)).max(LEAST);
        let (own, all) = (growth + alike, self.growth + self.runs * alike);
        u64::try_from(u128::from(free) * u128::from(own) / u128::from(all.max(1))).unwrap_or(free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    /// In MiB, with runs that hold and have grown by so much.
    fn caps(budget: u64, runs: &[(u64, u64)]) -> Vec<u64> {
        let all = All {
            budget: Bytes(budget * MIB),
            usage: runs.iter().map(|run| run.0 * MIB).sum(),
            growth: runs.iter().map(|run| run.1 * MIB).sum(),
            runs: runs.len() as u64,
            interval: Duration::from_millis(10),
            cpus: 2,
        };
        runs.iter().map(|(usage, growth)| all.cap(usage * MIB, growth * MIB).0 / MIB).collect()
    }

    #[test]
    fn where_much_is_free_each_run_may_have_it() {
        assert_eq!(caps(1000, &[(100, 0), (300, 20)]), [700, 900]);
        assert_eq!(caps(1000, &[(0, 0)]), [1000]);
    }

    #[test]
    fn where_little_is_free_those_that_grow_have_more_of_it() {
        assert_eq!(caps(1000, &[(300, 10), (670, 0)]), [322, 677]);
        assert_eq!(caps(1000, &[(300, 0), (670, 0)]), [315, 685]);
    }

    #[test]
    fn where_nothing_is_free_no_cap_is_below_what_is_held() {
        assert_eq!(caps(1000, &[(300, 10), (800, 0)]), [301, 801]);
    }

    proptest! {
        #[test]
        fn where_little_is_free_all_caps_together_are_the_budget(
            free in 10..40_u64,
            runs in prop::collection::vec((0..250_u64, 0..100_u64), 1..8),
        ) {
            let budget = free + runs.iter().map(|run| run.0).sum::<u64>();
            // Each has a MiB at least.
            prop_assert!(caps(budget, &runs).iter().sum::<u64>() <= budget + runs.len() as u64);
        }
    }
}
