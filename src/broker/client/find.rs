//! Is there a broker for this run, and why can't one be used.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};

use crate::broker::protocol::{RefusedFor, VERSION};
use crate::broker::socket::{self, LONGEST_PATH, VARIABLE};

/// What was found.
#[derive(Debug)]
pub enum Found {
    /// Somebody takes connections here.
    At(PathBuf),
    /// Nobody is there, at any of these places.
    Nobody(Vec<PathBuf>),
    /// There is something, and it can't be used.
    Unusable(Unserved),
}

/// Why a broker does not serve a run.
#[derive(Debug, thiserror::Error)]
pub enum Unserved {
    /// No system takes such a path for a socket's.
    #[error("{} is {length} bytes long, and the path of a socket at most {LONGEST_PATH}; name a shorter one in {VARIABLE}", path.display())]
    TooLong {
        /// As it was named.
        path: PathBuf,
        /// In bytes.
        length: usize,
    },
    /// There is nothing.
    #[error("there is no broker at {} (sandtest serve starts one)", path.display())]
    Absent {
        /// As it was named.
        path: PathBuf,
    },
    /// There is something else.
    #[error("{} is {what}, and no socket; {VARIABLE} names the broker's", path.display())]
    NoSocket {
        /// As it was named.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// A socket that nobody listens at.
    #[error("nobody listens at {}: the broker that made it is gone (sandtest serve starts one)", path.display())]
    Silent {
        /// As it was named.
        path: PathBuf,
    },
    /// Not for this user.
    #[error("{} is not for user {uid}: permission denied", path.display())]
    Forbidden {
        /// As it was named.
        path: PathBuf,
        /// Who we are.
        uid: u32,
    },
    /// Anything else of the system's.
    #[error("connect to {}: {source}", path.display())]
    Connect {
        /// As it was named.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It took the connection, and then said nothing.
    #[error("the broker at {} does not answer for {} s", path.display(), after.as_secs())]
    NoAnswer {
        /// As it was named.
        path: PathBuf,
        /// For so long it was waited.
        after: Duration,
    },
    /// It speaks otherwise.
    #[error(
        "the broker at {} is of another version: it speaks {theirs:?}, and this sandtest {VERSION}; restart the older of the two",
        path.display()
    )]
    Version {
        /// As it was named.
        path: PathBuf,
        /// What it speaks.
        theirs: Vec<u32>,
    },
    /// It does not want this run.
    #[error("the broker at {} refuses this run: {message}", path.display())]
    Refused {
        /// As it was named.
        path: PathBuf,
        /// Why, in its own word.
        why: RefusedFor,
        /// And in its words.
        message: String,
    },
    /// Whoever listens there is no broker.
    #[error("whoever listens at {} is no broker: {found}", path.display())]
    NoBroker {
        /// As it was named.
        path: PathBuf,
        /// What it said.
        found: String,
    },
}

/// Looks for a broker where one may be. Costs a connection that is closed at once, and where nobody is, one that fails for
/// each place.
pub fn find() -> Found {
    let named = std::env::var_os(VARIABLE).is_some_and(|path| !path.is_empty());
    first(socket::candidates(), named)
}

/// The first of these that can be used. `named`: somebody has said that it is there.
fn first(places: Vec<PathBuf>, named: bool) -> Found {
    let mut unusable = None;
    for path in &places {
        match dial(path) {
            Ok(_) => return Found::At(path.clone()),
            Err(Unserved::Absent { .. }) if !named => {}
            Err(why) => unusable = unusable.or(Some(why)),
        }
    }
    unusable.map_or(Found::Nobody(places), Found::Unusable)
}

/// A connection to the socket at `path`. Never waits.
///
/// # Errors
/// [`Unserved`], without what is said there.
pub fn dial(path: &Path) -> Result<UnixStream, Unserved> {
    let length = path.as_os_str().as_bytes().len();
    if length > LONGEST_PATH {
        return Err(Unserved::TooLong { path: path.to_owned(), length });
    }
    let failed = |errno: Errno| refusal(path, errno);
    let address = UnixAddr::new(path).map_err(failed)?;
    // A broker that takes nobody any more would let us wait for ever.
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket: OwnedFd = socket(AddressFamily::Unix, SockType::Stream, flags, None).map_err(failed)?;
    connect(socket.as_raw_fd(), &address).map_err(failed)?;
    Ok(socket.into())
}

fn refusal(path: &Path, errno: Errno) -> Unserved {
    let path = path.to_owned();
    match (errno, path.symlink_metadata().and_then(|_| path.metadata())) {
        (Errno::EACCES | Errno::EPERM, _) => {
            Unserved::Forbidden { path, uid: nix::unistd::geteuid().as_raw() }
        }
        (Errno::ENOENT | Errno::ENOTDIR, _) => Unserved::Absent { path },
        (Errno::ECONNREFUSED, Ok(found)) if !found.file_type().is_socket() => {
            let kind = found.file_type();
            let what = match () {
                () if kind.is_file() => "a plain file",
                () if kind.is_dir() => "a directory",
                () if kind.is_fifo() => "a fifo",
                () => "a device",
            };
            Unserved::NoSocket { path, what }
        }
        (Errno::ECONNREFUSED, _) => Unserved::Silent { path },
        (errno, _) => Unserved::Connect { path, source: errno.into() },
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn told(found: Found) -> String {
        match found {
            Found::At(path) => format!("at {}", path.display()),
            Found::Nobody(places) => format!("nobody at {} places", places.len()),
            Found::Unusable(why) => why.to_string(),
        }
    }

    #[test]
    fn what_is_no_broker_is_told_in_words_that_help() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let alone = |name: &str| told(first(vec![path(name)], true));
        assert!(alone("missing").contains("there is no broker at "), "{}", alone("missing"));
        fs::write(path("file"), "").unwrap();
        assert!(alone("file").contains("is a plain file, and no socket"), "{}", alone("file"));
        assert!(told(first(vec![folder.path().into()], true)).contains("a directory"));
        drop(UnixListener::bind(path("stale")).unwrap());
        assert!(alone("stale").contains("nobody listens"), "{}", alone("stale"));
        assert!(alone(&"x".repeat(200)).contains("at most 107"));
        assert!(alone("file/below").contains("there is no broker at "));
    }

    #[test]
    fn the_first_that_can_be_used_is_taken_and_absence_is_no_mistake() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let (missing, stale, open) = (path("missing"), path("stale"), path("open"));
        drop(UnixListener::bind(&stale).unwrap());
        let _listens = UnixListener::bind(&open).unwrap();
        assert_eq!(told(first(vec![missing.clone(), missing.clone()], false)), "nobody at 2 places");
        assert_eq!(told(first(vec![stale.clone(), open.clone()], false)), format!("at {}", open.display()));
        assert!(told(first(vec![stale, missing], false)).contains("nobody listens"));
    }

    #[test]
    fn a_broker_that_takes_nobody_any_more_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("full");
        let socket = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        nix::sys::socket::bind(socket.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
        nix::sys::socket::listen(&socket, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
        let held: Vec<_> = (0..10).map(|_| dial(&path)).collect();
        assert!(matches!(held.last(), Some(Err(Unserved::Connect { .. }))), "{held:?}");
    }
}
