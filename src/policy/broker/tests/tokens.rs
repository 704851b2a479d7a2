//! Tokens of make's jobserver: places in the room of a job that runs.

use super::world::{Job, World, ms};
use super::*;

/// Tokens have numbers behind those of the jobs.
fn token(number: u32) -> Job {
    let job = Job::new(1000 + number, 0, LONG);
    Job { request: Request { token: true, memory: None, restartable: false, ..job.request }, ..job }
}

fn granted(world: &World, client: ClientId) -> usize {
    let is_token = |(whose, job): &&(ClientId, JobId)| *whose == client && job.0 >= 1000;
    world.running.keys().filter(is_token).count()
}

#[test]
fn they_count_for_places_and_not_for_memory() {
    let mut world = World::new(1024, 4);
    let run = world.hello(user(1));
    world.want(run, Job::new(0, 800, LONG));
    (0..10).for_each(|number| world.want(run, token(number)));
    world.pass(ms(100));
    assert_eq!(granted(&world, run), 3, "as many places as there are processors, and no memory");
    assert_eq!(world.broker.standing().running, 1);
    world.end(run, JobId(1000));
    world.pass(ms(100));
    assert_eq!(granted(&world, run), 3, "the next one has its place");
}

#[test]
fn a_run_has_no_more_of_them_than_it_may_run_jobs() {
    let mut world = World::new(1024, 8);
    let run = world.hello(Who::of(UserId(1), 3));
    world.want(run, Job::new(0, 10, LONG));
    (0..10).for_each(|number| world.want(run, token(number)));
    assert_eq!(granted(&world, run), 2);
}

#[test]
fn those_of_one_user_do_not_keep_the_other_from_starting() {
    let mut world = World::new(1024, 4);
    let (one, two) = (world.hello(user(1)), world.hello(user(2)));
    world.want(one, Job::new(0, 10, LONG));
    (0..10).for_each(|number| world.want(one, token(number)));
    world.want(two, Job::new(0, 10, LONG));
    assert!(world.running.contains_key(&(two, JobId(0))), "one job each");
    world.end(one, JobId(1000));
    (0..10).for_each(|number| world.want(two, token(number)));
    assert_eq!(
        (granted(&world, one), granted(&world, two)),
        (2, 0),
        "five run where there are four processors"
    );
    world.end(one, JobId(1001));
    assert_eq!((granted(&world, one), granted(&world, two)), (1, 1), "who has had less is next");
}

#[test]
fn while_memory_is_short_there_are_none() {
    let mut world = World::new(1024, 8);
    let (one, two) = (world.hello(user(1)), world.hello(user(2)));
    world.want(one, Job::new(0, 700, LONG));
    world.want(two, Job::new(0, 700, LONG));
    world.pass(ms(100));
    (0..4).for_each(|number| world.want(one, token(number)));
    world.pass(ms(100));
    assert_eq!(granted(&world, one), 0, "a job is held for want of memory");
    world.end(one, JobId(0));
    (0..20).for_each(|_| world.pass(ms(100)));
    assert_eq!(granted(&world, one), 4);
}

#[test]
fn nobody_kills_or_stops_one_and_all_are_back_with_their_client() {
    let mut world = World::new(1024, 4);
    let run = world.hello(user(1));
    world.want(run, Job::new(0, 10, LONG));
    world.want(run, token(0));
    let id = token(0).request.id;
    let done = world.broker.by_hand(world.now, UserId(1), run, id, Hand::Kill);
    assert_eq!(done, Err(NotDone::NotRunning));
    world.kill(run);
    let next = world.hello(user(2));
    world.want(next, Job::new(0, 10, LONG));
    (0..10).for_each(|number| world.want(next, token(number)));
    assert_eq!(granted(&world, next), 3);
}
