//! The loop: what happens goes into the scheduler, what it decides is done.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;

use super::attempt::{Ended, News, Prepared, Shared, Started, supervise};
use super::clock::Clock;
use super::inquest::{self, Inquests};
use super::jobserver::{Fifos, Flags, Inherited};
use super::live::{Live, LiveSet};
use super::look::Eyes;
use super::outlast::Outlast;
use super::program::{self, Programs};
use super::recording::Recorder;
use super::runner::arrivals::Arrivals;
use super::runner::{Runner, adopt, listen};
use super::signals::{Asked, Signals};
use super::{Plan, Streams, sample, served, specs, wait};
use crate::broker::client::Link;
use crate::kernel::exits::Exits;
use crate::kernel::keeper::Keeper;
use crate::kernel::spawner::Spawner;
use crate::kernel::{KernelError, pidfd, terminal, tree};
use crate::model::event::{AttemptFinished, AttemptStarted, Event, RunFinished, RunStarted, Tries};
use crate::model::outcome::Counted;
use crate::model::reading::Reading;
use crate::model::{Attempt, AttemptId, JobId, Tier};
use crate::policy::scheduler::{Activity, Effect, Input, Next, Scheduler};
use crate::policy::tuning::{KILL_PATIENCE, SAME_REQUEST};
use crate::policy::verdict::Judgement;

