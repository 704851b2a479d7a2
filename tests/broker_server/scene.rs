//! A broker of its own, and clients that speak docs/protocol.md by hand.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Those that measure take turns.
pub static TURN: Mutex<()> = Mutex::new(());

/// Nothing that is waited for takes longer, on a machine that others share.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// `sandtest serve` with a socket of its own.
pub struct Broker {
    pub child: Child,
    pub socket: PathBuf,
    log: Arc<Mutex<String>>,
    folder: Rc<TempDir>,
}

impl Broker {
    /// Starts one, and waits until it serves.
    pub fn start(options: &[&str]) -> Broker {
        Broker::start_in(Rc::new(tempfile::tempdir().unwrap()), options)
    }

    /// The same for all users.
    pub fn of_all(options: &[&str]) -> Broker {
        let folder = Rc::new(tempfile::tempdir().unwrap());
        open_to_all(folder.path());
        let options: Vec<&str> = ["--scope", "system"].into_iter().chain(options.iter().copied()).collect();
        Broker::start_in(folder, &options)
    }

    /// For all users, with a budget.
    pub fn of_all_with_budget(mib: u64, options: &[&str]) -> Broker {
        let folder = Rc::new(tempfile::tempdir().unwrap());
        open_to_all(folder.path());
        let profile = write_profile(&folder, mib);
        let first = ["--scope", "system", "--profile", &profile];
        let options: Vec<&str> = first.into_iter().chain(options.iter().copied()).collect();
        Broker::start_in(folder, &options)
    }

    /// With a budget of so many MiB for all jobs together.
    pub fn with_budget(mib: u64, options: &[&str]) -> Broker {
        let folder = Rc::new(tempfile::tempdir().unwrap());
        let profile = write_profile(&folder, mib);
        let options: Vec<&str> = ["--profile", &profile].into_iter().chain(options.iter().copied()).collect();
        Broker::start_in(folder, &options)
    }

    pub fn start_in(folder: Rc<TempDir>, options: &[&str]) -> Broker {
        let socket = folder.path().join("b.sock");
        let mut command = sandtest();
        command.arg("serve").arg("--socket").arg(&socket).args(options);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let mut first = String::new();
        lines.read_line(&mut first).unwrap();
        assert!(first.contains("serving"), "{first}");
        let log = Arc::new(Mutex::new(first));
        let kept = log.clone();
        thread::spawn(move || {
            let mut line = String::new();
            while lines.read_line(&mut line).is_ok_and(|read| read > 0) {
                kept.lock().unwrap().push_str(&std::mem::take(&mut line));
            }
        });
        Broker { child, socket, log, folder }
    }

    /// Another one in its place, after this one was ended in whatever way.
    pub fn again(mut self, options: &[&str]) -> Broker {
        let _ = self.child.wait();
        Broker::start_in(self.folder.clone(), options)
    }

