//! What Ctrl-Z does.

use std::io;
use std::os::fd::AsFd;

use super::Drive;
use crate::kernel::{pidfd, terminal};

impl Drive {
    /// Ctrl-Z: everything stands still until `fg`.
    pub(super) fn stop(&self) {
        let all = self.shared.live.all();
        all.iter().for_each(|(_, live)| live.freeze(true));
        self.shared.clock.pause(stop_self);
        all.iter().filter(|(_, live)| !live.is_held()).for_each(|(_, live)| live.freeze(false));
    }

    /// The job that has the terminal was stopped by it: so are we, until `fg`.
    pub(super) fn follow_a_stopped_job(&self) {
        for (_, live) in self.shared.live.all() {
            let stopped = || pidfd::open(live.pid).is_some_and(|handle| pidfd::stopped(&handle).is_some());
            if !self.shared.foreground || live.reaped.get() || !stopped() {
                continue;
            }
            let stdin = io::stdin();
            terminal::give(stdin.as_fd(), None);
            self.shared.clock.pause(stop_self);
            if terminal::is_foreground(stdin.as_fd()) {
                terminal::give(stdin.as_fd(), Some(live.pid.cast_signed()));
            }
            live.signal(libc::SIGCONT);
        }
    }
}

/// Stops this process as Ctrl-Z does; returns when it is continued.
fn stop_self() {
    let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGSTOP);
}
