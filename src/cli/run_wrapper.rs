//! `sandtest run-wrapper`: asks the run for a job, and becomes the test.
//!
//! As little as possible happens here: it stands in front of every test. Without a run to ask it is the test at once, so it may
//! stay in a build's settings.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;

use clap::Args;

use super::exit_code::OWN_FAILURE;
use super::reports::tell;
use crate::kernel::become_program::become_program;
use crate::run::runner::words::{Answer, Request, ask};
use crate::run::runner::{REQUIRED, VARIABLE};

/// The name by which it is called where a driver takes no words.
pub const NAME: &str = "run-wrapper";

/// Options of `sandtest run-wrapper`.
#[derive(Debug, Args)]
#[command(after_help = "sandtest exec sets it up for cargo, nextest, go and automake by itself. Elsewhere:
    meson test --wrapper 'sandtest run-wrapper --'
    bazel test --run_under='sandtest run-wrapper --' --spawn_strategy=local
    cmake -DCMAKE_TEST_LAUNCHER='sandtest;run-wrapper;--'  (3.29 and newer; before, CMAKE_CROSSCOMPILING_EMULATOR)

Without a run around it, it is the test at once.")]
pub struct RunWrapperArgs {
    /// The test and its arguments
    #[arg(value_name = "TEST", trailing_var_arg = true, required = true)]
    command: Vec<OsString>,
}

/// Runs it as it was parsed.
pub fn run(args: &RunWrapperArgs) -> u8 {
    become_test(args.command.clone())
}

/// The test's words, if we were called for nothing else: `sandtest run-wrapper -- TEST`, or by its name. No parser is
/// made for that.
pub fn asked_for(words: impl Iterator<Item = OsString>) -> Option<Vec<OsString>> {
    let words: Vec<OsString> = words.collect();
    let by_name = Path::new(words.first()?).file_name() == Some(OsStr::new(NAME));
    let rest = match by_name {
        true => &words[1..],
        false => words[1..].strip_prefix(&[OsString::from(NAME), OsString::from("--")][..])?,
    };
    (!rest.is_empty()).then(|| rest.to_vec())
}

/// Becomes it. Returns only if that can't be.
pub fn become_test(words: Vec<OsString>) -> u8 {
    let mut environment: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    if let Some(socket) = std::env::var_os(VARIABLE)
        && !only_lists(&words)
    {
        let package = std::env::var_os("CARGO_PKG_NAME").unwrap_or_default();
        let why = match ask(Path::new(&socket), &Request { package, words: words.clone() }) {
            Ok(Answer::Go(more)) => {
                // What it starts itself is part of it.
                let ours = |name: &OsStr| {
                    name == VARIABLE || name == REQUIRED || more.iter().any(|(other, _)| other == name)
                };
                environment.retain(|(name, _)| !ours(name));
                environment.extend(more);
                None
            }
            Ok(Answer::No(why)) => Some(why),
            Err(error) => Some(format!("the run can't be asked: {error}")),
        };
        if let Some(why) = why {
            if std::env::var_os(REQUIRED).is_some() {
                tell(&format!("{}: it has no cgroup of its own: {why}", words[0].display()));
                return OWN_FAILURE;
            }
            tell(&format!("warning: {} has no cgroup of its own: {why}", words[0].display()));
        }
    }
    if let Some(path) = merged_doctests(&words[0]) {
        environment.retain(|(name, _)| name != DOCTEST_PATH);
        environment.push((DOCTEST_PATH.into(), path));
    }
    let program = words[0].clone();
    let error = match become_program(words, environment) {
        Ok(never) => match never {},
        Err(error) => error,
    };
    tell(&format!("{}: {error}", program.display()));
    if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 }
}

/// rustdoc tells its examples where they are, but not through a runner; without it they run in one process, and say so.
const DOCTEST_PATH: &str = "RUSTDOC_DOCTEST_BIN_PATH";

/// The path of what rustdoc has made of several examples, where it has not said so itself.
fn merged_doctests(program: &OsStr) -> Option<OsString> {
    let path = Path::new(program);
    let is_rustdocs = |folder: &Path| folder.to_string_lossy().contains("rustdoctest");
    let made = path.is_absolute() && path.parent().is_some_and(is_rustdocs);
    (made && std::env::var_os(DOCTEST_PATH).is_none()).then(|| program.to_owned())
}

/// Whether the tests are only listed: nobody waits in line for that.
fn only_lists(words: &[OsString]) -> bool {
    let is_asked = |word: &OsString| word == "--list" || word == "--gtest_list_tests";
    words[1..].iter().any(is_asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[&str]) -> Option<Vec<OsString>> {
        asked_for(words.iter().map(Into::into))
    }

    #[test]
    fn it_is_known_by_its_name_and_by_its_word() {
        assert_eq!(of(&["/x/run-wrapper", "./a", "--help"]).unwrap(), ["./a", "--help"]);
        assert_eq!(of(&["sandtest", "run-wrapper", "--", "./a"]).unwrap(), ["./a"]);
        for words in
            [&["sandtest", "run-wrapper", "--help"][..], &["sandtest", "exec"], &["run-wrapper"], &[]]
        {
            assert_eq!(of(words), None, "{words:?}");
        }
    }
}
