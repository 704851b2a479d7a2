//! Open descriptors (proc_pid_fd(5)): how many of what, who holds which end of a pipe, and what a call waits on.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Instant;

use super::folder::Folder;
use crate::model::diagnosis::{Descriptor, Target};

/// Links that are read of one process: of what holds more, the rest is not counted.
const LINKS: usize = 4096;

/// All that is open.
#[derive(Default)]
pub(super) struct Open {
    pub counts: BTreeMap<Descriptor, u64>,
    /// Processes whose descriptors could not be listed.
    pub hidden: u64,
    /// By inode, who holds it.
    pub sockets: HashMap<u64, u32>,
    /// By inode.
    pipes: HashMap<u64, Pipe>,
    pub cut: bool,
}

#[derive(Default)]
struct Pipe {
    readers: HashSet<u32>,
    writers: HashSet<u32>,
}

/// Owner's permissions of the link of a descriptor: how it was opened.
const READS: u32 = 0o400;
const WRITES: u32 = 0o200;

impl Open {
    /// Looks through the descriptors of these processes until `end`.
    pub fn look<'a>(processes: impl Iterator<Item = (u32, &'a Folder)>, end: Instant) -> Open {
        let mut open = Open::default();
        for (pid, folder) in processes {
            if Instant::now() >= end {
                open.cut = true;
                return open;
            }
            match folder.open("fd") {
                Ok(fds) => open.add(pid, &fds, end),
                Err(_) => open.hidden += 1,
            }
        }
        open
    }

    fn add(&mut self, pid: u32, fds: &Folder, end: Instant) {
        for (number, fd) in fds.numbers().enumerate() {
            if number >= LINKS || Instant::now() >= end {
                self.cut = true;
                return;
            }
            let fd = fd.to_string();
            let Ok(name) = fds.link(&fd) else { continue };
            let kind = kind(&name);
            *self.counts.entry(kind).or_default() += 1;
            match (kind, inode(&name)) {
                (Descriptor::Socket, Some(inode)) => {
                    self.sockets.entry(inode).or_insert(pid);
                }
                (Descriptor::Pipe, Some(inode)) => {
                    let mode = fds.link_mode(&fd).unwrap_or(0);
                    let pipe = self.pipes.entry(inode).or_default();
                    if mode & READS != 0 {
                        pipe.readers.insert(pid);
                    }
                    if mode & WRITES != 0 {
                        pipe.writers.insert(pid);
                    }
                }
                _ => {}
            }
        }
    }

    /// What `fd` of the process in `folder` is, on which a call waits that reads, or else writes. Its socket is not
    /// told yet.
    pub fn target(&self, folder: &Folder, fd: u32, reads: bool) -> Option<Target> {
        let name = folder.open("fd").ok()?.link(&fd.to_string()).ok()?;
        let kind = kind(&name);
        // With the time up or a process hidden, an end that was not seen may be there all the same.
        let sure = kind == Descriptor::Pipe && !self.cut && self.hidden == 0;
        let other_end = inode(&name).filter(|_| sure).map(|inode| {
            let pipe = self.pipes.get(&inode);
            let ends = pipe.map(|pipe| if reads { &pipe.writers } else { &pipe.readers });
            let mut pids: Vec<u32> = ends.into_iter().flatten().copied().collect();
            pids.sort_unstable();
            pids
        });
        Some(Target { fd, kind, name, other_end, socket: None })
    }
}

/// What the link of a descriptor is of.
fn kind(name: &str) -> Descriptor {
    const KINDS: [(&str, Descriptor); 14] = [
        ("pipe:[", Descriptor::Pipe),
        ("socket:[", Descriptor::Socket),
        ("anon_inode:[eventpoll]", Descriptor::Epoll),
        ("anon_inode:[eventfd]", Descriptor::Eventfd),
        ("anon_inode:[timerfd]", Descriptor::Timerfd),
        ("anon_inode:[signalfd]", Descriptor::Signalfd),
        ("anon_inode:[io_uring]", Descriptor::IoUring),
        ("anon_inode:[pidfd]", Descriptor::Pidfd),
        // A file system of its own since Linux 6.9.
        ("pidfd:[", Descriptor::Pidfd),
        ("anon_inode:inotify", Descriptor::Inotify),
        ("/memfd:", Descriptor::Memfd),
        ("/dev/pts/", Descriptor::Terminal),
        ("/dev/tty", Descriptor::Terminal),
        ("/dev/console", Descriptor::Terminal),
    ];
    match KINDS.iter().find(|(begin, _)| name.starts_with(begin)) {
        Some((_, kind)) => *kind,
        None if name.starts_with("/dev/") && !name.starts_with("/dev/shm/") => Descriptor::Device,
        None if name.starts_with('/') => Descriptor::File,
        None => Descriptor::AnonInode,
    }
}

/// The number in `socket:[4711]`.
pub(super) fn inode(name: &str) -> Option<u64> {
    name.split_once(":[")?.1.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_told_apart_by_their_links() {
        for (name, wanted) in [
            ("pipe:[7220728]", Descriptor::Pipe),
            ("socket:[1603]", Descriptor::Socket),
            ("anon_inode:[eventpoll]", Descriptor::Epoll),
            ("anon_inode:[eventfd]", Descriptor::Eventfd),
            ("anon_inode:inotify", Descriptor::Inotify),
            ("pidfd:[12]", Descriptor::Pidfd),
            ("anon_inode:[perf_event]", Descriptor::AnonInode),
            ("net:[4026531840]", Descriptor::AnonInode),
            ("/memfd:x (deleted)", Descriptor::Memfd),
            ("/dev/pts/3", Descriptor::Terminal),
            ("/dev/null", Descriptor::Device),
            ("/dev/shm/pipe:[1]", Descriptor::File),
            ("/tmp/a (deleted)", Descriptor::File),
            ("", Descriptor::AnonInode),
        ] {
            assert_eq!(kind(name), wanted, "{name}");
        }
        assert_eq!((inode("socket:[1603]"), inode("socket:[x]"), inode("/a")), (Some(1603), None, None));
    }
}
