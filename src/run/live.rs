//! The attempts that have a process now, and how they are stopped, killed and frozen.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, getpgid};
use tokio::sync::Notify;

use super::capture::Capture;
use crate::kernel::cgroup;
use crate::kernel::group::{Group, Lifeline};
use crate::kernel::pidfd;
use crate::kernel::process;
use crate::kernel::sensors::JobSensors;
use crate::kernel::tree::{self, Mark};
use crate::model::{AttemptId, Bytes, LimitName};

/// An attempt between spawn and evidence.
#[derive(Debug)]
pub struct Live {
    /// Its first process, which leads its process group.
    pub pid: u32,
    /// Its place among those that run.
    pub slot: u32,
    /// Its cgroups.
    pub group: Arc<Group>,
    /// What its processes carry in their environment.
    pub mark: Mark,
    /// Whether the first process is reaped, so that `pid` may be another's by now.
    pub reaped: Cell<bool>,
    /// Told when all of it is killed: from then on its end is waited for with little patience.
    pub killed: Notify,
    /// Whether all of it was killed while its first process lived: what is left of it then has not been left behind.
    pub felled: Cell<bool>,
    /// Whether all of it was asked to end, with SIGTERM: it has its grace then.
    pub asked_to_end: Cell<bool>,
    /// What it writes, where that is captured.
    pub capture: Option<Rc<RefCell<Capture>>>,
    /// What was measured where the kernel doesn't.
    pub samples: RefCell<Samples>,
    /// Its memory and processor time; opened at the first look, which a short job never sees.
    pub sensors: OnceCell<JobSensors>,
    /// Whether the governor holds it, and since when.
    pub frozen: Cell<Freezing>,
}

/// How long an attempt has been frozen, by the run's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct Freezing {
    before: Duration,
    since: Option<Duration>,
}

impl Freezing {
    /// All in all, until `now`.
    pub fn total(self, now: Duration) -> Duration {
        self.before + self.since.map_or(Duration::ZERO, |since| now.saturating_sub(since))
    }
}

/// Measurements of an attempt.
#[derive(Debug, Clone, Default)]
pub struct Samples {
    /// The memory seen last.
    pub memory: Option<Bytes>,
    /// The most memory seen.
    pub memory_peak: Option<Bytes>,
    /// The most tasks seen.
    pub tasks_peak: Option<u64>,
    /// The limit that was seen broken.
    pub over: Option<LimitName>,
}

/// All of them.
#[derive(Debug, Default)]
pub struct LiveSet {
    attempts: RefCell<BTreeMap<AttemptId, Rc<Live>>>,
    /// Spawns under way: children that are not in the set yet.
    starting: RefCell<BTreeMap<AttemptId, Lifeline>>,
    /// Our child that is no job's.
    guardian: u32,
    /// Whether the run's memory is near its ceiling, so that what is sampled is sampled often.
    pub near: Cell<bool>,
}

impl LiveSet {
    /// An empty one.
    pub fn new(guardian: u32) -> LiveSet {
        LiveSet { guardian, ..LiveSet::default() }
    }

    /// Notes that an attempt is on its way into the set.
    pub fn begin(&self, id: AttemptId, lifeline: Lifeline) {
        self.starting.borrow_mut().insert(id, lifeline);
    }

    /// Notes that it has come, or never will.
    pub fn began(&self, id: AttemptId) {
        self.starting.borrow_mut().remove(&id);
    }

    /// Whether a spawn is under way.
    pub fn is_starting(&self) -> bool {
        !self.starting.borrow().is_empty()
    }

    /// Kills all of an attempt, also one that is still being born.
    pub fn kill(&self, id: AttemptId) {
        match (self.get(id), self.starting.borrow().get(&id)) {
            (Some(live), _) => live.kill(&self.known()),
            (None, Some(lifeline)) => lifeline.cut(),
            (None, None) => {}
        }
    }

    /// Kills one that can't be born for want of memory. Returns whether it did.
    pub fn cut_if_out_of_memory(&self, id: AttemptId) -> bool {
        self.starting.borrow().get(&id).is_some_and(Lifeline::cut_if_out_of_memory)
    }

    /// Takes in an attempt whose process has exec'd.
    pub fn insert(&self, id: AttemptId, live: Rc<Live>) {
        self.attempts.borrow_mut().insert(id, live);
    }

    /// Lets go of one whose groups are empty.
    pub fn remove(&self, id: AttemptId) {
        self.attempts.borrow_mut().remove(&id);
    }

    /// One of them.
    pub fn get(&self, id: AttemptId) -> Option<Rc<Live>> {
        self.attempts.borrow().get(&id).cloned()
    }

    /// All of them.
    pub fn all(&self) -> Vec<(AttemptId, Rc<Live>)> {
        self.attempts.borrow().iter().map(|(id, live)| (*id, live.clone())).collect()
    }

