//! The end of one who looks on: asks a broker how things stand, and for what its user wants of its own jobs.
//!
//! Says no `hello`, so that it is no run to anybody.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::client::{self, Unserved};
use super::lines::Lines;
use super::protocol::{self, Fault, OfRun, Status, ToBroker, ToRun};
use super::socket;

/// A broker that says nothing for so long hangs, or is no broker.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is read at once.
const PIECE: usize = 16 << 10;

/// Why nothing is seen.
#[derive(Debug, thiserror::Error)]
pub enum OnlookerError {
    /// At none of the places does anybody listen.
    #[error("no broker serves {}", places(.0))]
    Nobody(Vec<PathBuf>),
    /// There is something, and it can't be used.
    #[error(transparent)]
    Unusable(#[from] Unserved),
    /// The connection has ended.
    #[error("the broker at {path} has ended the connection{why}", path = path.display())]
    Ended {
        /// Where.
        path: PathBuf,
        /// The system's answer, if there was one.
        why: String,
    },
    /// It said nothing.
    #[error("the broker at {path} says nothing for {PATIENCE:?}", path = path.display())]
    Silent {
        /// Where.
        path: PathBuf,
    },
    /// It said something that is no message.
    #[error("the broker at {path} says what is not understood: {fault}", path = path.display())]
    Fault {
        /// Where.
        path: PathBuf,
        /// What is wrong with it.
        fault: Fault,
    },
    /// It does not serve us: it is full, or of another version.
    #[error("the broker at {path} refuses: {message}", path = path.display())]
    Refused {
        /// Where.
        path: PathBuf,
        /// Its words.
        message: String,
    },
    /// It has not done what was asked of it.
    #[error("{0}")]
    NotDone(String),
}

fn places(paths: &[PathBuf]) -> String {
    let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    paths.join(" or ")
}

impl OnlookerError {
    /// Whether the connection goes on.
    pub fn is_survivable(&self) -> bool {
        matches!(self, OnlookerError::NotDone(_))
    }
}

/// A connection to a broker.
#[derive(Debug)]
pub struct Onlooker {
    stream: UnixStream,
    path: PathBuf,
    lines: Lines,
    piece: Vec<u8>,
    /// Which part of `piece` is not looked at yet.
    rest: std::ops::Range<usize>,
}

impl Onlooker {
    /// Connects to the broker that a run of this user would ask, or to the one at `path`.
    ///
    /// # Errors
    /// [`OnlookerError`], with the places that were tried.
    pub async fn connect(path: Option<&Path>) -> Result<Onlooker, OnlookerError> {
        let places = path.map_or_else(socket::candidates, |path| vec![path.to_owned()]);
        for path in &places {
            let broken = |source| Unserved::Connect { path: path.clone(), source };
            match client::dial(path) {
                Ok(stream) => {
                    let stream = UnixStream::from_std(stream).map_err(broken)?;
                    return Ok(Onlooker::on(stream, path.clone()));
                }
                Err(Unserved::Absent { .. } | Unserved::Silent { .. }) => {}
                Err(why) => return Err(why.into()),
            }
        }
        Err(OnlookerError::Nobody(places))
    }

    fn on(stream: UnixStream, path: PathBuf) -> Onlooker {
        Onlooker { stream, path, lines: Lines::new(), piece: vec![0; PIECE], rest: 0..0 }
    }

    /// Where the broker listens.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How things stand.
    ///
    /// # Errors
    /// [`OnlookerError`]
    pub async fn status(&mut self) -> Result<Status, OnlookerError> {
        self.say(&ToBroker::Status {}).await?;
        match self.hear().await? {
            ToRun::Status(status) => Ok(*status),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Lets one of one's own jobs stand still, go on, or be killed.
    ///
    /// # Errors
    /// [`OnlookerError::NotDone`] with the broker's words, or another if the connection is at its end.
    pub async fn ask(&mut self, what: fn(OfRun) -> ToBroker, of: OfRun) -> Result<(), OnlookerError> {
        self.say(&what(of)).await?;
        match self.hear().await? {
            ToRun::Done(_) => Ok(()),
            other => Err(self.unexpected(&other)),
        }
    }

    async fn say(&mut self, message: &ToBroker) -> Result<(), OnlookerError> {
        let line = protocol::write(message).map_err(|fault| self.fault(fault))?;
        match timeout(PATIENCE, self.stream.write_all(&line)).await {
            Ok(Ok(())) => Ok(()),
            // What it said before it went is still to be read: why it refuses us.
            Ok(Err(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            Ok(Err(error)) => Err(self.ended(&format!(": {error}"))),
            Err(_) => Err(OnlookerError::Silent { path: self.path.clone() }),
        }
    }

    async fn hear(&mut self) -> Result<ToRun, OnlookerError> {
        match timeout(PATIENCE, self.read()).await {
            Ok(Ok(ToRun::Error { message, closing: false })) => Err(OnlookerError::NotDone(message)),
            Ok(Ok(ToRun::Error { message, .. } | ToRun::Refused { message, .. })) => {
                Err(OnlookerError::Refused { path: self.path.clone(), message })
            }
            Ok(message) => message,
            Err(_) => Err(OnlookerError::Silent { path: self.path.clone() }),
        }
    }

    async fn read(&mut self) -> Result<ToRun, OnlookerError> {
        loop {
            let mut rest = &self.piece[self.rest.clone()];
            let line = self.lines.next(&mut rest);
            let message = line.map(|line| line.map_err(Fault::from).and_then(protocol::from_broker));
            self.rest.start = self.rest.end - rest.len();
            if let Some(message) = message {
                return message.map_err(|fault| self.fault(fault));
            }
            match self.stream.read(&mut self.piece).await {
                Ok(0) => return Err(self.ended("")),
                Ok(count) => self.rest = 0..count,
                Err(error) => return Err(self.ended(&format!(": {error}"))),
            }
        }
    }

    fn ended(&self, why: &str) -> OnlookerError {
        OnlookerError::Ended { path: self.path.clone(), why: why.to_owned() }
    }

    fn fault(&self, fault: Fault) -> OnlookerError {
        OnlookerError::Fault { path: self.path.clone(), fault }
    }

    fn unexpected(&self, message: &ToRun) -> OnlookerError {
        self.fault(Fault::Malformed(format!("{message:?} is no answer to that").chars().take(200).collect()))
    }
}
