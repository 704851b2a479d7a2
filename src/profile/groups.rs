//! `groups:`: named things that jobs share, and how many of each there are.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use super::error::ProfileError;
use super::inherit::Loaded;
use super::locate::{Step, locate};
use super::values::{Scalar, not, scalar};
use crate::model::job::group_variable;

/// The name of a group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupName(pub String);

/// How many of a group there are; at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupCount(pub u32);

/// All groups of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Groups(pub BTreeMap<String, u32>);

impl Scalar for GroupName {
    const EXPECTED: &str = "a group's name of letters, digits, - and _, such as gpu-slot";
    fn read(text: &str) -> Result<GroupName, String> {
        let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if !text.is_empty() && text.len() <= 64 && text.chars().all(good) {
            return Ok(GroupName(text.to_owned()));
        }
        Err(not(text, "the name of a group", Self::EXPECTED))
    }
}

impl Scalar for GroupCount {
    const EXPECTED: &str = "how many jobs may have one at once, such as 1";
    fn read(text: &str) -> Result<GroupCount, String> {
        match text.parse() {
            Ok(0) => {
                Err(format!("a job that takes one of 0 would wait for ever; expected {}", Self::EXPECTED))
            }
            Ok(count) => Ok(GroupCount(count)),
            Err(_) => Err(not(text, "a count", Self::EXPECTED)),
        }
    }
}

scalar! {
    GroupName: {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"}
    GroupCount: {"type": "integer", "minimum": 1, "maximum": 4294967295u32}
}

/// Groups that a job's environment could not tell apart are refused; of one file, where the later one stands.
pub(super) fn check(loaded: &Loaded) -> Result<(), ProfileError> {
    let place = |name: &str| {
        let source = loaded.groups.get(name).map_or(0, |group| group.source);
        (source, locate(&loaded.chain[source], &[Step::Key("groups"), Step::Key(name)]))
    };
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for name in loaded.groups.keys() {
        let variable = group_variable(name);
        if let Some(other) = seen.insert(variable.clone(), name) {
            let ((source, at), (other_source, other_at)) = (place(name), place(other));
            let is_later = source != other_source || (at.line, at.column) > (other_at.line, other_at.column);
            let (at, name, other) =
                if is_later { (at, name.as_str(), other) } else { (other_at, other, name.as_str()) };
            let message = format!(
                "the groups {other:?} and {name:?} are both {variable} in a job's environment; expected names \
                 that differ there"
            );
            return Err(ProfileError::Value { at, message });
        }
    }
    Ok(())
}

impl<'de> Deserialize<'de> for Groups {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Groups, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Groups;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("groups such as `{database: 1, gpu: 2}`")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Groups, A::Error> {
                let mut groups: BTreeMap<String, u32> = BTreeMap::new();
                while let Some(GroupName(name)) = map.next_key()? {
                    let GroupCount(count) = map.next_value()?;
                    groups.insert(name, count);
                }
                Ok(Groups(groups))
            }
        }
        deserializer.deserialize_map(All)
    }
}

impl JsonSchema for Groups {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Groups".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "propertyNames": generator.subschema_for::<GroupName>(),
            "additionalProperties": generator.subschema_for::<GroupCount>(),
            "examples": [{"database": 1, "gpu": 2}]
        })
    }
}
