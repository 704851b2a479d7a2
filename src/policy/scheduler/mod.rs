//! Which attempt starts, is stopped or killed now.
//!
//! Pure: `step(now, input)` returns what to do; the shell does it and reports back. `next_deadline` says when it
//! wants to be called again if nothing happens before.
//!
//! ```text
//! job:  waiting ──▶ running ──▶ done
//!          ▲           │ ended for a reason not its own (evicted, budget full, killed from outside)
//!          ├───────────┤ before all that have not started yet
//!          │           │ failed, and may be tried again
//!          └─ settling ┘
//! ```
//!
//! - [`messages`]: what goes in, and what comes out
//! - [`starts`], [`stops`], [`ends`]: who starts now, who is told to end, and what an end means
//! - [`attempt`]: one that runs: its clocks, and how it comes to its end
//! - [`queue`]: those that wait
//! - [`claims`]: slots, weights and groups
//! - [`retry`]: whether a failure is tried again, and when
//! - [`tokens`]: places for processes more in the jobs that run, as make's jobserver gives them
//! - [`driven`]: jobs that a job of the run brings along in mid-run
//! - [`permits`], [`orders`]: who is asked which of the waiting start, and what is done about what it says
//!
//! With a governor, which of the waiting start, and what is frozen or evicted, is its say: it is asked through a broker
//! ([`super::broker`]), the run's own or one for many runs. Time stands still for what is frozen. Without a governor, a
//! job that was ended for a reason not its own runs alone next time.

mod attempt;
mod claims;
mod driven;
mod ends;
mod messages;
mod orders;
mod permits;
mod queue;
mod retry;
mod starts;
mod stops;
#[cfg(test)]
mod tests;
mod tokens;

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::tuning::SUSPENDED;
use crate::model::governor::Governed;
use crate::model::{AttemptId, Cause, JobId};
pub use attempt::Activity;
use attempt::{Clocks, Phase, Running};
use claims::Claims;
pub use messages::{Effect, End, Input, JobSpec, Next, Settings, Tally};
pub use permits::{Heard, Ran, Said, Served};
use permits::{Lone, Permits, Remote};
use queue::Waiting;
use stops::RunClock;
use tokens::Tokens;

/// The run's state machine.
#[derive(Debug)]
pub struct Scheduler {
    settings: Settings,
    jobs: Vec<JobSpec>,
    /// `None`: `--governor off`.
    permits: Option<Box<dyn Permits>>,
    queue: VecDeque<Waiting>,
    running: Vec<Running>,
    /// Prepared and not yet started.
    prepared: BTreeSet<AttemptId>,
    claims: Claims,
    /// `None` without `--jobserver`.
    tokens: Option<Tokens>,
    /// Whether all that wait were asked for, but for those that had an attempt: these are looked at in each step.
    asked: bool,
    run_clock: RunClock,
    /// Why nothing starts any more: too many failures, the run's time is up, or an interrupt.
    closed: Option<Cause>,
    interrupted: bool,
    finished: bool,
    tally: Tally,
    /// Jobs of the list that did not pass: those that were brought along are their driver's affair.
    failures: u64,
    /// Whether a job has brought others along.
    drives: bool,
    /// So much weight may run, as somebody else says.
    allowed: Option<u32>,
    /// Jobs that have started at least once.
    first_starts: u32,
    /// When the last step was, or the one is that is being taken.
    stepped: Duration,
}

impl Scheduler {
    /// A run of these jobs, in this order.
    pub fn new(settings: Settings, jobs: Vec<JobSpec>) -> Scheduler {
        let claims = Claims::new(settings.parallel, &settings.groups);
        let (parallel, groups) = claims.limits();
        let permits = settings.governor.map(|law| match settings.served {
            Some(served) => Box::new(Remote::new(served, law, parallel, groups)) as Box<dyn Permits>,
            None => Box::new(Lone::new(law, parallel, groups)),
        });
        Scheduler {
            queue: (0..jobs.len() as u32).map(|job| Waiting::first(JobId(job))).collect(),
            permits,
            running: Vec::new(),
            prepared: BTreeSet::new(),
            claims,
            tokens: settings.tokens.map(Tokens::new),
            asked: false,
            run_clock: RunClock::of(settings.run_timeout),
            closed: None,
            interrupted: false,
            finished: false,
            tally: Tally::default(),
            failures: 0,
            drives: false,
            allowed: None,
            first_starts: 0,
            stepped: Duration::ZERO,
            settings,
            jobs,
        }
    }

