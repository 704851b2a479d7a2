//! Exit and evidence -> what happened, and whose doing it was.
//!
//! ```text
//! did we end it for its time, or the run's?           ── yes ──▶ timeout
//!    │ no
//! did we evict it, and did that end it?  ── yes ──▶ evicted
//!    │ no
//! spawn failed?  ── ENOMEM at its own limit ──▶ oom      ── EAGAIN at pids_max ──▶ pids     ── else ──▶ spawn-failed
//!    │ no
//! a sample over a limit, so we ended it? ── yes ──▶ oom / pids
//!    │ no
//! oom_kill > 0?   ── own limit was full ──▶ oom
//!    │            ── the budget was full, or a limit outside ──▶ evicted
//!    │ no
//! chosen by an OOM daemon in user space? ── yes ──▶ evicted
//!    │ no
//! forks were refused and it failed?
//!    │            ── by its own limit ──▶ pids
//!    │            ── by the budget's, or one outside ──▶ evicted
//!    │ no
//! signaled / exited
//! ```
//!
//! Never from exit code 137 alone: that is any SIGKILL, or an exit(137).

use serde::{Deserialize, Serialize};

use crate::model::event::SpawnError;
use crate::model::{Cause, Evidence, Exit, LimitName, Outcome};

/// What an attempt came to, before anyone asks what it means for the job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// What happened.
    pub outcome: Outcome,
    /// Whose doing it was.
    pub cause: Cause,
}

/// Why we ended an attempt ourselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Its time was up.
    Timeout,
    /// It used no processor and wrote nothing for too long.
    Idle,
    /// The time of the whole run was up.
    RunTimeout,
    /// Someone asked the run to end.
    Interrupted,
    /// Others had failed, and the run was to end at once.
    MaxFail,
    /// There was no room for it.
    Evicted,
    /// Its user wanted just this one to be killed.
    ByHand,
    /// The job that had brought it along was over.
    Abandoned,
    /// Its time was up.
    CommandTimeout,
}

