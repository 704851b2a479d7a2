//! Time that stands still while sandtest is stopped, so that Ctrl-Z costs nobody a time-out.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// Time since the run began (CLOCK_MONOTONIC), without pauses.
#[derive(Debug)]
pub struct Clock {
    began: Instant,
    paused: Cell<Duration>,
}

impl Clock {
    /// Starts now.
    pub fn start() -> Clock {
        Clock { began: Instant::now(), paused: Cell::new(Duration::ZERO) }
    }

    /// Since the start, without pauses.
    pub fn now(&self) -> Duration {
        self.began.elapsed().saturating_sub(self.paused.get())
    }

    /// All pauses together.
    pub fn paused(&self) -> Duration {
        self.paused.get()
    }

    /// Stands still while `wait` waits.
    pub fn pause(&self, wait: impl FnOnce()) {
        let before = Instant::now();
        wait();
        self.paused.set(self.paused.get() + before.elapsed());
    }

    /// The instant at which `now` will say `time`, if nothing is paused until then.
    pub fn instant(&self, time: Duration) -> Instant {
        self.began + self.paused.get() + time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_not_counted() {
        let clock = Clock::start();
        clock.pause(|| std::thread::sleep(Duration::from_millis(30)));
        assert!(clock.now() < Duration::from_millis(25));
        assert!(clock.paused() >= Duration::from_millis(30));
    }
}