    /// How many jobs came to what until now.
    pub fn tally(&self) -> Tally {
        Tally { not_run: self.queue.len() as u64, ..self.tally }
    }

    /// When to call `step` with [`Input::Tick`] if nothing happens before.
    pub fn next_deadline(&self) -> Option<Duration> {
        let of_running = self.running.iter().filter_map(Running::next_deadline);
        let settling = queue::begun(&self.queue).filter_map(|waiting| waiting.settling);
        let of_retries =
            settling.filter(|_| self.closed.is_none()).filter_map(|settling| settling.next(self.stepped));
        let of_permits = self.permits.as_ref().and_then(|permits| permits.next_deadline());
        let of_run = [self.run_clock.next(), self.patience()].into_iter().flatten();
        of_running.chain(of_retries).chain(of_run).chain(of_permits).min()
    }

    /// When to call `step` with [`Input::Sense`], if the governor wants to look at all.
    pub fn next_look(&self) -> Option<Duration> {
        let settling =
            self.closed.is_none() && queue::begun(&self.queue).any(|waiting| waiting.settling.is_some());
        self.permits.as_ref()?.next_look(settling)
    }

    /// Whether a look is wanted before an end is told: the ceiling is near, and what has come free counts.
    pub fn wants_a_look(&self) -> bool {
        self.permits.as_ref().is_some_and(|permits| permits.wants_a_look())
    }

    /// Whether it matters how busy the processors are: more than the usual number may run, and someone waits.
    pub fn wants_processor_time(&self) -> bool {
        let usual = self.settings.governor.map_or(u32::MAX, |governor| governor.jobs);
        self.settings.parallel > usual as usize && !self.queue.is_empty()
    }

    /// Weight that is in use, tokens of make's jobserver among it, and how much would be if more might.
    pub fn places(&self) -> (u32, u32) {
        let most = u32::try_from(self.settings.parallel).unwrap_or(u32::MAX);
        let tokens = self.tokens.as_ref().map_or(0, Tokens::wanted);
        let uses = self.claims.in_use();
        let mut would_use = uses.saturating_add(tokens);
        for waiting in self.queue.iter().filter(|_| self.closed.is_none()) {
            if would_use >= most {
                break;
            }
            would_use = would_use.saturating_add(self.jobs[waiting.id.job.0 as usize].weight.max(1));
        }
        // One that was brought along rides in the place of its driver.
        let rides = u32::from(self.drives && uses > 1);
        (uses - rides, would_use.min(most) - rides)
    }

    /// What the governor came to.
    pub fn governed(&self, now: Duration) -> Option<Governed> {
        self.permits.as_ref()?.governed(now)
    }

    /// Why nothing was started any more, if that is so.
    pub fn closed(&self) -> Option<Cause> {
        self.closed
    }

    /// Whether someone asked for the end.
    pub fn interrupted(&self) -> bool {
        self.interrupted
    }

    /// Takes in what has happened at `now` (time since the run began, without pauses) and says what to do.
    pub fn step(&mut self, now: Duration, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        let mut judged = None;
        self.forgive_a_gap(now);
        match input {
            Input::Begin | Input::Tick => {}
            Input::Add(spec) => self.add(*spec),
            Input::Gone(job) => self.forget(job),
            Input::Started(id) => self.started(now, id, &mut effects),
            Input::Exited(id) => self.exited(now, id, &mut effects),
            Input::Ended(end) => judged = self.ended(now, &end, &mut effects),
            Input::Removed(id) => self.removed(id),
            Input::Active(id, seen) => self.active(now, id, seen, &mut effects),
            Input::Diagnosed(id) => self.diagnosed(now, id, &mut effects),
            Input::WasOver(id) => self.was_over(id),
            Input::Interrupt(signal) => self.interrupt(now, signal, &mut effects),
            Input::KillAll => self.kill_all(&mut effects),
            Input::Sense(reading) => self.sense(now, reading, &mut effects),
            Input::Heard(heard) => self.arrive(now, heard, &mut effects),
            Input::Tokens(seen) => self.see_tokens(now, &seen),
            Input::TookTokens(id, count) => self.took_tokens(id, count),
            Input::Places(most) => self.allow(most),
        }
        self.expire(now, &mut effects);
        self.settle_tokens(now, &mut effects);
        self.start(now, &mut effects);
        let said = self.permits.as_mut().map(|permits| permits.say()).unwrap_or_default();
        effects.extend(said.into_iter().map(Effect::Tell));
        // After the starts: what begins now need not wait for the report of what has ended.
        effects.extend(judged);
        if self.running.is_empty() && !self.can_go_on() && !self.finished {
            self.finished = true;
            self.give_up(&mut effects);
            effects.push(Effect::Finish);
        }
        effects
    }

