//! The lines of a record, and the events that they stand for.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::{Numbers, Told};
use crate::model::diagnosis::Diagnosis;
use crate::model::event::{
    AttemptFinished, AttemptStarted, BrokerNews, BrokerPlace, Captured, Event, RunFinished, RunStarted,
    SpawnError, Tries,
};
use crate::model::governor::{Action, Decision, Governed, Signal, State};
use crate::model::isolation::Missing;
use crate::model::leftovers::{Files, Object};
use crate::model::retry::Unsettled;
use crate::model::text::escaped;
use crate::model::view::{Reason, WaitView, WaitsFor};
use crate::model::{
    Attempt, Bytes, Cause, Enforcement, Evidence, Exit, Isolation, Leftovers, LimitName, Limits, Outcome,
    Process, RunId, Tier, Verdict,
};

/// No time in a record is longer, whatever it says: some thousand years.
const LONGEST: Duration = Duration::from_secs(1000 * 366 * 24 * 60 * 60);

/// Nor has a run more slots, whatever it says.
const MOST_SLOTS: u32 = 100_000;

/// Nor more of anything that is counted.
const MOST: u64 = 1 << 40;

/// A line.
#[derive(Debug, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Line {
    RunStarted(Box<RunStartedLine>),
    Governor(GovernorLine),
    Broker {
        at_ms: f64,
        #[serde(flatten)]
        news: NewsLine,
    },
    AttemptStarted(StartedLine),
    AttemptSlow {
        job: String,
        attempt: u32,
        slot: u32,
        elapsed_ms: f64,
    },
    RetryUnsettled {
        job: String,
        attempt: u32,
        what: Unsettled,
    },
    RetryGivenUp {
        job: String,
        attempt: u32,
    },
    AttemptFinished(Box<AttemptLine>),
    RunFinished(RunFinishedLine),
    #[serde(other)]
    Other,
}

#[derive(Debug, Deserialize)]
pub struct RunStartedLine {
    run: RunId,
    #[serde(default)]
    name: String,
    #[serde(default)]
    time_ms: f64,
    profile: String,
    isolation: Tier,
    budget: Limits,
    jobs: usize,
    parallel: usize,
    #[serde(default)]
    pass_through: bool,
    absent_sensors: Vec<String>,
    sampled: Vec<LimitName>,
    not_enforced: Vec<LimitName>,
    missing: Vec<Missing>,
    broker: Option<PlaceLine>,
}

#[derive(Debug, Deserialize)]
struct PlaceLine {
    socket: PathBuf,
    scope: String,
}

/// What has changed between the run and its broker.
#[derive(Debug, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum NewsLine {
    Waits {
        ahead: u32,
        why: WaitsFor,
        signal: Option<Signal>,
        value: Option<u64>,
        line: Option<u64>,
    },
    Lost,
    Alone {
        memory: Option<Bytes>,
        jobs: u32,
    },
    Back,
    Complaint {
        message: String,
    },
    #[serde(other)]
    Other,
}

#[derive(Debug, Deserialize)]
pub struct GovernorLine {
    at_ms: f64,
    job: Option<String>,
    attempt: Option<u32>,
    action: Action,
    state: State,
    signal: Signal,
    value: u64,
    line: u64,
    left: Bytes,
    budget: Bytes,
    filling: Bytes,
    held: u32,
}

#[derive(Debug, Deserialize)]
pub struct StartedLine {
    job: String,
    driver: Option<String>,
    attempt: u32,
    slot: u32,
    began_ms: f64,
    limits: Limits,
}

#[derive(Debug, Deserialize)]
pub struct AttemptLine {
    job: String,
    driver: Option<String>,
    test: Option<String>,
    attempt: u32,
    slot: u32,
    outcome: Outcome,
    cause: Cause,
    verdict: Option<Verdict>,
    failed: Option<bool>,
    told: Option<String>,
    retry_in_ms: Option<f64>,
    tries: u32,
    tries_max: u32,
    exit_code: Option<i32>,
    signal: Option<i32>,
    spawn_error: Option<String>,
    began_ms: f64,
    ended_ms: f64,
    wall_ms: f64,
    cpu_ms: Option<f64>,
    cpu_throttled_ms: Option<f64>,
    frozen_ms: f64,
    timeout_ms: Option<f64>,
    memory_peak: Option<Bytes>,
    pids_peak: Option<u64>,
    oom_kills: Option<u64>,
    budget_max: Option<Bytes>,
    oomd_ooms: Option<u64>,
    forks_refused: Option<u64>,
    leaked: u64,
    left_behind: Vec<Process>,
    left_files: Option<Box<Files>>,
    left_objects: Vec<Object>,
    left_memory: Option<Bytes>,
    unkillable: bool,
    limits: Limits,
    diagnosis: Option<Box<Diagnosis>>,
    diagnosis_file: Option<PathBuf>,
    output: Option<OutputLine>,
}

