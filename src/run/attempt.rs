//! One attempt, from its groups to its evidence.
//!
//! ```text
//! groups ready ─▶ spawned ─▶ first process ended ─▶ nothing left ─▶ evidence read ─▶ groups removed (behind)
//!                    │  output read, OOM notices heeded
//! ```

use std::cell::{Cell, OnceCell, RefCell};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, mpsc, oneshot};

use super::capture::Capture;
use super::clock::Clock;
use super::live::{Live, LiveSet, Samples};
use super::outlast::Outlast;
use super::settle::{self, Leftovers};
use super::temporary::{Lent, Temporary};
use super::{Plan, Streams, aftermath, program};
use crate::kernel::group::Group;
use crate::kernel::keeper::Keeper;
use crate::kernel::spawn::{Child, Program};
use crate::kernel::spawner::{Order, Spawner, Stream};
use crate::kernel::tree::Mark;
use crate::kernel::{KernelError, cgroup, pidfd, readiness};
use crate::model::diagnosis::Diagnosis;
use crate::model::event::{Captured, SpawnError};
use crate::model::profile::JobSettings;
use crate::model::{Attempt, AttemptId, Enforcement, Evidence, Exit, Job, LimitName, Limits};
use crate::policy::scheduler::End;
use crate::policy::tuning::{GRACE_LOOK, KILL_PATIENCE, STUCK_OOM, STUCK_SPAWN};

/// A pipe is read in pieces of this size; as large as a pipe holds at once.
const PIECE: usize = 64 << 10;

/// What all attempts of a run share.
pub(super) struct Shared {
    pub plan: Plan,
    pub clock: Clock,
    pub live: Rc<LiveSet>,
    pub spawner: Spawner,
    /// `/dev/null` for standard input of captured jobs.
    pub null: Arc<OwnedFd>,
    /// Whether the terminal is lent to the job.
    pub foreground: bool,
    /// What came while attempts ran, and outlives them.
    pub outlast: RefCell<Outlast>,
    pub news: mpsc::UnboundedSender<News>,
}

/// What an attempt tells the loop.
pub(super) enum News {
    /// Its process has exec'd.
    Started(Attempt),
    /// It is over, and its groups are empty.
    Ended(Box<Ended>),
    /// And removed.
    Removed(AttemptId),
    /// What was found out about one whose time is up.
    Diagnosed(AttemptId, Box<Diagnosis>),
    /// Groups that were needed beside it, and are empty.
    Aside(Box<Group>),
}

/// Everything known of an attempt that is over.
pub(super) struct Ended {
    pub attempt: Attempt,
    pub end: End,
    pub wall: Duration,
    pub frozen: Duration,
    pub limits: Limits,
    pub output: Option<Captured>,
    /// To be removed, off the hot path. `None` if something in it can't be killed: the sweeper's.
    pub groups: Option<Group>,
}

/// What is made ahead of an attempt's start.
pub(super) struct Prepared {
    /// Its groups and its temporary directory, as soon as the keeper has made them.
    place: oneshot::Receiver<(Result<Group, KernelError>, Option<Lent>)>,
    /// Its standard streams, and our end of its output.
    streams: io::Result<(Option<Output>, [Stream; 3])>,
}

