//! The place of a value that proves wrong only beside others.
//!
//! The parser tells places with mistakes only: so the text is read once more, and the value refused as a mistake.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::place::Place;
use super::source::Source;

/// One step down to a value.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step<'a> {
    /// Of a map.
    Key(&'a str),
    /// Of a list, from 0.
    Item(usize),
}

/// Where the value behind these steps begins; the file's beginning if there is none.
pub(super) fn locate(source: &Source, steps: &[Step]) -> Box<Place> {
    let found = Seek(steps).deserialize(serde_yaml::Deserializer::from_str(&source.text)).err();
    match found.and_then(|error| error.location()) {
        Some(location) => source.place(location.line(), location.column()),
        None => source.place(1, 1),
    }
}

struct Seek<'a>(&'a [Step<'a>]);

/// Refuses whatever comes.
struct Here;

impl<'de> DeserializeSeed<'de> for Seek<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.0.is_empty() {
            return deserializer.deserialize_map(Here);
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Here {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing")
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        Err(de::Error::custom("here"))
    }
}

impl<'de> Visitor<'de> for Seek<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match self.0.split_first() {
                Some((Step::Key(wanted), rest)) if *wanted == key => map.next_value_seed(Seek(rest))?,
                _ => map.next_value::<IgnoredAny>().map(|_| ())?,
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Some((Step::Item(wanted), rest)) = self.0.split_first() else {
            while list.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(());
        };
        for _ in 0..*wanted {
            list.next_element::<IgnoredAny>()?;
        }
        list.next_element_seed(Seek(rest))?;
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Step::{Item, Key};

    #[test]
    fn a_value_is_found_in_whatever_form_it_is_written() {
        let text =
            "groups: {a: 1}\nrules:\n  - match: x\n    groups: [b,\n      c]\n  - {match: y, groups: [d]}\n";
        let source = Source::built_in("x", text);
        for (steps, at) in [
            (&[Key("groups"), Key("a")][..], (1, 13)),
            (&[Key("rules"), Item(0)], (3, 5)),
            (&[Key("rules"), Item(0), Key("groups"), Item(1)], (5, 7)),
            (&[Key("rules"), Item(1)], (6, 5)),
            (&[Key("rules"), Item(1), Key("groups"), Item(0)], (6, 25)),
            (&[Key("rules"), Item(7)], (1, 1)),
        ] {
            let place = locate(&source, steps);
            assert_eq!((place.line, place.column), at, "{steps:?}");
        }
    }
}
