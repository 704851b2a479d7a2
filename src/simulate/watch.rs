//! What must hold at every step of a run, whatever happens: looked at from outside, by what the law orders.

use std::collections::BTreeMap;

use crate::model::governor::{Action, Decision, Signal};
use crate::model::reading::Reading;
use crate::model::{AttemptId, JobId};
use crate::policy::scheduler::{Effect, Next};
use crate::policy::tuning::{ALONE_AFTER, EVICTED_PATIENCE};

/// Whoever lives, in the order of first starts, and what was promised to whom.
#[derive(Debug, Default)]
pub struct Watch {
    /// Rank of each job's first start.
    seniority: BTreeMap<JobId, usize>,
    running: Vec<Running>,
    /// Jobs that were evicted and wait, since when.
    waiting: BTreeMap<JobId, f64>,
    evictions: BTreeMap<JobId, u32>,
    verdicts: BTreeMap<JobId, u32>,
    cap: Option<f64>,
    /// What did not hold.
    pub broken: Vec<String>,
}

#[derive(Debug, Clone, Copy)]
struct Running {
    id: AttemptId,
    frozen: bool,
    dying: bool,
}

/// What of a look the cap is held against. Bytes.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    cap: Option<f64>,
    available: f64,
    usage: f64,
    charged: f64,
}

impl Seen {
    /// Of this look.
    pub fn of(reading: &Reading) -> Seen {
        Seen {
            cap: reading.cap.map(|cap| cap.0 as f64),
            available: reading.available.map_or(f64::INFINITY, |available| available.0 as f64),
            usage: reading.usage.0 as f64,
            charged: reading.charged.0 as f64,
        }
    }
}

/// The lines that caps are held against.
#[derive(Debug, Clone, Copy)]
pub struct Lines {
    /// `budget.memory_max`.
    pub budget: f64,
    /// What is kept available.
    pub reserve: f64,
}

impl Watch {
    /// Takes in a step: what was seen just before, if it was a look, and what was ordered.
    pub fn step(&mut self, now: f64, seen: Option<Seen>, effects: &[Effect], lines: Lines) {
        self.no_start_while_pressing(now, effects);
        // Ends are told after the starts that they make room for.
        for effect in effects {
            if let Effect::Judged(id, _, next) = effect {
                self.is_judged(now, *id, matches!(next, Next::Done(_)));
            }
        }
        for effect in effects {
            match effect {
                Effect::Start(attempt, _) => self.starts(now, attempt.id),
                Effect::Freeze(id) => self.set(*id, |running| running.frozen = true),
                Effect::Thaw(id) => self.set(*id, |running| running.frozen = false),
                Effect::Kill(id) => self.is_killed(now, *id),
                Effect::Cap(cap) => self.cap = Some(cap.0 as f64),
                _ => {}
            }
        }
        if let Some(seen) = seen {
            self.cap_follows(now, seen, lines);
            self.someone_moves(now);
        }
    }

    /// How many of so many jobs have not exactly one verdict.
    pub fn without_one_verdict(&self, jobs: usize) -> usize {
        (0..jobs as u32).filter(|job| self.verdicts.get(&JobId(*job)) != Some(&1)).count()
    }

    fn set(&mut self, id: AttemptId, change: impl Fn(&mut Running)) {
        self.running.iter_mut().filter(|running| running.id == id).for_each(change);
    }

    fn breaks(&mut self, now: f64, what: String) {
        self.broken.push(format!("at {now:.3} s: {what}"));
    }

    fn no_start_while_pressing(&mut self, now: f64, effects: &[Effect]) {
        let pressing = |effect: &Effect| {
            let evicts = |d: &Decision| d.action == Action::Evict && d.signal == Signal::Memory;
            matches!(effect, Effect::Decided(decision) if evicts(decision))
        };
        let starts = effects.iter().any(|effect| matches!(effect, Effect::Start(..)));
        if starts && effects.iter().any(pressing) {
            self.breaks(now, "a start in the step of an eviction".into());
        }
    }

    fn starts(&mut self, now: f64, id: AttemptId) {
        let rank = self.seniority.len();
        let mine = *self.seniority.entry(id.job).or_insert(rank);
        self.waiting.remove(&id.job);
        let patience = EVICTED_PATIENCE.as_secs_f64();
        let overtaken = self
            .waiting
            .iter()
            .find(|(job, since)| self.seniority[job] < mine && now - **since > patience + 1e-6);
        if let Some((job, since)) = overtaken {
            let what = format!("job {} starts before job {}, which waits since {since:.3}", id.job.0, job.0);
            self.breaks(now, what);
        }
        if self.evictions.get(&id.job).is_some_and(|count| *count >= ALONE_AFTER) && !self.running.is_empty()
        {
            self.breaks(now, format!("job {} was evicted often and does not run alone", id.job.0));
        }
        self.running.push(Running { id, frozen: false, dying: false });
    }

    fn is_killed(&mut self, now: f64, id: AttemptId) {
        let senior =
            self.running.iter().min_by_key(|running| self.seniority[&running.id.job]).map(|senior| senior.id);
        if senior == Some(id) {
            self.breaks(now, format!("the most senior, job {}, is evicted", id.job.0));
        }
        self.set(id, |running| running.dying = true);
    }

    fn is_judged(&mut self, now: f64, id: AttemptId, last: bool) {
        self.running.retain(|running| running.id != id);
        if last {
            *self.verdicts.entry(id.job).or_default() += 1;
        } else {
            *self.evictions.entry(id.job).or_default() += 1;
            self.waiting.insert(id.job, now);
        }
    }

    /// Never above the budget nor above what may be used now, unless that is charged already, page cache and all; never
    /// below what is used.
    fn cap_follows(&mut self, now: f64, seen: Seen, lines: Lines) {
        // Where nothing was written, what was in force was right.
        let Some(cap) = self.cap.or(seen.cap) else { return self.breaks(now, "no cap after a look".into()) };
        let Seen { available, usage, charged, .. } = seen;
        let slack = (2 << 20) as f64;
        let may = (usage + available - lines.reserve).max(usage).max(charged) + slack;
        if cap > lines.budget.min(may) + 1.0 {
            self.breaks(now, format!("the cap {cap:.0} is above {:.0}", lines.budget.min(may)));
        }
        if cap < usage.min(lines.budget) - 1.0 {
            self.breaks(now, format!("the cap {cap:.0} is below {usage:.0}, which is used"));
        }
    }

    /// Some job is active or dying whenever there is any.
    fn someone_moves(&mut self, now: f64) {
        if !self.running.is_empty() && self.running.iter().all(|running| running.frozen && !running.dying) {
            self.breaks(now, "all that run are frozen".into());
        }
    }
}
