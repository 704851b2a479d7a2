//! What a client has is its own for as long as it lives, and for no longer.

use std::net::Shutdown;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::processes::Other;
use crate::scene::{Broker, Client, connect_as, is_root, wait_until};

/// One job at once fits: each is said to need more than half.
fn narrow() -> Broker {
    Broker::with_budget(256, &["--jobs", "8"])
}

fn want_most(run: &mut Client, job: u32) {
    run.say(json!({ "type": "want", "job": job, "attempt": 1, "memory": 200 << 20 }));
}

fn declaration(jobs: &[u32]) -> serde_json::Value {
    let running: Vec<_> =
        jobs.iter().map(|job| json!({ "job": job, "attempt": 1, "memory": 200 << 20 })).collect();
    json!({ "type": "declare", "running": running })
}

#[test]
fn what_a_killed_one_had_is_free_in_a_second() {
    let broker = Broker::with_budget(8192, &["--jobs", "8"]);
    for signal in [Signal::SIGKILL, Signal::SIGABRT, Signal::SIGTERM] {
        let other = Other::with_jobs(&broker.socket, 8);
        assert_eq!(broker.standing()["running"], 8);
        let mut run = broker.run(4);
        run.say(json!({ "type": "want", "job": 0, "attempt": 1, "memory": 8100u64 << 20 }));
        assert!(run.hears_nothing_for(Duration::from_millis(200)));
        let begun = Instant::now();
        kill(Pid::from_raw(other.child.id() as i32), signal).unwrap();
        assert_eq!(run.hear_a("grant")["job"], 0);
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        run.say(json!({ "type": "bye" }));
        assert!(run.is_closed());
    }
}

#[test]
fn who_loses_its_connection_keeps_what_runs_and_comes_back() {
    let broker = narrow();
    let (mut first, mut second) = (broker.run(2), broker.run(2));
    want_most(&mut first, 0);
    assert_eq!(first.hear_a("grant")["job"], 0);
    want_most(&mut second, 0);
    first.stream.shutdown(Shutdown::Both).unwrap();
    assert!(second.hears_nothing_for(Duration::from_secs(1)), "it lives, so its job does");
    let mut back = broker.connect();
    back.greet(json!({ "run": "r", "parallel": 2, "lease": first.lease }));
    assert_eq!(back.lease, first.lease);
    back.say(declaration(&[0]));
    // Longer than a lost one is waited for.
    assert!(second.hears_nothing_for(Duration::from_secs(6)));
    back.end(0);
    assert_eq!(second.hear_a("grant")["job"], 0);
}

#[test]
fn who_does_not_come_back_in_five_seconds_has_nothing_any_more() {
    let broker = narrow();
    let (mut first, mut second) = (broker.run(2), broker.run(2));
    want_most(&mut first, 0);
    first.hear_a("grant");
    want_most(&mut second, 0);
    let begun = Instant::now();
    first.stream.shutdown(Shutdown::Both).unwrap();
    assert_eq!(second.hear_a("grant")["job"], 0);
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(4900) && took < Duration::from_secs(10), "{took:?}");
    wait_until("it is told", || broker.log().contains("connection is lost"));
}

#[test]
fn a_lease_is_one_processs_and_never_another_users() {
    let broker = Broker::of_all(&[]);
    let run = broker.run(1);
    let hello =
        |lease: &str| json!({ "type": "hello", "version": 1, "run": "r", "parallel": 1, "lease": lease });
    if is_root() {
        let mut thief = Client::over(connect_as(1001, &broker.socket));
        thief.say(hello(&run.lease));
        let refused = thief.hear();
        assert_eq!((&refused["type"], &refused["why"]), (&json!("refused"), &json!("denied")), "{refused}");
        let mut nested = Client::over(connect_as(1001, &broker.socket));
        let inside = json!({ "lease": run.lease, "job": 0 });
        nested.say(json!({ "type": "hello", "version": 1, "run": "n", "parallel": 1, "inside": inside }));
        assert_eq!(nested.hear()["why"], "denied");
    }
    // A new broker takes the lease that was brought; nonsense is none.
    let mut old = broker.connect();
    let lease = "0123456789abcdef0123456789abcdef";
    old.greet(json!({ "run": "r", "parallel": 1, "lease": lease }));
    assert_eq!(old.lease, lease);
    let mut odd = broker.connect();
    odd.greet(json!({ "run": "r", "parallel": 1, "lease": "mine" }));
    assert_ne!(odd.lease, "mine");
}

