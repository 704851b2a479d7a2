//! Registering a descriptor with the run's event loop (epoll(7)).

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Watches `fd` for `interest` until the result is dropped.
///
/// # Errors
/// The system's: out of watches, or a kind of file that can't be polled.
pub fn watch<T: AsFd + AsRawFd>(fd: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    // SAFETY: a type that lends its descriptor (`AsFd`) keeps it open for as long as it lives, and the result
    // holds it until it is dropped, which ends the registration.
    Ok(unsafe { AsyncFd::register_with_interest(fd, interest) }?)
}
