//! Processes and their threads: names, states, where they wait, and the processor time between two looks.

use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};

use super::calls;
use super::folder::{Folder, ROOM};
use crate::kernel::process::{self, Stat};
use crate::model::Bytes;
use crate::model::diagnosis::{FRAMES, PROCESSES, STACKS, SeenProcess, SeenThread, THREADS};
use crate::model::text::harmless;

/// Ticks are coarse: a process has used more than its threads tell only if it is more than this.
const TICKS_OFF: u64 = 2;

/// The first look: how much every thread had run, and when.
#[derive(Debug)]
pub struct Glance {
    at: Instant,
    /// Of the attempt's cgroup, where it has one.
    pub(super) group: Option<Duration>,
    processes: HashMap<u32, Mark>,
    threads: HashMap<u32, Clock>,
    /// Whether nothing was left out: what is not in it had not begun.
    whole: bool,
}

/// A process at the first look.
#[derive(Debug, Clone, Copy)]
struct Mark {
    /// With the pid it names a process for good.
    starttime: u64,
    ran: Duration,
}

/// How long a thread has run and queued (`schedstat`, Documentation/scheduler/sched-stats.rst).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Clock {
    ran: Duration,
    queued: Option<Duration>,
}

impl Glance {
    pub(super) fn of(pids: &[u32], end: Instant) -> Glance {
        let mut glance = Glance {
            at: Instant::now(),
            group: None,
            processes: HashMap::new(),
            threads: HashMap::new(),
            whole: pids.len() <= PROCESSES,
        };
        let mut buffer = [0; ROOM];
        for pid in pids.iter().take(PROCESSES) {
            let Some(folder) = Folder::of(*pid) else { continue };
            let Some((stat, _)) = stat(&folder, &mut buffer) else { continue };
            glance.processes.insert(*pid, Mark { starttime: stat.starttime, ran: stat.own_cpu_time() });
            let Ok(tasks) = folder.open("task") else { continue };
            for tid in tasks.numbers() {
                if glance.threads.len() >= THREADS || Instant::now() >= end {
                    glance.whole = false;
                    break;
                }
                if let Some(clock) = clock(&tasks, &format!("{tid}/"), &mut buffer) {
                    glance.threads.insert(tid, clock);
                }
            }
        }
        glance
    }

    /// How long ago.
    pub(super) fn age(&self) -> Duration {
        self.at.elapsed()
    }

    /// What a process had used by then; nothing if it began later, `None` if that is not known.
    fn process(&self, stat: &Stat) -> Option<Duration> {
        match self.processes.get(&stat.pid) {
            Some(mark) if mark.starttime == stat.starttime => Some(mark.ran),
            Some(_) => Some(Duration::ZERO),
            None => self.whole.then_some(Duration::ZERO),
        }
    }

    /// The same of a thread, which has used `now` by now.
    fn thread(&self, tid: u32, now: Clock) -> Option<Clock> {
        match self.threads.get(&tid) {
            Some(then) if then.ran <= now.ran => Some(*then),
            // The number is another thread's by now.
            Some(_) => Some(Clock { ran: Duration::ZERO, queued: Some(Duration::ZERO) }),
            None => self.whole.then_some(Clock { ran: Duration::ZERO, queued: Some(Duration::ZERO) }),
        }
    }
}

/// What was seen of the processes.
#[derive(Default)]
pub(super) struct Seen {
    pub processes: Vec<SeenProcess>,
    pub folders: Vec<Folder>,
    pub stacks: Vec<Vec<String>>,
    pub thread_count: u64,
    /// Processes that were not looked at.
    pub left_out: usize,
    pub cut: bool,
}

/// What is found out of each thread, and the room for it.
struct Look<'a> {
    glance: Option<&'a Glance>,
    /// Whether kernel stacks are shown to us at all.
    may_see_stacks: bool,
    stacks: Vec<Vec<String>>,
    buffer: [u8; ROOM],
}

