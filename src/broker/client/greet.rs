//! Hello and welcome, at the beginning of a run and after each cut.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::find::{Unserved, dial};
use crate::broker::lines::Lines;
use crate::broker::protocol::{self, Fault, Hello, RefusedFor, Scope, ToBroker, ToRun};

/// A broker that is being started by its socket takes a moment; one that hangs should cost no more.
const PATIENCE: Duration = Duration::from_secs(5);

/// A broker that serves this run.
#[derive(Debug)]
pub struct Greeted {
    /// Where.
    pub socket: PathBuf,
    /// What was said, with the lease to come back with.
    pub hello: Hello,
    /// For whom it decides.
    pub scope: Scope,
    /// How often it wants to be told what jobs hold; `None` if it looks itself.
    pub sample: Option<Duration>,
    pub(super) stream: UnixStream,
    /// What it has said since.
    pub(super) rest: Vec<u8>,
}

/// Says hello at `socket`. Blocks, for five seconds at most.
///
/// # Errors
/// [`Unserved`].
pub fn greet(socket: &Path, hello: &Hello) -> Result<Greeted, Unserved> {
    match once(socket, hello.clone()) {
        // What can't be shown there (another tree, another user's run around it) is of no use there either.
        Err(Unserved::Refused { why: RefusedFor::Denied, .. })
            if hello.cgroup.is_some() || hello.inside.is_some() =>
        {
            once(socket, Hello { cgroup: None, inside: None, ..hello.clone() })
        }
        came => came,
    }
}

fn once(socket: &Path, hello: Hello) -> Result<Greeted, Unserved> {
    let path = || socket.to_owned();
    let broken = |source| Unserved::Connect { path: path(), source };
    let mut stream = dial(socket)?;
    stream.set_nonblocking(false).map_err(broken)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(broken)?;
    let line = protocol::write(&ToBroker::Hello(hello.clone()));
    let line = line.map_err(|fault| Unserved::NoBroker { path: path(), found: fault.to_string() })?;
    // It may be gone again by now; then it has said why.
    let _ = stream.write_all(&line);
    let (answer, rest) = answer(&mut stream, socket)?;
    match answer {
        ToRun::Welcome { lease, scope, sample_ms, .. } => {
            stream.set_nonblocking(true).map_err(broken)?;
            let sample = sample_ms.map(Duration::from_millis);
            let hello = Hello { lease: Some(lease), ..hello };
            Ok(Greeted { socket: path(), hello, scope, sample, stream, rest })
        }
        ToRun::Refused { why: RefusedFor::Version, versions, .. } => {
            Err(Unserved::Version { path: path(), theirs: versions })
        }
        ToRun::Refused { why, message, .. } => Err(Unserved::Refused { path: path(), why, message }),
        other => Err(Unserved::NoBroker { path: path(), found: format!("it says {other:?} before welcome") }),
    }
}

/// Its first message, and what came behind it.
fn answer(stream: &mut UnixStream, socket: &Path) -> Result<(ToRun, Vec<u8>), Unserved> {
    let path = || socket.to_owned();
    let no_broker = |found: String| Unserved::NoBroker { path: path(), found };
    let no_answer = || Unserved::NoAnswer { path: path(), after: PATIENCE };
    let (mut lines, mut piece, begun) = (Lines::new(), [0; 4096], Instant::now());
    loop {
        let left = PATIENCE.checked_sub(begun.elapsed()).filter(|left| !left.is_zero());
        stream.set_read_timeout(Some(left.ok_or_else(no_answer)?)).map_err(|_| no_answer())?;
        let read = match stream.read(&mut piece) {
            Ok(0) => return Err(no_broker("it ends the connection without a word".into())),
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Err(no_answer()),
            Err(source) => return Err(Unserved::Connect { path: path(), source }),
        };
        let mut bytes = &piece[..read];
        while let Some(line) = lines.next(&mut bytes) {
            match line.map_err(Fault::from).and_then(protocol::from_broker) {
                Ok(message) => return Ok((message, bytes.to_vec())),
                Err(fault) if fault.is_survivable() => {}
                Err(fault) => return Err(no_broker(fault.to_string())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;
    use crate::policy::broker::Priority;

    fn hello() -> Hello {
        Hello {
            version: protocol::VERSION,
            run: "r".into(),
            parallel: 2,
            groups: Vec::new(),
            weight: 1.0,
            priority: Priority::Interactive,
            lease: None,
            inside: None,
            cgroup: Some("/sandtest-run-1".into()),
            budget: None,
        }
    }

    /// What comes of a greeting to each hello of which somebody says this.
    fn greeted(answers: &[&'static [u8]]) -> (Result<Greeted, Unserved>, Vec<Hello>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b.sock");
        let socket = UnixListener::bind(&path).unwrap();
        let answers = answers.to_vec();
        let broker = thread::spawn(move || {
            let hear = |answer: &[u8]| {
                let mut stream = socket.accept().unwrap().0;
                let mut line = String::new();
                BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
                stream.write_all(answer).unwrap();
                match protocol::from_run(line.trim_end().as_bytes()) {
                    Ok(ToBroker::Hello(hello)) => hello,
                    other => panic!("{other:?}"),
                }
            };
            answers.into_iter().map(hear).collect::<Vec<Hello>>()
        });
        (greet(&path, &hello()), broker.join().unwrap())
    }

    const WELCOME: &[u8] = b"{\"type\":\"welcome\",\"version\":1,\"lease\":\"ab\",\"broker\":\"b\",\"scope\":\"user\",\"sample_ms\":100}\n{\"type\":\"dance\"}\n{\"ty";

    #[test]
    fn who_is_welcome_has_a_lease_and_loses_no_word_that_follows() {
        let (greeted, said) = greeted(&[WELCOME]);
        let greeted = greeted.unwrap();
        assert_eq!(greeted.hello.lease.as_deref(), Some("ab"));
        assert_eq!((greeted.scope, greeted.sample), (Scope::User, Some(Duration::from_millis(100))));
        assert_eq!(greeted.rest, b"{\"type\":\"dance\"}\n{\"ty");
        assert_eq!(said, [hello()]);
    }

    #[test]
    fn what_is_denied_is_not_insisted_on() {
        let denied =
            b"{\"type\":\"refused\",\"why\":\"denied\",\"versions\":[1],\"message\":\"not yours\"}\n";
        let (came, said) = greeted(&[denied, WELCOME]);
        assert!(came.is_ok() && said[1].cgroup.is_none());
        let (came, _) = greeted(&[denied, denied]);
        assert!(came.unwrap_err().to_string().contains("refuses this run: not yours"));
    }

    #[test]
    fn another_version_and_another_program_are_told_apart() {
        let version = b"{\"type\":\"refused\",\"why\":\"version\",\"versions\":[2,3],\"message\":\"\"}\n";
        let told = |answer: &'static [u8]| greeted(&[answer]).0.unwrap_err().to_string();
        assert!(told(version).contains("it speaks [2, 3], and this sandtest 1"), "{}", told(version));
        assert!(told(b"HTTP/1.1 400 Bad Request\r\n\r\n").contains("is no broker"));
        assert!(told(b"").contains("without a word"));
    }
}
