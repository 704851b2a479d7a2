//! Clients and broker killed at random, again and again, under load: the budget is held, no permit is lost or doubled, and
//! nothing is left.
//!
//! `SANDTEST_SOAK=full`: 300 kills.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use crate::scene::{Broker, Client, TURN, say, wait_until};

const SOCKET: &str = "BROKER_SERVER_CHAOS_SOCKET";
const LEDGER: &str = "BROKER_SERVER_CHAOS_LEDGER";

const CLIENTS: usize = 8;
/// Of each job, in MiB: three fit in the budget, and what is kept free.
const SIZE: u64 = 64;
const BUDGET: u64 = 256;

/// The machine's clock, the same for all processes.
fn now() -> u128 {
    let time = clock_gettime(ClockId::Monotonic);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32).as_nanos()
}

/// What happened, a line each, written by all at its end.
#[derive(Clone)]
struct Ledger(PathBuf);

impl Ledger {
    fn note(&self, at: u128, pid: u32, what: &str, job: &str) {
        let mut file: File = OpenOptions::new().append(true).create(true).open(&self.0).unwrap();
        file.write_all(format!("{at} {pid} {what} {job}\n").as_bytes()).unwrap();
    }

    fn events(&self) -> Vec<(u128, u32, String, String)> {
        let text = fs::read_to_string(&self.0).unwrap();
        let mut events: Vec<_> = text
            .lines()
            .map(|line| {
                let words: Vec<&str> = line.split(' ').collect();
                (words[0].parse().unwrap(), words[1].parse().unwrap(), words[2].into(), words[3].into())
            })
            .collect();
        events.sort();
        events
    }
}

/// A run whose broker comes and goes.
struct Run {
    socket: PathBuf,
    ledger: Ledger,
    connection: Option<Client>,
    lease: String,
    next: u32,
    /// Asked for.
    wanted: BTreeSet<u32>,
    /// Until when each runs.
    running: BTreeMap<u32, Instant>,
    random: u64,
}

impl Run {
    fn random(&mut self, most: u64) -> u64 {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % most
    }

    fn job(job: u32) -> Value {
        json!({ "type": "want", "job": job, "attempt": 1, "memory": SIZE << 20, "kin": "chaos" })
    }

    fn tell(&mut self, message: &Value) {
        // A broker that is gone is noticed when it is listened to.
        if let Some(client) = &mut self.connection {
            let _ = client.stream.write_all(format!("{message}\n").as_bytes());
        }
    }

    fn connect(&mut self) {
        let Ok(stream) = UnixStream::connect(&self.socket) else {
            return std::thread::sleep(Duration::from_millis(5));
        };
        self.connection = Some(Client::over(stream));
        let mut hello = json!({ "type": "hello", "version": 1, "run": "chaos", "parallel": 4 });
        if !self.lease.is_empty() {
            hello["lease"] = json!(self.lease);
        }
        self.tell(&hello);
        let running: Vec<Value> = self.running.keys().map(|job| Run::job(*job)).collect();
        self.tell(&json!({ "type": "declare", "running": running }));
        for job in self.wanted.clone() {
            self.tell(&Run::job(job));
        }
    }

    fn step(&mut self) {
        let me = std::process::id();
        if self.connection.is_none() {
            self.connect();
        }
        while self.wanted.len() < 4 {
            self.wanted.insert(self.next);
            self.tell(&Run::job(self.next));
            self.next += 1;
        }
        let now_is = Instant::now();
        let over: Vec<u32> =
            self.running.iter().filter(|(_, end)| **end <= now_is).map(|(job, _)| *job).collect();
        for job in over {
            self.running.remove(&job);
            self.ledger.note(now(), me, "-", &job.to_string());
            self.tell(
                &json!({ "type": "ended", "job": job, "attempt": 1, "how": "finished", "peak": SIZE << 20 }),
            );
        }
        let Some(client) = &mut self.connection else { return };
        client.stream.set_read_timeout(Some(Duration::from_millis(3))).unwrap();
        match client.try_hear() {
            Ok(Some(message)) => self.hear(&message),
            Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {}
            Ok(None) | Err(_) => self.connection = None,
        }
    }

    fn hear(&mut self, message: &Value) {
        let me = std::process::id();
        match message["type"].as_str().unwrap() {
            "welcome" => self.lease = message["lease"].as_str().unwrap().to_owned(),
            "grant" => {
                let job = message["job"].as_u64().unwrap() as u32;
                // A permit for what is not wanted: it has been granted before.
                let what = if self.wanted.remove(&job) { "+" } else { "doubled" };
                self.ledger.note(now(), me, what, &job.to_string());
                let time = Duration::from_millis(5 + self.random(40));
                self.running.insert(job, Instant::now() + time);
            }
            "refused" | "error" | "not-taken" => {
                self.ledger.note(now(), me, "refused", &message.to_string().replace(' ', "_"));
                self.connection = None;
            }
            _ => {}
        }
    }
}

