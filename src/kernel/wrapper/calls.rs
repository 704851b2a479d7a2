//! System calls as the wrapper needs them, and what their failures are called.
//!
//! None of them leaves a trace that the test would find: no descriptor stays open in it, no signal comes.

use core::ffi::CStr;

use super::raw::raw;
use super::strings::Strings;

const READ: i64 = 0;
const WRITE: i64 = 1;
const CLOSE: i64 = 3;
const RT_SIGACTION: i64 = 13;
const SCHED_YIELD: i64 = 24;
const SOCKET: i64 = 41;
const CONNECT: i64 = 42;
const SENDTO: i64 = 44;
const RECVFROM: i64 = 45;
const EXECVE: i64 = 59;

const AF_UNIX: u16 = 1;
const SOCK_STREAM: usize = 1;
const SOCK_CLOEXEC: usize = 0o2_000_000;
const MSG_DONTWAIT: usize = 0x40;
const MSG_NOSIGNAL: usize = 0x4000;
const STANDARD_ERROR: usize = 2;
const SIGPIPE: usize = 13;
const SIG_IGN: usize = 1;

/// Why a call failed (errno(3)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub u32);

/// No such file or directory.
pub const ENOENT: Errno = Errno(2);
/// Interrupted.
pub const EINTR: Errno = Errno(4);
/// Nothing is there yet.
pub const EAGAIN: Errno = Errno(11);
/// Argument list too long.
pub const E2BIG: Errno = Errno(7);
/// Not a format that the kernel executes.
pub const ENOEXEC: Errno = Errno(8);
/// Permission denied.
pub const EACCES: Errno = Errno(13);
/// Not a directory.
pub const ENOTDIR: Errno = Errno(20);
/// File name too long.
pub const ENAMETOOLONG: Errno = Errno(36);
/// No such device, of a mount that is gone.
pub const ENODEV: Errno = Errno(19);
/// Stale file handle.
pub const ESTALE: Errno = Errno(116);
/// A file server that does not answer.
pub const ETIMEDOUT: Errno = Errno(110);

impl Errno {
    /// What it is called, of those that connect and execve give.
    pub fn text(self) -> &'static str {
        match self.0 {
            1 => "Operation not permitted",
            2 => "No such file or directory",
            5 => "Input/output error",
            7 => "Argument list too long",
            8 => "Exec format error",
            11 => "Resource temporarily unavailable",
            12 => "Cannot allocate memory",
            13 => "Permission denied",
            20 => "Not a directory",
            21 => "Is a directory",
            22 => "Invalid argument",
            23 => "Too many open files in system",
            24 => "Too many open files",
            26 => "Text file busy",
            32 => "Broken pipe",
            36 => "File name too long",
            40 => "Too many levels of symbolic links",
            80 => "Accessing a corrupted shared library",
            104 => "Connection reset by peer",
            110 => "Connection timed out",
            111 => "Connection refused",
            _ => "it failed",
        }
    }
}

fn checked(result: i64) -> Result<usize, Errno> {
    usize::try_from(result).map_err(|_| Errno(result.unsigned_abs() as u32))
}

/// Again, if a signal came first.
fn patiently(mut call: impl FnMut() -> Result<usize, Errno>) -> Result<usize, Errno> {
    loop {
        match call() {
            Err(EINTR) => {}
            other => return other,
        }
    }
}

/// A connected Unix socket, closed when it is dropped or the process execs.
#[derive(Debug)]
pub struct Socket(usize);

/// `struct sockaddr_un` of unix(7).
#[repr(C)]
struct Address {
    family: u16,
    path: [u8; 108],
}

