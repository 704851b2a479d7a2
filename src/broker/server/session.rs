//! One connection, as far as it is read: bytes to messages, no faster than may be, in the order in which they came.
//!
//! ```text
//! accepted ── a seat? ── no ──▶ refused (full)
//!    │ yes
//! hello within 2 s ── status, pin, unpin, kill ──▶ looks on, and says nothing else
//!    │             └─ anything else ──▶ refused (hello, version)
//!    │
//! said, said, said ...      no message: error, and the end;  one of a newer side: error, and on
//!    │ EOF, an error, or the broker ends it
//! closed
//! ```

use std::io;
use std::rc::Rc;

use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, sleep, timeout};

use super::limits::{Allowance, HELLO_WITHIN, Seat};
use super::news::News;
use super::wire::Wire;
use crate::broker::lines::Lines;
use crate::broker::protocol::{self, Fault, Hello, RefusedFor, ToBroker, ToRun, VERSION};
use crate::kernel::peer::Peer;
use crate::policy::broker::ClientId;

/// What is read at once.
const PIECE: usize = 4096;

/// Hears one client out, until it goes.
pub async fn listen(id: ClientId, wire: Rc<Wire>, peer: Peer, seat: Seat, news: Sender<News>) {
    let mut reader = Reader::new(wire.clone());
    let first = tokio::select! {
        first = greet(&mut reader) => first,
        () = wire.ended() => None,
    };
    let hello = match first {
        Some(First::Hello(hello)) => hello,
        Some(First::LooksOn(message)) => return look_on(reader, message, peer.uid, &news).await,
        None => return,
    };
    let greeting = News::Hello { id, hello, peer, wire: wire.clone() };
    if news.send(greeting).await.is_err() {
        return;
    }
    let talk = async {
        while let Some(message) = reader.next().await {
            // Whoever floods waits here, behind all others that have something to say.
            if news.send(News::Said(id, message)).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = talk => {}
        () = wire.ended() => {}
    }
    wire.end();
    drop(seat);
    let _ = news.send(News::Closed(id)).await;
}

/// What one begins with.
enum First {
    Hello(Box<Hello>),
    LooksOn(ToBroker),
}

/// Hears one out that is no run.
async fn look_on(mut reader: Reader, first: ToBroker, uid: u32, news: &Sender<News>) {
    let wire = reader.wire.clone();
    let talk = async {
        let mut next = Some(first);
        while let Some(message) = next {
            if news.send(News::LooksOn { uid, message, wire: wire.clone() }).await.is_err() {
                return;
            }
            next = reader.next().await;
        }
    };
    tokio::select! {
        () = talk => {}
        () = wire.ended() => {}
    }
    wire.end();
}

/// The first message, which has to be `hello`, unless it is one of who only looks on.
async fn greet(reader: &mut Reader) -> Option<First> {
    let (why, message) = match timeout(HELLO_WITHIN, reader.read()).await {
        Ok(Ok(Some(ToBroker::Hello(hello)))) => return Some(First::Hello(Box::new(hello))),
        Ok(Ok(Some(
            message @ (ToBroker::Status {} | ToBroker::Pin(_) | ToBroker::Unpin(_) | ToBroker::Kill(_)),
        ))) => return Some(First::LooksOn(message)),
        Ok(Ok(Some(_))) => (RefusedFor::Hello, "hello comes first".to_owned()),
        Ok(Err(fault @ Fault::Version { .. })) => (RefusedFor::Version, fault.to_string()),
        Ok(Err(fault)) => (RefusedFor::Hello, format!("hello comes first: {fault}")),
        Ok(Ok(None)) => return None,
        Err(_) => (RefusedFor::Hello, format!("no hello within {HELLO_WITHIN:?}")),
    };
    reader.wire.dismiss(&refused(why, message));
    None
}

/// What is said to one that is not served.
pub fn refused(why: RefusedFor, message: String) -> ToRun {
    ToRun::Refused { why, versions: vec![VERSION], message }
}

struct Reader {
    wire: Rc<Wire>,
    lines: Lines,
    allowance: Allowance,
    /// What was read last, and which part of it is not looked at yet.
    piece: Vec<u8>,
    rest: std::ops::Range<usize>,
}

impl Reader {
    fn new(wire: Rc<Wire>) -> Reader {
        let allowance = Allowance::new(Instant::now());
        Reader { wire, lines: Lines::new(), allowance, piece: vec![0; PIECE], rest: 0..0 }
    }

    /// The next message that makes sense; `None` at the end.
    async fn next(&mut self) -> Option<ToBroker> {
        loop {
            let fault = match self.read().await {
                Ok(message) => return message,
                Err(fault) => fault,
            };
            let closing = !fault.is_survivable();
            let error = ToRun::Error { message: fault.to_string(), closing };
            if closing {
                self.wire.dismiss(&error);
                return None;
            }
            self.wire.say(&error);
            self.wire.flush();
        }
    }

    /// The next message; `None` at the end of the connection.
    async fn read(&mut self) -> Result<Option<ToBroker>, Fault> {
        loop {
            let mut rest = &self.piece[self.rest.clone()];
            let line = self.lines.next(&mut rest);
            let left = rest.len();
            let (message, bytes) = match line {
                Some(line) => {
                    let line = line?;
                    (Some(protocol::from_run(line)), line.len())
                }
                None => (None, 0),
            };
            self.rest.start = self.rest.end - left;
            if let Some(message) = message {
                let wait = self.allowance.charge(Instant::now(), bytes);
                if !wait.is_zero() {
                    sleep(wait).await;
                }
                return message.map(Some);
            }
            match self.fill().await {
                Ok(0) | Err(_) => return Ok(None),
                Ok(_) => {}
            }
        }
    }

    async fn fill(&mut self) -> io::Result<usize> {
        loop {
            self.wire.stream().readable().await?;
            match self.wire.stream().try_read(&mut self.piece) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(count) => {
                    self.rest = 0..count;
                    return Ok(count);
                }
                Err(error) => return Err(error),
            }
        }
    }
}