/// What may take its time is done on at most so many threads, made when they are needed. Some of them may hang for
/// good: in a look at a process that does, or in a file system that is gone.
const THREADS_ASIDE: usize = 64;

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

    /// One step, and those that follow from what it asks for.
    pub(super) fn step(&mut self, input: Input, report: &mut impl FnMut(&Event)) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            self.step_once(input, &mut inputs, report);
        }
        self.broker.iter_mut().for_each(Link::flush);
    }

    fn step_once(&mut self, input: Input, more: &mut VecDeque<Input>, report: &mut impl FnMut(&Event)) {
        let now = self.shared.clock.now();
        let effects = match &mut self.recorder {
            Some(recorder) => {
                let effects = self.scheduler.step(now, input.clone());
                recorder.step(now, &input, &effects);
                effects
            }
            None => self.scheduler.step(now, input),
        };
        self.shared.live.near.set(self.scheduler.wants_a_look());
        for effect in effects {
            match effect {
                Effect::Prepare(id) => self.prepare(id),
                Effect::Start(attempt, groups) => self.start(attempt, &groups),
                Effect::Signal(id, signal) => {
                    if let Some(live) = self.shared.live.get(id) {
                        live.signal(signal);
                    }
                }
                Effect::Kill(id) => self.shared.live.kill(id),
                Effect::Freeze(id) => {
                    if let Some(live) = self.shared.live.get(id) {
                        live.hold(now);
                        if self.broker.as_ref().is_some_and(Link::is_up) {
                            served::watch_freeze(id, live, self.shared.news.clone());
                        }
                    }
                }
                Effect::Thaw(id) => {
                    if let Some(live) = self.shared.live.get(id) {
                        live.release(now);
                    }
                }
                // One that was not taken is seen as such at the next look, and written again.
                Effect::PutToken(id) => {
                    if let Some((fifos, _)) = &mut self.fifos {
                        fifos.put(id);
                    }
                }
                Effect::TakeTokens(id, count) => {
                    let took = self.fifos.as_mut().map_or(0, |(fifos, _)| fifos.take(id, count));
                    more.push_back(Input::TookTokens(id, took));
                }
                Effect::Cap(cap) => drop(self.shared.plan.ground.set_cap(cap)),
                Effect::Tell(said) => {
                    if let Some(link) = &mut self.broker {
                        link.tell(said);
                    }
                }
                Effect::Alone(share) => report(&self.alone(share)),
                Effect::Decided(decision) => {
                    let job = decision.attempt.map(|id| self.name(id.job));
                    report(&Event::Governor { at: now, decision, job });
                }
                Effect::CheckActivity(id) => more.push_back(Input::Active(id, self.activity(id))),
                Effect::Glance(id) => {
                    if let Some(live) = self.shared.live.get(id) {
                        self.inquests.glance(&self.shared, id, &live);
                    }
                }
                Effect::Diagnose(id) => match self.shared.live.get(id) {
                    Some(live) if !live.has_ended() => self.inquire(id, &live),
                    Some(_) | None => more.push_back(Input::WasOver(id)),
                },
                Effect::Slow(id, elapsed) => {
                    if let Some(live) = self.shared.live.get(id) {
                        let attempt = Attempt { id, slot: live.slot };
                        report(&Event::Slow { attempt, job: self.name(id.job), elapsed });
                    }
                }
                Effect::Unsettled(attempt, what) => {
                    report(&Event::Unsettled { attempt, job: self.name(attempt.job), what });
                }
                Effect::GivenUp(attempt) => {
                    report(&Event::GivenUp { attempt, job: self.name(attempt.job) });
                }
                Effect::Judged(_, judgement, next) => {
                    if let Some(ended) = self.ended.take() {
                        let finished = self.finished_attempt(*ended, judgement, next);
                        report(&Event::AttemptFinished(Box::new(finished.clone())));
                        if finished.driver.is_none() {
                            self.last = Some(finished);
                        }
                    }
                }
                Effect::Finish => self.finished = true,
            }
        }
    }

    /// Begins to find out why an attempt hangs.
    fn inquire(&mut self, id: AttemptId, live: &Live) {
        let job = self.shared.job(id);
        let command = job.settings.on_timeout.as_ref().zip(live.environment.clone());
        let command = command.map(|(settings, environment)| {
            let pid = live.pid.to_string();
            let words: Vec<String> =
                settings.command.iter().map(|word| word.replace("{pid}", &pid)).collect();
            let program = self.programs.in_environment(environment, &words);
            let ready = program.map(|program| {
                let (answer, group) = oneshot::channel();
                let name = format!("{id}-on-timeout");
                self.keeper.make(name, job.settings.limits, |made| drop(answer.send(made)));
                (program, group)
            });
            inquest::Command { words, limit: settings.limit, ready }
        });
        self.inquests.begin(&self.shared, id, live, command);
    }

    /// Whether anything happens in an attempt, or in what it has brought along and waits for. Of output that is passed through
    /// nothing is known.
    fn activity(&self, id: AttemptId) -> Activity {
        let known = self.shared.live.known();
        let brought = self.shared.brought_along_by(id.job);
        self.shared.live.get(id).map_or(Activity::default(), |live| Activity {
            cpu: live.cpu_time(&known) + brought.iter().map(|other| other.cpu_time(&known)).sum(),
            output: live.capture.as_ref().map_or(0, |capture| capture.borrow().total()),
        })
    }

    fn look(&mut self, now: Duration) -> Reading {
        match &mut self.eyes {
            Some(eyes) => eyes.look(now, &self.shared.live, self.scheduler.wants_processor_time()),
            None => Reading::default(),
        }
    }

    fn start(&mut self, attempt: Attempt, groups: &[u32]) {
        let job = self.shared.job(attempt.id);
        if let Some(arrival) = self.arrivals.as_mut().and_then(|arrivals| arrivals.take(attempt.id.job)) {
            let environment = self.environment(&job, attempt, groups);
            let prepared = self.take_prepared(attempt.id);
            begin(adopt::supervise(self.shared.clone(), attempt, arrival, environment, prepared));
            self.prepare_next(job.settings.limits);
            return;
        }
        let nest = self.broker.as_ref().map(|link| served::nest(link, attempt.id.job));
        let mut program = self.programs.program(&job, attempt, groups, nest.as_ref());
        if let (Some((fifos, flags)), Ok(program)) = (&mut self.fifos, &mut program) {
            // Without one it builds as one that has no place but its own.
            let places = self.shared.plan.tokens.map_or(1, |tokens| tokens.saturating_add(1));
            let path = fifos.open(attempt.id).ok();
            program::set_makeflags(program, &flags.with(path.as_deref().map(|path| (path, places))));
        }
        let prepared = self.take_prepared(attempt.id);
        begin(supervise(self.shared.clone(), attempt, program, prepared));
    }

    fn started_attempt(&self, Started { attempt, began, limits }: Started) -> AttemptStarted {
        let job = self.shared.job(attempt.id);
        let driver = job.driver.map(|driver| self.name(driver));
        AttemptStarted { attempt, job: job.name.clone(), driver, began, limits }
    }

    fn finished_attempt(&mut self, ended: Ended, judgement: Judgement, next: Next) -> AttemptFinished {
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

    fn reap_orphans(&self) {
        // Only while no spawn is under way is every child of ours either known or an orphan.
        if self.shared.plan.ground.v2().is_none() && !self.shared.live.is_starting() {
            tree::reap(&self.shared.live.known());
        }
    }

    fn name(&self, job: JobId) -> String {
        self.shared.jobs.borrow()[job.0 as usize].name.clone()
    }

    /// Ctrl-Z: everything stands still until `fg`.
    fn stop(&self) {
        let all = self.shared.live.all();
        all.iter().for_each(|(_, live)| live.freeze(true));
        self.shared.clock.pause(stop_self);
        all.iter().filter(|(_, live)| !live.is_held()).for_each(|(_, live)| live.freeze(false));
    }

    /// The job that has the terminal was stopped by it: so are we, until `fg`.
    fn follow_a_stopped_job(&self) {
        for (_, live) in self.shared.live.all() {
            let stopped = || pidfd::open(live.pid).is_some_and(|handle| pidfd::stopped(&handle).is_some());
            if !self.shared.foreground || live.reaped.get() || !stopped() {
                continue;
            }
            let stdin = io::stdin();
            terminal::give(stdin.as_fd(), None);
            self.shared.clock.pause(stop_self);
            if terminal::is_foreground(stdin.as_fd()) {
                terminal::give(stdin.as_fd(), Some(live.pid.cast_signed()));
            }
            live.signal(libc::SIGCONT);
        }
    }

    fn summary(mut self, report: &mut impl FnMut(&Event)) -> Summary {
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

/// Begins an attempt here, so that with its groups at hand it is on its way before the report of the last one is written. The
/// task polls it again, with a waker of its own.
fn begin(attempt: impl Future<Output = ()> + 'static) {
    let mut attempt = Box::pin(attempt);
    let begun = attempt.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    if begun.is_pending() {
        tokio::task::spawn_local(attempt);
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

/// Stops this process as Ctrl-Z does; returns when it is continued.
fn stop_self() {
    let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGSTOP);
}
