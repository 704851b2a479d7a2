//! A broker that answers later: what is said and what is heard are on their way for as long as the test likes.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use proptest::prelude::*;

use super::*;
use crate::model::reading::JobReading;
use crate::model::retry::Retry;
use crate::model::{Attempt, Cause, Evidence, Exit, Verdict};
use crate::policy::broker::Hand;
use crate::policy::governor::JobFacts;
use crate::policy::scheduler::{self as run, End, JobSpec, Next, Scheduler};

const SECOND: Duration = Duration::from_secs(1);

/// The run's end of a connection.
#[derive(Debug, Default)]
struct Line(Rc<RefCell<VecDeque<Said>>>);

impl Permits for Line {
    fn tell(&mut self, _: Duration, said: Said) {
        self.0.borrow_mut().push_back(said);
    }

    fn decide(&mut self, _: Duration) {}

    fn hear(&mut self) -> Vec<Heard> {
        Vec::new()
    }

    fn is_calm(&self) -> bool {
        true
    }

    fn next_look(&self, _: bool) -> Option<Duration> {
        None
    }

    fn next_deadline(&self) -> Option<Duration> {
        None
    }

    fn wants_a_look(&self) -> bool {
        false
    }

    fn governed(&self, _: Duration) -> Option<Governed> {
        None
    }
}

/// A run, a broker, and what is on its way between them.
struct Far {
    run: Scheduler,
    said: Rc<RefCell<VecDeque<Said>>>,
    answers: VecDeque<Heard>,
    broker: Broker,
    now: Duration,
    parallel: u32,
    alive: BTreeMap<AttemptId, u32>,
    ended: BTreeSet<AttemptId>,
    verdicts: BTreeMap<JobId, u32>,
    finished: u32,
}

fn spec(timeout: Option<Duration>) -> JobSpec {
    let facts = JobFacts { group: 0, memory: None, restartable: true, weight: 1 };
    JobSpec { timeout, ..JobSpec::of(facts) }
}

fn attempt(job: u32, number: u32) -> AttemptId {
    AttemptId { job: JobId(job), number }
}

impl Far {
    fn new(parallel: u32, jobs: Vec<JobSpec>) -> Far {
        let line = Bytes(0);
        let law = governor::Settings {
            budget: Some(Bytes::mib(1000)),
            yellow: line,
            orange: line,
            red: line,
            cpus: 8,
            jobs: 8,
            max_pressure: 400,
        };
        let settings = broker::Settings {
            governor: law,
            requests: usize::MAX,
            patience: Some(SECOND),
            recovering: None,
        };
        let mut broker = Broker::new(settings);
        let who = Who { groups: vec![1], ..Who::of(UserId(7), parallel) };
        broker.step(Duration::ZERO, Input::Hello { client: RUN, who, instead_of: None });
        broker.step(Duration::ZERO, Input::Sensed(Box::default(), Vec::new()));
        let said = Rc::new(RefCell::default());
        let settings = run::Settings { groups: vec![1], ..run::Settings::of(parallel as usize) };
        let run = Scheduler::with(Some(Box::new(Line(Rc::clone(&said)))), settings, jobs);
        let (answers, now) = (VecDeque::new(), Duration::ZERO);
        let (alive, ended, verdicts) = Default::default();
        Far { run, said, answers, broker, now, parallel, alive, ended, verdicts, finished: 0 }
    }

    /// The run takes a step, and what it orders is held against what is.
    fn step(&mut self, input: run::Input) -> Vec<run::Effect> {
        let effects = self.run.step(self.now, input);
        for effect in &effects {
            match effect {
                run::Effect::Start(Attempt { id, slot }, _) => {
                    assert!(!self.ended.contains(id) && self.alive.keys().all(|other| other.job != id.job));
                    assert!(self.alive.values().all(|other| other != slot));
                    self.alive.insert(*id, *slot);
                    assert!(self.alive.len() <= self.parallel as usize);
                }
                run::Effect::Freeze(id) | run::Effect::Thaw(id) | run::Effect::Kill(id) => {
                    assert!(self.alive.contains_key(id), "{effect:?} of what is not there");
                }
                run::Effect::Judged(id, _, Next::Done(_)) | run::Effect::GivenUp(id) => {
                    *self.verdicts.entry(id.job).or_default() += 1;
                }
                run::Effect::Finish => self.finished += 1,
                _ => {}
            }
        }
        effects
    }

