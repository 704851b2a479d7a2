//! What is said between a run and the broker: one JSON object a line. Described for others in docs/protocol.md.
//!
//! ```text
//! run                                  broker
//!  │ hello {version} ─────────────────▶ │
//!  │ ◀───────────────────────── welcome │   or refused, and the connection ends
//!  │ declare, want, withdraw ─────────▶ │
//!  │ ◀──────────── grant, waits, share  │
//!  │ born, stopping, ending, ended ───▶ │
//!  │ ◀──────────── freeze, thaw, evict  │
//!  │ frozen, ended ───────────────────▶ │
//!  │ bye ─────────────────────────────▶ │   or the connection ends
//! ```
//!
//! Fields that are not known are passed over, so that a newer side may say more within a version; a message that is not
//! known is answered with `error` and passed over, too. What is no message at all ends the connection.
//!
//! - [`messages`]: all that can be said
//! - [`meaning`]: what it is to the state machine

mod meaning;
mod messages;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::lines::{LONGEST, TooLong};
pub use crate::model::view::{Scope, Status, WaitsFor};
pub use crate::policy::broker::Priority;
pub use meaning::shown;
pub use messages::{
    Decided, Hello, How, Inside, Job, Of, OfRun, Order, RefusedFor, Sampled, ToBroker, ToRun,
};

/// What this side speaks.
pub const VERSION: u32 = 1;

/// Names, kins and tokens are no longer than this, in bytes.
pub const LONGEST_NAME: usize = 256;

/// Of names for people so much is shown, in bytes.
pub const LONGEST_SHOWN: usize = 100;

/// A run has no more groups than this, and a job takes no more of them.
pub const MOST_GROUPS: usize = 256;

/// Why a line is no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It was not kept.
    #[error(transparent)]
    TooLong(#[from] TooLong),
    /// It is no JSON, or a field is missing or of another type.
    #[error("not a message: {0}")]
    Malformed(String),
    /// A message of a newer side.
    #[error("a message of type {0:?} is not known here")]
    Unknown(String),
    /// Another version is spoken there.
    #[error("version {theirs} is spoken there, and version {VERSION} here")]
    Version {
        /// What the other side speaks.
        theirs: u32,
    },
    /// A field has more in it than may be.
    #[error("{field} is {found} long, and may be {most}")]
    TooMuch {
        /// Which.
        field: &'static str,
        /// How long it is.
        found: usize,
        /// How long it may be.
        most: usize,
    },
}

impl Fault {
    /// Whether the connection goes on: the other side may only be newer.
    pub fn is_survivable(&self) -> bool {
        matches!(self, Fault::Unknown(_))
    }
}

const TO_BROKER: [&str; 16] = [
    "hello", "declare", "limits", "want", "withdraw", "born", "frozen", "stopping", "ending", "ended",
    "sample", "status", "pin", "unpin", "kill", "bye",
];
const TO_RUN: [&str; 15] = [
    "welcome",
    "refused",
    "grant",
    "freeze",
    "thaw",
    "evict",
    "kill",
    "waits",
    "share",
    "state",
    "decided",
    "not-taken",
    "status",
    "done",
    "error",
];

/// One line, with its end.
///
/// # Errors
/// [`Fault::TooMuch`] if it would be longer than the other side takes.
pub fn write(message: &impl Serialize) -> Result<Vec<u8>, Fault> {
    let mut line = serde_json::to_vec(message).map_err(|error| Fault::Malformed(error.to_string()))?;
    line.push(b'\n');
    match line.len() {
        found if found > LONGEST => Err(Fault::TooMuch { field: "the line", found, most: LONGEST }),
        _ => Ok(line),
    }
}

/// What a run has said.
///
/// # Errors
/// [`Fault`], if this is no message.
pub fn from_run(line: &[u8]) -> Result<ToBroker, Fault> {
    match read(line, &TO_BROKER) {
        Ok(ToBroker::Hello(hello)) if hello.version != VERSION => {
            Err(Fault::Version { theirs: hello.version })
        }
        Ok(message) => message.check().map(|()| message),
        // Whatever else is in the greeting of another version: that it is another one is what matters.
        Err(fault) => Err(match serde_json::from_slice::<Greeting>(line) {
            Ok(Greeting { kind, version }) if kind == "hello" && version != VERSION => {
                Fault::Version { theirs: version }
            }
            _ => fault,
        }),
    }
}

/// What the broker has said.
///
/// # Errors
/// [`Fault`], if this is no message.
pub fn from_broker(line: &[u8]) -> Result<ToRun, Fault> {
    read(line, &TO_RUN)
}

#[derive(Deserialize)]
struct Greeting {
    #[serde(rename = "type")]
    kind: String,
    version: u32,
}

#[derive(Deserialize)]
struct Kind {
    #[serde(rename = "type")]
    kind: String,
}

fn read<T: DeserializeOwned>(line: &[u8], known: &[&str]) -> Result<T, Fault> {
    serde_json::from_slice(line).map_err(|error| match serde_json::from_slice::<Kind>(line) {
        Ok(Kind { kind }) if !known.contains(&kind.as_str()) => {
            Fault::Unknown(kind.chars().take(LONGEST_NAME).collect())
        }
        _ => Fault::Malformed(error.to_string()),
    })
}

impl ToBroker {
    /// Whether nothing in it is larger than may be.
    fn check(&self) -> Result<(), Fault> {
        match self {
            ToBroker::Hello(hello) => {
                let lease = hello.lease.as_deref().unwrap_or_default();
                let outer = hello.inside.as_ref().map_or("", |inside| &inside.lease);
                name("run", &hello.run)?;
                name("lease", lease)?;
                name("inside.lease", outer)?;
                most("cgroup", hello.cgroup.as_ref().map_or(0, String::len), 4096)?;
                most("groups", hello.groups.len(), MOST_GROUPS)
            }
            ToBroker::Limits { groups, .. } => most("groups", groups.len(), MOST_GROUPS),
            ToBroker::Want(job) => job.check(),
            ToBroker::Declare { running, .. } => running.iter().try_for_each(Job::check),
            _ => Ok(()),
        }
    }
}

impl Job {
    fn check(&self) -> Result<(), Fault> {
        name("kin", &self.kin)?;
        name("name", &self.name)?;
        most("groups", self.groups.len(), MOST_GROUPS)
    }
}

fn name(field: &'static str, text: &str) -> Result<(), Fault> {
    most(field, text.len(), LONGEST_NAME)
}

fn most(field: &'static str, found: usize, most: usize) -> Result<(), Fault> {
    if found > most { Err(Fault::TooMuch { field, found, most }) } else { Ok(()) }
}