/// Judges an attempt. `exit` is `None` where its first process can't be killed.
pub fn judge(
    exit: Option<Exit>,
    spawn_error: Option<&SpawnError>,
    ended: Option<Ended>,
    evidence: &Evidence,
) -> Judgement {
    let of = |outcome, cause| Judgement { outcome, cause };
    let some = |count: Option<u64>| count.unwrap_or(0) > 0;
    match ended {
        Some(Ended::Timeout) => return of(Outcome::Timeout, Cause::Own),
        Some(Ended::Idle) => return of(Outcome::Timeout, Cause::Idle),
        Some(Ended::RunTimeout) => return of(Outcome::Timeout, Cause::RunTimeout),
        Some(
            Ended::Interrupted
            | Ended::MaxFail
            | Ended::Evicted
            | Ended::ByHand
            | Ended::Abandoned
            | Ended::CommandTimeout,
        )
        | None => {}
    }
    // One that had passed a moment before has a result. A failure may be the kill's: it runs again.
    if ended == Some(Ended::Evicted) && exit != Some(Exit::Code(0)) {
        return of(Outcome::Evicted, Cause::Budget);
    }
    let cause = match ended {
        Some(Ended::Interrupted) => Cause::Interrupted,
        Some(Ended::MaxFail) => Cause::MaxFail,
        Some(Ended::ByHand) => Cause::ByHand,
        Some(Ended::Abandoned) => Cause::Abandoned,
        Some(Ended::CommandTimeout) => Cause::CommandTimeout,
        _ => Cause::Own,
    };
    // After the above: a birth that we cut short fails, too.
    if spawn_error.is_some() {
        // A limit below what exec needs: nothing was killed, and yet memory was what lacked.
        return if some(evidence.oom_own) {
            of(Outcome::Oom, Cause::Own)
        } else if some(evidence.pids_max_events) {
            of(Outcome::Pids, Cause::Own)
        } else {
            of(Outcome::SpawnFailed, cause)
        };
    }
    match evidence.sampled_over {
        Some(LimitName::PidsMax) => return of(Outcome::Pids, Cause::Own),
        Some(_) => return of(Outcome::Oom, Cause::Own),
        None => {}
    }
    if some(evidence.oom_kill) {
        return match (some(evidence.oom_own), some(evidence.oom_budget)) {
            (true, _) => of(Outcome::Oom, Cause::Own),
            (false, true) => of(Outcome::Evicted, Cause::Budget),
            (false, false) => of(Outcome::Evicted, Cause::Outside),
        };
    }
    if some(evidence.oomd_ooms) {
        return of(Outcome::Evicted, Cause::Outside);
    }
    match exit {
        Some(Exit::Code(0)) => of(Outcome::Exited, cause),
        Some(_) if some(evidence.pids_max_events) && cause == Cause::Own => match &evidence.pids_refused_by {
            Some(other) if *other != Cause::Own => of(Outcome::Evicted, *other),
            _ => of(Outcome::Pids, Cause::Own),
        },
        Some(Exit::Code(_)) => of(Outcome::Exited, cause),
        Some(Exit::Signal(_)) | None => of(Outcome::Signaled, cause),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kill() -> Option<Exit> {
        Some(Exit::Signal(9))
    }

    fn outcome(exit: Option<Exit>, ended: Option<Ended>, evidence: Evidence) -> (Outcome, Cause) {
        let judgement = judge(exit, None, ended, &evidence);
        (judgement.outcome, judgement.cause)
    }

    #[test]
    fn a_plain_sigkill_is_no_oom() {
        let quiet = Evidence { oom_kill: Some(0), oom_own: Some(0), ..Evidence::default() };
        assert_eq!(outcome(kill(), None, quiet), (Outcome::Signaled, Cause::Own));
        assert_eq!(outcome(Some(Exit::Code(137)), None, Evidence::default()), (Outcome::Exited, Cause::Own));
    }

    #[test]
    fn whose_limit_was_full_decides_an_oom() {
        let killed = |own, budget| Evidence {
            oom_kill: Some(1),
            oom_own: Some(own),
            oom_budget: Some(budget),
            ..Evidence::default()
        };
        assert_eq!(outcome(kill(), None, killed(1, 0)), (Outcome::Oom, Cause::Own));
        assert_eq!(outcome(kill(), None, killed(1, 1)), (Outcome::Oom, Cause::Own));
        assert_eq!(outcome(kill(), None, killed(0, 1)), (Outcome::Evicted, Cause::Budget));
        assert_eq!(outcome(kill(), None, killed(0, 0)), (Outcome::Evicted, Cause::Outside));
    }

    #[test]
    fn what_an_oom_daemon_kills_is_not_the_jobs_doing() {
        let oomd = Evidence { oomd_ooms: Some(1), oom_kill: Some(0), ..Evidence::default() };
        assert_eq!(outcome(kill(), None, oomd), (Outcome::Evicted, Cause::Outside));
    }

    #[test]
    fn a_failure_while_it_is_evicted_may_be_the_kills() {
        let quiet = Evidence::default;
        let evicted = (Outcome::Evicted, Cause::Budget);
        assert_eq!(outcome(kill(), Some(Ended::Evicted), quiet()), evicted);
        assert_eq!(outcome(Some(Exit::Code(137)), Some(Ended::Evicted), quiet()), evicted);
        assert_eq!(
            outcome(Some(Exit::Code(0)), Some(Ended::Evicted), quiet()),
            (Outcome::Exited, Cause::Own)
        );
    }

    #[test]
    fn an_oom_of_a_child_is_one_even_if_the_command_shrugs() {
        let evidence = Evidence { oom_kill: Some(2), oom_own: Some(1), ..Evidence::default() };
        assert_eq!(outcome(Some(Exit::Code(0)), None, evidence), (Outcome::Oom, Cause::Own));
    }

    #[test]
    fn refused_forks_matter_only_if_the_command_failed() {
        let refused = Evidence { pids_max_events: Some(3), ..Evidence::default() };
        assert_eq!(outcome(Some(Exit::Code(0)), None, refused.clone()), (Outcome::Exited, Cause::Own));
        assert_eq!(outcome(Some(Exit::Code(1)), None, refused.clone()), (Outcome::Pids, Cause::Own));
        assert_eq!(outcome(kill(), None, refused), (Outcome::Pids, Cause::Own));
    }

    #[test]
    fn what_its_user_killed_is_told_as_that_unless_it_had_ended() {
        let by_hand = |exit| outcome(exit, Some(Ended::ByHand), Evidence::default());
        assert_eq!(by_hand(kill()), (Outcome::Signaled, Cause::ByHand));
        assert_eq!(by_hand(Some(Exit::Code(0))), (Outcome::Exited, Cause::ByHand));
    }

    #[test]
    fn what_we_ended_ourselves_comes_first() {
        let oom = Evidence { oom_kill: Some(1), oom_own: Some(1), ..Evidence::default() };
        assert_eq!(outcome(kill(), Some(Ended::Timeout), oom), (Outcome::Timeout, Cause::Own));
    }

    #[test]
    fn a_limit_below_what_exec_needs_is_an_oom_and_no_spawn_failure() {
        let error = SpawnError { message: String::new(), exit_code: 125 };
        let evidence = Evidence { oom_own: Some(2), oom_kill: Some(0), ..Evidence::default() };
        assert_eq!(judge(None, Some(&error), None, &evidence).outcome, Outcome::Oom);
        assert_eq!(judge(None, Some(&error), None, &Evidence::default()).outcome, Outcome::SpawnFailed);
        let cut_short = |ended| {
            let judgement = judge(None, Some(&error), Some(ended), &Evidence::default());
            (judgement.outcome, judgement.cause)
        };
        assert_eq!(cut_short(Ended::Timeout), (Outcome::Timeout, Cause::Own));
        assert_eq!(cut_short(Ended::Evicted), (Outcome::Evicted, Cause::Budget));
        assert_eq!(cut_short(Ended::Interrupted), (Outcome::SpawnFailed, Cause::Interrupted));
    }
}
