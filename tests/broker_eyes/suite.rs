//! A run that speaks docs/protocol.md by hand, and whose jobs do what they are told.

use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use serde_json::{Value, json};

use crate::scene::{Broker, Client, wait_until};

/// Answers every order, in a thread of its own, until the connection ends.
pub struct Suite {
    heard: Arc<Mutex<Vec<Value>>>,
    stream: std::os::unix::net::UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl Suite {
    /// A run of this name with these jobs, each of so many MiB; they run until they are killed.
    pub fn start(broker: &Broker, name: &str, parallel: u32, jobs: &[(&str, u64)]) -> Suite {
        Suite::over(broker.connect(), name, parallel, jobs)
    }

    pub fn over(mut client: Client, name: &str, parallel: u32, jobs: &[(&str, u64)]) -> Suite {
        client.greet(json!({ "run": name, "parallel": parallel }));
        for (number, (name, mib)) in jobs.iter().enumerate() {
            let (memory, limit) = (mib << 20, (2 * mib) << 20);
            client.say(json!({
                "type": "want", "job": number, "attempt": 1, "name": name, "memory": memory, "limit": limit,
            }));
        }
        let sizes: Vec<u64> = jobs.iter().map(|(_, mib)| mib << 20).collect();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (kept, stream) = (heard.clone(), client.stream.try_clone().unwrap());
        let thread = thread::spawn(move || {
            // No end in time: it is silent for as long as nothing is decided.
            client.stream.set_read_timeout(None).unwrap();
            while let Ok(Some(message)) = client.try_hear() {
                answer(&mut client, &message, &sizes);
                kept.lock().unwrap().push(message);
            }
        });
        Suite { heard, stream, thread: Some(thread) }
    }

    pub fn heard(&self, kind: &str) -> Vec<Value> {
        self.heard.lock().unwrap().iter().filter(|message| message["type"] == kind).cloned().collect()
    }

    pub fn wait_for(&self, kind: &str, count: usize) -> Vec<Value> {
        wait_until(&format!("{count} x {kind}"), || self.heard(kind).len() >= count);
        self.heard(kind)
    }
}

fn answer(client: &mut Client, message: &Value, sizes: &[u64]) {
    let (job, attempt) = (&message["job"], &message["attempt"]);
    let mut say = |kind: &str| client.say(json!({ "type": kind, "job": job, "attempt": attempt }));
    match message["type"].as_str().unwrap() {
        "grant" => {
            say("born");
            let memory = sizes[job.as_u64().unwrap() as usize];
            let sample = json!([{ "job": job, "attempt": attempt, "memory": memory, "cpu_us": 1000 }]);
            client.say(json!({ "type": "sample", "jobs": sample }));
        }
        "freeze" => say("frozen"),
        "kill" | "evict" => {
            client.say(json!({ "type": "ended", "job": job, "attempt": attempt, "how": "otherwise" }));
        }
        _ => {}
    }
}

impl Drop for Suite {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
