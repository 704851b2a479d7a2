//! Whether a failure is tried again, and when.
//!
//! ```text
//! failed ── may differ, and tries are left ──▶ waits for its delay ──▶ waits until the last attempt is settled ──▶ starts
//!                                                                        (its groups are removed, pressure is
//!                                                                         below its line; or `settle_timeout`)
//! ```

use std::time::Duration;

use crate::model::retry::{Backoff, Retry, RetryOn};
use crate::model::{AttemptId, Cause, Outcome};
use crate::policy::verdict::Judgement;

/// A retry before its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Settling {
    /// When its delay is over.
    pub not_before: Duration,
    /// When it starts however things are.
    pub at_last: Duration,
    /// Whether the groups of the attempt before are removed.
    pub removed: bool,
}

impl Settling {
    /// Whether it may start. `calm`: whether pressure is below its line.
    pub fn is_over(self, now: Duration, calm: bool) -> bool {
        now >= self.not_before && (now >= self.at_last || (self.removed && calm))
    }

    /// Moves what is to come by `time`.
    pub fn put_off(&mut self, time: Duration) {
        self.not_before += time;
        self.at_last += time;
    }

    /// When to ask again although nothing has happened. `None`: all it waits for now is its turn.
    pub fn next(self, now: Duration) -> Option<Duration> {
        [self.not_before, self.at_last].into_iter().find(|at| *at > now)
    }
}

/// Whether another attempt may come to something else. `leaked`: it failed by what it left behind.
pub(super) fn may_differ(on: RetryOn, judgement: &Judgement, leaked: bool) -> bool {
    if leaked {
        return on.leak;
    }
    match (judgement.outcome, &judgement.cause) {
        (
            _,
            Cause::Interrupted
            | Cause::ByHand
            | Cause::MaxFail
            | Cause::RunTimeout
            | Cause::Abandoned
            | Cause::CommandTimeout,
        ) => false,
        (Outcome::Exited | Outcome::Pids, _) => on.fail,
        (Outcome::Signaled, _) => on.signal,
        (Outcome::Oom, _) => on.oom,
        (Outcome::Timeout, _) => on.timeout,
        // It is started anew for what it is, or can't be started at all.
        (Outcome::Evicted | Outcome::SpawnFailed, _) => false,
    }
}

/// How long to wait after failure number `failures` (from 1). `id` and `seed` make the jitter: the same for a recorded
/// run, another for each job.
pub(super) fn delay(retry: &Retry, failures: u32, id: AttemptId, seed: u64) -> Duration {
    let doublings = match retry.backoff {
        Backoff::Fixed => 0,
        Backoff::Exponential => failures.saturating_sub(1).min(31),
    };
    let full = retry.delay.saturating_mul(1 << doublings).min(retry.max_delay.max(retry.delay));
    if !retry.jitter {
        return full;
    }
    let part = mixed(seed ^ (u64::from(id.job.0) << 32 | u64::from(id.number))) as f64 / u64::MAX as f64;
    full.mul_f64(1.0 - part / 2.0)
}

/// The finalizer of splitmix64: neighbours come out far apart.
fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::JobId;

    fn retry(backoff: Backoff, jitter: bool) -> Retry {
        let (delay, max_delay) = (Duration::from_secs(1), Duration::from_secs(10));
        Retry { count: 9, delay, backoff, jitter, max_delay, on: RetryOn::ALL }
    }

    const ID: AttemptId = AttemptId { job: JobId(3), number: 1 };

    #[test]
    fn the_delay_is_fixed_or_doubles_up_to_its_cap() {
        let seconds = |backoff, failures| delay(&retry(backoff, false), failures, ID, 0).as_secs();
        assert_eq!([1, 2, 9].map(|failures| seconds(Backoff::Fixed, failures)), [1, 1, 1]);
        assert_eq!(
            [1, 2, 3, 4, 5, 400].map(|failures| seconds(Backoff::Exponential, failures)),
            [1, 2, 4, 8, 10, 10]
        );
    }

    #[test]
    fn jitter_leaves_out_up_to_a_half_and_differs_from_job_to_job() {
        let jittered: Vec<Duration> = (0..100)
            .map(|job| delay(&retry(Backoff::Fixed, true), 1, AttemptId { job: JobId(job), number: 1 }, 7))
            .collect();
        let (half, whole) = (Duration::from_millis(500), Duration::from_secs(1));
        assert!(jittered.iter().all(|delay| (half..=whole).contains(delay)), "{jittered:?}");
        assert!(jittered.iter().max().unwrap().abs_diff(*jittered.iter().min().unwrap()) > half.mul_f64(0.8));
    }

    #[test]
    fn only_what_may_differ_is_tried_again() {
        let of = |outcome, cause| Judgement { outcome, cause };
        let none = RetryOn { fail: false, timeout: false, signal: false, oom: false, leak: false };
        for (outcome, on) in [
            (Outcome::Exited, RetryOn { fail: true, ..none }),
            (Outcome::Pids, RetryOn { fail: true, ..none }),
            (Outcome::Timeout, RetryOn { timeout: true, ..none }),
            (Outcome::Signaled, RetryOn { signal: true, ..none }),
            (Outcome::Oom, RetryOn { oom: true, ..none }),
        ] {
            assert!(may_differ(on, &of(outcome, Cause::Own), false), "{outcome:?}");
            assert!(!may_differ(none, &of(outcome, Cause::Own), false), "{outcome:?}");
            assert!(!may_differ(RetryOn::ALL, &of(outcome, Cause::Interrupted), false), "{outcome:?}");
        }
        assert!(!may_differ(RetryOn::ALL, &of(Outcome::SpawnFailed, Cause::Own), false));
        assert!(may_differ(RetryOn { leak: true, ..none }, &of(Outcome::Exited, Cause::Own), true));
    }
}
