//! What docs/protocol.md says, said to a broker.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::scene::{Broker, Client, connect_as, grow, is_root, sandtest, skip};

/// The lines of *A conversation*: who says it, and what.
fn of_the_page() -> Vec<(String, Value)> {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/protocol.md")).unwrap();
    let section = page.split("## A conversation").nth(1).unwrap();
    let block = section.split("```").nth(1).unwrap();
    let lines = block.trim().lines().map(|line| line.split_once(' ').unwrap());
    lines.map(|(who, line)| (who.to_owned(), serde_json::from_str(line.trim()).unwrap())).collect()
}

#[test]
fn the_conversation_of_the_page() {
    let broker = Broker::with_budget(256, &["--jobs", "8"]);
    let mut senior = broker.run(1);
    senior.want(0);
    senior.hear_a("grant");
    let mut run = broker.connect();
    for (who, line) in of_the_page() {
        match line["type"].as_str().unwrap() {
            // What makes the broker say these happens beside the page: memory runs out, and comes back.
            "freeze" => grow(&mut run, &mut senior, Duration::from_millis(1500)),
            "thaw" => senior.end(0),
            _ => {}
        }
        if who == "run" {
            run.say(line);
            continue;
        }
        let heard = run.hear_next();
        assert_eq!(heard["type"], line["type"], "{heard}");
        let same = |name: &str| assert_eq!(heard.get(name), line.get(name), "{name} of {heard}");
        ["version", "job", "attempt", "scope"].into_iter().for_each(same);
        assert!(line.as_object().unwrap().keys().all(|key| heard.get(key).is_some()), "{heard}");
    }
    assert!(run.is_closed());
}

#[test]
fn who_wants_is_granted_and_who_has_ended_makes_room() {
    let broker = Broker::start(&["--jobs", "8"]);
    let mut run = broker.run(2);
    (0..3).for_each(|job| run.want(job));
    assert_eq!(
        (run.hear_a("grant")["job"].clone(), run.hear_a("grant")["job"].clone()),
        (json!(0), json!(1))
    );
    assert!(run.hears_nothing_for(Duration::from_millis(200)), "two at once");
    run.end(0);
    assert_eq!(run.hear_a("grant")["job"], 2);
    run.say(json!({ "type": "status" }));
    let status = run.hear_a("status");
    assert_eq!((status["running"].as_u64(), status["waiting"].as_u64()), (Some(2), Some(0)), "{status}");
}

#[test]
fn what_is_not_wanted_any_more_is_not_granted() {
    let broker = Broker::start(&[]);
    let mut run = broker.run(1);
    (0..3).for_each(|job| run.want(job));
    assert_eq!(run.hear_a("grant")["job"], 0);
    run.say(json!({ "type": "withdraw", "job": 1 }));
    run.end(0);
    assert_eq!(run.hear_a("grant")["job"], 2);
    // Said twice it counts once.
    run.want(2);
    run.end(2);
    assert!(run.hears_nothing_for(Duration::from_millis(100)));
}

#[test]
fn limits_may_change() {
    let broker = Broker::start(&["--jobs", "8"]);
    let mut run = broker.run(1);
    (0..4).for_each(|job| run.want(job));
    assert_eq!(run.hear_a("grant")["job"], 0);
    run.say(json!({ "type": "limits", "parallel": 3 }));
    assert_eq!(
        (run.hear_a("grant")["job"].clone(), run.hear_a("grant")["job"].clone()),
        (json!(1), json!(2))
    );
    assert!(run.hears_nothing_for(Duration::from_millis(100)));
}

#[test]
fn runs_are_told_what_they_may_count_on() {
    let broker = Broker::with_budget(1024, &[]);
    let mut runs = [broker.run(4), broker.run(4)];
    for run in &mut runs {
        (0..20).for_each(|job| run.want(job));
    }
    let begun = Instant::now();
    // Until both know of each other, and of what the other wants.
    for run in &mut runs {
        loop {
            let share = run.hear_a("share");
            let memory = share["memory"].as_u64().unwrap();
            assert!(share["jobs"].as_u64() >= Some(1), "{share}");
            if ((1 << 28)..=(1 << 29)).contains(&memory) {
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(20));
        }
    }
}

#[test]
fn a_user_may_have_terms_of_its_own() {
    if !is_root() {
        return skip("connecting as other users takes root");
    }
    let broker =
        Broker::of_all(&["--jobs", "8", "--user", "1001=jobs:1,weight:2", "--user", "1002=memory:100MiB"]);
    let mut greeted = [1001, 1002, 1003].map(|uid| {
        let mut run = Client::over(connect_as(uid, &broker.socket));
        run.greet(json!({ "run": "r", "parallel": 4 }));
        (0..2)
            .for_each(|job| run.say(json!({ "type": "want", "job": job, "attempt": 1, "memory": 60 << 20 })));
        assert_eq!(run.hear_a("grant")["job"], 0);
        run
    });
    let [one, two, three] = &mut greeted;
    assert_eq!(three.hear_a("grant")["job"], 1);
    assert!(one.hears_nothing_for(Duration::from_millis(300)), "one job at once");
    assert!(two.hears_nothing_for(Duration::from_millis(100)), "100 MiB at once");
    let refused = sandtest().args(["serve", "--user", "1001=jobs:1"]).output().unwrap();
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(125) && text.contains("--scope system"), "{text}");
}
