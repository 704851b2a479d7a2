//! JSON lines: one object an event, as docs/events.md lists them. Sizes in bytes, times in milliseconds, absent
//! readings null. Each line is one write, so that a run that is killed leaves whole lines.

use std::borrow::Cow;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::Reporter;
use crate::model::diagnosis::Diagnosis;
use crate::model::event::{AttemptFinished, BrokerNews, Event, RunFinished, RunStarted};
use crate::model::governor::{Action, Decision, Signal, State};
use crate::model::isolation::Missing;
use crate::model::leftovers::{Files, Object};
use crate::model::retry::Unsettled;
use crate::model::view::WaitsFor;
use crate::model::{
    Bytes, Cause, Enforcement, Exit, Isolation, LimitName, Limits, Outcome, Process, RunId, Tier, Verdict,
};

/// Writes the stream to `sink`.
pub struct JsonReporter<W> {
    sink: W,
    /// What the first event said, for the later ones.
    isolation: Option<Isolation>,
    line: Vec<u8>,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Line<'a> {
    RunStarted {
        run: &'a RunId,
        name: &'a str,
        time_ms: f64,
        profile: &'a str,
        isolation: Tier,
        budget: &'a Limits,
        jobs: usize,
        parallel: usize,
        pass_through: bool,
        absent_sensors: &'a [String],
        sampled: Vec<LimitName>,
        not_enforced: Vec<LimitName>,
        missing: &'a [Missing],
        broker: Option<Place<'a>>,
    },
    Governor {
        at_ms: f64,
        job: Option<&'a str>,
        #[serde(flatten)]
        decision: Figures,
    },
    Broker {
        at_ms: f64,
        #[serde(flatten)]
        news: News<'a>,
    },
    AttemptStarted {
        job: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        driver: Option<&'a str>,
        attempt: u32,
        slot: u32,
        began_ms: f64,
        limits: &'a Limits,
    },
    AttemptSlow {
        job: &'a str,
        attempt: u32,
        slot: u32,
        elapsed_ms: f64,
    },
    RetryUnsettled {
        job: &'a str,
        attempt: u32,
        what: Unsettled,
    },
    RetryGivenUp {
        job: &'a str,
        attempt: u32,
        verdict: Verdict,
    },
    AttemptFinished(Box<Attempt<'a>>),
    RunFinished {
        passed: u64,
        failed: u64,
        unseen: u64,
        flaky: u64,
        not_run: u64,
        evictions: u64,
        leaked: u64,
        interrupted: bool,
        closed: Option<Cause>,
        governor: Option<Governor>,
        wall_ms: f64,
    },
}

#[derive(Serialize)]
struct Place<'a> {
    socket: &'a Path,
    scope: &'a str,
}

/// What has changed between the run and its broker.
#[derive(Serialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
enum News<'a> {
    Waits { ahead: u32, why: WaitsFor, signal: Option<Signal>, value: Option<u64>, line: Option<u64> },
    Lost,
    Alone { memory: Option<Bytes>, jobs: u32 },
    Back,
    Complaint { message: &'a str },
}

/// A decision without the attempt's number in the run, which is nobody's business: the job is named.
#[derive(Serialize)]
struct Figures {
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

#[derive(Serialize)]
struct Governor {
    peak_concurrency: u32,
    evictions: u64,
    freezes: u64,
    held_ms: f64,
    least_left: Option<Bytes>,
    editor_memory_stall_ms: Option<f64>,
}

#[derive(Serialize)]
struct Attempt<'a> {
    job: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    driver: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    test: Option<&'a str>,
    attempt: u32,
    slot: u32,
    outcome: Outcome,
    cause: &'a Cause,
    verdict: Option<Verdict>,
    failed: bool,
    told: Option<&'a str>,
    retry_in_ms: Option<f64>,
    tries: u32,
    tries_max: u32,
    exit_code: Option<i32>,
    signal: Option<i32>,
    spawn_error: Option<&'a str>,
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
    left_behind: &'a [Process],
    left_files: Option<&'a Files>,
    left_objects: &'a [Object],
    left_memory: Option<Bytes>,
    unkillable: bool,
    limits: &'a Limits,
    isolation: Option<Tier>,
    sampled: Vec<LimitName>,
    not_enforced: Vec<LimitName>,
    diagnosis: Option<&'a Diagnosis>,
    diagnosis_file: Option<&'a Path>,
    output: Option<Output<'a>>,
}

