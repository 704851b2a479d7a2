//! Jobs that a job of the run brings along in mid-run, and waits for: the test binaries that `cargo test` starts.
//!
//! ```text
//! driver runs ── brings one along ──▶ waiting ──▶ running ──▶ done          as any other, but:
//!      │                                 │           │
//!      └── ends ────────────────────────▶ dropped    └──▶ killed
//! ```
//!
//! - One of them at a time rides in its driver's place, which only waits meanwhile: nothing deadlocks with one place.
//!   So there is a place more than was asked for, and no group is needed that the driver has.
//! - None runs again, and none ends the run by its failure: that is the driver's affair.
//! - Where the driver goes on only once all that it has asked for run (pytest-xdist), none of them waits: each brings
//!   a place of its own.
//! - It is asked to end by its driver, and made to by us.

use super::attempt::Running;
use super::messages::{Effect, End};
use super::permits::Said;
use super::queue::Waiting;
use super::{JobSpec, Scheduler};
use crate::model::{AttemptId, Cause, JobId, Outcome};
use crate::policy::verdict::{Ended, Judgement};

impl Scheduler {
    /// The number of the next job that is brought along.
    pub fn next_job(&self) -> JobId {
        JobId(u32::try_from(self.jobs.len()).unwrap_or(u32::MAX))
    }

    /// A driver brings a job along.
    pub(super) fn add(&mut self, mut spec: JobSpec) {
        let job = self.next_job();
        let driver = spec.driver.and_then(|driver| self.jobs.get(driver.0 as usize));
        let (taken, weight) = driver.map_or((&[][..], 0), |driver| (&driver.groups[..], driver.weight));
        spec.groups.retain(|group| !taken.contains(group));
        let (most, _) = self.claims.limits();
        spec.weight = spec.weight.min(most.saturating_sub(weight)).max(1);
        if spec.at_once {
            (spec.weight, spec.groups) = (1, Vec::new());
        }
        self.jobs.push(spec);
        self.queue.push_back(Waiting::first(job));
        self.asked = false;
        if !self.drives {
            self.drives = true;
            if self.allowed.is_some() {
                self.allow(self.allowed);
            }
        }
    }

    /// One that waits wants nothing any more.
    pub(super) fn forget(&mut self, job: JobId) {
        let Some(at) = self.queue.iter().position(|waiting| waiting.id.job == job) else { return };
        if let Some(gone) = self.queue.remove(at) {
            self.prepared.remove(&gone.id);
            if gone.wanted {
                self.tell(Said::Withdraw { job, again: false });
            }
        }
    }

    /// A job is over, whatever comes next: those that it has brought along are nobody's any more. `ended`: why we ended it, if we
    /// did.
    pub(super) fn abandon(&mut self, driver: JobId, ended: Option<Ended>, effects: &mut Vec<Effect>) {
        if !self.drives {
            return;
        }
        let is_its = |job: JobId| self.jobs[job.0 as usize].driver == Some(driver);
        let waiting: Vec<JobId> =
            self.queue.iter().map(|waiting| waiting.id.job).filter(|job| is_its(*job)).collect();
        let running: Vec<AttemptId> =
            self.running.iter().map(|running| running.waiting.id).filter(|id| is_its(id.job)).collect();
        waiting.into_iter().for_each(|job| self.forget(job));
        let because = if ended.is_some_and(is_timeout) { Ended::CommandTimeout } else { Ended::Abandoned };
        for id in running {
            if let Some(at) = self.running.iter().position(|running| running.waiting.id == id) {
                let why = self.running[at].ended_by_us().unwrap_or(because);
                self.kill(at, why, effects);
            }
        }
    }

    /// Whether the time of its driver is up: what ends it now, ends it for that.
    pub(super) fn goes_with_its_driver(&self, job: JobId) -> bool {
        let driver = self.jobs[job.0 as usize].driver;
        let is_driver = |running: &&Running| driver == Some(running.waiting.id.job);
        self.running.iter().find(is_driver).and_then(Running::ended_by_us).is_some_and(is_timeout)
    }

    /// Whether it has brought along others. They are its own doing, and it does not run again for their sake: all that it has
    /// done so far would be done twice.
    pub(super) fn is_driver(&self, job: JobId) -> bool {
        self.drives && self.jobs[job.0 as usize].driver.is_none()
    }

    /// Whether only its driver saw how it ended: it is no child of ours, and not every kernel tells.
    pub(super) fn is_unseen(&self, end: &End, judgement: &Judgement) -> bool {
        self.jobs[end.id.job.0 as usize].driver.is_some()
            && end.exit.is_none()
            && end.spawn_error.is_none()
            && !end.evidence.unkillable
            && matches!(judgement.cause, Cause::Own | Cause::Interrupted)
            && matches!(judgement.outcome, Outcome::Signaled | Outcome::Exited)
    }
}

fn is_timeout(ended: Ended) -> bool {
    matches!(ended, Ended::Timeout | Ended::Idle | Ended::RunTimeout)
}
