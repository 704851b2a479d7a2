//! What a user is shown, and what it may do to its own jobs.

use super::world::{Job, World, attempt, client, ms, settings};
use super::*;
use crate::model::view::{JobState, JobView, WaitsFor};

/// Named jobs of a named run.
fn named(world: &mut World, who: u32, run: &str, jobs: &[(&str, u64)]) -> ClientId {
    let client = world.hello(Who { name: run.to_owned(), ..user(who) });
    for (number, (name, mib)) in (0..).zip(jobs) {
        let mut job = Job::new(number, *mib, LONG);
        job.request.about = About { name: (*name).to_owned(), limit: Some(Bytes::mib(2 * mib)) };
        world.want(client, job);
    }
    client
}

fn job<'a>(view: &'a crate::model::view::View, name: &str) -> &'a JobView {
    let mut jobs = view.own.iter().flat_map(|run| &run.jobs);
    jobs.find(|job| job.name == name).unwrap_or_else(|| panic!("{name} is not in {view:?}"))
}

#[test]
fn own_jobs_are_shown_in_full_and_of_others_only_how_many_and_how_large() {
    let mut world = World::new(1024, 8);
    named(&mut world, 1, "suite", &[("small", 100), ("large", 500), ("second", 500)]);
    named(&mut world, 2, "secret-run", &[("secret-job", 300)]);
    world.pass(ms(1500));
    let view = world.broker.view(world.now, UserId(1));
    let large = job(&view, "large");
    assert_eq!(
        (large.state, large.memory, large.peak),
        (JobState::Running, Bytes::mib(500), Bytes::mib(500))
    );
    assert_eq!((large.limit, large.for_ms, large.worked_ms), (Some(Bytes::mib(1000)), 1500, Some(1500)));
    let second = job(&view, "second");
    assert_eq!(
        (second.state, second.place, second.waits),
        (JobState::Waiting, Some(0), Some(WaitsFor::Held))
    );
    assert_eq!((second.worked_ms, second.memory, second.expected), (None, Bytes(0), Bytes::mib(500)));
    let [run] = &view.own[..] else { panic!("one run") };
    assert_eq!((run.name.as_str(), run.running, run.waiting, run.ahead), ("suite", 2, 1, Some(0)));
    assert_eq!((run.memory, run.reserved), (Bytes::mib(600), Bytes::mib(600)));
    let [own, other] = &view.users[..] else { panic!("two users") };
    assert_eq!((own.own, own.running, own.waiting), (true, 2, 1));
    assert_eq!((other.own, other.runs, other.running, other.memory), (false, 1, 1, Bytes::mib(300)));
    assert_eq!((view.used, view.budget), (Bytes::mib(900), Some(world.budget)));
    assert!(!format!("{view:?}").contains("secret"));
    // Who has nothing here sees that, too.
    let view = world.broker.view(world.now, UserId(9));
    assert!(view.own.is_empty() && view.users.len() == 2 && !format!("{view:?}").contains("suite"));
}

#[test]
fn users_without_end_are_one_line_and_jobs_without_end_are_counted() {
    let mut world = World::new(1 << 20, 1000);
    for number in 0..120 {
        named(&mut world, number, "", &[("", 1)]);
    }
    let many: Vec<(&str, u64)> = (0..500).map(|_| ("one", 1)).collect();
    let run = named(&mut world, 7, "many", &many);
    let view = world.broker.view(world.now, UserId(7));
    let users: u64 = view.users.iter().map(|user| user.users).sum();
    assert_eq!((view.users.len(), users), (crate::policy::tuning::USERS_SHOWN + 1, 120));
    assert!(view.users[0].own);
    let of = view.own.iter().find(|of| of.run == run.0).unwrap();
    assert_eq!(of.jobs.len() as u64 + of.unlisted, 500);
    assert!(of.jobs.len() <= crate::policy::tuning::JOBS_SHOWN);
}

