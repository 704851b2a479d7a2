//! Time is up, or somebody wants the end: how attempts are told to, and made to.

use std::time::Duration;

use super::Scheduler;
use super::attempt::{Activity, Due, Phase};
use super::messages::Effect;
use super::permits::Said;
use crate::model::{AttemptId, Cause};
use crate::policy::tuning::{DIAGNOSIS_PATIENCE, GLANCE_BEFORE};
use crate::policy::verdict::Ended;

/// The stop signal of a time-out, as a number: this layer knows no system's header.
pub(super) const SIGTERM: i32 = 15;

/// That of what nobody can refuse.
pub(super) const SIGKILL: i32 = 9;

/// The time of the whole run.
#[derive(Debug, Clone, Copy)]
pub(super) enum RunClock {
    Endless,
    /// A first look at all that runs is due at the first, the end at the second.
    Glance(Duration, Duration),
    Ends(Duration),
    Over,
}

impl RunClock {
    pub fn of(run_timeout: Option<Duration>) -> RunClock {
        match run_timeout {
            Some(end) => RunClock::Glance(end - GLANCE_BEFORE.min(end / 2), end),
            None => RunClock::Endless,
        }
    }

    pub fn next(self) -> Option<Duration> {
        match self {
            RunClock::Glance(at, _) | RunClock::Ends(at) => Some(at),
            RunClock::Endless | RunClock::Over => None,
        }
    }

    pub fn put_off(&mut self, time: Duration) {
        match self {
            RunClock::Glance(at, end) => (*at, *end) = (*at + time, *end + time),
            RunClock::Ends(at) => *at += time,
            RunClock::Endless | RunClock::Over => {}
        }
    }
}

impl Scheduler {
    pub(super) fn active(&mut self, now: Duration, id: AttemptId, seen: Activity, effects: &mut Vec<Effect>) {
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
        self.tell(Said::Stopping(id));
    }

    pub(super) fn diagnosed(&mut self, now: Duration, id: AttemptId, effects: &mut Vec<Effect>) {
        let Some(at) = self.running.iter().position(|running| running.waiting.id == id) else { return };
        if let Phase::Diagnosing { why, .. } = self.running[at].phase {
            self.stop(now, at, why, SIGTERM, effects);
        }
    }

    /// Nothing was done to it: how it ended is its own.
    pub(super) fn was_over(&mut self, id: AttemptId) {
        if let Some(running) = self.find(id)
            && let Phase::Diagnosing { .. } = running.phase
        {
            running.phase = Phase::Exited;
        }
    }

    /// The one way in which an attempt is asked to end: a signal, its grace, and then the kill.
    fn stop(&mut self, now: Duration, at: usize, why: Ended, signal: i32, effects: &mut Vec<Effect>) {
        let running = &mut self.running[at];
        let id = running.waiting.id;
        let kill_at = now + self.jobs[id.job.0 as usize].grace;
        running.phase = Phase::Stopping { why, signal, kill_at };
        effects.push(Effect::Signal(id, signal));
        self.tell(Said::Stopping(id));
    }

    /// And the one way in which it is made to.
    fn kill(&mut self, at: usize, why: Ended, effects: &mut Vec<Effect>) {
        let running = &mut self.running[at];
        let id = running.waiting.id;
        running.phase = Phase::Killed { why };
        effects.push(Effect::Kill(id));
        self.tell(Said::Ending(id));
    }

    pub(super) fn interrupt(&mut self, now: Duration, signal: i32, effects: &mut Vec<Effect>) {
        self.interrupted = true;
        self.close(Cause::Interrupted);
        self.end_all(now, Ended::Interrupted, signal, effects);
    }

    /// Asks all that runs to end.
    pub(super) fn end_all(&mut self, now: Duration, because: Ended, signal: i32, effects: &mut Vec<Effect>) {
        for at in 0..self.running.len() {
            let running = &self.running[at];
            let why = match running.phase {
                Phase::Starting { .. } | Phase::Running { .. } => because,
                // Whoever wants the end does not wait for what is found out.
                Phase::Diagnosing { why, .. } => why,
                Phase::Exited | Phase::Stopping { .. } | Phase::Killed { .. } => continue,
            };
            // What stands still hears nothing.
            self.thaw(now, running.waiting.id, effects);
            self.stop(now, at, why, signal, effects);
        }
    }

    pub(super) fn kill_all(&mut self, effects: &mut Vec<Effect>) {
        self.close(Cause::Interrupted);
        self.interrupted = true;
        for at in 0..self.running.len() {
            let running = &self.running[at];
            if running.phase != Phase::Exited {
                let why = running.ended_by_us().unwrap_or(Ended::Interrupted);
                self.kill(at, why, effects);
            }
        }
    }

    /// Does what is due: tells of the slow, looks at those whose time is nearly up, ends those whose time is.
    pub(super) fn expire(&mut self, now: Duration, effects: &mut Vec<Effect>) {
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
                    let due = running.clocks.due(now, &self.jobs[id.job.0 as usize]);
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

    /// When it has been waited for the first start for long enough.
    pub(super) fn patience(&self) -> Option<Duration> {
        self.settings.wait.filter(|_| self.first_starts == 0 && self.closed.is_none())
    }

    fn expire_run(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        if self.patience().is_some_and(|end| end <= now) {
            self.close(Cause::NoPermit);
        }
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
            self.close(Cause::RunTimeout);
            for at in 0..self.running.len() {
                let id = self.running[at].waiting.id;
                match self.running[at].phase {
                    Phase::Starting { .. } => self.kill(at, Ended::RunTimeout, effects),
                    Phase::Running { .. } => {
                        self.thaw(now, id, effects);
                        self.diagnose(now, at, Ended::RunTimeout, effects);
                    }
                    // Its own time was up before; what asks about it has no longer than that of the run.
                    Phase::Diagnosing { why, until } => {
                        let until = until.min(now + DIAGNOSIS_PATIENCE);
                        self.running[at].phase = Phase::Diagnosing { why, until };
                    }
                    Phase::Exited | Phase::Stopping { .. } | Phase::Killed { .. } => {}
                }
            }
        }
    }
}
