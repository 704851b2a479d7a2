//! The broker as a service: its units, put in place, taken away, looked at.
//!
//! ```text
//! install     who asks? ── root by sudo for a user, a user for the system ──▶ BySudo, NotRoot
//!                │
//!             a manager that answers, and searches our folder ──▶ NoManager, NotSearched
//!                │
//!             nobody else on the socket ──▶ Held
//!                │
//!             files ─ daemon-reload ─ changed: stop ─ enable --now the socket
//!
//! uninstall   disable --now ─ stop ─ files ─ daemon-reload     each as far as there is something
//! ```
//!
//! - [`units`]: the files, as they are shipped below `systemd/` and embedded here
//! - [`manager`]: `systemctl`, the user's or the system's
//! - [`place`]: putting them in place, and taking them away
//! - [`status`]: what there is
//! - [`error`]: what went wrong, and the way out

pub mod error;
pub mod manager;
pub mod place;
pub mod status;
pub mod units;

pub use error::ServiceError;
pub use manager::Manager;
pub use units::Whose;
