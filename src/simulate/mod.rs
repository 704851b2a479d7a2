//! A modelled machine in virtual time, and suites of modelled jobs on it: how the governor's law is tuned and tested.
//!
//! Deterministic: the same seed gives the same run, to the byte. No clock, no input or output. It goes from event to
//! event (a curve's bend, a look, a kill that is through), so quiet stretches cost nothing.
//!
//! ```text
//! families ─▶ case (machine, plans) ─▶ play: law ◀── reading, ends ── machine
//!                                            └── start, freeze, kill, cap ──▶
//! ```
//!
//! - [`random`]: seeded numbers
//! - [`curve`]: a size over time; [`job`]: what a modelled job does
//! - [`machine`]: memory, processors, swap; [`kernel`]: who is killed when memory is out
//! - [`case`]: a machine with a suite; [`families`]: seeded ones of nine kinds; [`scene`]: one that is described
//! - [`laws`]: ours and those of others
//! - [`play`]: a law on a machine; [`watch`]: what must hold at every step; [`trace`]: what is kept of it for a plot
//! - [`oracle`]: how long it takes whoever knows sizes and durations
//! - [`statistics`]: many outcomes in a line of a table; [`plot`]: one run as a picture

pub mod case;
pub mod curve;
pub mod families;
pub mod job;
pub mod kernel;
pub mod laws;
pub mod machine;
pub mod oracle;
pub mod play;
pub mod plot;
pub mod random;
pub mod scene;
pub mod statistics;
pub mod trace;
pub mod watch;
