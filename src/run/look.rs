//! The governor's eyes: one reading of the run, its attempts and the machine.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use super::live::{Live, LiveSet};
use crate::kernel::ground::Ground;
use crate::kernel::sensors::Sensors;
use crate::model::reading::{JobReading, Reading};
use crate::model::{AttemptId, Bytes, Profile};
use crate::policy::governor;
use crate::policy::tuning::CPU_WINDOW;

/// Page cache below this part of what is charged to the run is not looked for in every attempt.
const LITTLE_CACHE: u64 = 16;

/// What the governor is given to look at, and to go by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outlook {
    /// Memory that is visible here.
    pub memory: Bytes,
    /// Logical processors.
    pub cpus: usize,
    /// So many jobs may run whatever processors they use.
    pub usual_jobs: usize,
    /// Whether `/proc/pressure` is this machine's own, and not that of a container's host.
    pub own_machine: bool,
    /// The editor's v2 group, where it has one.
    pub editor: Option<PathBuf>,
}

impl Outlook {
    /// The law's settings, with what `profile` says of them.
    pub fn settings(&self, profile: &Profile) -> governor::Settings {
        let line = |percent: f64| Bytes((self.memory.0 as f64 * percent / 100.0) as u64);
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        governor::Settings {
            budget: profile.budget.memory_max,
            yellow: line(profile.pressure.yellow),
            orange: line(profile.pressure.orange),
            red: line(profile.pressure.red),
            cpus: number(self.cpus),
            jobs: number(self.usual_jobs),
            max_pressure: (profile.pressure.stall * 10.0) as u64,
        }
    }
}

/// All sensors of a run.
#[derive(Debug)]
pub(super) struct Eyes {
    sensors: Sensors,
    /// When processor time was read last.
    cpu_read: Option<Duration>,
    /// What was seen of the attempts last, when, and what the run was charged then.
    seen: Seen,
}

#[derive(Debug, Default)]
struct Seen {
    jobs: Vec<JobReading>,
    at: Duration,
    charged: Bytes,
}

/// While the run as a whole does not change by more than this, no attempt is looked at by itself.
const CHANGED: u64 = 1 << 20;

/// But for so long at the most: one may grow by what another gives back.
const SEEN_FOR: Duration = Duration::from_secs(1);

impl Eyes {
    pub fn open(ground: &Ground, outlook: &Outlook) -> Eyes {
        let sensors = Sensors::open(ground, outlook.own_machine, outlook.editor.as_deref());
        Eyes { sensors, cpu_read: None, seen: Seen::default() }
    }

    /// What is not there to look at.
    pub fn absent(&self) -> Vec<String> {
        self.sensors.absent().into_iter().map(str::to_owned).collect()
    }

    /// Looks, at `now`; at processor time only where that is asked for, and only now and then.
    pub fn look(&mut self, now: Duration, live: &LiveSet, wants_cpu: bool) -> Reading {
        let with_cpu = wants_cpu && self.cpu_read.is_none_or(|then| now.saturating_sub(then) >= CPU_WINDOW);
        if with_cpu {
            self.cpu_read = Some(now);
        }
        let run = self.sensors.run();
        let unchanged = run.is_some_and(|run| self.seen.is_still_true(now, run.charged, live));
        let jobs = if unchanged && !with_cpu {
            self.seen.jobs.clone()
        } else {
            let much_cache = run.is_some_and(|run| run.cache.0 > run.charged.0 / LITTLE_CACHE);
            let jobs = look_at_each(live, much_cache, with_cpu);
            self.seen =
                Seen { jobs: jobs.clone(), at: now, charged: run.map_or(Bytes(0), |run| run.charged) };
            jobs
        };
        let sum = Bytes(jobs.iter().map(|job| job.memory.0).sum());
        Reading {
            usage: run.map_or(sum, |run| Bytes(run.charged.0 - run.cache.0)),
            charged: run.map_or(sum, |run| run.charged),
            cap: run.and_then(|run| run.cap),
            available: self.sensors.available(),
            stalls: self.sensors.stalls(),
            refaults: self.sensors.refaults(),
            high: self.sensors.high(),
            jobs,
        }
    }
}

impl Seen {
    fn is_still_true(&self, now: Duration, charged: Bytes, live: &LiveSet) -> bool {
        now.saturating_sub(self.at) < SEEN_FOR
            && charged.0.abs_diff(self.charged.0) < CHANGED
            && live.ids_are(self.jobs.iter().map(|job| job.id))
    }
}

fn look_at_each(live: &LiveSet, without_cache: bool, with_cpu: bool) -> Vec<JobReading> {
    let look = |(id, live): &(AttemptId, Rc<Live>)| {
        let memory = live.sensors().memory(without_cache).or(live.samples.borrow().memory)?;
        let cpu = if with_cpu { live.sensors().cpu() } else { None };
        Some(JobReading { id: *id, memory, cpu })
    };
    live.all().iter().filter_map(look).collect()
}
