//! A client in another language: docs/client.py.

use std::process::{Command, Stdio};

use crate::scene::{Broker, skip, wait_until};

#[test]
fn a_client_of_some_twenty_lines_runs_a_command() {
    if Command::new("python3").arg("--version").output().is_err() {
        return skip("there is no python3");
    }
    let broker = Broker::start(&[]);
    let client = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/client.py");
    let run = |command: &str| {
        let mut python = Command::new("python3");
        python.arg(client).arg(&broker.socket).args(["sh", "-c", command]);
        python.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let child = run("read line; echo hello; exit 7");
    wait_until("it runs", || broker.standing()["running"] == 1);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "hello\n");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    wait_until("it has ended", || broker.standing()["running"] == 0);
    let lines = std::fs::read_to_string(client).unwrap();
    assert!(lines.lines().filter(|line| !line.is_empty()).count() <= 28);
}
