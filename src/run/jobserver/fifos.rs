//! Tokens for the builds in the jobs: a fifo for each attempt, in the run's folder.
//!
//! A token is a byte. It lies in the fifo, or some process of the attempt has read it and writes it back. We hold the
//! fifo open, so that what lies there stays; with its end all of its tokens are gone.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::stat::Mode;

use crate::model::AttemptId;

/// How often it is looked what builds have taken: nobody tells.
const LOOK: Duration = Duration::from_millis(10);

/// And so long it may look the same without being told again.
const SAME: Duration = Duration::from_millis(250);

/// What make itself puts there.
const TOKEN: u8 = b'+';

/// The fifos of a run.
#[derive(Debug)]
pub struct Fifos {
    folder: PathBuf,
    open: BTreeMap<AttemptId, File>,
    looked: Instant,
    /// What was told last, and when.
    told: (Vec<(AttemptId, u32)>, Instant),
}

/// Why there are none.
#[derive(Debug, thiserror::Error)]
pub enum FifosError {
    /// `MAKEFLAGS` is split at blanks, and nothing quotes them.
    #[error("MAKEFLAGS can't name {}, which has a blank in it; set XDG_STATE_HOME to a folder without one", .0.display())]
    Blank(PathBuf),
    /// It can't be made.
    #[error("make {path}: {1}", path = .0.display())]
    Make(PathBuf, io::Error),
}

impl Fifos {
    /// In this folder, which is made.
    ///
    /// # Errors
    /// [`FifosError`].
    pub fn make(folder: PathBuf) -> Result<Fifos, FifosError> {
        let has_blank = folder.to_str().is_none_or(|path| path.contains(char::is_whitespace));
        if has_blank {
            return Err(FifosError::Blank(folder));
        }
        let made = fs::DirBuilder::new().mode(0o700).create(&folder);
        made.map_err(|error| FifosError::Make(folder.clone(), error))?;
        let now = Instant::now();
        Ok(Fifos { folder, open: BTreeMap::new(), looked: now, told: (Vec::new(), now) })
    }

    /// Makes the one of this attempt. Nothing lies in it.
    ///
    /// # Errors
    /// The system's.
    pub fn open(&mut self, id: AttemptId) -> io::Result<PathBuf> {
        let path = self.path(id);
        nix::unistd::mkfifo(&path, Mode::from_bits_truncate(0o600))?;
        // Both ends: it never blocks, and never ends while nobody else has it open.
        let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(&path)?;
        self.open.insert(id, file);
        Ok(path)
    }

    /// Its attempt is over.
    pub fn close(&mut self, id: AttemptId) {
        if self.open.remove(&id).is_some() {
            let _ = fs::remove_file(self.path(id));
        }
    }

    /// Puts one more token there.
    pub fn put(&mut self, id: AttemptId) {
        if let Some(fifo) = self.open.get_mut(&id) {
            // A full one has thousands in it, which we have not put there.
            let _ = fifo.write(&[TOKEN]);
            // What is seen next is news, even if it looks as before: then it was taken.
            self.told.0.clear();
        }
    }

    /// Takes as many out as lie there, `most` at most. Returns how many that were.
    pub fn take(&mut self, id: AttemptId, most: u32) -> u32 {
        let Some(fifo) = self.open.get_mut(&id) else { return 0 };
        let mut tokens = vec![0; most as usize];
        fifo.read(&mut tokens).ok().and_then(|count| u32::try_from(count).ok()).unwrap_or(0)
    }

    /// Waits until something lies there otherwise than it did.
    pub async fn changed(&mut self) -> Vec<(AttemptId, u32)> {
        loop {
            if self.open.is_empty() {
                return std::future::pending().await;
            }
            tokio::time::sleep_until((self.looked + LOOK).into()).await;
            self.looked = Instant::now();
            let seen = self.look();
            if seen != self.told.0 || self.looked >= self.told.1 + SAME {
                self.told = (seen.clone(), self.looked);
                return seen;
            }
        }
    }

    fn look(&self) -> Vec<(AttemptId, u32)> {
        self.open.iter().map(|(id, fifo)| (*id, lying(fifo))).collect()
    }

    fn path(&self, id: AttemptId) -> PathBuf {
        self.folder.join(id.to_string())
    }
}

impl Drop for Fifos {
    fn drop(&mut self) {
        let open: Vec<AttemptId> = self.open.keys().copied().collect();
        open.into_iter().for_each(|id| self.close(id));
        let _ = fs::remove_dir(&self.folder);
    }
}

fn lying(fifo: &File) -> u32 {
    rustix::io::ioctl_fionread(fifo.as_fd()).ok().and_then(|bytes| u32::try_from(bytes).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::JobId;

    const ID: AttemptId = AttemptId { job: JobId(3), number: 1 };

    #[test]
    fn what_is_put_lies_there_until_it_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let mut fifos = Fifos::make(folder.path().join("jobserver")).unwrap();
        let path = fifos.open(ID).unwrap();
        (0..3).for_each(|_| fifos.put(ID));
        // As a build does it: opened, read, written, closed.
        let mut build = File::options().read(true).write(true).open(&path).unwrap();
        let mut token = [0];
        build.read_exact(&mut token).unwrap();
        assert_eq!(fifos.look(), [(ID, 2)]);
        build.write_all(&token).unwrap();
        drop(build);
        assert_eq!(fifos.look(), [(ID, 3)]);
        assert_eq!((fifos.take(ID, 2), fifos.take(ID, 2), fifos.take(ID, 2)), (2, 1, 0));
        fifos.close(ID);
        assert!(!path.exists() && fifos.look().is_empty());
        drop(fifos);
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
    }

    #[test]
    fn a_folder_that_makeflags_can_not_name_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let refused = Fifos::make(folder.path().join("my state"));
        assert!(matches!(refused, Err(FifosError::Blank(_))), "{refused:?}");
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
    }
}
