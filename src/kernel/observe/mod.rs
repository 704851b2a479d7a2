//! Looks at an attempt from outside, before anything is sent to it: a cheap first look about a second before its time
//! is up, and the whole of it then.
//!
//! ```text
//! Glance::take(pids)  ── about one second ──▶  observe(scene)  ──▶  policy::diagnosis::read  ──▶  Diagnosis
//! ```
//!
//! `pids` are `cgroup::pids(group)`, or the tree where there is no group; they may differ between the two.
//!
//! It tolerates that anything vanishes at any moment, and that anything is hidden: what can't be read is absent. It is
//! done within [`PATIENCE`], also for hundreds of threads; then it says that it is cut. Call it from a thread that may
//! wait, and don't wait for that thread for ever: `/proc` is the kernel's, and a sick machine may hang there.
//!
//! - [`threads`]: processes and threads, states, waits, processor time
//! - [`calls`]: the system calls in which they wait
//! - [`descriptors`], [`sockets`]: what they have open; [`listening`]: the same of a process that was left behind
//! - [`folder`]: how all that is read

pub mod calls;
mod descriptors;
mod folder;
pub mod listening;
mod sockets;
mod threads;

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use super::cgroup;
use super::files::{Dir, keyed};
use crate::model::Bytes;
use crate::model::diagnosis::{Observation, Pressure, Pressures, SeenProcess};
use descriptors::Open;
use folder::Folder;
use sockets::Sockets;
pub use threads::Glance;

/// After this long nothing more is begun.
pub const PATIENCE: Duration = Duration::from_millis(150);

/// Of it, for threads: on a machine that is too busy for all of them there is time left for descriptors.
const FOR_THREADS: Duration = Duration::from_millis(110);

/// Between two looks at processor time, where there was no look before.
const BETWEEN: Duration = Duration::from_millis(50);

/// For the first look.
const GLANCE: Duration = Duration::from_millis(50);

/// What to look at.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scene<'a> {
    /// The processes of the attempt, `cgroup.procs` or the tree. The first are told in full.
    pub pids: &'a [u32],
    /// The first look; without one the processor time is that of some 50 ms.
    pub since: Option<&'a Glance>,
    /// Its group in the v2 tree.
    pub group: Option<&'a Path>,
    /// Its memory, where something else than that group tells it: v1, or samples.
    pub memory: Option<Bytes>,
    /// Its limit, likewise.
    pub memory_max: Option<Bytes>,
}

impl Glance {
    /// Takes the first look: how much each thread has run until now. Some 10 us a thread, and never more than 50 ms.
    pub fn take(pids: &[u32], group: Option<&Path>) -> Glance {
        let mut glance = Glance::of(pids, Instant::now() + GLANCE);
        glance.group = group.and_then(|path| Dir::open(path).ok()).as_ref().and_then(group_cpu);
        glance
    }
}

/// Looks at everything, within [`PATIENCE`] and a little.
pub fn observe(scene: Scene<'_>) -> Observation {
    let begin = Instant::now();
    let end = begin + PATIENCE;
    let group = scene.group.and_then(|path| Dir::open(path).ok());
    let mut taken = None;
    let glance = match scene.since {
        Some(glance) => glance,
        None => taken.insert(Glance::take(scene.pids, scene.group)),
    };
    if scene.since.is_none() {
        std::thread::sleep(BETWEEN.saturating_sub(begin.elapsed()));
    }
    let window = glance.age();
    let mut seen = threads::look(scene.pids, Some(glance), begin + FOR_THREADS);
    let cpu =
        group.as_ref().and_then(group_cpu).zip(glance.group).map(|(now, then)| now.saturating_sub(then));

    let open = Open::look(seen.processes.iter().map(|process| process.pid).zip(&seen.folders), end);
    let folders: HashMap<u32, &Folder> =
        seen.processes.iter().map(|process| process.pid).zip(&seen.folders).collect();
    let sockets = Sockets::find(&open.sockets, &folders, end);
    for process in &mut seen.processes {
        if let Some(folder) = folders.get(&process.pid) {
            tell_targets(process, folder, &open, &sockets);
        }
    }
    let group = group.as_ref();
    let number = |file: &str| group?.read(file).ok()?.parse().ok().map(Bytes);
    Observation {
        cut: seen.cut || open.cut || sockets.cut,
        window: Some(window),
        cpu,
        frozen: group
            .and_then(|dir| keyed(&dir.read("cgroup.events").ok()?, "frozen"))
            .map(|frozen| frozen != 0),
        memory: scene.memory.or_else(|| number("memory.current")),
        memory_max: scene.memory_max.or_else(|| number("memory.max")),
        memory_swap: number("memory.swap.current"),
        pressure: group.map(pressures).unwrap_or_default(),
        process_count: (seen.processes.len() + seen.left_out) as u64,
        thread_count: seen.thread_count,
        sockets: sockets.counts(&open.sockets),
        listening: sockets.listening(&open.sockets),
        descriptors: open.counts,
        descriptors_hidden: open.hidden,
        processes: seen.processes,
        stacks: seen.stacks,
        took: begin.elapsed(),
    }
}

