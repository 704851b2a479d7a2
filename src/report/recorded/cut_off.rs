//! What can be said of a run without its end: which attempts were in mid-run, and what it had come to by then.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Told;
use crate::model::event::{AttemptFinished, AttemptStarted, Event, RunFinished, Tries};
use crate::model::{AttemptId, Cause, Evidence, Fate, Outcome, Verdict};

/// An end for each attempt that has none on record, of a run that does not go on: nobody saw how it ended.
pub fn unseen_ends(events: &[Told], fate: Fate) -> Vec<Told> {
    let why = match fate {
        Fate::Runs => return Vec::new(),
        Fate::Killed => "it was running when the run was killed, and nobody saw how it ended",
        Fate::Ended => "the record ends before it does",
    };
    let until = last_told(events);
    in_mid_run(events).into_iter().map(|started| unseen_end(started, until, why)).collect()
}

/// What it has come to by now, or had when it was killed: that is an interruption.
pub fn end_until_now(events: &[Told], fate: Fate) -> RunFinished {
    let killed = fate == Fate::Killed;
    let closed = killed.then_some(Cause::Interrupted);
    let wall = last_told(events);
    let mut end = RunFinished { interrupted: killed, closed, wall, ..RunFinished::default() };
    let mut jobs = 0;
    for Told { event, .. } in events {
        match event {
            Event::RunStarted(started) => jobs = started.jobs as u64,
            Event::AttemptFinished(attempt) => {
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
    let began = end.passed + end.failed + end.unseen + in_mid_run(events).len() as u64;
    end.not_run = jobs.saturating_sub(began);
    end
}

/// Those that have begun and not ended, in the order in which they began.
pub fn in_mid_run(events: &[Told]) -> Vec<&AttemptStarted> {
    let mut running: BTreeMap<AttemptId, &AttemptStarted> = BTreeMap::new();
    for Told { event, .. } in events {
        match event {
            Event::AttemptStarted(started) => drop(running.insert(started.attempt.id, started)),
            Event::AttemptFinished(ended) => drop(running.remove(&ended.attempt.id)),
            _ => {}
        }
    }
    let mut running: Vec<&AttemptStarted> = running.into_values().collect();
    running.sort_by_key(|started| started.began);
    running
}

/// Since the run began: it lived for that long at least.
pub fn last_told(events: &[Told]) -> Duration {
    let at = |told: &Told| match &told.event {
        Event::Governor { at, .. } | Event::Broker { at, .. } => *at,
        Event::AttemptStarted(started) => started.began,
        Event::AttemptFinished(ended) => ended.ended,
        Event::RunFinished(end) => end.wall,
        Event::Slow { elapsed, .. } => *elapsed,
        Event::RunStarted(_) | Event::Unsettled { .. } | Event::GivenUp { .. } => Duration::ZERO,
    };
    events.iter().map(at).max().unwrap_or_default()
}

fn unseen_end(started: &AttemptStarted, until: Duration, why: &str) -> Told {
    let AttemptStarted { attempt, job, driver, began, limits } = started.clone();
    let limit = limits.memory_max.map_or(String::new(), |max| format!(" It could have {max} of memory."));
    let end = AttemptFinished {
        attempt,
        job,
        driver,
        test: None,
        outcome: Outcome::Exited,
        cause: Cause::Own,
        verdict: Some(Verdict::Unseen),
        failed: false,
        retry_in: None,
        tries: Tries { this: 1, most: 1 },
        exit: None,
        spawn_error: None,
        began,
        ended: until,
        wall: until.saturating_sub(began),
        frozen: Duration::ZERO,
        evidence: Evidence::default(),
        limits,
        origins: BTreeMap::new(),
        timeout: None,
        idle_timeout: None,
        diagnosis: None,
        diagnosis_file: None,
        output: None,
    };
    Told { event: Event::AttemptFinished(Box::new(end)), words: Some(format!("unseen: {why}.{limit}")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::recorded::read;

    const ENDED: &str = r#""outcome":"exited","cause":"own","verdict":"pass","tries":1,"tries_max":1,"wall_ms":1,"frozen_ms":0,"leaked":0,"left_behind":[],"left_objects":[],"unkillable":false,"limits":{}"#;

    fn record() -> Vec<Told> {
        let began = |job: &str, at: u32| {
            format!(
                r#"{{"event":"attempt-started","job":"{job}","attempt":1,"slot":0,"began_ms":{at},"limits":{{"memory_max":1073741824}}}}"#
            )
        };
        let lines = [
            r#"{"event":"run-started","run":"6b01","profile":"native","isolation":"cgroup","budget":{},"jobs":4,"parallel":2,"absent_sensors":[],"sampled":[],"not_enforced":[],"missing":[]}"#.to_owned(),
            began("first", 10),
            began("long", 20),
            format!(r#"{{"event":"attempt-finished","job":"first","attempt":1,"slot":0,"began_ms":10,"ended_ms":40,{ENDED}}}"#),
            began("late", 50),
            r#"{"event":"attempt-slow","job":"long","attempt":1,"slot":1,"elapsed_ms":60000}"#.to_owned(),
        ];
        read(&mut lines.join("\n").as_bytes()).unwrap()
    }

    fn with_ends(fate: Fate) -> (Vec<Told>, RunFinished) {
        let mut events = record();
        let ends = unseen_ends(&events, fate);
        events.extend(ends.clone());
        (ends, end_until_now(&events, fate))
    }

    #[test]
    fn what_a_killed_run_was_at_has_ended_unseen() {
        let (ends, end) = with_ends(Fate::Killed);
        let ended = ends.iter().map(|told| match &told.event {
            Event::AttemptFinished(ended) => (ended.job.as_str(), ended.verdict, ended.ended.as_secs()),
            other => panic!("{other:?}"),
        });
        let unseen = Some(Verdict::Unseen);
        assert!(ended.eq([("long", unseen, 60), ("late", unseen, 60)]), "{ends:?}");
        assert!(ends[0].words.as_ref().is_some_and(|words| words.contains("could have 1 GiB")), "{ends:?}");
        assert_eq!((end.passed, end.unseen, end.not_run, end.interrupted), (1, 2, 1, true));
        assert_eq!(end.wall.as_secs(), 60);
    }

    #[test]
    fn what_still_runs_is_not_taken_for_what_never_did() {
        let (ends, end) = with_ends(Fate::Runs);
        assert!(ends.is_empty());
        assert_eq!((end.passed, end.unseen, end.not_run, end.interrupted), (1, 0, 1, false));
    }

    #[test]
    fn of_a_run_whose_record_was_cut_off_nothing_more_is_said_than_that() {
        let (ends, end) = with_ends(Fate::Ended);
        assert!(ends[0].words.as_ref().is_some_and(|words| words.contains("the record ends")), "{ends:?}");
        assert_eq!((end.unseen, end.interrupted, end.closed), (2, false, None));
    }
}
