//! An amount of processor time per time: how many CPUs' worth a cgroup may use.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Thousandths of one CPU. Serialises as a number of CPUs (`1.5`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cpus {
    /// 1000 is one whole CPU.
    pub milli: u64,
}

/// Why a text is not an amount of CPUs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CpusError {
    /// Neither a number nor a percentage.
    #[error(
        "{0:?} is not an amount of CPUs; expected a number such as 1.5, or a percentage of one CPU such as 150%"
    )]
    Malformed(String),
    /// The kernel takes no quota below 1 ms in its period of 100 ms.
    #[error("{0:?} is too little; the kernel takes no less than 0.01 (1%)")]
    TooLittle(String),
    /// Above what any machine has.
    #[error("{0:?} is more CPUs than any machine has")]
    TooMuch(String),
}

impl Cpus {
    /// `count` whole CPUs.
    pub const fn whole(count: u64) -> Cpus {
        Cpus { milli: count * 1000 }
    }

    /// As a number of CPUs.
    pub fn as_f64(self) -> f64 {
        self.milli as f64 / 1000.0
    }
}

impl FromStr for Cpus {
    type Err = CpusError;

    fn from_str(text: &str) -> Result<Cpus, CpusError> {
        let text = text.trim();
        let malformed = || CpusError::Malformed(text.to_owned());
        let (number, thousandths) = match text.strip_suffix('%') {
            Some(percent) => (percent.trim_end(), 10.0),
            None => (text, 1000.0),
        };
        let plain = number.starts_with(|c: char| c.is_ascii_digit())
            && number.chars().all(|c| c.is_ascii_digit() || c == '.');
        if !plain {
            return Err(malformed());
        }
        let value: f64 = number.parse().map_err(|_| malformed())?;
        let milli = (value * thousandths).round();
        if milli < 10.0 {
            return Err(CpusError::TooLittle(text.to_owned()));
        }
        if milli > 1e7 {
            return Err(CpusError::TooMuch(text.to_owned()));
        }
        Ok(Cpus { milli: milli as u64 })
    }
}

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_f64())
    }
}

impl Serialize for Cpus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.as_f64())
    }
}

impl<'de> Deserialize<'de> for Cpus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Cpus, D::Error> {
        // Of what is no amount the cast makes the nearest that is one.
        f64::deserialize(deserializer).map(|cpus| Cpus { milli: (cpus * 1e3).round() as u64 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_and_a_percentage_say_the_same() {
        for (text, milli) in
            [("1", 1000), ("1.5", 1500), ("150%", 1500), ("0.5", 500), ("2 ", 2000), ("1%", 10)]
        {
            assert_eq!(text.parse(), Ok(Cpus { milli }), "{text}");
        }
    }

    #[test]
    fn what_is_not_an_amount_is_refused() {
        for text in ["", "%", "-1", "0", "0%", "0.001", "x", "1e3", "inf", "NaN", "1.5.5", "99999999"] {
            assert!(text.parse::<Cpus>().is_err(), "{text}");
        }
    }
}
