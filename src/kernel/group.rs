//! One attempt's groups: made with its limits in force, asked for evidence, removed.
//!
//! On a hybrid host an attempt has a fresh group in the v2 tree and in v1 memory, and one in v1 pids and cpu that
//! may have served before it ([`super::reused`]).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::controllers::{self, Version};
use super::files::{self, Dir};
use super::ground::{Ground, Hybrid};
use super::oom::{self, OomCounter, OomNotice};
use super::reused::{CpuGroup, PidsGroup};
use super::sensors::JobSensors;
use super::{KernelError, cgroup};
use crate::model::{Bytes, Cause, Evidence, Limits};

/// Groups that a job may make below its own: enough for a nested run, not for a cgroup bomb.
const MAX_DESCENDANTS: &str = "256";

/// One attempt's groups, with its limits in force.
#[derive(Debug)]
pub struct Group {
    ground: Arc<Ground>,
    v2: Option<Dir>,
    memory: Option<MemoryGroup>,
    pids: Option<PidsGroup>,
    cpu: Option<CpuGroup>,
    notice: Option<OomNotice>,
    /// OOMs counted before anything was in the group: of the budget, and, by that, of the group.
    before: Before,
    limits: Limits,
}

#[derive(Debug, Clone, Copy, Default)]
struct Before {
    budget: u64,
    own: u64,
}

/// The group in the v1 memory hierarchy.
#[derive(Debug)]
struct MemoryGroup {
    dir: Dir,
    tasks: OwnedFd,
}

impl Group {
    /// Makes an attempt's groups and puts `limits` in force, so that what is cloned into them is born limited.
    ///
    /// # Errors
    /// Whatever could not be made, written or read back; nothing is left then.
    pub fn make(ground: &Arc<Ground>, name: &str, limits: &Limits) -> Result<Group, KernelError> {
        let mut group = Group {
            ground: ground.clone(),
            v2: None,
            memory: None,
            pids: None,
            cpu: None,
            notice: None,
            before: Before::default(),
            limits: Limits::default(),
        };
        match group.build(name, limits) {
            Ok(()) => Ok(group),
            Err(error) => {
                let _ = group.remove();
                Err(error)
            }
        }
    }

    fn build(&mut self, name: &str, limits: &Limits) -> Result<(), KernelError> {
        let ground = self.ground.clone();
        if let Some(run) = ground.v2() {
            self.v2.insert(run.make(name)?).write("cgroup.max.descendants", MAX_DESCENDANTS)?;
        }
        match (&*ground, &self.v2) {
            (Ground::Unified { controllers, .. }, Some(dir)) => {
                self.limits = controllers::set_limits(dir, limits, controllers, true)?;
                if controllers.memory {
                    self.notice = Some(OomNotice::Events(dir.open_for_reading("memory.events.local")?));
                }
            }
            (Ground::Hybrid(hybrid), _) => self.build_v1(hybrid, name, limits)?,
            _ => {}
        }
        self.before = self.counts();
        Ok(())
    }

    fn build_v1(&mut self, hybrid: &Hybrid, name: &str, limits: &Limits) -> Result<(), KernelError> {
        let dir = hybrid.memory.make(name)?;
        // `tasks`, not `cgroup.procs`: moving itself costs a lone thread 35 us, where the other write waits
        // for an RCU grace period (8 ms on an idle machine).
        let tasks = dir.open_for_writing("tasks");
        let memory = match tasks {
            Ok(tasks) => self.memory.insert(MemoryGroup { dir, tasks }),
            Err(error) => {
                let _ = files::remove_group(dir.path());
                return Err(error);
            }
        };
        (self.limits.memory_max, self.limits.memory_swap_max) =
            controllers::set_memory(&memory.dir, Version::V1, limits.memory_max, limits.memory_swap_max)?;
        self.notice = Some(OomNotice::Counter(OomCounter::arm(&memory.dir)?));
        self.pids = Some(hybrid.pids.take(limits.pids_max)?);
        self.limits.pids_max = limits.pids_max;
        if let (Some(groups), Some(max)) = (&hybrid.cpu, limits.cpu_max) {
            self.cpu = Some(groups.take(max)?);
            self.limits.cpu_max = Some(max);
        }
        Ok(())
    }

