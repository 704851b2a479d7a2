//! Several runs, and runs inside of runs, share what there is.

use std::fs;
use std::path::Path;

use crate::run::{Ran, Run};
use crate::scene::Broker;

/// So many jobs that each need 100 MiB, and note their beginnings and ends.
fn sized(count: u32, log: &Path) -> Vec<String> {
    let job = format!("memory:100M sh -c 'echo + >> {0}; sleep 0.3; echo - >> {0}'", log.display());
    vec![job; count as usize]
}

/// The most that ran at once.
fn most(log: &Path) -> i32 {
    let (mut now, mut most) = (0, 0);
    for line in fs::read_to_string(log).unwrap().lines() {
        now += if line == "+" { 1 } else { -1 };
        most = most.max(now);
    }
    assert_eq!(now, 0, "all have ended");
    most
}

fn two(socket: Option<&Path>) -> (i32, Vec<Ran>) {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let runs: Vec<Run> = (0..2).map(|_| Run::start(socket, &["-j", "4"], &sized(6, &log))).collect();
    let ran: Vec<Ran> = runs.into_iter().map(Run::end).collect();
    ran.iter().for_each(|ran| ran.assert_passed(6));
    (most(&log), ran)
}

#[test]
fn two_runs_share_one_budget() {
    let broker = Broker::with_budget(256, &["--jobs", "8"]);
    let (most, ran) = two(Some(&broker.socket));
    assert_eq!(most, 2, "two of them fit");
    assert!(ran.iter().all(|ran| ran.events[0]["broker"]["scope"] == "user"));
    assert_eq!((&broker.standing()["running"], &broker.standing()["waiting"]), (&0.into(), &0.into()));
    assert!(two(None).0 > 2, "without a broker each has all for itself: this test would test nothing");
}

#[test]
fn a_run_inside_of_a_job_rides_in_its_room() {
    let broker = Broker::with_budget(256, &["--jobs", "8"]);
    let outer = Run::new();
    // Neither fits beside the other.
    fs::write(outer.path("inner"), "memory:200M true").unwrap();
    let inner = "exec --broker require --jobs-from inner";
    let job = format!("memory:200M {} {inner}", env!("CARGO_BIN_EXE_sandtest"));
    fs::write(outer.path("jobs"), job).unwrap();
    let output =
        outer.command(Some(&broker.socket)).args(["--jobs-from", "jobs", "--timeout", "20s"]).output();
    let output = output.unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "it did not wait for the room that it was in: {err}");
}

#[test]
fn status_shows_a_run_by_its_name_and_its_jobs_by_theirs() {
    let broker = Broker::start(&[]);
    let run = Run::start(Some(&broker.socket), &[], &["sleep 60".to_owned()]);
    let own = crate::run::wait_for("it is shown", || {
        let status = broker.standing();
        let own = status["own"].as_array()?.iter().find(|run| run["running"] == 1)?;
        Some(own.clone())
    });
    assert_eq!((&own["name"], &own["jobs"][0]["name"]), (&"jobs".into(), &"sleep 60".into()), "{own}");
    drop(run);
}
