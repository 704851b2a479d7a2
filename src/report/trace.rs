//! A trace in Chrome's Trace Event Format, for <https://ui.perfetto.dev> and chrome://tracing: each slot a thread of one process.
//!
//! ```text
//! governor  ├─ yellow ─┤├──── orange ────┤        states, in words
//! slot 0    ├─ job ──────┤├─ job ───────┤ ▾       attempts; an eviction is an instant
//! slot 1    ├─ job ─┄┄┄ frozen ┄┄┄───────────┤    what stood still, inside of them
//! memory    peaks of what ran; used of the budget, as the governor measured it
//! ```

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::governor;
use super::paragraph::in_a_word;
use super::whole_file::WholeFile;
use super::{Reporter, diagnosis};
use crate::model::event::{AttemptFinished, Event, RunStarted};
use crate::model::governor::{Action, Decision, State};
use crate::model::text::harmless;
use crate::model::{AttemptId, Verdict};

/// The one process that it shows.
const RUN: u32 = 1;

/// Where the governor's states are; slots come after it.
const GOVERNOR: u32 = 0;

/// Keeps what happened, and writes it.
pub struct TraceReporter {
    file: WholeFile,
    trace: Trace,
}

impl TraceReporter {
    /// Writes to `path`.
    ///
    /// # Errors
    /// If it can't be written there: a folder, one that is not there, no right to.
    pub fn create(path: &Path) -> io::Result<TraceReporter> {
        Ok(TraceReporter { file: WholeFile::create(path)?, trace: Trace::default() })
    }
}

impl Reporter for TraceReporter {
    fn event(&mut self, event: &Event, told: Option<&str>) -> io::Result<()> {
        let trace = &mut self.trace;
        match event {
            Event::RunStarted(started) => trace.run_started(started),
            Event::AttemptStarted(started) => {
                trace.slots.insert(started.attempt.id, started.attempt.slot);
            }
            Event::Governor { at, decision, job } => trace.decided(*at, decision, job.as_deref()),
            Event::AttemptFinished(attempt) => {
                trace.attempt_finished(attempt, told);
                return self.file.write_if_due(|| trace.text());
            }
            Event::RunFinished(finished) => {
                trace.end = trace.end.max(finished.wall);
                return self.file.write(&trace.text()?);
            }
            Event::Broker { .. } | Event::Slow { .. } | Event::Unsettled { .. } | Event::GivenUp { .. } => {}
        }
        Ok(())
    }
}

/// One event of the format.
#[derive(Debug, Clone, Serialize)]
struct Entry {
    name: String,
    /// `X` a span, `i` an instant, `C` counters, `M` names.
    ph: char,
    /// Microseconds since the run began.
    ts: u64,
    pid: u32,
    tid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    dur: Option<u64>,
    /// Of an instant: its thread's.
    #[serde(skip_serializing_if = "Option::is_none")]
    s: Option<char>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cat: Option<&'static str>,
    /// Of Chrome's own colours.
    #[serde(skip_serializing_if = "Option::is_none")]
    cname: Option<&'static str>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    args: Map<String, Value>,
}

#[derive(Default)]
struct Trace {
    run: String,
    entries: Vec<Entry>,
    slots: BTreeMap<AttemptId, u32>,
    /// Since when attempts stand still.
    frozen: BTreeMap<AttemptId, Duration>,
    /// Since when the governor's state is what it is, and why.
    state: Option<(Duration, State, String)>,
    /// What attempts had at most, and when that came and went.
    peaks: Vec<(Duration, i64)>,
    /// Until now.
    end: Duration,
    most_slots: u32,
}

impl Trace {
    fn run_started(&mut self, started: &RunStarted) {
        self.run = started.run.0.clone();
    }

    fn attempt_finished(&mut self, attempt: &AttemptFinished, told: Option<&str>) {
        let id = attempt.attempt.id;
        self.slots.remove(&id);
        self.end = self.end.max(attempt.ended);
        self.most_slots = self.most_slots.max(attempt.attempt.slot + 1);
        if let Some(since) = self.frozen.remove(&id) {
            self.stood_still(attempt.attempt.slot, since, attempt.ended);
        }
        if let Some(peak) = attempt.evidence.memory_peak {
            let peak = i64::try_from(peak.0).unwrap_or(i64::MAX);
            self.peaks.extend([(attempt.began, peak), (attempt.ended, -peak)]);
        }
        let (cat, cname) = match (attempt.verdict, attempt.retry_in) {
            (Some(Verdict::Pass | Verdict::Flaky), _) => ("pass", "good"),
            (Some(Verdict::Unseen), _) => ("unseen", "thread_state_unknown"),
            (Some(_), _) => ("fail", "terrible"),
            (None, Some(_)) => ("retried", "bad"),
            (None, None) => ("evicted", "grey"),
        };
        let seen = attempt.diagnosis.as_ref().map(|seen| diagnosis::short(seen).join("\n"));
        let came_to = match attempt.verdict {
            Some(Verdict::Pass) => "pass".to_owned(),
            verdict => in_a_word(attempt, verdict.unwrap_or(Verdict::Fail)),
        };
        let milliseconds = |time: Duration| micros(time) as f64 / 1e3;
        let args = json!({
            "came to": came_to,
            "attempt": id.number,
            "wall_ms": milliseconds(attempt.wall),
            "cpu_ms": attempt.evidence.cpu_time.map(milliseconds),
            "frozen_ms": milliseconds(attempt.frozen),
            "memory_peak": attempt.evidence.memory_peak,
            "memory_max": attempt.limits.memory_max,
            "told": told,
            "diagnosis": seen,
        });
        self.entries.push(Entry {
            dur: Some(length(attempt.began, attempt.ended)),
            cat: Some(cat),
            cname: Some(cname),
            args: known(args),
            ..entry('X', &harmless(&attempt.job), attempt.began, thread(attempt.attempt.slot))
        });
    }

