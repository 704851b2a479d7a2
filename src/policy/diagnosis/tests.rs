//! Scenes as they were seen, and the sentence that each reads as.

use super::*;
use crate::model::Bytes;
use crate::model::diagnosis::{Descriptor, Listener, Pressure, Pressures, Syscall, Target};

/// A thread in a call.
fn in_call(name: &str, arguments: [u64; 4]) -> SeenThread {
    let mut arguments = arguments.to_vec();
    arguments.extend([0, 0]);
    SeenThread {
        name: "t".into(),
        state: 'S',
        cpu: Some(Duration::ZERO),
        queued: Some(Duration::ZERO),
        syscall: Some(Syscall { name: name.into(), arguments, on: None }),
        ..SeenThread::default()
    }
}

fn futex() -> SeenThread {
    in_call("futex", [0x7f00, 0, 0, 0])
}

fn timed_futex() -> SeenThread {
    in_call("futex", [0x7f00, 0, 0, 0x7ffc])
}

fn sleep() -> SeenThread {
    in_call("clock_nanosleep", [0; 4])
}

fn wait_for(pid: u64) -> SeenThread {
    in_call("wait4", [pid, 0, 0, 0])
}

/// For any child: -1.
fn wait_for_any() -> SeenThread {
    wait_for(0xffff_ffff)
}

/// A call on a descriptor.
fn on(name: &str, target: Target) -> SeenThread {
    let mut thread = in_call(name, [u64::from(target.fd), 0, 0, 0]);
    if let Some(call) = &mut thread.syscall {
        call.on = Some(target);
    }
    thread
}

fn pipe(fd: u32, other_end: &[u32]) -> Target {
    let name = "pipe:[1]".into();
    Target { fd, kind: Descriptor::Pipe, name, other_end: Some(other_end.to_vec()), socket: None }
}

fn tcp(fd: u32, state: &str, remote: Option<&str>) -> Target {
    let socket = Socket {
        protocol: "tcp".into(),
        state: state.into(),
        local: "127.0.0.1:8080".into(),
        remote: remote.map(str::to_owned),
        port: Some(8080),
    };
    Target { fd, kind: Descriptor::Socket, socket: Some(socket), ..Target::default() }
}

fn of_kind(fd: u32, kind: Descriptor, name: &str) -> Target {
    Target { fd, kind, name: name.into(), ..Target::default() }
}

fn working(ms: u64) -> SeenThread {
    SeenThread { state: 'R', cpu: Some(Duration::from_millis(ms)), ..SeenThread::default() }
}

/// Where only the kernel's function is shown.
fn at(state: char, wchan: &str) -> SeenThread {
    SeenThread { state, wchan: Some(wchan.into()), ..SeenThread::default() }
}

fn process(pid: u32, ppid: u32, name: &str, mut threads: Vec<SeenThread>) -> SeenProcess {
    for (number, thread) in threads.iter_mut().enumerate() {
        thread.tid = pid + number as u32;
    }
    SeenProcess {
        pid,
        ppid,
        name: name.into(),
        state: threads.first().map_or('S', |thread| thread.state),
        cpu: threads.iter().map(|thread| thread.cpu).sum(),
        thread_count: threads.len() as u64,
        threads,
        ..SeenProcess::default()
    }
}

fn job(processes: Vec<SeenProcess>) -> Observation {
    Observation {
        window: Some(Duration::from_secs(1)),
        process_count: processes.len() as u64,
        thread_count: processes.iter().map(|process| process.thread_count).sum(),
        processes,
        ..Observation::default()
    }
}

fn one(threads: Vec<SeenThread>) -> Observation {
    job(vec![process(100, 1, "test", threads)])
}

fn many(count: usize, thread: fn() -> SeenThread) -> Vec<SeenThread> {
    (0..count).map(|_| thread()).collect()
}

#[track_caller]
fn reads(seen: &Observation, wanted: &str) {
    assert_eq!(reading(seen), wanted);
}

#[test]
fn threads_that_wait_for_one_another_look_like_a_deadlock() {
    let mut threads = many(41, futex);
    threads[0].cpu = Some(Duration::from_millis(1));
    reads(&one(threads), "41 threads, 0.1 % CPU, all in futex_wait: looks like a deadlock");
    reads(&one(vec![futex()]), "its only thread is in futex_wait, 0.0 % CPU: looks like a deadlock");
    reads(
        &one(many(3, timed_futex)),
        "3 threads, 0.0 % CPU, all in futex_wait, with a time limit: looks like a wait for something that does not come",
    );
    reads(
        &one(vec![futex(), timed_futex(), futex()]),
        "3 threads, 0.0 % CPU, all in futex_wait, 1 with a time limit: looks like a deadlock",
    );
    let mut mixed = many(8, futex);
    mixed.push(in_call("epoll_wait", [4, 0, 0, 0]));
    reads(
        &one(mixed),
        "9 threads, 0.0 % CPU: 8 in futex_wait, 1 in epoll_wait: looks like a deadlock, or a wait for something that does not come",
    );
    let mut cut = one(many(2, futex));
    cut.processes[0].thread_count = 900;
    reads(&cut, "900 threads, 0.0 % CPU, all 2 looked at in futex_wait: looks like a deadlock");
}

