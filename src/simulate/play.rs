//! A law on a machine, from the first start to the last verdict.

use std::time::Duration;

use super::case::Case;
use super::machine::{Machine, Tolls};
use super::trace::Trace;
use super::watch::{Lines, Seen, Watch};
use crate::model::Verdict;
use crate::policy::scheduler::{Effect, Input, Next, Scheduler};

/// Whatever decides: ours and those of others.
pub trait Law {
    /// Takes in what has happened, and says what to do.
    fn step(&mut self, now: Duration, input: Input) -> Vec<Effect>;
    /// When it wants to look at the machine.
    fn next_look(&self) -> Option<Duration>;
    /// When it wants to be called anyway.
    fn next_deadline(&self) -> Option<Duration> {
        None
    }
    /// Whether it wants a look before it is told of an end.
    fn wants_a_look(&self) -> bool {
        false
    }
}

impl Law for Scheduler {
    fn step(&mut self, now: Duration, input: Input) -> Vec<Effect> {
        Scheduler::step(self, now, input)
    }

    fn next_look(&self) -> Option<Duration> {
        Scheduler::next_look(self)
    }

    fn next_deadline(&self) -> Option<Duration> {
        Scheduler::next_deadline(self)
    }

    fn wants_a_look(&self) -> bool {
        Scheduler::wants_a_look(self)
    }
}

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Outcome {
    /// Seconds from the first start to the last end.
    pub makespan: f64,
    /// Attempts of each job.
    pub attempts: Vec<u32>,
    /// Attempts that ended for a reason not their own.
    pub evictions: u32,
    /// Jobs that did not pass: each of them could have.
    pub lost: u32,
    /// Jobs that have not exactly one verdict.
    pub starved: usize,
    /// Not through when time was up.
    pub stuck: bool,
    /// What the machine suffered.
    pub tolls: Tolls,
    /// What did not hold (only of our own law).
    pub broken: Vec<String>,
    /// Most attempts at once.
    pub concurrency: usize,
    /// Looks at the machine.
    pub looks: u64,
}

impl Outcome {
    /// The most attempts of one job.
    pub fn most_attempts(&self) -> u32 {
        self.attempts.iter().copied().max().unwrap_or(0)
    }
}

/// Plays our own law on the case, for at most so many seconds, and checks at every step that it holds its promises.
pub fn play_ours(case: &Case, limit: f64, trace: Option<&mut Trace>) -> Outcome {
    let mut law = Scheduler::new(case.settings(), case.specs());
    let mut game = Game::new(case, limit, trace);
    game.watch = Some(Watch::default());
    game.play(&mut law)
}

/// Plays any law on the case.
pub fn play(case: &Case, law: &mut dyn Law, limit: f64) -> Outcome {
    Game::new(case, limit, None).play(law)
}

struct Game<'a> {
    case: &'a Case,
    machine: Machine,
    limit: f64,
    outcome: Outcome,
    watch: Option<Watch>,
    trace: Option<&'a mut Trace>,
    finished: bool,
    /// The look that is wanted, and when it will really be.
    look: (Duration, f64),
}

impl<'a> Game<'a> {
    fn new(case: &'a Case, limit: f64, trace: Option<&'a mut Trace>) -> Game<'a> {
        // Ours moves it at the first look; with other laws it stays.
        let room = Some(case.first_room());
        Game {
            case,
            machine: Machine::new(case.hardware.clone(), case.plans.clone(), room, case.seed),
            limit,
            outcome: Outcome { attempts: vec![0; case.plans.len()], ..Outcome::default() },
            watch: None,
            trace,
            finished: false,
            look: (Duration::MAX, f64::INFINITY),
        }
    }

    fn play(mut self, law: &mut dyn Law) -> Outcome {
        self.look_now(law);
        self.tell(law, Input::Begin);
        while !self.finished {
            if self.machine.now() >= self.limit {
                self.outcome.stuck = true;
                break;
            }
            self.go_on(law);
        }
        self.outcome.makespan = self.machine.now();
        self.outcome.tolls = self.machine.tolls;
        if let Some(watch) = self.watch {
            self.outcome.starved = watch.without_one_verdict(self.case.plans.len());
            self.outcome.broken = watch.broken;
        }
        self.outcome
    }

    /// To whatever comes first: something happens, or the law wants to look, or to be called.
    fn go_on(&mut self, law: &mut dyn Law) {
        let look = self.next_look(law);
        let deadline = law.next_deadline().map_or(f64::INFINITY, |at| at.as_secs_f64());
        let until = look.min(deadline).min(self.limit).max(self.machine.now());
        let happened = self.machine.advance(until);
        if happened.is_empty() {
            if look <= until { self.look_now(law) } else { self.tell(law, Input::Tick) }
        }
        for input in happened {
            if matches!(input, Input::Ended(_)) && law.wants_a_look() {
                self.look_now(law);
            }
            self.tell(law, input);
        }
    }

    fn next_look(&mut self, law: &dyn Law) -> f64 {
        let Some(wanted) = law.next_look() else { return f64::INFINITY };
        if self.look.0 != wanted {
            self.look = (wanted, wanted.as_secs_f64() + self.machine.lateness());
        }
        self.look.1
    }

    fn look_now(&mut self, law: &mut dyn Law) {
        self.outcome.looks += 1;
        let reading = self.machine.reading();
        self.tell(law, Input::Sense(Box::new(reading)));
    }

    fn tell(&mut self, law: &mut dyn Law, input: Input) {
        let now = self.machine.now();
        let seen = match &input {
            Input::Sense(reading) if self.watch.is_some() => Some(Seen::of(reading)),
            _ => None,
        };
        let effects = law.step(Duration::from_secs_f64(now), input);
        if let Some(watch) = &mut self.watch {
            let budget = self.case.budget.unwrap_or(f64::INFINITY);
            watch.step(now, seen, &effects, Lines { budget, reserve: self.case.reserve });
        }
        effects.iter().for_each(|effect| self.perform(now, effect));
        if let Some(trace) = &mut self.trace {
            trace.sample(&self.machine);
        }
    }

    fn perform(&mut self, now: f64, effect: &Effect) {
        match effect {
            Effect::Start(attempt, _) => {
                self.outcome.attempts[attempt.id.job.0 as usize] += 1;
                self.machine.start(attempt.id);
                self.outcome.concurrency = self.outcome.concurrency.max(self.machine.count());
            }
            Effect::Freeze(id) => self.machine.freeze(*id),
            Effect::Thaw(id) => self.machine.thaw(*id),
            Effect::Kill(id) | Effect::Signal(id, _) => self.machine.kill(*id),
            Effect::Cap(bytes) => self.machine.set_cap(bytes.0 as f64),
            Effect::Judged(_, _, next) => match next {
                Next::Again => self.outcome.evictions += 1,
                Next::Done(Verdict::Pass) => {}
                Next::Done(_) | Next::Retry(_) => self.outcome.lost += 1,
            },
            Effect::Decided(decision) => {
                if let Some(trace) = &mut self.trace {
                    trace.decided(now, decision);
                }
            }
            Effect::Finish => self.finished = true,
            // Of one that asks another; here each run has a broker of its own.
            Effect::Tell(_) | Effect::Alone(_) => {}
            Effect::Prepare(_)
            | Effect::Unsettled(..)
            | Effect::Slow(..)
            | Effect::CheckActivity(_)
            | Effect::Glance(_)
            | Effect::Diagnose(_)
            | Effect::GivenUp(_) => {}
        }
    }
}