impl Socket {
    /// Connects to the one at `path`.
    ///
    /// # Errors
    /// The kernel's; `ENAMETOOLONG` if no socket can have that path.
    pub fn connect(path: &CStr) -> Result<Socket, Errno> {
        let mut address = Address { family: AF_UNIX, path: [0; 108] };
        let text = path.to_bytes_with_nul();
        address.path.get_mut(..text.len()).ok_or(ENAMETOOLONG)?.copy_from_slice(text);
        // SAFETY: takes no pointer.
        let made = unsafe { raw(SOCKET, [AF_UNIX.into(), SOCK_STREAM | SOCK_CLOEXEC, 0, 0, 0]) };
        let socket = Socket(checked(made)?);
        patiently(|| {
            let (at, length) = (&raw const address as usize, size_of::<Address>());
            // SAFETY: reads the address, which lives here.
            checked(unsafe { raw(CONNECT, [socket.0, at, length, 0, 0]) })
        })?;
        Ok(socket)
    }

    /// Sends all of it, and no signal if nobody is there any more.
    ///
    /// # Errors
    /// The kernel's.
    pub fn send(&self, mut bytes: &[u8]) -> Result<(), Errno> {
        while !bytes.is_empty() {
            let sent = patiently(|| {
                let (at, length) = (bytes.as_ptr() as usize, bytes.len());
                // SAFETY: reads the bytes; without an address its length, a sixth argument, is not looked at.
                checked(unsafe { raw(SENDTO, [self.0, at, length, MSG_NOSIGNAL, 0]) })
            })?;
            bytes = &bytes[sent..];
        }
        Ok(())
    }

    /// Reads some of what was sent, 0 at its end.
    ///
    /// # Errors
    /// The kernel's.
    pub fn read(&self, to: &mut [u8]) -> Result<usize, Errno> {
        // SAFETY: writes to the bytes, which are borrowed for it.
        patiently(|| checked(unsafe { raw(READ, [self.0, to.as_mut_ptr() as usize, to.len(), 0, 0]) }))
    }
}

impl Socket {
    /// Reads what is there already, 0 at its end.
    ///
    /// # Errors
    /// The kernel's; `EAGAIN` if there is nothing yet.
    pub fn read_now(&self, to: &mut [u8]) -> Result<usize, Errno> {
        let (at, length) = (to.as_mut_ptr() as usize, to.len());
        // SAFETY: writes to the bytes, which are borrowed for it; without an address its length is not looked at.
        checked(unsafe { raw(RECVFROM, [self.0, at, length, MSG_DONTWAIT, 0]) })
    }
}

/// Lets others of this processor go on first (sched_yield(2)).
pub fn give_way() {
    // SAFETY: takes no pointer.
    unsafe { raw(SCHED_YIELD, [0; 5]) };
}

impl Drop for Socket {
    fn drop(&mut self) {
        // SAFETY: takes no pointer, and the descriptor is ours.
        unsafe { raw(CLOSE, [self.0, 0, 0, 0, 0]) };
    }
}

/// Becomes the program at `path`; returns only if that can't be.
pub fn execve(path: &CStr, words: Strings, environment: Strings) -> Errno {
    let (path, words, environment) = (path.as_ptr(), words.as_ptr(), environment.as_ptr());
    // SAFETY: all three are what execve(2) wants, as their types promise.
    let result = unsafe { raw(EXECVE, [path as usize, words as usize, environment as usize, 0, 0]) };
    Errno(result.unsigned_abs() as u32)
}

/// Writes to standard error. Whoever has closed its other end does not end the test by that.
pub fn complain(mut text: &[u8]) {
    // `struct sigaction` as the kernel has it: handler, flags, restorer, mask.
    let (ignore, mut before) = ([SIG_IGN, 0, 0, 0], [0_usize; 4]);
    let action = |new: *const usize, old: *mut usize| {
        // SAFETY: reads and writes structs that live here; to ignore runs no code.
        unsafe { raw(RT_SIGACTION, [SIGPIPE, new as usize, old as usize, size_of::<u64>(), 0]) }
    };
    action(ignore.as_ptr(), before.as_mut_ptr());
    while !text.is_empty() {
        // SAFETY: reads the text.
        let write = || unsafe { raw(WRITE, [STANDARD_ERROR, text.as_ptr() as usize, text.len(), 0, 0]) };
        match patiently(|| checked(write())) {
            Ok(0) | Err(_) => break,
            Ok(written) => text = &text[written..],
        }
    }
    action(before.as_ptr(), core::ptr::null_mut());
}
