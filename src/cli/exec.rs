//! `sandtest exec`: run a command, its shards or a list of commands, each in a cgroup of its own.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::exit_code::{self, OWN_FAILURE};
use super::settings::{self, Overrides};
use crate::host::isolation::{self, Place, Request};
use crate::kernel::guardian::Guardian;
use crate::model::event::Event;
use crate::model::{Bytes, Cpus, Isolation, Job, JobId, Profile, Tier};
use crate::report::Reporter;
use crate::report::json::JsonReporter;
use crate::report::terminal::TerminalReporter;
use crate::run::record::{self, Record};
use crate::run::{Plan, Streams, sweep};
use crate::source::{self, Draft};

/// A list of jobs larger than this is a mistake.
const LARGEST_LIST: u64 = 64 << 20;

/// Options of `sandtest exec`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, override_usage = "sandtest exec [OPTIONS] -- COMMAND [ARGUMENT]...\n       \
    sandtest exec [OPTIONS] --jobs-from FILE")]
pub struct ExecArgs {
    /// Profile: a name, a file, or `auto` for the one of this environment
    #[arg(short, long, default_value = "auto", value_name = "NAME|FILE", help_heading = "What may be used")]
    profile: String,
    /// memory.max of each job, such as 512M or 2GiB; `max` for none
    #[arg(long, value_name = "SIZE", value_parser = or_max::<Bytes>, help_heading = "What may be used")]
    memory: Option<OrMax<Bytes>>,
    /// pids.max of each job: processes and threads; `max` for none
    #[arg(long, value_name = "N", value_parser = or_max::<Pids>, help_heading = "What may be used")]
    pids: Option<OrMax<Pids>>,
    /// cpu.max of each job, such as 1.5 or 150%; `max` for none
    #[arg(long, value_name = "CPUS", value_parser = or_max::<Cpus>, help_heading = "What may be used")]
    cpus: Option<OrMax<Cpus>>,
    /// Refuse to run without limits held by the kernel, run with what there is, or run bare
    #[arg(long, value_name = "MODE", default_value = "if-available", help_heading = "What may be used")]
    isolation: Mode,

    /// One command a line, in shell words; `-` for standard input
    #[arg(long, value_name = "FILE", conflicts_with = "command", help_heading = "What is run")]
    jobs_from: Option<PathBuf>,
    /// Run the command N times, each with its part: {shard} of {shards}, TEST_SHARD_INDEX, GTEST_SHARD_INDEX
    #[arg(long, value_name = "N", value_parser = at_least_one, conflicts_with = "jobs_from", help_heading = "What is run")]
    shards: Option<u32>,
    /// Jobs at once [default: what the profile says]
    #[arg(short, long, value_name = "N", value_parser = at_least_one, help_heading = "What is run")]
    jobs: Option<u32>,
    /// Run all jobs even if one fails
    #[arg(long, help_heading = "What is run")]
    no_fail_fast: bool,

    /// Time for each job, such as 90s or 10min
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = "When it ends")]
    timeout: Option<Duration>,
    /// Time between the stop signal and the kill
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = "When it ends")]
    grace: Option<Duration>,

    /// Write an event a line to FILE
    #[arg(long, value_name = "FILE", help_heading = "What is told")]
    json: Option<PathBuf>,

    /// The command and its arguments
    #[arg(value_name = "COMMAND", trailing_var_arg = true, required_unless_present = "jobs_from")]
    command: Vec<OsString>,
}

const EXAMPLES: &str = "Examples:
  sandtest exec -- cargo test                        one job, streams untouched
  sandtest exec --memory 1G --timeout 5min -- ./run  with limits of its own
  sandtest exec --shards 4 -- pytest --shard {shard} four jobs, each a part
  sandtest exec -j 4 --jobs-from tests.txt           one command a line";

/// What is to be done where limits can't be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Refuse to run unless the kernel holds every limit
    Required,
    /// Run with what there is, and say so
    IfAvailable,
    /// Run bare
    Off,
}

/// A value, or `max` for no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrMax<T> {
    /// `max`
    Max,
    /// This much.
    Value(T),
}

