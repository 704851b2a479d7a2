//! Many runs and many permits: how long a grant takes, how much memory, how much processor time. On a release build the
//! figures of the promise are held (`cargo test --release --test broker_server load -- --nocapture`).

use std::time::{Duration, Instant};

use serde_json::json;

use crate::scene::{Broker, Client, TURN, best_of, connect_as, is_root, say, skip, wait_until};

const RUNS: u32 = 200;
const EACH: u32 = 50;

fn release(promised: Duration, otherwise: Duration) -> Duration {
    if cfg!(debug_assertions) { otherwise } else { promised }
}

/// 200 runs of four users.
fn runs(broker: &Broker) -> Vec<Client> {
    (0..RUNS)
        .map(|run| {
            let mut run = Client::over(connect_as(2000 + run % 4, &broker.socket));
            run.greet(json!({ "run": "r", "parallel": EACH }));
            run
        })
        .collect()
}

fn want(run: &mut Client, job: u32) {
    run.say(json!({ "type": "want", "job": job, "attempt": 1, "kin": format!("k{}", job % 7), "memory": 1 << 18 }));
}

fn processor_time_of(broker: &Broker, time: Duration) -> f64 {
    let (before, begun) = (broker.processor_time(), Instant::now());
    std::thread::sleep(time);
    (broker.processor_time() - before).as_secs_f64() / begun.elapsed().as_secs_f64()
}

#[test]
fn two_hundred_runs_and_ten_thousand_permits() {
    if !is_root() {
        return skip("connecting as other users takes root");
    }
    let _turn = TURN.lock().unwrap_or_else(|poison| poison.into_inner());
    let broker = Broker::of_all_with_budget(8 << 10, &["--jobs", "20000"]);
    let mut runs = runs(&broker);
    let idle = processor_time_of(&broker, Duration::from_secs(5));
    for run in &mut runs {
        (0..EACH).for_each(|job| want(run, job));
    }
    for run in &mut runs {
        (0..EACH).for_each(|_| drop(run.hear_a("grant")));
    }
    let full = broker.resident();
    // One ends, and another wants to start: one after the other, among all that hold theirs.
    let most = release(Duration::from_millis(2), Duration::from_millis(600));
    let mut rounds = 0u32..;
    let (p50, p99, worst) = best_of(most, || {
        let rounds = rounds.by_ref().take(1000);
        let turn = |round: u32| {
            let run = &mut runs[(round * 37 % RUNS) as usize];
            let (old, new) = (round / RUNS, EACH + round / RUNS);
            let begun = Instant::now();
            run.end(old);
            want(run, new);
            let grant = run.hear_a("grant");
            let took = begun.elapsed();
            assert_eq!(grant["job"], new);
            took
        };
        rounds.map(turn).collect()
    });
    let held = processor_time_of(&broker, Duration::from_secs(10));
    let resident = full.max(broker.resident());
    say(&format!(
        "load: {RUNS} runs, {} permits: a grant p50 {p50:?}, p99 {p99:?}, worst {worst:?}; {:.1} MB; processor {:.2} % \
         with {RUNS} runs that do nothing, {:.2} % with all permits held",
        RUNS * EACH,
        resident as f64 / 1e6,
        100.0 * idle,
        100.0 * held
    ));
    assert!(p99 <= most, "{p99:?}");
    assert!(resident <= 20_000_000, "{resident}");
    // What runs is looked at, ten times a second at the least.
    let most = if cfg!(debug_assertions) { 0.3 } else { 0.03 };
    assert!(idle <= 0.002 && held <= most, "{idle} {held}");
}

/// How often it goes to sleep in this time: what sleeps through it does not even once.
fn naps_of(broker: &Broker, time: Duration) -> u64 {
    let before = broker.naps();
    std::thread::sleep(time);
    broker.naps() - before
}

#[test]
fn who_has_nothing_to_do_sleeps() {
    let _turn = TURN.lock().unwrap_or_else(|poison| poison.into_inner());
    let broker = Broker::with_budget(8 << 10, &[]);
    let settled = || naps_of(&broker, Duration::from_millis(200)) == 0;
    wait_until("it has come up", settled);
    let none = naps_of(&broker, Duration::from_secs(2));
    let mut run = broker.run(4);
    wait_until("it has welcomed the run", settled);
    let idle = naps_of(&broker, Duration::from_secs(2));
    run.want(0);
    run.hear_a("grant");
    run.say(json!({ "type": "born", "job": 0, "attempt": 1 }));
    let (one, part) =
        (naps_of(&broker, Duration::from_secs(4)), processor_time_of(&broker, Duration::from_secs(4)));
    // More than there will ever be room for: it waits.
    run.say(json!({ "type": "want", "job": 1, "attempt": 1, "kin": "k", "memory": 1u64 << 40 }));
    let (held, part_held) =
        (naps_of(&broker, Duration::from_secs(4)), processor_time_of(&broker, Duration::from_secs(4)));
    say(&format!(
        "idle: woken {none} times in 2 s without a run, {idle} with one that does nothing, {one} times in 4 s while a job \
         runs ({:.2} %), {held} while another one waits ({:.2} %)",
        100.0 * part,
        100.0 * part_held
    ));
    assert_eq!((none, idle), (0, 0));
    let most = if cfg!(debug_assertions) { 0.05 } else { 0.002 };
    assert!(one <= 32 && part <= most, "{one}, {part}");
}
