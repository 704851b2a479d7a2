//! Runner mode, through the real binary: what a command starts through the wrapper is a job of its own.
//!
//! The driver of most of these is a shell that calls what it was told to call, `$LOG_COMPILER`, as automake's does.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

struct Scene(TempDir);

/// Past libtest's capture.
fn skip(test: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
}

impl Scene {
    /// `None` where there are no cgroups to put tests into.
    fn new(test: &str) -> Option<Scene> {
        let scene = Scene(TempDir::new().unwrap());
        scene.run(&["--json", "probe.jsonl"], "true");
        let first: Value = serde_json::from_str(scene.read("probe.jsonl").lines().next().unwrap()).unwrap();
        if !["cgroup", "hybrid"].contains(&first["isolation"].as_str().unwrap()) {
            skip(test, "no cgroups here");
            return None;
        }
        Some(scene)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn script(&self, name: &str, text: &str) {
        fs::write(self.path(name), format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        for name in ["MAKEFLAGS", "CI", "GOFLAGS", "LOG_COMPILER", "SANDTEST_RUNNER", "CARGO_PKG_NAME"] {
            command.env_remove(name);
        }
        command.current_dir(self.0.path()).env("XDG_STATE_HOME", self.path("state")).stdin(Stdio::null());
        command
    }

    /// `sandtest exec OPTIONS -- sh -c DRIVER`.
    fn exec(&self, options: &[&str], driver: &str) -> Command {
        let mut command = self.command(Path::new(env!("CARGO_BIN_EXE_sandtest")));
        command.arg("exec").args(options).args(["--", "sh", "-c", driver]);
        command
    }

    fn run(&self, options: &[&str], driver: &str) -> Output {
        self.exec(options, driver).output().unwrap()
    }

    /// The ends of what was brought along.
    fn brought(&self, file: &str) -> Vec<Value> {
        let text = self.read(file);
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["event"] == "attempt-finished" && line["driver"].is_string()).collect()
    }

    fn wait_for(&self, file: &str, text: &str) {
        let begin = Instant::now();
        while !self.read(file).contains(text) {
            assert!(begin.elapsed() < Duration::from_secs(60), "{file} has no {text:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What was seen of an exit code; a kernel before 6.15 need not have told.
fn has_code(end: &Value, code: i64) -> bool {
    end["exit_code"].is_null() || end["exit_code"] == code
}

#[test]
fn it_is_the_same_process_with_the_same_streams_and_a_peak_of_its_own() {
    let test = "it_is_the_same_process_with_the_same_streams_and_a_peak_of_its_own";
    let Some(scene) = Scene::new(test) else { return };
    scene
        .script("who", "echo $$ \"$@\" $SANDTEST_JOB \"${SANDTEST_RUNNER-gone}\"; cat; echo err >&2; exit 3");
    scene.script("fat", "exec python3 -c 'x = b\"a\" * (60 << 20)'");
    let driver = "echo in | sh -c 'echo $$; exec $LOG_COMPILER ./who a b'; echo code $?; $LOG_COMPILER ./fat";
    let output = scene.run(&["--json", "run.jsonl"], driver);
    let out = text(&output.stdout);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[1], format!("{} a b who a b gone", lines[0]), "{out}");
    assert_eq!(lines[2..], ["in", "code 3"]);
    assert_eq!((text(&output.stderr).as_str(), output.status.code()), ("err\n", Some(0)));
    let ends = scene.brought("run.jsonl");
    assert_eq!(ends.len(), 2, "{ends:?}");
    assert!(has_code(&ends[0], 3) && ends[0]["job"] == "who a b", "{}", ends[0]);
    let peak = |at: usize| ends[at]["memory_peak"].as_u64().unwrap() >> 20;
    assert!(peak(0) < 20 && (60..90).contains(&peak(1)), "{} MiB, {} MiB", peak(0), peak(1));
    assert_eq!(ends[1]["verdict"], "pass");
}

#[test]
fn one_that_takes_too_much_is_killed_alone_and_told() {
    let Some(scene) = Scene::new("one_that_takes_too_much_is_killed_alone_and_told") else { return };
    scene.script("hog", "exec python3 -c 'x = b\"a\" * (300 << 20)'");
    let driver = "$LOG_COMPILER ./hog; echo code $?; $LOG_COMPILER ./hog --small 2> /dev/null; exit 5";
    let output = scene.run(&["--memory", "100M", "--json", "run.jsonl"], driver);
    assert_eq!(output.status.code(), Some(5), "the command's own: {output:?}");
    assert!(text(&output.stdout).contains("code 137"), "{output:?}");
    assert!(text(&output.stderr).contains("sandtest: hog: oom: the kernel OOM-killed it"), "{output:?}");
    let ends = scene.brought("run.jsonl");
    assert!(ends.iter().all(|end| end["outcome"] == "oom" && end["verdict"] == "fail"), "{ends:?}");
    let told =
        scene.command(Path::new(env!("CARGO_BIN_EXE_sandtest"))).args(["why", "hog"]).output().unwrap();
    assert!(text(&told.stdout).contains("oom"), "{told:?}");
}

#[test]
fn with_one_place_one_after_the_other_runs_beside_the_command() {
    let test = "with_one_place_one_after_the_other_runs_beside_the_command";
    let Some(scene) = Scene::new(test) else { return };
    scene.script("work", "echo + >> log; sleep 0.05; echo - >> log");
    let driver = "for i in 1 2 3 4 5 6; do $LOG_COMPILER ./work $i & done; wait";
    let output = scene.run(&["-j", "1", "--json", "run.jsonl"], driver);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    assert_eq!(scene.read("log"), "+\n-\n".repeat(6), "one at a time");
    assert_eq!(scene.brought("run.jsonl").len(), 6);
}

#[test]
fn a_list_is_no_job_and_what_a_job_starts_is_part_of_it() {
    let test = "a_list_is_no_job_and_what_a_job_starts_is_part_of_it";
    let Some(scene) = Scene::new(test) else { return };
    scene.script("inner", "$LOG_COMPILER echo inside; SANDTEST_RUNNER=$1 $LOG_COMPILER echo forced");
    let driver = "$LOG_COMPILER echo --list; $LOG_COMPILER ./inner $SANDTEST_RUNNER";
    let output = scene.run(&["--json", "run.jsonl"], driver);
    assert_eq!(text(&output.stdout), "--list\ninside\nforced\n");
    assert!(text(&output.stderr).contains("the command of the run has not started it"), "{output:?}");
    assert_eq!(scene.brought("run.jsonl").len(), 1);
}

/// The run may hear of such a test before it hears that the command has exec'd: one of 60 was refused then.
#[test]
fn the_first_thing_that_a_command_does_may_be_a_test() {
    let Some(scene) = Scene::new("the_first_thing_that_a_command_does_may_be_a_test") else { return };
    for at in 0..60 {
        let output = scene.run(&[], "$LOG_COMPILER true; true");
        assert!(output.status.success() && output.stderr.is_empty(), "{at}: {output:?}");
    }
}

#[test]
fn without_a_run_the_wrapper_is_the_test() {
    let folder = TempDir::new().unwrap();
    let wrapper = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sandtest"));
        command.args(["run-wrapper", "--"]).args(words).env_remove("SANDTEST_RUNNER").stdin(Stdio::null());
        command
    };
    let alone = wrapper(&["sh", "-c", "echo $0 $1; kill -TERM $$", "a", "b c"]).output().unwrap();
    assert_eq!((text(&alone.stdout).as_str(), alone.stderr.len()), ("a b c\n", 0));
    assert_eq!(alone.status.signal(), Some(15));
    let gone = folder.path().join("socket");
    let warned = wrapper(&["echo", "x"]).env("SANDTEST_RUNNER", &gone).output().unwrap();
    assert_eq!((text(&warned.stdout).as_str(), warned.status.code()), ("x\n", Some(0)));
    assert!(text(&warned.stderr).contains("warning: echo has no cgroup of its own"), "{warned:?}");
    let mut refused = wrapper(&["echo", "x"]);
    refused.env("SANDTEST_RUNNER", &gone).env("SANDTEST_RUNNER_REQUIRED", "1");
    let refused = refused.output().unwrap();
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(125), 0), "{refused:?}");
    assert_eq!(wrapper(&["/no/such/test"]).status().unwrap().code(), Some(127));
    assert_eq!(wrapper(&["/etc/passwd"]).status().unwrap().code(), Some(126));
}

#[test]
fn where_no_jobs_are_wanted_the_command_is_told_nothing() {
    let Some(scene) = Scene::new("where_no_jobs_are_wanted_the_command_is_told_nothing") else { return };
    for options in [&["--no-runner"][..], &["--isolation", "off"]] {
        let output = scene.run(options, "echo ${SANDTEST_RUNNER-none} ${LOG_COMPILER-none} ${GOFLAGS-none}");
        assert_eq!(text(&output.stdout), "none none none\n", "{options:?}");
    }
}

#[test]
fn what_is_left_running_goes_with_its_command() {
    let Some(scene) = Scene::new("what_is_left_running_goes_with_its_command") else { return };
    scene.script("stay", "echo here > stays; exec sleep 1000");
    let driver = "$LOG_COMPILER ./stay & while ! [ -e stays ]; do sleep 0.01; done; exit 0";
    let begin = Instant::now();
    let output = scene.run(&["--json", "run.jsonl"], driver);
    assert!(begin.elapsed() < Duration::from_secs(60));
    assert!(output.status.success(), "{output:?}");
    let ends = scene.brought("run.jsonl");
    assert_eq!((ends.len(), &ends[0]["cause"]), (1, &Value::from("abandoned")), "{ends:?}");
}

#[test]
fn a_command_is_as_busy_as_its_tests_and_waits_for_what_they_hang_in() {
    let test = "a_command_is_as_busy_as_its_tests_and_waits_for_what_they_hang_in";
    let Some(scene) = Scene::new(test) else { return };
    let busy = "$LOG_COMPILER timeout 2 sh -c 'while :; do :; done'; exit 0";
    let output = scene.run(&["--idle-timeout", "500ms"], busy);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let output = scene.run(&["--idle-timeout", "500ms"], "$LOG_COMPILER sleep 77; exit 0");
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(124), "{told}");
    assert!(told.contains("used no processor for 500ms"), "{told}");
    assert!(told.contains("clock_nanosleep") && told.contains("sleep"), "{told}");
    assert!(!told.contains("none is in sight"), "{told}");
}

