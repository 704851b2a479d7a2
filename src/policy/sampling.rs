//! When limits that the kernel does not hold are looked at again, and which of them is broken.

use std::time::Duration;

use super::tuning::{FILL_RATE, SAMPLE_FASTEST, SAMPLE_SLOWEST};
use crate::model::{Bytes, LimitName, Limits};

/// Which limit a sample is over, if any.
pub fn over(limits: &Limits, memory: Bytes, tasks: u64) -> Option<LimitName> {
    // Equal is fine: the kernel, too, lets a group have as many as its limit. Asked first: a bomb of processes takes
    // memory as well, and the kernel would have stopped it by their number.
    if limits.pids_max.is_some_and(|max| tasks > max) {
        return Some(LimitName::PidsMax);
    }
    limits.memory_max.is_some_and(|max| memory > max).then_some(LimitName::MemoryMax)
}

/// How long until the next look: not longer than the fastest hog needs for what is left. Half of the tasks is near.
pub fn pause(limits: &Limits, memory: Bytes, tasks: u64) -> Duration {
    if limits.pids_max.is_some_and(|max| tasks > max / 2) {
        return SAMPLE_FASTEST;
    }
    let left = limits.memory_max.map_or(u64::MAX, |max| max.0.saturating_sub(memory.0));
    let fill = Duration::from_secs_f64(left as f64 / FILL_RATE as f64);
    fill.clamp(SAMPLE_FASTEST, SAMPLE_SLOWEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(memory: u64, pids: u64) -> Limits {
        Limits { memory_max: Some(Bytes::mib(memory)), pids_max: Some(pids), ..Limits::default() }
    }

    #[test]
    fn a_sample_breaks_a_limit_only_above_it() {
        assert_eq!(over(&limits(100, 10), Bytes::mib(100), 10), None);
        assert_eq!(over(&limits(100, 10), Bytes::mib(101), 10), Some(LimitName::MemoryMax));
        assert_eq!(over(&limits(100, 10), Bytes::mib(1), 11), Some(LimitName::PidsMax));
        assert_eq!(over(&limits(100, 10), Bytes::mib(101), 11), Some(LimitName::PidsMax));
        assert_eq!(over(&Limits::default(), Bytes::gib(100), 1 << 20), None);
    }

    #[test]
    fn the_nearer_the_limit_the_sooner_the_next_look() {
        assert_eq!(pause(&limits(4096, 10), Bytes::mib(1), 1), SAMPLE_SLOWEST);
        assert_eq!(pause(&limits(100, 10), Bytes::mib(99), 1), SAMPLE_FASTEST);
        assert_eq!(pause(&limits(4096, 10), Bytes::mib(1), 6), SAMPLE_FASTEST);
        assert!(pause(&limits(200, 10), Bytes::mib(0), 1) < SAMPLE_SLOWEST);
        assert_eq!(pause(&Limits::default(), Bytes::gib(9), 9), SAMPLE_SLOWEST);
    }
}
