//! The socket of a run: who connects, says what it will be, and waits for its answer.
//!
//! It lies in a folder that only this user may enter. Who comes all the same with another user's number is told so. Whether it is
//! started by the command itself, and not by a test that has a job of its own already, is asked when it has said what it
//! will be: then nobody else can have its number.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener as Bound;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::{MsgFlags, send};
use tokio::io::AsyncReadExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::words::{Answer, LONGEST_REQUEST, Request};
use super::xdist;
use crate::kernel::peer::{self, Peer};
use crate::run::attempt::News;

/// So many may wait at once; a build that starts more has others wait in front of the socket.
const MOST: usize = 4096;

/// Who has connected says what it will be within this time.
const PATIENCE: Duration = Duration::from_secs(5);

/// A worker of pytest-xdist for which there is no room in this time goes into its driver's group: pytest waits for all of them.
const WORKERS_WAIT: Duration = Duration::from_secs(5);

/// After a connection that could not be taken, as without descriptors.
const PAUSE: Duration = Duration::from_millis(50);

/// One connection, as long as the run lasts.
pub type Connection = u64;

/// One that wants to be a job.
#[derive(Debug)]
pub struct Arrival {
    /// Its connection.
    pub connection: Connection,
    /// Its process.
    pub peer: Peer,
    /// What it will be.
    pub request: Request,
    /// Where its answer goes.
    pub reply: Reply,
}

/// The way back to one that waits.
#[derive(Debug)]
pub struct Reply {
    stream: Arc<UnixStream>,
    rest: oneshot::Sender<Vec<u8>>,
}

impl Reply {
    /// Says it here and now, since a test waits for it: the rest, of what is longer than a socket takes at once, is said by
    /// who serves the connection.
    pub fn say(self, answer: &Answer) {
        let bytes = answer.write();
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        let sent = send(self.stream.as_raw_fd(), &bytes, flags).unwrap_or(0);
        // If nobody hears it, the test is gone, and that is seen next.
        let _ = self.rest.send(bytes[sent..].to_vec());
    }
}

/// Binds the socket at `path`, in a folder of the caller's.
///
/// # Errors
/// The system's.
pub fn bind(path: &Path) -> io::Result<Bound> {
    let bound = Bound::bind(path)?;
    bound.set_nonblocking(true)?;
    Ok(bound)
}

/// Takes connections until the run is over. To be called in the loop that runs.
pub(in crate::run) fn listen(bound: Bound, news: mpsc::UnboundedSender<News>) -> io::Result<()> {
    let listener = UnixListener::from_std(bound)?;
    tokio::task::spawn_local(async move {
        let places = Arc::new(Semaphore::new(MOST));
        for connection in 0.. {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let news = news.clone();
                    tokio::task::spawn_local(async move {
                        serve(connection, stream, &news).await;
                        drop(place);
                    });
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    });
    Ok(())
}

/// One connection, from its first byte to its last.
async fn serve(connection: Connection, mut stream: UnixStream, news: &mpsc::UnboundedSender<News>) {
    let met = tokio::time::timeout(PATIENCE, meet(&mut stream)).await;
    let stream = Arc::new(stream);
    let bytes = match met {
        Ok(Ok((peer, request))) => {
            let (rest, told) = oneshot::channel();
            let has_waited = too_long(xdist::is_one(&request.words));
            let reply = Reply { stream: stream.clone(), rest };
            let _ = news.send(News::Arrived(Box::new(Arrival { connection, peer, request, reply })));
            tokio::select! {
                biased;
                // A run that is over has no answer.
                rest = told => rest.unwrap_or_default(),
                () = gone(&stream) => {
                    let _ = news.send(News::Left(connection));
                    return;
                }
                () = has_waited => {
                    let _ = news.send(News::Left(connection));
                    Answer::No("there is no room for it, and pytest would wait for it".to_owned()).write()
                }
            }
        }
        Ok(Err(why)) => Answer::No(why.to_owned()).write(),
        Err(_) => Answer::No("it has not said what it will be".to_owned()).write(),
    };
    let _ = tokio::time::timeout(PATIENCE, write(&stream, &bytes)).await;
}

async fn too_long(is_worker: bool) {
    match is_worker {
        true => tokio::time::sleep(WORKERS_WAIT).await,
        false => std::future::pending().await,
    }
}

async fn meet(stream: &mut UnixStream) -> Result<(Peer, Request), &'static str> {
    let peer = match peer::of(stream) {
        Ok(Some(peer)) => peer,
        Ok(None) | Err(_) => return Err("its process can't be seen from here"),
    };
    if peer.uid != nix::unistd::geteuid().as_raw() {
        return Err("it is another user's");
    }
    let broken = |_| "it has not said what it will be";
    let length = stream.read_u32_le().await.map_err(broken)? as usize;
    if length > LONGEST_REQUEST {
        return Err("it says too much");
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.map_err(broken)?;
    let request = Request::parse(&body).ok_or("it has not said what it will be")?;
    Ok((peer, request))
}

/// Ready when the other end is closed. What else it says is nobody's business.
async fn gone(stream: &UnixStream) {
    let mut more = [0; 64];
    while stream.readable().await.is_ok() {
        match stream.try_read(&mut more) {
            Ok(0) => return,
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return,
            Ok(_) | Err(_) => {}
        }
    }
}

async fn write(stream: &UnixStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.writable().await?;
        match stream.try_write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
