use std::collections::BTreeMap;

use super::super::*;
use crate::model::reading::{JobReading, Reading};
use crate::model::{Bytes, Evidence, Exit};
use crate::policy::governor::{self, JobFacts};

const SECOND: Duration = Duration::from_secs(1);

/// A run of builds, and fifos that are as the run was told to make them.
struct Builds {
    run: Scheduler,
    now: Duration,
    /// What lies in each fifo, and what its build holds.
    fifos: BTreeMap<AttemptId, (u32, u32)>,
    running: BTreeSet<AttemptId>,
}

fn attempt(job: u32) -> AttemptId {
    AttemptId { job: JobId(job), number: 1 }
}

impl Builds {
    fn new(jobs: usize, parallel: u32, governed: bool) -> Builds {
        let line = Bytes::mib(16);
        let law = governor::Settings {
            budget: Some(Bytes::mib(1000)),
            yellow: line,
            orange: line,
            red: line,
            cpus: parallel,
            jobs: parallel,
            max_pressure: 300,
        };
        let settings = Settings {
            governor: governed.then_some(law),
            tokens: Some(parallel - 1),
            ..Settings::of(parallel as usize)
        };
        let facts = JobFacts { group: 0, memory: Some(Bytes::mib(100)), restartable: true, weight: 1 };
        let run = Scheduler::new(settings, vec![JobSpec::of(facts); jobs]);
        let mut builds =
            Builds { run, now: Duration::ZERO, fifos: BTreeMap::new(), running: BTreeSet::new() };
        builds.hold(0);
        builds.step(Input::Begin);
        builds
    }

    /// All jobs together hold so much.
    fn hold(&mut self, mib: u64) {
        let each = mib / self.running.len().max(1) as u64;
        let jobs = self.running.iter();
        let jobs = jobs.map(|id| JobReading { id: *id, memory: Bytes::mib(each), cpu: None }).collect();
        let (usage, available) = (Bytes::mib(mib), Some(Bytes::gib(8)));
        self.step(Input::Sense(Box::new(Reading {
            usage,
            charged: usage,
            available,
            jobs,
            ..Reading::default()
        })));
    }

    fn step(&mut self, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            for effect in self.run.step(self.now, input) {
                match effect {
                    Effect::Start(attempt, _) => {
                        self.running.insert(attempt.id);
                        inputs.push(Input::Started(attempt.id));
                    }
                    Effect::PutToken(id) => self.fifos.entry(id).or_default().0 += 1,
                    Effect::TakeTokens(id, count) => {
                        let lying = &mut self.fifos.entry(id).or_default().0;
                        let took = count.min(*lying);
                        *lying -= took;
                        inputs.push(Input::TookTokens(id, took));
                    }
                    _ => {}
                }
            }
        }
        // However it is asked for: what runs and what builds hold is never more than may be.
        let in_use: u32 = self.fifos.values().map(|(lying, held)| lying + held).sum();
        assert!(self.running.len() as u32 + in_use <= self.run.settings.parallel as u32, "{:?}", self.fifos);
    }

    /// A build wants to hold so many; then it is looked.
    fn want(&mut self, job: u32, tokens: u32) {
        self.now += Duration::from_millis(10);
        let (lying, held) = self.fifos.entry(attempt(job)).or_default();
        let all = *lying + *held;
        (*lying, *held) = (all - all.min(tokens), all.min(tokens));
        let seen = self.fifos.iter().map(|(id, (lying, _))| (*id, *lying)).collect();
        self.step(Input::Tokens(seen));
    }

    fn held(&self, job: u32) -> u32 {
        self.fifos.get(&attempt(job)).map_or(0, |fifo| fifo.1)
    }

    fn lying(&self, job: u32) -> u32 {
        self.fifos.get(&attempt(job)).map_or(0, |fifo| fifo.0)
    }

    fn end(&mut self, job: u32) {
        let (id, exit) = (attempt(job), Some(Exit::Code(0)));
        self.running.remove(&id);
        self.fifos.remove(&id);
        self.step(Input::Ended(Box::new(End { id, exit, spawn_error: None, evidence: Evidence::default() })));
    }
}

#[test]
fn a_build_that_takes_all_has_all_places_after_a_few_looks() {
    for governed in [true, false] {
        let mut builds = Builds::new(1, 8, governed);
        let looks: Vec<u32> = (0..5)
            .map(|_| {
                builds.want(0, 100);
                builds.held(0)
            })
            .collect();
        assert_eq!(looks, [1, 3, 7, 7, 7], "governed: {governed}");
    }
}

#[test]
fn a_build_that_gives_them_back_between_two_commands_finds_them_again_and_an_idle_one_does_not() {
    let mut builds = Builds::new(1, 8, true);
    (0..4).for_each(|_| builds.want(0, 7));
    builds.want(0, 0);
    assert_eq!(builds.lying(0), 7);
    builds.now += SECOND;
    builds.want(0, 0);
    assert_eq!(builds.lying(0), 1, "one shows whether it wants more");
}

#[test]
fn a_job_that_waits_for_a_place_goes_first() {
    let mut builds = Builds::new(3, 2, true);
    assert_eq!((builds.running.len(), builds.lying(0) + builds.lying(1)), (2, 0));
    builds.end(0);
    builds.want(2, 1);
    assert_eq!((builds.running.len(), builds.held(2)), (2, 0));
    builds.end(1);
    // The last one has the place of the one that has ended.
    builds.want(2, 1);
    builds.want(2, 1);
    assert_eq!(builds.held(2), 1);
}

#[test]
fn with_the_end_of_an_attempt_its_tokens_are_back_whoever_held_them() {
    let mut builds = Builds::new(2, 5, true);
    (0..4).for_each(|_| builds.want(0, 3));
    assert_eq!((builds.held(0), builds.lying(1)), (2, 1), "one shows whether the other wants any");
    builds.end(0);
    (0..4).for_each(|_| builds.want(1, 4));
    assert_eq!(builds.held(1), 4);
    builds.end(1);
    assert!(builds.run.tokens.as_ref().unwrap().pools.is_empty());
    assert_eq!(builds.run.tokens.as_ref().unwrap().free.len(), 4);
}

#[test]
fn under_pressure_none_is_put_and_those_that_come_back_are_kept() {
    let mut builds = Builds::new(2, 8, true);
    (0..3).for_each(|_| builds.want(0, 3));
    assert_eq!(builds.held(0), 3);
    // One of the two grows beyond what there is, so that one is frozen.
    for mib in [200, 600, 900, 960] {
        builds.now += Duration::from_millis(100);
        builds.hold(mib);
    }
    assert_eq!(builds.lying(0), 0, "{:?}", builds.fifos);
    builds.want(0, 1);
    assert_eq!((builds.held(0), builds.lying(0)), (1, 0), "two came back and are kept");
    // When it is over there are some again.
    for _ in 0..30 {
        builds.now += Duration::from_millis(100);
        builds.hold(100);
        builds.want(0, 3);
    }
    assert_eq!(builds.held(0), 3);
}

#[test]
fn what_an_outer_jobserver_allows_is_for_jobs_and_tokens_together() {
    let mut builds = Builds::new(1, 8, true);
    builds.step(Input::Places(Some(3)));
    (0..4).for_each(|_| builds.want(0, 100));
    assert_eq!(builds.held(0), 2);
    builds.step(Input::Places(None));
    (0..4).for_each(|_| builds.want(0, 100));
    assert_eq!(builds.held(0), 7);
}
