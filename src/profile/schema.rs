//! The JSON Schema of a profile, for editors that complete and check YAML while it is written.
//!
//! `profiles/schema.json` is made from here: `UPDATE_SCHEMA=1 cargo test --test profiles schema` writes it anew, and
//! without the variable the same test fails when the file is behind.

use serde_json::Value;

use super::file::ProfileFile;

/// The schema, as checked in.
pub fn schema() -> Value {
    let mut schema = schemars::generate::SchemaSettings::draft07()
        .with(|settings| settings.inline_subschemas = true)
        .into_generator()
        .into_root_schema_for::<ProfileFile>()
        .to_value();
    without_null(&mut schema);
    schema
}

/// An absent key is left out, never null: takes back what `Option` brings.
fn without_null(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if map.get("default") == Some(&Value::Null) {
                map.remove("default");
            }
            if let Some(Value::Array(choices)) = map.get_mut("anyOf") {
                choices.retain(|choice| choice.get("type").is_none_or(|kind| kind != "null"));
                if let [only] = choices.as_mut_slice()
                    && let Value::Object(inner) = only.take()
                {
                    map.remove("anyOf");
                    for (key, inner) in inner {
                        map.entry(key).or_insert(inner);
                    }
                }
            }
            for list in ["type", "enum"] {
                if let Some(Value::Array(kinds)) = map.get_mut(list) {
                    kinds.retain(|kind| kind != "null" && !kind.is_null());
                    if list == "type"
                        && let [only] = kinds.as_slice()
                    {
                        let only = only.clone();
                        map.insert(list.to_owned(), only);
                    }
                }
            }
            map.values_mut().for_each(without_null);
        }
        Value::Array(values) => values.iter_mut().for_each(without_null),
        _ => {}
    }
}
