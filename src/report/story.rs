//! A run told again: what became of a job, and what it waited for, was frozen or evicted for.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::time::Duration;

use super::ending::UNSEEN;
use super::paragraph::short;
use super::recorded::Told;
use super::{broker, governor};
use crate::model::event::{AttemptFinished, AttemptStarted, BrokerNews, Event, RunFinished, RunStarted};
use crate::model::governor::{Action, Decision};
use crate::model::retry::Unsettled;
use crate::model::text::escaped;
use crate::model::{self, Verdict};

/// Of the times that starts were held while a job waited, so many are told.
const HOLDS: usize = 5;

/// A wait that is worth a word.
const LONG: Duration = Duration::from_millis(100);

/// A run, to be asked about.
#[derive(Debug, Default)]
pub struct Story {
    started: Option<RunStarted>,
    begun: Vec<AttemptStarted>,
    attempts: Vec<Attempt>,
    decisions: Vec<Decided>,
    news: Vec<News>,
    notes: Vec<Note>,
    end: Option<RunFinished>,
}

#[derive(Debug)]
struct Attempt {
    finished: Box<AttemptFinished>,
    told: Option<String>,
}

#[derive(Debug)]
struct Decided {
    at: Duration,
    job: Option<String>,
    decision: Decision,
}

#[derive(Debug)]
struct News {
    at: Duration,
    news: BrokerNews,
}

#[derive(Debug)]
struct Note {
    job: String,
    text: String,
}

impl Story {
    /// Of these events.
    pub fn of_run(events: Vec<Told>) -> Story {
        let mut story = Story::default();
        events.into_iter().for_each(|told| story.add(told));
        story
    }

    fn add(&mut self, Told { event, words }: Told) {
        match event {
            Event::RunStarted(started) => self.started = Some(started),
            Event::Governor { at, decision, job } => self.decisions.push(Decided { at, job, decision }),
            Event::Broker { at, news } => self.news.push(News { at, news }),
            Event::AttemptFinished(finished) => self.attempts.push(Attempt { finished, told: words }),
            Event::Slow { attempt, job, elapsed } => {
                let text =
                    format!("attempt {} was slow: it ran for {} by then", attempt.id.number, short(elapsed));
                self.notes.push(Note { job, text });
            }
            Event::Unsettled { attempt, job, what } => {
                let what = match what {
                    Unsettled::Groups => "groups",
                    Unsettled::Pressure => "pressure",
                };
                let text = format!(
                    "attempt {} began although the one before was not settled ({what})",
                    attempt.number
                );
                self.notes.push(Note { job, text });
            }
            Event::GivenUp { attempt, job } => {
                let text = format!(
                    "attempt {} was its last: the run ended before it could be tried again",
                    attempt.number
                );
                self.notes.push(Note { job, text });
            }
            Event::RunFinished(end) => self.end = Some(end),
            Event::AttemptStarted(started) => self.begun.push(started),
        }
    }

    /// Names of the jobs of which `wanted` is the name or, if there is none, a part of the name; each once.
    pub fn jobs(&self, wanted: &str) -> Vec<&str> {
        let named = |is: &dyn Fn(&str) -> bool| {
            let begun = self.begun.iter().map(|started| started.job.as_str());
            let mut names: Vec<&str> =
                begun.chain(self.attempts.iter().map(Attempt::job)).filter(|job| is(job)).collect();
            names.sort_unstable();
            names.dedup();
            names
        };
        let exact = named(&|job| job == wanted);
        if exact.is_empty() { named(&|job| job.contains(wanted)) } else { exact }
    }

    /// Names of the jobs that did not simply pass, in the order of their ends.
    pub fn remarkable(&self) -> Vec<&str> {
        let mut seen = HashSet::new();
        let not_passed =
            self.attempts.iter().filter(|attempt| attempt.finished.verdict != Some(Verdict::Pass));
        not_passed.map(Attempt::job).filter(|job| seen.insert(*job)).collect()
    }

    /// What was run: a command line, or the file that the jobs were from.
    pub fn name(&self) -> &str {
        self.started.as_ref().map_or("", |started| &started.name)
    }

    /// When it began, since 1970-01-01 UTC.
    pub fn time(&self) -> Option<Duration> {
        self.started.as_ref().map(|started| started.time)
    }

    /// The run in a line. `fate`: what became of it, if it has no end.
    pub fn headline(&self, fate: &str) -> String {
        let terms = self.started.as_ref().map_or(String::new(), |started| {
            let RunStarted { run, name, profile, isolation, .. } = started;
            format!(" {}{}, profile {profile}, isolation {}", run.0, of_name(name), isolation.tier)
        });
        format!("run{terms}: {}", self.came_to(fate))
    }

