//! The groups of a run, as its client has shown them: looked at, and, where it does not do what it is asked to, frozen or
//! killed.
//!
//! ```text
//! hello.cgroup ── /…/sandtest-run-ID, no link on the way, the peer's user's, above or beside the peer ──▶ Place
//!                   └ else ──▶ denied
//! ```
//!
//! No other path ever comes in a message: a job's group is `<job>-<attempt>` below it.

use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use crate::kernel::cgroup;
use crate::kernel::controllers::{self, Version};
use crate::kernel::files::Dir;
use crate::kernel::hierarchy::{self, OwnGroups};
use crate::kernel::peer::Peer;
use crate::kernel::sensors::{GroupSensors, JobSensors};
use crate::kernel::{KernelError, process};
use crate::model::{AttemptId, Bytes};
use crate::policy::broker::Force;

/// With this begins the name of every run's group: nothing else is ever frozen or killed.
const RUN: &[u8] = b"sandtest-run-";

/// Why a group is not taken for the run's.
#[derive(Debug, thiserror::Error)]
pub enum NotYours {
    /// Not the name of a run's group.
    #[error("{0:?} is not the path of a run's group, which is /.../sandtest-run-ID")]
    Name(String),
    /// Another user's.
    #[error("the group {path:?} is user {owner}'s, and not user {user}'s")]
    Owner {
        /// As it was said.
        path: String,
        /// Whose it is.
        owner: u32,
        /// Who said so.
        user: u32,
    },
    /// Of another part of the tree.
    #[error("process {pid} is in {found:?}, which is not at or below the group that holds {path:?}")]
    Elsewhere {
        /// As it was said.
        path: String,
        /// The peer.
        pid: u32,
        /// Where that is.
        found: String,
    },
    /// No v2 tree is mounted here.
    #[error("there is no cgroup v2 tree here")]
    NoTree,
    /// It can't be looked at.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

/// The groups of one run.
#[derive(Debug)]
pub struct Place {
    /// In the v2 tree.
    run: Dir,
    /// The one that counts memory.
    memory: Option<(Dir, Version)>,
    /// Whether we may freeze and kill in it.
    has_right: bool,
    /// Its own `memory.max`, where it has said that, and we may lower it.
    budget: Option<Bytes>,
    /// Swap beside that, on v1.
    swap: Option<Bytes>,
}

impl Place {
    /// The group at `path`, from the root of the v2 tree, if it is the peer's own.
    ///
    /// # Errors
    /// [`NotYours`], for the client to read.
    pub fn of(path: &str, peer: &Peer) -> Result<Place, NotYours> {
        let below = Path::new(path).strip_prefix("/").map_err(|_| NotYours::Name(path.to_owned()))?;
        let plain = below.components().all(|part| matches!(part, Component::Normal(_)));
        let name = below.file_name().filter(|name| plain && name.as_bytes().starts_with(RUN));
        let (Some(name), Some(holder)) = (name, Path::new(path).parent()) else {
            return Err(NotYours::Name(path.to_owned()));
        };
        let root = hierarchy::here().into_iter().find(|one| one.v2).map(|one| one.mount);
        let run = Dir::open(root.ok_or(NotYours::NoTree)?)?.open_below(below)?;
        let belongs = |dir: &Dir| match dir.owner()? {
            owner if owner == peer.uid => Ok(()),
            owner => Err(NotYours::Owner { path: path.to_owned(), owner, user: peer.uid }),
        };
        belongs(&run)?;
        let found = process::v2_group(peer.pid).unwrap_or_default();
        let groups = OwnGroups::of_process(peer.pid);
        // What was read by a number counts only if it was the peer's until now.
        if !Path::new(&found).starts_with(holder) || !peer.is_alive() {
            return Err(NotYours::Elsewhere { path: path.to_owned(), pid: peer.pid, found });
        }
        let memory = match groups.v1_memory {
            Some(own) => Dir::open(own)?.open_below(name).ok().map(|dir| (dir, Version::V1)),
            None => run
                .has("memory.current")
                .then(|| run.open_below(".").map(|dir| (dir, Version::V2)))
                .transpose()?,
        };
        let memory = memory.filter(|(dir, _)| belongs(dir).is_ok());
        let has_right = run.open_for_writing("cgroup.kill").is_ok();
        Ok(Place { run, memory, has_right, budget: None, swap: None })
    }

    /// The same, of which `budget` is the run's own `memory.max`.
    pub fn with_budget(mut self, budget: Option<Bytes>) -> Place {
        let Some((dir, version)) = &self.memory else { return self };
        let ours = dir.open_for_writing(controllers::memory_max_file(*version)).is_ok();
        self.budget = budget.filter(|_| ours);
        self.swap = if *version == Version::V1 { controllers::v1_swap(dir) } else { None };
        self
    }

    /// Its own `memory.max`, if that may be lowered.
    pub fn budget(&self) -> Option<Bytes> {
        self.budget
    }

    /// Sets its `memory.max`, which may have been lowered before.
    ///
    /// # Errors
    /// [`KernelError::Write`].
    pub fn set_cap(&self, cap: Bytes) -> Result<(), KernelError> {
        match &self.memory {
            Some((dir, Version::V1)) => controllers::move_v1_limit(dir, cap, self.swap),
            Some((dir, Version::V2)) => dir.write_without_waiting("memory.max", &cap.0.to_string()),
            None => Ok(()),
        }
    }

    /// Whether we may freeze and kill in it.
    pub fn has_right(&self) -> bool {
        self.has_right
    }

    /// Whether what it holds can be looked at.
    pub fn is_seen(&self) -> bool {
        self.memory.is_some()
    }

    /// Does to an attempt, or to all of the run, what the client did not do. A group that is gone needs nothing.
    ///
    /// # Errors
    /// [`KernelError`] if it is there and can't be written.
    pub fn force(&self, id: Option<AttemptId>, force: Force) -> Result<(), KernelError> {
        let below = id.map(|id| self.run.open_below(id.to_string()));
        let dir = match &below {
            None => &self.run,
            Some(Ok(dir)) => dir,
            Some(Err(_)) => return Ok(()),
        };
        match force {
            Force::Freeze => cgroup::freeze(dir, true),
            Force::Kill => cgroup::kill(dir),
        }
    }

    /// What tells what all of it holds.
    pub fn sensors(&self) -> Option<GroupSensors> {
        let (dir, version) = self.memory.as_ref()?;
        GroupSensors::open(dir, *version)
    }

    /// What tells what an attempt holds; `None` if it has no group.
    pub fn job_sensors(&self, id: AttemptId) -> Option<JobSensors> {
        let name = id.to_string();
        let v2 = self.run.open_below(&name).ok();
        let memory = match &self.memory {
            Some((_, Version::V2)) => v2.as_ref().map(|dir| (dir, Version::V2)),
            Some((run, Version::V1)) => {
                let dir = run.open_below(&name).ok()?;
                return Some(JobSensors::open(Some((&dir, Version::V1)), v2.as_ref()));
            }
            None => None,
        };
        memory.map(|memory| JobSensors::open(Some(memory), v2.as_ref()))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.run.path()
    }
}
