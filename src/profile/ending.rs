//! The values of keys that say when an attempt's time is up, and what follows a failure.
//!
//! Scalars are read as those of [`values`](super::values); what may be a word or a map has a visitor of its own, so
//! that a mistake in the map is told at its place.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::file::present;
use super::values::{Read, Scalar, Switch, duration, not, scalar};
use crate::model::profile::OnTimeout;
use crate::model::retry::{self, FlakyResult, LeakPolicy, Retry};

/// A look at an attempt whose time is up takes no longer unless its `limit` says so.
const LOOK_LIMIT: Duration = Duration::from_secs(10);

/// `settle_timeout`, `on_timeout.limit`, `retries.max_delay`: a time that can't be left out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Patience(pub Duration);

/// `retries.delay`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Delay(pub Duration);

/// `retries.backoff`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff(pub retry::Backoff);

/// `retries` as a number, and `retries.count`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryCount(pub u32);

/// `flaky_result`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Flaky(pub FlakyResult);

/// `leak`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Leak(pub LeakPolicy);

/// One of `retry_on`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryCause {
    /// An exit code other than 0.
    Fail,
    /// A time-out.
    Timeout,
    /// A signal.
    Signal,
    /// Its own memory limit.
    Oom,
    /// Something left behind.
    Leak,
}

/// `retries`: how often, and when. What for is `retry_on`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Retries(pub Retry);

/// `on_timeout`.
#[derive(Debug, Clone, PartialEq)]
pub enum Look {
    /// Nobody looks.
    None,
    /// This command does.
    Command(OnTimeout),
}

impl Scalar for Patience {
    const EXPECTED: &str = "a duration with its unit such as 10s or 2min";
    fn read(text: &str) -> Result<Patience, String> {
        match duration(text, Self::EXPECTED)? {
            Duration::ZERO => Err(format!("{text:?} is no time at all; expected {}", Self::EXPECTED)),
            time => Ok(Patience(time)),
        }
    }
}

impl Scalar for Delay {
    const EXPECTED: &str = "a duration with its unit such as 2s or 500ms";
    fn read(text: &str) -> Result<Delay, String> {
        duration(text, Self::EXPECTED).map(Delay)
    }
}

impl Scalar for Backoff {
    const EXPECTED: &str = "fixed or exponential";
    fn read(text: &str) -> Result<Backoff, String> {
        match text {
            "fixed" => Ok(Backoff(retry::Backoff::Fixed)),
            "exponential" => Ok(Backoff(retry::Backoff::Exponential)),
            _ => Err(not(text, "a way for a delay to grow", Self::EXPECTED)),
        }
    }
}

impl Scalar for RetryCount {
    const EXPECTED: &str = "a number of retries such as 2, or 0 for none";
    fn read(text: &str) -> Result<RetryCount, String> {
        text.parse().map(RetryCount).map_err(|_| not(text, "a number of retries", Self::EXPECTED))
    }
}

impl Scalar for Flaky {
    const EXPECTED: &str = "pass or fail";
    fn read(text: &str) -> Result<Flaky, String> {
        match text {
            "pass" => Ok(Flaky(FlakyResult::Pass)),
            "fail" => Ok(Flaky(FlakyResult::Fail)),
            _ => Err(not(text, "a result of a flaky job", Self::EXPECTED)),
        }
    }
}

impl Scalar for Leak {
    const EXPECTED: &str = "warn or fail";
    fn read(text: &str) -> Result<Leak, String> {
        match text {
            "warn" => Ok(Leak(LeakPolicy::Warn)),
            "fail" => Ok(Leak(LeakPolicy::Fail)),
            _ => Err(not(text, "what can be made of things left behind", Self::EXPECTED)),
        }
    }
}

impl Scalar for RetryCause {
    const EXPECTED: &str = "fail, timeout, signal, oom or leak";
    fn read(text: &str) -> Result<RetryCause, String> {
        match text {
            "fail" => Ok(RetryCause::Fail),
            "timeout" => Ok(RetryCause::Timeout),
            "signal" => Ok(RetryCause::Signal),
            "oom" => Ok(RetryCause::Oom),
            "leak" => Ok(RetryCause::Leak),
            _ => Err(not(text, "a failure that can be tried again", Self::EXPECTED)),
        }
    }
}

impl RetryCause {
    /// Those of a list.
    pub fn together(causes: &[RetryCause]) -> retry::RetryOn {
        let has = |cause| causes.contains(&cause);
        retry::RetryOn {
            fail: has(RetryCause::Fail),
            timeout: has(RetryCause::Timeout),
            signal: has(RetryCause::Signal),
            oom: has(RetryCause::Oom),
            leak: has(RetryCause::Leak),
        }
    }
}