#[derive(Debug, Deserialize)]
struct OutputLine {
    bytes: u64,
    file: Option<PathBuf>,
    #[serde(default)]
    file_lacks: u64,
    #[serde(default)]
    head: String,
    #[serde(default)]
    tail: String,
    left_out: Option<u64>,
}

impl OutputLine {
    fn captured(self) -> Captured {
        let (head, tail) = (self.head.into_bytes(), self.tail.into_bytes());
        // What was no text takes more bytes now than it took then.
        let total = self.left_out.map(|left_out| left_out.saturating_add((head.len() + tail.len()) as u64));
        let total = total.unwrap_or(self.bytes.max((head.len() + tail.len()) as u64));
        Captured { head, tail, total, file: self.file, file_lacks: self.file_lacks }
    }
}

#[derive(Debug, Deserialize)]
pub struct RunFinishedLine {
    passed: u64,
    failed: u64,
    #[serde(default)]
    unseen: u64,
    flaky: u64,
    not_run: u64,
    evictions: u64,
    leaked: u64,
    interrupted: bool,
    closed: Option<Cause>,
    governor: Option<GovernedLine>,
    wall_ms: f64,
}

#[derive(Debug, Deserialize)]
struct GovernedLine {
    peak_concurrency: u32,
    evictions: u64,
    freezes: u64,
    held_ms: f64,
    least_left: Option<Bytes>,
    editor_memory_stall_ms: Option<f64>,
}

impl Line {
    pub fn job(&self) -> Option<&str> {
        match self {
            Line::Governor(decided) => decided.job.as_deref(),
            Line::AttemptStarted(started) => Some(&started.job),
            Line::AttemptSlow { job, .. }
            | Line::RetryUnsettled { job, .. }
            | Line::RetryGivenUp { job, .. } => Some(job),
            Line::AttemptFinished(attempt) => Some(&attempt.job),
            Line::RunStarted(_) | Line::Broker { .. } | Line::RunFinished(_) | Line::Other => None,
        }
    }

    pub fn told(self, numbers: &Numbers) -> Option<Told> {
        let mut words = None;
        let event = match self {
            Line::RunStarted(started) => Event::RunStarted(started.event()),
            Line::Governor(decided) => decided.event(numbers),
            Line::Broker { at_ms, news } => Event::Broker { at: time(at_ms), news: news.news()? },
            Line::AttemptStarted(started) => Event::AttemptStarted(started.event(numbers)),
            Line::AttemptSlow { job, attempt, slot, elapsed_ms } => Event::Slow {
                attempt: Attempt { id: numbers.id(&job, attempt), slot },
                job,
                elapsed: time(elapsed_ms),
            },
            Line::RetryUnsettled { job, attempt, what } => {
                Event::Unsettled { attempt: numbers.id(&job, attempt), job, what }
            }
            Line::RetryGivenUp { job, attempt } => Event::GivenUp { attempt: numbers.id(&job, attempt), job },
            Line::AttemptFinished(mut attempt) => {
                words =
                    attempt.told.take().map(|told| told.lines().map(escaped).collect::<Vec<_>>().join("\n"));
                Event::AttemptFinished(Box::new(attempt.event(numbers)))
            }
            Line::RunFinished(finished) => Event::RunFinished(finished.event()),
            // Of a later version.
            Line::Other => return None,
        };
        Some(Told { event, words })
    }
}

impl RunStartedLine {
    fn event(self) -> RunStarted {
        let held_by = |name| match (self.sampled.contains(&name), self.not_enforced.contains(&name)) {
            (true, _) => Enforcement::Sampled,
            (false, true) => Enforcement::None,
            (false, false) => Enforcement::Kernel,
        };
        let isolation = Isolation {
            tier: self.isolation,
            memory_max: held_by(LimitName::MemoryMax),
            memory_swap_max: held_by(LimitName::MemorySwapMax),
            pids_max: held_by(LimitName::PidsMax),
            cpu_max: held_by(LimitName::CpuMax),
            missing: self.missing,
        };
        RunStarted {
            run: self.run,
            name: self.name,
            time: time(self.time_ms),
            profile: escaped(&self.profile),
            isolation,
            budget: self.budget,
            jobs: self.jobs,
            parallel: self.parallel,
            broker: self.broker.map(|of| BrokerPlace { socket: of.socket, scope: of.scope }),
            absent_sensors: self.absent_sensors,
            pass_through: self.pass_through,
        }
    }
}

impl NewsLine {
    /// `None` for what a later version tells.
    fn news(self) -> Option<BrokerNews> {
        Some(match self {
            NewsLine::Waits { ahead, why, signal, value, line } => {
                let reason = Reason { signal, value: value.unwrap_or(0), line: line.unwrap_or(0) };
                let reason = (why == WaitsFor::Held).then_some(reason);
                BrokerNews::Waits { ahead, wait: WaitView { why, reason } }
            }
            NewsLine::Lost => BrokerNews::Lost,
            NewsLine::Alone { memory, jobs } => BrokerNews::Alone { memory, jobs },
            NewsLine::Back => BrokerNews::Back,
            NewsLine::Complaint { message } => BrokerNews::Complaint { message },
            NewsLine::Other => return None,
        })
    }
}

