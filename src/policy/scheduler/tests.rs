use std::collections::BTreeMap;

use super::stops::SIGTERM;
use super::*;
use crate::model::reading::{JobReading, Reading, Stall, Stalls};
use crate::model::retry::{FlakyResult, LeakPolicy, Retry, Unsettled};
use crate::model::{Attempt, Bytes, Cause, Evidence, Exit, MaxFail, Outcome, Verdict};
use crate::policy::governor::{self, JobFacts};
use crate::policy::tuning::MAX_FROM_OUTSIDE;
use crate::policy::verdict::Judgement;

const SECOND: Duration = Duration::from_secs(1);

fn settings(parallel: usize) -> Settings {
    Settings::of(parallel)
}

fn jobs(timeout: Option<Duration>, count: usize) -> Vec<JobSpec> {
    let facts = JobFacts { group: 0, memory: None, restartable: true, weight: 1 };
    vec![JobSpec { timeout, ..JobSpec::of(facts) }; count]
}

fn attempt(job: u32, number: u32) -> AttemptId {
    AttemptId { job: JobId(job), number }
}

fn ended(id: AttemptId, exit: Exit) -> Input {
    Input::Ended(Box::new(End { id, exit: Some(exit), spawn_error: None, evidence: Evidence::default() }))
}

fn evicted(id: AttemptId) -> Input {
    let evidence =
        Evidence { oom_kill: Some(1), oom_own: Some(0), oom_budget: Some(1), ..Evidence::default() };
    Input::Ended(Box::new(End { id, exit: Some(Exit::Signal(9)), spawn_error: None, evidence }))
}

fn starts(effects: &[Effect]) -> Vec<(AttemptId, u32)> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Start(attempt, _) => Some((attempt.id, attempt.slot)),
            _ => None,
        })
        .collect()
}

#[test]
fn as_many_run_as_there_are_slots_and_slots_are_reused() {
    let mut run = Scheduler::new(settings(2), jobs(None, 3));
    let effects = run.step(Duration::ZERO, Input::Begin);
    assert_eq!(starts(&effects), [(attempt(0, 1), 0), (attempt(1, 1), 1)]);
    assert!(effects.contains(&Effect::Prepare(attempt(2, 1))));
    let effects = run.step(SECOND, ended(attempt(0, 1), Exit::Code(0)));
    assert_eq!(starts(&effects), [(attempt(2, 1), 0)]);
    assert!(matches!(effects.last(), Some(Effect::Judged(..))), "told after the start: {effects:?}");
}

#[test]
fn a_run_without_jobs_finishes_at_once() {
    assert_eq!(Scheduler::new(settings(1), Vec::new()).step(Duration::ZERO, Input::Begin), [Effect::Finish]);
}

#[test]
fn a_job_out_of_time_is_stopped_then_killed() {
    let mut run = Scheduler::new(settings(1), jobs(Some(5 * SECOND), 1));
    run.step(Duration::ZERO, Input::Begin);
    run.step(SECOND, Input::Started(attempt(0, 1)));
    assert_eq!(run.next_deadline(), Some(5 * SECOND), "a first look a second ahead");
    assert_eq!(run.step(5 * SECOND, Input::Tick), [Effect::Glance(attempt(0, 1))]);
    assert_eq!(run.next_deadline(), Some(6 * SECOND));
    assert_eq!(run.step(6 * SECOND, Input::Tick), [Effect::Diagnose(attempt(0, 1))]);
    assert_eq!(run.step(6 * SECOND, Input::Diagnosed(attempt(0, 1))), [Effect::Signal(attempt(0, 1), 15)]);
    assert_eq!(run.next_deadline(), Some(8 * SECOND));
    assert_eq!(run.step(8 * SECOND, Input::Tick), [Effect::Kill(attempt(0, 1))]);
    let effects = run.step(9 * SECOND, ended(attempt(0, 1), Exit::Signal(9)));
    assert!(matches!(
        &effects[0],
        Effect::Judged(_, Judgement { outcome: Outcome::Timeout, .. }, Next::Done(Verdict::Fail))
    ));
    assert_eq!(effects[1], Effect::Finish);
}

#[test]
fn an_eviction_is_not_a_failure_and_the_next_attempt_runs_alone() {
    let mut run = Scheduler::new(settings(2), jobs(None, 3));
    run.step(Duration::ZERO, Input::Begin);
    let effects = run.step(SECOND, evicted(attempt(0, 1)));
    assert!(starts(&effects).is_empty(), "job 1 still runs: {effects:?}");
    let effects = run.step(SECOND, ended(attempt(1, 1), Exit::Code(0)));
    assert_eq!(starts(&effects).len(), 1, "alone: {effects:?}");
    let effects = run.step(SECOND, ended(attempt(0, 2), Exit::Code(0)));
    assert_eq!(starts(&effects), [(attempt(2, 1), 0)]);
    run.step(SECOND, ended(attempt(2, 1), Exit::Code(0)));
    assert_eq!(run.tally(), Tally { passed: 3, evictions: 1, ..Tally::default() });
}

#[test]
fn a_job_that_overfills_the_budget_alone_is_out_of_memory() {
    let mut run = Scheduler::new(settings(2), jobs(None, 1));
    run.step(Duration::ZERO, Input::Begin);
    let effects = run.step(SECOND, evicted(attempt(0, 1)));
    let oom = Judgement { outcome: Outcome::Oom, cause: Cause::Budget };
    assert_eq!(effects, [Effect::Judged(attempt(0, 1), oom, Next::Done(Verdict::Fail)), Effect::Finish]);
}

#[test]
fn a_job_that_is_killed_from_outside_again_and_again_ends_as_infra() {
    let killed = |number| {
        let evidence =
            Evidence { oom_kill: Some(1), oom_own: Some(0), oom_budget: Some(0), ..Evidence::default() };
        let id = attempt(0, number);
        Input::Ended(Box::new(End { id, exit: Some(Exit::Signal(9)), spawn_error: None, evidence }))
    };
    let mut run = Scheduler::new(settings(1), jobs(None, 1));
    run.step(Duration::ZERO, Input::Begin);
    for number in 1..=MAX_FROM_OUTSIDE {
        assert_eq!(starts(&run.step(SECOND, killed(number))).len(), 1);
    }
    let effects = run.step(SECOND, killed(MAX_FROM_OUTSIDE + 1));
    assert!(matches!(&effects[0], Effect::Judged(_, _, Next::Done(Verdict::Infra))), "{effects:?}");
    assert_eq!(run.tally().failed, 1);
}

#[test]
fn fail_fast_starts_nothing_more_and_lets_the_running_end() {
    let mut run = Scheduler::new(Settings { max_fail: MaxFail::FIRST, ..settings(2) }, jobs(None, 4));
    run.step(Duration::ZERO, Input::Begin);
    let effects = run.step(SECOND, ended(attempt(0, 1), Exit::Code(3)));
    assert!(starts(&effects).is_empty() && !effects.contains(&Effect::Finish));
    assert!(run.step(SECOND, ended(attempt(1, 1), Exit::Code(0))).contains(&Effect::Finish));
    assert_eq!(run.tally(), Tally { passed: 1, failed: 1, not_run: 2, ..Tally::default() });
}