scalar! {
    Patience: {"type": "string", "pattern": "^([0-9]+ *[a-z]+ *)+$", "examples": ["10s", "2min"]}
    Delay: {"type": "string", "pattern": "^([0-9]+ *[a-z]+ *)+$", "examples": ["2s", "500ms"]}
    Backoff: {"enum": ["fixed", "exponential"]}
    RetryCount: {"type": "integer", "minimum": 0, "maximum": 4294967295u32}
    Flaky: {"enum": ["pass", "fail"]}
    Leak: {"enum": ["warn", "fail"]}
    RetryCause: {"enum": ["fail", "timeout", "signal", "oom", "leak"]}
}

/// `retries` as a map.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "retries such as `{count: 2, delay: 1s}`")]
pub struct RetriesSection {
    /// Further attempts after the first that failed.
    #[serde(default, deserialize_with = "present")]
    #[schemars(required)]
    pub count: Option<RetryCount>,
    /// Between the end of an attempt and the next one's start; none unless written.
    #[serde(default, deserialize_with = "present")]
    pub delay: Option<Delay>,
    /// Whether the delay doubles from attempt to attempt; `fixed` unless written.
    #[serde(default, deserialize_with = "present")]
    pub backoff: Option<Backoff>,
    /// Whether up to half of the delay is left out at random; `false` unless written.
    #[serde(default, deserialize_with = "present")]
    pub jitter: Option<Switch>,
    /// The delay never grows beyond this; a minute unless written.
    #[serde(default, deserialize_with = "present")]
    pub max_delay: Option<Patience>,
}

/// `on_timeout` as a map.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a command such as `{command: \"gdb -p {pid}\", limit: 10s}`")]
pub struct LookSection {
    /// The command in shell words; `{pid}` is the attempt's first process.
    #[serde(default, deserialize_with = "present")]
    #[schemars(required)]
    pub command: Option<Words>,
    /// How long it may take; 10 s unless written.
    #[serde(default, deserialize_with = "present")]
    pub limit: Option<Patience>,
}

/// A command line in shell words.
#[derive(Debug, Clone, PartialEq)]
pub struct Words(pub Vec<String>);

impl Scalar for Words {
    const EXPECTED: &str = "a command in shell words, such as gdb -p {pid} -batch -ex bt";
    fn read(text: &str) -> Result<Words, String> {
        let words = shell_words::split(text)
            .map_err(|_| format!("a quote is not closed in {text:?}; expected {}", Self::EXPECTED))?;
        match words.first() {
            Some(program) if !program.is_empty() && !text.contains('\0') => Ok(Words(words)),
            _ => Err(not(text, "a command", Self::EXPECTED)),
        }
    }
}

scalar! {
    Words: {"type": "string", "minLength": 1, "examples": ["gdb -p {pid} -batch -ex bt"]}
}

impl Scalar for Retries {
    const EXPECTED: &str = "a number of retries such as 2, or a map such as `{count: 2, delay: 1s}`";
    fn read(text: &str) -> Result<Retries, String> {
        let count = text.parse().map_err(|_| not(text, "a number of retries", Self::EXPECTED))?;
        Ok(RetryCount(count).into())
    }
}

/// At once, and for any failure.
impl From<RetryCount> for Retries {
    fn from(RetryCount(count): RetryCount) -> Retries {
        Retries(Retry { count, ..Retry::NEVER })
    }
}

impl Retries {
    /// What contradicts itself is refused.
    fn of(section: &RetriesSection) -> Result<Retries, String> {
        let Some(RetryCount(count)) = section.count else {
            return Err(
                "the map says nothing of how often; expected `count:`, such as `{count: 2, delay: 1s}`"
                    .into(),
            );
        };
        let delay = section.delay.map_or(Duration::ZERO, |delay| delay.0);
        let backoff = section.backoff.map_or(retry::Backoff::Fixed, |backoff| backoff.0);
        if backoff == retry::Backoff::Exponential && delay.is_zero() {
            return Err(
                "no delay doubles to no delay; expected `delay:` beside `backoff: exponential`".into()
            );
        }
        let max_delay = section.max_delay.map_or(Retry::NEVER.max_delay.max(delay), |most| most.0);
        if delay > max_delay {
            let (delay, most) = (humantime::format_duration(delay), humantime::format_duration(max_delay));
            return Err(format!(
                "a delay of {delay} is more than max_delay, which is {most}; expected at most {most}"
            ));
        }
        let jitter = section.jitter.is_some_and(|jitter| jitter.0);
        Ok(Retries(Retry { count, delay, backoff, jitter, max_delay, ..Retry::NEVER }))
    }
}

