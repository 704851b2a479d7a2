//! A diagnosis for people: a few lines for the terminal, and the whole of it for a file beside the run's output.
//!
//! What a test chose (names of its processes, paths, its output) moves no cursor here: control characters are shown,
//! not sent.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use super::paragraph::{self, signal_name};
use crate::model::diagnosis::{
    Asked, Descriptor, Diagnosis, Observation, Pressure, SeenProcess, SeenThread, Socket, Syscall,
};
use crate::model::text::escaped;

/// Groups of threads that the short form tells.
const GROUPS: usize = 4;

/// Used this much of a processor, a thread is told with its figure.
const WORTH_TELLING: f64 = 0.005;

/// Some six to ten lines for the terminal. The first is the reading.
pub fn short(diagnosis: &Diagnosis) -> Vec<String> {
    let seen = &diagnosis.seen;
    let mut lines = vec![diagnosis.reading.clone()];
    let groups = groups(seen);
    lines.extend(groups.iter().take(GROUPS).map(|(what, count)| match count {
        1 => format!("  {what}"),
        count => format!("  {count} x {what}"),
    }));
    let told: usize = groups.iter().take(GROUPS).map(|(_, count)| count).sum();
    let more = seen.thread_count.saturating_sub(told as u64);
    if more > 0 {
        lines.push(format!("  and {more} more threads"));
    }
    lines.extend(descriptors(seen).map(|text| format!("open: {text}")));
    lines.extend(sockets(seen).map(|text| format!("sockets: {text}")));
    lines.extend(memory(seen).map(|text| format!("memory: {text}")));
    lines.extend(seen.cut.then(|| "cut: there was no time to see all of it".to_owned()));
    lines.iter().map(|line| escaped(line)).collect()
}

/// Everything, as the text of a file: every process and thread, kernel stacks, descriptors, sockets, the last output,
/// and what an `on_timeout` command said.
pub fn whole(diagnosis: &Diagnosis) -> String {
    let seen = &diagnosis.seen;
    let mut lines = vec![diagnosis.reading.clone(), String::new()];
    let window =
        seen.window.map_or("not measured".into(), |window| format!("over {}", paragraph::short(window)));
    lines.push(format!(
        "{} processes, {} threads; looked at for {}{}; processor time {window}",
        seen.process_count,
        seen.thread_count,
        paragraph::short(seen.took),
        if seen.cut { ", cut: there was no time to see all of it" } else { "" },
    ));
    lines.extend(seen.cpu.map(|cpu| format!("processor time of all of it: {}", paragraph::short(cpu))));
    lines.extend(memory(seen).map(|text| format!("memory: {text}")));
    let pressures = [("memory", seen.pressure.memory), ("cpu", seen.pressure.cpu), ("io", seen.pressure.io)];
    for (name, pressure) in pressures {
        lines.extend(pressure.map(|pressure| format!("{name} pressure: {}", percents(pressure))));
    }
    lines.extend((seen.frozen == Some(true)).then(|| "frozen".to_owned()));
    for process in &seen.processes {
        lines.push(String::new());
        lines.push(process_line(process));
        lines.extend(process.threads.iter().map(|thread| format!("  {}", thread_line(thread, seen))));
        let left = process.thread_count.saturating_sub(process.threads.len() as u64);
        lines.extend((left > 0).then(|| format!("  and {left} more threads")));
    }
    let left = seen.process_count.saturating_sub(seen.processes.len() as u64);
    lines.extend((left > 0).then(|| format!("\nand {left} more processes")));
    for (number, frames) in seen.stacks.iter().enumerate() {
        lines.push(format!("\nkernel stack {}", number + 1));
        lines.extend(frames.iter().map(|frame| format!("  {frame}")));
    }
    lines.push(String::new());
    lines.extend(descriptors(seen).map(|text| format!("open: {text}")));
    lines.extend(sockets(seen).map(|text| format!("sockets: {text}")));
    lines.extend(seen.listening.iter().map(|listener| {
        format!("listens: {} {}, process {}", listener.socket.protocol, listener.socket.local, listener.pid)
    }));
    if !diagnosis.last_output.is_empty() {
        lines.push("\nlast output:".into());
        lines.extend(diagnosis.last_output.iter().map(|line| format!("  {line}")));
    }
    if let Some(said) = &diagnosis.asked {
        lines.push(String::new());
        lines.extend(asked(said));
    }
    let mut text = String::new();
    for line in lines {
        // A newline of ours begins a line and is none of theirs.
        let (space, line) = match line.strip_prefix('\n') {
            Some(line) => ("\n", line),
            None => ("", line.as_str()),
        };
        let _ = writeln!(text, "{space}{}", escaped(line));
    }
    text
}

