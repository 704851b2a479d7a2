//! sandtest: the test executor that can't take your machine down.
//!
//! The house, from the bottom up. Arrows point one way (`tests/layering.rs` guards them):
//!
//! ```text
//! cli -> run, report, source, profile, host -> kernel, systemd -> model
//!        run                                -> policy          -> model
//! ```
//!
//! - [`model`]: plain data: job, limits, profile, outcome, event
//! - [`policy`]: pure decisions: scheduler, verdict (no clock, no I/O, no unsafe)
//! - [`kernel`]: the only unsafe: cgroup v2, v1 controllers, clone3, pidfd, `/proc`
//! - [`systemd`]: a transient delegated scope over D-Bus
//! - [`host`]: which environment this is and what it allows
//! - [`profile`]: YAML -> profile: load, inherit, resolve against the host
//! - [`source`]: where jobs come from: a command, its shards, a list
//! - [`run`]: the imperative shell: one loop that feeds policy and performs its effects
//! - [`report`]: one event stream, many readers: terminal, JSON lines
//! - [`cli`]: one file a subcommand

pub mod cli;
pub mod host;
pub mod model;
pub mod profile;