    /// The same with a budget.
    pub fn again_with_budget(mut self, mib: u64, options: &[&str]) -> Broker {
        let _ = self.child.wait();
        let profile = write_profile(&self.folder, mib);
        let options: Vec<&str> = ["--profile", &profile].into_iter().chain(options.iter().copied()).collect();
        Broker::start_in(self.folder.clone(), &options)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid() as i32), signal).unwrap();
    }

    pub fn wait(&mut self) -> i32 {
        self.child.wait().unwrap().code().unwrap_or(-1)
    }

    /// What it has told people.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A client that has not said anything.
    pub fn connect(&self) -> Client {
        Client::connect(&self.socket)
    }

    /// One that was welcomed.
    pub fn run(&self, parallel: u32) -> Client {
        let mut client = self.connect();
        client.greet(json!({ "run": "r", "parallel": parallel }));
        client
    }

    /// How things stand, asked by somebody who counts for nothing.
    pub fn standing(&self) -> Value {
        let mut client = self.run(1);
        client.say(json!({ "type": "status" }));
        let status = client.hear_a("status");
        client.say(json!({ "type": "bye" }));
        status
    }

    /// Resident memory, in bytes. Of a debug build without its code, of which there are some 20 MB.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let which = if cfg!(debug_assertions) { "RssAnon:" } else { "VmRSS:" };
        let line = status.lines().find(|line| line.starts_with(which)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
    }

    /// How often it went to sleep until now.
    pub fn naps(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Processor time until now.
    pub fn processor_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/schedstat", self.pid())).unwrap();
        Duration::from_nanos(stat.split_whitespace().next().unwrap().parse().unwrap())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program, with nothing of ours in its environment.
pub fn sandtest() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sandtest"));
    for name in ["NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "WATCHDOG_USEC", "SANDTEST_BROKER", "CI"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

pub fn open_to_all(folder: &Path) {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder, mode).unwrap();
}

/// A profile with just this budget; its path.
pub fn write_profile(folder: &TempDir, mib: u64) -> String {
    let path = folder.path().join("small.yaml");
    let text = format!("name: small\nextends: native\nbudget:\n  memory_max: {mib}MiB\n  reserve: 0\n");
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// One end of a connection.
pub struct Client {
    pub stream: UnixStream,
    reader: BufReader<UnixStream>,
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    /// Heard, and not taken yet.
    ahead: Option<Value>,
    pub lease: String,
}

impl Client {
    pub fn connect(socket: &Path) -> Client {
        let stream = UnixStream::connect(socket).unwrap();
        Client::over(stream)
    }

    pub fn over(stream: UnixStream) -> Client {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        Client { stream, reader, line: Vec::new(), ahead: None, lease: String::new() }
    }

    /// Says `hello` with these fields, and hears `welcome`.
    pub fn greet(&mut self, mut fields: Value) {
        fields["type"] = json!("hello");
        fields["version"] = json!(1);
        self.say(fields);
        let welcome = self.hear();
        assert_eq!(welcome["type"], "welcome", "{welcome}");
        self.lease = welcome["lease"].as_str().unwrap().to_owned();
    }

    pub fn say(&mut self, message: Value) {
        self.say_text(&message.to_string());
    }

    pub fn say_text(&mut self, line: &str) {
        self.stream.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    pub fn want(&mut self, job: u32) {
        self.say(json!({ "type": "want", "job": job, "attempt": 1, "kin": "k" }));
    }

    pub fn end(&mut self, job: u32) {
        self.say(json!({ "type": "ended", "job": job, "attempt": 1, "how": "finished", "peak": 1 << 20 }));
    }

    /// The next message.
    pub fn hear(&mut self) -> Value {
        self.try_hear().unwrap().unwrap_or_else(|| panic!("the connection has ended"))
    }

    /// The next message; `None` at the end.
    pub fn try_hear(&mut self) -> io::Result<Option<Value>> {
        if let Some(message) = self.ahead.take() {
            return Ok(Some(message));
        }
        match self.reader.read_until(b'\n', &mut self.line) {
            Ok(0) => Ok(None),
            // It was closed with something unread.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(None),
            Ok(_) => Ok(Some(serde_json::from_slice(&std::mem::take(&mut self.line)).unwrap())),
            Err(error) => Err(error),
        }
    }

    /// Whether a message that asks for something comes within so long. It is the next that is heard.
    pub fn hears_within(&mut self, time: Duration) -> bool {
        let end = Instant::now() + time;
        let mut heard = None;
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            self.stream.set_read_timeout(Some(left)).unwrap();
            match self.try_hear() {
                Ok(Some(message)) if is_by_the_way(&message) || message["type"] == "waits" => {}
                Ok(message) => {
                    heard = message;
                    break;
                }
                Err(_) => break,
            }
        }
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        self.ahead = heard;
        self.ahead.is_some()
    }

    /// The next message of this kind; what comes before it is passed over.
    pub fn hear_a(&mut self, kind: &str) -> Value {
        loop {
            let message = self.hear();
            if message["type"] == kind {
                return message;
            }
        }
    }

    /// The next message but those that come when they like.
    pub fn hear_next(&mut self) -> Value {
        loop {
            let message = self.hear();
            if !is_by_the_way(&message) {
                return message;
            }
        }
    }

    /// Whether none that asks for something comes for so long.
    pub fn hears_nothing_for(&mut self, time: Duration) -> bool {
        !self.hears_within(time)
    }

    /// Says that its first job holds so many MiB.
    pub fn sample(&mut self, mib: u64) {
        let jobs = json!([{ "job": 0, "attempt": 1, "memory": mib << 20 }]);
        self.say(json!({ "type": "sample", "jobs": jobs }));
    }

    /// Whether the connection ends now, with nothing more said but what is passed over.
    pub fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        match self.reader.read_to_end(&mut rest) {
            Ok(_) => true,
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        }
    }
}

/// Both work for so long, and then say that their jobs grow until the run hears of it. Of 256 MiB.
pub fn grow(run: &mut Client, senior: &mut Client, work: Duration) {
    let begun = Instant::now();
    let flat = std::iter::from_fn(|| (begun.elapsed() < work).then_some(20));
    for mib in flat.chain((20..256).step_by(2)) {
        run.sample(mib);
        senior.sample(mib);
        // Not ahead of a broker that others keep from its processor.
        senior.say(json!({ "type": "status" }));
        senior.hear_a("status");
        if run.hears_within(Duration::from_millis(15)) {
            return;
        }
    }
    panic!("it was let grow");
}

/// How things stand, and why: said whenever that changes.
fn is_by_the_way(message: &Value) -> bool {
    ["share", "state", "decided"].contains(&message["type"].as_str().unwrap())
}

/// Waits until it comes true.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Connects as this user, which only root can.
pub fn connect_as(uid: u32, socket: &Path) -> UnixStream {
    use rustix::process::Uid;
    use rustix::thread::set_thread_res_uid;
    let of = Uid::from_raw;
    // Of this thread alone; the kernel notes who connects.
    set_thread_res_uid(of(0), of(uid), of(0)).unwrap();
    let stream = UnixStream::connect(socket);
    set_thread_res_uid(of(0), of(0), of(0)).unwrap();
    stream.unwrap()
}

/// Past libtest's capture, which hides what a passing test prints.
pub fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Names what is left out, past libtest's capture.
pub fn skip(why: &str) {
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    let _ = writeln!(io::stderr(), "SKIPPED {test}: {why}");
}

pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Measures until 99 of 100 are within the bound. What else a shared machine does makes it only slower, so a debug build, which
/// runs beside other tests, has three goes.
pub fn best_of(most: Duration, mut measure: impl FnMut() -> Vec<Duration>) -> (Duration, Duration, Duration) {
    let goes = if cfg!(debug_assertions) { 3 } else { 1 };
    let measured = (0..goes).map(|_| quantiles(measure()));
    let mut best: Option<(Duration, Duration, Duration)> = None;
    for one in measured {
        best = Some(best.map_or(one, |best| if one.1 < best.1 { one } else { best }));
        if one.1 <= most {
            break;
        }
    }
    best.unwrap()
}

/// The middle one, the 99th of 100, and the worst.
pub fn quantiles(mut times: Vec<Duration>) -> (Duration, Duration, Duration) {
    times.sort();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
    (at(0.5), at(0.99), at(1.0))
}
