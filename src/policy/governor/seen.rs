//! What people are shown of the law: of one job, and of all.

use std::time::Duration;

use super::job::{Job, Phase};
use super::{Governor, Hold};
use crate::model::view::{JobState, Pressure};
use crate::model::{Bytes, JobId};

/// What is known of a job that runs, or of one that waits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seen {
    /// What it does.
    pub state: JobState,
    /// For how long it has worked, without the time in which it stood still.
    pub worked: Duration,
    /// What it holds.
    pub memory: Bytes,
    /// The most that it was seen to hold.
    pub peak: Bytes,
    /// Processors that it keeps busy, where that was measured.
    pub cpus: Option<f64>,
    /// How often it was evicted.
    pub evicted: u32,
}

impl Governor {
    /// What is known of a job. `None` if there is none of this number.
    pub fn seen(&self, now: Duration, job: JobId) -> Option<Seen> {
        let job = self.jobs.get(job.0 as usize)?;
        Some(Seen {
            state: state(job),
            worked: job.worked(now),
            memory: Bytes(job.now.memory as u64),
            peak: Bytes(job.now.top as u64),
            cpus: job.now.cpus,
            evicted: job.evicted,
        })
    }

    /// What all hold.
    pub fn used(&self) -> Bytes {
        self.room.usage()
    }

    /// How fast memory fills, bytes a second.
    pub fn filling(&self) -> Bytes {
        Bytes(self.room.filling as u64)
    }

    /// Why starts were held in the last step, and how many jobs are held: wait although there is a place, or were frozen.
    pub fn holds(&self) -> (Option<Hold>, u32) {
        let frozen = self.running().filter(|job| job.braked_since().is_some()).count();
        (self.standing.held_by(), self.standing.waiting() + u32::try_from(frozen).unwrap_or(u32::MAX))
    }

    /// Who is kept waiting.
    pub fn pressure(&self, now: Duration) -> Pressure {
        self.pressure.seen(now)
    }
}

fn state(job: &Job) -> JobState {
    match job.phase {
        Phase::Queued { .. } => JobState::Waiting,
        Phase::Dying => JobState::Dying,
        Phase::Frozen { .. } if job.pinned => JobState::Pinned,
        Phase::Frozen { .. } => JobState::Frozen,
        Phase::Active if job.stopping => JobState::Stopping,
        Phase::Active if !job.born => JobState::Starting,
        Phase::Active => JobState::Running,
    }
}
