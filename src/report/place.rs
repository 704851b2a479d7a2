//! Where a report goes: a file of its own, or what we have open already.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

/// What is at `path`, to be written to, and whether it is a file of the report's own, which was emptied. `/dev/stdout` and its
/// like are others' too: what is there stays, and what comes goes behind it.
///
/// # Errors
/// The system's: a folder, one that is not there, no right to.
pub(super) fn open(path: &Path) -> io::Result<(File, bool)> {
    match path.to_str() {
        Some("/dev/stdout" | "/dev/fd/1" | "/proc/self/fd/1") => {
            Ok((io::stdout().as_fd().try_clone_to_owned()?.into(), false))
        }
        Some("/dev/stderr" | "/dev/fd/2" | "/proc/self/fd/2") => {
            Ok((io::stderr().as_fd().try_clone_to_owned()?.into(), false))
        }
        Some(text) if text.starts_with("/dev/fd/") || text.starts_with("/proc/self/fd/") => {
            Ok((OpenOptions::new().append(true).open(path)?, false))
        }
        _ => Ok((File::create(path)?, true)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn what_is_open_already_is_neither_emptied_nor_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut log = File::create(&path).unwrap();
        log.write_all(b"before ").unwrap();
        let (mut file, own) = open(format!("/dev/fd/{}", log.as_raw_fd()).as_ref()).unwrap();
        file.write_all(b"report").unwrap();
        assert!(!own);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "before report");
        assert!(open(&path).unwrap().1);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "");
    }
}
