//! One rule as it is written: the jobs that it is for, and what it sets for them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, Visitor};
use serde_json::Value;

use super::file::JobSection;
use super::groups::GroupName;
use super::keys;
use super::pattern::Patterns;
use super::values::{Scalar, Switch, not, scalar, size};
use crate::model::Bytes;

/// Names of variables that are ours to set.
const OWN_VARIABLES: &str = "SANDTEST_";

/// And so is this one: a directory that is made for each attempt, and looked through after it.
const TEMPORARY: &str = "TMPDIR";

/// What jobs of certain names are given.
#[derive(Debug, Clone, Default, PartialEq, JsonSchema)]
#[schemars(deny_unknown_fields, extend("minProperties" = 2))]
pub struct RuleSection {
    /// The jobs: a glob over the whole name, a regular expression between slashes, or a list of such.
    #[schemars(rename = "match", required)]
    pub matches: Option<Patterns>,
    /// The memory that the job is known to need.
    pub memory: Option<Need>,
    /// Variables for the job's environment. Those of several rules are joined, name by name.
    pub env: Option<Variables>,
    /// Whether it may be killed to make room, and run again.
    pub restartable: Option<Switch>,
    /// How many of the jobs that may run at once it counts for.
    pub weight: Option<Weight>,
    /// Groups that it takes one of each, declared under `groups:`. Those of several rules are joined.
    pub groups: Option<Vec<GroupName>>,
    /// What may stand under `job`, too; what may stand only there is refused with the unknown keys.
    #[schemars(skip)]
    pub job: JobSection,
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
    /// Reads the value of a key that is a rule's own. Returns whether it is one.
    fn take<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error> {
        match key {
            "match" => self.matches = Some(map.next_value()?),
            "memory" => self.memory = Some(map.next_value()?),
            "env" => self.env = Some(map.next_value()?),
            "restartable" => self.restartable = Some(map.next_value()?),
            "weight" => self.weight = Some(map.next_value()?),
            "groups" => self.groups = Some(map.next_value()?),
            _ => return Ok(false),
        }
        Ok(true)
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

/// What a map says beside a rule's own keys, as a map: all values are read where they stand, so that a mistake in one has
/// its place. With serde(flatten) it would have none.
struct Beside<'a, A> {
    map: A,
    own: &'a mut RuleSection,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Beside<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        while let Some(key) = self.map.next_key::<String>()? {
            if !self.own.take(&key, &mut self.map)? {
                return seed.deserialize(key.into_deserializer()).map(Some);
            }
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
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
                let mut says = RuleSection::default();
                let others = Beside { map, own: &mut says };
                says.job = JobSection::deserialize(MapAccessDeserializer::new(others))?;
                says.complete().map_err(de::Error::custom)
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
        let mut schema = RuleSection::json_schema(generator);
        let mut of_job = JobSection::json_schema(generator);
        let properties = |schema: &mut Schema| schema.get_mut("properties").map(Value::take);
        let (mut own, of_job) = (properties(&mut schema), properties(&mut of_job));
        if let (Some(Value::Object(own)), Some(Value::Object(of_job))) = (&mut own, of_job) {
            own.extend(of_job.into_iter().filter(|(key, _)| keys::of_rules(key)));
        }
        schema.insert("properties".to_owned(), own.unwrap_or_default());
        schema
    }
}
