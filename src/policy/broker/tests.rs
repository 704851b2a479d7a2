//! What the broker promises.

mod eyes;
mod load;
mod lone;
mod properties;
mod standing;
mod tokens;
mod world;

use std::time::Duration;

use super::*;
use crate::policy::governor::Ending;
use crate::policy::tuning::{BATCH_AGES, CLIENT_REQUESTS, HUNGRY_FOR, OVERTAKEN_FOR};
use world::{Job, World, attempt, client, ms, settings};

const LONG: Duration = Duration::from_secs(3600);

fn user(number: u32) -> Who {
    Who::of(UserId(number), 64)
}

#[test]
fn a_lone_run_is_answered_in_the_same_step() {
    let mut world = World::new(1024, 4);
    let run = world.hello(user(1));
    world.want(run, Job::new(0, 100, LONG));
    assert!(world.running.contains_key(&(run, JobId(0))));
}

#[test]
fn what_does_not_fit_waits_until_somebody_else_has_ended() {
    let mut world = World::new(1024, 4);
    let (one, two) = (world.hello(user(1)), world.hello(user(2)));
    world.want(one, Job::new(0, 700, LONG));
    world.want(two, Job::new(0, 700, LONG));
    assert_eq!(world.running.len(), 1);
    (0..3).for_each(|_| world.pass(ms(600)));
    let told = world.effects.iter().rev().find(|effect| matches!(effect, Effect::Waits(..)));
    assert!(
        matches!(told, Some(Effect::Waits(who, Wait { ahead: 0, why: Why::Held(_) })) if *who == two),
        "{told:?}"
    );
    world.end(one, JobId(0));
    assert!(world.running.contains_key(&(two, JobId(0))));
}

#[test]
fn a_request_is_granted_once_however_often_it_is_made() {
    let mut world = World::new(1024, 4);
    let run = world.hello(user(1));
    let job = Job::new(0, 10, LONG);
    world.want(run, job.clone());
    // The world would refuse a second grant.
    world.step(Input::Want(run, job.request.clone()));
    world.step(Input::Want(run, job.request));
    assert_eq!(world.grants, 1);
}

#[test]
fn a_death_gives_all_back_at_once() {
    let mut world = World::new(1024, 8);
    let (one, two) = (world.hello(user(1)), world.hello(user(2)));
    (0..4).for_each(|job| world.want(one, Job::new(job, 200, LONG)));
    world.want(two, Job::new(0, 900, LONG));
    assert_eq!(world.running.len(), 4);
    world.kill(one);
    assert_eq!(world.running.len(), 1);
    assert!(world.broker.owners.iter().flatten().all(|(of, _)| *of == two));
}

#[test]
fn a_lost_client_keeps_what_runs_until_it_is_back() {
    let mut world = World::new(1024, 8);
    let (one, two) = (world.hello(user(1)), world.hello(user(2)));
    world.want(one, Job::new(0, 700, LONG));
    world.want(one, Job::new(1, 700, LONG));
    world.lose(one);
    world.want(two, Job::new(0, 700, LONG));
    assert_eq!(world.running.len(), 1, "it is not free yet");
    world.pass(ms(2000));
    world.back(one);
    assert_eq!(world.running.len(), 1);
    let back = *world.users.keys().max().unwrap();
    world.end(back, JobId(0));
    assert_eq!(world.running.len(), 1, "the next one");
}

#[test]
fn a_lost_client_that_stays_away_is_killed_where_that_is_possible() {
    let mut world = World::new(1024, 8);
    let one = world.hello(user(1));
    world.want(one, Job::new(0, 700, LONG));
    world.lose(one);
    assert_eq!(world.broker.next_deadline(), Some(LOST_PATIENCE));
    world.now += LOST_PATIENCE;
    world.step(Input::Tick);
    assert!(world.effects.contains(&Effect::Enforce(one, None, Force::Kill)));
    assert_eq!(world.broker.standing().running, 0);
}

