//! How many jobs may run, what stands still, what is evicted: so that the machine survives whatever the tests ask for.
//!
//! Optimistic: it starts what may fit, watches how memory grows, and takes back a mistake while that is cheap.
//!
//! ```text
//!                        ┌──────────── grows beyond what is left ───────────┐
//!                        │                                                  ▼
//! queued ── admit ──▶ active ── brake: newest first, never the last one ──▶ frozen
//!    ▲                   │                                                  │ thaw: room again
//!    │                   ├──────────────────────────────────────────────────┤
//!    └──── evict: least work per byte first, never the most senior ◀────────┘ or frozen as long as it had worked
//!
//! GREEN nothing held ─ YELLOW starts held ─ ORANGE jobs frozen ─ RED jobs evicted
//! ```
//!
//! The budget follows the machine: `min(budget.memory_max, used by the run + available - line)`, and the kernel's cap
//! follows the budget. Pressure (PSI) holds starts only; it never kills. The law, its figures and what simulation
//! says of it: docs/design/governor.md.
//!
//! - [`track`], [`job`]: what is known of a job; how it grew
//! - [`finished`]: those that have ended; [`estimate`]: how large one will become that runs
//! - [`room`]: the budget of this moment
//! - [`brake`]: freeze and thaw; [`evict`]: kill and requeue
//! - [`admit`]: may this job start now
//! - [`pressure`]: who is kept waiting
//! - [`standing`]: green to red, and what was decided
//! - [`membership`]: jobs that come and go
//! - [`by_hand`]: what users want of their own jobs
//! - [`seen`]: what people are shown

mod admit;
mod brake;
mod by_hand;
mod estimate;
mod evict;
mod finished;
mod job;
mod membership;
mod pressure;
mod room;
mod seen;
mod standing;
mod track;

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::governor::{Decision, Governed};
use crate::model::{AttemptId, Bytes, JobId, reading::Reading};
use estimate::Known;
use job::{Job, Phase};
use pressure::Pressure;
use room::Room;
use standing::Standing;

pub use admit::{Admission, Answer, Hold};
pub use seen::Seen;

/// What the governor is given.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// The budget's `memory_max`; `None` where only the machine itself is the limit.
    pub budget: Option<Bytes>,
    /// With less than this available nothing starts.
    pub yellow: Bytes,
    /// With less than this available what grows is frozen.
    pub orange: Bytes,
    /// With less than this available something is evicted. What the editor may grow by while we look away.
    pub red: Bytes,
    /// Logical processors.
    pub cpus: u32,
    /// So many jobs may run whatever processors they use; more only while measured use leaves room.
    pub jobs: u32,
    /// Part of the time, in thousandths, for which the editor may be kept waiting before starts are held.
    pub max_pressure: u64,
}

/// What is known of a job before it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobFacts {
    /// Jobs of one group are likely to be alike.
    pub group: u32,
    /// What it was said to need.
    pub memory: Option<Bytes>,
    /// Whether it may be killed and run again.
    pub restartable: bool,
    /// For how many of the usual number of jobs it counts.
    pub weight: u32,
}

/// What the governor does about a running job, or to the run's cap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Let it stand still.
    Freeze(AttemptId),
    /// Let it go on.
    Thaw(AttemptId),
    /// Kill it; it runs again.
    Evict(AttemptId),
    /// Set the run's `memory.max`.
    Cap(Bytes),
}

/// How a job's attempt ended, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// By itself: what it came to is worth knowing.
    Finished {
        /// The most that it held, as the kernel counted.
        peak: Option<Bytes>,
    },
    /// There was no room for it: it runs again.
    Evicted {
        /// The most that it held, as the kernel counted.
        peak: Option<Bytes>,
    },
    /// In a way that teaches nothing.
    Otherwise,
}

/// The law's state.
#[derive(Debug)]
pub struct Governor {
    settings: Settings,
    /// By number.
    jobs: Vec<Job>,
    /// Numbers that nobody has any more.
    free: BTreeSet<u32>,
    /// Numbers of those that run, the most senior first.
    running: Vec<usize>,
    known: Known,
    next_seniority: u32,
    room: Room,
    pressure: Pressure,
    standing: Standing,
    /// Whether more was needed at the last look than there was.
    pressed: bool,
}

impl Governor {
    /// For these jobs.
    pub fn new(settings: Settings, jobs: &[JobFacts]) -> Governor {
        let job = |(number, facts): (u32, &JobFacts)| Job::new(JobId(number), facts);
        Governor {
            jobs: (0..).zip(jobs).map(job).collect(),
            free: BTreeSet::new(),
            running: Vec::new(),
            known: Known::default(),
            next_seniority: 0,
            room: Room::new(settings),
            pressure: Pressure::default(),
            standing: Standing::default(),
            pressed: false,
            settings,
        }
    }

    /// Takes in what the sensors said.
    pub fn sense(&mut self, now: Duration, reading: &Reading) {
        for seen in &reading.jobs {
            let Some(job) = self.jobs.get_mut(seen.id.job.0 as usize) else { continue };
            if job.attempt == seen.id.number {
                job.sense(now, seen);
            }
        }
        // One that is not seen any more is gone, and its memory with it; its end is told next.
        for at in &self.running {
            self.jobs[*at].miss(now);
        }
        self.room.sense(now, reading, self.running.iter().map(|at| &self.jobs[*at]));
        self.estimate_all();
        self.pressure.sense(now, reading);
        self.standing.sense(&self.room, &reading.stalls);
    }

