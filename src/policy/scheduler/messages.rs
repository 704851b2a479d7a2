//! What goes into the scheduler, and what comes out.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::attempt::Activity;
use super::permits::{Heard, Said, Served};
use crate::model::event::SpawnError;
use crate::model::governor::Decision;
use crate::model::reading::Reading;
use crate::model::retry::{FlakyResult, LeakPolicy, Retry, Unsettled};
use crate::model::{Attempt, AttemptId, Bytes, Evidence, Exit, JobId, MaxFail, Verdict};
use crate::policy::broker::Share;
use crate::policy::governor::{self, JobFacts};
use crate::policy::verdict::Judgement;

/// How a run is scheduled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Attempts at once, at least 1.
    pub parallel: usize,
    /// After how many failures nothing more is started.
    pub max_fail: MaxFail,
    /// How long the whole run may take.
    pub run_timeout: Option<Duration>,
    /// How long a retry waits at most for its last attempt to be settled.
    pub settle_timeout: Duration,
    /// How many jobs may have each group at once.
    pub groups: Vec<u32>,
    /// For the jitter of retries.
    pub seed: u64,
    /// `None`: `--governor off`.
    pub governor: Option<governor::Settings>,
    /// The broker for many runs that is asked; `None`: the run has one of its own.
    #[serde(default)]
    pub served: Option<Served>,
    /// How long the first start may take to come.
    #[serde(default)]
    pub wait: Option<Duration>,
    /// Tokens of make's jobserver, at most so many at once; `None` for none.
    #[serde(default)]
    pub tokens: Option<u32>,
}

impl Settings {
    /// Of a run of which nothing else is said.
    pub fn of(parallel: usize) -> Settings {
        Settings {
            parallel,
            max_fail: MaxFail::All,
            run_timeout: None,
            settle_timeout: Duration::ZERO,
            groups: Vec::new(),
            seed: 0,
            governor: None,
            served: None,
            wait: None,
            tokens: None,
        }
    }
}

/// What is known of a job beforehand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSpec {
    /// How long an attempt may run, without the time in which it is frozen.
    pub timeout: Option<Duration>,
    /// It is told of once in each such period that it runs.
    pub slow_after: Option<Duration>,
    /// How long it may show no sign of life.
    pub idle_timeout: Option<Duration>,
    /// How long the command may take that looks at it when its time is up; zero for none.
    pub on_timeout: Duration,
    /// Between the stop signal and the kill.
    pub grace: Duration,
    /// How a failure is tried again.
    pub retry: Retry,
    /// What it counts as if it failed and then passed.
    pub flaky_result: FlakyResult,
    /// What is made of things that it leaves behind.
    pub leak: LeakPolicy,
    /// For how many of those that may run at once it counts.
    pub weight: u32,
    /// Numbers of the groups that it takes one of each.
    pub groups: Vec<u32>,
    /// For the governor.
    pub facts: JobFacts,
    /// The job of the run that brought it along and waits for it; `None` for those of the list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<JobId>,
    /// Whether its driver goes on only once all that it brings along run: this one may not wait, and has a place of its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub at_once: bool,
}

impl JobSpec {
    /// Of a job of which nothing else is said: no end, one try.
    pub fn of(facts: JobFacts) -> JobSpec {
        JobSpec {
            timeout: None,
            slow_after: None,
            idle_timeout: None,
            on_timeout: Duration::ZERO,
            grace: Duration::from_secs(2),
            retry: Retry::NEVER,
            flaky_result: FlakyResult::Pass,
            leak: LeakPolicy::Warn,
            weight: 1,
            groups: Vec::new(),
            facts,
            driver: None,
            at_once: false,
        }
    }
}

