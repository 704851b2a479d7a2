//! Whom the kernel kills when memory is out. It looks at processes, and takes a job's others along
//! (`memory.oom.group`).

use super::job::{Death, Live, State};
use super::machine::Machine;

/// `oom_score_adj` of jobs and editor, in parts of the machine's memory.
const JOB_BONUS: f64 = 0.9;
const EDITOR_BONUS: f64 = 0.3;

/// Of a program of several processes, such as an editor, the largest has this part.
const LARGEST: f64 = 0.5;

#[derive(Clone, Copy)]
enum Victim {
    Job(usize),
    Editor,
    Neighbour,
}

impl Machine {
    /// The run's cap is full: its largest process goes. It is waited for before another one goes.
    pub(super) fn kill_in_run(&mut self) {
        if self.dies_of(Death::Budget) {
            return;
        }
        if let Some(at) = self.largest() {
            self.tolls.budget_kills += u32::from(!self.live[at].is_dying());
            self.doom(at, Death::Budget);
        }
    }

    /// The machine is out of memory: whoever has the most points goes.
    pub(super) fn kill_anywhere(&mut self) {
        if self.dies_of(Death::Outside) {
            return;
        }
        self.tolls.machine_out += 1;
        match self.highest_score() {
            Victim::Job(at) => self.doom(at, Death::Outside),
            Victim::Editor => {
                self.tolls.editor_killed += 1;
                (self.editor_lives, self.swapped) = (false, 0.0);
            }
            Victim::Neighbour => (self.neighbour_lives, self.swapped) = (false, 0.0),
        }
    }

    pub(super) fn dies_of(&self, which: Death) -> bool {
        self.live.iter().any(|live| matches!(live.state, State::Dying { death, .. } if death == which))
    }

    /// The kernel's choice may fall on what dies already: then it waits for that.
    fn doom(&mut self, at: usize, death: Death) {
        match &mut self.live[at].state {
            State::Dying { death: before, .. } => *before = death,
            _ => self.die(at, death),
        }
    }

    fn rss(&self, live: &Live) -> f64 {
        live.memory / f64::from(self.plans[live.id.job.0 as usize].processes)
    }

    fn largest(&self) -> Option<usize> {
        let size = |at: &usize| self.rss(&self.live[*at]);
        (0..self.live.len()).max_by(|a, b| size(a).total_cmp(&size(b)))
    }

    fn highest_score(&self) -> Victim {
        let whole = self.hardware.memory;
        let jobs = self
            .live
            .iter()
            .enumerate()
            .map(|(at, live)| (JOB_BONUS * whole + self.rss(live), Victim::Job(at)));
        let editor = EDITOR_BONUS * whole + LARGEST * self.editor();
        let others = [
            (if self.editor_lives { editor } else { 0.0 }, Victim::Editor),
            (if self.neighbour_lives { self.neighbour() } else { 0.0 }, Victim::Neighbour),
        ];
        let all = jobs.filter(|(score, _)| *score > JOB_BONUS * whole).chain(others);
        all.max_by(|a, b| a.0.total_cmp(&b.0)).map_or(Victim::Neighbour, |(_, victim)| victim)
    }
}
