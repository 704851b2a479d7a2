//! `/metrics`, over HTTP by hand: who reads what, and who can't keep others from it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::scene::{Broker, Client, PATIENCE, connect_as, is_root, sandtest, skip, wait_until};
use crate::suite::Suite;

const ON_A_PORT: [&str; 2] = ["--metrics-listen", "127.0.0.1:0"];

/// Of a broker that was started with [`ON_A_PORT`].
fn address(broker: &Broker) -> String {
    let log = broker.log();
    log.split("http://").nth(1).unwrap().split('/').next().unwrap().to_owned()
}

fn ask(mut stream: impl Read + Write, request: &str) -> String {
    // What is refused early is closed before all of it is written.
    let _ = stream.write_all(request.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

fn get(address: &str) -> String {
    ask(TcpStream::connect(address).unwrap(), "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
}

/// What a broker says that should not come up. One that does is not waited for.
fn refused(mut command: Command) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() && begun.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(5));
    }
    // Of one that has ended that is passed over.
    let _ = child.kill();
    child.wait_with_output().unwrap()
}

fn value(page: &str, series: &str) -> f64 {
    let line = page.lines().find(|line| line.starts_with(&format!("{series} ")));
    line.unwrap_or_else(|| panic!("no {series} in\n{page}")).rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn what_goes_on_is_read_on_the_socket_and_on_the_port() {
    let broker = Broker::start(&ON_A_PORT);
    let address = address(&broker);
    let suite = Suite::start(&broker, "suite", 2, &[("one", 10), ("two", 10), ("three", 10)]);
    suite.wait_for("grant", 2);
    let on_socket = || {
        let stream = UnixStream::connect(broker.path("b.sock.metrics")).unwrap();
        ask(stream, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    };
    for page in [get(&address), on_socket()] {
        assert!(page.starts_with("HTTP/1.1 200 OK"), "{page}");
        assert!(page.to_lowercase().contains("content-type: text/plain; version=0.0.4"), "{page}");
        assert_eq!(value(&page, "sandtest_jobs_running"), 2.0);
        assert_eq!(value(&page, "sandtest_jobs_waiting"), 1.0);
        assert_eq!(value(&page, "sandtest_permits_granted_total"), 2.0);
        assert_eq!(value(&page, "sandtest_admission_wait_seconds_count"), 2.0);
        assert!(!page.contains("sandtest_user_"), "there is one user only");
    }
    wait_until("what they hold is seen", || {
        value(&get(&address), "sandtest_used_bytes") == (20 << 20) as f64
    });
    let mut looks = broker.connect();
    looks.say(json!({ "type": "status" }));
    let run = looks.hear()["own"][0]["run"].clone();
    looks.say(json!({ "type": "kill", "run": run, "job": 0, "attempt": 1 }));
    suite.wait_for("grant", 3);
    let page = get(&address);
    assert_eq!(value(&page, "sandtest_orders_by_hand_total{order=\"kill\"}"), 1.0);
    assert_eq!(value(&page, "sandtest_evictions_total"), 0.0);
    let mode = std::fs::metadata(broker.path("b.sock.metrics")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "this user's alone");
}

#[test]
fn users_are_told_apart_where_all_are_served() {
    if !is_root() {
        skip("only root can be two users");
        return;
    }
    let broker = Broker::of_all(&ON_A_PORT);
    let address = address(&broker);
    let theirs = Client::over(connect_as(1001, &broker.socket));
    let theirs = Suite::over(theirs, "secret-run", 1, &[("secret-job", 30), ("other", 30)]);
    let own = Suite::start(&broker, "mine", 1, &[("my-job", 10)]);
    theirs.wait_for("grant", 1);
    own.wait_for("grant", 1);
    let page = get(&address);
    assert_eq!(value(&page, "sandtest_user_jobs_running{user=\"1001\"}"), 1.0);
    assert_eq!(value(&page, "sandtest_user_jobs_waiting{user=\"1001\"}"), 1.0);
    assert_eq!(value(&page, "sandtest_user_permits_granted_total{user=\"0\"}"), 1.0);
    assert!(!page.contains("secret") && !page.contains("my-job"));
    drop(theirs);
    wait_until("who has gone is not shown", || {
        !get(&address).contains("sandtest_user_jobs_running{user=\"1001\"}")
    });
}

#[test]
fn anything_but_get_and_head_of_metrics_is_refused() {
    let broker = Broker::start(&ON_A_PORT);
    let address = address(&broker);
    let ask = |request: &str| ask(TcpStream::connect(&address).unwrap(), request);
    let head = ask("HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200") && !head.contains("# HELP"), "{head}");
    assert!(ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n").starts_with("HTTP/1.1 404"));
    let post = ask("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    assert!(post.starts_with("HTTP/1.1 405") && post.to_lowercase().contains("allow: get, head"), "{post}");
    for garbage in ["garbage\r\n\r\n", "\0\0\0\0\r\n\r\n", "GET /metrics HTTP/9.9\r\n\r\n"] {
        assert!(!ask(garbage).starts_with("HTTP/1.1 200"), "{garbage}");
    }
    let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(1 << 20));
    assert!(!ask(&long).starts_with("HTTP/1.1 200"));
    assert!(get(&address).starts_with("HTTP/1.1 200"), "and it goes on");
}

#[test]
fn who_says_nothing_keeps_others_out_for_a_moment_only() {
    let broker = Broker::start(&ON_A_PORT);
    let address = address(&broker);
    let silent: Vec<TcpStream> = (0..64).map(|_| TcpStream::connect(&address).unwrap()).collect();
    let begun = Instant::now();
    assert!(get(&address).starts_with("HTTP/1.1 200"));
    // Four times as many as have a place, each for two seconds.
    assert!(begun.elapsed() < Duration::from_secs(18), "{:?}", begun.elapsed());
    // Runs are not concerned.
    assert_eq!(broker.standing()["type"], "status");
    drop(silent);
}

#[test]
fn what_others_could_reach_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:9464"] {
        let socket = folder.path().join("b.sock");
        let mut command = sandtest();
        command.arg("serve").arg("--socket").arg(&socket).args(["--metrics-listen", address]);
        let output = refused(command);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(125), "{told}");
        assert!(told.contains("others could reach it; use 127.0.0.1"), "{told}");
        assert!(!socket.exists(), "it was never there to be connected to");
    }
}

