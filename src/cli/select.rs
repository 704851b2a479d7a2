//! Which jobs `sandtest exec` makes of a test command, and which of all jobs it runs.
//!
//! ```text
//! --each, or one of the others with a command ──▶ source::native, which asks sandtest itself (--source-step) ─┐
//! --jobs-from, --shards ──▶ jobs as they are ──▶ --filter ────────────────────────────────────────────────────┴▶ --partition
//! ```

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use clap::{Args, ValueEnum};
use rustix::process::{Signal, set_parent_process_death_signal};

use super::answer::answer;
use super::exec::ExecArgs;
use super::exit_code::{NO_JOBS, OK, OWN_FAILURE};
use super::reports::tell;
use crate::model::text::escaped;
use crate::profile::values::{Timeout, option};
use crate::source::filter::{self, Filter, Subject};
use crate::source::native::ask::Asker;
use crate::source::native::{self, Each, Found, SourceError, Wanted};
use crate::source::partition::Partition;
use crate::source::{Draft, names};

/// How long a test binary may take to list its tests.
const LIST_TIMEOUT: Duration = Duration::from_secs(60);

/// Options that make jobs of a test command, and choose among jobs.
#[derive(Debug, Args)]
pub struct SelectArgs {
    /// Make a job of each test binary (or file), or of each test, of: cargo test, pytest, or test binaries by their paths
    #[arg(long, value_name = "WHAT", conflicts_with_all = ["jobs_from", "shards"], help_heading = "What is run")]
    each: Option<EachArg>,
    /// Run only jobs that the expression means, such as 'binary(cli) & test(~parse)', as nextest has it; several: any of them
    #[arg(
        short = 'E',
        long = "filter",
        visible_alias = "filterset",
        value_name = "EXPR",
        help_heading = "What is run"
    )]
    filters: Vec<Filter>,
    /// Run part M of N: slice:M/N and count:M/N in turn over all or within each binary, hash:M/N by name
    #[arg(long, value_name = "HOW:M/N", help_heading = "What is run")]
    partition: Option<Partition>,
    /// Print what would be run, a job a line, and run nothing
    #[arg(long, help_heading = "What is run")]
    list: bool,
    /// What it is if there is nothing to run: fail (exit code 4) or pass
    #[arg(long, value_name = "RESULT", default_value = "fail", help_heading = "What is run")]
    no_tests: NoTests,
    /// Time in which a test binary has to list its tests [default: 1min]
    #[arg(long, value_name = "TIME", value_parser = option::<Timeout>, help_heading = "When it ends")]
    list_timeout: Option<Timeout>,
    /// This is a step of another sandtest: a build, or a test binary that lists its tests
    #[arg(long, value_name = "STEP", hide = true)]
    source_step: Option<Step>,
}

/// What a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum EachArg {
    /// A test binary, or a file of tests
    Binary,
    /// A test
    Test,
}

/// What nothing to run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum NoTests {
    /// Exit code 4
    Fail,
    /// Exit code 0
    Pass,
}

/// What another sandtest wants of this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Step {
    /// To build: under the budget, and no limit of a job's
    Build,
    /// To have a test binary list its tests: under a job's limits, in its time
    List,
}

impl SelectArgs {
    /// The step of another sandtest that this is.
    pub fn step(&self) -> Option<Step> {
        self.source_step
    }

    /// Whether the command is to be understood, and not to be run as it is.
    pub fn understands_the_command(&self, args: &ExecArgs) -> bool {
        let chooses =
            self.each.is_some() || !self.filters.is_empty() || self.partition.is_some() || self.list;
        chooses && self.source_step.is_none() && !args.command().is_empty() && !args.is_sharded()
    }

    /// How long a test binary may take to list its tests.
    pub fn list_timeout(&self) -> Timeout {
        self.list_timeout.unwrap_or(Timeout::After(LIST_TIMEOUT))
    }

    /// The jobs of the command.
    ///
    /// # Errors
    /// In words, with the exit code.
    pub fn understand(&self, command: &[OsString]) -> Result<Found, (String, u8)> {
        let each = if self.each == Some(EachArg::Test) { Each::Test } else { Each::Binary };
        let patience = match self.list_timeout() {
            Timeout::After(time) => Some(time),
            Timeout::None => None,
        };
        let asker = Asker { sandtest: this_sandtest(command), patience };
        let wanted = Wanted { each, filters: &self.filters, asker: &asker, tell: &tell };
        let mut found = native::find(command, &wanted).map_err(|error| {
            let code = if let SourceError::Build { code, .. } = error { code } else { OWN_FAILURE };
            (error.to_string(), code)
        })?;
        self.cut(&mut found.drafts);
        Ok(found)
    }

    /// Those of other jobs that are wanted.
    pub fn choose(&self, mut drafts: Vec<Draft>) -> Vec<Draft> {
        if self.filters.is_empty() && self.partition.is_none() {
            return drafts;
        }
        // A job is called the same, whatever others are chosen.
        let named = names::names(&drafts);
        for (draft, name) in drafts.iter_mut().zip(named) {
            draft.name = Some(name);
        }
        drafts.retain(|draft| {
            let (name, binary) = (draft.name.as_deref(), binary(draft));
            let subject = Subject { package: None, binary: &binary, binary_id: &binary, test: name };
            filter::any(&self.filters, subject) == Some(true)
        });
        self.cut(&mut drafts);
        drafts
    }

    fn cut(&self, drafts: &mut Vec<Draft>) {
        let Some(partition) = self.partition else { return };
        let known: Vec<(String, String)> = names::names(drafts)
            .into_iter()
            .zip(drafts.iter())
            .map(|(name, draft)| (binary(draft), draft.address.test.clone().unwrap_or(name)))
            .collect();
        let mut ours =
            partition.of(known.iter().map(|(binary, name)| (binary.as_str(), name.as_str()))).into_iter();
        drafts.retain(|_| ours.next() == Some(true));
    }

    /// Whether this is all that is wanted: the names on standard output.
    pub fn lists(&self) -> bool {
        self.list
    }

    /// Prints the names, a line each.
    pub fn print(&self, names: &[String]) -> u8 {
        if names.is_empty() {
            tell("there are no jobs to list");
            return self.code(NO_JOBS);
        }
        let lines: String = names.iter().map(|name| escaped(name) + "\n").collect();
        answer(lines.as_bytes())
    }

    /// The exit code, if nothing to run may be well.
    pub fn code(&self, code: u8) -> u8 {
        if code == NO_JOBS && self.no_tests == NoTests::Pass { OK } else { code }
    }
}

/// A step of another sandtest ends with that one.
pub fn end_with_parent() {
    // An ordinary request to end: there is a group to empty and to remove.
    let _ = set_parent_process_death_signal(Some(Signal::TERM));
}

fn binary(draft: &Draft) -> String {
    let program =
        || Path::new(&draft.command.program).file_name().unwrap_or_default().to_string_lossy().into_owned();
    draft.address.binary_id.clone().unwrap_or_else(program)
}

/// This sandtest with its options, up to the command.
fn this_sandtest(command: &[OsString]) -> Vec<OsString> {
    let mut words: Vec<OsString> = std::env::args_os().skip(1).collect();
    words.truncate(words.len().saturating_sub(command.len()));
    if words.last().is_some_and(|word| word == "--") {
        words.pop();
    }
    // Its file may be another one by now, and its name need not be a path.
    words.insert(0, "/proc/self/exe".into());
    words
}
