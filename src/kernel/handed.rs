//! Sockets that a service manager has opened for us (sd_listen_fds(3)).

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

static TAKEN: AtomicBool = AtomicBool::new(false);

/// Takes the descriptors that were handed to this process, in their order. To be called before anything else is opened;
/// the second call has none.
///
/// # Errors
/// The variables are there and make no sense, or name what is not open.
pub fn take() -> io::Result<Vec<OwnedFd>> {
    let handed = sd_notify::listen_fds()?;
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Ok(Vec::new());
    }
    // SAFETY: LISTEN_PID names this process, so whoever started it left these numbers open for us alone, which was
    // tried above by a call on each; nobody else gets them, since this line is passed once.
    Ok(handed.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).collect())
}
