//! Many outcomes in one line of a table.

use super::play::Outcome;

/// What the cases of one family came to under one law.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Statistics {
    ratios: Vec<f64>,
    /// Attempts that ended for a reason not their own.
    pub evictions: u64,
    /// Kills by the kernel since the run's cap was full.
    pub budget_kills: u64,
    /// The machine was out of memory.
    pub machine_out: u64,
    /// The editor was killed.
    pub editor_killed: u64,
    /// Jobs without exactly one verdict.
    pub starved: u64,
    /// Jobs that did not pass.
    pub lost: u64,
    /// Cases that did not come to an end.
    pub stuck: u64,
    /// Promises that were not kept.
    pub broken: u64,
    /// The most attempts of one job.
    pub most_attempts: u32,
    /// Seconds of the machine.
    pub simulated: f64,
    /// Job seconds frozen.
    pub frozen: f64,
}

impl Statistics {
    /// Takes in one more case; the oracle took `ideal` seconds.
    pub fn add(&mut self, outcome: &Outcome, ideal: f64) {
        self.ratios.push(outcome.makespan / ideal);
        let tolls = &outcome.tolls;
        self.evictions += u64::from(outcome.evictions);
        self.budget_kills += u64::from(tolls.budget_kills);
        self.machine_out += u64::from(tolls.machine_out);
        self.editor_killed += u64::from(tolls.editor_killed);
        self.starved += outcome.starved as u64;
        self.lost += u64::from(outcome.lost);
        self.stuck += u64::from(outcome.stuck);
        self.broken += outcome.broken.len() as u64;
        self.most_attempts = self.most_attempts.max(outcome.most_attempts());
        self.simulated += outcome.makespan;
        self.frozen += tolls.frozen;
    }

    /// The same, of all cases of both.
    pub fn merge(&mut self, other: &Statistics) {
        self.ratios.extend(&other.ratios);
        self.evictions += other.evictions;
        self.budget_kills += other.budget_kills;
        self.machine_out += other.machine_out;
        self.editor_killed += other.editor_killed;
        self.starved += other.starved;
        self.lost += other.lost;
        self.stuck += other.stuck;
        self.broken += other.broken;
        self.most_attempts = self.most_attempts.max(other.most_attempts);
        self.simulated += other.simulated;
        self.frozen += other.frozen;
    }

    /// How many cases.
    pub fn cases(&self) -> usize {
        self.ratios.len()
    }

    /// The ratio to the oracle that this part of the cases does not exceed.
    pub fn quantile(&self, part: f64) -> f64 {
        let mut sorted = self.ratios.clone();
        sorted.sort_by(f64::total_cmp);
        let at = (part * sorted.len() as f64).ceil() as usize;
        sorted.get(at.saturating_sub(1).min(sorted.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_ratios_of_real_cases() {
        let mut statistics = Statistics::default();
        for makespan in [4.0, 1.0, 3.0, 2.0] {
            statistics.add(&Outcome { makespan, ..Outcome::default() }, 2.0);
        }
        assert_eq!(
            (statistics.quantile(0.5), statistics.quantile(0.95), statistics.quantile(1.0)),
            (1.0, 2.0, 2.0)
        );
        assert!(Statistics::default().quantile(0.5).is_nan());
    }
}
