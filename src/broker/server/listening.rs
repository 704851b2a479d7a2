//! The socket: made with the right mode, guarded by a lock, removed at the end.
//!
//! ```text
//! handed over (LISTEN_FDS) ── yes ──▶ that one; it stays when we go
//!      │ no
//! lock beside it ── held by another ──▶ Served
//!      │ ours
//! something there? ── no socket ──▶ InTheWay
//!      │           ── answers   ──▶ Served
//!      │           ── does not: a broker that was killed ──▶ removed
//! bind with 0600; 0666 for the system's, whose clients are everybody
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, umask};

use crate::broker::protocol::Scope;
use crate::broker::socket::{LONGEST_PATH, beside};

/// Why there is no socket to listen on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// No address has room for it.
    #[error(
        "{path} is {length} bytes long, and a socket's path may be {LONGEST_PATH}; name a shorter one with --socket",
        path = path.display(), length = path.as_os_str().len()
    )]
    TooLong {
        /// Where it should be.
        path: PathBuf,
    },
    /// Another broker has the lock, or answers there.
    #[error("another broker serves {path}{by}; it can be ended with SIGTERM", path = path.display())]
    Served {
        /// Where it should be.
        path: PathBuf,
        /// Its pid, in words.
        by: String,
    },
    /// Something that is no socket is there.
    #[error("{path} is there and no socket; remove it, or name another place with --socket", path = path.display())]
    InTheWay {
        /// Where it should be.
        path: PathBuf,
    },
    /// Whoever owns its folder could put another socket there.
    #[error("{path} belongs to user {owner}; name another place with --socket", path = path.display())]
    NotOurs {
        /// The folder.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// What was handed over is no Unix socket that listens.
    #[error("what LISTEN_FDS names is no Unix socket with a path: {0}")]
    Handed(io::Error),
    /// The system's answer.
    #[error("{what} {path}: {source}", path = path.display())]
    Io {
        /// What was to be done.
        what: &'static str,
        /// To what.
        path: PathBuf,
        /// The answer.
        source: io::Error,
    },
}

/// A socket that listens, with nobody else to serve it.
#[derive(Debug)]
pub struct Listening {
    /// Nobody is accepted until the loop runs.
    pub(super) listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the socket, where it is ours to remove.
    ours: Option<(u64, u64)>,
    /// Held, not used.
    _lock: File,
}

impl Listening {
    /// Listens at `path`.
    ///
    /// # Errors
    /// [`ListenError`], with what to do.
    pub fn at(path: &Path, scope: Scope) -> Result<Listening, ListenError> {
        if path.as_os_str().len() > LONGEST_PATH {
            return Err(ListenError::TooLong { path: path.to_owned() });
        }
        folder(path, scope)?;
        let lock = lock(path)?;
        clear(path)?;
        // Narrow from the beginning: between bind and chmod anybody could connect.
        let before = umask(Mode::from_bits_truncate(0o177));
        let bound = UnixListener::bind(path);
        umask(before);
        let listener = bound.map_err(io_error("listen at", path))?;
        if scope == Scope::System {
            let everybody = Permissions::from_mode(0o666);
            fs::set_permissions(path, everybody).map_err(io_error("open to everybody", path))?;
        }
        let made = fs::symlink_metadata(path).map_err(io_error("look at", path))?;
        Ok(Listening { listener, path: path.to_owned(), ours: Some((made.dev(), made.ino())), _lock: lock })
    }

    /// Listens on what a service manager has opened.
    ///
    /// # Errors
    /// [`ListenError`], with what to do.
    pub fn handed(socket: OwnedFd) -> Result<Listening, ListenError> {
        let listener = UnixListener::from(socket);
        let address = listener.local_addr().map_err(ListenError::Handed)?;
        let none = || ListenError::Handed(io::ErrorKind::AddrNotAvailable.into());
        let path = address.as_pathname().ok_or_else(none)?.to_owned();
        let lock = lock(&path)?;
        Ok(Listening { listener, path, ours: None, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the socket, unless it is somebody else's by now.
    pub(super) fn remove(&self) {
        let there = fs::symlink_metadata(&self.path).ok().map(|there| (there.dev(), there.ino()));
        if self.ours.is_some() && there == self.ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes the folder if need be; somebody else's is not taken.
fn folder(path: &Path, scope: Scope) -> Result<(), ListenError> {
    let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) else { return Ok(()) };
    let mode = if scope == Scope::System { 0o755 } else { 0o700 };
    if !folder.exists() {
        let made = DirBuilder::new().recursive(true).mode(mode).create(folder);
        made.map_err(io_error("make the folder", folder))?;
    }
    let owner = fs::metadata(folder).map_err(io_error("look at", folder))?.uid();
    if owner != 0 && owner != nix::unistd::geteuid().as_raw() {
        return Err(ListenError::NotOurs { path: folder.to_owned(), owner });
    }
    Ok(())
}

/// Takes the lock, and writes who has it into it. It stays when we go: whoever removes a lock may remove another's.
fn lock(path: &Path) -> Result<File, ListenError> {
    let name = beside(path, ".lock");
    let options =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&name);
    let mut file = options.map_err(io_error("open the lock", &name))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut by = String::new();
            let _ = file.read_to_string(&mut by);
            let pid = by.trim().parse::<u32>().map_or(String::new(), |pid| format!(" (process {pid})"));
            return Err(ListenError::Served { path: path.to_owned(), by: pid });
        }
        Err(TryLockError::Error(source)) => return Err(io_error("lock", &name)(source)),
    }
    // Only for people: a full disk is no reason not to serve.
    let _ = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
    Ok(file)
}

/// Removes what a broker has left that was killed.
fn clear(path: &Path) -> Result<(), ListenError> {
    let there = match fs::symlink_metadata(path) {
        Ok(there) => there,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io_error("look at", path)(error)),
    };
    if !there.file_type().is_socket() {
        return Err(ListenError::InTheWay { path: path.to_owned() });
    }
    // The lock is ours, so no broker serves it; a service manager may listen there, and start one.
    if UnixStream::connect(path).is_ok() {
        return Err(ListenError::Served { path: path.to_owned(), by: String::new() });
    }
    fs::remove_file(path).map_err(io_error("remove what is left at", path))
}

fn io_error<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> ListenError + 'a {
    move |source| ListenError::Io { what, path: path.to_owned(), source }
}
