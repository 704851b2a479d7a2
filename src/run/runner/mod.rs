//! Runner mode: what the command starts asks for a job of its own.
//!
//! ```text
//! driver ── starts ──▶ run-wrapper BIN ARGS ── connects, says what it will be ──▶ listener ─▶ arrivals ─▶ scheduler
//!                         │      ▲                                                                      │ start
//!                         │      └── go, with environment ◀── moved into groups of its own ◀── adopt ◀──┘
//!                         └── exec: from here on it is BIN, and its driver's child as before
//! ```
//!
//! - [`words`]: what the two say to each other
//! - [`listen`]: the socket, and who may come
//! - [`arrivals`]: those that wait, and what they are as jobs
//! - [`adopt`]: one of them, from its groups to its evidence
//! - [`xdist`]: those that are workers of pytest-xdist

pub mod adopt;
pub mod arrivals;
pub mod listen;
pub mod words;
mod xdist;

pub use arrivals::Runner;
pub use words::{REQUIRED, VARIABLE};
