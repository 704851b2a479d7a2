//! The loop: what happens goes into the scheduler, what it decides is done.
//!
//! - [`effects`]: what it decides
//! - [`told`]: what is told of an attempt, and of the run at its end
//! - [`stops`]: what Ctrl-Z does

mod effects;
mod stops;
mod told;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;
use tokio::task::LocalSet;

use super::attempt::{Ended, News, Prepared, Shared};
use super::clock::Clock;
use super::inquest::Inquests;
use super::jobserver::{Fifos, Flags, Inherited};
use super::live::LiveSet;
use super::look::Eyes;
use super::outlast::Outlast;
use super::program::Programs;
use super::recording::Recorder;
use super::runner::arrivals::Arrivals;
use super::runner::{Runner, listen};
use super::signals::{Asked, Signals};
use super::{Plan, Streams, sample, served, specs, wait};
use crate::broker::client::Link;
use crate::kernel::exits::Exits;
use crate::kernel::keeper::Keeper;
use crate::kernel::spawner::Spawner;
use crate::kernel::{KernelError, terminal, tree};
use crate::model::event::{AttemptFinished, Event, RunFinished, RunStarted};
use crate::model::reading::Reading;
use crate::model::{AttemptId, JobId};
use crate::policy::scheduler::{Input, Scheduler};
use crate::policy::tuning::SAME_REQUEST;

/// What may take its time is done on at most so many threads, made when they are needed. Some of them may hang for
/// good: in a look at a process that does, or in a file system that is gone.
const THREADS_ASIDE: usize = 64;

/// How often a run that looks at its jobs says that it lives.
const PULSE: Duration = Duration::from_secs(1);

/// What a run came to.
#[derive(Debug)]
pub struct Summary {
    /// The counts.
    pub finished: RunFinished,
    /// The signal that someone asked for the end with.
    pub asked_to_end: Option<i32>,
    /// The last attempt's end; for the exit code of a single job.
    pub last: Option<AttemptFinished>,
    /// Whether the run's groups are gone. If not, the next start sweeps them.
    pub clean: bool,
    /// Why the record ends before the run did.
    pub record_cut: Option<io::Error>,
}

/// Runs the plan to its end; `report` is told every event.
///
/// # Errors
/// [`KernelError`] if the loop itself can't be set up; nothing has started then.
pub fn execute(plan: Plan, mut report: impl FnMut(&Event)) -> Result<Summary, KernelError> {
    let failed = |source: io::Error| KernelError::Call { what: "set up the run's loop", source };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(THREADS_ASIDE)
        .thread_stack_size(256 << 10)
        .build()
        .map_err(failed)?;
    let local = LocalSet::new();
    let summary = local.block_on(&runtime, async {
        let mut drive = Drive::new(plan)?;
        drive.run(&mut report).await;
        Ok::<Summary, KernelError>(drive.summary(&mut report))
    });
    // Threads aside may still hold a group that can't be emptied: they are not waited for.
    runtime.shutdown_background();
    summary
}

pub(super) struct Drive {
    pub(super) shared: Rc<Shared>,
    pub(super) scheduler: Scheduler,
    /// Where the command may bring jobs along.
    pub(super) arrivals: Option<Arrivals>,
    /// Where one decides for this run and others.
    pub(super) broker: Option<Link>,
    signals: Signals,
    programs: Programs,
    /// For the builds in the jobs, and what they are told of it.
    fifos: Option<(Fifos, Flags)>,
    /// The jobserver that we run under.
    inherited: Option<Inherited>,
    news: mpsc::UnboundedReceiver<News>,
    /// Made, or being made, for attempts that start soon.
    pub(super) prepared: BTreeMap<AttemptId, Prepared>,
    pub(super) keeper: Keeper,
    recorder: Option<Recorder>,
    /// The governor's, where there is one.
    eyes: Option<Eyes>,
    /// Touched last.
    pulse_at: Duration,
    /// Ended, and not yet judged.
    ended: Option<Box<Ended>>,
    inquests: Inquests,
    /// With which signal, and when.
    asked_to_end: Option<(i32, Duration)>,
    /// Tries of each job that failed, and were not the last.
    failures: BTreeMap<JobId, u32>,
    leaked: u64,
    /// Whether something could not be killed.
    unkillable: bool,
    last: Option<AttemptFinished>,
    finished: bool,
}

