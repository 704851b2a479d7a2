//! Where attempts get their groups: the run's group, which carries the budget, and one group an attempt below it.
//!
//! ```text
//! unified  <base>/sandtest-run-ID/            memory.max ... of the budget
//!          <base>/sandtest-run-ID/<job>-<n>/  of the attempt
//!
//! hybrid   the same two levels in the v1 memory and pids hierarchies (limits), and in the v2 tree as twins
//!          (kill, freeze, events, pressure); in v1 cpu only where a quota is asked for
//!
//! twin     the v2 level alone: kills and freezes, limits nothing (an ordinary user on a hybrid host)
//!
//! bare     no group at all
//! ```

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::controllers::{self, Version};
use super::files::{self, Dir};
use super::oom::{self, OomCounter, OomNotice};
use super::{KernelError, cgroup};
use crate::model::{Cpus, Evidence, Limits, RunId};

/// Groups that a job may make below its own: enough for a nested run, not for a cgroup bomb.
const MAX_DESCENDANTS: &str = "256";

/// The run's place in the cgroup trees.
#[derive(Debug)]
pub enum Ground {
    /// v2 with controllers.
    Unified {
        /// The run's group.
        run: Dir,
        /// What the attempts' groups below it have.
        controllers: Controllers,
    },
    /// v1 controllers with a v2 twin.
    Hybrid(Hybrid),
    /// The v2 twin alone.
    Twin {
        /// The run's group.
        run: Dir,
    },
    /// Nothing to make groups in.
    Bare,
}

/// The run's groups on a hybrid host.
#[derive(Debug)]
pub struct Hybrid {
    v2: Dir,
    memory: Dir,
    pids: Dir,
    /// `None` if this host has no v1 cpu hierarchy for us.
    cpu: Option<CpuGroups>,
    oom: OomCounter,
}

/// v1 cpu groups with a quota, used again and again.
///
/// A new task group makes its first task wait for a slice on a busy machine (0.7 ms and more). A cpu group
/// keeps nothing of its last user but counters, and unlike a v2 group it can't be killed; so an empty one
/// serves the next attempt.
#[derive(Debug)]
struct CpuGroups {
    run: Dir,
    /// Whether the budget itself has a quota, so that jobs without one of their own join the run's group.
    budget: bool,
    free: Mutex<Vec<CpuGroup>>,
    made: std::sync::atomic::AtomicU32,
}

#[derive(Debug)]
struct CpuGroup {
    dir: Dir,
    quota: Cpus,
}

/// One attempt's groups, with its limits in force.
#[derive(Debug)]
pub struct Group {
    ground: Arc<Ground>,
    v2: Option<Dir>,
    memory: Option<Dir>,
    pids: Option<Dir>,
    cpu: Option<CpuGroup>,
    /// `tasks` files that the child writes itself into before exec (v1).
    joins: Vec<OwnedFd>,
    notice: Option<OomNotice>,
    budget_oom_before: u64,
    throttled_before: Duration,
    limits: Limits,
}

impl Ground {
    /// Makes the run's group below `base`, whose `cgroup.subtree_control` has the controllers, with `budget`
    /// in force. Returns it with the budget as read back.
    ///
    /// # Errors
    /// Whatever could not be made, written or read back; nothing is left then.
    pub fn unified(base: &Dir, id: &RunId, budget: &Limits) -> Result<(Ground, Limits), KernelError> {
        let run = base.make(&run_name(id))?;
        let set = || -> Result<(Controllers, Limits), KernelError> {
            let controllers = enable_controllers(&run)?;
            Ok((controllers, set_limits(&run, budget, &controllers, false)?))
        };
        match set() {
            Ok((controllers, limits)) => Ok((Ground::Unified { run, controllers }, limits)),
            Err(error) => {
                let _ = files::remove_group(run.path());
                Err(error)
            }
        }
    }