    /// What it came to: `fate`, if it has no end.
    pub fn came_to(&self, fate: &str) -> String {
        self.end.as_ref().map_or(fate.to_owned(), |end| {
            let counts = [
                (end.failed, "failed"),
                (end.unseen, UNSEEN),
                (end.not_run, "not run"),
                (end.evictions, "evicted and run again"),
            ];
            let others = counts
                .iter()
                .filter(|(count, _)| *count > 0)
                .map(|(count, what)| format!(", {count} {what}"));
            let interrupted = if end.interrupted { ", interrupted" } else { "" };
            format!("{} passed{}{interrupted} in {}", end.passed, others.collect::<String>(), short(end.wall))
        })
    }

    /// What became of a job, and why: a line an attempt, a wait, a freeze and an eviction, in their order.
    pub fn of(&self, job: &str) -> String {
        let mut told: Vec<(Duration, String)> = Vec::new();
        let attempts = || self.attempts.iter().filter(|attempt| attempt.job() == job);
        let runs = self.begun.iter().find(|started| {
            let is_its = |attempt: &Attempt| attempt.finished.attempt.id == started.attempt.id;
            started.job == job && !attempts().any(is_its)
        });
        let waits = self.waits(job);
        told.extend(self.held(&waits));
        let news = self.news.iter().filter(|news| waits.iter().any(|wait| wait.contains(&news.at)));
        let news: Vec<&News> = news.collect();
        for News { at, news } in &news[news.len().saturating_sub(HOLDS)..] {
            told.push((*at, broker::sentence(news)));
        }
        // What is brought along was not there before.
        let is_of_list = self.begun.iter().any(|started| started.job == job && started.driver.is_none());
        if told.is_empty()
            && is_of_list
            && let Some(first) = waits.first().filter(|first| first.end > LONG)
        {
            let others = match self.begun.iter().filter(|started| started.began < first.end).count() {
                0 => None,
                1 => Some("another one was".to_owned()),
                before => Some(format!("{before} others were")),
            };
            told.extend(others.map(|others| {
                let why = "started before it (-j, or a group that they share)";
                (first.start, format!("it waits for its turn: {others} {why}"))
            }));
        }
        for decided in self.decisions.iter().filter(|decided| decided.job.as_deref() == Some(job)) {
            let what = match decided.decision.action {
                Action::Freeze => "it is frozen",
                Action::Thaw => "it goes on",
                Action::Evict => "it is evicted",
                Action::Hold | Action::Release => continue,
            };
            told.push((decided.at, format!("{what}: {}", governor::seen(&decided.decision))));
        }
        let begins =
            |which: model::Attempt| format!("attempt {} begins in slot {}", which.id.number, which.slot);
        for attempt in attempts() {
            let AttemptFinished { attempt: which, began, ended, .. } = *attempt.finished;
            told.push((began, begins(which)));
            told.push((ended, attempt.end()));
        }
        told.extend(runs.map(|started| (started.began, begins(started.attempt))));
        told.sort_by_key(|(at, _)| *at);
        let ended = attempts().next_back().map_or("", Attempt::verdict);
        let verdict = if runs.is_some() { "it runs" } else { ended };
        let mut text = format!("{}: {}\n", escaped(job), verdict);
        for (at, line) in told {
            text += &format!("{:>10}  {}\n", short(at), escaped(&line));
        }
        for note in self.notes.iter().filter(|note| note.job == job) {
            text += &format!("{:>10}  {}\n", "", escaped(&note.text));
        }
        text
    }

    /// When a job waited: before each of its attempts.
    fn waits(&self, job: &str) -> Vec<Range<Duration>> {
        let ended: HashMap<_, _> = self
            .attempts
            .iter()
            .map(|attempt| (attempt.finished.attempt.id, attempt.finished.ended))
            .collect();
        let mut since = Duration::ZERO;
        let mut waits = Vec::new();
        for started in self.begun.iter().filter(|started| started.job == job) {
            waits.push(since..started.began);
            since = ended.get(&started.attempt.id).copied().unwrap_or(started.began);
        }
        waits
    }

    /// The times in these waits in which starts were held, and why; the last ones.
    fn held(&self, waits: &[Range<Duration>]) -> Vec<(Duration, String)> {
        let is_about_starts =
            |decided: &&Decided| matches!(decided.decision.action, Action::Hold | Action::Release);
        let decisions: Vec<&Decided> = self.decisions.iter().filter(is_about_starts).collect();
        let mut all = Vec::new();
        for (number, decided) in decisions.iter().enumerate() {
            let until = decisions.get(number + 1).map_or(Duration::MAX, |next| next.at);
            let during = waits.iter().find(|wait| decided.at < wait.end && until > wait.start);
            if let (Action::Hold, Some(wait)) = (decided.decision.action, during) {
                let what = format!("starts are held: {}", governor::seen(&decided.decision));
                all.push((decided.at.max(wait.start), what));
            }
        }
        let told = all.split_off(all.len().saturating_sub(HOLDS));
        let left_out = all.first().map(|(at, _)| {
            (
                *at,
                format!(
                    "starts were held {} times while it waited; the last {HOLDS}:",
                    all.len() + told.len()
                ),
            )
        });
        left_out.into_iter().chain(told).collect()
    }
}

