//! Waits for an attempt's first process, and for what may go on after it.

use std::cell::RefCell;
use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::Interest;

use super::live::Live;
use super::output::Output;
use super::settle;
use crate::kernel::exits::{Exits, Told};
use crate::kernel::peer::Peer;
use crate::kernel::spawn::Child;
use crate::kernel::{KernelError, pidfd, readiness};
use crate::model::{Exit, LimitName};
use crate::policy::tuning::{GRACE_LOOK, KILL_PATIENCE, STUCK_OOM, TOLD_WITHIN};

/// Waits for the first process, reading what is written and heeding OOM notices meanwhile. `None`: it has ended, and
/// a tracer that it has lets nobody else know how.
pub(super) async fn first_process(
    live: &Rc<Live>,
    child: &Child,
    mut output: Option<&mut Output>,
) -> Result<Option<(Exit, Duration)>, KernelError> {
    let lost = |source| KernelError::Call { what: "wait for a child", source };
    let ended = readiness::watch(child.pidfd.as_fd(), Interest::READABLE).map_err(lost)?;
    let (oom, given_up) = (heed_oom(live), give_up(live));
    tokio::pin!(oom, given_up);
    loop {
        tokio::select! {
            ready = ended.readable() => {
                drop(ready.map_err(lost)?);
                return pidfd::try_wait(&child.pidfd);
            }
            () = &mut oom => {}
            () = &mut given_up => return Err(lost(io::ErrorKind::TimedOut.into())),
            () = read(&mut output) => {}
        }
    }
}

/// Waits for one that is no child of ours, heeding OOM notices meanwhile. `None`: nobody tells us how it ended.
pub(super) async fn another(live: &Rc<Live>, peer: &Peer) -> Result<Option<Exit>, KernelError> {
    let lost = |source| KernelError::Call { what: "wait for a test", source };
    let ended = readiness::watch(peer.pidfd.as_fd(), Interest::READABLE).map_err(lost)?;
    let (oom, given_up) = (heed_oom(live), give_up(live));
    tokio::pin!(oom, given_up);
    loop {
        tokio::select! {
            ready = ended.readable() => {
                drop(ready.map_err(lost)?);
                return Ok(pidfd::end_of_another(&peer.pidfd, peer.pid, peer.starttime));
            }
            () = &mut oom => {}
            () = &mut given_up => return Err(lost(io::ErrorKind::TimedOut.into())),
        }
    }
}

/// Hears what the kernel tells of ends, until the run is over. To be called in the loop that runs.
pub(super) fn hear(exits: Exits) -> io::Result<Rc<RefCell<Exits>>> {
    let ready = readiness::watch(exits.socket()?, Interest::READABLE)?;
    let exits = Rc::new(RefCell::new(exits));
    let heard = exits.clone();
    tokio::task::spawn_local(async move {
        while let Ok(mut more) = ready.readable().await {
            more.clear_ready();
            heard.borrow_mut().read();
        }
    });
    Ok(exits)
}

/// How one ended of which nobody else tells us. Its driver heard of it a moment before.
pub(super) async fn until_told(exits: &RefCell<Exits>, pid: u32) -> Option<Exit> {
    let begin = Instant::now();
    loop {
        let told = exits.borrow_mut().end_of(pid);
        match told {
            Told::End(exit) => return Some(exit),
            Told::Nothing if begin.elapsed() < TOLD_WITHIN => {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Told::Nothing | Told::Never => return None,
        }
    }
}

/// The grace is the whole job's, not only its first process's: what still cleans up may, until the kill.
pub(super) async fn out_the_grace(live: &Live, mut output: Option<&mut Output>) {
    while live.group.v2().is_some() && !live.felled.get() && !settle::is_clean(live) {
        tokio::select! {
            () = tokio::time::sleep(GRACE_LOOK) => {}
            () = read(&mut output) => {}
        }
    }
}

/// How a process ended that has, once its tracer is gone.
pub(super) async fn reap(child: &Child) -> Result<Option<(Exit, Duration)>, KernelError> {
    let begin = Instant::now();
    loop {
        let end = pidfd::try_wait(&child.pidfd)?;
        if end.is_some() || begin.elapsed() > KILL_PATIENCE {
            return Ok(end);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn read(output: &mut Option<&mut Output>) {
    match output {
        Some(output) => output.read().await,
        None => std::future::pending().await,
    }
}

/// Ready when an attempt that was killed is still there after all patience: in an uninterruptible sleep.
async fn give_up(live: &Live) {
    live.killed.notified().await;
    tokio::time::sleep(KILL_PATIENCE).await;
}

/// Ends the whole of an attempt of which a part was OOM-killed, or that is stuck at its limit.
///
/// v2 does the first itself (memory.oom.group); v1 kills one process and lets the rest go on. Neither can end
/// one with oom_score_adj -1000, which spins at its limit for ever.
async fn heed_oom(live: &Rc<Live>) {
    let Some(notice) = live.group.oom_notice() else { return std::future::pending().await };
    let interest = Interest::READABLE | Interest::PRIORITY | Interest::ERROR;
    let Ok(notice) = readiness::watch(notice.as_fd(), interest) else {
        return std::future::pending().await;
    };
    loop {
        match notice.ready(interest).await {
            Ok(mut ready) => ready.clear_ready(),
            Err(_) => return std::future::pending().await,
        }
        let before = live.group.oom().unwrap_or_default();
        // The v1 notice comes before the kill.
        tokio::time::sleep(Duration::from_millis(2)).await;
        let mut pause = Duration::from_millis(20);
        let begin = Instant::now();
        while let Some((own, kills)) = live.group.oom() {
            if live.reaped.get() {
                break;
            }
            let stuck = begin.elapsed() >= STUCK_OOM && own > before.0 && kills == before.1;
            if kills > 0 || stuck {
                if stuck {
                    live.samples.borrow_mut().over.get_or_insert(LimitName::MemoryMax);
                }
                live.kill(&[]);
                break;
            }
            if begin.elapsed() > STUCK_OOM {
                break;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(200));
        }
    }
}
