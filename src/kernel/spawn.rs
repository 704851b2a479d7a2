//! Starting a command inside its group, with clone3(2): no copy of page tables, no move between groups.
//!
//! `CLONE_VM | CLONE_VFORK`: the child borrows our memory and we stand still until it execs, as in vfork(2).
//! `CLONE_INTO_CGROUP`: its first instruction runs inside the group. `CLONE_PIDFD`: a handle that never names
//! another process. `CLONE_CLEAR_SIGHAND`: none of our handlers can run in it.

use std::ffi::{CString, c_char};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;

use super::KernelError;
use super::child::{self, Context, Step};
use super::syscall::{self, CloneArgs};

const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// A child in its own right: alive, or ended and not yet reaped.
#[derive(Debug)]
pub struct Child {
    /// Its process id, and that of its process group.
    pub pid: i32,
    /// Readable when it has ended.
    pub pidfd: OwnedFd,
}

/// A command, ready for exec.
#[derive(Debug)]
pub struct Program {
    /// The file to execute.
    pub path: CString,
    /// Its arguments, the name it was called by first.
    pub argv: Vec<CString>,
    /// Its environment.
    pub environment: Environment,
    /// Its working directory; `None`: ours. A `path` that is not absolute is looked up there.
    pub folder: Option<CString>,
}

/// `NAME=value` each.
#[derive(Debug, Clone)]
pub struct Environment {
    /// What many programs have in common.
    pub shared: Arc<[CString]>,
    /// What only this one has.
    pub own: Vec<CString>,
}

/// How a command is started.
#[derive(Debug)]
pub struct Setting<'a> {
    /// The v2 group it is born in.
    pub cgroup: Option<BorrowedFd<'a>>,
    /// `tasks` of v1 groups that it enters before exec.
    pub joins: Vec<BorrowedFd<'a>>,
    /// Its standard streams; numbers below 3 only at their own place.
    pub stdio: [BorrowedFd<'a>; 3],
    /// Raised so that the kernel takes it before the editor.
    pub oom_score_adj: Option<i16>,
    /// Soft limit of open files.
    pub nofile: Option<u64>,
    /// Whether setuid programs give nothing.
    pub no_new_privs: bool,
    /// Whether it gets a session of its own: whoever asks for the terminal (`/dev/tty`) is told that there is none
    /// (`ENXIO`), instead of being stopped for ever (SIGTTIN).
    pub session: bool,
    /// A terminal whose foreground it becomes.
    pub terminal: Option<BorrowedFd<'a>>,
}

/// Why a child did not come to exec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpawnFailure {
    /// Where it stopped.
    pub step: Step,
    /// The system's answer.
    pub errno: i32,
}

/// The stack on which children run until they exec. One for each thread that spawns.
#[derive(Debug)]
pub struct Stack {
    lowest: *mut u8,
}

/// Signals to hand on to no child although we ignore them: found once, at start.
#[derive(Debug, Clone, Copy)]
pub struct IgnoredSignals(u64);

// Enough for a few frames of system calls; execve copies its strings inside the kernel.
const STACK: usize = 64 << 10;
const GUARD: usize = 4096;

