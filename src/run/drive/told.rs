//! What is told of an attempt, and of the run at its end.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use super::{Drive, Summary};
use crate::kernel::{terminal, tree};
use crate::model::Tier;
use crate::model::event::{AttemptFinished, AttemptStarted, Event, RunFinished, Tries};
use crate::model::outcome::Counted;
use crate::policy::scheduler::Next;
use crate::policy::tuning::KILL_PATIENCE;
use crate::policy::verdict::Judgement;
use crate::run::Plan;
use crate::run::attempt::{Ended, News, Started};
use crate::run::recording::Recorder;

impl Drive {
    pub(super) fn started_attempt(&self, Started { attempt, began, limits }: Started) -> AttemptStarted {
        let job = self.shared.job(attempt.id);
        let driver = job.driver.map(|driver| self.name(driver));
        AttemptStarted { attempt, job: job.name.clone(), driver, began, limits }
    }

    pub(super) fn finished_attempt(
        &mut self,
        ended: Ended,
        judgement: Judgement,
        next: Next,
    ) -> AttemptFinished {
        let id = ended.attempt.id;
        let job = self.shared.job(id);
        if self.shared.foreground && job.driver.is_none() {
            // Lent to the next one anew: between two tries Ctrl-C is for us.
            terminal::give(io::stdin().as_fd(), None);
        }
        if let Some((fifos, _)) = &mut self.fifos {
            fifos.close(id);
        }
        let plan = &self.shared.plan;
        let settings = &job.settings;
        let diagnosis = self.inquests.conclude(id).map(Box::new);
        let failures = self.failures.entry(id.job).or_default();
        let tries = Tries { this: *failures + 1, most: settings.retry.count.saturating_add(1) };
        *failures += u32::from(matches!(next, Next::Retry(_)));
        let (timeout, idle_timeout) = (settings.timeout, settings.idle_timeout);
        let (verdict, retry_in) = match next {
            Next::Done(verdict) => (Some(verdict), None),
            Next::Again => (None, None),
            Next::Retry(delay) => (None, Some(delay)),
        };
        let failed = verdict.is_some_and(|verdict| verdict.counted(settings.flaky_result) == Counted::Failed);
        match (ended.groups, retry_in) {
            (Some(groups), Some(_)) => {
                let news = self.shared.news.clone();
                self.keeper.remove_and_tell(groups, move || drop(news.send(News::Removed(id))));
            }
            (Some(groups), None) => self.keeper.remove(groups),
            (None, _) => {}
        }
        self.leaked += ended.end.evidence.leaked_count;
        self.unkillable |= ended.end.evidence.unkillable;
        AttemptFinished {
            diagnosis_file: diagnosis.as_ref().map(|_| plan.diagnoses.join(format!("{id}.diagnosis.txt"))),
            diagnosis,
            attempt: ended.attempt,
            job: job.name.clone(),
            driver: job.driver.map(|driver| self.name(driver)),
            test: self
                .arrivals
                .as_ref()
                .filter(|_| job.at_once)
                .and_then(|arrivals| arrivals.last_test(id.job)),
            outcome: judgement.outcome,
            cause: judgement.cause,
            verdict,
            failed,
            retry_in,
            tries,
            exit: ended.end.exit,
            spawn_error: ended.end.spawn_error,
            began: ended.began,
            ended: ended.ended,
            wall: ended.wall,
            frozen: ended.frozen,
            evidence: ended.end.evidence,
            limits: ended.limits,
            origins: job.origins.clone(),
            timeout,
            idle_timeout,
            output: ended.output,
        }
    }

    pub(super) fn summary(mut self, report: &mut impl FnMut(&Event)) -> Summary {
        if self.shared.foreground {
            terminal::give(io::stdin().as_fd(), None);
        }
        // Those that were made for nobody go with the run's group.
        self.prepared.clear();
        let tally = self.scheduler.tally();
        let finished = RunFinished {
            passed: tally.passed,
            failed: tally.failed,
            unseen: tally.unseen,
            flaky: tally.flaky,
            not_run: tally.not_run,
            evictions: tally.evictions,
            leaked: self.leaked,
            interrupted: self.scheduler.interrupted(),
            closed: self.scheduler.closed().filter(|_| tally.not_run > 0),
            governed: self.scheduler.governed(self.shared.clock.now()),
            wall: self.shared.clock.now(),
        };
        report(&Event::RunFinished(finished));
        let patience = if self.unkillable { Duration::ZERO } else { KILL_PATIENCE };
        let Drive { shared, keeper, asked_to_end, last, recorder, .. } = self;
        drop(keeper);
        let clean = remove_ground(&shared.plan, patience);
        Summary {
            finished,
            asked_to_end: asked_to_end.map(|(signal, _)| signal),
            last,
            clean,
            record_cut: recorder.and_then(Recorder::failure),
        }
    }
}

fn remove_ground(plan: &Plan, patience: Duration) -> bool {
    let ground = &plan.ground;
    if ground.v2().is_none() {
        // What escaped its attempt without a trace is still our child.
        let known = [plan.guardian];
        let find = || tree::with_descendants(tree::orphans(&known));
        return plan.isolation.tier == Tier::Off || tree::kill_all(find, patience);
    }
    let mut removed = ground.remove(patience).is_ok();
    // What is being waited for aside may go at this moment: the next look finds it gone.
    for _ in 0..50 {
        if removed {
            break;
        }
        std::thread::sleep(Duration::from_millis(2));
        removed = ground.remove(Duration::ZERO).is_ok();
    }
    removed
}