#[test]
fn the_last_failure_that_may_be_ends_what_runs_if_it_is_to() {
    let max_fail = "2:immediate".parse().unwrap();
    let retry = Retry { count: 3, ..Retry::NEVER };
    let mut specs = jobs(None, 6);
    specs[2] = JobSpec { retry, ..specs[2].clone() };
    let mut run = Scheduler::new(Settings { max_fail, ..settings(4) }, specs);
    run.step(Duration::ZERO, Input::Begin);
    (0..4).for_each(|job| drop(run.step(Duration::ZERO, Input::Started(attempt(job, 1)))));
    let one = run.step(SECOND, ended(attempt(0, 1), Exit::Code(3)));
    assert_eq!(starts(&one)[0].0, attempt(4, 1), "one may fail");
    let effects = run.step(SECOND, ended(attempt(1, 1), Exit::Code(3)));
    let asked = [attempt(3, 1), attempt(2, 1), attempt(4, 1)].map(|id| Effect::Signal(id, 15));
    assert!(asked.iter().all(|signal| effects.contains(signal)), "{effects:?}");
    assert!(starts(&effects).is_empty());
    let judged = Judgement { outcome: Outcome::Signaled, cause: Cause::MaxFail };
    let effects = run.step(SECOND, ended(attempt(2, 1), Exit::Signal(15)));
    assert_eq!(effects, [Effect::Judged(attempt(2, 1), judged, Next::Done(Verdict::Fail))]);
    let killed = run.step(3 * SECOND, Input::Tick);
    assert!(killed.contains(&Effect::Kill(attempt(3, 1))), "the grace is over: {killed:?}");
    run.step(3 * SECOND, ended(attempt(3, 1), Exit::Code(0)));
    assert!(run.step(3 * SECOND, ended(attempt(4, 1), Exit::Signal(9))).contains(&Effect::Finish));
    assert_eq!(run.tally(), Tally { passed: 1, failed: 4, not_run: 1, ..Tally::default() });
}

#[test]
fn what_has_exited_has_all_the_time_it_takes_to_clear_up() {
    let mut run = Scheduler::new(settings(1), jobs(Some(SECOND), 1));
    run.step(Duration::ZERO, Input::Begin);
    run.step(Duration::ZERO, Input::Started(attempt(0, 1)));
    run.step(ms(900), Input::Exited(attempt(0, 1)));
    assert_eq!(run.next_deadline(), None);
    assert_eq!(run.step(5 * SECOND, Input::Interrupt(2)), []);
    let effects = run.step(6 * SECOND, ended(attempt(0, 1), Exit::Code(0)));
    let passed = Judgement { outcome: Outcome::Exited, cause: Cause::Own };
    assert_eq!(effects, [Effect::Judged(attempt(0, 1), passed, Next::Done(Verdict::Pass)), Effect::Finish]);
}

#[test]
fn who_needs_what_something_unkillable_holds_never_runs_and_the_others_do() {
    let settings = Settings { groups: vec![1], ..settings(2) };
    let in_group = |spec| JobSpec { groups: vec![0], ..spec };
    let mut specs = jobs(None, 3);
    for at in [0, 1] {
        specs[at] = in_group(specs[at].clone());
    }
    let mut run = Scheduler::new(settings, specs);
    let begun = starts(&run.step(Duration::ZERO, Input::Begin));
    assert_eq!(begun.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [attempt(0, 1), attempt(2, 1)]);
    let unkillable = Evidence { unkillable: true, ..Evidence::default() };
    let end = End { id: attempt(0, 1), exit: None, spawn_error: None, evidence: unkillable };
    let effects = run.step(SECOND, Input::Ended(Box::new(end)));
    assert!(!effects.contains(&Effect::Finish), "another one runs");
    assert!(run.step(SECOND, ended(attempt(2, 1), Exit::Code(0))).contains(&Effect::Finish));
    assert_eq!(run.tally(), Tally { passed: 1, failed: 1, not_run: 1, ..Tally::default() });
}

#[test]
fn a_retry_does_not_run_out_of_patience_in_a_suspended_machine() {
    let settings = Settings { settle_timeout: 10 * SECOND, ..settings(1) };
    let retry = Retry { count: 1, ..Retry::NEVER };
    let mut run = Scheduler::new(settings, vec![JobSpec { retry, ..jobs(None, 1)[0].clone() }]);
    run.step(Duration::ZERO, Input::Begin);
    run.step(Duration::ZERO, ended(attempt(0, 1), Exit::Code(1)));
    assert_eq!(run.next_deadline(), Some(10 * SECOND));
    assert_eq!(run.step(3600 * SECOND, Input::Tick), []);
    assert_eq!(run.next_deadline(), Some(3610 * SECOND));
}

#[test]
fn an_interrupt_is_passed_on_and_then_enforced() {
    let mut run = Scheduler::new(settings(2), jobs(None, 4));
    run.step(Duration::ZERO, Input::Begin);
    run.step(Duration::ZERO, Input::Started(attempt(0, 1)));
    run.step(Duration::ZERO, Input::Started(attempt(1, 1)));
    let effects = run.step(SECOND, Input::Interrupt(2));
    assert_eq!(effects, [Effect::Signal(attempt(0, 1), 2), Effect::Signal(attempt(1, 1), 2)]);
    assert_eq!(run.next_deadline(), Some(3 * SECOND));
    let effects = run.step(SECOND, Input::KillAll);
    assert_eq!(effects, [Effect::Kill(attempt(0, 1)), Effect::Kill(attempt(1, 1))]);
}

#[test]
fn one_that_is_born_after_the_interrupt_is_stopped_too() {
    let mut run = Scheduler::new(settings(1), jobs(None, 1));
    run.step(Duration::ZERO, Input::Begin);
    run.step(SECOND, Input::Interrupt(2));
    assert_eq!(run.step(SECOND, Input::Started(attempt(0, 1))), [Effect::Signal(attempt(0, 1), 2)]);
}

#[test]
fn a_slot_with_something_unkillable_in_it_is_retired() {
    let mut run = Scheduler::new(settings(1), jobs(None, 2));
    run.step(Duration::ZERO, Input::Begin);
    let evidence = Evidence { unkillable: true, ..Evidence::default() };
    let end = End { id: attempt(0, 1), exit: None, spawn_error: None, evidence };
    let effects = run.step(SECOND, Input::Ended(Box::new(end)));
    assert!(starts(&effects).is_empty() && effects.contains(&Effect::Finish), "{effects:?}");
}

const MIB: u64 = 1 << 20;

/// A budget of 1000 MiB, watched.
fn governed(parallel: usize) -> Settings {
    let line = Bytes(0);
    let governor = governor::Settings {
        budget: Some(Bytes::mib(1000)),
        yellow: line,
        orange: line,
        red: line,
        cpus: 8,
        jobs: 8,
        max_pressure: 400,
    };
    Settings { governor: Some(governor), ..settings(parallel) }
}

fn seen(jobs: &[(AttemptId, u64)]) -> Input {
    let usage = Bytes(jobs.iter().map(|(_, mib)| mib * MIB).sum());
    let jobs = jobs.iter().map(|(id, mib)| JobReading { id: *id, memory: Bytes(mib * MIB), cpu: None });
    Input::Sense(Box::new(Reading { usage, charged: usage, jobs: jobs.collect(), ..Reading::default() }))
}

