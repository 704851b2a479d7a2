//! What a child does between its birth and exec. It shares the parent's memory: raw system calls only, no
//! allocation, no lock, no panic. Everything it needs was computed before.
//!
//! ```text
//! own session or process group ─▶ die with the spawner ─▶ oom_score_adj ─▶ v1 groups ─▶ terminal ─▶ 0, 1, 2
//!   ─▶ close the rest ─▶ nofile ─▶ no_new_privs ─▶ working directory ─▶ signals as new ─▶ exec
//! ```
//!
//! A step that fails is told through [`Context`], which the parent reads once the child is gone.

use std::ffi::{CStr, c_char, c_void};
use std::os::fd::RawFd;

use super::syscall::raw;

/// A step of the child; in the order in which they are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum Step {
    /// Not a failure: exec worked, or the child was killed before it could tell.
    None,
    /// clone3 itself.
    Clone,
    /// The supervisor was gone before PDEATHSIG was set.
    Orphaned,
    /// `/proc/self/oom_score_adj`.
    OomScoreAdj,
    /// `tasks` of a v1 group.
    Join,
    /// dup3 of a standard stream.
    Stdio,
    /// close_range.
    Close,
    /// RLIMIT_NOFILE.
    Nofile,
    /// PR_SET_NO_NEW_PRIVS.
    NoNewPrivs,
    /// chdir.
    Folder,
    /// execve.
    Exec,
}

/// What the child needs; lives in the parent until the child has exec'd.
pub struct Context<'a> {
    /// The file to execute.
    pub path: &'a CStr,
    /// Null-terminated.
    pub argv: *const *const c_char,
    /// Null-terminated.
    pub envp: *const *const c_char,
    /// The working directory, if it is not ours.
    pub folder: Option<&'a CStr>,
    /// For 0, 1, 2; each 3 or above, or its own number.
    pub stdio: [RawFd; 3],
    /// `tasks` files to write `0` to.
    pub joins: &'a [RawFd],
    /// Text for `/proc/self/oom_score_adj`; empty leaves it.
    pub oom_score_adj: &'a [u8],
    /// Soft and hard RLIMIT_NOFILE.
    pub nofile: Option<libc::rlimit>,
    /// Whether to set PR_SET_NO_NEW_PRIVS.
    pub no_new_privs: bool,
    /// Whether it gets a session of its own, without a terminal; else a process group.
    pub session: bool,
    /// A terminal to become the foreground of.
    pub terminal: Option<RawFd>,
    /// Signals that this process ignores and a fresh one would not: a bit each, from 1.
    pub ignored: u64,
    /// The pid that the child's parent must have.
    pub parent: i32,
    /// Out: what failed.
    pub step: Step,
    /// Out: its errno.
    pub errno: i32,
}

/// The child's first function; `argument` is a `*mut Context`.
pub extern "C" fn start(argument: *mut c_void) -> ! {
    // SAFETY: the parent passes a Context that it keeps in place and does not touch while it is stopped by
    // CLONE_VFORK. The writes are volatile since the parent reads them behind the compiler's back.
    unsafe {
        let context = argument.cast::<Context>();
        let (step, errno) = until_exec(&*context);
        (&raw mut (*context).step).write_volatile(step);
        (&raw mut (*context).errno).write_volatile(errno);
        loop {
            raw(libc::SYS_exit_group, [127, 0, 0, 0, 0]);
        }
    }
}