    /// Makes the run's groups below our own in each hierarchy of a hybrid host.
    ///
    /// # Errors
    /// Whatever could not be made, written or read back; nothing is left then.
    pub fn hybrid(own: HybridBases, id: &RunId, budget: &Limits) -> Result<(Ground, Limits), KernelError> {
        let name = run_name(id);
        let mut made = Vec::new();
        let mut build = || -> Result<(Ground, Limits), KernelError> {
            let mut make = |base: &PathBuf| -> Result<Dir, KernelError> {
                let dir = Dir::open(base)?.make(&name)?;
                made.push(dir.path().to_owned());
                Ok(dir)
            };
            let v2 = make(&own.v2)?;
            let memory = make(&own.memory)?;
            let pids = make(&own.pids)?;
            let cpu = own.cpu.as_ref().map(&mut make).transpose()?;
            let mut limits = Limits::default();
            // Off by default before Linux 5.11; without it children would not count against the budget.
            if memory.read_if_there("memory.use_hierarchy").as_deref() == Some("0") {
                memory.set("memory.use_hierarchy", "1")?;
            }
            (limits.memory_max, limits.memory_swap_max) =
                controllers::set_memory(&memory, Version::V1, budget.memory_max, budget.memory_swap_max)?;
            if let Some(max) = budget.pids_max {
                limits.pids_max = Some(controllers::set_pids(&pids, Version::V1, max)?);
            }
            if let (Some(cpu), Some(max)) = (&cpu, budget.cpu_max) {
                limits.cpu_max = Some(controllers::set_cpu(cpu, Version::V1, max)?);
            }
            let cpu = cpu.map(|run| CpuGroups {
                run,
                budget: limits.cpu_max.is_some(),
                free: Mutex::default(),
                made: Default::default(),
            });
            let oom = OomCounter::arm(&memory)?;
            Ok((Ground::Hybrid(Hybrid { v2, memory, pids, cpu, oom }), limits))
        };
        let built = build();
        if built.is_err() {
            for path in made {
                let _ = files::remove_group(&path);
            }
        }
        built
    }

    /// Makes the run's group in a v2 tree without controllers.
    ///
    /// # Errors
    /// [`KernelError::Make`].
    pub fn twin(base: &Dir, id: &RunId) -> Result<Ground, KernelError> {
        Ok(Ground::Twin { run: base.make(&run_name(id))? })
    }

    /// The run's groups, the one with `cgroup.kill` first.
    pub fn paths(&self) -> Vec<PathBuf> {
        match self {
            Ground::Unified { run, .. } | Ground::Twin { run } => vec![run.path().to_owned()],
            Ground::Hybrid(hybrid) => {
                let cpu = hybrid.cpu.as_ref().map(|cpu| &cpu.run);
                let dirs = [Some(&hybrid.v2), Some(&hybrid.memory), Some(&hybrid.pids), cpu];
                dirs.into_iter().flatten().map(|dir| dir.path().to_owned()).collect()
            }
            Ground::Bare => Vec::new(),
        }
    }

    /// The run's group in the v2 tree.
    pub fn v2(&self) -> Option<&Dir> {
        match self {
            Ground::Unified { run, .. } | Ground::Twin { run } => Some(run),
            Ground::Hybrid(hybrid) => Some(&hybrid.v2),
            Ground::Bare => None,
        }
    }

    /// Makes an attempt's groups and puts `limits` in force, so that what is cloned into them is born limited.
    ///
    /// # Errors
    /// Whatever could not be made, written or read back; nothing is left then.
    pub fn attempt(self: &Arc<Ground>, name: &str, limits: &Limits) -> Result<Group, KernelError> {
        let mut group = Group::new(self.clone());
        match group.build(name, limits) {
            Ok(()) => Ok(group),
            Err(error) => {
                let _ = group.remove();
                Err(error)
            }
        }
    }

    /// Kills what is left of the run, waits at most `limit` for it, and removes the run's groups.
    ///
    /// # Errors
    /// [`KernelError::Remove`] if something can't be killed.
    pub fn remove(&self, limit: Duration) -> Result<(), KernelError> {
        if let Some(run) = self.v2()
            && cgroup::populated(run)?
        {
            cgroup::kill(run)?;
            cgroup::wait_empty(run, limit)?;
        }
        self.paths().iter().try_for_each(|path| files::remove_group(path))
    }

    /// How often the budget was full until now.
    fn budget_oom(&self) -> u64 {
        match self {
            Ground::Unified { run, .. } => oom::v2_oom(run).map_or(0, |(oom, _)| oom),
            Ground::Hybrid(hybrid) => hybrid.oom.count(),
            Ground::Twin { .. } | Ground::Bare => 0,
        }
    }
}

/// Ends a child that can't be born.
///
/// Between clone and exec a child is no victim for the OOM killer (it may hold its parent's memory), so under a
/// limit that is too small for exec it can spin at it for ever, and the spawner with it.
#[derive(Debug)]
pub struct Lifeline {
    v2: Option<PathBuf>,
    v1_memory: Option<PathBuf>,
}