/// As the shell does: nothing starts before the machine was looked at.
fn begin(run: &mut Scheduler) -> Vec<Effect> {
    let mut effects = run.step(ms(0), seen(&[]));
    effects.extend(run.step(ms(0), Input::Begin));
    effects
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn time_stands_still_for_what_is_frozen() {
    let (first, second) = (attempt(0, 1), attempt(1, 1));
    let mut run = Scheduler::new(governed(2), jobs(Some(5 * SECOND), 2));
    begin(&mut run);
    run.step(ms(0), Input::Started(first));
    run.step(ms(0), Input::Started(second));
    run.step(ms(1000), seen(&[(first, 450), (second, 450)]));
    let effects = run.step(ms(1010), seen(&[(first, 452), (second, 485)]));
    assert!(effects.contains(&Effect::Freeze(second)), "{effects:?}");
    assert!(!effects.contains(&Effect::Freeze(first)), "the most senior goes on: {effects:?}");
    assert_eq!(run.next_deadline(), Some(4 * SECOND), "the first one's first look");
    let effects = run.step(ms(2000), ended(first, Exit::Code(0)));
    assert!(!effects.contains(&Effect::Thaw(second)), "nobody has looked yet: {effects:?}");
    let effects = run.step(ms(2010), seen(&[(second, 485)]));
    assert!(effects.contains(&Effect::Thaw(second)), "{effects:?}");
    assert_eq!(run.next_deadline(), Some(5 * SECOND), "given back what it was frozen for");
}

/// Whether one more starts on two processors of which so much is busy.
fn starts_beside(busy: f64) -> bool {
    let mut settings = governed(9);
    settings.governor = settings.governor.map(|law| governor::Settings { cpus: 2, jobs: 2, ..law });
    let mut run = Scheduler::new(settings, jobs(None, 9));
    let ids: Vec<AttemptId> = starts(&begin(&mut run)).iter().map(|start| start.0).collect();
    let busy = busy / ids.len() as f64;
    ids.iter().for_each(|id| _ = run.step(ms(0), Input::Started(*id)));
    let look = |run: &mut Scheduler, second: f64| {
        let cpu = Some(Duration::from_secs_f64(second * busy));
        let job = |id: &AttemptId| JobReading { id: *id, memory: Bytes::mib(10), cpu };
        let jobs = ids.iter().map(job).collect();
        let reading = Reading { usage: Bytes::mib(20), charged: Bytes::mib(20), jobs, ..Reading::default() };
        starts(&run.step(Duration::from_secs_f64(second), Input::Sense(Box::new(reading)))).len()
    };
    assert_eq!(look(&mut run, 1.0), 0, "nothing is measured yet");
    look(&mut run, 2.0) > 0
}

#[test]
fn beyond_the_usual_number_a_job_starts_where_half_of_its_processor_is_free() {
    assert!(starts_beside(1.4));
    assert!(!starts_beside(1.8));
}

#[test]
fn what_is_evicted_goes_first_again_and_is_no_failure() {
    let (first, second) = (attempt(0, 1), attempt(1, 1));
    let mut run = Scheduler::new(governed(2), jobs(None, 3));
    begin(&mut run);
    run.step(ms(0), Input::Started(first));
    run.step(ms(0), Input::Started(second));
    run.step(ms(1000), seen(&[(first, 300), (second, 300)]));
    let mut effects = Vec::new();
    for step in 1..20 {
        effects.extend(run.step(ms(1000 + 10 * step), seen(&[(first, 300 + 34 * step), (second, 330)])));
    }
    assert!(effects.contains(&Effect::Kill(second)), "{effects:?}");
    let effects = run.step(ms(1300), ended(second, Exit::Signal(9)));
    let judged = Judgement { outcome: Outcome::Evicted, cause: Cause::Budget };
    assert!(effects.contains(&Effect::Judged(second, judged, Next::Again)), "{effects:?}");
    let effects = run.step(ms(1400), ended(first, Exit::Code(0)));
    assert_eq!(starts(&effects).first().map(|(id, _)| *id), Some(attempt(1, 2)), "{effects:?}");
    assert_eq!(run.tally().failed, 0);
}

/// A job's time is up, so it has its grace: whatever the memory does, its outcome is a time-out and nothing else.
#[test]
fn what_has_its_grace_is_neither_frozen_nor_evicted() {
    let (first, second) = (attempt(0, 1), attempt(1, 1));
    let mut specs = jobs(None, 2);
    specs[1].timeout = Some(SECOND);
    let mut run = Scheduler::new(governed(2), specs);
    begin(&mut run);
    run.step(ms(0), Input::Started(first));
    run.step(ms(0), Input::Started(second));
    let effects = run.step(ms(1000), seen(&[(first, 300), (second, 300)]));
    assert!(effects.contains(&Effect::Diagnose(second)), "{effects:?}");
    assert!(run.step(ms(1001), Input::Diagnosed(second)).contains(&Effect::Signal(second, SIGTERM)));
    let mut effects = Vec::new();
    for step in 1..20 {
        effects.extend(
            run.step(ms(1000 + 10 * step), seen(&[(first, 300 + 17 * step), (second, 300 + 18 * step)])),
        );
    }
    let touched =
        effects.iter().any(|effect| [Effect::Freeze(second), Effect::Kill(second)].contains(effect));
    assert!(!touched, "{effects:?}");
    let effects = run.step(ms(1300), ended(second, Exit::Signal(15)));
    let judged = Judgement { outcome: Outcome::Timeout, cause: Cause::Own };
    assert!(effects.contains(&Effect::Judged(second, judged, Next::Done(Verdict::Fail))), "{effects:?}");
}

/// By the kernel, since all jobs together had too much; it itself had little of that.
fn killed_at_the_budget() -> Evidence {
    Evidence {
        oom_kill: Some(1),
        oom_own: Some(0),
        oom_budget: Some(1),
        memory_peak: Some(Bytes::mib(80)),
        budget_max: Some(Bytes::mib(700)),
        ..Evidence::default()
    }
}

#[test]
fn what_others_left_in_the_budget_is_not_the_last_ones_mistake() {
    let mut run = Scheduler::new(governed(1), jobs(None, 1));
    begin(&mut run);
    let evidence = killed_at_the_budget();
    let id = attempt(0, 1);
    let end = End { id, exit: Some(Exit::Signal(9)), spawn_error: None, evidence };
    let effects = run.step(SECOND, Input::Ended(Box::new(end)));
    let judged = Judgement { outcome: Outcome::Evicted, cause: Cause::Filled };
    assert!(effects.contains(&Effect::Judged(id, judged, Next::Done(Verdict::Infra))), "{effects:?}");
}

#[test]
fn one_that_ended_by_itself_as_it_was_evicted_has_its_result() {
    let (first, second) = (attempt(0, 1), attempt(1, 1));
    let mut run = Scheduler::new(governed(2), jobs(None, 2));
    begin(&mut run);
    run.step(ms(0), Input::Started(first));
    run.step(ms(0), Input::Started(second));
    run.step(ms(1000), seen(&[(first, 300), (second, 300)]));
    for step in 1..20 {
        run.step(ms(1000 + 10 * step), seen(&[(first, 300 + 34 * step), (second, 330)]));
    }
    run.step(ms(1300), ended(second, Exit::Code(0)));
    assert_eq!((run.tally().passed, run.tally().evictions), (1, 0));
}

#[test]
fn nobody_runs_out_of_time_while_the_machine_is_suspended() {
    let mut run = Scheduler::new(settings(1), jobs(Some(5 * SECOND), 1));
    run.step(ms(0), Input::Begin);
    run.step(ms(0), Input::Started(attempt(0, 1)));
    assert_eq!(run.step(60 * SECOND, Input::Tick), [], "55 seconds too late");
    run.step(64 * SECOND, Input::Tick);
    assert_eq!(run.next_deadline(), Some(65 * SECOND));
    let effects = run.step(65 * SECOND, Input::Tick);
    assert_eq!(effects, [Effect::Diagnose(attempt(0, 1))]);
}

#[test]
fn what_had_ended_by_itself_when_we_came_late_is_no_time_out() {
    let mut run = Scheduler::new(settings(1), jobs(Some(SECOND), 1));
    let id = attempt(0, 1);
    run.step(ms(0), Input::Begin);
    run.step(ms(0), Input::Started(id));
    assert_eq!(run.step(ms(1500), Input::Tick), [Effect::Diagnose(id)]);
    assert_eq!(run.step(ms(1500), Input::WasOver(id)), []);
    run.step(ms(1500), ended(id, Exit::Code(0)));
    assert_eq!(run.tally().passed, 1);
}

/// One job with these settings, started at 0.
fn started(spec: impl Fn(JobSpec) -> JobSpec) -> Scheduler {
    let specs = jobs(None, 1).into_iter().map(spec).collect();
    let mut run = Scheduler::new(Settings { settle_timeout: 10 * SECOND, ..settings(1) }, specs);
    run.step(ms(0), Input::Begin);
    run.step(ms(0), Input::Started(attempt(0, 1)));
    run
}

/// Steps through all that is due until `end`, answering looks for signs of life with `activity`.
fn pass(
    run: &mut Scheduler,
    end: Duration,
    activity: impl Fn(Duration) -> Activity,
) -> Vec<(Duration, Effect)> {
    let mut seen = Vec::new();
    while let Some(now) = run.next_deadline().filter(|due| *due <= end) {
        let mut inputs = vec![Input::Tick];
        while let Some(input) = inputs.pop() {
            for effect in run.step(now, input) {
                match effect {
                    Effect::CheckActivity(id) => inputs.push(Input::Active(id, activity(now))),
                    Effect::Diagnose(id) => {
                        inputs.push(Input::Diagnosed(id));
                        seen.push((now, effect));
                    }
                    _ => seen.push((now, effect)),
                }
            }
        }
    }
    seen
}

#[test]
fn the_slow_are_told_of_once_a_period() {
    let mut run = started(|spec| JobSpec { slow_after: Some(2 * SECOND), ..spec });
    let told = pass(&mut run, 5 * SECOND, |_| Activity::default());
    let slow = |seconds| (seconds * SECOND, Effect::Slow(attempt(0, 1), seconds * SECOND));
    assert_eq!(told, [slow(2), slow(4)]);
}

#[test]
fn one_without_a_sign_of_life_is_ended_after_a_first_look() {
    let mut run = started(|spec| JobSpec { idle_timeout: Some(10 * SECOND), ..spec });
    // It works for five seconds, then hangs; its runtime goes on using a thousandth of a processor.
    let cpu = |now: Duration| now.min(5 * SECOND) + now.mul_f64(0.001);
    let effects = pass(&mut run, 30 * SECOND, |now| Activity { cpu: cpu(now), output: 0 });
    let at =
        |wanted: &Effect| effects.iter().find(|(_, effect)| effect == wanted).map(|(at, _)| at.as_secs_f64());
    let (glance, end) = (at(&Effect::Glance(attempt(0, 1))), at(&Effect::Diagnose(attempt(0, 1))));
    assert!(end.is_some_and(|end| (15.0..=15.5).contains(&end)), "{effects:?}");
    assert!(glance.zip(end).is_some_and(|(glance, end)| end - glance >= 0.9), "{effects:?}");
    let effects = run.step(20 * SECOND, ended(attempt(0, 1), Exit::Signal(15)));
    let judged = Judgement { outcome: Outcome::Timeout, cause: Cause::Idle };
    assert!(
        effects.contains(&Effect::Judged(attempt(0, 1), judged, Next::Done(Verdict::Fail))),
        "{effects:?}"
    );
}

#[test]
fn output_is_a_sign_of_life() {
    let mut run = started(|spec| JobSpec { idle_timeout: Some(10 * SECOND), ..spec });
    let talk = |now: Duration| Activity { cpu: Duration::ZERO, output: now.as_secs() / 5 };
    let effects = pass(&mut run, 60 * SECOND, talk);
    assert!(!effects.iter().any(|(_, effect)| matches!(effect, Effect::Diagnose(_))), "{effects:?}");
}

#[test]
fn the_time_of_the_run_ends_all_at_once_and_starts_nothing_more() {
    let mut run = Scheduler::new(Settings { run_timeout: Some(5 * SECOND), ..settings(2) }, jobs(None, 3));
    run.step(ms(0), Input::Begin);
    let both = [attempt(0, 1), attempt(1, 1)];
    both.iter().for_each(|id| _ = run.step(ms(0), Input::Started(*id)));
    assert_eq!(run.step(4 * SECOND, Input::Tick), both.map(Effect::Glance));
    assert_eq!(run.step(5 * SECOND, Input::Tick), both.map(Effect::Diagnose));
    for id in both {
        assert_eq!(run.step(5 * SECOND, Input::Diagnosed(id)), [Effect::Signal(id, SIGTERM)]);
    }
    run.step(6 * SECOND, ended(attempt(0, 1), Exit::Signal(15)));
    let effects = run.step(6 * SECOND, ended(attempt(1, 1), Exit::Code(0)));
    let judged = Judgement { outcome: Outcome::Timeout, cause: Cause::RunTimeout };
    assert!(
        effects.contains(&Effect::Judged(attempt(1, 1), judged, Next::Done(Verdict::Fail))),
        "{effects:?}"
    );
    assert!(effects.contains(&Effect::Finish));
    assert_eq!(run.tally(), Tally { failed: 2, not_run: 1, ..Tally::default() });
}

fn retrying(count: u32) -> impl Fn(JobSpec) -> JobSpec {
    move |spec| JobSpec { retry: Retry { count, delay: SECOND, ..Retry::NEVER }, ..spec }
}

#[test]
fn a_retry_waits_for_its_delay_and_until_the_last_attempt_is_settled() {
    let mut run = started(retrying(1));
    let effects = run.step(SECOND, ended(attempt(0, 1), Exit::Code(1)));
    let judged = Judgement { outcome: Outcome::Exited, cause: Cause::Own };
    assert_eq!(effects, [Effect::Judged(attempt(0, 1), judged.clone(), Next::Retry(SECOND))]);
    assert_eq!(run.next_deadline(), Some(2 * SECOND));
    assert_eq!(starts(&run.step(2 * SECOND, Input::Tick)), [], "its groups are still there");
    assert_eq!(starts(&run.step(ms(2100), Input::Removed(attempt(0, 1)))), [(attempt(0, 2), 0)]);
    let effects = run.step(3 * SECOND, ended(attempt(0, 2), Exit::Code(0)));
    assert_eq!(effects, [Effect::Judged(attempt(0, 2), judged, Next::Done(Verdict::Flaky)), Effect::Finish]);
    assert_eq!(run.tally(), Tally { passed: 1, flaky: 1, ..Tally::default() });
}

#[test]
fn a_retry_whose_last_attempt_never_settles_starts_all_the_same_and_says_so() {
    let mut run = started(retrying(1));
    run.step(SECOND, ended(attempt(0, 1), Exit::Code(1)));
    assert_eq!(starts(&run.step(2 * SECOND, Input::Tick)), []);
    assert_eq!(run.next_deadline(), Some(12 * SECOND));
    let effects = run.step(12 * SECOND, Input::Tick);
    assert!(effects.contains(&Effect::Unsettled(attempt(0, 2), Unsettled::Groups)), "{effects:?}");
    assert_eq!(starts(&effects), [(attempt(0, 2), 0)]);
}

#[test]
fn a_retry_waits_until_nobody_is_kept_waiting() {
    let mut specs: Vec<JobSpec> = jobs(None, 1).into_iter().map(retrying(1)).collect();
    specs[0].retry.delay = Duration::ZERO;
    let mut run = Scheduler::new(Settings { settle_timeout: 10 * SECOND, ..governed(1) }, specs);
    let stalled = |seconds: u64, stalled: u64| {
        let total = Duration::from_secs(stalled);
        let system = Some(Stall { memory_some: total, memory_full: total, ..Stall::default() });
        let stalls = Stalls { system, ..Stalls::default() };
        (Duration::from_secs(seconds), Input::Sense(Box::new(Reading { stalls, ..Reading::default() })))
    };
    let mut starts_of = |(now, input)| starts(&run.step(now, input));
    assert_eq!(starts_of(stalled(0, 0)), [(attempt(0, 1), 0)]);
    starts_of(stalled(2, 2));
    assert_eq!(starts_of((2 * SECOND, ended(attempt(0, 1), Exit::Code(1)))), []);
    assert_eq!(starts_of((2 * SECOND, Input::Removed(attempt(0, 1)))), [], "memory is waited for");
    assert_eq!(starts_of(stalled(4, 2)), [(attempt(0, 2), 0)], "and now it is not");
}

#[test]
fn a_retry_that_was_ready_waits_again_while_somebody_is_kept_waiting() {
    let mut specs: Vec<JobSpec> = jobs(None, 2).into_iter().map(retrying(1)).collect();
    specs[0].retry.delay = Duration::ZERO;
    let mut run = Scheduler::new(Settings { settle_timeout: 60 * SECOND, ..governed(1) }, specs);
    let stalled = |seconds: u64, stalled: u64| {
        let total = Duration::from_secs(stalled);
        let system = Some(Stall { memory_some: total, memory_full: total, ..Stall::default() });
        let stalls = Stalls { system, ..Stalls::default() };
        (Duration::from_secs(seconds), Input::Sense(Box::new(Reading { stalls, ..Reading::default() })))
    };
    let mut starts_of = |(now, input)| starts(&run.step(now, input));
    assert_eq!(starts_of(stalled(0, 0)), [(attempt(0, 1), 0)]);
    assert_eq!(starts_of((SECOND, ended(attempt(0, 1), Exit::Code(1)))), [(attempt(1, 1), 0)]);
    assert_eq!(starts_of((SECOND, Input::Removed(attempt(0, 1)))), [], "it waits for its turn only");
    starts_of(stalled(2, 0));
    starts_of(stalled(4, 2));
    assert_eq!(starts_of((4 * SECOND, ended(attempt(1, 1), Exit::Code(0)))), [], "now for memory, too");
    assert_eq!(starts_of(stalled(6, 2)), [(attempt(0, 2), 0)]);
}

#[test]
fn a_retry_that_only_waits_for_its_turn_wakes_nobody_and_stops_no_clock() {
    let mut specs: Vec<JobSpec> = jobs(Some(60 * SECOND), 2).into_iter().map(retrying(1)).collect();
    specs[0].retry.delay = Duration::ZERO;
    let mut run = Scheduler::new(Settings { settle_timeout: 10 * SECOND, ..settings(1) }, specs);
    run.step(ms(0), Input::Begin);
    run.step(ms(0), Input::Started(attempt(0, 1)));
    let effects = run.step(SECOND, ended(attempt(0, 1), Exit::Code(1)));
    assert_eq!(starts(&effects), [(attempt(1, 1), 0)], "meanwhile another starts");
    run.step(SECOND, Input::Started(attempt(1, 1)));
    run.step(SECOND, Input::Removed(attempt(0, 1)));
    let effects = pass(&mut run, 100 * SECOND, |_| Activity::default());
    assert!(effects.contains(&(61 * SECOND, Effect::Diagnose(attempt(1, 1)))), "{effects:?}");
}

#[test]
fn what_is_tried_often_enough_has_failed() {
    let mut run = started(retrying(2));
    for number in 1..=2 {
        run.step(number * 10 * SECOND, ended(attempt(0, number), Exit::Code(1)));
        run.step(number * 10 * SECOND, Input::Removed(attempt(0, number)));
        assert_eq!(starts(&run.step(number * 10 * SECOND + SECOND, Input::Tick)).len(), 1);
    }
    let effects = run.step(40 * SECOND, ended(attempt(0, 3), Exit::Code(1)));
    assert!(matches!(effects[0], Effect::Judged(_, _, Next::Done(Verdict::Fail))), "{effects:?}");
    assert_eq!(run.tally(), Tally { failed: 1, ..Tally::default() });
}

#[test]
fn one_that_waits_for_its_retry_when_the_run_ends_has_failed() {
    let mut run = started(retrying(1));
    run.step(SECOND, ended(attempt(0, 1), Exit::Code(1)));
    let effects = run.step(ms(1500), Input::Interrupt(2));
    assert_eq!(effects, [Effect::GivenUp(attempt(0, 1)), Effect::Finish]);
    assert_eq!(run.tally(), Tally { failed: 1, ..Tally::default() });
}

#[test]
fn a_flaky_job_may_be_a_failure() {
    let mut run = started(|spec| JobSpec { flaky_result: FlakyResult::Fail, ..retrying(1)(spec) });
    run.step(SECOND, ended(attempt(0, 1), Exit::Code(1)));
    run.step(SECOND, Input::Removed(attempt(0, 1)));
    run.step(2 * SECOND, Input::Tick);
    run.step(3 * SECOND, ended(attempt(0, 2), Exit::Code(0)));
    assert_eq!(run.tally(), Tally { failed: 1, flaky: 1, ..Tally::default() });
}

#[test]
fn something_left_behind_is_a_failure_where_it_is_said_to_be() {
    let left = || {
        let evidence = Evidence { leaked_count: 1, ..Evidence::default() };
        let id = attempt(0, 1);
        Input::Ended(Box::new(End { id, exit: Some(Exit::Code(0)), spawn_error: None, evidence }))
    };
    let mut run = started(|spec| spec);
    run.step(SECOND, left());
    assert_eq!(run.tally().passed, 1);
    let mut run = started(|spec| JobSpec { leak: LeakPolicy::Fail, ..spec });
    let effects = run.step(SECOND, left());
    assert!(matches!(effects[0], Effect::Judged(_, _, Next::Done(Verdict::Leak))), "{effects:?}");
    let mut run = started(|spec| JobSpec { leak: LeakPolicy::Fail, ..retrying(1)(spec) });
    let effects = run.step(SECOND, left());
    assert!(matches!(effects[0], Effect::Judged(_, _, Next::Retry(_))), "{effects:?}");
}

#[test]
fn those_that_share_a_device_run_one_at_a_time_and_the_others_go_on() {
    let mut specs = jobs(None, 4);
    specs[0].groups = vec![0];
    specs[1].groups = vec![0];
    for governor in [None, governed(3).governor] {
        let settings = Settings { groups: vec![1], governor, ..settings(3) };
        let mut run = Scheduler::new(settings, specs.clone());
        let started = starts(&begin(&mut run));
        assert_eq!(started, [(attempt(0, 1), 0), (attempt(2, 1), 1), (attempt(3, 1), 2)]);
        assert_eq!(starts(&run.step(SECOND, ended(attempt(2, 1), Exit::Code(0)))), []);
        let effects = run.step(SECOND, ended(attempt(0, 1), Exit::Code(0)));
        assert!(
            effects.iter().any(|effect| matches!(effect, Effect::Start(_, places) if places == &[0])),
            "{effects:?}"
        );
    }
}

#[test]
fn a_heavy_one_is_not_overtaken_for_ever() {
    let mut specs = jobs(None, 4);
    specs[1].weight = 2;
    let mut run = Scheduler::new(settings(2), specs);
    assert_eq!(starts(&run.step(ms(0), Input::Begin)), [(attempt(0, 1), 0)]);
    let started = starts(&run.step(SECOND, ended(attempt(0, 1), Exit::Code(0))));
    assert_eq!(started, [(attempt(1, 1), 0)], "alone");
    assert_eq!(starts(&run.step(SECOND, ended(attempt(1, 1), Exit::Code(0)))).len(), 2);
}

/// What a random schedule does to a run.
#[derive(Debug, Clone, Copy)]
enum Happens {
    Ends(i32),
    EndsBySignal,
    Evicted,
    Begins,
    Exits,
    Active(u64),
    Diagnosed,
    WasOver,
    Removed,
    Interrupt,
    KillAll,
    Filled(u64),
    Nothing,
}

fn what_happens() -> impl proptest::strategy::Strategy<Value = (Happens, usize, u64)> {
    use proptest::prelude::*;
    let what = prop_oneof![
        4 => (0..3i32).prop_map(Happens::Ends),
        1 => Just(Happens::EndsBySignal),
        2 => Just(Happens::Evicted),
        3 => Just(Happens::Begins),
        1 => Just(Happens::Exits),
        1 => (0..9u64).prop_map(Happens::Active),
        3 => Just(Happens::Diagnosed),
        1 => Just(Happens::WasOver),
        3 => Just(Happens::Removed),
        1 => Just(Happens::Interrupt),
        1 => Just(Happens::KillAll),
        3 => (50..600u64).prop_map(Happens::Filled),
        4 => Just(Happens::Nothing),
    ];
    (what, 0usize..8, 1u64..1500)
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(500))]

    /// Time-outs, exits, signals, freezes, evictions and retries in any order: never more than the slots and the groups
    /// allow, nothing happens to what is not there, every job ends once, the run finishes.
    #[test]
    fn whatever_happens_every_job_ends_exactly_once(
        parallel in 1usize..5,
        count in 0u32..10,
        retries in 0u32..3,
        with_governor: bool,
        max_fail in proptest::sample::select(vec!["all", "1", "2:wait", "1:immediate", "2:immediate"]),
        run_timeout in proptest::option::of(1u64..60),
        happenings in proptest::collection::vec(what_happens(), 0..200),
    ) {
        let spec = |number: u32, spec: JobSpec| JobSpec {
            idle_timeout: number.is_multiple_of(3).then_some(4 * SECOND),
            slow_after: Some(2 * SECOND),
            retry: Retry { count: retries, delay: ms(300), ..Retry::NEVER },
            weight: 1 + number % 2,
            groups: if number.is_multiple_of(2) { vec![0] } else { vec![] },
            ..spec
        };
        let specs: Vec<JobSpec> =
            jobs(Some(5 * SECOND), count as usize).into_iter().zip(0..).map(|(job, n)| spec(n, job)).collect();
        let base = if with_governor { governed(parallel) } else { settings(parallel) };
        let settings = Settings {
            max_fail: max_fail.parse().unwrap(), groups: vec![2], run_timeout: run_timeout.map(Duration::from_secs),
            settle_timeout: 3 * SECOND, ..base
        };
        let mut run = Scheduler::new(settings, specs);
        let (mut alive, mut gone): (Vec<Attempt>, Vec<AttemptId>) = Default::default();
        let mut verdicts: BTreeMap<JobId, u32> = BTreeMap::new();
        let (mut now, mut finished) = (Duration::ZERO, 0);
        let mut inputs = vec![Input::Begin];
        let mut happenings = happenings.into_iter();
        loop {
            while let Some(input) = inputs.pop() {
                for effect in run.step(now, input) {
                    let of_living = |id: AttemptId| alive.iter().any(|attempt| attempt.id == id);
                    match effect {
                        Effect::Start(attempt, places) => {
                            proptest::prop_assert!(alive.iter().all(|other| other.slot != attempt.slot));
                            proptest::prop_assert!(alive.iter().all(|other| other.id.job != attempt.id.job));
                            proptest::prop_assert_eq!(places.len(), usize::from(attempt.id.job.0 % 2 == 0));
                            alive.push(attempt);
                        }
                        Effect::Judged(id, _, Next::Done(_)) | Effect::GivenUp(id) => {
                            *verdicts.entry(id.job).or_default() += 1;
                        }
                        Effect::Signal(id, _) | Effect::Kill(id) | Effect::Freeze(id) | Effect::Thaw(id)
                        | Effect::Diagnose(id) | Effect::Glance(id) | Effect::Slow(id, _) => {
                            proptest::prop_assert!(of_living(id), "{:?} of what is not there", effect);
                        }
                        Effect::Finish => finished += 1,
                        _ => {}
                    }
                }
                let weight: u32 = alive.iter().map(|attempt| (1 + attempt.id.job.0 % 2).min(parallel as u32)).sum();
                proptest::prop_assert!(weight <= parallel as u32);
                proptest::prop_assert!(alive.iter().filter(|attempt| attempt.id.job.0 % 2 == 0).count() <= 2);
            }
            if finished > 0 {
                break;
            }
            let (what, which, step) = happenings.next().unwrap_or((Happens::Ends(0), 0, 700));
            now += ms(step);
            let living = (!alive.is_empty()).then(|| alive[which % alive.len()].id);
            let mut end = |id: AttemptId| {
                alive.retain(|attempt| attempt.id != id);
                gone.push(id);
                id
            };
            inputs.push(match (what, living) {
                (Happens::Ends(code), Some(id)) => ended(end(id), Exit::Code(code)),
                (Happens::EndsBySignal, Some(id)) => ended(end(id), Exit::Signal(11)),
                (Happens::Evicted, Some(id)) => evicted(end(id)),
                (Happens::Begins, Some(id)) => Input::Started(id),
                (Happens::Active(ticks), Some(id)) => Input::Active(id, Activity { cpu: ms(ticks), output: 0 }),
                (Happens::Diagnosed, Some(id)) => Input::Diagnosed(id),
                (Happens::WasOver, Some(id)) => Input::WasOver(id),
                (Happens::Removed, _) if !gone.is_empty() => Input::Removed(gone[which % gone.len()]),
                (Happens::Filled(mib), _) => {
                    seen(&alive.iter().map(|attempt| (attempt.id, mib)).collect::<Vec<_>>())
                }
                (Happens::Interrupt, _) if which == 0 => Input::Interrupt(2),
                (Happens::KillAll, _) if which == 0 => Input::KillAll,
                (Happens::Exits, Some(id)) => Input::Exited(id),
                _ => Input::Tick,
            });
            // The shell looks when it is asked to.
            if run.next_look().is_some_and(|look| look <= now) {
                inputs.insert(0, seen(&alive.iter().map(|attempt| (attempt.id, 100)).collect::<Vec<_>>()));
            }
        }
        proptest::prop_assert_eq!(finished, 1);
        proptest::prop_assert!(alive.is_empty());
        proptest::prop_assert!(verdicts.values().all(|count| *count == 1), "{:?}", verdicts);
        let tally = run.tally();
        proptest::prop_assert_eq!(verdicts.len() as u64, tally.passed + tally.failed);
        proptest::prop_assert_eq!(verdicts.len() as u64 + tally.not_run, u64::from(count));
    }
}

