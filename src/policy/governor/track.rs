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
        while self.ages.len() < place(size) {
            self.ages.push(age);
        }
    }

    /// The grid's place that was reached by `age`.
    pub fn place_at(&self, age: f64) -> usize {
        self.ages.partition_point(|passed| *passed <= age)
    }

    /// Whether by `age` it was beyond this place of the grid.
    pub fn is_beyond(&self, place: usize, age: f64) -> bool {
        self.ages.get(place).is_some_and(|passed| *passed <= age)
    }

    /// When it passed `size`; `None` if it never did.
    pub fn age_when_passing(&self, size: f64) -> Option<f64> {
        self.ages.get(place(size)).copied()
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
        assert_eq!(track.place_at(0.05), 0);
        assert_eq!(track.place_at(0.1), place(10.0 * MIB));
        assert_eq!(track.place_at(9.0), place(100.0 * MIB));
        assert_eq!(track.age_when_passing(50.0 * MIB), Some(0.2));
        assert_eq!(track.age_when_passing(200.0 * MIB), None);
    }
}
