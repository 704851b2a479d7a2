//! One that is a process already, from its groups to its evidence.
//!
//! ```text
//! groups ready ─▶ moved into them ─▶ told so, and it execs ─▶ ended (its driver asks how) ─▶ as any other
//! ```
//!
//! It is its driver's child and in its driver's process group, so it is found by its cgroup only.

use std::cell::{Cell, OnceCell, RefCell};
use std::ffi::OsString;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Notify;

use super::listen::Arrival;
use super::words::Answer;
use crate::kernel::peer::Peer;
use crate::kernel::tree::Mark;
use crate::kernel::{KernelError, pidfd};
use crate::model::Attempt;
use crate::model::event::SpawnError;
use crate::policy::tuning::MOVES_STREAM;
use crate::run::attempt::{First, Prepared, Shared};
use crate::run::live::{Live, Samples};
use crate::run::settle::Leftovers;
use crate::run::wait;

/// Supervises one that has arrived, to its end, and tells the loop.
pub(in crate::run) async fn supervise(
    shared: Rc<Shared>,
    attempt: Attempt,
    arrival: Arrival,
    environment: Vec<(OsString, OsString)>,
    prepared: Prepared,
) {
    let failed = |message: String| SpawnError { message, exit_code: 125 };
    let Arrival { peer, reply, .. } = arrival;
    let group = match prepared.place().await {
        Ok(group) => group,
        Err(why) => {
            reply.say(&Answer::No(why.clone()));
            return shared.never_began(attempt, failed(why), None);
        }
    };
    let (began, paused) = (shared.clock.now(), shared.clock.paused());
    shared.live.begin(attempt.id, group.lifeline());
    shared.outlast.borrow_mut().begins(attempt.id);
    let take_in = move || {
        let moved = take_in(&group, &peer);
        (group, peer, moved)
    };
    // In a stream of them a move is a matter of microseconds, less than to have another thread do it. After a pause the kernel
    // waits for a grace period of RCU.
    let in_stream = shared.moved.get().is_some_and(|last| last.elapsed() < MOVES_STREAM);
    let moved = if in_stream { Ok(take_in()) } else { tokio::task::spawn_blocking(take_in).await };
    shared.moved.set(Some(Instant::now()));
    shared.live.began(attempt.id);
    let (group, peer) = match moved {
        Ok((group, peer, Ok(()))) => {
            if let Some(exits) = &shared.exits {
                exits.borrow_mut().watch(peer.pid);
            }
            reply.say(&Answer::Go(environment));
            (group, peer)
        }
        Ok((group, _, Err(error))) => {
            reply.say(&Answer::No(error.to_string()));
            return shared.never_began(attempt, failed(error.to_string()), Some(group));
        }
        Err(error) => {
            reply.say(&Answer::No("it could not be moved".to_owned()));
            return shared.never_began(attempt, failed(error.to_string()), None);
        }
    };
    let live = Rc::new(Live {
        pid: peer.pid,
        slot: attempt.slot,
        group: Arc::new(group),
        mark: Mark::of_slot(&shared.plan.id, attempt.slot),
        adopted: true,
        reaped: Cell::new(false),
        killed: Notify::new(),
        felled: Cell::new(false),
        asked_to_end: Cell::new(false),
        environment: None,
        capture: None,
        sensors: OnceCell::new(),
        frozen: Cell::default(),
        samples: RefCell::new(Samples::default()),
    });
    shared.has_begun(attempt, began, &live);

    let mut seen = wait::another(&live, &peer).await;
    let ended = shared.clock.now();
    if let Some(exits) = &shared.exits {
        if matches!(seen, Ok(None)) {
            seen = Ok(wait::until_told(exits, peer.pid).await);
        }
        exits.borrow_mut().forget(peer.pid);
    }
    let first = First {
        began,
        ended,
        paused,
        held: live.frozen.get().total(ended),
        lost: seen.is_err(),
        killed: live.felled.get(),
        end: seen.ok().flatten().map(|exit| (exit, None)),
    };
    live.reaped.set(true);
    if live.asked_to_end.get() {
        wait::out_the_grace(&live, None).await;
    }
    shared.conclude(attempt, live, (first, Leftovers::default()), None, None).await;
}

fn take_in(group: &crate::kernel::group::Group, peer: &Peer) -> Result<(), KernelError> {
    let gone = || KernelError::Call {
        what: "move a test into its cgroup",
        source: std::io::Error::other("it ended before it began"),
    };
    if pidfd::has_ended(&peer.pidfd) {
        return Err(gone());
    }
    group.adopt(peer.pid)?;
    // Its number was its own then.
    if peer.is_alive() { Ok(()) } else { Err(gone()) }
}
