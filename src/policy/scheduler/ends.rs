//! An attempt is over: what that means for its job.
//!
//! ```text
//! passed ── nothing failed before ──▶ pass      ── else ──▶ flaky
//! only its driver saw how it ended ──▶ unseen
//! ended for a reason not its own ──▶ runs again, before all that have not started yet
//! failed ── may differ, tries are left, the run goes on ──▶ retry      ── else ──▶ fail, leak
//! ```

use std::time::Duration;

use super::Scheduler;
use super::messages::{Effect, End, Next};
use super::permits::Said;
use super::queue::{self, Waiting};
use super::retry::{self, Settling};
use super::stops::{SIGKILL, SIGTERM};
use crate::model::max_fail::InFlight;
use crate::model::outcome::Counted;
use crate::model::retry::LeakPolicy;
use crate::model::{AttemptId, Cause, Evidence, Exit, Outcome, Verdict};
use crate::policy::governor::Ending;
use crate::policy::tuning::{MAX_EVICTIONS, MAX_FROM_OUTSIDE};
use crate::policy::verdict::{self, Ended, Judgement};

/// By nobody that is known.
const KILLED_BY_ANOTHER: Judgement = Judgement { outcome: Outcome::Signaled, cause: Cause::Own };

impl Scheduler {
    pub(super) fn ended(&mut self, now: Duration, end: &End, effects: &mut Vec<Effect>) -> Option<Effect> {
        let at = self.running.iter().position(|running| running.waiting.id == end.id)?;
        let running = self.running.swap_remove(at);
        let ended = running.ended_by_us();
        // A slot whose processes can't be killed is not given to anyone else: they may hold its port.
        self.claims.give_back(running.claim, end.evidence.unkillable);
        if end.evidence.unkillable {
            self.tell_limits();
        }
        let mut judgement = verdict::judge(end.exit, end.spawn_error.as_ref(), ended, &end.evidence);
        if judgement == KILLED_BY_ANOTHER && end.exit.is_some() && self.goes_with_its_driver(end.id.job) {
            judgement.cause = Cause::CommandTimeout;
        }
        if self.is_unseen(end, &judgement) {
            judgement.outcome = Outcome::Exited;
        }
        let is_driver = self.is_driver(end.id.job);
        let alone = !running.had_company || is_driver;
        if judgement.outcome == Outcome::Evicted && judgement.cause == Cause::Budget && alone {
            // Nobody else was in its way: it needs more than there is.
            let out_of_memory = end.evidence.oom_kill.is_some_and(|kills| kills > 0);
            // What a driver has not filled itself its tests have.
            let by_itself = is_driver || filled_the_budget(&end.evidence);
            judgement = match (out_of_memory, by_itself) {
                (true, false) => Judgement { cause: Cause::Filled, ..judgement },
                (true, true) => Judgement { outcome: Outcome::Oom, ..judgement },
                (false, _) => Judgement { outcome: Outcome::Pids, ..judgement },
            };
        }
        let killed = judgement.outcome == Outcome::Signaled && end.exit == Some(Exit::Signal(SIGKILL));
        let frozen = running.frozen_at.is_some();
        if killed
            && ended.is_none()
            && self.permits.as_ref().is_some_and(|permits| permits.kills(now, frozen))
        {
            judgement = Judgement { outcome: Outcome::Evicted, cause: Cause::Broker };
        }
        let next = self.next(running.waiting, &judgement, end);
        let again = self.closed.is_none() && !matches!(next, Next::Done(_));
        let verdict = match next {
            Next::Done(verdict) => Some(verdict),
            Next::Again | Next::Retry(_) => None,
        };
        let (id, ending, setup) = (end.id, ending(&judgement, end), running.setup);
        let outcome = Some(judgement.outcome);
        self.tell(Said::Ended { id, ending, again, outcome, verdict, setup });
        self.count(now, running.waiting, &judgement, next);
        self.abandon(id.job, ended, effects);
        match self.settings.max_fail.reached(self.failures) {
            // Only once: what is ended by it fails, too.
            Some(InFlight::Immediate) if self.closed.is_none() => {
                self.close(Cause::MaxFail);
                self.end_all(now, Ended::MaxFail, SIGTERM, effects);
            }
            Some(_) => self.close(Cause::MaxFail),
            None => {}
        }
        Some(Effect::Judged(end.id, judgement, next))
    }