/// Without what is told by the way.
fn orders(mut effects: Vec<Effect>) -> Vec<Effect> {
    effects.retain(|effect| !matches!(effect, Effect::Stands(..)));
    effects
}

#[test]
fn who_does_not_evict_is_killed_after_two_seconds_and_gets_nothing_meanwhile() {
    let mut broker = Broker::new(settings(1024, 8));
    let hello = |client, user| Input::Hello { client, who: Who::of(UserId(user), 8), instead_of: None };
    let (one, two) = (client(1), client(2));
    broker.step(ms(0), hello(one, 1));
    broker.step(ms(0), hello(two, 2));
    let look = |broker: &mut Broker, at: u64, mib: u64| {
        let job = |of, mib| (of, JobReading { id: attempt(0, 1), memory: Bytes::mib(mib), cpu: None });
        let machine = Reading { usage: Bytes::mib(2 * mib), ..Reading::default() };
        broker.step(ms(at), Input::Sensed(Box::new(machine), vec![job(one, mib), job(two, mib)]))
    };
    look(&mut broker, 0, 0);
    for run in [one, two] {
        let request = Request { memory: None, ..Job::new(0, 0, LONG).request };
        let effects = broker.step(ms(0), Input::Want(run, request));
        assert_eq!(orders(effects), [Effect::Grant(run, attempt(0, 1))]);
        broker.step(ms(0), Input::Born(run, attempt(0, 1)));
    }
    // It is the younger one's to give way.
    let mut at = 0;
    let mut asked = Vec::new();
    while !asked.contains(&Effect::Evict(two, attempt(0, 1))) {
        at += 10;
        assert!(at < 1000, "{asked:?}");
        asked.extend(look(&mut broker, at, 500 + at));
    }
    broker.step(ms(at), Input::Want(two, Job::new(1, 1, LONG).request));
    let late = broker.step(ms(at + 2000), Input::Tick);
    assert!(late.contains(&Effect::Enforce(two, Some(attempt(0, 1)), Force::Kill)), "{late:?}");
    let wait = look(&mut broker, at + 4000, 1);
    let overdue =
        |effect: &Effect| matches!(effect, Effect::Waits(of, Wait { why: Why::Overdue, .. }) if *of == two);
    assert!(!wait.iter().any(|effect| matches!(effect, Effect::Grant(..))), "{wait:?}");
    // Told once nothing of it runs any more; until then it knows what it was asked.
    assert!(!wait.iter().any(overdue));
    let ended = Input::Ended { client: two, id: attempt(0, 1), ending: Ending::Otherwise, again: false };
    assert!(broker.step(ms(at + 4100), ended).contains(&Effect::Grant(two, attempt(1, 1))));
}

#[test]
fn who_does_not_freeze_is_frozen_and_then_killed() {
    let mut orders = Orders::default();
    let (who, id, patience) = (client(1), attempt(0, 1), Duration::from_secs(2));
    orders.ask(who, id, Force::Freeze, ms(2000));
    assert_eq!(orders.due(ms(1999), patience), []);
    assert_eq!(orders.due(ms(2000), patience), [(who, id, Force::Freeze)]);
    assert_eq!(orders.due(ms(3999), patience), []);
    assert_eq!(orders.due(ms(4000), patience), [(who, id, Force::Kill)]);
    assert_eq!((orders.due(ms(9000), patience), orders.next()), (vec![], None));
    orders.ask(who, id, Force::Freeze, ms(9000));
    assert!(orders.frozen(who, id) && orders.next().is_none());
    orders.ask(who, id, Force::Kill, ms(9000));
    assert!(!orders.frozen(who, id), "to stand still is not to be gone");
}

