//! Who is at the other end of a Unix socket (unix(7), `SO_PEERCRED`), held by a pidfd so that nobody else can be taken for
//! it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::socket::{getsockopt, sockopt};

use super::{pidfd, process};

/// A process that has connected.
#[derive(Debug)]
pub struct Peer {
    /// Its effective user when it connected.
    pub uid: u32,
    /// Its id; in no pid namespace of ours it is 0.
    pub pid: u32,
    /// When it started, in clock ticks since boot; with the pid it names it for good.
    pub starttime: u64,
    /// To be told of its end.
    pub pidfd: OwnedFd,
}

/// Who connected to `socket`. `None` if it is gone already, or can't be seen from here: in a pid namespace beside ours.
///
/// # Errors
/// The system's, if it is no connected Unix socket.
pub fn of(socket: &impl AsFd) -> io::Result<Option<Peer>> {
    let told = getsockopt(socket, sockopt::PeerCredentials)?;
    let Ok(pid) = u32::try_from(told.pid()) else { return Ok(None) };
    // Linux 6.5 has held it since it connected. Before that the number may be another's by now; no right comes from it
    // that the user does not have, and what is read by it is read while its pidfd lives.
    let held = getsockopt(socket, sockopt::PeerPidfd).ok().or_else(|| pidfd::open(pid));
    let starttime = process::Stat::read(pid).map(|stat| stat.starttime);
    let (Some(pidfd), Some(starttime)) = (held, starttime) else { return Ok(None) };
    let peer = Peer { uid: told.uid(), pid, starttime, pidfd };
    Ok(peer.is_alive().then_some(peer))
}

impl Peer {
    /// Whether it has not ended: what was read by its pid was its own.
    pub fn is_alive(&self) -> bool {
        !pidfd::has_ended(&self.pidfd)
    }
}
