//! A lone run is the law alone: asked directly, as a run without a broker would, it decides the same.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::world::{attempt, client, ms, settings};
use super::*;
use crate::model::governor::Decision;
use crate::policy::governor::{Answer, Ending, JobFacts};
use crate::policy::tuning::CANDIDATES;

#[derive(Debug, Clone)]
struct Job {
    peak: u64,
    lasts: u64,
    declared: bool,
    weight: u32,
    grouped: bool,
}

fn job() -> impl Strategy<Value = Job> {
    (5u64..500, 30u64..1500, any::<bool>(), 1u32..3, prop::bool::weighted(0.2))
        .prop_map(|(peak, lasts, declared, weight, grouped)| Job { peak, lasts, declared, weight, grouped })
}

/// What is decided in one step.
type Decided = (Vec<AttemptId>, Vec<Act>, Vec<Decision>);

/// The law, asked directly, with the claims of one run.
struct Direct {
    governor: Governor,
    jobs: Vec<Job>,
    /// Those that ran before, by their first start; then the others.
    queue: VecDeque<(Option<u32>, AttemptId)>,
    parallel: u32,
    taken: u32,
    group_taken: bool,
    seniority: BTreeMap<JobId, u32>,
}

impl Direct {
    fn start(&mut self, now: Duration) -> Vec<AttemptId> {
        let mut grants = Vec::new();
        if self.queue.is_empty() || self.taken >= self.parallel {
            self.governor.held(None, 0);
            return grants;
        }
        let (mut admission, mut held) = (self.governor.admission(), None);
        let (mut at, mut asked, mut wait) = (0, 0, 0);
        while at < self.queue.len() && asked < CANDIDATES {
            let (seniority, id) = self.queue[at];
            let job = &self.jobs[id.job.0 as usize];
            if job.grouped && self.group_taken {
                (at, wait) = (at + 1, wait + 1);
                continue;
            }
            let weight = job.weight.min(self.parallel);
            if self.taken + weight > self.parallel {
                break;
            }
            asked += 1;
            match self.governor.ask(&mut admission, now, id.job) {
                Answer::Start => {
                    self.governor.started(now, id);
                    self.queue.remove(at);
                    self.taken += weight;
                    self.group_taken |= job.grouped;
                    let rank = self.seniority.len() as u32;
                    let rank = seniority.unwrap_or(rank);
                    self.seniority.insert(id.job, rank);
                    grants.push(id);
                }
                Answer::Wait(hold) => {
                    held = held.or(Some(hold));
                    at += 1;
                }
                Answer::Stop(hold) => {
                    held = held.or(Some(hold));
                    break;
                }
            }
        }
        let free = (self.parallel - self.taken) as usize;
        self.governor.held(held, (self.queue.len() - wait).min(free));
        grants
    }

    fn ended(&mut self, now: Duration, id: AttemptId, ending: Ending, again: bool) {
        self.governor.ended(now, id, ending);
        let job = &self.jobs[id.job.0 as usize];
        self.taken -= job.weight.min(self.parallel);
        self.group_taken &= !job.grouped;
        if again {
            let rank = self.seniority.get(&id.job).copied();
            let before = |(other, _): &&(Option<u32>, AttemptId)| other.is_some() && *other < rank;
            let place = self.queue.iter().take_while(before).count();
            self.queue.insert(place, (rank, AttemptId { number: id.number + 1, ..id }));
        }
    }

    fn settle(&mut self, now: Duration, acts: Vec<Act>) -> Decided {
        let grants = self.start(now);
        (grants, acts, self.governor.decisions(now))
    }
}

fn sort(effects: Vec<Effect>) -> Decided {
    let (mut grants, mut acts, mut decisions) = (Vec::new(), Vec::new(), Vec::new());
    for effect in effects {
        match effect {
            Effect::Grant(_, id) => grants.push(id),
            Effect::Freeze(_, id) => acts.push(Act::Freeze(id)),
            Effect::Thaw(_, id) => acts.push(Act::Thaw(id)),
            Effect::Evict(_, id) => acts.push(Act::Evict(id)),
            Effect::Cap(bytes) => acts.push(Act::Cap(bytes)),
            Effect::Decided(_, decision) => decisions.push(decision),
            Effect::Waits(..) | Effect::Share(..) | Effect::Stands(..) => {}
            Effect::Enforce(..) | Effect::Refuse(..) | Effect::Kill(..) => panic!("{effect:?}"),
        }
    }
    (grants, acts, decisions)
}

/// One that runs: what it has worked, since when, and whether it stands still.
#[derive(Debug)]
struct Running {
    id: AttemptId,
    worked: u64,
    frozen: bool,
}

