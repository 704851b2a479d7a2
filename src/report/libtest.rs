//! What `cargo test -- --format json -Z unstable-options --report-time` writes, and `cargo nextest` as `libtest-json`: one suite,
//! a test a job.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;

use super::Reporter;
use super::written::written;
use crate::model::event::{AttemptFinished, Event, RunFinished};
use crate::model::text::harmless;
use crate::model::{JobId, Verdict};

/// Writes the stream to `sink`, each line at once.
pub struct LibtestReporter<W> {
    sink: W,
    /// Jobs that were said to have started, and have not ended.
    started: BTreeSet<JobId>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Line<'a> {
    Suite {
        event: &'a str,
        #[serde(flatten)]
        counts: Counts,
    },
    Test {
        event: &'a str,
        name: &'a str,
        /// Seconds.
        #[serde(skip_serializing_if = "Option::is_none")]
        exec_time: Option<f64>,
        /// Both streams, as libtest has it.
        #[serde(skip_serializing_if = "Option::is_none")]
        stdout: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        message: Option<&'a str>,
    },
}

#[derive(Serialize)]
#[serde(untagged)]
enum Counts {
    Started { test_count: usize },
    Ended { passed: u64, failed: u64, ignored: u64, measured: u64, filtered_out: u64, exec_time: f64 },
}

impl<W: Write> LibtestReporter<W> {
    /// Writes to `sink`, unbuffered.
    pub fn new(sink: W) -> LibtestReporter<W> {
        LibtestReporter { sink, started: BTreeSet::new() }
    }

    fn write(&mut self, line: &Line) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.sink.write_all(&text)
    }

    /// Once for a job, however often it is tried.
    fn test_started(&mut self, job: JobId, name: &str) -> io::Result<()> {
        if self.started.insert(job) { self.plain("started", name) } else { Ok(()) }
    }

    fn plain(&mut self, event: &str, name: &str) -> io::Result<()> {
        let name = &harmless(name);
        self.write(&Line::Test { event, name, exec_time: None, stdout: None, message: None })
    }

    fn attempt_finished(&mut self, attempt: &AttemptFinished, told: Option<&str>) -> io::Result<()> {
        let job = attempt.attempt.id.job;
        // What could not be started has ended all the same.
        self.test_started(job, &attempt.job)?;
        if attempt.verdict.is_none() {
            return Ok(());
        }
        self.started.remove(&job);
        self.write(&Line::Test {
            event: match attempt.verdict {
                // Its only word for what neither passed nor failed.
                Some(Verdict::Unseen) => "ignored",
                _ if attempt.failed => "failed",
                _ => "ok",
            },
            name: &harmless(&attempt.job),
            exec_time: Some(seconds(attempt.wall)),
            stdout: written(attempt).filter(|_| attempt.failed),
            message: told.filter(|_| attempt.failed || attempt.verdict == Some(Verdict::Unseen)),
        })
    }

    fn given_up(&mut self, job: JobId, name: &str) -> io::Result<()> {
        self.started.remove(&job);
        let message = Some("it was not tried again, since the run ended.");
        let name = &harmless(name);
        self.write(&Line::Test { event: "failed", name, exec_time: None, stdout: None, message })
    }

    fn end(&mut self, finished: &RunFinished) -> io::Result<()> {
        let good = finished.failed == 0 && finished.not_run == 0 && !finished.interrupted;
        let counts = Counts::Ended {
            passed: finished.passed,
            failed: finished.failed,
            ignored: finished.unseen,
            measured: 0,
            filtered_out: 0,
            exec_time: seconds(finished.wall),
        };
        self.write(&Line::Suite { event: if good { "ok" } else { "failed" }, counts })
    }
}

/// To the microsecond.
fn seconds(time: Duration) -> f64 {
    time.as_micros() as f64 / 1e6
}

impl<W: Write> Reporter for LibtestReporter<W> {
    fn event(&mut self, event: &Event, told: Option<&str>) -> io::Result<()> {
        match event {
            Event::RunStarted(started) => {
                let counts = Counts::Started { test_count: started.jobs };
                self.write(&Line::Suite { event: "started", counts })
            }
            Event::AttemptStarted(started) => self.test_started(started.attempt.id.job, &started.job),
            // Its word for one that runs for long.
            Event::Slow { job, .. } => self.plain("timeout", job),
            Event::AttemptFinished(attempt) => self.attempt_finished(attempt, told),
            Event::GivenUp { attempt, job } => self.given_up(attempt.job, job),
            Event::RunFinished(finished) => self.end(finished),
            Event::Unsettled { .. } | Event::Governor { .. } | Event::Broker { .. } => Ok(()),
        }
    }
}