/// What an `on_timeout` command said, line by line.
pub fn asked(asked: &Asked) -> Vec<String> {
    let first = format!("{}: {}", escaped(&asked.command), asked.ended);
    std::iter::once(first).chain(asked.output.iter().map(|line| format!("  {}", escaped(line)))).collect()
}

/// Threads that are alike, the busiest first, then the most.
fn groups(seen: &Observation) -> Vec<(String, usize)> {
    let mut groups = BTreeMap::<String, (usize, Duration)>::new();
    for process in &seen.processes {
        for thread in &process.threads {
            let of = if seen.processes.len() > 1 && thread.name != process.name {
                format!("{} of {}", thread.name, process.name)
            } else {
                thread.name.clone()
            };
            let worth = used(thread.cpu, seen).filter(|share| *share >= WORTH_TELLING);
            let cpu = worth.map_or(String::new(), |share| format!(", {:.0} % CPU", share * 100.0));
            let stack = thread.stack.and_then(|stack| seen.stacks.get(stack)?.first());
            let place = match (&thread.syscall, &thread.wchan) {
                (Some(call), _) if call.on.is_some() => call_text(call),
                (Some(call), _) => call.name.clone(),
                (None, Some(wchan)) => wchan.clone(),
                (None, None) => stack.map_or_else(|| "?".into(), |frame| frame.clone()),
            };
            let place = if thread.state == 'R' { "running".into() } else { place };
            let group = groups.entry(format!("{of}: {place}, {}{cpu}", thread.state)).or_default();
            *group = (group.0 + 1, group.1.max(thread.cpu.unwrap_or_default()));
        }
    }
    let mut groups: Vec<(String, (usize, Duration))> = groups.into_iter().collect();
    let busy = |cpu: Duration| used(Some(cpu), seen).is_some_and(|share| share >= WORTH_TELLING);
    groups.sort_by_key(|(_, (count, cpu))| {
        (std::cmp::Reverse(if busy(*cpu) { *cpu } else { Duration::ZERO }), std::cmp::Reverse(*count))
    });
    groups.into_iter().map(|(what, (count, _))| (what, count)).collect()
}

fn process_line(process: &SeenProcess) -> String {
    let mut line =
        format!("{} {}, child of {}, state {}", process.pid, process.name, process.ppid, process.state);
    if let Some(signal) = process.stop_signal {
        let _ = write!(line, " ({})", signal_name(signal));
    }
    let _ = write!(line, ", {} threads", process.thread_count);
    if let Some(cpu) = process.cpu {
        let _ = write!(line, ", CPU {}", paragraph::short(cpu));
    }
    if let Some(memory) = process.memory {
        let _ = write!(line, ", memory {memory}");
    }
    line
}