/// Looks at the processes `pids` until `end`: at the first thread of each, then at the others.
pub(super) fn look(pids: &[u32], glance: Option<&Glance>, end: Instant) -> Seen {
    let mut look = Look { glance, may_see_stacks: true, stacks: Vec::new(), buffer: [0; ROOM] };
    let mut seen = Seen::default();
    let mut room = THREADS;
    seen.left_out = pids.len().saturating_sub(PROCESSES);
    for (number, pid) in pids.iter().take(PROCESSES).enumerate() {
        if Instant::now() >= end {
            seen.cut = true;
            seen.left_out = pids.len() - number;
            break;
        }
        let Some(folder) = Folder::of(*pid) else { continue };
        let Some(process) = look.process(*pid, &folder) else { continue };
        seen.thread_count += process.thread_count;
        room = room.saturating_sub(process.threads.len());
        seen.processes.push(process);
        seen.folders.push(folder);
    }
    for (process, folder) in seen.processes.iter_mut().zip(&seen.folders) {
        if process.thread_count <= 1 || room == 0 {
            continue;
        }
        let Ok(tasks) = folder.open("task") else { continue };
        for tid in tasks.numbers().filter(|tid| *tid != process.pid) {
            if Instant::now() >= end {
                seen.cut = true;
                break;
            }
            if room == 0 {
                break;
            }
            if let Some(thread) = look.thread(&tasks, tid) {
                process.threads.push(thread);
                room -= 1;
            }
        }
        let told: Option<Duration> = process.threads.iter().map(|thread| thread.cpu).sum();
        process.cpu = match (told, process.cpu) {
            (Some(told), Some(whole)) if whole <= told + process::ticks(TICKS_OFF) => Some(told),
            (told, whole) => whole.or(told),
        };
    }
    seen.stacks = look.stacks;
    seen
}

impl Look<'_> {
    /// One process with its first thread; `None` if it is gone.
    fn process(&mut self, pid: u32, folder: &Folder) -> Option<SeenProcess> {
        let (stat, exit_code) = stat(folder, &mut self.buffer)?;
        let threads: Vec<SeenThread> = match folder.open("task") {
            Ok(tasks) => self.thread(&tasks, pid).into_iter().collect(),
            Err(_) => Vec::new(),
        };
        let used = self.glance.and_then(|glance| glance.process(&stat));
        let mut cpu = used.map(|used| stat.own_cpu_time().saturating_sub(used));
        if let (1, Some(first)) = (stat.num_threads, threads.first()) {
            cpu = first.cpu.or(cpu);
        }
        let statm = folder.read("statm", &mut self.buffer).unwrap_or_default();
        Some(SeenProcess {
            pid,
            ppid: stat.ppid,
            name: harmless(&stat.comm),
            state: stat.state,
            stop_signal: exit_code.filter(|signal| stat.state == 'T' && *signal > 0),
            cpu,
            memory: process::private_of(&statm).map(Bytes),
            thread_count: stat.num_threads,
            threads,
        })
    }

    /// One thread; `None` if it is gone.
    fn thread(&mut self, tasks: &Folder, tid: u32) -> Option<SeenThread> {
        let folder = tasks.open(&tid.to_string()).ok()?;
        let (stat, _) = stat(&folder, &mut self.buffer)?;
        let (mut cpu, mut queued) = (None, None);
        if let (Some(glance), Some(now)) = (self.glance, clock(&folder, "", &mut self.buffer))
            && let Some(then) = glance.thread(tid, now)
        {
            cpu = Some(now.ran.saturating_sub(then.ran));
            queued = now.queued.zip(then.queued).map(|(now, then)| now.saturating_sub(then));
        }
        let mut thread = SeenThread {
            tid,
            name: harmless(&stat.comm),
            state: stat.state,
            cpu,
            queued,
            ..SeenThread::default()
        };
        if !matches!(stat.state, 'R' | 'Z' | 'X') {
            let text = folder.read("wchan", &mut self.buffer).unwrap_or_default();
            // "0" where it is hidden, or the thread runs again.
            thread.wchan = Some(harmless(text.trim())).filter(|name| !name.is_empty() && name != "0");
            let text = folder.read("syscall", &mut self.buffer).unwrap_or_default();
            thread.syscall = calls::parse(&text);
            thread.stack = self.stack(&folder);
        }
        Some(thread)
    }

    /// The number of its kernel stack among those that differ.
    fn stack(&mut self, folder: &Folder) -> Option<usize> {
        if !self.may_see_stacks {
            return None;
        }
        let text = match folder.read("stack", &mut self.buffer) {
            Ok(text) => text,
            Err(error) => {
                // Not for us, or not in this kernel: neither for the others. ESRCH is of this thread alone.
                let never = [io::ErrorKind::PermissionDenied, io::ErrorKind::NotFound];
                self.may_see_stacks = !never.contains(&error.kind());
                return None;
            }
        };
        let frames = frames(&text);
        if frames.is_empty() {
            return None;
        }
        self.stacks.iter().position(|known| *known == frames).or_else(|| {
            let room = self.stacks.len() < STACKS;
            room.then(|| {
                self.stacks.push(frames);
                self.stacks.len() - 1
            })
        })
    }
}