#[test]
fn sleepers_are_told_with_how_long_they_sleep() {
    let mut thread = sleep();
    thread.cpu = Some(Duration::from_millis(30));
    reads(&one(vec![thread]), "sleeping 97 % of the time, now in clock_nanosleep");
    reads(&one(many(12, sleep)), "all 12 threads sleep (clock_nanosleep)");
    let mut unknown = one(vec![in_call("nanosleep", [0; 4])]);
    unknown.window = None;
    reads(&unknown, "sleeping in nanosleep");
    reads(
        &one(vec![sleep(), futex(), futex()]),
        "sleeping in clock_nanosleep; of 3 threads the others: 2 in futex_wait",
    );
}

#[test]
fn what_uses_a_processor_is_busy() {
    let loops = vec![working(990), futex(), futex(), futex()];
    reads(&one(loops), "busy: 1 of 4 threads uses 99 % of a processor: looks like a loop");
    reads(&one(vec![working(600)]), "busy: its only thread uses 60 % of a processor");
    let mut kept = working(600);
    kept.queued = Some(Duration::from_millis(390));
    reads(
        &one(vec![kept]),
        "busy: its only thread uses 60 % of a processor and waits for one 39 % of the time: looks like a loop",
    );
    reads(
        &one(vec![working(950), working(950), futex()]),
        "busy: 2 of 3 threads use 190 % of a processor together: looks like work that is not done, or a loop",
    );
    reads(
        &one((0..8).map(|_| working(100)).collect()),
        "busy: 8 threads use 80 % of a processor together, none of them much",
    );
    reads(
        &job(vec![
            process(100, 1, "sh", vec![wait_for_any()]),
            process(312, 100, "spin", vec![working(990)]),
        ]),
        "busy: 312 (spin): its only thread uses 99 % of a processor: looks like a loop",
    );
    let mut shell = one(vec![wait_for_any()]);
    shell.cpu = Some(Duration::from_millis(1200));
    reads(&shell, "busy: it used 120 % of a processor, most of it in processes that came and went");
    let mut starved = working(100);
    starved.queued = Some(Duration::from_millis(890));
    reads(
        &one(vec![starved, futex()]),
        "kept from running: 1 of 2 threads waited for a processor up to 89 % of the time, and got 10 %: looks like its cpu_max, or a busy machine",
    );
}

#[test]
fn who_waits_for_a_child_is_spoken_for_by_it() {
    let shell = |waits| process(100, 1, "sh", vec![waits]);
    let child = |threads| process(312, 100, "sleep", threads);
    reads(
        &job(vec![shell(wait_for_any()), child(vec![sleep()])]),
        "waiting for child 312 (sleep) to exit: sleeping 100 % of the time, now in clock_nanosleep",
    );
    reads(
        &job(vec![shell(wait_for(312)), child(many(4, futex))]),
        "waiting for child 312 (sleep) to exit: 4 threads, 0.0 % CPU, all in futex_wait: looks like a deadlock",
    );
    // Through another.
    let grandchild = process(400, 312, "test", vec![on("accept4", tcp(3, "listen", None))]);
    reads(
        &job(vec![shell(wait_for_any()), child(vec![wait_for(400)]), grandchild]),
        "waiting for child 400 (test) to exit: waiting for a connection on port 8080",
    );
    // One that is not among those told.
    reads(&job(vec![shell(wait_for(999))]), "waiting for a child to exit (wait4), and none is in sight");
    // What a zombie leaves is no child to wait for.
    let mut ended = child(vec![]);
    (ended.state, ended.thread_count) = ('Z', 1);
    reads(&job(vec![shell(in_call("pause", [0; 4])), ended]), "waiting for a signal (pause)");
    // By vfork, which shows as an uninterruptible sleep.
    let mut vfork = in_call("vfork", [0; 4]);
    vfork.state = 'D';
    reads(
        &job(vec![shell(vfork), child(vec![on("read", pipe(3, &[]))])]),
        "312 (sleep): blocked in read of a pipe (fd 3): nobody else in the job writes to it",
    );
}

