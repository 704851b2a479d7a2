//! sandtest: the test executor that can't take your machine down.
//!
//! The house, from the bottom up. Arrows point one way (`tests/layering.rs` guards them):
//!
//! ```text
//! cli -> run, broker, report, source, profile, host -> kernel, systemd -> model
//!        run, broker, simulate                      -> policy          -> model
//! ```
//!
//! - [`model`]: plain data: job, limits, profile, outcome, event
//! - [`policy`]: pure decisions: scheduler, verdict (no clock, no I/O, no unsafe)
//! - [`simulate`]: a modelled machine in virtual time, to tune and test the governor on
//! - [`kernel`]: the only unsafe: cgroup v2, v1 controllers, clone3, pidfd, `/proc`
//! - [`systemd`]: a transient delegated scope over D-Bus
//! - [`host`]: which environment this is and what it allows
//! - [`profile`]: YAML -> profile: load, inherit, resolve against the host
//! - [`source`]: where jobs come from: a command, its shards, a list
//! - [`run`]: the imperative shell: one loop that feeds policy and performs its effects
//! - [`broker`]: one budget for many runs: protocol, metrics
//! - [`report`]: one event stream, many readers: terminal, JSON lines, JUnit XML, a page
//! - [`cli`]: one file a subcommand

pub mod broker;
pub mod cli;
pub mod host;
#[allow(unsafe_code, reason = "the one layer that talks to the kernel itself")]
pub mod kernel;
pub mod model;
pub mod policy;
pub mod profile;
pub mod report;
pub mod run;
pub mod simulate;
pub mod source;
pub mod systemd;
