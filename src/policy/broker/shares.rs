//! Who is served next, and how much each may count on: weighted max-min over memory and jobs.
//!
//! What one holds is the larger of its part of the memory and its part of the jobs (dominant resource fairness). Whoever
//! has had least of it for its weight is served next. That is looked at over time: of 8 places three equal users can't have
//! 2.67 each, but they can have two and three by turns.
//!
//! ```text
//! served += held / weight × time        who waits with the smallest  served + AHEAD × held / weight  is next
//!           └ nobody lags by more than CREDIT: what was not asked for is not owed
//! ```

use std::cmp::Ordering;
use std::time::Duration;

use crate::policy::tuning::{SHARE_AHEAD, SHARE_CREDIT};

/// What one user, or one run, has had.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Account {
    weight: f64,
    /// Seconds of all that there is, over the weight: of the box for a user, of what its user has for a run.
    served: f64,
    /// Part of all that it holds now.
    held: f64,
}

impl Account {
    /// For somebody who counts for so much, and starts level with `served`, which others have had. A weight that is no
    /// positive number counts as the least.
    pub fn new(weight: f64, served: f64) -> Account {
        Account { weight: sane(weight), served, held: 0.0 }
    }

    /// From now on it counts for so much.
    pub fn set_weight(&mut self, weight: f64) {
        self.weight = sane(weight);
    }

    /// For how much it counts.
    pub fn weight(&self) -> f64 {
        self.weight
    }

    /// Seconds of all that there is that it has had, over its weight.
    pub fn served(&self) -> f64 {
        self.served
    }

    /// Part of all that it holds now: the larger one of memory and jobs.
    pub fn held(&self) -> f64 {
        self.held
    }

    /// It holds so much of the memory and so much of the jobs now, in parts of all.
    pub fn hold(&mut self, memory: f64, jobs: f64) {
        self.held = memory.max(jobs);
    }

    /// What it holds is charged to it for so long.
    pub fn pass(&mut self, time: Duration) {
        self.served += self.held / self.weight * time.as_secs_f64();
    }

    /// `lead`: what the one who has had most has had. Nobody stays behind it by more than the credit.
    pub fn keep_up(&mut self, lead: f64) {
        self.served = self.served.max(lead - SHARE_CREDIT.as_secs_f64());
    }

    /// The smaller, the sooner it is its turn.
    pub fn turn(&self) -> f64 {
        self.served + SHARE_AHEAD.as_secs_f64() * self.held / self.weight
    }

    /// Whose turn is sooner.
    pub fn before(&self, other: &Account) -> Ordering {
        self.turn().total_cmp(&other.turn())
    }
}

fn sane(weight: f64) -> f64 {
    // A weight of 0 would never be served, and NaN would be served first or last at random.
    if weight.is_finite() && weight > 0.0 { weight.clamp(0.001, 1000.0) } else { 0.001 }
}

/// One of those among whom something is divided.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Claim {
    /// For how much it counts.
    pub weight: f64,
    /// How much it could use now.
    pub demand: f64,
    /// How much it may have.
    pub most: f64,
}

/// Divides `capacity`: first nobody gets more than it could use, and what it leaves goes to the others by their weights;
/// then what nobody could use now goes to all that may have it. The sum is the capacity, or all that they may have.
pub fn divide(capacity: f64, claims: &[Claim]) -> Vec<f64> {
    let wanted: Vec<(f64, f64)> =
        claims.iter().map(|claim| (claim.weight, claim.demand.min(claim.most))).collect();
    let mut given = fill(capacity, &wanted);
    let allowed: Vec<(f64, f64)> =
        claims.iter().zip(&given).map(|(claim, given)| (claim.weight, claim.most - given)).collect();
    let rest = fill(capacity - given.iter().sum::<f64>(), &allowed);
    given.iter_mut().zip(rest).for_each(|(given, more)| *given += more);
    given
}

