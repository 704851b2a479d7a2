//! What an attempt was doing when its time was up, seen from outside before anything was sent to it.
//!
//! In JSON times are milliseconds, sizes bytes, absent readings null. The size is bounded: [`PROCESSES`] processes and
//! [`THREADS`] threads are told in full, the rest is counted.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Bytes;

/// Processes that are told in full.
pub const PROCESSES: usize = 64;

/// Threads that are told in full, those of all processes together.
pub const THREADS: usize = 512;

/// Kernel stacks that differ.
pub const STACKS: usize = 64;

/// Frames of one of them, from the innermost.
pub const FRAMES: usize = 24;

/// Listening sockets.
pub const LISTENERS: usize = 32;

/// Lines of output.
pub const LINES: usize = 20;

/// Characters of one of them.
pub const LINE: usize = 300;

/// An [`Observation`], and what it looks like.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// One line in words: what the attempt was doing, by the facts.
    pub reading: String,
    /// The facts.
    #[serde(flatten)]
    pub seen: Observation,
    /// The last [`LINES`] lines that it had written; what was no UTF-8 is replaced.
    pub last_output: Vec<String>,
    /// What the `on_timeout` command came to, where there is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub asked: Option<Asked>,
}

/// An `on_timeout` command.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// Its words.
    pub command: String,
    /// How it ended, in words.
    pub ended: String,
    /// The last [`LINES`] lines that it wrote.
    pub output: Vec<String>,
}

/// What was seen of an attempt's processes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// How long it took to look.
    #[serde(rename = "took_ms", with = "milliseconds")]
    pub took: Duration,
    /// Whether the time for looking ran out, so that something is missing.
    pub cut: bool,
    /// The time over which `cpu` and `queued` were measured, here and below; `None` if they were not.
    #[serde(rename = "window_ms", with = "milliseconds::maybe", default)]
    pub window: Option<Duration>,
    /// Processor time of all of it in the window, with the processes that came and went, if its cgroup tells.
    #[serde(rename = "cpu_ms", with = "milliseconds::maybe", default)]
    pub cpu: Option<Duration>,
    /// `frozen` of `cgroup.events`: whether all of it is frozen.
    pub frozen: Option<bool>,
    /// `memory.current`.
    pub memory: Option<Bytes>,
    /// `memory.max`; `None` also without a limit.
    pub memory_max: Option<Bytes>,
    /// `memory.swap.current`.
    pub memory_swap: Option<Bytes>,
    /// `memory.pressure`, `cpu.pressure` and `io.pressure` of its cgroup.
    pub pressure: Pressures,
    /// Processes that were there, told or not.
    pub process_count: u64,
    /// Threads of the processes that are told: in `processes` or not.
    pub thread_count: u64,
    /// The first [`PROCESSES`] of them.
    pub processes: Vec<SeenProcess>,
    /// Kernel stacks that threads point to: frames such as `do_wait+0x5f/0xe0`, the innermost first.
    pub stacks: Vec<Vec<String>>,
    /// Open descriptors of all processes that could be asked, by what they are of.
    pub descriptors: BTreeMap<Descriptor, u64>,
    /// Processes whose descriptors could not be listed.
    pub descriptors_hidden: u64,
    /// Open sockets by protocol and state: `tcp established`, `unix listen`. One that several processes share counts
    /// once.
    pub sockets: BTreeMap<String, u64>,
    /// Sockets that wait for connections, the first [`LISTENERS`].
    pub listening: Vec<Listener>,
}

/// PSI of a cgroup (Documentation/accounting/psi.rst).
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Pressures {
    /// Waiting for memory.
    pub memory: Option<Pressure>,
    /// Waiting for a processor.
    pub cpu: Option<Pressure>,
    /// Waiting for a disk.
    pub io: Option<Pressure>,
}

/// One pressure file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Pressure {
    /// `avg10` of `some`: percent of the last ten seconds in which some task waited.
    pub some_avg10: f64,
    /// `avg10` of `full`: in which all did. Absent for cpu before Linux 5.13.
    pub full_avg10: Option<f64>,
}

/// One process (proc_pid_stat(5)).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SeenProcess {
    /// Its id.
    pub pid: u32,
    /// Its parent's.
    pub ppid: u32,
    /// Its name, at most 15 bytes; control characters are `?`.
    pub name: String,
    /// The state of its first thread: `R`, `S`, `D`, `T`, `t`, `Z`, `X`, `I`.
    pub state: char,
    /// The signal that stopped it, where it is stopped and the kernel tells.
    pub stop_signal: Option<i32>,
    /// Processor time of all its threads in the window.
    #[serde(rename = "cpu_ms", with = "milliseconds::maybe", default)]
    pub cpu: Option<Duration>,
    /// Resident memory that is not shared.
    pub memory: Option<Bytes>,
    /// Threads in it.
    pub thread_count: u64,
    /// Those that are told, the first one first.
    pub threads: Vec<SeenThread>,
}

/// One thread (proc_pid_task(5)).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SeenThread {
    /// Its id.
    pub tid: u32,
    /// Its name, at most 15 bytes; control characters are `?`.
    pub name: String,
    /// `R`, `S`, `D`, `T`, `t`, `Z`, `X`, `I`.
    pub state: char,
    /// Processor time in the window.
    #[serde(rename = "cpu_ms", with = "milliseconds::maybe", default)]
    pub cpu: Option<Duration>,
    /// Time in the window in which it could have run and had no processor (`run_delay` of `schedstat`).
    #[serde(rename = "queued_ms", with = "milliseconds::maybe", default)]
    pub queued: Option<Duration>,
    /// The function in the kernel in which it sleeps (proc_pid_wchan(5)); `None` where hidden, or while it runs.
    pub wchan: Option<String>,
    /// The system call in which it is (proc_pid_syscall(5)); `None` where hidden, or while it runs.
    pub syscall: Option<Syscall>,
    /// Which of the observation's `stacks` is its own (proc_pid_stack(5)); for root alone.
    pub stack: Option<usize>,
}

