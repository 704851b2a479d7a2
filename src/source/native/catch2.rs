//! Catch2: a test by its name. Version 3 lists with `--list-tests --reporter xml`, version 2 with `--list-test-names-only`.
//!
//! The plain list of version 3 breaks long names over lines and indents them; the XML has each as it is. Hidden tests are not
//! run unless they are asked for, and listed by version 2 although they are not.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::Unlisted;

/// What is meant where nothing is said.
const NOT_HIDDEN: &str = "~[.]";

/// What asks version 3 for the tests.
pub fn listing(arguments: &[OsString]) -> Vec<OsString> {
    asking(arguments, &["--list-tests", "--reporter", "xml"])
}

/// What asks version 2.
pub fn old_listing(arguments: &[OsString]) -> Vec<OsString> {
    asking(arguments, &["--list-test-names-only"])
}

fn asking(arguments: &[OsString], own: &[&str]) -> Vec<OsString> {
    let (mut words, choice) = sorted(arguments);
    words.extend(own.iter().map(OsString::from));
    words.extend(if choice.is_empty() { vec![NOT_HIDDEN.into()] } else { choice });
    words
}

/// The tests of version 2's list: a name a line.
///
/// # Errors
/// None so far: any line may be a name.
pub fn old_names(list: &[u8]) -> Result<Vec<OsString>, Unlisted> {
    let mut found: Vec<OsString> = Vec::new();
    for line in lines(list) {
        // One that begins with `#` is in quotes.
        let quoted = line.strip_prefix(b"\"#").and_then(|rest| rest.strip_suffix(b"\""));
        let name = quoted.map_or_else(|| line.to_vec(), |rest| [b"#", rest].concat());
        let name = OsString::from_vec(name);
        if !found.contains(&name) {
            found.push(name);
        }
    }
    Ok(found)
}

/// Whether an exit code is the count of the names in version 2's list, as far as a code can count.
pub fn counts(list: &[u8], code: i32) -> bool {
    usize::try_from(code).is_ok_and(|code| code > 0 && lines(list).count().min(255) == code)
}

fn lines(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

/// The tests of a list.
///
/// # Errors
/// If it is no such list.
pub fn names(list: &[u8]) -> Result<Vec<OsString>, Unlisted> {
    let text = String::from_utf8_lossy(list);
    let text = text.trim_start();
    if !text.starts_with("<?xml") || !text.contains("MatchingTests") {
        let first = list.split(|byte| *byte == b'\n').next().unwrap_or_default();
        return Err(Unlisted::line(1, first, "an XML list of tests"));
    }
    let mut found: Vec<OsString> = Vec::new();
    for case in text.split("<TestCase>").skip(1) {
        let name = case.split_once("<Name>").and_then(|(_, rest)| rest.split_once("</Name>"));
        let Some((name, _)) = name else { continue };
        let name = OsString::from(unescaped(name));
        // Two of one name, in classes, are run by one name.
        if !found.contains(&name) {
            found.push(name);
        }
    }
    Ok(found)
}

/// The same with version 2, which would take it for well if none of them were there.
pub fn of_some_old(arguments: &[OsString], tests: &[OsString]) -> Vec<OsString> {
    let mut words: Vec<OsString> = ["--warn", "NoTests"].map(OsString::from).into();
    words.extend(of_some(arguments, tests));
    words
}

/// Runs these tests. What the user chose, by names and tags, has chosen already; options stay.
pub fn of_some(arguments: &[OsString], tests: &[OsString]) -> Vec<OsString> {
    let (mut words, _) = sorted(arguments);
    let names: Vec<OsString> = tests.iter().map(|test| specified(&test.to_string_lossy()).into()).collect();
    words.push(names.join(OsStr::new(",")));
    words
}

/// Options, and what chooses tests.
fn sorted(arguments: &[OsString]) -> (Vec<OsString>, Vec<OsString>) {
    let (mut options, mut choice) = (Vec::new(), Vec::new());
    let mut rest = arguments.iter();
    while let Some(word) = rest.next() {
        if !word.as_bytes().starts_with(b"-") {
            choice.push(word.clone());
            continue;
        }
        options.push(word.clone());
        if takes_value(word) {
            options.extend(rest.next().cloned());
        }
    }
    (options, choice)
}

/// Options that take the next word.
fn takes_value(word: &OsStr) -> bool {
    let known = [
        "-r",
        "--reporter",
        "-o",
        "--out",
        "-n",
        "--name",
        "-x",
        "--abortx",
        "-w",
        "--warn",
        "-d",
        "--durations",
        "-D",
        "--min-duration",
        "-f",
        "--input-file",
        "-c",
        "--section",
        "-v",
        "--verbosity",
        "--order",
        "--rng-seed",
        "--colour-mode",
        "--wait-for-keypress",
        "--benchmark-samples",
        "--benchmark-resamples",
        "--benchmark-confidence-interval",
        "--benchmark-warmup-time",
        "--shard-count",
        "--shard-index",
    ];
    known.iter().any(|option| word == *option)
}

/// A name as a test spec means it: what would be a wildcard, a tag or the next spec is escaped; only in quotes a tilde or a
/// space at its begin is a part of it.
fn specified(name: &str) -> String {
    let mut spec = String::new();
    for letter in name.chars() {
        if matches!(letter, '\\' | ',' | '[' | '"' | '*' | '~') {
            spec.push('\\');
        }
        spec.push(letter);
    }
    if name.starts_with(['~', ' ']) { format!("\"{spec}\"") } else { spec }
}

fn unescaped(text: &str) -> String {
    let pairs = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&amp;", "&")];
    pairs.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_from_the_list_as_they_are() {
        let list = b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<MatchingTests>\n  <TestCase>\n    <Name>a &lt;b&gt; &amp;amp; c</Name>\n    \
            <ClassName/>\n    <Tags>[x]</Tags>\n  </TestCase>\n  <TestCase>\n    <Name>two</Name>\n  </TestCase>\n</MatchingTests>\n";
        assert_eq!(names(list).unwrap(), ["a <b> &amp; c", "two"]);
        assert!(names(b"usage\n").is_err());
    }

    #[test]
    fn a_name_is_meant_as_it_is() {
        assert_eq!(specified("a, b[c]*"), "a\\, b\\[c]\\*");
        assert_eq!(specified("~a, b"), "\"\\~a\\, b\"");
        let words = of_some(
            &["[tag]".into(), "-r".into(), "compact".into(), "name".into()],
            &["a".into(), "b,".into()],
        );
        assert_eq!(words, ["-r", "compact", "a,b\\,"]);
    }

    #[test]
    fn the_old_list_is_counted_by_its_exit_code() {
        let list = b"one\n\"# two\"\none\n";
        assert_eq!(old_names(list).unwrap(), ["one", "# two"]);
        assert!(counts(list, 3) && !counts(list, 1) && !counts(b"", 0));
        assert!(counts("x\n".repeat(300).as_bytes(), 255));
    }

    #[test]
    fn hidden_tests_are_listed_only_if_they_are_asked_for() {
        assert_eq!(old_listing(&[]), ["--list-test-names-only", "~[.]"]);
        assert_eq!(old_listing(&["[.slow]".into()]), ["--list-test-names-only", "[.slow]"]);
    }

    proptest::proptest! {
        #[test]
        fn no_list_makes_it_panic(bytes: Vec<u8>) {
            let _ = names(&bytes);
        }
    }
}
