//! A temporary directory for each attempt of a captured job: what it leaves there is named and removed.
//!
//! ```text
//! $TMPDIR/sandtest-RUN/      noted in run.json before it is made, removed at the end or by the next start
//! $TMPDIR/sandtest-RUN/3     an attempt's TMPDIR; short, for a unix socket's path has 108 bytes
//!
//! made ─▶ taken ─▶ given back ── as new ──▶ free ─▶ taken ...
//!                             ── marked ──▶ removed, with what is in it
//! ```
//!
//! To make and remove a directory costs more than to look at one, so one that nobody marked serves again.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::fs::{AtFlags, Mode, StatxAttributes, StatxFlags};
use rustix::io::Errno;

use super::record::RunFile;
use crate::kernel::folder::{self, Found};
use crate::model::leftovers::Files;
use crate::model::text::harmless;
use crate::model::{Bytes, RunId};

/// How long the removal of what an attempt left may take. What takes longer is removed at the end of the run.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long the removal of all that is left at the end of a run may take; what takes longer is the next start's.
const PATIENCE_AT_END: Duration = Duration::from_secs(10);

/// Room for the names of extended attributes, and for the value of each: a directory with more of them serves once.
const ATTRIBUTES: usize = 4096;

/// The run's folder.
#[derive(Debug)]
pub struct Temporary {
    folder: PathBuf,
    dir: OwnedFd,
    free: Mutex<Vec<Scratch>>,
    made: AtomicU32,
    /// Why one could not be made.
    failed: Mutex<Option<io::Error>>,
}

/// An attempt's temporary directory.
#[derive(Debug)]
struct Scratch {
    path: PathBuf,
    name: CString,
    /// As it was made; `None` if that can't be seen, so that it serves once.
    new: Option<Looks>,
}

/// What a user of a directory may change about it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Looks {
    mode: u32,
    uid: u32,
    gid: u32,
    inode: u64,
    size: i64,
    /// Immutable, append-only and the like (chattr(1)). Some come from the directory around it: compressed, encrypted.
    flags: StatxAttributes,
    /// Access lists are such, too. SELinux gives each directory one from its beginning.
    attributes: BTreeMap<CString, Vec<u8>>,
}

impl Looks {
    fn of(dir: BorrowedFd) -> io::Result<Looks> {
        let stat = rustix::fs::fstat(dir)?;
        Ok(Looks {
            mode: stat.st_mode,
            uid: stat.st_uid,
            gid: stat.st_gid,
            inode: stat.st_ino,
            size: stat.st_size,
            flags: rustix::fs::statx(dir, "", AtFlags::EMPTY_PATH, StatxFlags::empty())?.stx_attributes,
            attributes: attributes(dir)?,
        })
    }
}

/// Extended attributes (xattr(7)), by name.
fn attributes(dir: BorrowedFd) -> rustix::io::Result<BTreeMap<CString, Vec<u8>>> {
    let mut room = [0; ATTRIBUTES];
    let length = match rustix::fs::flistxattr(dir, &mut room[..]) {
        Err(Errno::NOTSUP) => 0,
        length => length?,
    };
    let names = room[..length].split_inclusive(|byte| *byte == 0);
    names
        .filter_map(|name| CStr::from_bytes_with_nul(name).ok())
        .map(|name| {
            let mut value = vec![0; ATTRIBUTES];
            let length = rustix::fs::fgetxattr(dir, name, &mut value[..])?;
            value.truncate(length);
            Ok((name.to_owned(), value))
        })
        .collect()
}

impl Temporary {
    /// Where the folder of run `id` will be: below `TMPDIR`, or in `/tmp` where that can't be used.
    pub fn place(id: &RunId) -> Option<PathBuf> {
        let usable = |folder: PathBuf| {
            // Without symlinks, as the kernel names mount points.
            let folder = folder.canonicalize().ok()?;
            let usable =
                nix::unistd::access(&folder, nix::unistd::AccessFlags::W_OK | nix::unistd::AccessFlags::X_OK);
            usable.ok().map(|()| folder)
        };
        usable(std::env::temp_dir()).or_else(|| usable("/tmp".into())).map(|folder| folder.join(name(&id.0)))
    }

