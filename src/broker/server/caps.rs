//! How far each run's `memory.max` is lowered where no group holds all runs: to what all others leave.
//!
//! ```text
//! budget ├── others hold ──┤├── it holds ──┤├── left ──┤        cap = it holds + left
//! budget ├── others hold ──────┤├── it holds ──────┤             nothing left: cap = it holds + ahead
//! ```
//!
//! A job that is to be frozen grows until its run has done that. So nothing is left long before the kernel has to kill:
//! `ahead` is what the run grows by meanwhile. It is given once, and not again while it is used up.

use crate::model::Bytes;

/// A run is given room for so many times what it has grown by since the look before.
const LOOKS_AHEAD: u64 = 3;

/// And for this at least.
const AHEAD_LEAST: u64 = 1 << 20;

/// What one run holds, and may.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    /// What it holds and can't be taken back.
    pub usage: u64,
    /// What it has grown by since the look before.
    pub growth: u64,
    /// Its `memory.max` now.
    pub cap: Bytes,
    /// That is never more than this.
    pub budget: Bytes,
}

/// Its `memory.max`, of `all` that may be held while others hold `others`. `spare`: its part of what is kept back.
pub(super) fn cap(held: Held, all: Bytes, others: u64, spare: u64) -> Bytes {
    let left = all.0.saturating_sub(others);
    let ahead = held.growth.saturating_mul(LOOKS_AHEAD).max(spare).max(AHEAD_LEAST);
    // Never below what it holds: then the kernel would have to kill at once.
    let ahead = held.usage.saturating_add(ahead).min(held.cap.0).max(held.usage);
    Bytes(left.max(ahead)).min(held.budget)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// In MiB: of 900 that may be held, with 3 to spare.
    fn of(usage: u64, growth: u64, capped: u64, others: u64) -> u64 {
        let budget = Bytes(1000 * MIB);
        let held = Held { usage: usage * MIB, growth: growth * MIB, cap: Bytes(capped * MIB), budget };
        cap(held, Bytes(900 * MIB), others * MIB, 3 * MIB).0 / MIB
    }

    #[test]
    fn a_run_may_have_what_all_others_leave() {
        assert_eq!(of(100, 0, 1000, 300), 600);
        assert_eq!(of(100, 10, 600, 0), 900);
    }

    #[test]
    fn where_nothing_is_left_a_run_may_grow_until_it_stands_still() {
        assert_eq!(of(300, 10, 1000, 600), 330);
        assert_eq!(of(300, 0, 1000, 700), 303);
    }

    #[test]
    fn what_is_used_up_is_not_given_again() {
        assert_eq!(of(320, 10, 330, 600), 330);
        assert_eq!(of(330, 10, 330, 600), 330);
        assert_eq!(of(330, 0, 330, 500), 400, "but what others give back is");
    }

    #[test]
    fn it_is_never_less_than_what_is_held_nor_more_than_its_own() {
        assert_eq!(of(340, 0, 330, 900), 340);
        let own = Held { usage: 0, growth: 0, cap: Bytes(MIB), budget: Bytes(50 * MIB) };
        assert_eq!(cap(own, Bytes(900 * MIB), 0, 0), Bytes(50 * MIB));
    }
}
