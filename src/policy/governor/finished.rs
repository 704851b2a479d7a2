//! Finished jobs, the oldest first, and which of them were once as a running one is now.
//!
//! That is asked for each running job at each look, so they are kept by column, each in one piece, and not by job: the
//! question is one pass over four columns.
//!
//! ```text
//!                 peak  duration  passed 1 MiB  passed 1.25 MiB ...   (age at which it did, or never)
//! job 0   oldest   ...    ...         ...             ...
//! job 1            ...    ...         ...             ...
//! ```

use super::estimate::NEARLY;
use super::job::Job;
use super::track::place;
use crate::policy::tuning::REMEMBERED;

/// Jobs that came to their end by themselves, at most [`REMEMBERED`] of them.
#[derive(Debug, Clone, Default)]
pub(super) struct Finished {
    /// So many of the oldest are forgotten, and stay in their columns until they are half of them.
    forgotten: usize,
    peaks: Vec<f64>,
    durations: Vec<f64>,
    /// Processors that they kept busy.
    cpus: Vec<Option<f64>>,
    /// For each place of the grid of sizes: the ages at which they went beyond it, infinite of those that did not.
    passed: Vec<Vec<f64>>,
    /// The same of a place that all are beyond, and of one that nobody is.
    at_once: Vec<f64>,
    never: Vec<f64>,
}

impl Finished {
    pub fn len(&self) -> usize {
        self.peaks.len() - self.forgotten
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn push(&mut self, job: &Job) {
        let ages = job.now.track.ages();
        while self.passed.len() < ages.len() {
            self.passed.push(self.never.clone());
        }
        for (place, passed) in self.passed.iter_mut().enumerate() {
            passed.push(ages.get(place).copied().unwrap_or(f64::INFINITY));
        }
        self.peaks.push(job.now.top);
        self.durations.push(job.now.age);
        self.cpus.push(job.now.cpus);
        self.at_once.push(0.0);
        self.never.push(f64::INFINITY);
    }

    /// Forgets the oldest.
    pub fn forget(&mut self) {
        if self.is_empty() {
            return;
        }
        self.forgotten += 1;
        if self.forgotten < self.len() {
            return;
        }
        let forgotten = ..std::mem::take(&mut self.forgotten);
        self.cpus.drain(forgotten);
        let columns = [&mut self.peaks, &mut self.durations, &mut self.at_once, &mut self.never];
        for column in columns.into_iter().chain(&mut self.passed) {
            column.drain(forgotten);
        }
    }

    /// Peaks of all, the newest first.
    pub fn peaks(&self) -> impl Iterator<Item = f64> {
        self.known(&self.peaks).iter().rev().copied()
    }

    /// Peaks of those that came to `size`, or nearly.
    pub fn as_large(&self, size: f64) -> impl Iterator<Item = f64> {
        self.peaks().filter(move |peak| *peak >= NEARLY * size)
    }

    /// Processors that were measured, the newest first.
    pub fn cpus(&self) -> impl Iterator<Item = f64> {
        self.known(&self.cpus).iter().rev().filter_map(|cpus| *cpus)
    }

    /// Peaks of those that had `job`'s size at its age, growing or standing still as it does, the newest first. `near`: to
    /// note in who has to be looked at twice.
    pub fn alike<'a>(
        &'a self,
        job: &Job,
        tick: f64,
        near: &'a mut [u16; REMEMBERED],
    ) -> impl Iterator<Item = f64> + 'a {
        let (age, size, at) = (job.now.age, NEARLY * job.now.top, job.now.track.place());
        let (from, to) = (0.7 * age - 2.0 * tick, 1.4 * age + 2.0 * tick);
        let growing = job.is_growing(tick);
        let smaller = at.checked_sub(2).map_or(&self.at_once, |place| self.passed(place));
        let (smaller, larger) = (self.known(smaller), self.known(self.passed(at + 1)));
        let (peaks, durations) = (self.known(&self.peaks), self.known(&self.durations));
        let rows = peaks.iter().zip(durations).zip(smaller.iter().zip(larger));
        let mut count = 0;
        for (number, ((peak, duration), (smaller, larger))) in (0..).zip(rows) {
            // Whoever is not near is written over: without a branch, which no processor could foresee.
            near[count] = number;
            let lasted = *duration * 1.3 + 2.0 * tick >= age;
            count += usize::from((*peak >= size) & lasted & (*larger > from) & (*smaller <= to));
        }
        let near = near[..count].iter().rev().map(|number| usize::from(*number));
        let same = near.filter(move |number| growing || self.stood_still(*number, at + 1, from, age));
        same.map(|number| peaks[number])
    }

    /// Peak and duration of each, and when it went beyond `size` if it did, the newest first.
    pub fn against(&self, size: f64) -> impl Iterator<Item = (f64, f64, Option<f64>)> {
        let (peaks, durations) = (self.known(&self.peaks), self.known(&self.durations));
        let rows = peaks.iter().zip(durations).zip(self.known(self.passed(place(size)))).rev();
        rows.map(|((peak, duration), passed)| (*peak, *duration, passed.is_finite().then_some(*passed)))
    }

    /// Whether it went beyond less than two places between these ages; `at`: a place beyond which it was not before.
    fn stood_still(&self, number: usize, at: usize, from: f64, age: f64) -> bool {
        let passed = |place: usize| self.passed(place)[self.forgotten + number];
        let next = (0..at).rev().find(|place| passed(*place) <= from).map_or(0, |place| place + 1);
        passed(next + 1) > age
    }

    fn passed(&self, place: usize) -> &Vec<f64> {
        self.passed.get(place).unwrap_or(&self.never)
    }

    /// Of a column, those that are not forgotten.
    fn known<'a, T>(&self, column: &'a [T]) -> &'a [T] {
        &column[self.forgotten..]
    }
}
