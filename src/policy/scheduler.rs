//! Which attempt starts, is stopped or killed now.
//!
//! Pure: `step(now, input)` returns what to do; the shell does it and reports back. `next_deadline` says when it
//! wants to be called again if nothing happens before.
//!
//! ```text
//! job:      waiting ──▶ running ──▶ done
//!              ▲           │ ended for a reason not its own (evicted, budget full, killed from outside)
//!              └───────────┘ before all that have not started yet
//!
//! attempt:  starting ─▶ running ── time is up, or the run is to end ──▶ stopping ── grace is over ──▶ killed
//!              │           │                                               │                            │
//!              └───────────┴───────────────────── ended ◀──────────────────┴────────────────────────────┘
//! ```
//!
//! With a governor, which of the waiting start, and what is frozen or evicted, is its say ([`super::governor`]);
//! time stands still for what is frozen. Without one, a job that was ended for a reason not its own runs alone
//! next time.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::governor::{self, Act, Answer, Ending, Governor, JobFacts};
use super::tuning::{CANDIDATES, GROUPS_AHEAD, MAX_EVICTIONS, MAX_FROM_OUTSIDE, START_PATIENCE, SUSPENDED};
use super::verdict::{self, Ended, Judgement};
use crate::model::event::SpawnError;
use crate::model::governor::{Decision, Governed};
use crate::model::reading::Reading;
use crate::model::{Attempt, AttemptId, Bytes, Cause, Evidence, Exit, JobId, Outcome, Verdict};

/// How a run is scheduled.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Attempts at once, at least 1.
    pub parallel: usize,
    /// Whether a failure stops what has not begun.
    pub fail_fast: bool,
    /// Between the stop signal and the kill.
    pub grace: Duration,
    /// `None`: `--governor off`.
    pub governor: Option<governor::Settings>,
}

/// What is known of a job beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSpec {
    /// How long an attempt may run, without the time in which it is frozen.
    pub timeout: Option<Duration>,
    /// For the governor.
    pub facts: JobFacts,
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
    /// Start it.
    Start(Attempt),
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
    /// Tell the reports: this is what the attempt came to. `None`: the job runs again.
    Judged(AttemptId, Judgement, Option<Verdict>),
    /// Nothing is left to do.
    Finish,
}

/// How many jobs came to what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Passed.
    pub passed: u64,
    /// Did not pass.
    pub failed: u64,
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
    free_slots: BTreeSet<u32>,
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Waiting {
    id: AttemptId,
    /// Attempts that ended since there was no room.
    evictions: u32,
    /// Attempts that ended by something outside.
    from_outside: u32,
    /// Rank of its first start; `None` before. Who was first goes first again.
    seniority: Option<u32>,
}

impl Waiting {
    /// Whether, without a governor, it runs alone: nobody else's memory is in its way then.
    fn alone(self) -> bool {
        self.evictions + self.from_outside > 0
    }
}

#[derive(Debug, Clone, Copy)]
struct Running {
    waiting: Waiting,
    slot: u32,
    phase: Phase,
    /// Whether another ran beside it at any time.
    had_company: bool,
    /// Since when it has been frozen.
    frozen_at: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Starting { deadline: Option<Duration> },
    Running { deadline: Option<Duration> },
    Stopping { why: Ended, signal: i32, kill_at: Duration },
    Killed { why: Ended },
}

impl Phase {
    /// Moves what is to come by `time`.
    fn put_off(&mut self, time: Duration) {
        match self {
            Phase::Starting { deadline } | Phase::Running { deadline } => {
                *deadline = deadline.map(|deadline| deadline + time);
            }
            Phase::Stopping { kill_at, .. } => *kill_at += time,
            Phase::Killed { .. } => {}
        }
    }

    fn ended_by_us(self) -> Option<Ended> {
        match self {
            Phase::Stopping { why, .. } | Phase::Killed { why } => Some(why),
            Phase::Starting { .. } | Phase::Running { .. } => None,
        }
    }
}

