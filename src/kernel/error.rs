//! What a failed read or write says: what was tried, on which path, with which value.

use std::io;
use std::path::PathBuf;

/// A kernel file or call that did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// A file could not be read.
    #[error("read {path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A file could not be written.
    #[error("write {value:?} to {path}: {source}", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What was to be written.
        value: String,
        /// The system's answer.
        source: io::Error,
    },
    /// A value was taken without error, and another one is in force.
    #[error("{path} reads {found} after {wanted} was written", path = path.display())]
    NotApplied {
        /// The file.
        path: PathBuf,
        /// What was written.
        wanted: String,
        /// What it reads.
        found: String,
    },
    /// A directory could not be made.
    #[error("make the cgroup {path}: {source}", path = path.display())]
    Make {
        /// The directory.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A directory could not be removed.
    #[error("remove the cgroup {path}: {source}", path = path.display())]
    Remove {
        /// The directory.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A file holds something else than its documentation says.
    #[error("{path} holds {text:?}, expected {expected}", path = path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What it holds, shortened.
        text: String,
        /// What its documentation promises.
        expected: &'static str,
    },
    /// A system call failed.
    #[error("{what}: {source}")]
    Call {
        /// What was to be done.
        what: &'static str,
        /// The system's answer.
        source: io::Error,
    },
}

impl KernelError {
    /// The failure of a system call, from `errno`.
    pub fn last(what: &'static str) -> KernelError {
        KernelError::Call { what, source: io::Error::last_os_error() }
    }
}
