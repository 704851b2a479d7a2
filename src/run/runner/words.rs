//! What a wrapper and its run say to each other, over a Unix socket: one message each.
//!
//! ```text
//! wrapper: length (u32, little-endian), package NUL word NUL word ...       what it will be
//! run:     "go" NUL NAME=value NUL NAME=value ...    "no" NUL why           and closes
//! ```
//!
//! No answer at all is that of a run that is gone.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// In the environment of a command: the socket of its run. Those that have a job of their own don't have it.
pub const VARIABLE: &str = "SANDTEST_RUNNER";

/// In the environment of a command, if what it starts must have a job of its own or not run at all.
pub const REQUIRED: &str = "SANDTEST_RUNNER_REQUIRED";

/// No request is longer. What does not fit is left out of the name.
pub const LONGEST: usize = 32 << 10;

/// What a wrapper will be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `CARGO_PKG_NAME`, as cargo sets it for tests; may be empty.
    pub package: OsString,
    /// The command line; its end may lack.
    pub words: Vec<OsString>,
}

/// What it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is a job now; with these in its environment.
    Go(Vec<(OsString, OsString)>),
    /// It is none.
    No(String),
}

impl Request {
    /// As it is sent.
    pub fn write(&self) -> Vec<u8> {
        let mut body = self.package.as_bytes().to_vec();
        for word in &self.words {
            if body.len() + word.len() >= LONGEST {
                break;
            }
            body.push(0);
            body.extend(word.as_bytes());
        }
        body.truncate(LONGEST);
        let mut bytes = u32::try_from(body.len()).unwrap_or_default().to_le_bytes().to_vec();
        bytes.extend(body);
        bytes
    }

    /// From the bytes after the length; `None` without any word.
    pub fn parse(body: &[u8]) -> Option<Request> {
        let mut parts = body.split(|byte| *byte == 0).map(|part| OsStr::from_bytes(part).to_owned());
        let (package, words) = (parts.next()?, parts.collect::<Vec<_>>());
        (!words.is_empty()).then_some(Request { package, words })
    }
}

impl Answer {
    /// As it is sent.
    pub fn write(&self) -> Vec<u8> {
        match self {
            Answer::Go(environment) => {
                let mut bytes = b"go".to_vec();
                for (name, value) in environment {
                    bytes.extend([b"\0", name.as_bytes(), b"=", value.as_bytes()].concat());
                }
                bytes
            }
            Answer::No(why) => [b"no\0", why.as_bytes()].concat(),
        }
    }

    /// From all that was sent; `None` if that is no answer.
    pub fn parse(bytes: &[u8]) -> Option<Answer> {
        let mut parts = bytes.split(|byte| *byte == 0);
        match parts.next()? {
            b"go" => {
                let entry = |part: &[u8]| {
                    let at = part.iter().position(|byte| *byte == b'=')?;
                    let text = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
                    Some((text(&part[..at]), text(&part[at + 1..])))
                };
                Some(Answer::Go(parts.filter_map(entry).collect()))
            }
            b"no" => Some(Answer::No(String::from_utf8_lossy(parts.next()?).into_owned())),
            _ => None,
        }
    }
}

/// Asks the run behind `socket`, and waits for as long as it takes.
///
/// # Errors
/// The system's; `UnexpectedEof` if it goes away.
pub fn ask(socket: &Path, request: &Request) -> io::Result<Answer> {
    let mut stream = UnixStream::connect(socket)?;
    stream.write_all(&request.write())?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    Answer::parse(&bytes).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(words: &[&str]) -> Request {
        Request { package: "semver".into(), words: words.iter().map(Into::into).collect() }
    }

    #[test]
    fn both_arrive_as_they_were_meant() {
        let sent = request(&["/t/deps/semver-0", "--exact", "a b", ""]);
        assert_eq!(Request::parse(&sent.write()[4..]), Some(sent));
        let go = Answer::Go(vec![("SANDTEST_JOB".into(), "a=b c".into())]);
        for answer in [go, Answer::Go(Vec::new()), Answer::No("too many wait".into())] {
            assert_eq!(Answer::parse(&answer.write()), Some(answer));
        }
        assert_eq!(Answer::parse(b""), None);
        assert_eq!(Answer::parse(b"hello"), None);
        assert_eq!(Request::parse(b"package"), None);
    }

    #[test]
    fn a_long_command_line_loses_its_end() {
        let long = request(&["./test", &"x".repeat(LONGEST), "y"]);
        let sent = long.write();
        assert_eq!(Request::parse(&sent[4..]).unwrap().words, ["./test"]);
        assert_eq!(u32::from_le_bytes(sent[..4].try_into().unwrap()) as usize, sent.len() - 4);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = (Request::parse(&bytes), Answer::parse(&bytes));
        }
    }
}
