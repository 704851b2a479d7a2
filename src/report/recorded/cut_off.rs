//! What can be said of a run without its end: which attempts were in mid-run, and what it had come to by then.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Told;
use crate::model::event::{AttemptFinished, AttemptStarted, Event, RunFinished, Tries};
use crate::model::{AttemptId, Cause, Evidence, Fate, JobId, Outcome, Verdict};

/// What is missing of a run that has no end and does not go on: an end for each attempt that began, which nobody saw, and of each
/// job that waited for its next try that it waits in vain.
pub fn missing(events: &[Told], fate: Fate, until: Duration) -> Vec<Told> {
    let why = match fate {
        _ if has_ended(events) => return Vec::new(),
        Fate::Runs => return Vec::new(),
        Fate::Killed => "it was running when the run was killed, and nobody saw how it ended",
        Fate::Ended => "the record ends before it does",
    };
    let last = last_ends(events);
    let unseen = in_mid_run(events).into_iter().map(|started| {
        let before = last.get(&started.attempt.id.job).copied();
        unseen_end(started, tries(before), until, why)
    });
    let known: BTreeSet<AttemptId> =
        events.iter().filter_map(begun).chain(events.iter().filter_map(given_up)).collect();
    let waits = |ended: &&AttemptFinished| {
        let next = AttemptId { number: ended.attempt.id.number.saturating_add(1), ..ended.attempt.id };
        let has_failed = ended.retry_in.is_some() || (ended.verdict.is_none() && ended.tries.this > 1);
        fate == Fate::Killed && has_failed && !known.contains(&next)
    };
    let in_vain = last.values().copied().filter(waits).map(|ended| {
        let event = Event::GivenUp { attempt: ended.attempt.id, job: ended.job.clone() };
        Told { event, words: None }
    });
    unseen.chain(in_vain).collect()
}

