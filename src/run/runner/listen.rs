//! The socket of a run: who connects, says what it will be, and waits for its answer.
//!
//! It lies in a folder that only this user may enter. Who comes all the same with another user's number is told so. Whether it is
//! started by the command itself, and not by a test that has a job of its own already, is asked when it has said what it
//! will be: then nobody else can have its number.

use std::io;
use std::os::unix::net::UnixListener as Bound;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::words::{Answer, LONGEST_REQUEST, Request};
use crate::kernel::peer::{self, Peer};
use crate::run::attempt::News;

/// So many may wait at once; a build that starts more has others wait in front of the socket.
const MOST: usize = 4096;

/// Who has connected says what it will be within this time.
const PATIENCE: Duration = Duration::from_secs(5);

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
    pub answer: oneshot::Sender<Answer>,
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
    let answer = match tokio::time::timeout(PATIENCE, meet(&mut stream)).await {
        Ok(Ok((peer, request))) => {
            let (answer, answered) = oneshot::channel();
            let _ = news.send(News::Arrived(Box::new(Arrival { connection, peer, request, answer })));
            tokio::select! {
                biased;
                // A run that is over has no answer.
                told = answered => told.ok(),
                () = gone(&mut stream) => {
                    let _ = news.send(News::Left(connection));
                    return;
                }
            }
        }
        Ok(Err(why)) => Some(Answer::No(why.to_owned())),
        Err(_) => Some(Answer::No("it has not said what it will be".to_owned())),
    };
    if let Some(answer) = answer {
        let _ = tokio::time::timeout(PATIENCE, stream.write_all(&answer.write())).await;
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
async fn gone(stream: &mut UnixStream) {
    let mut more = [0; 64];
    while stream.read(&mut more).await.is_ok_and(|count| count > 0) {}
}
