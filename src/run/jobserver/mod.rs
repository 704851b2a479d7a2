//! GNU make's jobserver, from both sides (its manual, "POSIX Jobserver").
//!
//! ```text
//! an outer make ──▶ inherited: a token before each start beyond the first ──▶ Input::Places
//! builds in jobs ◀── fifos: tokens, as the scheduler puts them there ◀── Effect::PutToken, TakeTokens
//! ```
//!
//! - [`flags`]: what `MAKEFLAGS` says, and what jobs are told in it
//! - [`fifos`]: tokens for the builds in the jobs, a fifo for each attempt
//! - [`inherited`]: tokens from a make that runs us

pub mod fifos;
pub mod flags;
pub mod inherited;

pub use fifos::Fifos;
pub use flags::Flags;
pub use inherited::{Inherited, Outer};

/// What a run has to do with it.
#[derive(Debug)]
pub struct Jobserver {
    /// What `MAKEFLAGS` said.
    pub flags: Flags,
    /// The one that we run under.
    pub outer: Option<Outer>,
    /// For the builds in the jobs.
    pub fifos: Option<Fifos>,
}
