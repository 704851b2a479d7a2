//! Laws to hold ours against, each re-implemented after what its project documents, on the same machine, with the same
//! cap on the run (which stands still) and the same rerun of what was killed.
//!
//! - [`pool`]: the queue that all of them share
//! - [`fixed`]: `-j N`; [`memfree`]: GNU parallel; [`buck2`]: pressure, youngest first; [`aimd`]: a window that widens
//!   and halves

pub mod aimd;
pub mod buck2;
pub mod fixed;
pub mod memfree;
pub mod pool;

use super::case::Case;
use super::job::Plan;
use super::play::{self, Outcome};

/// Whose law.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LawName {
    /// The governor
    Ours,
    /// As many as processors
    Fixed,
    /// The best fixed number, found with hindsight
    Hindsight,
    /// GNU parallel --memfree, told the true p90 of sizes
    Memfree,
    /// buck2's: kills the youngest under pressure
    Buck2,
    /// A window that widens slowly and halves at once
    Aimd,
}

/// All of them, in the order of tables.
pub const ALL: [LawName; 6] =
    [LawName::Ours, LawName::Fixed, LawName::Hindsight, LawName::Memfree, LawName::Buck2, LawName::Aimd];

impl LawName {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            LawName::Ours => "ours",
            LawName::Fixed => "fixed",
            LawName::Hindsight => "hindsight",
            LawName::Memfree => "memfree",
            LawName::Buck2 => "buck2",
            LawName::Aimd => "aimd",
        }
    }

    /// Plays it on the case, for at most `limit` seconds.
    pub fn play(self, case: &Case, limit: f64) -> Outcome {
        match self {
            LawName::Ours => play::play_ours(case, limit, None),
            LawName::Fixed => play::play(case, &mut fixed::Fixed::new(case, case.jobs as usize), limit),
            LawName::Hindsight => hindsight(case, limit),
            LawName::Memfree => play::play(case, &mut memfree::Memfree::new(case, p90(&case.plans)), limit),
            LawName::Buck2 => play::play(case, &mut buck2::Buck2::new(case), limit),
            LawName::Aimd => play::play(case, &mut aimd::Aimd::new(case), limit),
        }
    }
}

fn hindsight(case: &Case, limit: f64) -> Outcome {
    let all =
        (1..=case.jobs as usize).map(|jobs| play::play(case, &mut fixed::Fixed::new(case, jobs), limit));
    // One that loses the editor is no choice that anyone would make with hindsight.
    let cost = |outcome: &Outcome| (outcome.stuck, outcome.tolls.machine_out, outcome.makespan);
    let better =
        |a: &Outcome, b: &Outcome| cost(a).partial_cmp(&cost(b)).unwrap_or(std::cmp::Ordering::Equal);
    all.min_by(better).unwrap_or_default()
}

fn p90(plans: &[Plan]) -> f64 {
    let mut peaks: Vec<f64> = plans.iter().map(Plan::peak).collect();
    peaks.sort_by(f64::total_cmp);
    peaks.get(peaks.len() * 9 / 10).copied().unwrap_or(0.0)
}