    /// Whether these, in order, are all of them.
    pub fn ids_are(&self, ids: impl Iterator<Item = AttemptId>) -> bool {
        self.attempts.borrow().keys().copied().eq(ids)
    }

    /// Children of ours that are nobody's orphans.
    pub fn known(&self) -> Vec<u32> {
        let attempts = self.attempts.borrow();
        let leaders = attempts.values().filter(|live| !live.reaped.get()).map(|live| live.pid);
        leaders.chain([self.guardian]).collect()
    }
}

impl Live {
    /// Sends `signal` to the attempt's process group; what is stopped wakes up to see it.
    pub fn signal(&self, signal: i32) {
        let Ok(signal) = Signal::try_from(signal) else { return };
        self.asked_to_end.set(self.asked_to_end.get() || signal == Signal::SIGTERM);
        // The group's number stays ours until its leader is reaped.
        if !self.reaped.get() {
            let group = Pid::from_raw(self.pid.cast_signed());
            let _ = killpg(group, signal);
            if !matches!(signal, Signal::SIGSTOP | Signal::SIGTSTP | Signal::SIGCONT) {
                let _ = killpg(group, Signal::SIGCONT);
                self.signal_those_outside(signal, group);
            }
        }
    }

    /// Sends `signal` to what is in its cgroup and has left its process group: a daemon, too, may want to clean up.
    fn signal_those_outside(&self, signal: Signal, group: Pid) {
        let Some(dir) = self.group.v2() else { return };
        let outside = |pid: &u32| getpgid(Some(Pid::from_raw(pid.cast_signed()))).is_ok_and(|of| of != group);
        let handles: Vec<(u32, OwnedFd)> = cgroup::pids(dir)
            .into_iter()
            .filter(outside)
            .filter_map(|pid| Some((pid, pidfd::open(pid)?)))
            .collect();
        // Held by now, a number is nobody else's; and if it is still in the cgroup, it is the job's.
        let still = if handles.is_empty() { Vec::new() } else { cgroup::pids(dir) };
        for (_, handle) in handles.iter().filter(|(pid, _)| still.contains(pid)) {
            let _ = pidfd::signal(handle, signal as i32);
        }
    }

    /// Kills all of it. `known` are children of ours that are no orphans.
    pub fn kill(&self, known: &[u32]) {
        self.killed.notify_one();
        self.felled.set(true);
        match self.group.v2() {
            Some(dir) => drop(cgroup::kill(dir)),
            None => drop(tree::kill_all(|| self.members(&tree::orphans(known)), Duration::ZERO)),
        }
    }

    /// Its memory and processor time.
    pub fn sensors(&self) -> &JobSensors {
        self.sensors.get_or_init(|| self.group.sensors())
    }

    /// Processor time that it has used.
    pub fn cpu_time(&self) -> Duration {
        self.sensors().cpu().unwrap_or_else(|| {
            self.pids().into_iter().filter_map(process::Stat::read).map(|stat| stat.cpu_time()).sum()
        })
    }

    /// Stops all of it at `now`, for the governor.
    pub fn hold(&self, now: Duration) {
        self.frozen.set(Freezing { before: self.frozen.get().total(now), since: Some(now) });
        self.freeze(true);
    }

    /// Lets it go on.
    pub fn release(&self, now: Duration) {
        self.frozen.set(Freezing { before: self.frozen.get().total(now), since: None });
        self.freeze(false);
    }

    /// Whether the governor holds it.
    pub fn is_held(&self) -> bool {
        self.frozen.get().since.is_some()
    }

    /// Stops or resumes all of it.
    pub fn freeze(&self, frozen: bool) {
        match self.group.v2() {
            Some(dir) => drop(cgroup::freeze(dir, frozen)),
            None => self.signal(if frozen { libc::SIGSTOP } else { libc::SIGCONT }),
        }
    }

    /// Its processes, some of which may be among `orphans`.
    fn members(&self, orphans: &[u32]) -> Vec<u32> {
        if let Some(dir) = self.group.v2() {
            return cgroup::pids(dir);
        }
        let mut roots: Vec<u32> =
            orphans.iter().copied().filter(|pid| self.mark.is_on(*pid) == Some(true)).collect();
        if !self.reaped.get() {
            roots.push(self.pid);
        }
        tree::with_descendants(roots)
    }

    /// All its processes.
    pub fn pids(&self) -> Vec<u32> {
        self.members(&tree::orphans(&[]))
    }

    /// Memory that its processes pay for, and how many tasks they have.
    pub fn measure(&self, orphans: &[u32]) -> (Bytes, u64) {
        let members = self.members(orphans);
        let memory = members.iter().filter_map(|pid| process::private_resident(*pid)).sum();
        // A zombie takes a place, too, until it is reaped.
        let tasks =
            members.iter().filter_map(|pid| process::Stat::read(*pid)).map(|stat| stat.num_threads.max(1));
        (Bytes(memory), tasks.sum())
    }
}
