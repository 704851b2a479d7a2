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
mod queue;
mod retry;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::governor::{self, Act, Answer, Ending, Governor, JobFacts};
use super::tuning::{
    CANDIDATES, DIAGNOSIS_PATIENCE, GLANCE_BEFORE, GROUPS_AHEAD, MAX_EVICTIONS, MAX_FROM_OUTSIDE,
    START_PATIENCE, SUSPENDED,
};
use super::verdict::{self, Ended, Judgement};
use crate::model::event::SpawnError;
use crate::model::governor::{Decision, Governed};
use crate::model::reading::Reading;
use crate::model::retry::{FlakyResult, LeakPolicy, Retry};
use crate::model::{Attempt, AttemptId, Bytes, Cause, Evidence, Exit, JobId, Outcome, Verdict};
pub use attempt::Activity;
use attempt::{Clocks, Due, Phase, Running};
use claims::{Claims, Lack};
use queue::Waiting;
use retry::Settling;

/// How a run is scheduled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Attempts at once, at least 1.
    pub parallel: usize,
    /// Whether a failure stops what has not begun.
    pub fail_fast: bool,
    /// How long the whole run may take.
    pub run_timeout: Option<Duration>,
    /// How long a retry waits at most for its last attempt to be settled.
    pub settle_timeout: Duration,
    /// How many jobs may have each group at once.
    pub groups: Vec<u32>,
    /// For the jitter of retries.
    pub seed: u64,
    /// `None`: `--governor off`.
    pub governor: Option<governor::Settings>,
}

impl Settings {
    /// Of a run of which nothing else is said.
    pub fn of(parallel: usize) -> Settings {
        Settings {
            parallel,
            fail_fast: false,
            run_timeout: None,
            settle_timeout: Duration::ZERO,
            groups: Vec::new(),
            seed: 0,
            governor: None,
        }
    }
}

/// What is known of a job beforehand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSpec {
    /// How long an attempt may run, without the time in which it is frozen.
    pub timeout: Option<Duration>,
    /// It is told of once in each such period that it runs.
    pub slow_after: Option<Duration>,
    /// How long it may show no sign of life.
    pub idle_timeout: Option<Duration>,
    /// How long the command may take that looks at it when its time is up; zero for none.
    pub on_timeout: Duration,
    /// Between the stop signal and the kill.
    pub grace: Duration,
    /// How a failure is tried again.
    pub retry: Retry,
    /// What it counts as if it failed and then passed.
    pub flaky_result: FlakyResult,
    /// What is made of things that it leaves behind.
    pub leak: LeakPolicy,
    /// For how many of those that may run at once it counts.
    pub weight: u32,
    /// Numbers of the groups that it takes one of each.
    pub groups: Vec<u32>,
    /// For the governor.
    pub facts: JobFacts,
}

impl JobSpec {
    /// Of a job of which nothing else is said: no end, one try.
    pub fn of(facts: JobFacts) -> JobSpec {
        JobSpec {
            timeout: None,
            slow_after: None,
            idle_timeout: None,
            on_timeout: Duration::ZERO,
            grace: Duration::from_secs(2),
            retry: Retry::NEVER,
            flaky_result: FlakyResult::Pass,
            leak: LeakPolicy::Warn,
            weight: 1,
            groups: Vec::new(),
            facts,
        }
    }
}

