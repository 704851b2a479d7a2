//! Those that wait: in the order of the list at first, then in the order in which they first started.

use std::collections::VecDeque;
use std::time::Duration;

use super::retry::Settling;
use crate::model::{AttemptId, JobId};

/// A job between two attempts, or before its first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Waiting {
    pub id: AttemptId,
    /// Attempts that failed by their own doing.
    pub failures: u32,
    /// Attempts that ended since there was no room.
    pub evictions: u32,
    /// Attempts that ended by something outside.
    pub from_outside: u32,
    /// Rank of its first start; `None` before. Who was first goes first again.
    pub seniority: Option<u32>,
    /// What it still waits for, as a retry.
    pub settling: Option<Settling>,
    /// Whether it was asked for, and stands in line for its permit.
    pub wanted: bool,
}

impl Waiting {
    pub fn first(job: JobId) -> Waiting {
        Waiting {
            id: AttemptId { job, number: 1 },
            failures: 0,
            evictions: 0,
            from_outside: 0,
            seniority: None,
            settling: None,
            wanted: false,
        }
    }

    /// The same job's next attempt.
    pub fn again(self) -> Waiting {
        Waiting {
            id: AttemptId { number: self.id.number + 1, ..self.id },
            settling: None,
            wanted: false,
            ..self
        }
    }

    /// Whether, without a governor, it runs alone: nobody else's memory is in its way then.
    pub fn alone(self) -> bool {
        self.evictions + self.from_outside > 0
    }

    /// Whether it has nothing to wait for but its turn.
    pub fn is_ready(self, now: Duration, calm: bool) -> bool {
        self.settling.is_none_or(|settling| settling.is_over(now, calm))
    }
}

/// Those that have had an attempt. They stand before all others.
pub(super) fn begun(queue: &VecDeque<Waiting>) -> impl Iterator<Item = &Waiting> {
    queue.iter().take_while(|waiting| waiting.seniority.is_some())
}

/// Puts it before all that have not started yet, behind those that started before it.
pub(super) fn requeue(queue: &mut VecDeque<Waiting>, again: Waiting) {
    let is_before = |other: &Waiting| other.seniority.is_some() && other.seniority < again.seniority;
    let place = queue.iter().take_while(|other| is_before(other)).count();
    queue.insert(place, again);
}
