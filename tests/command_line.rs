//! The command line as people use and misuse it, through the real binary, on whatever tier this machine has.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]

#[path = "common/terminal.rs"]
#[allow(dead_code, reason = "others use the rest of it")]
mod terminal;

use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use terminal::Terminal;

/// `sandtest exec` in a folder of its own, with a state directory of its own.
struct Scene {
    folder: tempfile::TempDir,
}

struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Scene {
    fn new() -> Scene {
        Scene { folder: tempfile::tempdir().unwrap() }
    }

    fn file(self, name: &str, bytes: &[u8]) -> Scene {
        fs::write(self.folder.path().join(name), bytes).unwrap();
        self
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sandtest"));
        command.arg("exec").args(arguments).current_dir(self.folder.path());
        command.env("XDG_STATE_HOME", self.folder.path().join("state")).env_remove("CI");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().unwrap()
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, b"")
    }

    fn run_with(&self, arguments: &[&str], stdin: &[u8]) -> Ran {
        let mut child = self.start(arguments);
        // A run that refuses before it reads closes its end.
        let _ = child.stdin.take().unwrap().write_all(stdin);
        Ran::of(child.wait_with_output().unwrap())
    }

    /// What a run told, without the starts.
    fn events(&self, name: &str) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(self.path(name)).unwrap();
        let events = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        events.filter(|event| event["event"] != "attempt-started").collect()
    }
}

