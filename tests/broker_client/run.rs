//! Runs of the real binary, and a broker that a test speaks for.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::scene::{Client, PATIENCE, sandtest};

/// A folder for one run.
pub struct Run {
    folder: tempfile::TempDir,
    child: Option<Child>,
}

/// What it came to.
pub struct Ran {
    pub events: Vec<Value>,
    pub out: String,
    pub err: String,
    pub code: i32,
}

impl Run {
    pub fn new() -> Run {
        Run { folder: tempfile::tempdir().unwrap(), child: None }
    }

    /// Starts jobs, one a line.
    pub fn start(socket: Option<&Path>, options: &[&str], jobs: &[String]) -> Run {
        let mut run = Run::new();
        fs::write(run.path("jobs"), jobs.join("\n")).unwrap();
        let mut command = run.command(socket);
        command.args(["--no-fail-fast", "--jobs-from", "jobs"]).args(options);
        run.child = Some(command.spawn().unwrap());
        run
    }

    /// Starts one command.
    pub fn one(socket: Option<&Path>, options: &[&str], command: &[&str]) -> Run {
        let mut run = Run::new();
        run.child = Some(run.command(socket).args(options).arg("--").args(command).spawn().unwrap());
        run
    }

    /// `exec`, with nobody to ask but at `socket`.
    pub fn command(&self, socket: Option<&Path>) -> Command {
        let mut command = sandtest();
        command.args(["exec", "--json", "events"]).current_dir(self.folder.path());
        command.env("XDG_STATE_HOME", self.path("state")).env("XDG_RUNTIME_DIR", self.path("runtime"));
        command.env_remove("SANDTEST_LEASE");
        if let Some(socket) = socket {
            command.env("SANDTEST_BROKER", socket);
        }
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    pub fn end(mut self) -> Ran {
        let output = self.child.take().unwrap().wait_with_output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ran {
            events: fs::read_to_string(self.path("events"))
                .unwrap_or_default()
                .lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect(),
            out: text(&output.stdout),
            err: text(&output.stderr),
            code: output.status.code().unwrap_or(-1),
        }
    }

    /// What the run has told until now.
    pub fn events(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.path("events")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Ran {
    pub fn attempts(&self) -> Vec<&Value> {
        self.events.iter().filter(|event| event["event"] == "attempt-finished").collect()
    }

    /// What has changed between the run and the broker, in order.
    pub fn news(&self) -> Vec<&str> {
        let broker = self.events.iter().filter(|event| event["event"] == "broker");
        broker.map(|event| event["what"].as_str().unwrap()).collect()
    }

    /// That every job has passed, once.
    pub fn assert_passed(&self, jobs: usize) {
        let last = self.events.last().unwrap_or_else(|| panic!("it told nothing: {}", self.err));
        assert_eq!((last["passed"].as_u64(), self.code), (Some(jobs as u64), 0), "{last}\n{}", self.err);
        let verdicts = self.attempts().into_iter().filter(|attempt| attempt["verdict"] == "pass");
        assert_eq!(verdicts.count(), jobs);
    }
}

/// A broker that says what the test wants.
pub struct Fake {
    pub socket: PathBuf,
    listener: UnixListener,
    _folder: tempfile::TempDir,
}

impl Fake {
    pub fn listen() -> Fake {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("b.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        Fake { socket, listener, _folder: folder }
    }

    /// The next connection that says hello, and what it says. One that only looks whether somebody is there is passed over.
    pub fn greeted(&self) -> (Client, Value) {
        loop {
            let stream = self.listener.accept().unwrap().0;
            let mut client = Client::over(stream);
            if let Ok(Some(hello)) = client.try_hear() {
                assert_eq!(hello["type"], "hello");
                return (client, hello);
            }
        }
    }

    /// The same, and it is welcome.
    pub fn welcome(&self) -> (Client, Value) {
        let (mut client, hello) = self.greeted();
        client.say(json!({ "type": "welcome", "version": 1, "lease": "ab", "broker": "b", "scope": "user" }));
        (client, hello)
    }

    /// Answers whoever comes with this, whatever is said.
    pub fn answers(self, text: &'static str) -> PathBuf {
        let socket = self.socket.clone();
        std::thread::spawn(move || {
            // With its folder, which goes with the test.
            let fake = self;
            for stream in fake.listener.incoming() {
                let mut stream = stream.unwrap();
                if stream.read(&mut [0; 4096]).is_ok_and(|read| read > 0) {
                    let _ = stream.write_all(text.as_bytes());
                }
            }
        });
        socket
    }
}

pub fn grant(job: u32, attempt: u32) -> Value {
    json!({ "type": "grant", "job": job, "attempt": attempt })
}

/// Lets all that is wanted start, and hears how it ends, until nothing runs any more.
pub fn grant_all(run: &mut Client) {
    loop {
        let message = run.hear();
        match message["type"].as_str().unwrap() {
            "want" => run.say(grant(
                message["job"].as_u64().unwrap() as u32,
                message["attempt"].as_u64().unwrap() as u32,
            )),
            "bye" => return,
            _ => {}
        }
    }
}

/// What it came to when it is there; within reason.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
