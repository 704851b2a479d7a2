//! Which environment this is, and what of the machine is visible in it.
//!
//! In the order in which it is found out:
//!
//! - [`view`]: the few files and variables that tell, captured once
//! - [`cgroups`]: which cgroup mounts there are, and which groups lie above this process
//! - [`detect`](mod@detect): view -> environment, and the profile for it
//! - [`memory`]: view -> memory, CPUs and tasks that this process can come to use

pub mod cgroups;
pub mod detect;
pub mod memory;
pub mod view;

pub use detect::{Detection, Environment, detect};
pub use view::HostView;
