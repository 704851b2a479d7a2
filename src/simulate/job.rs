//! What a modelled job does, and an attempt of it.

use super::curve::{Curve, Stretch};
use crate::model::AttemptId;

/// What a job does when nothing disturbs it. Sizes in bytes, times in seconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// For people.
    pub name: String,
    /// Jobs of one group are likely to be alike.
    pub group: u32,
    /// Memory that nobody can take back, by its own progress.
    pub memory: Curve,
    /// How long it takes alone.
    pub duration: f64,
    /// Processors that it keeps busy.
    pub cpus: f64,
    /// Processes that it consists of; the kernel's victim is one of them, and takes the others along.
    pub processes: u32,
    /// Bytes of files that it reads: page cache of the run.
    pub cache: f64,
    /// What it was said to need.
    pub declared: Option<f64>,
    /// Its own `memory.max`.
    pub limit: Option<f64>,
}

impl Plan {
    /// A job of one process that keeps one processor busy.
    pub fn new(name: impl Into<String>, memory: Curve, duration: f64) -> Plan {
        Plan {
            name: name.into(),
            group: 0,
            memory,
            duration,
            cpus: 1.0,
            processes: 1,
            cache: 0.0,
            declared: None,
            limit: None,
        }
    }

    /// The most that it holds while it runs.
    pub fn peak(&self) -> f64 {
        let knots = self.memory.knots().iter();
        knots
            .filter(|knot| knot.0 <= self.duration)
            .map(|knot| knot.1)
            .fold(self.memory.at(self.duration), f64::max)
    }
}

/// An attempt that lives.
#[derive(Debug, Clone)]
pub(super) struct Live {
    pub id: AttemptId,
    /// Seconds of its own work that are done.
    pub progress: f64,
    /// Where on its curve that is.
    pub stretch: Stretch,
    pub state: State,
    pub memory: f64,
    pub peak: f64,
    pub cpu_time: f64,
    /// Part of its full speed that the processors allow.
    pub share: f64,
}

/// How an attempt stands. Times of the machine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum State {
    Starting {
        at: f64,
    },
    Running,
    /// Told to stand still, and still going.
    Freezing {
        at: f64,
    },
    Frozen,
    /// Its memory is back at that time.
    Dying {
        at: f64,
        death: Death,
    },
}

/// Who killed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// We.
    Ordered,
    /// The kernel, since the run's cap was full.
    Budget,
    /// The kernel, since its own limit was full.
    Own,
    /// The kernel, since the machine's memory was out.
    Outside,
}

impl Live {
    pub fn new(id: AttemptId, plan: &Plan, at: f64) -> Live {
        let mut stretch = Stretch::NONE;
        stretch.follow(&plan.memory, 0.0);
        Live {
            id,
            progress: 0.0,
            stretch,
            state: State::Starting { at },
            memory: 0.0,
            peak: 0.0,
            cpu_time: 0.0,
            share: 1.0,
        }
    }

    /// Whether it works.
    pub fn works(&self) -> bool {
        matches!(self.state, State::Running | State::Freezing { .. })
    }

    /// Bytes a second that it would take more, if there were memory.
    pub fn slope(&self) -> f64 {
        if self.works() { self.stretch.slope * self.share } else { 0.0 }
    }

    pub fn is_dying(&self) -> bool {
        matches!(self.state, State::Dying { .. })
    }

    /// When its state changes by itself.
    pub fn next_change(&self) -> f64 {
        match self.state {
            State::Starting { at } | State::Freezing { at } | State::Dying { at, .. } => at,
            State::Running | State::Frozen => f64::INFINITY,
        }
    }
}
