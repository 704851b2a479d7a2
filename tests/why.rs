//! `sandtest why` through the real binary, after real runs.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]

use std::fs;
use std::process::{Command, Output, Stdio};

fn sandtest(folder: &tempfile::TempDir, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sandtest"));
    command.args(arguments).current_dir(folder.path()).env("XDG_STATE_HOME", folder.path().join("state"));
    command.stdin(Stdio::null()).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_last_run_is_told_job_by_job() {
    let folder = tempfile::tempdir().unwrap();
    let nothing = sandtest(&folder, &["why"]);
    assert_eq!(nothing.status.code(), Some(125));
    assert!(String::from_utf8_lossy(&nothing.stderr).contains("no run is kept in"));

    let jobs = "true\nsh -c 'exit 3'\nsh -c 'test -e flag || { touch flag; exit 4; }'\n";
    fs::write(folder.path().join("jobs"), jobs).unwrap();
    let ran = sandtest(&folder, &["exec", "--no-fail-fast", "--retries", "1", "--jobs-from", "jobs"]);
    assert_eq!(ran.status.code(), Some(100));

    let all = sandtest(&folder, &["why"]);
    let text = out(&all);
    assert_eq!(all.status.code(), Some(0));
    assert!(text.starts_with("run ") && text.contains(": 2 passed, 1 failed in "), "{text}");
    assert!(
        text.contains("\nsh -c 'exit 3': fail\n") && text.contains("flag; exit 4; }': flaky\n"),
        "{text}"
    );
    assert!(!text.contains("true: pass"), "{text}");
    assert_eq!(text.matches("exited with code 3").count(), 2, "{text}");

    let one = out(&sandtest(&folder, &["why", "true"]));
    assert!(one.contains("true: pass") && one.contains("attempt 1 begins in slot"), "{one}");
    let run = text.split([' ', ',']).nth(1).unwrap();
    assert_eq!(out(&sandtest(&folder, &["why", "true", "--run", &run[..6]])), one);

    let unknown = sandtest(&folder, &["why", "ture"]);
    assert_eq!(unknown.status.code(), Some(1));
    let error = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(error.contains("did you mean \"true\"?"), "{error}");
    assert_eq!(sandtest(&folder, &["why", "--run", "9"]).status.code(), Some(125));
}
