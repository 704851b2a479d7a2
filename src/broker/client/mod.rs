//! A run's side of a broker for many.
//!
//! ```text
//! find ── a socket that takes connections ──▶ greet ── welcome ──▶ link ── cut ──▶ greeting again, for as long as the run lasts
//!   └ none, or none that can be used: the run goes by itself
//! ```
//!
//! - [`find`]: is there a broker, and why can't it be used
//! - [`greet`]: hello and welcome
//! - [`words`]: what the policy tells and hears, as it is said
//! - [`line`], [`link`]: lines to and from the broker; what is done when they are cut

mod find;
mod greet;
mod line;
mod link;
mod words;

pub use find::{Found, Unserved, dial, find};
pub use greet::{Greeted, greet};
pub use link::{Link, Told};
pub use words::JobWords;

use super::protocol::Inside;
use super::socket::LEASE;
use crate::model::JobId;

/// The job that this process runs in, as the run around it has said in the environment ([`Link::inside`]).
pub fn inside_of() -> Option<Inside> {
    parse(&std::env::var(LEASE).ok()?)
}

fn parse(text: &str) -> Option<Inside> {
    let (lease, job) = text.rsplit_once(':')?;
    Some(Inside { lease: lease.to_owned(), job: JobId(job.parse().ok()?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_job_is_told_of_its_run_is_read_again() {
        assert_eq!(parse("5e8f0c:3"), Some(Inside { lease: "5e8f0c".into(), job: JobId(3) }));
        assert_eq!((parse("5e8f0c"), parse("5e8f0c:x"), parse("")), (None, None, None));
    }
}