    /// The broker reads so many lines.
    fn deliver(&mut self, count: usize) {
        for _ in 0..count {
            let Some(said) = self.said.borrow_mut().pop_front() else { return };
            let effects = self.broker.step(self.now, said.input(RUN));
            self.answers.extend(effects.into_iter().filter_map(Heard::of));
        }
    }

    /// The run reads so many.
    fn answer(&mut self, count: usize) -> Vec<run::Effect> {
        let answers: Vec<Heard> = self.answers.drain(..count.min(self.answers.len())).collect();
        answers.into_iter().flat_map(|heard| self.step(run::Input::Heard(heard))).collect()
    }

    fn exchange(&mut self) -> Vec<run::Effect> {
        self.deliver(usize::MAX);
        self.answer(usize::MAX)
    }

    /// The broker looks, and sees so much in each that runs.
    fn look(&mut self, mib: u64) {
        let seen = |id: &AttemptId| (RUN, JobReading { id: *id, memory: Bytes::mib(mib), cpu: None });
        let usage = Bytes::mib(mib * self.alive.len() as u64);
        let machine = Box::new(Reading { usage, charged: usage, ..Reading::default() });
        let effects =
            self.broker.step(self.now, Input::Sensed(machine, self.alive.keys().map(seen).collect()));
        self.answers.extend(effects.into_iter().filter_map(Heard::of));
    }

    /// Its user wants something of a job, which the broker may refuse.
    fn by_hand(&mut self, id: AttemptId, hand: Hand) {
        let effects = self.broker.by_hand(self.now, UserId(7), RUN, id, hand).unwrap_or_default();
        self.answers.extend(effects.into_iter().filter_map(Heard::of));
    }

    fn end(&mut self, id: AttemptId, exit: Exit, unkillable: bool) -> Vec<run::Effect> {
        self.alive.remove(&id);
        self.ended.insert(id);
        let evidence = Evidence { unkillable, ..Evidence::default() };
        self.step(run::Input::Ended(Box::new(End { id, exit: Some(exit), spawn_error: None, evidence })))
    }
}

fn starts(effects: &[run::Effect]) -> Vec<AttemptId> {
    let start = |effect: &run::Effect| match effect {
        run::Effect::Start(attempt, _) => Some(attempt.id),
        _ => None,
    };
    effects.iter().filter_map(start).collect()
}

#[test]
fn a_grant_may_come_in_a_later_step() {
    let mut far = Far::new(2, vec![spec(None); 3]);
    assert_eq!(starts(&far.step(run::Input::Begin)), []);
    let wanted: Vec<AttemptId> = far.said.borrow().iter().map(wants).collect();
    assert_eq!(wanted, [attempt(0, 1), attempt(1, 1), attempt(2, 1)], "all of them, in their order");
    far.deliver(1);
    assert_eq!(starts(&far.answer(1)), [attempt(0, 1)]);
    assert_eq!(starts(&far.exchange()), [attempt(1, 1)]);
    assert_eq!(starts(&far.end(attempt(0, 1), Exit::Code(0), false)), []);
    assert_eq!(starts(&far.exchange()), [attempt(2, 1)]);
}

