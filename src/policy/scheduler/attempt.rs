//! An attempt that runs: its clocks, and how it comes to its end.
//!
//! ```text
//!              ┌── its first process ends by itself ──▶ exited
//! starting ─▶ running ── its time is up, or the run's ──▶ diagnosing ── seen, or no patience left ──▶ stopping ── grace is over ──▶ killed
//!    │           └────── somebody wants the end ────────────┴───────────────────────────────────────────▲                            ▲
//!    ├────────── somebody wants the end ─────────────────────────────────────────────────────────────────┘                            │
//!    └── the exec hangs, the run's time is up ─────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! No clock runs while it is frozen, and none when it has exited: what it left has limits of its own. An eviction kills
//! at once. `ended` may come in any state.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::JobSpec;
use super::claims::Claim;
use super::queue::Waiting;
use crate::policy::tuning::{GLANCE_BEFORE, IDLE_CPU, IDLE_LOOK_LONGEST, IDLE_LOOK_SHORTEST, IDLE_LOOKS};
use crate::policy::verdict::Ended;

#[derive(Debug, Clone)]
pub(super) struct Running {
    pub waiting: Waiting,
    pub claim: Claim,
    pub phase: Phase,
    pub clocks: Clocks,
    /// Whether another ran beside it at any time.
    pub had_company: bool,
    /// Since when it has been frozen.
    pub frozen_at: Option<Duration>,
    /// When it was to start, and how long it took from then to its exec.
    pub launched: Duration,
    pub setup: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Starting {
        deadline: Option<Duration>,
    },
    Running {
        deadline: Option<Duration>,
    },
    /// What it left is being dealt with.
    Exited,
    Diagnosing {
        why: Ended,
        until: Duration,
    },
    Stopping {
        why: Ended,
        signal: i32,
        kill_at: Duration,
    },
    Killed {
        why: Ended,
    },
}

/// What else is due while it runs.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Clocks {
    /// When it exec'd, put off by what it was frozen for.
    pub since: Duration,
    slow_at: Option<Duration>,
    /// A first look for the diagnosis, a little before the time is up: what used the processor since shows then.
    glance_at: Option<Duration>,
    idle: Option<Idle>,
}

/// Whether anything happens in it.
#[derive(Debug, Clone, Copy)]
struct Idle {
    /// Of the last sign of life.
    since: Duration,
    seen: Activity,
    seen_at: Duration,
    check_at: Duration,
    glance_at: Option<Duration>,
}

/// Signs of life of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Activity {
    /// Processor time that it has used.
    pub cpu: Duration,
    /// Bytes that it has written to its output.
    pub output: u64,
}

/// What a clock asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// To tell that it is slow: it runs for so long.
    Slow(Duration),
    /// A first look.
    Glance,
    /// A look for signs of life.
    Activity,
}

impl Running {
    /// When something of it is due; `None` while it is frozen.
    pub fn next_deadline(&self) -> Option<Duration> {
        if self.frozen_at.is_some() {
            return None;
        }
        match self.phase {
            Phase::Starting { deadline } => deadline,
            Phase::Running { deadline } => deadline.into_iter().chain(self.clocks.next()).min(),
            Phase::Diagnosing { until, .. } => Some(until),
            Phase::Stopping { kill_at, .. } => Some(kill_at),
            Phase::Exited | Phase::Killed { .. } => None,
        }
    }

    /// Moves what is to come by `time`.
    pub fn put_off(&mut self, time: Duration) {
        match &mut self.phase {
            Phase::Starting { deadline } | Phase::Running { deadline } => {
                *deadline = deadline.map(|deadline| deadline + time);
            }
            Phase::Diagnosing { until: at, .. } | Phase::Stopping { kill_at: at, .. } => *at += time,
            Phase::Exited | Phase::Killed { .. } => {}
        }
        self.clocks.put_off(time);
    }

