//! The run's group, which carries the budget; below it are the attempts' groups ([`super::group`]).
//!
//! ```text
//! unified  <base>/sandtest-run-ID/            memory.max ... of the budget
//!          <base>/sandtest-run-ID/<job>-<n>/  of the attempt
//!
//! hybrid   the same two levels in the v1 memory and pids hierarchies (limits), and in the v2 tree as twins
//!          (kill, freeze, events, pressure); in v1 cpu only where a quota is asked for. In pids and cpu
//!          an attempt's group may have served before it ([`super::reused`]).
//!
//! twin     the v2 level alone: kills and freezes, limits nothing (an ordinary user on a hybrid host)
//!
//! bare     no group at all
//! ```

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use super::controllers::{self, Controllers, Version};
use super::files::{self, Dir};
use super::oom::{self, OomCounter};
use super::reused::{CpuGroup, PidsGroup, Reused};
use super::{KernelError, cgroup};
use crate::model::{Bytes, Limits, RunId};

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
    Hybrid(Box<Hybrid>),
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
    pub(super) memory: Dir,
    pub(super) pids: Reused<PidsGroup>,
    /// `None` if this host has no v1 cpu hierarchy for us.
    pub(super) cpu: Option<Reused<CpuGroup>>,
    /// `tasks` of the run's cpu group: for jobs without a quota of their own where the budget has one.
    pub(super) budget_cpu: Option<OwnedFd>,
    oom: OomCounter,
    /// Swap beside the cap, as it was read back; `None` without a limit of it.
    swap: Option<Bytes>,
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
            let controllers = controllers::enable_controllers(&run)?;
            Ok((controllers, controllers::set_limits(&run, budget, &controllers, false)?))
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
            let with_quota = cpu.as_ref().filter(|_| limits.cpu_max.is_some());
            let budget_cpu = with_quota.map(|cpu| cpu.open_for_writing("tasks")).transpose()?;
            let oom = OomCounter::arm(&memory)?;
            let (pids, cpu) = (Reused::below(pids), cpu.map(Reused::below));
            Ok((
                Ground::Hybrid(Box::new(Hybrid {
                    v2,
                    memory,
                    pids,
                    cpu,
                    budget_cpu,
                    oom,
                    swap: limits.memory_swap_max,
                })),
                limits,
            ))
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
                let cpu = hybrid.cpu.as_ref().map(Reused::parent);
                let dirs = [Some(&hybrid.v2), Some(&hybrid.memory), Some(hybrid.pids.parent()), cpu];
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

    /// The run's group that counts memory.
    pub fn memory(&self) -> Option<(&Dir, Version)> {
        match self {
            Ground::Unified { run, controllers } => controllers.memory.then_some((run, Version::V2)),
            Ground::Hybrid(hybrid) => Some((&hybrid.memory, Version::V1)),
            Ground::Twin { .. } | Ground::Bare => None,
        }
    }

    /// What all jobs together may use now; `None` without a limit.
    pub(super) fn cap(&self) -> Option<Bytes> {
        let (dir, version) = self.memory()?;
        dir.read_if_there(controllers::memory_max_file(version))?.parse().ok().map(Bytes)
    }

    /// Sets what all jobs together may use: `memory.max`, with the same swap beside it as before. Raised or lowered,
    /// but by its caller's care never below what is charged: then the kernel would have to kill.
    ///
    /// # Errors
    /// [`KernelError::Write`].
    pub fn set_cap(&self, cap: Bytes) -> Result<(), KernelError> {
        match self {
            Ground::Unified { run, controllers } if controllers.memory => {
                run.write_without_waiting("memory.max", &cap.0.to_string())
            }
            Ground::Hybrid(hybrid) => controllers::move_v1_limit(&hybrid.memory, cap, hybrid.swap),
            _ => Ok(()),
        }
    }

    /// `pids.peak` and `pids.max` of the budget, where it has a limit.
    pub(super) fn budget_pids(&self) -> Option<(u64, u64)> {
        let dir = match self {
            Ground::Unified { run, .. } => run,
            Ground::Hybrid(hybrid) => hybrid.pids.parent(),
            Ground::Twin { .. } | Ground::Bare => return None,
        };
        let number = |file| dir.read_if_there(file)?.parse().ok();
        Some((number("pids.peak")?, number("pids.max")?))
    }

    /// How often the budget was full until now.
    pub(super) fn budget_oom(&self) -> u64 {
        match self {
            Ground::Unified { run, .. } => oom::v2_oom(run).map_or(0, |(oom, _)| oom),
            Ground::Hybrid(hybrid) => hybrid.oom.count(),
            Ground::Twin { .. } | Ground::Bare => 0,
        }
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

/// The name of the run's group in every tree.
pub fn run_name(id: &RunId) -> String {
    format!("sandtest-run-{id}")
}
