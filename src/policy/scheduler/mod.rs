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
//!
//! With a governor, which of the waiting start, and what is frozen or evicted, is its say ([`super::governor`]);
//! time stands still for what is frozen. Without one, a job that was ended for a reason not its own runs alone
//! next time.

mod attempt;
mod claims;
mod ends;
mod messages;
mod queue;
mod retry;
mod starts;
mod stops;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::governor::{Act, Governor, JobFacts};
use super::tuning::SUSPENDED;
use super::verdict::Ended;
use crate::model::governor::Governed;
use crate::model::reading::Reading;
use crate::model::{AttemptId, Cause, JobId};
pub use attempt::Activity;
use attempt::{Clocks, Phase, Running};
use claims::Claims;
pub use messages::{Effect, End, Input, JobSpec, Next, Settings, Tally};
use queue::Waiting;
use stops::RunClock;

/// The run's state machine.
#[derive(Debug)]
pub struct Scheduler {
    settings: Settings,
    jobs: Vec<JobSpec>,
    governor: Option<Governor>,
    queue: VecDeque<Waiting>,
    running: Vec<Running>,
    /// Prepared and not yet started.
    prepared: BTreeSet<AttemptId>,
    claims: Claims,
    run_clock: RunClock,
    /// Why nothing starts any more: too many failures, the run's time is up, or an interrupt.
    closed: Option<Cause>,
    interrupted: bool,
    finished: bool,
    tally: Tally,
    /// Jobs that have started at least once.
    first_starts: u32,
    /// When the last step was.
    stepped: Duration,
}

impl Scheduler {
    /// A run of these jobs, in this order.
    pub fn new(settings: Settings, jobs: Vec<JobSpec>) -> Scheduler {
        let facts: Vec<JobFacts> = jobs.iter().map(|job| job.facts).collect();
        Scheduler {
            queue: (0..jobs.len() as u32).map(|job| Waiting::first(JobId(job))).collect(),
            governor: settings.governor.map(|settings| Governor::new(settings, &facts)),
            running: Vec::new(),
            prepared: BTreeSet::new(),
            claims: Claims::new(settings.parallel, &settings.groups),
            run_clock: RunClock::of(settings.run_timeout),
            closed: None,
            interrupted: false,
            finished: false,
            tally: Tally::default(),
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
        of_running.chain(of_retries).chain(self.run_clock.next()).min()
    }

    /// When to call `step` with [`Input::Sense`], if the governor wants to look at all.
    pub fn next_look(&self) -> Option<Duration> {
        let settling =
            self.closed.is_none() && queue::begun(&self.queue).any(|waiting| waiting.settling.is_some());
        self.governor.as_ref()?.next_look(settling)
    }

    /// Whether a look is wanted before an end is told: the ceiling is near, and what has come free counts.
    pub fn wants_a_look(&self) -> bool {
        self.governor.as_ref().is_some_and(Governor::is_near)
    }

    /// Whether it matters how busy the processors are: more than the usual number may run, and someone waits.
    pub fn wants_processor_time(&self) -> bool {
        let usual = self.settings.governor.map_or(u32::MAX, |governor| governor.jobs);
        self.settings.parallel > usual as usize && !self.queue.is_empty()
    }

    /// What the governor came to.
    pub fn governed(&self, now: Duration) -> Option<Governed> {
        Some(self.governor.as_ref()?.summary(now))
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
            Input::Started(id) => self.started(now, id, &mut effects),
            Input::Exited(id) => self.exited(now, id, &mut effects),
            Input::Ended(end) => judged = self.ended(now, &end, &mut effects),
            Input::Removed(id) => self.removed(id),
            Input::Active(id, seen) => self.active(now, id, seen, &mut effects),
            Input::Diagnosed(id) => self.diagnosed(now, id, &mut effects),
            Input::WasOver(id) => self.was_over(id),
            Input::Interrupt(signal) => self.interrupt(now, signal, &mut effects),
            Input::KillAll => self.kill_all(&mut effects),
            Input::Sense(reading) => self.govern(now, &reading, &mut effects),
        }
        self.expire(now, &mut effects);
        self.start(now, &mut effects);
        self.prepare(now, &mut effects);
        if let Some(governor) = &mut self.governor {
            effects.extend(governor.decisions(now).into_iter().map(Effect::Decided));
        }
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

    /// From now on nothing starts. The first reason counts.
    fn close(&mut self, why: Cause) {
        self.closed.get_or_insert(why);
    }

    fn started(&mut self, now: Duration, id: AttemptId, effects: &mut Vec<Effect>) {
        if let Some(governor) = &mut self.governor {
            governor.born(id);
        }
        let spec = &self.jobs[id.job.0 as usize];
        let Some(running) = self.running.iter_mut().find(|running| running.waiting.id == id) else { return };
        match running.phase {
            Phase::Starting { .. } => {
                running.phase = Phase::Running { deadline: spec.timeout.map(|timeout| now + timeout) };
                running.clocks = Clocks::start(now, spec);
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
            if let Some(governor) = &mut self.governor {
                governor.stopping(now, id);
            }
        }
    }

    /// Lets the governor look, and does what it decides about those that run.
    fn govern(&mut self, now: Duration, reading: &Reading, effects: &mut Vec<Effect>) {
        let Some(governor) = &mut self.governor else { return };
        governor.sense(now, reading);
        for act in governor.act(now) {
            match act {
                Act::Freeze(id) => {
                    if let Some(running) = self.find(id) {
                        running.frozen_at = Some(now);
                    }
                    effects.push(Effect::Freeze(id));
                }
                Act::Thaw(id) => self.thaw(now, id, effects),
                Act::Evict(id) => {
                    if let Some(running) = self.find(id) {
                        running.phase = Phase::Killed { why: Ended::Evicted };
                    }
                    effects.push(Effect::Kill(id));
                }
                Act::Cap(bytes) => effects.push(Effect::Cap(bytes)),
            }
        }
    }

    /// What was frozen has its time given back.
    fn thaw(&mut self, now: Duration, id: AttemptId, effects: &mut Vec<Effect>) {
        let Some(running) = self.find(id) else { return };
        let Some(since) = running.frozen_at.take() else { return };
        running.put_off(now.saturating_sub(since));
        effects.push(Effect::Thaw(id));
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
            if let Some(governor) = &mut self.governor {
                governor.forgive(gap);
            }
        }
        self.stepped = now;
    }

    fn find(&mut self, id: AttemptId) -> Option<&mut Running> {
        self.running.iter_mut().find(|running| running.waiting.id == id)
    }
}
