//! Clients in processes of their own: this program once more, told by its environment what to do.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::scene::Client;

const SOCKET: &str = "BROKER_SERVER_SOCKET";
const JOBS: &str = "BROKER_SERVER_JOBS";

/// A process that has so many jobs granted, and sleeps.
pub struct Other {
    pub child: Child,
    out: BufReader<ChildStdout>,
}

impl Other {
    /// Starts it; returns when it has what it wants.
    pub fn with_jobs(socket: &Path, jobs: u32) -> Other {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--ignored", "--exact", "processes::as_another_process", "--nocapture"]);
        command.env(SOCKET, socket).env(JOBS, jobs.to_string()).stderr(Stdio::null());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let mut other = Other { child, out };
        while !other.line().contains("all granted") {}
        other
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.out.read_line(&mut line).unwrap() > 0, "it has ended");
        line
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "what other tests start as another process"]
fn as_another_process() {
    let Ok(socket) = std::env::var(SOCKET) else { return };
    let jobs: u32 = std::env::var(JOBS).unwrap().parse().unwrap();
    let mut run = Client::connect(Path::new(&socket));
    run.greet(json!({ "run": "other", "parallel": jobs }));
    (0..jobs).for_each(|job| run.want(job));
    (0..jobs).for_each(|_| drop::<Value>(run.hear_a("grant")));
    println!("all granted");
    // Until it is killed, or whoever started it is gone.
    let _ = std::io::stdin().read_line(&mut String::new());
}
