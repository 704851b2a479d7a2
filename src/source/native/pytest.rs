//! pytest: `--collect-only -q`, a file each or a test each.
//!
//! No plugin is needed. How many run at once is ours to say, so pytest-xdist's `-n` is left out.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use super::ask::Question;
use super::{Each, Found, SourceError, Unlisted, Wanted};
use crate::model::Command;
use crate::source::filter::{self, Subject};
use crate::source::{Address, Draft};

/// Collected, and nothing was there.
const NOTHING: i32 = 5;

/// Options that take the next word.
const WITH_VALUE: [&str; 29] = [
    "-k",
    "-m",
    "-p",
    "-c",
    "--config-file",
    "-o",
    "--override-ini",
    "-W",
    "--pythonwarnings",
    "-r",
    "--rootdir",
    "--junitxml",
    "--junit-xml",
    "--junit-prefix",
    "--basetemp",
    "--maxfail",
    "--tb",
    "--capture",
    "--color",
    "--durations",
    "--durations-min",
    "--deselect",
    "--ignore",
    "--ignore-glob",
    "--confcutdir",
    "--import-mode",
    "--log-level",
    "--log-file",
    "--cov",
];

/// Ways of pytest-xdist.
const WORKERS: [&str; 5] = ["-n", "--numprocesses", "--dist", "--maxprocesses", "--tx"];

/// The words, sorted.
struct Arguments {
    /// `pytest`, or `python -m pytest`.
    command: Vec<OsString>,
    options: Vec<OsString>,
    /// Files, folders and tests.
    places: Vec<OsString>,
}

/// Whether the words are a pytest.
pub fn is_pytest(words: &[OsString]) -> bool {
    command_length(words).is_some()
}

fn command_length(words: &[OsString]) -> Option<usize> {
    let name = Path::new(words.first()?).file_name()?.to_str()?;
    if matches!(name, "pytest" | "py.test") {
        return Some(1);
    }
    let is_python = name
        .strip_prefix("python")
        .is_some_and(|version| version.bytes().all(|b| b.is_ascii_digit() || b == b'.'));
    let module = words.iter().position(|word| word == "-m")?;
    let options_only = words[1..module].iter().all(|word| word.as_bytes().starts_with(b"-"));
    (is_python && options_only && words.get(module + 1)? == "pytest").then_some(module + 2)
}

impl Arguments {
    fn parse(words: &[OsString]) -> Arguments {
        let length = command_length(words).unwrap_or(1);
        let mut sorted =
            Arguments { command: words[..length].to_vec(), options: Vec::new(), places: Vec::new() };
        let mut rest = words[length..].iter();
        while let Some(word) = rest.next() {
            let text = word.to_str().unwrap_or_default();
            let name = text.split('=').next().unwrap_or_default();
            if text == "--" {
                sorted.places.extend(rest.by_ref().cloned());
            } else if WORKERS.contains(&name) || is_count_of_workers(text) {
                if WORKERS.contains(&text) {
                    rest.next();
                }
            } else if word.as_bytes().starts_with(b"-") {
                sorted.options.push(word.clone());
                if WITH_VALUE.contains(&text) {
                    sorted.options.extend(rest.next().cloned());
                }
            } else {
                sorted.places.push(word.clone());
            }
        }
        sorted
    }

    /// What asks for the tests. How much pytest says is set here, whatever the project's own options say.
    fn listing(&self, quiet: &str) -> Vec<OsString> {
        let is_verbosity = |word: &&OsString| {
            let text = word.to_str().unwrap_or_default();
            matches!(text, "--quiet" | "--verbose")
                || text.strip_prefix('-').is_some_and(|rest| {
                    !rest.is_empty() && (rest.bytes().all(|b| b == b'q') || rest.bytes().all(|b| b == b'v'))
                })
        };
        let own = ["--collect-only", quiet, "--color=no", "-p", "no:cacheprovider"].map(OsString::from);
        let options = self.options.iter().filter(|word| !is_verbosity(word));
        self.command.iter().chain(options).cloned().chain(own).chain(self.places.iter().cloned()).collect()
    }

    /// Whether single tests were named, and not only where they are.
    fn names_tests(&self) -> bool {
        self.places.iter().any(|place| place.as_bytes().windows(2).any(|window| window == b"::"))
    }

    fn draft(&self, places: Vec<OsString>) -> Draft {
        let mut words = self.command.iter().chain(&self.options).cloned().chain(places);
        let program = words.next().unwrap_or_default();
        Draft::of(Command { program, arguments: words.collect() })
    }
}

/// `-n4`, `-nauto`
fn is_count_of_workers(text: &str) -> bool {
    let count = text.strip_prefix("-n");
    count.is_some_and(|count| {
        matches!(count, "auto" | "logical")
            || (!count.is_empty() && count.bytes().all(|b| b.is_ascii_digit()))
    })
}

pub(super) fn find(words: &[OsString], wanted: &Wanted) -> Result<Found, SourceError> {
    let arguments = Arguments::parse(words);
    if arguments.options.iter().any(|option| option == "--collect-only" || option == "--co") {
        return Err(SourceError::Argument(
            "pytest --collect-only runs nothing; sandtest exec --list lists the jobs".into(),
        ));
    }
    // By file, in pytest's order.
    let mut files: Vec<(OsString, Vec<OsString>)> = Vec::new();
    for id in list(&arguments, wanted)? {
        let file = file_of(&id);
        match files.iter_mut().find(|(known, _)| known == file) {
            Some((_, tests)) => tests.push(id),
            None => files.push((file.to_owned(), vec![id])),
        }
    }
    let drafts = files.iter().flat_map(|(file, tests)| of_file(file, tests, &arguments, wanted)).collect();
    Ok(Found { drafts, no_fail_fast: false })
}

