//! Endurance, through the real binary: kills at any instant, thousands of jobs, seeded faults, floods, idleness.
//!
//! `SANDTEST_SOAK=full` takes the sizes of the promises (some minutes, on a release build: `cargo test --release
//! --test soak`); without it each test has a size that fits into a normal run.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

/// They measure processes and memory, so they take turns.
static TURN: Mutex<()> = Mutex::new(());

const MIB: u64 = 1 << 20;

fn full() -> bool {
    std::env::var("SANDTEST_SOAK").is_ok_and(|size| size == "full")
}

fn size<T>(quick: T, whole: T) -> T {
    if full() { whole } else { quick }
}

/// Past libtest's capture, which hides what a passing test prints.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "soak: {line}");
}

/// A state directory of its own, and the turn.
struct Soak {
    folder: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Soak {
    fn new() -> Soak {
        let turn = TURN.lock().unwrap_or_else(|poison| poison.into_inner());
        Soak { folder: tempfile::tempdir().unwrap(), _turn: turn }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn sandtest(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sandtest"));
        command.arg("exec").env("XDG_STATE_HOME", self.path("state"));
        command.current_dir(self.folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Starts sandtest on a list of commands; events go to `events`.
    fn start(&self, options: &[&str], lines: &[String]) -> Child {
        fs::write(self.path("jobs"), lines.join("\n")).unwrap();
        let mut command = self.sandtest();
        command.arg("--no-fail-fast").args(options);
        command.arg("--json").arg(self.path("events")).arg("--jobs-from").arg(self.path("jobs"));
        command.spawn().unwrap()
    }

    fn events(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.path("events")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn attempts(&self) -> Vec<Value> {
        self.events().into_iter().filter(|event| event["event"] == "attempt-finished").collect()
    }

    /// Groups of any run in this state directory, wherever they are mounted.
    fn groups(&self) -> Vec<PathBuf> {
        let runs = fs::read_dir(self.path("state/sandtest/runs")).into_iter().flatten().flatten();
        let names: Vec<String> =
            runs.map(|run| format!("sandtest-run-{}", run.file_name().display())).collect();
        let mut found = Vec::new();
        walk(Path::new("/sys/fs/cgroup"), &mut |path, name| {
            if names.iter().any(|run| run == name) {
                found.push(path.to_owned());
            }
        });
        found
    }
}

fn walk(folder: &Path, visit: &mut impl FnMut(&Path, &str)) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            visit(&entry.path(), &entry.file_name().to_string_lossy());
            walk(&entry.path(), visit);
        }
    }
}

/// A small generator: the same seed gives the same run anywhere (xorshift64*).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % limit
    }
}

fn pids() -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Processes with `word` among their arguments.
fn with_argument(word: &str) -> Vec<u32> {
    let carries = |pid: &u32| {
        let text = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&text).contains(word)
    };
    pids().into_iter().filter(carries).collect()
}

/// State and parent of a process.
fn state(pid: u32) -> Option<(char, u32)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.get(text.rfind(')')? + 2..)?.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

fn zombies_of(parent: u32) -> usize {
    pids().into_iter().filter_map(state).filter(|of| *of == ('Z', parent)).count()
}

fn children_of(parent: u32) -> usize {
    pids().into_iter().filter_map(state).filter(|(_, ppid)| *ppid == parent).count()
}

/// A number of `/proc/PID/status`; sizes in bytes.
fn status(pid: u32, key: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    let number: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some(if line.ends_with("kB") { number << 10 } else { number })
}

/// Processor time of all threads, nanoseconds.
fn cpu_time(pid: u32) -> u64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let texts = threads.filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok());
    texts.filter_map(|text| text.split(' ').next()?.parse::<u64>().ok()).sum()
}

