//! What is kept of a run for its page: every job with its attempts, what the governor decided, and a bounded part of
//! the texts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::bounded::{Output, Share, cost, cut};
use super::rows::{Attempt, Came, Decided, Job, Running, ms, shows_output};
use crate::model::event::{AttemptFinished, AttemptStarted, RunFinished, RunStarted};
use crate::model::governor::{Action, Decision};
use crate::model::text::harmless;
use crate::model::{AttemptId, Bytes, JobId, Verdict};
use crate::report::paragraph::not_held;

/// Bytes of the page for names, for what happened, and for what was written: with 16,000 attempts and their figures it
/// stays below 5 MB.
const NAMES: Share = Share::new(640 << 10, 240);
const WORDS: Share = Share::new(640 << 10, 2 << 10);
const OUTPUTS: Share = Share::new(1152 << 10, 8 << 10);

/// Attempts with a line of their own; of more than that passed jobs are only counted.
const MOST_ATTEMPTS: usize = 16_000;

/// Decisions of the governor.
const MOST_DECISIONS: usize = 1_000;

/// Times that one attempt stood still.
const MOST_STANDS: usize = 64;

/// All that the page shows.
#[derive(Debug)]
pub struct Collected {
    pub head: Option<Head>,
    pub end: Option<RunFinished>,
    pub failed: Vec<Job>,
    pub others: Vec<Job>,
    /// Jobs that are counted and have no line.
    pub only_counted: u64,
    /// Until the run's own counts are there.
    tally: Tally,
    pub decisions: Vec<Decided>,
    /// Where the files are that rows name: thousands of times the same path would be most of the page.
    pub folder: Option<PathBuf>,
    /// Of jobs that are not done.
    before: BTreeMap<JobId, Vec<Attempt>>,
    running: BTreeMap<AttemptId, Running>,
    stood: BTreeMap<AttemptId, Stood>,
    attempts: usize,
    names: Share,
    words: Share,
    outputs: Share,
}

/// What the first event said.
#[derive(Debug)]
pub struct Head {
    pub run: String,
    pub name: String,
    pub profile: String,
    pub isolation: String,
    pub budget: Option<Bytes>,
    pub jobs: usize,
    pub parallel: usize,
    /// What is not as it should be, in words.
    pub notes: Vec<String>,
    pub date: SystemTime,
    pub begun: Instant,
}

/// When an attempt stood still.
#[derive(Debug, Default)]
struct Stood {
    spans: Vec<(f64, f64)>,
    /// Since when it does now.
    since: Option<f64>,
}

/// Counts of jobs that are done.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tally {
    pub passed: u64,
    pub failed: u64,
    pub unseen: u64,
    pub flaky: u64,
    pub evictions: u64,
}

impl Default for Collected {
    fn default() -> Collected {
        Collected {
            head: None,
            end: None,
            failed: Vec::new(),
            others: Vec::new(),
            only_counted: 0,
            tally: Tally::default(),
            decisions: Vec::new(),
            folder: None,
            before: BTreeMap::new(),
            running: BTreeMap::new(),
            stood: BTreeMap::new(),
            attempts: 0,
            names: NAMES,
            words: WORDS,
            outputs: OUTPUTS,
        }
    }
}

impl Collected {
    pub fn started(&mut self, started: &RunStarted) {
        let absent = &started.absent_sensors;
        let absent =
            (!absent.is_empty()).then(|| format!("the governor does without: {}", absent.join(", ")));
        self.head = Some(Head {
            run: started.run.0.clone(),
            name: harmless(&started.name),
            profile: harmless(&started.profile),
            isolation: started.isolation.tier.to_string(),
            budget: started.budget.memory_max,
            jobs: started.jobs,
            parallel: started.parallel,
            notes: not_held(&started.isolation).into_iter().chain(absent).collect(),
            date: UNIX_EPOCH + started.time,
            begun: Instant::now(),
        });
    }

    /// What jobs came to: as the run itself counted, or by now.
    pub fn tally(&self) -> Tally {
        self.end.map_or(self.tally, |end| Tally {
            passed: end.passed,
            failed: end.failed,
            unseen: end.unseen,
            flaky: end.flaky,
            evictions: end.evictions,
        })
    }

    /// How long the run took, or has taken until now.
    pub fn wall(&self) -> Duration {
        let until_now = || self.head.as_ref().map_or(Duration::ZERO, |head| head.begun.elapsed());
        self.end.map_or_else(until_now, |end| end.wall)
    }

    pub fn started_attempt(&mut self, started: &AttemptStarted) {
        let running =
            Running { name: self.name(&started.job), slot: started.attempt.slot, began: ms(started.began) };
        self.running.insert(started.attempt.id, running);
    }

    /// Those that have not ended.
    pub fn running(&self) -> Vec<&Running> {
        self.running.values().collect()
    }

    pub fn decided(&mut self, at: Duration, decision: &Decision, job: Option<&str>) {
        if let Some(id) = decision.attempt {
            let stood = self.stood.entry(id).or_default();
            match decision.action {
                Action::Freeze => stood.since = stood.since.or(Some(ms(at))),
                Action::Thaw => stood.spans.extend(stood.since.take().map(|since| (since, ms(at)))),
                Action::Hold | Action::Release | Action::Evict => {}
            }
            stood.spans.truncate(MOST_STANDS);
        }
        self.decisions.push(Decided::of(at, decision, job));
        if self.decisions.len() > MOST_DECISIONS {
            self.thin_decisions();
        }
    }