/// A job that was brought along by the first one.
fn driven(groups: Vec<u32>) -> Input {
    Input::Add(Box::new(JobSpec { driver: Some(JobId(0)), groups, ..jobs(None, 1)[0].clone() }))
}

const DRIVERS_TIME: Duration = Duration::from_secs(60);

/// A driver that runs, of a run with so many places beside it.
fn driver(places: usize) -> Scheduler {
    let governor = Some(governor::Settings {
        budget: Some(Bytes::gib(1)),
        yellow: Bytes(0),
        orange: Bytes(0),
        red: Bytes(0),
        cpus: 1,
        jobs: 1,
        max_pressure: 1000,
    });
    let mut run = Scheduler::new(
        Settings { governor, max_fail: MaxFail::FIRST, ..settings(places + 1) },
        jobs(Some(DRIVERS_TIME), 1),
    );
    run.step(Duration::ZERO, Input::Sense(Box::default()));
    run.step(Duration::ZERO, Input::Begin);
    run.step(Duration::ZERO, Input::Started(attempt(0, 1)));
    run
}

#[test]
fn what_a_driver_brings_along_starts_beside_it_although_there_is_one_place() {
    let mut run = driver(1);
    assert_eq!(starts(&run.step(SECOND, driven(Vec::new()))), [(attempt(1, 1), 1)]);
    assert!(starts(&run.step(SECOND, driven(Vec::new()))).is_empty(), "one rides, the other waits");
    let effects = run.step(2 * SECOND, ended(attempt(1, 1), Exit::Code(0)));
    assert_eq!(starts(&effects), [(attempt(2, 1), 1)]);
}