impl Stack {
    /// Maps one, with a page below it that catches an overflow.
    ///
    /// # Errors
    /// [`KernelError::Call`] without memory.
    pub fn new() -> Result<Stack, KernelError> {
        // SAFETY: a fresh anonymous mapping, touched by nobody else; its upper part is made writable.
        unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK;
            let bottom = libc::mmap(std::ptr::null_mut(), STACK + GUARD, libc::PROT_NONE, flags, -1, 0);
            if bottom == libc::MAP_FAILED {
                return Err(KernelError::last("map a stack for children"));
            }
            let lowest = bottom.cast::<u8>().add(GUARD);
            if libc::mprotect(lowest.cast(), STACK, libc::PROT_READ | libc::PROT_WRITE) != 0 {
                return Err(KernelError::last("map a stack for children"));
            }
            Ok(Stack { lowest })
        }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`, and no child uses it any more: each spawn waits for the exec.
        unsafe {
            libc::munmap(self.lowest.sub(GUARD).cast(), STACK + GUARD);
        }
    }
}

impl IgnoredSignals {
    /// Those ignored now that a program does not expect to be: SIGPIPE by Rust's runtime, SIGINT and SIGQUIT
    /// by a shell that started us in the background. SIGHUP stays: nohup means it.
    pub fn read() -> IgnoredSignals {
        let ignored =
            [libc::SIGPIPE, libc::SIGINT, libc::SIGQUIT].into_iter().filter(|signal| is_ignored(*signal));
        IgnoredSignals(ignored.fold(0, |set, signal| set | 1 << (signal - 1)))
    }
}

/// Whether this process ignores `signal`.
pub fn is_ignored(signal: i32) -> bool {
    // SAFETY: asks for the current action without setting one; all-zero is a valid sigaction to write over.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &mut action) == 0 && action.sa_sigaction == libc::SIG_IGN
    }
}

/// Starts `program` as `setting` says and returns once it has exec'd.
///
/// The child dies (SIGKILL) when the calling thread ends.
///
/// # Errors
/// [`SpawnFailure`]; nothing is left then.
pub fn spawn(
    program: &Program,
    setting: &Setting,
    ignored: IgnoredSignals,
    stack: &mut Stack,
) -> Result<Child, SpawnFailure> {
    let argv = pointers(&program.argv);
    let envp = pointers(program.environment.shared.iter().chain(&program.environment.own));
    let joins: Vec<i32> = setting.joins.iter().map(AsRawFd::as_raw_fd).collect();
    let oom_score_adj = setting.oom_score_adj.map(|value| value.to_string()).unwrap_or_default();
    let mut context = Context {
        path: &program.path,
        argv: argv.as_ptr(),
        envp: envp.as_ptr(),
        folder: program.folder.as_deref(),
        stdio: setting.stdio.map(|fd| fd.as_raw_fd()),
        joins: &joins,
        oom_score_adj: oom_score_adj.as_bytes(),
        nofile: setting.nofile.map(soft_nofile),
        no_new_privs: setting.no_new_privs,
        session: setting.session,
        terminal: setting.terminal.map(|fd| fd.as_raw_fd()),
        ignored: ignored.0,
        parent: std::process::id() as i32,
        step: Step::None,
        errno: 0,
    };
    let child = clone_into(setting.cgroup, child::start, (&raw mut context).cast(), stack)
        .map_err(|errno| SpawnFailure { step: Step::Clone, errno })?;
    // SAFETY: both are fields of `context`, which the child may have written; it has exec'd or ended by now.
    let (step, errno) =
        unsafe { ((&raw const context.step).read_volatile(), (&raw const context.errno).read_volatile()) };
    if step == Step::None {
        return Ok(child);
    }
    let _ = super::pidfd::wait(&child.pidfd);
    Err(SpawnFailure { step, errno })
}

/// Whether a child can be born into `group` and live: one that exits at once is cloned into it. Returns it, reaped.
///
/// A group that was ever killed, or a supervisor that sits in one, makes newer kernels kill it at birth.
///
/// # Errors
/// [`KernelError::Call`] with what happened instead.
pub fn try_out(group: Option<BorrowedFd>, stack: &mut Stack) -> Result<OwnedFd, KernelError> {
    extern "C" fn exit_at_once(_: *mut libc::c_void) -> ! {
        loop {
            // SAFETY: takes no pointer and does not return.
            unsafe { syscall::raw(libc::SYS_exit_group, [0; 5]) };
        }
    }
    let failed = |source| KernelError::Call { what: "clone a process into a fresh cgroup", source };
    let child = clone_into(group, exit_at_once, std::ptr::null_mut(), stack)
        .map_err(|errno| failed(std::io::Error::from_raw_os_error(errno)))?;
    match super::pidfd::wait(&child.pidfd) {
        Ok(crate::model::Exit::Code(0)) => Ok(child.pidfd),
        Ok(exit) => Err(failed(std::io::Error::other(format!("it ended at birth with {exit:?}")))),
        Err(error) => Err(error),
    }
}

fn clone_into(
    group: Option<BorrowedFd>,
    entry: extern "C" fn(*mut libc::c_void) -> !,
    argument: *mut libc::c_void,
    stack: &mut Stack,
) -> Result<Child, i32> {
    let mut pidfd: i32 = -1;
    let mut flags = CLONE_CLEAR_SIGHAND | (libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD) as u64;
    if group.is_some() {
        flags |= CLONE_INTO_CGROUP;
    }
    let arguments = CloneArgs {
        flags,
        pidfd: &raw mut pidfd as u64,
        exit_signal: libc::SIGCHLD as u64,
        stack: stack.lowest as u64,
        stack_size: STACK as u64,
        cgroup: group.map_or(0, |fd| fd.as_raw_fd() as u64),
        ..CloneArgs::default()
    };
    // SAFETY: all 64 signals are blocked, libc's own 32 and 33 too, so no handler runs in the child on shared
    // memory. The child runs only `entry`, which touches no allocator and no lock, on a stack that is ours alone
    // (`&mut`); CLONE_VFORK keeps this thread here until the child execs or ends.
    let pid = unsafe {
        let (all, mut before) = (!0u64, 0u64);
        let set = libc::SIG_SETMASK as usize;
        syscall::raw(
            libc::SYS_rt_sigprocmask,
            [set, &raw const all as usize, &raw mut before as usize, 8, 0],
        );
        let pid = syscall::clone3(&arguments, entry, argument);
        syscall::raw(libc::SYS_rt_sigprocmask, [set, &raw const before as usize, 0, 8, 0]);
        pid
    };
    if pid < 0 {
        return Err(-pid as i32);
    }
    // SAFETY: the kernel has put a fresh descriptor there that nobody else owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd((&raw const pidfd).read_volatile()) };
    Ok(Child { pid: pid as i32, pidfd })
}

fn pointers<'a>(strings: impl IntoIterator<Item = &'a CString>) -> Vec<*const c_char> {
    strings.into_iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
}

/// `soft`, under the hard limit that is in force.
fn soft_nofile(soft: u64) -> libc::rlimit {
    let hard = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)
        .map_or(soft, |(_, hard)| hard);
    libc::rlimit { rlim_cur: soft.min(hard), rlim_max: hard }
}
