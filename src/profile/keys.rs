//! The keys of a file, before their values: each known, each once.
//!
//! serde puts a duplicate field at the start of its map and lets it pass in a map of maps, so both are looked
//! for in a pass of their own. An error that is raised while a key is read has that key's exact place.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, Visitor};

use super::error::ProfileError;
use super::file::{shortened, syntax};
use super::origins;
use super::source::Source;
use crate::model::nearest::nearest;

/// The section that is a profile itself.
pub(super) const PROFILE: &str = "";

/// The section that is the project's file itself.
pub(super) const PROJECT: &str = "sandtest.yaml";

/// What may stand in a file, and in each of its sections. A test holds it against the schema.
pub(super) const KNOWN: [(&str, &[&str]); 9] = [
    (
        PROFILE,
        &[
            "name",
            "extends",
            "budget",
            "job",
            "jobs",
            "pressure",
            "protect",
            "run_timeout",
            "settle_timeout",
            "groups",
            "rules",
        ],
    ),
    (PROJECT, &["groups", "rules"]),
    ("budget", &["memory_max", "reserve", "memory_high", "memory_swap_max", "pids_max", "cpu_max"]),
    (
        "job",
        &[
            "memory_max",
            "memory_high",
            "memory_swap_max",
            "pids_max",
            "cpu_max",
            "nofile",
            "oom_score_adj",
            "timeout",
            "slow_after",
            "idle_timeout",
            "on_timeout",
            "grace",
            "retries",
            "retry_on",
            "flaky_result",
            "leak",
            "no_new_privs",
            "capabilities",
        ],
    ),
    ("jobs", &["min", "max"]),
    ("pressure", &["yellow", "orange", "red", "stall"]),
    (
        "rules",
        &[
            "match",
            "memory",
            "memory_max",
            "memory_high",
            "memory_swap_max",
            "pids_max",
            "cpu_max",
            "timeout",
            "slow_after",
            "idle_timeout",
            "on_timeout",
            "grace",
            "retries",
            "retry_on",
            "flaky_result",
            "leak",
            "env",
            "restartable",
            "weight",
            "groups",
        ],
    ),
    ("retries", &["count", "delay", "backoff", "jitter", "max_delay"]),
    ("on_timeout", &["command", "limit"]),
];

/// What a value is, as far as its keys go.
#[derive(Debug, Clone, Copy)]
enum Shape {
    /// A map with these keys, or a scalar.
    Section(&'static str),
    /// A list of such.
    List(&'static str),
    /// Whatever its type says.
    Any,
}

/// What stands behind a key.
fn below(section: &str, key: &str) -> Shape {
    match (section, key) {
        (PROFILE, "budget") => Shape::Section("budget"),
        (PROFILE, "job") => Shape::Section("job"),
        (PROFILE, "jobs") => Shape::Section("jobs"),
        (PROFILE, "pressure") => Shape::Section("pressure"),
        (PROFILE | PROJECT, "rules") => Shape::List("rules"),
        ("job" | "rules", "retries") => Shape::Section("retries"),
        ("job" | "rules", "on_timeout") => Shape::Section("on_timeout"),
        _ => Shape::Any,
    }
}

/// What is wrong with a key; its place is in the parser's error.
enum Finding {
    Unknown { section: String, key: String },
    Duplicate { section: String, key: String },
}

/// Refuses unknown and duplicate keys, and what is no YAML.
pub(super) fn check(source: &Source, root: &'static str) -> Result<(), ProfileError> {
    let finding = RefCell::new(None);
    let walk = Walk { shape: Shape::Section(root), finding: &finding };
    let Err(error) = walk.deserialize(serde_yaml::Deserializer::from_str(&source.text)) else {
        return Ok(());
    };
    let Some((found, location)) = finding.into_inner().zip(error.location()) else {
        return Err(syntax(source, &error));
    };
    let at = source.place(location.line(), location.column());
    Err(match found {
        Finding::Unknown { section, key } => {
            let known = keys_of(&section).unwrap_or_default();
            let nearest = nearest(&key, known.iter().copied()).map(str::to_owned);
            let known = known.iter().map(|key| (*key).to_owned()).collect();
            ProfileError::UnknownKey { at, key: shortened(&key), section, nearest, known }
        }
        Finding::Duplicate { section, key } => {
            let path = if section == root { key.clone() } else { format!("{section}.{key}") };
            let first = origins::scan(&source.text).get(&path).map(|spot| spot.line);
            ProfileError::DuplicateKey { first: first.filter(|line| *line < at.line), at, key }
        }
    })
}

/// Whether a key may stand in a rule.
pub(super) fn of_rules(key: &str) -> bool {
    keys_of("rules").is_some_and(|keys| keys.contains(&key))
}

fn keys_of(section: &str) -> Option<&'static [&'static str]> {
    KNOWN.iter().find(|(name, _)| *name == section).map(|(_, keys)| *keys)
}

/// Walks one value.
struct Walk<'a> {
    shape: Shape,
    finding: &'a RefCell<Option<Finding>>,
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        let (section, known) = match self.shape {
            Shape::Section(section) => (section, keys_of(section)),
            Shape::List(_) | Shape::Any => ("another map", None),
        };
        while let Some(key) =
            map.next_key_seed(Key { seen: &mut seen, section, known, finding: self.finding })?
        {
            map.next_value_seed(Walk { shape: below(section, &key), finding: self.finding })?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<(), A::Error> {
        let shape = match self.shape {
            Shape::List(section) => Shape::Section(section),
            Shape::Section(_) | Shape::Any => Shape::Any,
        };
        while sequence.next_element_seed(Walk { shape, finding: self.finding })?.is_some() {}
        Ok(())
    }

    fn visit_enum<A: EnumAccess<'de>>(self, tagged: A) -> Result<(), A::Error> {
        let (tag, _) = tagged.variant::<String>()?;
        Err(de::Error::custom(format!("the tag !{tag} means nothing here; expected a plain value")))
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i128<E>(self, _: i128) -> Result<(), E> {
        Ok(())
    }

    fn visit_u128<E>(self, _: u128) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// Reads one key and refuses it there and then.
struct Key<'a> {
    seen: &'a mut HashSet<String>,
    section: &'a str,
    known: Option<&'static [&'static str]>,
    finding: &'a RefCell<Option<Finding>>,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<String, E> {
        let (section, key) = (self.section.to_owned(), key.to_owned());
        if self.known.is_some_and(|known| !known.contains(&key.as_str())) {
            self.finding.replace(Some(Finding::Unknown { section, key }));
            return Err(E::custom("unknown key"));
        }
        if !self.seen.insert(key.clone()) {
            self.finding.replace(Some(Finding::Duplicate { section, key }));
            return Err(E::custom("duplicate key"));
        }
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_keys_are_those_of_the_schema() {
        let schema = super::super::schema::schema();
        let properties = |value: &serde_json::Value| -> Vec<String> {
            let mut keys: Vec<String> = value["properties"].as_object().unwrap().keys().cloned().collect();
            keys.sort();
            keys
        };
        let of_job = |key: &str| &schema["properties"]["job"]["properties"][key]["oneOf"][1];
        for (section, known) in KNOWN {
            let mut known: Vec<String> = known.iter().map(|key| (*key).to_owned()).collect();
            known.sort();
            let part = match section {
                PROFILE => &schema,
                // Has no schema of its own: a profile with these two keys is one.
                PROJECT => continue,
                "rules" => &schema["properties"]["rules"]["items"],
                "retries" | "on_timeout" => of_job(section),
                section => &schema["properties"][section],
            };
            assert_eq!(known, properties(part), "{section}");
        }
    }
}
