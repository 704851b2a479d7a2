//! Decisions, pure: no clock, no I/O, no unsafe. What goes in and what comes out can be written down and replayed.
//!
//! - [`tuning`]: figures that someone will want to change, with their origin
//! - [`verdict`]: exit and evidence -> what happened, and whose doing it was
//! - [`diagnosis`]: what an attempt that ran out of time was doing
//! - [`governor`]: how many may run, what stands still, what is evicted
//! - [`scheduler`]: which attempt starts, is stopped or killed now
//! - [`broker`]: one budget for many runs: whose turn it is, who gives way
//! - [`sampling`]: when limits that the kernel does not hold are looked at again

pub mod broker;
pub mod diagnosis;
pub mod governor;
pub mod sampling;
pub mod scheduler;
pub mod tuning;
pub mod verdict;
