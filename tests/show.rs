//! `sandtest show` through the real binary: what it makes of a record is what the run itself made.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

struct Scene {
    folder: tempfile::TempDir,
}

impl Scene {
    fn new(jobs: &[&str]) -> Scene {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("jobs"), jobs.join("\n")).unwrap();
        Scene { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn sandtest(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sandtest"));
        command.args(arguments).current_dir(self.folder.path()).env("XDG_STATE_HOME", self.path("state"));
        command.env_remove("CI").env_remove("GITHUB_ACTIONS").stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.sandtest(arguments).output().unwrap()
    }

    fn start(&self, arguments: &[&str]) -> Child {
        self.sandtest(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    fn show(&self, arguments: &[&str]) -> String {
        let shown = self.run(&[&["show"], arguments].concat());
        assert_eq!(shown.status.code(), Some(0), "{}", String::from_utf8_lossy(&shown.stderr));
        String::from_utf8(shown.stdout).unwrap()
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }
}

/// Each kind of end.
const ENDS: [&str; 7] = [
    "true",
    "sh -c 'echo \"<&>\"; printf \"\\001\\033[31mred\\033[0m\\n\"; exit 3'",
    "sh -c 'test -e flag || { touch flag; echo first; exit 4; }'",
    "sleep 7.5",
    "no-such-program",
    "sh -c 'setsid sleep 70991 & exit 0'",
    "sh -c 'seq 1 30000; kill -SEGV $$'",
];

#[test]
fn every_report_can_be_had_afterwards_as_it_would_have_been() {
    let scene = Scene::new(&ENDS);
    fs::write(scene.path("sandtest.yaml"), "rules: [{match: sleep 7.5, timeout: 500ms}]\n").unwrap();
    let reports = |prefix: &str| {
        let kinds = ["json", "junit", "html", "tap", "libtest-json", "trace"];
        kinds.map(|kind| [format!("--{kind}"), format!("{prefix}.{kind}")]).concat()
    };
    let (then, later) = (reports("then"), reports("later"));
    let mut options = vec!["exec", "-j1", "--no-fail-fast", "--retries", "1", "--jobs-from", "jobs"];
    options.extend(then.iter().map(String::as_str));
    let ran = scene.run(&options);
    assert_eq!(ran.status.code(), Some(100));
    assert_eq!(
        scene.show(&later.iter().map(String::as_str).collect::<Vec<_>>()),
        "",
        "only what is asked for"
    );
    let page =
        |text: &str| text.split("nonce").map(|part| part.get(19..).map(str::to_owned)).collect::<Vec<_>>();
    let sorted = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    for (then, later) in then.iter().zip(&later).filter(|(then, _)| !then.starts_with("--")) {
        let same = match then.rsplit_once('.').unwrap().1 {
            // A page is never the same twice: the number that lets its own scripts run is drawn.
            "html" => page(&scene.text(then)) == page(&scene.text(later)),
            // One job starts before the end of another is told, or after it.
            "libtest-json" => sorted(&scene.text(then)) == sorted(&scene.text(later)),
            _ => scene.text(then) == scene.text(later),
        };
        assert!(same, "{then} and {later} differ");
    }
    let shown = scene.show(&[]);
    let (head, rest) = shown.split_once('\n').unwrap();
    assert!(head.starts_with("run ") && head.ends_with(" ago"), "{head}");
    assert_eq!(rest, String::from_utf8(ran.stderr).unwrap());
}

#[test]
fn runs_are_listed_and_found_by_the_beginning_of_their_names() {
    let scene = Scene::new(&["true", "false"]);
    let nothing = scene.run(&["show", "--list"]);
    assert_eq!(nothing.status.code(), Some(125));
    assert!(String::from_utf8_lossy(&nothing.stderr).contains("no run is kept in"));
    scene.run(&["exec", "--jobs-from", "jobs"]);
    scene.run(&["exec", "--", "sh", "-c", "exit 7"]);
    let list = scene.show(&["--list"]);
    let lines: Vec<&str> = list.lines().collect();
    assert!(lines[0].contains("  jobs: 1 passed, 1 failed in ") && lines[0].ends_with(" ago"), "{list}");
    assert!(lines[1].contains("  sh -c 'exit 7': 0 passed, 1 failed in "), "{list}");
    let first = lines[0].split(' ').next().unwrap();
    let shown = scene.show(&["--run", first]);
    assert!(shown.starts_with(&format!("run {first} of jobs, ")) && shown.contains("FAIL 1"), "{shown}");
    assert!(scene.show(&[]).contains("FAIL 7"), "the last one");
    let unknown = scene.run(&["show", "--run", "9"]);
    assert_eq!(unknown.status.code(), Some(125));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("is called \"9\""));
}

#[test]
fn a_run_that_was_killed_or_still_runs_is_shown_as_far_as_it_came() {
    let scene = Scene::new(&["false", "sleep 70992", "true"]);
    let mut child = scene.start(&["exec", "-j1", "--no-fail-fast", "--jobs-from", "jobs"]);
    let begin = Instant::now();
    while !String::from_utf8_lossy(&scene.run(&["show"]).stdout).contains("1 in mid-run, 1 not begun") {
        assert!(begin.elapsed() < Duration::from_secs(20), "the second job is not shown");
    }
    let shown = scene.show(&[]);
    assert!(
        shown.contains("which still runs: 1 in mid-run, 1 not begun") && shown.contains("FAIL 1"),
        "{shown}"
    );
    assert!(!shown.contains("not run"), "it has not ended: {shown}");
    let refused = scene.run(&["show", "--junit", "/dev/stdout"]);
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(125), 0));
    let why = |job| String::from_utf8(scene.run(&["why", job]).stdout).unwrap();
    assert!(why("sleep").contains("\nsleep 70992: it runs\n"), "{}", why("sleep"));
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL).unwrap();
    child.wait().unwrap();
    let shown = scene.show(&["--junit", "/dev/stdout"]);
    assert!(shown.contains("tests=\"2\" skipped=\"1\"") && shown.ends_with("</testsuites>\n"), "{shown}");
    let shown = scene.show(&[]);
    assert!(
        shown.contains("killed before its end")
            && shown.contains("1 failed, 1 whose end sandtest did not see, 1 not run, interrupted in"),
        "{shown}"
    );
    assert!(shown.contains("UNSEEN") && shown.contains("it was running when the run was killed"), "{shown}");
    assert!(why("sleep").contains("nobody saw how it ended. It could have "), "{}", why("sleep"));
    assert!(scene.show(&["--list"]).contains("it was killed before its end"));
}

#[test]
fn what_is_no_record_is_told_with_its_line() {
    let scene = Scene::new(&[]);
    let home = scene.path("state/sandtest/runs/6b01-1");
    fs::create_dir_all(&home).unwrap();
    fs::write(home.join("events.jsonl"), "{\"event\":\"attempt-finished\"}\n").unwrap();
    let shown = scene.run(&["show"]);
    assert_eq!(shown.status.code(), Some(125));
    let error = String::from_utf8_lossy(&shown.stderr).into_owned();
    assert!(error.contains("events.jsonl: line 1 is no event of this version: missing field"), "{error}");
}
