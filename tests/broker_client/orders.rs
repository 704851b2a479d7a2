//! What a broker orders is done, by the run's own means, and told.

use std::fs;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::run::{Fake, Run, grant, grant_all, wait_for};
use crate::scene::Client;

fn order(kind: &str, job: u32, attempt: u32) -> Value {
    json!({ "type": kind, "job": job, "attempt": attempt, "within_ms": 2000 })
}

fn decided(action: &str) -> Value {
    json!({ "type": "decided", "action": action, "job": 0, "attempt": 1, "state": "orange", "signal": "memory",
        "value": 100 << 20, "line": 300 << 20, "left": 50 << 20, "budget": 1 << 30, "filling": 0, "held": 3 })
}

/// One job that was let start; the broker's end, and its process group's number in a file.
fn started(options: &[&str], script: &str) -> (Fake, Run, Client) {
    let fake = Fake::listen();
    let run = Run::start(Some(&fake.socket), options, &[format!("sh -c 'echo $$ > pid; {script}'")]);
    let mut client = fake.welcome().0;
    client.hear_a("want");
    client.say(grant(0, 1));
    client.hear_a("born");
    (fake, run, client)
}

fn pid(run: &Run) -> u32 {
    wait_for("the job's pid", || fs::read_to_string(run.path("pid")).ok()?.trim().parse().ok())
}

/// Processor ticks that the process has used, and its state.
fn stat(pid: u32) -> Option<(u64, char)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let ticks: Vec<u64> = fields.skip(10).take(2).filter_map(|field| field.parse().ok()).collect();
    Some((ticks.iter().sum(), state))
}

#[test]
fn what_is_to_stand_still_does_and_its_time_too() {
    let (_fake, run, mut client) = started(&["--timeout", "3s"], "while [ ! -e go ]; do :; done");
    let pid = pid(&run);
    client.say(order("freeze", 0, 1));
    client.say(decided("freeze"));
    let frozen = client.hear_a("frozen");
    assert_eq!((&frozen["job"], &frozen["attempt"]), (&0.into(), &1.into()));
    let before = stat(pid).unwrap();
    // Longer than its time.
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(stat(pid).unwrap().0, before.0, "it has used no processor");
    client.say(json!({ "type": "thaw", "job": 0, "attempt": 1 }));
    client.say(decided("thaw"));
    wait_for("it goes on", || (stat(pid)?.0 > before.0).then_some(()));
    fs::write(run.path("go"), "").unwrap();
    let ended = client.hear_a("ended");
    assert_eq!((&ended["how"], &ended["verdict"]), (&"finished".into(), &"pass".into()), "{ended}");
    assert!(ended["setup_us"].as_u64().unwrap() > 0 && ended["peak"].as_u64() > Some(0), "{ended}");
    client.hear_a("bye");
    let ran = run.end();
    ran.assert_passed(1);
    assert!(ran.attempts()[0]["frozen_ms"].as_f64().unwrap() > 3900.0);
    let why: Vec<&Value> = ran.events.iter().filter(|event| event["event"] == "governor").collect();
    assert_eq!((why.len(), &why[0]["action"], &why[0]["line"]), (2, &"freeze".into(), &(300 << 20).into()));
}

#[test]
fn what_is_evicted_has_not_failed_and_asks_again() {
    let (_fake, run, mut client) = started(&[], "[ -e second ] || { touch second; sleep 60; }");
    wait_for("it has begun", || run.path("second").exists().then_some(()));
    client.say(order("evict", 0, 1));
    client.say(decided("evict"));
    let ended = client.hear_a("ended");
    assert_eq!((&ended["how"], &ended["again"]), (&"evicted".into(), &true.into()), "{ended}");
    let want = client.hear_a("want");
    assert_eq!(want["attempt"], 2);
    client.say(grant(0, 2));
    grant_all(&mut client);
    let ran = run.end();
    ran.assert_passed(1);
    let first = ran.attempts()[0];
    assert_eq!((&first["outcome"], &first["cause"]), (&"evicted".into(), &"budget".into()));
}

#[test]
fn what_its_user_wants_killed_has_failed_and_is_told_as_that() {
    let (_fake, run, mut client) = started(&["--retries", "3"], "sleep 60");
    client.say(order("kill", 0, 1));
    let ended = client.hear_a("ended");
    assert_eq!((&ended["again"], &ended["verdict"]), (&false.into(), &"fail".into()), "{ended}");
    let ran = run.end();
    assert_eq!((ran.code, ran.attempts().len()), (100, 1));
    assert_eq!(ran.attempts()[0]["cause"], "by-hand");
}

