//! Getting a place where limits hold: probed by doing, never by asking what the kernel is called.
//!
//! ```text
//! unified v2?  ── yes ──▶ a delegated scope from systemd ── none ──▶ directly below our own group
//!    │ no                        └─────────── controllers enabled, a child lives ───────▶ cgroup
//!    │                                                       │ else
//! v1 memory and pids writable, v2 twin? ── yes, a child lives ──────────────────────────▶ hybrid
//!    │ no                                                    │ else
//! a delegated scope's v2 twin? ── yes ──▶ hybrid, limits sampled
//!    │ no
//!    └──────────────────────────────────────────────────────────────────────────────────▶ process
//! ```
//!
//! Each step that fails leaves a line in `missing`, with the way out.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::kernel::KernelError;
use crate::kernel::controllers::{self, Controllers};
use crate::kernel::files::{self, Dir};
use crate::kernel::ground::{Ground, HybridBases, run_name};
use crate::kernel::hierarchy::OwnGroups;
use crate::kernel::spawn::{self, Stack};
use crate::model::isolation::Missing;
use crate::model::{Enforcement, Isolation, LimitName, Limits, RunId, Tier};
use crate::systemd::scope::{self, ScopeRequest};

/// What is asked for.
pub struct Request<'a> {
    /// Names the groups.
    pub id: &'a RunId,
    /// What all jobs together may use.
    pub budget: &'a Limits,
    /// What one attempt may use.
    pub job: &'a Limits,
    /// The guardian: it goes where we go.
    pub guardian: u32,
    /// Where systemd is to place the run; its default if `None`.
    pub slice: Option<&'a str>,
    /// Told the groups before they are made; an error ends the attempt to make them.
    pub announce: &'a mut dyn FnMut(&[PathBuf]) -> Result<(), String>,
}

/// What was had.
#[derive(Debug)]
pub struct Place {
    /// Where groups are made.
    pub ground: Arc<Ground>,
    /// Who holds which limit.
    pub isolation: Isolation,
    /// The budget, as read back.
    pub budget: Limits,
    supervisor: Option<Supervisor>,
}

/// A group made for sandtest itself, since none may sit where controllers are handed on.
#[derive(Debug)]
struct Supervisor {
    group: Dir,
    /// Where we came from and go back to; `None` in a scope, which systemd removes.
    home: Option<Dir>,
    /// Sits in it with us.
    guardian: u32,
    /// Controllers that we handed on at `home`, and nobody before us.
    handed_on: Vec<String>,
}

impl Place {
    /// Nothing limited, as asked: `--isolation off`.
    pub fn bare(tier: Tier) -> Place {
        let none = Enforcement::None;
        Place {
            ground: Arc::new(Ground::Bare),
            isolation: Isolation {
                tier,
                memory_max: none,
                memory_swap_max: none,
                pids_max: none,
                cpu_max: none,
                missing: Vec::new(),
            },
            budget: Limits::default(),
            supervisor: None,
        }
    }

    /// Leaves what was made for sandtest itself. To be called when the run's groups are gone.
    pub fn leave(&self) {
        if let Some(supervisor) = &self.supervisor {
            supervisor.leave();
        }
    }
}

impl Supervisor {
    /// A fresh group below `home`, with us and the guardian in it.
    fn enter(home: Dir, name: &str, guardian: u32, in_scope: bool) -> Result<Supervisor, KernelError> {
        let group = home.make(name)?;
        let supervisor =
            Supervisor { group, home: (!in_scope).then_some(home), guardian, handed_on: Vec::new() };
        let enter = || -> Result<(), KernelError> {
            supervisor.group.write("cgroup.procs", "0")?;
            supervisor.group.write("cgroup.procs", &guardian.to_string())
        };
        enter().inspect_err(|_| supervisor.leave())?;
        Ok(supervisor)
    }

    /// Goes back to where we came from, and leaves that as it was.
    fn leave(&self) {
        let Some(home) = &self.home else { return };
        if !self.handed_on.is_empty() {
            // Only ours: with a controller that others rely on, their limits would be gone.
            let off: Vec<String> = self.handed_on.iter().map(|name| format!("-{name}")).collect();
            let _ = home.write("cgroup.subtree_control", &off.join(" "));
        }
        let _ = home.write("cgroup.procs", "0");
        let _ = home.write("cgroup.procs", &self.guardian.to_string());
        let _ = files::remove_group(self.group.path());
    }
}

