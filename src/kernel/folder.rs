//! Trees of files that a job has left: counted, and removed without ever leaving the tree.
//!
//! A recursive removal that follows a bind mount empties the place it shows, which may be `/`. So every step down
//! is an openat2(2) that the kernel refuses at a mount point or a symlink, whatever was there a moment before; no
//! step goes back up by `..`, which may lead elsewhere by then; and what is too deep for descriptors that are held
//! is moved to the top and met there again.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, RawDir, ResolveFlags};
use rustix::io::Errno;

use super::objects;

/// So many files are named.
const NAMED: usize = 5;

/// A directory is held open for each level, at most this many.
const DEEPEST: usize = 32;

/// What is moved to the top is called so, and a number.
const MOVED: &str = ".sandtest-deep-";

const DIRECTORY: OFlags =
    OFlags::DIRECTORY.union(OFlags::RDONLY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What was in a directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Files of any kind; an empty directory counts as one.
    pub count: u64,
    /// Their sizes, or what they take on disk where that is less.
    pub bytes: u64,
    /// The first of them by name, below the directory.
    pub first: BTreeSet<PathBuf>,
    /// Why it is not all removed.
    pub kept: Option<String>,
}

/// Opens the directory `name` of `parent`, unless it is a symlink or a mount point.
///
/// # Errors
/// `EXDEV` at a mount point, `ELOOP` or `ENOTDIR` at a symlink, and what openat2(2) lists.
pub fn open(parent: BorrowedFd, name: &CStr) -> io::Result<OwnedFd> {
    Ok(step(parent, name, DIRECTORY)?)
}

