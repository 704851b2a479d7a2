//! Is there a broker, and what if there is something else.

use std::fs;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;

use crate::run::{Fake, Run, grant_all};
use crate::scene::{Broker, is_root};

const VERSION: &str = "{\"type\":\"refused\",\"why\":\"version\",\"versions\":[7],\"message\":\"no\"}\n";
const FULL: &str = "{\"type\":\"refused\",\"why\":\"full\",\"versions\":[1],\"message\":\"64 are here\"}\n";

/// That a run goes by itself and says why, and with `--broker require` does not.
fn told(socket: &Path, words: &[&str]) {
    let ran = Run::one(Some(socket), &[], &["true"]).end();
    assert_eq!(ran.code, 0, "{}", ran.err);
    for word in words.iter().chain(&["goes by itself"]) {
        assert!(ran.err.contains(word), "{word}: {}", ran.err);
    }
    assert_eq!(ran.events[0]["broker"], serde_json::Value::Null);
    let ran = Run::one(Some(socket), &["--broker", "require"], &["true"]).end();
    assert_eq!((ran.code, ran.attempts().len()), (125, 0), "{}", ran.err);
    assert!(words.iter().all(|word| ran.err.contains(word)), "{}", ran.err);
    let ran = Run::one(Some(socket), &["--broker", "never"], &["true"]).end();
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
}

#[test]
fn where_there_is_no_broker_a_run_goes_by_itself_without_a_word() {
    let ran = Run::one(None, &[], &["true"]).end();
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let ran = Run::one(None, &["--broker", "require"], &["true"]).end();
    assert_eq!(ran.code, 125);
    assert!(ran.err.contains("there is no broker at /run/sandtest/broker.sock or /"), "{}", ran.err);
}

#[test]
fn a_broker_at_its_usual_place_is_found() {
    let run = Run::new();
    let socket = run.path("runtime/sandtest/broker.sock");
    fs::create_dir_all(socket.parent().unwrap()).unwrap();
    let mut serve = crate::scene::sandtest();
    serve.args(["serve", "--idle-exit", "1s"]).env("XDG_RUNTIME_DIR", run.path("runtime"));
    let mut serve = serve.stderr(std::process::Stdio::null()).spawn().unwrap();
    crate::scene::wait_until("it serves", || std::os::unix::net::UnixStream::connect(&socket).is_ok());
    let mut command = run.command(None);
    let output = command.args(["--broker", "require", "--", "env"]).output().unwrap();
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(out.contains(&format!("SANDTEST_BROKER={}\n", socket.display())), "{out}");
    assert!(serve.wait().unwrap().success(), "nobody is there any more");
}

#[test]
fn one_is_started_where_none_is_and_serves_the_next_run_too() {
    let run = Run::new();
    let socket = run.path("b.sock");
    let env = |options: &[&str]| {
        let output = run.command(Some(&socket)).args(options).args(["--", "env"]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(env(&["--broker", "start"]).contains("SANDTEST_LEASE="));
    assert!(env(&["--broker", "require"]).contains("SANDTEST_LEASE="));
    let pid = listener(&socket);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM).unwrap();
    crate::scene::wait_until("it is gone", || !socket.exists());
}

/// Who listens there.
fn listener(socket: &Path) -> i32 {
    let stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
    nix::sys::socket::getsockopt(&stream, nix::sys::socket::sockopt::PeerCredentials).unwrap().pid()
}

#[test]
fn what_is_no_broker_is_told_in_words_and_the_run_goes_by_itself() {
    let run = Run::new();
    told(&run.path("missing"), &["there is no broker at ", "missing"]);
    fs::write(run.path("file"), "").unwrap();
    told(&run.path("file"), &["is a plain file, and no socket"]);
    drop(UnixListener::bind(run.path("stale")).unwrap());
    told(&run.path("stale"), &["nobody listens at"]);
    told(&run.path(&"x".repeat(120)), &["bytes long, and the path of a socket at most 107"]);
}

#[test]
fn a_broker_of_another_version_and_one_that_is_full_are_told_apart() {
    told(&Fake::listen().answers(VERSION), &["is of another version: it speaks [7], and this sandtest 1"]);
    told(&Fake::listen().answers(FULL), &["refuses this run: 64 are here"]);
    told(&Fake::listen().answers("HTTP/1.1 400 Bad Request\r\n\r\n"), &["is no broker"]);
}

#[test]
fn a_broker_that_does_not_answer_is_not_waited_for_for_long() {
    let fake = Fake::listen();
    let begun = std::time::Instant::now();
    let ran = Run::one(Some(&fake.socket), &[], &["true"]).end();
    assert_eq!(ran.code, 0);
    assert!(ran.err.contains("does not answer for 5 s"), "{}", ran.err);
    assert!(begun.elapsed().as_secs() < 15, "{:?}", begun.elapsed());
}

#[test]
fn a_socket_of_somebody_else_is_told_as_that() {
    if !is_root() {
        return;
    }
    let broker = Broker::start(&[]);
    let run = Run::new();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::set_permissions(run.path("."), open).unwrap();
    let mut command = run.command(Some(&broker.socket));
    command.env("HOME", run.path(".")).env("XDG_CONFIG_HOME", run.path("config"));
    let output = command.uid(1001).gid(1001).args(["--", "true"]).output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{err}");
    assert!(err.contains("is not for user 1001: permission denied"), "{err}");
}

#[test]
fn a_run_shows_itself_as_it_is() {
    let fake = Fake::listen();
    let jobs = ["true".to_owned(), "memory:100M restartable:no true".to_owned()];
    let options = ["-j", "2", "--priority", "batch", "--weight", "2.5"];
    let run = Run::start(Some(&fake.socket), &options, &jobs);
    let (mut client, hello) = fake.welcome();
    assert_eq!((&hello["run"], &hello["parallel"]), (&"jobs".into(), &2.into()), "{hello}");
    assert_eq!((&hello["priority"], &hello["weight"]), (&"batch".into(), &2.5.into()));
    assert_eq!((&hello["lease"], &hello["inside"]), (&serde_json::Value::Null, &serde_json::Value::Null));
    let (first, second) = (client.hear_a("want"), client.hear_a("want"));
    assert_eq!((&first["kin"], &first["name"]), (&"true".into(), &"true#1".into()));
    assert_eq!((&first["memory"], &first["restartable"]), (&serde_json::Value::Null, &true.into()));
    assert_eq!((&second["memory"], &second["restartable"]), (&(100 << 20).into(), &false.into()));
    client.say(crate::run::grant(0, 1));
    client.say(crate::run::grant(1, 1));
    grant_all(&mut client);
    run.end().assert_passed(2);
}

#[test]
fn without_a_governor_nobody_is_asked() {
    let fake = Fake::listen();
    let ran = Run::one(Some(&fake.socket), &["--governor", "off"], &["true"]).end();
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let ran = Run::one(Some(&fake.socket), &["--governor", "off", "--broker", "require"], &["true"]).end();
    assert_eq!(ran.code, 125);
    assert!(ran.err.contains("needs the governor"), "{}", ran.err);
}

#[test]
fn bad_options_are_told_with_what_they_take() {
    for (option, value, words) in [
        ("--weight", "0", "number above 0"),
        ("--weight", "x", "number above 0"),
        ("--wait", "soon", "soon"),
        ("--broker", "maybe", "auto, start, require, never"),
        ("--priority", "high", "interactive, batch"),
    ] {
        let ran = Run::one(None, &[option, value], &["true"]).end();
        assert_eq!(ran.code, 125);
        assert!(ran.err.contains(words), "{option} {value}: {}", ran.err);
    }
}
