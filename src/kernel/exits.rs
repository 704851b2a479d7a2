//! How processes ended that are no children of ours, as the kernel tells of all of the machine's: `PROC_EVENT_EXIT` of the
//! process connector (linux/cn_proc.h, over netlink(7)).
//!
//! For kernels before 6.15, where no pidfd tells it. Heard by root, since Linux 6.6 by anyone, in the first pid, user and network
//! namespaces only. The event comes right after the process' parent was woken.
//!
//! ```text
//! its first thread ends ── others live ──▶ do they end alike?  ── no ──▶ nobody knows: one of them may have ended it all
//!                       └─ none do ──▶ that is its status             └─ yes ──▶ that is
//! ```

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::{pidfd, spawn};
use crate::model::Exit;

/// What is known of a process that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// Not yet.
    Nothing,
    /// How it ended.
    End(Exit),
    /// Its end can't be told: events were lost, or its threads ended each its own way.
    Never,
}

/// Listens to the ends of processes.
#[derive(Debug)]
pub struct Exits {
    socket: OwnedFd,
    /// By process id.
    watched: BTreeMap<u32, Watched>,
}

/// One process, since it was watched.
#[derive(Debug, Default, Clone, Copy)]
struct Watched {
    /// Threads beside the first.
    others: i64,
    /// How its first thread ended.
    first: Option<u32>,
    unclear: bool,
}

/// What an event says.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// Of a thread beside the first.
    Begins {
        process: u32,
    },
    Ends {
        thread: u32,
        process: u32,
        status: u32,
    },
}

/// `struct nlmsghdr`, `struct cn_msg` and `struct proc_event` lie one behind the other, without room between them.
mod at {
    pub const ID: usize = 16;
    pub const WHAT: usize = 36;
    pub const DATA: usize = 52;
    pub const END: usize = 76;
}

const EVENT_FORK: u32 = 1;
const EVENT_EXIT: u32 = 0x8000_0000;

/// `CN_IDX_PROC` and `CN_VAL_PROC`.
const PROC: u32 = 1;

const LISTEN: u32 = 1;
const IGNORE: u32 = 2;

/// In bytes, for a moment in which nobody reads; a user has 200 KiB.
const BUFFER: i32 = 4 << 20;

impl Exits {
    /// Listens, where the kernel tells an end to nobody else; `None` where it does, or does not tell us.
    pub fn where_needed() -> Option<Exits> {
        let mut stack = spawn::Stack::new().ok()?;
        let gone = spawn::try_out(None, &mut stack).ok()?;
        if pidfd::tells_of_reaped(&gone) { None } else { Exits::listen().ok() }
    }

