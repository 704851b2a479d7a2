//! What an attempt that ran out of time was doing, in one line, by what was seen of it.
//!
//! ```text
//! nothing left?               ──▶ all of it has ended
//! frozen?                     ──▶ frozen
//! half a processor or more?   ──▶ busy: who, and how much
//! kept from a processor?      ──▶ would run, but gets none
//! else it waits:  a process is spoken for by the thread that says most                        (trouble)
//!                 a process that waits for another of the job is spoken for by that one       (here)
//! and then:       short of memory?  threads not looked at?
//! ```
//!
//! Facts, and after a colon what they look like. Pure: the same observation reads the same.
//!
//! - [`wait`]: what a thread waits for
//! - [`trouble`]: what a process is at

mod trouble;
mod wait;

use std::time::Duration;

use crate::model::diagnosis::{Diagnosis, LINE, LINES, Observation, SeenProcess, SeenThread, Socket};
use trouble::{Trouble, share};
use wait::Kind;

/// Of a processor: with so much it does not wait.
const BUSY: f64 = 0.5;

/// Of a processor: a thread that does its part in that.
const HOT: f64 = 0.2;

/// Of a processor, in use or waited for: as much as a thread can.
const WHOLE: f64 = 0.9;

/// Of the time: waiting for memory for so long explains a time-out. In percent.
const SHORT_OF_MEMORY: f64 = 20.0;

/// Processes that are named.
const NAMED: usize = 3;

/// The diagnosis of what was seen, with the last lines of `output`.
pub fn read(seen: Observation, output: &[u8]) -> Diagnosis {
    Diagnosis { reading: reading(&seen), seen, last_output: last_lines(output), asked: None }
}

/// The last lines of what was written, cut to a length that is told.
pub fn last_lines(output: &[u8]) -> Vec<String> {
    // No more than this can be shown of it, with four bytes to a character.
    let end = &output[output.len().saturating_sub(LINES * (LINE + 1) * 4)..];
    let text = String::from_utf8_lossy(end);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].iter().map(|line| line.chars().take(LINE).collect()).collect()
}

/// In one line, what it looks like.
pub fn reading(seen: &Observation) -> String {
    let troubles: Vec<Trouble<'_>> =
        seen.processes.iter().filter_map(|process| trouble::of(process, seen)).collect();
    let mut told = if troubles.is_empty() {
        ended(seen)
    } else if seen.frozen == Some(true) {
        "frozen (cgroup.freeze)".into()
    } else if let Some(told) = busy(seen, troubles.len() > 1).or_else(|| starved(seen)) {
        told
    } else {
        waiting(&troubles, seen)
    };
    if let Some(pressure) = seen.pressure.memory.filter(|pressure| pressure.some_avg10 >= SHORT_OF_MEMORY) {
        let of =
            seen.memory.zip(seen.memory_max).map_or(String::new(), |(has, may)| format!(" ({has} of {may})"));
        told += &format!("; short of memory{of}: it waited for it {:.0} % of the time", pressure.some_avg10);
    }
    told
}

fn ended(seen: &Observation) -> String {
    match seen.processes.as_slice() {
        [] if seen.process_count > 0 => "there was no time to look".into(),
        [] => "nothing of it was left to look at".into(),
        [one] => format!("{} has ended, and nobody has taken note of it (zombie)", named(one)),
        several => {
            format!("all {} processes have ended, and nobody has taken note of it (zombies)", several.len())
        }
    }
}

/// Who uses how much; `None` if that is little.
fn busy(seen: &Observation, several: bool) -> Option<String> {
    let window = seen.window.filter(|window| !window.is_zero())?;
    let by_processes: Duration = seen.processes.iter().filter_map(|process| process.cpu).sum();
    let used = seen.cpu.unwrap_or_default().max(by_processes);
    if share(used, window) < BUSY {
        return None;
    }
    if share(by_processes, window) < share(used, window) / 2.0 {
        let elsewhere = if seen.process_count > seen.processes.len() as u64 {
            "in processes that were not looked at one by one"
        } else {
            "in processes that came and went"
        };
        return Some(format!(
            "busy: it used {} of a processor, most of it {elsewhere}",
            percent(used, window)
        ));
    }
    let mut hot: Vec<(&SeenProcess, &SeenThread, Duration)> = Vec::new();
    for process in &seen.processes {
        let threads = process.threads.iter().filter_map(|thread| Some((process, thread, thread.cpu?)));
        hot.extend(threads.filter(|(_, _, cpu)| share(*cpu, window) >= HOT));
    }
    let threads = seen.thread_count;
    if let [(process, thread, cpu)] = hot.as_slice() {
        let queued = thread.queued.unwrap_or_default();
        let waits = if share(queued, window) >= 0.1 {
            format!(" and waits for one {} of the time", percent(queued, window))
        } else {
            String::new()
        };
        let looks = if share(*cpu + queued, window) >= WHOLE { ": looks like a loop" } else { "" };
        let who = if several { format!("{}: ", named(process)) } else { String::new() };
        let which = match process.thread_count {
            0 | 1 => "its only thread".to_owned(),
            count => format!("1 of {count} threads"),
        };
        return Some(format!(
            "busy: {who}{which} uses {} of a processor{waits}{looks}",
            percent(*cpu, window)
        ));
    }
    let together = format!("{} of a processor together", percent(used, window));
    Some(match hot.len() {
        0 => format!("busy: {threads} threads use {together}, none of them much"),
        count => {
            let mut of: Vec<u32> = hot.iter().map(|(process, ..)| process.pid).collect();
            of.dedup();
            let who = if several { format!(" ({})", names(&of, seen)) } else { String::new() };
            format!(
                "busy: {count} of {threads} threads use {together}{who}: looks like work that is not done, or a loop"
            )
        }
    })
}