#[test]
fn several_that_wait_are_told_one_by_one_and_those_alike_together() {
    let children = |from: u32, count: u32, threads: fn() -> SeenThread| {
        (from..from + count).map(move |pid| process(pid, 100, "worker", vec![threads()]))
    };
    let mut processes = vec![process(100, 1, "make", vec![wait_for_any()])];
    processes.extend(children(200, 3, futex));
    processes.push(process(300, 100, "server", vec![on("accept", tcp(3, "listen", None))]));
    reads(
        &job(processes),
        "5 processes; 3 x worker, each: its only thread is in futex_wait, 0.0 % CPU: looks like a deadlock; 300 (server): waiting for a connection on port 8080",
    );
}

#[test]
fn pipes_are_told_by_who_has_the_other_end() {
    let blocked = |end: &[u32]| one(vec![on("read", pipe(3, end))]);
    reads(&blocked(&[]), "blocked in read of a pipe (fd 3): nobody else in the job writes to it");
    reads(
        &blocked(&[100]),
        "blocked in read of a pipe (fd 3) whose other end only it has itself: looks like an end that was not closed",
    );
    let mut hidden = pipe(0, &[]);
    hidden.other_end = None;
    reads(&one(vec![on("read", hidden)]), "blocked in read of a pipe (fd 0)");
    reads(
        &one(vec![on("write", pipe(1, &[]))]),
        "blocked in write to a full pipe (fd 1): nobody else in the job reads it",
    );
    // subprocess.Popen(stdout=PIPE).wait() with a child that writes much.
    let parent = process(100, 1, "python3", vec![wait_for(312)]);
    let child = process(312, 100, "yes", vec![on("write", pipe(1, &[100]))]);
    reads(
        &job(vec![parent, child]),
        "312 (yes): blocked in write to a full pipe (fd 1) whose other end 100 (python3) has, which waits for it in turn: looks like a deadlock",
    );
    // $(sleep 100)
    let parent = process(100, 1, "sh", vec![on("read", pipe(3, &[312]))]);
    let child = process(312, 100, "sleep", vec![sleep()]);
    reads(
        &job(vec![parent, child]),
        "waiting for what 312 (sleep) writes: sleeping 100 % of the time, now in clock_nanosleep",
    );
}

#[test]
fn sockets_are_told_by_the_other_side() {
    for (thread, wanted) in [
        (on("accept4", tcp(3, "listen", None)), "waiting for a connection on port 8080"),
        (
            on("recvfrom", tcp(5, "established", Some("10.0.0.1:5432"))),
            "blocked in recvfrom: waiting to read from a tcp socket with 10.0.0.1:5432 (fd 5), established",
        ),
        (
            on("read", tcp(5, "close-wait", Some("10.0.0.1:5432"))),
            "blocked in read: waiting to read from a tcp socket with 10.0.0.1:5432 (fd 5), close-wait",
        ),
        (
            on("connect", tcp(5, "syn-sent", Some("10.0.0.1:5432"))),
            "waiting to be connected to 10.0.0.1:5432",
        ),
        (
            on("sendto", of_kind(6, Descriptor::Socket, "socket:[9]")),
            "blocked in sendto: waiting to write to a socket (fd 6)",
        ),
    ] {
        reads(&one(vec![thread]), wanted);
    }
    let mut server = one(vec![in_call("epoll_wait", [4, 0, 0, 0])]);
    if let Some(socket) = tcp(3, "listen", None).socket {
        server.listening.push(Listener { pid: 100, socket });
    }
    reads(&server, "waiting for events (epoll_wait); listens on port 8080");
}

#[test]
fn other_waits_have_their_words() {
    for (thread, wanted) in [
        (at('D', "nfs_wait_bit_killable"), "in an uninterruptible sleep (D) in nfs_wait_bit_killable"),
        (at('T', "do_signal_stop"), "stopped by a signal"),
        (at('t', "ptrace_stop"), "stopped by a tracer (ptrace)"),
        (at('S', "do_freezer_trap"), "frozen by a cgroup"),
        (at('S', "hrtimer_nanosleep"), "sleeping in hrtimer_nanosleep"),
        (at('S', "anon_pipe_read"), "blocked in read of a pipe"),
        (
            SeenThread { wchan: Some("do_syscall_64".into()), ..in_call("restart_syscall", [0; 4]) },
            "sleeping in nanosleep",
        ),
        (
            SeenThread { wchan: Some("do_poll".into()), ..in_call("restart_syscall", [0; 4]) },
            "waiting for events (do_poll)",
        ),
        (at('S', "inet_csk_accept"), "waiting for a connection (inet_csk_accept)"),
        (at('S', "do_sigtimedwait"), "waiting for a signal (do_sigtimedwait)"),
        (at('S', "brand_new_wait"), "blocked in brand_new_wait"),
        (on("flock", of_kind(7, Descriptor::File, "/tmp/lock")), "waiting for a lock (flock) on /tmp/lock"),
        (in_call("fcntl", [7, 7, 0, 0]), "waiting for a lock on a file (fcntl)"),
        (in_call("semop", [7, 7, 0, 0]), "blocked in semop"),
        (
            on("read", of_kind(0, Descriptor::Terminal, "/dev/pts/1")),
            "waiting for input from the terminal (fd 0)",
        ),
        (on("read", of_kind(4, Descriptor::Signalfd, "")), "waiting for events (read, fd 4)"),
    ] {
        let mut thread = thread;
        thread.cpu = None;
        reads(&one(vec![thread]), wanted);
    }
    let mut stopped = one(vec![at('T', "do_signal_stop"), at('T', "do_signal_stop")]);
    stopped.processes[0].stop_signal = Some(19);
    reads(&stopped, "stopped (SIGSTOP)");
    let mut frozen = one(vec![sleep()]);
    frozen.frozen = Some(true);
    reads(&frozen, "frozen (cgroup.freeze)");
}

