//! The governor's eyes: one reading of the run, its attempts and the machine.

use std::path::PathBuf;
use std::time::Duration;

use super::live::LiveSet;
use crate::kernel::ground::Ground;
use crate::kernel::sensors::Sensors;
use crate::model::reading::{JobReading, Reading};
use crate::model::{Bytes, Profile};
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
}

impl Eyes {
    pub fn open(ground: &Ground, outlook: &Outlook) -> Eyes {
        let sensors = Sensors::open(ground, outlook.own_machine, outlook.editor.as_deref());
        Eyes { sensors, cpu_read: None }
    }

    /// What is not there to look at.
    pub fn absent(&self) -> Vec<&'static str> {
        self.sensors.absent()
    }

    /// Looks, at `now`.
    pub fn look(&mut self, now: Duration, live: &LiveSet) -> Reading {
        let with_cpu = self.cpu_read.is_none_or(|then| now.saturating_sub(then) >= CPU_WINDOW);
        if with_cpu {
            self.cpu_read = Some(now);
        }
        let run = self.sensors.run();
        let much_cache = run.is_some_and(|run| run.cache.0 > run.charged.0 / LITTLE_CACHE);
        let jobs: Vec<JobReading> = live
            .all()
            .iter()
            .filter_map(|(id, live)| {
                let memory = live.sensors().memory(much_cache).or(live.samples.borrow().memory)?;
                let cpu = if with_cpu { live.sensors().cpu() } else { None };
                Some(JobReading { id: *id, memory, cpu })
            })
            .collect();
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