/// Divides by weights among those who take so much at most: `(weight, most)`.
fn fill(capacity: f64, takers: &[(f64, f64)]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..takers.len()).collect();
    let level = |at: &usize| takers[*at].1.max(0.0) / sane(takers[*at].0);
    // Who could use least for its weight is satisfied first.
    order.sort_by(|a, b| level(a).total_cmp(&level(b)));
    let mut left = capacity.max(0.0);
    let mut weights: f64 = takers.iter().map(|(weight, _)| sane(*weight)).sum();
    let mut given = vec![0.0; takers.len()];
    for at in order {
        let weight = sane(takers[at].0);
        let part = if weights > 0.0 { (left * weight / weights).min(left) } else { left };
        given[at] = takers[at].1.max(0.0).min(part);
        left -= given[at];
        weights -= weight;
    }
    given
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn claim(weight: f64, demand: f64) -> Claim {
        Claim { weight, demand, most: f64::INFINITY }
    }

    #[test]
    fn what_one_can_not_use_goes_to_the_others_by_their_weights() {
        let given = divide(12.0, &[claim(1.0, 100.0), claim(2.0, 100.0), claim(1.0, 0.0)]);
        assert_eq!(given, [4.0, 8.0, 0.0]);
        assert_eq!(divide(12.0, &[claim(1.0, 2.0), claim(1.0, 100.0)]), [2.0, 10.0]);
        assert_eq!(divide(12.0, &[]), [0.0; 0]);
    }

    #[test]
    fn what_nobody_could_use_now_goes_to_all_that_may_have_it() {
        assert_eq!(divide(12.0, &[claim(1.0, 2.0), claim(2.0, 4.0)]), [4.0, 8.0]);
        let capped = Claim { most: 3.0, ..claim(1.0, 2.0) };
        assert_eq!(divide(12.0, &[capped, claim(1.0, 1.0)]), [3.0, 9.0]);
        assert_eq!(divide(12.0, &[capped, capped]), [3.0, 3.0]);
        assert_eq!(divide(2.0, &[capped, capped]), [1.0, 1.0]);
    }

    #[test]
    fn a_weight_that_is_none_takes_nothing_from_the_others() {
        for weight in [f64::NAN, f64::INFINITY, -1.0, 0.0] {
            let given = divide(10.0, &[claim(weight, 100.0), claim(1.0, 100.0)]);
            assert!(given[0] < 0.1 && given[1] > 9.9, "{weight}: {given:?}");
        }
    }

    #[test]
    fn who_was_away_is_not_owed_all_of_that_time() {
        let (mut busy, mut away) = (Account::new(1.0, 0.0), Account::new(1.0, 0.0));
        busy.hold(0.2, 1.0);
        busy.pass(Duration::from_secs(3600));
        away.keep_up(busy.served());
        assert_eq!(away.before(&busy), Ordering::Less);
        assert_eq!(busy.served() - away.served(), SHARE_CREDIT.as_secs_f64());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Max-min: more for one could only come from another that has no more than it, for its weight.
        #[test]
        fn nobody_envies_anybody(
            capacity in 0.0f64..1000.0,
            claims in prop::collection::vec((0.1f64..10.0, 0.0f64..500.0), 1..12),
        ) {
            let claims: Vec<Claim> =
                claims.into_iter().map(|(weight, demand)| Claim { most: demand, ..claim(weight, demand) }).collect();
            let given = divide(capacity, &claims);
            let (sum, wanted) = (given.iter().sum::<f64>(), claims.iter().map(|claim| claim.demand).sum::<f64>());
            prop_assert!((sum - capacity.min(wanted)).abs() < 1e-6, "{sum} of {capacity}");
            for (one, mine) in claims.iter().zip(&given) {
                prop_assert!(*mine <= one.demand + 1e-9);
                let content = *mine >= one.demand - 1e-6;
                let envied = claims.iter().zip(&given).any(|(other, theirs)| {
                    theirs / other.weight > mine / one.weight + 1e-6
                });
                prop_assert!(content || !envied, "{given:?} of {claims:?}");
            }
        }
    }
}
