//! Being told that a group ran out of memory, and whose limit it was.
//!
//! v2: `memory.events.local` of the group counts `oom` when its own limit was full and `oom_kill` when one of
//! its processes was killed, for whatever limit. v1 has only `oom_kill`; whose limit it was is told by
//! eventfds on `memory.oom_control` (Documentation/admin-guide/cgroup-v1/memory.rst, 9 and 10): the group's own
//! OOM fires only its own, an OOM of the parent fires the parent's and the group's. So the group's count less
//! the parent's, over the group's life, is its own.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Mutex;

use nix::sys::eventfd::{EfdFlags, EventFd};

use super::KernelError;
use super::files::{Dir, keyed, read_again};

/// What to poll for a group's OOM.
#[derive(Debug)]
pub enum OomNotice {
    /// v1: an eventfd that becomes readable. It fires before the kill.
    Counter(OomCounter),
    /// v2: `memory.events.local`, held open; it has an exceptional condition when it changes.
    Events(OwnedFd),
}

impl AsFd for OomNotice {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            OomNotice::Counter(counter) => counter.eventfd.as_fd(),
            OomNotice::Events(fd) => fd.as_fd(),
        }
    }
}

impl AsRawFd for OomNotice {
    fn as_raw_fd(&self) -> i32 {
        self.as_fd().as_raw_fd()
    }
}

/// Counts the OOMs of a v1 memory group and of those above it.
#[derive(Debug)]
pub struct OomCounter {
    eventfd: EventFd,
    /// `memory.oom_control`, held open for the count of kills.
    control: OwnedFd,
    /// Locked over the look and the sum: of two who look at once, neither may miss what the other takes.
    seen: Mutex<u64>,
}

impl OomCounter {
    /// Counts from now on.
    ///
    /// # Errors
    /// [`KernelError::Call`], or [`KernelError::Write`] to `cgroup.event_control`.
    pub fn arm(group: &Dir) -> Result<OomCounter, KernelError> {
        let eventfd = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
            .map_err(|errno| KernelError::Call { what: "make an eventfd", source: errno.into() })?;
        let control = group.open_for_reading("memory.oom_control")?;
        let line = format!("{} {}", eventfd.as_fd().as_raw_fd(), control.as_raw_fd());
        group.write("cgroup.event_control", &line)?;
        Ok(OomCounter { eventfd, control, seen: Mutex::default() })
    }

    /// How many there were since it was armed.
    pub fn count(&self) -> u64 {
        let mut seen = self.seen.lock().unwrap_or_else(|poison| poison.into_inner());
        // EAGAIN: none since the last look.
        *seen += self.eventfd.read().unwrap_or(0);
        *seen
    }

    /// `oom_kill` of v1 `memory.oom_control` (Linux 4.13).
    pub fn kills(&self) -> Option<u64> {
        keyed(&read_again(&self.control)?, "oom_kill")
    }
}

/// `oom` and `oom_kill` of `memory.events.local` (Linux 5.2).
pub fn v2_oom(group: &Dir) -> Option<(u64, u64)> {
    events(&group.read_if_there("memory.events.local")?)
}

/// The same, from the file's text.
pub fn events(text: &str) -> Option<(u64, u64)> {
    Some((keyed(text, "oom")?, keyed(text, "oom_kill")?))
}
