//! How things stand at a broker, on a page: `sandtest status` prints it once, `sandtest top` again and again.
//!
//! ```text
//! head    whose broker, its state and why, memory against the budget, pressure, how many
//! users   where there are several
//! runs    those of the one who asks, and what they wait for
//! jobs    theirs, in the order that is asked for
//! ```
//!
//! Made for 80 columns. Where there are fewer, columns are left out, the least telling first; names have what is left.
//!
//! - [`line`]: text with paint on it, and how it is made to fit
//! - [`head`], [`users`], [`runs`], [`jobs`]: the parts
//! - [`words`]: times and reasons, short

pub mod head;
pub mod jobs;
pub mod line;
pub mod runs;
pub mod users;
pub mod words;

use crate::model::view::Status;
use jobs::Order;
use line::Line;

/// Narrower than this nothing is said that makes sense.
pub const NARROWEST: usize = 30;

/// All of it, for a page of so many columns.
pub fn page(status: &Status, width: usize) -> Vec<Line> {
    let width = width.max(NARROWEST);
    let mut page = head::lines(status, width);
    let mut part = |lines: Vec<Line>| {
        if !lines.is_empty() {
            page.push(Line::default());
            page.extend(lines);
        }
    };
    part(users::lines(&status.view, width, usize::MAX));
    part(runs::lines(&status.view, width, usize::MAX));
    let jobs = jobs::table(&status.view, Order::Run, width);
    if !jobs.rows.is_empty() {
        part(
            [jobs.title]
                .into_iter()
                .chain(jobs.rows.into_iter().map(|(_, line)| line))
                .chain(jobs.rest)
                .collect(),
        );
    }
    page
}

#[cfg(test)]
mod tests;
