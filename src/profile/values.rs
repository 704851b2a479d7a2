//! The values that keys take, each with the sentence that says what was expected.
//!
//! A value is refused inside its visitor, never afterwards: only there does the parser know its line and
//! column. All of them are scalars, so one visitor reads them as text, and each type says what it makes of it.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use serde::de::{self, Visitor};

use crate::model::bytes::BytesError;
use crate::model::cpus::CpusError;
use crate::model::{Bytes, Cpus};

/// Less than a page, and the kernel makes nothing of it.
const LEAST_MEMORY: Bytes = Bytes(4096);

/// Longer than this nobody waits; and sums of times stay far from where they overflow.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// A part of a whole, above 0 and up to 100.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Percent(pub f64);

/// `memory_max`, `memory_high`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Size {
    /// No limit.
    Max,
    /// So much.
    Bytes(Bytes),
    /// A part of what the key is a part of.
    Percent(Percent),
}

/// `reserve`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reserve {
    /// By the rule of `resolve`.
    Auto,
    /// So much.
    Bytes(Bytes),
    /// Of the visible memory.
    Percent(Percent),
}

/// `memory_swap_max`: 0 is a good value here, and a percentage would have no whole.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Swap {
    /// No limit.
    Max,
    /// So much.
    Bytes(Bytes),
}

/// `pids_max`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pids {
    /// No limit.
    Max,
    /// So many processes and threads.
    Count(u64),
}

/// `cpu_max`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cpu {
    /// No limit.
    Max,
    /// So many CPUs' worth.
    Cpus(Cpus),
}

/// `nofile`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Nofile {
    /// What sandtest was started with.
    Inherit,
    /// So many open files.
    Count(u64),
}

/// `jobs.min`, `jobs.max`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum JobCount {
    /// So many.
    Count(usize),
    /// Of the logical CPUs.
    Percent(Percent),
}

/// `timeout`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Timeout {
    /// For ever.
    None,
    /// So long.
    After(Duration),
}

/// `grace`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grace(pub Duration);

/// `oom_score_adj`. Never below 0: a test that the kernel spares spins at its limit for ever.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OomScoreAdj(pub i16);

/// `no_new_privs`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Switch(pub bool);

/// `capabilities`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Capabilities {
    /// Jobs have what sandtest has.
    Keep,
    /// Jobs have none.
    Drop,
}

/// The name of a profile or of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(pub String);

/// A value that is written as one word: in a profile or as an option.
pub trait Scalar: Sized {
    /// Completes "expected ".
    const EXPECTED: &str;
    /// What the word means, or what is wrong with it.
    fn read(text: &str) -> Result<Self, String>;
}

pub(super) fn not(text: &str, what: &str, expected: &str) -> String {
    format!("{text:?} is not {what}; expected {expected}")
}

impl Percent {
    /// `of` times this part, rounded down.
    pub fn of(self, whole: Bytes) -> Bytes {
        Bytes((whole.0 as f64 * self.0 / 100.0) as u64)
    }

    /// A text that ends in `%`.
    fn parse(text: &str) -> Option<Result<Percent, String>> {
        let number = text.strip_suffix('%')?.trim_end();
        let plain = number.starts_with(|c: char| c.is_ascii_digit())
            && number.chars().all(|c| c.is_ascii_digit() || c == '.');
        let value = if plain { number.parse::<f64>().ok() } else { None };
        Some(match value {
            None => Err(not(text, "a percentage", "a number from 1 to 100 with %, such as 60%")),
            Some(value) if value > 100.0 => {
                Err(format!("{text:?} is more than there is; expected at most 100%"))
            }
            Some(value) if value <= 0.0 => Err(format!("{text:?} is nothing; expected more than 0%")),
            Some(value) => Ok(Percent(value)),
        })
    }
}

pub(super) fn size(text: &str, expected: &str) -> Result<Bytes, String> {
    let bytes: Bytes = text.parse().map_err(|error| match error {
        BytesError::Malformed(_) => not(text, "a size", expected),
        // It says what to write instead.
        BytesError::Decimal(..) => error.to_string(),
        BytesError::TooLarge(_) => format!("{error}; expected {expected}"),
    })?;
    if bytes == Bytes(0) {
        return Err(format!("0 leaves nothing to run in; expected {expected}"));
    }
    if bytes < LEAST_MEMORY {
        return Err(format!(
            "{bytes} is too little for any process; is the unit missing? expected {expected}"
        ));
    }
    Ok(bytes)
}

