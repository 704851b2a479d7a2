//! A queue and what runs: the part that all simple laws share. What was killed for want of memory goes to its front.

use std::collections::VecDeque;

use crate::model::{Attempt, AttemptId, Cause, Exit, JobId, Outcome, Verdict};
use crate::policy::scheduler::{Effect, End, Next};
use crate::policy::verdict::Judgement;

/// The queue, and what runs, the oldest first.
#[derive(Debug)]
pub struct Pool {
    queue: VecDeque<AttemptId>,
    /// The oldest first.
    pub running: Vec<AttemptId>,
    orders: Vec<Effect>,
    finished: bool,
}

impl Pool {
    /// So many jobs wait.
    pub fn new(jobs: usize) -> Pool {
        let first = |job| AttemptId { job: JobId(job), number: 1 };
        Pool {
            queue: (0..jobs as u32).map(first).collect(),
            running: Vec::new(),
            orders: Vec::new(),
            finished: false,
        }
    }

    /// Starts the next, if there is one.
    pub fn start(&mut self) -> bool {
        let Some(id) = self.queue.pop_front() else { return false };
        self.running.push(id);
        self.orders.push(Effect::Start(Attempt { id, slot: 0 }, Vec::new()));
        true
    }

    /// Gives an order about what runs.
    pub fn order(&mut self, effect: Effect) {
        self.orders.push(effect);
    }

    /// Takes in an end: what did not pass runs again.
    pub fn ended(&mut self, end: &End) {
        self.running.retain(|id| *id != end.id);
        let passed = end.exit == Some(Exit::Code(0));
        let (outcome, cause) =
            if passed { (Outcome::Exited, Cause::Own) } else { (Outcome::Evicted, Cause::Budget) };
        if !passed {
            self.queue.push_front(AttemptId { number: end.id.number + 1, ..end.id });
        }
        let next = if passed { Next::Done(Verdict::Pass) } else { Next::Again };
        self.orders.push(Effect::Judged(end.id, Judgement { outcome, cause }, next));
    }

    /// All orders since the last call.
    pub fn orders(&mut self) -> Vec<Effect> {
        if self.running.is_empty() && self.queue.is_empty() && !self.finished {
            self.finished = true;
            self.orders.push(Effect::Finish);
        }
        std::mem::take(&mut self.orders)
    }
}
