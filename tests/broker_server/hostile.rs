//! Clients that do not keep to anything, and what becomes of the others.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::json;

use crate::scene::{Broker, Client, TURN, best_of, connect_as, is_root, say, skip};

/// What attacks have in common.
#[derive(Clone)]
struct Attack {
    socket: PathBuf,
    over: Arc<AtomicBool>,
    /// Connections until now.
    made: Arc<AtomicUsize>,
    uid: u32,
}

impl Attack {
    /// A connection; it is not waited for what may never come.
    fn connect(&self) -> UnixStream {
        let stream = connect_as(self.uid, &self.socket);
        stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        self.made.fetch_add(1, Ordering::Relaxed);
        stream
    }

    /// One that has said hello.
    fn greeted(&self) -> UnixStream {
        let mut stream = self.connect();
        let _ = stream.write_all(b"{\"type\":\"hello\",\"version\":1,\"run\":\"bad\",\"parallel\":4}\n");
        stream
    }

    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    fn start(&self, uid: u32, attack: fn(&Attack)) -> JoinHandle<()> {
        let attacker = Attack { uid, ..self.clone() };
        thread::spawn(move || {
            // They share the processors with the broker, which a stranger on another one would not.
            let _ = rustix::process::nice(19);
            while attacker.goes_on() {
                attack(&attacker);
            }
        })
    }
}

