//! `sandtest status`, once.

use std::process::Output;
use std::time::Duration;

use serde_json::{Value, json};

use crate::scene::{Broker, Client, connect_as, is_root, sandtest, skip, wait_until};
use crate::suite::Suite;

fn status(broker: &Broker, options: &[&str]) -> Output {
    let mut command = sandtest();
    command.arg("status").arg("--socket").arg(&broker.socket).args(options);
    command.output().unwrap()
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn json(broker: &Broker) -> Value {
    serde_json::from_str(&text(&status(broker, &["--json"]))).unwrap()
}

#[test]
fn who_runs_and_who_waits_for_what_is_told() {
    let broker = Broker::with_budget(1000, &[]);
    let _suite = Suite::start(&broker, "nightly", 4, &[("large", 600), ("second", 600), ("small", 100)]);
    wait_until("two run", || json(&broker)["running"] == 2);
    wait_until("what they hold is seen", || json(&broker)["used"] == 700 << 20);
    for what in ["nightly", "running   600 MiB", "for memory (600 MiB), next", "700 MiB of 1000 MiB"] {
        wait_until(what, || text(&status(&broker, &[])).contains(what));
    }
    let page = text(&status(&broker, &[]));
    assert!(page.lines().all(|line| line.chars().count() <= 80), "{page}");
    assert!(!page.contains('\u{1b}'), "nobody sees colours in a pipe");
    let told = json(&broker);
    let jobs = told["own"][0]["jobs"].as_array().unwrap();
    let names: Vec<&str> = jobs.iter().map(|job| job["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["large", "small", "second"]);
    assert_eq!((&jobs[0]["memory"], &jobs[0]["limit"]), (&json!(600 << 20), &json!(1200 << 20)));
    assert_eq!((&jobs[2]["state"], &jobs[2]["waits"]), (&json!("waiting"), &json!("held")));
}

#[test]
fn without_a_broker_it_says_where_it_looked_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("none.sock");
    let output = sandtest().arg("status").arg("--socket").arg(&socket).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(125), 0));
    assert!(told.contains(socket.to_str().unwrap()) && told.contains("sandtest serve"), "{told}");
    // The one that a run would ask.
    let output = sandtest().arg("status").env("SANDTEST_BROKER", &socket).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("none.sock"));
    // What is there is no broker.
    std::fs::write(&socket, "").unwrap();
    let output = sandtest().arg("status").arg("--socket").arg(&socket).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(125));
    assert!(told.contains("is a plain file"), "{told}");
}

#[test]
fn of_others_only_counts_and_sizes_are_told() {
    if !is_root() {
        skip("only root can be two users");
        return;
    }
    let broker = Broker::of_all(&[]);
    let theirs = Client::over(connect_as(1001, &broker.socket));
    let _theirs = Suite::over(theirs, "secret-run", 4, &[("secret-job", 300)]);
    let _own = Suite::start(&broker, "mine", 4, &[("my-job", 100)]);
    wait_until("both run", || json(&broker)["running"] == 2);
    let told = json(&broker);
    assert!(!told.to_string().contains("secret"), "{told}");
    assert!(told.to_string().contains("my-job"));
    let users = told["users"].as_array().unwrap();
    assert_eq!((users.len(), &users[0]["own"], &users[1]["own"]), (2, &json!(true), &json!(false)));
    assert_eq!((&users[1]["running"], &users[1]["reserved"]), (&json!(1), &json!(300 << 20)));
    let page = text(&status(&broker, &[]));
    assert!(page.contains("another") && page.contains("for all users") && !page.contains("secret"), "{page}");
}

#[test]
fn who_looks_on_is_no_run_and_says_nothing_else() {
    let broker = Broker::start(&[]);
    let mut looks = broker.connect();
    for _ in 0..3 {
        looks.say(json!({ "type": "status" }));
        assert_eq!(looks.hear()["runs"], 0);
    }
    looks.say(json!({ "type": "want", "job": 0, "attempt": 1 }));
    let told = looks.hear();
    assert_eq!((&told["type"], &told["closing"]), (&json!("error"), &json!(true)), "{told}");
    assert!(looks.is_closed());
    // A run may ask, too.
    let mut run = broker.run(1);
    wait_until("it is seen", || {
        run.say(json!({ "type": "status" }));
        run.hear_a("status")["runs"] == 1
    });
}

#[test]
fn who_asks_again_and_again_is_answered_each_time() {
    let broker = Broker::start(&[]);
    let jobs: Vec<(String, u64)> = (0..150).map(|number| (format!("job-{number}"), 1)).collect();
    let jobs: Vec<(&str, u64)> = jobs.iter().map(|(name, mib)| (name.as_str(), *mib)).collect();
    let _suite = Suite::start(&broker, "many", 2, &jobs);
    wait_until("all are there", || json(&broker)["waiting"] == 148);
    let mut looks = broker.connect();
    for _ in 0..300 {
        looks.say(json!({ "type": "status" }));
        assert_eq!(looks.hear()["waiting"], 148);
    }
}

#[test]
fn who_asks_and_does_not_read_ends_its_own_connection_only() {
    let broker = Broker::start(&[]);
    let jobs: Vec<(String, u64)> = (0..200).map(|number| (format!("{number:0>90}"), 1)).collect();
    let jobs: Vec<(&str, u64)> = jobs.iter().map(|(name, mib)| (name.as_str(), *mib)).collect();
    let _suite = Suite::start(&broker, "many", 1, &jobs);
    wait_until("all are there", || json(&broker)["waiting"] == 199);
    let deaf = broker.connect();
    let mut writer = deaf.stream.try_clone().unwrap();
    writer.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
    let ended =
        (0..10_000).any(|_| std::io::Write::write_all(&mut writer, b"{\"type\":\"status\"}\n").is_err());
    assert!(ended, "it was answered 10,000 times into nowhere");
    assert_eq!(json(&broker)["runs"], 1);
    assert!(broker.resident() < 60 << 20, "{}", broker.resident());
}
