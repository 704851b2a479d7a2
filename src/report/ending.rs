//! What is said at the end of a run: what stood out, what the governor did, all that failed once more, and the counts.

use super::governor;
use super::look::Look;
use super::paragraph::short;
use super::standouts::Standouts;
use crate::model::Cause;
use crate::model::event::{AttemptFinished, RunFinished, RunStarted};

/// Of more failures than this only the names are told again: what happened stands above.
const MOST_TOLD: usize = 50;

/// Columns of what is said of files beside a file's name.
const LITTER_LINE: usize = 30;

/// What is kept for it while the run goes on.
#[derive(Debug, Default)]
pub struct Ending {
    failures: Vec<Failure>,
    /// Whether a job was told of after the last failure.
    buried: bool,
    standouts: Standouts,
    /// Attempts that left files in their own temporary directory, and the first of those files.
    littered: u64,
    litter: Option<String>,
}

/// A job that failed.
#[derive(Debug)]
pub struct Failure {
    /// What it failed of, in a word.
    pub label: String,
    /// Its name.
    pub job: String,
    /// What happened.
    pub told: String,
}

impl Ending {
    /// Of this run.
    pub fn of(started: &RunStarted) -> Ending {
        Ending { standouts: Standouts::of(started), ..Ending::default() }
    }

    /// A job has failed.
    pub fn failed(&mut self, failure: Failure) {
        self.failures.push(failure);
        self.buried = false;
    }

    /// An attempt has ended, and did not make a failure of its job.
    pub fn passed(&mut self) {
        self.buried = true;
    }

    /// Takes in the end of any attempt.
    pub fn note(&mut self, attempt: &AttemptFinished) {
        self.standouts.note(attempt);
        // Of those that are still there its own line tells.
        if let Some(files) = attempt.evidence.left.files.as_ref().filter(|files| files.kept.is_none()) {
            self.littered += 1;
            self.litter = self.litter.take().or_else(|| files.first.first().cloned());
        }
    }

    /// All of it.
    pub fn text(&self, finished: &RunFinished, look: Look) -> String {
        let mut text = self.standing_out(finished, look, "");
        if let Some(line) = finished.governed.as_ref().and_then(governor::summary) {
            text += &look.wrap(&format!("sandtest: {line}"), 0);
        }
        if self.littered > 0 {
            let noun = if self.littered == 1 { "attempt" } else { "attempts" };
            let name = |name: &String| format!(", such as {}", look.cut(name, LITTER_LINE));
            let such_as = self.litter.as_ref().map_or(String::new(), name);
            let line =
                format!("sandtest: {} {noun} left files in the TMPDIR{such_as}: removed", self.littered);
            text += &look.wrap(&line, 0);
        }
        text += &self.failures(look);
        let ended_early = match finished.closed {
            Some(Cause::MaxFail) => {
                Some("after a failure nothing more was started; --max-fail N allows more, --no-fail-fast all")
            }
            Some(Cause::RunTimeout) => Some("the time of the whole run was up; --run-timeout gives it more"),
            _ => None,
        };
        if let Some(why) = ended_early.filter(|_| finished.not_run > 0) {
            text += &look.wrap(&format!("sandtest: {why}"), 0);
        }
        let good = finished.failed == 0 && finished.not_run == 0 && !finished.interrupted;
        let summary = format!("sandtest: {}", counts(finished));
        text + &look.paint(if good { "32;1" } else { "31;1" }, &look.wrap(&summary, 0))
    }

    /// What stood out, each kind with `before` in front of it.
    pub fn standing_out(&self, finished: &RunFinished, look: Look, before: &str) -> String {
        let mut text = String::new();
        for (kind, jobs) in self.standouts.told(finished.wall) {
            text += &format!("{before}{kind}:\n");
            for standout in jobs {
                let figure = format!("{:>20}", standout.figure);
                text += &format!("{figure}  {}\n", look.cut(&standout.job, figure.chars().count() + 2));
            }
        }
        text
    }

    /// Again, where more was told after them than can be seen at once.
    fn failures(&self, look: Look) -> String {
        if self.failures.is_empty() || (self.failures.len() == 1 && !self.buried) {
            return String::new();
        }
        let mut text = look.paint("31;1", "failed:") + "\n";
        for failure in &self.failures {
            text += &format!("  {}\n", look.cut(&format!("{}  {}", failure.label, failure.job), 2));
            if self.failures.len() <= MOST_TOLD {
                text += &failure.told.lines().map(|line| look.wrap(line, 9)).collect::<String>();
            }
        }
        text
    }
}

/// What is said of how many ended that way.
pub const UNSEEN: &str = "whose end sandtest did not see";

/// What jobs came to, in a line.
pub fn counts(finished: &RunFinished) -> String {
    let mut parts = vec![format!("{} passed", finished.passed)];
    let counts = [
        (finished.failed, "failed"),
        (finished.unseen, UNSEEN),
        (finished.not_run, "not run"),
        (finished.flaky, "flaky among these"),
        // Of those that wait to run again the end of the run makes some that never do.
        (finished.evictions, if finished.not_run == 0 { "evicted and run again" } else { "evicted" }),
        (finished.leaked, "left behind and killed"),
    ];
    parts
        .extend(counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")));
    let interrupted = if finished.interrupted { ", interrupted" } else { "" };
    format!("{}{interrupted} in {}", parts.join(", "), short(finished.wall))
}