#[test]
fn a_run_inside_of_a_job_rides_in_its_room() {
    let broker = narrow();
    let mut outer = broker.run(1);
    want_most(&mut outer, 0);
    outer.hear_a("grant");
    let mut nested = broker.connect();
    nested.greet(json!({ "run": "n", "parallel": 4, "inside": { "lease": outer.lease, "job": 0 } }));
    want_most(&mut nested, 0);
    want_most(&mut nested, 1);
    assert_eq!(nested.hear_a("grant")["job"], 0, "in the room of the job around it");
    assert!(nested.hears_nothing_for(Duration::from_millis(300)), "one at a time");
    nested.end(0);
    assert_eq!(nested.hear_a("grant")["job"], 1);
}

#[test]
fn a_new_broker_grants_when_all_have_told_what_runs() {
    let broker = narrow();
    // One that will come back, and one that will not.
    let mut first = broker.run(1);
    want_most(&mut first, 0);
    first.hear_a("grant");
    broker.signal(Signal::SIGKILL);
    assert!(first.is_closed());
    let broker = broker.again_with_budget(256, &["--jobs", "8"]);
    let mut second = broker.run(1);
    want_most(&mut second, 0);
    assert!(second.hears_nothing_for(Duration::from_millis(700)), "the first has not said what it runs");
    let mut back = broker.connect();
    back.greet(json!({ "run": "r", "parallel": 1, "lease": first.lease }));
    back.say(declaration(&[0]));
    assert!(second.hears_nothing_for(Duration::from_secs(3)), "there is no room beside it");
    // A run inside of its job finds it by the lease that it had before.
    let mut nested = broker.connect();
    nested.greet(json!({ "run": "n", "parallel": 1, "inside": { "lease": first.lease, "job": 0 } }));
    want_most(&mut nested, 0);
    assert_eq!(nested.hear_a("grant")["job"], 0);
    back.end(0);
    nested.end(0);
    nested.say(json!({ "type": "bye" }));
    assert_eq!(second.hear_a("grant")["job"], 0);
}

#[test]
fn a_new_broker_waits_for_two_seconds_and_not_for_the_dead() {
    let broker = narrow();
    let mut lives = broker.run(1);
    lives.want(0);
    lives.hear_a("grant");
    broker.signal(Signal::SIGKILL);
    let broker = broker.again_with_budget(256, &["--jobs", "8"]);
    let begun = Instant::now();
    let mut run = broker.run(1);
    run.want(0);
    let waits = run.hear_a("waits");
    assert_eq!(waits["why"], "recovering", "{waits}");
    run.hear_a("grant");
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(1500) && took < Duration::from_secs(6), "{took:?}");
    run.say(json!({ "type": "bye" }));
    assert!(run.is_closed());

    let mut dies = Other::with_jobs(&broker.socket, 1);
    broker.signal(Signal::SIGKILL);
    dies.kill();
    let _ = dies.child.wait();
    let broker = broker.again_with_budget(256, &["--jobs", "8"]);
    let begun = Instant::now();
    let mut run = broker.run(1);
    run.want(0);
    run.hear_a("grant");
    assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());
}

#[test]
fn a_run_inside_may_come_back_before_the_one_around_it() {
    let broker = narrow();
    let mut outer = broker.run(1);
    want_most(&mut outer, 0);
    outer.hear_a("grant");
    broker.signal(Signal::SIGKILL);
    let broker = broker.again_with_budget(256, &["--jobs", "8"]);
    let mut nested = broker.connect();
    nested.greet(json!({ "run": "n", "parallel": 1, "inside": { "lease": outer.lease, "job": 0 } }));
    want_most(&mut nested, 0);
    assert!(nested.hears_nothing_for(Duration::from_millis(300)));
    let mut back = broker.connect();
    back.greet(json!({ "run": "r", "parallel": 1, "lease": outer.lease }));
    back.say(declaration(&[0]));
    assert_eq!(nested.hear_a("grant")["job"], 0);
}

#[test]
fn an_idle_broker_that_was_left_empty_waits_for_nobody() {
    let broker = narrow();
    let mut run = broker.run(1);
    want_most(&mut run, 0);
    run.hear_a("grant");
    run.end(0);
    run.say(json!({ "type": "bye" }));
    assert!(run.is_closed());
    broker.signal(Signal::SIGTERM);
    let broker = broker.again(&[]);
    let begun = Instant::now();
    let mut run = broker.run(1);
    run.want(0);
    run.hear_a("grant");
    assert!(begun.elapsed() < Duration::from_secs(1));
    wait_until("it is noted", || broker.path("b.sock.runs").exists());
}
