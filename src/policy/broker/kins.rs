//! Kins of jobs get small numbers: what one run has learned of a kin serves the user's other runs, now and later.
//!
//! A kin is one user's: from the sizes of others' jobs nobody can tell what they test.

use std::collections::BTreeMap;

use super::messages::UserId;
use crate::policy::tuning::KINS;

#[derive(Debug, Default)]
pub(super) struct Kins {
    numbers: BTreeMap<(UserId, u64), u32>,
    /// How many jobs of each number there are now.
    jobs: BTreeMap<u32, u32>,
    next: u32,
    /// Swept when there are so many.
    sweep_at: usize,
}

impl Kins {
    /// The number of a kin, for one job more. `teaches`: whether anything is known of a number.
    pub fn join(&mut self, user: UserId, kin: u64, teaches: impl Fn(u32) -> bool) -> u32 {
        if self.numbers.len() >= self.sweep_at.max(KINS) {
            let jobs = &self.jobs;
            self.numbers.retain(|_, number| jobs.contains_key(number) || teaches(*number));
            // Twice of what had to stay, or each new one would look through all.
            self.sweep_at = 2 * self.numbers.len();
        }
        let next = &mut self.next;
        let number = *self.numbers.entry((user, kin)).or_insert_with(|| {
            *next = next.wrapping_add(1);
            *next
        });
        *self.jobs.entry(number).or_default() += 1;
        number
    }

    /// One job fewer.
    pub fn leave(&mut self, number: u32) {
        if let Some(count) = self.jobs.get_mut(&number) {
            *count -= 1;
            if *count == 0 {
                self.jobs.remove(&number);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kin_is_one_users_and_the_same_in_all_its_runs() {
        let mut kins = Kins::default();
        let one = kins.join(UserId(1), 7, |_| false);
        assert_eq!(kins.join(UserId(1), 7, |_| false), one);
        assert_ne!(kins.join(UserId(2), 7, |_| false), one);
        assert_ne!(kins.join(UserId(1), 8, |_| false), one);
    }

    #[test]
    fn kins_without_end_are_forgotten_but_for_those_that_serve() {
        let mut kins = Kins::default();
        let kept = kins.join(UserId(1), u64::MAX, |_| false);
        let taught = kins.join(UserId(1), u64::MAX - 1, |_| false);
        kins.leave(taught);
        for kin in 0..10 * KINS as u64 {
            let number = kins.join(UserId(1), kin, |number| number == taught);
            kins.leave(number);
        }
        assert!(kins.numbers.len() <= KINS && kins.jobs.len() == 1);
        assert_eq!(kins.join(UserId(1), u64::MAX, |_| false), kept);
        assert_eq!(kins.join(UserId(1), u64::MAX - 1, |_| false), taught);
    }
}
