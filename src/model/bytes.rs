//! A size in bytes, written the way people write sizes of memory.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A size in bytes. Serialises as the plain number; displays in binary units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bytes(pub u64);

/// Why a text is not a size. Says what was expected, with an example.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BytesError {
    /// Not a number followed by a known unit.
    #[error("{0:?} is not a size; expected a number with K, M, G or T, such as 512M or 2GiB")]
    Malformed(String),
    /// MB and GB mean different things to different people.
    #[error("{0:?} is ambiguous; write {1} (1024-based, like the kernel)")]
    Decimal(String, String),
    /// More than 2^64 bytes.
    #[error("{0:?} is larger than any memory")]
    TooLarge(String),
}

impl Bytes {
    /// `count` KiB.
    pub const fn kib(count: u64) -> Bytes {
        Bytes(count << 10)
    }

    /// `count` MiB.
    pub const fn mib(count: u64) -> Bytes {
        Bytes(count << 20)
    }

    /// `count` GiB.
    pub const fn gib(count: u64) -> Bytes {
        Bytes(count << 30)
    }
}

impl FromStr for Bytes {
    type Err = BytesError;

    fn from_str(text: &str) -> Result<Bytes, BytesError> {
        let text = text.trim();
        let malformed = || BytesError::Malformed(text.to_owned());
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let unit = unit.trim();
        let shift = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 0,
            "k" | "kib" => 10,
            "m" | "mib" => 20,
            "g" | "gib" => 30,
            "t" | "tib" => 40,
            "kb" | "mb" | "gb" | "tb" => {
                let binary = format!("{number}{}iB", unit[..1].to_ascii_uppercase());
                return Err(BytesError::Decimal(text.to_owned(), binary));
            }
            _ => return Err(malformed()),
        };
        if let Ok(whole) = number.parse::<u64>() {
            let too_large = || BytesError::TooLarge(text.to_owned());
            return whole.checked_mul(1 << shift).map(Bytes).ok_or_else(too_large);
        }
        // Whole numbers never pass through a float, so that they stay exact.
        let value: f64 = number.parse().map_err(|_| malformed())?;
        let bytes = value * (1u64 << shift) as f64;
        if !number.starts_with(|c: char| c.is_ascii_digit()) || shift == 0 {
            return Err(malformed());
        }
        if bytes >= u64::MAX as f64 {
            return Err(BytesError::TooLarge(text.to_owned()));
        }
        Ok(Bytes(bytes as u64))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
        for (unit, shift) in UNITS {
            if self.0 >= 1 << shift {
                let value = self.0 as f64 / (1u64 << shift) as f64;
                // 2 GiB, not 2.0 GiB: a limit reads back the way it was written.
                return if self.0.trailing_zeros() >= shift || value >= 100.0 {
                    write!(f, "{value:.0} {unit}")
                } else {
                    write!(f, "{value:.1} {unit}")
                };
            }
        }
        write!(f, "{} B", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_the_units_people_write() {
        for (text, wanted) in [
            ("0", 0),
            ("4096", 4096),
            ("512M", 512 << 20),
            ("512 MiB", 512 << 20),
            ("2GiB", 2 << 30),
            ("2g", 2 << 30),
            ("1.5G", 3 << 29),
            ("1T", 1 << 40),
        ] {
            assert_eq!(text.parse(), Ok(Bytes(wanted)), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_size_is_refused() {
        for text in ["", "M", "-1", "1X", "two gigs", "1.2.3G", ".5G", "1.5", "NaN", "inf", "1e3"] {
            assert!(text.parse::<Bytes>().is_err(), "{text}");
        }
        assert_eq!("20000000T".parse::<Bytes>(), Err(BytesError::TooLarge("20000000T".into())));
        assert_eq!(
            "99999999999999999999.5G".parse::<Bytes>(),
            Err(BytesError::TooLarge("99999999999999999999.5G".into()))
        );
    }

    #[test]
    fn an_ambiguous_unit_names_the_clear_one() {
        let error = "512MB".parse::<Bytes>().unwrap_err().to_string();
        assert!(error.contains("512MiB"), "{error}");
    }

    #[test]
    fn sizes_are_shown_short() {
        for (bytes, wanted) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1 << 20, "1 MiB"),
            (3 << 29, "1.5 GiB"),
            (250 << 20, "250 MiB"),
            ((2 << 30) + 1, "2.0 GiB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), wanted);
        }
    }
}
