//! What single users have and had, where several are served. A label is for ever, so only so many users get one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use prometheus::{CounterVec, GaugeVec, IntCounterVec, Registry};

use super::register::{counters, gauges, int_counters};
use crate::model::view::UserView;
use crate::policy::broker::UserId;

/// Users that are told apart: the first that come. What others have is summed up as `other`.
pub const MOST_USERS: usize = 50;

const LABEL: &[&str] = &["user"];

/// All that is told of single users.
#[derive(Debug)]
pub struct Users {
    running: GaugeVec,
    waiting: GaugeVec,
    memory: GaugeVec,
    reserved: GaugeVec,
    granted: IntCounterVec,
    waited: CounterVec,
    /// Those with a label of their own.
    known: BTreeSet<UserId>,
}

impl Users {
    pub fn new(r: &Registry) -> Result<Users, prometheus::Error> {
        Ok(Users {
            running: gauges(r, "sandtest_user_jobs_running", "Jobs of a user that run now.", LABEL)?,
            waiting: gauges(
                r,
                "sandtest_user_jobs_waiting",
                "Jobs of a user that wait for a permit now.",
                LABEL,
            )?,
            memory: gauges(r, "sandtest_user_memory_bytes", "What a user's jobs hold now.", LABEL)?,
            reserved: gauges(
                r,
                "sandtest_user_reserved_bytes",
                "What a user's jobs that run are expected to come to.",
                LABEL,
            )?,
            granted: int_counters(
                r,
                "sandtest_user_permits_granted_total",
                "Permits that were granted to a user.",
                LABEL,
            )?,
            waited: counters(
                r,
                "sandtest_user_admission_wait_seconds_total",
                "Time from requests to their permits, of a user's permits together.",
                LABEL,
            )?,
            known: BTreeSet::new(),
        })
    }

    /// A permit was granted, after so long.
    pub fn granted(&mut self, user: UserId, waited: Duration) {
        let name = self.label(user);
        self.granted.with_label_values(&[&name]).inc();
        self.waited.with_label_values(&[&name]).inc_by(waited.as_secs_f64());
    }

    /// What each has now.
    pub fn stand(&mut self, users: &BTreeMap<UserId, UserView>) {
        // Whoever has gone is not shown with what it had last.
        for gauges in [&self.running, &self.waiting, &self.memory, &self.reserved] {
            gauges.reset();
        }
        for (user, has) in users {
            let name = self.label(*user);
            self.running.with_label_values(&[&name]).add(has.running as f64);
            self.waiting.with_label_values(&[&name]).add(has.waiting as f64);
            self.memory.with_label_values(&[&name]).add(has.memory.0 as f64);
            self.reserved.with_label_values(&[&name]).add(has.reserved.0 as f64);
            // There from the beginning: a counter that appears at 1 shows no increase.
            self.granted.with_label_values(&[&name]).inc_by(0);
            self.waited.with_label_values(&[&name]).inc_by(0.0);
        }
    }

    fn label(&mut self, user: UserId) -> String {
        if self.known.len() < MOST_USERS {
            self.known.insert(user);
        }
        if self.known.contains(&user) { user.0.to_string() } else { "other".to_owned() }
    }
}