#[test]
fn what_a_job_waits_for_is_told() {
    let mut world = World::new(4096, 8);
    let run = world.hello(Who { groups: vec![1], ..Who::of(UserId(1), 2) });
    for number in 0..2 {
        let mut job = Job::new(number, 10, LONG);
        job.request.groups = vec![0];
        world.want(run, job);
    }
    let waits = |world: &World| {
        let view = world.broker.view(world.now, UserId(1));
        view.own[0].jobs.iter().filter_map(|job| job.waits).collect::<Vec<_>>()
    };
    let run_waits = |world: &World| world.broker.view(world.now, UserId(1)).own[0].waits.map(|wait| wait.why);
    assert_eq!((waits(&world), run_waits(&world)), (vec![WaitsFor::Group], Some(WaitsFor::Group)));
    world.want(run, Job::new(2, 10, LONG));
    world.want(run, Job::new(3, 10, LONG));
    assert_eq!(waits(&world), [WaitsFor::Group, WaitsFor::Places]);
    assert_eq!(run_waits(&world), Some(WaitsFor::Places));
    let capped = world.hello(user(2));
    world.step(Input::Terms(UserId(2), Terms { jobs_max: Some(1), ..Terms::default() }));
    world.want(capped, Job::new(0, 10, LONG));
    world.want(capped, Job::new(1, 10, LONG));
    let view = world.broker.view(world.now, UserId(2));
    assert_eq!(view.own[0].jobs[1].waits, Some(WaitsFor::UserCap));
}

#[test]
fn a_grant_tells_for_how_long_it_was_waited_for() {
    let mut world = World::new(1024, 8);
    let run = world.hello(user(1));
    world.want(run, Job::new(0, 900, LONG));
    world.want(run, Job::new(1, 900, LONG));
    world.pass(ms(1700));
    world.end(run, JobId(0));
    assert_eq!(world.broker.waited(run, attempt(1, 1)), Some(ms(1700)));
    assert_eq!(world.broker.waited(run, attempt(1, 2)), None);
}

#[test]
fn who_is_pinned_stands_still_until_its_user_lets_it_go_on() {
    let mut world = World::new(1024, 8);
    let run = named(&mut world, 1, "run", &[("one", 100), ("two", 100)]);
    world.pass(ms(100));
    let one = attempt(0, 1);
    world.by_hand(run, one, Hand::Pin).unwrap();
    world.by_hand(run, one, Hand::Pin).unwrap();
    let froze = |world: &World| world.effects.iter().filter(|e| **e == Effect::Freeze(run, one)).count();
    assert_eq!(froze(&world), 1);
    (0..100).for_each(|_| world.pass(ms(100)));
    let view = world.broker.view(world.now, UserId(1));
    assert_eq!((job(&view, "one").state, job(&view, "one").worked_ms), (JobState::Pinned, Some(100)));
    assert_eq!((view.frozen, view.held), (1, 0), "nothing is held by the governor");
    assert!(!world.effects.contains(&Effect::Thaw(run, one)));
    world.by_hand(run, one, Hand::Unpin).unwrap();
    assert!(world.effects.contains(&Effect::Thaw(run, one)));
    assert_eq!(job(&world.broker.view(world.now, UserId(1)), "one").state, JobState::Running);
}

#[test]
fn who_is_killed_by_hand_does_not_run_again_and_its_room_is_free() {
    let mut world = World::new(1024, 8);
    let run = named(&mut world, 1, "run", &[("one", 900), ("two", 900)]);
    world.by_hand(run, attempt(0, 1), Hand::Kill).unwrap();
    assert!(world.effects.contains(&Effect::Kill(run, attempt(0, 1))));
    assert!(world.running.contains_key(&(run, JobId(1))), "the next one");
    assert_eq!(world.by_hand(run, attempt(0, 1), Hand::Kill), Err(NotDone::NotRunning));
}

