//! Whatever happens in whatever order. The world checks every grant: asked for, not given before, within the budget,
//! nobody passed over.

use proptest::prelude::*;

use super::world::{Job, World, ms};
use super::*;
use crate::model::view::{JobState, UserView};

#[derive(Debug, Clone)]
enum Event {
    Hello(u32, bool),
    Want(usize, u64, u64),
    End(usize),
    Kill(usize),
    ByHand(usize, Hand),
    Lose(usize),
    Back(usize),
    Pass(u64),
    Budget(u64),
    Restart,
}

fn event(sizes: std::ops::Range<u64>) -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (1u32..4, any::<bool>()).prop_map(|(user, batch)| Event::Hello(user, batch)),
        12 => (any::<usize>(), sizes, 50u64..3000).prop_map(|(of, mib, lasts)| Event::Want(of, mib, lasts)),
        6 => any::<usize>().prop_map(Event::End),
        1 => any::<usize>().prop_map(Event::Kill),
        3 => (any::<usize>(), hand()).prop_map(|(at, hand)| Event::ByHand(at, hand)),
        1 => any::<usize>().prop_map(Event::Lose),
        2 => any::<usize>().prop_map(Event::Back),
        6 => (1u64..500).prop_map(Event::Pass),
        1 => (200u64..1500).prop_map(Event::Budget),
        1 => Just(Event::Restart),
    ]
}

fn hand() -> impl Strategy<Value = Hand> {
    prop_oneof![Just(Hand::Pin), Just(Hand::Unpin), Just(Hand::Kill)]
}

fn pick<T: Copy>(all: impl Iterator<Item = T>, at: usize) -> Option<T> {
    let all: Vec<T> = all.collect();
    (!all.is_empty()).then(|| all[at % all.len()])
}

fn play(world: &mut World, events: &[Event]) {
    let mut jobs = 0;
    for event in events {
        match *event {
            Event::Hello(number, batch) if world.users.len() < 12 => {
                let priority = if batch { Priority::Batch } else { Priority::Interactive };
                world.hello(Who { priority, ..user(number) });
            }
            Event::Hello(..) => {}
            Event::Want(at, mib, lasts) => {
                let there = world.users.keys().copied().filter(|of| !world.lost.contains(of));
                if let Some(run) = pick(there, at) {
                    jobs += 1;
                    world.want(run, Job::new(jobs, mib, ms(lasts)));
                }
            }
            Event::End(at) => {
                if let Some((run, job)) = pick(world.running.keys().copied(), at) {
                    world.end(run, job);
                }
            }
            Event::Kill(at) => {
                if let Some(run) = pick(world.users.keys().copied(), at) {
                    world.kill(run);
                }
            }
            Event::ByHand(at, hand) => {
                if let Some((run, job)) = pick(world.running.keys().copied(), at) {
                    let id = world.running[&(run, job)].0.request.id;
                    let done = world.by_hand(run, id, hand);
                    assert_eq!(done.is_err(), world.lost.contains(&run), "{done:?}");
                }
            }
            Event::Lose(at) => {
                if let Some(run) = pick(world.users.keys().copied(), at) {
                    world.lose(run);
                }
            }
            Event::Back(at) => {
                if let Some(run) = pick(world.lost.iter().copied(), at) {
                    world.back(run);
                }
            }
            Event::Pass(time) => {
                // Nobody stays away for so long that it is given up.
                world.pass(ms(time));
                let due = world.broker.next_deadline().is_some_and(|at| at <= world.now + ms(600));
                if due {
                    let lost: Vec<ClientId> = world.lost.iter().copied().collect();
                    lost.into_iter().for_each(|run| world.back(run));
                }
            }
            Event::Budget(mib) if !world.alike => world.set_budget(mib),
            Event::Budget(_) => {}
            Event::Restart => world.restart(8),
        }
        check(world);
        check_view(world);
    }
}

/// What people are shown adds up.
fn check_view(world: &World) {
    let standing = world.broker.standing();
    for user in 1..4 {
        let view = world.broker.view(world.now, UserId(user));
        let sum = |of: fn(&UserView) -> u64| view.users.iter().map(of).sum::<u64>();
        assert_eq!(sum(|user| user.running) as usize, standing.running);
        assert_eq!(sum(|user| user.waiting) as usize, standing.waiting);
        assert_eq!(sum(|user| user.frozen) as usize, standing.frozen);
        let own = view.users.iter().find(|user| user.own).copied().unwrap_or_default();
        assert_eq!(own.runs as usize, view.own.len());
        for run in &view.own {
            let is =
                |state: &[JobState]| run.jobs.iter().filter(|job| state.contains(&job.state)).count() as u64;
            assert_eq!(run.running + run.waiting, run.jobs.len() as u64 + run.unlisted);
            assert_eq!(is(&[JobState::Waiting]), run.waiting);
            assert_eq!(is(&[JobState::Frozen, JobState::Pinned]), run.frozen);
            assert_eq!(run.waits.is_some(), run.waiting > 0);
            assert!(run.jobs.iter().all(|job| job.waits.is_some() == (job.state == JobState::Waiting)));
        }
    }
}

/// What the broker believes is what is.
fn check(world: &World) {
    let broker = &world.broker;
    let waiting = world.waiting.keys().filter(|(of, _)| !world.lost.contains(of)).count();
    assert_eq!(broker.standing().waiting, waiting);
    let believed = broker.clients.iter().flat_map(|(id, of)| of.running().map(|(job, _)| (*id, job)));
    assert!(believed.eq(world.running.keys().copied()), "it believes that others run");
    assert_eq!(broker.standing().running, world.running.len());
    assert_eq!(
        broker.owners.iter().flatten().count(),
        broker.clients.values().map(|of| of.jobs.len()).sum::<usize>()
    );
    for (id, user) in &broker.users {
        let of = || broker.clients.values().filter(|of| of.who.user == *id);
        assert_eq!(user.permits, of().map(|of| of.permits).sum::<u32>());
        assert_eq!(user.load, of().map(|of| of.load).sum::<u32>());
        let memory = of().map(|of| of.memory).sum::<f64>();
        assert!((user.memory - memory).abs() < 1024.0, "{} and {memory}", user.memory);
    }
}

/// Everybody is back, and all that ever was wanted ends.
fn drain(world: &mut World) {
    let lost: Vec<ClientId> = world.lost.iter().copied().collect();
    lost.into_iter().for_each(|run| world.back(run));
    for _ in 0..2000 {
        if world.waiting.is_empty() && world.running.is_empty() {
            return;
        }
        world.pass(ms(250));
    }
    panic!("{} wait for ever, {} run", world.waiting.len(), world.running.len());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_budget_is_kept_and_nothing_is_lost_or_given_twice(
        events in prop::collection::vec(event(1..700), 1..120),
    ) {
        let mut world = World::new(1024, 8);
        play(&mut world, &events);
        drain(&mut world);
        prop_assert_eq!(world.broker.standing().reserved, Bytes(0));
    }

    #[test]
    fn of_jobs_that_are_alike_nobody_who_has_none_is_passed_over(
        events in prop::collection::vec(event(100..101), 1..120),
    ) {
        let mut world = World::new(600, 4);
        world.alike = true;
        play(&mut world, &events);
        drain(&mut world);
    }
}
