//! The governor's law on modelled machines: what must hold in every case, and how far from the oracle it may be.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]

use std::time::Duration;

use sandtest::model::Bytes;
use sandtest::model::governor::Action;
use sandtest::policy::scheduler::{Effect, Input, Scheduler};
use sandtest::simulate::families::{self, ALL, Family, Given};
use sandtest::simulate::machine::{Machine, Swap};
use sandtest::simulate::play::{Outcome, play_ours};
use sandtest::simulate::statistics::Statistics;
use sandtest::simulate::trace::Trace;
use sandtest::simulate::{oracle, scene};

/// Plays these seeds of a family; each case must hold all promises.
fn play(family: Family, seeds: std::ops::Range<u64>, given: &Given) -> Statistics {
    let mut all = Statistics::default();
    for seed in seeds {
        let case = families::case(family, seed, given);
        let ideal = oracle::makespan(&case);
        let outcome = play_ours(&case, 60.0 + 12.0 * ideal, None);
        let of = format!("{} {seed}", family.name());
        assert_eq!(outcome.broken, Vec::<String>::new(), "{of}");
        assert_eq!((outcome.tolls.machine_out, outcome.tolls.editor_killed), (0, 0), "{of}");
        assert_eq!((outcome.starved, outcome.lost, outcome.stuck), (0, 0, false), "{of}");
        assert!(outcome.most_attempts() <= 8, "{of}: {} attempts", outcome.most_attempts());
        all.add(&outcome, ideal);
    }
    all
}

#[test]
fn every_family_keeps_all_promises_and_stays_near_the_oracle() {
    for family in ALL {
        let bound = if family.is_demo() { 1.35 } else { 1.4 };
        let all = play(family, if family.is_demo() { 1..5 } else { 1..3 }, &Given::default());
        assert!(all.quantile(0.5) <= bound, "{}: {:.3}", family.name(), all.quantile(0.5));
        assert!(all.quantile(1.0) <= 2.2, "{}: {:.3}", family.name(), all.quantile(1.0));
    }
}

#[test]
fn swap_zram_and_pressure_make_no_victim() {
    for swap in [Swap::None, Swap::Disk((512 << 20) as f64), Swap::Zram((2u64 << 30) as f64)] {
        for psi in [true, false] {
            let given = Given { psi: Some(psi), swap: Some(swap), shuffled: false };
            play(Family::EditorGrows, 20..21, &given);
        }
    }
}

/// An eviction makes what is on its way back look like room.
#[test]
fn nothing_starts_in_the_step_of_an_eviction() {
    for seed in [20171, 20412, 20650, 20831] {
        play(Family::Mixed, seed..seed + 1, &Given::default());
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let once = || {
        let case = families::case(Family::Mixed, 9, &Given::default());
        let mut trace = Trace::default();
        (play_ours(&case, 100.0, Some(&mut trace)), trace)
    };
    assert_eq!(once(), once());
}

#[test]
fn a_job_that_fits_nowhere_ends_and_does_not_wait_for_ever() {
    let text = "
machine: {memory: 1GiB, cpus: 4, editor: [[0, 300M]], reserve: 32M}
jobs:
  - {name: fits, count: 3, duration: 1, memory: [[0, 100M]]}
  - {name: giant, duration: 2, memory: [[0, 2GiB]]}
";
    let outcome: Outcome = play_ours(&scene::parse(text).unwrap(), 100.0, None);
    assert!(!outcome.stuck);
    assert_eq!((outcome.starved, outcome.lost, outcome.tolls.machine_out), (0, 1, 0));
    assert_eq!(outcome.broken, Vec::<String>::new());
}

#[test]
fn an_eviction_is_not_a_failure() {
    let text = "
machine: {memory: 1GiB, cpus: 4, editor: [[0, 300M]], reserve: 32M}
jobs:
  - {name: hog, count: 4, duration: 2, memory: [[0, 100M], [1, 400M]], rate: 2GiB}
";
    let outcome = play_ours(&scene::parse(text).unwrap(), 100.0, None);
    assert!(outcome.evictions > 0, "nothing was evicted: this test tests nothing");
    assert_eq!((outcome.starved, outcome.lost), (0, 0));
}

/// What the law orders at one look, as a machine in mid-run is shown with less and less available.
fn orders(available: u64) -> (usize, usize, u64) {
    let text = "
machine: {memory: 8GiB, cpus: 8, editor: [[0, 1GiB]], reserve: 256M}
jobs:
  - {name: grows, count: 8, duration: 20, memory: [[0, 10M], [19, 1GiB]], rate: 10M}
  - {name: waits, count: 8, duration: 20, memory: [[0, 200M]]}
";
    let case = scene::parse(text).unwrap();
    let mut law = Scheduler::new(case.settings(), case.specs());
    let mut machine = Machine::new(case.hardware.clone(), case.plans.clone(), None, 1);
    let mut now = 0.0;
    for _ in 0..300 {
        let effects = law.step(Duration::from_secs_f64(now), Input::Sense(Box::new(machine.reading())));
        effects.iter().for_each(|effect| match effect {
            Effect::Start(attempt, _) => machine.start(attempt.id),
            Effect::Freeze(id) => machine.freeze(*id),
            Effect::Thaw(id) => machine.thaw(*id),
            _ => {}
        });
        now += 0.01;
        for input in machine.advance(now) {
            law.step(Duration::from_secs_f64(now), input);
        }
    }
    let reading =
        sandtest::model::reading::Reading { available: Some(Bytes::mib(available)), ..machine.reading() };
    let effects = law.step(Duration::from_secs_f64(now + 0.01), Input::Sense(Box::new(reading)));
    let count = |action: Action| {
        let is = |effect: &&Effect| matches!(effect, Effect::Decided(decision) if decision.action == action);
        effects.iter().filter(is).count()
    };
    let cap = effects.iter().find_map(|effect| match effect {
        Effect::Cap(cap) => Some(cap.0),
        _ => None,
    });
    let starts = effects.iter().filter(|effect| matches!(effect, Effect::Start(..))).count();
    (count(Action::Freeze) + 8 * count(Action::Evict), starts, cap.unwrap_or(u64::MAX))
}

#[test]
fn the_less_is_left_the_more_is_held() {
    let steps: Vec<_> = [6000, 2000, 600, 300, 262, 256, 200, 100, 10].map(orders).into();
    for pair in steps.windows(2) {
        let ((braked, started, cap), (braked_more, started_less, cap_lower)) = (pair[0], pair[1]);
        assert!(braked_more >= braked && started_less <= started && cap_lower <= cap, "{steps:?}");
    }
    assert!(steps[0].0 == 0 && steps[8].0 > 0, "{steps:?}");
}
