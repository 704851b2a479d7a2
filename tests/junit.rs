//! `--junit` through the real binary, read back by the crate's own reader; tests/real has two others.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use quick_junit::{Report, TestCase, TestCaseStatus};

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

    fn command(&self, options: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sandtest"));
        command.args(["exec", "--no-fail-fast", "--jobs-from", "jobs"]).args(options);
        command.current_dir(self.folder.path()).env("XDG_STATE_HOME", self.path("state")).env_remove("CI");
        command.stdin(Stdio::null());
        command
    }

    fn run(&self, options: &[&str]) -> Output {
        self.command(options).output().unwrap()
    }

    fn report(&self) -> Report {
        Report::deserialize_from_str(&fs::read_to_string(self.path("junit.xml")).unwrap()).unwrap()
    }
}

fn case<'a>(report: &'a Report, name: &str) -> &'a TestCase {
    report.test_suites[0].test_cases.iter().find(|case| case.name.as_str().contains(name)).unwrap()
}

/// Type, and how many tries there were before.
fn failure(case: &TestCase) -> (&str, usize) {
    match &case.status {
        TestCaseStatus::NonSuccess { ty, reruns, .. } => (ty.as_ref().unwrap().as_str(), reruns.runs.len()),
        other => panic!("{}: {other:?}", case.name.as_str()),
    }
}

#[test]
fn every_kind_of_end_is_a_test_case_of_its_own() {
    let scene = Scene::new(&[
        "true",
        "sh -c 'echo \"<&>]]>\"; printf \"\\001\\033[31mred\\033[0m\\n\"; exit 3'",
        "sh -c 'test -e flag || { touch flag; exit 4; }'",
        "sleep 7.5",
        "no-such-program",
        "sh -c 'kill -SEGV $$'",
    ]);
    fs::write(scene.path("sandtest.yaml"), "rules: [{match: sleep 7.5, timeout: 1s}]\n").unwrap();
    let ran = scene.run(&["-j2", "--retries", "1", "--junit", "junit.xml"]);
    assert_eq!(ran.status.code(), Some(100));
    let report = scene.report();
    assert_eq!((report.tests, report.failures, report.errors), (6, 4, 0));
    assert!(
        matches!(&case(&report, "true").status, TestCaseStatus::Success { flaky_runs } if flaky_runs.is_empty())
    );
    let flaky = &case(&report, "flag").status;
    assert!(matches!(flaky, TestCaseStatus::Success { flaky_runs } if flaky_runs.len() == 1), "{flaky:?}");
    assert_eq!(failure(case(&report, "exit 3")), ("exit code 3", 1));
    assert_eq!(failure(case(&report, "sleep")), ("timeout", 1));
    assert_eq!(failure(case(&report, "no-such")), ("spawn-failed", 0));
    assert_eq!(failure(case(&report, "SEGV")), ("SIGSEGV", 1));
    let written = case(&report, "exit 3").system_out.as_ref().unwrap().as_str();
    assert_eq!(written.trim_end(), "<&>]]>\n\\u{1}red", "no letter that XML can't hold");
    let peak = case(&report, "true").properties.iter().find(|said| said.name.as_str() == "pids_max").unwrap();
    assert_ne!(peak.value.as_str(), "0");
}

#[test]
fn nothing_that_a_test_writes_makes_the_file_unreadable_or_hides_what_follows() {
    let scene = Scene::new(&["true", "python3 hostile.py \u{fffe}\u{ffff}\u{1b}]name"]);
    let hostile = "import sys; sys.stdout.buffer.write(b'A\\xef\\xbf\\xbeB\\tC before \\x1b] after \\x1bP end \\x1b_'); sys.exit(1)";
    fs::write(scene.path("hostile.py"), hostile).unwrap();
    assert_eq!(scene.run(&["--junit", "junit.xml"]).status.code(), Some(100));
    let report = scene.report();
    let hostile = case(&report, "hostile");
    assert!(hostile.name.as_str().ends_with("]name"), "{:?}", hostile.name);
    let written = hostile.system_out.as_ref().unwrap().as_str();
    assert_eq!(written, "A\\u{fffe}B    C before \\u{1b}] after \\u{1b}P end \\u{1b}_");
    let text = fs::read_to_string(scene.path("junit.xml")).unwrap();
    assert!(!text.contains(['\u{fffe}', '\u{ffff}', '\u{1b}']));
}

#[test]
fn a_run_that_is_killed_has_a_report_of_what_was_finished() {
    let scene = Scene::new(&["sleep 0.1"; 200]);
    let mut child = scene.command(&["-j1", "--junit", "junit.xml"]).stderr(Stdio::null()).spawn().unwrap();
    let begin = Instant::now();
    while fs::metadata(scene.path("junit.xml")).map_or(0, |file| file.len()) == 0 {
        assert!(begin.elapsed() < Duration::from_secs(15), "nothing is written before the end");
        std::thread::sleep(Duration::from_millis(20));
    }
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL).unwrap();
    child.wait().unwrap();
    let report = scene.report();
    assert!((1..200).contains(&report.tests), "{} tests", report.tests);
    assert!(!scene.path("junit.xml.part").exists());
}

#[test]
fn what_can_not_be_written_is_said_before_or_after_and_changes_no_result() {
    let scene = Scene::new(&["true"]);
    fs::create_dir(scene.path("folder")).unwrap();
    for path in ["folder", "no/such/folder/junit.xml"] {
        let ran = scene.run(&["--junit", path]);
        assert_eq!(ran.status.code(), Some(125), "nothing runs");
        assert!(String::from_utf8_lossy(&ran.stderr).contains(&format!("write {path}:")));
    }
    let ran = scene.run(&["--junit", "/dev/full"]);
    assert_eq!(ran.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&ran.stderr).contains("write /dev/full: No space left"), "{ran:?}");
    assert_eq!(scene.run(&["--junit", "/dev/null"]).status.code(), Some(0));
    assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
}
