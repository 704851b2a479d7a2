//! What a run is given.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::jobserver::Jobserver;
use super::look::Outlook;
use super::runner::Runner;
use super::temporary::Temporary;
use crate::broker::client::{Greeted, JobWords};
use crate::kernel::ground::Ground;
use crate::model::{Isolation, Job, Limits, MaxFail, Profile, RunId};

/// Everything that is settled before the first job starts.
#[derive(Debug)]
pub struct Plan {
    /// The run's id.
    pub id: RunId,
    /// Its command line, or the file that its jobs are from.
    pub name: String,
    /// What to execute, in this order.
    pub jobs: Vec<Job>,
    /// The profile in force, command line included.
    pub profile: Profile,
    /// What this environment allows.
    pub isolation: Isolation,
    /// Where groups are made.
    pub ground: Arc<Ground>,
    /// The budget, as read back.
    pub budget: Limits,
    /// Jobs at once.
    pub parallel: usize,
    /// How many tokens of make's jobserver the builds in the jobs may have at once; `None` for no jobserver.
    pub tokens: Option<u32>,
    /// GNU make's jobserver, of others and for others. The loop takes it.
    pub jobserver: Option<Jobserver>,
    /// What the governor goes by; `None` for none.
    pub outlook: Option<Outlook>,
    /// The broker for many runs that is asked; `None`: the run has one of its own.
    pub served: Option<Introduced>,
    /// How long the first start may take to come.
    pub wait: Option<Duration>,
    /// Touched now and then: how long the run lived is told by it, if nothing else can be any more.
    pub pulse: Option<File>,
    /// Where all that the governor sees and decides is written.
    pub recording: Option<File>,
    /// After how many failures nothing more is started.
    pub max_fail: MaxFail,
    /// Where what hanging jobs were doing is written.
    pub diagnoses: PathBuf,
    /// What happens to the jobs' streams.
    pub streams: Streams,
    /// Where jobs have temporary directories of their own; `None` where they have the one that we were given.
    pub temporary: Option<Arc<Temporary>>,
    /// What takes in jobs that the command brings along; `None` for none. The loop takes it.
    pub runner: Option<Runner>,
    /// The guardian: a child of ours that is no job's.
    pub guardian: u32,
}

/// A broker that knows the run.
#[derive(Debug)]
pub struct Introduced {
    /// The connection.
    pub greeted: Greeted,
    /// What it is told of each job, in their order.
    pub jobs: Vec<JobWords>,
}

/// What happens to the jobs' standard streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Streams {
    /// One job: ours, untouched.
    PassThrough,
    /// Standard input is empty; what is written is kept, and spilled below this folder when it is long.
    Capture(PathBuf),
}
