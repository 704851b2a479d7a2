//! JUnit XML in the shape that Jenkins, GitLab and nextest's readers take: a test case a job, with what failed tries came to
//! as `flakyFailure` or `rerunFailure`, and what the kernel told as properties.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Utc};
use quick_junit::{
    FlakyOrRerun, NonSuccessKind, Property, Report, TestCase, TestCaseStatus, TestRerun, TestSuite,
};

use super::paragraph::{first_sentence, in_a_word};
use super::whole_file::WholeFile;
use super::written::written;
use super::{Reporter, diagnosis};
use crate::model::event::{AttemptFinished, Event, RunStarted};
use crate::model::text::shown;
use crate::model::{Bytes, JobId, Verdict};

/// Keeps what ended, and writes it.
pub struct JunitReporter {
    file: WholeFile,
    begun: SystemTime,
    /// How long the run has taken, as far as is known.
    wall: Duration,
    suite: TestSuite,
    /// Of jobs that are not done: tries that failed, and how often they were evicted.
    before: BTreeMap<JobId, Before>,
}

/// What came before a job's last attempt.
#[derive(Default)]
struct Before {
    tries: Vec<TestRerun>,
    evictions: u32,
}

impl JunitReporter {
    /// Writes to `path`.
    ///
    /// # Errors
    /// If it can't be written there: a folder, one that is not there, no right to.
    pub fn create(path: &Path) -> io::Result<JunitReporter> {
        Ok(JunitReporter {
            file: WholeFile::create(path)?,
            begun: UNIX_EPOCH,
            wall: Duration::ZERO,
            suite: TestSuite::new("sandtest"),
            before: BTreeMap::new(),
        })
    }

    fn run_started(&mut self, started: &RunStarted) {
        self.begun = UNIX_EPOCH + started.time;
        self.suite.set_timestamp(DateTime::<Utc>::from(self.begun));
        self.suite.add_property(Property::new("run", &started.run.0));
        self.suite.add_property(Property::new("profile", &started.profile));
        self.suite.add_property(Property::new("isolation", started.isolation.tier.to_string()));
        if let Some(max) = started.budget.memory_max {
            self.suite.add_property(Property::new("budget_memory_max", max.0.to_string()));
        }
    }

    fn attempt_finished(&mut self, attempt: &AttemptFinished, told: Option<&str>) -> io::Result<()> {
        let job = attempt.attempt.id.job;
        self.wall = self.wall.max(attempt.ended);
        match attempt.verdict {
            Some(verdict) => {
                let before = self.before.remove(&job).unwrap_or_default();
                let case = self.case(attempt, told, verdict, before);
                self.suite.add_test_case(case);
                self.file.write_if_due(|| text_of(&self.suite, self.begun, self.wall))
            }
            None if attempt.retry_in.is_some() => {
                let tried = rerun(attempt, told);
                self.before.entry(job).or_default().tries.push(tried);
                Ok(())
            }
            None => {
                self.before.entry(job).or_default().evictions += 1;
                Ok(())
            }
        }
    }

    fn case(
        &self,
        attempt: &AttemptFinished,
        told: Option<&str>,
        verdict: Verdict,
        before: Before,
    ) -> TestCase {
        let passed = matches!(verdict, Verdict::Pass | Verdict::Flaky) && !attempt.failed;
        let mut status = if passed {
            TestCaseStatus::success()
        } else if verdict == Verdict::Unseen {
            // No reader knows a fourth, and this one counts neither way.
            let mut status = TestCaseStatus::skipped();
            let told = in_full(attempt, told);
            status.set_type("unseen").set_message(first_sentence(&told)).set_description(told);
            status
        } else {
            let kind =
                if verdict == Verdict::Infra { NonSuccessKind::Error } else { NonSuccessKind::Failure };
            let mut status = TestCaseStatus::non_success(kind);
            let told = if verdict == Verdict::Flaky {
                "flaky: it failed before it passed, and counts as failed.".to_owned()
            } else {
                in_full(attempt, told)
            };
            status
                .set_type(in_a_word(attempt, verdict))
                .set_message(first_sentence(&told))
                .set_description(told);
            // It passed in the end, and what failed before is why it counts as it does.
            if verdict == Verdict::Flaky {
                status.set_rerun_kind(FlakyOrRerun::Flaky);
            }
            status
        };
        status.add_reruns(before.tries);
        let mut case = TestCase::new(plain(attempt.job.as_bytes()), status);
        case.set_classname("sandtest").set_time(attempt.wall);
        case.set_timestamp(DateTime::<Utc>::from(self.begun + attempt.began));
        case.add_properties(properties(attempt, before.evictions));
        if let Some(output) = text(attempt).filter(|_| !passed) {
            case.set_system_out(output);
        }
        case
    }

