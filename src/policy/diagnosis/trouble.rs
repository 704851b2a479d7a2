//! What one process is at, in a sentence: the thread that says most speaks for it, the others are counted.

use std::collections::BTreeMap;
use std::time::Duration;

use super::wait::{self, Kind, Wait};
use crate::model::diagnosis::{Descriptor, Listener, Observation, SeenProcess, SeenThread};

/// What a process is at.
#[derive(Debug, Clone)]
pub(super) struct Trouble<'a> {
    pub process: &'a SeenProcess,
    pub kind: Kind,
    /// Without the process's own name.
    pub sentence: String,
    /// The processes of the job that could end its wait.
    pub waits_for: Vec<u32>,
}

/// What `process` is at; `None` if all of it has ended.
pub(super) fn of<'a>(process: &'a SeenProcess, seen: &'a Observation) -> Option<Trouble<'a>> {
    let mut waits: Vec<(&SeenThread, Wait<'_>)> =
        process.threads.iter().map(|thread| (thread, wait::of(thread, &seen.stacks))).collect();
    waits.retain(|(_, wait)| wait.kind != Kind::Dead);
    let Some((_, first_wait)) = waits.first() else {
        // Its threads could not be listed, or ended just now.
        let alive = !matches!(process.state, 'Z' | 'X' | 'x');
        return alive.then(|| Trouble {
            process,
            kind: Kind::Hidden,
            sentence: format!("in state {}; its threads can't be read", process.state),
            waits_for: Vec::new(),
        });
    };
    let told = Told { process, seen, threads: process.thread_count.max(waits.len() as u64), waits: &waits };
    let stopped = waits.iter().find(|(_, wait)| matches!(wait.kind, Kind::Stopped | Kind::Traced));
    let alike = waits.iter().all(|(_, wait)| wait.kind == first_wait.kind);
    let most = waits.iter().filter(|(_, wait)| wait.kind.is_telling()).min_by_key(|(_, wait)| wait.kind);
    let (speaks, sentence) = match (first_wait.kind, stopped, most) {
        (_, Some(stopped), _) => (stopped, None),
        (Kind::Futex, _, None) if alike => (&waits[0], Some(told.all_in_futex())),
        (Kind::Sleep, _, _) if alike => (&waits[0], Some(told.all_asleep())),
        // A thread that only waits for others speaks for none.
        (Kind::Futex | Kind::Hidden | Kind::Runs | Kind::Other, _, Some(most)) => (most, None),
        (Kind::Futex, _, None) => (&waits[0], Some(told.mixed())),
        _ => (&waits[0], None),
    };
    let waits_for = told.waits_for(&speaks.1);
    let sentence =
        sentence.unwrap_or_else(|| format!("{}{}", told.one(speaks.0, &speaks.1), told.others(speaks)));
    Some(Trouble { process, kind: speaks.1.kind, sentence, waits_for })
}

struct Told<'a, 'b> {
    process: &'a SeenProcess,
    seen: &'a Observation,
    /// In the process, also those that were not looked at.
    threads: u64,
    /// Those that live.
    waits: &'b [(&'a SeenThread, Wait<'a>)],
}

impl<'a> Told<'a, '_> {
    fn all_in_futex(&self) -> String {
        let timed = self.waits.iter().filter(|(_, wait)| has_time_limit(wait)).count();
        let looks = match timed {
            0 => ": looks like a deadlock".to_owned(),
            // These will wake up; whether it helps them is another matter.
            timed if timed == self.waits.len() => {
                ", with a time limit: looks like a wait for something that does not come".to_owned()
            }
            timed => format!(", {timed} with a time limit: looks like a deadlock"),
        };
        match self.threads {
            1 => format!("its only thread is in futex_wait{}{looks}", self.cpu(", ")),
            threads => format!("{threads} threads{}, {} in futex_wait{looks}", self.cpu(", "), self.all()),
        }
    }

    fn all_asleep(&self) -> String {
        let (thread, wait) = &self.waits[0];
        if self.threads > 1 {
            return format!("{} {} threads sleep ({})", self.all(), self.threads, wait.place);
        }
        match (thread.cpu, self.seen.window) {
            (Some(cpu), Some(window)) if !window.is_zero() => {
                let awake = cpu + thread.queued.unwrap_or_default();
                let asleep = 100.0 - (super::share(awake, window) * 100.0).min(100.0);
                format!("sleeping {asleep:.0} % of the time, now in {}", wait.place)
            }
            _ => format!("sleeping in {}", wait.place),
        }
    }

    fn mixed(&self) -> String {
        let counts = self.counts(|_| true);
        let limit = self.waits.iter().any(|(_, wait)| wait.kind == Kind::Futex && !has_time_limit(wait));
        let looks =
            if limit { ": looks like a deadlock, or a wait for something that does not come" } else { "" };
        format!("{} threads{}: {counts}{looks}", self.threads, self.cpu(", "))
    }

    /// What `thread` waits for.
    fn one(&self, thread: &SeenThread, wait: &Wait<'_>) -> String {
        let place = wait.place;
        let on = wait.call.and_then(|call| call.on.as_ref());
        let socket = on.and_then(|on| on.socket.as_ref());
        let fd = on.map_or(String::new(), |on| format!(" (fd {})", on.fd));
        match wait.kind {
            Kind::Disk => format!("in an uninterruptible sleep (D) in {place}"),
            Kind::Stopped => match self.process.stop_signal {
                Some(19) => "stopped (SIGSTOP)".into(),
                Some(20) => "stopped (SIGTSTP)".into(),
                Some(21) => {
                    "stopped (SIGTTIN): it wants to read from a terminal that is not lent to it".into()
                }
                Some(22) => {
                    "stopped (SIGTTOU): it wants to write to a terminal that is not lent to it".into()
                }
                Some(signal) => format!("stopped (signal {signal})"),
                None => "stopped by a signal".into(),
            },
            Kind::Traced => "stopped by a tracer (ptrace)".into(),
            Kind::Frozen => "frozen by a cgroup".into(),
            Kind::Futex => format!("in {place}"),
            Kind::Read | Kind::Write => self.transfer(wait),
            Kind::Lock => match on {
                Some(on) => format!("waiting for a lock ({place}) on {}", on.name),
                None => format!("waiting for a lock on a file ({place})"),
            },
            Kind::Connect => match socket.and_then(|socket| socket.remote.as_deref()) {
                Some(remote) => format!("waiting to be connected to {remote}"),
                None => format!("waiting to be connected{fd}"),
            },
            Kind::Send | Kind::Receive => {
                let what = match socket {
                    Some(socket) => {
                        let with =
                            socket.remote.as_ref().map_or(String::new(), |remote| format!(" with {remote}"));
                        format!("a {} socket{with}{fd}, {}", socket.protocol, socket.state)
                    }
                    None => format!("a socket{fd}"),
                };
                let verb = if wait.kind == Kind::Send { "write to" } else { "read from" };
                format!("blocked in {place}: waiting to {verb} {what}")
            }
            Kind::Child => self.child(wait),
            Kind::Vfork => "waiting for a child to exec (vfork)".into(),
            Kind::Accept => match socket {
                Some(socket) => format!("waiting for a connection on {}", super::place(socket)),
                None => format!("waiting for a connection ({place})"),
            },
            Kind::Sleep => format!("sleeping in {place}"),
            Kind::Events => format!(
                "waiting for events ({place}{}){}",
                fd.replace(" (", ", ").replace(')', ""),
                self.listens()
            ),
            Kind::Signal => format!("waiting for a signal ({place})"),
            Kind::Ipc | Kind::Other => format!("blocked in {place}{fd}"),
            Kind::Hidden => format!("asleep ({}); what it waits for can't be read", thread.state),
            Kind::Runs => format!("running{}", self.cpu(", ")),
            Kind::Dead => "ended".into(),
        }
    }

    /// A read or write of what is no socket.
    fn transfer(&self, wait: &Wait<'_>) -> String {
        let reads = wait.kind == Kind::Read;
        let (verb, other) = if reads { ("read of", "writes to it") } else { ("write to", "reads it") };
        let Some(on) = wait.call.and_then(|call| call.on.as_ref()) else {
            let what = if wait.place.contains("pipe") { "a pipe" } else { wait.place };
            return format!("blocked in {verb} {what}");
        };
        match (on.kind, &on.other_end) {
            (Descriptor::Terminal, _) if reads => {
                format!("waiting for input from the terminal (fd {})", on.fd)
            }
            (Descriptor::Pipe, ends) => {
                let full = if reads { "" } else { "full " };
                let pipe = format!("blocked in {verb} a {full}pipe (fd {})", on.fd);
                match ends.as_deref() {
                    None => pipe,
                    Some([]) => format!("{pipe}: nobody else in the job {other}"),
                    Some([own]) if *own == self.process.pid => {
                        let looks = "looks like an end that was not closed";
                        format!("{pipe} whose other end only it has itself: {looks}")
                    }
                    Some(ends) => {
                        let others: Vec<u32> =
                            ends.iter().copied().filter(|pid| *pid != self.process.pid).collect();
                        format!("{pipe} whose other end {} has", super::names(&others, self.seen))
                    }
                }
            }
            (kind, _) => format!("blocked in {verb} a {} (fd {}, {})", kind.as_str(), on.fd, on.name),
        }
    }

    fn child(&self, wait: &Wait<'_>) -> String {
        let children = self.waits_for(wait);
        match children.as_slice() {
            [] => format!("waiting for a child to exit ({}), and none is in sight", wait.place),
            [child] => format!("waiting for child {} to exit", super::names(&[*child], self.seen)),
            several => {
                format!(
                    "waiting for one of {} children to exit: {}",
                    several.len(),
                    super::names(several, self.seen)
                )
            }
        }
    }

    /// The processes of the job that could end this wait.
    fn waits_for(&self, wait: &Wait<'_>) -> Vec<u32> {
        let alive = |pid: &u32| {
            *pid != self.process.pid
                && self.seen.processes.iter().any(|other| other.pid == *pid && super::is_alive(other))
        };
        match wait.kind {
            Kind::Child => {
                let argument =
                    |at: usize| wait.call.and_then(|call| call.arguments.get(at)).map(|value| *value as u32);
                let one = match wait.call.map(|call| call.name.as_str()) {
                    Some("wait4") => argument(0),
                    // P_PID
                    Some("waitid") if argument(0) == Some(1) => argument(1),
                    _ => None,
                };
                // Told in the numbers of its own pid namespace: only a child counts.
                let children = self.seen.processes.iter().filter(|other| other.ppid == self.process.pid);
                let children: Vec<u32> = children.map(|child| child.pid).filter(alive).collect();
                match one.filter(|one| children.contains(one)) {
                    Some(one) => vec![one],
                    None => children,
                }
            }
            Kind::Vfork => {
                let children = self.seen.processes.iter().filter(|other| other.ppid == self.process.pid);
                children.map(|child| child.pid).filter(alive).collect()
            }
            Kind::Read | Kind::Write => {
                let ends = wait.call.and_then(|call| call.on.as_ref()?.other_end.as_deref());
                ends.unwrap_or_default().iter().copied().filter(alive).collect()
            }
            _ => Vec::new(),
        }
    }

    /// `; listens on port 8080`.
    fn listens(&self) -> String {
        let own = self.seen.listening.iter().filter(|listener| listener.pid == self.process.pid);
        let places: Vec<String> = own.take(3).map(|Listener { socket, .. }| super::place(socket)).collect();
        if places.is_empty() { String::new() } else { format!("; listens on {}", places.join(", ")) }
    }

    /// `; 40 others in futex_wait`.
    fn others(&self, speaks: &(&SeenThread, Wait<'_>)) -> String {
        // Stopped and frozen threads all are, wherever they were.
        if self.waits.len() <= 1 || matches!(speaks.1.kind, Kind::Stopped | Kind::Traced | Kind::Frozen) {
            return String::new();
        }
        format!("; of {} threads the others: {}", self.threads, self.counts(|tid| tid != speaks.0.tid))
    }

    /// `40 in futex_wait, 1 in epoll_wait`.
    fn counts(&self, which: impl Fn(u32) -> bool) -> String {
        let mut counts = BTreeMap::<&str, usize>::new();
        for (_, wait) in self.waits.iter().filter(|(thread, _)| which(thread.tid)) {
            *counts.entry(wait.place).or_default() += 1;
        }
        let mut counts: Vec<(&str, usize)> = counts.into_iter().collect();
        counts.sort_by_key(|(place, count)| (usize::MAX - count, *place));
        let mut parts: Vec<String> =
            counts
                .iter()
                .take(4)
                .map(|(place, count)| {
                    if *place == "running" {
                        format!("{count} running")
                    } else {
                        format!("{count} in {place}")
                    }
                })
                .collect();
        if counts.len() > 4 {
            parts.push("others elsewhere".into());
        }
        parts.join(", ")
    }

    /// `all`, if all of them were looked at.
    fn all(&self) -> String {
        let looked_at = self.waits.len() as u64;
        if self.threads > looked_at { format!("all {looked_at} looked at") } else { "all".into() }
    }

    fn cpu(&self, before: &str) -> String {
        let share = self.process.cpu.zip(self.seen.window);
        share.map_or(String::new(), |(cpu, window)| format!("{before}{} CPU", super::percent(cpu, window)))
    }
}

/// Whether the kernel will wake it from its futex: with a time-out (futex(2), its fourth argument).
fn has_time_limit(wait: &Wait<'_>) -> bool {
    wait.call.and_then(|call| call.arguments.get(3)).is_some_and(|limit| *limit != 0)
}

/// The part of `window`.
pub(super) fn share(time: Duration, window: Duration) -> f64 {
    if window.is_zero() { 0.0 } else { time.as_secs_f64() / window.as_secs_f64() }
}