/// The jobs of a file.
fn of_file(file: &OsStr, tests: &[OsString], arguments: &Arguments, wanted: &Wanted) -> Vec<Draft> {
    let name = file.to_string_lossy().into_owned();
    let is_meant = |id: &&OsString| {
        let subject =
            Subject { package: None, binary: &name, binary_id: &name, test: Some(&id.to_string_lossy()) };
        filter::any(wanted.filters, subject) == Some(true)
    };
    let meant: Vec<&OsString> = tests.iter().filter(is_meant).collect();
    let draft = |places: Vec<OsString>, test: Option<String>| {
        let mut draft = arguments.draft(places);
        draft.name = Some(test.clone().unwrap_or_else(|| name.clone()));
        draft.address =
            Address { package: None, binary: Some(name.clone()), binary_id: Some(name.clone()), test };
        draft
    };
    match wanted.each {
        Each::Test => {
            let of_one = |id: &OsString| draft(vec![from_here(id)], Some(id.to_string_lossy().into_owned()));
            meant.into_iter().map(of_one).collect()
        }
        Each::Binary if meant.is_empty() => Vec::new(),
        // The whole file is less to say; but not where only some of it was meant.
        Each::Binary if meant.len() == tests.len() && !arguments.names_tests() => {
            vec![draft(vec![from_here(file)], None)]
        }
        Each::Binary => vec![draft(meant.into_iter().map(|id| from_here(id)).collect(), None)],
    }
}

fn list(arguments: &Arguments, wanted: &Wanted) -> Result<Vec<OsString>, SourceError> {
    // A project's own `addopts` may add to what is said here, or take from it.
    let mut tests = Vec::new();
    for quiet in ["-q", "-qq", "-v"] {
        let question = Question::of(arguments.listing(quiet));
        let answer = wanted.asker.ask(&question)?;
        let why = match answer.code {
            0 => {
                tests = ids(&answer.output);
                if !tests.is_empty() {
                    break;
                }
                continue;
            }
            NOTHING => return Ok(Vec::new()),
            _ if answer.late => Unlisted::Late,
            code => Unlisted::Failed(code),
        };
        let command = shell_words::join(question.words.iter().map(|word| word.to_string_lossy()));
        // It tells of errors on standard output.
        let said = [String::from_utf8_lossy(&answer.output).trim().to_owned(), answer.said].join("\n");
        return Err(SourceError::Unlisted { command, why, said });
    }
    Ok(tests)
}

/// The lines up to the first empty one that name a test, each once.
fn ids(output: &[u8]) -> Vec<OsString> {
    let lines = output.split(|byte| *byte == b'\n').take_while(|line| !line.is_empty());
    let mut seen = HashSet::new();
    lines
        .filter(|line| line.windows(2).any(|window| window == b"::"))
        .map(|line| OsString::from_vec(line.to_vec()))
        .filter(|id| seen.insert(id.clone()))
        .collect()
}

fn file_of(id: &OsStr) -> &OsStr {
    let bytes = id.as_bytes();
    let end = bytes.windows(2).position(|window| window == b"::").unwrap_or(bytes.len());
    OsStr::from_bytes(&bytes[..end])
}

/// Names are from pytest's root folder; a test is found from the working directory.
fn from_here(id: &OsStr) -> OsString {
    let file = Path::new(file_of(id));
    let mut up = std::path::PathBuf::new();
    for _ in 0..16 {
        if up.join(file).exists() {
            let mut path = up.into_os_string();
            if !path.is_empty() {
                path.push("/");
            }
            path.push(id);
            return path;
        }
        up.push("..");
    }
    id.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    fn joined(words: &[OsString]) -> String {
        words.join(OsStr::new(" ")).into_string().unwrap()
    }

    #[test]
    fn pytest_is_known_by_its_names() {
        for (line, known) in [
            ("pytest -x", true),
            ("/venv/bin/pytest", true),
            ("python3 -m pytest tests", true),
            ("python3.11 -B -m pytest", true),
            ("python3 run.py -m pytest", false),
            ("python3 -m unittest", false),
            ("pythonic -m pytest", false),
        ] {
            assert_eq!(is_pytest(&words(line)), known, "{line}");
        }
    }

    #[test]
    fn places_are_told_from_options_and_workers_are_ours() {
        let sorted = Arguments::parse(&words(
            "python3 -m pytest -vv -n 4 -k not_slow tests a.py::b -nauto --dist=load -m gpu -x",
        ));
        assert_eq!(joined(&sorted.options), "-vv -k not_slow -m gpu -x");
        assert_eq!(joined(&sorted.places), "tests a.py::b");
        assert_eq!(
            joined(&sorted.listing("-q")),
            "python3 -m pytest -k not_slow -m gpu -x --collect-only -q --color=no -p no:cacheprovider tests a.py::b"
        );
    }

    #[test]
    fn a_list_ends_with_an_empty_line() {
        let list = b"a.py::test_x[a b]\na.py::C::test_y\na.py::C::test_y\n\n2 tests::collected in 0.01s\n";
        assert_eq!(ids(list), ["a.py::test_x[a b]", "a.py::C::test_y"]);
        assert_eq!(file_of(OsStr::new("a/b.py::C::x[::]")), "a/b.py");
    }

    proptest::proptest! {
        #[test]
        fn no_list_makes_it_panic(bytes: Vec<u8>) {
            ids(&bytes).iter().for_each(|id| drop(from_here(id)));
        }
    }
}