    fn listen() -> io::Result<Exits> {
        let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: no pointers; a descriptor that is returned is nobody else's.
        let socket = unsafe {
            let socket = libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_CONNECTOR);
            if socket < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(socket)
        };
        let exits = Exits { socket, watched: BTreeMap::new() };
        // What does not fit is noticed, and no end is told wrongly.
        let _ = exits.set(libc::SO_RCVBUFFORCE, &BUFFER);
        exits.filter()?;
        // SAFETY: all-zero is a valid address.
        let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
        address.nl_family = libc::AF_NETLINK as _;
        address.nl_groups = PROC;
        let length = size_of_val(&address) as libc::socklen_t;
        // SAFETY: the address is as long as it says.
        let bound = unsafe { libc::bind(exits.socket.as_raw_fd(), (&raw const address).cast(), length) };
        if bound != 0 {
            return Err(io::Error::last_os_error());
        }
        exits.say(LISTEN)?;
        Ok(exits)
    }

    /// Begins to listen for the end of `pid`, which has one thread.
    pub fn watch(&mut self, pid: u32) {
        // What has come until now is of others that had its number.
        self.read();
        self.watched.insert(pid, Watched::default());
    }

    /// How one ended that is watched.
    pub fn end_of(&mut self, pid: u32) -> Told {
        self.read();
        self.watched.get(&pid).map_or(Told::Never, Watched::told)
    }

    /// Nobody asks for it any more.
    pub fn forget(&mut self, pid: u32) {
        self.read();
        self.watched.remove(&pid);
    }

    /// Its socket once more, to be told when there is something to [`read`](Exits::read).
    ///
    /// # Errors
    /// The system's: too many descriptors.
    pub fn socket(&self) -> io::Result<OwnedFd> {
        self.socket.try_clone()
    }

    /// Takes in what the kernel has told: to be called often, since it keeps no more for a user than a few hundred ends.
    pub fn read(&mut self) {
        let mut buffer = [0u8; 512];
        loop {
            // SAFETY: all-zero is a valid address.
            let mut from: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
            let mut length = size_of_val(&from) as libc::socklen_t;
            // SAFETY: both places are as long as is said.
            let count = unsafe {
                let (place, from) = (buffer.as_mut_ptr().cast(), (&raw mut from).cast());
                libc::recvfrom(self.socket.as_raw_fd(), place, buffer.len(), 0, from, &raw mut length)
            };
            match usize::try_from(count) {
                // The kernel's own number.
                Ok(count) if from.nl_pid == 0 => {
                    if let Some(event) = Event::parse(&buffer[..count]) {
                        self.note(event);
                    }
                }
                Ok(_) => {}
                Err(_) => match io::Error::last_os_error().raw_os_error() {
                    Some(libc::EINTR) => {}
                    Some(libc::ENOBUFS) => {
                        self.watched.values_mut().for_each(|watched| watched.unclear = true);
                    }
                    _ => return,
                },
            }
        }
    }

    fn note(&mut self, event: Event) {
        let (Event::Begins { process } | Event::Ends { process, .. }) = event;
        if let Some(watched) = self.watched.get_mut(&process) {
            watched.note(event);
        }
    }

    /// Only ends, and the beginnings of threads: a process that is forked would be most of it.
    fn filter(&self) -> io::Result<()> {
        let step =
            |code: u32, yes: u8, no: u8, k: u32| libc::sock_filter { code: code as u16, jt: yes, jf: no, k };
        let load = |at: usize| step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, at as u32);
        let is =
            |value: u32, yes, no| step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, yes, no, value.to_be());
        let end = |length: u32| step(libc::BPF_RET | libc::BPF_K, 0, 0, length);
        let mut steps = [
            load(at::WHAT),
            is(EVENT_EXIT, 5, 0),
            is(EVENT_FORK, 0, 5),
            load(at::DATA + 8),
            step(libc::BPF_MISC | libc::BPF_TAX, 0, 0, 0),
            load(at::DATA + 12),
            step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_X, 1, 0, 0),
            end(u32::MAX),
            end(0),
        ];
        self.set(
            libc::SO_ATTACH_FILTER,
            &libc::sock_fprog { len: steps.len() as u16, filter: steps.as_mut_ptr() },
        )
    }

    fn set<T>(&self, option: i32, value: &T) -> io::Result<()> {
        let (socket, length) = (self.socket.as_raw_fd(), size_of::<T>() as libc::socklen_t);
        // SAFETY: the value is as long as is said, and what a filter points to lives until the call is over.
        let set = unsafe {
            libc::setsockopt(socket, libc::SOL_SOCKET, option, std::ptr::from_ref(value).cast(), length)
        };
        if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    fn say(&self, what: u32) -> io::Result<()> {
        let words: [u32; 10] = [
            40,
            libc::NLMSG_DONE as u32,
            0,
            std::process::id(),
            PROC,
            PROC,
            0,
            0,
            size_of::<u32>() as u32,
            what,
        ];
        // SAFETY: the message is as long as is said.
        let said =
            unsafe { libc::send(self.socket.as_raw_fd(), words.as_ptr().cast(), size_of_val(&words), 0) };
        if said < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

impl Drop for Exits {
    fn drop(&mut self) {
        // Before Linux 6.6 it would go on telling nobody.
        let _ = self.say(IGNORE);
    }
}

impl Event {
    fn parse(message: &[u8]) -> Option<Event> {
        let word = |at: usize| Some(u32::from_ne_bytes(message.get(at..at + 4)?.try_into().ok()?));
        if message.len() < at::END || word(at::ID)? != PROC || word(at::ID + 4)? != PROC {
            return None;
        }
        match word(at::WHAT)? {
            EVENT_FORK => Some(Event::Begins { process: word(at::DATA + 12)? }),
            EVENT_EXIT => Some(Event::Ends {
                thread: word(at::DATA)?,
                process: word(at::DATA + 4)?,
                status: word(at::DATA + 8)?,
            }),
            _ => None,
        }
    }
}

impl Watched {
    fn note(&mut self, event: Event) {
        match event {
            Event::Begins { .. } => self.others += 1,
            Event::Ends { thread, process, status } if thread == process => self.first = Some(status),
            Event::Ends { status, .. } => {
                self.others -= 1;
                self.unclear |= self.first.is_some_and(|first| first != status);
            }
        }
    }

    fn told(&self) -> Told {
        match self.first {
            _ if self.unclear => Told::Never,
            Some(status) if self.others <= 0 => Told::End(pidfd::exit_of_status(status.cast_signed())),
            _ => Told::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn the_kernel_tells_how_anybodys_process_ended() {
        let Ok(mut exits) = Exits::listen() else {
            let _ = writeln!(io::stderr(), "SKIPPED: process events are not for us");
            return;
        };
        for (script, wanted) in [
            ("read x; exit 3", Exit::Code(3)),
            ("read x; kill -9 $$", Exit::Signal(9)),
            ("read x; exec true", Exit::Code(0)),
            (
                "exec python3 -c 'import threading, sys\nfor _ in range(5): threading.Thread(target=int).start()\ninput(); sys.exit(4)'",
                Exit::Code(4),
            ),
        ] {
            let mut child = Command::new("sh").args(["-c", script]).stdin(Stdio::piped()).spawn().unwrap();
            exits.watch(child.id());
            writeln!(child.stdin.take().unwrap()).unwrap();
            child.wait().unwrap();
            let begin = Instant::now();
            let mut told = Told::Nothing;
            while told == Told::Nothing && begin.elapsed() < Duration::from_secs(10) {
                told = exits.end_of(child.id());
            }
            assert_eq!(told, Told::End(wanted), "{script}");
            exits.forget(child.id());
            assert_eq!(exits.end_of(child.id()), Told::Never);
        }
    }

    #[test]
    fn a_first_thread_that_ends_before_others_is_not_taken_at_its_word() {
        let after = |events: &[(u32, u32)]| {
            let mut watched = Watched::default();
            watched.note(Event::Begins { process: 7 });
            for (thread, status) in events {
                watched.note(Event::Ends { thread: *thread, process: 7, status: *status });
            }
            watched.told()
        };
        let code = |code| Told::End(Exit::Code(code));
        assert_eq!(after(&[(7, 0)]), Told::Nothing, "the other one may end it with anything");
        assert_eq!(after(&[(7, 0), (8, 3 << 8)]), Told::Never);
        assert_eq!(after(&[(7, 3 << 8), (8, 3 << 8)]), code(3));
        assert_eq!(after(&[(8, 0), (7, 3 << 8)]), code(3), "a thread that was done");
    }
}
