//! Who is kept waiting: PSI, as the growth of `total` over about a second. Never the averages, which lag by seconds.
//!
//! The editor's own group says best whether the editor suffers. Where it has none, the machine's memory and disk
//! stand in for it; not its processors, for which tests may queue as they like: how many of those they keep busy is
//! measured ([`super::admit`]). Where the machine has no PSI at all, pages that are read again tell of its memory.

use std::time::Duration;

use crate::model::governor::Signal;
use crate::model::reading::{Reading, Stall, Stalls};
use crate::model::view;
use crate::policy::tuning::{PRESSURE_WINDOW, REFAULTS};

#[derive(Debug, Default)]
pub(super) struct Pressure {
    /// When the window began, and what was read then.
    began: Option<(Duration, Counters)>,
    /// Of the last window.
    last: Rates,
    /// The same for people, of all who are looked at; and when it was.
    seen: Option<(Duration, view::Pressure)>,
}

/// What was measured longer ago is not shown any more.
const SHOWN_FOR: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy)]
struct Counters {
    stalls: Stalls,
    refaults: Option<u64>,
    high: Option<u64>,
}

/// Thousandths of the time, and events a second.
#[derive(Debug, Default)]
struct Rates {
    memory: u64,
    cpu: u64,
    io: u64,
    refaults: u64,
    high: u64,
}

impl Pressure {
    pub fn sense(&mut self, now: Duration, reading: &Reading) {
        let counters = Counters { stalls: reading.stalls, refaults: reading.refaults, high: reading.high };
        let Some((began, before)) = &self.began else {
            self.began = Some((now, counters));
            return;
        };
        let window = now.saturating_sub(*began);
        if window >= PRESSURE_WINDOW {
            self.last = Rates::of(before, &counters, window);
            // Of a window of hours the mean says nothing of now.
            let told = || (now, told(&before.stalls, &counters.stalls, window));
            self.seen = (window <= SHOWN_FOR).then(told);
            self.began = Some((now, counters));
        }
    }

    /// For people, what was measured of late.
    pub fn seen(&self, now: Duration) -> view::Pressure {
        let seen = self.seen.filter(|(at, _)| now.saturating_sub(*at) <= SHOWN_FOR);
        seen.map_or_else(view::Pressure::default, |(_, seen)| seen)
    }

    /// What is over its line, if anything, with both. `line`: for waiting, in thousandths of the time.
    pub fn over(&self, line: u64) -> Option<(Signal, u64, u64)> {
        let Rates { memory, cpu, io, refaults, high } = self.last;
        [
            (Signal::MemoryPressure, memory, line),
            (Signal::CpuPressure, cpu, line),
            (Signal::IoPressure, io, line),
            (Signal::Refaults, refaults, REFAULTS),
            (Signal::MemoryHigh, high, 0),
        ]
        .into_iter()
        .find(|(_, value, line)| value > line)
    }
}

impl Rates {
    fn of(before: &Counters, now: &Counters, window: Duration) -> Rates {
        let micros = u64::try_from(window.as_micros()).unwrap_or(u64::MAX).max(1);
        let part = |now: Option<Stall>, before: Option<Stall>, of: fn(&Stall) -> Duration| {
            Some(thousandths(of(&now?).saturating_sub(of(&before?)), window))
        };
        let editor = |of| part(now.stalls.editor, before.stalls.editor, of);
        let system = |of| part(now.stalls.system, before.stalls.system, of);
        let rate = |now: Option<u64>, before: Option<u64>| {
            let events = now.zip(before).map_or(0, |(now, before)| now.saturating_sub(before));
            events.saturating_mul(1_000_000).div_ceil(micros)
        };
        Rates {
            memory: editor(|stall| stall.memory_some)
                .or_else(|| system(|stall| stall.memory_full))
                .unwrap_or(0),
            cpu: editor(|stall| stall.cpu_some).unwrap_or(0),
            io: editor(|stall| stall.io_some).or_else(|| system(|stall| stall.io_full)).unwrap_or(0),
            refaults: rate(now.refaults, before.refaults),
            high: rate(now.high, before.high),
        }
    }
}

fn told(before: &Stalls, now: &Stalls, window: Duration) -> view::Pressure {
    let stalled = |before: Option<Stall>, now: Option<Stall>| {
        let (before, now) = before.zip(now)?;
        let part = |of: fn(&Stall) -> Duration| thousandths(of(&now).saturating_sub(of(&before)), window);
        Some(view::Stalled {
            memory_some: part(|stall| stall.memory_some),
            memory_full: part(|stall| stall.memory_full),
            cpu_some: part(|stall| stall.cpu_some),
            io_some: part(|stall| stall.io_some),
            io_full: part(|stall| stall.io_full),
        })
    };
    view::Pressure {
        system: stalled(before.system, now.system),
        jobs: stalled(before.run, now.run),
        editor: stalled(before.editor, now.editor),
    }
}

fn thousandths(waited: Duration, of: Duration) -> u64 {
    u64::try_from(waited.as_micros() * 1000 / of.as_micros().max(1)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn reading(editor: Option<Stall>, system: Option<Stall>) -> Reading {
        Reading { stalls: Stalls { editor, system, ..Stalls::default() }, ..Reading::default() }
    }

    #[test]
    fn pressure_is_what_was_waited_for_in_the_last_second() {
        let mut pressure = Pressure::default();
        let waited = |cpu_some| reading(Some(Stall { cpu_some, ..Stall::default() }), None);
        pressure.sense(ms(0), &waited(ms(90_000)));
        pressure.sense(ms(500), &waited(ms(90_400)));
        assert_eq!(pressure.over(100), None, "not a second yet");
        pressure.sense(ms(1000), &waited(ms(90_400)));
        assert_eq!(pressure.over(300), Some((Signal::CpuPressure, 400, 300)));
        assert_eq!(pressure.seen(ms(1500)).editor.map(|editor| editor.cpu_some), Some(400));
        assert_eq!(pressure.seen(ms(1500)).system, None);
        assert_eq!(pressure.seen(ms(7000)).editor, None, "nobody has looked for long");
        pressure.sense(ms(2000), &waited(ms(90_400)));
        assert_eq!(pressure.over(300), None);
    }

    #[test]
    fn the_machines_processors_are_the_tests_to_queue_for() {
        let mut pressure = Pressure::default();
        let waited = |at| reading(None, Some(Stall { cpu_some: at, io_full: at, ..Stall::default() }));
        pressure.sense(ms(0), &waited(ms(0)));
        pressure.sense(ms(1000), &waited(ms(900)));
        assert_eq!(pressure.over(500), Some((Signal::IoPressure, 900, 500)));
    }

    #[test]
    fn without_psi_pages_that_are_read_again_tell() {
        let mut pressure = Pressure::default();
        let refaults = |pages| Reading { refaults: Some(pages), high: Some(3), ..Reading::default() };
        pressure.sense(ms(0), &refaults(1_000_000));
        pressure.sense(ms(2000), &refaults(1_030_000));
        assert_eq!(pressure.over(400), None);
        pressure.sense(ms(3000), &refaults(1_090_000));
        assert_eq!(pressure.over(400), Some((Signal::Refaults, 60_000, REFAULTS)));
        pressure.sense(ms(4000), &Reading { high: Some(5), ..Reading::default() });
        assert_eq!(pressure.over(400), Some((Signal::MemoryHigh, 2, 0)));
    }
}