/// `0`, `0 B`, `0M`: a good value where a key is not what a test lives from.
fn is_nothing(text: &str) -> bool {
    text.parse() == Ok(Bytes(0))
}

fn count(text: &str, expected: &str) -> Result<u64, String> {
    match text.parse::<u64>() {
        Ok(0) => Err(format!("0 leaves nothing to run with; expected {expected}")),
        Ok(count) => Ok(count),
        Err(_) => Err(not(text, "a count", expected)),
    }
}

pub(super) fn duration(text: &str, expected: &str) -> Result<Duration, String> {
    if text.parse::<f64>().is_ok() {
        return Err(format!("{text:?} has no unit; expected {expected}"));
    }
    // To humantime a month, and hardly ever meant.
    if text.ends_with('M') {
        return Err(format!("{text:?} would be months, a minute is `m`; expected {expected}"));
    }
    let time = humantime::parse_duration(text).map_err(|_| not(text, "a duration", expected))?;
    if time > LONGEST { Err(format!("{text:?} is more than a year; expected {expected}")) } else { Ok(time) }
}

/// What an option's text means, or what is wrong with it.
///
/// # Errors
/// The sentence for the user.
pub fn option<T: Scalar>(text: &str) -> Result<T, String> {
    T::read(text.trim())
}

impl Scalar for Percent {
    const EXPECTED: &str = "a percentage, such as 20%";
    fn read(text: &str) -> Result<Percent, String> {
        Percent::parse(text).unwrap_or_else(|| Err(not(text, "a percentage", Self::EXPECTED)))
    }
}

impl Scalar for Size {
    const EXPECTED: &str = "a size such as 512M or 2GiB, a percentage such as 60%, or max for no limit";
    fn read(text: &str) -> Result<Size, String> {
        match (text, Percent::parse(text)) {
            ("max", _) => Ok(Size::Max),
            (_, Some(percent)) => percent.map(Size::Percent),
            _ => size(text, Self::EXPECTED).map(Size::Bytes),
        }
    }
}

impl Scalar for Reserve {
    const EXPECTED: &str = "a size such as 2GiB, a percentage such as 20%, or auto";
    fn read(text: &str) -> Result<Reserve, String> {
        match (text, Percent::parse(text)) {
            ("auto", _) => Ok(Reserve::Auto),
            (_, Some(percent)) => percent.map(Reserve::Percent),
            _ if is_nothing(text) => Ok(Reserve::Bytes(Bytes(0))),
            _ => size(text, Self::EXPECTED).map(Reserve::Bytes),
        }
    }
}

impl Scalar for Swap {
    const EXPECTED: &str = "a size such as 0 or 512M, or max for no limit";
    fn read(text: &str) -> Result<Swap, String> {
        match text {
            "max" => Ok(Swap::Max),
            _ if is_nothing(text) => Ok(Swap::Bytes(Bytes(0))),
            _ if text.ends_with('%') => Err(not(text, "a size", Self::EXPECTED)),
            _ => size(text, Self::EXPECTED).map(Swap::Bytes),
        }
    }
}

impl Scalar for Pids {
    const EXPECTED: &str = "a number of processes and threads such as 64, or max for no limit";
    fn read(text: &str) -> Result<Pids, String> {
        if text == "max" { Ok(Pids::Max) } else { count(text, Self::EXPECTED).map(Pids::Count) }
    }
}

impl Scalar for Cpu {
    const EXPECTED: &str =
        "a number of CPUs such as 1.5, a percentage of one such as 150%, or max for no limit";
    fn read(text: &str) -> Result<Cpu, String> {
        if text == "max" {
            return Ok(Cpu::Max);
        }
        text.parse().map(Cpu::Cpus).map_err(|error| match error {
            CpusError::Malformed(_) => not(text, "an amount of CPUs", Self::EXPECTED),
            CpusError::TooLittle(_) | CpusError::TooMuch(_) => {
                format!("{error}; expected {}", Self::EXPECTED)
            }
        })
    }
}

impl Scalar for Nofile {
    const EXPECTED: &str = "a number of open files such as 1024, or inherit";
    fn read(text: &str) -> Result<Nofile, String> {
        if text == "inherit" { Ok(Nofile::Inherit) } else { count(text, Self::EXPECTED).map(Nofile::Count) }
    }
}