/// What a run that does not go on has come to, with what was [`missing`]. One that was killed was interrupted.
pub fn end(events: &[Told], fate: Fate, wall: Duration) -> RunFinished {
    let killed = fate == Fate::Killed;
    let closed = killed.then_some(Cause::Interrupted);
    let mut end = RunFinished { interrupted: killed, closed, wall, ..RunFinished::default() };
    // Of those that were brought along nobody knew before.
    let (mut jobs, mut of_list) = (0, 0);
    for Told { event, .. } in events {
        match event {
            Event::RunStarted(started) => jobs = started.jobs as u64,
            Event::AttemptFinished(attempt) => {
                end.leaked = end.leaked.saturating_add(attempt.evidence.leaked_count);
                match attempt.verdict {
                    Some(verdict) => {
                        of_list += u64::from(attempt.driver.is_none());
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
            Event::GivenUp { .. } => {
                of_list += 1;
                end.failed += 1;
            }
            _ => {}
        }
    }
    let others = jobs.saturating_sub(of_list);
    // What became of those that are not on a record that was cut nobody can say.
    *(if killed { &mut end.not_run } else { &mut end.unseen }) += others;
    end
}

/// Of the run's jobs, those that have not begun.
pub fn not_begun(events: &[Told]) -> usize {
    let begun: BTreeSet<JobId> = events.iter().filter_map(begun).map(|id| id.job).collect();
    let jobs = events.iter().find_map(|told| match &told.event {
        Event::RunStarted(started) => Some(started.jobs),
        _ => None,
    });
    jobs.unwrap_or_default().saturating_sub(begun.len())
}

/// Whether its end is on record.
pub fn has_ended(events: &[Told]) -> bool {
    events.iter().any(|told| matches!(told.event, Event::RunFinished(_)))
}

fn begun(told: &Told) -> Option<AttemptId> {
    match &told.event {
        Event::AttemptStarted(started) => Some(started.attempt.id),
        Event::AttemptFinished(ended) => Some(ended.attempt.id),
        _ => None,
    }
}

/// The attempt that will not be.
fn given_up(told: &Told) -> Option<AttemptId> {
    match &told.event {
        Event::GivenUp { attempt, .. } => {
            Some(AttemptId { number: attempt.number.saturating_add(1), ..*attempt })
        }
        _ => None,
    }
}

/// The last attempt of each job that has ended.
fn last_ends(events: &[Told]) -> BTreeMap<JobId, &AttemptFinished> {
    let ends = events.iter().filter_map(|told| match &told.event {
        Event::AttemptFinished(ended) => Some((ended.attempt.id.job, &**ended)),
        _ => None,
    });
    ends.collect()
}

/// Which try comes after that one.
fn tries(before: Option<&AttemptFinished>) -> Tries {
    before.map_or(Tries { this: 1, most: 1 }, |before| {
        let this = before.tries.this.saturating_add(u32::from(before.retry_in.is_some()));
        Tries { this, most: before.tries.most.max(this) }
    })
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

/// How long the run lived at least, since it began. `seen`: when it was seen last.
pub fn lived(events: &[Told], seen: Option<SystemTime>) -> Duration {
    let began = events.iter().find_map(|told| match &told.event {
        Event::RunStarted(started) => Some(UNIX_EPOCH + started.time),
        _ => None,
    });
    let seen = seen.zip(began).and_then(|(seen, began)| seen.duration_since(began).ok());
    let at = |told: &Told| match &told.event {
        Event::Governor { at, .. } | Event::Broker { at, .. } => *at,
        Event::AttemptStarted(started) => started.began,
        Event::AttemptFinished(ended) => ended.ended,
        Event::RunFinished(end) => end.wall,
        Event::Slow { elapsed, .. } => *elapsed,
        Event::RunStarted(_) | Event::Unsettled { .. } | Event::GivenUp { .. } => Duration::ZERO,
    };
    events.iter().map(at).chain(seen).max().unwrap_or_default()
}

fn unseen_end(started: &AttemptStarted, tries: Tries, until: Duration, why: &str) -> Told {
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
        tries,
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
            r#"{"event":"run-started","run":"6b01","time_ms":1000,"profile":"native","isolation":"cgroup","budget":{},"jobs":4,"parallel":2,"absent_sensors":[],"sampled":[],"not_enforced":[],"missing":[]}"#.to_owned(),
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
        let ends = missing(&events, fate, lived(&events, None));
        events.extend(ends.clone());
        (ends, end(&events, fate, lived(&events, None)))
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
    fn it_lived_until_it_was_last_seen() {
        let events = record();
        let began = UNIX_EPOCH + Duration::from_millis(1000);
        assert_eq!(lived(&events, Some(began + Duration::from_secs(90))).as_secs(), 90);
        assert_eq!(lived(&events, Some(UNIX_EPOCH)).as_secs(), 60, "a clock that was set back");
    }

    #[test]
    fn of_what_still_runs_no_end_is_made_up() {
        let events = record();
        assert!(missing(&events, Fate::Runs, Duration::ZERO).is_empty());
        assert_eq!((in_mid_run(&events).len(), not_begun(&events)), (2, 1));
    }

    #[test]
    fn what_waited_for_its_next_try_has_failed_and_a_try_counts_on() {
        let failed = |job: &str| {
            let ended = ENDED.replace(
                r#""verdict":"pass","tries":1,"tries_max":1"#,
                r#""verdict":null,"retry_in_ms":500,"tries":1,"tries_max":3"#,
            );
            format!(
                r#"{{"event":"attempt-finished","job":"{job}","attempt":1,"slot":0,"began_ms":60,"ended_ms":70,{ended}}}"#
            )
        };
        let again =
            r#"{"event":"attempt-started","job":"again","attempt":2,"slot":0,"began_ms":80,"limits":{}}"#;
        let told = r#"{"event":"retry-given-up","job":"told","attempt":1,"verdict":"fail"}"#.to_owned();
        let evicted = failed("evicted").replace(r#""retry_in_ms":500,"tries":1"#, r#""tries":2"#);
        let lines = [failed("waits"), evicted, failed("told"), told, failed("again"), again.to_owned()];
        let mut events = record();
        events.extend(read(&mut lines.join("\n").as_bytes()).unwrap().into_iter().map(|mut told| {
            // Numbers are a record's own.
            match &mut told.event {
                Event::AttemptStarted(started) => started.attempt.id.job.0 += 10,
                Event::AttemptFinished(ended) => ended.attempt.id.job.0 += 10,
                Event::GivenUp { attempt, .. } => attempt.job.0 += 10,
                _ => {}
            }
            told
        }));
        let ends = missing(&events, Fate::Killed, Duration::from_secs(1));
        let in_vain = ends.iter().filter_map(|told| match &told.event {
            Event::GivenUp { job, .. } => Some(job.as_str()),
            _ => None,
        });
        assert!(in_vain.eq(["waits", "evicted"]), "{ends:?}");
        let tries = ends.iter().find_map(|told| match &told.event {
            Event::AttemptFinished(ended) if ended.job == "again" => Some(ended.tries),
            _ => None,
        });
        assert_eq!(tries, Some(Tries { this: 2, most: 3 }));
    }

    #[test]
    fn of_a_run_whose_record_was_cut_off_nothing_more_is_said_than_that() {
        let (ends, end) = with_ends(Fate::Ended);
        assert!(ends[0].words.as_ref().is_some_and(|words| words.contains("the record ends")), "{ends:?}");
        assert_eq!((end.unseen, end.not_run), (3, 0), "of the one that never began nothing is known");
        assert_eq!((end.interrupted, end.closed), (false, None));
    }
}
