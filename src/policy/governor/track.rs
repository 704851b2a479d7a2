//! How a job grew: the active age at which its memory first passed each size of a grid.

/// The smallest size that is told apart, and the step from one to the next: a quarter more.
const SMALLEST: f64 = (1u64 << 20) as f64;
const STEP: f64 = 1.25;

/// Sizes against ages. Sizes only ever rise.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Track {
    /// `ages[k]`: when the size first passed `SMALLEST * STEP^k`, seconds of active age.
    ages: Vec<f64>,
}

/// Place of a size on the grid; below the smallest it is 0.
pub fn place(size: f64) -> usize {
    // A size has at most 64 bits, so at most some 160 steps.
    if size <= SMALLEST { 0 } else { ((size / SMALLEST).ln() / STEP.ln()).floor() as usize + 1 }
}

impl Track {
    /// Notes that at `age` the size was `size`.
    pub fn note(&mut self, age: f64, size: f64) {
        let place = place(size).max(self.ages.len());
        self.ages.resize(place, age);
    }

    /// The grid's place of the largest size.
    pub fn place(&self) -> usize {
        self.ages.len()
    }

    /// When it went beyond each place, in their order, as far as it came.
    pub fn ages(&self) -> &[f64] {
        &self.ages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: f64 = (1 << 20) as f64;

    #[test]
    fn a_size_is_found_at_the_age_at_which_it_was_reached() {
        let mut track = Track::default();
        track.note(0.1, 10.0 * MIB);
        track.note(0.2, 100.0 * MIB);
        let passed = |size: f64| track.ages().get(place(size * MIB)).copied();
        assert_eq!((passed(5.0), passed(50.0), passed(200.0)), (Some(0.1), Some(0.2), None));
        assert_eq!(track.place(), place(100.0 * MIB));
    }
}