impl Scheduler {
    /// A run of these jobs, in this order.
    pub fn new(settings: Settings, jobs: Vec<JobSpec>) -> Scheduler {
        let first = |job| Waiting {
            id: AttemptId { job: JobId(job), number: 1 },
            evictions: 0,
            from_outside: 0,
            seniority: None,
        };
        let facts: Vec<JobFacts> = jobs.iter().map(|job| job.facts).collect();
        Scheduler {
            queue: (0..jobs.len() as u32).map(first).collect(),
            governor: settings.governor.map(|settings| Governor::new(settings, &facts)),
            running: Vec::new(),
            prepared: BTreeSet::new(),
            free_slots: (0..settings.parallel as u32).collect(),
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
        let awake = self.running.iter().filter(|running| running.frozen_at.is_none());
        let deadlines = awake.filter_map(|running| match running.phase {
            Phase::Starting { deadline } | Phase::Running { deadline } => deadline,
            Phase::Stopping { kill_at, .. } => Some(kill_at),
            Phase::Killed { .. } => None,
        });
        deadlines.min()
    }

    /// When to call `step` with [`Input::Sense`], if the governor wants to look at all.
    pub fn next_look(&self) -> Option<Duration> {
        self.governor.as_ref()?.next_look()
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

    /// Takes in what has happened at `now` (time since the run began, without pauses) and says what to do.
    pub fn step(&mut self, now: Duration, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        let mut judged = None;
        self.forgive_a_gap(now);
        match input {
            Input::Begin | Input::Tick => {}
            Input::Started(id) => self.started(now, id, &mut effects),
            Input::Ended(end) => judged = self.ended(now, &end),
            Input::Interrupt(signal) => self.interrupt(now, signal, &mut effects),
            Input::KillAll => self.kill_all(&mut effects),
            Input::Sense(reading) => self.govern(now, &reading, &mut effects),
        }
        self.expire(now, &mut effects);
        self.start(now, &mut effects);
        self.prepare(&mut effects);
        if let Some(governor) = &mut self.governor {
            effects.extend(governor.decisions(now).into_iter().map(Effect::Decided));
        }
        // After the starts: what begins now need not wait for the report of what has ended.
        effects.extend(judged);
        if self.running.is_empty() && (self.queue.is_empty() || self.closed) && !self.finished {
            self.finished = true;
            effects.push(Effect::Finish);
        }
        effects
    }

    fn started(&mut self, now: Duration, id: AttemptId, effects: &mut Vec<Effect>) {
        let timeout = self.jobs[id.job.0 as usize].timeout;
        if let Some(governor) = &mut self.governor {
            governor.born(id);
        }
        let grace = self.settings.grace;
        let Some(running) = self.find(id) else { return };
        match running.phase {
            Phase::Starting { .. } => {
                running.phase = Phase::Running { deadline: timeout.map(|timeout| now + timeout) }
            }
            // The order to stop came while it was being born, so its signal met nobody.
            Phase::Stopping { why, signal, .. } => {
                running.phase = Phase::Stopping { why, signal, kill_at: now + grace };
                effects.push(Effect::Signal(id, signal));
            }
            Phase::Killed { .. } => effects.push(Effect::Kill(id)),
            Phase::Running { .. } => {}
        }
    }

    fn ended(&mut self, now: Duration, end: &End) -> Option<Effect> {
        let at = self.running.iter().position(|running| running.waiting.id == end.id)?;
        let running = self.running.swap_remove(at);
        // A slot whose processes can't be killed is not given to anyone else: they may hold its port.
        if !end.evidence.unkillable {
            self.free_slots.insert(running.slot);
        }
        let ended = running.phase.ended_by_us();
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
        let verdict =
            if hopeless { Some(Verdict::Infra) } else { self.verdict(running.waiting, &judgement, end) };
        match verdict {
            None => {
                self.tally.evictions += 1;
                self.requeue(running.waiting, &judgement.cause);
            }
            Some(Verdict::Pass | Verdict::Flaky) => self.tally.passed += 1,
            Some(_) => {
                self.tally.failed += 1;
                self.closed |= self.settings.fail_fast;
            }
        }
        // With every slot lost nothing could ever start again.
        self.closed |= self.free_slots.is_empty() && self.running.is_empty();
        Some(Effect::Judged(end.id, judgement, verdict))
    }

    /// What a judgement means for the job; `None`: it runs again.
    fn verdict(&self, waiting: Waiting, judgement: &Judgement, end: &End) -> Option<Verdict> {
        // The governor makes room in the end: alone, nobody evicts it. Without one, patience is all there is.
        let most = if self.governor.is_some() { u32::MAX } else { MAX_EVICTIONS };
        let restartable = self.jobs[end.id.job.0 as usize].facts.restartable;
        match judgement.outcome {
            Outcome::Exited if end.exit == Some(Exit::Code(0)) => Some(Verdict::Pass),
            Outcome::Evicted if !restartable => Some(Verdict::Infra),
            Outcome::Evicted if judgement.cause == Cause::Outside => {
                (waiting.from_outside >= MAX_FROM_OUTSIDE).then_some(Verdict::Infra)
            }
            Outcome::Evicted => (waiting.evictions >= most).then_some(Verdict::Infra),
            _ => Some(Verdict::Fail),
        }
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

    /// Before all that have not started yet, behind those that started before it.
    fn requeue(&mut self, ended: Waiting, cause: &Cause) {
        let again = Waiting {
            id: AttemptId { number: ended.id.number + 1, ..ended.id },
            evictions: ended.evictions + u32::from(*cause != Cause::Outside),
            from_outside: ended.from_outside + u32::from(*cause == Cause::Outside),
            seniority: ended.seniority,
        };
        let is_before = |other: &Waiting| other.seniority.is_some() && other.seniority < again.seniority;
        let place = self.queue.iter().take_while(|other| is_before(other)).count();
        self.queue.insert(place, again);
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
        running.phase.put_off(now.saturating_sub(since));
        effects.push(Effect::Thaw(id));
    }

    /// A gap in which nobody called although it was time to: the machine was suspended, or sandtest stopped. Nobody's
    /// time runs out by it.
    fn forgive_a_gap(&mut self, now: Duration) {
        let due = [self.next_deadline(), self.next_look()].into_iter().flatten().min();
        if due.is_some_and(|due| now.saturating_sub(due) > SUSPENDED) {
            let gap = now.saturating_sub(self.stepped);
            for running in &mut self.running {
                running.phase.put_off(gap);
                running.frozen_at = running.frozen_at.map(|at| at + gap);
            }
            if let Some(governor) = &mut self.governor {
                governor.forgive(gap);
            }
        }
        self.stepped = now;
    }

    fn interrupt(&mut self, now: Duration, signal: i32, effects: &mut Vec<Effect>) {
        self.closed = true;
        self.interrupted = true;
        let kill_at = now + self.settings.grace;
        let ids: Vec<AttemptId> = self.running.iter().map(|running| running.waiting.id).collect();
        // What stands still hears nothing.
        ids.into_iter().for_each(|id| self.thaw(now, id, effects));
        for running in &mut self.running {
            if running.phase.ended_by_us().is_none() {
                running.phase = Phase::Stopping { why: Ended::Interrupted, signal, kill_at };
                effects.push(Effect::Signal(running.waiting.id, signal));
                if let Some(governor) = &mut self.governor {
                    governor.stopping(now, running.waiting.id);
                }
            }
        }
    }

    fn kill_all(&mut self, effects: &mut Vec<Effect>) {
        self.closed = true;
        self.interrupted = true;
        for running in &mut self.running {
            let why = running.phase.ended_by_us().unwrap_or(Ended::Interrupted);
            running.phase = Phase::Killed { why };
            effects.push(Effect::Kill(running.waiting.id));
            if let Some(governor) = &mut self.governor {
                governor.ending(running.waiting.id);
            }
        }
    }

    /// Stops those whose time is up, kills those whose grace is over.
    fn expire(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        let kill_at = now + self.settings.grace;
        for running in self.running.iter_mut().filter(|running| running.frozen_at.is_none()) {
            let id = running.waiting.id;
            let before = running.phase;
            match running.phase {
                // An exec that hangs (a dead file system, a lease) hears no signal but the last.
                Phase::Starting { deadline: Some(deadline) } if deadline <= now => {
                    running.phase = Phase::Killed { why: Ended::Timeout };
                    effects.push(Effect::Kill(id));
                }
                Phase::Running { deadline: Some(deadline) } if deadline <= now => {
                    running.phase = Phase::Stopping { why: Ended::Timeout, signal: SIGTERM, kill_at };
                    effects.push(Effect::Signal(id, SIGTERM));
                }
                Phase::Stopping { why, kill_at, .. } if kill_at <= now => {
                    running.phase = Phase::Killed { why };
                    effects.push(Effect::Kill(id));
                }
                _ => {}
            }
            if let Some(governor) = &mut self.governor {
                match running.phase {
                    Phase::Stopping { .. } if running.phase != before => governor.stopping(now, id),
                    Phase::Killed { .. } if running.phase != before => governor.ending(id),
                    _ => {}
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
        if self.closed || self.queue.is_empty() || self.free_slots.is_empty() {
            return governor.held(None, 0);
        }
        let (mut admission, mut held, mut at) = (governor.admission(), None, 0);
        while at < self.queue.len().min(CANDIDATES) && !self.closed && !self.free_slots.is_empty() {
            let next = self.queue[at].id;
            match governor.ask(&mut admission, now, next.job) {
                Answer::Start => {
                    governor.started(now, next);
                    self.launch(now, at, effects);
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
        governor.held(held, self.queue.len().min(self.free_slots.len()));
    }

    fn start_in_order(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        while let Some(next) = self.queue.front().copied() {
            let someone_alone = self.running.iter().any(|running| running.waiting.alone());
            let must_wait = someone_alone || (next.alone() && !self.running.is_empty());
            if self.closed || must_wait || self.free_slots.is_empty() {
                return;
            }
            self.launch(now, 0, effects);
        }
    }

    /// Starts the one at this place of the queue.
    fn launch(&mut self, now: Duration, at: usize, effects: &mut Vec<Effect>) {
        let Some(slot) = self.free_slots.pop_first() else { return };
        let Some(mut next) = self.queue.remove(at) else { return };
        next.seniority.get_or_insert_with(|| {
            self.first_starts += 1;
            self.first_starts
        });
        self.prepared.remove(&next.id);
        let had_company = !self.running.is_empty();
        // Of more than one each has had company already.
        if let [only] = self.running.as_mut_slice() {
            only.had_company = true;
        }
        let deadline = self.jobs[next.id.job.0 as usize].timeout;
        // Its time begins with its exec; that may wait for its groups, which is not its doing.
        let deadline = deadline.map(|timeout| now + timeout + START_PATIENCE);
        let phase = Phase::Starting { deadline };
        self.running.push(Running { waiting: next, slot, phase, had_company, frozen_at: None });
        effects.push(Effect::Start(Attempt { id: next.id, slot }));
    }

    fn prepare(&mut self, effects: &mut Vec<Effect>) {
        if self.closed {
            return;
        }
        for next in self.queue.iter().take(GROUPS_AHEAD) {
            if self.prepared.insert(next.id) {
                effects.push(Effect::Prepare(next.id));
            }
        }
    }

    fn find(&mut self, id: AttemptId) -> Option<&mut Running> {
        self.running.iter_mut().find(|running| running.waiting.id == id)
    }

    /// Whether someone asked for the end.
    pub fn interrupted(&self) -> bool {
        self.interrupted
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::reading::JobReading;
    use std::collections::BTreeMap;

    const SECOND: Duration = Duration::from_secs(1);

    fn settings(parallel: usize) -> Settings {
        Settings { parallel, fail_fast: false, grace: 2 * SECOND, governor: None }
    }

    fn jobs(timeout: Option<Duration>, count: usize) -> Vec<JobSpec> {
        let facts = JobFacts { group: 0, memory: None, restartable: true };
        vec![JobSpec { timeout, facts }; count]
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
                Effect::Start(attempt) => Some((attempt.id, attempt.slot)),
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
        assert_eq!(
            Scheduler::new(settings(1), Vec::new()).step(Duration::ZERO, Input::Begin),
            [Effect::Finish]
        );
    }

    #[test]
    fn a_job_out_of_time_is_stopped_then_killed() {
        let mut run = Scheduler::new(settings(1), jobs(Some(5 * SECOND), 1));
        run.step(Duration::ZERO, Input::Begin);
        run.step(SECOND, Input::Started(attempt(0, 1)));
        assert_eq!(run.next_deadline(), Some(6 * SECOND));
        assert_eq!(run.step(5 * SECOND, Input::Tick), []);
        assert_eq!(run.step(6 * SECOND, Input::Tick), [Effect::Signal(attempt(0, 1), 15)]);
        assert_eq!(run.next_deadline(), Some(8 * SECOND));
        assert_eq!(run.step(8 * SECOND, Input::Tick), [Effect::Kill(attempt(0, 1))]);
        let effects = run.step(9 * SECOND, ended(attempt(0, 1), Exit::Signal(9)));
        assert!(matches!(
            &effects[0],
            Effect::Judged(_, Judgement { outcome: Outcome::Timeout, .. }, Some(Verdict::Fail))
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
        assert_eq!(effects, [Effect::Judged(attempt(0, 1), oom, Some(Verdict::Fail)), Effect::Finish]);
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
        assert!(matches!(&effects[0], Effect::Judged(_, _, Some(Verdict::Infra))), "{effects:?}");
        assert_eq!(run.tally().failed, 1);
    }

    #[test]
    fn fail_fast_starts_nothing_more_and_lets_the_running_end() {
        let mut run = Scheduler::new(Settings { fail_fast: true, ..settings(2) }, jobs(None, 4));
        run.step(Duration::ZERO, Input::Begin);
        let effects = run.step(SECOND, ended(attempt(0, 1), Exit::Code(3)));
        assert!(starts(&effects).is_empty() && !effects.contains(&Effect::Finish));
        assert!(run.step(SECOND, ended(attempt(1, 1), Exit::Code(0))).contains(&Effect::Finish));
        assert_eq!(run.tally(), Tally { passed: 1, failed: 1, not_run: 2, evictions: 0 });
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

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn time_stands_still_for_what_is_frozen() {
        let (first, second) = (attempt(0, 1), attempt(1, 1));
        let mut run = Scheduler::new(governed(2), jobs(Some(5 * SECOND), 2));
        run.step(ms(0), Input::Begin);
        run.step(ms(0), Input::Started(first));
        run.step(ms(0), Input::Started(second));
        run.step(ms(1000), seen(&[(first, 450), (second, 450)]));
        let effects = run.step(ms(1010), seen(&[(first, 452), (second, 485)]));
        assert!(effects.contains(&Effect::Freeze(second)), "{effects:?}");
        assert!(!effects.contains(&Effect::Freeze(first)), "the most senior goes on: {effects:?}");
        assert_eq!(run.next_deadline(), Some(5 * SECOND), "the first one's");
        let effects = run.step(ms(2000), ended(first, Exit::Code(0)));
        assert!(!effects.contains(&Effect::Thaw(second)), "nobody has looked yet: {effects:?}");
        let effects = run.step(ms(2010), seen(&[(second, 485)]));
        assert!(effects.contains(&Effect::Thaw(second)), "{effects:?}");
        assert_eq!(run.next_deadline(), Some(6 * SECOND), "given back what it was frozen for");
    }

    /// Whether one more starts on two processors of which so much is busy.
    fn starts_beside(busy: f64) -> bool {
        let mut settings = governed(9);
        settings.governor = settings.governor.map(|law| governor::Settings { cpus: 2, jobs: 2, ..law });
        let mut run = Scheduler::new(settings, jobs(None, 9));
        let ids: Vec<AttemptId> =
            starts(&run.step(ms(0), Input::Begin)).iter().map(|start| start.0).collect();
        let busy = busy / ids.len() as f64;
        ids.iter().for_each(|id| _ = run.step(ms(0), Input::Started(*id)));
        let look = |run: &mut Scheduler, second: f64| {
            let cpu = Some(Duration::from_secs_f64(second * busy));
            let job = |id: &AttemptId| JobReading { id: *id, memory: Bytes::mib(10), cpu };
            let jobs = ids.iter().map(job).collect();
            let reading =
                Reading { usage: Bytes::mib(20), charged: Bytes::mib(20), jobs, ..Reading::default() };
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
        run.step(ms(0), Input::Begin);
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
        assert!(effects.contains(&Effect::Judged(second, judged, None)), "{effects:?}");
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
        run.step(ms(0), Input::Begin);
        run.step(ms(0), Input::Started(first));
        run.step(ms(0), Input::Started(second));
        assert!(
            run.step(ms(1000), seen(&[(first, 300), (second, 300)]))
                .contains(&Effect::Signal(second, SIGTERM))
        );
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
        assert!(effects.contains(&Effect::Judged(second, judged, Some(Verdict::Fail))), "{effects:?}");
    }

    #[test]
    fn what_others_left_in_the_budget_is_not_the_last_ones_mistake() {
        let mut run = Scheduler::new(governed(1), jobs(None, 1));
        run.step(Duration::ZERO, Input::Begin);
        let evidence = Evidence {
            oom_kill: Some(1),
            oom_own: Some(0),
            oom_budget: Some(1),
            memory_peak: Some(Bytes::mib(80)),
            budget_max: Some(Bytes::mib(700)),
            ..Evidence::default()
        };
        let id = attempt(0, 1);
        let end = End { id, exit: Some(Exit::Signal(9)), spawn_error: None, evidence };
        let effects = run.step(SECOND, Input::Ended(Box::new(end)));
        let judged = Judgement { outcome: Outcome::Evicted, cause: Cause::Budget };
        assert!(effects.contains(&Effect::Judged(id, judged, Some(Verdict::Infra))), "{effects:?}");
    }

    #[test]
    fn one_that_ended_by_itself_as_it_was_evicted_has_its_result() {
        let (first, second) = (attempt(0, 1), attempt(1, 1));
        let mut run = Scheduler::new(governed(2), jobs(None, 2));
        run.step(ms(0), Input::Begin);
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
        assert_eq!(run.next_deadline(), Some(65 * SECOND));
        let effects = run.step(65 * SECOND, Input::Tick);
        assert_eq!(effects, [Effect::Signal(attempt(0, 1), SIGTERM)]);
    }

    proptest::proptest! {
        /// Whatever happens, in whatever order: never more than the slots, every job ends once, the run finishes.
        #[test]
        fn every_job_ends_exactly_once(
            parallel in 1usize..5,
            count in 0usize..12,
            fail_fast: bool,
            choices in proptest::collection::vec((0u8..6, 0usize..8), 0..200),
        ) {
            let mut run = Scheduler::new(Settings { fail_fast, ..settings(parallel) }, jobs(Some(5 * SECOND), count));
            let mut alive: Vec<Attempt> = Vec::new();
            let mut verdicts: BTreeMap<JobId, u32> = BTreeMap::new();
            let mut finished = 0;
            let mut now = Duration::ZERO;
            let mut inputs = vec![Input::Begin];
            let mut choices = choices.into_iter();
            loop {
                while let Some(input) = inputs.pop() {
                    for effect in run.step(now, input) {
                        match effect {
                            Effect::Start(attempt) => {
                                proptest::prop_assert!(alive.iter().all(|other| other.slot != attempt.slot));
                                alive.push(attempt);
                            }
                            Effect::Judged(id, _, Some(_)) => *verdicts.entry(id.job).or_default() += 1,
                            Effect::Finish => finished += 1,
                            _ => {}
                        }
                    }
                    proptest::prop_assert!(alive.len() <= parallel);
                }
                if finished > 0 {
                    break;
                }
                now += Duration::from_millis(700);
                let (what, which) = choices.next().unwrap_or((0, 0));
                let id = (!alive.is_empty()).then(|| alive[which % alive.len()].id);
                inputs.push(match (what, id) {
                    (0 | 1, Some(id)) => { alive.retain(|a| a.id != id); ended(id, Exit::Code(i32::from(what))) }
                    (2, Some(id)) => { alive.retain(|a| a.id != id); evicted(id) }
                    (3, Some(id)) => Input::Started(id),
                    (4, _) if which == 0 => Input::Interrupt(2),
                    (5, _) if which == 0 => Input::KillAll,
                    _ => Input::Tick,
                });
            }
            proptest::prop_assert_eq!(finished, 1);
            proptest::prop_assert!(alive.is_empty());
            proptest::prop_assert!(verdicts.values().all(|count| *count == 1));
            proptest::prop_assert_eq!(verdicts.len() as u64 + run.tally().not_run, count as u64);
        }
    }
}