/// ` of cargo test`; a run that was refused has none.
pub fn of_name(name: &str) -> String {
    if name.is_empty() { String::new() } else { format!(" of {}", escaped(name)) }
}

impl Attempt {
    fn job(&self) -> &str {
        &self.finished.job
    }

    fn verdict(&self) -> &'static str {
        match self.finished.verdict {
            Some(Verdict::Pass) => "pass",
            Some(Verdict::Flaky) => "flaky",
            Some(Verdict::Fail) => "fail",
            Some(Verdict::Leak) => "leak",
            Some(Verdict::Infra) => "infra",
            Some(Verdict::Unseen) => "unseen",
            None => "it was to run again",
        }
    }

    fn end(&self) -> String {
        let finished = &self.finished;
        let mut text = format!("it ends after {}", short(finished.wall));
        if !finished.frozen.is_zero() {
            text += &format!(" and {} frozen", short(finished.frozen));
        }
        match &self.told {
            Some(told) => text += &format!(": {told}"),
            None => {
                let peak = finished.evidence.memory_peak.map(|peak| {
                    let of = finished.limits.memory_max.map_or(String::new(), |max| format!(" of {max}"));
                    format!("; its peak was {peak}{of}")
                });
                text += &format!(", passed{}.", peak.unwrap_or_default());
            }
        }
        if let Some(delay) = finished.retry_in.filter(|delay| !delay.is_zero()) {
            text += &format!(" Not before {} later.", short(delay));
        }
        let output = finished.output.as_ref().and_then(|output| output.file.as_ref());
        for (what, file) in [("Diagnosis", finished.diagnosis_file.as_ref()), ("Output", output)] {
            if let Some(file) = file {
                text += &format!(" {what}: {}", file.display());
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::recorded;

    const FINISHED: &str = r#""slot":1,"outcome":"exited","cause":"own","tries":1,"tries_max":1,"wall_ms":400.0,"leaked":0,"left_behind":[],"left_objects":[],"unkillable":false,"limits":{"memory_max":1073741824}"#;

    fn attempt(number: u32, began: u32, rest: &str) -> String {
        format!(
            r#"{{"event":"attempt-finished","job":"hog","attempt":{number},"began_ms":{began},"ended_ms":{},{FINISHED},{rest}}}"#,
            began + 500
        )
    }

    fn begun(number: u32, began: u32) -> String {
        format!(
            r#"{{"event":"attempt-started","job":"hog","attempt":{number},"slot":1,"began_ms":{began},"limits":{{}}}}"#
        )
    }

    fn decided(at: u32, job: &str, action: &str) -> String {
        format!(
            r#"{{"event":"governor","at_ms":{at},"job":{job},"attempt":1,"action":"{action}","state":"red","signal":"memory","value":1,"line":2,"left":1048576,"budget":1073741824,"filling":0,"held":2}}"#
        )
    }

    #[test]
    fn a_job_is_told_with_all_that_it_waited_for() {
        let evicted = r#""verdict":null,"told":"evicted to make room.","frozen_ms":100.0,"memory_peak":5"#;
        let passed =
            r#""verdict":"pass","frozen_ms":0.0,"memory_peak":1048576,"output":{"bytes":9,"file":"/o"}"#;
        let mut lines = vec![
            r#"{"event":"run-started","run":"6b01","name":"jobs","profile":"native","isolation":"cgroup","budget":{},"jobs":2,"parallel":2,"absent_sensors":[],"sampled":[],"not_enforced":[],"missing":[]}"#.to_owned(),
        ];
        lines.extend((1..=7).map(|at| decided(at, "null", "hold")));
        lines.extend([begun(1, 20), begun(2, 700)]);
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
        let story = Story::of_run(recorded::read(&mut lines.join("\n").as_bytes()).unwrap());
        assert_eq!(story.headline("killed"), "run 6b01 of jobs, profile native, isolation cgroup: killed");
        assert_eq!(
            (story.jobs("ho"), story.jobs("other"), story.remarkable()),
            (vec!["hog"], vec![], vec!["hog"])
        );
        insta::assert_snapshot!(story.of("hog"));
    }
}
