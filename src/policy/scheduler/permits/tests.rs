//! A broker that answers later: what is said and what is heard are on their way for as long as the test likes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;
use crate::model::reading::JobReading;
use crate::model::retry::Retry;
use crate::model::{Attempt, Cause, Evidence, Exit, Verdict};
use crate::policy::broker::Hand;
use crate::policy::governor::JobFacts;
use crate::policy::scheduler::{self as run, End, JobSpec, Next, Scheduler};

const SECOND: Duration = Duration::from_secs(1);

/// A run, a broker, and what is on its way between them.
struct Far {
    run: Scheduler,
    said: VecDeque<Said>,
    answers: VecDeque<Heard>,
    broker: Broker,
    /// The run's number there; another one after each cut.
    client: ClientId,
    is_cut: bool,
    law: governor::Settings,
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
        let settings = run::Settings {
            groups: vec![1],
            governor: Some(law),
            served: Some(Served::default()),
            ..run::Settings::of(parallel as usize)
        };
        let mut far = Far {
            run: Scheduler::new(settings, jobs),
            said: VecDeque::new(),
            answers: VecDeque::new(),
            broker: Far::broker(law),
            client: ClientId(0),
            is_cut: false,
            law,
            now: Duration::ZERO,
            parallel,
            alive: BTreeMap::new(),
            ended: BTreeSet::new(),
            verdicts: BTreeMap::new(),
            finished: 0,
        };
        far.greet(None);
        far.answer(usize::MAX);
        far
    }

    fn broker(law: governor::Settings) -> Broker {
        let patience = Some(SECOND);
        Broker::new(broker::Settings { governor: law, requests: 3, patience, recovering: None })
    }

    fn greet(&mut self, instead_of: Option<ClientId>) {
        let who = Who { groups: vec![1], ..Who::of(UserId(7), self.parallel) };
        self.broker.step(self.now, Input::Hello { client: self.client, who, instead_of });
        self.look(10);
    }

    /// The line is cut: what is on its way is lost.
    fn cut(&mut self) -> Vec<run::Effect> {
        self.said.clear();
        self.answers.clear();
        if std::mem::replace(&mut self.is_cut, true) {
            return Vec::new();
        }
        self.broker.step(self.now, Input::Lost(self.client));
        self.step(run::Input::Heard(Heard::Lost))
    }

    /// The run comes back, to the same broker or to a new one.
    fn come_back(&mut self, anew: bool) -> Vec<run::Effect> {
        if !std::mem::replace(&mut self.is_cut, false) {
            return Vec::new();
        }
        let before = self.client;
        self.client = ClientId(before.0 + 1);
        if anew {
            self.broker = Far::broker(self.law);
        }
        self.greet((!anew).then_some(before));
        self.step(run::Input::Heard(Heard::Joined { sample: None }))
    }

    /// The run takes a step, and what it orders is held against what is.
    fn step(&mut self, input: run::Input) -> Vec<run::Effect> {
        let mut effects = self.run.step(self.now, input);
        for effect in &effects {
            match effect {
                run::Effect::Tell(said) => self.said.push_back(said.clone()),
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
        effects.retain(|effect| !matches!(effect, run::Effect::Tell(_)));
        effects
    }

    /// The broker reads so many lines.
    fn deliver(&mut self, count: usize) {
        for _ in 0..count {
            let Some(said) = self.said.pop_front() else { return };
            let more = said.more(self.client);
            for input in [said.input(self.client)].into_iter().chain(more) {
                let effects = self.broker.step(self.now, input);
                self.answers.extend(effects.into_iter().filter_map(over_the_line));
            }
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

    /// The broker looks, and the run's own where it has one, and sees so much in each that runs.
    fn look(&mut self, mib: u64) -> Vec<run::Effect> {
        let seen = |id: &AttemptId| JobReading { id: *id, memory: Bytes::mib(mib), cpu: None };
        let jobs: Vec<JobReading> = self.alive.keys().map(seen).collect();
        let usage = Bytes::mib(mib * self.alive.len() as u64);
        let machine = Reading { usage, charged: usage, ..Reading::default() };
        let of_client = jobs.iter().map(|seen| (self.client, *seen)).collect();
        let effects = self.broker.step(self.now, Input::Sensed(Box::new(machine.clone()), of_client));
        if !self.is_cut {
            self.answers.extend(effects.into_iter().filter_map(over_the_line));
        }
        if self.run.next_look().is_some_and(|at| at <= self.now) {
            return self.step(run::Input::Sense(Box::new(Reading { jobs, ..machine })));
        }
        Vec::new()
    }

    fn tick(&mut self, after: Duration) -> Vec<run::Effect> {
        self.now += after;
        self.step(run::Input::Tick)
    }

    /// Its user wants something of a job, which the broker may refuse.
    fn by_hand(&mut self, id: AttemptId, hand: Hand) {
        let effects = self.broker.by_hand(self.now, UserId(7), self.client, id, hand).unwrap_or_default();
        if !self.is_cut {
            self.answers.extend(effects.into_iter().filter_map(over_the_line));
        }
    }

    fn end(&mut self, id: AttemptId, exit: Exit, unkillable: bool) -> Vec<run::Effect> {
        self.alive.remove(&id);
        self.ended.insert(id);
        let evidence = Evidence { unkillable, ..Evidence::default() };
        self.step(run::Input::Ended(Box::new(End { id, exit: Some(exit), spawn_error: None, evidence })))
    }
}

/// What is said to a run about an effect.
fn over_the_line(effect: Effect) -> Option<Heard> {
    Some(match effect {
        Effect::Cap(_) => return None,
        Effect::Stands(_, stand) => Heard::Stands(stand),
        Effect::Share(_, share) => Heard::Share(share),
        Effect::Refuse(_, id, _) => Heard::NotTaken(id),
        other => return Heard::of(other),
    })
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
    let wanted: Vec<AttemptId> = far.said.iter().map(wants).collect();
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
        run::Effect::Judged(_, judgement, next) => Some((judgement.cause, *next)),
        _ => None,
    });
    assert_eq!(judged, Some((Cause::ByHand, Next::Done(Verdict::Fail))));
    assert_eq!(far.run.tally().failed, 1);
}

/// Two that run, and two that wait.
fn two_of_four() -> Far {
    let mut far = Far::new(2, vec![spec(None); 4]);
    far.step(run::Input::Begin);
    far.exchange();
    far.look(100);
    far.exchange();
    for id in [attempt(0, 1), attempt(1, 1)] {
        far.step(run::Input::Started(id));
    }
    far.exchange();
    far
}

#[test]
fn without_a_broker_nothing_starts_for_a_second_and_then_the_run_goes_on_by_itself() {
    let mut far = two_of_four();
    assert_eq!(far.cut(), []);
    assert_eq!(far.run.next_deadline(), Some(SECOND));
    assert_eq!(far.end(attempt(0, 1), Exit::Code(0), false).len(), 1, "judged, and nothing starts");
    assert_eq!(starts(&far.tick(SECOND / 2)), []);
    let effects = far.tick(SECOND / 2);
    let Some(run::Effect::Alone(share)) = effects.first() else { panic!("{effects:?}") };
    assert!(share.memory > Bytes(0) && share.memory <= Bytes::mib(1000));
    assert_eq!(starts(&far.look(100)), [attempt(2, 1)], "one beside the one that goes on");
    assert!(far.said.is_empty(), "{:?}", far.said);
}

#[test]
fn what_ran_meanwhile_is_declared_when_a_broker_is_back() {
    for anew in [true, false] {
        let mut far = two_of_four();
        far.cut();
        far.end(attempt(0, 1), Exit::Code(0), false);
        far.tick(SECOND);
        far.look(100);
        let effects = far.come_back(anew);
        assert!(
            effects.contains(&run::Effect::Cap(Bytes::mib(1000))),
            "the run's own cap is off: {effects:?}"
        );
        let declared = far.said.front().cloned();
        let Some(Said::Declare(running)) = declared else { panic!("{declared:?}") };
        let ids: Vec<AttemptId> = running.iter().map(|ran| ran.request.id).collect();
        assert_eq!(ids, [attempt(1, 1), attempt(2, 1)], "in the order of their starts");
        assert_eq!(running[0].worked, SECOND);
        assert_eq!(starts(&far.exchange()), []);
        assert_eq!((far.broker.standing().running, far.broker.standing().waiting), (2, 1));
        far.end(attempt(1, 1), Exit::Code(0), false);
        assert_eq!(starts(&far.exchange()), [attempt(3, 1)]);
    }
}

#[test]
fn what_stood_still_when_the_line_was_cut_goes_on_as_soon_as_somebody_decides() {
    let mut far = two_of_four();
    let frozen = attempt(1, 1);
    far.now = 4 * SECOND;
    far.step(run::Input::Heard(Heard::Freeze(frozen)));
    far.cut();
    far.now = 5 * SECOND;
    far.come_back(true);
    let Some(Said::Declare(running)) = far.said.front() else { panic!("{:?}", far.said) };
    let was: Vec<_> = running.iter().map(|ran| (ran.worked, ran.frozen)).collect();
    assert_eq!(was, [(5 * SECOND, false), (4 * SECOND, true)]);
    // There is room for it.
    far.exchange();
    far.now += SECOND;
    far.look(100);
    assert!(far.exchange().contains(&run::Effect::Thaw(frozen)));
    far.step(run::Input::Heard(Heard::Freeze(frozen)));
    far.cut();
    far.tick(SECOND);
    far.now += SECOND;
    assert!(far.look(100).contains(&run::Effect::Thaw(frozen)), "by the run's own broker, too");
}

/// An attempt that fills the budget although nobody is in its way can't be helped; beside others it runs again.
#[test]
fn whether_an_attempt_was_alone_is_the_brokers_word() {
    let out_of_budget = |far: &mut Far| {
        let id = attempt(0, 1);
        let evidence = Evidence {
            oom_kill: Some(1),
            oom_own: Some(0),
            oom_budget: Some(1),
            memory_peak: Some(Bytes::mib(900)),
            budget_max: Some(Bytes::mib(1000)),
            ..Evidence::default()
        };
        let end = End { id, exit: Some(Exit::Signal(9)), spawn_error: None, evidence };
        let effects = far.step(run::Input::Ended(Box::new(end)));
        let next = |effect: &run::Effect| match effect {
            run::Effect::Judged(_, _, next) => Some(*next),
            _ => None,
        };
        effects.iter().find_map(next)
    };
    let one = |company| {
        let mut far = Far::new(1, vec![spec(None)]);
        far.step(run::Input::Begin);
        far.exchange();
        if company {
            let stand = Stand { company: true, ..Stand::default() };
            far.step(run::Input::Heard(Heard::Stands(stand)));
            // Once is enough.
            far.step(run::Input::Heard(Heard::Stands(Stand::default())));
        }
        far
    };
    assert_eq!(out_of_budget(&mut one(true)), Some(Next::Again));
    assert_eq!(out_of_budget(&mut one(false)), Some(Next::Done(Verdict::Fail)));
}

/// The broker does itself what a run does not do in time; a run that was stopped finds that when it goes on.
#[test]
fn what_the_broker_had_to_kill_itself_was_evicted() {
    let killed = |far: &mut Far| {
        let judged = far.end(attempt(1, 1), Exit::Signal(9), false);
        judged.iter().find_map(|effect| match effect {
            run::Effect::Judged(_, judgement, next) => Some((judgement.cause, *next)),
            _ => None,
        })
    };
    let mut far = two_of_four();
    far.step(run::Input::Heard(Heard::Freeze(attempt(1, 1))));
    assert_eq!(killed(&mut far), Some((Cause::Broker, Next::Again)), "asked to freeze it, and late");
    let mut far = two_of_four();
    far.cut();
    assert_eq!(killed(&mut far), Some((Cause::Broker, Next::Again)), "given up");
    let mut far = two_of_four();
    assert_eq!(killed(&mut far), Some((Cause::Own, Next::Done(Verdict::Fail))), "a kill as any other");
}

/// A share may be too small for a job that the whole has room for. That is not the job's fault.
#[test]
fn what_needs_more_than_the_share_is_not_given_up_at_once() {
    let mut far = Far::new(1, vec![spec(None)]);
    far.step(run::Input::Begin);
    far.cut();
    far.tick(SECOND);
    far.look(0);
    // Each attempt comes to an end after ten seconds.
    for number in 1..20 {
        for _ in 0..10 {
            far.now += SECOND;
            far.look(0);
        }
        let id = attempt(0, number);
        assert!(far.alive.remove(&id).is_some());
        let evidence =
            Evidence { oom_kill: Some(1), oom_own: Some(0), oom_budget: Some(1), ..Evidence::default() };
        let end = End { id, exit: Some(Exit::Signal(9)), spawn_error: None, evidence };
        far.step(run::Input::Ended(Box::new(end)));
        if far.finished > 0 {
            assert!(
                (5..9).contains(&number),
                "{number}: after a minute there is no hope, and there was before"
            );
            return;
        }
    }
    panic!("there is no end to it");
}

#[test]
fn a_run_that_is_to_wait_no_longer_ends_without_having_started() {
    let mut far = two_of_four();
    far.run = Scheduler::new(run::Settings { wait: Some(SECOND), ..run::Settings::of(1) }, vec![spec(None)]);
    assert_eq!(starts(&far.run.step(Duration::ZERO, run::Input::Begin)), [attempt(0, 1)]);
    assert_eq!(far.run.next_deadline(), None, "once something has started there is nothing to wait for");
    let served = run::Settings {
        governor: Some(far.law),
        served: Some(Served::default()),
        wait: Some(SECOND),
        ..run::Settings::of(1)
    };
    far.run = Scheduler::new(served, vec![spec(None)]);
    far.run.step(Duration::ZERO, run::Input::Begin);
    assert_eq!(far.run.next_deadline(), Some(SECOND));
    let effects = far.run.step(SECOND, run::Input::Tick);
    let withdrawn = run::Effect::Tell(Said::Withdraw { job: JobId(0), again: false });
    assert!(effects.contains(&withdrawn) && effects.contains(&run::Effect::Finish), "{effects:?}");
    assert_eq!((far.run.closed(), far.run.tally().not_run), (Some(Cause::NoPermit), 1));
}

#[test]
fn a_broker_that_can_not_look_is_told_what_jobs_hold() {
    let mut far = two_of_four();
    assert_eq!(far.run.next_look(), None, "it looks itself");
    far.cut();
    far.is_cut = false;
    let joined = Heard::Joined { sample: Some(SECOND / 10) };
    far.step(run::Input::Heard(joined));
    far.said.clear();
    assert_eq!(far.run.next_look(), Some(Duration::ZERO), "at once");
    far.step(run::Input::Sense(Box::default()));
    assert!(matches!(far.said.pop_front(), Some(Said::Sensed(_))));
    assert_eq!(far.run.next_look(), Some(SECOND / 10));
    let near = Stand { near: true, ..Stand::default() };
    far.step(run::Input::Heard(Heard::Stands(near)));
    assert_eq!(far.run.next_look(), Some(SECOND / 100));
    assert!(far.run.wants_a_look());
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
    Cut,
    ComeBack(bool),
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
        2 => Just(Happens::Cut),
        3 => any::<bool>().prop_map(Happens::ComeBack),
        1 => Just(Happens::Interrupt),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// However long lines are on their way, and however often they are cut: nothing starts without a place, every job has one verdict, and in the end the
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
                Happens::Look(mib) => drop(far.look(mib)),
                Happens::Pass(time) => drop(far.tick(Duration::from_millis(time))),
                Happens::Cut => drop(far.cut()),
                Happens::ComeBack(anew) => drop(far.come_back(anew)),
                Happens::Interrupt => drop(far.step(run::Input::Interrupt(2))),
            }
        }
        far.come_back(count % 2 == 0);
        for _ in 0..200 {
            far.exchange();
            if far.finished > 0 && far.said.is_empty() && far.answers.is_empty() {
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