    /// Takes `gap` out of everybody's time: nobody looked, and nobody can say what was done in it.
    pub fn forgive(&mut self, gap: Duration) {
        self.jobs.iter_mut().for_each(|job| job.forgive(gap));
        self.standing.forgive(gap);
    }

    /// An attempt starts.
    pub fn started(&mut self, now: Duration, id: AttemptId) {
        let at = id.job.0 as usize;
        let job = &mut self.jobs[at];
        let seniority = *job.seniority.get_or_insert_with(|| {
            self.next_seniority += 1;
            self.next_seniority
        });
        job.start(now, id.number);
        job.estimate = self.known.estimate(job, self.room.whole(), self.room.tick());
        let place = self.running.partition_point(|other| self.jobs[*other].seniority < Some(seniority));
        self.running.insert(place, at);
        self.standing.running(self.running.len());
    }

    /// An attempt's process has exec'd: from now on it can be frozen.
    pub fn born(&mut self, id: AttemptId) {
        self.jobs[id.job.0 as usize].born = true;
    }

    /// An attempt has run for long when this law hears of it: it has worked for so long, and stands still if another law
    /// has frozen it.
    pub fn resume(&mut self, now: Duration, id: AttemptId, worked: Duration, frozen: bool) {
        let job = &mut self.jobs[id.job.0 as usize];
        if job.is_active() {
            job.now.age = job.now.age.max(worked.as_secs_f64());
            if frozen {
                job.phase = Phase::Frozen { since: now };
            }
        }
    }

    /// An attempt has been told to end, and has its grace: it goes on, and is neither frozen nor evicted any more.
    pub fn stopping(&mut self, now: Duration, id: AttemptId) {
        let job = &mut self.jobs[id.job.0 as usize];
        (job.stopping, job.pinned) = (true, false);
        if job.frozen_since().is_some() {
            job.thaw(now);
        }
    }

    /// An attempt is killed for a reason of its own: its memory is on its way back.
    pub fn ending(&mut self, id: AttemptId) {
        self.jobs[id.job.0 as usize].phase = Phase::Dying;
    }

    /// An attempt is over.
    pub fn ended(&mut self, now: Duration, id: AttemptId, ending: Ending) {
        let at = id.job.0 as usize;
        let seniority = self.jobs[at].seniority;
        let place = self.running.partition_point(|other| self.jobs[*other].seniority < seniority);
        if self.running.get(place) == Some(&at) {
            self.running.remove(place);
        }
        let job = &mut self.jobs[at];
        self.room.gone(job.now.memory);
        match ending {
            Ending::Finished { peak } => {
                job.note_peak(now, peak);
                self.known.learn(job);
            }
            Ending::Evicted { peak } => job.note_eviction(peak),
            Ending::Otherwise => {}
        }
        job.phase = Phase::Queued { since: now };
        // Where the ceiling is far, what was learned can wait for the next look: hundreds of short jobs end between two.
        if matches!(ending, Ending::Finished { .. }) && self.room.is_near() {
            self.estimate_all();
        }
    }

    /// What is to be done now about what runs.
    pub fn act(&mut self, now: Duration) -> Vec<Act> {
        let mut acts = Vec::new();
        if !self.room.is_known() {
            return acts;
        }
        let need = self.brake(now, &mut acts);
        self.thaw(now, need, &mut acts);
        self.evict(now, need, &mut acts);
        acts.extend(self.room.cap().map(Act::Cap));
        acts
    }

    /// Whether nobody is kept waiting for longer than the line allows.
    pub fn is_calm(&self) -> bool {
        self.pressure.over(self.settings.max_pressure).is_none()
    }

    /// When to look again. `settling`: whether someone waits until it is calm, though nothing runs.
    pub fn next_look(&self, settling: bool) -> Option<Duration> {
        (settling || !self.running.is_empty()).then(|| self.room.next_look(self.standing.is_held()))
    }

    /// Whether the ceiling is near enough that the end of a job is worth a look.
    pub fn is_near(&self) -> bool {
        self.room.is_near()
    }

    /// Why not all that wait could start in this step, although there is a slot for them; `waiting`: for how many.
    pub fn held(&mut self, hold: Option<Hold>, waiting: usize) {
        self.standing.hold(hold, waiting);
    }

    /// What was decided since the last call, each with its reason.
    pub fn decisions(&mut self, now: Duration) -> Vec<Decision> {
        let frozen = self.running().filter(|job| job.braked_since().is_some()).count();
        let dying = self.running.iter().any(|at| self.jobs[*at].evicting);
        self.standing.settle(now, frozen, dying, &self.room)
    }

    /// The run so far.
    pub fn summary(&self, now: Duration) -> Governed {
        self.standing.summary(now)
    }

    /// Memory of those that were killed and are not gone yet.
    fn coming(&self) -> f64 {
        self.running().filter(|job| job.phase == Phase::Dying).map(|job| job.now.memory).sum()
    }

    fn running(&self) -> impl Iterator<Item = &Job> {
        self.running.iter().map(|at| &self.jobs[*at])
    }

    /// Once for all that is decided until the next look or end: it is what costs the most.
    fn estimate_all(&mut self) {
        let (whole, tick) = (self.room.whole(), self.room.tick());
        for at in &self.running {
            let job = &mut self.jobs[*at];
            job.estimate = self.known.estimate(job, whole, tick);
        }
    }
}