fn wants(said: &Said) -> AttemptId {
    match said {
        Said::Want(request) => request.id,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_grant_of_what_is_not_wanted_any_more_is_given_back() {
    let mut far = Far::new(2, vec![spec(None); 3]);
    far.step(run::Input::Begin);
    far.deliver(1);
    assert_eq!(far.step(run::Input::Interrupt(2)), [run::Effect::Finish]);
    assert_eq!(starts(&far.answer(1)), []);
    // The second one was granted before its withdrawal was read.
    (0..2).for_each(|_| assert_eq!(starts(&far.exchange()), []));
    let standing = far.broker.standing();
    assert_eq!((standing.running, standing.waiting), (0, 0));
}

#[test]
fn a_grant_that_is_said_twice_starts_one_attempt() {
    let mut far = Far::new(2, vec![spec(None); 1]);
    far.step(run::Input::Begin);
    far.deliver(1);
    far.answers.push_back(Heard::Grant(attempt(0, 1)));
    assert_eq!(starts(&far.answer(2)), [attempt(0, 1)]);
    far.exchange();
    assert_eq!(far.broker.standing().running, 1);
}

#[test]
fn a_grant_that_nobody_asked_for_starts_nothing() {
    let mut far = Far::new(1, vec![spec(None); 2]);
    far.step(run::Input::Begin);
    far.exchange();
    for id in [attempt(0, 2), attempt(1, 2), attempt(9, 1)] {
        assert_eq!(far.step(run::Input::Heard(Heard::Grant(id))), []);
    }
    assert_eq!(far.exchange(), []);
    far.end(attempt(0, 1), Exit::Code(0), false);
    assert_eq!(starts(&far.exchange()), [attempt(1, 1)]);
}

#[test]
fn what_cant_be_killed_keeps_its_place_in_the_broker_too() {
    let mut far = Far::new(2, vec![spec(None); 4]);
    far.step(run::Input::Begin);
    far.exchange();
    far.end(attempt(0, 1), Exit::Signal(9), true);
    assert_eq!(starts(&far.exchange()), []);
    far.end(attempt(1, 1), Exit::Code(0), false);
    assert_eq!(starts(&far.exchange()), [attempt(2, 1)]);
    assert_eq!(far.broker.standing().running, 1);
}

#[test]
fn an_order_about_what_ends_anyway_is_passed_over() {
    let id = attempt(0, 1);
    let mut far = Far::new(1, vec![spec(Some(SECOND))]);
    far.step(run::Input::Begin);
    far.exchange();
    far.step(run::Input::Started(id));
    far.now = SECOND;
    assert!(far.step(run::Input::Tick).contains(&run::Effect::Diagnose(id)));
    let orders =
        [Heard::Freeze(id), Heard::Evict(id), Heard::Kill(id), Heard::Thaw(id), Heard::Freeze(attempt(5, 1))];
    for order in orders {
        assert_eq!(far.step(run::Input::Heard(order)), []);
    }
}

#[test]
fn what_its_user_kills_has_failed_and_is_not_tried_again() {
    let retry = Retry { count: 3, ..Retry::NEVER };
    let (mut far, id) = (Far::new(1, vec![JobSpec { retry, ..spec(None) }]), attempt(0, 1));
    far.step(run::Input::Begin);
    far.exchange();
    far.step(run::Input::Started(id));
    far.step(run::Input::Heard(Heard::Freeze(id)));
    assert!(far.step(run::Input::Heard(Heard::Kill(id))).contains(&run::Effect::Kill(id)));
    let effects = far.end(id, Exit::Signal(9), false);
    let judged = effects.iter().find_map(|effect| match effect {
        run::Effect::Judged(_, judgement, next) => Some((judgement.cause.clone(), *next)),
        _ => None,
    });
    assert_eq!(judged, Some((Cause::ByHand, Next::Done(Verdict::Fail))));
    assert_eq!(far.run.tally().failed, 1);
}

#[derive(Debug, Clone, Copy)]
enum Happens {
    Deliver(usize),
    Answer(usize),
    Born(usize),
    Ends(usize, i32),
    CantBeKilled(usize),
    Killed(usize),
    ByHand(usize, Hand),
    Removed(usize),
    Look(u64),
    Pass(u64),
    Interrupt,
}

fn what_happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        6 => (1usize..6).prop_map(Happens::Deliver),
        6 => (1usize..6).prop_map(Happens::Answer),
        3 => (0usize..8).prop_map(Happens::Born),
        4 => (0usize..8, 0..3i32).prop_map(|(which, code)| Happens::Ends(which, code)),
        1 => (0usize..8).prop_map(Happens::CantBeKilled),
        2 => (0usize..8).prop_map(Happens::Killed),
        1 => (0usize..8, prop_oneof![Just(Hand::Pin), Just(Hand::Unpin), Just(Hand::Kill)])
            .prop_map(|(which, hand)| Happens::ByHand(which, hand)),
        2 => (0usize..8).prop_map(Happens::Removed),
        4 => (20..500u64).prop_map(Happens::Look),
        4 => (1..900u64).prop_map(Happens::Pass),
        1 => Just(Happens::Interrupt),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// However long lines are on their way: nothing starts without a place, every job has one verdict, and in the end the
    /// broker believes that nothing runs.
    #[test]
    fn however_late_the_answers_are_every_job_ends_once(
        parallel in 1u32..5,
        count in 0u32..12,
        happenings in prop::collection::vec(what_happens(), 0..150),
    ) {
        let retry = Retry { count: 1, delay: Duration::from_millis(300), ..Retry::NEVER };
        let of = |number: u32| JobSpec {
            retry,
            groups: if number.is_multiple_of(3) { vec![0] } else { Vec::new() },
            ..spec(Some(5 * SECOND))
        };
        let mut far = Far::new(parallel, (0..count).map(of).collect());
        far.step(run::Input::Begin);
        for what in happenings {
            let nth = |which: usize| far.alive.keys().copied().nth(which % far.alive.len().max(1));
            match what {
                Happens::Deliver(count) => far.deliver(count),
                Happens::Answer(count) => drop(far.answer(count)),
                Happens::Born(which) => drop(nth(which).map(|id| far.step(run::Input::Started(id)))),
                Happens::Ends(which, code) => {
                    drop(nth(which).map(|id| far.end(id, Exit::Code(code), false)));
                }
                Happens::CantBeKilled(which) => drop(nth(which).map(|id| far.end(id, Exit::Signal(9), true))),
                Happens::Killed(which) => drop(nth(which).map(|id| far.end(id, Exit::Signal(9), false))),
                Happens::ByHand(which, hand) => drop(nth(which).map(|id| far.by_hand(id, hand))),
                Happens::Removed(which) => {
                    let gone = far.ended.iter().copied().nth(which);
                    drop(gone.map(|id| far.step(run::Input::Removed(id))));
                }
                Happens::Look(mib) => far.look(mib),
                Happens::Pass(time) => {
                    far.now += Duration::from_millis(time);
                    far.step(run::Input::Tick);
                }
                Happens::Interrupt => drop(far.step(run::Input::Interrupt(2))),
            }
        }
        for _ in 0..200 {
            far.exchange();
            if far.finished > 0 && far.said.borrow().is_empty() && far.answers.is_empty() {
                break;
            }
            far.now += SECOND;
            far.look(10);
            far.step(run::Input::Tick);
            let alive: Vec<AttemptId> = far.alive.keys().copied().collect();
            alive.into_iter().for_each(|id| drop(far.end(id, Exit::Code(0), false)));
        }
        prop_assert_eq!(far.finished, 1);
        prop_assert!(far.verdicts.values().all(|verdicts| *verdicts == 1), "{:?}", far.verdicts);
        let tally = far.run.tally();
        prop_assert_eq!(far.verdicts.len() as u64, tally.passed + tally.failed);
        prop_assert_eq!(far.verdicts.len() as u64 + tally.not_run, u64::from(count));
        prop_assert_eq!(far.broker.standing().running, 0);
    }
}
