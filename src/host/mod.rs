//! Which environment this is, what of the machine is visible in it, and what it allows.
//!
//! - [`view`]: the few files and variables that tell, captured once
//! - [`detect`](mod@detect): view -> environment, and the profile for it
//! - [`memory`]: view -> memory, CPUs and tasks that this process can come to use
//! - [`protect`]: what the editor uses now
//! - [`isolation`]: a place where limits hold, probed by doing
//! - [`doctor`]: what is here, what is missing, and the exact fix

pub mod detect;
pub mod doctor;
pub mod isolation;
pub mod memory;
pub mod protect;
pub mod view;

pub use detect::{Detection, Environment, detect};
pub use view::HostView;