/// Whether nothing is in it.
///
/// # Errors
/// What getdents64(2) lists.
pub fn is_empty(dir: BorrowedFd) -> io::Result<bool> {
    let mut buffer = [MaybeUninit::uninit(); 1024];
    let mut entries = RawDir::new(dir, &mut buffer);
    while let Some(entry) = entries.next() {
        if !is_dots(entry?.file_name()) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Removes the directory `name` of `parent`, known as `path`, with all that is in it, in about `patience`. Counts
/// what was in it. With a mount somewhere below nothing is removed.
pub fn remove(parent: BorrowedFd, name: &CStr, path: &Path, patience: Duration) -> Found {
    let mut walk =
        Walk { found: Found::default(), end: Instant::now() + patience, top: None, removes: true, moved: 0 };
    if let Some(mount) = objects::mounts_below(path).first() {
        walk.removes = false;
        walk.keep(&format!("{} is mounted in it", mount.display()));
    }
    match enter(parent, name) {
        Ok(dir) => {
            let emptied = walk.all(dir);
            if walk.removes && emptied {
                let gone = rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR);
                gone.or_else(gone_is_fine).unwrap_or_else(|error| walk.keep(&error.to_string()));
            }
        }
        Err(Errno::NOENT) => {}
        // It was replaced by a file.
        Err(Errno::NOTDIR | Errno::LOOP) if walk.removes => {
            walk.count(Path::new("."), 0);
            let gone = rustix::fs::unlinkat(parent, name, AtFlags::empty());
            gone.or_else(gone_is_fine).unwrap_or_else(|error| walk.keep(&error.to_string()));
        }
        Err(error) => walk.keep(&error.to_string()),
    }
    walk.found
}

/// A walk through one tree.
struct Walk {
    found: Found,
    end: Instant,
    /// The tree's own directory, for what is moved there.
    top: Option<OwnedFd>,
    /// Whether it removes what it finds.
    removes: bool,
    moved: u32,
}

impl Walk {
    /// Goes through the whole tree. Returns whether nothing is left in it.
    fn all(&mut self, dir: OwnedFd) -> bool {
        self.top = dir.as_fd().try_clone_to_owned().ok();
        match Dir::new(dir) {
            Ok(mut dir) => self.inside(&mut dir, Path::new(""), 0),
            Err(error) => {
                self.keep(&error.to_string());
                false
            }
        }
    }

    /// Goes through one directory. Returns whether nothing is left in it.
    fn inside(&mut self, dir: &mut Dir, path: &Path, depth: usize) -> bool {
        loop {
            // Which entries are seen while others are removed is left open: it is read until there are none.
            let (mut removed, mut kept) = (false, false);
            dir.rewind();
            while let Some(entry) = dir.read() {
                let entry = match entry {
                    Ok(entry) => entry,
                    Err(error) => {
                        self.keep(&error.to_string());
                        return false;
                    }
                };
                if is_dots(entry.file_name()) {
                    continue;
                }
                if Instant::now() >= self.end {
                    self.keep("there is more than could be removed in time");
                    return false;
                }
                match dir.fd().map(|fd| self.entry(fd, entry.file_name(), path, depth)) {
                    Ok(Ok(())) if self.removes => removed = true,
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => {
                        self.keep(&format!("{}: {error}", path.join(os(entry.file_name())).display()));
                        kept = true;
                    }
                    Err(_) => return false,
                }
            }
            if !removed || kept {
                return !kept;
            }
        }
    }

    fn entry(&mut self, dir: BorrowedFd, name: &CStr, path: &Path, depth: usize) -> rustix::io::Result<()> {
        let path = path.join(os(name));
        let meta = match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(()),
            meta => meta?,
        };
        if FileType::from_raw_mode(meta.st_mode) != FileType::Directory {
            if self.removes {
                rustix::fs::unlinkat(dir, name, AtFlags::empty()).or_else(gone_is_fine)?;
            }
            let on_disk = u64::try_from(meta.st_blocks).unwrap_or(0).saturating_mul(512);
            self.count(&path, u64::try_from(meta.st_size).unwrap_or(0).min(on_disk));
            return Ok(());
        }
        let child = enter(dir, name)?;
        if depth >= DEEPEST {
            return self.later(dir, name, &path);
        }
        let before = self.found.count;
        let emptied = self.inside(&mut Dir::new(child)?, &path, depth + 1);
        // One that was moved here has been counted where it was.
        if emptied && self.found.count == before && !name.to_bytes().starts_with(MOVED.as_bytes()) {
            self.count(&path.join(""), 0);
        }
        if self.removes && emptied {
            rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR).or_else(gone_is_fine)?;
        }
        // What could not be emptied has said why.
        if emptied || !self.removes { Ok(()) } else { Err(Errno::NOTEMPTY) }
    }

    /// Moves a directory to the top, where it is met again.
    fn later(&mut self, dir: BorrowedFd, name: &CStr, path: &Path) -> rustix::io::Result<()> {
        self.count(path, 0);
        if let (true, Some(top)) = (self.removes, &self.top) {
            self.moved += 1;
            rustix::fs::renameat(dir, name, top, format!("{MOVED}{}", self.moved))?;
        }
        Ok(())
    }

    fn count(&mut self, path: &Path, bytes: u64) {
        self.found.count += 1;
        self.found.bytes = self.found.bytes.saturating_add(bytes);
        self.found.first.insert(path.to_owned());
        if self.found.first.len() > NAMED {
            self.found.first.pop_last();
        }
    }

    /// The first reason is told.
    fn keep(&mut self, why: &str) {
        self.found.kept.get_or_insert_with(|| why.to_owned());
    }
}

fn step(parent: BorrowedFd, name: &CStr, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
    rustix::fs::openat2(parent, name, flags, Mode::empty(), resolve)
}

/// Opens a directory so that what is in it can be removed, even where its mode forbids that to its owner.
fn enter(parent: BorrowedFd, name: &CStr) -> rustix::io::Result<OwnedFd> {
    let dir = match step(parent, name, DIRECTORY) {
        Err(Errno::ACCESS) => {
            let handle = step(parent, name, OFlags::PATH | DIRECTORY)?;
            // fchmod(2) takes no O_PATH descriptor, and chmod(2) by name may hit another file by now.
            rustix::fs::chmod(format!("/proc/self/fd/{}", handle.as_raw_fd()), Mode::RWXU)?;
            step(parent, name, DIRECTORY)?
        }
        dir => dir?,
    };
    if !Mode::from_raw_mode(rustix::fs::fstat(&dir)?.st_mode).contains(Mode::RWXU) {
        let _ = rustix::fs::fchmod(&dir, Mode::RWXU);
    }
    Ok(dir)
}

