//! One attempt, from its groups to its evidence.
//!
//! ```text
//! groups ready ─▶ spawned ─▶ first process ended ─▶ nothing left ─▶ evidence read ─▶ groups removed (behind)
//!                    │  output read, OOM notices heeded
//! ```

use std::cell::{Cell, OnceCell, RefCell};
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, oneshot};

use super::clock::Clock;
use super::live::{Live, LiveSet, Samples};
use super::outlast::Outlast;
use super::output::Output;
use super::runner::listen::{Arrival, Connection};
use super::settle::{self, Leftovers};
use super::temporary::{Lent, Temporary};
use super::{Plan, Streams, aftermath, program, wait};
use crate::kernel::exits::Exits;
use crate::kernel::group::Group;
use crate::kernel::keeper::Keeper;
use crate::kernel::spawn::Program;
use crate::kernel::spawner::{Order, Spawner, Stream};
use crate::kernel::tree::Mark;
use crate::kernel::{KernelError, cgroup};
use crate::model::diagnosis::Diagnosis;
use crate::model::event::{Captured, SpawnError};
use crate::model::profile::JobSettings;
use crate::model::{Attempt, AttemptId, Enforcement, Evidence, Exit, Job, JobId, LimitName, Limits};
use crate::policy::scheduler::End;
use crate::policy::tuning::STUCK_SPAWN;

/// What all attempts of a run share.
pub(super) struct Shared {
    pub plan: Plan,
    /// Those of the list, and those that were brought along since.
    pub jobs: RefCell<Vec<Rc<Job>>>,
    pub clock: Clock,
    pub live: Rc<LiveSet>,
    pub spawner: Spawner,
    /// `/dev/null` for standard input of captured jobs.
    pub null: Arc<OwnedFd>,
    /// Whether the terminal is lent to the job.
    pub foreground: bool,
    /// What came while attempts ran, and outlives them.
    pub outlast: RefCell<Outlast>,
    /// How tests end that a command starts, where their pidfds don't tell.
    pub exits: Option<Rc<RefCell<Exits>>>,
    /// When a process was last moved into its groups.
    pub moved: Cell<Option<Instant>>,
    pub news: mpsc::UnboundedSender<News>,
}

/// What an attempt tells the loop.
pub(super) enum News {
    /// Its process has exec'd.
    Started(Started),
    /// Its first process has ended by itself, and what it left takes a moment.
    Exited(AttemptId),
    /// It is over, and its groups are empty.
    Ended(Box<Ended>),
    /// And removed.
    Removed(AttemptId),
    /// What was found out about one whose time is up.
    Diagnosed(AttemptId, Box<Diagnosis>),
    /// Groups that were needed beside it, and are empty.
    Aside(Box<Group>),
    /// All of it stands still, as it should.
    Frozen(AttemptId),
    /// A process wants to be a job.
    Arrived(Box<Arrival>),
    /// It is gone before it was.
    Left(Connection),
}

/// What is known of an attempt that has begun.
pub(super) struct Started {
    pub attempt: Attempt,
    /// By the run's clock.
    pub began: Duration,
    pub limits: Limits,
}

/// Everything known of an attempt that is over.
pub(super) struct Ended {
    pub attempt: Attempt,
    pub end: End,
    /// By the run's clock, like the end of its first process.
    pub began: Duration,
    pub ended: Duration,
    pub wall: Duration,
    pub frozen: Duration,
    pub limits: Limits,
    pub output: Option<Captured>,
    /// To be removed, off the hot path. `None` if something in it can't be killed: the sweeper's.
    pub groups: Option<Group>,
}

/// What is made ahead of an attempt's start.
pub(super) struct Prepared {
    /// In force in its groups.
    limits: Limits,
    /// Its groups and its temporary directory, as soon as the keeper has made them.
    place: oneshot::Receiver<(Result<Group, KernelError>, Option<Lent>)>,
    /// Its standard streams, and our end of its output.
    streams: io::Result<(Option<Output>, [Stream; 3])>,
}

impl Prepared {
    /// Whether its groups hold these limits.
    pub(super) fn holds(&self, limits: &Limits) -> bool {
        self.limits == *limits
    }

    /// Nobody wants it any more.
    pub(super) fn undo(self, keeper: &Keeper) {
        let mut place = self.place;
        keeper.undo(move || place.try_recv().ok()?.0.ok());
    }

