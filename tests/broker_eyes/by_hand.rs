//! What users may do to whose jobs, over the socket.

use serde_json::{Value, json};

use crate::scene::{Broker, Client, connect_as, is_root, skip, wait_until};
use crate::suite::Suite;

fn ask(client: &mut Client, kind: &str, run: &Value, job: u32) -> Value {
    client.say(json!({ "type": kind, "run": run, "job": job, "attempt": 1 }));
    client.hear()
}

/// Number of the first run of the one who asks.
fn run(client: &mut Client) -> Value {
    client.say(json!({ "type": "status" }));
    client.hear()["own"][0]["run"].clone()
}

fn state(client: &mut Client, job: usize) -> String {
    client.say(json!({ "type": "status" }));
    client.hear()["own"][0]["jobs"][job]["state"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_job_stands_still_goes_on_and_is_killed_when_its_user_says_so() {
    let broker = Broker::start(&[]);
    let suite = Suite::start(&broker, "suite", 1, &[("one", 10), ("two", 10)]);
    suite.wait_for("grant", 1);
    let mut looks = broker.connect();
    let run = run(&mut looks);
    wait_until("it is born", || state(&mut looks, 0) == "running");
    assert_eq!(ask(&mut looks, "pin", &run, 0)["type"], "done");
    let freeze = &suite.wait_for("freeze", 1)[0];
    assert_eq!((&freeze["job"], &freeze["attempt"]), (&json!(0), &json!(1)));
    assert_eq!(state(&mut looks, 0), "pinned");
    assert_eq!(ask(&mut looks, "pin", &run, 0)["type"], "done", "it is so already");
    assert_eq!(ask(&mut looks, "unpin", &run, 0)["type"], "done");
    suite.wait_for("thaw", 1);
    assert_eq!(suite.heard("freeze").len(), 1);
    assert_eq!(ask(&mut looks, "kill", &run, 0)["type"], "done");
    suite.wait_for("kill", 1);
    suite.wait_for("grant", 2);
}

#[test]
fn what_can_not_be_done_is_told_and_the_connection_goes_on() {
    let broker = Broker::start(&[]);
    let suite = Suite::start(&broker, "suite", 1, &[("one", 10), ("two", 10)]);
    suite.wait_for("grant", 1);
    let mut looks = broker.connect();
    let run = run(&mut looks);
    for (run, job, why) in
        [(&run, 1, "does not run"), (&run, 9, "does not run"), (&json!(77), 0, "no such run of yours")]
    {
        let told = ask(&mut looks, "kill", run, job);
        assert_eq!((&told["type"], &told["closing"]), (&json!("error"), &json!(false)));
        assert!(told["message"].as_str().unwrap().contains(why), "{told}");
    }
    assert_eq!(state(&mut looks, 0), "running");
}

#[test]
fn nobody_reaches_the_jobs_of_others() {
    if !is_root() {
        skip("only root can be two users");
        return;
    }
    let broker = Broker::of_all(&[]);
    let suite = Suite::start(&broker, "suite", 1, &[("one", 10)]);
    suite.wait_for("grant", 1);
    let run = run(&mut broker.connect());
    let mut stranger = Client::over(connect_as(1001, &broker.socket));
    for kind in ["pin", "unpin", "kill"] {
        let told = ask(&mut stranger, kind, &run, 0);
        assert!(told["message"].as_str().unwrap().contains("no such run of yours"), "{told}");
    }
    assert!(suite.heard("freeze").is_empty() && suite.heard("kill").is_empty());
}
