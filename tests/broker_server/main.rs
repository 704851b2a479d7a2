//! `sandtest serve`, through the real binary and the kernel: what it promises those who talk to it, and what becomes of
//! those who do not keep to it.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]

mod chaos;
mod conversation;
mod hostile;
mod leases;
mod limits;
mod load;
mod places;
mod processes;
mod python;
mod scene;
mod socket;
