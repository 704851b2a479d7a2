//! What people see of the broker, through the real binary: `sandtest status`, `sandtest top` in a real terminal, and who
//! may do what to whose jobs.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]

#[path = "../broker_server/scene.rs"]
#[allow(dead_code, reason = "others use the rest of it")]
mod scene;
#[path = "../common/terminal.rs"]
#[allow(dead_code, reason = "others use the rest of it")]
mod terminal;

mod by_hand;
mod scrape;
mod status;
mod suite;
mod top;