#[test]
fn what_is_hidden_is_not_guessed() {
    let hidden = || SeenThread { state: 'S', ..SeenThread::default() };
    reads(&one(vec![hidden()]), "asleep (S); what it waits for can't be read");
    let mut stack = hidden();
    stack.stack = Some(0);
    let mut by_stack = one(vec![stack.clone(), stack]);
    by_stack.processes[0].cpu = None;
    by_stack.stacks = vec![vec!["futex_do_wait+0x3f/0xe0".into(), "do_futex+0x1/0x2".into()]];
    reads(&by_stack, "2 threads, all in futex_wait: looks like a deadlock");
    // A number that is another call in a 32-bit program.
    let mut foreign = in_call("32-bit syscall 202", [0; 4]);
    foreign.wchan = Some("do_wait".into());
    reads(&one(vec![foreign]), "waiting for a child to exit (do_wait), and none is in sight");
    reads(&job(vec![]), "nothing of it was left to look at");
    let mut ended = one(vec![]);
    ended.processes[0].state = 'Z';
    ended.processes[0].thread_count = 1;
    reads(&ended, "100 (test) has ended, and nobody has taken note of it (zombie)");
    reads(&one(vec![]), "in state S; its threads can't be read");
}

#[test]
fn a_thread_that_waits_for_something_speaks_for_those_that_wait_for_it() {
    let mut threads = many(5, futex);
    threads.push(on("recvfrom", tcp(5, "established", Some("10.0.0.1:5432"))));
    reads(
        &one(threads),
        "blocked in recvfrom: waiting to read from a tcp socket with 10.0.0.1:5432 (fd 5), established; of 6 threads the others: 5 in futex_wait",
    );
}

#[test]
fn want_of_memory_is_told_beside_it() {
    let mut seen = one(vec![working(990)]);
    seen.pressure =
        Pressures { memory: Some(Pressure { some_avg10: 45.2, full_avg10: None }), ..Pressures::default() };
    seen.memory = Some(Bytes::gib(2));
    seen.memory_max = Some(Bytes::gib(2));
    reads(
        &seen,
        "busy: its only thread uses 99 % of a processor: looks like a loop; short of memory (2 GiB of 2 GiB): it waited for it 45 % of the time",
    );
}

#[test]
fn the_last_lines_are_kept_and_cut() {
    let text: String = (1..=30).map(|n| format!("line {n}\n")).collect();
    let lines = last_lines(text.as_bytes());
    assert_eq!((lines.len(), lines[0].as_str(), lines[19].as_str()), (20, "line 11", "line 30"));
    let long = last_lines(&vec![b'x'; 1 << 20]);
    assert_eq!((long.len(), long[0].len()), (1, LINE));
    assert_eq!(last_lines(b"a\xffb"), ["a\u{fffd}b"]);
    assert!(last_lines(b"").is_empty());
}

proptest::proptest! {
    #[test]
    fn no_scene_makes_it_panic(
        calls in proptest::collection::vec((0..12usize, 0..8u32, 0..8u32, 0..5usize), 0..12),
        window in 0..2u64,
    ) {
        const CALLS: [&str; 12] = [
            "futex", "read", "write", "wait4", "waitid", "accept", "vfork", "flock", "poll", "", "-", "connect",
        ];
        const STATES: [char; 5] = ['S', 'D', 'R', 'T', 'Z'];
        let processes = calls.iter().map(|(call, pid, other, state)| {
            let mut thread = on(CALLS[*call], pipe(*pid, &[*other, *pid]));
            thread.state = STATES[*state];
            process(*pid, *other, "p", vec![thread])
        });
        let mut seen = job(processes.collect());
        seen.window = Some(Duration::from_secs(window));
        assert!(!reading(&seen).is_empty());
    }
}
