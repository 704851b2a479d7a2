//! What attempts need, made before they start.

use super::attempt::Prepared;
use super::drive::Drive;
use crate::model::{AttemptId, JobId, Limits};
use crate::policy::tuning::GROUPS_AHEAD;

impl Drive {
    /// One is likely to start next.
    pub(super) fn prepare(&mut self, id: AttemptId) {
        let prepared = self.take_prepared(id);
        self.prepared.insert(id, prepared);
    }

    /// What was made for it ahead, if that fits; else it is made now.
    pub(super) fn take_prepared(&mut self, id: AttemptId) -> Prepared {
        let limits = self.shared.job(id).settings.limits;
        match self.prepared.remove(&id) {
            Some(prepared) if prepared.holds(&limits) => return prepared,
            // Made before its name was known.
            Some(other) => other.undo(&self.keeper),
            None => {}
        }
        self.shared.prepare(&self.keeper, id, limits)
    }

    /// The next that the command brings along mostly have the limits of this one: their groups are there when they come.
    pub(super) fn prepare_next(&mut self, limits: Limits) {
        let next = self.scheduler.next_job();
        let ids = (0..GROUPS_AHEAD as u32).map(|more| JobId(next.0.saturating_add(more)));
        for id in ids.map(|job| AttemptId { job, number: 1 }) {
            let make = || self.shared.prepare(&self.keeper, id, limits);
            self.prepared.entry(id).or_insert_with(make);
        }
    }
}