/// What has happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Input {
    /// The run may begin.
    Begin,
    /// An attempt's process has exec'd; its time runs anew from now.
    Started(AttemptId),
    /// An attempt has ended, and its groups are empty.
    Ended(Box<End>),
    /// The groups of an attempt that has ended are removed.
    Removed(AttemptId),
    /// What [`Effect::CheckActivity`] asked for.
    Active(AttemptId, Activity),
    /// What [`Effect::Diagnose`] asked for is done.
    Diagnosed(AttemptId),
    /// Someone asked for the end: with this signal.
    Interrupt(i32),
    /// Someone asked again, or does not want to wait.
    KillAll,
    /// `next_deadline` has come.
    Tick,
    /// `next_look` has come, and this was seen.
    Sense(Box<Reading>),
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// Which one.
    pub id: AttemptId,
    /// `None` if it never began or can't be killed.
    pub exit: Option<Exit>,
    /// Why it never began.
    pub spawn_error: Option<SpawnError>,
    /// What the kernel told.
    pub evidence: Evidence,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Make its groups: it starts soon.
    Prepare(AttemptId),
    /// Start it, with these places in its groups, in their order.
    Start(Attempt, Vec<u32>),
    /// Tell the reports: it starts although the attempt before is not settled.
    Unsettled(AttemptId, Unsettled),
    /// Tell the reports: it has run for so long.
    Slow(AttemptId, Duration),
    /// Look whether it shows signs of life, and say so with [`Input::Active`].
    CheckActivity(AttemptId),
    /// Take a first look at its threads.
    Glance(AttemptId),
    /// Find out why it hangs, and say when that is done with [`Input::Diagnosed`].
    Diagnose(AttemptId),
    /// Send this signal to all of it.
    Signal(AttemptId, i32),
    /// Kill all of it.
    Kill(AttemptId),
    /// Let all of it stand still.
    Freeze(AttemptId),
    /// Let it go on.
    Thaw(AttemptId),
    /// Set `memory.max` of the whole run.
    Cap(Bytes),
    /// Tell the reports what the governor decided.
    Decided(Decision),
    /// Tell the reports: this is what the attempt came to.
    Judged(AttemptId, Judgement, Next),
    /// Tell the reports: this attempt failed and should have been tried again; now the run ends, and it counts.
    GivenUp(AttemptId),
    /// Nothing is left to do.
    Finish,
}

/// What an attempt's end means for its job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Next {
    /// It is done.
    Done(Verdict),
    /// It runs again: the end was not its own doing.
    Again,
    /// It failed, and is tried again after this time.
    Retry(Duration),
}

/// What a retry did not wait for any longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unsettled {
    /// The groups of the attempt before can't be removed.
    Groups,
    /// Memory, disks or the editor's processors are still waited for too long.
    Pressure,
}

/// How many jobs came to what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Passed.
    pub passed: u64,
    /// Did not pass.
    pub failed: u64,
    /// Failed first, and passed then; counted above, too.
    pub flaky: u64,
    /// Never ran.
    pub not_run: u64,
    /// Attempts that ended for a reason not their own.
    pub evictions: u64,
}

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
    /// No new starts: a failure with fail-fast, or an interrupt.
    closed: bool,
    interrupted: bool,
    finished: bool,
    tally: Tally,
    /// Jobs that have started at least once.
    first_starts: u32,
    /// When the last step was.
    stepped: Duration,
}

/// The time of the whole run.
#[derive(Debug, Clone, Copy)]
enum RunClock {
    Endless,
    /// A first look at all that runs is due at the first, the end at the second.
    Glance(Duration, Duration),
    Ends(Duration),
    Over,
}

impl RunClock {
    fn next(self) -> Option<Duration> {
        match self {
            RunClock::Glance(at, _) | RunClock::Ends(at) => Some(at),
            RunClock::Endless | RunClock::Over => None,
        }
    }

