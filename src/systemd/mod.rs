//! What only systemd can give: a part of the cgroup tree that is ours by agreement, not by luck.
//!
//! - [`bus`]: on which message buses a systemd may be found, in the order in which they are tried
//! - [`scope`]: one transient, delegated scope for a whole run
//! - [`slice`]: the slice of all runs, and its limits
//! - [`refusal`]: what went wrong, and the way out
//! - [`notify`]: telling it that we are ready, alive, or going
//! - [`service`]: the broker as a service, put in place and taken away

pub mod bus;
pub mod notify;
pub mod refusal;
pub mod scope;
pub mod service;
pub mod slice;

pub use bus::Bus;
pub use refusal::{ScopeError, Tried};
pub use scope::{Scope, ScopeRequest, enter_scope};
