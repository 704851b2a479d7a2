//! `sandtest exec` beside other runs: is there a broker, and does it take this one.
//!
//! ```text
//! seek ── --broker never, or nobody is there ──▶ the run goes by itself
//!   │ somebody takes connections
//! (the run's groups are made)
//!   │
//! introduce ── refused, no answer ──▶ told why; the run goes by itself      (--broker require: an error, in either case)
//!   │ welcome
//!   └──▶ the broker decides
//! ```

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::broker::autostart;
use crate::broker::client::{self, Found, Greeted, JobWords, Unserved};
use crate::broker::protocol::{self, Hello, LONGEST_NAME, VERSION};
use crate::broker::socket;
use crate::kernel::ground::Ground;
use crate::kernel::hierarchy;
use crate::model::{Job, Limits};
use crate::profile::values::{Timeout, option};

/// A run counts for no more than this many others.
const HEAVIEST: f64 = 1000.0;

/// Options about other runs.
#[derive(Debug, Args)]
pub struct BesideArgs {
    /// Share one budget with other runs: through a broker where one serves, start one, refuse to run without, or never
    #[arg(long, value_name = "MODE", default_value = "auto", help_heading = "Beside other runs")]
    broker: Mode,
    /// Give up if nothing of the run could be started in this time; `none` for never [default: none]
    #[arg(long, value_name = "TIME", value_parser = option::<Timeout>, help_heading = "Beside other runs")]
    wait: Option<Timeout>,
    /// Whether you wait for it: batch goes after your interactive runs
    #[arg(long, value_name = "WHICH", default_value = "interactive", help_heading = "Beside other runs")]
    priority: Priority,
    /// For how many of your other runs it counts where memory and processors are shared out
    #[arg(long, value_name = "N", value_parser = weight, default_value = "1", help_heading = "Beside other runs")]
    weight: f64,
}

/// Whether a broker is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// If one is there; else the run goes by itself
    Auto,
    /// If none is there, one is started, which ends when nobody has been there for ten minutes
    Start,
    /// Refuse to run without one
    Require,
    /// The run goes by itself
    Never,
}

/// Among runs of one user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Priority {
    /// Somebody waits for it
    Interactive,
    /// Nobody does
    Batch,
}

/// What is said of a run.
#[derive(Debug)]
pub struct Introduction<'a> {
    /// Its name, for people.
    pub name: String,
    /// Its jobs.
    pub jobs: &'a [Job],
    /// Jobs at once.
    pub parallel: usize,
    /// How many jobs may have each group.
    pub groups: Vec<u32>,
    /// Where its groups are.
    pub ground: &'a Ground,
    /// What holds there for all of them.
    pub budget: &'a Limits,
}

impl BesideArgs {
    /// How long the first start may take to come.
    pub fn wait(&self) -> Option<Duration> {
        match self.wait {
            Some(Timeout::After(time)) => Some(time),
            Some(Timeout::None) | None => None,
        }
    }

    /// Where a broker takes connections, if one is to be asked. `governed`: whether anybody decides what may start. `tell`:
    /// people hear why the run goes by itself, where that is not what was to be expected.
    ///
    /// # Errors
    /// With `--broker require`, why there is none.
    pub fn seek(&self, governed: bool, tell: impl Fn(&str)) -> Result<Option<PathBuf>, String> {
        match self.broker {
            Mode::Never => return Ok(None),
            Mode::Require if !governed => {
                return Err("--broker require needs the governor: with --governor off or --isolation off nobody is asked"
                    .into());
            }
            Mode::Auto | Mode::Start if !governed => return Ok(None),
            Mode::Auto | Mode::Start | Mode::Require => {}
        }
        let found = match (self.broker, client::find()) {
            (
                Mode::Start,
                Found::Nobody(_) | Found::Unusable(Unserved::Absent { .. } | Unserved::Silent { .. }),
            ) => {
                let socket = socket::own();
                return match autostart::ensure(&socket) {
                    Ok(()) => Ok(Some(socket)),
                    Err(why) => self.by_itself(&why.to_string(), tell),
                };
            }
            (_, found) => found,
        };
        match found {
            Found::At(path) => Ok(Some(path)),
            Found::Nobody(places) => self.without(|| {
                let places: Vec<String> = places.iter().map(|path| path.display().to_string()).collect();
                format!("there is no broker at {}; sandtest serve starts one", places.join(" or "))
            }),
            Found::Unusable(why) => self.by_itself(&why.to_string(), tell),
        }
    }

    /// Makes the run known to the broker at `socket`.
    ///
    /// # Errors
    /// With `--broker require`, why it is not taken.
    pub fn introduce(
        &self,
        socket: &Path,
        run: &Introduction,
        tell: impl Fn(&str),
    ) -> Result<Option<Greeted>, String> {
        let most = u32::try_from(run.parallel).unwrap_or(u32::MAX);
        let hello = Hello {
            version: VERSION,
            run: shortened(&run.name),
            parallel: most,
            groups: run.groups.iter().map(|count| (*count).min(most)).collect(),
            weight: self.weight,
            priority: match self.priority {
                Priority::Interactive => protocol::Priority::Interactive,
                Priority::Batch => protocol::Priority::Batch,
            },
            lease: None,
            inside: client::inside_of(),
            cgroup: run.ground.v2().and_then(|dir| hierarchy::from_root(dir.path())),
            budget: run.budget.memory_max,
        };
        match client::greet(socket, &hello) {
            Ok(greeted) => Ok(Some(greeted)),
            Err(why) => self.by_itself(&why.to_string(), tell).map(|_| None),
        }
    }

    fn by_itself(&self, why: &str, tell: impl Fn(&str)) -> Result<Option<PathBuf>, String> {
        let gone = self.without(|| why.to_owned())?;
        tell(&format!("warning: {why}; the run goes by itself (--broker never, to do so without a word)"));
        Ok(gone)
    }

    fn without(&self, why: impl Fn() -> String) -> Result<Option<PathBuf>, String> {
        if self.broker == Mode::Require { Err(format!("--broker require: {}", why())) } else { Ok(None) }
    }
}

/// Where all runs of a broker are, if systemd places them.
pub fn slice(broker: Option<&PathBuf>) -> Option<&'static str> {
    broker.map(|_| socket::SLICE)
}

/// What a broker is told of each job. `kins`: what tells which are alike, in their order.
pub fn words(jobs: &[Job], kins: Vec<String>) -> Vec<JobWords> {
    let of = |(job, kin): (&Job, String)| JobWords {
        kin,
        name: job.name.clone(),
        limit: job.settings.limits.memory_max,
    };
    jobs.iter().zip(kins).map(of).collect()
}

/// No more of a name than may be said.
fn shortened(name: &str) -> String {
    let end = (0..=LONGEST_NAME.min(name.len())).rev().find(|at| name.is_char_boundary(*at));
    name[..end.unwrap_or(0)].to_owned()
}

fn weight(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(weight) if weight > 0.0 && weight <= HEAVIEST => Ok(weight),
        _ => Err(format!(
            "{text:?} is no weight; expected a number above 0, at most {HEAVIEST}, such as 2 or 0.5"
        )),
    }
}
