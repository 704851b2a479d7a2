//! A run's events, read again from the lines that [`super::json`] wrote: what any report makes of a run it makes of its record.
//!
//! ```text
//! lines ─▶ events, with the words that were found for them then ─▶ starts put where they belong
//! ```
//!
//! - [`lines`]: what stands in a line, and the event that it stands for
//!
//! A run that was killed may end in half a line: that is passed over. Starts are not on record: an attempt that ended tells
//! when it began, and one that was in mid-run when all was killed is not known of.

mod lines;

use std::collections::BTreeMap;
use std::io::{self, BufRead};
use std::time::Duration;

use self::lines::{AttemptLine, Line, time};
use crate::model::event::{Event, RunFinished};
use crate::model::{Attempt, AttemptId, Cause, JobId, Outcome, Verdict};

/// A longer line is none of ours.
const LONGEST_LINE: u64 = 64 << 20;

/// An event, as it was told.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// What happened.
    pub event: Event,
    /// The same in words, where there were any.
    pub words: Option<String>,
}

/// Reads the events of a run, in their order.
///
/// # Errors
/// What could not be read; `InvalidData` for what are no events.
pub fn read(lines: &mut impl BufRead) -> io::Result<Vec<Told>> {
    let mut parsed = Vec::new();
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        io::Read::take(&mut *lines, LONGEST_LINE).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            break;
        }
        match serde_json::from_slice(&line) {
            Ok(event) => parsed.push(event),
            // Cut off where the run was killed.
            Err(_) if !line.ends_with(b"\n") => break,
            Err(error) => {
                let message = format!("line {number} is no event of this version: {error}");
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
        }
    }
    let numbers = Numbers::of(&parsed);
    let mut starts = starts(&parsed).into_iter().peekable();
    let mut events = Vec::with_capacity(2 * parsed.len());
    for line in parsed {
        let until = line.at();
        while let Some(start) = starts.next_if(|start| until.is_some_and(|until| start.at <= until)) {
            let id = numbers.id(&start.job, start.number);
            let attempt = Attempt { id, slot: start.slot };
            events.push(Told { event: Event::AttemptStarted { attempt, job: start.job }, words: None });
        }
        events.extend(line.told(&numbers));
    }
    Ok(events)
}

/// What a run without an end has come to by now, or had when it was killed: that is an interruption.
pub fn end_until_now(events: &[Told], killed: bool) -> RunFinished {
    let closed = killed.then_some(Cause::Interrupted);
    let mut end = RunFinished { interrupted: killed, closed, ..RunFinished::default() };
    let mut jobs = 0;
    for Told { event, .. } in events {
        match event {
            Event::RunStarted(started) => jobs = started.jobs as u64,
            Event::AttemptFinished(attempt) => {
                end.wall = end.wall.max(attempt.ended);
                end.leaked += attempt.evidence.leaked_count;
                match attempt.verdict {
                    Some(verdict) => {
                        *(match verdict {
                            Verdict::Unseen => &mut end.unseen,
                            _ if attempt.failed => &mut end.failed,
                            _ => &mut end.passed,
                        }) += 1;
                        end.flaky += u64::from(verdict == Verdict::Flaky);
                    }
                    None => end.evictions += u64::from(attempt.retry_in.is_none()),
                }
            }
            Event::GivenUp { .. } => end.failed += 1,
            _ => {}
        }
    }
    end.not_run = jobs.saturating_sub(end.passed + end.failed + end.unseen);
    end
}

/// When an attempt began.
struct Start {
    at: Duration,
    job: String,
    number: u32,
    slot: u32,
}

/// All of them, in their order.
fn starts(lines: &[Line]) -> Vec<Start> {
    // What could not be started did not.
    let started = attempts(lines).filter(|attempt| attempt.outcome != Outcome::SpawnFailed);
    let start = |attempt: &AttemptLine| Start {
        at: time(attempt.began_ms),
        job: attempt.job.clone(),
        number: attempt.attempt,
        slot: attempt.slot,
    };
    let mut starts: Vec<Start> = started.map(start).collect();
    starts.sort_by_key(|start| start.at);
    starts
}

fn attempts(lines: &[Line]) -> impl Iterator<Item = &AttemptLine> {
    lines.iter().filter_map(|line| match line {
        Line::AttemptFinished(attempt) => Some(&**attempt),
        _ => None,
    })
}

/// The jobs' places in the run, as far as is known: in the order in which they began.
struct Numbers(BTreeMap<String, u32>);

impl Numbers {
    fn of(lines: &[Line]) -> Numbers {
        let mut first: Vec<(Duration, &str)> =
            attempts(lines).map(|attempt| (time(attempt.began_ms), attempt.job.as_str())).collect();
        first.sort_unstable();
        let others = lines.iter().filter_map(Line::job);
        let mut numbers = BTreeMap::new();
        for job in first.into_iter().map(|(_, job)| job).chain(others) {
            let next = numbers.len() as u32;
            numbers.entry(job.to_owned()).or_insert(next);
        }
        Numbers(numbers)
    }

    fn id(&self, job: &str, number: u32) -> AttemptId {
        AttemptId { job: JobId(self.0.get(job).copied().unwrap_or_default()), number }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_are_no_events_is_refused() {
        for text in ["{}\n", "hello\n{}", "{\"event\":\"attempt-finished\"}\n"] {
            let error = read(&mut text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with("line 1 is no event of this version"), "{error}");
        }
        let later = "{\"event\":\"of-a-later-version\",\"what\":1}\n{\"event\":\"attempt-fin";
        assert_eq!(read(&mut later.as_bytes()).unwrap(), []);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(lines in proptest::collection::vec(".*", 0..5)) {
            let _ = read(&mut lines.join("\n").as_bytes());
        }
    }
}
