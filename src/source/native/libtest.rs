//! Rust's own harness, and those that speak like it: `--list --format terse`, `--exact NAME`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::Unlisted;

/// Options that take the next word.
const WITH_VALUE: [&str; 7] =
    ["--skip", "--logfile", "--test-threads", "--color", "--format", "--shuffle-seed", "-Z"];

/// What stands behind `--` of a `cargo test`, or behind a test binary.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    /// `--ignored`, `--include-ignored` or neither.
    pub ignored: Ignored,
    /// What chooses tests: substrings, `--skip`, `--exact`. The binary itself heeds them when it lists.
    chooses: Vec<OsString>,
    /// Everything else.
    others: Vec<OsString>,
}

/// Which tests are meant of those that are marked `#[ignore]`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Ignored {
    /// Those that are not.
    #[default]
    Left,
    /// Only those.
    Only,
    /// All.
    Included,
}

impl Arguments {
    /// Sorts the words.
    ///
    /// # Errors
    /// In words: one that would keep tests from being listed or run one by one.
    pub fn parse(words: &[OsString]) -> Result<Arguments, String> {
        let mut sorted = Arguments::default();
        let mut words = words.iter();
        let (mut only, mut included, mut options_end) = (false, false, false);
        while let Some(word) = words.next() {
            let text = word.to_str().unwrap_or_default();
            let name = text.split('=').next().unwrap_or_default();
            match name {
                _ if options_end || !word.as_bytes().starts_with(b"-") => sorted.chooses.push(word.clone()),
                "--" => options_end = true,
                "--ignored" => only = true,
                "--include-ignored" => included = true,
                // Given to each job anyway, and twice is an error.
                "--nocapture" | "--no-capture" => {}
                "--exact" => sorted.chooses.push(word.clone()),
                "--list" => {
                    return Err(
                        "--list stands before the command: sandtest exec --list --each test -- ...".into()
                    );
                }
                name => {
                    let target = if name == "--skip" { &mut sorted.chooses } else { &mut sorted.others };
                    target.push(word.clone());
                    if WITH_VALUE.contains(&text) {
                        target.extend(words.next().cloned());
                    }
                }
            }
        }
        sorted.ignored = match (only, included) {
            (_, true) => Ignored::Included,
            (true, false) => Ignored::Only,
            (false, false) => Ignored::Left,
        };
        Ok(sorted)
    }

    /// What to ask for: all tests that are chosen, and of those the ones that are ignored.
    pub fn listings(&self) -> [Option<Vec<OsString>>; 2] {
        let ask = |ignored: &[&str]| {
            let words = ["--list", "--format", "terse"].iter().chain(ignored).map(OsString::from);
            Some(words.chain(self.chooses.iter().cloned()).collect())
        };
        match self.ignored {
            Ignored::Left => [ask(&[]), ask(&["--ignored"])],
            Ignored::Only => [None, ask(&["--ignored"])],
            Ignored::Included => [ask(&[]), None],
        }
    }

    /// Of the answers to [`Arguments::listings`], the tests to run, each once.
    pub fn chosen(&self, all: Vec<OsString>, ignored: Vec<OsString>) -> Vec<OsString> {
        let from = if self.ignored == Ignored::Only {
            ignored
        } else {
            let ignored: std::collections::HashSet<OsString> = ignored.into_iter().collect();
            all.into_iter().filter(|test| !ignored.contains(test)).collect()
        };
        let mut seen = std::collections::HashSet::new();
        // Two of one name are run by one `--exact`.
        from.into_iter().filter(|test| seen.insert(test.clone())).collect()
    }

    /// Runs one test, and shows what it writes as it comes: alone in its process there is nobody to keep it apart from.
    pub fn of_one(&self, test: &OsStr) -> Vec<OsString> {
        let mut words = self.of_some([test.to_owned()]);
        words.insert(0, "--nocapture".into());
        words
    }

