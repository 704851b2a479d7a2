//! Every message as it is written down, and what is made of those that are none.

use proptest::prelude::*;

use super::*;
use crate::broker::lines::Lines;
use crate::model::view::{JobView, RunView};
use crate::model::{Bytes, JobId};
use crate::policy::broker::{Broker, ClientId, Input, Priority, Settings, UserId};
use crate::policy::governor;

const TO_BROKER_LINES: &str = include_str!("../fixtures/to-broker.jsonl");
const TO_RUN_LINES: &str = include_str!("../fixtures/to-run.jsonl");

#[test]
fn every_message_reads_and_writes_as_it_is_written_down() {
    for line in TO_BROKER_LINES.lines() {
        let message = from_run(line.as_bytes()).unwrap_or_else(|fault| panic!("{line}: {fault}"));
        assert_eq!(String::from_utf8(write(&message).unwrap()).unwrap(), format!("{line}\n"));
    }
    for line in TO_RUN_LINES.lines() {
        let message = from_broker(line.as_bytes()).unwrap_or_else(|fault| panic!("{line}: {fault}"));
        assert_eq!(String::from_utf8(write(&message).unwrap()).unwrap(), format!("{line}\n"));
    }
    let kinds = |lines: &str| {
        let kind = |line| serde_json::from_str::<Kind>(line).unwrap().kind;
        lines.lines().map(kind).collect::<std::collections::BTreeSet<String>>()
    };
    assert!(TO_BROKER.iter().all(|kind| kinds(TO_BROKER_LINES).contains(*kind)));
    assert!(TO_RUN.iter().all(|kind| kinds(TO_RUN_LINES).contains(*kind)));
}

#[test]
fn every_message_is_in_the_manual() {
    let manual = include_str!("../../../docs/protocol.md");
    for kind in TO_BROKER.iter().chain(&TO_RUN) {
        assert!(manual.contains(&format!("`{kind}`")), "{kind} is not in docs/protocol.md");
    }
}

