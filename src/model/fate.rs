//! A run as its record tells of it, from outside.

/// What became of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It still runs.
    Runs,
    /// It came to its end.
    Ended,
    /// It was killed.
    Killed,
}