    fn decided(&mut self, at: Duration, decision: &Decision, job: Option<&str>) {
        self.end = self.end.max(at);
        let used = decision.budget.0.saturating_sub(decision.left.0);
        let args = known(json!({"used": used, "budget": decision.budget}));
        self.entries.push(Entry { args, ..entry('C', "memory, measured", at, GOVERNOR) });
        if let Some((id, slot)) = decision.attempt.and_then(|id| Some((id, *self.slots.get(&id)?))) {
            match decision.action {
                Action::Freeze => drop(self.frozen.entry(id).or_insert(at)),
                Action::Thaw => {
                    if let Some(since) = self.frozen.remove(&id) {
                        self.stood_still(slot, since, at);
                    }
                }
                Action::Evict => {
                    let args = known(json!({"why": governor::seen(decision)}));
                    self.entries.push(Entry {
                        s: Some('t'),
                        args,
                        ..entry('i', "evicted", at, thread(slot))
                    });
                }
                Action::Hold | Action::Release => {}
            }
        }
        if self.state.as_ref().is_none_or(|(_, state, _)| *state != decision.state) {
            let why = governor::sentence(decision, job.map(harmless).as_deref());
            let before = self.state.replace((at, decision.state, why));
            self.entries.extend(before.map(|before| span_of_state(before, at)));
        }
    }

    fn stood_still(&mut self, slot: u32, since: Duration, until: Duration) {
        let dur = Some(length(since, until));
        let frozen = entry('X', "frozen", since.min(until), thread(slot));
        self.entries.push(Entry { dur, cat: Some("frozen"), cname: Some("white"), ..frozen });
    }

    /// All of it, as far as it is known.
    fn text(&self) -> io::Result<String> {
        let names = (0..self.most_slots).map(|slot| named(thread(slot), &format!("slot {slot}")));
        let run = Entry { name: "process_name".into(), ..named(GOVERNOR, &format!("sandtest {}", self.run)) };
        let mut entries: Vec<Entry> = [run, named(GOVERNOR, "governor")].into_iter().chain(names).collect();
        entries.extend(self.entries.iter().cloned());
        entries.extend(self.state.clone().map(|state| span_of_state(state, self.end)));
        entries.extend(self.memory());
        let all = json!({"traceEvents": entries, "displayTimeUnit": "ms"});
        serde_json::to_string(&all).map_err(io::Error::other)
    }

    /// The peaks of those that ran, added up: an upper bound, since they need not have had them at once.
    fn memory(&self) -> impl Iterator<Item = Entry> {
        let mut changes = self.peaks.clone();
        changes.sort_unstable();
        let mut sum = 0_i64;
        changes.into_iter().map(move |(at, change)| {
            sum = change.saturating_add(sum);
            Entry {
                args: known(json!({"peaks": sum})),
                ..entry('C', "memory, peaks of what runs", at, GOVERNOR)
            }
        })
    }
}

fn span_of_state((since, state, why): (Duration, State, String), until: Duration) -> Entry {
    let dur = Some(length(since, until));
    let cname = Some(match state {
        State::Green => "good",
        State::Yellow => "yellow",
        State::Orange => "bad",
        State::Red => "terrible",
    });
    let args = known(json!({ "why": why }));
    Entry { dur, cname, args, cat: Some("governor"), ..entry('X', state.as_str(), since, GOVERNOR) }
}

fn named(tid: u32, name: &str) -> Entry {
    Entry { args: known(json!({ "name": name })), ..entry('M', "thread_name", Duration::ZERO, tid) }
}

fn entry(ph: char, name: &str, at: Duration, tid: u32) -> Entry {
    Entry {
        name: name.to_owned(),
        ph,
        ts: micros(at),
        pid: RUN,
        tid,
        dur: None,
        s: None,
        cat: None,
        cname: None,
        args: Map::new(),
    }
}

fn thread(slot: u32) -> u32 {
    slot + 1
}

/// From one to the other, in the format's own steps: so that what ends with another does so to the microsecond.
fn length(begin: Duration, end: Duration) -> u64 {
    micros(end).saturating_sub(micros(begin))
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// What is known of it.
fn known(args: Value) -> Map<String, Value> {
    let Value::Object(mut args) = args else { return Map::new() };
    args.retain(|_, value| !value.is_null());
    args
}
