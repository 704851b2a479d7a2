//! The broker goes away in mid-run, and comes back.

use std::fs;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use sandtest::policy::tuning::TELL_EVERY;
use serde_json::{Value, json};

use crate::run::{Fake, Run, grant, grant_all, wait_for};
use crate::scene::{Broker, wait_until};

/// Jobs that wait until there is a file of their number.
fn held(count: u32) -> Vec<String> {
    (0..count)
        .map(|job| format!("sh -c 'echo >> began; while [ ! -e go-{job} ]; do sleep 0.02; done'"))
        .collect()
}

fn let_go(run: &Run, jobs: std::ops::Range<u32>) {
    jobs.for_each(|job| fs::write(run.path(&format!("go-{job}")), "").unwrap());
}

fn began(run: &Run) -> usize {
    fs::read_to_string(run.path("began")).unwrap_or_default().lines().count()
}

fn until_news(run: &Run, what: &str) -> Value {
    wait_for(what, || {
        run.events().into_iter().find(|event| event["event"] == "broker" && event["what"] == what)
    })
}

#[test]
fn a_broker_that_is_killed_costs_no_job_and_the_run_goes_on_with_its_share() {
    let broker = Broker::with_budget(512, &["--jobs", "2"]);
    let run = Run::start(Some(&broker.socket), &["-j", "2"], &held(6));
    wait_until("two run", || began(&run) == 2);
    broker.signal(Signal::SIGKILL);
    let lost = until_news(&run, "lost");
    let_go(&run, 0..1);
    let alone = until_news(&run, "alone");
    let between = alone["at_ms"].as_f64().unwrap() - lost["at_ms"].as_f64().unwrap();
    assert!((990.0..3000.0).contains(&between), "{between}");
    assert!(
        alone["memory"].as_u64().unwrap() <= 512 << 20 && alone["jobs"].as_u64().unwrap() <= 2,
        "{alone}"
    );
    let_go(&run, 1..6);
    let ran = run.end();
    ran.assert_passed(6);
    assert_eq!(ran.attempts().len(), 6, "none ran twice");
    assert_eq!(ran.news(), ["lost", "alone"]);
}

#[test]
fn a_run_that_wants_nothing_more_has_room_for_what_grows_while_it_is_alone() {
    let broker = Broker::with_budget(512, &["--jobs", "2"]);
    let grows = |job| {
        format!(
            "sh -c 'echo >> began; while [ ! -e go-{job} ]; do sleep 0.02; done; head -c 120M /dev/zero | tail -c 120M | wc -c'"
        )
    };
    let run = Run::start(Some(&broker.socket), &["-j", "2"], &[grows(0), grows(1)]);
    wait_until("both run", || began(&run) == 2);
    // It has been told what it may count on since it wants nothing more.
    std::thread::sleep(2 * TELL_EVERY);
    broker.signal(Signal::SIGKILL);
    until_news(&run, "alone");
    let_go(&run, 0..2);
    let ran = run.end();
    ran.assert_passed(2);
    assert_eq!(ran.attempts().len(), 2, "neither was evicted");
}

#[test]
fn a_broker_that_is_started_anew_hears_what_runs_and_goes_on() {
    let broker = Broker::with_budget(512, &["--jobs", "2"]);
    let run = Run::start(Some(&broker.socket), &["-j", "2"], &held(4));
    wait_until("two run", || began(&run) == 2);
    broker.signal(Signal::SIGKILL);
    let broker = broker.again_with_budget(512, &["--jobs", "2"]);
    until_news(&run, "back");
    wait_until("it knows of both", || broker.standing()["running"] == 2);
    assert_eq!(began(&run), 2, "nothing started meanwhile");
    let_go(&run, 0..4);
    let ran = run.end();
    ran.assert_passed(4);
    assert_eq!(ran.attempts().len(), 4);
    assert_eq!(ran.news(), ["lost", "back"], "so quick that the run did not go by itself");
    wait_until("nothing is left", || broker.standing()["running"] == 0);
}

#[test]
fn a_broker_that_comes_back_late_takes_over_from_the_run_itself() {
    let broker = Broker::with_budget(512, &["--jobs", "4"]);
    let run = Run::start(Some(&broker.socket), &["-j", "2"], &held(4));
    wait_until("two run", || began(&run) == 2);
    broker.signal(Signal::SIGKILL);
    until_news(&run, "alone");
    let_go(&run, 0..1);
    wait_until("a third one runs", || began(&run) == 3);
    let broker = broker.again_with_budget(512, &["--jobs", "4"]);
    until_news(&run, "back");
    wait_until("it knows of both", || broker.standing()["running"] == 2);
    let_go(&run, 1..4);
    let ran = run.end();
    ran.assert_passed(4);
    assert_eq!(ran.news(), ["lost", "alone", "back"]);
}

