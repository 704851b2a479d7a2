//! What GitHub shows of a run under Actions: annotations of what failed, and the job's summary.
//!
//! Annotations are lines on standard error that the runner reads (`::error title=...::...`), the summary is Markdown that is
//! appended to the file in `GITHUB_STEP_SUMMARY`. Both come at the end, when it is known how many there are.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use super::ending::counts;
use super::paragraph::{in_a_word, short};
use super::standouts::Standouts;
use super::written::{last, written};
use super::{Reporter, diagnosis, governor};
use crate::model::event::{AttemptFinished, Event, RunFinished, RunStarted};
use crate::model::text::{acts, harmless};
use crate::model::{Outcome, Verdict};

/// GitHub shows so many errors of a step, and so many warnings; what is more is dropped.
const MOST_ANNOTATIONS: usize = 10;

/// Of what a failed one wrote, so much goes into an annotation: lines and bytes.
const IN_ANNOTATION: (usize, usize) = (10, 2 << 10);

/// And into the summary.
const IN_SUMMARY: (usize, usize) = (60, 8 << 10);

/// A summary above 1 MiB is not shown at all, and others may write into it.
const LARGEST_SUMMARY: usize = 400 << 10;

/// Characters of a name.
const LONGEST_NAME: usize = 200;

/// Keeps what failed, and tells of it at the end.
pub struct GithubReporter<W> {
    /// Where the runner reads commands.
    sink: W,
    /// `GITHUB_STEP_SUMMARY`.
    summary: Option<PathBuf>,
    pass_through: bool,
    terms: String,
    jobs: usize,
    failed: Vec<Told>,
    flaky: Vec<Told>,
    standouts: Standouts,
}

/// A job that is told of.
struct Told {
    name: String,
    /// What it failed of.
    word: String,
    wall: Duration,
    peak: Option<String>,
    told: String,
    seen: Vec<String>,
    output: String,
}

impl<W: Write> GithubReporter<W> {
    /// Annotations to `sink`, the summary to the end of that file.
    pub fn new(sink: W, summary: Option<PathBuf>) -> GithubReporter<W> {
        GithubReporter {
            sink,
            summary,
            pass_through: false,
            terms: String::new(),
            jobs: 0,
            failed: Vec::new(),
            flaky: Vec::new(),
            standouts: Standouts::default(),
        }
    }

    fn run_started(&mut self, started: &RunStarted) {
        self.pass_through = started.pass_through;
        self.jobs = started.jobs;
        self.standouts = Standouts::of(started);
        let budget = started.budget.memory_max.map_or(String::new(), |max| format!(", budget {max}"));
        self.terms = format!(
            "{} at once, profile {}, isolation {}{budget}",
            started.parallel, started.profile, started.isolation.tier
        );
    }

    fn attempt_finished(&mut self, attempt: &AttemptFinished, told: Option<&str>) {
        self.standouts.note(attempt);
        let Some(verdict) = attempt.verdict else { return };
        // One command has said itself how it ended, and the step shows its exit code.
        let spoke = matches!(attempt.outcome, Outcome::Exited | Outcome::Signaled);
        if self.pass_through && spoke {
            return;
        }
        let told = || Told::of(attempt, verdict, told.unwrap_or_default());
        match (attempt.failed, verdict) {
            (true, _) => self.failed.push(told()),
            (false, Verdict::Flaky) => self.flaky.push(told()),
            _ => {}
        }
    }

    fn given_up(&mut self, job: &str) {
        self.failed.push(Told {
            name: name(job),
            word: "failed".into(),
            wall: Duration::ZERO,
            peak: None,
            told: "It was not tried again, since the run ended.".into(),
            seen: Vec::new(),
            output: String::new(),
        });
    }

    fn end(&mut self, finished: &RunFinished) -> io::Result<()> {
        if self.pass_through && self.failed.is_empty() {
            return Ok(());
        }
        // A command may have brought some along.
        let count = finished.passed + finished.failed + finished.unseen + finished.not_run;
        self.jobs = self.jobs.max(usize::try_from(count).unwrap_or(usize::MAX));
        let mut text = annotations("error", &self.failed);
        text += &annotations("warning", &self.flaky);
        self.sink.write_all(text.as_bytes())?;
        let Some(path) = &self.summary else { return Ok(()) };
        let mut file = OpenOptions::new().append(true).create(true).open(path)?;
        file.write_all(self.markdown(finished).as_bytes())
    }

    fn markdown(&self, finished: &RunFinished) -> String {
        let jobs = if self.jobs == 1 { "job" } else { "jobs" };
        let happened = match finished.failed {
            0 if finished.interrupted => {
                format!("interrupted, {} of {} {jobs} passed", finished.passed, self.jobs)
            }
            0 if finished.not_run + finished.unseen > 0 => {
                format!("{} of {} {jobs} passed", finished.passed, self.jobs)
            }
            0 => format!("{} {jobs} passed", self.jobs),
            failed => format!("{failed} of {} {jobs} failed", self.jobs),
        };
        let mut text =
            format!("\n### sandtest: {happened}\n\n{}; {}\n\n", counts(finished), html(&self.terms));
        for (what, told, open) in [("failed", &self.failed, true), ("flaky", &self.flaky, false)] {
            for (at, one) in told.iter().enumerate() {
                let part = one.details(open && told.len() == 1);
                if text.len() + part.len() > LARGEST_SUMMARY {
                    text += &format!("\n... and {} more that {what}\n\n", told.len() - at);
                    break;
                }
                text += &part;
            }
        }
        for (kind, jobs) in self.standouts.told(finished.wall) {
            text += &format!("\n{kind}:\n");
            for job in jobs {
                text += &format!("- {} <code>{}</code>\n", html(&job.figure), html(&name(&job.job)));
            }
        }
        if let Some(line) = finished.governed.as_ref().and_then(governor::summary) {
            text += &format!("\n{}\n", html(&line));
        }
        text
    }
}

