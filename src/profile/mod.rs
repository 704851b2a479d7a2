//! Profiles: YAML in, [`crate::model::Profile`] out. Knows nothing of the kernel; the host comes in as figures.
//!
//! In the order in which a profile passes through:
//!
//! - [`find`]: a name or path -> a file on the search path, or in the binary
//! - [`source`]: its text, read with care
//! - [`keys`]: each key known and there once
//! - [`values`], [`ending`], [`groups`], [`pattern`], [`rule`]: what a key may say
//! - [`file`](mod@file): both together: one file, typed
//! - [`project`]: the same for the project's own file
//! - [`origins`]: which line set which key
//! - [`inherit`]: the file with all that it extends
//! - [`resolve`](mod@resolve): percentages against this host
//! - [`rules`](mod@rules): what holds for one job
//!
//! Beside the way: [`error`], [`place`] and `locate` (what is wrong, and where), [`schema`](mod@schema) (the
//! same keys, for editors).

pub mod ending;
pub mod error;
pub mod file;
pub mod find;
pub mod groups;
pub mod inherit;
mod keys;
mod locate;
pub mod origins;
pub mod pattern;
pub mod place;
pub mod project;
pub mod resolve;
pub mod rule;
pub mod rules;
pub mod schema;
pub mod source;
pub mod values;

pub use error::ProfileError;
pub use find::{Listed, SearchPlaces, list};
pub use inherit::{Loaded, load};
pub use resolve::{ResolvedInputs, resolve};
pub use rules::{Rules, rules};