    fn put_off(&mut self, time: Duration) {
        match self {
            RunClock::Glance(at, end) => (*at, *end) = (*at + time, *end + time),
            RunClock::Ends(at) => *at += time,
            RunClock::Endless | RunClock::Over => {}
        }
    }
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
            run_clock: match settings.run_timeout {
                Some(end) => RunClock::Glance(end.saturating_sub(GLANCE_BEFORE), end),
                None => RunClock::Endless,
            },
            closed: false,
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
        let of_retries = settling.filter(|_| !self.closed).map(|settling| settling.next(self.stepped));
        of_running.chain(of_retries).chain(self.run_clock.next()).min()
    }

    /// When to call `step` with [`Input::Sense`], if the governor wants to look at all.
    pub fn next_look(&self) -> Option<Duration> {
        let settling = !self.closed && queue::begun(&self.queue).any(|waiting| waiting.settling.is_some());
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
            Input::Ended(end) => judged = self.ended(now, &end),
            Input::Removed(id) => self.removed(id),
            Input::Active(id, seen) => self.active(now, id, seen, &mut effects),
            Input::Diagnosed(id) => self.diagnosed(now, id, &mut effects),
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
        if self.running.is_empty() && (self.queue.is_empty() || self.closed) && !self.finished {
            self.finished = true;
            self.give_up(&mut effects);
            effects.push(Effect::Finish);
        }
        effects
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
            Phase::Running { .. } | Phase::Diagnosing { .. } => {}
        }
    }

    fn ended(&mut self, now: Duration, end: &End) -> Option<Effect> {
        let at = self.running.iter().position(|running| running.waiting.id == end.id)?;
        let running = self.running.swap_remove(at);
        let ended = running.ended_by_us();
        // A slot whose processes can't be killed is not given to anyone else: they may hold its port.
        self.claims.give_back(running.claim, end.evidence.unkillable);
        let mut judgement = verdict::judge(end.exit, end.spawn_error.as_ref(), ended, &end.evidence);
        let mut hopeless = false;
        if judgement.outcome == Outcome::Evicted && judgement.cause == Cause::Budget && !running.had_company {
            // Nobody else was in its way: it needs more than there is.
            let out_of_memory = end.evidence.oom_kill.is_some_and(|kills| kills > 0);
            hopeless = out_of_memory && !filled_the_budget(&end.evidence);
            judgement.outcome = match (hopeless, out_of_memory) {
                (true, _) => Outcome::Evicted,
                (false, true) => Outcome::Oom,
                (false, false) => Outcome::Pids,
            };
        }
        self.tell_governor(now, &judgement, end);
        // What was there before it filled the budget, and would again.
        let next =
            if hopeless { Next::Done(Verdict::Infra) } else { self.next(running.waiting, &judgement, end) };
        self.count(now, running.waiting, &judgement, next);
        // With every slot lost nothing could ever start again.
        self.closed |= self.claims.are_exhausted() && self.running.is_empty();
        Some(Effect::Judged(end.id, judgement, next))
    }

    /// What a judgement means for the job.
    fn next(&self, waiting: Waiting, judgement: &Judgement, end: &End) -> Next {
        // The governor makes room in the end: alone, nobody evicts it. Without one, patience is all there is.
        let most = if self.governor.is_some() { u32::MAX } else { MAX_EVICTIONS };
        let spec = &self.jobs[end.id.job.0 as usize];
        let passed = judgement.outcome == Outcome::Exited && end.exit == Some(Exit::Code(0));
        let leaked = passed && spec.leak == LeakPolicy::Fail && end.evidence.left_something();
        let restartable = spec.facts.restartable;
        match judgement.outcome {
            Outcome::Exited if passed && !leaked => match waiting.failures {
                0 => Next::Done(Verdict::Pass),
                _ => Next::Done(Verdict::Flaky),
            },
            Outcome::Evicted if !restartable => Next::Done(Verdict::Infra),
            Outcome::Evicted if judgement.cause == Cause::Outside => match waiting.from_outside {
                MAX_FROM_OUTSIDE.. => Next::Done(Verdict::Infra),
                _ => Next::Again,
            },
            Outcome::Evicted if waiting.evictions >= most => Next::Done(Verdict::Infra),
            Outcome::Evicted => Next::Again,
            _ if !self.closed
                && waiting.failures < spec.retry.count
                && retry::may_differ(spec.retry.on, judgement, leaked) =>
            {
                let failures = waiting.failures + 1;
                Next::Retry(retry::delay(&spec.retry, failures, end.id, self.settings.seed))
            }
            _ if leaked => Next::Done(Verdict::Leak),
            _ => Next::Done(Verdict::Fail),
        }
    }

    fn count(&mut self, now: Duration, ended: Waiting, judgement: &Judgement, next: Next) {
        let passes = match next {
            Next::Again => {
                self.tally.evictions += 1;
                let outside = judgement.cause == Cause::Outside;
                let again = Waiting {
                    evictions: ended.evictions + u32::from(!outside),
                    from_outside: ended.from_outside + u32::from(outside),
                    ..ended.again()
                };
                return queue::requeue(&mut self.queue, again);
            }
            Next::Retry(delay) => {
                let not_before = now + delay;
                let at_last = not_before + self.settings.settle_timeout;
                let settling = Some(Settling { not_before, at_last, removed: false });
                let again = Waiting { failures: ended.failures + 1, settling, ..ended.again() };
                return queue::requeue(&mut self.queue, again);
            }
            Next::Done(Verdict::Pass) => true,
            Next::Done(Verdict::Flaky) => {
                self.tally.flaky += 1;
                self.jobs[ended.id.job.0 as usize].flaky_result == FlakyResult::Pass
            }
            Next::Done(_) => false,
        };
        if passes {
            self.tally.passed += 1;
        } else {
            self.tally.failed += 1;
            self.closed |= self.settings.fail_fast;
        }
    }

    /// Those that wait for a retry that will not come have failed.
    fn give_up(&mut self, effects: &mut Vec<Effect>) {
        let failed: Vec<AttemptId> =
            self.queue.iter().filter(|waiting| waiting.failures > 0).map(|waiting| waiting.id).collect();
        self.queue.retain(|waiting| waiting.failures == 0);
        self.tally.failed += failed.len() as u64;
        effects
            .extend(failed.into_iter().map(|id| Effect::GivenUp(AttemptId { number: id.number - 1, ..id })));
    }

    fn tell_governor(&mut self, now: Duration, judgement: &Judgement, end: &End) {
        let Some(governor) = &mut self.governor else { return };
        let peak = end.evidence.memory_peak;
        let ending = match (judgement.outcome, &judgement.cause) {
            (Outcome::Exited, Cause::Own) => Ending::Finished { peak },
            (Outcome::Evicted, Cause::Budget) => Ending::Evicted { peak },
            _ => Ending::Otherwise,
        };
        governor.ended(now, end.id, ending);
    }

    /// A retry need not wait for its last attempt's groups any more.
    fn removed(&mut self, id: AttemptId) {
        let is_next = |waiting: &&mut Waiting| waiting.id == AttemptId { number: id.number + 1, ..id };
        if let Some(settling) = self.queue.iter_mut().find(is_next).and_then(|next| next.settling.as_mut()) {
            settling.removed = true;
        }
    }

    fn active(&mut self, now: Duration, id: AttemptId, seen: Activity, effects: &mut Vec<Effect>) {
        let Some(limit) = self.jobs[id.job.0 as usize].idle_timeout else { return };
        let Some(at) = self.running.iter().position(|running| running.waiting.id == id) else { return };
        let running = &mut self.running[at];
        let runs = matches!(running.phase, Phase::Running { .. }) && running.frozen_at.is_none();
        if runs && running.clocks.is_idle(now, seen, limit) {
            self.diagnose(now, at, Ended::Idle, effects);
        }
    }

    /// Its time is up: what it hangs in is found out first.
    fn diagnose(&mut self, now: Duration, at: usize, why: Ended, effects: &mut Vec<Effect>) {
        let running = &mut self.running[at];
        let id = running.waiting.id;
        let until = now + DIAGNOSIS_PATIENCE + self.jobs[id.job.0 as usize].on_timeout;
        running.phase = Phase::Diagnosing { why, until };
        effects.push(Effect::Diagnose(id));
        if let Some(governor) = &mut self.governor {
            governor.stopping(now, id);
        }
    }

    fn diagnosed(&mut self, now: Duration, id: AttemptId, effects: &mut Vec<Effect>) {
        let Some(at) = self.running.iter().position(|running| running.waiting.id == id) else { return };
        if let Phase::Diagnosing { why, .. } = self.running[at].phase {
            self.stop(now, at, why, SIGTERM, effects);
        }
    }

    /// The one way in which an attempt is asked to end: a signal, its grace, and then the kill.
    fn stop(&mut self, now: Duration, at: usize, why: Ended, signal: i32, effects: &mut Vec<Effect>) {
        let running = &mut self.running[at];
        let id = running.waiting.id;
        let kill_at = now + self.jobs[id.job.0 as usize].grace;
        running.phase = Phase::Stopping { why, signal, kill_at };
        effects.push(Effect::Signal(id, signal));
        if let Some(governor) = &mut self.governor {
            governor.stopping(now, id);
        }
    }

    /// And the one way in which it is made to.
    fn kill(&mut self, at: usize, why: Ended, effects: &mut Vec<Effect>) {
        let running = &mut self.running[at];
        running.phase = Phase::Killed { why };
        effects.push(Effect::Kill(running.waiting.id));
        if let Some(governor) = &mut self.governor {
            governor.ending(running.waiting.id);
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
            self.run_clock.put_off(gap);
            if let Some(governor) = &mut self.governor {
                governor.forgive(gap);
            }
        }
        self.stepped = now;
    }

    fn interrupt(&mut self, now: Duration, signal: i32, effects: &mut Vec<Effect>) {
        self.closed = true;
        self.interrupted = true;
        for at in 0..self.running.len() {
            let running = &self.running[at];
            let why = match running.phase {
                Phase::Starting { .. } | Phase::Running { .. } => Ended::Interrupted,
                // Whoever wants the end does not wait for what is found out.
                Phase::Diagnosing { why, .. } => why,
                Phase::Stopping { .. } | Phase::Killed { .. } => continue,
            };
            // What stands still hears nothing.
            self.thaw(now, running.waiting.id, effects);
            self.stop(now, at, why, signal, effects);
        }
    }

    fn kill_all(&mut self, effects: &mut Vec<Effect>) {
        self.closed = true;
        self.interrupted = true;
        for at in 0..self.running.len() {
            let why = self.running[at].ended_by_us().unwrap_or(Ended::Interrupted);
            self.kill(at, why, effects);
        }
    }

    /// Does what is due: tells of the slow, looks at those whose time is nearly up, ends those whose time is.
    fn expire(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        self.expire_run(now, effects);
        for at in 0..self.running.len() {
            let running = &mut self.running[at];
            if running.frozen_at.is_some() {
                continue;
            }
            let id = running.waiting.id;
            match running.phase {
                // An exec that hangs (a dead file system, a lease) hears no signal but the last.
                Phase::Starting { deadline: Some(deadline) } if deadline <= now => {
                    self.kill(at, Ended::Timeout, effects);
                }
                Phase::Running { deadline: Some(deadline) } if deadline <= now => {
                    self.diagnose(now, at, Ended::Timeout, effects);
                }
                Phase::Running { .. } => {
                    let due = running.due(now, &self.jobs[id.job.0 as usize]);
                    effects.extend(due.into_iter().map(|due| match due {
                        Due::Slow(time) => Effect::Slow(id, time),
                        Due::Glance => Effect::Glance(id),
                        Due::Activity => Effect::CheckActivity(id),
                    }));
                }
                Phase::Diagnosing { why, until } if until <= now => {
                    self.stop(now, at, why, SIGTERM, effects);
                }
                Phase::Stopping { why, kill_at, .. } if kill_at <= now => self.kill(at, why, effects),
                _ => {}
            }
        }
    }

    fn expire_run(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        if let RunClock::Glance(at, end) = self.run_clock
            && at <= now
        {
            self.run_clock = RunClock::Ends(end);
            let runs = self.running.iter().filter(|running| matches!(running.phase, Phase::Running { .. }));
            effects.extend(runs.map(|running| Effect::Glance(running.waiting.id)));
        }
        if let RunClock::Ends(end) = self.run_clock
            && end <= now
        {
            self.run_clock = RunClock::Over;
            self.closed = true;
            for at in 0..self.running.len() {
                let id = self.running[at].waiting.id;
                match self.running[at].phase {
                    Phase::Starting { .. } => self.kill(at, Ended::RunTimeout, effects),
                    Phase::Running { .. } => {
                        self.thaw(now, id, effects);
                        self.diagnose(now, at, Ended::RunTimeout, effects);
                    }
                    Phase::Diagnosing { .. } | Phase::Stopping { .. } | Phase::Killed { .. } => {}
                }
            }
        }
    }

    fn start(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        match self.governor.take() {
            Some(mut governor) => {
                self.start_governed(now, &mut governor, effects);
                self.governor = Some(governor);
            }
            None => self.start_in_order(now, effects),
        }
    }

    /// Whoever the governor lets, the first in the queue asked first.
    fn start_governed(&mut self, now: Duration, governor: &mut Governor, effects: &mut Vec<Effect>) {
        if self.closed || self.queue.is_empty() || self.claims.are_exhausted() {
            return governor.held(None, 0);
        }
        let calm = governor.is_calm();
        let (mut admission, mut held) = (governor.admission(), None);
        let (mut at, mut asked, mut wait) = (0, 0, 0);
        while at < self.queue.len() && asked < CANDIDATES {
            match self.lack(now, at, calm) {
                Some(Lack::Slots) => break,
                Some(Lack::Group) => {
                    (at, wait) = (at + 1, wait + 1);
                    continue;
                }
                None => {}
            }
            asked += 1;
            let next = self.queue[at].id;
            match governor.ask(&mut admission, now, next.job) {
                Answer::Start => {
                    governor.started(now, next);
                    self.launch(now, at, calm, effects);
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
        governor.held(held, (self.queue.len() - wait).min(self.claims.free()));
    }

    fn start_in_order(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        let mut at = 0;
        while let Some(next) = self.queue.get(at).copied() {
            let someone_alone = self.running.iter().any(|running| running.waiting.alone());
            let must_wait = someone_alone || (next.alone() && !self.running.is_empty());
            match self.lack(now, at, true) {
                _ if self.closed || must_wait => return,
                Some(Lack::Slots) => return,
                Some(Lack::Group) => at += 1,
                None => self.launch(now, at, true, effects),
            }
        }
    }

    /// What the one at this place of the queue has to wait for, whatever the memory. A retry that is not settled waits
    /// like one whose group is taken: others go on.
    fn lack(&self, now: Duration, at: usize, calm: bool) -> Option<Lack> {
        let next = self.queue[at];
        let spec = &self.jobs[next.id.job.0 as usize];
        if next.is_ready(now, calm) { self.claims.lack(spec.weight, &spec.groups) } else { Some(Lack::Group) }
    }

    /// Starts the one at this place of the queue.
    fn launch(&mut self, now: Duration, at: usize, calm: bool, effects: &mut Vec<Effect>) {
        let spec = &self.jobs[self.queue[at].id.job.0 as usize];
        let Some(claim) = self.claims.take(spec.weight, &spec.groups) else { return };
        let Some(mut next) = self.queue.remove(at) else { return };
        next.seniority.get_or_insert_with(|| {
            self.first_starts += 1;
            self.first_starts
        });
        self.prepared.remove(&next.id);
        match next.settling {
            Some(Settling { removed: false, .. }) => {
                effects.push(Effect::Unsettled(next.id, Unsettled::Groups));
            }
            Some(_) if !calm => effects.push(Effect::Unsettled(next.id, Unsettled::Pressure)),
            _ => {}
        }
        let had_company = !self.running.is_empty();
        // Of more than one each has had company already.
        if let [only] = self.running.as_mut_slice() {
            only.had_company = true;
        }
        // Its time begins with its exec; that may wait for its groups, which is not its doing.
        let deadline = spec.timeout.map(|timeout| now + timeout + START_PATIENCE);
        let attempt = Attempt { id: next.id, slot: claim.slot };
        effects.push(Effect::Start(attempt, claim.group_slots.clone()));
        self.running.push(Running {
            waiting: next,
            claim,
            phase: Phase::Starting { deadline },
            clocks: Clocks::default(),
            had_company,
            frozen_at: None,
        });
    }

    /// Lets those that start soon have their groups made.
    fn prepare(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        if self.closed {
            return;
        }
        let soon = self.queue.iter().filter(|next| next.is_ready(now, true));
        for next in soon.take(GROUPS_AHEAD) {
            if self.prepared.insert(next.id) {
                effects.push(Effect::Prepare(next.id));
            }
        }
    }

    fn find(&mut self, id: AttemptId) -> Option<&mut Running> {
        self.running.iter_mut().find(|running| running.waiting.id == id)
    }
}

/// Whether the attempt itself held most of what all could have. Files that earlier ones left in tmpfs stay charged to the
/// run, and are nobody's mistake that runs now.
fn filled_the_budget(evidence: &Evidence) -> bool {
    let (peak, most) = (evidence.memory_peak, evidence.budget_max);
    peak.zip(most).is_none_or(|(peak, most)| peak.0 >= most.0 / 10 * 7)
}

/// The stop signal of a time-out, as a number: this layer knows no system's header.
const SIGTERM: i32 = 15;