#[test]
#[ignore = "what the test of chaos starts as other processes"]
fn as_a_chaotic_process() {
    let (Ok(socket), Ok(ledger)) = (std::env::var(SOCKET), std::env::var(LEDGER)) else { return };
    let mut run = Run {
        socket: socket.into(),
        ledger: Ledger(ledger.into()),
        connection: None,
        lease: String::new(),
        next: 0,
        wanted: BTreeSet::new(),
        running: BTreeMap::new(),
        random: u64::from(std::process::id()),
    };
    // Until it is killed, or whoever started it is gone.
    let parent = nix::unistd::getppid();
    while nix::unistd::getppid() == parent {
        run.step();
    }
}

fn start(socket: &Path, ledger: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "chaos::as_a_chaotic_process", "--nocapture"]);
    command.env(SOCKET, socket).env(LEDGER, ledger).stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn whatever_is_killed_the_budget_is_held_and_no_permit_is_lost_or_doubled() {
    let _turn = TURN.lock().unwrap_or_else(|poison| poison.into_inner());
    let full = std::env::var("SANDTEST_SOAK").is_ok_and(|size| size == "full");
    let kills = if full { 300 } else { 45 };
    let options = ["--jobs", "64"];
    let mut broker = Broker::with_budget(BUDGET, &options);
    let ledger = Ledger(broker.path("ledger"));
    let mut clients: Vec<Child> = (0..CLIENTS).map(|_| start(&broker.socket, &ledger.0)).collect();
    let (mut of_broker, mut random) = (0, 7u64);
    for kill in 0..kills {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        std::thread::sleep(Duration::from_millis(20 + (random >> 40) % 100));
        if kill % 3 == 0 {
            broker.signal(Signal::SIGKILL);
            broker = broker.again_with_budget(BUDGET, &options);
            of_broker += 1;
            continue;
        }
        let client = &mut clients[(random >> 33) as usize % CLIENTS];
        // From here on nothing of it runs; the broker may know before we do.
        let at = now();
        client.kill().unwrap();
        client.wait().unwrap();
        ledger.note(at, client.id(), "killed", "-");
        *client = start(&broker.socket, &ledger.0);
    }
    let granted = |pid: u32| ledger.events().iter().filter(|event| event.1 == pid && event.2 == "+").count();
    // Nobody has lost its place: all that live go on.
    let before: Vec<usize> = clients.iter().map(|client| granted(client.id())).collect();
    wait_until("all go on", || {
        clients.iter().zip(&before).all(|(client, before)| granted(client.id()) > *before + 3)
    });
    for client in &mut clients {
        let at = now();
        client.kill().unwrap();
        client.wait().unwrap();
        ledger.note(at, client.id(), "killed", "-");
    }
    wait_until("nothing is left of them", || {
        let standing = broker.standing();
        (&standing["running"], &standing["waiting"], &standing["reserved"])
            == (&json!(0), &json!(0), &json!(0))
    });
    broker.signal(Signal::SIGTERM);
    assert_eq!(broker.wait(), 0);
    let left: Vec<String> = fs::read_dir(broker.socket.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        // Locks stay: whoever removed one might remove another's.
        .filter(|name| name.starts_with("b.sock") && !name.ends_with(".lock"))
        .collect();
    assert_eq!(left, [""; 0]);
    let (most, permits) = check(&ledger.events());
    say(&format!(
        "chaos: {kills} kills, {of_broker} of them of the broker; {permits} permits; at most {most} at once, of {} that fit",
        BUDGET / SIZE
    ));
    assert!(most * SIZE <= BUDGET, "{most} at once");
    assert!(most >= 3 && permits > kills, "there was load");
}

/// How many ran at once at the most, and how many there were.
fn check(events: &[(u128, u32, String, String)]) -> (u64, usize) {
    let mut running: BTreeSet<(u32, &str)> = BTreeSet::new();
    let killed: BTreeMap<u32, u128> =
        events.iter().filter(|event| event.2 == "killed").map(|event| (event.1, event.0)).collect();
    let (mut most, mut permits) = (0, 0);
    for (at, pid, what, job) in events {
        // Between the time that was noted and the kill it may have gone on for a moment.
        let dead = killed.get(pid).is_some_and(|killed| killed < at);
        match what.as_str() {
            "+" if !dead => {
                assert!(running.insert((*pid, job)), "job {job} of {pid} was granted twice");
                permits += 1;
            }
            "-" => drop(running.remove(&(*pid, job.as_str()))),
            "killed" => running.retain(|(of, _)| of != pid),
            "+" => {}
            other => panic!("{pid}: {other} {job}"),
        }
        most = most.max(running.len() as u64);
    }
    (most, permits)
}