#[test]
fn one_that_is_killed_while_it_waits_is_nobodys_loss() {
    let Some(scene) = Scene::new("one_that_is_killed_while_it_waits_is_nobodys_loss") else { return };
    scene.script("slow", "echo here > runs; while ! [ -e over ]; do sleep 0.01; done");
    scene.script("late", "echo late >> ran");
    let driver = "$LOG_COMPILER ./slow & while ! [ -e runs ]; do sleep 0.01; done
        $LOG_COMPILER ./late 1 & waits=$!
        sleep 0.3; kill -9 $waits; wait $waits; touch over; $LOG_COMPILER ./late 2; wait";
    let output = scene.run(&["-j", "1", "--json", "run.jsonl"], driver);
    assert!(output.status.success(), "{output:?}");
    let names: Vec<String> =
        scene.brought("run.jsonl").iter().map(|end| end["job"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names, ["slow", "late 2"]);
    assert_eq!(scene.read("ran"), "late\n");
}

fn interrupt(child: &Child) {
    let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
}

#[test]
fn an_interrupt_ends_the_command_and_all_that_it_started() {
    let Some(scene) = Scene::new("an_interrupt_ends_the_command_and_all_that_it_started") else { return };
    scene.script("stay", "echo $$ > stays; exec sleep 1000");
    let mut child =
        scene.exec(&["--json", "run.jsonl"], "$LOG_COMPILER ./stay; $LOG_COMPILER ./stay").spawn().unwrap();
    scene.wait_for("stays", "\n");
    let pid = scene.read("stays");
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(!Path::new(&format!("/proc/{}", pid.trim())).exists(), "{pid} is still there");
    assert_eq!(scene.brought("run.jsonl").len(), 1);
}

#[test]
fn who_says_nothing_or_nonsense_is_in_nobodys_way() {
    let Some(scene) = Scene::new("who_says_nothing_or_nonsense_is_in_nobodys_way") else { return };
    let nonsense = r#"
import os, socket, sys
path, open_ones = os.environ['SANDTEST_RUNNER'], []
for at in range(2000):
    s = socket.socket(socket.AF_UNIX)
    s.connect(path)
    try:
        s.sendall([b'', b'\xff' * 100, b'\x05\0\0\0ab', b'\0\0\0\0', b'\x01\0\0\0x'][at % 5])
    except OSError:
        pass
    if at % 5 == 0 and len(open_ones) < 200: open_ones.append(s)
    else: s.close()
os.execvp('sh', ['sh', '-c', '$LOG_COMPILER echo still here'])
"#;
    fs::write(scene.path("nonsense.py"), nonsense).unwrap();
    let output = scene.run(&["--json", "run.jsonl"], "python3 nonsense.py");
    assert_eq!(text(&output.stdout), "still here\n", "{output:?}");
    assert_eq!(scene.brought("run.jsonl").len(), 1);
}

#[test]
fn many_at_once_all_have_their_turn() {
    let Some(scene) = Scene::new("many_at_once_all_have_their_turn") else { return };
    let driver = "for i in $(seq 200); do $LOG_COMPILER true $i & done; wait";
    let output = scene.run(&["--json", "run.jsonl"], driver);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    assert_eq!(scene.brought("run.jsonl").len(), 200);
    let left = fs::read_dir(scene.path("state/sandtest/runs")).unwrap().flatten();
    assert!(left.map(|run| run.path()).all(|run| !run.join("runner").exists()), "the socket is left behind");
}

#[test]
fn each_has_the_limits_of_its_own_name_whatever_was_made_ahead() {
    let test = "each_has_the_limits_of_its_own_name_whatever_was_made_ahead";
    let Some(scene) = Scene::new(test) else { return };
    fs::write(
        scene.path("sandtest.yaml"),
        "rules: [{match: \"echo odd*\", memory_max: 80M, pids_max: 33}]\n",
    )
    .unwrap();
    let driver = "for i in 1 2 3 odd4 odd5 odd6 odd7 8 9 odd10 11; do $LOG_COMPILER echo $i; done";
    let output = scene.run(&["--json", "run.jsonl"], driver);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let ends = scene.brought("run.jsonl");
    assert_eq!(ends.len(), 11, "{ends:?}");
    for end in ends {
        let is_odd = end["job"].as_str().unwrap().contains("odd");
        assert_eq!(end["limits"]["pids_max"] == 33, is_odd, "{end}");
        assert_eq!(end["limits"]["memory_max"] == 80 << 20, is_odd, "{end}");
    }
}

#[test]
fn an_environment_longer_than_a_socket_takes_at_once_arrives_whole() {
    let test = "an_environment_longer_than_a_socket_takes_at_once_arrives_whole";
    let Some(scene) = Scene::new(test) else { return };
    let long = "x".repeat(50_000);
    let more: String = (1..10).map(|at| format!(", LONG_{at}: *long")).collect();
    let rules = format!("rules: [{{match: \"*\", env: {{LONG_0: &long {long}{more}}}}}]\n");
    fs::write(scene.path("sandtest.yaml"), rules).unwrap();
    // The rule is the driver's, too: what comes back is what the test was told anew.
    let driver =
        "for at in 0 1 2 3 4 5 6 7 8 9; do unset LONG_$at; done; $LOG_COMPILER env | grep ^LONG_ | wc";
    let output = scene.run(&["--json", "run.jsonl"], driver);
    let counts = text(&output.stdout);
    let counts: Vec<&str> = counts.split_whitespace().collect();
    assert_eq!(counts, ["10", "10", "500080"], "{}", text(&output.stderr));
    assert_eq!(scene.brought("run.jsonl").len(), 1);
}

/// What pytest with xdist does, without either: makes workers as execnet does, one after the other, and has each begin only
/// when all are there.
const LIKE_PYTEST: &str = r#"
import os, subprocess, sys

WORK = '''import os
os.environ["PYTEST_CURRENT_TEST"] = "test_a.py::test_fits (call)"
del os.environ["PYTEST_CURRENT_TEST"]
print(os.environ.get("PYTHONPATH"), "SANDTEST_NOTE" in os.environ, "SANDTEST_RUNNER" in os.environ, flush=True)
os.environ["PYTEST_CURRENT_TEST"] = "test_a.py::test_%s[\\x1b] (call)" % sys.stdin.readline().strip()
x = bytearray(300 << 20) if "hog" in os.environ["PYTEST_CURRENT_TEST"] else None
os._exit(3)
'''
words = [sys.executable, "-u", "-c", "import sys;exec(eval(sys.stdin.readline()))"]
workers = []
for test in sys.argv[1:]:
    worker = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    worker.stdin.write(repr(WORK) + "\n")
    worker.stdin.flush()
    print(worker.stdout.readline().strip(), flush=True)
    workers.append((worker, test))
for worker, test in workers:
    worker.communicate(test + "\n")
    print(worker.returncode, flush=True)
"#;

#[test]
fn workers_of_xdist_never_wait_and_each_tells_the_test_that_it_was_at() {
    let Some(scene) = Scene::new("workers_of_xdist_never_wait_and_each_tells_the_test_that_it_was_at") else {
        return;
    };
    fs::write(scene.path("like.py"), LIKE_PYTEST).unwrap();
    // A sitecustomize that was there before ours still counts.
    fs::create_dir(scene.path("site")).unwrap();
    fs::write(scene.path("site/sitecustomize.py"), "import os; open('seen', 'a').write('+')\n").unwrap();
    let site = scene.path("site").display().to_string();
    scene.script("pytest", "exec python3 like.py quits hog waits");
    let mut command = scene.command(Path::new(env!("CARGO_BIN_EXE_sandtest")));
    command.args(["exec", "-j", "1", "--memory", "100M", "--json", "run.jsonl", "--", "./pytest"]);
    let output = command.env("PYTHONPATH", &site).output().unwrap();
    let plain = format!("{site} False False\n");
    assert_eq!(text(&output.stdout), format!("{plain}{plain}{plain}3\n-9\n3\n"), "{output:?}");
    let told = "sandtest: pytest gw1: oom: the kernel OOM-killed it at its own memory_max of 100 MiB (set by --memory)";
    assert!(text(&output.stderr).contains(told), "{output:?}");
    assert!(text(&output.stderr).contains("It was at test_a.py::test_hog[?] (call)."), "{output:?}");
    let ends = scene.brought("run.jsonl");
    let name = |end: &Value| end["job"].as_str().unwrap().to_owned();
    let mut names: Vec<String> = ends.iter().map(name).collect();
    names.sort();
    assert_eq!(names, ["pytest gw0", "pytest gw1", "pytest gw2"]);
    let tests: Vec<&Value> = ends.iter().map(|end| &end["test"]).collect();
    assert!(tests.iter().any(|test| **test == "test_a.py::test_quits[?] (call)"), "{tests:?}");
    // The driver's Python, and each worker's: what asks is not there yet.
    assert_eq!(scene.read("seen"), "+".repeat(4));
}

#[test]
fn a_worker_for_which_there_is_no_room_goes_with_its_driver() {
    let Some(scene) = Scene::new("a_worker_for_which_there_is_no_room_goes_with_its_driver") else { return };
    if !nix::unistd::geteuid().is_root() {
        return skip("a_worker_for_which_there_is_no_room_goes_with_its_driver", "serves all users, as root");
    }
    fs::write(scene.path("like.py"), LIKE_PYTEST).unwrap();
    scene.script("pytest", "exec python3 like.py fits waits");
    let sandtest = Path::new(env!("CARGO_BIN_EXE_sandtest"));
    let socket = scene.path("broker.sock");
    let mut serve = scene.command(sandtest);
    serve.args(["serve", "--scope", "system", "--user", "root=jobs:1", "--socket"]).arg(&socket);
    let mut broker = serve.stderr(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !socket.exists() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut command = scene.command(sandtest);
    command.env("SANDTEST_BROKER", &socket).args(["exec", "--broker", "require", "-j", "8"]);
    let output = command.args(["--json", "run.jsonl", "--", "./pytest"]).output().unwrap();
    broker.kill().unwrap();
    broker.wait().unwrap();
    let told = text(&output.stderr);
    assert!(told.contains("there is no room for it, and pytest would wait for it"), "{told}");
    let codes = text(&output.stdout).lines().filter(|line| *line == "3").count();
    assert_eq!(codes, 2, "both have worked: {} {told}", text(&output.stdout));
    let brought: Vec<String> = scene.brought("run.jsonl").iter().map(|end| end["job"].to_string()).collect();
    assert_eq!(brought, ["\"pytest gw0\""]);
}

#[test]
fn a_worker_that_puts_a_pipe_in_the_place_of_its_note_holds_nobody_up() {
    let Some(scene) = Scene::new("a_worker_that_puts_a_pipe_in_the_place_of_its_note_holds_nobody_up") else {
        return;
    };
    let worker = "import glob, os; os.environ['PYTEST_CURRENT_TEST'] = 'a.py::b (call)'; \
                  notes = glob.glob(os.environ['XDG_STATE_HOME'] + '/sandtest/runs/*/runner/note-*'); \
                  [(os.unlink(note), os.mkfifo(note)) for note in notes]; open('notes', 'w').write(str(len(notes)))";
    fs::write(scene.path("worker.py"), worker).unwrap();
    let boot = "import sys;exec(eval(sys.stdin.readline()))";
    scene.script("pytest", &format!("echo \"open('worker.py').read()\" | python3 -u -c '{boot}'"));
    let mut command = scene.command(Path::new("timeout"));
    command.args(["-s", "KILL", "60", env!("CARGO_BIN_EXE_sandtest")]);
    let output = command.args(["exec", "--json", "run.jsonl", "--", "./pytest"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let ends = scene.brought("run.jsonl");
    assert_eq!(ends.len(), 1, "{output:?}");
    assert_eq!(scene.read("notes"), "1");
    assert_eq!((&ends[0]["job"], &ends[0]["test"]), (&"pytest gw0".into(), &Value::Null));
}

#[test]
fn a_command_short_of_processes_beside_its_tests_is_not_run_again() {
    let test = "a_command_short_of_processes_beside_its_tests_is_not_run_again";
    let Some(scene) = Scene::new(test) else { return };
    fs::write(scene.path("profile.yaml"), "budget:\n  pids_max: 64\njob:\n  pids_max: max\n").unwrap();
    let many = "import os, sys\nopen('begun', 'a').write('+')\nrunner = os.environ['LOG_COMPILER']\n\
                test = os.posix_spawn(runner, [runner, 'sleep', '60'], os.environ)\nothers = []\n\
                try:\n  while True: others.append(os.posix_spawn('/bin/sleep', ['sleep', '60'], os.environ))\n\
                except OSError: pass\nsys.exit(7)\n";
    fs::write(scene.path("many.py"), many).unwrap();
    let output = scene.run(&["--profile", "profile.yaml", "--json", "run.jsonl"], "exec python3 many.py");
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    assert_eq!(scene.read("begun"), "+", "{output:?}");
    let told = "sandtest: pids: it needed more processes and threads, with all that it started, than all jobs together may have";
    assert!(text(&output.stderr).contains(told), "{output:?}");
}

#[test]
fn a_sitecustomize_that_cant_import_something_says_so_as_ever() {
    let Some(scene) = Scene::new("a_sitecustomize_that_cant_import_something_says_so_as_ever") else {
        return;
    };
    fs::create_dir(scene.path("site")).unwrap();
    fs::write(scene.path("site/sitecustomize.py"), "import not_to_be_found\n").unwrap();
    let site = scene.path("site").display().to_string();
    let output = scene.exec(&[], "python3 -c pass; : pytest").env("PYTHONPATH", &site).output().unwrap();
    assert!(text(&output.stderr).contains("No module named 'not_to_be_found'"), "{output:?}");
}

/// No file is longer than 8 KiB, so there is no room for the wrapper.
#[test]
fn where_tests_must_have_cgroups_and_cant_the_command_is_not_run() {
    let Some(scene) = Scene::new("where_tests_must_have_cgroups_and_cant_the_command_is_not_run") else {
        return;
    };
    let run = |options: &str| {
        let mut command = scene.command(Path::new("sh"));
        let sandtest = env!("CARGO_BIN_EXE_sandtest");
        command
            .args(["-c", &format!("trap '' XFSZ; ulimit -f 16; exec {sandtest} exec {options} -- echo ran")]);
        command.output().unwrap()
    };
    let plain = run("");
    assert_eq!((plain.status.code(), text(&plain.stdout).as_str()), (Some(0), "ran\n"), "{plain:?}");
    assert!(text(&plain.stderr).contains("warning: tests share the command's cgroup"), "{plain:?}");
    let required = run("--isolation required");
    assert_eq!((required.status.code(), text(&required.stdout).as_str()), (Some(125), ""), "{required:?}");
}

/// A crate with a small and a large test, an integration test and an example in its documentation.
fn project(scene: &Scene) {
    let write = |name: &str, text: &str| {
        let path = scene.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write(
        "Cargo.toml",
        "[package]\nname = \"shapes\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n",
    );
    write(
        "src/lib.rs",
        "/// ```\n/// assert_eq!(shapes::two(), 2);\n/// ```\npub fn two() -> u32 { 2 }\n\
         #[cfg(test)] mod tests {\n\
         #[test] fn small() { assert_eq!(super::two(), 2); }\n\
         #[test] fn fat() { let v = vec![1u8; 60 << 20]; assert_eq!(std::hint::black_box(v)[9], 1); } }\n",
    );
    write("tests/more.rs", "#[test] fn three() { assert_eq!(shapes::two() + 1, 3); }\n");
}

/// Without what differs from run to run.
fn without_times(output: &[u8]) -> String {
    let lines = text(output);
    let plain = |line: &str| {
        line.split(" in 0.").next().unwrap_or_default().split("; finished").next().unwrap().to_owned()
    };
    lines
        .lines()
        .filter(|line| !line.starts_with("all doctests ran"))
        .map(plain)
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn cargo_test_says_the_same_and_each_binary_has_its_peak() {
    let Some(scene) = Scene::new("cargo_test_says_the_same_and_each_binary_has_its_peak") else { return };
    project(&scene);
    let cargo = |program: &str, before: &[&str]| {
        let mut command = scene.command(Path::new(program));
        command.args(before).args(["test", "--offline"]).env("CARGO_TARGET_DIR", scene.path("target"));
        command.output().unwrap()
    };
    cargo("cargo", &[]);
    let plain = cargo("cargo", &[]);
    let sandtest = env!("CARGO_BIN_EXE_sandtest");
    let wrapped = cargo(sandtest, &["exec", "--json", "run.jsonl", "--", "cargo"]);
    assert_eq!(plain.status.code(), wrapped.status.code());
    assert_eq!(without_times(&plain.stdout), without_times(&wrapped.stdout));
    assert_eq!(without_times(&plain.stderr), without_times(&wrapped.stderr));
    let ends = scene.brought("run.jsonl");
    let names: Vec<&str> = ends.iter().filter_map(|end| end["job"].as_str()).collect();
    assert!(names.starts_with(&["shapes", "shapes::more"]), "{names:?}");
    assert!(ends[0]["memory_peak"].as_u64().unwrap() > 60 << 20);
    assert!(ends[1]["memory_peak"].as_u64().unwrap() < 20 << 20);

    // A runner of the user's own is started by ours.
    scene.script("own-runner", "echo \"$1\" >> chained; exec \"$@\"");
    fs::create_dir_all(scene.path(".cargo")).unwrap();
    let config = "[target.'cfg(unix)']\nrunner = './own-runner'\n";
    fs::write(scene.path(".cargo/config.toml"), config).unwrap();
    let chained = cargo(sandtest, &["exec", "--json", "chained.jsonl", "--", "cargo"]);
    assert!(chained.status.success(), "{chained:?}");
    assert!(scene.read("chained").lines().count() >= 2, "{}", scene.read("chained"));
    assert_eq!(scene.brought("chained.jsonl").len(), ends.len());
}
