//! A run's events, read again from the lines that [`super::json`] wrote: what any report makes of a run it makes of its record.
//!
//! ```text
//! lines ─▶ events, with the words that were found for them then ─▶ of a run that was cut off, the ends that it lacks
//! ```
//!
//! - [`lines`]: what stands in a line, and the event that it stands for
//! - [`cut_off`]: what can be said of a run without its end
//!
//! A run that was killed may end in half a line: that is passed over.

pub mod cut_off;
mod lines;

use std::collections::BTreeMap;
use std::io::{self, BufRead};

use self::lines::Line;
use crate::model::event::Event;
use crate::model::{AttemptId, JobId};

/// A longer line is none of ours.
const LONGEST_LINE: u64 = 64 << 20;

/// An event, as it was told.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// What happened.
    pub event: Event,
    /// The same in words, where there were any.
    pub words: Option<String>,
}

/// Reads the events of a run, in their order.
///
/// # Errors
/// What could not be read; `InvalidData` for what are no events.
pub fn read(lines: &mut impl BufRead) -> io::Result<Vec<Told>> {
    let mut parsed = Vec::new();
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        io::Read::take(&mut *lines, LONGEST_LINE).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            break;
        }
        match serde_json::from_slice(&line) {
            Ok(event) => parsed.push(event),
            // Cut off where the run was killed.
            Err(_) if !line.ends_with(b"\n") => break,
            Err(error) => {
                let message = format!("line {number} is no event of this version: {error}");
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
        }
    }
    let numbers = Numbers::of(&parsed);
    Ok(parsed.into_iter().filter_map(|line: Line| line.told(&numbers)).collect())
}

/// The jobs' places in the run, as far as is known: in the order in which they are told of.
struct Numbers(BTreeMap<String, u32>);

impl Numbers {
    fn of(lines: &[Line]) -> Numbers {
        let mut numbers = BTreeMap::new();
        for job in lines.iter().filter_map(Line::job) {
            let next = numbers.len() as u32;
            numbers.entry(job.to_owned()).or_insert(next);
        }
        Numbers(numbers)
    }

    fn id(&self, job: &str, number: u32) -> AttemptId {
        AttemptId { job: JobId(self.0.get(job).copied().unwrap_or_default()), number }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_are_no_events_is_refused() {
        for text in ["{}\n", "hello\n{}", "{\"event\":\"attempt-finished\"}\n"] {
            let error = read(&mut text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with("line 1 is no event of this version"), "{error}");
        }
        let later = "{\"event\":\"of-a-later-version\",\"what\":1}\n{\"event\":\"attempt-fin";
        assert_eq!(read(&mut later.as_bytes()).unwrap(), []);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(lines in proptest::collection::vec(".*", 0..5)) {
            let _ = read(&mut lines.join("\n").as_bytes());
        }
    }
}
