//! What a wrapper and its run say to each other, over a Unix socket: one message each, its length (u32, little-endian) first.
//!
//! ```text
//! wrapper: package NUL word NUL word ...                                    what it will be
//! run:     "go" NUL NAME=value NUL NAME=value NUL ...   "no" NUL why NUL    what becomes of it
//! ```
//!
//! No answer at all is that of a run that is gone.

/// In the environment of a command: the socket of its run. Those that have a job of their own don't have it.
pub const VARIABLE: &str = "SANDTEST_RUNNER";

/// In the environment of a command, if what it starts must have a job of its own or not run at all.
pub const REQUIRED: &str = "SANDTEST_RUNNER_REQUIRED";

/// Bytes of a message that say its length.
pub const LENGTH: usize = 4;

/// No request is longer. What does not fit is left out of the name.
pub const LONGEST_REQUEST: usize = 32 << 10;

/// No answer is longer: it is an environment, and execve(2) takes none of more than 6 MiB.
pub const LONGEST_ANSWER: usize = 6 << 20;

/// What a wrapper is told.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// It is a job now, with these in its environment: `NAME=value`, NUL behind each.
    Go(&'a [u8]),
    /// It is none, and why.
    No(&'a [u8]),
}

/// Writes a request, its length first. Returns how long all of it is.
pub fn write<'a>(
    package: &[u8],
    words: impl Iterator<Item = &'a [u8]>,
    to: &mut [u8; LENGTH + LONGEST_REQUEST],
) -> usize {
    let (length, body) = to.split_at_mut(LENGTH);
    let mut end = package.len().min(LONGEST_REQUEST);
    body[..end].copy_from_slice(&package[..end]);
    for word in words {
        let next = end + 1 + word.len();
        if next > LONGEST_REQUEST {
            break;
        }
        body[end] = 0;
        body[end + 1..next].copy_from_slice(word);
        end = next;
    }
    length.copy_from_slice(&(end as u32).to_le_bytes());
    LENGTH + end
}

/// An answer, from what follows its length; `None` if that is none.
pub fn read(body: &[u8]) -> Option<Answer<'_>> {
    match body {
        [b'g', b'o', 0] => Some(Answer::Go(b"")),
        [b'g', b'o', 0, more @ .., 0] => Some(Answer::Go(&body[3..3 + more.len() + 1])),
        [b'n', b'o', 0, why @ .., 0] => Some(Answer::No(why)),
        _ => None,
    }
}
