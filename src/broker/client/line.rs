//! Lines to and from a broker, in the run's loop. Nothing here ever waits for the broker but [`Line::next`].

use std::collections::VecDeque;
use std::io;

use tokio::io::Interest;
use tokio::net::UnixStream;

use super::greet::Greeted;
use crate::broker::lines::Lines;
use crate::broker::protocol::{self, Fault, ToRun};

/// A broker that takes no more than this many bytes behind is lost: what it does not know by then is declared anew.
const MOST_UNSENT: usize = 4 << 20;

/// So much is read at once.
const PIECE: usize = 16 << 10;

/// The connection is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut;

#[derive(Debug)]
pub(super) struct Line {
    stream: UnixStream,
    lines: Lines,
    /// Read, and not taken.
    heard: VecDeque<ToRun>,
    unsent: VecDeque<u8>,
    is_cut: bool,
}

impl Line {
    /// In the loop that runs.
    ///
    /// # Errors
    /// The loop's.
    pub fn over(greeted: Greeted) -> io::Result<Line> {
        let mut line = Line {
            stream: UnixStream::from_std(greeted.stream)?,
            lines: Lines::new(),
            heard: VecDeque::new(),
            unsent: VecDeque::new(),
            is_cut: false,
        };
        line.take(&greeted.rest);
        Ok(line)
    }

    /// Says these lines, as soon as there is room for them.
    pub fn say(&mut self, lines: &[u8]) {
        if self.unsent.len() + lines.len() > MOST_UNSENT {
            self.is_cut = true;
        } else {
            self.unsent.extend(lines);
        }
    }

    /// Sends as much as there is room for.
    pub fn flush(&mut self) {
        while !self.unsent.is_empty() && !self.is_cut {
            match self.stream.try_write(self.unsent.as_slices().0) {
                Ok(sent) => drop(self.unsent.drain(..sent)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.is_cut = true,
            }
        }
    }

    /// The next message. Nothing is lost if it is not waited for to the end.
    pub async fn next(&mut self) -> Result<ToRun, Cut> {
        loop {
            if let Some(message) = self.heard.pop_front() {
                return Ok(message);
            }
            if self.is_cut {
                return Err(Cut);
            }
            let interest = match self.unsent.is_empty() {
                true => Interest::READABLE,
                false => Interest::READABLE | Interest::WRITABLE,
            };
            if self.stream.ready(interest).await.is_err() {
                self.is_cut = true;
            }
            self.flush();
            self.read();
        }
    }

    fn read(&mut self) {
        let mut piece = [0; PIECE];
        while !self.is_cut {
            match self.stream.try_read(&mut piece) {
                Ok(0) => self.is_cut = true,
                Ok(read) => self.take(&piece[..read]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.is_cut = true,
            }
        }
    }

    fn take(&mut self, mut bytes: &[u8]) {
        while let Some(line) = self.lines.next(&mut bytes) {
            match line.map_err(Fault::from).and_then(protocol::from_broker) {
                Ok(message) => self.heard.push_back(message),
                // A newer broker may say more than we know.
                Err(fault) if fault.is_survivable() => {}
                Err(_) => self.is_cut = true,
            }
        }
    }
}
