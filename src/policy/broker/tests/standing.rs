//! What runs are told without asking: how things stand, and what they may count on; and what they tell when they come.

use super::world::{Job, World, attempt, client, ms, settings};
use super::*;
use crate::policy::governor::Ending;

/// What a run was told of others' jobs.
fn company(world: &World, of: ClientId) -> Vec<bool> {
    let told = |effect: &Effect| match effect {
        Effect::Stands(client, stand) if *client == of => Some(stand.company),
        _ => None,
    };
    world.effects.iter().filter_map(told).collect()
}

#[test]
fn a_run_hears_at_once_whether_others_run_beside_it() {
    let mut world = World::new(1000, 8);
    let (one, two) = (world.hello(Who::of(UserId(1), 4)), world.hello(Who::of(UserId(2), 4)));
    world.want(one, Job::new(0, 100, ms(1000)));
    assert_eq!(company(&world, one), [true; 0], "it is alone, as was to be expected");
    world.want(two, Job::new(0, 100, ms(1000)));
    assert_eq!((company(&world, one), company(&world, two)), (vec![true], vec![true]));
    world.end(two, JobId(0));
    assert_eq!(company(&world, one), [true, false]);
    assert_eq!(company(&world, two), [true], "it has no jobs");
}

#[test]
fn what_may_be_counted_on_is_said_before_the_first_grant() {
    let mut world = World::new(1000, 8);
    let one = world.hello(Who::of(UserId(1), 4));
    world.want(one, Job::new(0, 100, ms(10_000)));
    world.look();
    let two = world.hello(Who::of(UserId(2), 4));
    world.effects.clear();
    world.look();
    let share = |effect: &Effect| matches!(effect, Effect::Share(of, _) if *of == two);
    assert!(world.effects.iter().any(share), "{:?}", world.effects);
}

/// A restart must not make an eviction of every job that the last broker had frozen.
#[test]
fn what_was_frozen_before_is_known_to_stand_still_and_to_have_worked() {
    let mut broker = Broker::new(settings(1000, 8));
    let (who, senior, frozen) = (Who::of(UserId(1), 4), attempt(1, 1), attempt(0, 1));
    let running = vec![Job::new(1, 840, ms(1)).request, Job::new(0, 300, ms(1)).request];
    broker.step(ms(0), Input::Hello { client: client(1), who, instead_of: None });
    broker.step(ms(0), Input::Declare(client(1), running));
    for id in [senior, frozen] {
        let worked = ms(30_000);
        broker.step(ms(0), Input::Declared { client: client(1), id, worked, frozen: id == frozen });
    }
    assert_eq!(broker.standing().frozen, 1);
    let mut all = Vec::new();
    for look in 1..100 {
        let seen = |id, mib| (client(1), JobReading { id, memory: Bytes::mib(mib), cpu: None });
        // So full that it can't go on.
        let usage = Bytes::mib(930);
        let machine = Reading { usage, charged: usage, ..Reading::default() };
        let jobs = vec![seen(senior, 780), seen(frozen, 150)];
        all.extend(broker.step(ms(100 * look), Input::Sensed(Box::new(machine), jobs)));
    }
    assert!(!all.iter().any(|effect| matches!(effect, Effect::Evict(..))), "{all:?}");
    assert_eq!(broker.standing().frozen, 1, "{all:?}");
}

#[test]
fn who_is_known_already_may_always_want_again() {
    let mut broker = Broker::new(Settings { requests: 2, ..settings(1000, 8) });
    let one = client(1);
    broker.step(ms(0), Input::Sensed(Box::default(), Vec::new()));
    broker.step(ms(0), Input::Hello { client: one, who: Who::of(UserId(1), 1), instead_of: None });
    let request = |job| Job::new(job, 100, ms(1)).request;
    (0..3).for_each(|job| drop(broker.step(ms(0), Input::Want(one, request(job)))));
    let ended = Input::Ended { client: one, id: attempt(0, 1), ending: Ending::Otherwise, again: true };
    broker.take(ms(1), ended);
    let mut again = request(0);
    again.id.number = 2;
    let effects = broker.step(ms(1), Input::Want(one, again));
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Refuse(..))), "{effects:?}");
    let effects = broker.step(ms(1), Input::Want(one, request(9)));
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Refuse(..))));
}

#[test]
fn somebody_who_waits_until_it_is_calm_has_the_machine_looked_at() {
    let mut world = World::new(1000, 8);
    let one = world.hello(Who::of(UserId(1), 1));
    world.want(one, Job::new(0, 100, ms(1000)));
    world.running.clear();
    let id = attempt(0, 1);
    world.step(Input::Ended { client: one, id, ending: Ending::Otherwise, again: true });
    assert!(world.broker.next_look(false).is_some());
    world.step(Input::Withdraw { client: one, job: JobId(0), again: false });
    assert_eq!(world.broker.next_look(false), None);
}