    /// The directory to clone into.
    pub fn v2(&self) -> Option<&Dir> {
        self.v2.as_ref()
    }

    /// A handle for the time in which the group itself is the spawner's.
    pub fn lifeline(&self) -> Lifeline {
        let path = |dir: &Dir| dir.path().to_owned();
        Lifeline {
            v2: self.v2.as_ref().map(path),
            v1_memory: self.memory.as_ref().map(|memory| path(&memory.dir)),
        }
    }

    /// `tasks` files of v1 groups in which the child writes `0` before exec.
    pub fn joins(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let memory = self.memory.as_ref().map(|memory| memory.tasks.as_fd());
        let pids = self.pids.as_ref().map(PidsGroup::tasks);
        let cpu = match (&self.cpu, &*self.ground) {
            (Some(cpu), _) => Some(cpu.tasks()),
            (None, Ground::Hybrid(hybrid)) => hybrid.budget_cpu.as_ref().map(AsFd::as_fd),
            _ => None,
        };
        [memory, pids, cpu].into_iter().flatten()
    }

    /// Takes in a process that runs already. What it was charged with before stays where it was.
    ///
    /// # Errors
    /// [`KernelError::Write`]: it is gone, or not ours.
    pub fn adopt(&self, pid: u32) -> Result<(), KernelError> {
        let text = pid.to_string();
        if let Some(dir) = &self.v2 {
            dir.write("cgroup.procs", &text)?;
        }
        for tasks in self.joins() {
            rustix::io::write(tasks, text.as_bytes()).map_err(|errno| KernelError::Write {
                path: "tasks of a v1 cgroup".into(),
                value: text.clone(),
                source: errno.into(),
            })?;
        }
        Ok(())
    }

    /// Processor time of all that was in it.
    pub fn cpu_time(&self) -> Option<Duration> {
        cgroup::cpu_time(&self.v2.as_ref()?.read_if_there("cpu.stat")?)
    }

    /// What tells its memory and processor time, held open.
    pub fn sensors(&self) -> JobSensors {
        JobSensors::open(self.memory_group(), self.v2.as_ref())
    }

    /// The group that counts its memory.
    fn memory_group(&self) -> Option<(&Dir, Version)> {
        match (&self.memory, &self.v2, &*self.ground) {
            (Some(memory), _, _) => Some((&memory.dir, Version::V1)),
            (None, Some(dir), Ground::Unified { controllers, .. }) if controllers.memory => {
                Some((dir, Version::V2))
            }
            _ => None,
        }
    }

    /// Shared memory and files in tmpfs that an empty group is still charged, where that is worth telling. `peak`: the
    /// most that it was charged.
    pub fn memory_left(&self, peak: Option<Bytes>) -> Option<Bytes> {
        let (dir, version) = self.memory_group()?;
        if peak.is_some_and(|peak| peak <= controllers::LEAST_SHARED) {
            return None;
        }
        controllers::shared_memory(dir, version)
    }

    /// What is in force, as read back.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What to poll for an OOM, where the kernel tells.
    pub fn oom_notice(&self) -> Option<&OomNotice> {
        self.notice.as_ref()
    }

    /// How often the group's own limit was full and how often one of its processes was OOM-killed.
    pub fn oom(&self) -> Option<(u64, u64)> {
        match self.notice.as_ref()? {
            OomNotice::Counter(counter) => {
                let now = self.counts();
                let own = (now.own - self.before.own).saturating_sub(now.budget - self.before.budget);
                Some((own, counter.kills()?))
            }
            OomNotice::Events(file) => oom::events(&files::read_again(file)?),
        }
    }

    /// Counts of the budget and of the group, of one moment.
    fn counts(&self) -> Before {
        loop {
            let budget = self.ground.budget_oom();
            let own = match &self.notice {
                Some(OomNotice::Counter(counter)) => counter.count(),
                _ => 0,
            };
            if self.ground.budget_oom() == budget {
                return Before { budget, own };
            }
        }
    }

