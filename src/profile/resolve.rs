//! A profile meets a host: percentages become bytes, and nothing exceeds what is there.
//!
//! ```text
//! visible memory ─┬─ reserve: what the editor uses now ──▶ never for tests
//!                 └─ the rest ── min(budget.memory_max) ──▶ budget ── min(job.memory_max) ──▶ job
//! ```
//!
//! Every chain of profiles ends in `native.yaml`, which sets every key: what is made of an absent one is no default,
//! only that nothing is asked for.
//!
//! Pure: what is visible comes in as [`ResolvedInputs`].

use std::time::Duration;

use crate::model::profile::{JobSettings, Parallelism, PressureLines};
use crate::model::retry::{FlakyResult, LeakPolicy, Retry, RetryOn};
use crate::model::{Bytes, Cpus, Limits, Profile};

use super::ending::{Look, RetryCause};
use super::error::ProfileError;
use super::file::{JobSection, JobsSection, PressureSection};
use super::groups;
use super::inherit::{Loaded, over_job};
use super::values::{
    Capabilities, Cpu, JobCount, Nofile, Percent, Pids, Reserve, Size, Swap, Switch, Timeout,
};

/// `reserve: auto` beside what the editor uses now: what it may grow by before anyone looks again.
const RESERVE_GROWTH: Percent = Percent(3.0);
/// `reserve: auto` where no editor is seen is at least this.
const RESERVE_LEAST: Bytes = Bytes::gib(2);
/// And at least this part of visible memory.
const RESERVE_PART: Percent = Percent(20.0);
/// `reserve: auto` is never more: also a guest of 1 GiB must be able to test.
const RESERVE_MOST: Percent = Percent(50.0);
/// Where more may run than processors are busy with, so many times as many.
const IDLE_TIMES: usize = 4;
/// A budget is never less, however little is visible.
const BUDGET_LEAST: Bytes = Bytes::mib(16);
/// Of the tasks that the groups above allow, what is left to others: a shell that can't fork helps nobody.
const PIDS_PART: u64 = 80;
/// What the kernel rounds limits down to.
const PAGE: u64 = 4096;

/// What a profile is resolved against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResolvedInputs {
    /// The memory that this process can come to use: of the machine, or of the smallest limit above it.
    pub visible_memory: Bytes,
    /// Logical CPUs that this process may use.
    pub cpus: usize,
    /// The smallest `pids.max` above this process.
    pub pids_limit: Option<u64>,
    /// What the editor uses now; 0 where none is seen.
    pub protected: Bytes,
}

/// What jobs' limits are measured against.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    reserve: Bytes,
    budget: Limits,
    /// Visible memory less the reserve.
    rest: Bytes,
    cpus: usize,
}

impl Frame {
    pub(super) fn of(loaded: &Loaded, host: &ResolvedInputs) -> Result<Frame, ProfileError> {
        let section = loaded.settings.budget.clone().unwrap_or_default();
        let visible = host.visible_memory;
        let reserve = reserve(section.reserve.unwrap_or(Reserve::Auto), host);
        let rest = paged(Bytes(visible.0.saturating_sub(reserve.0))).max(BUDGET_LEAST);
        if reserve >= visible {
            let message = format!(
                "a reserve of {reserve} leaves nothing of the {visible} that are visible here; expected less"
            );
            return Err(loaded.refuse("budget.reserve", message));
        }
        let memory_max = size(section.memory_max, visible).map(|bytes| bytes.clamp(BUDGET_LEAST, rest));
        let pids_most = host.pids_limit.map(|limit| (limit.saturating_mul(PIDS_PART) / 100).max(1));
        let budget = Limits {
            memory_max,
            memory_high: high(section.memory_high, memory_max, rest),
            memory_swap_max: swap(section.memory_swap_max),
            pids_max: within(pids(section.pids_max), pids_most),
            cpu_max: cpu(section.cpu_max, host.cpus),
        };
        Ok(Frame { reserve, budget, rest, cpus: host.cpus })
    }
}

