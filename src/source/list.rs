//! One command a line, in shell words: quotes and backslashes as in a shell, nothing expanded.

use crate::model::nearest::nearest;
use crate::model::{Bytes, Command};

use super::Draft;

/// A line that is no command.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// Not text.
    #[error("{name}: byte {byte} is not UTF-8; a list of jobs is text, one command a line")]
    NotText {
        /// The list.
        name: String,
        /// Where, from 0.
        byte: usize,
    },
    /// A quote that is opened and never closed.
    #[error(
        "{name}:{line}: a quote is not closed\n  {text}\nexpected one command in shell words, such as: cargo test 'a b'"
    )]
    OpenQuote {
        /// The list.
        name: String,
        /// 1-based.
        line: usize,
        /// The line.
        text: String,
    },
    /// A command whose program is the empty word.
    #[error("{name}:{line}: the command has an empty name\n  {text}")]
    EmptyProgram {
        /// The list.
        name: String,
        /// 1-based.
        line: usize,
        /// The line.
        text: String,
    },
    /// A word that only a shell would understand: as an argument it makes a job that does something else, and passes.
    #[error(
        "{name}:{line}: no shell reads this, so `{word}` would be an argument like any other\n  {text}\nwrite sh -c '...' around the command, or quotes around {word}"
    )]
    ShellWord {
        /// The list.
        name: String,
        /// 1-based.
        line: usize,
        /// The word.
        word: String,
        /// The line.
        text: String,
    },
    /// A word before the command that says something of the job, wrongly.
    #[error(
        "{name}:{line}: {why}\n  {text}\nexpected memory:SIZE or restartable:no before the command, such as memory:512M ./run"
    )]
    Attribute {
        /// The list.
        name: String,
        /// 1-based.
        line: usize,
        /// What is wrong.
        why: String,
        /// The line.
        text: String,
    },
    /// A byte that no argument can hold.
    #[error("{name}:{line}: a NUL byte can't be in a command")]
    Nul {
        /// The list.
        name: String,
        /// 1-based.
        line: usize,
    },
}

/// Reads a list. Before a command may stand what is known of it: `memory:512M`, `restartable:no`. Empty lines and lines that begin with `#` are passed over; `name` is for messages.
///
/// # Errors
/// [`ListError`] for the first line that is no command.
pub fn parse(name: &str, bytes: &[u8]) -> Result<Vec<Draft>, ListError> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| ListError::NotText { name: name.to_owned(), byte: error.valid_up_to() })?;
    let lines = text.lines().enumerate().map(|(number, line)| (number + 1, line.trim()));
    lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(number, line)| parse_line(name, number, line))
        .collect()
}

fn parse_line(name: &str, line: usize, text: &str) -> Result<Draft, ListError> {
    let (name, shown) = (name.to_owned(), || text.chars().take(200).collect());
    if text.contains('\0') {
        return Err(ListError::Nul { name, line });
    }
    let Ok(words) = shell_words::split(text) else {
        return Err(ListError::OpenQuote { name, line, text: shown() });
    };
    let mut bare = text.split_whitespace().filter(|word| is_shells(word) && is_bare(text, word));
    if let Some(word) = bare.next() {
        return Err(ListError::ShellWord { name, line, word: word.to_owned(), text: shown() });
    }
    let (mut memory, mut restartable) = (None, None);
    let mut words = words.into_iter().peekable();
    while let Some(word) = words.next_if(|word| is_attribute(word)) {
        let refuse = |why: String| ListError::Attribute { name: name.clone(), line, why, text: shown() };
        match word.split_once(':') {
            Some(("memory", size)) => {
                memory = Some(size.parse::<Bytes>().map_err(|e| refuse(e.to_string()))?)
            }
            Some(("restartable", "yes")) => restartable = Some(true),
            Some(("restartable", "no")) => restartable = Some(false),
            Some(("restartable", other)) => return Err(refuse(format!("{other:?} is neither yes nor no"))),
            _ => return Err(refuse(format!("{word:?} says nothing of a job{}", meant(&word)))),
        }
    }
    let mut words = words.map(std::ffi::OsString::from);
    match words.next() {
        Some(program) if !program.is_empty() => {
            let command = Command { program, arguments: words.collect() };
            Ok(Draft { memory, restartable, ..Draft::of(command) })
        }
        _ => Err(ListError::EmptyProgram { name, line, text: shown() }),
    }
}