#[derive(Serialize)]
struct Output<'a> {
    bytes: u64,
    file: Option<&'a Path>,
    #[serde(skip_serializing_if = "is_zero")]
    file_lacks: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    head: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tail: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    left_out: Option<u64>,
}

impl<W: Write> JsonReporter<W> {
    /// Writes to `sink`, unbuffered: each line at once.
    pub fn new(sink: W) -> JsonReporter<W> {
        JsonReporter { sink, isolation: None, line: Vec::new() }
    }

    fn write(&mut self, line: &Line) -> io::Result<()> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, line)?;
        self.line.push(b'\n');
        self.sink.write_all(&self.line)
    }

    fn held_by(&self, who: Enforcement) -> Vec<LimitName> {
        self.isolation.as_ref().map(|isolation| isolation.held_by(who)).unwrap_or_default()
    }

    fn run_started(&mut self, started: &RunStarted) -> io::Result<()> {
        self.isolation = Some(started.isolation.clone());
        self.write(&Line::RunStarted {
            run: &started.run,
            name: &started.name,
            time_ms: ms(started.time),
            profile: &started.profile,
            isolation: started.isolation.tier,
            budget: &started.budget,
            jobs: started.jobs,
            parallel: started.parallel,
            pass_through: started.pass_through,
            absent_sensors: &started.absent_sensors,
            sampled: started.isolation.held_by(Enforcement::Sampled),
            not_enforced: started.isolation.held_by(Enforcement::None),
            missing: &started.isolation.missing,
            broker: started.broker.as_ref().map(|of| Place { socket: &of.socket, scope: &of.scope }),
        })
    }

    fn attempt_finished(&mut self, finished: &AttemptFinished, told: Option<&str>) -> io::Result<()> {
        let evidence = &finished.evidence;
        let (exit_code, signal) = match finished.exit {
            Some(Exit::Code(code)) => (Some(code), None),
            Some(Exit::Signal(signal)) => (None, Some(signal)),
            None => (None, None),
        };
        // Of what simply passed nobody wants to read it, and the record stays small.
        let shown = finished.failed || finished.retry_in.is_some();
        let line = Line::AttemptFinished(Box::new(Attempt {
            job: &finished.job,
            driver: finished.driver.as_deref(),
            test: finished.test.as_deref(),
            attempt: finished.attempt.id.number,
            slot: finished.attempt.slot,
            outcome: finished.outcome,
            cause: &finished.cause,
            verdict: finished.verdict,
            failed: finished.failed,
            told,
            retry_in_ms: finished.retry_in.map(ms),
            tries: finished.tries.this,
            tries_max: finished.tries.most,
            exit_code,
            signal,
            spawn_error: finished.spawn_error.as_ref().map(|error| error.message.as_str()),
            began_ms: ms(finished.began),
            ended_ms: ms(finished.ended),
            wall_ms: ms(finished.wall),
            cpu_ms: evidence.cpu_time.map(ms),
            cpu_throttled_ms: evidence.cpu_throttled.map(ms),
            frozen_ms: ms(finished.frozen),
            timeout_ms: finished.timeout.map(ms),
            memory_peak: evidence.memory_peak,
            pids_peak: evidence.pids_peak,
            oom_kills: evidence.oom_kill,
            budget_max: evidence.budget_max,
            oomd_ooms: evidence.oomd_ooms,
            forks_refused: evidence.pids_max_events,
            leaked: evidence.leaked_count,
            left_behind: &evidence.leaked,
            left_files: evidence.left.files.as_deref(),
            left_objects: &evidence.left.objects,
            left_memory: evidence.left.memory,
            unkillable: evidence.unkillable,
            limits: &finished.limits,
            isolation: self.isolation.as_ref().map(|isolation| isolation.tier),
            sampled: self.held_by(Enforcement::Sampled),
            not_enforced: self.held_by(Enforcement::None),
            diagnosis: finished.diagnosis.as_deref(),
            diagnosis_file: finished.diagnosis_file.as_deref(),
            output: finished.output.as_ref().map(|output| Output {
                bytes: output.total,
                file: output.file.as_deref(),
                file_lacks: output.file_lacks,
                head: shown.then(|| String::from_utf8_lossy(&output.head)),
                tail: shown.then(|| String::from_utf8_lossy(&output.tail)),
                left_out: shown.then(|| output.left_out()),
            }),
        }));
        self.write(&line)
    }

    fn decided(&mut self, at: Duration, decision: &Decision, job: Option<&str>) -> io::Result<()> {
        let Decision { action, state, signal, value, line, left, budget, filling, held, .. } = *decision;
        let attempt = decision.attempt.map(|id| id.number);
        let decision = Figures { attempt, action, state, signal, value, line, left, budget, filling, held };
        self.write(&Line::Governor { at_ms: ms(at), job, decision })
    }

    fn broker(&mut self, at: Duration, news: &BrokerNews) -> io::Result<()> {
        let news = match news {
            BrokerNews::Waits { ahead, wait } => News::Waits {
                ahead: *ahead,
                why: wait.why,
                signal: wait.reason.and_then(|reason| reason.signal),
                value: wait.reason.map(|reason| reason.value),
                line: wait.reason.map(|reason| reason.line),
            },
            BrokerNews::Lost => News::Lost,
            BrokerNews::Alone { memory, jobs } => News::Alone { memory: *memory, jobs: *jobs },
            BrokerNews::Back => News::Back,
            BrokerNews::Complaint { message } => News::Complaint { message },
        };
        self.write(&Line::Broker { at_ms: ms(at), news })
    }

    fn run_finished(&mut self, finished: &RunFinished) -> io::Result<()> {
        self.write(&Line::RunFinished {
            passed: finished.passed,
            failed: finished.failed,
            unseen: finished.unseen,
            flaky: finished.flaky,
            not_run: finished.not_run,
            evictions: finished.evictions,
            leaked: finished.leaked,
            interrupted: finished.interrupted,
            closed: finished.closed,
            governor: finished.governed.map(|governed| Governor {
                peak_concurrency: governed.peak_concurrency,
                evictions: governed.evictions,
                freezes: governed.freezes,
                held_ms: ms(governed.held),
                least_left: governed.least_left,
                editor_memory_stall_ms: governed.editor_memory_stall.map(ms),
            }),
            wall_ms: ms(finished.wall),
        })
    }
}

