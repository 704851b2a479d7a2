//! What is kept of a run for its picture.

use super::machine::Machine;
use crate::model::governor::{Decision, State};

/// How things stood at one look.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Seconds.
    pub at: f64,
    /// Bytes of the run that nobody can take back.
    pub run: f64,
    /// Bytes of the editor.
    pub editor: f64,
    /// Bytes of neighbour, kernel and the rest.
    pub others: f64,
    /// The run's `memory.max`.
    pub cap: f64,
    /// Attempts that live.
    pub running: usize,
    /// Of them, those that stand still.
    pub frozen: usize,
    /// The governor's word for it.
    pub state: State,
}

/// All of it, in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trace {
    /// At each look and each end.
    pub samples: Vec<Sample>,
    /// What was decided, and when.
    pub decisions: Vec<(f64, Decision)>,
    state: State,
}

impl Trace {
    pub(super) fn decided(&mut self, at: f64, decision: &Decision) {
        self.state = decision.state;
        self.decisions.push((at, *decision));
    }

    pub(super) fn sample(&mut self, machine: &Machine) {
        self.samples.push(Sample {
            at: machine.now,
            run: machine.run(),
            editor: machine.editor(),
            others: machine.neighbour() + machine.hardware.other,
            cap: machine.cap.min(machine.hardware.memory),
            running: machine.live.len(),
            frozen: machine.frozen(),
            state: self.state,
        });
    }
}