fn thread_line(thread: &SeenThread, seen: &Observation) -> String {
    let mut line = format!("{} {} {}", thread.tid, thread.state, thread.name);
    if let Some(share) = used(thread.cpu, seen) {
        let _ = write!(line, ", {:.1} % CPU", share * 100.0);
    }
    if let Some(share) = used(thread.queued, seen).filter(|share| *share >= WORTH_TELLING) {
        let _ = write!(line, ", waited for a processor {:.1} %", share * 100.0);
    }
    if let Some(call) = &thread.syscall {
        let arguments: Vec<String> = call.arguments.iter().map(|value| format!("{value:#x}")).collect();
        let _ = write!(line, ", {}({})", call_text(call), arguments.join(", "));
    }
    if let Some(wchan) = &thread.wchan {
        let _ = write!(line, ", in {wchan}");
    }
    if let Some(stack) = thread.stack {
        let _ = write!(line, ", kernel stack {}", stack + 1);
    }
    line
}

/// `read of pipe (fd 0)`.
fn call_text(call: &Syscall) -> String {
    let Some(on) = &call.on else { return call.name.clone() };
    let what = match &on.socket {
        Some(socket) => socket_text(socket),
        None if on.kind == Descriptor::File => on.name.clone(),
        None => on.kind.as_str().to_owned(),
    };
    format!("{} of {what} (fd {})", call.name, on.fd)
}

fn socket_text(socket: &Socket) -> String {
    let remote = socket.remote.as_ref().map_or(String::new(), |remote| format!(" with {remote}"));
    format!("{} {} {}{remote}", socket.protocol, socket.state, socket.local)
}

fn descriptors(seen: &Observation) -> Option<String> {
    let mut counts: Vec<(Descriptor, u64)> =
        seen.descriptors.iter().map(|(kind, count)| (*kind, *count)).collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let mut parts: Vec<String> = counts
        .iter()
        .map(|(kind, count)| format!("{count} {}{}", kind.as_str(), plural(*kind, *count)))
        .collect();
    if seen.descriptors_hidden > 0 {
        parts.push(format!("those of {} processes are hidden", seen.descriptors_hidden));
    }
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn plural(kind: Descriptor, count: u64) -> &'static str {
    let counted = [
        Descriptor::File,
        Descriptor::Device,
        Descriptor::Terminal,
        Descriptor::Pipe,
        Descriptor::Socket,
        Descriptor::Memfd,
    ];
    if count != 1 && counted.contains(&kind) { "s" } else { "" }
}

