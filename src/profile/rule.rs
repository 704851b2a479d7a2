//! One rule as it is written: the jobs that it is for, and what it sets for them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};

use super::ending::{Flaky, Leak, Look, Retries, RetryCause};
use super::file::{JobSection, present};
use super::groups::GroupName;
use super::pattern::Patterns;
use super::values::{Cpu, Grace, Pids, Scalar, Size, Swap, Switch, Timeout, not, scalar, size};
use crate::model::Bytes;

/// Names of variables that are ours to set.
const OWN_VARIABLES: &str = "SANDTEST_";

/// And so is this one: a directory that is made for each attempt, and looked through after it.
const TEMPORARY: &str = "TMPDIR";

// The keys of `job` that a rule may have stand here once more: with serde(flatten) all values would be read before any
// is judged, and a mistake in one would have no place.
/// What jobs of certain names are given.
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 2))]
pub struct RuleSection {
    /// The jobs: a glob over the whole name, a regular expression between slashes, or a list of such.
    #[serde(rename = "match", default, deserialize_with = "present")]
    #[schemars(required)]
    pub matches: Option<Patterns>,
    /// The memory that the job is known to need.
    #[serde(default, deserialize_with = "present")]
    pub memory: Option<Need>,
    /// As under `job`.
    #[serde(default, deserialize_with = "present")]
    pub memory_max: Option<Size>,
    /// As under `job`.
    #[serde(default, deserialize_with = "present")]
    pub memory_high: Option<Size>,
    /// As under `job`.
    #[serde(default, deserialize_with = "present")]
    pub memory_swap_max: Option<Swap>,
    /// As under `job`.
    #[serde(default, deserialize_with = "present")]
    pub pids_max: Option<Pids>,
    /// As under `job`.
    #[serde(default, deserialize_with = "present")]
    pub cpu_max: Option<Cpu>,
    /// As under `job`.
    #[serde(default, deserialize_with = "present")]
    pub timeout: Option<Timeout>,
    /// As under `job`.
    #[serde(default, deserialize_with = "present")]
    pub slow_after: Option<Timeout>,
    /// As under `job`.
    #[serde(default, deserialize_with = "present")]
    pub idle_timeout: Option<Timeout>,
    /// As under `job`.
    #[serde(default, deserialize_with = "present")]
    pub on_timeout: Option<Look>,
    /// As under `job`.
    #[serde(default, deserialize_with = "present")]
    pub grace: Option<Grace>,
    /// As under `job`.
    #[serde(default, deserialize_with = "present")]
    pub retries: Option<Retries>,
    /// As under `job`.
    #[serde(default, deserialize_with = "present")]
    pub retry_on: Option<Vec<RetryCause>>,
    /// As under `job`.
    #[serde(default, deserialize_with = "present")]
    pub flaky_result: Option<Flaky>,
    /// As under `job`.
    #[serde(default, deserialize_with = "present")]
    pub leak: Option<Leak>,
    /// Variables for the job's environment. Those of several rules are joined, name by name.
    #[serde(default, deserialize_with = "present")]
    pub env: Option<Variables>,
    /// Whether it may be killed to make room, and run again.
    #[serde(default, deserialize_with = "present")]
    pub restartable: Option<Switch>,
    /// How many of the jobs that may run at once it counts for.
    #[serde(default, deserialize_with = "present")]
    pub weight: Option<Weight>,
    /// Groups that it takes one of each, declared under `groups:`. Those of several rules are joined.
    #[serde(default, deserialize_with = "present")]
    pub groups: Option<Vec<GroupName>>,
}

/// A rule that is for some jobs and sets something.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Whom it is for.
    pub matches: Patterns,
    /// What it says of them.
    pub says: RuleSection,
}

/// `memory`: what a job needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need(pub Bytes);

/// `weight`; at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weight(pub u32);

/// `env`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Variables(pub BTreeMap<String, String>);

/// The name of a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VariableName(String);

impl Scalar for Need {
    const EXPECTED: &str = "a size such as 512M or 2GiB";
    fn read(text: &str) -> Result<Need, String> {
        if text == "max" || text.ends_with('%') {
            return Err(not(text, "what a job needs", Self::EXPECTED));
        }
        size(text, Self::EXPECTED).map(Need)
    }
}