impl Lifeline {
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

/// Our own groups, below which the run's are made.
#[derive(Debug, Clone)]
pub struct HybridBases {
    /// In the v2 tree.
    pub v2: PathBuf,
    /// In the v1 memory hierarchy.
    pub memory: PathBuf,
    /// In the v1 pids hierarchy.
    pub pids: PathBuf,
    /// In the v1 cpu hierarchy, where there is one.
    pub cpu: Option<PathBuf>,
}

impl Group {
    fn new(ground: Arc<Ground>) -> Group {
        Group {
            ground,
            v2: None,
            memory: None,
            pids: None,
            cpu: None,
            joins: Vec::new(),
            notice: None,
            budget_oom_before: 0,
            throttled_before: Duration::ZERO,
            limits: Limits::default(),
        }
    }

    fn build(&mut self, name: &str, limits: &Limits) -> Result<(), KernelError> {
        let ground = self.ground.clone();
        match &*ground {
            Ground::Unified { run, controllers } => {
                let dir = self.v2.insert(run.make(name)?);
                dir.write("cgroup.max.descendants", MAX_DESCENDANTS)?;
                self.limits = set_limits(dir, limits, controllers, true)?;
                if controllers.memory {
                    self.notice = Some(OomNotice::Events(dir.open_for_reading("memory.events.local")?));
                }
            }
            Ground::Hybrid(hybrid) => self.build_hybrid(hybrid, name, limits)?,
            Ground::Twin { run } => {
                self.v2.insert(run.make(name)?).write("cgroup.max.descendants", MAX_DESCENDANTS)?;
            }
            Ground::Bare => {}
        }
        self.budget_oom_before = ground.budget_oom();
        Ok(())
    }

    fn build_hybrid(&mut self, hybrid: &Hybrid, name: &str, limits: &Limits) -> Result<(), KernelError> {
        let v2 = self.v2.insert(hybrid.v2.make(name)?);
        v2.write("cgroup.max.descendants", MAX_DESCENDANTS)?;
        let memory = self.memory.insert(hybrid.memory.make(name)?);
        (self.limits.memory_max, self.limits.memory_swap_max) =
            controllers::set_memory(memory, Version::V1, limits.memory_max, limits.memory_swap_max)?;
        self.notice = Some(OomNotice::Counter(OomCounter::arm(memory)?));
        let pids = self.pids.insert(hybrid.pids.make(name)?);
        if let Some(max) = limits.pids_max {
            self.limits.pids_max = Some(controllers::set_pids(pids, Version::V1, max)?);
        }
        // `tasks`, not `cgroup.procs`: moving itself costs a lone thread 35 us, where the other write waits
        // for an RCU grace period (8 ms on an idle machine).
        self.joins = vec![memory.open_for_writing("tasks")?, pids.open_for_writing("tasks")?];
        if let Some(groups) = &hybrid.cpu {
            if let Some(max) = limits.cpu_max {
                let group = self.cpu.insert(groups.take(max)?);
                self.joins.push(group.dir.open_for_writing("tasks")?);
                self.limits.cpu_max = Some(max);
                self.throttled_before =
                    controllers::cpu_throttled(&group.dir, Version::V1).unwrap_or_default();
            } else if groups.budget {
                self.joins.push(groups.run.open_for_writing("tasks")?);
            }
        }
        Ok(())
    }

    /// The directory to clone into.
    pub fn v2(&self) -> Option<&Dir> {
        self.v2.as_ref()
    }

    /// A handle for the time in which the group itself is the spawner's.
    pub fn lifeline(&self) -> Lifeline {
        let path = |dir: &Option<Dir>| dir.as_ref().map(|dir| dir.path().to_owned());
        Lifeline { v2: path(&self.v2), v1_memory: path(&self.memory) }
    }

    /// `tasks` files in which the child writes `0` before exec.
    pub fn joins(&self) -> Vec<BorrowedFd<'_>> {
        self.joins.iter().map(AsFd::as_fd).collect()
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
        match &self.notice {
            Some(OomNotice::Counter(counter)) => {
                // The group's count first: an OOM of the budget is counted there before it is here.
                let count = counter.count();
                let budget = self.ground.budget_oom() - self.budget_oom_before;
                Some((count.saturating_sub(budget), counter.kills()?))
            }
            _ => oom::v2_oom(self.v2.as_ref()?),
        }
    }

