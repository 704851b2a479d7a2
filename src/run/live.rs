//! The attempts that have a process now, and how they are stopped, killed and frozen.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
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
use crate::kernel::spawn::Environment;
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
    /// Whether it was a process before it was a job: no child of ours, and in a process group with others.
    pub adopted: bool,
    /// Whether the first process is reaped, so that `pid` may be another's by now.
    pub reaped: Cell<bool>,
    /// Told when all of it is killed: from then on its end is waited for with little patience.
    pub killed: Notify,
    /// Whether all of it was killed while its first process lived or in its grace: what is left of it then has not been
    /// left behind.
    pub felled: Cell<bool>,
    /// Whether all of it was asked to end with SIGTERM: what is left of it has its grace then. Not after Ctrl-C, which a
    /// shell makes its background commands ignore: each of them would cost the whole grace.
    pub asked_to_end: Cell<bool>,
    /// That of its first process, where a command may be asked to look at it.
    pub environment: Option<Environment>,
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
    /// Children that look at attempts, and how many such are being born.
    aside: RefCell<BTreeSet<u32>>,
    aside_starting: Cell<u32>,
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
        !self.starting.borrow().is_empty() || self.aside_starting.get() > 0
    }

    /// Notes that a child that is no attempt's is on its way.
    pub fn begin_aside(&self) {
        self.aside_starting.update(|count| count + 1);
    }

    /// Notes that it is there, or never will be.
    pub fn began_aside(&self, pid: Option<u32>) {
        self.aside_starting.update(|count| count - 1);
        self.aside.borrow_mut().extend(pid);
    }

    /// Notes that it is reaped.
    pub fn end_aside(&self, pid: u32) {
        self.aside.borrow_mut().remove(&pid);
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

    /// All of them, and those on their way: the first process of one of these may run already.
    pub fn ids(&self) -> Vec<AttemptId> {
        let (here, starting) = (self.attempts.borrow(), self.starting.borrow());
        here.keys().chain(starting.keys()).copied().collect()
    }

    /// Whether these, in order, are all of them.
    pub fn ids_are(&self, ids: impl Iterator<Item = AttemptId>) -> bool {
        self.attempts.borrow().keys().copied().eq(ids)
    }

    /// Children of ours that are nobody's orphans.
    pub fn known(&self) -> Vec<u32> {
        let attempts = self.attempts.borrow();
        let leaders = attempts.values().filter(|live| !live.reaped.get()).map(|live| live.pid);
        leaders.chain([self.guardian]).chain(self.aside.borrow().iter().copied()).collect()
    }
}

impl Live {
    /// Whether its first process has ended, heard of or not.
    pub fn has_ended(&self) -> bool {
        self.reaped.get() || pidfd::is_to_be_reaped(self.pid)
    }

    /// Sends `signal` to the attempt's process group; what is stopped wakes up to see it.
    pub fn signal(&self, signal: i32) {
        let Ok(signal) = Signal::try_from(signal) else { return };
        self.asked_to_end.set(self.asked_to_end.get() || signal == Signal::SIGTERM);
        if self.adopted {
            self.signal_members(signal, |_| true);
            return;
        }
        // The group's number stays ours until its leader is reaped.
        if !self.reaped.get() {
            let group = Pid::from_raw(self.pid.cast_signed());
            let _ = killpg(group, signal);
            if !matches!(signal, Signal::SIGSTOP | Signal::SIGTSTP | Signal::SIGCONT) {
                let _ = killpg(group, Signal::SIGCONT);
                // What has left it, as a daemon has, may want to clean up, too.
                let outside =
                    |pid: &u32| getpgid(Some(Pid::from_raw(pid.cast_signed()))).is_ok_and(|of| of != group);
                self.signal_members(signal, outside);
            }
        }
    }

    /// Sends `signal` to those in its cgroup that are meant.
    fn signal_members(&self, signal: Signal, is_meant: impl Fn(&u32) -> bool) {
        let Some(dir) = self.group.v2() else { return };
        let handles: Vec<(u32, OwnedFd)> = cgroup::pids(dir)
            .into_iter()
            .filter(is_meant)
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
        // One that is no child of ours and has ended by itself, heard of or not: what it has left is counted, told of and killed
        // at once. One that was asked to end may be in its grace.
        if self.adopted && !self.asked_to_end.get() && (self.reaped.get() || !process::is_alive(self.pid)) {
            return;
        }
        self.killed.notify_one();
        self.felled.set(true);
        match self.group.v2() {
            Some(dir) => drop(cgroup::kill(dir)),
            None => drop(tree::kill_all(|| self.members().pids(known), Duration::ZERO)),
        }
    }

    /// Its memory and processor time.
    pub fn sensors(&self) -> &JobSensors {
        self.sensors.get_or_init(|| self.group.sensors())
    }

    /// Processor time that it has used. `known` are children of ours that are no orphans.
    pub fn cpu_time(&self, known: &[u32]) -> Duration {
        self.sensors().cpu().unwrap_or_else(|| {
            let pids = self.members().pids(known).into_iter();
            pids.filter_map(process::Stat::read).map(|stat| stat.cpu_time()).sum()
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

    /// Where its processes are found.
    pub fn members(&self) -> Members {
        Members {
            group: self.group.clone(),
            mark: self.mark.clone(),
            leader: (!self.reaped.get()).then_some(self.pid),
        }
    }

    /// Memory that its processes pay for, and how many tasks they have.
    pub fn measure(&self, orphans: &[u32]) -> (Bytes, u64) {
        let members = self.members().among(orphans);
        let memory = members.iter().filter_map(|pid| process::private_resident(*pid)).sum();
        // A zombie takes a place, too, until it is reaped.
        let tasks =
            members.iter().filter_map(|pid| process::Stat::read(*pid)).map(|stat| stat.num_threads.max(1));
        (Bytes(memory), tasks.sum())
    }
}

/// Where the processes of an attempt are found; to be asked on any thread.
#[derive(Debug)]
pub struct Members {
    group: Arc<Group>,
    mark: Mark,
    /// Its first process, unless that is reaped.
    leader: Option<u32>,
}

impl Members {
    /// All of them. `known` are children of ours that are no orphans.
    pub fn pids(&self, known: &[u32]) -> Vec<u32> {
        match self.group.v2() {
            Some(dir) => cgroup::pids(dir),
            None => self.in_tree(&tree::orphans(known)),
        }
    }

    /// All of them, some of which may be among `orphans`.
    fn among(&self, orphans: &[u32]) -> Vec<u32> {
        match self.group.v2() {
            Some(dir) => cgroup::pids(dir),
            None => self.in_tree(orphans),
        }
    }

    fn in_tree(&self, orphans: &[u32]) -> Vec<u32> {
        let marked = orphans.iter().copied().filter(|pid| self.mark.is_on(*pid) == Some(true));
        tree::with_descendants(marked.chain(self.leader).collect())
    }
}
