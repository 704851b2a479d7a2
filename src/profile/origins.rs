//! Which line set which key: `job.memory_max` -> line, column and the value as written.
//!
//! The parser tells places for mistakes only, so this reads the lines by their indentation: the forms in which
//! people write profiles. In any other form (a flow map over several lines) a key has the place of its section,
//! or none; nothing but messages depends on it.

use std::collections::BTreeMap;

/// Where a value stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spot {
    /// 1-based.
    pub line: usize,
    /// 1-based, in characters.
    pub column: usize,
    /// As written.
    pub text: String,
}

/// The spots of all keys. Of a key that is there twice, the first. Rules have none: they are in a list.
pub fn scan(text: &str) -> BTreeMap<String, Spot> {
    let mut spots: BTreeMap<String, Spot> = BTreeMap::new();
    // The section, the column of its keys, and the last of them.
    let (mut section, mut inner, mut last) = (String::new(), None, String::new());
    for (number, line) in text.lines().enumerate() {
        let content = line.trim_start();
        let column = line.chars().count() - content.chars().count() + 1;
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        let item = content.strip_prefix("- ");
        if (item.is_some() || column > 1) && section == "rules" {
            continue;
        }
        if let Some(item) = item {
            add(&mut spots, if inner.is_some() { &last } else { &section }, without_comment(item));
            continue;
        }
        let Some((key, spot)) = pair(content, number + 1, column) else { continue };
        if column == 1 {
            (section, inner) = (key.clone(), None);
            if let Some(inside) = spot.text.strip_prefix('{').filter(|_| section != "rules") {
                flow(&section, inside, &spot, &mut spots);
            }
            spots.entry(key).or_insert(spot);
        } else if column > *inner.get_or_insert(column) {
            add(&mut spots, &last, without_comment(content));
        } else {
            last = format!("{section}.{key}");
            spots.entry(last.clone()).or_insert(spot);
        }
    }
    spots
}

/// One more of what stands below a key in lines of their own.
fn add(spots: &mut BTreeMap<String, Spot>, key: &str, item: &str) {
    if let Some(spot) = spots.get_mut(key) {
        let separator = if spot.text.is_empty() { "" } else { ", " };
        spot.text += &format!("{separator}{item}");
    }
}

/// `key: value  # comment`.
fn pair(content: &str, line: usize, column: usize) -> Option<(String, Spot)> {
    let (key, value) = content.split_once(':')?;
    let leading = value.chars().take_while(|c| c.is_whitespace()).count();
    let column = column + key.chars().count() + 1 + leading;
    let key = key.trim().trim_matches(['"', '\'']);
    Some((key.to_owned(), Spot { line, column, text: without_comment(value).to_owned() }))
}

/// `min: 1, max: 50%}`, the inside of a map on one line.
fn flow(section: &str, inside: &str, spot: &Spot, spots: &mut BTreeMap<String, Spot>) {
    let mut column = spot.column + 1;
    for part in parts(inside) {
        let trimmed = part.trim_start();
        let skipped = part.chars().count() - trimmed.chars().count();
        if let Some((key, spot)) = pair(trimmed, spot.line, column + skipped) {
            spots.entry(format!("{section}.{key}")).or_insert(spot);
        }
        column += part.chars().count() + 1;
    }
}

/// Cut at the commas that are neither in brackets nor in quotes, up to the bracket that closes the map.
fn parts(inside: &str) -> Vec<&str> {
    let (mut parts, mut begin, mut depth, mut quote) = (Vec::new(), 0, 0usize, None);
    for (at, c) in inside.char_indices() {
        match (quote, c) {
            (Some(open), c) if open == c => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '{' | '[') => depth += 1,
            (None, '}') if depth == 0 => {
                parts.push(&inside[begin..at]);
                return parts;
            }
            (None, '}' | ']') => depth = depth.saturating_sub(1),
            (None, ',') if depth == 0 => {
                parts.push(&inside[begin..at]);
                begin = at + 1;
            }
            (None, _) => {}
        }
    }
    parts.push(&inside[begin..]);
    parts
}

fn without_comment(value: &str) -> &str {
    let value = if value.trim_start().starts_with('#') { "" } else { value };
    value.find(" #").map_or(value, |at| &value[..at]).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_in_which_people_write_are_understood() {
        let text = "# about\nname: x\nbudget:   # all\n  memory_max: 60%  # why\n\n  \"reserve\": auto\n\
                    jobs: {min: 1, max: 50%}\nprotect:\n  - code\n  - rust-analyzer # lsp\n";
        let spots = scan(text);
        let spot = |key: &str| {
            let spot = &spots[key];
            (spot.line, spot.column, spot.text.as_str())
        };
        assert_eq!(spot("name"), (2, 7, "x"));
        assert_eq!(spot("budget.memory_max"), (4, 15, "60%"));
        assert_eq!(spot("budget.reserve"), (6, 14, "auto"));
        assert_eq!(spot("jobs.min"), (7, 13, "1"));
        assert_eq!(spot("jobs.max"), (7, 21, "50%"));
        assert_eq!(spot("protect"), (8, 9, "code, rust-analyzer"));
    }

    #[test]
    fn a_map_in_a_section_is_the_value_of_its_key() {
        let text = "job:\n  retries:\n    count: 2  # twice\n    delay: 1s\n  grace: 3s\nrules:\n  - match: x\n    \
                    grace: 9s\njobs: {a: {b: 1, c: 2}, d: \"e, f\", g: [1, 2]}\n";
        let spots = scan(text);
        let texts: Vec<(&str, &str)> =
            spots.iter().map(|(key, spot)| (key.as_str(), spot.text.as_str())).collect();
        let wanted = [
            ("job", ""),
            ("job.grace", "3s"),
            ("job.retries", "count: 2, delay: 1s"),
            ("jobs", "{a: {b: 1, c: 2}, d: \"e, f\", g: [1, 2]}"),
            ("jobs.a", "{b: 1, c: 2}"),
            ("jobs.d", "\"e, f\""),
            ("jobs.g", "[1, 2]"),
            ("rules", ""),
        ];
        assert_eq!(texts, wanted);
    }
}
