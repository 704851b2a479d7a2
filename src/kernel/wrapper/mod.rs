//! What stands in front of each test of a driver: asks the run for a job, and becomes the test.
//!
//! ```text
//! run-wrapper TEST ARGS ── only lists? no run? ─────────────────────────────────────▶ exec TEST ARGS
//!        └─ asks ─▶ go, with environment ─▶ exec     refused, gone ─▶ warns, or 125 ──────┘
//! ```
//!
//! It is compiled twice. As a part of sandtest, for `sandtest run-wrapper -- TEST` and its tests. And by `build.rs` as a
//! program of its own, `main.rs`, without a C library or a runtime: a test that does nothing takes half a millisecond, and so
//! does the start of a common program in front of it. sandtest holds that program ([`PROGRAM`]) and puts it into the folder of a run.
//! So all here but [`here`] is of `core` alone, and names its neighbours by `super`.
//!
//! - [`words`]: what the two say to each other
//! - [`strings`]: words and environment, as the kernel hands them over
//! - [`become_test`]: from words to exec; [`ask`], [`find`]: its parts
//! - [`calls`]: system calls, and what their failures are called; [`raw`]: one of them
//! - [`line`]: a line on standard error
//! - [`here`]: the same as a part of sandtest

pub mod ask;
pub mod become_test;
pub mod calls;
pub mod find;
pub mod here;
pub mod line;
pub mod raw;
pub mod strings;
pub mod words;

/// The program, to be put where it can be executed.
pub const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/run-wrapper"));