/// Says of each call that waits on a descriptor what that is.
fn tell_targets(process: &mut SeenProcess, folder: &Folder, open: &Open, sockets: &Sockets) {
    for call in process.threads.iter_mut().filter_map(|thread| thread.syscall.as_mut()) {
        let Some(fd) = calls::descriptor(call) else { continue };
        let reads = !call.name.contains("write") && !call.name.starts_with("send");
        call.on = open.target(folder, fd, reads).map(|mut target| {
            target.socket = descriptors::inode(&target.name).and_then(|inode| sockets.get(inode)).cloned();
            target
        });
    }
}

fn group_cpu(group: &Dir) -> Option<Duration> {
    cgroup::cpu_time(&group.read("cpu.stat").ok()?)
}

fn pressures(group: &Dir) -> Pressures {
    let read = |file: &str| group.read(file).ok().and_then(|text| pressure(&text));
    Pressures { memory: read("memory.pressure"), cpu: read("cpu.pressure"), io: read("io.pressure") }
}

/// Lines such as `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`.
fn pressure(text: &str) -> Option<Pressure> {
    let avg10 = |kind: &str| -> Option<f64> {
        let line = text.lines().find_map(|line| line.strip_prefix(kind))?;
        let value = line.split_ascii_whitespace().find_map(|word| word.strip_prefix("avg10="))?;
        value.parse().ok().filter(|value: &f64| value.is_finite())
    };
    Some(Pressure { some_avg10: avg10("some ")?, full_avg10: avg10("full ") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_is_read_in_percent() {
        let text = "some avg10=1.50 avg60=0.00 avg300=0.00 total=1234\nfull avg10=0.25 avg60=0 total=56\n";
        assert_eq!(pressure(text), Some(Pressure { some_avg10: 1.5, full_avg10: Some(0.25) }));
        assert_eq!(pressure("some avg10=NaN"), None);
        assert_eq!(pressure(""), None);
    }

    #[test]
    fn what_is_gone_is_not_there() {
        // With a first look nothing is slept in between, which takes a busy machine beyond the time for threads.
        let (pids, group) = (&[u32::MAX, 0], Some(Path::new("/nowhere")));
        let glance = Glance::take(pids, group);
        let seen = observe(Scene { pids, since: Some(&glance), group, ..Scene::default() });
        assert_eq!((seen.process_count, seen.thread_count, seen.cut), (0, 0, false));
    }

    #[test]
    fn the_group_tells_of_all_of_it() {
        let group = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| std::fs::write(group.path().join(file), text).unwrap();
        write("cpu.stat", "usage_usec 1000\nuser_usec 900\n");
        write("cgroup.events", "populated 1\nfrozen 1\n");
        write("memory.current", "4096\n");
        write("memory.max", "max\n");
        write("memory.pressure", "some avg10=2.00 avg60=0 avg300=0 total=1\nfull avg10=1.00 total=1\n");
        let glance = Glance::take(&[], Some(group.path()));
        write("cpu.stat", "usage_usec 4000\n");
        let scene = Scene { since: Some(&glance), group: Some(group.path()), ..Scene::default() };
        let seen = observe(scene);
        assert_eq!(seen.cpu, Some(Duration::from_millis(3)));
        assert_eq!((seen.memory, seen.memory_max, seen.memory_swap), (Some(Bytes(4096)), None, None));
        assert_eq!((seen.frozen, seen.pressure.io), (Some(true), None));
        assert_eq!(seen.pressure.memory, Some(Pressure { some_avg10: 2.0, full_avg10: Some(1.0) }));
        // What is measured elsewhere counts.
        let memory = Some(Bytes::mib(1));
        assert_eq!(observe(Scene { memory, memory_max: memory, ..scene }).memory_max, memory);
    }

    #[test]
    fn this_process_is_seen_with_its_threads_and_descriptors() {
        let pids = [std::process::id()];
        let glance = Glance::take(&pids, None);
        let seen = observe(Scene { pids: &pids, since: Some(&glance), ..Scene::default() });
        assert_eq!(seen.process_count, 1);
        let process = &seen.processes[0];
        assert_eq!(process.threads[0].tid, process.pid);
        assert!(process.threads.len() > 1 && process.memory.is_some() && process.cpu.is_some());
        assert!(!seen.descriptors.is_empty());
    }
}