/// Gets the best place there is.
pub fn establish(request: &mut Request) -> Place {
    let mut missing = Vec::new();
    let own = OwnGroups::read();
    let place = if own.v1_memory.is_some() || own.v1_pids.is_some() {
        hybrid(request, &own, &mut missing).or_else(|| twin(request, &mut missing))
    } else {
        unified(request, &own, &mut missing)
    };
    let mut place = place.unwrap_or_else(|| {
        let _ = (request.announce)(&[]);
        let mut place = Place::bare(Tier::Process);
        place.isolation.memory_max = Enforcement::Sampled;
        place.isolation.pids_max = Enforcement::Sampled;
        place
    });
    place.isolation.missing = missing;
    let isolation = &mut place.isolation;
    // What nobody asked for, nobody has to hold; and where there is no swap, there is none to keep out of.
    let (job, budget) = (request.job, request.budget);
    if job.cpu_max.is_none() && budget.cpu_max.is_none() {
        isolation.cpu_max = Enforcement::Kernel;
    }
    if job.pids_max.is_none() && budget.pids_max.is_none() {
        isolation.pids_max = Enforcement::Kernel;
    }
    if job.memory_max.is_none() && budget.memory_max.is_none() {
        isolation.memory_max = Enforcement::Kernel;
    }
    if (job.memory_swap_max.is_none() && budget.memory_swap_max.is_none()) || !swap_is_there() {
        isolation.memory_swap_max = Enforcement::Kernel;
    }
    place
}

/// The tier `cgroup`.
fn unified(request: &mut Request, own: &OwnGroups, missing: &mut Vec<Missing>) -> Option<Place> {
    let Some(own_v2) = &own.v2 else {
        missing.push(Missing {
            what: "no cgroup v2 tree that shows our own group is mounted".into(),
            fix: "mount cgroup2 on /sys/fs/cgroup, or start the container with --cgroupns=private".into(),
        });
        return None;
    };
    // Inside a job of another run a scope of its own would step out of that job's limits.
    let nested = std::env::var_os("SANDTEST_RUN").is_some();
    let scope = if nested { Scope::Refused } else { ask_for_scope(request, missing) };
    let (base, in_scope) = match scope {
        Scope::Entered(group) => (group, true),
        Scope::Refused => (own_v2.clone(), false),
        // Where we came from is not ours to go back to: limits of the scope hold for us now.
        Scope::Unseen => return None,
    };
    match below(request, &base, in_scope) {
        Ok(place) => Some(place),
        Err(error) => {
            missing.push(Missing {
                what: format!("no cgroups with controllers below {}: {error}", base.display()),
                fix: if nested {
                    "inside a sandtest job limits nest only where the job's group holds nothing but sandtest".into()
                } else {
                    "start it from a systemd user session (loginctl enable-linger), or as root alone in its cgroup".into()
                },
            });
            None
        }
    }
}

/// What came of asking for a scope.
enum Scope {
    /// We are in it; this is its directory.
    Entered(PathBuf),
    /// There is none for us.
    Refused,
    /// We are in it, and no mount here shows it: a container with a cgroup namespace of its own.
    Unseen,
}

/// Moves us into a delegated scope.
fn ask_for_scope(request: &Request, missing: &mut Vec<Missing>) -> Scope {
    let pids = vec![std::process::id(), request.guardian];
    let description = format!("sandtest run {}", request.id);
    let slice = request.slice.map(str::to_owned);
    if let Err(error) = scope::enter_scope(ScopeRequest { pids, description, slice }) {
        missing.push(Missing { what: error.to_string(), fix: error.fix() });
        return Scope::Refused;
    }
    match OwnGroups::read().v2 {
        Some(group) => Scope::Entered(group),
        None => {
            missing.push(Missing {
                what: "the scope that systemd made lies outside of the cgroup tree that is mounted here"
                    .into(),
                fix: "start the container with the host's cgroup namespace (podman run --cgroupns=host)"
                    .into(),
            });
            Scope::Unseen
        }
    }
}

