//! Jobs that wait for others of their run.

use std::time::Duration;

use super::super::*;
use super::world::{Job, World};
use crate::model::{Bytes, JobId};

const LONG: Duration = Duration::from_secs(1000);

fn driven(number: u32, mib: u64) -> Job {
    let job = Job::new(number, mib, LONG);
    let request = Request { driver: Some(JobId(0)), restartable: false, ..job.request };
    Job { request, ..job }
}

/// Declared larger than it is.
fn small(job: Job) -> Job {
    Job { size: Bytes::mib(1), ..job }
}

fn runs(world: &World, client: ClientId, job: u32) -> bool {
    world.running.contains_key(&(client, JobId(job)))
}

#[test]
fn one_at_a_time_starts_at_once_whatever_the_law_says() {
    let mut world = World::new(1000, 8);
    let client = world.hello(Who::of(UserId(1), 3));
    world.want(client, small(Job::new(0, 900, LONG)));
    assert!(runs(&world, client, 0));
    world.want(client, small(driven(1, 600)));
    world.want(client, small(driven(2, 600)));
    assert!(runs(&world, client, 1), "who it would wait for waits for it");
    assert!(!runs(&world, client, 2), "there is no room for the other");
    world.end(client, JobId(1));
    assert!(runs(&world, client, 2));
}

#[test]
fn those_that_go_on_only_together_all_start_and_none_stands_still() {
    let mut world = World::new(1000, 8);
    let client = world.hello(Who::of(UserId(1), 5));
    world.want(client, small(Job::new(0, 900, LONG)));
    for number in 1..=3 {
        let job = driven(number, 10);
        let request = Request { at_once: true, memory: Some(Bytes::mib(600)), ..job.request };
        world.want(client, Job { request, size: Bytes::mib(330), ..job });
        assert!(runs(&world, client, number), "{number} of them does not run");
    }
    for _ in 0..50 {
        world.pass(Duration::from_millis(100));
    }
    assert_eq!(world.evictions, 0);
    let frozen = world.effects.iter().any(|effect| matches!(effect, Effect::Freeze(..)));
    assert!(!frozen, "the others would wait for it: {:?}", world.effects);
}

#[test]
fn beside_other_users_they_all_start_only_while_theirs_is_an_even_part() {
    let mut world = World::new(1000, 8);
    let client = world.hello(Who::of(UserId(1), 8));
    let other = world.hello(Who::of(UserId(2), 8));
    world.want(other, Job::new(0, 300, LONG));
    world.want(client, small(Job::new(0, 100, LONG)));
    world.pass(Duration::from_secs(1));
    for number in 1..=8 {
        let job = driven(number, 10);
        let request = Request { at_once: true, memory: Some(Bytes::mib(200)), ..job.request };
        world.want(client, Job { request, size: Bytes::mib(200), ..job });
        world.pass(Duration::from_secs(1));
    }
    let running = (1..=8).filter(|number| runs(&world, client, *number)).count();
    assert!((1..=2).contains(&running), "{running}");
    assert_eq!(world.evictions, 0);
}

#[test]
fn without_its_driver_none_does() {
    let mut world = World::new(1000, 8);
    let (client, other) = (world.hello(Who::of(UserId(1), 3)), world.hello(Who::of(UserId(1), 3)));
    world.want(other, small(Job::new(0, 900, LONG)));
    world.want(client, small(driven(1, 600)));
    assert!(!runs(&world, client, 1));
}

#[test]
fn neither_a_driver_nor_the_last_that_it_waits_for_stands_still_or_is_evicted() {
    let mut world = World::new(1000, 8);
    let client = world.hello(Who::of(UserId(1), 3));
    world.want(client, Job::new(0, 1, LONG));
    // Fills all that there is: nobody else's end would help.
    world.want(client, Job { size: Bytes::mib(990), ..driven(1, 10) });
    for _ in 0..50 {
        world.pass(Duration::from_millis(100));
    }
    assert_eq!(world.evictions, 0);
    assert!(runs(&world, client, 0) && runs(&world, client, 1));
    let frozen = world.effects.iter().any(|effect| matches!(effect, Effect::Freeze(..)));
    assert!(!frozen, "{:?}", world.effects);
}
