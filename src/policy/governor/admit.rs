//! May this job start now?
//!
//! ```text
//! pressing, or frozen jobs and hardly any room? ── yes ──▶ nobody starts
//!     │ no
//! nothing runs?                                 ── yes ──▶ start: one may always run
//!     │ no
//! editor kept waiting (PSI)?                    ── yes ──▶ nobody starts
//!     │ no
//! more than the usual number, processors busy?  ── yes ──▶ nobody starts
//!     │ no
//! fits by estimate?  or a bet worth its risk?   ── yes ──▶ start, and reserve what it may take
//!     │ no
//! evicted, and waiting for long?                ── yes ──▶ nobody overtakes it
//!     │ no
//!     └─▶ wait; the next in the queue is asked
//! ```

use std::time::Duration;

use super::job::Phase;
use super::{Act, Governor};
use crate::model::JobId;
use crate::model::governor::{Signal, State};
use crate::policy::tuning::{
    AT_ONCE, BETS_UNTIL, CAUTION, CERTAIN, EVICTED_PATIENCE, PROCESSORS_FREE, UNKNOWN_SIZE,
};

/// Starts of one step: what they have reserved.
#[derive(Debug)]
pub struct Admission {
    closed: Option<Hold>,
    /// Expected use of all that runs, at the same time, and its variance.
    expected: f64,
    variance: f64,
    running: usize,
    weight: u32,
    active: bool,
    someone_grows: bool,
    /// Growing jobs of which nothing is known.
    unknown: usize,
    coming: bool,
    cpus: f64,
    asked: usize,
    /// Whether who is asked about next need not wait for processors.
    regardless: bool,
    /// Groups of which a job that never ran was refused: the others are no better, and room only shrinks.
    refused: Vec<(u32, Hold)>,
}

/// May it start?
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Answer {
    /// Yes.
    Start,
    /// Not now; others may.
    Wait(Hold),
    /// Not now, and nobody behind it.
    Stop(Hold),
}

/// Why not.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hold {
    /// What was looked at; `None` for what the user need not hear of: processors are busy.
    pub signal: Option<Signal>,
    /// What it said.
    pub value: f64,
    /// The line that it was held against.
    pub line: f64,
}

impl Admission {
    /// Whether nobody may start beside those that run, whoever asks.
    pub fn is_closed(&self) -> bool {
        self.running > 0 && self.closed.is_some()
    }

    /// So much weight runs beside the jobs: tokens of make's jobserver.
    pub fn beside(&mut self, weight: u32) {
        self.weight = self.weight.saturating_add(weight);
    }

    /// Whether who is asked about next may start however busy the processors are: somebody of whom nothing runs. They are
    /// shared, as memory is not.
    pub fn regardless_of_processors(&mut self, yes: bool) {
        self.regardless = yes;
    }
}

impl Governor {
    /// Begins a step's starts.
    pub fn admission(&self) -> Admission {
        let coming = self.coming();
        let (tick, horizon) = (self.room.tick(), self.room.horizon());
        let (mut expected, mut variance, mut cpus, mut unknown) = (coming, 0.0, 0.0, 0);
        let (mut need, mut active, mut frozen, mut someone_grows) = (0.0, false, false, false);
        for job in self.running() {
            let estimate = job.estimate;
            match job.phase {
                Phase::Active => {
                    // What was declared is no guess, nor is what all alike came to: it will be needed, and soon.
                    let certain = estimate.deviation < CERTAIN * estimate.mean;
                    let part = if job.declared.is_some() || certain { 1.0 } else { AT_ONCE };
                    let (remaining, growing) = (job.remaining(), job.is_growing(tick));
                    expected += job.now.memory + part * remaining;
                    variance += estimate.deviation.powi(2);
                    cpus += job.now.cpus.unwrap_or_else(|| self.known.cpus(job.group));
                    need += (job.now.slope * horizon).min(remaining);
                    unknown += usize::from(growing && !self.known.knows_group(job.group));
                    (active, someone_grows) = (true, someone_grows || growing);
                }
                Phase::Frozen { .. } => {
                    expected += estimate.mean;
                    frozen |= !job.pinned;
                }
                Phase::Dying | Phase::Queued { .. } => {}
            }
        }
        let left = self.room.before_freezing();
        let closed = if self.is_pressing(need) || (frozen && left < 0.05 * self.room.whole()) {
            Some(Hold { signal: Some(Signal::Memory), value: left, line: need + self.room.guard() })
        } else {
            self.pressure.over(self.settings.max_pressure).map(|(signal, value, line)| Hold {
                signal: Some(signal),
                value: value as f64,
                line: line as f64,
            })
        };
        Admission {
            closed,
            expected,
            variance,
            running: self.running.len(),
            weight: self.running().fold(0, |sum, job| sum.saturating_add(job.weight)),
            active,
            someone_grows,
            unknown,
            coming: coming > 0.0,
            cpus,
            asked: 0,
            regardless: false,
            refused: Vec::new(),
        }
    }

