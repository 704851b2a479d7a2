//! The conversation with a real systemd. Where there is none, that is said aloud, and the refusal is tested instead.
//!
//! `SANDTEST_TESTS_REQUIRE` (set to anything) makes a missing systemd a failure: the lab sets it, so that nothing is skipped there.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::io::Write;
use std::process::{Child, Command};
use std::time::Instant;

use sandtest::systemd::{Scope, ScopeError, ScopeRequest, enter_scope};

/// Past libtest's capture, which hides what a passing test prints.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn request(pids: Vec<u32>) -> ScopeRequest {
    ScopeRequest { pids, description: "sandtest's own test".into(), slice: None }
}

fn enter(pids: Vec<u32>) -> Result<Scope, ScopeError> {
    let begin = Instant::now();
    let scope = enter_scope(request(pids));
    say(&format!("{:.1} ms: {scope:?}", begin.elapsed().as_secs_f64() * 1e3));
    scope
}

/// A stand-in for the guardian: a process beside us that must come along.
struct Sleeper(Child);

impl Sleeper {
    fn start() -> Sleeper {
        Sleeper(Command::new("sleep").arg("60").spawn().unwrap())
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn group_of(pid: u32) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    text.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default().to_owned()
}

fn threads() -> usize {
    fs::read_dir("/proc/self/task").unwrap().count()
}

// One test: a scope moves the whole process, and a second one would count this one's threads.
#[test]
fn we_and_the_guardian_move_into_a_group_that_is_ours() {
    let (us, guardian, before) = (std::process::id(), Sleeper::start(), threads());
    match enter(vec![u32::MAX >> 2]) {
        Err(error @ ScopeError::NoBus { .. }) if std::env::var("SANDTEST_TESTS_REQUIRE").is_err() => {
            assert!(!error.fix().is_empty());
            return say(
                "SKIPPED 1 of 1: we_and_the_guardian_move_into_a_group_that_is_ours: no systemd to ask",
            );
        }
        refusal => assert!(matches!(refusal, Err(ScopeError::Refused { .. })), "{refusal:?}"),
    }
    let first = enter(vec![us, guardian.0.id()]).unwrap();
    assert_eq!(first.unit, format!("sandtest-{us}.scope"));
    assert_eq!(threads(), before, "threads left behind");
    let group = group_of(us);
    assert_eq!(group_of(guardian.0.id()), group);
    let folder = format!("/sys/fs/cgroup{group}");
    if fs::exists("/sys/fs/cgroup/cgroup.controllers").unwrap() {
        let controllers = fs::read_to_string(format!("{folder}/cgroup.controllers")).unwrap();
        for controller in ["memory", "pids", "cpu"] {
            assert!(controllers.split_whitespace().any(|c| c == controller), "{controller} in {controllers}");
        }
        assert_eq!(fs::read_to_string(format!("{folder}/pids.max")).unwrap().trim(), "max");
        fs::create_dir(format!("{folder}/supervisor")).unwrap();
    } else {
        say("SKIPPED in part: controllers and pids.max: not a unified hierarchy");
    }
    // While the guardian holds the first, its name is taken.
    let second = enter(vec![us]).unwrap();
    assert_eq!(second.unit, format!("sandtest-{us}-2.scope"));
    assert_ne!(group_of(us), group_of(guardian.0.id()));
}
