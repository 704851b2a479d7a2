//! The words of a `cargo test`: what builds, and what the test binaries are given.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

/// Options that take the next word.
const WITH_VALUE: [&str; 22] = [
    "--test",
    "--bin",
    "--example",
    "--bench",
    "-p",
    "--package",
    "--exclude",
    "-j",
    "--jobs",
    "-F",
    "--features",
    "--target",
    "--target-dir",
    "--manifest-path",
    "--message-format",
    "--color",
    "--config",
    "-Z",
    "--profile",
    "--lockfile-path",
    "-C",
    "--artifact-dir",
];

/// With one of these only what they name is tested, and no documentation.
const TARGETS: [&str; 10] = [
    "--lib",
    "--bins",
    "--bin",
    "--tests",
    "--test",
    "--examples",
    "--example",
    "--benches",
    "--bench",
    "--all-targets",
];

/// The words, sorted.
#[derive(Debug, PartialEq, Eq)]
pub struct Arguments {
    /// `cargo`, what stands before `test`, and `test`.
    pub cargo: Vec<OsString>,
    /// What builds.
    pub options: Vec<OsString>,
    /// What the test binaries are given: the name to look for, and what stands behind `--`.
    pub tests: Vec<OsString>,
    /// What is tested.
    pub scope: Scope,
    /// `--no-fail-fast`.
    pub no_fail_fast: bool,
}

/// What is tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Targets and documentation.
    All,
    /// Targets that are named.
    Targets,
    /// `--doc`.
    Documentation,
}

/// Whether the words are a `cargo test`.
pub fn is_test(words: &[OsString]) -> bool {
    subcommand(words).is_some_and(|at| words[at] == "test" || words[at] == "t")
}

fn subcommand(words: &[OsString]) -> Option<usize> {
    let mut at = 1;
    loop {
        let word = words.get(at)?;
        match word.to_str().unwrap_or_default() {
            text if WITH_VALUE.contains(&text) => at += 2,
            text if text.starts_with(['-', '+']) => at += 1,
            _ => return Some(at),
        }
    }
}

impl Arguments {
    /// What is built for, if that is said.
    pub fn targets(&self) -> Vec<String> {
        let said = |pair: &[OsString]| {
            let (word, next) = (pair[0].to_str()?, pair.get(1).and_then(|next| next.to_str()));
            word.strip_prefix("--target=").or(next.filter(|_| word == "--target")).map(str::to_owned)
        };
        (0..self.options.len()).filter_map(|at| said(&self.options[at..])).collect()
    }

    /// Sorts the words.
    ///
    /// # Errors
    /// In words: one that leaves nothing to run.
    pub fn parse(words: &[OsString]) -> Result<Arguments, String> {
        let test = subcommand(words).unwrap_or(0);
        let mut sorted = Arguments {
            cargo: words[..=test].to_vec(),
            options: Vec::new(),
            tests: Vec::new(),
            scope: Scope::All,
            no_fail_fast: false,
        };
        let mut rest = words[test + 1..].iter();
        while let Some(word) = rest.next() {
            let text = word.to_str().unwrap_or_default();
            match text.split('=').next().unwrap_or_default() {
                "--" => sorted.tests.extend(rest.by_ref().cloned()),
                "--no-run" => return Err("--no-run runs nothing: leave out --each, or --no-run".into()),
                "--no-fail-fast" => sorted.no_fail_fast = true,
                // The messages are ours to read.
                "--message-format" => {
                    if text == "--message-format" {
                        rest.next();
                    }
                }
                "--doc" => {
                    sorted.scope = Scope::Documentation;
                }
                name if word.as_bytes().starts_with(b"-") => {
                    if TARGETS.contains(&name) && sorted.scope == Scope::All {
                        sorted.scope = Scope::Targets;
                    }
                    sorted.options.push(word.clone());
                    if WITH_VALUE.contains(&text) {
                        sorted.options.extend(rest.next().cloned());
                    }
                }
                _ => sorted.tests.push(word.clone()),
            }
        }
        Ok(sorted)
    }

    /// The command that builds all and runs nothing.
    pub fn build(&self) -> Vec<OsString> {
        let own = ["--no-run", "--message-format=json-render-diagnostics"].map(OsString::from);
        self.cargo.iter().chain(&self.options).cloned().chain(own).collect()
    }

    /// The command that tests what the documentation shows.
    pub fn documentation(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = self.cargo.clone();
        words.push("--doc".into());
        words.extend(self.options.iter().cloned());
        if !self.tests.is_empty() {
            words.push("--".into());
            words.extend(self.tests.iter().cloned());
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Arguments {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        assert!(is_test(&words), "{line}");
        Arguments::parse(&words).unwrap()
    }

    fn joined(words: &[OsString]) -> String {
        words.join(std::ffi::OsStr::new(" ")).into_string().unwrap()
    }

    #[test]
    fn what_builds_is_told_from_what_the_tests_are_given() {
        let sorted = parse(
            "cargo +nightly --offline test -p a --features x,y lexer --no-fail-fast -- --ignored --skip b",
        );
        assert_eq!(
            joined(&sorted.build()),
            "cargo +nightly --offline test -p a --features x,y --no-run --message-format=json-render-diagnostics"
        );
        assert_eq!(joined(&sorted.tests), "lexer --ignored --skip b");
        assert_eq!(
            joined(&sorted.documentation()),
            "cargo +nightly --offline test --doc -p a --features x,y -- lexer --ignored --skip b"
        );
        assert!(sorted.no_fail_fast && sorted.scope == Scope::All);
    }

    #[test]
    fn documentation_is_tested_unless_targets_are_named() {
        for (line, scope) in [
            ("cargo test", Scope::All),
            ("cargo t --release", Scope::All),
            ("cargo test --lib", Scope::Targets),
            ("cargo test --test=cli", Scope::Targets),
            ("cargo test --message-format json --test cli", Scope::Targets),
            ("cargo test --doc", Scope::Documentation),
        ] {
            assert_eq!(parse(line).scope, scope, "{line}");
        }
    }

    #[test]
    fn other_commands_of_cargo_are_none() {
        for line in ["cargo", "cargo nextest run", "cargo --config test", "cargo build test"] {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            assert!(!is_test(&words), "{line}");
        }
        assert!(Arguments::parse(&["cargo", "test", "--no-run"].map(OsString::from)).is_err());
    }
}
