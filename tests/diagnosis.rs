//! What is seen of real programs that hang, and what it reads as.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]
#![allow(clippy::print_stdout, reason = "what was measured, and what was skipped")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sandtest::kernel::observe::{Glance, PATIENCE, Scene, observe};
use sandtest::kernel::tree;
use sandtest::model::diagnosis::{Descriptor, Diagnosis};
use sandtest::policy::diagnosis::read;
use sandtest::report::diagnosis::{short, whole};

/// A program that says `ready` when it hangs, and is killed with its children in the end.
struct Program(Child);

impl Program {
    /// Python, which all that test have; `None` where it is not.
    fn python(text: &str) -> Option<Program> {
        let text = format!(
            "import os, socket, subprocess, sys, threading, time\ndef ready(): print('ready', flush=True)\n{text}"
        );
        let mut command = Command::new("python3");
        let started = command.args(["-c", &text]).stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let Ok(mut child) = started else {
            println!("skipped: no python3");
            return None;
        };
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Some(Program(child))
    }

    fn pids(&self) -> Vec<u32> {
        tree::with_descendants(vec![self.0.id()])
    }

    /// Looks twice, as a run does.
    fn diagnose(&self) -> Diagnosis {
        // From "ready" into the wait.
        std::thread::sleep(Duration::from_millis(300));
        let glance = Glance::take(&self.pids(), None);
        std::thread::sleep(Duration::from_millis(700));
        let pids = self.pids();
        let seen = observe(Scene { pids: &pids, since: Some(&glance), ..Scene::default() });
        let diagnosis = read(seen, b"ready\n");
        println!("{}\n", short(&diagnosis).join("\n"));
        assert!(!whole(&diagnosis).is_empty());
        let text = serde_json::to_string(&diagnosis).unwrap();
        let back: Diagnosis = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&back).unwrap(), text);
        diagnosis
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        for pid in self.pids() {
            let _ = nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(pid.cast_signed()),
                nix::sys::signal::Signal::SIGKILL,
            );
        }
        let _ = self.0.wait();
    }
}

/// Whether the calls of our children can be seen: not in every sandbox, and then the readings say less.
fn sees_calls(diagnosis: &Diagnosis) -> bool {
    let mut threads = diagnosis.seen.processes.iter().flat_map(|process| &process.threads);
    let sees = threads.any(|thread| thread.syscall.is_some());
    if !sees {
        println!("skipped: the system calls of children are hidden here");
    }
    sees
}

const THREADS: &str = "
def threads(count, what):
    for _ in range(count): threading.Thread(target=what, daemon=True).start()
";

#[test]
fn forty_threads_that_wait_for_a_lock_look_like_a_deadlock() {
    let text = format!(
        "{THREADS}
lock = threading.Lock()
lock.acquire()
threads(40, lock.acquire)
ready()
lock.acquire()"
    );
    let Some(program) = Program::python(&text) else { return };
    let diagnosis = program.diagnose();
    assert_eq!((diagnosis.seen.thread_count, diagnosis.seen.cut), (41, false));
    assert_eq!(diagnosis.seen.processes[0].threads.len(), 41);
    if sees_calls(&diagnosis) {
        let reading = &diagnosis.reading;
        assert!(reading.starts_with("41 threads, "), "{reading}");
        assert!(reading.ends_with(" all in futex_wait: looks like a deadlock"), "{reading}");
    }
    assert_eq!(diagnosis.last_output, ["ready"]);
}

#[test]
fn threads_that_sleep_are_told_so() {
    let text = format!(
        "{THREADS}
def nap(): time.sleep(60)
threads(4, nap)
ready()
time.sleep(60)"
    );
    let Some(program) = Program::python(&text) else { return };
    let diagnosis = program.diagnose();
    if sees_calls(&diagnosis) {
        let reading = diagnosis.reading.as_str();
        // Before Python 3.11 it slept in select.
        assert!(reading.starts_with("all 5 threads sleep (") || reading.contains("select"), "{reading}");
    }
}

#[test]
fn a_loop_is_busy() {
    let Some(program) = Program::python("ready()\nwhile True: pass") else { return };
    let reading = program.diagnose().reading;
    // On a machine with more to do than it can, it gets its part.
    let busy = reading.starts_with("busy: its only thread uses ") && reading.ends_with("looks like a loop");
    assert!(busy || reading.starts_with("kept from running: "), "{reading}");
}

#[test]
fn a_parent_waits_for_its_child() {
    let text = "child = subprocess.Popen(['sleep', '60'])\nready()\nchild.wait()";
    let Some(program) = Program::python(text) else { return };
    let diagnosis = program.diagnose();
    assert_eq!(diagnosis.seen.process_count, 2);
    if sees_calls(&diagnosis) {
        let child = diagnosis.seen.processes.iter().find(|process| process.name == "sleep").unwrap();
        let wanted = format!("waiting for child {} (sleep) to exit: sleeping ", child.pid);
        assert!(diagnosis.reading.starts_with(&wanted), "{}", diagnosis.reading);
    }
}