    /// Makes the folder.
    ///
    /// # Errors
    /// What mkdir(2) and open(2) list; one that is there already is not ours.
    pub fn make(folder: PathBuf) -> io::Result<Temporary> {
        let (parent, name) = folder::parent_and_name(&folder)?;
        rustix::fs::mkdirat(&parent, &name, Mode::RWXU)?;
        let dir = folder::open(parent.as_fd(), &name)?;
        Ok(Temporary {
            folder,
            dir,
            free: Mutex::default(),
            made: AtomicU32::new(0),
            failed: Mutex::default(),
        })
    }

    /// A directory that is as new; `None` if none can be made, which is told at the end.
    pub fn take(self: &Arc<Temporary>) -> Option<Lent> {
        let free = lock(&self.free).pop();
        let made = free.map_or_else(|| self.make_one(), Ok);
        match made {
            Ok(scratch) => Some(Lent { temporary: self.clone(), scratch }),
            Err(error) => {
                lock(&self.failed).get_or_insert(error);
                None
            }
        }
    }

    fn make_one(&self) -> io::Result<Scratch> {
        let number = self.made.fetch_add(1, Ordering::Relaxed).to_string();
        let name = CString::new(number.as_str())?;
        rustix::fs::mkdirat(&self.dir, &name, Mode::RWXU)?;
        let new = folder::open(self.dir.as_fd(), &name).and_then(|dir| Looks::of(dir.as_fd())).ok();
        Ok(Scratch { path: self.folder.join(number), name, new })
    }

    fn is_as_new(&self, scratch: &Scratch) -> io::Result<bool> {
        let dir = folder::open(self.dir.as_fd(), &scratch.name)?;
        let unmarked = scratch.new == Some(Looks::of(dir.as_fd())?);
        Ok(unmarked && folder::is_empty(dir.as_fd())?)
    }

    /// Removes all of them at the end of a run. Why that is not possible, if it is not.
    pub fn remove_all(&self) -> Option<String> {
        remove(&self.folder).kept.map(|why| format!("{} is not removed: {why}", self.folder.display()))
    }

    /// Why a job had to do without.
    pub fn failure(&self) -> Option<String> {
        let failed = lock(&self.failed);
        failed
            .as_ref()
            .map(|error| format!("make a temporary directory in {}: {error}", self.folder.display()))
    }
}

/// A directory in the hands of an attempt. Dropped, it stays until the end of the run.
#[derive(Debug)]
pub struct Lent {
    temporary: Arc<Temporary>,
    scratch: Scratch,
}

impl Lent {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.scratch.path
    }

    /// Gives it back if it is as new. Returns it if it is not.
    pub fn give_back(self) -> Option<Lent> {
        if !self.temporary.is_as_new(&self.scratch).unwrap_or(false) {
            return Some(self);
        }
        lock(&self.temporary.free).push(self.scratch);
        None
    }

    /// Removes it with what is in it, and tells what that was. Blocking.
    pub fn remove(self) -> Option<Box<Files>> {
        let Lent { temporary, scratch: Scratch { path, name, .. } } = self;
        let found = folder::remove(temporary.dir.as_fd(), &name, &path, PATIENCE);
        (found.count > 0 || found.kept.is_some()).then(|| Box::new(files(found, &path)))
    }
}

/// Removes the folder of a run whose sandtest is gone. Returns whether there is none any more.
pub(super) fn sweep(file: &RunFile) -> bool {
    let Some(folder) = &file.temporary else { return true };
    // A file that says something else than we write is not believed.
    if folder.file_name() != Some(name(&file.run).as_ref()) || !folder.is_absolute() {
        return true;
    }
    let uid = nix::unistd::geteuid().as_raw();
    match rustix::fs::lstat(folder) {
        Ok(stat) if stat.st_uid == uid => remove(folder).kept.is_none(),
        // Somebody else's.
        Ok(_) => true,
        // What can't be looked at now may be there all the same: the next start tries again.
        Err(error) => error == Errno::NOENT,
    }
}

fn remove(folder: &Path) -> Found {
    match folder::parent_and_name(folder) {
        Ok((parent, name)) => folder::remove(parent.as_fd(), &name, folder, PATIENCE_AT_END),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Found::default(),
        Err(error) => Found { kept: Some(error.to_string()), ..Found::default() },
    }
}

