//! Test commands that are understood: what they would run becomes jobs, a binary each or a test each.
//!
//! - [`ask`]: a program is asked for its tests, in a group of its own
//! - [`binaries`]: test binaries, and what their lists make of them
//! - [`libtest`], [`googletest`], [`catch2`]: how they list, and how one test is run
//! - [`cargo`]: `cargo test` as its binaries, with what cargo gives each; its arguments, and its messages
//! - [`pytest`]: `pytest`, a file each or a test each

pub mod ask;
pub mod binaries;
pub mod cargo;
pub mod catch2;
pub mod googletest;
pub mod libtest;
pub mod pytest;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::Draft;
use super::filter::Filter;
use crate::model::text::escaped;
use ask::{AskError, Asker};

/// What a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Each {
    /// A test binary, or a file of tests.
    Binary,
    /// A test.
    Test,
}

/// What is wanted of a test command.
pub struct Wanted<'a> {
    /// What a job is to be.
    pub each: Each,
    /// Which are wanted.
    pub filters: &'a [Filter],
    /// Asks programs.
    pub asker: &'a Asker,
    /// Tells the user a line.
    pub tell: &'a dyn Fn(&str),
}

/// What a test command would run.
#[derive(Debug, Default)]
pub struct Found {
    /// The jobs.
    pub drafts: Vec<Draft>,
    /// The command said that a failure is not the end.
    pub no_fail_fast: bool,
}

/// Why there are no jobs.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The command is none that is understood.
    #[error(
        "{command} is not understood as a test command; with --each, --filter, --partition and --list there are: cargo test, \
         pytest, and test binaries by their paths (libtest, googletest, Catch2)\nwithout them any command runs as one job, and with \
         --shards N as N"
    )]
    Unknown {
        /// Its first words.
        command: String,
    },
    /// An argument that can't be had with these options.
    #[error("{0}")]
    Argument(String),
    /// The build has failed, and has said why.
    #[error("{command} ended with exit code {code}: nothing is run")]
    Build {
        /// What was built.
        command: String,
        /// Its exit code.
        code: u8,
    },
    /// Nobody could be asked.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// The answer is no list.
    #[error("{command}: {why}{}", quoted(.said))]
    Unlisted {
        /// Who was asked, and how.
        command: String,
        /// What is wrong with the answer.
        why: Unlisted,
        /// The end of its standard error.
        said: String,
    },
    /// What cargo told of its artifacts is not understood.
    #[error("{command} answered something else than expected: {why}")]
    Message {
        /// Who was asked.
        command: String,
        /// What is wrong with it.
        why: String,
    },
}

/// What is wrong with a list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unlisted {
    /// There was none in time.
    #[error("it did not list its tests in time and was ended (--list-timeout)")]
    Late,
    /// It failed.
    #[error("it was asked for its tests and ended with exit code {0}")]
    Failed(i32),
    /// A line that is no test.
    #[error("line {number} of its list is no test: {line}; expected {expected}")]
    Line {
        /// From 1.
        number: usize,
        /// The line, as it may be shown.
        line: String,
        /// What a line is like.
        expected: &'static str,
    },
    /// It speaks nothing that is known.
    #[error(
        "it lists its tests neither as libtest nor as googletest or Catch2 do; --each binary runs it whole"
    )]
    Unknown,
}

impl Unlisted {
    fn line(number: usize, line: &[u8], expected: &'static str) -> Unlisted {
        let line = escaped(&String::from_utf8_lossy(line).chars().take(200).collect::<String>());
        Unlisted::Line { number, line, expected }
    }
}

fn quoted(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!("\nit said:\n{said}") }
}

/// Finds what the command would run.
///
/// # Errors
/// [`SourceError`], for the user.
pub fn find(words: &[OsString], wanted: &Wanted) -> Result<Found, SourceError> {
    let program = words.first().map(OsString::as_os_str).unwrap_or_default();
    match Path::new(program).file_name().and_then(OsStr::to_str).unwrap_or_default() {
        "cargo" if cargo::arguments::is_test(words) => cargo::find(words, wanted),
        _ if pytest::is_pytest(words) => pytest::find(words, wanted),
        _ if program.as_bytes().contains(&b'/') && Path::new(program).is_file() => {
            binaries::find(words, wanted).map(|drafts| Found { drafts, no_fail_fast: false })
        }
        _ if program.as_bytes().contains(&b'/') && !Path::new(program).exists() => Err(
            SourceError::Argument(format!("{}: there is no such file", escaped(&program.to_string_lossy()))),
        ),
        _ => {
            let is_option = |word: &&OsString| word.as_bytes().starts_with(b"-");
            let subcommand = words.get(1).filter(|word| !is_option(word));
            let first: Vec<_> =
                words.iter().take(1).chain(subcommand).map(|word| word.to_string_lossy()).collect();
            Err(SourceError::Unknown { command: escaped(&first.join(" ")) })
        }
    }
}