/// Makes the settings of a run. What contradicts itself is an error with the place that set it.
pub fn resolve(loaded: &Loaded, host: &ResolvedInputs) -> Result<Profile, ProfileError> {
    let file = &loaded.settings;
    let frame = Frame::of(loaded, host)?;
    groups::check(loaded)?;
    Ok(Profile {
        name: loaded.name.clone(),
        reserve: frame.reserve,
        job: job(over_job(loaded.options.clone(), file.job.clone().unwrap_or_default()), &frame),
        jobs: jobs(loaded, file.jobs.clone().unwrap_or_default(), host.cpus.max(1))?,
        pressure: pressure(loaded, file.pressure.clone().unwrap_or_default())?,
        run_timeout: time(file.run_timeout),
        settle_timeout: file.settle_timeout.map_or(Duration::ZERO, |time| time.0),
        groups: loaded.groups.iter().map(|(name, group)| (name.clone(), group.count)).collect(),
        protect: file.protect.iter().flatten().map(|name| name.0.clone()).collect(),
        origins: loaded.origins(),
        budget: frame.budget,
    })
}

fn reserve(reserve: Reserve, host: &ResolvedInputs) -> Bytes {
    let visible = host.visible_memory;
    match reserve {
        Reserve::Auto if host.protected > Bytes(0) => {
            Bytes(host.protected.0.saturating_add(RESERVE_GROWTH.of(visible).0)).min(RESERVE_MOST.of(visible))
        }
        Reserve::Auto => RESERVE_LEAST.max(RESERVE_PART.of(visible)).min(RESERVE_MOST.of(visible)),
        Reserve::Bytes(bytes) => bytes,
        Reserve::Percent(percent) => percent.of(visible),
    }
}

/// What a section comes to for one job.
pub(super) fn job(section: JobSection, frame: &Frame) -> JobSettings {
    let Frame { budget, rest, cpus, .. } = *frame;
    let whole = budget.memory_max.unwrap_or(rest);
    // A limit above the budget's would name the wrong one as the cause of an OOM.
    let memory_max = within(size(section.memory_max, whole), budget.memory_max);
    JobSettings {
        limits: Limits {
            memory_max,
            memory_high: high(section.memory_high, memory_max, whole),
            memory_swap_max: within(swap(section.memory_swap_max), budget.memory_swap_max),
            pids_max: within(pids(section.pids_max), budget.pids_max),
            cpu_max: within(cpu(section.cpu_max, cpus), budget.cpu_max),
        },
        nofile: match section.nofile.unwrap_or(Nofile::Inherit) {
            Nofile::Inherit => None,
            Nofile::Count(count) => Some(count),
        },
        oom_score_adj: section.oom_score_adj.map_or(0, |adj| adj.0),
        timeout: time(section.timeout),
        slow_after: time(section.slow_after),
        idle_timeout: time(section.idle_timeout),
        on_timeout: match section.on_timeout.unwrap_or(Look::None) {
            Look::None => None,
            Look::Command(look) => Some(look),
        },
        grace: section.grace.map_or(Duration::ZERO, |grace| grace.0),
        retry: Retry {
            on: section.retry_on.map_or(RetryOn::ALL, |causes| RetryCause::together(&causes)),
            ..section.retries.map_or(Retry::NEVER, |retries| retries.0)
        },
        flaky_result: section.flaky_result.map_or(FlakyResult::Pass, |flaky| flaky.0),
        leak: section.leak.map_or(LeakPolicy::Warn, |leak| leak.0),
        no_new_privs: section.no_new_privs.unwrap_or(Switch(false)).0,
        drop_capabilities: section.capabilities.unwrap_or(Capabilities::Keep) == Capabilities::Drop,
    }
}