fn play(jobs: Vec<Job>, parallel: u32, cores: u32, budget: u64, ticks: &[u64]) -> usize {
    let settings = settings(budget, cores);
    let facts = |job: &Job| JobFacts {
        group: u32::from(job.declared),
        memory: job.declared.then_some(Bytes::mib(job.peak)),
        restartable: true,
        weight: job.weight,
    };
    let all: Vec<JobFacts> = jobs.iter().map(facts).collect();
    let mut direct = Direct {
        governor: Governor::new(settings.governor, &all),
        queue: (0..jobs.len() as u32).map(|job| (None, attempt(job, 1))).collect(),
        parallel,
        taken: 0,
        group_taken: false,
        seniority: BTreeMap::new(),
        jobs: jobs.clone(),
    };
    let mut broker = Broker::new(settings);
    let run = client(1);
    let request = |id: AttemptId| {
        let job = &jobs[id.job.0 as usize];
        Request {
            id,
            kin: u64::from(job.declared),
            memory: job.declared.then_some(Bytes::mib(job.peak)),
            restartable: true,
            weight: job.weight,
            groups: if job.grouped { vec![0] } else { Vec::new() },
            token: false,
            driver: None,
            at_once: false,
            about: About::default(),
        }
    };
    let who = Who { groups: vec![1], ..Who::of(UserId(1), parallel) };
    broker.take(ms(0), Input::Hello { client: run, who, instead_of: None });
    (0..jobs.len() as u32)
        .for_each(|job| drop(broker.take(ms(0), Input::Want(run, request(attempt(job, 1))))));
    let (mut now, mut running, mut steps): (_, Vec<Running>, _) = (0, Vec::new(), 0);
    let size = |one: &Running| {
        let job = &jobs[one.id.job.0 as usize];
        Bytes::mib(job.peak * one.worked.min(job.lasts / 2) / (job.lasts / 2).max(1))
    };
    for tick in ticks.iter().cycle().take(600) {
        if running.is_empty() && direct.queue.is_empty() {
            break;
        }
        let at = ms(now);
        let seen = |one: &Running| JobReading { id: one.id, memory: size(one), cpu: None };
        let usage = Bytes(running.iter().map(|one| size(one).0).sum());
        let machine = Reading { usage, charged: usage, available: Some(Bytes::gib(2)), ..Reading::default() };
        let reading = Reading { jobs: running.iter().map(seen).collect(), ..machine.clone() };
        direct.governor.sense(at, &reading);
        let acts = direct.governor.act(at);
        let mut decided = vec![direct.settle(at, acts)];
        let jobs_seen = reading.jobs.iter().map(|seen| (run, *seen)).collect();
        let heard = sort(broker.step(at, Input::Sensed(Box::new(machine), jobs_seen)));
        assert_eq!(heard, decided[0]);
        while let Some((grants, acts, _)) = decided.pop() {
            let mut ends = Vec::new();
            for id in grants {
                running.push(Running { id, worked: 0, frozen: false });
                direct.governor.born(id);
                let mine = direct.settle(at, Vec::new());
                assert_eq!(sort(broker.step(at, Input::Born(run, id))), mine);
                decided.push(mine);
            }
            for act in acts {
                let of = |id: AttemptId| move |one: &&mut Running| one.id == id;
                match act {
                    Act::Freeze(id) => {
                        running.iter_mut().find(of(id)).into_iter().for_each(|one| one.frozen = true)
                    }
                    Act::Thaw(id) => {
                        running.iter_mut().find(of(id)).into_iter().for_each(|one| one.frozen = false)
                    }
                    Act::Evict(id) => ends.push((id, true)),
                    Act::Cap(_) => {}
                }
                if let Act::Freeze(id) = act {
                    let mine = direct.settle(at, Vec::new());
                    assert_eq!(sort(broker.step(at, Input::Frozen(run, id))), mine);
                    decided.push(mine);
                }
            }
            if decided.is_empty() {
                let over = |one: &&Running| one.worked >= jobs[one.id.job.0 as usize].lasts;
                ends.extend(running.iter().filter(over).map(|one| (one.id, false)));
            }
            for (id, evicted) in ends {
                let Some(place) = running.iter().position(|one| one.id == id) else { continue };
                let peak = Some(size(&running.remove(place)));
                let ending = if evicted { Ending::Evicted { peak } } else { Ending::Finished { peak } };
                direct.ended(at, id, ending, evicted);
                let mine = direct.settle(at, Vec::new());
                broker.take(at, Input::Ended { client: run, id, ending, again: evicted });
                if evicted {
                    broker.take(at, Input::Want(run, request(AttemptId { number: id.number + 1, ..id })));
                }
                assert_eq!(sort(broker.decide(at)), mine);
                decided.push(mine);
            }
            steps += 1;
        }
        now += tick;
        running.iter_mut().filter(|one| !one.frozen).for_each(|one| one.worked += tick);
    }
    steps
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_lone_run_is_decided_as_by_the_law_alone(
        jobs in prop::collection::vec(job(), 1..40),
        parallel in 1u32..20,
        cores in 1u32..9,
        budget in 300u64..1500,
        ticks in prop::collection::vec(5u64..60, 1..20),
    ) {
        prop_assert!(play(jobs, parallel, cores, budget, &ticks) > 0);
    }
}
