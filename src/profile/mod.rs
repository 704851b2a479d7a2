//! Profiles: YAML in, [`crate::model::Profile`] out. Knows nothing of the kernel; the host comes in as figures.
//!
//! In the order in which a profile passes through:
//!
//! - [`find`]: a name or path -> a file on the search path, or in the binary
//! - [`source`]: its text, read with care
//! - [`keys`]: each key known and there once
//! - [`values`]: what a key may say
//! - [`file`](mod@file): both together: one file, typed
//! - [`origins`]: which line set which key
//! - [`inherit`]: the file with all that it extends
//! - [`resolve`](mod@resolve): percentages against this host
//!
//! Beside the way: [`error`] and [`place`] (what is wrong, and where), [`nearest`] (what was meant),
//! [`schema`](mod@schema) (the same keys, for editors).

pub mod error;
pub mod file;
pub mod find;
pub mod inherit;
mod keys;
pub mod nearest;
pub mod origins;
pub mod place;
pub mod resolve;
pub mod schema;
pub mod source;
pub mod values;

pub use error::ProfileError;
pub use find::{Listed, SearchPlaces, list};
pub use inherit::{Loaded, load};
pub use resolve::{ResolvedInputs, resolve};
