//! How large will a job become? From finished jobs that had its size at its age.
//!
//! ```text
//! evicted too often ─▶ all of the budget      declared ─▶ what was declared, until the plateau says better
//! evicted           ─▶ those above the size at which it was
//! alike of its group ─▶ else alike of all ─▶ else a multiple of its size while it grows
//! ```

use std::collections::{BTreeMap, VecDeque};

use super::finished::Finished;
use super::job::Job;
use crate::policy::tuning::{
    ALONE_AFTER, BET, EVICTED_GROWTH, FORGETTING, HOPE, REMEMBERED, STAYS, UNKNOWN_GROWTH,
};

/// A size that is not known exactly, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Estimate {
    /// The likeliest.
    pub mean: f64,
    /// Standard deviation.
    pub deviation: f64,
}

/// What the finished jobs of a run have taught.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    all: Finished,
    /// The group of each of them, the oldest first.
    order: VecDeque<u32>,
    groups: BTreeMap<u32, Group>,
    /// What one that has not begun comes to, whatever its group.
    fresh: Option<Estimate>,
}

/// What one group has taught: what is asked at each look is put together when it is learnt.
#[derive(Debug, Clone, Default)]
struct Group {
    finished: Finished,
    fresh: Option<Estimate>,
    cpus: Option<f64>,
}

/// Peaks this near to a size are not below it: a plateau does not belong to the next larger kind.
pub(super) const NEARLY: f64 = 0.95;

/// Of so many of the newest a bet is made.
const NEWEST: usize = 32;

impl Estimate {
    /// Drawn towards `prior`, as if so many more had come to that. `count`: how many it was made of.
    fn believed(self, count: f64, doubts: f64, prior: f64) -> Estimate {
        let part = count / (count + doubts);
        Estimate { mean: prior + part * (self.mean - prior), deviation: part * self.deviation }
    }
}

impl Known {
    /// Takes in a job that came to its end by itself.
    pub fn learn(&mut self, job: &Job) {
        if self.order.len() == REMEMBERED {
            self.forget();
        }
        self.order.push_back(job.group);
        self.all.push(job);
        self.fresh = weigh(self.all.peaks(), 3).map(|(estimate, _)| estimate);
        let group = self.groups.entry(job.group).or_default();
        group.finished.push(job);
        group.sum_up();
    }

    fn forget(&mut self) {
        let Some(oldest) = self.order.pop_front() else { return };
        self.all.forget();
        let Some(group) = self.groups.get_mut(&oldest) else { return };
        group.finished.forget();
        if group.finished.is_empty() {
            self.groups.remove(&oldest);
        } else {
            group.sum_up();
        }
    }

    /// Processors that a job of `group` keeps busy: as the newest of them did, else one.
    pub fn cpus(&self, group: u32) -> f64 {
        self.groups.get(&group).and_then(|group| group.cpus).unwrap_or(1.0)
    }