    /// Its groups, once they are made; else why not.
    pub(super) async fn place(self) -> Result<Group, String> {
        match self.place.await {
            Ok((made, _)) => made.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// How the first process of an attempt ended.
pub(super) struct First {
    /// By the run's clock, like its end.
    pub began: Duration,
    pub ended: Duration,
    /// How long the clock had stood still when it began.
    pub paused: Duration,
    /// How long the governor held it.
    pub held: Duration,
    /// Whether it is still there, for all that is known.
    pub lost: bool,
    /// Whether we had killed it by then.
    pub killed: bool,
    /// Its end, and the processor time of its own where that is known.
    pub end: Option<(Exit, Option<Duration>)>,
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
    let asks = shared.job(attempt.id).settings.on_timeout.is_some();
    let environment = asks.then(|| program.environment.clone());
    let (began, paused) = (shared.clock.now(), shared.clock.paused());
    shared.live.begin(attempt.id, group.lifeline());
    shared.outlast.borrow_mut().begins(attempt.id);
    let session = shared.plan.streams != Streams::PassThrough;
    let job = shared.job(attempt.id);
    let spawn = shared.spawn(&job.settings, program, stdio, group, session);
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
            let error = program::explain(&shared.job(attempt.id).command, failure);
            return shared.never_began(attempt, error, Some(group));
        }
        Err(_) => return shared.never_began(attempt, failed("the spawner has ended".into()), None),
    };
    let live = Rc::new(Live {
        pid: child.pid.unsigned_abs(),
        slot: attempt.slot,
        group: Arc::new(group),
        mark: Mark::of_slot(&shared.plan.id, attempt.slot),
        adopted: false,
        reaped: Cell::new(false),
        killed: Notify::new(),
        felled: Cell::new(false),
        asked_to_end: Cell::new(false),
        environment,
        capture: output.as_ref().map(|output| output.capture.clone()),
        sensors: OnceCell::new(),
        frozen: Cell::default(),
        samples: Samples { over: stillborn.then_some(LimitName::MemoryMax), ..Samples::default() }.into(),
    });
    shared.has_begun(attempt, began, &live);

    let mut end = wait::first_process(&live, &child, output.as_mut()).await;
    let held = live.frozen.get().total(shared.clock.now());
    let ended = shared.clock.now();
    if let Ok(Some(_)) = end {
        // Before anything else is waited for: its number may be another's from now on.
        live.reaped.set(true);
        if live.asked_to_end.get() {
            wait::out_the_grace(&live, output.as_mut()).await;
        }
    }
    let killed = live.felled.get();
    let mut left = Leftovers::default();
    if let Ok(None) = end {
        // A tracer is told of its end before we are, and may sit on it: with the rest gone it is ours.
        left = shared.settle(&live, killed).await;
        end = wait::reap(&child).await;
    }
    // Or is taken for lost by now.
    live.reaped.set(true);
    let end = end.ok().flatten().map(|(exit, cpu_time)| (exit, Some(cpu_time)));
    let first = First { began, ended, paused, held, lost: end.is_none(), killed, end };
    shared.conclude(attempt, live, (first, left), output, scratch).await;
}

impl Shared {
    /// Begins to make what an attempt needs. With runner mode it may be one of a job that nobody has named yet.
    pub(super) fn prepare(&self, keeper: &Keeper, id: AttemptId, limits: Limits) -> Prepared {
        let (answer, place) = oneshot::channel();
        let temporary = self.plan.temporary.clone();
        keeper.make(id.to_string(), limits, move |result| {
            let scratch = temporary.as_ref().and_then(Temporary::take);
            drop(answer.send((result, scratch)));
        });
        Prepared { limits, place, streams: self.streams(id) }
    }

    fn streams(&self, id: AttemptId) -> io::Result<(Option<Output>, [Stream; 3])> {
        let Streams::Capture(folder) = &self.plan.streams else {
            return Ok((None, [Stream::Inherit, Stream::Inherit, Stream::Inherit]));
        };
        let (output, streams) = self.captured(folder.join(format!("{id}.log")))?;
        Ok((Some(output), streams))
    }

    /// Streams whose output is captured, and spilled to `file` where it is long.
    pub(super) fn captured(&self, file: PathBuf) -> io::Result<(Output, [Stream; 3])> {
        // One pipe for both, so that what a failing job wrote is shown in the order in which it wrote it.
        let (output, write) = Output::pipe(file)?;
        let write = Arc::new(write);
        Ok((output, [Stream::Use(self.null.clone()), Stream::Use(write.clone()), Stream::Use(write)]))
    }

    pub(super) fn job(&self, id: AttemptId) -> Rc<Job> {
        self.jobs.borrow()[id.job.0 as usize].clone()
    }

    /// Those that run and that a job has brought along.
    pub(super) fn brought_along_by(&self, driver: JobId) -> Vec<Rc<Live>> {
        let is_its = |id: &AttemptId| self.job(*id).driver == Some(driver);
        self.live.all().into_iter().filter(|(id, _)| is_its(id)).map(|(_, live)| live).collect()
    }

