//! How large will a job become? From finished jobs that had its size at its age.
//!
//! ```text
//! evicted too often ─▶ all of the budget      declared ─▶ what was declared, until the plateau says better
//! evicted           ─▶ those above the size at which it was
//! alike of its group ─▶ else alike of all ─▶ else a multiple of its size while it grows
//! ```

use std::collections::{BTreeMap, VecDeque};

use super::job::Job;
use super::track::{Track, place};
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
    /// The newest last.
    finished: VecDeque<Finished>,
    /// How many were forgotten.
    forgotten: usize,
    groups: BTreeMap<u32, Group>,
    /// What one that has not begun comes to, whatever its group.
    fresh: Option<Estimate>,
}

/// What one group has taught: what is asked at each look is put together when it is learnt.
#[derive(Debug, Clone, Default)]
struct Group {
    /// Its finished jobs among all that ever finished, the newest last.
    numbers: VecDeque<usize>,
    fresh: Option<Estimate>,
    cpus: Option<f64>,
}

#[derive(Debug, Clone)]
struct Finished {
    group: u32,
    peak: f64,
    duration: f64,
    track: Track,
    /// Processors that it kept busy.
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
        if self.finished.len() == REMEMBERED {
            self.forget();
        }
        self.groups.entry(job.group).or_default().numbers.push_back(self.forgotten + self.finished.len());
        self.finished.push_back(Finished {
            group: job.group,
            peak: job.now.top,
            duration: job.now.age,
            track: job.now.track.clone(),
            cpus: job.now.cpus,
        });
        self.sum_up(job.group);
        self.fresh = weigh(self.all(), 3).map(|(estimate, _)| estimate);
    }

    fn forget(&mut self) {
        let Some(Finished { group, .. }) = self.finished.pop_front() else { return };
        self.forgotten += 1;
        if let Some(of_group) = self.groups.get_mut(&group) {
            of_group.numbers.pop_front();
            if of_group.numbers.is_empty() {
                self.groups.remove(&group);
                return;
            }
        }
        self.sum_up(group);
    }

    fn sum_up(&mut self, group: u32) {
        let fresh = weigh(self.of_group(group), 1).map(|(estimate, _)| estimate);
        let (mut measured, mut sum) = (0, 0.0);
        for cpus in self.of_group(group).filter_map(|finished| finished.cpus).take(NEWEST) {
            measured += 1;
            sum += cpus;
        }
        if let Some(of_group) = self.groups.get_mut(&group) {
            of_group.fresh = fresh;
            of_group.cpus = (measured > 0).then(|| sum / f64::from(measured));
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
        self.finished.is_empty()
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
            let above = |finished: &&Finished| finished.peak >= NEARLY * job.floor;
            let of_group = self.of_group(job.group).filter(above);
            let of_all = || self.all().filter(above);
            return weigh(of_group, 1)
                .or_else(|| weigh(of_all(), 3))
                .map_or(exactly(EVICTED_GROWTH * job.floor), |(estimate, _)| estimate);
        }
        let of_group = self.count(job.group);
        let alike = self.alike(self.of_group(job.group), job, tick).or_else(|| {
            let others = self.finished.len() > of_group && self.finished.len() >= 3;
            if others { self.alike(self.all(), job, tick) } else { None }
        });
        match alike {
            Some((estimate, _)) if growing => estimate,
            Some((estimate, count)) => estimate.believed(count, STAYS, now.memory),
            None if growing => exactly(UNKNOWN_GROWTH * now.top),
            None => exactly(now.top),
        }
    }

    /// Those that had this size at this age, growing or standing still as it does, and how many they are. If there
    /// are none: of one that grows, all that came to this size; of one that stands still nothing is known.
    fn alike<'a>(
        &self,
        of: impl Iterator<Item = &'a Finished> + Clone,
        job: &Job,
        tick: f64,
    ) -> Option<(Estimate, f64)> {
        let (age, top) = (job.now.age, job.now.top);
        let large = of.filter(move |finished| finished.peak >= NEARLY * top);
        let (at, growing) = (place(top), job.is_growing(tick));
        let (from, to) = (0.7 * age - 2.0 * tick, 1.4 * age + 2.0 * tick);
        let same = large.clone().filter(move |Finished { duration, track, .. }| {
            duration * 1.3 + 2.0 * tick >= age
                && !track.is_beyond(at + 1, from)
                && (at < 2 || track.is_beyond(at - 2, to))
                && (growing || !track.is_beyond(track.place_at(from) + 1, age))
        });
        match weigh(same, 1) {
            None if growing => weigh(large, 1),
            same => same,
        }
    }

    /// Whether a start into a gap that the job may not fit wins more than it loses.
    pub fn is_worth(&self, job: &Job, gap: f64) -> Option<bool> {
        if self.knows_group(job.group) {
            return Some(is_worth(self.of_group(job.group), gap));
        }
        (self.finished.len() >= 3).then(|| is_worth(self.all(), gap))
    }

    /// The newest first.
    fn all(&self) -> impl Iterator<Item = &Finished> + Clone {
        self.finished.iter().rev()
    }

    fn of_group(&self, group: u32) -> impl Iterator<Item = &Finished> + Clone {
        let numbers = self.groups.get(&group).into_iter().flat_map(|group| group.numbers.iter().rev());
        numbers.map(|number| &self.finished[number - self.forgotten])
    }

    fn count(&self, group: u32) -> usize {
        self.groups.get(&group).map_or(0, |group| group.numbers.len())
    }
}

/// The time won by those that fit against that lost until the others outgrow the gap.
fn is_worth<'a>(set: impl Iterator<Item = &'a Finished>, gap: f64) -> bool {
    let (mut count, mut total, mut win, mut lose) = (0.0, 0.0, 0.0, 0.0);
    for Finished { peak, duration, track, .. } in set.take(NEWEST) {
        count += 1.0;
        total += duration;
        if *peak <= gap {
            win += duration;
        } else {
            lose += track.age_when_passing(gap).unwrap_or(*duration) + 0.05;
        }
    }
    win + HOPE * total / count > BET * lose
}

/// Mean and deviation of peaks, the newest first and weighing most; `None` of fewer than `at_least`.
fn weigh<'a>(finished: impl Iterator<Item = &'a Finished>, at_least: usize) -> Option<(Estimate, f64)> {
    let (mut count, mut weight) = (0, 1.0);
    let (mut weights, mut sum, mut squares) = (0.0, 0.0, 0.0);
    for Finished { peak, .. } in finished {
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
