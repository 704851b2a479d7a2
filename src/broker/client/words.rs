//! What the policy tells and hears, as it is said.

use std::time::Duration;

use crate::broker::protocol::{Fault, How, Job, Of, Sampled, ToBroker, ToRun, shown, write};
use crate::model::governor::Decision;
use crate::model::reading::JobReading;
use crate::model::view::{Reason, WaitView};
use crate::model::{AttemptId, Bytes, JobId};
use crate::policy::broker::{Request, Share};
use crate::policy::governor::Ending;
use crate::policy::scheduler::{Heard, Ran, Said};

/// So many jobs are tried to be said in one line; with long names it takes more lines.
const IN_A_LINE: usize = 256;

/// What a broker is told of a job beside what the policy knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobWords {
    /// Jobs of one kin are likely to be alike, in whatever run of this user.
    pub kin: String,
    /// Its name, for people.
    pub name: String,
    /// `memory_max` of its own group, for people.
    pub limit: Option<Bytes>,
}

/// What a message is to the run.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Meaning {
    /// For the policy.
    Heard(Heard),
    /// For people: runs that are asked before this one, and why.
    Waits(u32, WaitView),
    /// For people: the broker did not understand something.
    Complaint(String),
    Nothing,
}

/// Lines for what is told, each with its end.
pub(super) fn lines(said: Said, jobs: &[JobWords]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut say = |message: &ToBroker| out.extend(write(message).unwrap_or_default());
    match said {
        Said::Declare(running) => {
            let running: Vec<Job> = running.into_iter().map(|ran| declared(ran, jobs)).collect();
            in_lines(&running, &mut out, &|running, more| ToBroker::Declare { running, more });
        }
        Said::Want(request) => say(&ToBroker::Want(job(request, jobs))),
        Said::Withdraw { job, again } => say(&ToBroker::Withdraw { job, again }),
        Said::Limits(parallel, groups) => say(&ToBroker::Limits { parallel, groups }),
        Said::Born(id) => say(&ToBroker::Born(of(id))),
        Said::Stopping(id) => say(&ToBroker::Stopping(of(id))),
        Said::Ending(id) => say(&ToBroker::Ending(of(id))),
        Said::Ended { id, ending, again, outcome, verdict, setup } => {
            let (how, peak) = how(ending);
            let setup_us = setup.map(micros);
            say(&ToBroker::Ended { of: of(id), how, peak, again, outcome, verdict, setup_us });
        }
        Said::Sensed(reading) => {
            let jobs: Vec<Sampled> = reading.jobs.iter().map(sampled).collect();
            in_lines(&jobs, &mut out, &|jobs, _| ToBroker::Sample { jobs });
        }
        // Nobody else stood still.
        Said::Gap(_) => {}
    }
    out
}

/// That an attempt stands still.
pub(super) fn frozen(id: AttemptId) -> Vec<u8> {
    write(&ToBroker::Frozen(of(id))).unwrap_or_default()
}

/// Says `items` in as many lines as it takes. `message`: whether more follows.
fn in_lines<T: Clone>(items: &[T], out: &mut Vec<u8>, message: &impl Fn(Vec<T>, bool) -> ToBroker) {
    let mut rest = items;
    loop {
        let mut count = rest.len().min(IN_A_LINE);
        loop {
            match write(&message(rest[..count].to_vec(), count < rest.len())) {
                Err(Fault::TooMuch { .. }) if count > 1 => count /= 2,
                line => break out.extend(line.unwrap_or_default()),
            }
        }
        rest = &rest[count..];
        if rest.is_empty() {
            return;
        }
    }
}

/// What a message means.
pub(super) fn meaning(message: ToRun) -> Meaning {
    Meaning::Heard(match message {
        ToRun::Grant(of) => Heard::Grant(of.id()),
        ToRun::Freeze(order) => Heard::Freeze(order.of.id()),
        ToRun::Thaw(of) => Heard::Thaw(of.id()),
        ToRun::Evict(order) => Heard::Evict(order.of.id()),
        ToRun::Kill(order) => Heard::Kill(order.of.id()),
        ToRun::State(stand) => Heard::Stands(stand),
        ToRun::Share { memory, jobs } => {
            Heard::Share(Share { memory: memory.unwrap_or(Bytes(u64::MAX)), jobs })
        }
        ToRun::NotTaken { of, .. } => Heard::NotTaken(of.id()),
        ToRun::Decided(decided) => Heard::Decided(Decision::from(decided)),
        ToRun::Waits { ahead, why, signal, value, line } => {
            let is_held = why == crate::model::view::WaitsFor::Held;
            let reason = is_held.then_some(Reason { signal, value, line });
            return Meaning::Waits(ahead, WaitView { why, reason });
        }
        ToRun::Error { message, .. } => return Meaning::Complaint(message),
        ToRun::Welcome { .. } | ToRun::Refused { .. } | ToRun::Status(_) | ToRun::Done(_) => {
            return Meaning::Nothing;
        }
    })
}

