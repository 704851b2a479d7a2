//! *How much* of docs/protocol.md, each to its line.

use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::scene::{Broker, Client, connect_as, is_root, skip, wait_until};

#[test]
fn a_line_is_64_kib_with_its_end_and_no_more() {
    let broker = Broker::start(&[]);
    let mut run = broker.run(1);
    let padded = |length: usize| {
        let head = r#"{"type":"status","pad":""#;
        format!("{head}{}\"}}", "x".repeat(length - head.len() - 3))
    };
    run.say_text(&padded(64 << 10));
    run.hear_a("status");
    run.say_text(&padded((64 << 10) + 1));
    let error = run.hear_next();
    assert_eq!((&error["type"], &error["closing"]), (&json!("error"), &json!(true)), "{error}");
    assert!(error["message"].as_str().unwrap().contains("65536"), "{error}");
    assert!(run.is_closed());
}

#[test]
fn hello_comes_first_and_soon() {
    let broker = Broker::start(&[]);
    let mut hasty = broker.connect();
    hasty.want(0);
    let refused = hasty.hear();
    assert_eq!((&refused["type"], &refused["why"]), (&json!("refused"), &json!("hello")), "{refused}");
    assert!(hasty.is_closed());
    let begun = Instant::now();
    let mut mute = broker.connect();
    let refused = mute.hear();
    assert_eq!(refused["why"], "hello", "{refused}");
    assert!(mute.is_closed());
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(6), "{took:?}");
}

#[test]
fn another_version_hears_which_are_spoken() {
    let broker = Broker::start(&[]);
    let mut run = broker.connect();
    run.say(json!({ "type": "hello", "version": 7, "run": 5, "parallel": "many" }));
    let refused = run.hear();
    assert_eq!((&refused["why"], &refused["versions"]), (&json!("version"), &json!([1])), "{refused}");
    assert!(run.is_closed());
}

#[test]
fn what_is_not_known_is_passed_over_and_what_makes_no_sense_is_the_end() {
    let broker = Broker::start(&[]);
    let mut run = broker.run(1);
    run.say(json!({ "type": "levitate", "height": 3 }));
    let error = run.hear_next();
    assert_eq!((&error["type"], &error["closing"]), (&json!("error"), &json!(false)), "{error}");
    run.say(json!({ "type": "want", "job": 0, "attempt": 1, "mood": "good" }));
    assert_eq!(run.hear_a("grant")["job"], 0);
    run.say(json!({ "type": "want", "job": "first", "attempt": 1 }));
    assert_eq!(run.hear_a("error")["closing"], true);
    assert!(run.is_closed());
}

#[test]
fn so_many_requests_wait_and_no_more() {
    let broker = Broker::start(&[]);
    let mut run = broker.run(1);
    (0..=242).for_each(|job| run.want(job));
    assert_eq!(run.hear_a("grant")["job"], 0);
    let refused = [run.hear_a("not-taken"), run.hear_a("not-taken")];
    assert_eq!(refused.each_ref().map(|message| message["job"].as_u64()), [Some(241), Some(242)]);
    assert_eq!(refused[0]["most"], 240);
    run.end(0);
    assert_eq!(run.hear_a("grant")["job"], 1);
    run.want(241);
    run.say(json!({ "type": "status" }));
    assert_eq!(run.hear_next()["type"], "status", "it was taken");
}

#[test]
fn so_many_of_one_user_are_connected_and_no_more() {
    let broker = Broker::start(&[]);
    let mut runs: Vec<Client> = (0..64).map(|_| broker.run(1)).collect();
    let mut one_more = broker.connect();
    let refused = one_more.hear();
    assert_eq!((&refused["type"], &refused["why"]), (&json!("refused"), &json!("full")), "{refused}");
    assert!(refused["message"].as_str().unwrap().contains("64"), "{refused}");
    assert!(one_more.is_closed());
    runs.pop();
    wait_until("a seat comes free", || is_welcome(&mut broker.connect()));
}

fn is_welcome(run: &mut Client) -> bool {
    let hello = json!({ "type": "hello", "version": 1, "run": "r", "parallel": 1 });
    // It may have been sent away already.
    let _ = run.stream.write_all(format!("{hello}\n").as_bytes());
    run.hear()["type"] == "welcome"
}

#[test]
fn so_many_of_all_are_connected_and_no_more() {
    if !is_root() {
        return skip("connecting as other users takes root");
    }
    let broker = Broker::of_all(&[]);
    let users = (1001..1009).flat_map(|uid| [uid; 64]);
    let runs: Vec<Client> = users.map(|uid| Client::over(connect_as(uid, &broker.socket))).collect();
    let refused = Client::over(connect_as(1009, &broker.socket)).hear();
    assert_eq!(refused["why"], "full", "{refused}");
    assert!(refused["message"].as_str().unwrap().contains("512"), "{refused}");
    drop(runs);
    wait_until("seats come free", || is_welcome(&mut Client::over(connect_as(1009, &broker.socket))));
}

#[test]
fn who_says_more_than_2000_messages_a_second_is_read_no_faster() {
    let broker = Broker::start(&[]);
    let mut run = broker.run(1);
    let begun = Instant::now();
    let mut writer = Client::over(run.stream.try_clone().unwrap());
    let flood = std::thread::spawn(move || {
        let line = b"{\"type\":\"withdraw\",\"job\":7}\n".repeat(8000);
        let _ = writer.stream.write_all(&line);
        writer.say(json!({ "type": "status" }));
    });
    run.hear_a("status");
    flood.join().unwrap();
    let took = begun.elapsed();
    // One second's worth is free; the other 6,000 take three.
    assert!(took >= Duration::from_millis(2900) && took < Duration::from_secs(12), "{took:?}");
}

#[test]
fn what_is_not_read_is_kept_up_to_256_kib() {
    let broker = Broker::start(&[]);
    let mut slow = broker.run(1);
    let status = format!("{}\n", json!({ "type": "status" }));
    // Until the connection ends: what it does not read fills the socket, and then what is kept for it.
    let mut said = 0;
    let begun = Instant::now();
    while slow.stream.write_all(status.as_bytes()).is_ok() {
        said += 1;
        assert!(begun.elapsed() < Duration::from_secs(60));
    }
    assert!(said > 300, "{said}");
    let mut heard = 0;
    while let Ok(Some(message)) = slow.try_hear() {
        assert!(message["type"] == "status" || message["type"] == "share", "{message}");
        heard += 1;
    }
    assert!(heard > 100, "what was sent is read: {heard}");
    // And it may come back.
    let mut again = broker.connect();
    again.greet(json!({ "run": "r", "parallel": 1, "lease": slow.lease }));
}
