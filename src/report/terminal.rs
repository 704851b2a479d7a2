//! For people, on standard error: a line a job, failures with what they wrote and why, a summary.
//!
//! A single command whose limits the kernel holds is passed through without a word, as by any good wrapper.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use super::paragraph::{not_held, short, signal_name};
use super::progress::Progress;
use super::{Reporter, diagnosis, governor};
use crate::model::event::{AttemptFinished, Captured, Event, RunFinished, RunStarted, Tries};
use crate::model::governor::{Decision, State};
use crate::model::retry::Unsettled;
use crate::model::text::acts;
use crate::model::{Attempt, AttemptId, Bytes, Cause, Exit, Outcome, Verdict};

/// What the sink can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Whether a live line may be drawn.
    pub live: bool,
    /// Whether colours may be used.
    pub colour: bool,
    /// Columns; `None` for no end of the line.
    pub width: Option<usize>,
}

/// Writes the stream for people.
pub struct TerminalReporter<W> {
    sink: W,
    look: Look,
    pass_through: bool,
    progress: Option<Progress>,
    failures: Vec<String>,
    /// Attempts that left files in their own temporary directory, and the first of those files.
    littered: u64,
    litter: Option<String>,
    /// How things stood when that was last told.
    state: State,
}

/// Standard error, even if a job that shares it has made it non-blocking and full.
pub struct PatientStderr(io::Stderr);

/// A reader that takes nothing for so long is not waited for any more.
const PATIENCE: Duration = Duration::from_secs(5);