    /// Runs these tests.
    pub fn of_some(&self, tests: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
        let ignored = match self.ignored {
            Ignored::Left => None,
            Ignored::Only => Some("--ignored"),
            Ignored::Included => Some("--include-ignored"),
        };
        let mut words: Vec<OsString> = self.others.clone();
        words.extend(ignored.map(OsString::from));
        words.push("--exact".into());
        let tests: Vec<OsString> = tests.into_iter().collect();
        // A name may look like an option.
        words.extend(tests.iter().any(|test| test.as_bytes().starts_with(b"-")).then(|| "--".into()));
        words.extend(tests);
        words
    }
}

/// The names in a terse list: `name: test` or `name: benchmark` a line, and nothing else.
///
/// # Errors
/// The first line that is something else: then it is no list, or one with a name that holds a line feed.
pub fn names(list: &[u8]) -> Result<Vec<OsString>, Unlisted> {
    let mut found = Vec::new();
    for (number, line) in list.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() || is_count(line) {
            continue;
        }
        let name = line.strip_suffix(b": test").or_else(|| line.strip_suffix(b": benchmark"));
        match name.filter(|name| !name.is_empty()) {
            Some(name) => found.push(OsString::from_vec(name.to_vec())),
            None => return Err(Unlisted::line(number + 1, line, "NAME: test")),
        }
    }
    Ok(found)
}

/// `3 tests, 0 benchmarks`, from harnesses that know no terse list.
fn is_count(line: &[u8]) -> bool {
    let text = String::from_utf8_lossy(line);
    let words: Vec<&str> = text.split(' ').collect();
    matches!(words[..], [tests, "test," | "tests,", benchmarks, "benchmark" | "benchmarks"]
        if tests.parse::<u64>().is_ok() && benchmarks.parse::<u64>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    fn joined(words: Vec<OsString>) -> String {
        words.join(OsStr::new(" ")).into_string().unwrap()
    }

    #[test]
    fn what_chooses_tests_goes_into_the_list_and_the_rest_into_each_run() {
        let arguments =
            Arguments::parse(&words("--skip slow --test-threads 1 lexer --nocapture --color=never -- --odd"))
                .unwrap();
        let [all, ignored] = arguments.listings();
        assert_eq!(joined(all.unwrap()), "--list --format terse --skip slow lexer --odd");
        assert_eq!(joined(ignored.unwrap()), "--list --format terse --ignored --skip slow lexer --odd");
        assert_eq!(
            joined(arguments.of_one(OsStr::new("lexer::a"))),
            "--nocapture --test-threads 1 --color=never --exact lexer::a"
        );
        assert_eq!(
            joined(arguments.of_one(OsStr::new("-x"))),
            "--nocapture --test-threads 1 --color=never --exact -- -x"
        );
    }

    #[test]
    fn ignored_tests_are_left_out_unless_they_are_asked_for() {
        let chosen = |line: &str| {
            let arguments = Arguments::parse(&words(line)).unwrap();
            let [all, ignored] = arguments.listings();
            let answer =
                |asked: Option<_>, tests: &str| if asked.is_some() { words(tests) } else { Vec::new() };
            let chosen = arguments.chosen(answer(all, "a b c a"), answer(ignored, "b"));
            (joined(chosen), joined(arguments.of_some([OsString::from("b")])))
        };
        assert_eq!(chosen(""), ("a c".into(), "--exact b".into()));
        assert_eq!(chosen("--ignored"), ("b".into(), "--ignored --exact b".into()));
        assert_eq!(chosen("--include-ignored"), ("a b c".into(), "--include-ignored --exact b".into()));
    }

    #[test]
    fn a_list_is_taken_whole_or_not_at_all() {
        let list = b"a: test\nm::b c: test\n\xff'\x1b[: benchmark\r\n\n3 tests, 1 benchmark\n";
        let found = names(list).unwrap();
        assert_eq!(found[1], "m::b c");
        assert_eq!(found[2].as_bytes(), b"\xff'\x1b[");
        assert_eq!(names(b"").unwrap(), Vec::<OsString>::new());
        for (list, line) in
            [("a: test\nhello\n", "line 2"), (": test\n", "line 1"), ("two\nlines: test", "line 1")]
        {
            let error = names(list.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(line), "{error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_list_makes_it_panic(bytes: Vec<u8>) {
            let _ = names(&bytes);
        }
    }
}