    /// Why we ended it ourselves, if we did.
    pub fn ended_by_us(&self) -> Option<Ended> {
        match self.phase {
            Phase::Diagnosing { why, .. } | Phase::Stopping { why, .. } | Phase::Killed { why } => Some(why),
            Phase::Starting { .. } | Phase::Running { .. } | Phase::Exited => None,
        }
    }
}

impl Clocks {
    /// Those of a job that has exec'd at `now`.
    pub fn start(now: Duration, spec: &JobSpec) -> Clocks {
        let glance_at = spec.timeout.map(|timeout| now + timeout - GLANCE_BEFORE.min(timeout / 2));
        let idle = |limit: Duration| Idle {
            since: now,
            seen: Activity::default(),
            seen_at: now,
            check_at: now + between_looks(limit),
            glance_at: None,
        };
        Clocks {
            since: now,
            slow_at: spec.slow_after.map(|period| now + period),
            glance_at,
            idle: spec.idle_timeout.map(idle),
        }
    }

    fn next(&self) -> Option<Duration> {
        let of_idle = self.idle.map(|idle| [Some(idle.check_at), idle.glance_at]).unwrap_or_default();
        [self.slow_at, self.glance_at].into_iter().chain(of_idle).flatten().min()
    }

    fn put_off(&mut self, time: Duration) {
        self.since += time;
        for at in [&mut self.slow_at, &mut self.glance_at].into_iter().flatten() {
            *at += time;
        }
        if let Some(idle) = &mut self.idle {
            idle.since += time;
            idle.seen_at += time;
            idle.check_at += time;
            idle.glance_at = idle.glance_at.map(|at| at + time);
        }
    }

    /// What is due by `now`, each once.
    pub fn due(&mut self, now: Duration, spec: &JobSpec) -> Vec<Due> {
        let mut due = Vec::new();
        if self.slow_at.is_some_and(|at| at <= now) {
            self.slow_at = spec.slow_after.map(|period| now + period);
            due.push(Due::Slow(now - self.since));
        }
        let of_idle = self.idle.as_mut().map(|idle| &mut idle.glance_at);
        for glance_at in [Some(&mut self.glance_at), of_idle].into_iter().flatten() {
            if glance_at.take_if(|at| *at <= now).is_some() {
                due.push(Due::Glance);
            }
        }
        if let (Some(idle), Some(limit)) = (&mut self.idle, spec.idle_timeout)
            && idle.check_at <= now
        {
            due.push(Due::Activity);
            idle.check_at = now + between_looks(limit);
        }
        due
    }

    /// Takes in signs of life. Returns whether there have been none for `limit`.
    pub fn is_idle(&mut self, now: Duration, seen: Activity, limit: Duration) -> bool {
        let Some(idle) = &mut self.idle else { return false };
        let (used, over) = (seen.cpu.saturating_sub(idle.seen.cpu), now.saturating_sub(idle.seen_at));
        // Where no cgroup adds it up, what has ended took its time with it: that something ends is a sign, too.
        let lives =
            seen.output != idle.seen.output || seen.cpu < idle.seen.cpu || used > over.mul_f64(IDLE_CPU);
        (idle.seen, idle.seen_at) = (seen, now);
        if lives {
            *idle = Idle { since: now, check_at: now + between_looks(limit), glance_at: None, ..*idle };
            return false;
        }
        let end = idle.since + limit;
        idle.check_at = idle.check_at.min(end);
        // The first look at something that may be idle; how far ahead of the end it is does no harm.
        if limit > GLANCE_BEFORE && now < end && now + GLANCE_BEFORE + between_looks(limit) >= end {
            idle.glance_at.get_or_insert(end.saturating_sub(GLANCE_BEFORE).max(now));
        }
        now >= end
    }
}

/// Often enough to be exact to a part of the limit, seldom enough to cost nothing.
fn between_looks(limit: Duration) -> Duration {
    (limit / IDLE_LOOKS).clamp(IDLE_LOOK_SHORTEST, IDLE_LOOK_LONGEST)
}