#[test]
fn only_what_runs_and_is_ones_own_can_be_reached() {
    let mut world = World::new(1024, 8);
    let run = named(&mut world, 1, "run", &[("one", 900), ("two", 900)]);
    let stranger = |world: &mut World, hand| {
        world.broker.by_hand(world.now, UserId(2), run, attempt(0, 1), hand).unwrap_err()
    };
    for hand in [Hand::Pin, Hand::Unpin, Hand::Kill] {
        assert_eq!(stranger(&mut world, hand), NotDone::NoSuchRun);
        assert_eq!(world.by_hand(run, attempt(1, 1), hand), Err(NotDone::NotRunning), "it waits");
        assert_eq!(world.by_hand(run, attempt(0, 2), hand), Err(NotDone::NotRunning), "another attempt");
        assert_eq!(world.by_hand(run, attempt(9, 1), hand), Err(NotDone::NotRunning), "nobody");
    }
    world.lose(run);
    assert_eq!(world.by_hand(run, attempt(0, 1), Hand::Kill), Err(NotDone::Lost));
}

#[test]
fn who_does_not_kill_what_its_user_wants_killed_has_it_done_for_it() {
    let mut broker = Broker::new(settings(1024, 8));
    let (run, one) = (client(1), attempt(0, 1));
    broker.step(ms(0), Input::Sensed(Box::default(), Vec::new()));
    broker.step(ms(0), Input::Hello { client: run, who: user(1), instead_of: None });
    broker.step(ms(0), Input::Want(run, Job::new(0, 10, LONG).request));
    let by_hand = |broker: &mut Broker, at, hand| broker.by_hand(ms(at), UserId(1), run, one, hand);
    assert_eq!(by_hand(&mut broker, 0, Hand::Pin), Err(NotDone::NotBorn), "a clone would block");
    broker.step(ms(1), Input::Born(run, one));
    assert_eq!(by_hand(&mut broker, 10, Hand::Pin), Ok(vec![Effect::Freeze(run, one)]));
    broker.step(ms(11), Input::Frozen(run, one));
    assert_eq!(by_hand(&mut broker, 20, Hand::Kill), Ok(vec![Effect::Kill(run, one)]));
    assert_eq!(by_hand(&mut broker, 1900, Hand::Kill), Err(NotDone::Ending), "that puts nothing off");
    assert_eq!(orders(broker.step(ms(2019), Input::Tick)), []);
    let late = broker.step(ms(2020), Input::Tick);
    assert!(late.contains(&Effect::Enforce(run, Some(one), Force::Kill)), "{late:?}");
}

#[test]
fn one_that_rides_in_another_jobs_room_is_shown_and_can_be_pinned() {
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
    broker.step(ms(0), Input::Born(client(1), attempt(0, 1)));
    broker.step(ms(0), hello(2, Some((client(1), JobId(0)))));
    broker.step(ms(0), want(2, 0));
    let (nested, one) = (client(2), attempt(0, 1));
    let by_hand = |broker: &mut Broker, hand| broker.by_hand(ms(10), UserId(1), nested, one, hand);
    let state = |broker: &Broker| broker.view(ms(10), UserId(1)).own[1].jobs[0].state;
    assert_eq!(
        (state(&broker), by_hand(&mut broker, Hand::Pin)),
        (JobState::Starting, Err(NotDone::NotBorn))
    );
    broker.step(ms(5), Input::Born(nested, one));
    assert_eq!(by_hand(&mut broker, Hand::Pin), Ok(vec![Effect::Freeze(nested, one)]));
    assert_eq!((state(&broker), by_hand(&mut broker, Hand::Pin)), (JobState::Pinned, Ok(vec![])));
    // What it rode in is over: it counts for itself, and stands still.
    let ending = Ending::Otherwise;
    broker.step(ms(20), Input::Ended { client: client(1), id: one, ending, again: false });
    assert_eq!(broker.standing().frozen, 1);
    assert_eq!(by_hand(&mut broker, Hand::Unpin), Ok(vec![Effect::Thaw(nested, one)]));
    assert_eq!(broker.standing().frozen, 0);
}
