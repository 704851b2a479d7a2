//! Who is kept waiting: PSI, as the growth of `total` over about a second. Never the averages, which lag by seconds.
//!
//! The editor's own group says best whether the editor suffers. Where it has none, the machine's memory and disk
//! stand in for it; not its processors, for which tests may queue as they like: how many of those they keep busy is
//! measured ([`super::admit`]).

use std::time::Duration;

use crate::model::governor::Signal;
use crate::model::reading::{Stall, Stalls};
use crate::policy::tuning::PRESSURE_WINDOW;

#[derive(Debug, Default)]
pub(super) struct Pressure {
    began: Option<(Duration, Stalls)>,
    /// Thousandths of the last window.
    memory: u64,
    cpu: u64,
    io: u64,
}

impl Pressure {
    pub fn sense(&mut self, now: Duration, stalls: &Stalls) {
        let Some((began, before)) = &self.began else {
            self.began = Some((now, *stalls));
            return;
        };
        let window = now.saturating_sub(*began);
        if window < PRESSURE_WINDOW {
            return;
        }
        let part = |now: Option<Stall>, before: Option<Stall>, of: fn(&Stall) -> Duration| {
            let waited = of(&now?).saturating_sub(of(&before?));
            u64::try_from(waited.as_micros() * 1000 / window.as_micros().max(1)).ok()
        };
        let editor = |of| part(stalls.editor, before.editor, of);
        let system = |of| part(stalls.system, before.system, of);
        self.memory =
            editor(|stall| stall.memory_some).or_else(|| system(|stall| stall.memory_full)).unwrap_or(0);
        self.cpu = editor(|stall| stall.cpu_some).unwrap_or(0);
        self.io = editor(|stall| stall.io_some).or_else(|| system(|stall| stall.io_full)).unwrap_or(0);
        self.began = Some((now, *stalls));
    }

    /// What is over the line, in thousandths, if anything.
    pub fn over(&self, line: u64) -> Option<(Signal, u64)> {
        let all = [
            (Signal::MemoryPressure, self.memory),
            (Signal::CpuPressure, self.cpu),
            (Signal::IoPressure, self.io),
        ];
        all.into_iter().filter(|(_, value)| *value > line).max_by_key(|(_, value)| *value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn pressure_is_what_was_waited_for_in_the_last_second() {
        let mut pressure = Pressure::default();
        let stalls =
            |cpu| Stalls { editor: Some(Stall { cpu_some: cpu, ..Stall::default() }), ..Stalls::default() };
        pressure.sense(ms(0), &stalls(ms(90_000)));
        pressure.sense(ms(500), &stalls(ms(90_400)));
        assert_eq!(pressure.over(100), None, "not a second yet");
        pressure.sense(ms(1000), &stalls(ms(90_400)));
        assert_eq!(pressure.over(300), Some((Signal::CpuPressure, 400)));
        pressure.sense(ms(2000), &stalls(ms(90_400)));
        assert_eq!(pressure.over(300), None);
    }

    #[test]
    fn the_machines_processors_are_the_tests_to_queue_for() {
        let mut pressure = Pressure::default();
        let stalls = |at| Stalls {
            system: Some(Stall { cpu_some: at, io_full: at, ..Stall::default() }),
            ..Stalls::default()
        };
        pressure.sense(ms(0), &stalls(ms(0)));
        pressure.sense(ms(1000), &stalls(ms(900)));
        assert_eq!(pressure.over(500), Some((Signal::IoPressure, 900)));
    }
}