impl Write for PatientStderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let begin = Instant::now();
        loop {
            match self.0.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && begin.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                done => return done,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl TerminalReporter<PatientStderr> {
    /// On standard error, as it is.
    pub fn on_stderr() -> TerminalReporter<PatientStderr> {
        TerminalReporter::new(PatientStderr(io::stderr()), Look::of(&console::Term::stderr()))
    }
}

impl TerminalReporter<io::Stdout> {
    /// On standard output, for a run that is over.
    pub fn on_stdout() -> TerminalReporter<io::Stdout> {
        let look = Look { live: false, ..Look::of(&console::Term::stdout()) };
        TerminalReporter::new(io::stdout(), look)
    }
}

impl Look {
    fn of(sink: &console::Term) -> Look {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let terminal = sink.is_term();
        Look {
            live: terminal && !dumb && !set("CI"),
            colour: terminal && !dumb && !set("NO_COLOR"),
            width: terminal.then(|| usize::from(sink.size().1)),
        }
    }
}

impl<W: Write> TerminalReporter<W> {
    /// On `sink`, with `look`.
    pub fn new(sink: W, look: Look) -> TerminalReporter<W> {
        TerminalReporter {
            sink,
            look,
            pass_through: false,
            progress: None,
            failures: Vec::new(),
            littered: 0,
            litter: None,
            state: State::Green,
        }
    }

    fn run_started(&mut self, started: &RunStarted) -> io::Result<()> {
        self.pass_through = started.pass_through;
        let not_held = not_held(&started.isolation);
        let tier = started.isolation.tier;
        let hint = not_held.as_ref().map(|text| format!(": {text} (sandtest doctor tells why)"));
        if started.pass_through {
            if let Some(hint) = hint {
                let line = format!("sandtest: profile {}, isolation {tier}{hint}", started.profile);
                self.sink.write_all(self.wrap(&line, 0).as_bytes())?;
            }
            return Ok(());
        }
        if started.jobs == 0 {
            return self.sink.write_all(b"sandtest: there are no jobs to run\n");
        }
        let jobs = if started.jobs == 1 { "1 job".into() } else { format!("{} jobs", started.jobs) };
        let budget = started.budget.memory_max.map_or(String::new(), |max| format!(", budget {max}"));
        let line = format!(
            "sandtest: {jobs}, {} at once, profile {}, isolation {tier}{budget}{}",
            started.parallel,
            started.profile,
            hint.unwrap_or_default()
        );
        self.sink.write_all(self.wrap(&line, 0).as_bytes())?;
        self.progress = Some(Progress::new(started.jobs, self.look.live, self.look.colour));
        Ok(())
    }

    fn attempt_finished(&mut self, attempt: &AttemptFinished, paragraph: Option<&str>) -> io::Result<()> {
        if self.pass_through {
            return self.pass_through_finished(attempt, paragraph);
        }
        let failed = attempt.failed;
        let text = self.told(attempt, failed, paragraph);
        if failed {
            self.failures.push(format!("{}  {}", self.label(attempt), attempt.job));
        }
        // Of those that are still there the end of the run tells.
        if let Some(files) = attempt.evidence.left.files.as_ref().filter(|files| files.kept.is_none()) {
            self.littered += 1;
            self.litter = self.litter.take().or_else(|| files.first.first().cloned());
        }
        let id = attempt.attempt.id;
        if let Some(progress) = &mut self.progress {
            progress.ended(id, attempt.verdict.is_some(), failed);
        }
        self.above(&text)
    }

    /// Above the live line, where there is one.
    fn above(&mut self, text: &[u8]) -> io::Result<()> {
        let mut written = Ok(());
        match &self.progress {
            Some(progress) => progress.above(|| written = self.sink.write_all(text)),
            None => written = self.sink.write_all(text),
        }
        written
    }

    fn slow(&mut self, job: &str, elapsed: Duration) -> io::Result<()> {
        let label = self.paint("33", &format!("{:>8}", "SLOW"));
        let line = format!("{label} {:>9}  {}\n", format!(">{}", short(elapsed)), self.cut(job, 20));
        self.above(line.as_bytes())
    }

    /// A line about a job that is none of its attempts'.
    fn note(&mut self, job: &str, what: &str) -> io::Result<()> {
        let line = self.wrap(&format!("sandtest: {}: {what}", self.cut(job, 40)), 0);
        self.above(line.as_bytes())
    }

    fn given_up(&mut self, attempt: AttemptId, job: &str) -> io::Result<()> {
        if let Some(progress) = &mut self.progress {
            progress.ended(attempt, true, true);
        }
        self.failures.push(format!("FAIL  {job}"));
        self.note(job, "it has failed and is not tried again, since the run ends")
    }

    fn unsettled(&mut self, job: &str, what: Unsettled) -> io::Result<()> {
        let what = match what {
            Unsettled::Groups => "its last attempt's cgroups are still there",
            Unsettled::Pressure => "memory, disks or the editor's processors are still waited for",
        };
        self.note(job, &format!("it is tried again although {what}"))
    }

    /// One command: only what its own output and exit code can't tell.
    fn pass_through_finished(
        &mut self,
        attempt: &AttemptFinished,
        paragraph: Option<&str>,
    ) -> io::Result<()> {
        let speaks_for_itself = attempt.cause == Cause::Interrupted
            || matches!(attempt.outcome, Outcome::Exited | Outcome::Signaled);
        let evidence = &attempt.evidence;
        let leaks = evidence.leaked_count > 0 || evidence.unkillable || !evidence.left.is_empty();
        let Tries { this, most } = attempt.tries;
        let paragraph = match paragraph {
            Some(text) if attempt.retry_in.is_some() => format!("try {this} of {most}: {text}"),
            None if attempt.verdict == Some(Verdict::Flaky) => {
                format!("flaky: it passed on try {this} of {most}.")
            }
            Some(text) if !speaks_for_itself => text.to_owned(),
            // The end of the paragraph alone: what the command itself came to, it has said.
            Some(text) if leaks => match text.find("left ").or(text.find("unkillable")) {
                Some(at) => text[at..].to_owned(),
                None => text.to_owned(),
            },
            _ => return Ok(()),
        };
        let text = self.wrap(&format!("sandtest: {paragraph}"), 0) + &self.diagnosis(attempt, 2);
        self.sink.write_all(text.as_bytes())
    }

    /// An attempt's line, and for one that did not pass what it wrote and what happened.
    fn told(&self, attempt: &AttemptFinished, failed: bool, paragraph: Option<&str>) -> Vec<u8> {
        let label = self.label(attempt);
        let label = match attempt.verdict {
            Some(Verdict::Pass) => self.paint("32", &format!("{label:>8}")),
            Some(Verdict::Flaky) if !failed => self.paint("33", &format!("{label:>8}")),
            None => self.paint("33", &format!("{label:>8}")),
            Some(_) => self.paint("31;1", &format!("{label:>8}")),
        };
        let tries = tries(attempt);
        let name = self.cut(&attempt.job, 20 + tries.len());
        let mut text = format!("{label} {:>9}  {name}{tries}\n", short(attempt.wall)).into_bytes();
        if (failed || attempt.retry_in.is_some())
            && let Some(output) = &attempt.output
        {
            text.extend(self.output(output));
        }
        if let Some(paragraph) = paragraph {
            text.extend(self.wrap(paragraph, 9).into_bytes());
        }
        text.extend(self.diagnosis(attempt, 9).into_bytes());
        text
    }

    /// What an attempt that ran out of time was doing.
    fn diagnosis(&self, attempt: &AttemptFinished, indent: usize) -> String {
        let Some(diagnosis) = &attempt.diagnosis else { return String::new() };
        let mut lines = diagnosis::short(diagnosis);
        lines.extend(diagnosis.asked.iter().flat_map(diagnosis::asked));
        if let Some(file) = &attempt.diagnosis_file {
            lines.push(format!("the whole of it is in {}", file.display()));
        }
        if let Some(reading) = lines.first_mut() {
            reading.insert_str(0, "diagnosis: ");
        }
        let own = |line: &str| line.len() - line.trim_start().len();
        lines.iter().map(|line| self.wrap(line.trim_start(), indent + own(line))).collect()
    }

    /// What a job wrote, between rules, so that it can't be mistaken for ours.
    fn output(&self, output: &Captured) -> Vec<u8> {
        if output.total == 0 {
            return Vec::new();
        }
        let rule = |title: &str| {
            let length = self.look.width.unwrap_or(80).clamp(30, 80);
            let dashes = "-".repeat(length.saturating_sub(title.len() + 4));
            self.paint("2", &format!("--{title}{dashes}")).into_bytes()
        };
        let mut text = rule(" output ");
        text.push(b'\n');
        text.extend(&output.head);
        if output.left_out() > 0 {
            let place = output.file.as_ref().map_or("nowhere".into(), |file| file.display().to_string());
            let lacks = match output.file_lacks {
                0 => String::new(),
                lacks => format!(", less the last {}", Bytes(lacks)),
            };
            let left_out = Bytes(output.left_out());
            end_line(&mut text);
            let line = self.wrap(&format!("... {left_out} left out; the whole is in {place}{lacks} ..."), 0);
            text.extend(self.paint("2", &line).bytes());
        }
        text.extend(&output.tail);
        end_line(&mut text);
        text.extend(rule(""));
        text.push(b'\n');
        text
    }

    fn run_finished(&mut self, finished: &RunFinished) -> io::Result<()> {
        // A run of many, and of at least one, began with it.
        let Some(progress) = self.progress.take() else { return Ok(()) };
        progress.finish();
        let mut text = String::new();
        if self.failures.len() > 1 {
            text += "failed:\n";
            for failure in &self.failures {
                text += &format!("  {}\n", self.cut(failure, 2));
            }
        }
        let mut parts = vec![format!("{} passed", finished.passed)];
        let counts = [
            (finished.failed, "failed"),
            (finished.not_run, "not run"),
            (finished.flaky, "flaky among these"),
            // Of those that wait to run again the end of the run makes some that never do.
            (finished.evictions, if finished.not_run == 0 { "evicted and run again" } else { "evicted" }),
        ];
        parts.extend(
            counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")),
        );
        if finished.leaked > 0 {
            parts.push(format!("{} left behind and killed", finished.leaked));
        }
        if let Some(line) = finished.governed.as_ref().and_then(governor::summary) {
            text += &self.wrap(&format!("sandtest: {line}"), 0);
        }
        if self.littered > 0 {
            let noun = if self.littered == 1 { "attempt" } else { "attempts" };
            let such_as = self.litter.as_ref().map_or(String::new(), |name| format!(", such as {name}"));
            let line =
                format!("sandtest: {} {noun} left files in the TMPDIR{such_as}: removed", self.littered);
            text += &self.wrap(&self.cut(&line, 0), 0);
        }
        let ended_early = match finished.closed {
            Some(Cause::MaxFail) => {
                Some("after a failure nothing more was started; --max-fail N allows more, --no-fail-fast all")
            }
            Some(Cause::RunTimeout) => Some("the time of the whole run was up; --run-timeout gives it more"),
            _ => None,
        };
        if let Some(why) = ended_early.filter(|_| finished.not_run > 0) {
            text += &self.wrap(&format!("sandtest: {why}"), 0);
        }
        let interrupted = if finished.interrupted { ", interrupted" } else { "" };
        let good = finished.failed == 0 && finished.not_run == 0 && !finished.interrupted;
        let summary = format!("sandtest: {}{interrupted} in {}", parts.join(", "), short(finished.wall));
        text += &self.paint(if good { "32;1" } else { "31;1" }, &self.wrap(&summary, 0));
        self.sink.write_all(text.as_bytes())
    }

    /// A line only when the state changes: every decision is in the JSON lines.
    fn decided(&mut self, decision: &Decision, job: Option<&str>) -> io::Result<()> {
        if decision.state == self.state || self.pass_through {
            return Ok(());
        }
        self.state = decision.state;
        let code = match decision.state {
            State::Green => "32",
            State::Yellow => "33",
            State::Orange => "33;1",
            State::Red => "31;1",
        };
        let word = self.paint(code, &format!("{:>8}", decision.state.as_str().to_uppercase()));
        let sentence = self.wrap(&governor::sentence(decision, job), 10);
        let text = format!("{word}  {}", sentence.trim_start());
        self.above(text.as_bytes())
    }

    fn started(&mut self, attempt: Attempt, job: &str) {
        if let Some(progress) = &mut self.progress {
            progress.started(attempt.id, job);
        }
    }

    fn label(&self, attempt: &AttemptFinished) -> String {
        match (attempt.outcome, attempt.exit) {
            (Outcome::Oom, _) => "OOM".into(),
            (Outcome::Pids, _) => "PIDS".into(),
            (Outcome::Timeout, _) => "TIMEOUT".into(),
            (Outcome::Evicted, _) if attempt.verdict.is_some() => "INFRA".into(),
            (Outcome::Evicted, _) => "EVICTED".into(),
            (Outcome::SpawnFailed, _) => "NO START".into(),
            (_, Some(Exit::Signal(number))) => signal_name(number),
            (_, Some(Exit::Code(0))) if attempt.verdict == Some(Verdict::Flaky) => "FLAKY".into(),
            (_, Some(Exit::Code(0))) if attempt.failed || attempt.retry_in.is_some() => "LEAK".into(),
            (_, Some(Exit::Code(0))) if attempt.evidence.left_only_rubbish() => "PASS".into(),
            (_, Some(Exit::Code(0))) if attempt.evidence.left_something() => "LEAK".into(),
            (_, Some(Exit::Code(0))) => "PASS".into(),
            (_, Some(Exit::Code(code))) => format!("FAIL {code}"),
            (_, None) => "LOST".into(),
        }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.look.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// On a terminal, no wider than it with `taken` columns gone; in full elsewhere. Names are one line always.
    fn cut(&self, text: &str, taken: usize) -> String {
        let line: String = text.replace(acts, " ");
        let Some(room) = self.look.width.map(|width| width.saturating_sub(taken).max(10)) else {
            return line;
        };
        if line.chars().count() <= room {
            return line;
        }
        // The end of a command line tells jobs apart more often than its beginning.
        let (begin, end) = (room / 2 - 1, room - room / 2 - 2);
        let begin: String = line.chars().take(begin).collect();
        let end: String = line.chars().skip(line.chars().count() - end).collect();
        format!("{begin}...{end}")
    }

    fn wrap(&self, text: &str, indent: usize) -> String {
        let room = self.look.width.map_or(usize::MAX, |width| width.saturating_sub(indent + 1).max(30));
        let margin = " ".repeat(indent);
        let mut wrapped = margin.clone();
        let mut column = 0;
        for word in text.split(' ') {
            let length = word.chars().count();
            if column > 0 && column + 1 + length > room {
                wrapped += &format!("\n{margin}");
                column = 0;
            }
            if column > 0 {
                wrapped.push(' ');
                column += 1;
            }
            wrapped += word;
            column += length;
        }
        wrapped.push('\n');
        wrapped
    }
}

impl<W: Write> Reporter for TerminalReporter<W> {
    fn event(&mut self, event: &Event, told: Option<&str>) -> io::Result<()> {
        match event {
            Event::RunStarted(started) => self.run_started(started),
            Event::Slow { job, elapsed, .. } => self.slow(job, *elapsed),
            Event::Unsettled { job, what, .. } => self.unsettled(job, *what),
            Event::GivenUp { attempt, job } => self.given_up(*attempt, job),
            Event::AttemptStarted { attempt, job } => {
                self.started(*attempt, job);
                Ok(())
            }
            Event::Governor { decision, job, .. } => self.decided(decision, job.as_deref()),
            Event::AttemptFinished(attempt) => self.attempt_finished(attempt, told),
            Event::RunFinished(finished) => self.run_finished(finished),
        }
    }
}

/// ` (try 2 of 3)`, where there may be more than one.
fn tries(attempt: &AttemptFinished) -> String {
    let Tries { this, most } = attempt.tries;
    if most > 1 && (this > 1 || attempt.retry_in.is_some()) {
        format!(" (try {this} of {most})")
    } else {
        String::new()
    }
}

fn end_line(text: &mut Vec<u8>) {
    if text.last().is_some_and(|byte| *byte != b'\n') {
        text.push(b'\n');
    }
}