    /// Whether anything of what waits could start, now or later: not if what it needs is held by something that can't be
    /// killed.
    fn can_go_on(&self) -> bool {
        let may_start = |next: &Waiting| self.claims.are_to_be_had(&self.jobs[next.id.job.0 as usize].groups);
        self.closed.is_none() && self.queue.iter().any(may_start)
    }

    /// So much weight may run from now on; `None` for as much as ever.
    fn allow(&mut self, most: Option<u32>) {
        self.allowed = most;
        self.claims.allow(most.map(|most| most.saturating_add(u32::from(self.drives))));
        self.tell_limits();
    }

    /// What may run at once is not what it was.
    fn tell_limits(&mut self) {
        let (parallel, groups) = self.claims.limits();
        self.tell(Said::Limits(parallel, groups));
    }

    /// From now on nothing starts. The first reason counts.
    fn close(&mut self, why: Cause) {
        self.closed.get_or_insert(why);
    }

    fn started(&mut self, now: Duration, id: AttemptId, effects: &mut Vec<Effect>) {
        self.tell(Said::Born(id));
        let spec = &self.jobs[id.job.0 as usize];
        let Some(running) = self.running.iter_mut().find(|running| running.waiting.id == id) else { return };
        running.setup = Some(now.saturating_sub(running.launched));
        match running.phase {
            Phase::Starting { .. } => {
                running.phase = Phase::Running { deadline: spec.timeout.map(|timeout| now + timeout) };
                running.clocks = Clocks::start(now, spec);
                if let Some(frozen_at) = &mut running.frozen_at {
                    // The order came before there was anything to freeze.
                    *frozen_at = now;
                    effects.push(Effect::Freeze(id));
                }
            }
            // The order to stop came while it was being born, so its signal met nobody.
            Phase::Stopping { why, signal, .. } => {
                running.phase = Phase::Stopping { why, signal, kill_at: now + spec.grace };
                effects.push(Effect::Signal(id, signal));
            }
            Phase::Killed { .. } => effects.push(Effect::Kill(id)),
            Phase::Running { .. } | Phase::Exited | Phase::Diagnosing { .. } => {}
        }
    }

    fn exited(&mut self, now: Duration, id: AttemptId, effects: &mut Vec<Effect>) {
        self.thaw(now, id, effects);
        let Some(running) = self.find(id) else { return };
        if let Phase::Starting { .. } | Phase::Running { .. } = running.phase {
            running.phase = Phase::Exited;
            // To freeze or evict what goes anyway would make another end of it.
            self.tell(Said::Stopping(id));
        }
    }

    /// A gap in which nobody called although it was time to: the machine was suspended, or sandtest stopped. Nobody's
    /// time runs out by it.
    fn forgive_a_gap(&mut self, now: Duration) {
        let due = [self.next_deadline(), self.next_look()].into_iter().flatten().min();
        if due.is_some_and(|due| now.saturating_sub(due) > SUSPENDED) {
            let gap = now.saturating_sub(self.stepped);
            for running in &mut self.running {
                running.put_off(gap);
                running.frozen_at = running.frozen_at.map(|at| at + gap);
            }
            for settling in self.queue.iter_mut().filter_map(|waiting| waiting.settling.as_mut()) {
                settling.put_off(gap);
            }
            self.run_clock.put_off(gap);
            self.stepped = now;
            self.tell(Said::Gap(gap));
        }
        self.stepped = now;
    }

    fn find(&mut self, id: AttemptId) -> Option<&mut Running> {
        self.running.iter_mut().find(|running| running.waiting.id == id)
    }
}