impl Ran {
    fn of(output: Output) -> Ran {
        assert_eq!(output.status.signal(), None, "sandtest itself was killed");
        Ran {
            code: output.status.code().unwrap(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < Duration::from_secs(20), "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// State of `pid` in /proc, if it is there.
fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat[stat.rfind(')')? + 1..].trim_start().chars().next()
}

#[test]
fn a_bad_profile_is_shown_with_its_place_and_nothing_starts() {
    let large = vec![b'#'; 100 << 20];
    let cases: [(&[u8], &str); 10] = [
        (b"name: a\njob:\n  memory_maximum: 1G\n", "bad.yaml:3:3: "),
        (b"name: a\njob:\n  memory_max: 0\n", "bad.yaml:3:15: "),
        (b"name: a\njob:\n  memory_max: 5 apples\n", "bad.yaml:3:15: "),
        (b"name: a\nbudget:\n  memory_max: 160%\n", "at most 100%"),
        (b"name: a\njob:\n  pids_max: 3\n  pids_max: 4\n", "bad.yaml:4:3: "),
        (b"name: a\njob:\n\tpids_max: 3\n", "bad.yaml:3:1: "),
        (b"", "is empty"),
        (b"\xff\xfe\x00", "UTF-8"),
        (b"name: a\nextends: nobody\n", "nobody"),
        (&large, "too large"),
    ];
    for (text, wanted) in cases {
        let scene = Scene::new().file("bad.yaml", text);
        let ran = scene.run(&["-p", "./bad.yaml", "--", "touch", "ran"]);
        assert_eq!(ran.code, 125, "{wanted}: {}", ran.err);
        assert!(ran.err.contains(wanted), "{wanted}: {}", ran.err);
        assert!(!scene.path("ran").exists(), "{wanted}: the job ran");
        assert!(!scene.path("state").exists(), "{wanted}: a record was left");
    }
}

#[test]
fn bad_options_are_refused_with_what_is_expected() {
    let cases: [(&[&str], &str); 19] = [
        (&["-p", "wsl3", "--", "touch", "ran"], "did you mean \"wsl2\""),
        (&["-j", "0", "--", "touch", "ran"], "at least 1"),
        (&["-j", "many", "--", "touch", "ran"], "expected a whole number of at least 1, such as 4"),
        (&["--shards", "0", "--", "touch", "ran"], "at least 1"),
        (&["--memory", "10MB", "--", "touch", "ran"], "10MiB"),
        (&["--memroy", "10M", "--", "touch", "ran"], "--memory"),
        (
            &["--retries", "many", "--", "touch", "ran"],
            "expected a number of retries such as 2, or 0 for none\n",
        ),
        (&["--timeout", "5", "--", "touch", "ran"], "unit"),
        (&["--pids", "0", "--", "touch", "ran"], "0 leaves nothing to run with"),
        (&["--memory", "0", "--", "touch", "ran"], "0 leaves nothing to run in"),
        (&["--timeout", "0s", "--", "touch", "ran"], "leaves no time"),
        (&["--timeout", "300000000000y", "--", "touch", "ran"], "--timeout"),
        (&["--grace", "9223372036854775807s", "--", "touch", "ran"], "more than a year"),
        (&["--shards", "40000000", "--", "touch", "ran"], "100000"),
        (&["--reserve", "100%", "--", "touch", "ran"], "sandtest: --reserve: a reserve of "),
        (
            &["--reserve", "100T", "--", "touch", "ran"],
            "sandtest: --reserve: a reserve of 100 TiB leaves nothing",
        ),
        (&["--json", "-", "--", "touch", "ran"], "standard output"),
        (&["--json", "/no/such/folder/x", "--", "touch", "ran"], "/no/such/folder/x"),
        (&["--jobs-from", "/no/such/list"], "/no/such/list"),
    ];
    for (arguments, wanted) in cases {
        let scene = Scene::new();
        let ran = scene.run(arguments);
        assert_eq!(ran.code, 125, "{arguments:?}: {}", ran.err);
        assert!(ran.err.contains(wanted), "{arguments:?}: {}", ran.err);
        assert!(!scene.path("ran").exists() && !scene.path("state").exists(), "{arguments:?} left something");
    }
}

#[test]
fn commands_that_cant_be_run_have_the_shells_codes() {
    let scene = Scene::new().file("plain", b"no program");
    for (program, code) in [("./nope", 127), ("no-such-command", 127), ("./plain", 126), ("/tmp", 126)] {
        let ran = scene.run(&["--", program]);
        assert_eq!(ran.code, code, "{program}: {}", ran.err);
        assert!(ran.err.contains(program), "{}", ran.err);
    }
}

#[test]
fn an_empty_list_is_no_success() {
    let ran = Scene::new().run(&["--jobs-from", "-"]);
    assert_eq!(ran.code, 4, "{}", ran.err);
}

#[test]
fn a_list_with_an_open_quote_runs_nothing() {
    let scene = Scene::new();
    let ran = scene.run_with(&["--jobs-from", "-"], b"touch ran\necho 'open\n");
    assert_eq!(ran.code, 125);
    assert!(ran.err.contains("standard input:2"), "{}", ran.err);
    assert!(!scene.path("ran").exists());
}

#[test]
fn one_command_passes_through_untouched() {
    let scene = Scene::new();
    let words = ["--", "bash", "-c", r#"cat; printf '%s|' "$0" "$@"; exit 9"#, "a b", "c'd", "e\nf", "-x"];
    let ran = scene.run_with(&words, b"in\0put");
    assert_eq!((ran.code, ran.out.as_str()), (9, "in\0puta b|c'd|e\nf|-x|"));
    assert_eq!(ran.err, "", "a wrapper that has nothing to say is silent");
}

#[test]
fn options_end_where_the_command_begins() {
    let ran = Scene::new().run(&["-j2", "echo", "--memory", "-n"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "--memory -n\n"));
}

#[test]
fn what_a_failing_job_wrote_is_shown_and_what_a_passing_one_wrote_is_not() {
    let list = b"bash -c 'echo quiet'\nbash -c 'echo first; echo second >&2; exit 3'\n";
    let ran = Scene::new().run_with(&["--no-fail-fast", "--jobs-from", "-"], list);
    assert_eq!(ran.code, 100);
    assert!(ran.err.contains("first\nsecond\n") && !ran.err.contains("quiet\n"), "{}", ran.err);
    assert_eq!(ran.out, "", "standard output is the jobs'");
}

#[test]
fn a_failure_stops_what_has_not_begun_unless_told_otherwise() {
    let list = b"false\ntouch ran\n";
    let scene = Scene::new();
    let ran = scene.run_with(&["-j1", "--jobs-from", "-"], list);
    assert_eq!((ran.code, scene.path("ran").exists()), (100, false));
    assert!(ran.err.contains("1 not run"), "{}", ran.err);
    let ran = scene.run_with(&["-j1", "--no-fail-fast", "--jobs-from", "-"], list);
    assert_eq!((ran.code, scene.path("ran").exists()), (100, true));
}

/// Lifts the limit of its own v1 pids group, where there is one and it may.
const LIFT_OWN_LIMIT: &str = r#"while IFS=: read -r n c p; do if [ "$c" = pids ]; then echo max > /sys/fs/cgroup/pids$p/pids.max; fi; done < /proc/self/cgroup"#;

/// Notes the limit of its own v1 pids group, where there is one.
const NOTE_OWN_LIMIT: &str = r#"while IFS=: read -r n c p; do if [ "$c" = pids ]; then cat /sys/fs/cgroup/pids$p/pids.max >> found; fi; done < /proc/self/cgroup"#;

#[test]
fn groups_that_serve_again_are_as_new() {
    // Groups are made some jobs ahead, so more than one job comes after each that leaves its mark.
    let (forks, lift, note) = ("sh -c 'sleep 0.3 & sleep 0.3 & wait'", LIFT_OWN_LIMIT, NOTE_OWN_LIMIT);
    let list = ["true", forks, "true", "true", "true", "true"].map(String::from).into_iter();
    let list =
        list.chain([format!("sh -c '{lift}'")]).chain(std::iter::repeat_n(format!("sh -c '{note}'"), 4));
    let list = list.collect::<Vec<_>>().join("\n");
    let scene = Scene::new().file("jobs", list.as_bytes());
    let ran = scene.run(&["--jobs-from", "jobs", "-j1", "--pids", "40", "--json", "events"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let events = scene.events("events");
    if !matches!(events[0]["isolation"].as_str(), Some("hybrid" | "cgroup")) {
        return;
    }
    let peaks: Vec<u64> = events[1..7].iter().map(|event| event["pids_peak"].as_u64().unwrap()).collect();
    let forked = peaks[1];
    assert!(forked >= 3 && peaks == [1, forked, 1, 1, 1, 1], "{peaks:?}");
    if let Ok(found) = fs::read_to_string(scene.path("found")) {
        assert!(found.lines().all(|limit| limit == "40"), "a limit that another had lifted: {found}");
    }
}

/// Crash handlers and debuggers attach like this; as long as the tracer lives, nobody else is told of the end.
const TRACED: &str = r#"
import ctypes, os, time
libc, (r, w) = ctypes.CDLL(None), os.pipe()
if os.fork() == 0:
    os.setsid()
    libc.ptrace(0x4206, os.getppid(), 0, 0)  # PTRACE_SEIZE
    os.write(w, b"x")
    time.sleep(60)
os.read(r, 1)
os._exit(7)
"#;

#[test]
fn a_tracer_that_outlives_its_tracee_is_a_leftover() {
    let begin = Instant::now();
    let ran = Scene::new().run(&["--", "python3", "-c", TRACED]);
    assert_eq!(ran.code, 7, "{}", ran.err);
    assert!(ran.err.contains("left 1 process behind"), "{}", ran.err);
    assert!(begin.elapsed() < Duration::from_secs(30));
}

/// Holds a write lease, so that an exec of the file waits.
const LEASE: &str = r#"
import fcntl, os, signal, time
signal.signal(signal.SIGIO, signal.SIG_IGN)
fcntl.fcntl(os.open("held", os.O_RDWR), fcntl.F_SETLEASE, fcntl.F_WRLCK)
open("ready", "w").close()
time.sleep(40)
"#;

#[test]
fn an_exec_that_hangs_runs_out_of_time_and_holds_up_nobody() {
    let scene = Scene::new().file("jobs", b"./held\ntrue\ntrue\n");
    fs::copy("/bin/true", scene.path("held")).unwrap();
    let mut holder =
        Command::new("python3").args(["-c", LEASE]).current_dir(scene.folder.path()).spawn().unwrap();
    wait_until("the lease is held", || scene.path("ready").exists());
    let ran =
        scene.run(&["--timeout", "4s", "-j2", "--no-fail-fast", "--jobs-from", "jobs", "--json", "events"]);
    let events = scene.events("events");
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert_eq!(ran.code, 100, "{}", ran.err);
    let of = |number: usize, what: &str| events[number][what].as_str().unwrap().to_owned();
    assert_eq!(
        (of(1, "outcome"), of(2, "outcome"), of(3, "outcome")),
        ("exited".into(), "exited".into(), "timeout".into())
    );
    assert!(events[2]["wall_ms"].as_f64().unwrap() < 3000.0, "held up: {}", events[2]);
}

#[test]
fn a_leftover_whose_name_is_no_text_is_killed_and_counted() {
    // Named by its file, cut by the kernel in the middle of a letter.
    let scene = Scene::new();
    fs::copy("/bin/sleep", scene.path("aaaaaaaaaaaaaaü")).unwrap();
    let ran = scene.run(&["--json", "events", "--", "sh", "-c", "setsid ./aaaaaaaaaaaaaaü 90 & sleep 0.2"]);
    assert_eq!(scene.events("events")[1]["leaked"], 1, "{}", ran.err);
}

#[test]
fn a_job_that_needs_more_than_the_budget_is_out_of_memory_and_not_tried_again() {
    let scene = Scene::new();
    fs::create_dir_all(scene.path(".sandtest")).unwrap();
    fs::write(scene.path(".sandtest/small.yaml"), "budget: {memory_max: 100M}\njob: {memory_max: max}\n")
        .unwrap();
    let hog = ["-p", "small", "--json", "events", "--", "python3", "-c", "x = bytearray(300 << 20)"];
    let ran = scene.run(&hog);
    let events = scene.events("events");
    if !matches!(events[0]["isolation"].as_str(), Some("hybrid" | "cgroup")) {
        return;
    }
    assert_eq!((ran.code, events[1]["outcome"].as_str()), (137, Some("oom")), "{}", ran.err);
    assert!(ran.err.contains("budget of all jobs together, 100 MiB"), "{}", ran.err);
}

#[test]
fn a_job_whose_neighbour_fills_the_budget_runs_again_alone_and_passes() {
    // Each fits below the budget, both together do not; the first waits until the second has its share.
    let job = |name: &str| {
        format!(
            "python3 -c 'import os, time; x = bytearray(70 << 20); open(\"{name}\", \"w\"); time.sleep(1.5)'\n"
        )
    };
    let scene = Scene::new().file("jobs", (job("a") + &job("b")).as_bytes());
    fs::create_dir_all(scene.path(".sandtest")).unwrap();
    fs::write(scene.path(".sandtest/small.yaml"), "budget: {memory_max: 128M}\njob: {memory_max: 120M}\n")
        .unwrap();
    let ran = scene.run(&["-p", "small", "-j2", "--jobs-from", "jobs", "--json", "events"]);
    let events = scene.events("events");
    if !matches!(events[0]["isolation"].as_str(), Some("hybrid" | "cgroup")) {
        return;
    }
    let last = events.last().unwrap();
    assert_eq!((ran.code, last["passed"].as_u64()), (0, Some(2)), "{}", ran.err);
    assert!(last["evictions"].as_u64().unwrap() >= 1, "{}", ran.err);
}

#[test]
fn isolation_required_runs_only_where_the_kernel_holds_every_limit() {
    let scene = Scene::new();
    let doctor = Command::new(env!("CARGO_BIN_EXE_sandtest")).args(["doctor", "--json"]).output().unwrap();
    let doctor: serde_json::Value = serde_json::from_slice(&doctor.stdout).unwrap();
    let limits = doctor["limits"].as_array().unwrap();
    let all_held = limits.iter().all(|limit| limit["enforcement"] == "kernel");
    let ran = scene.run(&["--isolation", "required", "--cpus", "0.5", "--", "touch", "ran"]);
    assert_eq!(
        (ran.code, scene.path("ran").exists()),
        if all_held { (0, true) } else { (125, false) },
        "{}",
        ran.err
    );
    let bare = scene.run(&["--isolation", "off", "--json", "events", "--", "true"]);
    assert_eq!((bare.code, scene.events("events")[0]["isolation"].as_str()), (0, Some("off")));
}

#[test]
fn a_file_that_takes_no_events_is_told_of_once_and_stops_nothing() {
    for option in ["--json", "--record"] {
        let ran = Scene::new().run(&[option, "/dev/full", "--", "true"]);
        assert_eq!((ran.code, ran.err.matches("/dev/full").count()), (0, 1), "{option}: {}", ran.err);
    }
}

#[test]
fn a_run_inside_of_a_run_has_its_verdicts_and_leaves_nothing() {
    let sandtest = env!("CARGO_BIN_EXE_sandtest");
    let scene = Scene::new();
    let inner = format!(
        "{sandtest} exec -- sh -c 'exit 7'; echo inner $?; {sandtest} exec --timeout 300ms -- sleep 9; echo inner $?"
    );
    let ran = scene.run(&["--json", "events", "--", "sh", "-c", &inner]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "inner 7\ninner 124\n"), "{}", ran.err);
    let events = scene.events("events");
    assert_eq!(
        (events[1]["leaked"].as_u64(), events[1]["outcome"].as_str()),
        (Some(0), Some("exited")),
        "{events:?}"
    );
}

/// Fills the buffers of connections that nobody reads from.
const SOCKETS: &str = r#"
import socket
def held():
    line = next(line for line in open("/proc/net/sockstat") if line.startswith("TCP"))
    return int(line.split()[-1]) * 4096 >> 20
before, server, ends = held(), socket.create_server(("127.0.0.1", 0)), []
for _ in range(20):
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 << 20)
    client.connect(server.getsockname())
    ends += [client, server.accept()[0]]
    ends[-1].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 20)
    client.setblocking(False)
    try:
        while client.send(b"x" * 65536): pass
    except OSError: pass
print(held() - before)
"#;

#[test]
fn the_buffers_of_sockets_are_memory_too() {
    let scene = Scene::new();
    let ran = scene.run(&["--memory", "48M", "--json", "events", "--", "python3", "-c", SOCKETS]);
    if matches!(scene.events("events")[0]["isolation"].as_str(), Some("hybrid" | "cgroup")) {
        // Others on this machine have connections, too.
        let held: i64 = ran.out.trim().parse().unwrap_or(0);
        assert!(held < 100, "{held} MiB under a limit of 48: {}", ran.err);
    }
}

#[test]
fn a_job_is_told_who_it_is_and_starts_as_its_profile_says() {
    let scene = Scene::new();
    fs::create_dir_all(scene.path(".sandtest")).unwrap();
    let profile = "job: {nofile: 77, oom_score_adj: 901, no_new_privs: true}\n";
    fs::write(scene.path(".sandtest/strict.yaml"), profile).unwrap();
    let shown = "env; ulimit -Sn; cat /proc/self/oom_score_adj; grep -E '^(NoNewPrivs|SigBlk|SigIgn)' /proc/self/status; ls /proc/self/fd";
    let ran = scene.run(&["-p", "strict", "--", "bash", "-c", shown]);
    let has = |line: &str| assert!(ran.out.lines().any(|found| found == line), "{line}: {}", ran.out);
    ["SANDTEST_ATTEMPT=1", "SANDTEST_SLOT=0", "77", "901", "NoNewPrivs:\t1"]
        .iter()
        .for_each(|line| has(line));
    has("SigBlk:\t0000000000000000");
    assert!(ran.out.contains("SANDTEST_RUN=") && ran.out.contains("SANDTEST_JOB=bash -c"), "{}", ran.out);
    // Its three streams, and the folder that ls looks at.
    assert!(ran.out.ends_with("\n0\n1\n2\n3\n"), "{}", ran.out);
}

#[test]
fn a_rules_limit_and_variables_reach_the_jobs_that_it_fits() {
    let scene = Scene::new().file(
        "sandtest.yaml",
        b"rules:\n  - match: \"*given*\"\n    pids_max: 33\n    env: {COLOUR: 1.10, INHERITED: new}\n",
    );
    let scene = scene.file("jobs", b"sh -c 'env > given'\nsh -c 'env > other'\n");
    let mut command = scene.command(&["--jobs-from", "jobs", "-j1", "--json", "events"]);
    let ran = Ran::of(command.env("INHERITED", "old").output().unwrap());
    assert_eq!((ran.code, ran.err.contains("warning")), (0, false), "{}", ran.err);
    let variables = |name: &str| -> Vec<String> {
        let text = fs::read_to_string(scene.path(name)).unwrap();
        let mut lines: Vec<String> = text
            .lines()
            .filter(|line| line.starts_with("COLOUR=") || line.starts_with("INHERITED="))
            .map(str::to_owned)
            .collect();
        lines.sort();
        lines
    };
    assert_eq!(variables("given"), ["COLOUR=1.10", "INHERITED=new"]);
    assert_eq!(variables("other"), ["INHERITED=old"]);
    let events = scene.events("events");
    let limit = |number: usize| events[number]["limits"]["pids_max"].as_u64();
    if events[0]["isolation"] != "off" {
        assert_eq!(limit(1), Some(33), "{}", events[1]);
        assert_ne!(limit(2), Some(33), "{}", events[2]);
    }
    // The command line beats the rule.
    let ran = scene.run(&["--jobs-from", "jobs", "--pids", "44", "--json", "events"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(scene.events("events")[1]["limits"]["pids_max"], 44);
}

#[test]
fn what_a_rule_says_that_a_job_needs_raises_its_limit() {
    let scene = Scene::new().file("sandtest.yaml", b"rules: [{match: \"echo *\", memory: 80M}]\n");
    let scene = scene.file("jobs", b"true\nmemory:40M echo 0\necho 1\n");
    let ran = scene.run(&["--jobs-from", "jobs", "-j1", "--memory", "20M", "--json", "events"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let events = scene.events("events");
    let limits: Vec<Option<u64>> = events[1..4]
        .iter()
        .map(|event| event["limits"]["memory_max"].as_u64().map(|max| max >> 20))
        .collect();
    // No rule; its own line before the rule; the rule. A quarter more than is needed each.
    assert_eq!(limits, [Some(20), Some(50), Some(100)], "{}", ran.err);
}

#[test]
fn what_a_shard_is_told_no_rule_takes_away() {
    let scene = Scene::new()
        .file("sandtest.yaml", b"rules: [{match: \"*\", env: {TEST_SHARD_INDEX: 9, GTEST_COLOR: no}}]\n");
    let job = "env | grep -E '^(TEST_SHARD_INDEX|GTEST_COLOR)=' | sort > $SANDTEST_SLOT";
    let ran = scene.run(&["--shards", "2", "-j1", "--", "sh", "-c", job]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(fs::read_to_string(scene.path("0")).unwrap(), "GTEST_COLOR=no\nTEST_SHARD_INDEX=1\n");
}

#[test]
fn a_rule_that_fits_no_job_is_told_of_once_before_the_run() {
    let scene = Scene::new().file("jobs", b"true\nsh -c 'exit 0'\n");
    fs::create_dir_all(scene.path(".sandtest")).unwrap();
    let rules = "rules:\n  - {match: true, weight: 1}\n  - {match: \"foo*\", weight: 1}\n";
    fs::write(scene.path(".sandtest/x.yaml"), rules).unwrap();
    let ran = scene.run(&["-p", "x", "--jobs-from", "jobs"]);
    let warnings: Vec<&str> = ran.err.lines().filter(|line| line.contains("warning")).collect();
    let wanted = "sandtest: warning: .sandtest/x.yaml:3: the rule \"foo*\" matches none of the 2 jobs";
    assert_eq!((ran.code, warnings), (0, vec![wanted]), "{}", ran.err);
    assert!(ran.err.starts_with("sandtest: warning"), "before the run: {}", ran.err);
    assert_eq!(
        scene.run(&["-p", "x", "--", "sh", "-c", ":"]).err,
        "",
        "one command has its streams to itself"
    );
}

#[test]
fn a_limit_above_the_budget_is_told_to_be_the_budgets() {
    let ran = Scene::new().run(&["--memory", "900T", "--pids", "4000000", "--", "true"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(
        ran.err.contains("warning: --memory 900 TiB is more than the budget of all jobs, "),
        "{}",
        ran.err
    );
    assert!(ran.err.contains("warning: --pids 4000000 is more than"), "{}", ran.err);
    assert_eq!(Scene::new().run(&["--memory", "50%", "--", "true"]).err, "");
}

#[test]
fn a_bad_project_file_is_shown_with_its_place_and_nothing_starts() {
    let scene = Scene::new().file("sandtest.yaml", b"rules:\n  - match: x\n    tiemout: 2s\n");
    let ran = scene.run(&["--", "touch", "ran"]);
    assert_eq!((ran.code, scene.path("ran").exists()), (125, false));
    assert!(ran.err.contains("sandtest.yaml:3:5: unknown key \"tiemout\" in `rules`"), "{}", ran.err);
    let ran = Scene::new().file("sandtest.yml", b"rules: [{match: x, memory: 80M}]\n").run(&["--", "true"]);
    assert_eq!(ran.code, 125);
    assert!(ran.err.contains("sandtest.yml is not read") && ran.err.contains("sandtest.yaml"), "{}", ran.err);
}

#[test]
fn a_signal_to_sandtest_reaches_the_job_and_is_the_exit_code() {
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143), (Signal::SIGHUP, 129)] {
        let scene = Scene::new();
        // Whoever runs this in the background (nohup) has some of them ignored, and so would sandtest.
        let mut command = Command::new("env");
        command.args(["--default-signal", env!("CARGO_BIN_EXE_sandtest"), "exec", "--", "bash", "-c"]);
        command.arg("> up; exec sleep 60").current_dir(scene.folder.path());
        command.env("XDG_STATE_HOME", scene.path("state"));
        let child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait_until("the job is up", || scene.path("up").exists());
        kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
        assert_eq!(Ran::of(child.wait_with_output().unwrap()).code, code);
    }
}

#[test]
fn a_second_interrupt_kills_at_once_what_ignores_the_first() {
    let scene =
        Scene::new().file("list", b"bash -c 'trap \"\" INT TERM; touch up; while :; do sleep 1; done'\n");
    let mut child = scene.start(&["--grace", "60s", "--jobs-from", "list"]);
    wait_until("the job is up", || scene.path("up").exists());
    let begin = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(begin.elapsed() < Duration::from_secs(30), "its grace goes on");
        kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
        // A second request, not the echo of the first, even if that was heard late.
        std::thread::sleep(Duration::from_millis(500));
    }
    assert_eq!(Ran::of(child.wait_with_output().unwrap()).code, 130);
}

/// timeout(1) signals its child and then the child's group: two signals, one request.
#[test]
fn the_echo_of_a_signal_takes_nobodys_grace() {
    let job = "trap 'sleep 0.4; touch cleaned; exit 0' TERM; touch up; while :; do sleep 0.05; done";
    let scene = Scene::new();
    let child = scene.start(&["--", "bash", "-c", job]);
    wait_until("the job is up", || scene.path("up").exists());
    for _ in 0..2 {
        kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).unwrap();
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = child.wait_with_output().unwrap();
    assert!(scene.path("cleaned").exists());
}

#[test]
fn what_ignores_an_interrupt_is_killed_after_the_grace() {
    let scene = Scene::new();
    let child = scene.start(&[
        "--grace",
        "200ms",
        "--",
        "bash",
        "-c",
        "trap '' INT; touch up; while :; do sleep 1; done",
    ]);
    wait_until("the job is up", || scene.path("up").exists());
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
    assert_eq!(Ran::of(child.wait_with_output().unwrap()).code, 130);
}

#[test]
fn a_stopped_sandtest_stops_its_jobs_and_their_clocks() {
    let job = b"bash -c 'echo $$ > pid; until test -e over; do sleep 0.05; done'\n";
    let scene = Scene::new().file("list", job);
    let child = scene.start(&["--timeout", "2s", "--json", "events", "--jobs-from", "list"]);
    let pid = child.id();
    let job = || fs::read_to_string(scene.path("pid")).ok()?.trim().parse::<u32>().ok();
    wait_until("the job is up", || job().is_some());
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGTSTP).unwrap();
    wait_until("sandtest has stopped", || state(pid) == Some('T'));
    // Longer than the time-out: it would have struck, had the clock gone on.
    std::thread::sleep(Duration::from_millis(2500));
    assert!(state(job().unwrap()).is_some(), "the job went on while sandtest was stopped");
    fs::write(scene.path("over"), "").unwrap();
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGCONT).unwrap();
    let ran = Ran::of(child.wait_with_output().unwrap());
    assert_eq!(ran.code, 0, "{}", ran.err);
    let events = scene.events("events");
    let attempt = events.iter().find(|event| event["event"] == "attempt-finished").unwrap();
    assert!(attempt["frozen_ms"].as_f64().unwrap() > 2000.0, "{attempt}");
    assert!(attempt["wall_ms"].as_f64().unwrap() < 2000.0, "{attempt}");
}

#[test]
fn what_ended_in_time_while_sandtest_stood_still_is_no_time_out() {
    let job = |name: &str| format!("bash -c 'echo $$ > {name}; until test -e over; do sleep 0.05; done'\n");
    let scene = Scene::new()
        .file("list", (job("a") + &job("b") + "bash -c 'echo $$ > c; exec sleep 100'\n").as_bytes());
    let child = scene.start(&["--timeout", "3s", "-j", "3", "--json", "events", "--jobs-from", "list"]);
    let pid = Pid::from_raw(child.id().cast_signed());
    let job = |name: &str| fs::read_to_string(scene.path(name)).ok()?.trim().parse::<u32>().ok();
    wait_until("the jobs are up", || ["a", "b", "c"].iter().all(|name| job(name).is_some()));
    kill(pid, Signal::SIGSTOP).unwrap();
    fs::write(scene.path("over"), "").unwrap();
    let has_ended = |name: &str| state(job(name).unwrap()) == Some('Z');
    wait_until("both have ended", || has_ended("a") && has_ended("b"));
    // Nothing is to be seen of its clock.
    std::thread::sleep(Duration::from_millis(3200));
    kill(pid, Signal::SIGCONT).unwrap();
    let ran = Ran::of(child.wait_with_output().unwrap());
    let events = scene.events("events");
    let ends = events.iter().filter(|event| event["event"] == "attempt-finished");
    let mut outcomes: Vec<_> = ends.map(|end| end["outcome"].as_str().unwrap().to_owned()).collect();
    outcomes.sort();
    assert_eq!(outcomes, ["exited", "exited", "timeout"], "{}", ran.err);
    assert_eq!(ran.code, 100, "{}", ran.err);
}

#[test]
fn at_a_terminal_the_job_reads_it_and_ctrl_z_and_ctrl_c_do_what_they_do() {
    let scene = Scene::new();
    let Some(terminal) = Terminal::open(scene.folder.path(), 80, 24) else { return };
    // What it says when it goes on is not what is typed here.
    let job = "trap \"echo on=\\$((6 * 7))\" CONT; read -p ask: x; echo got=$x; while :; do sleep 0.1; done";
    terminal.type_line(&format!("sandtest exec -- bash -c '{job}'"));
    terminal.wait_for("ask:");
    terminal.type_line("hello");
    terminal.wait_for("got=hello");
    terminal.press("C-z");
    terminal.wait_for("Stopped");
    terminal.type_line("jobs; echo shell is back");
    terminal.wait_for("shell is back");
    terminal.type_line("fg");
    terminal.wait_for("on=42");
    terminal.press("C-c");
    terminal.type_line("echo code=$?");
    terminal.wait_for("code=130");
}