/// Makes the run's group below `base`, whose only inhabitants are to be us and the guardian.
fn below(request: &mut Request, base: &Path, in_scope: bool) -> Result<Place, String> {
    let text = |error: KernelError| error.to_string();
    let base = Dir::open(base).map_err(text)?;
    let name = if in_scope { "supervisor".to_owned() } else { format!("sandtest-supervisor-{}", request.id) };
    let run = base.path().join(run_name(request.id));
    let groups = [run, base.path().join(&name)];
    (request.announce)(if in_scope { &groups[..1] } else { &groups })?;
    let mut supervisor =
        Supervisor::enter(Dir::open(base.path()).map_err(text)?, &name, request.guardian, in_scope)
            .map_err(text)?;
    let mut build = || -> Result<(Ground, Limits), KernelError> {
        let before = base.read("cgroup.subtree_control")?;
        controllers::enable_controllers(&base)?;
        let after = base.read("cgroup.subtree_control")?;
        let is_new = |name: &&str| !before.split_whitespace().any(|word| word == *name);
        supervisor.handed_on = after.split_whitespace().filter(is_new).map(str::to_owned).collect();
        let (ground, budget) = Ground::unified(&base, request.id, request.budget)?;
        try_out(&ground).inspect_err(|_| drop(ground.remove(std::time::Duration::ZERO)))?;
        Ok((ground, budget))
    };
    match build() {
        Ok((ground, budget)) => {
            let isolation = unified_isolation(&ground);
            Ok(Place { ground: Arc::new(ground), isolation, budget, supervisor: Some(supervisor) })
        }
        Err(error) => {
            supervisor.leave();
            Err(error.to_string())
        }
    }
}

fn unified_isolation(ground: &Ground) -> Isolation {
    let Ground::Unified { controllers: Controllers { memory, pids, cpu }, run } = ground else {
        return Place::bare(Tier::Process).isolation;
    };
    let kernel = |there: bool, else_: Enforcement| if there { Enforcement::Kernel } else { else_ };
    Isolation {
        tier: Tier::Cgroup,
        memory_max: kernel(*memory, Enforcement::Sampled),
        memory_swap_max: kernel(run.has("memory.swap.max"), Enforcement::None),
        pids_max: kernel(*pids, Enforcement::Sampled),
        cpu_max: kernel(*cpu, Enforcement::None),
        missing: Vec::new(),
    }
}