/// `name:value`, before the command. No program is called like that unless by its path.
fn is_attribute(word: &str) -> bool {
    let name = word.split_once(':').map(|(name, _)| name);
    name.is_some_and(|name| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase()))
        && !word.contains('/')
}

fn meant(word: &str) -> String {
    let name = word.split(':').next().and_then(|name| nearest(name, ["memory", "restartable"]));
    name.map(|name| format!("; did you mean {name}:?")).unwrap_or_default()
}

/// Whether a shell would take it for more than an argument: what joins and redirects, by itself or at one end of a word.
fn is_shells(word: &str) -> bool {
    let is_quoted = || word.contains(['\'', '"', '\\']);
    let redirects = || word.trim_start_matches(|digit: char| digit.is_ascii_digit()).starts_with('>');
    let joins = || word.ends_with(';') || word.contains("&&") || word.contains("||");
    matches!(word, "|" | "&" | "<") || !is_quoted() && (joins() || redirects() || word.starts_with("$("))
}

/// Whether `word` stands somewhere in the line without quotes.
fn is_bare(text: &str, word: &str) -> bool {
    // What takes its place stays a word of its own only there; inside of quotes it is a part of one.
    const STAND_IN: &str = "\u{1}";
    let marked: Vec<&str> =
        text.split_whitespace().map(|bare| if bare == word { STAND_IN } else { bare }).collect();
    shell_words::split(&marked.join(" ")).is_ok_and(|words| words.iter().any(|word| word == STAND_IN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_command_in_shell_words() {
        let drafts = parse("jobs", b"# two\n\n  echo 'a  b' c\\ d\ntrue\r\n").unwrap();
        assert_eq!(drafts.len(), 2);
        assert_eq!(drafts[0].command.arguments, ["a  b", "c d"]);
        assert_eq!(drafts[1].command.program, "true");
    }

    #[test]
    fn a_bad_line_is_shown_with_its_number() {
        let error = parse("jobs", b"true\necho 'open\n").unwrap_err().to_string();
        assert!(error.starts_with("jobs:2:") && error.contains("echo 'open"), "{error}");
        assert!(parse("jobs", b"''\n").unwrap_err().to_string().contains("jobs:1"));
        assert!(parse("jobs", b"a\0b\n").is_err());
        assert!(parse("jobs", b"false && true\n").unwrap_err().to_string().contains("sh -c"));
        assert_eq!(parse("jobs", b"sh -c 'a | b' x '|'\nsh -c 'a && b'\n").unwrap().len(), 2);
        assert!(parse("jobs", b"true\n\xff\n").unwrap_err().to_string().contains("byte 5"));
    }

    #[test]
    fn what_only_a_shell_understands_is_no_argument_unless_it_is_quoted() {
        for line in ["a | b", "a; b", "a 2>&1", "a >x", "a&&b", "echo $(date)", "a < x", "a &", "a || b"] {
            assert!(matches!(parse("l", line.as_bytes()), Err(ListError::ShellWord { .. })), "{line}");
        }
        for line in [
            "sh -c 'a; b 2>&1'",
            "find . -exec x {} \\;",
            "a '>x' \"a&&b\"",
            "a --at=>x b->c $HOME a&b a|b <b>",
        ] {
            assert!(parse("l", line.as_bytes()).is_ok(), "{line}");
        }
    }

    #[test]
    fn a_job_may_say_what_it_needs() {
        let drafts = parse("jobs", b"memory:250M restartable:no ./t memory:1G\n./t\n").unwrap();
        assert_eq!((drafts[0].memory, drafts[0].restartable), (Some(Bytes::mib(250)), Some(false)));
        assert_eq!(drafts[0].command.arguments, ["memory:1G"]);
        assert_eq!((drafts[1].memory, drafts[1].restartable), (None, None));
        for (line, wanted) in [
            ("memory:lots ./t", "is not a size"),
            ("memroy:1G ./t", "jobs:1: \"memroy:1G\" says nothing of a job; did you mean memory:?"),
            ("http:80 ./t", "\"http:80\" says nothing of a job\n"),
            ("restartable:maybe ./t", "neither yes nor no"),
        ] {
            let error = parse("jobs", line.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(wanted) && error.contains("jobs:1"), "{error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_list_makes_it_panic(bytes: Vec<u8>) {
            let _ = parse("jobs", &bytes);
        }
    }
}
