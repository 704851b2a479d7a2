//! Tokens from a make that runs us: one for each place beyond the first, which came with our own start.
//!
//! ```text
//! wants more than it has ── a token is read ──▶ one place more ──▶ a job starts, if memory allows
//!                                                   │ nothing more wants it, or for half a second nobody could use it
//! written back ◀────────────────────────────────────┘
//! ```
//!
//! What is held is noted where the guardian sees it too: with our death all of it goes back.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::flags::Server;
use crate::kernel::guardian::Debt;
use crate::kernel::held::Held;
use crate::kernel::{KernelError, readiness};

/// For so long a token may be held that nobody uses, since memory is short; and then so long none is taken.
const IDLE: Duration = Duration::from_millis(500);

/// A jobserver that was passed on to us.
#[derive(Debug)]
pub struct Outer {
    read: File,
    write: File,
    held: Arc<Held>,
}

/// Why it can't be used.
#[derive(Debug, thiserror::Error)]
pub enum OuterError {
    /// make closes them for what it takes for no make.
    #[error(
        "the descriptors {0} and {1} of make's jobserver are not open here; put + in front of the recipe's line"
    )]
    NotPassedOn(RawFd, RawFd),
    /// It can't be opened.
    #[error("open make's jobserver {path}: {1}", path = .0.display())]
    Open(PathBuf, io::Error),
    /// Nothing can be noted.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

impl Outer {
    /// Opens it.
    ///
    /// # Errors
    /// [`OuterError`].
    pub fn open(server: &Server) -> Result<Outer, OuterError> {
        let (read, write) = match server {
            // Alone, an end to be written could not be opened while nobody reads.
            Server::Fifo(path) => (end(path, Way::Both)?, end(path, Way::Both)?),
            Server::Pipe { read, write } => {
                // Opened anew: the ends that make has must go on blocking.
                let path = |fd: &RawFd| PathBuf::from(format!("/proc/self/fd/{fd}"));
                let is_pipe = |fd| fs::metadata(path(fd)).is_ok_and(|file| file.file_type().is_fifo());
                if !is_pipe(read) || !is_pipe(write) {
                    return Err(OuterError::NotPassedOn(*read, *write));
                }
                (end(&path(read), Way::Out)?, end(&path(write), Way::In)?)
            }
        };
        Ok(Outer { read, write, held: Arc::new(Held::new()?) })
    }

    /// What is owed, for the guardian.
    ///
    /// # Errors
    /// The system's, if there are no descriptors left.
    pub fn debt(&self) -> io::Result<Debt> {
        Ok(Debt { held: self.held.clone(), to: self.write.try_clone()?.into() })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Out,
    In,
    Both,
}

fn end(path: &Path, way: Way) -> Result<File, OuterError> {
    let mut options = OpenOptions::new();
    options.read(way != Way::In).write(way != Way::Out).custom_flags(libc::O_NONBLOCK);
    options.open(path).map_err(|error| OuterError::Open(path.to_owned(), error))
}

/// The same, in the run's loop.
#[derive(Debug)]
pub struct Inherited {
    ready: AsyncFd<OwnedFd>,
    outer: Outer,
    count: u32,
    /// How many more are to be taken.
    lacks: u32,
    /// Since when more are held than are used.
    idle: Option<Instant>,
    /// Nothing is taken before.
    rests: Option<Instant>,
}

impl Inherited {
    /// To be called within the loop.
    ///
    /// # Errors
    /// The system's.
    pub fn new(outer: Outer) -> io::Result<Inherited> {
        let watched: OwnedFd = outer.read.try_clone()?.into();
        let ready = readiness::watch(watched, Interest::READABLE)?;
        Ok(Inherited { ready, outer, count: 0, lacks: 0, idle: None, rests: None })
    }

    /// So much may run at once now.
    pub fn places(&self) -> u32 {
        self.count + 1
    }

    /// The run uses so many places, and would use so many. Returns whether it has fewer now.
    pub fn settle(&mut self, now: Instant, uses: u32, would_use: u32) -> bool {
        let (used, needed) = (uses.saturating_sub(1), would_use.saturating_sub(1));
        let before = self.count;
        if self.count <= used {
            self.idle = None;
        } else if self.count > needed {
            self.give_back(self.count - needed.max(used));
        } else if now >= *self.idle.get_or_insert(now) + IDLE {
            self.give_back(self.count - used);
            (self.idle, self.rests) = (None, Some(now + IDLE));
        }
        self.rests = self.rests.filter(|until| now < *until);
        self.lacks = if self.rests.is_some() { 0 } else { needed.saturating_sub(self.count) };
        self.count < before
    }

    /// Waits until one more may run, or it is time to [settle](Inherited::settle).
    pub async fn changed(&mut self) {
        let next = [self.idle.map(|since| since + IDLE), self.rests].into_iter().flatten().min();
        let time = async {
            match next {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        if self.lacks == 0 {
            return time.await;
        }
        tokio::select! {
            ready = self.ready.readable() => {
                let Ok(mut ready) = ready else { return std::future::pending().await };
                // One at a time, so that each is noted as soon as it is ours.
                let mut token = [0];
                match (&self.outer.read).read(&mut token) {
                    Ok(1) if self.outer.held.push(token[0]) => {
                        self.count += 1;
                        self.lacks -= 1;
                    }
                    Ok(1) => drop((&self.outer.write).write(&token)),
                    // Another one was faster, or nobody has it open any more.
                    _ => ready.clear_ready(),
                }
            }
            () = time => {}
        }
    }

    fn give_back(&mut self, count: u32) {
        for _ in 0..count {
            let Some(token) = self.outer.held.pop() else { break };
            // As it was read: make may have tokens of more than one kind.
            let _ = (&self.outer.write).write(&[token]);
            self.count = self.count.saturating_sub(1);
        }
    }
}

impl Drop for Inherited {
    fn drop(&mut self) {
        self.give_back(self.count);
    }
}
