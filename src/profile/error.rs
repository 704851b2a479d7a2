//! What can be wrong with a profile. All of it is the user's to mend, so each error says where and how.

use std::io;
use std::path::PathBuf;

use super::place::Place;
use super::project;

/// Why there is no profile to run with.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// No file of that name in any place.
    #[error("there is no profile {name:?}{}\n{}", meant(.nearest), available(.found, .searched))]
    Unknown {
        /// What was asked for.
        name: String,
        /// What was probably meant.
        nearest: Option<String>,
        /// All names there are.
        found: Vec<String>,
        /// The folders that were looked through, besides the built-in profiles.
        searched: Vec<PathBuf>,
    },
    /// `extends:` names a profile that is not there.
    #[error("{at}: there is no profile {name:?} to extend{}\n{}\n{}", meant(.nearest), at.snippet(), available(.found, .searched))]
    UnknownParent {
        /// Where it is named.
        at: Box<Place>,
        /// What was asked for.
        name: String,
        /// What was probably meant.
        nearest: Option<String>,
        /// All names there are.
        found: Vec<String>,
        /// The folders that were looked through, besides the built-in profiles.
        searched: Vec<PathBuf>,
    },
    /// Profiles extend each other in a circle.
    #[error("{at}: profiles extend each other in a circle: {}\n{}", chain.join(" -> "), at.snippet())]
    Cycle {
        /// The `extends:` that closes it.
        at: Box<Place>,
        /// The files, in the order in which they extend each other.
        chain: Vec<String>,
    },
    /// The file can't be read.
    #[error("read {path}: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that was meant as the project's own.
    #[error("{path} is not read: a project's file of rules and groups is called {wanted}; rename it", wanted = project::FILE)]
    ProjectMisnamed {
        /// Which.
        path: PathBuf,
    },
    /// The project's own file where a profile is wanted.
    #[error(
        "{path} is a project's file of rules and groups, no profile: a run in its folder reads it by itself; \
             expected a profile's name such as native, or another file's path"
    )]
    IsProject {
        /// Which.
        path: PathBuf,
    },
    /// It is a folder, a pipe or a device.
    #[error("{path} is not a regular file; expected a profile in YAML")]
    NotAFile {
        /// Which.
        path: PathBuf,
    },
    /// Refused by its size, before it is read.
    #[error("{path} is too large for a profile: {size} bytes, at most {cap} are read")]
    TooLarge {
        /// Which.
        path: PathBuf,
        /// How large it is.
        size: u64,
        /// How large it may be.
        cap: u64,
    },
    /// Bytes that are no text.
    #[error("{at}: not UTF-8{hint}; expected a text file saved as UTF-8\n{}", at.snippet())]
    NotUtf8 {
        /// Where the first such byte is.
        at: Box<Place>,
        /// What it looks like instead.
        hint: &'static str,
    },
    /// Nothing but comments and blanks.
    #[error("{at}: the file is empty; expected at least one key, such as `{such_as}`\n{}", at.snippet())]
    Empty {
        /// Its beginning.
        at: Box<Place>,
        /// What might stand there.
        such_as: &'static str,
    },
    /// A second document begins.
    #[error("{at}: a second YAML document begins here; expected one profile in one file\n{}", at.snippet())]
    SecondDocument {
        /// Its `---`.
        at: Box<Place>,
    },
    /// A key that no profile has.
    #[error("{at}: unknown key {key:?}{}{}\n{}\n  expected one of: {}", in_section(.section), meant(.nearest), at.snippet(), known.join(", "))]
    UnknownKey {
        /// Where it stands.
        at: Box<Place>,
        /// As written.
        key: String,
        /// The section that it stands in; empty for the file itself.
        section: String,
        /// What was probably meant.
        nearest: Option<String>,
        /// What may stand there.
        known: Vec<String>,
    },
    /// A key that is there twice.
    #[error("{at}: {key:?} is set a second time{}; expected each key once\n{}", first_at(.first), at.snippet())]
    DuplicateKey {
        /// Where it stands the second time.
        at: Box<Place>,
        /// As written.
        key: String,
        /// The line that has it first.
        first: Option<usize>,
    },
    /// A rule takes a group that nobody has declared.
    #[error("{at}: there is no group {name:?}{}\n{}\n  {}", meant(.nearest), at.snippet(), declared_groups(.declared))]
    UnknownGroup {
        /// Where it is named.
        at: Box<Place>,
        /// As written.
        name: String,
        /// What was probably meant.
        nearest: Option<String>,
        /// All groups there are.
        declared: Vec<String>,
    },
    /// An option of the command line that this machine can't fulfil.
    #[error("{option}: {message}")]
    Option {
        /// Which.
        option: &'static str,
        /// What is wrong and what was expected.
        message: String,
    },
    /// Not YAML, or not a value that the key takes.
    #[error("{at}: {message}\n{}", at.snippet())]
    Value {
        /// Where it stands.
        at: Box<Place>,
        /// What is wrong and what was expected.
        message: String,
    },
}

fn meant(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|name| format!("; did you mean {name:?}?")).unwrap_or_default()
}

fn in_section(section: &str) -> String {
    if section.is_empty() { String::new() } else { format!(" in `{section}`") }
}

fn first_at(first: &Option<usize>) -> String {
    first.map(|line| format!("; line {line} has it already")).unwrap_or_default()
}

fn declared_groups(groups: &[String]) -> String {
    if groups.is_empty() {
        return "no group is declared; expected it under `groups:`, such as `groups: {gpu: 1}`".to_owned();
    }
    format!("declared under `groups:`: {}", groups.join(", "))
}

fn available(found: &[String], searched: &[PathBuf]) -> String {
    let folders: String = searched.iter().map(|folder| format!("{}/, ", folder.display())).collect();
    format!("  found: {}\n  looked in: {folders}built in", found.join(", "))
}
