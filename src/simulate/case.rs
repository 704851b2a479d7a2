//! A machine with a suite of jobs, and how the run on it is set up.

use super::job::Plan;
use super::machine::Hardware;
use crate::model::Bytes;
use crate::policy::governor::{self, JobFacts};
use crate::policy::scheduler::{JobSpec, Settings};

/// One thing to simulate.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// The machine.
    pub hardware: Hardware,
    /// The suite, in the order in which it is given.
    pub plans: Vec<Plan>,
    /// `budget.memory_max`.
    pub budget: Option<f64>,
    /// What is kept available for the editor.
    pub reserve: f64,
    /// Attempts at once, at most.
    pub slots: usize,
    /// Attempts at once, usually.
    pub jobs: u32,
    /// Of the machine's own chances.
    pub seed: u64,
}

/// Part of the time for which the editor may be kept waiting, in thousandths.
const MAX_PRESSURE: u64 = 300;

impl Case {
    /// What our own scheduler is given.
    pub fn settings(&self) -> Settings {
        let reserve = Bytes(self.reserve as u64);
        let governor = governor::Settings {
            budget: self.budget.map(|budget| Bytes(budget as u64)),
            yellow: reserve,
            orange: reserve,
            red: reserve,
            cpus: self.hardware.cpus,
            jobs: self.jobs,
            max_pressure: MAX_PRESSURE,
        };
        Settings { governor: Some(governor), ..Settings::of(self.slots) }
    }

    /// What is known of the jobs beforehand.
    pub fn specs(&self) -> Vec<JobSpec> {
        let facts = |plan: &Plan| JobFacts {
            group: plan.group,
            memory: plan.declared.map(|size| Bytes(size as u64)),
            restartable: true,
            weight: 1,
        };
        self.plans.iter().map(|plan| JobSpec::of(facts(plan))).collect()
    }

    /// What the run may use at the worst moment: the smallest it ever is.
    pub fn least_room(&self) -> f64 {
        let Hardware { memory, other, editor, neighbour, .. } = &self.hardware;
        let bends = editor.knots().iter().chain(neighbour.knots()).map(|knot| knot.0);
        let most = bends.map(|at| editor.at(at) + neighbour.at(at)).fold(0.0, f64::max);
        (memory - other - most - self.reserve).min(self.budget.unwrap_or(f64::INFINITY))
    }

    /// What it may use when it begins: where a cap stands that does not move.
    pub fn first_room(&self) -> f64 {
        let Hardware { memory, other, editor, neighbour, .. } = &self.hardware;
        let room = memory - other - editor.at(0.0) - neighbour.at(0.0) - self.reserve;
        room.min(self.budget.unwrap_or(f64::INFINITY))
    }

    /// The same with sizes told beforehand.
    pub fn declared(mut self) -> Case {
        for plan in &mut self.plans {
            plan.declared = Some(plan.peak());
        }
        self
    }
}