/// What has happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Input {
    /// The run may begin.
    Begin,
    /// A job that runs brings one along: it has the next number.
    Add(Box<JobSpec>),
    /// A job that was brought along and waits wants nothing any more: its process has gone.
    Gone(JobId),
    /// An attempt's process has exec'd; its time runs anew from now.
    Started(AttemptId),
    /// Its first process has ended by itself, and what it left takes a moment: its time does not run any more.
    Exited(AttemptId),
    /// An attempt has ended, and its groups are empty.
    Ended(Box<End>),
    /// The groups of an attempt that has ended are removed.
    Removed(AttemptId),
    /// What [`Effect::CheckActivity`] asked for.
    Active(AttemptId, Activity),
    /// What [`Effect::Diagnose`] asked for is done.
    Diagnosed(AttemptId),
    /// What [`Effect::Diagnose`] asks about had ended by itself: not its time was up, but we were late to hear of it.
    WasOver(AttemptId),
    /// Someone asked for the end: with this signal.
    Interrupt(i32),
    /// Someone asked again, or does not want to wait.
    KillAll,
    /// `next_deadline` has come.
    Tick,
    /// `next_look` has come, and this was seen.
    Sense(Box<Reading>),
    /// Another one has decided this, some time after it was asked.
    Heard(Heard),
    /// So many tokens lie in the fifo of each.
    Tokens(Vec<(AttemptId, u32)>),
    /// What came of [`Effect::TakeTokens`].
    TookTokens(AttemptId, u32),
    /// So much weight may run at once, as the jobserver says that we run under; `None` once there is none.
    Places(Option<u32>),
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// Which one.
    pub id: AttemptId,
    /// `None` if it never began or can't be killed.
    pub exit: Option<Exit>,
    /// Why it never began.
    pub spawn_error: Option<SpawnError>,
    /// What the kernel told.
    pub evidence: Evidence,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Make its groups: it starts soon.
    Prepare(AttemptId),
    /// Start it, with these places in its groups, in their order.
    Start(Attempt, Vec<u32>),
    /// Tell the reports: it starts although the attempt before is not settled.
    Unsettled(AttemptId, Unsettled),
    /// Tell the reports: it has run for so long.
    Slow(AttemptId, Duration),
    /// Look whether it shows signs of life, and say so with [`Input::Active`].
    CheckActivity(AttemptId),
    /// Take a first look at its threads.
    Glance(AttemptId),
    /// Find out why it hangs, and say when that is done with [`Input::Diagnosed`], or [`Input::WasOver`].
    Diagnose(AttemptId),
    /// Send this signal to all of it.
    Signal(AttemptId, i32),
    /// Kill all of it.
    Kill(AttemptId),
    /// Let all of it stand still.
    Freeze(AttemptId),
    /// Let it go on.
    Thaw(AttemptId),
    /// Put one more token in its fifo.
    PutToken(AttemptId),
    /// Take so many out again, as far as they lie there, and say how many with [`Input::TookTokens`].
    TakeTokens(AttemptId, u32),
    /// Set `memory.max` of the whole run.
    Cap(Bytes),
    /// Say this to the broker for many runs.
    Tell(Said),
    /// Tell the reports: that one is gone, and the run goes on by itself with this.
    Alone(Share),
    /// Tell the reports what the governor decided.
    Decided(Decision),
    /// Tell the reports: this is what the attempt came to.
    Judged(AttemptId, Judgement, Next),
    /// Tell the reports: this attempt failed and should have been tried again; now the run ends, and it counts.
    GivenUp(AttemptId),
    /// Nothing is left to do.
    Finish,
}

/// What an attempt's end means for its job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Next {
    /// It is done.
    Done(Verdict),
    /// It runs again: the end was not its own doing.
    Again,
    /// It failed, and is tried again after this time.
    Retry(Duration),
}

/// How many jobs came to what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Passed.
    pub passed: u64,
    /// Did not pass.
    pub failed: u64,
    /// Neither: only their driver saw how they ended.
    pub unseen: u64,
    /// Failed first, and passed then; counted above, too.
    pub flaky: u64,
    /// Never ran.
    pub not_run: u64,
    /// Attempts that ended for a reason not their own.
    pub evictions: u64,
}