    /// What the kernel tells of the attempt so far; of all of it once the group is empty.
    pub fn evidence(&self) -> Evidence {
        let oom = self.oom();
        let mut evidence = Evidence {
            oom_kill: oom.map(|(_, kill)| kill),
            oom_own: oom.map(|(own, _)| own),
            // Only asked where it decides something.
            oom_budget: oom
                .filter(|(_, kill)| *kill > 0)
                .map(|_| self.ground.budget_oom().saturating_sub(self.before.budget)),
            budget_max: oom.filter(|(_, kill)| *kill > 0).and_then(|_| self.ground.cap()),
            ..Evidence::default()
        };
        match (&self.memory, &self.v2) {
            (Some(memory), _) => {
                evidence.memory_peak = controllers::memory_peak(&memory.dir, Version::V1);
                evidence.pids_peak = self.pids.as_ref().and_then(PidsGroup::peak);
                evidence.pids_max_events = self.pids.as_ref().and_then(PidsGroup::max_events);
                evidence.cpu_throttled = self.cpu.as_ref().and_then(CpuGroup::throttled);
            }
            (None, Some(dir)) => {
                evidence.memory_peak = controllers::memory_peak(dir, Version::V2);
                evidence.pids_peak = controllers::pids_peak(dir);
                evidence.pids_max_events = controllers::pids_max_events(dir);
            }
            (None, None) => {}
        }
        if evidence.pids_max_events.is_some_and(|refused| refused > 0) {
            evidence.pids_refused_by = Some(self.refused_by(evidence.pids_peak));
        }
        // What a lone task used its parent is told at its end.
        if evidence.pids_peak.is_none_or(|peak| peak > 1)
            || (self.memory.is_none() && self.limits.cpu_max.is_some())
        {
            let stat = self.v2.as_ref().and_then(|dir| dir.read_if_there("cpu.stat")).unwrap_or_default();
            evidence.cpu_time = cgroup::cpu_time(&stat);
            if self.memory.is_none() && self.limits.cpu_max.is_some() {
                evidence.cpu_throttled = controllers::cpu_throttled(&stat, Version::V2);
            }
        }
        evidence
    }

    /// Whose `pids.max` it was, of a group that has come to `peak` tasks.
    fn refused_by(&self, peak: Option<u64>) -> Cause {
        let reached = |peak: Option<u64>, max: u64| peak.is_none_or(|peak| peak >= max);
        match (self.limits.pids_max, self.ground.budget_pids()) {
            (Some(max), _) if reached(peak, max) => Cause::Own,
            (_, Some((peak, max))) if reached(Some(peak), max) => Cause::Budget,
            _ => Cause::Outside,
        }
    }

    /// Removes the attempt's groups; they must be empty.
    ///
    /// # Errors
    /// [`KernelError::Remove`] while a process is inside.
    pub fn remove(&mut self) -> Result<(), KernelError> {
        self.notice = None;
        for dir in [self.v2.take(), self.memory.take().map(|memory| memory.dir)].into_iter().flatten() {
            files::remove_group(dir.path())?;
        }
        if let Ground::Hybrid(hybrid) = &*self.ground {
            if let Some(pids) = self.pids.take() {
                hybrid.pids.give_back(pids);
            }
            if let (Some(cpu), Some(groups)) = (self.cpu.take(), &hybrid.cpu) {
                groups.give_back(cpu);
            }
        }
        Ok(())
    }
}

/// Ends a child that can't be born: its exec hangs, or it has no memory for it.
///
/// Between clone and exec a child is no victim for the OOM killer (it may hold its parent's memory), so under a
/// limit that is too small for exec it can spin at it for ever, and the spawner with it.
#[derive(Debug)]
pub struct Lifeline {
    v2: Option<PathBuf>,
    v1_memory: Option<PathBuf>,
}

impl Lifeline {
    /// Kills what is in the group, or will be born into it.
    pub fn cut(&self) {
        if let Some(Ok(group)) = self.v2.as_ref().map(Dir::open) {
            let _ = cgroup::kill(&group);
        }
    }

    /// Kills what is in the group if its memory is full. Returns whether it did.
    pub fn cut_if_out_of_memory(&self) -> bool {
        let Some(Ok(group)) = self.v2.as_ref().map(Dir::open) else { return false };
        let full = match self.v1_memory.as_ref().map(Dir::open) {
            Some(Ok(memory)) => memory.read_if_there("memory.failcnt").is_some_and(|count| count != "0"),
            Some(Err(_)) => false,
            None => oom::v2_oom(&group).is_some_and(|(own, _)| own > 0),
        };
        full && cgroup::kill(&group).is_ok()
    }
}