    /// Every second one goes, evictions last: how memory went stays to be seen.
    fn thin_decisions(&mut self) {
        for evictions_too in [false, true] {
            if self.decisions.len() <= MOST_DECISIONS {
                return;
            }
            let mut odd = true;
            self.decisions.retain(|decided| {
                odd = !odd;
                odd || (decided.action == Action::Evict && !evictions_too)
            });
        }
    }

    pub fn finished_attempt(&mut self, attempt: &AttemptFinished, told: String, seen: String) {
        let id = attempt.attempt.id;
        self.running.remove(&id);
        let mut row = Attempt::of(attempt, told, seen);
        if let Some(stood) = self.stood.remove(&id) {
            row.stood = stood.spans;
            row.stood.extend(stood.since.map(|since| (since, row.ended)));
            row.stood.iter_mut().for_each(|(_, until)| *until = until.min(row.ended));
        }
        row.seen_file = attempt.diagnosis_file.as_deref().map(|file| self.in_folder(file));
        row.cut_words(self.words.each());
        let words = row.cost_of_words();
        let mut output = 0;
        if let Some(captured) = attempt.output.as_ref().filter(|_| shows_output(attempt, row.came)) {
            let mut kept = Output::of(captured, self.outputs.each());
            kept.file = captured.file.as_deref().map(|file| self.in_folder(file));
            output = kept.cost();
            row.output = Some(kept);
        }
        self.tally.evictions += u64::from(row.came == Came::Evicted);
        self.before.entry(id.job).or_default().push(row);
        if let Some(verdict) = attempt.verdict {
            let counts = (verdict, attempt.failed);
            self.done(id.job, &attempt.job, counts, attempt.driver.is_some());
        }
        if !self.words.note(words) {
            self.cut_words();
        }
        if !self.outputs.note(output) {
            self.cut_outputs();
        }
    }

    /// Its name, if it is where the others are.
    fn in_folder(&mut self, file: &Path) -> String {
        let folder = file.parent().unwrap_or(file);
        let same = self.folder.get_or_insert_with(|| folder.to_owned()) == folder;
        let name = file.file_name().filter(|_| same).map_or(file.as_os_str(), |name| name);
        name.to_string_lossy().into_owned()
    }

    /// It should have been tried again, and the run ended before that.
    pub fn given_up(&mut self, job: JobId, name: &str) {
        if let Some(last) = self.before.entry(job).or_default().last_mut() {
            last.came = Came::Fail;
        }
        self.done(job, name, (Verdict::Fail, true), false);
    }

    pub fn finished(&mut self, finished: &RunFinished) {
        self.end = Some(*finished);
        self.running.clear();
    }

    fn done(&mut self, id: JobId, name: &str, (verdict, failed): (Verdict, bool), brought: bool) {
        let attempts = self.before.remove(&id).unwrap_or_default();
        self.attempts += attempts.len();
        let counted = match verdict {
            Verdict::Unseen => &mut self.tally.unseen,
            _ if failed => &mut self.tally.failed,
            _ => &mut self.tally.passed,
        };
        *counted += 1;
        self.tally.flaky += u64::from(verdict == Verdict::Flaky);
        let job = Job { id: id.0, name: self.name(name), verdict, failed, brought, attempts };
        let spent = cost(&job.name);
        if failed { &mut self.failed } else { &mut self.others }.push(job);
        while self.attempts > MOST_ATTEMPTS
            && let Some(least) = self.others.pop().or_else(|| self.failed.pop())
        {
            self.attempts -= least.attempts.len();
            self.only_counted += 1;
        }
        if !self.names.note(spent) {
            self.cut_names();
        }
    }

    fn name(&self, name: &str) -> String {
        // What is cut off is not looked at: a name may have a megabyte.
        let mut most = name.len().min(4 * self.names.each());
        while !name.is_char_boundary(most) {
            most -= 1;
        }
        let mut shown = harmless(&name[..most]);
        cut(&mut shown, self.names.each());
        if most < name.len() && !shown.ends_with('…') {
            shown.push('…');
        }
        shown
    }

    fn cut_names(&mut self) {
        loop {
            self.names.halve();
            let (each, mut fits) = (self.names.each(), true);
            for job in self.failed.iter_mut().chain(&mut self.others) {
                cut(&mut job.name, each);
                fits &= self.names.note(cost(&job.name));
            }
            if fits {
                return;
            }
        }
    }

    fn cut_words(&mut self) {
        loop {
            self.words.halve();
            let (each, mut fits) = (self.words.each(), true);
            for attempt in attempts(&mut self.failed, &mut self.others, &mut self.before) {
                attempt.cut_words(each);
                fits &= self.words.note(attempt.cost_of_words());
            }
            if fits {
                return;
            }
        }
    }

    fn cut_outputs(&mut self) {
        loop {
            self.outputs.halve();
            let (each, mut fits) = (self.outputs.each(), true);
            for attempt in attempts(&mut self.failed, &mut self.others, &mut self.before) {
                if let Some(output) = &mut attempt.output {
                    output.cut(each);
                    fits &= self.outputs.note(output.cost());
                }
            }
            if fits {
                return;
            }
        }
    }
}

fn attempts<'a>(
    failed: &'a mut [Job],
    others: &'a mut [Job],
    before: &'a mut BTreeMap<JobId, Vec<Attempt>>,
) -> impl Iterator<Item = &'a mut Attempt> {
    let done = failed.iter_mut().chain(others).flat_map(|job| &mut job.attempts);
    done.chain(before.values_mut().flatten())
}