    pub fn knows_group(&self, group: u32) -> bool {
        self.groups.contains_key(&group)
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// What a job comes to of which only the group is known: nothing was declared, and it never ran.
    pub fn estimate_fresh(&self, group: u32) -> Estimate {
        let of_group = self.groups.get(&group).and_then(|group| group.fresh);
        of_group.or(self.fresh).unwrap_or_default()
    }

    /// What `job` will come to at the most. Never below what it has.
    pub fn estimate(&self, job: &Job, budget: f64, tick: f64) -> Estimate {
        let now = &job.now;
        let estimate = self.unbounded(job, budget, tick);
        Estimate { mean: estimate.mean.max(now.memory), ..estimate }
    }

    fn unbounded(&self, job: &Job, budget: f64, tick: f64) -> Estimate {
        let now = &job.now;
        let exactly = |mean| Estimate { mean, deviation: 0.0 };
        let growing = job.is_growing(tick);
        if job.evicted >= ALONE_AFTER {
            return exactly(budget);
        }
        if let Some(declared) = job.declared {
            return match now.memory / declared {
                part if (0.75..=1.3).contains(&part) && !growing => exactly(1.02 * now.memory),
                part if part > 1.0 => exactly(now.memory * if growing { 1.25 } else { 1.05 }),
                _ => Estimate { mean: declared.max(1.1 * job.floor), deviation: 0.1 * declared },
            };
        }
        if job.floor > now.top {
            let of_group = self.of_group(job.group).and_then(|group| weigh(group.as_large(job.floor), 1));
            return of_group
                .or_else(|| weigh(self.all.as_large(job.floor), 3))
                .map_or(exactly(EVICTED_GROWTH * job.floor), |(estimate, _)| estimate);
        }
        let of_group = self.of_group(job.group);
        let alike = of_group.and_then(|group| alike(group, job, tick)).or_else(|| {
            let others = self.all.len() > of_group.map_or(0, Finished::len) && self.all.len() >= 3;
            if others { alike(&self.all, job, tick) } else { None }
        });
        match alike {
            Some((estimate, _)) if growing => estimate,
            Some((estimate, count)) => estimate.believed(count, STAYS, now.memory),
            None if growing => exactly(UNKNOWN_GROWTH * now.top),
            None => exactly(now.top),
        }
    }

    /// Whether a start into a gap that the job may not fit wins more than it loses.
    pub fn is_worth(&self, job: &Job, gap: f64) -> Option<bool> {
        match self.of_group(job.group) {
            Some(group) => Some(is_worth(group, gap)),
            None => (self.all.len() >= 3).then(|| is_worth(&self.all, gap)),
        }
    }

    fn of_group(&self, group: u32) -> Option<&Finished> {
        self.groups.get(&group).map(|group| &group.finished)
    }
}

impl Group {
    fn sum_up(&mut self) {
        self.fresh = weigh(self.finished.peaks(), 1).map(|(estimate, _)| estimate);
        let (mut measured, mut sum) = (0, 0.0);
        for cpus in self.finished.cpus().take(NEWEST) {
            measured += 1;
            sum += cpus;
        }
        self.cpus = (measured > 0).then(|| sum / f64::from(measured));
    }
}

/// What those came to that had this size at this age, growing or standing still as it does, and how many they are. If
/// there are none: of one that grows, all that came to this size; of one that stands still nothing is known.
fn alike(finished: &Finished, job: &Job, tick: f64) -> Option<(Estimate, f64)> {
    match weigh(finished.alike(job, tick, &mut [0; REMEMBERED]), 1) {
        None if job.is_growing(tick) => weigh(finished.as_large(job.now.top), 1),
        same => same,
    }
}

/// The time won by those that fit against that lost until the others outgrow the gap.
fn is_worth(finished: &Finished, gap: f64) -> bool {
    let (mut count, mut total, mut win, mut lose) = (0.0, 0.0, 0.0, 0.0);
    for (peak, duration, passed) in finished.against(gap).take(NEWEST) {
        count += 1.0;
        total += duration;
        if peak <= gap {
            win += duration;
        } else {
            lose += passed.unwrap_or(duration) + 0.05;
        }
    }
    win + HOPE * total / count > BET * lose
}

/// Mean and deviation of peaks, the newest first and weighing most; `None` of fewer than `at_least`.
fn weigh(peaks: impl Iterator<Item = f64>, at_least: usize) -> Option<(Estimate, f64)> {
    let (mut count, mut weight) = (0, 1.0);
    let (mut weights, mut sum, mut squares) = (0.0, 0.0, 0.0);
    for peak in peaks {
        weights += weight;
        sum += weight * peak;
        squares += weight * peak * peak;
        weight *= FORGETTING;
        count += 1;
    }
    if count < at_least {
        return None;
    }
    let mean = sum / weights;
    let deviation = (squares / weights - mean * mean).max(0.0).sqrt();
    let deviation = if count < 3 { deviation.max(0.15 * mean) } else { deviation };
    Some((Estimate { mean, deviation }, weights))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::reading::JobReading;
    use crate::model::{AttemptId, Bytes, JobId};
    use crate::policy::governor::JobFacts;
    use crate::policy::governor::job::Phase;

    const MIB: u64 = 1 << 20;

    fn job(declared: Option<u64>) -> Job {
        let facts = JobFacts { group: 0, memory: declared.map(Bytes), restartable: true, weight: 1 };
        let mut job = Job::new(JobId(0), &facts);
        job.start(Duration::ZERO, 1);
        job
    }

    /// Seen every 10 ms at these sizes, in MiB.
    fn grow(job: &mut Job, from: u64, sizes: &[u64]) {
        for (number, size) in (1..).zip(sizes) {
            let id = AttemptId { job: JobId(0), number: 1 };
            let seen = JobReading { id, memory: Bytes(size * MIB), cpu: None };
            job.sense(Duration::from_millis(10 * (from + number)), &seen);
        }
    }

    fn mean(known: &Known, job: &Job) -> f64 {
        known.estimate(job, 1e12, 0.01).mean / MIB as f64
    }

    proptest::proptest! {
        #[test]
        fn an_estimate_is_never_below_what_a_job_has(
            sizes in proptest::collection::vec(0u64..4000, 1..30),
            others in proptest::collection::vec(0u64..4000, 0..6),
            declared in proptest::option::of(1u64..4000),
        ) {
            let mut known = Known::default();
            for size in others {
                let mut other = job(None);
                grow(&mut other, 0, &[size / 2, size]);
                known.learn(&other);
            }
            let mut job = job(declared.map(|size| size * MIB));
            grow(&mut job, 0, &sizes);
            proptest::prop_assert!(mean(&known, &job) >= sizes[sizes.len() - 1] as f64 - 1e-6);
        }
    }

    /// What is kept of a group says the same as all of its jobs gone through, those that were forgotten left out.
    #[test]
    fn of_a_job_that_has_not_begun_its_group_is_known() {
        let mut known = Known::default();
        for number in 0..2 * REMEMBERED as u32 + 10 {
            let mut finished = job(None);
            // The first of group 3 only, so that all of it is forgotten.
            finished.group = if number < 5 { 3 } else { number % 3 };
            grow(&mut finished, 0, &[u64::from(1 + number % 3) * 10 + u64::from(number) / 100]);
            known.learn(&finished);
        }
        for group in 0..5 {
            let facts = JobFacts { group, memory: None, restartable: true, weight: 1 };
            let fresh = Job::new(JobId(0), &facts);
            assert_eq!(known.estimate_fresh(group), known.estimate(&fresh, 1e12, 0.01), "{group}");
            assert_eq!(known.knows_group(group), group < 3, "{group}");
        }
        assert!(known.estimate_fresh(0).mean < known.estimate_fresh(2).mean);
    }

    /// Whoever was forgotten tells nothing: the same is known as if only the others had ever been.
    #[test]
    fn what_is_forgotten_tells_nothing() {
        let (mut all, mut newest) = (Known::default(), Known::default());
        let (more, mut standing) = (REMEMBERED as u64 / 2 + 7, job(None));
        grow(&mut standing, 0, &[40, 60, 60, 60, 60, 60, 60, 60]);
        for number in 0..REMEMBERED as u64 + more {
            let mut finished = job(None);
            finished.group = u32::from(number % 3 == 0);
            grow(&mut finished, 0, &[40, 58 + number % 5, 60 + number % 9, 60 + number / 4, 60 + number / 2]);
            all.learn(&finished);
            if number >= more {
                newest.learn(&finished);
            }
        }
        for group in 0..3 {
            standing.group = group;
            assert_eq!(
                all.estimate(&standing, 1e12, 0.01),
                newest.estimate(&standing, 1e12, 0.01),
                "{group}"
            );
            assert_eq!(all.is_worth(&standing, 1e8), newest.is_worth(&standing, 1e8), "{group}");
        }
    }

    #[test]
    fn without_any_knowledge_a_larger_job_becomes_larger() {
        let of = |size| {
            let mut job = job(None);
            grow(&mut job, 0, &[size / 2, size]);
            mean(&Known::default(), &job)
        };
        assert!(of(10) < of(20) && of(20) < of(400));
    }

    #[test]
    fn one_late_spike_does_not_doom_all_that_stand_still() {
        let mut known = Known::default();
        let mut spike = job(None);
        grow(&mut spike, 0, &[100; 40]);
        grow(&mut spike, 40, &[400; 5]);
        known.learn(&spike);
        let mut standing = job(None);
        grow(&mut standing, 0, &[100; 20]);
        let first = mean(&known, &standing);
        assert!((150.0..250.0).contains(&first), "a third of the way: {first}");
        (0..20).for_each(|_| known.learn(&spike));
        assert!(mean(&known, &standing) > 300.0, "but many tell: {}", mean(&known, &standing));
    }

    #[test]
    fn frozen_time_makes_nobody_older() {
        let mut job = job(None);
        grow(&mut job, 0, &[10, 20]);
        let age = job.now.age;
        job.phase = Phase::Frozen { since: Duration::from_millis(20) };
        grow(&mut job, 2, &[20; 100]);
        job.thaw(Duration::from_secs(5));
        assert_eq!(job.now.age, age);
        grow(&mut job, 500, &[30]);
        assert!((job.now.age - age - 0.01).abs() < 1e-9, "{} after {age}", job.now.age);
    }
}