impl<W: Write> Reporter for GithubReporter<W> {
    fn event(&mut self, event: &Event, told: Option<&str>) -> io::Result<()> {
        match event {
            Event::RunStarted(started) => self.run_started(started),
            Event::AttemptFinished(attempt) => self.attempt_finished(attempt, told),
            Event::GivenUp { job, .. } => self.given_up(job),
            Event::RunFinished(finished) => return self.end(finished),
            Event::AttemptStarted(_)
            | Event::Slow { .. }
            | Event::Unsettled { .. }
            | Event::Governor { .. }
            | Event::Broker { .. } => {}
        }
        Ok(())
    }
}

impl Told {
    fn of(attempt: &AttemptFinished, verdict: Verdict, told: &str) -> Told {
        let told = match verdict {
            Verdict::Flaky => {
                let tries = attempt.tries;
                format!("It failed before it passed, on try {} of {}. {told}", tries.this, tries.most)
            }
            _ => told.to_owned(),
        };
        // What could not be started has none.
        let peak = attempt.evidence.memory_peak.filter(|peak| peak.0 > 0).map(|peak| {
            let of = attempt.limits.memory_max.map_or(String::new(), |max| format!(" of {max}"));
            format!("peak {peak}{of}")
        });
        let output = if attempt.failed { written(attempt) } else { None }.unwrap_or_default();
        let (lines, bytes) = IN_SUMMARY;
        Told {
            name: name(&attempt.job),
            word: in_a_word(attempt, verdict),
            wall: attempt.wall,
            peak,
            told: told.trim_end().to_owned(),
            seen: attempt.diagnosis.as_ref().map(|seen| diagnosis::short(seen)).unwrap_or_default(),
            // Kept for the end, of thousands perhaps.
            output: last(&output, lines, bytes).to_owned(),
        }
    }

    /// A line of Markdown that opens.
    fn details(&self, open: bool) -> String {
        let open = if open { " open" } else { "" };
        let figures: Vec<String> = [short(self.wall)].into_iter().chain(self.peak.clone()).collect();
        let mut text = format!(
            "<details{open}><summary><b>{}</b> <code>{}</code> {}</summary>\n\n{}\n\n",
            html(&self.word),
            html(&self.name),
            html(&figures.join(", ")),
            html(&self.told)
        );
        for (what, lines) in [("diagnosis", self.seen.join("\n")), ("output", self.output.clone())] {
            if !lines.is_empty() {
                text += &format!("{what}:\n<pre>{}</pre>\n\n", html(&lines));
            }
        }
        text + "</details>\n\n"
    }
}

/// Lines that the runner takes for commands.
fn annotations(level: &str, told: &[Told]) -> String {
    let shown = if told.len() > MOST_ANNOTATIONS { MOST_ANNOTATIONS - 1 } else { told.len() };
    let (lines, bytes) = IN_ANNOTATION;
    let mut text = String::new();
    for one in &told[..shown] {
        let mut message = vec![one.told.as_str()];
        message.extend(one.seen.iter().map(String::as_str));
        message.extend(Some(last(&one.output, lines, bytes)).filter(|output| !output.is_empty()));
        text += &annotation(level, &format!("{}: {}", one.word, one.name), &message.join("\n"));
    }
    if told.len() > shown {
        let more = format!("{} more: see the summary, or the output of this step", told.len() - shown);
        text += &annotation(level, "sandtest", &more);
    }
    text
}

fn annotation(level: &str, title: &str, message: &str) -> String {
    format!("::{level} title={}::{}\n", property(title), data(message))
}

/// As the runner reads what stands behind the second `::`.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// As it reads a property.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

fn name(job: &str) -> String {
    // What is cut off is not looked at: a name may have a megabyte.
    let mut name: String = harmless(&job.chars().take(LONGEST_NAME).collect::<String>());
    if job.chars().nth(LONGEST_NAME).is_some() {
        name.push('…');
    }
    name
}

/// Text in which nothing is markup, of HTML or of Markdown.
fn html(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' | '<' | '>' | '"' | '\'' | '|' | '`' | '*' | '_' | '[' | ']' | '\\' | '~' | '#' | '$'
            | '@' | ':' | '!' => safe += &format!("&#{};", letter as u32),
            '\n' | '\t' => safe.push(letter),
            letter if acts(letter) => safe.extend(letter.escape_default()),
            letter => safe.push(letter),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_is_markup() {
        assert_eq!(
            html("a<b>&`*_[x](y)|\u{1b}\n"),
            "a&#60;b&#62;&#38;&#96;&#42;&#95;&#91;x&#93;(y)&#124;\\u{1b}\n"
        );
    }

    #[test]
    fn a_name_has_an_end() {
        let name = name(&"é".repeat(1_000_000));
        assert_eq!((name.chars().count(), name.ends_with('…')), (LONGEST_NAME + 1, true));
    }
}