/// A number of processes and threads, at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pids(pub u64);

impl std::str::FromStr for Pids {
    type Err = String;

    fn from_str(text: &str) -> Result<Pids, String> {
        match text.parse() {
            Ok(0) => Err("a job has at least one process".into()),
            // PID_MAX_LIMIT of 64-bit Linux.
            Ok(number) if number <= 1 << 22 => Ok(Pids(number)),
            _ => Err(format!("{text:?} is not a number of processes; expected 1 to 4194304, or `max`")),
        }
    }
}

/// What went wrong before anything started; shown as it is.
struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    fn new(message: impl std::fmt::Display) -> Failure {
        Failure { message: message.to_string(), code: OWN_FAILURE }
    }
}

/// Runs it and returns the exit code.
pub fn run(args: &ExecArgs) -> u8 {
    match try_run(args) {
        Ok(code) => code,
        Err(failure) => {
            tell(&failure.message);
            failure.code
        }
    }
}

fn try_run(args: &ExecArgs) -> Result<u8, Failure> {
    let drafts = drafts(args)?;
    let profile = settings::resolve(&args.profile, &overrides(args)).map_err(Failure::new)?;
    let pass_through = args.jobs_from.is_none() && args.shards.is_none();
    let mut reporters: Vec<Box<dyn Reporter>> = Vec::new();
    if let Some(path) = &args.json {
        reporters.push(Box::new(JsonReporter::new(create(path)?)));
    }
    for interrupted in sweep::sweep() {
        tell(&describe(&interrupted));
    }
    let id = record::new_id();
    let mut record = Record::begin(&id).map_err(Failure::new)?;
    reporters.push(Box::new(JsonReporter::new(create(&record.events_path())?)));
    reporters.push(Box::new(TerminalReporter::on_stderr(&profile)));

    // Forked here: everything before this line runs on one thread, and so does the fork.
    let mut guardian = Guardian::fork().map_err(Failure::new)?;
    let place = place(args, &id, &profile, &mut guardian, &mut record)?;
    if let Some(refused) = refusal(args.isolation, &place.isolation) {
        let clean = place.ground.remove(Duration::ZERO).is_ok();
        place.leave();
        guardian.dismiss();
        let _ = record.finish(clean);
        return Err(Failure::new(refused));
    }

    let parallel = args.jobs.map_or(profile.jobs.max, |jobs| jobs as usize).min(drafts.len()).max(1);
    let plan = Plan {
        jobs: jobs(drafts, &profile),
        parallel,
        fail_fast: !args.no_fail_fast,
        grace: profile.job.grace,
        streams: if pass_through { Streams::PassThrough } else { Streams::Capture(record.output_folder()) },
        guardian: guardian.pid(),
        ground: place.ground.clone(),
        isolation: place.isolation.clone(),
        budget: place.budget,
        profile,
        id,
    };
    let summary = crate::run::execute(plan, |event| report(&mut reporters, event)).map_err(Failure::new)?;
    place.leave();
    let _ = record.finish(summary.clean);
    if summary.clean {
        guardian.dismiss();
    } else {
        tell(
            "something could not be killed (an uninterruptible sleep); the next start of sandtest removes it",
        );
    }
    Ok(if pass_through { exit_code::of_single(&summary) } else { exit_code::of_many(&summary) })
}

/// The commands to run.
fn drafts(args: &ExecArgs) -> Result<Vec<Draft>, Failure> {
    let Some(path) = &args.jobs_from else {
        let draft = source::single(&args.command).ok_or_else(|| Failure::new("no command to run"))?;
        return Ok(match args.shards {
            Some(total) => source::shards::split(&draft, total),
            None => vec![draft],
        });
    };
    let shown = if path == Path::new("-") { "standard input".into() } else { path.display().to_string() };
    let bytes =
        read_list(path).map_err(|error| Failure::new(format!("read the list of jobs {shown}: {error}")))?;
    source::list::parse(&shown, &bytes).map_err(Failure::new)
}

