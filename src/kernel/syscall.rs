//! System calls without a C library in between: for a child that shares its parent's memory until it execs.
//!
//! The wrappers of libc write `errno` of the parent's thread and may take locks; these touch registers alone.

#[cfg(not(target_arch = "x86_64"))]
compile_error!("sandtest's way of spawning is written for x86_64 only");

use std::arch::asm;

pub use super::wrapper::raw::raw;

/// The arguments of clone3(2), as `struct clone_args` of linux/sched.h.
#[repr(C)]
#[derive(Debug, Default)]
pub struct CloneArgs {
    /// `CLONE_*`.
    pub flags: u64,
    /// Where the pidfd goes.
    pub pidfd: u64,
    /// Unused here.
    pub child_tid: u64,
    /// Unused here.
    pub parent_tid: u64,
    /// Sent to the parent at the end.
    pub exit_signal: u64,
    /// Lowest byte of the child's stack.
    pub stack: u64,
    /// Its length.
    pub stack_size: u64,
    /// Unused here.
    pub tls: u64,
    /// Unused here.
    pub set_tid: u64,
    /// Unused here.
    pub set_tid_size: u64,
    /// Descriptor of the v2 group to be born in.
    pub cgroup: u64,
}

/// clone3(2) whose child calls `entry(argument)` on the stack named in `arguments`. Returns the child's pid, or
/// a negative errno.
///
/// # Safety
/// `arguments` must name a stack that nobody else uses until the child has exec'd or ended, and `entry` must be
/// sound in a process that shares this one's memory.
pub unsafe fn clone3(
    arguments: &CloneArgs,
    entry: extern "C" fn(*mut libc::c_void) -> !,
    argument: *mut libc::c_void,
) -> i64 {
    let result: i64;
    // SAFETY: the parent falls through with all registers kept but those named; the child never comes back:
    // it starts on its own stack (16-aligned, as stack + stack_size is) and `entry` does not return.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r12",
            "call r13",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 => result,
            in("rdi") arguments,
            in("rsi") size_of::<CloneArgs>(),
            in("r12") argument,
            in("r13") entry,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    result
}