impl<W: Write> Reporter for JsonReporter<W> {
    fn event(&mut self, event: &Event, told: Option<&str>) -> io::Result<()> {
        match event {
            Event::RunStarted(started) => self.run_started(started),
            Event::AttemptStarted(started) => self.write(&Line::AttemptStarted {
                job: &started.job,
                driver: started.driver.as_deref(),
                attempt: started.attempt.id.number,
                slot: started.attempt.slot,
                began_ms: ms(started.began),
                limits: &started.limits,
            }),
            Event::Governor { at, decision, job } => self.decided(*at, decision, job.as_deref()),
            Event::Broker { at, news } => self.broker(*at, news),
            Event::Slow { attempt, job, elapsed } => self.write(&Line::AttemptSlow {
                job,
                attempt: attempt.id.number,
                slot: attempt.slot,
                elapsed_ms: ms(*elapsed),
            }),
            Event::Unsettled { attempt, job, what } => {
                self.write(&Line::RetryUnsettled { job, attempt: attempt.number, what: *what })
            }
            Event::GivenUp { attempt, job } => {
                self.write(&Line::RetryGivenUp { job, attempt: attempt.number, verdict: Verdict::Fail })
            }
            Event::AttemptFinished(finished) => self.attempt_finished(finished, told),
            Event::RunFinished(finished) => self.run_finished(finished),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Milliseconds, to the microsecond.
fn ms(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}