impl GovernorLine {
    fn event(self, numbers: &Numbers) -> Event {
        let GovernorLine {
            at_ms, job, action, state, signal, value, line, left, budget, filling, held, ..
        } = self;
        let attempt = job.as_deref().zip(self.attempt).map(|(job, number)| numbers.id(job, number));
        let decision = Decision { action, attempt, state, signal, value, line, left, budget, filling, held };
        Event::Governor { at: time(at_ms), decision, job }
    }
}

impl StartedLine {
    fn event(self, numbers: &Numbers) -> AttemptStarted {
        AttemptStarted {
            attempt: Attempt { id: numbers.id(&self.job, self.attempt), slot: self.slot.min(MOST_SLOTS) },
            job: self.job,
            driver: self.driver,
            began: time(self.began_ms),
            limits: self.limits,
        }
    }
}

impl AttemptLine {
    fn event(self, numbers: &Numbers) -> AttemptFinished {
        let passes = matches!(self.verdict, None | Some(Verdict::Pass | Verdict::Flaky | Verdict::Unseen));
        AttemptFinished {
            attempt: Attempt { id: numbers.id(&self.job, self.attempt), slot: self.slot.min(MOST_SLOTS) },
            job: self.job,
            driver: self.driver,
            test: self.test,
            outcome: self.outcome,
            cause: self.cause,
            verdict: self.verdict,
            failed: self.failed.unwrap_or(!passes),
            retry_in: self.retry_in_ms.map(time),
            tries: Tries { this: self.tries, most: self.tries_max },
            exit: self.exit_code.map(Exit::Code).or(self.signal.map(Exit::Signal)),
            // Which of its codes it was, the run's own exit code told.
            spawn_error: self.spawn_error.map(|message| SpawnError { message, exit_code: 125 }),
            began: time(self.began_ms),
            ended: time(self.ended_ms),
            wall: time(self.wall_ms),
            frozen: time(self.frozen_ms),
            evidence: Evidence {
                memory_peak: self.memory_peak,
                pids_peak: self.pids_peak,
                oom_kill: self.oom_kills,
                budget_max: self.budget_max,
                pids_max_events: self.forks_refused,
                cpu_time: self.cpu_ms.map(time),
                cpu_throttled: self.cpu_throttled_ms.map(time),
                leaked: self.left_behind,
                leaked_count: self.leaked.min(MOST),
                unkillable: self.unkillable,
                oomd_ooms: self.oomd_ooms,
                left: Leftovers {
                    files: self.left_files,
                    objects: self.left_objects,
                    memory: self.left_memory,
                },
                ..Evidence::default()
            },
            limits: self.limits,
            // Whoever set what is in the words.
            origins: BTreeMap::new(),
            timeout: self.timeout_ms.map(time),
            idle_timeout: None,
            diagnosis: self.diagnosis,
            diagnosis_file: self.diagnosis_file,
            output: self.output.map(OutputLine::captured),
        }
    }
}

impl RunFinishedLine {
    fn event(self) -> RunFinished {
        RunFinished {
            passed: self.passed.min(MOST),
            failed: self.failed.min(MOST),
            unseen: self.unseen.min(MOST),
            flaky: self.flaky.min(MOST),
            not_run: self.not_run.min(MOST),
            evictions: self.evictions.min(MOST),
            leaked: self.leaked.min(MOST),
            interrupted: self.interrupted,
            closed: self.closed,
            governed: self.governor.map(|governed| Governed {
                peak_concurrency: governed.peak_concurrency,
                evictions: governed.evictions,
                freezes: governed.freezes,
                held: time(governed.held_ms),
                least_left: governed.least_left,
                editor_memory_stall: governed.editor_memory_stall_ms.map(time),
            }),
            wall: time(self.wall_ms),
        }
    }
}

/// Of a figure in milliseconds, which may be anything; to the microsecond, as it was written.
fn time(milliseconds: f64) -> Duration {
    Duration::from_micros((milliseconds * 1e3).round() as u64).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_figure_is_too_large() {
        assert_eq!(time(1234.567), Duration::from_micros(1_234_567));
        assert_eq!(time(1e300), LONGEST);
        assert_eq!((time(f64::NAN), time(-1.0)), (Duration::ZERO, Duration::ZERO));
    }

    #[test]
    fn what_was_no_text_leaves_out_as_much_as_it_did() {
        let of = |text: &str| serde_json::from_str::<OutputLine>(text).unwrap().captured();
        let wild = of(r#"{"bytes":1002,"head":"\ufffd\ufffd","tail":"","left_out":1000}"#);
        assert_eq!((wild.total, wild.left_out()), (1006, 1000));
        assert_eq!(of(r#"{"bytes":7}"#).left_out(), 7, "of what passed nothing is kept");
        assert_eq!(of(r#"{"bytes":0,"head":"abc"}"#).left_out(), 0, "whatever it says");
    }
}
