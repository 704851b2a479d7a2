//! What a service manager is told (sd_notify(3)). Where there is none, nobody is told.

use std::time::Duration;

use sd_notify::NotifyState;

/// We serve from now on; `status` is shown by `systemctl status`.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// We are alive.
pub fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// We are going.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// How often it wants to hear that we are alive: half of its patience. `None` if it does not.
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|patience| patience / 2)
}

/// A manager that can't be told finds out by itself, and starts us anew.
fn tell(state: &[NotifyState]) {
    let _ = sd_notify::notify(state);
}
