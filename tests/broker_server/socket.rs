//! The socket: who may have it, and what is left of it.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::scene::{Broker, Client, is_root, sandtest, skip, wait_until};

/// What it says, and its exit code, when it can't serve at `socket`.
fn refused(socket: &Path) -> (i32, String) {
    let output = sandtest().arg("serve").arg("--socket").arg(socket).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn it_is_its_users_alone_or_everybodys_and_gone_at_the_end() {
    for (mut broker, wanted, signal) in
        [(Broker::start(&[]), 0o600, Signal::SIGTERM), (Broker::of_all(&[]), 0o666, Signal::SIGINT)]
    {
        assert_eq!(mode(&broker.socket), wanted);
        let mut run = broker.run(1);
        broker.signal(signal);
        assert_eq!(broker.wait(), 0);
        assert!(!broker.socket.exists());
        assert!(run.is_closed());
    }
}

#[test]
fn two_do_not_serve_in_one_place() {
    let broker = Broker::start(&[]);
    let (code, text) = refused(&broker.socket);
    assert_eq!(code, 125);
    let pid = broker.pid().to_string();
    assert!(text.contains("another broker serves") && text.contains(&pid), "{text}");
    broker.run(1);
}

#[test]
fn what_a_killed_one_has_left_is_in_nobodys_way() {
    let broker = Broker::start(&[]);
    broker.signal(Signal::SIGKILL);
    let broker = broker.again(&[]);
    broker.run(1);
}

#[test]
fn one_that_somebody_else_listens_on_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("b.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let (code, text) = refused(&socket);
    assert_eq!(code, 125);
    assert!(text.contains("another broker serves"), "{text}");
    drop(listener);
    assert!(socket.exists());
}

#[test]
fn what_is_wrong_with_its_place_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let long = folder.path().join("x".repeat(120));
    let file = folder.path().join("file");
    fs::write(&file, "mine").unwrap();
    let below = file.join("b.sock");
    let told = [
        (long.clone(), "a socket's path may be 107"),
        (file.clone(), "is there and no socket"),
        (below, "file"),
        ("/proc/b.sock".into(), "/proc/b.sock"),
    ];
    for (socket, wanted) in told {
        let (code, text) = refused(&socket);
        assert_eq!(code, 125, "{text}");
        assert!(text.contains(wanted) && text.lines().count() == 1, "{text}");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
}

#[test]
fn a_full_disk_is_told_as_such() {
    if !is_root() {
        return skip("mounting takes root");
    }
    let folder = tempfile::tempdir().unwrap();
    let (at, socket) = (folder.path().to_str().unwrap(), folder.path().join("b.sock"));
    // In a mount namespace of its own, so that nothing is left mounted.
    let script = format!(
        "mount -t tmpfs -o size=4k,nr_inodes=4 none {at} && cat /dev/zero > {at}/full 2>/dev/null; : > {at}/one; : > {at}/two; \
         exec \"$0\" serve --socket {} --idle-exit 100ms",
        socket.display()
    );
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", &script, env!("CARGO_BIN_EXE_sandtest")])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("No space left on device") && text.contains("b.sock.lock"), "{text}");
    assert_eq!(output.status.code(), Some(125), "{text}");
}

#[test]
fn without_runs_it_ends_after_its_time() {
    let mut broker = Broker::start(&["--idle-exit", "300ms"]);
    let begun = Instant::now();
    let run = broker.run(1);
    std::thread::sleep(Duration::from_millis(600));
    assert!(broker.child.try_wait().unwrap().is_none(), "somebody was there");
    drop(run);
    assert_eq!(broker.wait(), 0);
    assert!(begun.elapsed() >= Duration::from_millis(900) && !broker.socket.exists());
}

#[test]
fn who_only_looked_on_or_said_nothing_keeps_it_no_longer_than_it_was_there() {
    let mut broker = Broker::start(&["--idle-exit", "300ms"]);
    let (mut onlooker, silent) = (broker.connect(), broker.connect());
    onlooker.say(json!({ "type": "status" }));
    onlooker.hear_a("status");
    std::thread::sleep(Duration::from_millis(600));
    assert!(broker.child.try_wait().unwrap().is_none(), "somebody was there");
    drop((onlooker, silent));
    wait_until("it ends", || broker.child.try_wait().unwrap().is_some());
}

#[test]
fn a_service_managers_socket_is_taken_and_left() {
    let folder = tempfile::tempdir().unwrap();
    let (socket, told) = (folder.path().join("b.sock"), folder.path().join("notify"));
    let notices = UnixDatagram::bind(&told).unwrap();
    notices.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let listener = UnixListener::bind(&socket).unwrap();
    // The first client is there before the broker is.
    let mut early = Client::over(UnixStream::connect(&socket).unwrap());
    let program = env!("CARGO_BIN_EXE_sandtest");
    let script = "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" serve 3<&0 0</dev/null";
    let mut child = sandtest_like("sh")
        .args(["-c", script, program])
        .env("NOTIFY_SOCKET", &told)
        .env("WATCHDOG_USEC", "200000")
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(listener.try_clone().unwrap())))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let notice = || {
        let mut buffer = [0; 1024];
        let length = notices.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let ready = notice();
    assert!(ready.contains("READY=1") && ready.contains("STATUS="), "{ready}");
    early.greet(json!({ "run": "early", "parallel": 1 }));
    assert!((0..3).all(|_| notice().contains("WATCHDOG=1")));
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
    while !notice().contains("STOPPING=1") {}
    assert!(child.wait().unwrap().success());
    assert!(socket.exists(), "it is not the broker's to remove");
}

fn sandtest_like(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_remove("CI");
    command
}

#[test]
fn in_the_background_it_returns_once_it_serves_and_holds_up_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("deep/er/b.sock");
    let mut command = sandtest();
    command.args(["serve", "--background", "--idle-exit", "500ms", "--socket"]).arg(&socket);
    let mut child = command.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut text = String::new();
    let begun = Instant::now();
    // To their ends: whoever reads its output through a pipe must not wait for the broker's end.
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(child.wait().unwrap().success(), "{text}");
    assert_eq!(text, "");
    assert!(begun.elapsed() < Duration::from_secs(20));
    let mut run = Client::connect(&socket);
    run.greet(json!({ "run": "r", "parallel": 1 }));
    let second = sandtest().args(["serve", "--background", "--socket"]).arg(&socket).output().unwrap();
    let text = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(second.status.code() == Some(125) && text.contains("another broker serves"), "{text}");
    drop(run);
    wait_until("it ends by itself", || !socket.exists());
}
