//! What the exit codes mean. Scripts depend on them: docs/exit-codes.md.

use crate::model::event::AttemptFinished;
use crate::model::{Cause, Exit, Outcome};
use crate::run::drive::Summary;

/// All is well.
pub const OK: u8 = 0;
/// Many jobs: there were none.
pub const NO_JOBS: u8 = 4;
/// Many jobs: some failed. One: it passed, and counts as failed.
pub const SOME_FAILED: u8 = 100;
/// The command ran out of time, as timeout(1) says it.
pub const TIMED_OUT: u8 = 124;
/// sandtest itself failed, or was asked for what can't be.
pub use crate::kernel::wrapper::become_test::OWN_FAILURE;
/// Many jobs: somebody asked for the end.
pub const INTERRUPTED: u8 = 130;

/// Of a run of one command whose streams were passed through: the command's own.
pub fn of_single(summary: &Summary) -> u8 {
    if summary.finished.closed == Some(Cause::NoPermit) {
        return OWN_FAILURE;
    }
    let Some(last) = &summary.last else {
        return summary.asked_to_end.map_or(OWN_FAILURE, of_signal);
    };
    if last.retry_in.is_some() {
        // It should have been tried again: somebody asked for the end, or the time of the run was up.
        return summary.asked_to_end.map_or(TIMED_OUT, of_signal);
    }
    match last.outcome {
        // It passed, and what it left behind or how often it was tried makes a failure of that.
        Outcome::Exited if last.failed && last.exit == Some(Exit::Code(0)) => SOME_FAILED,
        Outcome::Timeout => TIMED_OUT,
        // As the kernel's own OOM kill looks to a shell.
        Outcome::Oom => of_signal(libc::SIGKILL),
        Outcome::SpawnFailed => of_spawn_failure(last),
        // Not the command's doing: no code of its own can be trusted.
        Outcome::Evicted => OWN_FAILURE,
        Outcome::Exited | Outcome::Signaled | Outcome::Pids => match (last.exit, summary.asked_to_end) {
            (Some(Exit::Code(code)), _) => code as u8,
            // We had to kill it after it was asked to end: what was asked is what ended it.
            (Some(Exit::Signal(libc::SIGKILL)), Some(asked)) if last.cause == Cause::Interrupted => {
                of_signal(asked)
            }
            (Some(Exit::Signal(signal)), _) => of_signal(signal),
            (None, _) if last.spawn_error.is_some() => of_spawn_failure(last),
            (None, _) => OWN_FAILURE,
        },
    }
}

/// Of a run of many.
pub fn of_many(summary: &Summary) -> u8 {
    let finished = &summary.finished;
    match finished {
        _ if finished.interrupted => INTERRUPTED,
        _ if finished.closed == Some(Cause::NoPermit) => OWN_FAILURE,
        _ if finished.passed + finished.failed + finished.not_run == 0 => NO_JOBS,
        _ if finished.failed > 0 || finished.not_run > 0 => SOME_FAILED,
        _ => OK,
    }
}

fn of_signal(signal: i32) -> u8 {
    (128 + signal) as u8
}

fn of_spawn_failure(last: &AttemptFinished) -> u8 {
    last.spawn_error.as_ref().map_or(OWN_FAILURE, |error| error.exit_code as u8)
}
