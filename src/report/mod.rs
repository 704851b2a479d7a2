//! One event stream, many readers. Nothing here asks the engine for anything.
//!
//! - [`json`]: a line an event, for programs
//! - [`junit`]: JUnit XML, for CI
//! - [`html`]: one page, for people who look at it later
//! - [`tap`], [`libtest`]: the formats of other worlds' readers
//! - [`github`]: annotations and a summary, under GitHub Actions
//! - [`trace`]: a timeline for Perfetto and chrome://tracing
//! - [`lines`]: how those are that are written line by line
//! - [`whole_file`]: how those that are rewritten as a whole are
//! - [`place`]: where both go
//! - [`written`]: what an attempt wrote, in a document
//! - [`terminal`]: for people: a line a job, failures in full, a summary
//! - [`ending`]: that summary: what stood out, all that failed, the counts
//! - [`standouts`]: the slowest, the fattest and the sleepiest
//! - [`look`]: what a terminal can do
//! - [`governor`]: what the governor decided, in words
//! - [`broker`]: what happens between a run and its broker, in words
//! - [`paragraph`]: what happened, which limit, who set it, what to change
//! - [`diagnosis`]: what an attempt that ran out of time was doing, and what an `on_timeout` command said
//! - [`inquest`]: the file where all of that goes
//! - [`left`]: what was left behind, and how to be rid of it
//! - [`recorded`]: the events of a run, read again from its record
//! - [`story`]: what became of one job
//! - [`progress`]: the live line of a terminal
//! - [`board`]: how things stand at a broker

pub mod board;
pub mod broker;
pub mod diagnosis;
pub mod ending;
pub mod github;
pub mod governor;
pub mod html;
pub mod inquest;
pub mod json;
pub mod junit;
pub mod left;
pub mod libtest;
pub mod lines;
pub mod look;
pub mod paragraph;
mod place;
pub mod progress;
pub mod recorded;
pub mod standouts;
pub mod story;
pub mod tap;
pub mod terminal;
pub mod trace;
pub mod whole_file;
pub mod written;

use std::io;

use crate::model::event::Event;

/// A reader of the stream.
pub trait Reporter {
    /// Takes in the next event. `told`: of an attempt that ended and did not simply pass, what happened, in words
    /// ([`paragraph::Words`]).
    ///
    /// # Errors
    /// The sink's. The run goes on all the same: a reader that has gone away is no reason to stop the tests.
    fn event(&mut self, event: &Event, told: Option<&str>) -> io::Result<()>;
}