/// A run that was stopped for long finds an order and what the broker did in its stead: both at once.
#[test]
fn what_the_broker_killed_itself_since_the_run_was_late_was_evicted() {
    let (_fake, run, mut client) = started(&[], "[ -e second ] || { touch second; sleep 60; }");
    wait_for("it has begun", || run.path("second").exists().then_some(()));
    let sandtest = Pid::from_raw(run.pid() as i32);
    kill(sandtest, Signal::SIGSTOP).unwrap();
    client.say(order("evict", 0, 1));
    let all = nix::unistd::Pid::from_raw(-(pid(&run) as i32));
    kill(all, Signal::SIGKILL).unwrap();
    kill(sandtest, Signal::SIGCONT).unwrap();
    let ended = client.hear_a("ended");
    assert_eq!((&ended["how"], &ended["again"]), (&"evicted".into(), &true.into()), "{ended}");
    client.hear_a("want");
    client.say(grant(0, 2));
    grant_all(&mut client);
    run.end().assert_passed(1);
}

/// One that was stopped for so long that the broker has given it up finds its jobs killed.
#[test]
fn what_the_broker_killed_since_the_run_did_not_come_back_runs_again() {
    let (fake, run, client) = started(&[], "[ -e second ] || { touch second; sleep 60; }");
    wait_for("it has begun", || run.path("second").exists().then_some(()));
    let sandtest = Pid::from_raw(run.pid() as i32);
    kill(sandtest, Signal::SIGSTOP).unwrap();
    drop(client);
    kill(Pid::from_raw(-(pid(&run) as i32)), Signal::SIGKILL).unwrap();
    kill(sandtest, Signal::SIGCONT).unwrap();
    let (mut client, _) = fake.welcome();
    let want = client.hear_a("want");
    assert_eq!((&want["job"], &want["attempt"]), (&0.into(), &2.into()));
    client.say(grant(0, 2));
    grant_all(&mut client);
    let ran = run.end();
    ran.assert_passed(1);
    assert_eq!(ran.attempts()[0]["cause"], "broker");
}

#[test]
fn who_asks_for_the_end_has_the_broker_told() {
    let (_fake, run, mut client) = started(&[], "sleep 60");
    kill(Pid::from_raw(run.pid() as i32), Signal::SIGINT).unwrap();
    client.hear_a("stopping");
    let ended = client.hear_a("ended");
    assert_eq!(ended["how"], "otherwise");
    client.hear_a("bye");
    assert_eq!(run.end().code, 130);
}

#[test]
fn a_broker_that_can_not_look_is_told_what_jobs_hold() {
    let fake = Fake::listen();
    let script = "python3 -c 'x = bytearray(64 << 20); import time; time.sleep(60)'";
    let run = Run::start(Some(&fake.socket), &[], &[script.to_owned()]);
    let mut client = fake.greeted().0;
    let welcome = json!({ "type": "welcome", "version": 1, "lease": "ab", "broker": "b", "scope": "user",
        "sample_ms": 100 });
    client.say(welcome);
    client.hear_a("want");
    client.say(grant(0, 1));
    let memory = |client: &mut Client| client.hear_a("sample")["jobs"][0]["memory"].as_u64().unwrap_or(0);
    while memory(&mut client) < 60 << 20 {}
    client.say(json!({ "type": "kill", "job": 0, "attempt": 1, "within_ms": null }));
    client.hear_a("bye");
    drop(run);
}

#[test]
fn what_is_not_taken_is_asked_for_again() {
    let fake = Fake::listen();
    let run = Run::start(Some(&fake.socket), &["-j", "2"], &["true".to_owned(), "true".to_owned()]);
    let mut client = fake.welcome().0;
    client.hear_a("want");
    client.hear_a("want");
    client.say(json!({ "type": "not-taken", "job": 1, "attempt": 1, "most": 1 }));
    client.say(grant(0, 1));
    assert_eq!(client.hear_a("want")["job"], 1, "as soon as something goes");
    client.say(grant(1, 1));
    grant_all(&mut client);
    run.end().assert_passed(2);
}
