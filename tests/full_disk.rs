//! Reports and the record of a run on a disk that fills up: what was finished is readable, what lacks is told, and no result changes.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// A folder in which `disk` is a file system of its own, as long as a command of [`Scene::sh`] runs.
struct Scene(tempfile::TempDir);

const JOBS: usize = 120;

impl Scene {
    /// `None` where nothing may be mounted.
    fn new(test: &str) -> Option<Scene> {
        let tried =
            Command::new("unshare").args(["--mount", "mount", "-t", "tmpfs", "none", "/mnt"]).output();
        if !tried.is_ok_and(|tried| tried.status.success()) {
            let _ = writeln!(std::io::stderr(), "SKIPPED {test}: mounts a small disk, as root");
            return None;
        }
        let scene = Scene(tempfile::tempdir().unwrap());
        fs::create_dir(scene.path("disk")).unwrap();
        let jobs: String =
            (0..JOBS).map(|job| format!("sh -c 'exit $1' {job} {}\n", u8::from(job == 7))).collect();
        fs::write(scene.path("jobs"), jobs).unwrap();
        Some(scene)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Has a shell run `script` where `disk` holds no more than `size`; `$SANDTEST` is the program.
    fn sh(&self, size: &str, state: &str, script: &str) -> Output {
        let script = format!("mount -t tmpfs -o size={size} none disk || exit 99\n{script}");
        let mut command = Command::new("unshare");
        command.args(["--mount", "bash", "-c", &script]).current_dir(self.0.path()).stdin(Stdio::null());
        command.env("SANDTEST", env!("CARGO_BIN_EXE_sandtest")).env("XDG_STATE_HOME", self.path(state));
        for variable in ["CI", "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"] {
            command.env_remove(variable);
        }
        command.env("SANDTEST_BROKER", "").output().unwrap()
    }
}

fn whole_lines(text: &str) -> Vec<Value> {
    assert!(text.ends_with('\n'), "a line is torn: {:?}", &text[text.len().saturating_sub(80)..]);
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn ends(lines: &[Value]) -> usize {
    lines.iter().filter(|line| line["event"] == "attempt-finished").count()
}

#[test]
fn a_report_on_a_full_disk_is_told_once_and_changes_no_result() {
    let Some(scene) = Scene::new("a_report_on_a_full_disk_is_told_once_and_changes_no_result") else {
        return;
    };
    let ran = scene.sh(
        "64k",
        "state",
        "$SANDTEST exec --no-fail-fast --json disk/json --tap disk/tap --libtest-json disk/libtest --junit disk/junit \
         --html disk/html --trace disk/trace --jobs-from jobs; code=$?; cp -r disk kept; $SANDTEST show --json whole; exit $code",
    );
    let err = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(100), "one has failed, as without reports: {err}");
    for report in ["json", "tap", "libtest", "junit", "html", "trace"] {
        let told = format!("write disk/{report}: No space left on device");
        assert_eq!(err.matches(&told).count(), 1, "{report}: {err}");
    }
    assert!((1..JOBS).contains(&ends(&whole_lines(&scene.text("kept/json")))));
    assert!(whole_lines(&scene.text("kept/libtest")).len() > 1);
    assert!(scene.text("kept/tap").ends_with("  ...\n"));
    assert_eq!(ends(&whole_lines(&scene.text("whole"))), JOBS, "the record lies elsewhere");
}

#[test]
fn a_record_on_a_full_disk_shows_what_was_finished_and_not_a_run_that_was_killed() {
    let test = "a_record_on_a_full_disk_shows_what_was_finished_and_not_a_run_that_was_killed";
    let Some(scene) = Scene::new(test) else { return };
    let ran = scene.sh(
        "96k",
        "disk/state",
        "$SANDTEST exec --no-fail-fast --jobs-from jobs; code=$?; $SANDTEST show > shown; $SANDTEST show --json read; \
         $SANDTEST exec true 2> next; rm -r disk/state/sandtest/runs/*/events.jsonl; $SANDTEST exec true 2>> next; exit $code",
    );
    let err = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(100), "{err}");
    assert!(err.contains("/events.jsonl: No space left on device"), "{err}");
    assert!(
        scene.text("shown").contains("whose record could not be written to its end"),
        "{}",
        scene.text("shown")
    );
    assert!((1..JOBS).contains(&ends(&whole_lines(&scene.text("read")))));
    assert!(!scene.text("next").contains("interrupted"), "{}", scene.text("next"));
}