fn of(id: AttemptId) -> Of {
    Of { job: id.job, attempt: id.number }
}

fn how(ending: Ending) -> (How, Option<Bytes>) {
    match ending {
        Ending::Finished { peak } => (How::Finished, peak),
        Ending::Evicted { peak } => (How::Evicted, peak),
        Ending::Otherwise => (How::Otherwise, None),
    }
}

fn job(request: Request, jobs: &[JobWords]) -> Job {
    let words = words(request.id.job, jobs);
    Job {
        of: of(request.id),
        kin: words.map(|words| words.kin.clone()).unwrap_or_default(),
        memory: request.memory,
        restartable: request.restartable,
        weight: request.weight,
        groups: request.groups,
        token: request.token,
        driver: request.driver,
        at_once: request.at_once,
        // What is no job of the list has said itself what it is.
        name: words.map_or(request.about.name, |words| shown(&words.name)),
        limit: words.and_then(|words| words.limit),
        worked_ms: 0,
        frozen: false,
    }
}

fn declared(ran: Ran, jobs: &[JobWords]) -> Job {
    let worked_ms = u64::try_from(ran.worked.as_millis()).unwrap_or(u64::MAX);
    Job { worked_ms, frozen: ran.frozen, ..job(ran.request, jobs) }
}

fn words(job: JobId, jobs: &[JobWords]) -> Option<&JobWords> {
    jobs.get(job.0 as usize)
}

fn sampled(seen: &JobReading) -> Sampled {
    Sampled { of: of(seen.id), memory: seen.memory, cpu_us: seen.cpu.map(micros) }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::protocol::{LONGEST_SHOWN, from_run};
    use crate::policy::broker::About;

    fn ran(job: u32) -> Ran {
        let request = Request {
            id: AttemptId { job: JobId(job), number: 2 },
            kin: 7,
            memory: Some(Bytes::mib(3)),
            restartable: false,
            weight: 2,
            groups: vec![1],
            token: false,
            driver: None,
            at_once: false,
            about: About::default(),
        };
        Ran { request, worked: Duration::from_millis(1500), frozen: job == 0 }
    }

    fn said(lines: &[u8]) -> Vec<ToBroker> {
        let lines = lines.split_inclusive(|byte| *byte == b'\n');
        lines.map(|line| from_run(line.trim_ascii_end()).unwrap()).collect()
    }

    #[test]
    fn a_long_declaration_goes_in_several_lines_and_loses_nobody() {
        let words = vec![JobWords { kin: "k".repeat(256), name: "n".repeat(300), limit: None }; 1000];
        let mut found = Vec::new();
        let messages = said(&lines(Said::Declare((0..1000).map(ran).collect()), &words));
        assert!(messages.len() > 4);
        let last = messages.len() - 1;
        for (at, message) in messages.into_iter().enumerate() {
            let ToBroker::Declare { running, more } = message else { panic!("{message:?}") };
            assert_eq!(more, at < last);
            found.extend(running);
        }
        assert!((0..1000).zip(&found).all(|(number, job)| job.of.job == JobId(number)));
        assert_eq!(
            (found.len(), found[0].worked_ms, found[0].frozen, found[1].frozen),
            (1000, 1500, true, false)
        );
        assert!(found[0].name.len() <= LONGEST_SHOWN);
        assert_eq!(said(&lines(Said::Declare(Vec::new()), &[])).len(), 1, "that nothing runs is said, too");
    }

    #[test]
    fn what_is_asked_for_arrives_as_it_was_meant() {
        let words =
            [JobWords { kin: "core".into(), name: "core::parses".into(), limit: Some(Bytes::mib(9)) }];
        let messages = said(&lines(Said::Want(ran(0).request), &words));
        let [ToBroker::Want(job)] = &messages[..] else { panic!("{messages:?}") };
        let request = job.request();
        assert_eq!((request.id, request.memory, request.weight), (ran(0).request.id, Some(Bytes::mib(3)), 2));
        assert_eq!((request.restartable, &request.groups[..]), (false, &[1][..]));
        assert_eq!((request.about.name.as_str(), request.about.limit), ("core::parses", Some(Bytes::mib(9))));
    }
}