    /// What a judgement means for the job.
    fn next(&self, waiting: Waiting, judgement: &Judgement, end: &End) -> Next {
        // The governor makes room in the end: alone, nobody evicts it. Without one, patience is all there is.
        let most = if self.permits.is_some() { u32::MAX } else { MAX_EVICTIONS };
        let spec = &self.jobs[end.id.job.0 as usize];
        let unseen = self.is_unseen(end, judgement);
        let passed = judgement.outcome == Outcome::Exited && end.exit == Some(Exit::Code(0));
        // However an unseen one ended: if it had not failed, it fails by this.
        let leaked = (passed || unseen) && spec.leak == LeakPolicy::Fail && end.evidence.left_something();
        let restartable = spec.facts.restartable;
        match judgement.outcome {
            _ if unseen && !leaked => Next::Done(Verdict::Unseen),
            Outcome::Exited if passed && !leaked => match waiting.failures {
                0 => Next::Done(Verdict::Pass),
                _ => Next::Done(Verdict::Flaky),
            },
            Outcome::Evicted if !restartable => Next::Done(Verdict::Infra),
            // What was there before it filled the budget, and would again.
            Outcome::Evicted if judgement.cause == Cause::Filled => Next::Done(Verdict::Infra),
            // Its driver goes on without us.
            Outcome::SpawnFailed if spec.driver.is_some() => Next::Done(Verdict::Infra),
            Outcome::Evicted if judgement.cause == Cause::Outside => match waiting.from_outside {
                MAX_FROM_OUTSIDE.. => Next::Done(Verdict::Infra),
                _ => Next::Again,
            },
            Outcome::Evicted if waiting.evictions >= most => Next::Done(Verdict::Infra),
            Outcome::Evicted => Next::Again,
            _ if self.closed.is_none()
                && !(leaked && end.evidence.left.is_still_there())
                && waiting.failures < spec.retry.count
                && retry::may_differ(spec.retry.on, judgement, leaked) =>
            {
                let failures = waiting.failures + 1;
                Next::Retry(retry::delay(&spec.retry, failures, end.id, self.settings.seed))
            }
            _ if leaked => Next::Done(Verdict::Leak),
            _ => Next::Done(Verdict::Fail),
        }
    }

    fn count(&mut self, now: Duration, ended: Waiting, judgement: &Judgement, next: Next) {
        let counted = match next {
            Next::Again => {
                self.tally.evictions += 1;
                let outside = judgement.cause == Cause::Outside;
                let again = Waiting {
                    evictions: ended.evictions + u32::from(!outside),
                    from_outside: ended.from_outside + u32::from(outside),
                    ..ended.again()
                };
                return queue::requeue(&mut self.queue, again);
            }
            Next::Retry(delay) => {
                let not_before = now + delay;
                let at_last = not_before + self.settings.settle_timeout;
                let settling = Some(Settling { not_before, at_last, removed: false });
                let again = Waiting { failures: ended.failures + 1, settling, ..ended.again() };
                return queue::requeue(&mut self.queue, again);
            }
            Next::Done(verdict) => {
                self.tally.flaky += u64::from(verdict == Verdict::Flaky);
                verdict.counted(self.jobs[ended.id.job.0 as usize].flaky_result)
            }
        };
        match counted {
            Counted::Passed => self.tally.passed += 1,
            Counted::Unseen => self.tally.unseen += 1,
            Counted::Failed => {
                self.tally.failed += 1;
                self.failures += u64::from(self.jobs[ended.id.job.0 as usize].driver.is_none());
            }
        }
    }

    /// Those that wait for a retry that will not come have failed.
    pub(super) fn give_up(&mut self, effects: &mut Vec<Effect>) {
        let failed: Vec<AttemptId> =
            self.queue.iter().filter(|waiting| waiting.failures > 0).map(|waiting| waiting.id).collect();
        self.queue.retain(|waiting| waiting.failures == 0);
        self.tally.failed += failed.len() as u64;
        self.failures += failed.len() as u64;
        effects
            .extend(failed.into_iter().map(|id| Effect::GivenUp(AttemptId { number: id.number - 1, ..id })));
    }

    /// A retry need not wait for its last attempt's groups any more.
    pub(super) fn removed(&mut self, id: AttemptId) {
        let is_next = |waiting: &&mut Waiting| waiting.id == AttemptId { number: id.number + 1, ..id };
        if let Some(settling) = self.queue.iter_mut().find(is_next).and_then(|next| next.settling.as_mut()) {
            settling.removed = true;
        }
    }
}

/// What an end teaches.
fn ending(judgement: &Judgement, end: &End) -> Ending {
    let peak = end.evidence.memory_peak;
    match (judgement.outcome, &judgement.cause) {
        (Outcome::Exited, Cause::Own) => Ending::Finished { peak },
        (Outcome::Evicted, Cause::Budget) => Ending::Evicted { peak },
        _ => Ending::Otherwise,
    }
}

/// Whether the attempt itself held most of what all could have. Files that earlier ones left in tmpfs stay charged to the
/// run, and are nobody's mistake that runs now.
fn filled_the_budget(evidence: &Evidence) -> bool {
    let (peak, most) = (evidence.memory_peak, evidence.budget_max);
    peak.zip(most).is_none_or(|(peak, most)| peak.0 >= most.0 / 10 * 7)
}
