//! googletest: `--gtest_list_tests`, `--gtest_filter=Suite.Name`.
//!
//! ```text
//! Running main() from gtest_main.cc     not indented, and no suite: it has no dot at its end
//! Suite.
//!   Name
//!   Other/0  # GetParam() = 3
//! ```

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::Unlisted;

/// What is run although it is called `DISABLED_`.
const DISABLED_TOO: &str = "--gtest_also_run_disabled_tests";

/// What asks for the tests.
pub fn listing(arguments: &[OsString]) -> Vec<OsString> {
    arguments.iter().cloned().chain(["--gtest_list_tests".into()]).collect()
}

/// The tests of a list that would be run.
///
/// # Errors
/// The first line that belongs to none.
pub fn names(list: &[u8], arguments: &[OsString]) -> Result<Vec<OsString>, Unlisted> {
    let disabled_too = arguments.iter().any(|word| word == DISABLED_TOO);
    let (mut found, mut seen, mut suite) = (Vec::new(), HashSet::new(), None);
    for (number, line) in list.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let plain = without_comment(line);
        match (plain.strip_prefix(b"  "), suite) {
            (Some(name), Some(suite)) if !name.is_empty() => {
                let name = OsString::from_vec([suite, name].concat());
                if (disabled_too || !is_disabled(&name)) && seen.insert(name.clone()) {
                    found.push(name);
                }
            }
            (None, _) if plain.ends_with(b".") && !plain.contains(&b' ') => suite = Some(plain),
            (None, None) if line.is_empty() || line.starts_with(b"Running main() from ") => {}
            (None, Some(_)) if line.is_empty() => {}
            _ => return Err(Unlisted::line(number + 1, line, "Suite. or an indented name")),
        }
    }
    // Many a program takes no notice of what it does not know, and says nothing.
    if list.is_empty() { Err(Unlisted::line(1, list, "Suite.")) } else { Ok(found) }
}

/// Runs these tests. What the user chose has chosen already.
pub fn of_some(arguments: &[OsString], tests: &[OsString]) -> Vec<OsString> {
    let is_filter = |word: &&OsString| word.as_bytes().starts_with(b"--gtest_filter=");
    let mut words: Vec<OsString> = arguments.iter().filter(|word| !is_filter(word)).cloned().collect();
    let mut filter = OsString::from("--gtest_filter=");
    filter.push(tests.join(OsStr::new(":")));
    words.push(filter);
    words
}

/// `Name/0  # GetParam() = 3`
fn without_comment(line: &[u8]) -> &[u8] {
    let comment = line.windows(3).position(|window| window == b"  #");
    let line = comment.map_or(line, |at| &line[..at]);
    line.strip_suffix(b" ").unwrap_or(line)
}

/// `DISABLED_` begins the suite's name or the test's, behind what a parameter puts before it.
fn is_disabled(name: &OsStr) -> bool {
    name.as_bytes().split(|byte| matches!(byte, b'.' | b'/')).any(|part| part.starts_with(b"DISABLED_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &[u8] = b"Running main() from ./googletest/src/gtest_main.cc
Plain.
  Adds
  DISABLED_Later
Typed/0.  # TypeParam = int
  Holds
Values/Square.
  IsPositive/0  # GetParam() = 1
  IsPositive/1  # GetParam() = \"a
DISABLED_Whole.
  One
";

    #[test]
    fn a_list_gives_whole_names_and_leaves_out_what_is_disabled() {
        let wanted =
            ["Plain.Adds", "Typed/0.Holds", "Values/Square.IsPositive/0", "Values/Square.IsPositive/1"];
        assert_eq!(names(LIST, &[]).unwrap(), wanted);
        assert_eq!(names(LIST, &[DISABLED_TOO.into()]).unwrap().len(), 6);
        assert_eq!(names(b"Running main() from x\n", &[]).unwrap().len(), 0);
    }

    #[test]
    fn what_is_no_list_is_none() {
        for list in
            [&b""[..], b"running 3 tests\n", b"  Name\n", b"a: test\nb: test\n", b"usage: x [options].\n"]
        {
            assert!(names(list, &[]).is_err(), "{}", String::from_utf8_lossy(list));
        }
    }

    #[test]
    fn a_filter_of_the_user_chooses_once() {
        let words = of_some(&["--gtest_filter=A.*".into(), "--x".into()], &["A.b".into(), "A.c".into()]);
        assert_eq!(words, ["--x", "--gtest_filter=A.b:A.c"]);
    }

    proptest::proptest! {
        #[test]
        fn no_list_makes_it_panic(bytes: Vec<u8>) {
            let _ = names(&bytes, &[]);
        }
    }
}