/// Runs one attempt to its end and tells the loop.
pub(super) async fn supervise(
    shared: Rc<Shared>,
    attempt: Attempt,
    program: Result<Program, SpawnError>,
    prepared: Prepared,
) {
    let failed = |message: String| SpawnError { message, exit_code: 125 };
    let (group, scratch) = match prepared.place.await {
        Ok((Ok(group), scratch)) => (group, scratch),
        Ok((Err(error), _)) => return shared.never_began(attempt, failed(error.to_string()), None),
        Err(error) => return shared.never_began(attempt, failed(error.to_string()), None),
    };
    let mut program = match program {
        Ok(program) => program,
        Err(error) => return shared.never_began(attempt, error, Some(group)),
    };
    if shared.plan.temporary.is_some() {
        program::set_temporary(&mut program, scratch.as_ref().map(Lent::path));
    }
    let (mut output, stdio) = match prepared.streams {
        Ok(streams) => streams,
        Err(error) => {
            return shared.never_began(attempt, failed(format!("make a pipe: {error}")), Some(group));
        }
    };
    let (began, paused) = (shared.clock.now(), shared.clock.paused());
    shared.live.begin(attempt.id, group.lifeline());
    shared.outlast.borrow_mut().begins(attempt.id);
    let spawn = shared.spawn(&shared.job(attempt.id).settings, program, stdio, group);
    tokio::pin!(spawn);
    let (mut stillborn, mut helped) = (false, false);
    let answer = loop {
        tokio::select! {
            answer = &mut spawn => break answer,
            () = tokio::time::sleep(STUCK_SPAWN) => {
                stillborn |= shared.live.cut_if_out_of_memory(attempt.id);
                // Others need not wait for what holds up this one.
                if !stillborn && !helped {
                    shared.spawner.help();
                    helped = true;
                }
            }
        }
    };
    shared.live.began(attempt.id);
    let (group, child) = match answer {
        Ok((group, Ok(child))) => (group, child),
        Ok((group, Err(failure))) => {
            let command = &shared.job(attempt.id).command;
            return shared.never_began(attempt, program::explain(command, failure), Some(group));
        }
        Err(_) => return shared.never_began(attempt, failed("the spawner has ended".into()), None),
    };
    let live = Rc::new(Live {
        pid: child.pid.unsigned_abs(),
        slot: attempt.slot,
        group: Arc::new(group),
        mark: Mark::of_slot(&shared.plan.id, attempt.slot),
        reaped: Cell::new(false),
        killed: Notify::new(),
        felled: Cell::new(false),
        asked_to_end: Cell::new(false),
        capture: output.as_ref().map(|output| output.capture.clone()),
        sensors: OnceCell::new(),
        frozen: Cell::default(),
        samples: Samples { over: stillborn.then_some(LimitName::MemoryMax), ..Samples::default() }.into(),
    });
    shared.live.insert(attempt.id, live.clone());
    let _ = shared.news.send(News::Started(attempt));

    let mut end = wait(&live, &child, output.as_mut()).await;
    let held = live.frozen.get().total(shared.clock.now());
    let wall = (shared.clock.now() - began).saturating_sub(held);
    if let Ok(Some(_)) = end {
        // Before anything else is waited for: its number may be another's from now on.
        live.reaped.set(true);
        if live.asked_to_end.get() {
            wait_out_the_grace(&live, output.as_mut()).await;
        }
    }
    let killed = live.felled.get();
    let mut left = Leftovers::default();
    if let Ok(None) = end {
        // A tracer is told of its end before we are, and may sit on it: with the rest gone it is ours.
        left = shared.settle(&live, killed).await;
        end = reap(&child).await;
    }
    live.reaped.set(true);
    if !settle::is_clean(&live) {
        left.add(shared.settle(&live, killed || left.count > 0).await);
    }
    // Whoever held the pipe is dead now, so what is in it is all there will be; no end of file is waited for.
    let output = output.map(|mut output| {
        output.drain();
        output.capture.borrow_mut().finish()
    });

    let (exit, cpu_time) = match end {
        Ok(Some((exit, cpu_time))) => (Some(exit), Some(cpu_time)),
        Ok(None) | Err(_) => (None, None),
    };
    let wanted = &shared.job(attempt.id).settings.limits;
    let mut evidence = shared.evidence(&live, wanted, left, cpu_time);
    // Where something still lives, nothing is over: its files are the sweeper's.
    if evidence.unkillable {
        shared.outlast.borrow_mut().forget(attempt.id);
    } else {
        let peak = evidence.memory_peak;
        evidence.left = aftermath::find(&shared, attempt.id, &live, scratch, killed, peak).await;
    }
    if exit == Some(Exit::Signal(libc::SIGKILL)) && !killed {
        evidence.oomd_ooms = live.group.v2().and_then(cgroup::oomd_ooms);
    }
    shared.live.remove(attempt.id);
    let limits = shared.limits_of(&live, wanted);
    // A clone outlives this only while somebody looks at the set; then the sweep at the end removes the groups.
    let unkillable = evidence.unkillable;
    let groups = Rc::into_inner(live).and_then(|live| Arc::into_inner(live.group)).filter(|_| !unkillable);
    let end = End { id: attempt.id, exit, spawn_error: None, evidence };
    let frozen = shared.clock.paused() - paused + held;
    let ended = Ended { attempt, end, wall, frozen, limits, output, groups };
    let _ = shared.news.send(News::Ended(Box::new(ended)));
}

