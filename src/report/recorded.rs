//! A run's events, read again from the lines that [`super::json`] wrote: what any report makes of a run it makes of its record.
//!
//! ```text
//! lines ─▶ events, with the words that were found for them then ─▶ starts put where they belong
//! ```
//!
//! A run that was killed may end in half a line: that is passed over. Starts are not on record: an attempt that ended tells
//! when it began, and one that was in mid-run when all was killed is not known of.

use std::collections::BTreeMap;
use std::io::{self, BufRead};
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::model::diagnosis::Diagnosis;
use crate::model::event::{AttemptFinished, Captured, Event, RunFinished, RunStarted, SpawnError, Tries};
use crate::model::governor::{Action, Decision, Governed, Signal, State};
use crate::model::isolation::Missing;
use crate::model::leftovers::{Files, Object};
use crate::model::retry::Unsettled;
use crate::model::{
    Attempt, AttemptId, Bytes, Cause, Enforcement, Evidence, Exit, Isolation, JobId, Leftovers, LimitName,
    Limits, Outcome, Process, RunId, Tier, Verdict,
};

/// A longer line is none of ours.
const LONGEST_LINE: u64 = 64 << 20;

/// No time in a record is longer, whatever it says: some thousand years.
const LONGEST: Duration = Duration::from_secs(1000 * 366 * 24 * 60 * 60);

/// An event, as it was told.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// What happened.
    pub event: Event,
    /// The same in words, where there were any.
    pub words: Option<String>,
}

/// Reads the events of a run, in their order.
///
/// # Errors
/// What could not be read; `InvalidData` for what are no events.
pub fn read(lines: &mut impl BufRead) -> io::Result<Vec<Told>> {
    let mut parsed = Vec::new();
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        io::Read::take(&mut *lines, LONGEST_LINE).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            break;
        }
        match serde_json::from_slice(&line) {
            Ok(event) => parsed.push(event),
            // Cut off where the run was killed.
            Err(_) if !line.ends_with(b"\n") => break,
            Err(error) => {
                let message = format!("line {number} is no event of this version: {error}");
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
        }
    }
    let numbers = Numbers::of(&parsed);
    let mut starts = starts(&parsed).into_iter().peekable();
    let mut events = Vec::with_capacity(2 * parsed.len());
    for line in parsed {
        let until = line.at();
        while let Some(start) = starts.next_if(|start| until.is_some_and(|until| start.at <= until)) {
            let id = numbers.id(&start.job, start.number);
            let attempt = Attempt { id, slot: start.slot };
            events.push(Told { event: Event::AttemptStarted { attempt, job: start.job }, words: None });
        }
        events.extend(line.told(&numbers));
    }
    Ok(events)
}

/// What a run without an end has come to by now, or had when it was killed: that is an interruption.
pub fn end_until_now(events: &[Told], killed: bool) -> RunFinished {
    let closed = killed.then_some(Cause::Interrupted);
    let mut end = RunFinished { interrupted: killed, closed, ..RunFinished::default() };
    let mut jobs = 0;
    for Told { event, .. } in events {
        match event {
            Event::RunStarted(started) => jobs = started.jobs as u64,
            Event::AttemptFinished(attempt) => {
                end.wall = end.wall.max(attempt.ended);
                end.leaked += attempt.evidence.leaked_count;
                match attempt.verdict {
                    Some(verdict) => {
                        *(if attempt.failed { &mut end.failed } else { &mut end.passed }) += 1;
                        end.flaky += u64::from(verdict == Verdict::Flaky);
                    }
                    None => end.evictions += u64::from(attempt.retry_in.is_none()),
                }
            }
            Event::GivenUp { .. } => end.failed += 1,
            _ => {}
        }
    }
    end.not_run = jobs.saturating_sub(end.passed + end.failed);
    end
}

/// When an attempt began.
struct Start {
    at: Duration,
    job: String,
    number: u32,
    slot: u32,
}

/// All of them, in their order.
fn starts(lines: &[Line]) -> Vec<Start> {
    // What could not be started did not.
    let started = attempts(lines).filter(|attempt| attempt.outcome != Outcome::SpawnFailed);
    let start = |attempt: &AttemptLine| Start {
        at: time(attempt.began_ms),
        job: attempt.job.clone(),
        number: attempt.attempt,
        slot: attempt.slot,
    };
    let mut starts: Vec<Start> = started.map(start).collect();
    starts.sort_by_key(|start| start.at);
    starts
}