impl Drive {
    fn new(mut plan: Plan) -> Result<Drive, KernelError> {
        let failed = |source: io::Error| KernelError::Call { what: "set up the run's loop", source };
        if plan.ground.v2().is_none() {
            tree::become_subreaper()?;
        }
        let foreground = plan.streams == Streams::PassThrough && terminal::is_foreground(io::stdin().as_fd());
        let null: OwnedFd = std::fs::File::open("/dev/null").map_err(failed)?.into();
        let (sender, news) = mpsc::unbounded_channel();
        let (settings, jobs) = (specs::settings(&plan), specs::jobs(&plan));
        let names = || plan.jobs.iter().map(|job| job.name.clone()).collect();
        let (mut fifos, mut outer, mut makeflags) = (None, None, None);
        if let Some(jobserver) = plan.jobserver.take() {
            makeflags = jobserver.flags.for_jobs(jobserver.fifos.is_some());
            fifos = jobserver.fifos.map(|fifos| (fifos, jobserver.flags));
            outer = jobserver.outer;
        }
        let recording = plan.recording.as_ref().map(File::try_clone).transpose().map_err(failed)?;
        let served = plan.served.take();
        let broker =
            served.map(|broker| Link::over(broker.greeted, broker.jobs)).transpose().map_err(failed)?;
        let exits = plan.runner.is_some().then(Exits::where_needed).flatten();
        let exits = exits.map(wait::hear).transpose().map_err(failed)?;
        let arrivals = plan.runner.take().map(|Runner { listener, folder, settle }| {
            listen::listen(listener, sender.clone()).map(|()| Arrivals::new(settle, folder, &plan.jobs))
        });
        Ok(Drive {
            broker,
            arrivals: arrivals.transpose().map_err(failed)?,
            recorder: recording.map(|file| Recorder::begin(file, settings.clone(), &jobs, names())),
            scheduler: Scheduler::new(settings, jobs),
            signals: Signals::install(foreground).map_err(failed)?,
            programs: Programs::new(&plan.id, plan.temporary.is_some(), makeflags.as_deref()),
            fifos,
            inherited: outer.map(Inherited::new).transpose().map_err(failed)?,
            news,
            prepared: BTreeMap::new(),
            keeper: Keeper::start(plan.ground.clone())?,
            eyes: plan.outlook.as_ref().map(|outlook| Eyes::open(&plan.ground, outlook)),
            pulse_at: Duration::ZERO,
            ended: None,
            inquests: Inquests::default(),
            asked_to_end: None,
            failures: BTreeMap::new(),
            leaked: 0,
            unkillable: false,
            last: None,
            finished: false,
            shared: Rc::new(Shared {
                clock: Clock::start(),
                live: Rc::new(LiveSet::new(plan.guardian)),
                spawner: Spawner::start(plan.profile.job.drop_capabilities)?,
                null: Arc::new(null),
                foreground,
                outlast: RefCell::new(Outlast::start()),
                exits,
                moved: Cell::new(None),
                news: sender,
                jobs: RefCell::new(plan.jobs.iter().cloned().map(Rc::new).collect()),
                plan,
            }),
        })
    }

    async fn run(&mut self, report: &mut impl FnMut(&Event)) {
        let plan = &self.shared.plan;
        report(&Event::RunStarted(RunStarted {
            run: plan.id.clone(),
            name: plan.name.clone(),
            time: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
            profile: plan.profile.name.clone(),
            isolation: plan.isolation.clone(),
            budget: plan.budget,
            jobs: plan.jobs.len(),
            parallel: plan.parallel,
            absent_sensors: self.eyes.as_ref().map(Eyes::absent).unwrap_or_default(),
            pass_through: plan.streams == Streams::PassThrough,
            broker: self.broker.as_ref().map(served::place),
        }));
        if sample::is_needed(&plan.isolation) {
            let shared = self.shared.clone();
            let limits = move |id| shared.job(id).settings.limits;
            tokio::task::spawn_local(sample::watch(self.shared.live.clone(), limits));
        }
        if let Some(inherited) = &self.inherited {
            self.step(Input::Places(Some(inherited.places())), report);
        }
        if self.scheduler.next_look().is_some() {
            // The cap is as it should be before anything starts.
            let seen = self.look(self.shared.clock.now());
            self.step(Input::Sense(Box::new(seen)), report);
        }
        self.step(Input::Begin, report);
        while !self.finished {
            let input = self.next_input(report).await;
            if matches!(input, Input::Ended(_)) && self.scheduler.wants_a_look() {
                let seen = self.look(self.shared.clock.now());
                self.step(Input::Sense(Box::new(seen)), report);
            }
            self.step(input, report);
        }
        self.broker.iter_mut().for_each(Link::bye);
        self.inquests.finish().await;
        while let Ok(news) = self.news.try_recv() {
            if let News::Aside(groups) = news {
                self.keeper.remove(*groups);
            }
        }
    }