impl Shared {
    /// Begins to make what an attempt needs.
    pub(super) fn prepare(&self, keeper: &Keeper, id: AttemptId) -> Prepared {
        let (answer, place) = oneshot::channel();
        let limits = self.job(id).settings.limits;
        let temporary = self.plan.temporary.clone();
        keeper.make(id.to_string(), limits, move |result| {
            let scratch = temporary.as_ref().and_then(Temporary::take);
            drop(answer.send((result, scratch)));
        });
        Prepared { place, streams: self.streams(id) }
    }

    fn streams(&self, id: AttemptId) -> io::Result<(Option<Output>, [Stream; 3])> {
        let Streams::Capture(folder) = &self.plan.streams else {
            return Ok((None, [Stream::Inherit, Stream::Inherit, Stream::Inherit]));
        };
        let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
        nix::fcntl::fcntl(&read, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK))?;
        // One pipe for both, so that what a failing job wrote is shown in the order in which it wrote it.
        let write = Arc::new(write);
        let output = Output {
            pipe: Some(readiness::watch(read, Interest::READABLE)?),
            capture: Rc::new(RefCell::new(Capture::new(folder.join(format!("{id}.log"))))),
        };
        Ok((Some(output), [Stream::Use(self.null.clone()), Stream::Use(write.clone()), Stream::Use(write)]))
    }

    fn job(&self, id: AttemptId) -> &Job {
        &self.plan.jobs[id.job.0 as usize]
    }

    async fn spawn(
        &self,
        job: &JobSettings,
        program: Program,
        stdio: [Stream; 3],
        group: Group,
    ) -> Result<crate::kernel::spawner::Answer, oneshot::error::RecvError> {
        let (answer, answered) = oneshot::channel();
        let order = Order {
            program,
            stdio,
            oom_score_adj: Some(job.oom_score_adj),
            nofile: job.nofile,
            no_new_privs: job.no_new_privs,
            session: self.plan.streams != Streams::PassThrough,
            foreground: self.foreground,
            group,
        };
        self.spawner.order(order, |result| drop(answer.send(result)));
        answered.await
    }

    fn never_began(&self, attempt: Attempt, error: SpawnError, group: Option<Group>) {
        self.outlast.borrow_mut().forget(attempt.id);
        let evidence = group.as_ref().map(Group::evidence).unwrap_or_default();
        let limits = group.as_ref().map(|group| *group.limits()).unwrap_or_default();
        let end = End { id: attempt.id, exit: None, spawn_error: Some(error), evidence };
        let (wall, frozen) = (Duration::ZERO, Duration::ZERO);
        let ended = Ended { attempt, end, wall, frozen, limits, output: None, groups: group };
        let _ = self.news.send(News::Ended(Box::new(ended)));
    }

    async fn settle(&self, live: &Rc<Live>, killed: bool) -> Leftovers {
        let known = self.live.known();
        let (group, mark) = (live.group.clone(), live.mark.clone());
        let only = self.plan.parallel == 1;
        let settled = tokio::task::spawn_blocking(move || match group.v2() {
            Some(_) => settle::in_cgroup(&group, killed),
            None => Ok(settle::in_tree(&mark, &known, only, killed)),
        });
        // What can't be looked at can't be called clean.
        let lost = Leftovers { unkillable: true, ..Leftovers::default() };
        settled.await.ok().and_then(Result::ok).unwrap_or(lost)
    }

    fn evidence(
        &self,
        live: &Live,
        wanted: &Limits,
        left: Leftovers,
        cpu_time: Option<Duration>,
    ) -> Evidence {
        let evidence = live.group.evidence();
        let samples = live.samples.borrow();
        // What is left at the end is a sample too: of a job that was faster than the clock.
        let too_many = |max| left.count > max && self.plan.isolation.pids_max == Enforcement::Sampled;
        let over = wanted.pids_max.filter(|max| too_many(*max)).map(|_| LimitName::PidsMax);
        Evidence {
            memory_peak: evidence.memory_peak.or(samples.memory_peak),
            pids_peak: evidence.pids_peak.or(samples.tasks_peak),
            cpu_time: evidence.cpu_time.or(cpu_time),
            leaked: left.processes,
            leaked_count: left.count,
            unkillable: left.unkillable,
            sampled_over: samples.over.or(over),
            ..evidence
        }
    }

    /// The limits that somebody held: as read back, and as sampled.
    fn limits_of(&self, live: &Live, wanted: &Limits) -> Limits {
        let held = *live.group.limits();
        let sampled = |name| self.plan.isolation.of(name) == Enforcement::Sampled;
        Limits {
            memory_max: held.memory_max.or(wanted.memory_max.filter(|_| sampled(LimitName::MemoryMax))),
            pids_max: held.pids_max.or(wanted.pids_max.filter(|_| sampled(LimitName::PidsMax))),
            ..held
        }
    }
}

