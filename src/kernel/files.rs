//! Small kernel files below a directory that is held open, so that each costs one path component.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};

use super::KernelError;

/// Room for any file that is read here: `memory.stat` has some 2 KiB, the rest a line or two.
const SMALL: usize = 8192;

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::RDONLY).union(OFlags::CLOEXEC);

/// A directory of a kernel file system, held open.
#[derive(Debug)]
pub struct Dir {
    path: PathBuf,
    fd: OwnedFd,
}

impl Dir {
    /// Opens `path`.
    ///
    /// # Errors
    /// [`KernelError::Read`] if it is not there or not a directory.
    pub fn open(path: impl Into<PathBuf>) -> Result<Dir, KernelError> {
        let path = path.into();
        match rustix::fs::open(&path, DIRECTORY, Mode::empty()) {
            Ok(fd) => Ok(Dir { path, fd }),
            Err(errno) => Err(KernelError::Read { path, source: errno.into() }),
        }
    }

    /// Opens the directory `below` it, a relative path. Nothing on the way may be a link or another file system, nor lead
    /// up again: the path may be a stranger's.
    ///
    /// # Errors
    /// [`KernelError::Read`], with `ELOOP` or `EXDEV` for what is not let through.
    pub fn open_below(&self, below: impl AsRef<Path>) -> Result<Dir, KernelError> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let path = self.path.join(&below);
        match rustix::fs::openat2(&self.fd, below.as_ref(), DIRECTORY, Mode::empty(), resolve) {
            Ok(fd) => Ok(Dir { path, fd }),
            Err(errno) => Err(KernelError::Read { path, source: errno.into() }),
        }
    }

    /// The user whose it is.
    ///
    /// # Errors
    /// [`KernelError::Read`].
    pub fn owner(&self) -> Result<u32, KernelError> {
        match rustix::fs::fstat(&self.fd) {
            Ok(stat) => Ok(stat.st_uid),
            Err(errno) => Err(KernelError::Read { path: self.path.clone(), source: errno.into() }),
        }
    }

    /// Its inode, which no other of its file system has while this is held.
    pub fn inode(&self) -> Option<u64> {
        rustix::fs::fstat(&self.fd).ok().map(|stat| stat.st_ino)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the directory `name` in it, and opens that.
    ///
    /// # Errors
    /// [`KernelError::Make`] with the system's answer.
    pub fn make(&self, name: &str) -> Result<Dir, KernelError> {
        let path = self.path.join(name);
        match rustix::fs::mkdirat(&self.fd, name, Mode::from_raw_mode(0o755)) {
            Ok(()) => match rustix::fs::openat(&self.fd, name, DIRECTORY, Mode::empty()) {
                Ok(fd) => Ok(Dir { path, fd }),
                Err(errno) => Err(KernelError::Read { path, source: errno.into() }),
            },
            Err(errno) => Err(KernelError::Make { path, source: errno.into() }),
        }
    }

    /// Reads `file` whole, without the newline at its end.
    ///
    /// # Errors
    /// [`KernelError::Read`] with the path.
    pub fn read(&self, file: &str) -> Result<String, KernelError> {
        let mut buffer = [0; SMALL];
        let length = self.read_into(file, &mut buffer).map_err(|source| self.read_error(file, source))?;
        let text = String::from_utf8_lossy(&buffer[..length]);
        Ok(text.trim_end().to_owned())
    }

    /// Reads `file`; `None` if this kernel or this group has no such file.
    pub fn read_if_there(&self, file: &str) -> Option<String> {
        self.read(file).ok()
    }

    /// Writes `value` to `file`, in one call as kernel files want it.
    ///
    /// # Errors
    /// [`KernelError::Write`] with path and value.
    pub fn write(&self, file: &str, value: &str) -> Result<(), KernelError> {
        self.write_with(file, value, OFlags::WRONLY)
    }

    fn write_with(&self, file: &str, value: &str, flags: OFlags) -> Result<(), KernelError> {
        let write = || -> io::Result<()> {
            let fd = self.open_file(file, flags)?;
            match rustix::io::write(&fd, value.as_bytes())? {
                n if n == value.len() => Ok(()),
                _ => Err(io::ErrorKind::WriteZero.into()),
            }
        };
        write().map_err(|source| KernelError::Write {
            path: self.path.join(file),
            value: value.to_owned(),
            source,
        })
    }

    /// Writes `value` to a limit without waiting for what is above it to be taken back (`O_NONBLOCK`, Linux 6.16;
    /// before, the write takes it back).
    ///
    /// # Errors
    /// [`KernelError::Write`] with path and value.
    pub fn write_without_waiting(&self, file: &str, value: &str) -> Result<(), KernelError> {
        self.write_with(file, value, OFlags::WRONLY | OFlags::NONBLOCK)
    }

    /// Writes `value`, and reads it back: only what the file then says is in force.
    ///
    /// # Errors
    /// [`KernelError::NotApplied`] if the file reads something else.
    pub fn set(&self, file: &str, value: &str) -> Result<(), KernelError> {
        self.write(file, value)?;
        let found = self.read(file)?;
        if found == value {
            return Ok(());
        }
        Err(KernelError::NotApplied { path: self.path.join(file), wanted: value.to_owned(), found })
    }

    /// Opens `file` for writing; for a descriptor that a child or a hot path uses.
    ///
    /// # Errors
    /// [`KernelError::Read`] with the path.
    pub fn open_for_writing(&self, file: &str) -> Result<OwnedFd, KernelError> {
        self.open_file(file, OFlags::WRONLY).map_err(|source| self.read_error(file, source))
    }

    /// Opens `file` for reading.
    ///
    /// # Errors
    /// [`KernelError::Read`] with the path.
    pub fn open_for_reading(&self, file: &str) -> Result<OwnedFd, KernelError> {
        self.open_file(file, OFlags::RDONLY).map_err(|source| self.read_error(file, source))
    }

    /// Whether `file` is there.
    pub fn has(&self, file: &str) -> bool {
        rustix::fs::statat(&self.fd, file, rustix::fs::AtFlags::empty()).is_ok()
    }

    fn open_file(&self, file: &str, flags: OFlags) -> io::Result<OwnedFd> {
        Ok(rustix::fs::openat(&self.fd, file, flags | OFlags::CLOEXEC, Mode::empty())?)
    }

    fn read_into(&self, file: &str, buffer: &mut [u8]) -> io::Result<usize> {
        let fd = self.open_file(file, OFlags::RDONLY)?;
        // One read: these files are shown whole, or as far as the buffer goes.
        Ok(rustix::io::read(&fd, buffer)?)
    }

    fn read_error(&self, file: &str, source: io::Error) -> KernelError {
        KernelError::Read { path: self.path.join(file), source }
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Removes the cgroup `path` and what was nested in it. One that is gone already is fine.
///
/// # Errors
/// [`KernelError::Remove`], with `EBUSY` while a process is inside.
pub fn remove_group(path: &Path) -> Result<(), KernelError> {
    // Nearly always it is empty: one call.
    let source = match std::fs::remove_dir(path) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => error,
    };
    if source.kind() != io::ErrorKind::ResourceBusy && source.kind() != io::ErrorKind::DirectoryNotEmpty {
        return Err(KernelError::Remove { path: path.to_owned(), source });
    }
    let removed = Dir::open(path).and_then(|dir| {
        remove_nested(dir.fd)
            .map_err(|source| KernelError::Remove { path: path.to_owned(), source: source.into() })
    });
    removed?;
    match std::fs::remove_dir(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(KernelError::Remove { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// Removes all that is nested in a group, the innermost first. However deep a job went: neither the stack nor a
/// path grows with it.
fn remove_nested(top: OwnedFd) -> rustix::io::Result<()> {
    let (mut here, mut way) = (top, Vec::new());
    loop {
        if let Some(name) = first_folder(&here)? {
            here = rustix::fs::openat(&here, &name, DIRECTORY, Mode::empty())?;
            way.push(name);
            continue;
        }
        let Some(name) = way.pop() else { return Ok(()) };
        here = rustix::fs::openat(&here, "..", DIRECTORY, Mode::empty())?;
        rustix::fs::unlinkat(&here, &name, AtFlags::REMOVEDIR)?;
    }
}

fn first_folder(dir: &OwnedFd) -> rustix::io::Result<Option<CString>> {
    for entry in rustix::fs::Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type() == FileType::Directory && name != c"." && name != c".." {
            return Ok(Some(name.to_owned()));
        }
    }
    Ok(None)
}

/// Reads a kernel file that is held open, from its start; `None` if it can't be read.
pub fn read_again(file: &OwnedFd) -> Option<String> {
    let mut buffer = [0; SMALL];
    let length = rustix::io::pread(file, &mut buffer, 0).ok()?;
    Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

/// The value of `key` in a flat keyed file (`oom_kill 3`), as in `memory.events` and `cpu.stat`.
pub fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        (name == key).then(|| value.trim().parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyed_file_gives_its_values_by_whole_name() {
        let text = "low 0\nhigh 3\nmax 18\noom 1\noom_kill 2\noom_group_kill 1";
        assert_eq!(keyed(text, "oom"), Some(1));
        assert_eq!(keyed(text, "oom_kill"), Some(2));
        assert_eq!(keyed(text, "oom_kil"), None);
        assert_eq!(keyed("oom x\n", "oom"), None);
    }

    #[test]
    fn a_failed_write_names_path_and_value() {
        let folder = tempfile::tempdir().unwrap();
        let dir = Dir::open(folder.path()).unwrap();
        let error = dir.write("memory.max", "4096").unwrap_err().to_string();
        assert!(error.contains("memory.max") && error.contains("4096"), "{error}");
    }

    #[test]
    fn a_strangers_path_leads_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("a/b")).unwrap();
        std::os::unix::fs::symlink("a", folder.path().join("link")).unwrap();
        let dir = Dir::open(folder.path()).unwrap();
        assert!(dir.open_below("a/b").is_ok());
        for path in ["link/b", "../x", "a/../..", "/proc", "a/c"] {
            assert!(dir.open_below(path).is_err(), "{path}");
        }
    }

    #[test]
    fn nested_groups_are_removed_from_the_inside() {
        let folder = tempfile::tempdir().unwrap();
        let group = folder.path().join("group");
        std::fs::create_dir_all(group.join("a/b")).unwrap();
        std::fs::create_dir_all(group.join("c")).unwrap();
        // Deeper than a stack of calls, longer than any path may be.
        let mut here = Dir::open(&group).unwrap();
        for _ in 0..3000 {
            here = here.make("d").unwrap();
        }
        remove_group(&group).unwrap();
        assert!(!group.exists());
        remove_group(&group).unwrap();
    }
}