    /// Waits for something to happen.
    async fn next_input(&mut self, report: &mut impl FnMut(&Event)) -> Input {
        loop {
            if let Some(inherited) = &mut self.inherited {
                let (uses, would_use) = self.scheduler.places();
                if inherited.settle(Instant::now(), uses, would_use) {
                    return Input::Places(Some(inherited.places()));
                }
            }
            let (deadline, look) = (self.scheduler.next_deadline(), self.scheduler.next_look());
            let next = deadline.into_iter().chain(look).min().map(|time| self.shared.clock.instant(time));
            let until = async {
                match next {
                    Some(instant) => tokio::time::sleep_until(instant.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                asked = self.signals.next() => match asked {
                    Asked::End(signal) => {
                        let now = self.shared.clock.now();
                        match self.asked_to_end {
                            None => {
                                self.asked_to_end = Some((signal, now));
                                return Input::Interrupt(signal);
                            }
                            Some((_, when)) if now < when + SAME_REQUEST => {}
                            Some(_) => return Input::KillAll,
                        }
                    }
                    Asked::Stop => self.stop(),
                    Asked::Child => self.follow_a_stopped_job(),
                },
                // Before any end: what the broker killed itself, since we were late, it had told us to evict.
                told = served::told(&mut self.broker) => {
                    if let Some(input) = self.hear(told, report) {
                        return input;
                    }
                }
                Some(news) = self.news.recv() => match news {
                    News::Started(started) => {
                        let id = started.attempt.id;
                        report(&Event::AttemptStarted(self.started_attempt(started)));
                        return Input::Started(id);
                    }
                    News::Ended(ended) => {
                        self.reap_orphans();
                        let end = ended.end.clone();
                        self.ended = Some(ended);
                        return Input::Ended(Box::new(end));
                    }
                    News::Exited(id) => return Input::Exited(id),
                    News::Removed(id) => return Input::Removed(id),
                    News::Diagnosed(id, diagnosis) => {
                        self.inquests.tell(id, *diagnosis);
                        return Input::Diagnosed(id);
                    }
                    News::Aside(groups) => self.keeper.remove(*groups),
                    News::Arrived(arrival) => {
                        if let Some(id) = self.meet(*arrival) {
                            return Input::Add(Box::new(self.spec(id)));
                        }
                    }
                    News::Left(connection) => {
                        let left = self.arrivals.as_mut().and_then(|arrivals| arrivals.leave(connection));
                        if let Some(job) = left {
                            if let Some(prepared) = self.prepared.remove(&AttemptId { job, number: 1 }) {
                                prepared.undo(&self.keeper);
                            }
                            return Input::Gone(job);
                        }
                    }
                    News::Frozen(id) => self.broker.iter_mut().for_each(|link| link.frozen(id)),
                },
                seen = of_fifos(&mut self.fifos) => return Input::Tokens(seen),
                places = of_inherited(&mut self.inherited) => return Input::Places(Some(places)),
                () = until => {
                    let now = self.shared.clock.now();
                    let time_to_look = look.is_some_and(|look| look <= now);
                    return if time_to_look { Input::Sense(Box::new(self.look(now))) } else { Input::Tick };
                }
            }
        }
    }

    fn look(&mut self, now: Duration) -> Reading {
        if now >= self.pulse_at + PULSE {
            self.pulse_at = now;
            // Where that is not to be had, a killed run is told of as far as its record goes.
            let _ = self.shared.plan.pulse.as_ref().map(|file| file.set_modified(SystemTime::now()));
        }
        match &mut self.eyes {
            Some(eyes) => eyes.look(now, &self.shared.live, self.scheduler.wants_processor_time()),
            None => Reading::default(),
        }
    }

    fn reap_orphans(&self) {
        // Only while no spawn is under way is every child of ours either known or an orphan.
        if self.shared.plan.ground.v2().is_none() && !self.shared.live.is_starting() {
            tree::reap(&self.shared.live.known());
        }
    }

    fn name(&self, job: JobId) -> String {
        self.shared.jobs.borrow()[job.0 as usize].name.clone()
    }
}

/// Waits for what builds take and give back.
async fn of_fifos(fifos: &mut Option<(Fifos, Flags)>) -> Vec<(AttemptId, u32)> {
    match fifos {
        Some((fifos, _)) => fifos.changed().await,
        None => std::future::pending().await,
    }
}

/// Waits for a place more, or the time to look whether one is too many.
async fn of_inherited(inherited: &mut Option<Inherited>) -> u32 {
    match inherited {
        Some(inherited) => {
            inherited.changed().await;
            inherited.places()
        }
        None => std::future::pending().await,
    }
}
