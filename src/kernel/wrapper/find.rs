//! Executing a program as execvp(3) does: by its path, or found in `PATH`; what has no format the kernel knows is a shell's script.

use core::ffi::{CStr, c_char};

use super::calls::{self, E2BIG, EACCES, ENODEV, ENOENT, ENOEXEC, ENOTDIR, ESTALE, ETIMEDOUT, Errno};
use super::strings::{List, Strings, Text};

/// No path is longer, with its end (limits.h).
const PATH_MAX: usize = 4096;

const SHELL: &CStr = c"/bin/sh";

/// Where to look without a `PATH`.
const USUAL: &CStr = c"/bin:/usr/bin";

/// Becomes the program that the first of `words` names, looked up in `path`. Returns only if that can't be.
pub fn execute(
    words: Strings,
    environment: Strings,
    path: Option<&CStr>,
    room: &mut [*const c_char],
) -> Errno {
    let Some(program) = words.iter().next().map(Text::whole) else { return ENOENT };
    let name = program.to_bytes();
    if name.is_empty() {
        return ENOENT;
    }
    if name.contains(&b'/') {
        return start(program, words, environment, room);
    }
    let mut failed = ENOENT;
    for folder in path.unwrap_or(USUAL).to_bytes().split(|byte| *byte == b':') {
        let mut text = [0; PATH_MAX];
        let Some(found) = join(folder, name, &mut text) else { continue };
        match start(found, words, environment, room) {
            // Another of that name may be executable.
            EACCES => failed = EACCES,
            ENOENT | ENOTDIR | ESTALE | ENODEV | ETIMEDOUT => {}
            other => return other,
        }
    }
    failed
}

/// `folder/name`; an empty folder is the one we are in.
fn join<'a>(folder: &[u8], name: &[u8], text: &'a mut [u8; PATH_MAX]) -> Option<&'a CStr> {
    let slash: &[u8] = if folder.is_empty() { b"" } else { b"/" };
    let mut end = 0;
    for part in [folder, slash, name] {
        text.get_mut(end..end + part.len())?.copy_from_slice(part);
        end += part.len();
    }
    CStr::from_bytes_until_nul(text).ok()
}

fn start(path: &CStr, words: Strings, environment: Strings, room: &mut [*const c_char]) -> Errno {
    let errno = calls::execve(path, words, environment);
    if errno != ENOEXEC {
        return errno;
    }
    match as_script(path, words, room) {
        Some(words) => calls::execve(SHELL, words, environment),
        None => E2BIG,
    }
}

/// The words with which a shell runs a script.
fn as_script<'a>(path: &'a CStr, words: Strings<'a>, room: &'a mut [*const c_char]) -> Option<Strings<'a>> {
    let mut list = List::new(room);
    for word in [SHELL, path].map(Text::from).into_iter().chain(words.iter().skip(1)) {
        list.push(word)?;
    }
    list.done()
}
