//! A run told again from its events: what became of a job, and what it waited for, was frozen or evicted for.
//!
//! What is read are the lines that [`super::json`] writes. A run that was killed may end in half a line: that is passed over.

use std::io::{self, BufRead};
use std::time::Duration;

use serde::Deserialize;

use super::paragraph::short;
use super::{broker, governor};
use crate::model::event::BrokerNews;
use crate::model::governor::{Action, Decision, Signal, State};
use crate::model::text::escaped;
use crate::model::view::{Reason, WaitView, WaitsFor};
use crate::model::{Bytes, Verdict};

/// A longer line is none of ours.
const LONGEST_LINE: u64 = 64 << 20;

/// Of the times that starts were held while a job waited, so many are told.
const HOLDS: usize = 5;

/// A run, read again.
#[derive(Debug, Default)]
pub struct Story {
    run: String,
    profile: String,
    isolation: String,
    attempts: Vec<Attempt>,
    decisions: Vec<Decided>,
    news: Vec<News>,
    notes: Vec<Note>,
    end: Option<End>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Line {
    RunStarted {
        run: String,
        profile: String,
        isolation: String,
    },
    Governor(Decided),
    Broker(News),
    AttemptFinished(Box<Attempt>),
    AttemptSlow {
        job: String,
        attempt: u32,
        elapsed_ms: f64,
    },
    RetryUnsettled {
        job: String,
        attempt: u32,
        what: String,
    },
    RetryGivenUp {
        job: String,
        attempt: u32,
    },
    RunFinished(End),
    #[serde(other)]
    Other,
}

#[derive(Debug, Deserialize)]
struct Attempt {
    job: String,
    attempt: u32,
    slot: u32,
    verdict: Option<Verdict>,
    told: Option<String>,
    retry_in_ms: Option<f64>,
    began_ms: f64,
    ended_ms: f64,
    wall_ms: f64,
    frozen_ms: f64,
    memory_peak: Option<Bytes>,
    limits: AttemptLimits,
    diagnosis_file: Option<String>,
    output: Option<Output>,
}

#[derive(Debug, Deserialize)]
struct AttemptLimits {
    memory_max: Option<Bytes>,
}

#[derive(Debug, Deserialize)]
struct Output {
    file: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Decided {
    at_ms: f64,
    job: Option<String>,
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

/// What has changed between the run and its broker.
#[derive(Debug, Deserialize)]
struct News {
    at_ms: f64,
    what: String,
    #[serde(default)]
    ahead: u32,
    why: Option<WaitsFor>,
    signal: Option<Signal>,
    value: Option<u64>,
    line: Option<u64>,
    memory: Option<Bytes>,
    #[serde(default)]
    jobs: u32,
}

#[derive(Debug)]
struct Note {
    job: String,
    text: String,
}

#[derive(Debug, Deserialize)]
struct End {
    passed: u64,
    failed: u64,
    not_run: u64,
    evictions: u64,
    interrupted: bool,
    wall_ms: f64,
}

impl Story {
    /// Reads the events of a run.
    ///
    /// # Errors
    /// What could not be read; `InvalidData` for what are no events.
    pub fn read(events: &mut impl BufRead) -> io::Result<Story> {
        let mut story = Story::default();
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            io::Read::take(&mut *events, LONGEST_LINE).read_until(b'\n', &mut line)?;
            if line.is_empty() {
                break;
            }
            match serde_json::from_slice(&line) {
                Ok(event) => story.add(event),
                // Cut off where the run was killed.
                Err(_) if !line.ends_with(b"\n") => break,
                Err(error) => {
                    let message = format!("line {number} is no event of this version: {error}");
                    return Err(io::Error::new(io::ErrorKind::InvalidData, message));
                }
            }
        }
        Ok(story)
    }

    fn add(&mut self, event: Line) {
        match event {
            Line::RunStarted { run, profile, isolation } => {
                (self.run, self.profile, self.isolation) = (run, profile, isolation);
            }
            Line::Governor(decided) => self.decisions.push(decided),
            Line::Broker(news) => self.news.push(news),
            Line::AttemptFinished(attempt) => self.attempts.push(*attempt),
            Line::AttemptSlow { job, attempt, elapsed_ms } => {
                let text = format!("attempt {attempt} was slow: it ran for {} by then", time(elapsed_ms));
                self.notes.push(Note { job, text });
            }
            Line::RetryUnsettled { job, attempt, what } => {
                let text =
                    format!("attempt {attempt} began although the one before was not settled ({what})");
                self.notes.push(Note { job, text });
            }
            Line::RetryGivenUp { job, attempt } => {
                let text =
                    format!("attempt {attempt} was its last: the run ended before it could be tried again");
                self.notes.push(Note { job, text });
            }
            Line::RunFinished(end) => self.end = Some(end),
            Line::Other => {}
        }
    }

    /// Names of the jobs of which `wanted` is the name or, if there is none, a part of the name; each once.
    pub fn jobs(&self, wanted: &str) -> Vec<&str> {
        let named = |is: &dyn Fn(&str) -> bool| {
            let mut names: Vec<&str> =
                self.attempts.iter().map(|attempt| attempt.job.as_str()).filter(|job| is(job)).collect();
            names.sort_unstable();
            names.dedup();
            names
        };
        let exact = named(&|job| job == wanted);
        if exact.is_empty() { named(&|job| job.contains(wanted)) } else { exact }
    }

    /// Names of the jobs that did not simply pass, in the order of their ends.
    pub fn remarkable(&self) -> Vec<&str> {
        let mut names = Vec::new();
        for attempt in self.attempts.iter().filter(|attempt| attempt.verdict != Some(Verdict::Pass)) {
            if !names.contains(&attempt.job.as_str()) {
                names.push(&attempt.job);
            }
        }
        names
    }

    /// The run in a line. `fate`: what became of it, if it has no end.
    pub fn headline(&self, fate: &str) -> String {
        let Story { run, profile, isolation, .. } = self;
        let end = self.end.as_ref().map_or(fate.to_owned(), |end| {
            let counts =
                [(end.failed, "failed"), (end.not_run, "not run"), (end.evictions, "evicted and run again")];
            let others = counts
                .iter()
                .filter(|(count, _)| *count > 0)
                .map(|(count, what)| format!(", {count} {what}"));
            let interrupted = if end.interrupted { ", interrupted" } else { "" };
            format!(
                "{} passed{}{interrupted} in {}",
                end.passed,
                others.collect::<String>(),
                time(end.wall_ms)
            )
        });
        format!("run {run}, profile {profile}, isolation {isolation}: {end}")
    }

    /// What became of a job, and why: a line an attempt, a wait, a freeze and an eviction, in their order.
    pub fn of(&self, job: &str) -> String {
        let mut told: Vec<(f64, String)> = Vec::new();
        let attempts = || self.attempts.iter().filter(|attempt| attempt.job == job);
        let last = attempts().map(|attempt| attempt.began_ms).fold(0.0, f64::max);
        let waits = |at: f64| {
            at < last && !attempts().any(|attempt| (attempt.began_ms..attempt.ended_ms).contains(&at))
        };
        let is_hold = |decided: &&Decided| decided.action == Action::Hold && waits(decided.at_ms);
        let all: Vec<&Decided> = self.decisions.iter().filter(is_hold).collect();
        let held = all.len().saturating_sub(HOLDS);
        if held > 0 {
            told.push((
                all[0].at_ms,
                format!("starts were held {} times while it waited; the last {HOLDS}:", all.len()),
            ));
        }
        for decided in &all[held..] {
            told.push((decided.at_ms, format!("starts are held: {}", governor::seen(&decided.decision()))));
        }
        let news = self.news.iter().filter(|news| waits(news.at_ms));
        let news: Vec<(f64, String)> = news.filter_map(|news| Some((news.at_ms, news.sentence()?))).collect();
        told.extend_from_slice(&news[news.len().saturating_sub(HOLDS)..]);
        for decided in self.decisions.iter().filter(|decided| decided.job.as_deref() == Some(job)) {
            let what = match decided.action {
                Action::Freeze => "it is frozen",
                Action::Thaw => "it goes on",
                Action::Evict => "it is evicted",
                Action::Hold | Action::Release => continue,
            };
            told.push((decided.at_ms, format!("{what}: {}", governor::seen(&decided.decision()))));
        }
        for attempt in attempts() {
            told.push((
                attempt.began_ms,
                format!("attempt {} begins in slot {}", attempt.attempt, attempt.slot),
            ));
            told.push((attempt.ended_ms, attempt.end()));
        }
        told.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut text = format!("{}: {}\n", escaped(job), attempts().next_back().map_or("", Attempt::verdict));
        for (at, line) in told {
            text += &format!("{:>10}  {}\n", time(at), escaped(&line));
        }
        for note in self.notes.iter().filter(|note| note.job == job) {
            text += &format!("{:>10}  {}\n", "", escaped(&note.text));
        }
        text
    }
}

impl Attempt {
    fn verdict(&self) -> &'static str {
        match self.verdict {
            Some(Verdict::Pass) => "pass",
            Some(Verdict::Flaky) => "flaky",
            Some(Verdict::Fail) => "fail",
            Some(Verdict::Leak) => "leak",
            Some(Verdict::Infra) => "infra",
            None => "it was to run again",
        }
    }

