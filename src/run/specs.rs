//! What the policy is told of a plan.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Plan;
use crate::model::Job;
use crate::policy::governor::JobFacts;
use crate::policy::scheduler::{JobSpec, Served, Settings};

/// Of the run.
pub fn settings(plan: &Plan) -> Settings {
    Settings {
        parallel: plan.parallel,
        max_fail: plan.max_fail,
        run_timeout: plan.profile.run_timeout,
        settle_timeout: plan.profile.settle_timeout,
        groups: plan.profile.groups.values().copied().collect(),
        seed: plan.id.0.bytes().fold(0, |seed: u64, byte| seed.rotate_left(8) ^ u64::from(byte)),
        served: plan.served.as_ref().map(|broker| Served { sample: broker.greeted.sample }),
        wait: plan.wait,
        tokens: plan.tokens,
        governor: plan.outlook.as_ref().map(|outlook| outlook.settings(&plan.profile)),
    }
}

/// Of its jobs.
pub fn jobs(plan: &Plan) -> Vec<JobSpec> {
    let numbers: BTreeMap<&str, u32> = plan.profile.groups.keys().map(String::as_str).zip(0..).collect();
    plan.jobs.iter().map(|job| of_job(job, &numbers)).collect()
}

/// Of one that was brought along.
pub fn of(plan: &Plan, job: &Job) -> JobSpec {
    let numbers: BTreeMap<&str, u32> = plan.profile.groups.keys().map(String::as_str).zip(0..).collect();
    of_job(job, &numbers)
}

fn of_job(job: &Job, groups: &BTreeMap<&str, u32>) -> JobSpec {
    let settings = &job.settings;
    JobSpec {
        timeout: settings.timeout,
        slow_after: settings.slow_after,
        idle_timeout: settings.idle_timeout,
        on_timeout: settings.on_timeout.as_ref().map_or(Duration::ZERO, |command| command.limit),
        grace: settings.grace,
        retry: settings.retry,
        flaky_result: settings.flaky_result,
        leak: settings.leak,
        driver: job.driver,
        at_once: job.at_once,
        weight: job.weight,
        groups: job.groups.iter().filter_map(|name| groups.get(name.as_str()).copied()).collect(),
        facts: JobFacts {
            group: job.kin,
            memory: job.memory,
            restartable: job.restartable,
            weight: job.weight,
        },
    }
}
