//! From the words of a test to the test.

use core::ffi::{CStr, c_char};

use super::ask::{self, Failure, ask};
use super::calls::{E2BIG, ENOENT};
use super::find;
use super::line::Line;
use super::strings::{List, Strings, Text};
use super::words::{Answer, LONGEST_ANSWER, REQUIRED, VARIABLE};

/// sandtest itself failed, or must not go on: as in docs/exit-codes.md.
pub const OWN_FAILURE: u8 = 125;
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;

/// rustdoc tells its examples where they are, but not through a runner; without it they run in one process, and say so.
const DOCTEST_PATH: &str = "RUSTDOC_DOCTEST_BIN_PATH";

/// Its entry is not longer than that.
const LONGEST_ENTRY: usize = 8 << 10;

/// As many strings as execve(2) takes: those of the environment, an answer's, and those of a shell's script.
const MOST_STRINGS: usize = LONGEST_ANSWER / size_of::<usize>();

/// Room for all that is put together. All zero is a valid one, and what is not written to costs nothing.
#[derive(Debug)]
pub struct Room {
    said: ask::Room,
    environment: [*const c_char; MOST_STRINGS],
    words: [*const c_char; MOST_STRINGS],
    doctest: [u8; LONGEST_ENTRY],
}

/// Becomes the test, with a cgroup of its own if there is a run to ask for one. Returns only if that can't be.
pub fn become_test(words: Strings, environment: Strings, room: &mut Room) -> u8 {
    let Some(program) = words.iter().next().map(Text::whole) else {
        Line::new().push(b"run-wrapper: no test is named").tell();
        return OWN_FAILURE;
    };
    let mut told = None;
    if let Some(socket) = environment.variable(VARIABLE)
        && !only_lists(words)
    {
        let package = environment.variable("CARGO_PKG_NAME").unwrap_or_default();
        let answer = ask(socket, package.to_bytes(), words, &mut room.said);
        match answer {
            Ok(Answer::Go(more)) => told = Some(more),
            other => {
                let must = environment.variable(REQUIRED).is_some();
                let mut line = Line::new();
                line.push(if must { b"" } else { b"warning: " }).push(program.to_bytes());
                line.push(if must { b": it" } else { b"" }).push(b" has no cgroup of its own: ");
                explain(other, &mut line);
                line.tell();
                if must {
                    return OWN_FAILURE;
                }
            }
        }
    }
    let doctest = match environment.variable(DOCTEST_PATH) {
        None => merged_doctests(program, &mut room.doctest),
        Some(_) => None,
    };
    let edited = edit(environment, told, doctest, &mut room.environment);
    let errno = match edited {
        Some(edited) => find::execute(words, edited, environment.variable("PATH"), &mut room.words),
        None => E2BIG,
    };
    Line::new().push(program.to_bytes()).push(b": ").push_errno(errno).tell();
    if errno == ENOENT { NOT_FOUND } else { NOT_EXECUTABLE }
}

/// Why there is no job.
fn explain(answer: Result<Answer, Failure>, line: &mut Line) {
    match answer {
        Ok(Answer::No(why) | Answer::Go(why)) => line.push(why),
        Err(Failure::Call(errno)) => line.push(b"the run can't be asked: ").push_errno(errno),
        Err(Failure::Gone) => line.push(b"the run can't be asked: it is gone"),
        Err(Failure::Nonsense) => line.push(b"the run can't be asked: its answer can't be understood"),
    };
}

/// Whether the tests are only listed: nobody waits in line for that.
fn only_lists(words: Strings) -> bool {
    words.iter().skip(1).any(|word| matches!(word.whole().to_bytes(), b"--list" | b"--gtest_list_tests"))
}

/// The entry that is missing for what rustdoc has made of several examples.
fn merged_doctests<'a>(program: &CStr, room: &'a mut [u8; LONGEST_ENTRY]) -> Option<&'a CStr> {
    let path = program.to_bytes();
    let folder = &path[..path.iter().rposition(|byte| *byte == b'/')?];
    let is_rustdocs = folder.windows(11).any(|part| part == b"rustdoctest");
    if path[0] != b'/' || !is_rustdocs {
        return None;
    }
    let mut end = 0;
    for part in [DOCTEST_PATH.as_bytes(), b"=", program.to_bytes_with_nul()] {
        room.get_mut(end..end + part.len())?.copy_from_slice(part);
        end += part.len();
    }
    CStr::from_bytes_until_nul(room).ok()
}

/// `environment` with what the run has `told`, and with `doctest`. `None` if there is no room for so many.
fn edit<'a>(
    environment: Strings<'a>,
    told: Option<&'a [u8]>,
    doctest: Option<&'a CStr>,
    room: &'a mut [*const c_char],
) -> Option<Strings<'a>> {
    let more = told.unwrap_or_default();
    // What it starts itself is part of it.
    let is_ours =
        |entry: Text| [VARIABLE, REQUIRED].iter().any(|name| entry.value(name.as_bytes()).is_some());
    let is_replaced = |entry: Text| entries(more).any(|(name, _)| entry.value(name).is_some());
    let mut list = List::new(room);
    for entry in environment.iter() {
        if told.is_none() || !is_ours(entry) && !is_replaced(entry) {
            list.push(entry)?;
        }
    }
    for entry in entries(more).map(|(_, entry)| entry).chain(doctest) {
        list.push(entry.into())?;
    }
    list.done()
}

/// Those of an answer, with their names.
fn entries(answer: &[u8]) -> impl Iterator<Item = (&[u8], &CStr)> {
    let entries = answer.split_inclusive(|byte| *byte == 0);
    entries.filter_map(|entry| {
        let end = entry.iter().position(|byte| *byte == b'=')?;
        Some((&entry[..end], CStr::from_bytes_with_nul(entry).ok()?))
    })
}
