//! Jobs that come and go: one governor serves many runs, and none of them is there from the beginning.
//!
//! ```text
//! add ──▶ number ──▶ started ... ended, as often as it runs ──▶ remove ──▶ the number serves again
//! ```
//!
//! What a job taught stays when it is removed; what is known of the job itself (its seniority, the size at which it was
//! evicted) goes with it.

use std::time::Duration;

use super::job::{Growth, Job, Phase};
use super::{Ending, Governor, JobFacts};
use crate::model::governor::State;
use crate::model::{Bytes, JobId};

impl Governor {
    /// One more job, which has this number until it is [removed](Governor::remove).
    pub fn add(&mut self, facts: &JobFacts) -> JobId {
        if let Some(number) = self.free.pop_first() {
            self.jobs[number as usize] = Job::new(JobId(number), facts);
            return JobId(number);
        }
        let number = JobId(u32::try_from(self.jobs.len()).unwrap_or(u32::MAX));
        self.jobs.push(Job::new(number, facts));
        number
    }

    /// A job that will not run any more. One that runs is taken to have ended in a way that teaches nothing.
    pub fn remove(&mut self, now: Duration, job: JobId) {
        let Some(known) = self.jobs.get(job.0 as usize) else { return };
        if self.free.contains(&job.0) {
            return;
        }
        if !matches!(known.phase, Phase::Queued { .. }) {
            self.ended(now, known.attempt_id(), Ending::Otherwise);
        }
        // No attempt has this number, so that a late reading is nobody's.
        let gone = &mut self.jobs[job.0 as usize];
        (gone.attempt, gone.now) = (0, Growth::default());
        self.free.insert(job.0);
    }

    /// The budget's `memory_max` from now on; `None` where only the machine itself is the limit.
    pub fn set_budget(&mut self, budget: Option<Bytes>) {
        self.settings.budget = budget;
        self.room.set_budget(budget);
    }

    /// The budget as it is at this moment; the largest number where nothing limits it.
    pub fn budget(&self) -> Bytes {
        self.room.whole_bytes()
    }

    /// What is left of it before something is evicted.
    pub fn left(&self) -> Bytes {
        self.room.left()
    }

    /// This job waits for others from now on.
    pub fn drives(&mut self, job: JobId) {
        if let Some(known) = self.jobs.get_mut(job.0 as usize) {
            known.drives = true;
        }
    }

    /// What all that run are expected to come to together. Bets are in it as they are expected, not as they were
    /// let in, so it may be more than the budget for a moment.
    pub fn reserved(&self) -> Bytes {
        Bytes(self.running().map(reserved).sum::<f64>() as u64)
    }

    /// What one that runs is expected to come to; one that waits: what it would.
    pub fn reserved_for(&self, job: JobId) -> Bytes {
        let Some(known) = self.jobs.get(job.0 as usize) else { return Bytes(0) };
        let bytes = match known.phase {
            Phase::Queued { .. } => self.known.estimate(known, self.room.whole(), self.room.tick()).mean,
            _ => reserved(known),
        };
        Bytes(bytes as u64)
    }

    /// Whether a job of this group has finished.
    pub fn knows_group(&self, group: u32) -> bool {
        self.known.knows_group(group)
    }

    /// How things stand, as shown last.
    pub fn state(&self) -> State {
        self.standing.shown()
    }

    /// How many run, and how many of them stand still.
    pub fn counts(&self) -> (usize, usize) {
        let frozen = self.running().filter(|job| job.frozen_since().is_some()).count();
        (self.running.len(), frozen)
    }
}

/// Of one that runs.
fn reserved(job: &Job) -> f64 {
    match job.phase {
        Phase::Dying => job.now.memory,
        _ => job.estimate.mean.max(job.now.memory),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::AttemptId;
    use crate::model::reading::{JobReading, Reading};
    use crate::policy::governor::{Answer, Settings};

    fn governor() -> Governor {
        let line = Bytes::mib(32);
        let settings = Settings {
            budget: Some(Bytes::gib(1)),
            yellow: line,
            orange: line,
            red: line,
            cpus: 8,
            jobs: 8,
            max_pressure: 100,
        };
        let mut governor = Governor::new(settings, &[]);
        governor.sense(Duration::ZERO, &Reading { available: Some(Bytes::gib(4)), ..Reading::default() });
        governor
    }

    fn declared(mib: u64) -> JobFacts {
        JobFacts { group: 0, memory: Some(Bytes::mib(mib)), restartable: true, weight: 1 }
    }

    fn first(job: JobId) -> AttemptId {
        AttemptId { job, number: 1 }
    }

    #[test]
    fn who_is_removed_gives_its_room_and_its_number_to_another() {
        let mut governor = governor();
        let (one, two) = (governor.add(&declared(600)), governor.add(&declared(600)));
        governor.started(Duration::ZERO, first(one));
        assert_eq!(governor.reserved(), Bytes::mib(600));
        let mut admission = governor.admission();
        assert!(matches!(governor.ask(&mut admission, Duration::ZERO, two), Answer::Wait(_)));
        governor.remove(Duration::ZERO, one);
        governor.remove(Duration::ZERO, one);
        assert_eq!(governor.reserved(), Bytes(0));
        let mut admission = governor.admission();
        assert_eq!(governor.ask(&mut admission, Duration::ZERO, two), Answer::Start);
        assert_eq!(governor.add(&declared(1)), one);
        assert_ne!(governor.add(&declared(1)), one);
    }

    #[test]
    fn a_late_reading_of_one_that_is_gone_is_nobodys() {
        let mut governor = governor();
        let one = governor.add(&declared(600));
        governor.started(Duration::ZERO, first(one));
        governor.remove(Duration::ZERO, one);
        let again = governor.add(&declared(10));
        let seen = JobReading { id: first(again), memory: Bytes::mib(500), cpu: None };
        let reading = Reading { jobs: vec![seen], ..Reading::default() };
        governor.sense(Duration::from_millis(10), &reading);
        assert_eq!(governor.reserved_for(again), Bytes::mib(10));
    }

    #[test]
    fn a_smaller_budget_holds_what_does_not_fit_any_more() {
        let mut governor = governor();
        let (one, two) = (governor.add(&declared(300)), governor.add(&declared(300)));
        governor.started(Duration::ZERO, first(one));
        governor.set_budget(Some(Bytes::mib(500)));
        let mut admission = governor.admission();
        assert!(matches!(governor.ask(&mut admission, Duration::ZERO, two), Answer::Wait(_)));
        assert_eq!(governor.budget(), Bytes::mib(500));
    }
}