#[test]
fn a_child_that_nobody_reads_and_a_parent_that_waits_for_it_look_like_a_deadlock() {
    let text = "child = subprocess.Popen(['yes'], stdout=subprocess.PIPE)\nready()\nchild.wait()";
    let Some(program) = Program::python(text) else { return };
    let diagnosis = program.diagnose();
    if sees_calls(&diagnosis) {
        let reading = &diagnosis.reading;
        assert!(reading.contains("(yes): blocked in write to a full pipe (fd 1)"), "{reading}");
        assert!(reading.ends_with("which waits for it in turn: looks like a deadlock"), "{reading}");
    }
}

#[test]
fn a_pipe_that_was_not_closed_is_told() {
    let Some(program) = Program::python("r, w = os.pipe()\nready()\nos.read(r, 1)") else { return };
    let diagnosis = program.diagnose();
    if sees_calls(&diagnosis) {
        let reading = &diagnosis.reading;
        assert!(reading.starts_with("blocked in read of a pipe (fd "), "{reading}");
        assert!(reading.ends_with("looks like an end that was not closed"), "{reading}");
    }
    assert!(diagnosis.seen.descriptors[&Descriptor::Pipe] >= 3);
}

#[test]
fn a_listener_has_its_port() {
    let text = "
listener = socket.socket()
listener.bind(('127.0.0.1', 0))
listener.listen()
print('ready', flush=True)
listener.accept()";
    let Some(program) = Program::python(text) else { return };
    let diagnosis = program.diagnose();
    let [listener] = diagnosis.seen.listening.as_slice() else { panic!("{:?}", diagnosis.seen.listening) };
    let port = listener.socket.port.unwrap();
    assert_eq!(listener.socket.local, format!("127.0.0.1:{port}"));
    assert_eq!(diagnosis.seen.sockets["tcp listen"], 1);
    if sees_calls(&diagnosis) {
        assert_eq!(diagnosis.reading, format!("waiting for a connection on port {port}"));
    }
}

#[test]
fn what_is_stopped_is_told_with_the_signal() {
    let Some(program) = Program::python("ready()\nos.kill(os.getpid(), 19)") else { return };
    let diagnosis = program.diagnose();
    assert!(diagnosis.reading.starts_with("stopped "), "{}", diagnosis.reading);
    assert_eq!(diagnosis.seen.processes[0].state, 'T');
}

#[test]
fn a_name_may_hold_anything() {
    let text = "open('/proc/self/comm', 'wb').write(b'a) R\\n\\x1b[2J\\xff')\nready()\ntime.sleep(60)";
    let Some(program) = Program::python(text) else { return };
    let diagnosis = program.diagnose();
    let process = &diagnosis.seen.processes[0];
    assert_eq!((process.name.as_str(), process.state), ("a) R??[2J\u{fffd}", 'S'));
}

#[test]
fn five_hundred_threads_are_seen_in_time() {
    let text = format!(
        "{THREADS}
threading.stack_size(65536)
gate = threading.Event()
threads(500, gate.wait)
ready()
gate.wait()"
    );
    let Some(program) = Program::python(&text) else { return };
    let pids = program.pids();
    let begin = used();
    let glance = Glance::take(&pids, None);
    let glanced = used() - begin;
    let looks: Vec<(Duration, Duration)> = (0..5)
        .map(|_| {
            let begin = used();
            let seen = observe(Scene { pids: &pids, since: Some(&glance), ..Scene::default() });
            let threads = seen.processes.first().map_or(0, |process| process.threads.len());
            assert!(threads == 501 || seen.cut, "{threads} threads");
            (used() - begin, seen.took)
        })
        .collect();
    let alone = observe(Scene { pids: &pids, ..Scene::default() });
    println!("501 threads: a glance takes {glanced:?} of a processor, a look (processor, wall) {looks:?}");
    println!("without a glance {:?} by the clock", alone.took);
    // Of a processor, which a busy machine does not change; four times what it takes with optimization.
    let least = looks.iter().map(|(used, _)| *used).min().unwrap();
    assert!(least < PATIENCE && glanced < PATIENCE, "{least:?}, {glanced:?}");
}

/// Processor time of this thread.
fn used() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

#[test]
fn what_ends_while_it_is_looked_at_does_no_harm() {
    let text = "
ready()
while True:
    subprocess.Popen(['true'], close_fds=False)
    t = threading.Thread(target=time.sleep, args=(0.001,)); t.start()
    try: os.waitpid(-1, os.WNOHANG)
    except ChildProcessError: pass";
    let Some(program) = Program::python(text) else { return };
    for _ in 0..20 {
        let pids = program.pids();
        let glance = Glance::take(&pids, None);
        std::thread::sleep(Duration::from_millis(5));
        let seen = observe(Scene { pids: &pids, since: Some(&glance), ..Scene::default() });
        let diagnosis = read(seen, b"");
        assert!(!short(&diagnosis).is_empty());
    }
}