fn garbage(attack: &Attack) {
    let noise: Vec<u8> = (0..20_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let _ = attack.connect().write_all(&noise);
    let _ = attack.greeted().write_all(&noise);
    let _ = attack.greeted().write_all(b"{\"type\":\"want\",\"job\":-1,\"attempt\":1e99}\n");
    let _ = attack.greeted().write_all(&[b'['; 60_000]);
    let _ = attack.greeted().write_all(&[&[b'['; 60_000][..], b"\n"].concat());
}

fn halves(attack: &Attack) {
    let mut streams: Vec<UnixStream> = (0..20).map(|_| attack.greeted()).collect();
    for byte in b"{\"type\":\"want\",\"job\":0,\"att" {
        streams.iter_mut().for_each(|stream| drop(stream.write_all(&[*byte])));
        thread::sleep(Duration::from_millis(10));
    }
}

fn one_long_line(attack: &Attack) {
    let (mut stream, piece) = (attack.greeted(), vec![b'x'; 1 << 20]);
    for _ in 0..1024 {
        if !attack.goes_on() || stream.write_all(&piece).is_err() {
            return;
        }
    }
}

fn storm(attack: &Attack) {
    // As many as there may be, and more.
    let streams: Vec<UnixStream> = (0..200).map(|_| attack.connect()).collect();
    drop(streams);
}

fn slow_reader(attack: &Attack) {
    let mut stream = attack.greeted();
    let lines = b"{\"type\":\"status\"}\n{\"type\":\"levitate\"}\n".repeat(500);
    while attack.goes_on() && stream.write_all(&lines).is_ok() {}
}

fn claims(attack: &Attack) {
    for claim in [
        json!({ "lease": "0".repeat(32) }),
        json!({ "inside": { "lease": "f".repeat(32), "job": 0 } }),
        json!({ "cgroup": "/sandtest-run-1" }),
        json!({ "cgroup": format!("/{}", "x".repeat(4000)) }),
        json!({ "weight": 1e300, "parallel": u32::MAX, "groups": [0, 0, 0] }),
    ] {
        let mut hello = json!({ "type": "hello", "version": 1, "run": "bad", "parallel": 1 });
        hello.as_object_mut().unwrap().extend(claim.as_object().unwrap().clone());
        let mut stream = attack.connect();
        let _ = stream.write_all(format!("{hello}\n").as_bytes());
        let _ = stream.read(&mut [0; 512]);
        let _ = stream.write_all(b"{\"type\":\"kill\",\"run\":0,\"job\":0,\"attempt\":1}\n");
        let _ = stream.read(&mut [0; 512]);
    }
}

fn flood(attack: &Attack) {
    let mut stream = attack.greeted();
    let mut lines = Vec::new();
    for job in 0..200 {
        lines
            .extend(format!("{{\"type\":\"want\",\"job\":{job},\"attempt\":1,\"kin\":\"{job}\"}}\n").bytes());
        lines.extend(format!("{{\"type\":\"withdraw\",\"job\":{job}}}\n").bytes());
    }
    let mut heard = [0; 4096];
    while attack.goes_on() && stream.write_all(&lines).is_ok() {
        let _ = stream.read(&mut heard);
    }
}

fn lies(attack: &Attack) {
    // What it says of itself is much, and counts against it alone.
    let mut stream = attack.greeted();
    let job = |job: u32| json!({ "job": job, "attempt": 1, "memory": 1u64 << 62 });
    let declare = json!({ "type": "declare", "running": (0..100).map(job).collect::<Vec<_>>() });
    let sample = |job: u32| json!({ "job": job, "attempt": 1, "memory": u64::MAX });
    let sample = json!({ "type": "sample", "jobs": (0..100).map(sample).collect::<Vec<_>>() });
    let _ = stream.write_all(format!("{declare}\n{sample}\n").as_bytes());
    thread::sleep(Duration::from_millis(500));
}

/// What is the matter with a run of this user meanwhile.
fn honest(socket: &Path, uid: u32, time: Duration) -> Vec<Duration> {
    let mut run = Client::over(connect_as(uid, socket));
    run.greet(json!({ "run": "good", "parallel": 2 }));
    let (begun, mut times) = (Instant::now(), Vec::new());
    for job in 0.. {
        if begun.elapsed() >= time {
            break;
        }
        let asked = Instant::now();
        run.want(job);
        assert_eq!(run.hear_a("grant")["job"], job);
        times.push(asked.elapsed());
        run.end(job);
        thread::sleep(Duration::from_millis(3));
    }
    run.say(json!({ "type": "bye" }));
    times
}

type Attacking = fn(&Attack);

/// Each kind of attack alone, and then all of them together.
#[test]
fn hostile_clients_cost_their_own_connections() {
    if !is_root() {
        return skip("connecting as other users takes root");
    }
    let _turn = TURN.lock().unwrap_or_else(|poison| poison.into_inner());
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most.min(65_536), most).unwrap();
    let attacks: [(&str, Attacking); 8] = [
        ("garbage", garbage),
        ("half messages", halves),
        ("one long line", one_long_line),
        ("connections", storm),
        ("a slow reader", slow_reader),
        ("claims", claims),
        ("want and withdraw", flood),
        ("lies", lies),
    ];
    let alone = attacks.iter().map(|attack| std::slice::from_ref(attack));
    for set in alone.chain([&attacks[..]]) {
        let broker = Broker::of_all_with_budget(4096, &["--jobs", "64"]);
        let attack =
            Attack { socket: broker.socket.clone(), over: Arc::default(), made: Arc::default(), uid: 3000 };
        let threads: Vec<JoinHandle<()>> =
            (0..).zip(set).map(|(place, (_, how))| attack.start(3000 + place, *how)).collect();
        thread::sleep(Duration::from_millis(300));
        let time = Duration::from_secs(if set.len() > 1 { 8 } else { 2 });
        let most = Duration::from_millis(if cfg!(debug_assertions) { 400 } else { 10 });
        let mut count = 0;
        let (p50, p99, worst) = best_of(most, || {
            let times = honest(&broker.socket, 4000, time);
            count = times.len();
            times
        });
        let resident = broker.resident();
        attack.over.store(true, Ordering::Relaxed);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let name = if set.len() > 1 { "all of it" } else { set[0].0 };
        let made = attack.made.load(Ordering::Relaxed);
        say(&format!(
            "hostile: {name}: {made} connections; {count} grants of another user p50 {p50:?}, p99 {p99:?}, worst \
             {worst:?}; {:.1} MB",
            resident as f64 / 1e6
        ));
        assert!(p99 <= most, "{name}: {p99:?}");
        assert!(resident <= 64 << 20, "{name}: {resident}");
        // Nothing of them is left.
        let mut run = broker.run(1);
        run.want(0);
        run.hear_a("grant");
    }
}
