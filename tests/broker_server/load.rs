//! Many runs and many permits: how long a grant takes, how much memory, how much processor time. On a release build the
//! figures of the promise are held (`cargo test --release --test broker_server load -- --nocapture`).

use std::time::{Duration, Instant};

use serde_json::json;

use crate::scene::{Broker, Client, TURN, connect_as, is_root, quantiles, say};

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
        return eprintln!("skipped: connecting as other users takes root");
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
    let mut times = Vec::new();
    for round in 0..1000u32 {
        let run = &mut runs[(round * 37 % RUNS) as usize];
        let (old, new) = (round / RUNS, EACH + round / RUNS);
        let begun = Instant::now();
        run.end(old);
        want(run, new);
        let grant = run.hear_a("grant");
        times.push(begun.elapsed());
        assert_eq!(grant["job"], new);
    }
    let (p50, p99, worst) = quantiles(times);
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
    assert!(p99 <= release(Duration::from_millis(2), Duration::from_millis(200)), "{p99:?}");
    assert!(resident <= 20_000_000, "{resident}");
    let most = if cfg!(debug_assertions) { 0.05 } else { 0.002 };
    assert!(idle <= 0.002 && held <= most, "{idle} {held}");
}