fn attempts(lines: &[Line]) -> impl Iterator<Item = &AttemptLine> {
    lines.iter().filter_map(|line| match line {
        Line::AttemptFinished(attempt) => Some(&**attempt),
        _ => None,
    })
}

/// The jobs' places in the run, as far as is known: in the order in which they began.
struct Numbers(BTreeMap<String, u32>);

impl Numbers {
    fn of(lines: &[Line]) -> Numbers {
        let mut first: Vec<(Duration, &str)> =
            attempts(lines).map(|attempt| (time(attempt.began_ms), attempt.job.as_str())).collect();
        first.sort_unstable();
        let others = lines.iter().filter_map(Line::job);
        let mut numbers = BTreeMap::new();
        for job in first.into_iter().map(|(_, job)| job).chain(others) {
            let next = numbers.len() as u32;
            numbers.entry(job.to_owned()).or_insert(next);
        }
        Numbers(numbers)
    }

    fn id(&self, job: &str, number: u32) -> AttemptId {
        AttemptId { job: JobId(self.0.get(job).copied().unwrap_or_default()), number }
    }
}

#[derive(Debug, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Line {
    RunStarted(Box<RunStartedLine>),
    Governor(GovernorLine),
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
struct RunStartedLine {
    run: RunId,
    #[serde(default)]
    time_ms: f64,
    profile: String,
    isolation: Tier,
    budget: Limits,
    jobs: usize,
    parallel: usize,
    absent_sensors: Vec<String>,
    sampled: Vec<LimitName>,
    not_enforced: Vec<LimitName>,
    missing: Vec<Missing>,
}

#[derive(Debug, Deserialize)]
struct GovernorLine {
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
struct AttemptLine {
    job: String,
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
struct RunFinishedLine {
    passed: u64,
    failed: u64,
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
    /// When it was told, as far as it says.
    fn at(&self) -> Option<Duration> {
        match self {
            Line::Governor(decided) => Some(time(decided.at_ms)),
            Line::AttemptFinished(attempt) => Some(time(attempt.ended_ms)),
            Line::RunFinished(finished) => Some(time(finished.wall_ms)),
            _ => None,
        }
    }

    fn job(&self) -> Option<&str> {
        match self {
            Line::Governor(decided) => decided.job.as_deref(),
            Line::AttemptSlow { job, .. }
            | Line::RetryUnsettled { job, .. }
            | Line::RetryGivenUp { job, .. } => Some(job),
            Line::AttemptFinished(attempt) => Some(&attempt.job),
            Line::RunStarted(_) | Line::RunFinished(_) | Line::Other => None,
        }
    }

    fn told(self, numbers: &Numbers) -> Option<Told> {
        let mut words = None;
        let event = match self {
            Line::RunStarted(started) => Event::RunStarted(started.event()),
            Line::Governor(decided) => decided.event(numbers),
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
                words = attempt.told.take();
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
            time: time(self.time_ms),
            profile: self.profile,
            isolation,
            budget: self.budget,
            jobs: self.jobs,
            parallel: self.parallel,
            absent_sensors: self.absent_sensors,
            // A record has no terminal to leave to a job.
            pass_through: false,
        }
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

impl AttemptLine {
    fn event(self, numbers: &Numbers) -> AttemptFinished {
        let passes = matches!(self.verdict, None | Some(Verdict::Pass | Verdict::Flaky));
        AttemptFinished {
            attempt: Attempt { id: numbers.id(&self.job, self.attempt), slot: self.slot },
            job: self.job,
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
                leaked_count: self.leaked,
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
            passed: self.passed,
            failed: self.failed,
            flaky: self.flaky,
            not_run: self.not_run,
            evictions: self.evictions,
            leaked: self.leaked,
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
    fn what_are_no_events_is_refused() {
        for text in ["{}\n", "hello\n{}", "{\"event\":\"attempt-finished\"}\n"] {
            let error = read(&mut text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with("line 1 is no event of this version"), "{error}");
        }
        let later = "{\"event\":\"of-a-later-version\",\"what\":1}\n{\"event\":\"attempt-fin";
        assert_eq!(read(&mut later.as_bytes()).unwrap(), []);
    }

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

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(lines in proptest::collection::vec(".*", 0..5)) {
            let _ = read(&mut lines.join("\n").as_bytes());
        }
    }
}
