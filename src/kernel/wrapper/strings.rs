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
    pub fn iter(self) -> impl Iterator<Item = Text<'a>> {
        let mut next = self.first;
        core::iter::from_fn(move || {
            // SAFETY: what `at` was promised; nothing is read behind the null pointer.
            let text = unsafe { *next };
            if text.is_null() {
                return None;
            }
            // SAFETY: as above.
            next = unsafe { next.add(1) };
            Some(Text { text, live: PhantomData })
        })
    }

    /// The value of a variable, where these are an environment.
    pub fn variable(self, name: &str) -> Option<&'a CStr> {
        self.iter().find_map(|entry| entry.value(name.as_bytes()))
    }
}

/// One of them. Its length is not asked for where its beginning tells enough: an environment has some hundred of them.
#[derive(Debug, Clone, Copy)]
pub struct Text<'a> {
    text: *const c_char,
    live: PhantomData<&'a CStr>,
}

impl<'a> Text<'a> {
    /// All of it.
    pub fn whole(self) -> &'a CStr {
        // SAFETY: it ends with NUL and does not change, as `Strings::at` was promised.
        unsafe { CStr::from_ptr(self.text) }
    }

    /// What it says of `name` if it is `NAME=value`. No name holds a NUL.
    pub fn value(self, name: &[u8]) -> Option<&'a CStr> {
        // SAFETY: no byte is read behind one that differs from what is wanted, and so none behind its NUL.
        let is_at = |at: usize, wanted: u8| unsafe { *self.text.add(at) } as u8 == wanted;
        let is_named = name.iter().enumerate().all(|(at, byte)| is_at(at, *byte));
        // SAFETY: that many bytes of it are none of them NUL, and what follows ends as it does.
        (is_named && is_at(name.len(), b'='))
            .then(|| unsafe { CStr::from_ptr(self.text.add(name.len() + 1)) })
    }
}

impl<'a> From<&'a CStr> for Text<'a> {
    fn from(text: &'a CStr) -> Text<'a> {
        Text { text: text.as_ptr(), live: PhantomData }
    }
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
    pub fn push(&mut self, string: Text<'a>) -> Option<()> {
        // The last place is that of the null pointer.
        let places = self.room.len().checked_sub(1)?;
        *self.room[..places].get_mut(self.count)? = string.text;
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