impl Scalar for Look {
    const EXPECTED: &str = "a command in shell words such as gdb -p {pid} -batch -ex bt, a map with `command:` and `limit:`, or none";
    fn read(text: &str) -> Result<Look, String> {
        if text == "none" {
            return Ok(Look::None);
        }
        Words::read(text).map(|words| Look::Command(OnTimeout { command: words.0, limit: LOOK_LIMIT }))
    }
}

impl Look {
    fn of(section: LookSection) -> Result<Look, String> {
        let Some(Words(command)) = section.command else {
            return Err(
                "the map names no command; expected `command:`, such as `command: gdb -p {pid}`".into()
            );
        };
        let limit = section.limit.map_or(LOOK_LIMIT, |limit| limit.0);
        Ok(Look::Command(OnTimeout { command, limit }))
    }
}

/// A word, read as scalars are, or a map.
struct WordOr<T>(fn(T::Map) -> Result<T, String>)
where
    T: FromMap;

/// What may be written as a map, too.
trait FromMap: Scalar {
    type Map: for<'de> Deserialize<'de>;
}

impl FromMap for Retries {
    type Map = RetriesSection;
}

impl FromMap for Look {
    type Map = LookSection;
}

impl<'de, T: FromMap> Visitor<'de> for WordOr<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        let section = T::Map::deserialize(MapAccessDeserializer::new(map))?;
        (self.0)(section).map_err(de::Error::custom)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        Read::new().visit_str(text)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<T, E> {
        Read::new().visit_u64(value)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<T, E> {
        Read::new().visit_i64(value)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<T, E> {
        Read::new().visit_f64(value)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<T, E> {
        Read::new().visit_bool(value)
    }

    fn visit_unit<E: de::Error>(self) -> Result<T, E> {
        Read::new().visit_unit()
    }
}

impl<'de> Deserialize<'de> for Retries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Retries, D::Error> {
        deserializer.deserialize_any(WordOr(|section| Retries::of(&section)))
    }
}

impl<'de> Deserialize<'de> for Look {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Look, D::Error> {
        deserializer.deserialize_any(WordOr(Look::of))
    }
}

impl JsonSchema for Retries {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Retries".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({"oneOf": [generator.subschema_for::<RetryCount>(), generator.subschema_for::<RetriesSection>()]})
    }
}

impl JsonSchema for Look {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Look".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({"oneOf": [generator.subschema_for::<Words>(), generator.subschema_for::<LookSection>()]})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retries(text: &str) -> Result<Retry, String> {
        serde_yaml::from_str::<Retries>(text).map(|retries| retries.0).map_err(|error| error.to_string())
    }

    #[test]
    fn retries_are_a_number_or_a_map() {
        assert_eq!(retries("2"), Ok(Retry { count: 2, ..Retry::NEVER }));
        let all =
            retries("{count: 3, delay: 2s, backoff: exponential, jitter: true, max_delay: 8s}").unwrap();
        assert_eq!(
            (all.count, all.delay, all.max_delay),
            (3, Duration::from_secs(2), Duration::from_secs(8))
        );
        assert_eq!((all.backoff, all.jitter), (retry::Backoff::Exponential, true));
        // A default must not contradict what is written.
        assert_eq!(retries("{count: 1, delay: 5min}").unwrap().max_delay, Duration::from_secs(300));
    }

    #[test]
    fn retries_that_contradict_themselves_are_refused() {
        for (text, part) in [
            ("-1", "is not a number of retries"),
            ("{delay: 1s}", "expected `count:`"),
            ("{count: 1, backoff: exponential}", "expected `delay:`"),
            ("{count: 1, delay: 9s, max_delay: 3s}", "expected at most 3s"),
            ("{count: 1, max_delay: 0s}", "is no time at all"),
        ] {
            let error = retries(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_look_is_a_command_with_a_limit() {
        let look = |text: &str| serde_yaml::from_str::<Look>(text).map_err(|error| error.to_string());
        let command = |words: &[&str], limit| {
            let command = words.iter().map(|word| (*word).to_owned()).collect();
            Ok(Look::Command(OnTimeout { command, limit: Duration::from_secs(limit) }))
        };
        assert_eq!(look("none"), Ok(Look::None));
        assert_eq!(
            look("gdb -p {pid} -ex 'bt full'"),
            command(&["gdb", "-p", "{pid}", "-ex", "bt full"], 10)
        );
        assert_eq!(look("{command: cat, limit: 3s}"), command(&["cat"], 3));
        assert!(look("gdb 'x").unwrap_err().contains("a quote is not closed"));
        assert!(look("{limit: 3s}").unwrap_err().contains("expected `command:`"));
        assert!(look("\"''\"").unwrap_err().contains("is not a command"));
    }
}
