//! What a captured job writes: our end of its pipe.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;

use nix::fcntl::{FcntlArg, OFlag};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::capture::Capture;
use crate::kernel::readiness;

/// A pipe is read in pieces of this size; as large as a pipe holds at once.
const PIECE: usize = 64 << 10;

/// Our end of what a captured job writes.
#[derive(Debug)]
pub(super) struct Output {
    /// `None` after its end.
    pipe: Option<AsyncFd<OwnedFd>>,
    pub capture: Rc<RefCell<Capture>>,
}

impl Output {
    /// Of a new pipe, and the end of it that the job writes to. What is long is spilled to `file`.
    pub fn pipe(file: PathBuf) -> io::Result<(Output, OwnedFd)> {
        let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        nix::fcntl::fcntl(&read, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let pipe = Some(readiness::watch(read, Interest::READABLE)?);
        Ok((Output { pipe, capture: Rc::new(RefCell::new(Capture::new(file))) }, write))
    }

    /// Takes in some of what was written; waits until there is something.
    pub async fn read(&mut self) {
        let Some(pipe) = &self.pipe else { return std::future::pending().await };
        let ended = match pipe.readable().await {
            Ok(mut ready) => match ready.try_io(|pipe| read_piece(pipe.get_ref(), &self.capture)) {
                Ok(Ok(count)) => count == 0,
                Ok(Err(_)) => true,
                Err(_would_block) => false,
            },
            Err(_) => true,
        };
        if ended {
            self.pipe = None;
        }
    }

    /// Takes in what is there, and no more than a pipe can hold: one that escaped may go on writing.
    pub fn drain(&mut self) {
        let Some(pipe) = self.pipe.take() else { return };
        for _ in 0..32 {
            match read_piece(pipe.get_ref(), &self.capture) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }
}

fn read_piece(pipe: &OwnedFd, capture: &RefCell<Capture>) -> io::Result<usize> {
    thread_local! {
        // One for all attempts: the loop reads them in turn, on one thread.
        static PIECES: RefCell<Vec<u8>> = RefCell::new(vec![0; PIECE]);
    }
    PIECES.with_borrow_mut(|piece| {
        let count = nix::unistd::read(pipe, piece)?;
        capture.borrow_mut().push(&piece[..count]);
        Ok(count)
    })
}
