//! Limits that the kernel does not hold: measured every few milliseconds, and enforced by a kill.

use std::rc::Rc;

use super::live::LiveSet;
use crate::kernel::tree;
use crate::model::{AttemptId, Enforcement, Isolation, LimitName, Limits};
use crate::policy::{sampling, tuning};

/// Whether anything has to be measured.
pub fn is_needed(isolation: &Isolation) -> bool {
    LimitName::ALL.iter().any(|name| isolation.of(*name) == Enforcement::Sampled)
}

/// Measures all attempts again and again, for as long as it is polled. `limits` are those of one.
pub async fn watch(live: Rc<LiveSet>, limits: impl Fn(AttemptId) -> Limits) {
    loop {
        let known = live.known();
        if !live.is_starting() {
            tree::reap(&known);
        }
        let orphans = tree::orphans(&known);
        let mut pause = if live.near.get() { tuning::SAMPLE_NEAR } else { tuning::SAMPLE_SLOWEST };
        for (id, attempt) in live.all() {
            if attempt.reaped.get() {
                continue;
            }
            let limits = &limits(id);
            let (memory, tasks) = attempt.measure(&orphans);
            let mut samples = attempt.samples.borrow_mut();
            samples.memory = Some(memory);
            samples.memory_peak = samples.memory_peak.max(Some(memory));
            samples.tasks_peak = samples.tasks_peak.max(Some(tasks));
            if let Some(limit) = sampling::over(limits, memory, tasks) {
                samples.over.get_or_insert(limit);
                attempt.kill(&known);
            }
            pause = pause.min(sampling::pause(limits, memory, tasks));
        }
        tokio::time::sleep(pause).await;
    }
}
