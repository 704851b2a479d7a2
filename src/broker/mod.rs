//! One budget for many runs: what is said between them and the broker, and what it tells of itself.
//!
//! The decisions are [`crate::policy::broker`]'s; this is how they come to others (docs/design/broker.md).
//!
//! - [`lines`]: bytes -> lines, of which none is longer than may be
//! - [`protocol`]: lines -> messages, and what they mean to the state machine
//! - [`socket`]: where a broker is found
//! - [`client`]: a run's side
//! - [`autostart`]: one that is started when it is needed
//! - [`server`]: `sandtest serve`
//! - [`onlooker`]: the end of one who only looks on
//! - [`metrics`]: what Prometheus reads

pub mod autostart;
pub mod client;
pub mod lines;
pub mod metrics;
pub mod onlooker;
pub mod protocol;
pub mod server;
pub mod socket;