#[test]
fn the_least_that_can_be_said_is_little() {
    let hello = from_run(br#"{"type":"hello","version":1,"run":"x","parallel":2}"#);
    assert!(matches!(hello, Ok(ToBroker::Hello(Hello { weight: 1.0, priority: Priority::Interactive, .. }))));
    let want = from_run(br#"{"type":"want","job":0,"attempt":1}"#);
    let Ok(ToBroker::Want(job)) = want else { panic!("{want:?}") };
    assert!(job.restartable && job.weight == 1 && job.memory.is_none());
}

#[test]
fn a_newer_side_may_say_more() {
    let more = br#"{"type":"born","job":1,"attempt":2,"colour":"blue","deep":[{"a":[1,2]}]}"#;
    assert_eq!(from_run(more), Ok(ToBroker::Born(Of { job: JobId(1), attempt: 2 })));
    let dance = from_run(br#"{"type":"dance","job":1}"#).unwrap_err();
    assert_eq!(dance, Fault::Unknown("dance".into()));
    assert!(dance.is_survivable());
}

#[test]
fn another_version_is_told_whatever_else_it_says() {
    let theirs = |line: &[u8]| from_run(line).unwrap_err();
    assert_eq!(
        theirs(br#"{"type":"hello","version":2,"run":"x","parallel":1}"#),
        Fault::Version { theirs: 2 }
    );
    assert_eq!(theirs(br#"{"type":"hello","version":7,"who":{"name":"x"}}"#), Fault::Version { theirs: 7 });
    assert!(matches!(theirs(br#"{"type":"hello","run":"x","parallel":1}"#), Fault::Malformed(_)));
}

#[test]
fn what_is_no_message_is_told_why() {
    for line in [
        &b""[..],
        b"{",
        b"null",
        b"[]",
        b"GET / HTTP/1.1",
        b"\xff\xfe\x00",
        br#"{"type":"want","job":-1,"attempt":1}"#,
        br#"{"type":"want","job":1}"#,
        br#"{"type":"want","job":4294967296,"attempt":1}"#,
        br#"{"type":"want","job":0,"attempt":1,"memory":-5}"#,
        br#"{"type":"born","job":0,"job":1,"attempt":1}"#,
        br#"{"type":"hello","version":1,"run":"x","parallel":1,"weight":1e999}"#,
    ] {
        let fault = from_run(line).unwrap_err();
        assert!(matches!(fault, Fault::Malformed(_)), "{}: {fault}", String::from_utf8_lossy(line));
        assert!(!fault.is_survivable());
    }
    let deep = format!(r#"{{"type":"born","job":0,"attempt":1,"x":{}"#, "[".repeat(LONGEST / 2));
    assert!(matches!(from_run(deep.as_bytes()), Err(Fault::Malformed(_))));
}

#[test]
fn what_is_too_much_is_not_taken() {
    let long = "x".repeat(LONGEST_NAME + 1);
    let hello = format!(r#"{{"type":"hello","version":1,"run":"{long}","parallel":1}}"#);
    assert!(matches!(from_run(hello.as_bytes()), Err(Fault::TooMuch { field: "run", .. })));
    let want = format!(r#"{{"type":"want","job":0,"attempt":1,"kin":"{long}"}}"#);
    assert!(matches!(from_run(want.as_bytes()), Err(Fault::TooMuch { field: "kin", .. })));
    let groups = vec!["0"; MOST_GROUPS + 1].join(",");
    let want = format!(r#"{{"type":"want","job":0,"attempt":1,"groups":[{groups}]}}"#);
    assert!(matches!(from_run(want.as_bytes()), Err(Fault::TooMuch { field: "groups", .. })));
    let message = ToRun::Error { message: "x".repeat(LONGEST), closing: true };
    assert!(matches!(write(&message), Err(Fault::TooMuch { .. })));
}

/// A line of the fixtures, as a status.
fn status() -> Status {
    let line = TO_RUN_LINES.lines().find(|line| line.starts_with(r#"{"type":"status""#)).unwrap();
    let Ok(ToRun::Status(status)) = from_broker(line.as_bytes()) else { panic!("{line}") };
    *status
}

#[test]
fn a_status_that_is_too_long_lists_fewer_jobs_and_counts_the_others() {
    let mut status = status();
    let job = |name: &str| JobView { name: name.to_owned(), ..status.view.own[0].jobs[0].clone() };
    // As long as names are shown, of letters that JSON has to escape.
    let (long, short) = (job(&"\"".repeat(LONGEST_SHOWN)), job("short"));
    let mut run = RunView { jobs: vec![long; 300], unlisted: 7, ..status.view.own[0].clone() };
    status.view.own = vec![run.clone()];
    run.jobs = vec![short];
    status.view.own.push(run);
    let line = status.line().unwrap();
    assert!(line.len() <= LONGEST);
    let Ok(ToRun::Status(told)) = from_broker(line.trim_ascii_end()) else { panic!() };
    let [first, second] = &told.view.own[..] else { panic!("two runs") };
    assert!(first.jobs.len() > 50);
    assert_eq!(first.jobs.len() as u64 + first.unlisted, 307);
    assert_eq!((second.jobs.len(), second.unlisted), (1, 7));
}

#[test]
fn the_longest_that_a_user_can_be_shown_fits_in_a_line() {
    let mut status = status();
    let run = RunView {
        name: "\"".repeat(LONGEST_SHOWN),
        jobs: vec![status.view.own[0].jobs[0].clone(); 300],
        ..status.view.own[0].clone()
    };
    status.view.own = vec![run; 64];
    status.view.users = vec![status.view.users[0]; 51];
    assert!(status.line().is_ok());
}

#[test]
fn names_are_shown_short_and_do_nothing_to_a_terminal() {
    let request = |name: &str| {
        let want = serde_json::json!({"type": "want", "job": 0, "attempt": 1, "name": name});
        match from_run(want.to_string().as_bytes()).unwrap() {
            ToBroker::Want(job) => job.request().about.name,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(request("core::parses"), "core::parses");
    assert_eq!(request("a\u{1b}[2Jb\n"), "a?[2Jb?");
    let long = request(&format!("{}{}", "é".repeat(100), "ä".repeat(20)));
    assert_eq!(long, format!("{}...{}{}", "é".repeat(24), "é".repeat(4), "ä".repeat(20)));
}

/// A broker with one client, that hears whatever comes.
fn hears(stream: &[u8], cut: usize) -> (usize, usize) {
    let line = Bytes::mib(32);
    let governor = governor::Settings {
        budget: Some(Bytes::gib(1)),
        yellow: line,
        orange: line,
        red: line,
        cpus: 2,
        jobs: 2,
        max_pressure: 100,
    };
    let mut broker = Broker::new(Settings { governor, requests: 240, patience: None, recovering: None });
    let (mut lines, mut heard, mut faults) = (Lines::new(), 0, 0);
    for piece in stream.chunks(cut.max(1)) {
        let mut bytes = piece;
        while let Some(line) = lines.next(&mut bytes) {
            let message = match line.map_err(Fault::from).and_then(from_run) {
                Ok(message) => message,
                Err(_) => {
                    faults += 1;
                    continue;
                }
            };
            heard += 1;
            let input = match message {
                ToBroker::Hello(hello) => Some(Input::Hello {
                    client: ClientId(1),
                    who: hello.who(UserId(1000), None),
                    instead_of: None,
                }),
                ToBroker::Declare { running, .. } => {
                    Some(Input::Declare(ClientId(1), running.iter().map(Job::request).collect()))
                }
                other => other.input(ClientId(1)),
            };
            for effect in input.map(|input| broker.step(std::time::Duration::ZERO, input)).unwrap_or_default()
            {
                let said = ToRun::of(&effect, Some(2000));
                if let Some((_, said)) = said {
                    assert_eq!(from_broker(write(&said).unwrap().trim_ascii_end()), Ok(said));
                }
            }
        }
    }
    (heard, faults)
}

#[test]
fn all_that_may_be_said_is_heard() {
    assert_eq!(hears(TO_BROKER_LINES.as_bytes(), 7), (18, 0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    /// Bytes turned over, cut out, put in and doubled: something is heard or a fault is told, and nothing else happens.
    #[test]
    fn whatever_is_said_nothing_breaks(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..4), 0..40),
        cut in 1usize..200,
    ) {
        let mut stream = TO_BROKER_LINES.as_bytes().to_vec();
        for (place, byte, how) in changes {
            let at = place.index(stream.len());
            match how {
                0 => stream[at] = byte,
                1 => drop(stream.remove(at)),
                2 => stream.insert(at, byte),
                _ => {
                    let end = (at + usize::from(byte)).min(stream.len());
                    let again = stream[at..end].to_vec();
                    stream.splice(at..at, again);
                }
            }
        }
        let (heard, faults) = hears(&stream, cut);
        let lines = stream.iter().filter(|byte| **byte == b'\n').count();
        prop_assert_eq!(heard + faults, lines);
    }

    #[test]
    fn garbage_is_no_message(garbage in prop::collection::vec(any::<u8>(), 0..2000)) {
        let _ = hears(&garbage, 64);
        prop_assert!(from_broker(&garbage).is_err());
    }
}
