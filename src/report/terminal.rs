//! For people, on standard error: a line a job, failures with what they wrote and why, a summary.
//!
//! A single command whose limits the kernel holds is passed through without a word, as by any good wrapper.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use super::ending::{Ending, Failure};
pub use super::look::Look;
use super::paragraph::{not_held, short, signal_name};
use super::progress::Progress;
use super::{Reporter, broker, diagnosis, governor};
use crate::model::event::{
    AttemptFinished, AttemptStarted, BrokerNews, Captured, Event, RunFinished, RunStarted, Tries,
};
use crate::model::governor::{Decision, State};
use crate::model::retry::Unsettled;
use crate::model::{AttemptId, Bytes, Cause, Exit, Outcome, Verdict};

/// Writes the stream for people.
pub struct TerminalReporter<W> {
    sink: W,
    look: Look,
    /// Whether the run is over, and all of it is to be told.
    is_over: bool,
    /// Whether a job has the terminal to itself.
    pass_through: bool,
    progress: Option<Progress>,
    ending: Ending,
    /// How things stood when that was last told.
    state: State,
    /// Why nothing of the run ran, when that was last told.
    waits: Option<String>,
}

/// Standard error, even if a job that shares it has made it non-blocking and full.
pub struct PatientStderr(io::Stderr);

/// A reader that takes nothing for so long is not waited for any more.
const PATIENCE: Duration = Duration::from_secs(5);

impl Default for PatientStderr {
    fn default() -> PatientStderr {
        PatientStderr(io::stderr())
    }
}

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
        TerminalReporter::new(PatientStderr::default(), Look::of(&console::Term::stderr()))
    }
}

impl TerminalReporter<io::Stdout> {
    /// On standard output, for a run that is over.
    pub fn on_stdout() -> TerminalReporter<io::Stdout> {
        let look = Look { live: false, ..Look::of(&console::Term::stdout()) };
        TerminalReporter { is_over: true, ..TerminalReporter::new(io::stdout(), look) }
    }
}

impl<W: Write> TerminalReporter<W> {
    /// On `sink`, with `look`.
    pub fn new(sink: W, look: Look) -> TerminalReporter<W> {
        TerminalReporter {
            sink,
            look,
            is_over: false,
            pass_through: false,
            progress: None,
            ending: Ending::default(),
            state: State::Green,
            waits: None,
        }
    }

    fn run_started(&mut self, started: &RunStarted) -> io::Result<()> {
        self.pass_through = started.pass_through && !self.is_over;
        self.ending = Ending::of(started);
        let not_held = not_held(&started.isolation);
        let tier = started.isolation.tier;
        let hint = not_held.as_ref().map(|text| format!(": {text} (sandtest doctor tells why)"));
        if self.pass_through {
            if let Some(hint) = hint {
                let line = format!("sandtest: profile {}, isolation {tier}{hint}", started.profile);
                self.sink.write_all(self.look.wrap(&line, 0).as_bytes())?;
            }
            return Ok(());
        }
        if started.jobs == 0 {
            return self.sink.write_all(b"sandtest: there are no jobs to run\n");
        }
        let jobs = match started.jobs {
            _ if started.pass_through => "one command".into(),
            1 => "1 job".into(),
            jobs => format!("{jobs} jobs, {} at once", started.parallel),
        };
        let budget = started.budget.memory_max.map_or(String::new(), |max| format!(", budget {max}"));
        let broker = started.broker.as_ref().map_or(String::new(), |of| format!(", {}'s broker", of.scope));
        let line = format!(
            "sandtest: {jobs}, profile {}, isolation {tier}{budget}{broker}{}",
            started.profile,
            hint.unwrap_or_default()
        );
        self.sink.write_all(self.look.wrap(&line, 0).as_bytes())?;
        self.progress = Some(Progress::new(started.jobs, self.look));
        Ok(())
    }

