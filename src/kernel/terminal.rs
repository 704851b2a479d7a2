//! Lending the terminal to a job, as a shell does (tcsetpgrp(3)).

use std::io::IsTerminal;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::unistd::{Pid, getpgrp, tcgetpgrp, tcsetpgrp};

/// Whether `fd` is a terminal whose foreground we are.
pub fn is_foreground(fd: BorrowedFd) -> bool {
    fd.is_terminal() && tcgetpgrp(fd) == Ok(getpgrp())
}

/// Makes the process group `group` the foreground of the terminal `fd`; ours for `None`.
pub fn give(fd: BorrowedFd, group: Option<i32>) {
    let group = group.map_or_else(getpgrp, Pid::from_raw);
    // From the background this is answered with SIGTTOU, unless that is blocked.
    let mut ttou = SigSet::empty();
    ttou.add(Signal::SIGTTOU);
    let mut before = SigSet::empty();
    let _ = sigprocmask(SigmaskHow::SIG_BLOCK, Some(&ttou), Some(&mut before));
    // The terminal may be gone, or another's by now: then there is nothing to give.
    let _ = tcsetpgrp(fd.as_fd(), group);
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None);
}
