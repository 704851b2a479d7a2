//! What is said to one client, and kept for it as long as it does not read.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;

use tokio::net::UnixStream;
use tokio::sync::Notify;

use super::limits::MOST_UNREAD;
use crate::broker::protocol::{self, ToRun};

/// The broker's end of a connection.
#[derive(Debug)]
pub struct Wire {
    stream: UnixStream,
    unread: RefCell<VecDeque<u8>>,
    /// Whether somebody waits until the client reads.
    flushing: Cell<bool>,
    over: Cell<bool>,
    ended: Notify,
}

impl Wire {
    pub fn new(stream: UnixStream) -> Wire {
        let unread = RefCell::default();
        Wire { stream, unread, flushing: Cell::new(false), over: Cell::new(false), ended: Notify::new() }
    }

    /// To read from.
    pub fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Keeps a line for it, until [`Wire::flush`]. Nothing more is kept for one that does not read.
    pub fn say(&self, message: &ToRun) {
        // What we say has a fixed size, which fits.
        let Ok(line) = protocol::write(message) else { return };
        self.say_line(&line);
    }

    /// The same of a whole line, with its end.
    pub fn say_line(&self, line: &[u8]) {
        let mut unread = self.unread.borrow_mut();
        if unread.len() + line.len() > MOST_UNREAD {
            drop(unread);
            return self.end();
        }
        unread.extend(line);
    }

    /// Sends what is kept, now as far as there is room, and the rest when it reads.
    pub fn flush(self: &Rc<Self>) {
        if self.flushing.get() || !self.send() {
            return;
        }
        self.flushing.set(true);
        let wire = self.clone();
        tokio::task::spawn_local(async move {
            let reads = async { while wire.stream.writable().await.is_ok() && wire.send() {} };
            tokio::select! {
                () = reads => {}
                () = wire.ended() => {}
            }
            wire.flushing.set(false);
        });
    }

    /// Says one thing, and ends: what does not fit at once is not waited for.
    pub fn dismiss(&self, message: &ToRun) {
        self.say(message);
        self.send();
        self.end();
    }

    /// Ends the connection.
    pub fn end(&self) {
        self.over.set(true);
        self.unread.take();
        self.ended.notify_waiters();
    }

    /// Waits for [`Wire::end`].
    pub async fn ended(&self) {
        // Registered before it is asked, or an end between the two would be missed.
        let notified = self.ended.notified();
        if !self.over.get() {
            notified.await;
        }
    }

    /// Sends what there is room for. Returns whether something is left.
    fn send(&self) -> bool {
        let mut unread = self.unread.borrow_mut();
        while !unread.is_empty() {
            let (first, _) = unread.as_slices();
            match self.stream.try_write(first) {
                Ok(count) => drop(unread.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                // It is gone: whoever reads finds out.
                Err(_) => unread.clear(),
            }
        }
        // Many small lines once are no reason to keep their room.
        unread.shrink_to(MOST_UNREAD / 64);
        false
    }
}