fn sockets(seen: &Observation) -> Option<String> {
    let mut parts: Vec<String> =
        seen.sockets.iter().map(|(state, count)| format!("{count} {state}")).collect();
    let mut ports: Vec<u16> = seen.listening.iter().filter_map(|listener| listener.socket.port).collect();
    ports.dedup();
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    match ports.as_slice() {
        [] => {}
        [port] => parts.push(format!("listening on port {port}")),
        ports => parts.push(format!("listening on ports {}", ports.join(", "))),
    }
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn memory(seen: &Observation) -> Option<String> {
    let mut text = match (seen.memory, seen.memory_max) {
        (Some(memory), Some(max)) => format!("{memory} of {max}"),
        (Some(memory), None) => memory.to_string(),
        (None, _) => return None,
    };
    if let Some(swap) = seen.memory_swap.filter(|swap| swap.0 > 0) {
        let _ = write!(text, ", {swap} in swap");
    }
    if let Some(pressure) = seen.pressure.memory.filter(|pressure| pressure.some_avg10 > 0.0) {
        let _ = write!(text, ", waited for it {:.0} % of the last 10 s", pressure.some_avg10);
    }
    Some(text)
}

fn percents(pressure: Pressure) -> String {
    let full = pressure.full_avg10.map_or(String::new(), |full| format!(", all {full:.2} %"));
    format!("some waited {:.2} % of the last 10 s{full}", pressure.some_avg10)
}

fn used(time: Option<Duration>, seen: &Observation) -> Option<f64> {
    let window = seen.window.filter(|window| !window.is_zero())?;
    Some(time?.as_secs_f64() / window.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Bytes;
    use crate::model::diagnosis::Listener;

    fn deadlock() -> Diagnosis {
        let thread = |tid, name: &str| SeenThread {
            tid,
            name: name.into(),
            state: 'S',
            cpu: Some(Duration::from_micros(20)),
            syscall: Some(Syscall { name: "futex".into(), arguments: vec![0; 6], on: None }),
            stack: Some(0),
            ..SeenThread::default()
        };
        let mut threads = vec![thread(100, "main\u{1b}[2J")];
        threads.extend((101..=140).map(|tid| thread(tid, "worker")));
        let process = SeenProcess {
            pid: 100,
            ppid: 1,
            name: "test".into(),
            state: 'S',
            thread_count: 41,
            threads,
            ..SeenProcess::default()
        };
        let socket = Socket {
            protocol: "tcp".into(),
            state: "listen".into(),
            local: "0.0.0.0:8080".into(),
            port: Some(8080),
            ..Socket::default()
        };
        let seen = Observation {
            took: Duration::from_millis(12),
            window: Some(Duration::from_secs(1)),
            memory: Some(Bytes::mib(100)),
            memory_max: Some(Bytes::gib(2)),
            process_count: 1,
            thread_count: 41,
            processes: vec![process],
            stacks: vec![vec!["futex_do_wait+0x3f/0xe0".into()]],
            descriptors: BTreeMap::from([(Descriptor::Pipe, 2), (Descriptor::Eventfd, 1)]),
            sockets: BTreeMap::from([("tcp listen".into(), 1)]),
            listening: vec![Listener { pid: 100, socket }],
            ..Observation::default()
        };
        Diagnosis {
            reading: "41 threads, 0.1 % CPU, all in futex_wait: looks like a deadlock".into(),
            seen,
            last_output: vec!["waiting\u{1b}]0;x\u{7}".into(), "\u{202e}abc".into()],
            asked: Some(Asked {
                command: "py-spy dump 'a b'".into(),
                ended: "exited".into(),
                output: vec!["Thread 1\u{1b}[2J".into()],
            }),
        }
    }

    #[test]
    fn the_terminal_gets_a_few_lines() {
        assert_eq!(
            short(&deadlock()),
            [
                "41 threads, 0.1 % CPU, all in futex_wait: looks like a deadlock",
                "  40 x worker: futex, S",
                "  main\\u{1b}[2J: futex, S",
                "open: 2 pipes, 1 eventfd",
                "sockets: 1 tcp listen, listening on port 8080",
                "memory: 100 MiB of 2 GiB",
            ]
        );
    }

    #[test]
    fn the_file_has_every_thread_and_moves_no_cursor() {
        let text = whole(&deadlock());
        assert_eq!(text.matches("kernel stack 1").count(), 42, "{text}");
        assert!(text.contains("\n\nkernel stack 1\n  futex_do_wait+0x3f/0xe0\n"), "{text}");
        assert!(text.contains("last output:\n  waiting\\u{1b}]0;x\\u{7}\n  \\u{202e}abc\n"), "{text}");
        assert!(text.chars().all(|letter| letter == '\n' || !letter.is_control()));
        assert!(text.ends_with("\n\npy-spy dump 'a b': exited\n  Thread 1\\u{1b}[2J\n"), "{text}");
    }

    #[test]
    fn the_busiest_threads_come_first_and_the_rest_is_counted() {
        let mut diagnosis = deadlock();
        let process = &mut diagnosis.seen.processes[0];
        process.threads[0].name = "main".into();
        for (number, thread) in process.threads.iter_mut().enumerate().skip(1).take(5) {
            thread.name = format!("pool-{number}");
        }
        process.threads[5].cpu = Some(Duration::from_millis(990));
        process.threads[5].state = 'R';
        let lines = short(&diagnosis);
        assert_eq!(lines[1], "  pool-5: running, R, 99 % CPU");
        assert_eq!(lines[2], "  35 x worker: futex, S");
        assert!(lines.contains(&"  and 3 more threads".to_owned()), "{lines:?}");
    }
}