impl Scalar for JobCount {
    const EXPECTED: &str = "a number of jobs such as 4, or a percentage of the logical CPUs such as 50%";
    fn read(text: &str) -> Result<JobCount, String> {
        match Percent::parse(text) {
            Some(percent) => percent.map(JobCount::Percent),
            None => count(text, Self::EXPECTED)
                .map(|count| JobCount::Count(usize::try_from(count).unwrap_or(usize::MAX))),
        }
    }
}

impl Scalar for Timeout {
    const EXPECTED: &str = "a duration with its unit such as 90s, 10min or 1h 30min, or none";
    fn read(text: &str) -> Result<Timeout, String> {
        if text == "none" {
            return Ok(Timeout::None);
        }
        match duration(text, Self::EXPECTED)? {
            Duration::ZERO => Err(format!("{text:?} leaves no time to run; expected {}", Self::EXPECTED)),
            time => Ok(Timeout::After(time)),
        }
    }
}

impl Scalar for Grace {
    const EXPECTED: &str = "a duration with its unit such as 2s or 500ms";
    fn read(text: &str) -> Result<Grace, String> {
        duration(text, Self::EXPECTED).map(Grace)
    }
}

impl Scalar for OomScoreAdj {
    const EXPECTED: &str = "a number from 0 to 1000";
    fn read(text: &str) -> Result<OomScoreAdj, String> {
        let value = text.parse::<i16>().ok().filter(|value| (0..=1000).contains(value));
        value.map(OomScoreAdj).ok_or_else(|| not(text, "an oom_score_adj for tests", Self::EXPECTED))
    }
}

impl Scalar for Switch {
    const EXPECTED: &str = "true or false";
    fn read(text: &str) -> Result<Switch, String> {
        text.parse().map(Switch).map_err(|_| not(text, "a switch", Self::EXPECTED))
    }
}

impl Scalar for Capabilities {
    const EXPECTED: &str = "keep or drop";
    fn read(text: &str) -> Result<Capabilities, String> {
        match text {
            "keep" => Ok(Capabilities::Keep),
            "drop" => Ok(Capabilities::Drop),
            _ => Err(not(text, "what can be done with capabilities", Self::EXPECTED)),
        }
    }
}

impl Scalar for Name {
    const EXPECTED: &str = "a name";
    fn read(text: &str) -> Result<Name, String> {
        let good = !text.trim().is_empty() && text.len() <= 255 && !text.chars().any(char::is_control);
        if good { Ok(Name(text.to_owned())) } else { Err(not(text, "a name", Self::EXPECTED)) }
    }
}

/// Takes any scalar as its text: `64` and `1.5` arrive from YAML as numbers.
pub(super) struct Read<T>(PhantomData<T>);

impl<T> Read<T> {
    pub(super) fn new() -> Read<T> {
        Read(PhantomData)
    }
}

impl<T: Scalar> Visitor<'_> for Read<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        T::read(text.trim()).map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<T, E> {
        self.visit_str(&value.to_string())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<T, E> {
        self.visit_str(&value.to_string())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<T, E> {
        self.visit_str(&value.to_string())
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<T, E> {
        self.visit_str(if value { "true" } else { "false" })
    }

    fn visit_unit<E: de::Error>(self) -> Result<T, E> {
        Err(E::custom(format!("there is no value; expected {}", T::EXPECTED)))
    }
}

/// The value and its JSON Schema, which is for editors: what it lets through, the value still refuses.
macro_rules! scalar {
    ($($type:ident: $schema:tt)*) => { $(
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<$type, D::Error> {
                deserializer.deserialize_any($crate::profile::values::Read::new())
            }
        }

        impl schemars::JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!($schema)
            }
        }
    )* };
}
pub(super) use scalar;

