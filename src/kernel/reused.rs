//! v1 groups that serve one attempt after the other.
//!
//! ```text
//! made ─▶ taken ─▶ given back ── as good as new ──▶ free ─▶ taken ...
//!                             ── marked by its last user ──▶ removed
//! ```
//!
//! A memory group keeps what its last user charged, and a v2 group that was ever killed kills what is born in it:
//! those are always fresh. A v1 cpu group keeps counters only, and a v1 pids group through which only one task
//! at a time has gone reads as if nobody had been there. Making and removing groups is most of what an attempt
//! costs, and a task's first run in a new cpu group waits for a slice on a busy machine (0.7 ms and more).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::KernelError;
use super::controllers::{self, Version};
use super::files::{self, Dir, keyed, read_again};
use crate::model::Cpus;

/// Groups below one of a v1 hierarchy, those that nobody uses at hand.
#[derive(Debug)]
pub struct Reused<G> {
    parent: Dir,
    free: Mutex<Vec<G>>,
    made: AtomicU32,
}

/// A group that can serve again.
pub trait Serves: Sized {
    /// What it limits.
    type Limit: Copy;

    /// Its name, before its number.
    const NAME: &'static str;

    /// Sets up a fresh group.
    ///
    /// # Errors
    /// What could not be written, read back or opened.
    fn open(dir: Dir, limit: Self::Limit) -> Result<Self, KernelError>;

    /// Where it is.
    fn dir(&self) -> &Dir;

    /// Whether its next user finds it as a fresh one, with `limit` in force.
    fn is_as_new(&mut self, limit: Self::Limit) -> bool;
}

impl<G: Serves> Reused<G> {
    /// For groups below `parent`.
    pub fn below(parent: Dir) -> Reused<G> {
        Reused { parent, free: Mutex::default(), made: AtomicU32::new(0) }
    }

    /// The group below which they are.
    pub fn parent(&self) -> &Dir {
        &self.parent
    }

    /// A group with `limit` in force.
    ///
    /// # Errors
    /// Whatever could not be made, written or read back; nothing is left then.
    pub fn take(&self, limit: G::Limit) -> Result<G, KernelError> {
        while let Some(mut group) = self.pop() {
            if group.is_as_new(limit) {
                return Ok(group);
            }
            let _ = files::remove_group(group.dir().path());
        }
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let dir = self.parent.make(&format!("{}-{number}", G::NAME))?;
        let path = dir.path().to_owned();
        G::open(dir, limit).inspect_err(|_| drop(files::remove_group(&path)))
    }

    /// Takes an empty group back.
    pub fn give_back(&self, group: G) {
        self.free.lock().unwrap_or_else(|poison| poison.into_inner()).push(group);
    }

    fn pop(&self) -> Option<G> {
        self.free.lock().unwrap_or_else(|poison| poison.into_inner()).pop()
    }
}

/// What can be set of a v1 cpu group; which of them there are depends on the kernel.
const CPU_SETTINGS: [&str; 5] =
    ["cpu.cfs_quota_us", "cpu.cfs_period_us", "cpu.cfs_burst_us", "cpu.shares", "cpu.idle"];

/// A v1 cpu group with a quota.
#[derive(Debug)]
pub struct CpuGroup {
    dir: Dir,
    tasks: OwnedFd,
    stat: OwnedFd,
    /// All that can be set, and what it reads with the limit in force.
    limits: Vec<(OwnedFd, String)>,
    limit: Cpus,
    throttled_before: Duration,
}

impl CpuGroup {
    /// `tasks`, to be born into it.
    pub fn tasks(&self) -> BorrowedFd<'_> {
        self.tasks.as_fd()
    }

    /// How long its present user was held back by the quota.
    pub fn throttled(&self) -> Option<Duration> {
        Some(self.throttled_ever()?.saturating_sub(self.throttled_before))
    }

    fn throttled_ever(&self) -> Option<Duration> {
        controllers::cpu_throttled(&read_again(&self.stat)?, Version::V1)
    }
}

impl Serves for CpuGroup {
    type Limit = Cpus;
    const NAME: &'static str = "cpu";

    fn open(dir: Dir, limit: Cpus) -> Result<CpuGroup, KernelError> {
        controllers::set_cpu(&dir, Version::V1, limit)?;
        let (tasks, stat) = (dir.open_for_writing("tasks")?, dir.open_for_reading("cpu.stat")?);
        let there = CPU_SETTINGS.iter().filter(|file| dir.has(file));
        let limits = there.map(|file| held(&dir, file)).collect::<Result<_, _>>()?;
        Ok(CpuGroup { dir, tasks, stat, limits, limit, throttled_before: Duration::ZERO })
    }

    fn dir(&self) -> &Dir {
        &self.dir
    }

    fn is_as_new(&mut self, limit: Cpus) -> bool {
        self.throttled_before = self.throttled_ever().unwrap_or_default();
        self.limit == limit && self.limits.iter().all(still_reads)
    }
}

/// A v1 pids group.
#[derive(Debug)]
pub struct PidsGroup {
    dir: Dir,
    tasks: OwnedFd,
    /// `pids.max`, and what it reads with the limit in force.
    max: (OwnedFd, String),
    limit: Option<u64>,
    /// Absent before Linux 6.1; then no group serves twice.
    peak: Option<OwnedFd>,
    events: Option<OwnedFd>,
    /// Those that are there: a process that has ended counts until its parent has asked how.
    current: OwnedFd,
}

impl PidsGroup {
    /// `tasks`, to be born into it.
    pub fn tasks(&self) -> BorrowedFd<'_> {
        self.tasks.as_fd()
    }

    /// Processes and threads at the most: `pids.peak`.
    pub fn peak(&self) -> Option<u64> {
        read_again(self.peak.as_ref()?)?.trim_end().parse().ok()
    }

    /// Forks refused: `max` of `pids.events`.
    pub fn max_events(&self) -> Option<u64> {
        keyed(&read_again(self.events.as_ref()?)?, "max")
    }
}

impl Serves for PidsGroup {
    type Limit = Option<u64>;
    const NAME: &'static str = "pids";

    fn open(dir: Dir, limit: Option<u64>) -> Result<PidsGroup, KernelError> {
        if let Some(max) = limit {
            controllers::set_pids(&dir, Version::V1, max)?;
        }
        let tasks = dir.open_for_writing("tasks")?;
        let (peak, events) =
            (dir.open_for_reading("pids.peak").ok(), dir.open_for_reading("pids.events").ok());
        let current = dir.open_for_reading("pids.current")?;
        Ok(PidsGroup { max: held(&dir, "pids.max")?, limit, dir, tasks, peak, events, current })
    }

    fn dir(&self) -> &Dir {
        &self.dir
    }

    fn is_as_new(&mut self, limit: Option<u64>) -> bool {
        let is_empty = read_again(&self.current).is_some_and(|count| count.trim_end() == "0");
        let unmarked = is_empty && self.peak().is_some_and(|peak| peak <= 1) && self.max_events() == Some(0);
        unmarked && self.limit == limit && still_reads(&self.max)
    }
}

/// A limit's file, held open, and its text.
fn held(dir: &Dir, file: &str) -> Result<(OwnedFd, String), KernelError> {
    let text = dir.read(file)?;
    Ok((dir.open_for_reading(file)?, text))
}

/// Whether the limit is still in force: the last user of the group may have written to it.
fn still_reads((file, text): &(OwnedFd, String)) -> bool {
    read_again(file).is_some_and(|now| now.trim_end() == text)
}