    fn attempt_finished(&mut self, attempt: &AttemptFinished, paragraph: Option<&str>) -> io::Result<()> {
        if self.pass_through {
            self.ending.note(attempt);
            return match attempt.driver {
                Some(_) => self.driven_finished(attempt, paragraph),
                None => self.pass_through_finished(attempt, paragraph),
            };
        }
        let failed = attempt.failed;
        let text = self.told(attempt, failed, paragraph);
        self.ending.note(attempt);
        if failed {
            let seen = attempt.diagnosis.as_ref().map(|seen| format!("\ndiagnosis: {}", seen.reading));
            let told = paragraph.unwrap_or_default().to_owned() + &seen.unwrap_or_default();
            self.ending.failed(Failure { label: label(attempt), job: attempt.job.clone(), told });
        } else {
            self.ending.passed();
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
        let label = self.look.paint("33", &format!("{:>8}", "SLOW"));
        let line = format!("{label} {:>9}  {}\n", format!(">{}", short(elapsed)), self.look.cut(job, 20));
        self.above(line.as_bytes())
    }

    /// A line about a job that is none of its attempts'.
    fn note(&mut self, job: &str, what: &str) -> io::Result<()> {
        let line = self.look.wrap(&format!("sandtest: {}: {what}", self.look.cut(job, 40)), 0);
        self.above(line.as_bytes())
    }

    fn given_up(&mut self, attempt: AttemptId, job: &str) -> io::Result<()> {
        if let Some(progress) = &mut self.progress {
            progress.ended(attempt, true, true);
        }
        let told = "it was not tried again, since the run ended.".to_owned();
        self.ending.failed(Failure { label: "FAIL".to_owned(), job: job.to_owned(), told });
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
        let speaks_for_itself = match attempt.cause {
            Cause::Interrupted => true,
            // Somebody else's doing, maybe at another terminal.
            Cause::ByHand => false,
            _ => matches!(attempt.outcome, Outcome::Exited | Outcome::Signaled),
        };
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
        let text = self.look.wrap(&format!("sandtest: {paragraph}"), 0) + &self.diagnosis(attempt, 2);
        self.sink.write_all(text.as_bytes())
    }

    /// One that the command brought along: only what the command can't have seen.
    fn driven_finished(&mut self, attempt: &AttemptFinished, paragraph: Option<&str>) -> io::Result<()> {
        // Of one that was not taken in its wrapper has spoken, if it lives.
        let speaks_for_itself =
            matches!(attempt.outcome, Outcome::Exited | Outcome::Signaled | Outcome::SpawnFailed)
                && attempt.cause != Cause::ByHand
                && !attempt.evidence.unkillable;
        let Some(paragraph) = paragraph.filter(|_| !speaks_for_itself) else { return Ok(()) };
        let name = self.look.cut(&attempt.job, 40);
        let text = self.look.wrap(&format!("sandtest: {name}: {paragraph}"), 0) + &self.diagnosis(attempt, 2);
        self.sink.write_all(text.as_bytes())
    }

    /// An attempt's line, and for one that did not pass what it wrote and what happened.
    fn told(&self, attempt: &AttemptFinished, failed: bool, paragraph: Option<&str>) -> Vec<u8> {
        let label = label(attempt);
        let label = match attempt.verdict {
            Some(Verdict::Pass) => self.look.paint("32", &format!("{label:>8}")),
            Some(Verdict::Flaky) if !failed => self.look.paint("33", &format!("{label:>8}")),
            None | Some(Verdict::Unseen) => self.look.paint("33", &format!("{label:>8}")),
            Some(_) => self.look.paint("31;1", &format!("{label:>8}")),
        };
        let tries = tries(attempt);
        let name = self.look.cut(&attempt.job, 20 + tries.len());
        let mut text = format!("{label} {:>9}  {name}{tries}\n", short(attempt.wall)).into_bytes();
        if (failed || attempt.retry_in.is_some())
            && let Some(output) = &attempt.output
        {
            text.extend(self.output(output));
        }
        if let Some(paragraph) = paragraph {
            text.extend(self.look.wrap(paragraph, 9).into_bytes());
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
        lines.iter().map(|line| self.look.wrap(line.trim_start(), indent + own(line))).collect()
    }

    /// What a job wrote, between rules, so that it can't be mistaken for ours.
    fn output(&self, output: &Captured) -> Vec<u8> {
        if output.total == 0 {
            return Vec::new();
        }
        let rule = |title: &str| {
            let length = self.look.width.unwrap_or(80).clamp(30, 80);
            let dashes = "-".repeat(length.saturating_sub(title.len() + 4));
            self.look.paint("2", &format!("--{title}{dashes}")).into_bytes()
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
            let line =
                self.look.wrap(&format!("... {left_out} left out; the whole is in {place}{lacks} ..."), 0);
            text.extend(self.look.paint("2", &line).bytes());
        }
        text.extend(&output.tail);
        end_line(&mut text);
        text.extend(rule(""));
        text.push(b'\n');
        text
    }

    fn run_finished(&mut self, finished: &RunFinished) -> io::Result<()> {
        if finished.closed == Some(Cause::NoPermit) {
            self.progress.take().iter().for_each(Progress::finish);
            return self.never_started(finished.wall);
        }
        // A run of many, and of at least one, began with it.
        let Some(progress) = self.progress.take() else {
            let text = self.ending.standing_out(finished, self.look, "sandtest: ");
            return self.sink.write_all(text.as_bytes());
        };
        progress.finish();
        self.sink.write_all(self.ending.text(finished, self.look).as_bytes())
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
        let word = self.look.paint(code, &format!("{:>8}", decision.state.as_str().to_uppercase()));
        let sentence = self.look.wrap(&governor::sentence(decision, job), 10);
        let text = format!("{word}  {}", sentence.trim_start());
        self.above(text.as_bytes())
    }

    /// Of a single command only what holds it up.
    fn broker(&mut self, news: &BrokerNews) -> io::Result<()> {
        if let BrokerNews::Waits { ahead, wait } = news {
            self.waits = Some(broker::waits(*ahead, *wait));
        } else if self.pass_through {
            return Ok(());
        }
        let line = self.look.wrap(&format!("sandtest: {}", broker::sentence(news)), 0);
        self.above(line.as_bytes())
    }

    /// Why a run is over of which nothing was started.
    fn never_started(&mut self, wall: Duration) -> io::Result<()> {
        let why = self.waits.as_ref().map_or(String::new(), |why| format!(" ({why})"));
        let line =
            format!("sandtest: nothing could be started in {}{why}; --wait gives it longer", short(wall));
        self.sink.write_all(self.look.wrap(&line, 0).as_bytes())
    }

    fn started(&mut self, started: &AttemptStarted) {
        if let Some(progress) = &mut self.progress {
            progress.started(started.attempt.id, &started.job);
        }
    }
}

impl<W: Write> Reporter for TerminalReporter<W> {
    fn event(&mut self, event: &Event, told: Option<&str>) -> io::Result<()> {
        match event {
            Event::RunStarted(started) => self.run_started(started),
            Event::Slow { job, elapsed, .. } => self.slow(job, *elapsed),
            Event::Unsettled { job, what, .. } => self.unsettled(job, *what),
            Event::GivenUp { attempt, job } => self.given_up(*attempt, job),
            Event::AttemptStarted(started) => {
                self.started(started);
                Ok(())
            }
            Event::Governor { decision, job, .. } => self.decided(decision, job.as_deref()),
            Event::Broker { news, .. } => self.broker(news),
            Event::AttemptFinished(attempt) => self.attempt_finished(attempt, told),
            Event::RunFinished(finished) => self.run_finished(finished),
        }
    }
}

/// What an attempt came to, as it is labelled.
fn label(attempt: &AttemptFinished) -> String {
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
        (_, None) if attempt.verdict == Some(Verdict::Unseen) => "UNSEEN".into(),
        (_, None) => "LOST".into(),
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