#[test]
fn a_nested_run_rides_one_job_at_a_time_in_its_parents_room() {
    let mut broker = Broker::new(settings(1024, 1));
    let hello = |number, inside| Input::Hello {
        client: client(number),
        who: Who { inside, ..user(1) },
        instead_of: None,
    };
    let want = |number, job| Input::Want(client(number), Job::new(job, 900, LONG).request);
    broker.step(ms(0), Input::Sensed(Box::default(), Vec::new()));
    broker.step(ms(0), hello(1, None));
    broker.step(ms(0), want(1, 0));
    broker.step(ms(0), hello(2, Some((client(1), JobId(0)))));
    assert_eq!(orders(broker.step(ms(1), want(2, 0))), [Effect::Grant(client(2), attempt(0, 1))]);
    assert_eq!(orders(broker.step(ms(1), want(2, 1))), [], "one at a time");
    assert_eq!(broker.standing().running, 1, "the parent's, in whose room it is");
    let end = |number, job| Input::Ended {
        client: client(number),
        id: attempt(job, 1),
        ending: Ending::Otherwise,
        again: false,
    };
    assert!(broker.step(ms(2), end(2, 0)).contains(&Effect::Grant(client(2), attempt(1, 1))));
    // The job in which it ran is over, and it goes on: from now on it counts.
    broker.step(ms(3), end(1, 0));
    assert_eq!(broker.standing().running, 1);
    assert_eq!(broker.standing().reserved, Bytes::mib(900));
}

#[test]
fn interactive_runs_go_before_batch_ones_which_get_their_turn_as_they_age() {
    let mut world = World::new(1024, 8);
    let batch = world.hello(Who { priority: Priority::Batch, parallel: 64, ..user(1) });
    let quick = world.hello(user(1));
    // Both have one, so that neither is hungry.
    world.want(batch, Job::new(0, 10, LONG));
    world.want(quick, Job::new(0, 10, LONG));
    for job in 1..100 {
        world.want(quick, Job::new(job, 900, ms(1000)));
    }
    world.want(batch, Job::new(1, 900, ms(1000)));
    let mut first = None;
    for _ in 0..600 {
        world.pass(ms(100));
        if first.is_none() && world.running.contains_key(&(batch, JobId(1))) {
            first = Some(world.now);
        }
    }
    let first = first.expect("it ages");
    assert!(first >= BATCH_AGES && first < BATCH_AGES + ms(5000), "{first:?}");
}

#[test]
fn small_jobs_of_others_do_not_keep_a_large_one_waiting_for_ever() {
    let mut world = World::new(1024, 8);
    let (small, large) = (world.hello(user(1)), world.hello(user(2)));
    // It has one, so that it is not hungry.
    world.want(large, Job::new(0, 10, LONG));
    for job in 0..8 {
        world.want(small, Job::new(job, 120, ms(900 + 37 * u64::from(job))));
    }
    world.want(large, Job::new(1, 850, LONG));
    let mut job = 8;
    while !world.running.contains_key(&(large, JobId(1))) {
        world.pass(ms(50));
        assert!(world.now < OVERTAKEN_FOR + ms(3000), "still waiting");
        while world.waiting.keys().filter(|(of, _)| *of == small).count() < 4 {
            world.want(small, Job::new(job, 120, ms(900 + 37 * u64::from(job % 8))));
            job += 1;
        }
    }
    assert!(world.now >= OVERTAKEN_FOR, "for a while who fits goes on");
}

#[test]
fn a_user_has_no_more_than_it_may_and_one_job_nevertheless() {
    let mut world = World::new(4096, 8);
    let terms = Terms { memory_max: Some(Bytes::mib(500)), ..Terms::default() };
    world.step(Input::Terms(UserId(1), terms));
    let run = world.hello(user(1));
    world.want(run, Job::new(0, 900, LONG));
    world.want(run, Job::new(1, 100, LONG));
    assert_eq!(world.running.len(), 1);
    world.end(run, JobId(0));
    (2..20).for_each(|job| world.want(run, Job::new(job, 100, LONG)));
    assert_eq!(world.running.len(), 5);
}

#[test]
fn a_run_has_no_more_jobs_than_it_wants_and_one_of_a_group_at_a_time() {
    let mut world = World::new(4096, 8);
    let run = world.hello(Who { groups: vec![1], ..Who::of(UserId(1), 3) });
    for number in 0..2 {
        let mut job = Job::new(number, 10, LONG);
        job.request.groups = vec![0];
        world.want(run, job);
    }
    assert_eq!(world.running.len(), 1);
    (2..6).for_each(|number| world.want(run, Job::new(number, 10, LONG)));
    assert_eq!(world.running.len(), 3);
    world.step(Input::Limits(run, 4, vec![2]));
    assert!(world.running.contains_key(&(run, JobId(1))));
}

