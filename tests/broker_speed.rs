//! How long a step of the broker takes with 200 runs and 10,000 permits. Here and not beside the code, since that knows no
//! clock.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]

use std::time::{Duration, Instant};

use sandtest::model::reading::{JobReading, Reading};
use sandtest::model::{AttemptId, Bytes, JobId};
use sandtest::policy::broker::{About, Broker, ClientId, Effect, Input, Request, Settings, UserId, Who};
use sandtest::policy::governor::{self, Ending};

const CLIENTS: u32 = 200;
const PERMITS: u32 = 10_000;

fn broker() -> Broker {
    let line = Bytes::mib(256);
    let governor = governor::Settings {
        budget: Some(Bytes::gib(512)),
        yellow: line,
        orange: line,
        red: line,
        cpus: 20_000,
        jobs: 20_000,
        max_pressure: 100,
    };
    let patience = Some(Duration::from_secs(2));
    Broker::new(Settings { governor, requests: 240, patience, recovering: None })
}

fn request(job: u32) -> Request {
    Request {
        id: AttemptId { job: JobId(job), number: 1 },
        kin: u64::from(job % 7),
        memory: Some(Bytes::mib(16)),
        restartable: true,
        weight: 1,
        groups: Vec::new(),
        token: false,
        driver: None,
        at_once: false,
        about: About::default(),
    }
}

fn look(jobs: &[(ClientId, JobId)]) -> Input {
    let seen = |(client, job): &(ClientId, JobId)| {
        (*client, JobReading { id: AttemptId { job: *job, number: 1 }, memory: Bytes::mib(16), cpu: None })
    };
    let usage = Bytes::mib(16 * jobs.len() as u64);
    let machine = Reading { usage, charged: usage, available: Some(Bytes::gib(600)), ..Reading::default() };
    Input::Sensed(Box::new(machine), jobs.iter().map(seen).collect())
}

fn quantiles(mut times: Vec<Duration>) -> (Duration, Duration, Duration) {
    times.sort();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
    (at(0.5), at(0.99), at(1.0))
}

#[test]
fn a_step_with_200_runs_and_10000_permits() {
    let mut broker = broker();
    let mut now = Duration::ZERO;
    let mut running = Vec::new();
    broker.step(now, look(&[]));
    for client in 0..CLIENTS {
        let who = Who::of(UserId(client % 5), PERMITS);
        broker.step(now, Input::Hello { client: ClientId(client), who, instead_of: None });
    }
    let note = |running: &mut Vec<(ClientId, JobId)>, effects: &[Effect]| {
        for effect in effects {
            if let Effect::Grant(client, id) = effect {
                running.push((*client, id.job));
            }
        }
    };
    for job in 0..PERMITS {
        broker.take(now, Input::Want(ClientId(job % CLIENTS), request(job)));
        if job % CLIENTS == CLIENTS - 1 {
            note(&mut running, &broker.decide(now));
        }
    }
    assert_eq!(running.len(), PERMITS as usize);
    // Looks, and ends with the start of another between them.
    let (mut looks, mut turns, mut views) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..20 {
        now += Duration::from_millis(100);
        let input = look(&running);
        let begun = Instant::now();
        broker.step(now, input);
        looks.push(begun.elapsed());
        let begun = Instant::now();
        let view = broker.view(now, UserId(0));
        views.push(begun.elapsed());
        assert_eq!(view.users.iter().map(|user| user.running).sum::<u64>(), u64::from(PERMITS));
        for turn in 0..20 {
            now += Duration::from_micros(100);
            let (client, job) = running.swap_remove((turn * 37) % running.len());
            let id = AttemptId { job, number: 1 };
            let ending = Ending::Finished { peak: Some(Bytes::mib(16)) };
            let wanted = request(PERMITS + round * 20 + turn as u32);
            let begun = Instant::now();
            broker.step(now, Input::Ended { client, id, ending, again: false });
            let effects = broker.step(now, Input::Want(client, wanted));
            turns.push(begun.elapsed());
            note(&mut running, &effects);
        }
    }
    assert_eq!(running.len(), PERMITS as usize);
    let (of_looks, of_turns, of_views) = (quantiles(looks), quantiles(turns), quantiles(views));
    println!("look: p50 {:?}, p99 {:?}, worst {:?}", of_looks.0, of_looks.1, of_looks.2);
    println!("end, want and grant: p50 {:?}, p99 {:?}, worst {:?}", of_turns.0, of_turns.1, of_turns.2);
    println!("what one user is shown: p50 {:?}, p99 {:?}, worst {:?}", of_views.0, of_views.1, of_views.2);
    // Wide, for a build without optimisation on a machine with other work: the figures that count are the release's.
    assert!(of_turns.0 < Duration::from_millis(60), "{of_turns:?}");
    assert!(of_looks.0 < Duration::from_millis(600), "{of_looks:?}");
    assert!(of_views.0 < Duration::from_millis(300), "{of_views:?}");
}