/// One whose driver goes on only once all that it brings along run.
fn at_once() -> Input {
    let Input::Add(spec) = driven(vec![0]) else { unreachable!() };
    Input::Add(Box::new(JobSpec { at_once: true, weight: 3, ..*spec }))
}

#[test]
fn where_the_driver_waits_for_all_of_them_none_waits_although_there_is_one_place() {
    let mut run = driver(1);
    for job in 1..=4 {
        assert_eq!(starts(&run.step(SECOND, at_once())), [(attempt(job, 1), job + 1)]);
    }
    assert!(starts(&run.step(SECOND, driven(Vec::new()))).is_empty(), "their places are nobody else's");
    // One of them is replaced.
    assert!(starts(&run.step(2 * SECOND, ended(attempt(2, 1), Exit::Signal(9)))).is_empty());
    assert_eq!(starts(&run.step(2 * SECOND, at_once())), [(attempt(6, 1), 3)]);
    for job in [1, 3, 4] {
        assert!(starts(&run.step(3 * SECOND, ended(attempt(job, 1), Exit::Code(0)))).is_empty());
    }
    let effects = run.step(3 * SECOND, ended(attempt(6, 1), Exit::Code(0)));
    assert_eq!(starts(&effects), [(attempt(5, 1), 1)], "the one place is as it was");
}