/// A system call that has not returned.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Syscall {
    /// Its name, such as `futex`; `syscall 451` for one that is not known here.
    pub name: String,
    /// Its six arguments.
    pub arguments: Vec<u64>,
    /// What its descriptor is, for calls whose first argument is one.
    pub on: Option<Target>,
}

/// What a descriptor is of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Descriptor {
    /// A file or a directory; a named pipe too, which can't be told without touching it.
    File,
    /// A file that memfd_create(2) made.
    Memfd,
    /// A file in `/dev`.
    Device,
    /// `/dev/pts/N`, `/dev/ttyN`, `/dev/tty`, `/dev/console`.
    Terminal,
    /// pipe(2).
    Pipe,
    /// socket(2).
    Socket,
    /// epoll_create(2).
    Epoll,
    /// eventfd(2).
    Eventfd,
    /// timerfd_create(2).
    Timerfd,
    /// signalfd(2).
    Signalfd,
    /// inotify_init(2).
    Inotify,
    /// io_uring_setup(2).
    IoUring,
    /// pidfd_open(2).
    Pidfd,
    /// Another without a name in the file system.
    #[default]
    AnonInode,
}

/// What a call waits on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The number of the descriptor.
    pub fd: u32,
    /// Its kind.
    pub kind: Descriptor,
    /// `/path/of/file`, `pipe:[4711]`; control characters are `?`.
    pub name: String,
    /// Of a pipe, which of the attempt's processes hold its other end; `None` where that can't be told.
    pub other_end: Option<Vec<u32>>,
    /// Of a socket, what it is.
    pub socket: Option<Socket>,
}

/// A socket (proc_pid_net(5)).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Socket {
    /// `tcp`, `tcp6`, `udp`, `udp6`, `unix`.
    pub protocol: String,
    /// `established`, `listen`, `close-wait` ...; for unix `listen`, `connected`, `unconnected`.
    pub state: String,
    /// `127.0.0.1:8080`, `[::1]:8080`, or the path of a unix socket, which may be empty.
    pub local: String,
    /// The other side, where there is one.
    pub remote: Option<String>,
    /// The local port.
    pub port: Option<u16>,
}

/// A socket that waits for connections.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// A process that holds it.
    pub pid: u32,
    /// What it is.
    #[serde(flatten)]
    pub socket: Socket,
}

impl Descriptor {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Descriptor::File => "file",
            Descriptor::Memfd => "memfd",
            Descriptor::Device => "device",
            Descriptor::Terminal => "terminal",
            Descriptor::Pipe => "pipe",
            Descriptor::Socket => "socket",
            Descriptor::Epoll => "epoll",
            Descriptor::Eventfd => "eventfd",
            Descriptor::Timerfd => "timerfd",
            Descriptor::Signalfd => "signalfd",
            Descriptor::Inotify => "inotify",
            Descriptor::IoUring => "io_uring",
            Descriptor::Pidfd => "pidfd",
            Descriptor::AnonInode => "anon_inode",
        }
    }
}

/// Durations as a number of milliseconds.
mod milliseconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    pub fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        of(*time).serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        duration(f64::deserialize(from)?)
    }

    /// In microseconds, so that what is written reads back as it was, and short.
    fn of(time: Duration) -> f64 {
        time.as_micros() as f64 / 1000.0
    }

    fn duration<E: de::Error>(ms: f64) -> Result<Duration, E> {
        let micros = (ms * 1000.0).round();
        Duration::try_from_secs_f64(micros / 1e6).map_err(E::custom)
    }

    pub mod maybe {
        use super::*;

        pub fn serialize<S: Serializer>(time: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
            time.map(of).serialize(to)
        }

        pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
            Option::<f64>::deserialize(from)?.map(duration).transpose()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_back_as_it_was_written_in_milliseconds_and_bytes() {
        let on = Target { fd: 3, kind: Descriptor::Pipe, other_end: Some(vec![7]), ..Target::default() };
        let thread = SeenThread {
            tid: 7,
            state: 'S',
            cpu: Some(Duration::from_micros(1500)),
            syscall: Some(Syscall { name: "read".into(), arguments: vec![u64::MAX; 6], on: Some(on) }),
            ..SeenThread::default()
        };
        let process = SeenProcess { pid: 7, state: 'S', threads: vec![thread], ..SeenProcess::default() };
        let listener = Listener {
            pid: 7,
            socket: Socket { protocol: "tcp".into(), port: Some(80), ..Socket::default() },
        };
        let seen = Observation {
            took: Duration::from_millis(12),
            window: Some(Duration::from_micros(1_000_123)),
            memory: Some(Bytes::mib(3)),
            processes: vec![process],
            descriptors: BTreeMap::from([(Descriptor::IoUring, 2)]),
            listening: vec![listener],
            ..Observation::default()
        };
        let diagnosis = Diagnosis { reading: "so".into(), seen, last_output: vec!["a".into()], asked: None };
        let text = serde_json::to_string(&diagnosis).unwrap();
        for part in ["\"took_ms\":12.0", "\"window_ms\":1000.123", "\"memory\":3145728", "\"io_uring\":2"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert_eq!(serde_json::from_str::<Diagnosis>(&text).unwrap(), diagnosis);
    }
}
