//! `sandtest exec` beside other runs, through the real binary: with `sandtest serve`, and with a broker that says what a
//! test wants it to say.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]

#[path = "broker_client/alone.rs"]
mod alone;
#[path = "broker_client/orders.rs"]
mod orders;
#[path = "broker_client/run.rs"]
mod run;
#[path = "broker_client/shared.rs"]
mod shared;
#[path = "broker_client/sockets.rs"]
mod sockets;

#[allow(dead_code, reason = "the server's tests have more to say")]
#[path = "broker_server/scene.rs"]
mod scene;
