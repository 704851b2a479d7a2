//! How a job that failed is tried again.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How often, when, and after what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// Further attempts after the first that failed; 0 for none.
    pub count: u32,
    /// Between the end of an attempt and the next one's start.
    pub delay: Duration,
    /// How the delay grows.
    pub backoff: Backoff,
    /// Whether up to half of the delay is left out at random, so that what failed together is not tried together.
    pub jitter: bool,
    /// The delay never grows beyond this.
    pub max_delay: Duration,
    /// The failures that may differ the next time.
    pub on: RetryOn,
}

/// How the delay between attempts grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backoff {
    /// It does not.
    Fixed,
    /// It doubles from attempt to attempt.
    Exponential,
}

/// Failures that are worth another attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryOn {
    /// An exit code other than 0, and forks that `pids_max` refused.
    pub fail: bool,
    /// A time-out.
    pub timeout: bool,
    /// A signal that was not ours.
    pub signal: bool,
    /// Its own memory limit.
    pub oom: bool,
    /// Something was left behind, where that is a failure.
    pub leak: bool,
}

/// What a job that failed and then passed counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FlakyResult {
    /// A pass.
    Pass,
    /// A failure.
    Fail,
}

/// What is made of things left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LeakPolicy {
    /// They are told.
    Warn,
    /// They make a failure of a pass.
    Fail,
}

/// What a retry did not wait for any longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unsettled {
    /// The groups of the attempt before can't be removed.
    Groups,
    /// Memory, disks or the editor's processors are still waited for too long.
    Pressure,
}

impl Retry {
    /// None at all.
    pub const NEVER: Retry = Retry {
        count: 0,
        delay: Duration::ZERO,
        backoff: Backoff::Fixed,
        jitter: false,
        max_delay: Duration::from_secs(60),
        on: RetryOn::ALL,
    };
}

impl RetryOn {
    /// Every failure.
    pub const ALL: RetryOn = RetryOn { fail: true, timeout: true, signal: true, oom: true, leak: true };
}