    /// What the kernel tells of the attempt so far; of all of it once the group is empty.
    pub fn evidence(&self) -> Evidence {
        let (version, memory, pids) = match &self.memory {
            Some(memory) => (Version::V1, Some(memory), self.pids.as_ref()),
            None => (Version::V2, self.v2.as_ref(), self.v2.as_ref()),
        };
        let oom = self.oom();
        let throttled = match &self.cpu {
            Some(cpu) => controllers::cpu_throttled(&cpu.dir, Version::V1),
            None if self.memory.is_none() && self.limits.cpu_max.is_some() => {
                self.v2.as_ref().and_then(|dir| controllers::cpu_throttled(dir, Version::V2))
            }
            None => None,
        };
        Evidence {
            memory_peak: memory.and_then(|dir| controllers::memory_peak(dir, version)),
            pids_peak: pids.and_then(controllers::pids_peak),
            oom_kill: oom.map(|(_, kill)| kill),
            oom_own: oom.map(|(own, _)| own),
            // Only asked where it decides something.
            oom_budget: oom
                .filter(|(_, kill)| *kill > 0)
                .map(|_| self.ground.budget_oom() - self.budget_oom_before),
            pids_max_events: pids.and_then(controllers::pids_max_events),
            cpu_time: self.v2.as_ref().and_then(cgroup::cpu_time),
            cpu_throttled: throttled.map(|total| total.saturating_sub(self.throttled_before)),
            ..Evidence::default()
        }
    }

    /// Removes the attempt's groups; they must be empty.
    ///
    /// # Errors
    /// [`KernelError::Remove`] while a process is inside.
    pub fn remove(&mut self) -> Result<(), KernelError> {
        self.joins.clear();
        self.notice = None;
        for dir in [self.v2.take(), self.memory.take(), self.pids.take()].into_iter().flatten() {
            files::remove_group(dir.path())?;
        }
        if let (Some(cpu), Ground::Hybrid(Hybrid { cpu: Some(groups), .. })) =
            (self.cpu.take(), &*self.ground)
        {
            groups.give_back(cpu);
        }
        Ok(())
    }
}

impl CpuGroups {
    fn take(&self, quota: Cpus) -> Result<CpuGroup, KernelError> {
        let free = self.free.lock().unwrap_or_else(|poison| poison.into_inner()).pop();
        let mut group = match free {
            Some(group) => group,
            None => {
                let number = self.made.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                CpuGroup { dir: self.run.make(&format!("cpu-{number}"))?, quota: Cpus { milli: 0 } }
            }
        };
        if group.quota != quota {
            group.quota = controllers::set_cpu(&group.dir, Version::V1, quota)?;
        }
        Ok(group)
    }

    fn give_back(&self, group: CpuGroup) {
        self.free.lock().unwrap_or_else(|poison| poison.into_inner()).push(group);
    }
}

/// Which controllers a v2 group has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Controllers {
    /// memory
    pub memory: bool,
    /// pids
    pub pids: bool,
    /// cpu
    pub cpu: bool,
}

impl Controllers {
    /// From the text of `cgroup.controllers` or `cgroup.subtree_control`.
    pub fn parse(text: &str) -> Controllers {
        let has = |name: &str| text.split_ascii_whitespace().any(|word| word == name);
        Controllers { memory: has("memory"), pids: has("pids"), cpu: has("cpu") }
    }
}

/// Gives the children of `group` the controllers that it has. Returns those that they then have.
///
/// # Errors
/// [`KernelError::Write`], with `EBUSY` while a process sits in `group` itself.
pub fn enable_controllers(group: &Dir) -> Result<Controllers, KernelError> {
    let available = Controllers::parse(&group.read("cgroup.controllers")?);
    let words = [("memory", available.memory), ("pids", available.pids), ("cpu", available.cpu)];
    let line: Vec<String> =
        words.iter().filter(|(_, there)| *there).map(|(name, _)| format!("+{name}")).collect();
    if !line.is_empty() {
        group.write("cgroup.subtree_control", &line.join(" "))?;
    }
    Ok(Controllers::parse(&group.read("cgroup.subtree_control")?))
}

/// The name of the run's group in every tree.
pub fn run_name(id: &RunId) -> String {
    format!("sandtest-run-{id}")
}

fn set_limits(dir: &Dir, limits: &Limits, has: &Controllers, whole: bool) -> Result<Limits, KernelError> {
    let mut set = Limits::default();
    if has.memory {
        // Before memory.max: a limit below what exec needs may kill at once, and the whole group must go with it.
        if whole && dir.has("memory.oom.group") {
            controllers::set_memory_oom_group(dir)?;
        }
        (set.memory_max, set.memory_swap_max) =
            controllers::set_memory(dir, Version::V2, limits.memory_max, limits.memory_swap_max)?;
        if let Some(high) = limits.memory_high {
            set.memory_high = Some(controllers::set_memory_high(dir, high)?);
        }
    }
    if let Some(max) = limits.pids_max.filter(|_| has.pids) {
        set.pids_max = Some(controllers::set_pids(dir, Version::V2, max)?);
    }
    if let Some(max) = limits.cpu_max.filter(|_| has.cpu) {
        set.cpu_max = Some(controllers::set_cpu(dir, Version::V2, max)?);
    }
    Ok(set)
}