#[test]
fn a_run_that_is_cut_off_says_what_runs_with_its_lease() {
    let fake = Fake::listen();
    let run = Run::start(Some(&fake.socket), &["-j", "3"], &held(4));
    let mut client = fake.welcome().0;
    (0..4).for_each(|_| drop(client.hear_a("want")));
    // Not in the order of the list.
    client.say(grant(2, 1));
    client.hear_a("born");
    client.say(grant(0, 1));
    client.hear_a("born");
    client.say(json!({ "type": "freeze", "job": 2, "attempt": 1, "within_ms": 2000 }));
    client.hear_a("frozen");
    client.stream.shutdown(Shutdown::Both).unwrap();
    let (mut client, hello) = fake.welcome();
    assert_eq!(hello["lease"], "ab", "{hello}");
    let declared = client.hear();
    assert_eq!(declared["type"], "declare");
    let running = declared["running"].as_array().unwrap();
    let jobs: Vec<_> =
        running.iter().map(|job| (job["job"].as_u64().unwrap(), job["frozen"] == true)).collect();
    assert_eq!(jobs, [(2, true), (0, false)], "in the order of their starts: {declared}");
    assert!(running[0]["worked_ms"].is_u64() || running[0]["worked_ms"].is_null());
    let wanted: Vec<u64> = (0..2).map(|_| client.hear_a("want")["job"].as_u64().unwrap()).collect();
    assert_eq!(wanted, [1, 3]);
    client.say(json!({ "type": "thaw", "job": 2, "attempt": 1 }));
    client.say(grant(1, 1));
    client.say(grant(3, 1));
    let_go(&run, 0..4);
    grant_all(&mut client);
    let ran = run.end();
    ran.assert_passed(4);
    assert_eq!(ran.news(), ["lost", "back"]);
}

/// A broker that speaks nonsense is left; the run waits for no one that does nothing but that.
#[test]
fn a_broker_that_speaks_nonsense_in_mid_run_is_done_without() {
    let fake = Fake::listen();
    let run = Run::start(Some(&fake.socket), &[], &held(1));
    let mut client = fake.welcome().0;
    client.hear_a("want");
    client.say_text("{\"type\":\"dance\"}");
    client.say_text("nonsense");
    assert!(client.is_closed());
    drop(fake);
    until_news(&run, "alone");
    let_go(&run, 0..1);
    run.end().assert_passed(1);
}

#[test]
fn nothing_starts_before_the_broker_lets_it_and_a_run_that_is_to_wait_no_longer_says_why() {
    let fake = Fake::listen();
    let begun = Instant::now();
    let run = Run::start(Some(&fake.socket), &["--wait", "1500ms"], &["touch ran".to_owned()]);
    let mut client = fake.welcome().0;
    client.hear_a("want");
    client.say(json!({ "type": "waits", "ahead": 2, "why": "held", "signal": "memory", "value": 100 << 20,
        "line": 300 << 20 }));
    assert_eq!(client.hear_a("withdraw")["job"], 0);
    let (path, ran) = (run.path("ran"), run.end());
    assert!(begun.elapsed() >= Duration::from_millis(1500) && !path.exists());
    assert_eq!((ran.code, ran.attempts().len()), (125, 0));
    let waits = "memory is short: 100 MiB free, and 300 MiB needed; 2 runs are asked before this one";
    assert!(ran.err.contains(&format!("waiting: {waits}")), "{}", ran.err);
    assert!(ran.err.contains("nothing could be started in 1.5") && ran.err.contains("--wait"), "{}", ran.err);
    assert_eq!(ran.events.last().unwrap()["closed"], "no-permit");
}

#[test]
fn one_command_that_waits_says_so_and_why_and_nothing_else() {
    let fake = Fake::listen();
    let run = Run::one(Some(&fake.socket), &["--wait", "1s"], &["true"]);
    let mut client = fake.welcome().0;
    client.hear_a("want");
    client.say(
        json!({ "type": "waits", "ahead": 0, "why": "user-cap", "signal": null, "value": 0, "line": 0 }),
    );
    client.hear_a("bye");
    let ran = run.end();
    assert_eq!((ran.code, ran.out.as_str()), (125, ""));
    assert!(ran.err.contains("waiting: you have as much as you may"), "{}", ran.err);
}