fn name(run: &str) -> String {
    format!("sandtest-{run}")
}

fn files(found: Found, folder: &Path) -> Files {
    let shown = |path: PathBuf| harmless(&path.to_string_lossy());
    Files {
        count: found.count,
        bytes: Bytes(found.bytes),
        first: found.first.into_iter().map(shown).collect(),
        kept: found.kept.map(|why| format!("{}: {why}", folder.display())),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poison| poison.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::record::State;
    use std::fs;

    fn temporary() -> (tempfile::TempDir, Arc<Temporary>) {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().canonicalize().unwrap().join("sandtest-7");
        (outer, Arc::new(Temporary::make(folder).unwrap()))
    }

    #[test]
    fn only_one_that_nobody_marked_serves_again() {
        let (_outer, temporary) = temporary();
        let first = temporary.take().unwrap();
        let path = first.path().to_owned();
        assert!(first.give_back().is_none());
        let again = temporary.take().unwrap();
        assert_eq!(again.path(), path);
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        assert_eq!(again.give_back().unwrap().remove(), None);
        let third = temporary.take().unwrap();
        assert_ne!(third.path(), path);
        fs::write(third.path().join("file"), "four").unwrap();
        let left = third.give_back().unwrap().remove().unwrap();
        assert_eq!((left.count, left.bytes, left.first), (1, Bytes(4), vec!["file".to_owned()]));
        assert_eq!(temporary.remove_all(), None);
        assert!(!path.parent().unwrap().exists());
    }

    #[test]
    fn an_attribute_that_a_job_sets_is_a_mark_and_one_that_was_there_is_none() {
        let (_outer, temporary) = temporary();
        let mark = |path: &Path, value: &[u8]| {
            rustix::fs::setxattr(path, "user.sandtest", value, rustix::fs::XattrFlags::empty())
        };
        let lent = temporary.take().unwrap();
        if mark(lent.path(), b"a") == Err(Errno::NOTSUP) {
            return;
        }
        let mut lent = lent.give_back().expect("it is marked");
        // As if it had been made with it, as on a machine with SELinux.
        let dir = folder::open(temporary.dir.as_fd(), &lent.scratch.name).unwrap();
        lent.scratch.new = Some(Looks::of(dir.as_fd()).unwrap());
        assert!(lent.give_back().is_none());
        let again = temporary.take().unwrap();
        mark(again.path(), b"b").unwrap();
        assert!(again.give_back().is_some(), "another value is a mark, too");
    }

    #[test]
    fn a_job_that_removes_its_own_directory_has_left_nothing() {
        let (_outer, temporary) = temporary();
        let lent = temporary.take().unwrap();
        fs::remove_dir(lent.path()).unwrap();
        assert_eq!(lent.give_back().unwrap().remove(), None);
    }

    #[test]
    fn only_folders_of_ours_are_swept() {
        let outer = tempfile::tempdir().unwrap();
        let file = |run: &str, folder: &str| RunFile {
            run: run.into(),
            boot_id: String::new(),
            cgroup_root: String::new(),
            state: State::Running,
            groups: Vec::new(),
            temporary: Some(outer.path().join(folder)),
        };
        for folder in ["sandtest-1", "sandtest-2", "precious"] {
            fs::create_dir_all(outer.path().join(folder).join("0")).unwrap();
        }
        std::os::unix::fs::symlink("precious", outer.path().join("sandtest-3")).unwrap();
        for (run, folder) in
            [("1", "sandtest-1"), ("1", "sandtest-2"), ("precious", "precious"), ("3", "sandtest-3")]
        {
            assert!(sweep(&file(run, folder)), "{folder}");
        }
        std::os::unix::fs::symlink("loop", outer.path().join("loop")).unwrap();
        assert!(!sweep(&file("1", "loop/sandtest-1")), "it can't be known to be gone");
        assert!(sweep(&file("4", "sandtest-4")), "it is gone");
        let there = |folder| outer.path().join(folder).exists();
        assert_eq!((there("sandtest-1"), there("sandtest-2"), there("precious/0")), (false, true, true));
    }
}
