//! What the page's script reads. Names are short because there are thousands of each: `page.js` lists them.

use std::time::Duration;

use serde::Serialize;

use super::bounded::{Output, cost, cut};
use crate::model::event::AttemptFinished;
use crate::model::governor::{Action, Decision, State};
use crate::model::{Bytes, Outcome, Verdict};
use crate::report::governor;
use crate::report::paragraph::in_a_word;

/// A job that is done.
#[derive(Debug, Serialize)]
pub struct Job {
    /// Its place in the run.
    pub id: u32,
    pub name: String,
    pub verdict: Verdict,
    /// Whether it makes a failure of the run.
    #[serde(skip_serializing_if = "is_false")]
    pub failed: bool,
    /// Whether a command brought it along.
    #[serde(skip_serializing_if = "is_false")]
    pub brought: bool,
    pub attempts: Vec<Attempt>,
}

/// What an attempt came to, as it is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Came {
    Pass,
    Fail,
    Leak,
    Infra,
    Unseen,
    /// It runs again.
    Evicted,
    /// It failed, and is tried again.
    Retried,
}

/// One attempt. Times in milliseconds since the run began, sizes in bytes.
#[derive(Debug, Serialize)]
pub struct Attempt {
    #[serde(rename = "r")]
    pub came: Came,
    /// What it failed of, in a word or two.
    #[serde(rename = "h", skip_serializing_if = "String::is_empty")]
    pub how: String,
    #[serde(rename = "s")]
    pub slot: u32,
    #[serde(rename = "b")]
    pub began: f64,
    #[serde(rename = "e")]
    pub ended: f64,
    #[serde(rename = "w")]
    pub wall: f64,
    #[serde(rename = "z", skip_serializing_if = "is_zero")]
    pub frozen: f64,
    #[serde(rename = "c", skip_serializing_if = "Option::is_none")]
    pub cpu: Option<f64>,
    #[serde(rename = "m", skip_serializing_if = "Option::is_none")]
    pub memory_peak: Option<Bytes>,
    #[serde(rename = "l", skip_serializing_if = "Option::is_none")]
    pub memory_max: Option<Bytes>,
    /// When it stood still.
    #[serde(rename = "f", skip_serializing_if = "Vec::is_empty")]
    pub stood: Vec<(f64, f64)>,
    /// What happened.
    #[serde(rename = "t", skip_serializing_if = "String::is_empty")]
    pub told: String,
    /// What it was doing when its time was up.
    #[serde(rename = "d", skip_serializing_if = "String::is_empty")]
    pub seen: String,
    /// Where the whole of that is, as for its output.
    #[serde(rename = "df", skip_serializing_if = "Option::is_none")]
    pub seen_file: Option<String>,
    #[serde(rename = "o", skip_serializing_if = "Option::is_none")]
    pub output: Option<Output>,
}

impl Attempt {
    pub fn of(attempt: &AttemptFinished, told: String, seen: String) -> Attempt {
        let came = match (attempt.verdict, attempt.retry_in, attempt.outcome) {
            (Some(Verdict::Pass | Verdict::Flaky), ..) => Came::Pass,
            (Some(Verdict::Fail), ..) => Came::Fail,
            (Some(Verdict::Leak), ..) => Came::Leak,
            (Some(Verdict::Infra), ..) => Came::Infra,
            (Some(Verdict::Unseen), ..) => Came::Unseen,
            (None, Some(_), _) => Came::Retried,
            (None, None, _) => Came::Evicted,
        };
        // A flaky job's last attempt has passed: what failed are those before it.
        let word = || in_a_word(attempt, attempt.verdict.unwrap_or(Verdict::Fail));
        Attempt {
            came,
            how: if came == Came::Pass { String::new() } else { word() },
            slot: attempt.attempt.slot,
            began: ms(attempt.began),
            ended: ms(attempt.ended),
            wall: ms(attempt.wall),
            frozen: ms(attempt.frozen),
            cpu: attempt.evidence.cpu_time.map(ms),
            memory_peak: attempt.evidence.memory_peak,
            memory_max: attempt.limits.memory_max,
            stood: Vec::new(),
            told,
            seen,
            seen_file: None,
            output: None,
        }
    }

    /// What its texts take, without its output.
    pub fn cost_of_words(&self) -> usize {
        let file = self.seen_file.as_ref().map_or(0, |file| cost(file));
        cost(&self.told) + cost(&self.seen) + file
    }

    /// What was being done tells less than what happened, so it is cut as if it stood alone.
    pub fn cut_words(&mut self, most: usize) {
        cut(&mut self.told, most);
        cut(&mut self.seen, most);
        if most == 0 {
            self.seen_file = None;
        }
    }
}

/// Whether what it wrote is worth its place.
pub fn shows_output(attempt: &AttemptFinished, came: Came) -> bool {
    let wrote = attempt.output.as_ref().is_some_and(|output| output.total > 0);
    wrote && came != Came::Pass && attempt.outcome != Outcome::Evicted
}

/// What the governor decided.
#[derive(Debug, Serialize)]
pub struct Decided {
    #[serde(rename = "t")]
    pub at: f64,
    /// 0 green to 3 red.
    #[serde(rename = "s")]
    pub state: u8,
    #[serde(rename = "a")]
    pub action: Action,
    #[serde(rename = "l")]
    pub left: Bytes,
    #[serde(rename = "b")]
    pub budget: Bytes,
    #[serde(rename = "j", skip_serializing_if = "Option::is_none")]
    pub job: Option<u32>,
    #[serde(rename = "w")]
    pub words: String,
}

impl Decided {
    pub fn of(at: Duration, decision: &Decision, job: Option<&str>) -> Decided {
        let mut name = job.map(crate::model::text::harmless);
        if let Some(name) = &mut name {
            cut(name, 60);
        }
        Decided {
            at: ms(at),
            state: match decision.state {
                State::Green => 0,
                State::Yellow => 1,
                State::Orange => 2,
                State::Red => 3,
            },
            action: decision.action,
            left: decision.left,
            budget: decision.budget,
            job: decision.attempt.map(|id| id.job.0),
            words: governor::sentence(decision, name.as_deref()),
        }
    }
}

/// An attempt that had not ended when the page was written.
#[derive(Debug, Serialize)]
pub struct Running {
    #[serde(rename = "n")]
    pub name: String,
    #[serde(rename = "s")]
    pub slot: u32,
    #[serde(rename = "b")]
    pub began: f64,
}

/// Milliseconds, to a tenth: a page shows no more, and holds thousands of them.
pub fn ms(duration: Duration) -> f64 {
    (duration.as_micros() / 100) as f64 / 10.0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(value: &bool) -> bool {
    !*value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(value: &f64) -> bool {
    *value == 0.0
}