#[test]
fn who_waits_already_neither_takes_their_place_nor_keeps_them_waiting() {
    for ordinary in [1, 2] {
        let mut run = Scheduler::new(settings(ordinary as usize + 1), jobs(None, 1));
        run.step(Duration::ZERO, Input::Begin);
        // As many as may run beside their driver, and one that waits, and a heavy one.
        (0..=ordinary).for_each(|_| _ = run.step(SECOND, driven(Vec::new())));
        let Input::Add(heavy) = driven(Vec::new()) else { unreachable!() };
        run.step(SECOND, Input::Add(Box::new(JobSpec { weight: 2, ..*heavy })));
        let worker = ordinary + 3;
        let begun = starts(&run.step(SECOND, at_once()));
        assert_eq!(begun.iter().map(|(id, _)| id.job.0).collect::<Vec<_>>(), [worker]);
        let (_, slot) = begun[0];
        assert!(slot > ordinary, "{slot} is an ordinary place");
        // Nor does it leave its own to them.
        let gone = run.step(SECOND, ended(attempt(worker, 1), Exit::Code(0)));
        assert!(starts(&gone).is_empty(), "{gone:?}");
    }
}

#[test]
fn without_a_governor_and_with_a_smaller_jobserver_none_of_them_waits_either() {
    let mut run = Scheduler::new(settings(2), jobs(None, 1));
    run.step(Duration::ZERO, Input::Begin);
    run.step(Duration::ZERO, Input::Places(Some(1)));
    for job in 1..=3 {
        assert_eq!(starts(&run.step(SECOND, at_once())), [(attempt(job, 1), job + 1)]);
    }
}

