//! Times and reasons, short enough for a column.

use crate::model::governor::Signal;
use crate::model::view::{JobState, Reason, WaitView, WaitsFor};

/// A time in at most six columns, in whole seconds or more.
pub fn time(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..=99 => format!("{seconds}s"),
        100..=5_999 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        6_000..=359_999 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86400, seconds / 3600 % 24),
    }
}

/// What a job does, in a word.
pub fn state(state: JobState) -> &'static str {
    match state {
        JobState::Starting => "starting",
        JobState::Running => "running",
        JobState::Frozen => "frozen",
        JobState::Pinned => "pinned",
        JobState::Stopping => "stopping",
        JobState::Dying => "dying",
        JobState::Waiting => "waiting",
    }
}

/// What is waited for: in eight columns at the most, and as it stands behind "for". `reason`: where the governor holds it.
pub fn waits(why: WaitsFor, reason: Option<Reason>) -> (&'static str, &'static str) {
    match why {
        WaitsFor::Held => match reason.map(|reason| reason.signal) {
            Some(None) => ("cpus", "processors"),
            Some(Some(Signal::Memory | Signal::FrozenTime)) | None => ("memory", "memory"),
            Some(Some(
                Signal::MemoryPressure
                | Signal::CpuPressure
                | Signal::IoPressure
                | Signal::Refaults
                | Signal::MemoryHigh,
            )) => ("pressure", "less pressure"),
        },
        WaitsFor::Turn => ("turn", "its turn"),
        WaitsFor::UserCap => ("limit", "your limit"),
        WaitsFor::Recovering => ("broker", "the new broker"),
        WaitsFor::Overdue => ("run", "its run"),
        WaitsFor::Places => ("place", "a place"),
        WaitsFor::Group => ("group", "its group"),
    }
}

/// What a run waits for, and how many are before it.
pub fn run_waits(wait: WaitView, ahead: u32) -> String {
    let (_, what) = waits(wait.why, wait.reason);
    if ahead == 0 { what.to_owned() } else { format!("{what}, {ahead} ahead") }
}

/// `2nd`.
pub fn ordinal(number: u32) -> String {
    let end = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_aloud() {
        let said = [1, 2, 3, 4, 11, 12, 21, 112].map(ordinal);
        assert_eq!(said, ["1st", "2nd", "3rd", "4th", "11th", "12th", "21st", "112th"]);
    }

    #[test]
    fn times_fit_in_six_columns() {
        for (ms, wanted) in [
            (0, "0s"),
            (99_999, "99s"),
            (100_000, "1m40s"),
            (5_999_000, "99m59s"),
            (6_000_000, "1h40m"),
            (86_400_000 * 99, "99d00h"),
        ] {
            assert_eq!(time(ms), wanted);
        }
    }
}
