//! What people read, at 80 columns and at fewer.

use super::*;
use crate::model::governor::{Signal, State};
use crate::model::view::{
    InsideView, JobState, JobView, Pressure, Reason, RunView, UserView, WaitView, WaitsFor,
};
use crate::model::{Bytes, JobId};

/// The line of the protocol's fixtures.
fn fixture() -> Status {
    let lines = include_str!("../../broker/fixtures/to-run.jsonl");
    let line = lines.lines().find(|line| line.starts_with(r#"{"type":"status""#)).unwrap();
    serde_json::from_str(line).unwrap()
}

fn busy() -> Status {
    let mut status = fixture();
    let [running, waiting] = &status.view.own[0].jobs[..] else { panic!("two jobs") };
    let job = |number, state, mib, name: &str| JobView {
        job: JobId(number),
        state,
        memory: Bytes::mib(mib),
        peak: Bytes::mib(mib + 100),
        name: name.to_owned(),
        ..running.clone()
    };
    let wait = |number, place, why, name: &str| JobView {
        job: JobId(number),
        place: Some(place),
        waits: Some(why),
        name: name.to_owned(),
        ..waiting.clone()
    };
    let suite = vec![
        job(0, JobState::Running, 2900, "core::tests::parses"),
        job(1, JobState::Frozen, 700, "./target/debug/deps/integration-0123456789abcdef --exact a_long_name"),
        job(2, JobState::Pinned, 120, "テスト::すべての行が読める::もういちど"),
        JobView { cpus: None, limit: None, ..job(3, JobState::Starting, 0, "") },
        job(4, JobState::Dying, 1, "hog"),
        wait(5, 0, WaitsFor::Held, "core::tests::writes"),
        wait(6, 12, WaitsFor::Group, "gpu::one"),
        JobView { expected: Bytes(0), ..wait(7, 239, WaitsFor::Places, "the_last") },
    ];
    let reason = Some(Reason { signal: Some(Signal::CpuPressure), value: 554, line: 400 });
    let nightly = RunView {
        run: 17,
        name: "nightly".into(),
        for_ms: 7_400_000,
        batch: true,
        inside: Some(InsideView { run: 3, job: JobId(1) }),
        ahead: Some(2),
        waits: Some(WaitView { why: WaitsFor::Held, reason }),
        running: 0,
        frozen: 0,
        waiting: 300,
        memory: Bytes(0),
        jobs: vec![wait(0, 0, WaitsFor::Held, "slow")],
        unlisted: 299,
        ..status.view.own[0].clone()
    };
    status.view.own[0].jobs = suite;
    status.view.own.push(nightly);
    let other = UserView { running: 3, memory: Bytes::gib(1), ..status.view.users[1] };
    status.view.users = vec![status.view.users[0], UserView { users: 1, runs: 1, ..other }, other];
    status
}

fn text(status: &Status, width: usize) -> String {
    let lines = page(status, width);
    for line in &lines {
        assert!(line.width() <= width, "{} columns of {width}: {}", line.width(), line.plain());
    }
    let plain: Vec<String> = lines.iter().map(|line| line.painted(false).trim_end().to_owned()).collect();
    plain.join("\n")
}

#[test]
fn a_busy_broker_at_80_columns() {
    insta::assert_snapshot!(text(&busy(), 80));
}

#[test]
fn a_busy_broker_at_40_columns() {
    insta::assert_snapshot!(text(&busy(), 40));
}

#[test]
fn a_busy_broker_where_there_is_room() {
    insta::assert_snapshot!(text(&busy(), 132));
}

#[test]
fn a_broker_that_has_nothing_to_do() {
    let mut status = fixture();
    let view = &mut status.view;
    (view.state, view.reason, view.held, view.own, view.filling) =
        (State::Green, None, 0, Vec::new(), Bytes(0));
    (view.budget, view.left, view.used, view.reserved) = (None, None, Bytes(0), Bytes(0));
    (view.runs, view.running, view.frozen, view.waiting) = (0, 0, 0, 0);
    (view.users, view.pressure) = (Vec::new(), Pressure::default());
    insta::assert_snapshot!(text(&status, 80));
}

#[test]
fn whatever_the_width_no_line_is_wider_and_what_waits_is_told() {
    for width in NARROWEST..200 {
        let text = text(&busy(), width);
        for what in ["core", "memory", "place", "group", "YELLOW"] {
            assert!(text.contains(what), "{what} at {width} columns:\n{text}");
        }
    }
}

#[test]
fn sorted_by_what_is_asked_for() {
    let first = |order| {
        let table = jobs::table(&busy().view, order, 80);
        table.rows[0].0.id.job.0
    };
    assert_eq!([Order::Run, Order::Memory, Order::State, Order::Name].map(first), [0, 0, 4, 3]);
    let rows = |order| jobs::table(&busy().view, order, 80).rows.len();
    assert!([Order::Cpu, Order::Time].map(rows).iter().all(|rows| *rows == 9));
}

#[test]
fn more_than_there_is_room_for_is_counted() {
    let view = busy().view;
    let lines: Vec<String> = users::lines(&view, 80, 2).iter().map(line::Line::plain).collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[2].starts_with("3 others"), "{lines:?}");
    let mut view = view;
    view.own = vec![view.own[0].clone(); 10];
    let lines: Vec<String> = runs::lines(&view, 80, 4).iter().map(line::Line::plain).collect();
    assert_eq!((lines.len(), lines[3].trim()), (4, "8 more"));
}
