//! What the governor decided, in words.

use super::paragraph::short;
use crate::model::Bytes;
use crate::model::governor::{Action, Decision, Governed, Signal, State};

/// Growth below this is no filling.
const STILL: Bytes = Bytes::mib(1);

/// One sentence about how things stand: what was seen, and what is done.
pub fn sentence(decision: &Decision, job: Option<&str>) -> String {
    format!("{}: {}", seen(decision), done(decision, job))
}

/// A decision on a line of its own: state, action, job, and the sentence.
pub fn line(decision: &Decision, job: Option<&str>) -> String {
    let action = match decision.action {
        Action::Hold => "hold",
        Action::Release => "release",
        Action::Freeze => "freeze",
        Action::Thaw => "thaw",
        Action::Evict => "evict",
    };
    let about = job.map(|job| format!(" {job};")).unwrap_or_default();
    format!("{:6}  {action:7} {about} {}", decision.state, seen(decision))
}

/// What the governor did over the run, in a line; `None` if it had nothing to do.
pub fn summary(governed: &Governed) -> Option<String> {
    if governed.evictions == 0 && governed.freezes == 0 && governed.held.is_zero() {
        return None;
    }
    let mut parts = vec![format!("at most {} at once", governed.peak_concurrency)];
    let counts = [(governed.evictions, "evicted"), (governed.freezes, "frozen")];
    parts
        .extend(counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")));
    if !governed.held.is_zero() {
        parts.push(format!("starts held for {}", short(governed.held)));
    }
    if let Some(left) = governed.least_left {
        parts.push(format!("{left} left at least"));
    }
    if let Some(stall) = governed.editor_memory_stall {
        parts.push(format!("the editor waited {} for memory", short(stall)));
    }
    Some(format!("governor: {}", parts.join(", ")))
}

/// What was seen.
pub fn seen(decision: &Decision) -> String {
    let percent = |thousandths: u64| format!("{} %", thousandths / 10);
    let waited = |what: &str| {
        let (value, line) = (percent(decision.value), percent(decision.line));
        format!("{what} {value} of the time, above {line}")
    };
    match decision.signal {
        Signal::MemoryPressure => waited("memory is waited for"),
        Signal::CpuPressure => waited("the editor waits for a processor"),
        Signal::IoPressure => waited("the disk is waited for"),
        Signal::Refaults => {
            format!("{} pages a second are read again that were just given up", decision.value)
        }
        Signal::MemoryHigh => {
            format!("the run was slowed at its memory_high {} times a second", decision.value)
        }
        Signal::Memory | Signal::FrozenTime => {
            let filling = match decision.filling {
                rate if rate > STILL => format!(", filling at {rate}/s"),
                _ => String::new(),
            };
            format!("memory: {} left of {}{filling}", decision.left, decision.budget)
        }
    }
}

fn done(decision: &Decision, job: Option<&str>) -> String {
    let held = match decision.held {
        1 => "1 job".to_owned(),
        count => format!("{count} jobs"),
    };
    match (decision.action, decision.state) {
        (Action::Evict, _) => format!("evicting {}, which runs again", job.unwrap_or("a job")),
        (Action::Freeze, _) => format!("holding {held}, some in mid-run"),
        (_, State::Green) => "nothing is held".to_owned(),
        (_, State::Yellow) => format!("holding {held}"),
        (_, State::Orange) => format!("holding {held}, some in mid-run"),
        (_, State::Red) => format!("making room, holding {held}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn decision(action: Action, state: State, signal: Signal) -> Decision {
        Decision {
            action,
            attempt: None,
            state,
            signal,
            value: 0,
            line: 0,
            left: Bytes::mib(1126),
            budget: Bytes::gib(8),
            filling: Bytes::mib(400),
            held: 5,
        }
    }

    #[test]
    fn a_state_is_told_with_its_figures() {
        let hold = decision(Action::Hold, State::Yellow, Signal::Memory);
        assert_eq!(
            sentence(&hold, None),
            "memory: 1.1 GiB left of 8 GiB, filling at 400 MiB/s: holding 5 jobs"
        );
        let evict = Decision { filling: Bytes(0), ..decision(Action::Evict, State::Red, Signal::Memory) };
        assert_eq!(
            sentence(&evict, Some("./hog")),
            "memory: 1.1 GiB left of 8 GiB: evicting ./hog, which runs again"
        );
        let busy =
            Decision { value: 554, line: 400, ..decision(Action::Hold, State::Yellow, Signal::CpuPressure) };
        assert_eq!(
            sentence(&busy, None),
            "the editor waits for a processor 55 % of the time, above 40 %: holding 5 jobs"
        );
    }

    #[test]
    fn a_governor_without_work_says_nothing() {
        assert_eq!(summary(&Governed { peak_concurrency: 4, ..Governed::default() }), None);
        let worked = Governed {
            peak_concurrency: 4,
            evictions: 2,
            held: Duration::from_secs(3),
            ..Governed::default()
        };
        assert_eq!(
            summary(&worked).unwrap(),
            "governor: at most 4 at once, 2 evicted, starts held for 3.00s"
        );
    }
}
