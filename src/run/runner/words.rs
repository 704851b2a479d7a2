//! What a wrapper and its run say to each other, on the run's side: see [`crate::kernel::wrapper::words`].

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

pub use crate::kernel::wrapper::words::{LENGTH, LONGEST_REQUEST, REQUIRED, VARIABLE};

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
        let mut bytes = vec![0; LENGTH];
        match self {
            Answer::Go(environment) => {
                bytes.extend(b"go\0");
                for (name, value) in environment {
                    bytes.extend([name.as_bytes(), b"=", value.as_bytes(), b"\0"].concat());
                }
            }
            Answer::No(why) => bytes.extend([b"no\0", why.as_bytes(), b"\0"].concat()),
        }
        // A longer one the wrapper refuses, as execve would.
        let length = u32::try_from(bytes.len() - LENGTH).unwrap_or(u32::MAX);
        bytes[..LENGTH].copy_from_slice(&length.to_le_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::wrapper::words::{self, Answer as Told};

    fn sent(package: &str, words: &[&str]) -> Vec<u8> {
        let mut room = Box::new([0; LENGTH + LONGEST_REQUEST]);
        let length = words::write(package.as_bytes(), words.iter().map(|word| word.as_bytes()), &mut room);
        assert_eq!(u32::from_le_bytes(room[..LENGTH].try_into().unwrap()) as usize, length - LENGTH);
        room[LENGTH..length].to_vec()
    }

    #[test]
    fn both_arrive_as_they_were_meant() {
        let words = ["/t/deps/semver-0", "--exact", "a b", ""];
        let request = Request { package: "semver".into(), words: words.iter().map(OsString::from).collect() };
        assert_eq!(Request::parse(&sent("semver", &words)), Some(request));
        let go = Answer::Go(vec![("SANDTEST_JOB".into(), "a=b c".into()), ("X".into(), "".into())]).write();
        assert_eq!(words::read(&go[LENGTH..]), Some(Told::Go(b"SANDTEST_JOB=a=b c\0X=\0")));
        assert_eq!(words::read(&Answer::Go(Vec::new()).write()[LENGTH..]), Some(Told::Go(b"")));
        let no = Answer::No("too many wait".into()).write();
        assert_eq!(words::read(&no[LENGTH..]), Some(Told::No(b"too many wait")));
        assert_eq!(u32::from_le_bytes(no[..LENGTH].try_into().unwrap()) as usize, no.len() - LENGTH);
        for nonsense in [&b""[..], b"go", b"hello", b"go\0A=b"] {
            assert_eq!(words::read(nonsense), None);
        }
        assert_eq!(Request::parse(b"package"), None);
    }

    #[test]
    fn a_long_command_line_loses_its_end() {
        let long = sent("semver", &["./test", &"x".repeat(LONGEST_REQUEST), "y"]);
        assert_eq!(Request::parse(&long).unwrap().words, ["./test"]);
        assert!(sent(&"p".repeat(LONGEST_REQUEST + 1), &["./test"]).len() == LONGEST_REQUEST);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = (Request::parse(&bytes), words::read(&bytes));
        }
    }
}