impl Scalar for Weight {
    const EXPECTED: &str = "how many jobs it counts for, at least 1";
    fn read(text: &str) -> Result<Weight, String> {
        let weight = text.parse().ok().filter(|weight| *weight > 0);
        weight.map(Weight).ok_or_else(|| not(text, "a weight", Self::EXPECTED))
    }
}

impl Scalar for VariableName {
    const EXPECTED: &str = "the name of a variable, such as RUST_LOG";
    fn read(text: &str) -> Result<VariableName, String> {
        if text.starts_with(OWN_VARIABLES) {
            return Err(format!(
                "{text:?} is set by sandtest itself; expected a name that does not begin with {OWN_VARIABLES}"
            ));
        }
        if text == TEMPORARY {
            return Err(format!(
                "{TEMPORARY:?} is set by sandtest itself, to a directory of each job's own; expected it in the \
                 environment of sandtest, below whose {TEMPORARY} these are made"
            ));
        }
        if text.is_empty() || text.contains(['=', '\0']) {
            return Err(not(text, "the name of a variable", Self::EXPECTED));
        }
        Ok(VariableName(text.to_owned()))
    }
}

scalar! {
    Need: {"type": ["string", "integer"], "pattern": r"^[0-9]+(\.[0-9]+)? *([KMGTkmgt](i?[Bb])?)?$",
        "minimum": 1048576, "examples": ["512M", "2GiB"]}
    Weight: {"type": "integer", "minimum": 1, "maximum": 4294967295u32}
    VariableName: {"type": "string", "pattern": "^(?!SANDTEST_|TMPDIR$)[^=]+$"}
}

/// The text of a scalar, as it is written: `1.10` stays that.
struct AsWritten(String);

impl<'de> Deserialize<'de> for AsWritten {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<AsWritten, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = AsWritten;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the value of a variable")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<AsWritten, E> {
                if text.contains('\0') {
                    return Err(E::custom("a NUL byte can't be in a variable; expected text without it"));
                }
                Ok(AsWritten(text.to_owned()))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

impl<'de> Deserialize<'de> for Variables {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Variables, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Variables;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("variables such as `{RUST_LOG: debug}`")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Variables, A::Error> {
                let mut variables = BTreeMap::new();
                while let Some(VariableName(name)) = map.next_key()? {
                    let AsWritten(value) = map.next_value()?;
                    variables.insert(name, value);
                }
                Ok(Variables(variables))
            }
        }
        deserializer.deserialize_map(All)
    }
}

impl JsonSchema for Variables {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Variables".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "propertyNames": generator.subschema_for::<VariableName>(),
            "additionalProperties": {"type": ["string", "number", "boolean"]},
            "examples": [{"RUST_LOG": "debug"}]
        })
    }
}

impl RuleSection {
    /// What of it could stand under `job`.
    pub(super) fn as_job(&self) -> JobSection {
        JobSection {
            memory_max: self.memory_max,
            memory_high: self.memory_high,
            memory_swap_max: self.memory_swap_max,
            pids_max: self.pids_max,
            cpu_max: self.cpu_max,
            timeout: self.timeout,
            slow_after: self.slow_after,
            idle_timeout: self.idle_timeout,
            on_timeout: self.on_timeout.clone(),
            grace: self.grace,
            retries: self.retries,
            retry_on: self.retry_on.clone(),
            flaky_result: self.flaky_result,
            leak: self.leak,
            ..JobSection::default()
        }
    }

    fn complete(mut self) -> Result<Rule, String> {
        let Some(matches) = self.matches.take() else {
            return Err(
                "the rule does not say which jobs it is for; expected `match:`, such as `match: \"*slow*\"`"
                    .to_owned(),
            );
        };
        if self == RuleSection::default() {
            return Err(format!(
                "the rule for {matches} sets nothing; expected at least one key beside `match:`, such as \
                 `timeout: 10min`"
            ));
        }
        Ok(Rule { matches, says: self })
    }
}

impl<'de> Deserialize<'de> for Rule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Rule, D::Error> {
        struct One;
        impl<'de> Visitor<'de> for One {
            type Value = Rule;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a rule such as `{match: \"*slow*\", timeout: 10min}`")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Rule, A::Error> {
                let section = RuleSection::deserialize(MapAccessDeserializer::new(map))?;
                section.complete().map_err(de::Error::custom)
            }
        }
        deserializer.deserialize_map(One)
    }
}

impl JsonSchema for Rule {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Rule".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        RuleSection::json_schema(generator)
    }
}
