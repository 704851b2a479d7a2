//! What to execute, and which execution of it.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use super::Bytes;
use super::profile::{JobSettings, Origin};

/// One invocation of sandtest. Unique on this host; a plain name, fit for a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub String);

/// A job by its place in the run, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(pub u32);

/// One execution of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptId {
    /// Whose execution.
    pub job: JobId,
    /// 1-based.
    pub number: u32,
}

/// A program and its arguments, as they will be given to exec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Looked up in `PATH` if it holds no slash.
    pub program: OsString,
    /// Without the program itself.
    pub arguments: Vec<OsString>,
}

/// One part of a job that was cut in `total` parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// 0-based.
    pub index: u32,
    /// How many parts there are.
    pub total: u32,
}

/// One command to execute, with what it may use.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Its place in the run.
    pub id: JobId,
    /// Its command line unless its source knows better, with `#N` where two are alike.
    pub name: String,
    /// What is executed.
    pub command: Command,
    /// Which part of a sharded command it is.
    pub shard: Option<Shard>,
    /// What its rules and the profile say of each attempt.
    pub settings: JobSettings,
    /// The working directory; `None`: the one that sandtest was started in.
    pub folder: Option<PathBuf>,
    /// Added to its environment.
    pub environment: Vec<(String, OsString)>,
    /// Jobs of one kin are likely to need alike.
    pub kin: u32,
    /// The memory that it was said to need.
    pub memory: Option<Bytes>,
    /// Whether it may be killed to make room, and run again.
    pub restartable: bool,
    /// How many of the jobs that may run at once it counts for; at least 1.
    pub weight: u32,
    /// The job that has brought it along and waits for it; `None` for those of the list.
    pub driver: Option<JobId>,
    /// Whether that one goes on only once all that it brings along run.
    pub at_once: bool,
    /// Names of the groups that it takes one of each.
    pub groups: Vec<String>,
    /// Which rule set a key, where one did: `job.timeout` -> where.
    pub origins: BTreeMap<String, Origin>,
}

/// An attempt with its place among those that run now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Which one.
    pub id: AttemptId,
    /// 0-based, reused: for ports and databases of the test.
    pub slot: u32,
}

/// What the place that a job has in a group is called in its environment: `SANDTEST_GROUP_GPU_1_SLOT` of `gpu-1`.
pub fn group_variable(group: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    format!("SANDTEST_GROUP_{}_SLOT", group.chars().map(plain).collect::<String>())
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of the attempt's cgroup: `<job>-<attempt>`.
impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.job.0, self.number)
    }
}