/// Takes the steps; returns only when one fails.
///
/// # Safety
/// To be called in a fresh child, with the pointers of `context` good.
unsafe fn until_exec(context: &Context) -> (Step, i32) {
    // SAFETY: the caller's. Each call's pointers are to the context, to literals or to locals.
    unsafe {
        if context.session {
            raw(libc::SYS_setsid, [0, 0, 0, 0, 0]);
        } else {
            raw(libc::SYS_setpgid, [0, 0, 0, 0, 0]);
        }

        // Follows the thread that cloned us, so that thread lives as long as the run.
        raw(libc::SYS_prctl, [libc::PR_SET_PDEATHSIG as usize, libc::SIGKILL as usize, 0, 0, 0]);
        if raw(libc::SYS_getppid, [0; 5]) != i64::from(context.parent) {
            return (Step::Orphaned, libc::ESRCH);
        }

        if !context.oom_score_adj.is_empty() {
            let file = c"/proc/self/oom_score_adj".as_ptr() as usize;
            let fd = raw(libc::SYS_openat, [libc::AT_FDCWD as usize, file, libc::O_WRONLY as usize, 0, 0]);
            if fd < 0 {
                return (Step::OomScoreAdj, -fd as i32);
            }
            let text = context.oom_score_adj;
            let written = raw(libc::SYS_write, [fd as usize, text.as_ptr() as usize, text.len(), 0, 0]);
            raw(libc::SYS_close, [fd as usize, 0, 0, 0, 0]);
            if written < 0 {
                return (Step::OomScoreAdj, -written as i32);
            }
        }

        for fd in context.joins {
            let written = raw(libc::SYS_write, [*fd as usize, c"0".as_ptr() as usize, 1, 0, 0]);
            if written < 0 {
                return (Step::Join, -written as i32);
            }
        }

        // All signals are blocked, SIGTTOU too, so that a process of the background may do this.
        if let Some(terminal) = context.terminal {
            let me = raw(libc::SYS_getpid, [0; 5]) as i32;
            raw(libc::SYS_ioctl, [terminal as usize, libc::TIOCSPGRP as usize, &raw const me as usize, 0, 0]);
        }

        for (target, source) in context.stdio.iter().enumerate() {
            // dup3 refuses equal numbers.
            if *source as usize != target {
                let result = raw(libc::SYS_dup3, [*source as usize, target, 0, 0, 0]);
                if result < 0 {
                    return (Step::Stdio, -result as i32);
                }
            }
        }
        let cloexec = libc::CLOSE_RANGE_CLOEXEC as usize;
        let result = raw(libc::SYS_close_range, [3, u32::MAX as usize, cloexec, 0, 0]);
        if result < 0 {
            return (Step::Close, -result as i32);
        }

        if let Some(limit) = &context.nofile {
            let which = libc::RLIMIT_NOFILE as usize;
            let result = raw(libc::SYS_prlimit64, [0, which, &raw const *limit as usize, 0, 0]);
            if result < 0 {
                return (Step::Nofile, -result as i32);
            }
        }
        if context.no_new_privs {
            let result = raw(libc::SYS_prctl, [libc::PR_SET_NO_NEW_PRIVS as usize, 1, 0, 0, 0]);
            if result < 0 {
                return (Step::NoNewPrivs, -result as i32);
            }
        }

        // Last, with the limits in force: a file system that is gone holds up nobody but this one.
        if let Some(folder) = context.folder {
            let result = raw(libc::SYS_chdir, [folder.as_ptr() as usize, 0, 0, 0, 0]);
            if result < 0 {
                return (Step::Folder, -result as i32);
            }
        }

        // CLONE_CLEAR_SIGHAND has reset what was handled; what is ignored stays ignored, and Rust ignores SIGPIPE.
        let default = [0u64; 4];
        for signal in 1..=64usize {
            if context.ignored & (1 << (signal - 1)) != 0 {
                raw(libc::SYS_rt_sigaction, [signal, default.as_ptr() as usize, 0, 8, 0]);
            }
        }
        let none = 0u64;
        raw(libc::SYS_rt_sigprocmask, [libc::SIG_SETMASK as usize, &raw const none as usize, 0, 8, 0]);

        let (path, argv, envp) = (context.path.as_ptr(), context.argv, context.envp);
        let result = raw(libc::SYS_execve, [path as usize, argv as usize, envp as usize, 0, 0]);
        (Step::Exec, -result as i32)
    }
}
