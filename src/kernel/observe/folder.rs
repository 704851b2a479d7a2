//! A process's or a thread's folder in `/proc`, held open: what is read through it is of that one for good, and fails
//! once it is gone, whoever has its number by then.
//!
//! Only files that wait for nothing the process holds are read. `cmdline`, `environ` and `maps` are not among them: a
//! process that hangs in a page fault would hang its reader. No link is followed to the file behind it, which may be
//! on a network.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Dir, Mode, OFlags};

use crate::model::text::harmless;

/// Room for the longest of these files, a kernel stack.
pub(super) const ROOM: usize = 8192;

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::RDONLY).union(OFlags::CLOEXEC);

/// One of them.
pub(super) struct Folder(OwnedFd);

impl Folder {
    /// Of a process.
    pub fn of(pid: u32) -> Option<Folder> {
        rustix::fs::open(format!("/proc/{pid}"), DIRECTORY, Mode::empty()).ok().map(Folder)
    }

    /// A folder in it.
    pub fn open(&self, name: &str) -> io::Result<Folder> {
        Ok(Folder(rustix::fs::openat(&self.0, name, DIRECTORY, Mode::empty())?))
    }

    /// A file in it, for reading.
    pub fn file(&self, name: &str) -> io::Result<OwnedFd> {
        Ok(rustix::fs::openat(&self.0, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
    }

    /// A file in it, as far as `buffer` goes. Names in it may hold any bytes.
    pub fn read(&self, name: &str, buffer: &mut [u8; ROOM]) -> io::Result<String> {
        let file = self.file(name)?;
        let length = rustix::io::read(&file, &mut buffer[..])?;
        Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    /// The numbers among the names in it, ascending as the kernel lists them. Costs no more than it yields.
    pub fn numbers(&self) -> impl Iterator<Item = u32> {
        let entries = Dir::read_from(&self.0).into_iter().flatten().map_while(Result::ok);
        entries.filter_map(|entry| entry.file_name().to_str().ok()?.parse().ok())
    }

    /// What the link `name` says, as far as it is harmless.
    pub fn link(&self, name: &str) -> io::Result<String> {
        let target = rustix::fs::readlinkat(&self.0, name, Vec::new())?;
        Ok(harmless(&target.to_string_lossy()))
    }

    /// The owner's permissions of the link `name`; below `fd` these tell how the descriptor was opened.
    pub fn link_mode(&self, name: &str) -> io::Result<u32> {
        Ok(rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode)
    }
}