#[test]
fn requests_without_end_are_refused() {
    let mut broker = Broker::new(Settings { requests: CLIENT_REQUESTS, ..settings(100, 1) });
    let who = Who::of(UserId(1), 1);
    broker.step(ms(0), Input::Hello { client: client(1), who, instead_of: None });
    broker.step(ms(0), Input::Sensed(Box::default(), Vec::new()));
    let mut refused = 0;
    for job in 0..10_000 {
        let effects = broker.step(ms(0), Input::Want(client(1), Job::new(job, 1, LONG).request));
        refused += effects.iter().filter(|effect| matches!(effect, Effect::Refuse(..))).count();
        broker.step(ms(0), Input::Withdraw { client: client(1), job: JobId(1_000_000), again: false });
    }
    assert_eq!(refused, 10_000 - CLIENT_REQUESTS - 1);
    assert_eq!(broker.standing().waiting, CLIENT_REQUESTS);
}

#[test]
fn a_new_broker_starts_nothing_until_it_knows_what_runs() {
    let recovering = Some(ms(2000));
    let mut broker = Broker::new(Settings { recovering, ..settings(1024, 8) });
    let hello = |number| Input::Hello { client: client(number), who: user(number), instead_of: None };
    broker.step(ms(0), Input::Sensed(Box::default(), Vec::new()));
    broker.step(ms(0), hello(1));
    assert_eq!(broker.step(ms(0), Input::Want(client(1), Job::new(0, 700, LONG).request)), []);
    broker.step(ms(100), hello(2));
    broker.step(ms(100), Input::Declare(client(2), vec![Job::new(5, 700, LONG).request]));
    let machine = Reading { usage: Bytes::mib(700), ..Reading::default() };
    let job = JobReading { id: attempt(5, 1), memory: Bytes::mib(700), cpu: None };
    broker.step(ms(110), Input::Sensed(Box::new(machine), vec![(client(2), job)]));
    assert_eq!(broker.next_deadline(), Some(ms(2000)));
    let effects = broker.step(ms(120), Input::Recovered);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Grant(..))), "{effects:?}");
    let ended =
        Input::Ended { client: client(2), id: attempt(5, 1), ending: Ending::Otherwise, again: false };
    assert!(broker.step(ms(500), ended).contains(&Effect::Grant(client(1), attempt(0, 1))));
}

#[test]
fn what_all_may_count_on_is_no_more_than_there_is() {
    let mut world = World::new(1024, 8);
    world.step(Input::Terms(UserId(3), Terms { weight: 2.0, ..Terms::default() }));
    let runs: Vec<ClientId> = [1, 1, 2, 3].map(|number| world.hello(user(number))).to_vec();
    for run in &runs {
        (0..20).for_each(|job| world.want(*run, Job::new(job, 100, LONG)));
    }
    let shares: BTreeMap<ClientId, Share> = world.broker.shares().into_iter().collect();
    assert!(shares.values().map(|share| share.memory.0).sum::<u64>() <= world.budget.0);
    let [one, _, two, three] = runs[..] else { panic!("four runs") };
    assert_eq!((shares[&one].jobs, shares[&two].jobs, shares[&three].jobs), (1, 2, 4));
    assert!(shares[&three].memory.0.abs_diff(2 * shares[&two].memory.0) < 10);
}

#[test]
fn a_run_that_wants_nothing_more_may_count_on_what_others_leave() {
    let mut world = World::new(1024, 8);
    let (one, two) = (world.hello(user(1)), world.hello(user(1)));
    world.want(one, Job::new(0, 10, LONG));
    world.want(two, Job::new(0, 10, LONG));
    world.pass(ms(3000));
    let shares: BTreeMap<ClientId, Share> = world.broker.shares().into_iter().collect();
    assert!(shares.values().all(|share| share.memory > Bytes::mib(400) && share.jobs == 4), "{shares:?}");
    assert!(shares.values().map(|share| share.memory.0).sum::<u64>() <= world.budget.0);
}