    /// Adds one to the list.
    pub(super) fn add(&self, job: Job) {
        self.jobs.borrow_mut().push(Rc::new(job));
    }

    /// Its first process has ended, and its end is not told at once.
    pub(super) fn exited(&self, id: AttemptId) {
        let _ = self.news.send(News::Exited(id));
    }

    /// Starts a program with the settings of a job. `session`: in one of its own, away from the terminal.
    pub(super) async fn spawn(
        &self,
        job: &JobSettings,
        program: Program,
        stdio: [Stream; 3],
        group: Group,
        session: bool,
    ) -> Result<crate::kernel::spawner::Answer, oneshot::error::RecvError> {
        let (answer, answered) = oneshot::channel();
        let order = Order {
            program,
            stdio,
            oom_score_adj: Some(job.oom_score_adj),
            nofile: job.nofile,
            no_new_privs: job.no_new_privs,
            session,
            foreground: self.foreground && !session,
            group,
        };
        self.spawner.order(order, |result| drop(answer.send(result)));
        answered.await
    }

    /// The first process of an attempt is over: what is left of it is dealt with, its evidence read, and the loop told.
    pub(super) async fn conclude(
        &self,
        attempt: Attempt,
        live: Rc<Live>,
        (first, mut left): (First, Leftovers),
        output: Option<Output>,
        scratch: Option<Lent>,
    ) {
        let First { began, ended, paused, held, killed, lost, end } = first;
        if !settle::is_clean(&live) {
            self.exited(attempt.id);
            left.add(self.settle(&live, killed || left.count > 0).await);
        }
        // Whoever held the pipe is dead now, so what is in it is all there will be; no end of file is waited for.
        let output = output.map(|mut output| {
            output.drain();
            output.capture.borrow_mut().finish()
        });
        let (exit, cpu_time) = (end.map(|(exit, _)| exit), end.and_then(|(_, cpu_time)| cpu_time));
        let wanted = self.job(attempt.id).settings.limits;
        let mut evidence = self.evidence(&live, &wanted, left, cpu_time);
        evidence.unkillable |= live.adopted && lost;
        // Where something still lives, nothing is over: its files are the sweeper's.
        if evidence.unkillable {
            self.outlast.borrow_mut().forget(attempt.id);
        } else {
            let peak = evidence.memory_peak;
            evidence.left = aftermath::find(self, attempt.id, &live, scratch, killed, peak).await;
        }
        if exit == Some(Exit::Signal(libc::SIGKILL)) && !killed {
            evidence.oomd_ooms = live.group.v2().and_then(cgroup::oomd_ooms);
        }
        self.live.remove(attempt.id);
        let limits = self.limits_of(&live, &wanted);
        // A clone outlives this only while somebody looks at the set; then the sweep at the end removes the groups.
        let unkillable = evidence.unkillable;
        let groups =
            Rc::into_inner(live).and_then(|live| Arc::into_inner(live.group)).filter(|_| !unkillable);
        let end = End { id: attempt.id, exit, spawn_error: None, evidence };
        let frozen = self.clock.paused() - paused + held;
        let wall = (ended - began).saturating_sub(held);
        let ended = Ended { attempt, end, began, ended, wall, frozen, limits, output, groups };
        let _ = self.news.send(News::Ended(Box::new(ended)));
    }

    /// Tells the loop that it lives.
    pub(super) fn has_begun(&self, attempt: Attempt, began: Duration, live: &Rc<Live>) {
        self.live.insert(attempt.id, live.clone());
        let limits = self.limits_of(live, &self.job(attempt.id).settings.limits);
        let _ = self.news.send(News::Started(Started { attempt, began, limits }));
    }

    pub(super) fn never_began(&self, attempt: Attempt, error: SpawnError, group: Option<Group>) {
        self.outlast.borrow_mut().forget(attempt.id);
        let evidence = group.as_ref().map(Group::evidence).unwrap_or_default();
        let limits = group.as_ref().map(|group| *group.limits()).unwrap_or_default();
        let end = End { id: attempt.id, exit: None, spawn_error: Some(error), evidence };
        let (now, none) = (self.clock.now(), Duration::ZERO);
        let ended = Ended {
            attempt,
            end,
            began: now,
            ended: now,
            wall: none,
            frozen: none,
            limits,
            output: None,
            groups: group,
        };
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
            // Of what is no child of ours the group tells.
            cpu_time: evidence
                .cpu_time
                .or(cpu_time)
                .or_else(|| live.group.cpu_time().filter(|_| live.adopted)),
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