    /// May `job` start as the next one of this step?
    pub fn ask(&self, admission: &mut Admission, now: Duration, job: JobId) -> Answer {
        let first = admission.asked == 0;
        admission.asked += 1;
        if admission.running == 0 {
            return self.start(admission, job, 0.0, f64::INFINITY);
        }
        if let Some(hold) = admission.closed {
            return Answer::Stop(hold);
        }
        let job_id = job;
        let job = &self.jobs[job.0 as usize];
        let extra = admission.weight.saturating_add(job.weight) > self.settings.jobs;
        if extra && admission.active && !admission.regardless {
            let busy = admission.cpus + PROCESSORS_FREE * self.known.cpus(job.group);
            let processors = f64::from(self.settings.cpus);
            if busy > processors {
                return Answer::Stop(Hold { signal: None, value: busy, line: processors });
            }
        }
        let cpus = || self.known.cpus(job.group);
        if !self.room.is_known() {
            return self.start(admission, job_id, cpus(), f64::INFINITY);
        }
        let fresh = job.seniority.is_none() && job.declared.is_none();
        if fresh && let Some((_, hold)) = admission.refused.iter().find(|(group, _)| *group == job.group) {
            return Answer::Wait(*hold);
        }
        let estimate = match fresh {
            true => self.known.estimate_fresh(job.group),
            false => self.known.estimate(job, self.room.whole(), self.room.tick()),
        };
        let knows = self.known.knows_group(job.group) || job.declared.is_some();
        let mean = if !knows && self.known.is_empty() && job.floor == 0.0 {
            // Of nothing known: half of what those have that run, so that the first fill is not a flood.
            let (count, sum) = self.running().fold((0.0, 0.0), |(n, sum), job| (n + 1.0, sum + job.now.top));
            estimate.mean.max(0.5 * sum / f64::max(count, 1.0))
        } else {
            estimate.mean
        };
        let room = self.room.for_starts() - self.room.guard();
        let gap = room - admission.expected - CAUTION * admission.variance.sqrt();
        let deviation = (admission.variance + estimate.deviation.powi(2)).sqrt();
        let fits = admission.expected + mean + CAUTION * deviation <= room;
        let bet = job.declared.is_none()
            && job.evicted < BETS_UNTIL
            && job.floor <= gap
            && !admission.coming
            && self
                .known
                .is_worth(job, gap)
                .unwrap_or_else(|| !admission.someone_grows && gap > 0.03 * self.room.whole() && first);
        let may_probe = knows || self.may_probe(admission, room);
        if (fits || bet) && may_probe {
            admission.variance += estimate.deviation.powi(2);
            admission.unknown += usize::from(!knows);
            return self.start(admission, job_id, cpus(), gap.max(job.floor).min(mean.max(job.floor)));
        }
        let hold = Hold { signal: Some(Signal::Memory), value: gap, line: mean };
        if fresh {
            admission.refused.push((job.group, hold));
        }
        let waited = match job.phase {
            Phase::Queued { since } => now.saturating_sub(since),
            _ => Duration::ZERO,
        };
        if job.evicted > 0 && waited > EVICTED_PATIENCE { Answer::Stop(hold) } else { Answer::Wait(hold) }
    }

    /// May a process more run in one of the jobs that run, in the room that the job has? Not while anything is held or
    /// stands still, and never beyond the usual number.
    pub fn spare(&self, admission: &mut Admission) -> bool {
        let calm = self.standing.shown() == State::Green && !self.standing.is_held();
        let may = calm
            && admission.closed.is_none()
            && admission.running > 0
            && admission.weight < self.settings.jobs;
        admission.weight = admission.weight.saturating_add(u32::from(may));
        may
    }

    /// Evicts until `job` would fit, for somebody of whom nothing runs: of those that `may` be, and that may be evicted at
    /// all, the cheapest first. Nothing where that would not help, or where memory is on its way back already.
    pub fn make_room(&mut self, job: JobId, mut may: impl FnMut(JobId) -> bool) -> Vec<Act> {
        let admission = self.admission();
        if admission.coming || admission.closed.is_some() || !self.room.is_known() {
            return Vec::new();
        }
        let job = &self.jobs[job.0 as usize];
        let estimate = self.known.estimate(job, self.room.whole(), self.room.tick());
        let deviation = (admission.variance + estimate.deviation.powi(2)).sqrt();
        let room = self.room.for_starts() - self.room.guard();
        let gap = room - admission.expected - CAUTION * deviation;
        let (mut deficit, mut victims) = (estimate.mean - gap, Vec::new());
        for at in self.by_cost() {
            if deficit <= 0.0 {
                break;
            }
            let victim = &self.jobs[at];
            if may(victim.id) {
                deficit -= victim.now.memory + if victim.is_active() { victim.remaining() } else { 0.0 };
                victims.push(at);
            }
        }
        let mut acts = Vec::new();
        if deficit <= 0.0 {
            victims.into_iter().for_each(|at| self.kill(at, Signal::Memory, gap, estimate.mean, &mut acts));
        }
        acts
    }

    /// Whether one more may start of which nothing is known, beside those that are still growing. A flood of them would
    /// fill the room before any has shown what it needs; where there is plenty that does no harm.
    fn may_probe(&self, admission: &Admission, room: f64) -> bool {
        let unknown = admission.unknown + 1;
        unknown <= self.settings.cpus.max(1) as usize
            || admission.expected + unknown as f64 * UNKNOWN_SIZE <= room
    }

    fn start(&self, admission: &mut Admission, job: JobId, cpus: f64, reserved: f64) -> Answer {
        let job = &self.jobs[job.0 as usize];
        let estimate = self.known.estimate(job, self.room.whole(), self.room.tick());
        admission.expected += reserved.min(estimate.mean);
        admission.cpus += cpus;
        admission.running += 1;
        admission.weight = admission.weight.saturating_add(job.weight);
        (admission.active, admission.someone_grows) = (true, true);
        Answer::Start
    }
}