fn read_list(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let source: Box<dyn Read> =
        if path == Path::new("-") { Box::new(io::stdin()) } else { Box::new(File::open(path)?) };
    source.take(LARGEST_LIST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST_LIST {
        return Err(io::Error::other(format!("it is larger than {}", Bytes(LARGEST_LIST))));
    }
    Ok(bytes)
}

fn jobs(drafts: Vec<Draft>, profile: &Profile) -> Vec<Job> {
    let names = source::names::names(&drafts);
    let numbered = drafts.into_iter().zip(names).zip(0..);
    numbered
        .map(|((draft, name), number)| Job {
            id: JobId(number),
            name,
            command: draft.command,
            shard: draft.shard,
            limits: profile.job.limits,
            timeout: profile.job.timeout,
        })
        .collect()
}

fn overrides(args: &ExecArgs) -> Overrides {
    Overrides {
        memory_max: args.memory,
        pids_max: args.pids,
        cpu_max: args.cpus,
        timeout: args.timeout,
        grace: args.grace,
    }
}

/// The place where limits hold, as far as there is one.
fn place(
    args: &ExecArgs,
    id: &crate::model::RunId,
    profile: &Profile,
    guardian: &mut Guardian,
    record: &mut Record,
) -> Result<Place, Failure> {
    if args.isolation == Mode::Off {
        guardian.charge(id, &[]).map_err(Failure::new)?;
        return Ok(Place::bare(Tier::Off));
    }
    let pid = guardian.pid();
    let mut announce = |groups: &[PathBuf]| {
        record.note_groups(groups).map_err(|error| error.to_string())?;
        guardian.charge(id, groups).map_err(|error| error.to_string())
    };
    let mut request = Request {
        id,
        budget: &profile.budget,
        job: &profile.job.limits,
        guardian: pid,
        announce: &mut announce,
    };
    Ok(isolation::establish(&mut request))
}

/// Why `--isolation required` does not run here.
fn refusal(mode: Mode, isolation: &Isolation) -> Option<String> {
    let lacking = isolation::not_held_by_kernel(isolation);
    if mode != Mode::Required || lacking.is_empty() {
        return None;
    }
    let names: Vec<&str> = lacking.iter().map(|name| name.as_str()).collect();
    let mut text = format!("isolation is required, and the kernel does not hold {} here", names.join(", "));
    for missing in &isolation.missing {
        text += &format!("\n  missing: {}\n  fix:     {}", missing.what, missing.fix);
    }
    Some(text + "\n  more:    sandtest doctor")
}

fn describe(interrupted: &sweep::Interrupted) -> String {
    let run = &interrupted.run;
    match (interrupted.other_boot, interrupted.swept) {
        (true, _) => format!("run {run} was interrupted: the machine was started anew since"),
        (false, true) => format!("run {run} was interrupted; what it left is removed"),
        (false, false) => format!("run {run} was interrupted; some of what it left can't be removed yet"),
    }
}

fn create(path: &Path) -> Result<File, Failure> {
    File::create(path).map_err(|error| Failure::new(format!("write {}: {error}", path.display())))
}

fn report(reporters: &mut [Box<dyn Reporter>], event: &Event) {
    for reporter in reporters {
        // A reader that has gone away is no reason to stop the tests.
        let _ = reporter.event(event);
    }
}

fn tell(message: &str) {
    let mut stderr = io::stderr().lock();
    let mark = if stderr.is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        "\u{1b}[1msandtest:\u{1b}[0m"
    } else {
        "sandtest:"
    };
    let _ = writeln!(stderr, "{mark} {message}");
}

fn at_least_one(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(0) => Err("at least 1 is needed".into()),
        Ok(number) => Ok(number),
        Err(_) => Err(format!("{text:?} is not a whole number of at least 1")),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|error| format!("{error}; expected a number with its unit, such as 500ms, 90s or 10min"))
}

fn or_max<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<OrMax<T>, String> {
    if text == "max" {
        return Ok(OrMax::Max);
    }
    text.parse().map(OrMax::Value).map_err(|error: T::Err| error.to_string())
}
