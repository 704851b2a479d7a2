//! What a thread waits for: by its state, then by its system call, then by the kernel's function in which it sleeps.

use crate::model::diagnosis::{Descriptor, SeenThread, Syscall};

/// Kinds of waits. In the order in which they are told where a job has several: what can't end by itself first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Uninterruptible.
    Disk,
    /// By a signal.
    Stopped,
    /// By a tracer.
    Traced,
    /// By a cgroup.
    Frozen,
    Futex,
    Write,
    Read,
    Lock,
    Connect,
    Send,
    Receive,
    Ipc,
    /// Somewhere else.
    Other,
    Child,
    /// For a child of vfork(2) to exec or exit.
    Vfork,
    Accept,
    Sleep,
    Events,
    Signal,
    /// Nothing tells.
    Hidden,
    /// It does not wait.
    Runs,
    Dead,
}

impl Kind {
    /// Whether it says more than that the thread has nothing to do: what others in a futex may wait for.
    pub fn is_telling(self) -> bool {
        self < Kind::Accept && self != Kind::Futex && self != Kind::Other
    }
}

/// What a thread waits for.
#[derive(Debug, Clone)]
pub(super) struct Wait<'a> {
    pub kind: Kind,
    /// Where, in a word: `futex_wait`, `clock_nanosleep`, `pipe_read`.
    pub place: &'a str,
    pub call: Option<&'a Syscall>,
}

/// What `thread` waits for, with the observation's `stacks`.
pub(super) fn of<'a>(thread: &'a SeenThread, stacks: &'a [Vec<String>]) -> Wait<'a> {
    let restarted = thread.syscall.as_ref().is_some_and(|call| call.name == "restart_syscall");
    let call = thread.syscall.as_ref().filter(|call| !restarted && !is_unknown(call));
    let frame = thread.stack.and_then(|number| stacks.get(number)?.first());
    let frame = frame.map(|frame| frame.split('+').next().unwrap_or(frame));
    // After SIGSTOP and SIGCONT: poll and futex are still told by their functions, and only a sleep has none of its own.
    let function = thread.wchan.as_deref().or(frame);
    let function = if restarted && function == Some("do_syscall_64") { Some("nanosleep") } else { function };
    let by_function = function.map(kind_of_function);
    let kind = match (thread.state, call, by_function) {
        ('Z' | 'X' | 'x', ..) => Kind::Dead,
        ('R', ..) => Kind::Runs,
        ('T', ..) => Kind::Stopped,
        ('t', ..) => Kind::Traced,
        (_, _, Some(Kind::Frozen)) => Kind::Frozen,
        ('D', call, by_function) => {
            let forks = call.is_some_and(|call| kind_of_call(call) == Kind::Vfork);
            if forks || by_function == Some(Kind::Vfork) { Kind::Vfork } else { Kind::Disk }
        }
        (_, Some(call), _) => kind_of_call(call),
        (_, None, Some(kind)) => kind,
        (_, None, None) => Kind::Hidden,
    };
    let place = match (kind, call) {
        (Kind::Futex, _) => "futex_wait",
        // A disk is told by where in the kernel, not by the call.
        (Kind::Disk, call) => function.or(call.map(|call| call.name.as_str())).unwrap_or("a place not shown"),
        (Kind::Runs, _) => "running",
        (_, Some(call)) => &call.name,
        (_, None) => {
            function.or(thread.syscall.as_ref().map(|call| call.name.as_str())).unwrap_or("a place not shown")
        }
    };
    Wait { kind, place, call }
}

/// A number without a name says less than the kernel's function.
fn is_unknown(call: &Syscall) -> bool {
    call.name.contains(' ')
}

fn kind_of_call(call: &Syscall) -> Kind {
    let kind = match call.name.as_str() {
        "futex" | "futex_waitv" => Kind::Futex,
        "nanosleep" | "clock_nanosleep" => Kind::Sleep,
        "wait4" | "waitid" => Kind::Child,
        "epoll_wait" | "epoll_pwait" | "poll" | "ppoll" | "select" | "pselect6" | "io_uring_enter"
        | "io_getevents" => Kind::Events,
        "read" | "readv" | "pread64" | "preadv" | "splice" => Kind::Read,
        "write" | "writev" | "pwrite64" => Kind::Write,
        "recvfrom" | "recvmsg" | "recvmmsg" => Kind::Receive,
        "sendto" | "sendmsg" => Kind::Send,
        "accept" | "accept4" => Kind::Accept,
        "connect" => Kind::Connect,
        "flock" => Kind::Lock,
        // F_SETLKW, F_OFD_SETLKW.
        "fcntl" if matches!(call.arguments.get(1), Some(7 | 38)) => Kind::Lock,
        "pause" | "rt_sigtimedwait" | "rt_sigsuspend" => Kind::Signal,
        "msgrcv" | "msgsnd" | "semop" | "semtimedop" | "mq_timedreceive" => Kind::Ipc,
        "vfork" | "clone" | "clone3" => Kind::Vfork,
        _ => Kind::Other,
    };
    let on = call.on.as_ref().map(|on| on.kind);
    match (kind, on) {
        (Kind::Read, Some(Descriptor::Socket)) => Kind::Receive,
        (Kind::Write, Some(Descriptor::Socket)) => Kind::Send,
        (
            Kind::Read,
            Some(Descriptor::Eventfd | Descriptor::Timerfd | Descriptor::Signalfd | Descriptor::Inotify),
        ) => Kind::Events,
        _ => kind,
    }
}

/// By the names of Linux 4.19 to 6.18, which change: parts of them, the first that fits.
fn kind_of_function(name: &str) -> Kind {
    const PARTS: [(&str, Kind); 32] = [
        ("freezer_trap", Kind::Frozen),
        ("do_signal_stop", Kind::Stopped),
        ("ptrace_stop", Kind::Traced),
        ("futex", Kind::Futex),
        ("nanosleep", Kind::Sleep),
        ("vfork", Kind::Vfork),
        ("kernel_clone", Kind::Vfork),
        ("sigtimedwait", Kind::Signal),
        ("sigsuspend", Kind::Signal),
        ("sys_pause", Kind::Signal),
        ("ep_poll", Kind::Events),
        ("epoll", Kind::Events),
        ("poll_schedule_timeout", Kind::Events),
        ("do_poll", Kind::Events),
        ("sys_poll", Kind::Events),
        ("do_select", Kind::Events),
        ("sys_select", Kind::Events),
        ("io_cqring_wait", Kind::Events),
        ("eventfd_read", Kind::Events),
        ("pipe_read", Kind::Read),
        ("pipe_wait_readable", Kind::Read),
        ("tty_read", Kind::Read),
        ("pipe_write", Kind::Write),
        ("pipe_wait_writable", Kind::Write),
        ("accept", Kind::Accept),
        ("connect", Kind::Connect),
        ("wait_for_more_packets", Kind::Receive),
        ("unix_stream", Kind::Receive),
        ("sk_wait_data", Kind::Receive),
        ("sk_stream_wait", Kind::Send),
        ("locks_lock", Kind::Lock),
        ("setlk", Kind::Lock),
    ];
    let children = ["do_wait", "kernel_wait4", "kernel_waitid"].contains(&name);
    let by_part = PARTS.iter().find(|(part, _)| name.contains(part)).map(|(_, kind)| *kind);
    if children { Kind::Child } else { by_part.unwrap_or(Kind::Other) }
}