#[test]
fn a_failure_of_what_was_brought_along_is_the_drivers_affair() {
    let mut run = driver(2);
    run.step(SECOND, driven(Vec::new()));
    run.step(SECOND, ended(attempt(1, 1), Exit::Code(1)));
    assert_eq!(run.closed(), None);
    assert_eq!(starts(&run.step(2 * SECOND, driven(Vec::new()))), [(attempt(2, 1), 1)]);
    run.step(SECOND, ended(attempt(2, 1), Exit::Code(0)));
    assert!(run.step(3 * SECOND, ended(attempt(0, 1), Exit::Code(0))).contains(&Effect::Finish));
    assert_eq!(run.tally(), Tally { passed: 2, failed: 1, ..Tally::default() });
}

#[test]
fn a_driver_for_which_there_is_not_enough_is_not_run_again_for_what_it_brought_along() {
    let pids =
        Evidence { pids_max_events: Some(1), pids_refused_by: Some(Cause::Budget), ..Evidence::default() };
    let memory = killed_at_the_budget();
    for (evidence, outcome) in [(pids, Outcome::Pids), (memory, Outcome::Oom)] {
        let mut run = driver(1);
        run.step(SECOND, driven(Vec::new()));
        run.step(SECOND, Input::Started(attempt(1, 1)));
        let id = attempt(0, 1);
        let end = End { id, exit: Some(Exit::Code(1)), spawn_error: None, evidence };
        let effects = run.step(2 * SECOND, Input::Ended(Box::new(end)));
        let judged = Judgement { outcome, cause: Cause::Budget };
        assert!(effects.contains(&Effect::Judged(id, judged, Next::Done(Verdict::Fail))), "{effects:?}");
    }
}

