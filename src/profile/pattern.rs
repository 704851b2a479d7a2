//! Which jobs a rule is for: globs and regular expressions over their names.

use std::borrow::Cow;
use std::fmt;

use regex::{Regex, RegexBuilder};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};

/// A compiled pattern is no larger; what is was not written by hand.
const LARGEST: usize = 1 << 20;

const EXPECTED: &str = "a pattern such as \"*slow*\", where * is any text and ? one character, or a regular expression between slashes";

/// One pattern.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    /// Without one it is a glob.
    regex: Option<Regex>,
}

/// `match`: a job is meant if any of them fits.
#[derive(Debug, Clone, PartialEq)]
pub struct Patterns(Vec<Pattern>);

impl Pattern {
    /// A glob over the whole name, or `/regex/` that is looked for anywhere in it.
    ///
    /// # Errors
    /// What is wrong and what was expected, for the user.
    pub fn parse(text: &str) -> Result<Pattern, String> {
        if text.is_empty() {
            return Err(format!("an empty pattern fits no job; expected {EXPECTED}"));
        }
        let Some(inside) = inside_slashes(text) else {
            return Ok(Pattern { text: text.to_owned(), regex: None });
        };
        if inside.is_empty() {
            return Err(format!("{text:?} is an empty regular expression; expected {EXPECTED}"));
        }
        let regex = RegexBuilder::new(inside).size_limit(LARGEST).dfa_size_limit(LARGEST).build();
        let regex = regex.map_err(|error| format!("{text:?} {}; expected {EXPECTED}", wrong(&error)))?;
        Ok(Pattern { text: text.to_owned(), regex: Some(regex) })
    }

    /// Whether the job of this name is meant.
    pub fn is_match(&self, name: &str) -> bool {
        match &self.regex {
            Some(regex) => regex.is_match(name),
            None => fits(&self.text, name),
        }
    }
}

fn inside_slashes(text: &str) -> Option<&str> {
    text.strip_prefix('/')?.strip_suffix('/')
}

/// Whether the whole of `name` is what the glob says. After a mismatch only the last `*` takes one more: what those
/// before it took can stay, so the time is at most the product of the lengths.
fn fits(glob: &str, name: &str) -> bool {
    let (mut glob, mut name) = (glob.chars(), name.chars());
    let mut last_star = None;
    loop {
        let before = name.clone();
        match (glob.next(), name.next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                last_star = Some((glob.clone(), before.clone()));
                name = before;
            }
            (Some('?'), Some(_)) => {}
            (Some(wanted), Some(found)) if wanted == found => {}
            _ => {
                let Some((after, mut taken)) = last_star.take() else { return false };
                if taken.next().is_none() {
                    return false;
                }
                (glob, name) = (after.clone(), taken.clone());
                last_star = Some((after, taken));
            }
        }
    }
}

/// The last line of a parser's message is the reason; those before draw the pattern.
fn wrong(error: &regex::Error) -> String {
    match error {
        regex::Error::Syntax(message) => {
            let reason = message.lines().last().unwrap_or_default();
            let reason = reason.strip_prefix("error: ").unwrap_or(reason);
            format!("is no regular expression: {reason}")
        }
        _ => "is too large when compiled".to_owned(),
    }
}

impl Patterns {
    /// Whether the job of this name is meant.
    pub fn is_match(&self, name: &str) -> bool {
        self.0.iter().any(|pattern| pattern.is_match(name))
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Pattern) -> bool {
        self.text == other.text
    }
}

/// As they would be written, in quotes.
impl fmt::Display for Patterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, pattern) in self.0.iter().enumerate() {
            let separator = if number == 0 { "" } else { ", " };
            write!(f, "{separator}{:?}", pattern.text)?;
        }
        Ok(())
    }
}

/// One pattern in its place, so that a mistake in it is told there.
impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Pattern, D::Error> {
        struct One;
        impl Visitor<'_> for One {
            type Value = Pattern;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Pattern, E> {
                Pattern::parse(text).map_err(E::custom)
            }
        }
        // A plain `7` is a name like any other.
        deserializer.deserialize_str(One)
    }
}

impl<'de> Deserialize<'de> for Patterns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Patterns, D::Error> {
        struct OneOrMore;
        impl<'de> Visitor<'de> for OneOrMore {
            type Value = Patterns;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{EXPECTED}; or a list of such")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Patterns, E> {
                Pattern::parse(text).map(|pattern| Patterns(vec![pattern])).map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Patterns, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Patterns, E> {
                self.visit_str(if value { "true" } else { "false" })
            }

            fn visit_unit<E: de::Error>(self) -> Result<Patterns, E> {
                Err(E::custom(format!("there is no value; expected {EXPECTED}")))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Patterns, A::Error> {
                let mut patterns = Vec::new();
                while let Some(pattern) = list.next_element()? {
                    patterns.push(pattern);
                }
                if patterns.is_empty() {
                    return Err(de::Error::custom(format!("an empty list fits no job; expected {EXPECTED}")));
                }
                Ok(Patterns(patterns))
            }
        }
        deserializer.deserialize_any(OneOrMore)
    }
}

impl JsonSchema for Patterns {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Patterns".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "oneOf": [
                {"type": "string", "minLength": 1},
                {"type": "array", "minItems": 1, "items": {"type": "string", "minLength": 1}}
            ],
            "examples": ["*slow*", "/^cargo (test|bench)/", ["*gpu*", "*cuda*"]]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glob_is_over_the_whole_name_and_a_regex_anywhere_in_it() {
        for (pattern, name, wanted) in [
            ("./run", "./run", true),
            ("./run", "./run x", false),
            ("./run*", "./run x", true),
            ("*slow*", "a\nslow b", true),
            ("?x", "äx", true),
            ("?x", "x", false),
            ("a.b", "axb", false),
            ("[a]+", "[a]+", true),
            ("*", "", true),
            ("a*b*c", "a b b c", true),
            ("a*b*c", "a b c d", false),
            ("*ab", "aab", true),
            ("a**?", "a", false),
            ("/tmp/x", "/tmp/x", true),
            ("/run x", "/run x", true),
            ("/ru+n/", "say ruun x", true),
            ("/^run$/", "run x", false),
        ] {
            assert_eq!(Pattern::parse(pattern).unwrap().is_match(name), wanted, "{pattern} {name}");
        }
    }

    #[test]
    fn jobs_that_are_called_like_a_switch_or_a_number_can_be_named() {
        for (text, name) in [("true", "true"), ("7", "7"), ("[1.10, x]", "1.10")] {
            assert!(serde_yaml::from_str::<Patterns>(text).unwrap().is_match(name), "{text}");
        }
    }

    #[test]
    fn a_pattern_that_is_none_says_why() {
        for (pattern, part) in [
            ("", "an empty pattern"),
            ("//", "empty regular expression"),
            ("/(a/", "is no regular expression: unclosed group; expected a pattern"),
            ("/((a{900}){900}){900}/", "is too large when compiled"),
        ] {
            let error = Pattern::parse(pattern).unwrap_err();
            assert!(error.contains(part), "{pattern}: {error}");
        }
    }
}