    fn end(&self) -> String {
        let mut text = format!("it ends after {}", time(self.wall_ms));
        if self.frozen_ms > 0.0 {
            text += &format!(" and {} frozen", time(self.frozen_ms));
        }
        match &self.told {
            Some(told) => text += &format!(": {told}"),
            None => {
                let peak = self.memory_peak.map(|peak| {
                    let of = self.limits.memory_max.map_or(String::new(), |max| format!(" of {max}"));
                    format!("; its peak was {peak}{of}")
                });
                text += &format!(", passed{}.", peak.unwrap_or_default());
            }
        }
        if self.retry_in_ms.is_some_and(|delay| delay > 0.0) {
            text += &format!(" Not before {} later.", time(self.retry_in_ms.unwrap_or_default()));
        }
        let output = self.output.as_ref().and_then(|output| output.file.as_ref());
        for (what, file) in [("Diagnosis", &self.diagnosis_file), ("Output", &output.cloned())] {
            if let Some(file) = file {
                text += &format!(" {what}: {file}");
            }
        }
        text
    }
}

impl Decided {
    fn decision(&self) -> Decision {
        let Decided { action, state, signal, value, line, left, budget, filling, held, .. } = *self;
        Decision { action, attempt: None, state, signal, value, line, left, budget, filling, held }
    }
}

impl News {
    /// `None` for what a later version tells.
    fn sentence(&self) -> Option<String> {
        let news = match self.what.as_str() {
            "waits" => {
                let (value, line) = (self.value.unwrap_or(0), self.line.unwrap_or(0));
                let why = self.why?;
                let reason = (why == WaitsFor::Held).then_some(Reason { signal: self.signal, value, line });
                BrokerNews::Waits { ahead: self.ahead, wait: WaitView { why, reason } }
            }
            "lost" => BrokerNews::Lost,
            "alone" => BrokerNews::Alone { memory: self.memory, jobs: self.jobs },
            "back" => BrokerNews::Back,
            _ => return None,
        };
        Some(broker::sentence(&news))
    }
}

/// Of a figure in milliseconds, which may be anything.
fn time(milliseconds: f64) -> String {
    short(Duration::try_from_secs_f64(milliseconds / 1e3).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINISHED: &str =
        r#""slot":1,"wall_ms":400.0,"limits":{"memory_max":1073741824},"diagnosis_file":null"#;

    fn attempt(number: u32, began: u32, rest: &str) -> String {
        format!(
            r#"{{"event":"attempt-finished","job":"hog","attempt":{number},"began_ms":{began},"ended_ms":{},{FINISHED},{rest}}}"#,
            began + 500
        )
    }

    fn decided(at: u32, job: &str, action: &str) -> String {
        format!(
            r#"{{"event":"governor","at_ms":{at},"job":{job},"attempt":null,"action":"{action}","state":"red","signal":"memory","value":1,"line":2,"left":1048576,"budget":1073741824,"filling":0,"held":2}}"#
        )
    }

    #[test]
    fn a_job_is_told_with_all_that_it_waited_for() {
        let evicted = r#""verdict":null,"told":"evicted to make room.","retry_in_ms":null,"frozen_ms":100.0,"memory_peak":5,"output":null"#;
        let passed = r#""verdict":"pass","told":null,"retry_in_ms":null,"frozen_ms":0.0,"memory_peak":1048576,"output":{"bytes":9,"file":"/o"}"#;
        let mut lines = vec![
            r#"{"event":"run-started","run":"6b01","profile":"native","isolation":"cgroup"}"#.to_owned(),
        ];
        lines.extend((1..=7).map(|at| decided(at, "null", "hold")));
        lines.extend([decided(300, r#""hog""#, "freeze"), decided(400, r#""other""#, "freeze")]);
        lines.extend([decided(500, r#""hog""#, "evict"), attempt(1, 20, evicted)]);
        lines.push(r#"{"event":"of-a-later-version","what":1}"#.into());
        let waits = r#""what":"waits","ahead":2,"why":"turn","signal":null,"value":null,"line":null"#;
        let broker = |at: u32, rest: &str| format!(r#"{{"event":"broker","at_ms":{at},{rest}}}"#);
        lines.extend([broker(10, waits), broker(600, r#""what":"lost""#), broker(400, r#""what":"back""#)]);
        lines.push(broker(601, r#""what":"dance""#));
        lines.extend([
            decided(650, "null", "hold"),
            attempt(2, 700, passed),
            r#"{"event":"attempt-fin"#.into(),
        ]);
        let story = Story::read(&mut lines.join("\n").as_bytes()).unwrap();
        assert_eq!(story.headline("killed"), "run 6b01, profile native, isolation cgroup: killed");
        assert_eq!(
            (story.jobs("ho"), story.jobs("other"), story.remarkable()),
            (vec!["hog"], vec![], vec!["hog"])
        );
        insta::assert_snapshot!(story.of("hog"));
    }

    #[test]
    fn what_are_no_events_is_refused() {
        for text in ["{}\n", "hello\n{}", "{\"event\":\"attempt-finished\"}\n"] {
            let error = Story::read(&mut text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with("line 1 is no event of this version"), "{error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(lines in proptest::collection::vec(".*", 0..5)) {
            let _ = Story::read(&mut lines.join("\n").as_bytes());
        }
    }
}