/// Our end of what a captured job writes.
struct Output {
    /// `None` after its end.
    pipe: Option<AsyncFd<OwnedFd>>,
    capture: Rc<RefCell<Capture>>,
}

impl Output {
    /// Takes in some of what was written; waits until there is something.
    async fn read(&mut self) {
        let Some(pipe) = &self.pipe else { return std::future::pending().await };
        let ended = match pipe.readable().await {
            Ok(mut ready) => match ready.try_io(|pipe| read_piece(pipe.get_ref(), &self.capture)) {
                Ok(Ok(count)) => count == 0,
                Ok(Err(_)) => true,
                Err(_would_block) => false,
            },
            Err(_) => true,
        };
        if ended {
            self.pipe = None;
        }
    }

    /// Takes in what is there, and no more than a pipe can hold: one that escaped may go on writing.
    fn drain(&mut self) {
        let Some(pipe) = self.pipe.take() else { return };
        for _ in 0..32 {
            match read_piece(pipe.get_ref(), &self.capture) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }
}

fn read_piece(pipe: &OwnedFd, capture: &RefCell<Capture>) -> io::Result<usize> {
    thread_local! {
        // One for all attempts: the loop reads them in turn, on one thread.
        static PIECES: std::cell::RefCell<Vec<u8>> = std::cell::RefCell::new(vec![0; PIECE]);
    }
    PIECES.with_borrow_mut(|piece| {
        let count = nix::unistd::read(pipe, piece)?;
        capture.borrow_mut().push(&piece[..count]);
        Ok(count)
    })
}

/// Waits for the first process, reading what is written and heeding OOM notices meanwhile. `None`: it has ended, and
/// a tracer that it has lets nobody else know how.
async fn wait(
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

/// The grace is the whole job's, not only its first process's: what still cleans up may, until the kill.
async fn wait_out_the_grace(live: &Live, mut output: Option<&mut Output>) {
    while live.group.v2().is_some() && !live.felled.get() && !settle::is_clean(live) {
        tokio::select! {
            () = tokio::time::sleep(GRACE_LOOK) => {}
            () = read(&mut output) => {}
        }
    }
}

/// How a process ended that has, once its tracer is gone.
async fn reap(child: &Child) -> Result<Option<(Exit, Duration)>, KernelError> {
    let begin = std::time::Instant::now();
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
        let begin = std::time::Instant::now();
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