/// `stat` of a process or thread, with its `exit_code` (field 52), which of a stopped process is the signal that
/// stopped it.
fn stat(folder: &Folder, buffer: &mut [u8; ROOM]) -> Option<(Stat, Option<i32>)> {
    let text = folder.read("stat", buffer).ok()?;
    Some((Stat::parse(&text)?, exit_code(&text)))
}

fn exit_code(text: &str) -> Option<i32> {
    let after = text.get(text.rfind(')')? + 1..)?;
    after.split_ascii_whitespace().nth(49)?.parse().ok()
}

/// What the thread whose files begin with `prefix` has used: of `schedstat`, or where the kernel keeps none, of `stat`.
fn clock(folder: &Folder, prefix: &str, buffer: &mut [u8; ROOM]) -> Option<Clock> {
    let text = folder.read(&format!("{prefix}schedstat"), buffer).unwrap_or_default();
    schedstat(&text).or_else(|| {
        let text = folder.read(&format!("{prefix}stat"), buffer).ok()?;
        Some(Clock { ran: Stat::parse(&text)?.own_cpu_time(), queued: None })
    })
}

/// Time on a processor and time in a queue for one, both in nanoseconds, and time slices. All zero where the kernel
/// doesn't count.
fn schedstat(text: &str) -> Option<Clock> {
    let mut numbers = text.split_ascii_whitespace().map(|word| word.parse::<u64>().ok());
    let (ran, queued, slices) = (numbers.next()??, numbers.next()??, numbers.next()??);
    let counts = slices > 0 || ran > 0;
    counts.then(|| Clock { ran: Duration::from_nanos(ran), queued: Some(Duration::from_nanos(queued)) })
}

/// Lines such as `[<0>] do_wait+0x5f/0xe0`.
fn frames(text: &str) -> Vec<String> {
    let frames =
        text.lines().filter_map(|line| line.split_once("] ")).map(|(_, frame)| harmless(frame.trim()));
    frames.take(FRAMES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signal_that_stopped_it_is_read_behind_any_name() {
        let fields: Vec<String> =
            (3..=52).map(|n| if n == 52 { "19".into() } else { n.to_string() }).collect();
        let text = format!("42 (a) T (b\nc)) {}", fields.join(" "));
        assert_eq!(exit_code(&text), Some(19));
        assert_eq!(exit_code("42 (a) S 1 2"), None);
        assert_eq!(exit_code(""), None);
    }

    #[test]
    fn a_kernel_that_counts_nothing_is_told_from_a_thread_that_used_nothing() {
        assert_eq!(schedstat("0 0 0\n"), None);
        let clock = schedstat("1500 20 3\n").unwrap();
        assert_eq!((clock.ran, clock.queued), (Duration::from_nanos(1500), Some(Duration::from_nanos(20))));
        assert_eq!(schedstat(""), None);
        assert_eq!(schedstat("x 1 2"), None);
    }

    #[test]
    fn a_stack_has_its_frames_and_no_addresses() {
        let text = "[<0>] futex_do_wait+0x3f/0xe0\n[<0>] __futex_wait+0x8e/0x110 [a]\n\nrubbish\n";
        assert_eq!(frames(text), ["futex_do_wait+0x3f/0xe0", "__futex_wait+0x8e/0x110 [a]"]);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            let _ = (exit_code(&text), schedstat(&text), frames(&text));
        }
    }
}