fn time(written: Option<Timeout>) -> Option<Duration> {
    match written? {
        Timeout::None => None,
        Timeout::After(time) => Some(time),
    }
}

fn jobs(loaded: &Loaded, section: JobsSection, cpus: usize) -> Result<Parallelism, ProfileError> {
    let (least, most) = (section.min.unwrap_or(JobCount::Count(1)), section.max);
    let most = most.unwrap_or(JobCount::Percent(Percent(100.0)));
    if let (JobCount::Count(least), JobCount::Count(most)) = (least, most)
        && least > most
    {
        let message =
            format!("jobs.min: {least} is more than jobs.max, which is {most}; expected at most {most}");
        return Err(loaded.refuse("jobs.min", message));
    }
    let count = |count| match count {
        JobCount::Count(count) => count,
        JobCount::Percent(percent) => ((cpus as f64 * percent.0 / 100.0) as usize).max(1),
    };
    // A percentage of few CPUs may come out below the minimum, which then holds.
    let (least, max) = (count(least), count(most).max(count(least)));
    // Who counts jobs means that many; who counts processors means processors.
    let idle_max = if matches!(most, JobCount::Percent(_)) { max * IDLE_TIMES } else { max };
    Ok(Parallelism { min: least, max, idle_max })
}

fn pressure(loaded: &Loaded, section: PressureSection) -> Result<PressureLines, ProfileError> {
    let line = |percent: Option<Percent>, default| percent.map_or(default, |percent| percent.0);
    let lines = PressureLines {
        yellow: line(section.yellow, 0.0),
        orange: line(section.orange, 0.0),
        red: line(section.red, 0.0),
        stall: line(section.stall, 100.0),
    };
    for (key, value, above, above_value) in
        [("orange", lines.orange, "yellow", lines.yellow), ("red", lines.red, "orange", lines.orange)]
    {
        if value > above_value {
            let message = format!(
                "pressure.{key}: {value}% is above {above}, which is {above_value}%; expected yellow, orange and \
                 red in falling order"
            );
            return Err(loaded.refuse(&format!("pressure.{key}"), message));
        }
    }
    Ok(lines)
}

fn size(size: Option<Size>, whole: Bytes) -> Option<Bytes> {
    match size? {
        Size::Max => None,
        Size::Bytes(bytes) => Some(paged(bytes)),
        Size::Percent(percent) => Some(paged(percent.of(whole)).max(Bytes(PAGE))),
    }
}

/// `memory_high` counts from the `memory_max` beside it, and says nothing above it.
fn high(high: Option<Size>, max: Option<Bytes>, rest: Bytes) -> Option<Bytes> {
    size(high, max.unwrap_or(rest)).filter(|high| max.is_none_or(|max| *high < max))
}

fn swap(swap: Option<Swap>) -> Option<Bytes> {
    match swap? {
        Swap::Max => None,
        Swap::Bytes(bytes) => Some(paged(bytes)),
    }
}

fn pids(pids: Option<Pids>) -> Option<u64> {
    match pids? {
        Pids::Max => None,
        Pids::Count(count) => Some(count),
    }
}

/// A quota of all CPUs or more limits nothing, and costs: it is none.
fn cpu(cpu: Option<Cpu>, cpus: usize) -> Option<Cpus> {
    match cpu? {
        Cpu::Max => None,
        Cpu::Cpus(max) => Some(max).filter(|max| *max < Cpus::whole(cpus as u64)),
    }
}

/// The smaller of the two, where `None` is no limit; no limit stays none, for the outer one holds anyway.
fn within<T: Ord>(inner: Option<T>, outer: Option<T>) -> Option<T> {
    match (inner, outer) {
        (Some(inner), Some(outer)) => Some(inner.min(outer)),
        (inner, _) => inner,
    }
}

fn paged(bytes: Bytes) -> Bytes {
    Bytes(bytes.0 / PAGE * PAGE)
}