fn gone_is_fine(error: Errno) -> rustix::io::Result<()> {
    if error == Errno::NOENT { Ok(()) } else { Err(error) }
}

fn is_dots(name: &CStr) -> bool {
    name == c"." || name == c".."
}

fn os(name: &CStr) -> &OsStr {
    OsStr::from_bytes(name.to_bytes())
}

/// The parent of `path`, opened, and the last part of its name.
///
/// # Errors
/// What open(2) lists; `EINVAL` for a path without a name.
pub fn parent_and_name(path: &Path) -> io::Result<(OwnedFd, CString)> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let parent =
        rustix::fs::open(parent, OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    Ok((parent, CString::new(name.as_bytes())?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    const LONG: Duration = Duration::from_secs(60);

    fn removed(path: &Path) -> Found {
        let (parent, name) = parent_and_name(path).unwrap();
        remove(parent.as_fd(), &name, path, LONG)
    }

    fn scene() -> (tempfile::TempDir, PathBuf) {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().canonicalize().unwrap().join("folder");
        fs::create_dir(&folder).unwrap();
        (outer, folder)
    }

    #[test]
    fn files_are_counted_named_and_removed() {
        let (_outer, folder) = scene();
        fs::create_dir_all(folder.join("b/empty")).unwrap();
        fs::write(folder.join("b/c"), [1; 8192]).unwrap();
        for number in 0..6 {
            fs::write(folder.join(format!("d{number}")), [1; 100]).unwrap();
        }
        fs::File::create(folder.join("sparse")).unwrap().set_len(1 << 40).unwrap();
        let found = removed(&folder);
        assert_eq!((found.count, found.bytes, found.kept), (9, 8192 + 600, None));
        assert_eq!(
            found.first.iter().map(|p| p.to_str().unwrap()).collect::<Vec<_>>(),
            ["b/c", "b/empty/", "d0", "d1", "d2"]
        );
        assert!(!folder.exists());
    }

    #[test]
    fn modes_that_forbid_it_to_the_owner_do_not_matter() {
        let (_outer, folder) = scene();
        let inner = folder.join("a/b");
        fs::create_dir_all(&inner).unwrap();
        fs::write(inner.join("c"), "").unwrap();
        for path in [&inner, &folder.join("a"), &folder] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
        }
        let found = removed(&folder);
        assert_eq!((found.count, found.kept), (1, None));
        assert!(!folder.exists());
    }

    #[test]
    fn what_a_symlink_shows_stays() {
        let (outer, folder) = scene();
        let precious = outer.path().join("precious");
        fs::create_dir(&precious).unwrap();
        fs::write(precious.join("file"), "").unwrap();
        symlink(&precious, folder.join("link")).unwrap();
        assert_eq!(removed(&folder).count, 1);
        // The folder itself replaced by one.
        symlink(&precious, &folder).unwrap();
        assert_eq!(removed(&folder).kept, None);
        assert!(precious.join("file").exists() && !folder.exists());
    }

    #[test]
    fn no_depth_is_too_deep() {
        let (_outer, folder) = scene();
        let mut here = rustix::fs::open(&folder, DIRECTORY, Mode::empty()).unwrap();
        for _ in 0..1000 {
            rustix::fs::mkdirat(&here, "deep", Mode::RWXU).unwrap();
            here = rustix::fs::openat(&here, "deep", DIRECTORY, Mode::empty()).unwrap();
        }
        rustix::fs::openat(&here, "bottom", OFlags::CREATE | OFlags::WRONLY, Mode::RWXU).unwrap();
        assert_eq!(removed(&folder).kept, None);
        assert!(!folder.exists());
    }

    #[test]
    fn patience_ends() {
        let (_outer, folder) = scene();
        fs::write(folder.join("a"), "").unwrap();
        let (parent, name) = parent_and_name(&folder).unwrap();
        assert!(remove(parent.as_fd(), &name, &folder, Duration::ZERO).kept.is_some());
        assert!(folder.join("a").exists());
    }
}