/// Who would run, and gets no processor.
fn starved(seen: &Observation) -> Option<String> {
    let window = seen.window.filter(|window| !window.is_zero())?;
    let threads = seen.processes.iter().flat_map(|process| &process.threads);
    let queued: Vec<Duration> = threads.filter_map(|thread| thread.queued).collect();
    let kept = queued.iter().filter(|queued| share(**queued, window) >= BUSY).count();
    let most = queued.iter().max().filter(|_| kept > 0)?;
    let used: Duration = seen.processes.iter().filter_map(|process| process.cpu).sum();
    Some(format!(
        "kept from running: {kept} of {} threads waited for a processor up to {} of the time, and got {}: looks like its cpu_max, or a busy machine",
        seen.thread_count,
        percent(*most, window),
        percent(used, window)
    ))
}

/// What those wait for that wait for nobody else in the job.
fn waiting(troubles: &[Trouble<'_>], seen: &Observation) -> String {
    let mut in_turn = false;
    let mut last: Vec<(&Trouble<'_>, String)> = Vec::new();
    for trouble in troubles {
        let pipe = matches!(trouble.kind, Kind::Read | Kind::Write) && !trouble.waits_for.is_empty();
        let circle =
            pipe && trouble.waits_for.iter().all(|other| leads(*other, trouble.process.pid, troubles));
        if circle {
            in_turn = true;
            // The one that waits for a child's end, or another at a pipe: this one tells it.
            last.push((
                trouble,
                format!("{}, which waits for it in turn: looks like a deadlock", trouble.sentence),
            ));
        } else if trouble.waits_for.is_empty() {
            last.push((trouble, trouble.sentence.clone()));
        }
    }
    last.sort_by_key(|(trouble, _)| trouble.kind);
    if let ([trouble], true) = (troubles, last.len() <= 1) {
        return last.pop().map_or_else(|| trouble.sentence.clone(), |(_, sentence)| sentence);
    }
    if let [(trouble, sentence)] = last.as_slice() {
        let pid = trouble.process.pid;
        // Who is told of in the sentence needs no mention before it.
        let waits = troubles.iter().find(|other| other.waits_for == [pid] && !in_turn);
        return match waits.map(|other| other.kind) {
            Some(Kind::Child) => format!("waiting for child {} to exit: {sentence}", named(trouble.process)),
            Some(Kind::Read) => format!("waiting for what {} writes: {sentence}", named(trouble.process)),
            _ => format!("{}: {sentence}", named(trouble.process)),
        };
    }
    let mut groups: Vec<(&Trouble<'_>, &str, usize)> = Vec::new();
    for (trouble, sentence) in &last {
        let alike = groups
            .iter_mut()
            .find(|(one, told, _)| told == sentence && one.process.name == trouble.process.name);
        match alike {
            Some((_, _, count)) => *count += 1,
            None => groups.push((trouble, sentence, 1)),
        }
    }
    if groups.is_empty() {
        return format!("{} processes wait for one another: looks like a deadlock", troubles.len());
    }
    let parts: Vec<String> = groups
        .iter()
        .take(NAMED)
        .map(|(trouble, sentence, count)| match count {
            1 => format!("{}: {sentence}", named(trouble.process)),
            count => format!("{count} x {}, each: {sentence}", trouble.process.name),
        })
        .collect();
    let more = groups.len().saturating_sub(NAMED);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    format!("{} processes; {}{more}", seen.process_count, parts.join("; "))
}

/// Whether `from` waits, directly or through others, for nothing but what leads to `to`, or for it among others.
fn leads(from: u32, to: u32, troubles: &[Trouble<'_>]) -> bool {
    let (mut open, mut seen) = (vec![from], Vec::new());
    while let Some(pid) = open.pop() {
        if pid == to {
            return true;
        }
        if seen.contains(&pid) {
            continue;
        }
        seen.push(pid);
        let waits = troubles.iter().find(|trouble| trouble.process.pid == pid);
        open.extend(waits.into_iter().flat_map(|trouble| trouble.waits_for.iter().copied()));
    }
    false
}

fn is_alive(process: &SeenProcess) -> bool {
    // The first thread may have ended, and the others not.
    process.thread_count > 1 || !matches!(process.state, 'Z' | 'X' | 'x')
}

/// `312 (sh)`.
fn named(process: &SeenProcess) -> String {
    format!("{} ({})", process.pid, process.name)
}

/// `312 (sh), 313 (cat) and 4 more`.
fn names(pids: &[u32], seen: &Observation) -> String {
    let name = |pid: &u32| {
        let process = seen.processes.iter().find(|process| process.pid == *pid);
        process.map_or_else(|| pid.to_string(), named)
    };
    let told: Vec<String> = pids.iter().take(NAMED).map(name).collect();
    match pids.len().saturating_sub(NAMED) {
        0 => told.join(", "),
        more => format!("{} and {more} more", told.join(", ")),
    }
}

/// `port 8080`, or the path of a unix socket.
fn place(socket: &Socket) -> String {
    match socket.port {
        Some(port) => format!("port {port}"),
        None if socket.local.is_empty() => "a unix socket".into(),
        None => socket.local.clone(),
    }
}

/// `0.1 %`, `99 %`.
fn percent(time: Duration, window: Duration) -> String {
    let percent = share(time, window) * 100.0;
    if percent < 9.95 { format!("{percent:.1} %") } else { format!("{percent:.0} %") }
}

#[cfg(test)]
mod tests;
