//! Words and environment, as the kernel hands them over and takes them back.

use core::ffi::{CStr, c_char};
use core::marker::PhantomData;

/// Strings until a null pointer, as `argv` and `envp` are.
#[derive(Debug, Clone, Copy)]
pub struct Strings<'a> {
    first: *const *const c_char,
    live: PhantomData<&'a CStr>,
}

impl<'a> Strings<'a> {
    /// Those at `first`.
    ///
    /// # Safety
    /// Up to a null pointer all are strings that end with NUL, and none of it changes in `'a`.
    pub unsafe fn at(first: *const *const c_char) -> Strings<'a> {
        Strings { first, live: PhantomData }
    }

    /// Where they are, for execve(2).
    pub fn as_ptr(self) -> *const *const c_char {
        self.first
    }

    /// One after the other.
    pub fn iter(self) -> impl Iterator<Item = &'a CStr> {
        let mut next = self.first;
        core::iter::from_fn(move || {
            // SAFETY: what `at` was promised; nothing is read behind the null pointer.
            unsafe {
                if (*next).is_null() {
                    return None;
                }
                let string = CStr::from_ptr(*next);
                next = next.add(1);
                Some(string)
            }
        })
    }

    /// The value of a variable, where these are an environment.
    pub fn variable(self, name: &str) -> Option<&'a CStr> {
        self.iter().find_map(|entry| value(entry, name))
    }
}

/// What `entry`, `NAME=value`, says of `name`.
pub fn value<'a>(entry: &'a CStr, name: &str) -> Option<&'a CStr> {
    let text = entry.to_bytes_with_nul().strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
    CStr::from_bytes_with_nul(text).ok()
}

/// The name of `NAME=value`; `None` if it is none.
pub fn name(entry: &CStr) -> Option<&[u8]> {
    let text = entry.to_bytes();
    Some(&text[..text.iter().position(|byte| *byte == b'=')?])
}

/// A list of such strings that is being made, in room for so many and a null pointer.
#[derive(Debug)]
pub struct List<'a> {
    room: &'a mut [*const c_char],
    count: usize,
}

impl<'a> List<'a> {
    /// An empty one.
    pub fn new(room: &'a mut [*const c_char]) -> List<'a> {
        List { room, count: 0 }
    }

    /// Adds one; `None` if there is no room for it.
    #[must_use]
    pub fn push(&mut self, string: &'a CStr) -> Option<()> {
        // The last place is that of the null pointer.
        let places = self.room.len().checked_sub(1)?;
        *self.room[..places].get_mut(self.count)? = string.as_ptr();
        self.count += 1;
        Some(())
    }

    /// All of them; `None` without any room.
    pub fn done(self) -> Option<Strings<'a>> {
        *self.room.get_mut(self.count)? = core::ptr::null();
        // SAFETY: each is a string of `'a`, a null pointer follows, and the room is borrowed for as long.
        Some(unsafe { Strings::at(self.room.as_ptr()) })
    }
}
