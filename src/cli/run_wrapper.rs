//! `sandtest run-wrapper`: asks the run for a job, and becomes the test.
//!
//! For who writes it into a build's settings. What `sandtest exec` puts before tests itself is the same as a program of its own
//! ([`crate::kernel::wrapper`]).

use std::ffi::{OsStr, OsString};

use clap::Args;

use super::exit_code::OWN_FAILURE;
use super::reports::tell;
use crate::kernel::wrapper::here;

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

/// The test's words, if we were called for nothing else. No parser is made for that: it stands in front of every test.
pub fn asked_for(mut words: impl Iterator<Item = OsString>) -> Option<Vec<OsString>> {
    words.next()?;
    if words.next()? != OsStr::new("run-wrapper") || words.next()? != OsStr::new("--") {
        return None;
    }
    let rest: Vec<OsString> = words.collect();
    (!rest.is_empty()).then_some(rest)
}

/// Becomes it. Returns only if that can't be.
pub fn become_test(words: Vec<OsString>) -> u8 {
    here::become_test(words).unwrap_or_else(|error| {
        tell(&error.to_string());
        OWN_FAILURE
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[&str]) -> Option<Vec<OsString>> {
        asked_for(words.iter().map(Into::into))
    }

    #[test]
    fn it_is_known_by_its_word() {
        assert_eq!(of(&["sandtest", "run-wrapper", "--", "./a", "--help"]).unwrap(), ["./a", "--help"]);
        for words in
            [&["sandtest", "run-wrapper", "--help"][..], &["sandtest", "exec"], &["run-wrapper"], &[]]
        {
            assert_eq!(of(words), None, "{words:?}");
        }
    }
}