scalar! {
    Percent: {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? *%$", "examples": ["20%"]}
    Size: {"type": ["string", "integer"], "pattern": r"^(max|[0-9]+(\.[0-9]+)? *([KMGTkmgt](i?[Bb])?|%)?)$",
        "minimum": 1048576, "examples": ["512M", "2GiB", "60%", "max"]}
    Reserve: {"type": ["string", "integer"], "pattern": r"^(auto|[0-9]+(\.[0-9]+)? *([KMGTkmgt](i?[Bb])?|%)?)$",
        "minimum": 0, "examples": ["auto", "2GiB", "20%"]}
    Swap: {"type": ["string", "integer"], "pattern": r"^(max|[0-9]+(\.[0-9]+)? *([KMGTkmgt](i?[Bb])?)?)$",
        "minimum": 0, "examples": [0, "512M", "max"]}
    Pids: {"type": ["string", "integer"], "pattern": r"^(max|[1-9][0-9]*)$", "minimum": 1, "examples": [64, "max"]}
    Cpu: {"type": ["string", "number"], "pattern": r"^(max|[0-9]+(\.[0-9]+)? *%?)$", "minimum": 0.01,
        "examples": [1.5, "150%", "max"]}
    Nofile: {"type": ["string", "integer"], "pattern": r"^(inherit|[1-9][0-9]*)$", "minimum": 1,
        "examples": [1024, "inherit"]}
    JobCount: {"type": ["string", "integer"], "pattern": r"^([1-9][0-9]*|[0-9]+(\.[0-9]+)? *%)$", "minimum": 1,
        "examples": [4, "50%"]}
    Timeout: {"type": "string", "pattern": "^(none|([0-9]+ *[a-z]+ *)+)$", "examples": ["10min", "90s", "none"]}
    Grace: {"type": "string", "pattern": "^([0-9]+ *[a-z]+ *)+$", "examples": ["2s", "500ms"]}
    OomScoreAdj: {"type": "integer", "minimum": 0, "maximum": 1000}
    Switch: {"type": "boolean"}
    Capabilities: {"enum": ["keep", "drop"]}
    Name: {"type": "string", "minLength": 1, "maxLength": 255}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal<T: Scalar + fmt::Debug>(text: &str) -> String {
        T::read(text).unwrap_err()
    }

    #[test]
    fn values_are_read_as_people_write_them() {
        assert_eq!(Size::read("2GiB"), Ok(Size::Bytes(Bytes::gib(2))));
        assert_eq!(Size::read("60%"), Ok(Size::Percent(Percent(60.0))));
        assert_eq!(Size::read("max"), Ok(Size::Max));
        assert_eq!(Cpu::read("150%"), Cpu::read("1.5"));
        assert_eq!(Swap::read("0"), Ok(Swap::Bytes(Bytes(0))));
        assert_eq!(Reserve::read("0 B"), Ok(Reserve::Bytes(Bytes(0))));
        assert_eq!(Timeout::read("1h 30min"), Ok(Timeout::After(Duration::from_secs(5400))));
        assert_eq!(Timeout::read("none"), Ok(Timeout::None));
        assert_eq!(Grace::read("0s"), Ok(Grace(Duration::ZERO)));
        assert_eq!(JobCount::read("50%"), Ok(JobCount::Percent(Percent(50.0))));
    }

    #[test]
    fn a_refusal_says_what_was_expected() {
        for (message, part) in [
            (refusal::<Size>("0"), "0 leaves nothing to run in; expected a size such as 512M"),
            (refusal::<Size>("2"), "2 B is too little for any process; is the unit missing?"),
            (refusal::<Size>("120%"), "\"120%\" is more than there is; expected at most 100%"),
            (refusal::<Size>("0%"), "more than 0%"),
            (refusal::<Size>("-5%"), "is not a percentage"),
            (refusal::<Size>("512MB"), "write 512MiB"),
            (
                refusal::<Size>("lots"),
                "\"lots\" is not a size; expected a size such as 512M or 2GiB, a percentage",
            ),
            (
                refusal::<Reserve>("99999999T"),
                "is larger than any memory; expected a size such as 2GiB, a percent",
            ),
            (refusal::<Cpu>("all"), "is not an amount of CPUs; expected a number of CPUs such as 1.5"),
            (refusal::<Cpu>("0.001"), "no less than 0.01 (1%); expected a number of CPUs such as 1.5"),
            (refusal::<Grace>("2"), "\"2\" has no unit; expected a duration with its unit such as 2s"),
            (refusal::<Timeout>("0s"), "leaves no time"),
            (refusal::<Timeout>("10 minuets"), "is not a duration"),
            (refusal::<Pids>("0"), "0 leaves nothing to run with"),
            (refusal::<Pids>("-1"), "is not a count"),
            (refusal::<OomScoreAdj>("-1000"), "a number from 0 to 1000"),
            (refusal::<OomScoreAdj>("1001"), "a number from 0 to 1000"),
            (refusal::<JobCount>("200%"), "at most 100%"),
            (refusal::<Swap>("10%"), "is not a size"),
            (refusal::<Capabilities>("all"), "keep or drop"),
            (refusal::<Percent>("20"), "such as 20%"),
            (refusal::<Name>(" "), "is not a name"),
        ] {
            assert!(message.contains(part), "{message}");
        }
    }
}
