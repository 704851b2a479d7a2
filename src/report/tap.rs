//! TAP, the Test Anything Protocol, version 13: what prove(1) and Jenkins' plugin read. TAP::Parser refuses to read 14.
//!
//! ```text
//! TAP version 13
//! 1..3
//! ok 1 - cargo test --lib
//!   ---
//!   duration_ms: 1234
//!   ...
//! not ok 2 - pytest tests/slow
//!   ---
//!   message: "timeout: it was stopped after 2.00s ..."
//!   ...
//! ```
//!
//! The plan comes first: of a run that is killed, or ended early, each reader finds that tests are missing. Of one command that may
//! bring tests along it comes last, and lacks if the run is killed.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use super::paragraph::in_a_word;
use super::written::written;
use super::{Reporter, diagnosis};
use crate::model::event::{AttemptFinished, Event, RunFinished};
use crate::model::text::harmless;
use crate::model::{Cause, JobId, Verdict};

/// Writes the stream to `sink`, each test at once.
pub struct TapReporter<W> {
    sink: W,
    number: u32,
    /// Whether the plan comes last: who runs one command doesn't know how many tests that brings along.
    plan_last: bool,
    /// Of jobs that are not done: what their failed tries came to.
    tries: BTreeMap<JobId, Vec<String>>,
}

impl<W: Write> TapReporter<W> {
    /// Writes to `sink`, unbuffered.
    pub fn new(sink: W) -> TapReporter<W> {
        TapReporter { sink, number: 0, plan_last: false, tries: BTreeMap::new() }
    }

    fn begin(&mut self, jobs: usize, plan_last: bool) -> io::Result<()> {
        self.plan_last = plan_last;
        if plan_last {
            return self.sink.write_all(b"TAP version 13\n");
        }
        let none = if jobs == 0 { " # SKIP there are no jobs to run" } else { "" };
        write!(self.sink, "TAP version 13\n1..{jobs}{none}\n")
    }

    fn attempt_finished(&mut self, attempt: &AttemptFinished, told: Option<&str>) -> io::Result<()> {
        let job = attempt.attempt.id.job;
        let Some(verdict) = attempt.verdict else {
            if let Some(told) = told.filter(|_| attempt.retry_in.is_some()) {
                self.tries.entry(job).or_default().push(told.to_owned());
            }
            return Ok(());
        };
        let mut block = Block::default();
        block.number("duration_ms", milliseconds(attempt.wall));
        if attempt.failed {
            block.text("severity", if verdict == Verdict::Infra { "error" } else { "fail" });
            block.text("reason", &in_a_word(attempt, verdict));
        }
        block.text("message", told.unwrap_or_default());
        block.text("tries_before", &self.tries.remove(&job).unwrap_or_default().join("\n"));
        if attempt.failed {
            if let Some(peak) = attempt.evidence.memory_peak {
                block.number("memory_peak", peak.0);
            }
            if let Some(max) = attempt.limits.memory_max {
                block.number("memory_max", max.0);
            }
            let seen = attempt.diagnosis.as_ref().map(|seen| diagnosis::short(seen)).unwrap_or_default();
            block.text("diagnosis", &seen.join("\n"));
            block.text("output", &written(attempt).unwrap_or_default());
        }
        let skip = if verdict == Verdict::Unseen { " # SKIP sandtest did not see how it ended" } else { "" };
        self.test(attempt.failed, &(description(&attempt.job) + skip), &block)
    }

    /// It should have been tried again, and the run ended before that: its last try is what it came to.
    fn given_up(&mut self, job: JobId, name: &str) -> io::Result<()> {
        let mut block = Block::default();
        block.text("severity", "fail");
        block.text("message", "it was not tried again, since the run ended.");
        block.text("tries_before", &self.tries.remove(&job).unwrap_or_default().join("\n"));
        self.test(true, &description(name), &block)
    }

    fn test(&mut self, failed: bool, described: &str, block: &Block) -> io::Result<()> {
        self.number += 1;
        let not = if failed { "not " } else { "" };
        let text = format!("{not}ok {} - {described}\n  ---\n{}  ...\n", self.number, block.0);
        // One write: of a run that is killed, whole tests are left.
        self.sink.write_all(text.as_bytes())
    }

    fn end(&mut self, finished: &RunFinished) -> io::Result<()> {
        if self.plan_last {
            writeln!(self.sink, "1..{}", u64::from(self.number) + finished.not_run)?;
        }
        if finished.interrupted {
            return writeln!(self.sink, "Bail out! The run was interrupted");
        }
        let why = match finished.closed {
            Some(Cause::MaxFail) => "after a failure nothing more was started",
            Some(Cause::RunTimeout) => "the time of the whole run was up",
            _ => "the run has ended",
        };
        match finished.not_run {
            0 => Ok(()),
            count => writeln!(self.sink, "# {count} never ran: {why}"),
        }
    }
}

impl<W: Write> Reporter for TapReporter<W> {
    fn event(&mut self, event: &Event, told: Option<&str>) -> io::Result<()> {
        match event {
            Event::RunStarted(started) => self.begin(started.jobs, started.pass_through),
            Event::AttemptFinished(attempt) => self.attempt_finished(attempt, told),
            Event::GivenUp { attempt, job } => self.given_up(attempt.job, job),
            Event::RunFinished(finished) => self.end(finished),
            Event::AttemptStarted(_)
            | Event::Slow { .. }
            | Event::Unsettled { .. }
            | Event::Governor { .. }
            | Event::Broker { .. } => Ok(()),
        }
    }
}

/// A name in which nothing is a directive.
fn description(name: &str) -> String {
    harmless(name).replace('\\', "\\\\").replace('#', "\\#")
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The YAML below a test: a key a line. Strings are JSON's, which every reader of YAML takes; TAP::Parser's own takes them
/// nowhere else than behind a key.
#[derive(Default)]
struct Block(String);

impl Block {
    fn number(&mut self, key: &str, value: u64) {
        self.0 += &format!("  {key}: {value}\n");
    }

    /// Nothing, if there is none.
    fn text(&mut self, key: &str, text: &str) {
        if !text.is_empty() {
            self.0 += &format!("  {key}: {}\n", serde_json::Value::from(text));
        }
    }
}
