//! The imperative shell: feeds what happens to the policy and does what it decides.
//!
//! - [`plan`]: what a run is given
//! - [`specs`]: what the policy is told of it
//! - [`program`]: a command's file, arguments and environment, ready for exec
//! - [`drive`]: the loop
//! - [`attempt`]: one attempt from its groups to its evidence
//! - [`ahead`]: what it needs, made before it starts
//! - [`wait`]: for its first process, and for what may go on after it
//! - [`live`]: the attempts that have a process now, and how they are stopped, killed and frozen
//! - [`runner`]: jobs that the command brings along
//! - [`served`]: the broker that decides for this run and others
//! - [`inquest`]: what one whose time is up was doing
//! - [`settle`]: after the first process has ended: what is left is named, killed and waited for
//! - [`aftermath`]: what it left beside processes
//! - [`temporary`]: a temporary directory for each attempt
//! - [`outlast`]: shared memory and mounts that came while attempts ran, and whose they are
//! - [`look`]: the governor's eyes
//! - [`sample`]: limits that the kernel does not hold
//! - [`output`], [`capture`]: what a job writes, bounded
//! - [`clock`]: time that stands still while sandtest is stopped
//! - [`signals`]: Ctrl-C, Ctrl-Z and their kin
//! - [`recording`]: all that the policy was given and said
//! - [`record`]: the run's folder in the state directory, and its lock
//! - [`kept`]: runs of before, found again
//! - [`sweep`]: what killed runs left behind

pub mod aftermath;
mod ahead;
pub mod attempt;
pub mod capture;
pub mod clock;
pub mod drive;
pub mod inquest;
pub mod jobserver;
pub mod kept;
pub mod live;
pub mod look;
pub mod outlast;
pub mod output;
pub mod plan;
pub mod program;
pub mod record;
pub mod recording;
pub mod runner;
pub mod sample;
pub mod served;
pub mod settle;
pub mod signals;
pub mod specs;
pub mod sweep;
pub mod temporary;
pub mod wait;

pub use drive::execute;
pub use plan::{Introduced, Plan, Streams};
