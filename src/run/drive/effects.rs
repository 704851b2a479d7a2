//! What the policy decides is done.

use std::collections::VecDeque;
use std::task::{Context, Waker};

use tokio::sync::oneshot;

use super::Drive;
use crate::broker::client::Link;
use crate::model::event::Event;
use crate::model::{Attempt, AttemptId};
use crate::policy::scheduler::{Activity, Effect, Input};
use crate::run::attempt::supervise;
use crate::run::live::Live;
use crate::run::runner::adopt;
use crate::run::{inquest, program, served};

impl Drive {
    /// One step, and those that follow from what it asks for.
    pub(in crate::run) fn step(&mut self, input: Input, report: &mut impl FnMut(&Event)) {
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
