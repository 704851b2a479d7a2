//! The page, put together. What a test chose is in it as text of an element or as JSON, and in no other place.

use std::hash::{BuildHasher, RandomState};
use std::io;

use serde::Serialize;

use super::collected::Collected;
use super::rows::{Decided, Job, Running, ms};
use super::still;
use crate::model::Bytes;

const HTML: &str = include_str!("page.html");
const CSS: &str = include_str!("page.css");
/// In the order in which they need each other.
const SCRIPTS: [&str; 5] = [
    include_str!("words.js"),
    include_str!("memory.js"),
    include_str!("hand.js"),
    include_str!("chart.js"),
    include_str!("page.js"),
];

/// What the scripts read.
#[derive(Serialize)]
struct Data<'a> {
    wall: f64,
    finished: bool,
    budget: Option<Bytes>,
    failed: &'a [Job],
    others: &'a [Job],
    only_counted: u64,
    decisions: &'a [Decided],
    running: Vec<&'a Running>,
    folder: Option<String>,
}

/// The whole page of what is known by now.
///
/// # Errors
/// None that is known of; JSON of what a run came to can always be written.
pub(super) fn page(run: &Collected) -> io::Result<String> {
    let data = serde_json::to_string(&Data {
        wall: ms(run.wall()),
        finished: run.end.is_some(),
        budget: run.head.as_ref().and_then(|head| head.budget),
        failed: &run.failed,
        others: &run.others,
        only_counted: run.only_counted,
        decisions: &run.decisions,
        running: run.running(),
        folder: run.folder.as_ref().map(|folder| folder.display().to_string()),
    })?;
    let data = in_script(&data);
    // Nobody can have known it before, so even markup that got in would not be run.
    let nonce = format!("{:016x}", RandomState::new().hash_one(0));
    let parts = |name: &str| match name {
        "nonce" => nonce.clone(),
        "title" => escaped(&still::title(run)),
        "css" => CSS.to_owned(),
        "head" => still::head(run),
        "failures" => still::failures(run),
        "scripts" => SCRIPTS.concat(),
        "data" => data.clone(),
        other => unreachable!("page.html names {other}"),
    };
    Ok(fill(HTML, parts))
}

/// JSON that may stand in a `<script>`: nothing in it ends one, or begins a comment.
///
/// Outside of strings JSON has none of these letters, so the escapes stand where they are allowed.
pub fn in_script(json: &str) -> String {
    json.replace('<', "\\u003c").replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
}

/// Text as the text of an element or within quotes.
pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            letter => safe.push(letter),
        }
    }
    safe
}

/// `{{name}}` by what `part` says of it. What that says is not looked into again.
fn fill(template: &str, part: impl Fn(&str) -> String) -> String {
    let mut pieces = template.split("{{");
    let mut filled = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (name, rest) = piece.split_once("}}").unwrap_or((piece, ""));
        filled.push_str(&part(name));
        filled.push_str(rest);
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_ends_a_script_that_holds_data() {
        let hostile = "</script><!--<script>\u{2028}\u{2029}\"'\\ ]]>";
        let json = in_script(&serde_json::to_string(hostile).unwrap());
        assert!(!json.contains(['<', '\u{2028}', '\u{2029}']), "{json}");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), hostile);
    }

    #[test]
    fn what_is_filled_in_is_not_filled_again() {
        assert_eq!(fill("a{{x}}b{{y}}", |name| format!("{{{{{name}}}}}")), "a{{x}}b{{y}}");
    }

    #[test]
    fn a_page_of_nothing_can_be_written_and_its_own_parts_end_no_script() {
        let page = page(&Collected::default()).unwrap();
        assert!(page.ends_with("</html>\n") && !page.contains("{{"));
        assert!(!CSS.contains("</"));
        for script in SCRIPTS {
            assert!(!script.contains("</script") && !script.contains("<!--"), "{script}");
        }
    }
}