#[test]
fn who_has_nothing_is_made_room_for_by_those_who_have_most() {
    let mut world = World::new(1024, 8);
    let (first, second) = (world.hello(user(1)), world.hello(user(2)));
    (0..12).for_each(|job| world.want(first, Job::new(job, 230, LONG)));
    assert_eq!(world.running.len(), 4, "all that fit");
    world.pass(ms(3000));
    world.want(second, Job::new(0, 300, LONG));
    world.want(second, Job::new(1, 300, LONG));
    while !world.running.contains_key(&(second, JobId(0))) {
        world.pass(ms(50));
        assert!(world.now < ms(3000) + HUNGRY_FOR + ms(200), "it still waits");
    }
    assert!(world.now >= ms(3000) + HUNGRY_FOR, "somebody might have ended");
    assert_eq!(world.evictions, 1, "as many as it takes");
    (0..50).for_each(|_| world.pass(ms(100)));
    assert_eq!(world.evictions, 1, "one job is what everybody is owed at once; for more it waits");
}

#[test]
fn who_does_not_want_now_keeps_its_seniority() {
    let mut broker = Broker::new(settings(1024, 8));
    broker.step(ms(0), Input::Hello { client: client(1), who: Who::of(UserId(1), 1), instead_of: None });
    broker.step(ms(0), Input::Sensed(Box::default(), Vec::new()));
    let want = |id| Input::Want(client(1), Request { id, ..Job::new(0, 10, LONG).request });
    let ended = |id| Input::Ended { client: client(1), id, ending: Ending::Otherwise, again: true };
    broker.step(ms(0), want(attempt(0, 1)));
    broker.take(ms(1), ended(attempt(0, 1)));
    broker.take(ms(1), want(attempt(0, 2)));
    broker.take(ms(1), Input::Withdraw { client: client(1), job: JobId(0), again: true });
    broker.take(ms(1), want(attempt(1, 1)));
    assert_eq!(broker.standing().waiting, 1);
    assert_eq!(broker.decide(ms(1)), [Effect::Grant(client(1), attempt(1, 1))]);
    broker.step(ms(2), want(attempt(2, 1)));
    broker.step(ms(2), want(attempt(0, 2)));
    assert!(broker.step(ms(3), ended(attempt(1, 1))).contains(&Effect::Grant(client(1), attempt(0, 2))));
}

#[test]
fn nothing_starts_before_the_machine_was_looked_at() {
    let mut broker = Broker::new(settings(1024, 8));
    broker.step(ms(5), Input::Hello { client: client(1), who: user(1), instead_of: None });
    assert_eq!(broker.step(ms(5), Input::Want(client(1), Job::new(0, 100, LONG).request)), []);
    assert_eq!(broker.next_look(false), Some(ms(5)));
    let effects = broker.step(ms(6), Input::Sensed(Box::default(), Vec::new()));
    assert!(effects.contains(&Effect::Grant(client(1), attempt(0, 1))), "{effects:?}");
}

#[test]
fn nobody_is_charged_for_a_time_in_which_the_machine_slept() {
    let mut world = World::new(1024, 8);
    let (one, two) = (world.hello(user(1)), world.hello(user(2)));
    world.want(one, Job::new(0, 900, LONG));
    world.want(two, Job::new(0, 900, LONG));
    world.pass(ms(100));
    let served = |world: &World| world.broker.users[&UserId(1)].account.served();
    let before = served(&world);
    let gap = Duration::from_secs(3600);
    world.now += gap;
    world.step(Input::Gap(gap));
    assert_eq!(served(&world), before);
    assert_eq!(world.evictions, 0, "nor has the other one waited for an hour");
    world.pass(ms(100));
    assert!(served(&world) > before);
}