    /// It should have been tried again, and the run ended before that: its last try is what it came to.
    fn given_up(&mut self, job: JobId, name: &str) {
        let mut tries = self.before.remove(&job).unwrap_or_default().tries;
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
        if let Some(TestRerun { message: Some(message), ty: Some(ty), .. }) = tries.pop() {
            let told = format!("{}. The run ended before it could be tried again.", message.as_str());
            status.set_type(ty).set_message(message).set_description(told);
        }
        status.add_reruns(tries);
        let mut case = TestCase::new(plain(name.as_bytes()), status);
        case.set_classname("sandtest");
        self.suite.add_test_case(case);
    }
}

impl Reporter for JunitReporter {
    fn event(&mut self, event: &Event, told: Option<&str>) -> io::Result<()> {
        match event {
            Event::RunStarted(started) => self.run_started(started),
            Event::AttemptFinished(attempt) => return self.attempt_finished(attempt, told),
            Event::GivenUp { attempt, job } => self.given_up(attempt.job, job),
            Event::RunFinished(finished) => {
                return self.file.write(&text_of(&self.suite, self.begun, finished.wall)?);
            }
            Event::AttemptStarted(_)
            | Event::Slow { .. }
            | Event::Unsettled { .. }
            | Event::Governor { .. }
            | Event::Broker { .. } => {}
        }
        Ok(())
    }
}

fn rerun(attempt: &AttemptFinished, told: Option<&str>) -> TestRerun {
    let told = in_full(attempt, told);
    let mut rerun = TestRerun::new(NonSuccessKind::Failure);
    rerun.set_type(in_a_word(attempt, Verdict::Fail)).set_message(first_sentence(&told));
    rerun.set_time(attempt.wall).set_description(told);
    if let Some(output) = text(attempt) {
        rerun.set_system_out(output);
    }
    rerun
}

/// What happened, and what it was doing.
fn in_full(attempt: &AttemptFinished, told: Option<&str>) -> String {
    let seen = attempt.diagnosis.as_ref().map(|seen| diagnosis::short(seen)).unwrap_or_default();
    plain(told.map(str::to_owned).into_iter().chain(seen).collect::<Vec<_>>().join("\n").as_bytes())
}

fn text_of(suite: &TestSuite, begun: SystemTime, wall: Duration) -> io::Result<String> {
    let mut suite = suite.clone();
    suite.set_time(wall);
    let mut report = Report::new("sandtest");
    report.set_timestamp(DateTime::<Utc>::from(begun)).set_time(wall).add_test_suite(suite);
    report.to_string().map_err(io::Error::other)
}

/// What the kernel told: sizes in bytes, times in milliseconds.
fn properties(attempt: &AttemptFinished, evictions: u32) -> Vec<Property> {
    let evidence = &attempt.evidence;
    let bytes = |size: Option<Bytes>| size.map(|size| size.0.to_string());
    let milliseconds = |time: Duration| format!("{:.3}", time.as_secs_f64() * 1e3);
    let said = [
        ("attempt", Some(attempt.attempt.id.number.to_string())),
        ("slot", Some(attempt.attempt.slot.to_string())),
        ("memory_peak", bytes(evidence.memory_peak)),
        ("memory_max", bytes(attempt.limits.memory_max)),
        ("pids_peak", evidence.pids_peak.map(|peak| peak.to_string())),
        ("pids_max", attempt.limits.pids_max.map(|max| max.to_string())),
        ("cpu_ms", evidence.cpu_time.map(milliseconds)),
        ("frozen_ms", Some(milliseconds(attempt.frozen))),
        ("evictions", Some(evictions.to_string())),
        ("leaked", Some(evidence.leaked_count.to_string())),
    ];
    said.into_iter().filter_map(|(name, value)| Some(Property::new(name, value?))).collect()
}

/// What is kept of the output; `None` if nothing was written.
fn text(attempt: &AttemptFinished) -> Option<String> {
    written(attempt).map(|text| without_tabs(&text))
}

/// Of what a test chose.
fn plain(text: &[u8]) -> String {
    without_tabs(&shown(text))
}

/// The writer would drop them.
fn without_tabs(text: &str) -> String {
    text.replace('\t', "    ")
}
