//! After how many failures a run ends, and what then becomes of the jobs that run.

use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// After how many failed jobs nothing more is started; nextest's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MaxFail {
    /// Never.
    All,
    /// After so many, and what runs is let end, or ended.
    After(NonZeroU32, InFlight),
}

/// What becomes of jobs that run when too many have failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InFlight {
    /// They run to their end.
    Wait,
    /// They are ended as at a time-out: the stop signal, their grace, the kill.
    Immediate,
}

impl MaxFail {
    /// The first failure ends the run, as `cargo test` and nextest have it.
    pub const FIRST: MaxFail = MaxFail::After(NonZeroU32::MIN, InFlight::Wait);

    /// What becomes of those that run, if with `failed` the run is to end.
    pub fn reached(self, failed: u64) -> Option<InFlight> {
        match self {
            MaxFail::After(count, in_flight) if failed >= u64::from(count.get()) => Some(in_flight),
            MaxFail::After(..) | MaxFail::All => None,
        }
    }
}

impl FromStr for MaxFail {
    type Err = String;

    /// `all`, or a number, with `:wait` (as without) or `:immediate` after it.
    fn from_str(text: &str) -> Result<MaxFail, String> {
        let expected = || "expected a number from 1, such as 3 or 1:immediate, or `all`".to_owned();
        if text == "all" {
            return Ok(MaxFail::All);
        }
        let (count, in_flight) = match text.split_once(':') {
            None | Some((_, "wait")) => (text.split(':').next().unwrap_or(text), InFlight::Wait),
            Some((count, "immediate")) => (count, InFlight::Immediate),
            Some(_) => return Err(expected()),
        };
        count.parse().map(|count| MaxFail::After(count, in_flight)).map_err(|_| expected())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_nextests_words() {
        let after = |count, in_flight| Ok(MaxFail::After(NonZeroU32::new(count).unwrap(), in_flight));
        assert_eq!("all".parse(), Ok(MaxFail::All));
        assert_eq!("3".parse(), after(3, InFlight::Wait));
        assert_eq!("3:wait".parse(), after(3, InFlight::Wait));
        assert_eq!("1:immediate".parse(), after(1, InFlight::Immediate));
        for wrong in ["", "0", "-1", "1:", ":wait", "1:now", "1:wait:x", "many", "4294967296", "all:wait"] {
            assert!(wrong.parse::<MaxFail>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn it_is_reached_by_so_many_and_not_before() {
        let three: MaxFail = "3:immediate".parse().unwrap();
        assert_eq!([2, 3, 4].map(|failed| three.reached(failed).is_some()), [false, true, true]);
        assert_eq!(MaxFail::FIRST.reached(1), Some(InFlight::Wait));
        assert_eq!(MaxFail::All.reached(u64::MAX), None);
    }
}