/// Polls until `done`, at most `limit`; returns how long it took.
fn within(limit: Duration, mut done: impl FnMut() -> bool) -> Option<Duration> {
    let begin = Instant::now();
    loop {
        let elapsed = begin.elapsed();
        if done() {
            return Some(elapsed);
        }
        if elapsed > limit {
            return None;
        }
        sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_sigkill_at_any_instant_leaves_no_test_alive_and_no_group() {
    let (soak, mut dice) = (Soak::new(), Dice(0x5EED_0001));
    let (rounds, mut slowest, mut without_groups) = (size(20, 200), Duration::ZERO, 0);
    for round in 0..rounds {
        // An argument of each process, and of no other round.
        let marker = format!("3600.{}{round:04}", std::process::id());
        let orphans =
            format!("setsid sh -c \"(sleep {marker} &) ; (setsid sleep {marker} &)\" & (sleep {marker} &)");
        let lines: Vec<String> = (0..60)
            .map(|job| format!("sh -c '{orphans} ; sleep {}' {marker}", ["0", "0.05", "0.3"][job % 3]))
            .collect();
        let mut sandtest = soak.start(&["-j4"], &lines);
        let instant = Duration::from_millis(1 + dice.below(400));
        sleep(instant);
        sandtest.kill().unwrap();
        sandtest.wait().unwrap();
        without_groups += usize::from(soak.groups().is_empty());
        let gone = within(Duration::from_secs(1), || with_argument(&marker).is_empty());
        let gone = gone.unwrap_or_else(|| {
            panic!("round {round}, killed after {instant:?}: {:?} live on", with_argument(&marker))
        });
        slowest = slowest.max(gone);
        assert!(soak.sandtest().args(["--", "true"]).status().unwrap().success());
        let left = soak.groups();
        assert!(left.is_empty(), "round {round}, killed after {instant:?}: {left:?}");
    }
    say(&format!(
        "{rounds} kills: all gone after at most {slowest:?}; {without_groups} of them found no group at once"
    ));
}

/// What the supervisor holds at one moment.
#[derive(Debug, Clone, Copy)]
struct Sample {
    memory: u64,
    descriptors: usize,
    threads: u64,
    zombies: usize,
}

impl Sample {
    fn of(pid: u32) -> Option<Sample> {
        Some(Sample {
            memory: status(pid, "VmRSS")?,
            descriptors: fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count(),
            threads: status(pid, "Threads")?,
            zombies: zombies_of(pid),
        })
    }
}

/// The v2 group of this process, below which the runs' groups are made, and its groups that are dying.
fn dying() -> u64 {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/").to_owned();
    let roots = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];
    let text = roots
        .iter()
        .find_map(|root| fs::read_to_string(format!("{root}{}/cgroup.stat", own.trim_end_matches('/'))).ok());
    let text = text.unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("nr_dying_descendants "));
    line.and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[test]
fn thousands_of_short_jobs_leave_nothing_and_grow_nothing() {
    const PARALLEL: usize = 4;
    let soak = Soak::new();
    let (count, dying_before) = (size(1_000, 10_000), dying());
    let lines: Vec<String> = (0..count).map(|job| format!("true {job}")).collect();
    let mut sandtest = soak.start(&["-j4"], &lines);
    let (pid, mut samples) = (sandtest.id(), Vec::new());
    while sandtest.try_wait().unwrap().is_none() {
        // Its memory is gone a moment before it is.
        samples.extend(Sample::of(pid).filter(|sample| sample.memory > 0));
        sleep(Duration::from_millis(size(5, 50)));
    }
    assert!(sandtest.wait().unwrap().success());
    let last = soak.events().pop().unwrap();
    assert_eq!((last["event"].as_str(), last["passed"].as_u64()), (Some("run-finished"), Some(count)));

    // The first moments are the start, the last ones the end.
    let fifth = (samples.len() / 5).max(1);
    let (first, last) = (&samples[fifth..2 * fifth], &samples[samples.len() - fifth..]);
    let middle = |of: &[Sample], what: fn(&Sample) -> u64| {
        let mut values: Vec<u64> = of.iter().map(what).collect();
        values.sort_unstable();
        values[values.len() / 2]
    };
    let most = |of: &[Sample], what: fn(&Sample) -> u64| of.iter().map(what).max().unwrap();
    let memory = [first, last].map(|of| middle(of, |sample| sample.memory));
    let descriptors = [first, last].map(|of| most(of, |sample| sample.descriptors as u64));
    let threads = [first, last].map(|of| most(of, |sample| sample.threads));
    let zombies = most(&samples, |sample| sample.zombies as u64);
    say(&format!(
        "{count} jobs, {} samples: memory {memory:?}, descriptors {descriptors:?}, threads {threads:?}, \
         zombies at most {zombies}",
        samples.len()
    ));
    assert!(memory[1] <= memory[0] + 2 * MIB, "memory grew: {memory:?}");
    // Used groups that wait for their removal hold some.
    assert!(descriptors[1] <= descriptors[0] + 192, "descriptors grew: {descriptors:?}");
    assert!(threads[1] <= threads[0] + 1, "threads grew: {threads:?}");
    // One that has just ended is a zombie until the supervisor comes to it.
    assert!(zombies <= 2 * PARALLEL as u64, "{zombies} zombies");
    assert_eq!(soak.groups(), Vec::<PathBuf>::new());
    let near = |now: u64| now <= dying_before + 100;
    let gone = within(Duration::from_secs(30), || near(dying()));
    say(&format!("dying groups: {dying_before} before, {} after ({gone:?})", dying()));
    assert!(gone.is_some(), "dying groups stay: {dying_before} before, {} now", dying());
}

/// What a seeded job must come to.
#[derive(Debug, Clone, PartialEq)]
struct Expected {
    kind: &'static str,
    outcome: &'static str,
    exit_code: Option<i64>,
    signal: Option<i64>,
    leaked: Option<u64>,
}

/// A job of a kind picked by `dice`, and what it must come to.
fn fault(dice: &mut Dice) -> (String, Expected) {
    let of = |kind, outcome| Expected { kind, outcome, exit_code: None, signal: None, leaked: Some(0) };
    let sh = |script: &str| format!("sh -c '{script}'");
    match dice.below(16) {
        0..=2 => ("true".into(), Expected { exit_code: Some(0), ..of("pass", "exited") }),
        3..=4 => {
            let code = 1 + dice.below(255);
            (
                sh(&format!("exit {code}")),
                Expected { exit_code: Some(code as i64), ..of("failure", "exited") },
            )
        }
        5..=6 => {
            let signal = [2, 6, 7, 9, 10, 11, 14, 15][dice.below(8) as usize];
            (sh(&format!("kill -{signal} $$")), Expected { signal: Some(signal), ..of("signal", "signaled") })
        }
        7 => (sh("exec tail /dev/zero"), Expected { signal: Some(9), leaked: None, ..of("oom", "oom") }),
        8 => (sh("tail /dev/zero ; exit 0"), Expected { leaked: None, ..of("oom of a child", "oom") }),
        9..=10 => (
            "python3 -c 'import os, time; [os.fork() or (time.sleep(30), os._exit(0)) for _ in range(99)]'"
                .into(),
            Expected { exit_code: Some(1), leaked: None, ..of("pids", "pids") },
        ),
        11 => (sh("exec sleep 30"), Expected { signal: Some(15), leaked: None, ..of("timeout", "timeout") }),
        12 => (
            sh("trap \"\" TERM ; sleep 30 ; sleep 30"),
            Expected { leaked: None, ..of("stubborn timeout", "timeout") },
        ),
        13 => {
            let count = 1 + dice.below(3);
            let script = "setsid sleep 30 > /dev/null 2>&1 & ".repeat(count as usize);
            // They are there before the command ends.
            let script = format!("{script} exit 0");
            (sh(&script), Expected { exit_code: Some(0), leaked: Some(count), ..of("leak", "exited") })
        }
        14 => (
            sh("exec setsid -f sleep 30"),
            Expected { exit_code: Some(0), leaked: Some(1), ..of("double fork", "exited") },
        ),
        _ => ("/no/such/command".into(), of("missing", "spawn-failed")),
    }
}

/// Those of what was expected that an attempt's event does not show.
fn differs(expected: &Expected, event: &Value) -> bool {
    let told = |want: Option<i64>, key: &str| want.is_none_or(|want| event[key].as_i64() == Some(want));
    event["outcome"] != expected.outcome
        || !told(expected.exit_code, "exit_code")
        || !told(expected.signal, "signal")
        || !told(expected.leaked.map(|count| count as i64), "leaked")
}

#[test]
fn every_verdict_over_seeded_faults_is_right() {
    let (soak, mut dice) = (Soak::new(), Dice(0x5EED_0003));
    let count = size(100, 1_000);
    let (lines, expected): (Vec<String>, Vec<Expected>) = (0..count)
        .map(|number| {
            let (line, expected) = fault(&mut dice);
            // The last word makes the name unique; no command heeds it.
            (format!("{line} j{number}"), expected)
        })
        .unzip();
    // Of the others none may run out of time, however slow the machine.
    let rules =
        "rules:\n- {match: ['*exec sleep 30*', '*trap*'], timeout: 2s}\n- {match: '*', timeout: 60s}\n";
    fs::write(soak.path("sandtest.yaml"), rules).unwrap();
    let options = ["-j4", "--memory", "64M", "--pids", "16", "--grace", "200ms"];
    soak.start(&options, &lines).wait().unwrap();
    let attempts = soak.attempts();
    assert_eq!(attempts.len(), lines.len());
    let number = |event: &Value| -> usize {
        let name = event["job"].as_str().unwrap();
        let last = name.rsplit_once(" j").and_then(|(_, number)| number.parse().ok());
        last.unwrap_or_else(|| panic!("{name}"))
    };
    let (mut wrong, mut kinds) = (Vec::new(), BTreeMap::<&str, usize>::new());
    for event in &attempts {
        let expected: &Expected = &expected[number(event)];
        *kinds.entry(expected.kind).or_default() += 1;
        if differs(expected, event) {
            wrong.push(format!("{expected:?}\n    {event}"));
        }
    }
    say(&format!("{count} faults, {} wrong: {kinds:?}", wrong.len()));
    assert!(wrong.is_empty(), "{} wrong verdicts:\n{}", wrong.len(), wrong.join("\n"));
    assert!(soak.groups().is_empty());
}

/// The most memory that the supervisor had at once while it ran `line`.
fn high_water(soak: &Soak, line: &str) -> u64 {
    let mut sandtest = soak.start(&["-j1"], &[line.to_owned()]);
    let (pid, mut most) = (sandtest.id(), 0);
    while sandtest.try_wait().unwrap().is_none() {
        most = most.max(status(pid, "VmHWM").unwrap_or(0));
        sleep(Duration::from_millis(10));
    }
    assert!(sandtest.wait().unwrap().success());
    most
}

#[test]
fn a_flood_without_a_newline_costs_the_supervisor_little_memory() {
    let soak = Soak::new();
    let bytes: u64 = size(512 * MIB, 10 << 30);
    let quiet = high_water(&soak, "sleep 0.3");
    let begin = Instant::now();
    let flooded = high_water(&soak, &format!("head -c {bytes} /dev/zero"));
    let event = soak.attempts().pop().unwrap();
    let grown = flooded.saturating_sub(quiet);
    say(&format!("a flood of {} MiB in {:?}: {quiet} -> {flooded} bytes", bytes / MIB, begin.elapsed()));
    assert_eq!(event["output"]["bytes"].as_u64(), Some(bytes));
    assert!(grown <= 16 * MIB, "the supervisor grew by {grown} bytes");
}

#[test]
fn sixty_four_idle_jobs_cost_the_supervisor_next_to_nothing() {
    const JOBS: usize = 64;
    let soak = Soak::new();
    let lines: Vec<String> = (0..JOBS).map(|job| format!("sleep 60.0{job}")).collect();
    let mut sandtest = soak.start(&["-j64"], &lines);
    let pid = sandtest.id();
    // The guardian is a child too.
    let started = within(Duration::from_secs(20), || children_of(pid) > JOBS);
    assert!(started.is_some(), "only {} children", children_of(pid));
    sleep(Duration::from_millis(500));
    let (span, before) = (Duration::from_secs(size(2, 5)), cpu_time(pid));
    sleep(span);
    let share = (cpu_time(pid) - before) as f64 / span.as_nanos() as f64 * 100.0;
    let memory = status(pid, "VmRSS").unwrap();
    let tier = soak.events()[0]["isolation"].clone();
    say(&format!("{JOBS} idle jobs, tier {tier}: {memory} bytes resident, {share:.3} % of a core"));
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), nix::sys::signal::Signal::SIGINT).unwrap();
    sandtest.wait().unwrap();
    assert!(soak.groups().is_empty());
    // Without optimisation the figures are said and mean nothing.
    if !cfg!(debug_assertions) {
        assert!(memory <= 16 * MIB, "{memory} bytes");
        // Where limits are sampled, a look at each process is the price.
        assert!(share <= 1.0 || tier == "process", "{share} % of a core");
    }
}
