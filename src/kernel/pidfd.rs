//! Waiting for and signalling a process that can't be mistaken for another (pidfd_open(2)).

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};

use super::{KernelError, process};
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

/// Reaps a child if it has ended. Gives its processor time too: its own and that of the children it waited for.
///
/// # Errors
/// [`KernelError::Call`] if it is no child of ours.
pub fn try_wait(pidfd: &OwnedFd) -> Result<Option<(Exit, Duration)>, KernelError> {
    // SAFETY: all-zero is a valid value of both, and the kernel fills them in. The system call, unlike the
    // function of the C library, takes a place for the usage.
    let (info, usage) = unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let mut usage: libc::rusage = std::mem::zeroed();
        let (id, options) = (pidfd.as_raw_fd(), libc::WEXITED | libc::WNOHANG);
        if libc::syscall(libc::SYS_waitid, libc::P_PIDFD, id, &mut info, options, &mut usage) != 0 {
            return Err(KernelError::last("wait for a child"));
        }
        (info, usage)
    };
    // SAFETY: filled in for a child that has ended; all-zero, so pid 0, for one that has not.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    if pid == 0 {
        return Ok(None);
    }
    let exit = if info.si_code == libc::CLD_EXITED { Exit::Code(status) } else { Exit::Signal(status) };
    let time = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec.unsigned_abs()) + Duration::from_micros(time.tv_usec.unsigned_abs())
    };
    Ok(Some((exit, time(usage.ru_utime) + time(usage.ru_stime))))
}

/// Whether a child has ended and waits to be reaped.
pub fn is_to_be_reaped(pid: u32) -> bool {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return false };
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    rustix::process::waitid(WaitId::Pid(pid), options).is_ok_and(|status| status.is_some())
}

/// How a process ended that is no child of ours. Until its parent has asked, `/proc` tells; after that the pidfd does, since
/// Linux 6.15. `None` on an older one whose parent was quicker, and while it lives.
pub fn end_of_another(pidfd: &OwnedFd, pid: u32, starttime: u64) -> Option<Exit> {
    // The parent is mostly quicker than we are, and may be between our two questions.
    let reaped = || status_of_reaped(pidfd);
    reaped().or_else(|| process::status_of_ended(pid, starttime)).or_else(reaped).map(exit_of_status)
}

/// Whether the kernel tells how a process ended whose parent has asked, of one that is.
pub fn tells_of_reaped(gone: &OwnedFd) -> bool {
    status_of_reaped(gone).is_some()
}

/// A status as wait(2) gives it.
pub fn exit_of_status(status: i32) -> Exit {
    if status & 0x7f == 0 { Exit::Code(status >> 8 & 0xff) } else { Exit::Signal(status & 0x7f) }
}

/// `struct pidfd_info` of linux/pidfd.h, as of its first version.
#[repr(C)]
#[derive(Default)]
struct Info {
    mask: u64,
    cgroupid: u64,
    ids: [u32; 11],
    exit_code: i32,
}

/// `PIDFD_INFO_CGROUPID`.
const INFO_CGROUPID: u64 = 1 << 2;

/// `PIDFD_INFO_EXIT`.
const INFO_EXIT: u64 = 1 << 3;

/// `PIDFD_GET_INFO`: `_IOWR(0xFF, 11, struct pidfd_info)`.
const GET_INFO: u32 = 0xc000_ff0b | (size_of::<Info>() as u32) << 16;

/// What `wait` told the parent.
fn status_of_reaped(pidfd: &OwnedFd) -> Option<i32> {
    info(pidfd, INFO_EXIT).map(|info| info.exit_code)
}

/// The v2 cgroup in which a process is: the inode of its directory. Since Linux 6.13, and while it lives. Unlike
/// `/proc/PID/cgroup` this takes no lock that whoever makes or removes groups holds.
pub fn cgroup(pidfd: &OwnedFd) -> Option<u64> {
    info(pidfd, INFO_CGROUPID).map(|info| info.cgroupid)
}

fn info(pidfd: &OwnedFd, wanted: u64) -> Option<Info> {
    let mut info = Info { mask: wanted, ..Info::default() };
    // SAFETY: the kernel writes at most the size that the request names, which is that of the struct.
    let told = unsafe { libc::ioctl(pidfd.as_raw_fd(), GET_INFO as _, &raw mut info) } == 0;
    (told && info.mask & wanted != 0).then_some(info)
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

/// Whether the process has ended, reaped or not.
pub fn has_ended(pidfd: &OwnedFd) -> bool {
    let mut asked = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    poll(&mut asked, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

/// Sends SIGKILL.
///
/// # Errors
/// The system's answer: `ESRCH` if it has ended, `EPERM` if it is not ours.
pub fn kill(pidfd: &OwnedFd) -> io::Result<()> {
    Ok(rustix::process::pidfd_send_signal(pidfd, Signal::KILL)?)
}

/// Sends a signal by its number.
///
/// # Errors
/// As [`kill`]; `EINVAL` if there is no such signal.
pub fn signal(pidfd: &OwnedFd, number: i32) -> io::Result<()> {
    let signal = Signal::from_named_raw(number).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(rustix::process::pidfd_send_signal(pidfd, signal)?)
}

fn exit_of(status: &rustix::process::WaitIdStatus) -> Exit {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, Some(signal)) => Exit::Signal(signal),
        // waitid was asked for ends alone, which are one of the two.
        (None, None) => Exit::Code(0),
    }
}
