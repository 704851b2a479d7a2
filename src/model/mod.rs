//! The nouns: plain data that every layer speaks. No input or output, no decisions.
//!
//! In the order in which a run meets them:
//!
//! - [`bytes`], [`cpus`]: quantities with their units in the type
//! - [`limits`]: the kernel's limits of one cgroup, by the kernel's names
//! - [`profile`]: the settings of a run, resolved against this host
//! - [`retry`]: how a job that failed is tried again
//! - [`max_fail`]: after how many failures a run ends
//! - [`job`]: what to execute, and which execution of it
//! - [`isolation`]: what the environment allows, limit by limit
//! - [`leftovers`]: what an attempt left behind, beside processes
//! - [`outcome`]: what happened to an attempt, and the evidence for it
//! - [`reading`]: what the sensors said at one moment
//! - [`governor`]: what the governor decides, and why
//! - [`diagnosis`]: what an attempt was doing when its time was up
//! - [`event`]: the one stream that all reports read
//! - [`view`]: how things stand at a broker, for one of its users
//!
//! Beside the way: [`nearest`] (what was probably meant), [`text`] (what tests chose, fit to be shown).

pub mod bytes;
pub mod cpus;
pub mod diagnosis;
pub mod event;
pub mod fate;
pub mod governor;
pub mod isolation;
pub mod job;
pub mod leftovers;
pub mod limits;
pub mod max_fail;
pub mod nearest;
pub mod outcome;
pub mod profile;
pub mod reading;
pub mod retry;
pub mod text;
pub mod view;

pub use bytes::Bytes;
pub use cpus::Cpus;
pub use fate::Fate;
pub use isolation::{Enforcement, Isolation, LimitName, Tier};
pub use job::{Attempt, AttemptId, Command, Job, JobId, RunId, Shard};
pub use leftovers::Leftovers;
pub use limits::Limits;
pub use max_fail::MaxFail;
pub use outcome::{Cause, Evidence, Exit, Outcome, Process, Verdict};
pub use profile::Profile;