#[test]
fn a_socket_that_was_asked_for_and_can_not_be_is_a_reason_not_to_serve() {
    let folder = tempfile::tempdir().unwrap();
    let (socket, metrics) = (folder.path().join("b.sock"), folder.path().join("m.sock"));
    let serve = |metrics: &std::path::Path| {
        let mut command = sandtest();
        command.arg("serve").arg("--socket").arg(&socket).arg("--metrics-socket").arg(metrics);
        refused(command)
    };
    std::fs::write(&metrics, "mine").unwrap();
    let output = serve(&metrics);
    assert_eq!(output.status.code(), Some(125));
    assert!(String::from_utf8_lossy(&output.stderr).contains("m.sock is there and no socket"));
    assert!(!socket.exists());
    // And if the broker can't be, its metrics are not.
    std::fs::write(&socket, "mine").unwrap();
    assert_eq!(serve(&folder.path().join("n.sock")).status.code(), Some(125));
    assert!(!folder.path().join("n.sock").exists());
}

#[test]
fn the_socket_goes_with_the_broker_and_one_that_can_not_be_is_no_reason_not_to_serve() {
    let mut broker = Broker::start(&[]);
    let socket = broker.path("b.sock.metrics");
    assert!(socket.exists());
    broker.signal(nix::sys::signal::Signal::SIGTERM);
    broker.wait();
    assert!(!socket.exists());
    std::fs::write(&socket, "mine").unwrap();
    let broker = broker.again(&[]);
    assert_eq!(broker.standing()["type"], "status");
    assert_eq!(std::fs::read(&socket).unwrap(), b"mine");
}