#[test]
fn with_its_driver_goes_what_it_brought_along() {
    let mut run = driver(1);
    run.step(SECOND, driven(Vec::new()));
    run.step(SECOND, Input::Started(attempt(1, 1)));
    run.step(SECOND, driven(Vec::new()));
    let effects = run.step(2 * SECOND, ended(attempt(0, 1), Exit::Code(0)));
    assert!(
        effects.contains(&Effect::Kill(attempt(1, 1))) && !effects.contains(&Effect::Finish),
        "{effects:?}"
    );
    let effects = run.step(3 * SECOND, ended(attempt(1, 1), Exit::Signal(9)));
    let abandoned = Judgement { outcome: Outcome::Signaled, cause: Cause::Abandoned };
    assert!(
        effects.contains(&Effect::Judged(attempt(1, 1), abandoned, Next::Done(Verdict::Fail))),
        "{effects:?}"
    );
    assert!(effects.contains(&Effect::Finish));
    assert_eq!(run.tally().not_run, 0);
}

/// One that a driver has brought along runs, and the driver's time is up.
fn driver_out_of_time() -> (Scheduler, Duration) {
    let mut run = driver(1);
    run.step(SECOND, driven(Vec::new()));
    run.step(SECOND, Input::Started(attempt(1, 1)));
    let diagnose = Effect::Diagnose(attempt(0, 1));
    loop {
        let (deadline, look) = (run.next_deadline(), run.next_look());
        let now = deadline.into_iter().chain(look).min().unwrap();
        let due = if look == Some(now) { Input::Sense(Box::default()) } else { Input::Tick };
        if run.step(now, due).contains(&diagnose) {
            run.step(now, Input::Diagnosed(attempt(0, 1)));
            return (run, now);
        }
        assert!(now < 2 * DRIVERS_TIME);
    }
}

#[test]
fn what_ends_since_its_drivers_time_is_up_is_told_so() {
    let timeout = Judgement { outcome: Outcome::Signaled, cause: Cause::CommandTimeout };
    let judged = Effect::Judged(attempt(1, 1), timeout, Next::Done(Verdict::Fail));
    let (mut run, late) = driver_out_of_time();
    let effects = run.step(late, ended(attempt(1, 1), Exit::Signal(15)));
    assert!(effects.contains(&judged), "ended by its driver: {effects:?}");
    let (mut run, late) = driver_out_of_time();
    let effects = run.step(late, ended(attempt(0, 1), Exit::Signal(15)));
    assert!(effects.contains(&Effect::Kill(attempt(1, 1))), "{effects:?}");
    let effects = run.step(late, ended(attempt(1, 1), Exit::Signal(9)));
    assert!(effects.contains(&judged), "left by its driver: {effects:?}");
}

#[test]
fn one_that_is_gone_before_its_start_leaves_its_place_to_the_next() {
    let mut run = driver(1);
    for _ in 0..3 {
        run.step(SECOND, driven(Vec::new()));
    }
    assert!(starts(&run.step(SECOND, Input::Gone(JobId(2)))).is_empty());
    let effects = run.step(2 * SECOND, ended(attempt(1, 1), Exit::Code(0)));
    assert_eq!(starts(&effects), [(attempt(3, 1), 1)]);
}

#[test]
fn an_interrupt_is_the_drivers_to_pass_on() {
    let mut run = driver(1);
    run.step(SECOND, driven(Vec::new()));
    run.step(SECOND, Input::Started(attempt(1, 1)));
    let effects = run.step(2 * SECOND, Input::Interrupt(2));
    assert_eq!(effects, [Effect::Signal(attempt(0, 1), 2)]);
    let effects = run.step(4 * SECOND, Input::Tick);
    assert!(effects.contains(&Effect::Kill(attempt(1, 1))), "its grace is over: {effects:?}");
}

#[test]
fn an_end_that_only_the_driver_saw_is_neither_a_pass_nor_a_failure() {
    let mut run = driver(1);
    run.step(SECOND, driven(Vec::new()));
    run.step(SECOND, Input::Started(attempt(1, 1)));
    let id = attempt(1, 1);
    let unseen = End { id, exit: None, spawn_error: None, evidence: Evidence::default() };
    let effects = run.step(2 * SECOND, Input::Ended(Box::new(unseen.clone())));
    let exited = Judgement { outcome: Outcome::Exited, cause: Cause::Own };
    assert!(effects.contains(&Effect::Judged(id, exited, Next::Done(Verdict::Unseen))), "{effects:?}");
    let tally = run.tally();
    assert_eq!((tally.passed, tally.failed, tally.unseen), (0, 0, 1));
    run.step(SECOND, driven(Vec::new()));
    let oom = Evidence { oom_kill: Some(1), oom_own: Some(1), ..Evidence::default() };
    let id = attempt(2, 1);
    let effects = run.step(3 * SECOND, Input::Ended(Box::new(End { id, evidence: oom, ..unseen })));
    let oom = Judgement { outcome: Outcome::Oom, cause: Cause::Own };
    assert!(effects.contains(&Effect::Judged(id, oom, Next::Done(Verdict::Fail))), "{effects:?}");
    run.step(4 * SECOND, ended(attempt(0, 1), Exit::Code(1)));
    let tally = run.tally();
    assert_eq!((tally.passed, tally.failed, tally.unseen), (0, 2, 1), "its driver's end is known");
}

#[test]
fn an_interrupted_end_that_only_the_driver_saw_is_no_failure_either() {
    let mut run = driver(1);
    run.step(SECOND, driven(Vec::new()));
    run.step(SECOND, Input::Started(attempt(1, 1)));
    run.step(2 * SECOND, Input::Interrupt(2));
    let id = attempt(1, 1);
    let unseen = End { id, exit: None, spawn_error: None, evidence: Evidence::default() };
    run.step(2 * SECOND, Input::Ended(Box::new(unseen)));
    assert_eq!((run.tally().failed, run.tally().unseen), (0, 1));
}

#[test]
fn a_group_that_its_driver_has_is_not_waited_for() {
    let mut specs = jobs(None, 1);
    specs[0].groups = vec![0];
    let mut run = Scheduler::new(Settings { groups: vec![1], ..settings(2) }, specs);
    run.step(Duration::ZERO, Input::Begin);
    assert_eq!(starts(&run.step(SECOND, driven(vec![0]))), [(attempt(1, 1), 1)]);
}