/// The tier `hybrid` with all its limits: as root.
fn hybrid(request: &mut Request, own: &OwnGroups, missing: &mut Vec<Missing>) -> Option<Place> {
    let (Some(v2), Some(memory), Some(pids)) = (&own.v2, &own.v1_memory, &own.v1_pids) else {
        missing.push(Missing {
            what: "this host has v1 cgroups without all of memory, pids and a v2 tree".into(),
            fix: "boot with systemd.unified_cgroup_hierarchy=1".into(),
        });
        return None;
    };
    let writable = |path: &Path| nix::unistd::access(path, nix::unistd::AccessFlags::W_OK).is_ok();
    let cpu = own.v1_cpu.clone().filter(|path| writable(path));
    let has_cpu = cpu.is_some();
    let bases = HybridBases { v2: v2.clone(), memory: memory.clone(), pids: pids.clone(), cpu };
    let mut build = || -> Result<(Ground, Limits, Option<Supervisor>), String> {
        let text = |error: KernelError| error.to_string();
        let all = [Some(&bases.v2), Some(&bases.memory), Some(&bases.pids), bases.cpu.as_ref()];
        let mut groups: Vec<PathBuf> =
            all.into_iter().flatten().map(|base| base.join(run_name(request.id))).collect();
        let supervisor_name = format!("sandtest-supervisor-{}", request.id);
        groups.push(bases.v2.join(&supervisor_name));
        (request.announce)(&groups)?;
        let (ground, budget) = Ground::hybrid(bases.clone(), request.id, request.budget).map_err(text)?;
        if try_out(&ground).is_ok() {
            return Ok((ground, budget, None));
        }
        // We sit in a group that was killed once: what we clone dies at birth, until we sit in a fresh one.
        let move_out = || -> Result<Supervisor, KernelError> {
            let supervisor =
                Supervisor::enter(Dir::open(&bases.v2)?, &supervisor_name, request.guardian, false)?;
            try_out(&ground).inspect_err(|_| supervisor.leave())?;
            Ok(supervisor)
        };
        match move_out() {
            Ok(supervisor) => Ok((ground, budget, Some(supervisor))),
            Err(error) => {
                let _ = ground.remove(std::time::Duration::ZERO);
                Err(error.to_string())
            }
        }
    };
    match build() {
        Ok((ground, budget, supervisor)) => {
            let kernel = |there: bool| if there { Enforcement::Kernel } else { Enforcement::None };
            let isolation = Isolation {
                tier: Tier::Hybrid,
                memory_max: Enforcement::Kernel,
                // One limit for memory and swap together: swap alone can't be limited.
                memory_swap_max: kernel(
                    memory.join("memory.memsw.limit_in_bytes").exists()
                        && [request.job, request.budget]
                            .iter()
                            .all(|limits| limits.memory_swap_max.is_none() || limits.memory_max.is_some()),
                ),
                pids_max: Enforcement::Kernel,
                cpu_max: kernel(has_cpu),
                missing: Vec::new(),
            };
            Some(Place { ground: Arc::new(ground), isolation, budget, supervisor })
        }
        Err(error) => {
            missing.push(Missing {
                what: format!("the v1 controllers of this hybrid host are not ours to use: {error}"),
                fix: "boot with systemd.unified_cgroup_hierarchy=1 (WSL2: kernelCommandLine = cgroup_no_v1=all \
                      under [wsl2] in .wslconfig), or run it as root"
                    .into(),
            });
            None
        }
    }
}

/// The tier `hybrid` without v1 controllers: the v2 twin of a delegated scope kills and freezes.
fn twin(request: &mut Request, missing: &mut Vec<Missing>) -> Option<Place> {
    if std::env::var_os("SANDTEST_RUN").is_some() {
        return None;
    }
    let Scope::Entered(base) = ask_for_scope(request, missing) else { return None };
    let mut build = || -> Result<Ground, String> {
        let base = Dir::open(&base).map_err(|error| error.to_string())?;
        (request.announce)(&[base.path().join(run_name(request.id))])?;
        let ground = Ground::twin(&base, request.id).map_err(|error| error.to_string())?;
        match try_out(&ground) {
            Ok(()) => Ok(ground),
            Err(error) => {
                let _ = ground.remove(std::time::Duration::ZERO);
                Err(error.to_string())
            }
        }
    };
    match build() {
        Ok(ground) => {
            let isolation = Isolation {
                tier: Tier::Hybrid,
                memory_max: Enforcement::Sampled,
                pids_max: Enforcement::Sampled,
                ..Place::bare(Tier::Hybrid).isolation
            };
            Some(Place { ground: Arc::new(ground), isolation, budget: Limits::default(), supervisor: None })
        }
        Err(error) => {
            let fix = "boot with systemd.unified_cgroup_hierarchy=1".to_owned();
            missing.push(Missing { what: format!("no cgroup in {}: {error}", base.display()), fix });
            None
        }
    }
}

/// Whether a child lives when it is born below `ground`; tried in a group of its own.
fn try_out(ground: &Ground) -> Result<(), KernelError> {
    let Some(run) = ground.v2() else { return Ok(()) };
    let mut stack = Stack::new()?;
    let group = run.make("try-out")?;
    let tried = spawn::try_out(Some(std::os::fd::AsFd::as_fd(&group)), &mut stack);
    files::remove_group(group.path())?;
    tried.map(drop)
}

/// Whether the machine has swap that is in use.
fn swap_is_there() -> bool {
    std::fs::read_to_string("/proc/swaps").is_ok_and(|text| text.lines().count() > 1)
}

/// The limits that were asked for and that the kernel does not hold: what `--isolation required` refuses over.
pub fn not_held_by_kernel(isolation: &Isolation) -> Vec<LimitName> {
    LimitName::ALL.into_iter().filter(|name| isolation.of(*name) != Enforcement::Kernel).collect()
}
