//! Waiting for and signalling a process that can't be mistaken for another (pidfd_open(2)).

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};

use super::KernelError;
use crate::model::Exit;

/// Waits for the end of a child and reaps it.
///
/// # Errors
/// [`KernelError::Call`] if it is no child of ours.
pub fn wait(pidfd: &OwnedFd) -> Result<Exit, KernelError> {
    loop {
        match rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED) {
            Ok(Some(status)) => return Ok(exit_of(&status)),
            Ok(None) | Err(rustix::io::Errno::INTR) => continue,
            Err(errno) => return Err(KernelError::Call { what: "wait for a child", source: errno.into() }),
        }
    }
}

/// Reaps a child if it has ended.
///
/// # Errors
/// [`KernelError::Call`] if it is no child of ours.
pub fn try_wait(pidfd: &OwnedFd) -> Result<Option<Exit>, KernelError> {
    match rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG)
    {
        Ok(status) => Ok(status.map(|status| exit_of(&status))),
        Err(errno) => Err(KernelError::Call { what: "wait for a child", source: errno.into() }),
    }
}

/// Whether a child has been stopped since the last look, by which signal.
pub fn stopped(pidfd: &OwnedFd) -> Option<i32> {
    let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG;
    rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), options).ok()??.stopping_signal()
}

/// A handle of any process; `None` if it is gone.
pub fn open(pid: u32) -> Option<OwnedFd> {
    let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
    rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok()
}

/// Sends SIGKILL.
///
/// # Errors
/// The system's answer: `ESRCH` if it has ended, `EPERM` if it is not ours.
pub fn kill(pidfd: &OwnedFd) -> io::Result<()> {
    Ok(rustix::process::pidfd_send_signal(pidfd, Signal::KILL)?)
}

fn exit_of(status: &rustix::process::WaitIdStatus) -> Exit {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, Some(signal)) => Exit::Signal(signal),
        // waitid was asked for ends alone, which are one of the two.
        (None, None) => Exit::Code(0),
    }
}
