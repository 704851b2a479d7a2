//! The same in the place of this process, for who has called sandtest itself.

use std::alloc::{Layout, alloc_zeroed, handle_alloc_error};
use std::ffi::{CString, OsString, c_char};
use std::io;
use std::os::unix::ffi::OsStringExt;

use super::become_test::{self, Room};
use super::strings::Strings;

/// Becomes the test that `words` name, as [`become_test`](become_test::become_test) does. Returns only if that can't be.
///
/// # Errors
/// A word or a variable that holds a NUL.
pub fn become_test(words: Vec<OsString>) -> io::Result<u8> {
    let entry = |(mut name, value): (OsString, OsString)| {
        name.push("=");
        name.push(value);
        name
    };
    let (words, environment) = (c_strings(words)?, c_strings(std::env::vars_os().map(entry))?);
    let pointers = |list: &[CString]| {
        list.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect::<Vec<_>>()
    };
    let (word_list, entry_list): (Vec<*const c_char>, Vec<*const c_char>) =
        (pointers(&words), pointers(&environment));
    let mut room = room();
    // SAFETY: sets no handler. Rust's runtime ignores it at its start, which no program expects to inherit.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    // SAFETY: both end with a null pointer, and all that they point to lives in this function.
    let (words, environment) = unsafe { (Strings::at(word_list.as_ptr()), Strings::at(entry_list.as_ptr())) };
    Ok(become_test::become_test(words, environment, &mut room))
}

fn c_strings(list: impl IntoIterator<Item = OsString>) -> io::Result<Vec<CString>> {
    list.into_iter().map(|text| CString::new(text.into_vec()).map_err(io::Error::other)).collect()
}

/// Made where it is to be: it is too large for a stack.
fn room() -> Box<Room> {
    let layout = Layout::new::<Room>();
    // SAFETY: allocated by what a box frees with, and all zero is a valid one.
    unsafe {
        let room = alloc_zeroed(layout).cast::<Room>();
        if room.is_null() {
            handle_alloc_error(layout);
        }
        Box::from_raw(room)
    }
}
