//! `sandtest exec`: run a command, its shards or a list of commands, each in a cgroup of its own.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::beside::{self, BesideArgs, Introduction};
use super::exit_code::{self, OWN_FAILURE};
use super::needs;
use super::reports::{ReportArgs, Reports, create, lines, not_standard_output, tell};
use super::runner;
use super::select::{self, SelectArgs, Step};
use super::settings::{self, Overrides};
use crate::host::isolation::{self, Place, Request};
use crate::kernel::guardian::Guardian;
use crate::kernel::process;
use crate::model::profile::JobSettings;
use crate::model::retry::LeakPolicy;
use crate::model::text::cut;
use crate::model::{Bytes, Isolation, Job, JobId, Limits, MaxFail, Profile, Tier};
use crate::profile::Rules;
use crate::profile::ending::{Flaky, Leak, Retries, RetryCount};
use crate::profile::file::JobSection;
use crate::profile::values::{Cpu, Grace, Percent, Pids, Reserve, Size, Timeout, option};
use crate::report::inquest::DiagnosisFiles;
use crate::report::json::JsonReporter;
use crate::report::paragraph::Words;
use crate::report::terminal::TerminalReporter;
use crate::run::jobserver::{Fifos, Flags, Jobserver, Outer};
use crate::run::look::Outlook;
use crate::run::record::{self, Record};
use crate::run::temporary::Temporary;
use crate::run::{Introduced, Plan, Streams, sweep};
use crate::source::native::Found;
use crate::source::{self, Draft};

/// A list of jobs larger than this is a mistake.
const LARGEST_LIST: u64 = 64 << 20;

/// So many rules that are for none of the jobs are told of one by one.
const MOST_WARNINGS: usize = 10;

/// And so are more shards than this.
const MOST_SHARDS: u32 = 100_000;

/// Letters of a run's name: a command line may have thousands.
const LONGEST_NAME: usize = 300;

/// Options of `sandtest exec`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, override_usage = "sandtest exec [OPTIONS] -- COMMAND [ARGUMENT]...\n       \
    sandtest exec [OPTIONS] --each binary|test -- TEST-COMMAND [ARGUMENT]...\n       \
    sandtest exec [OPTIONS] --jobs-from FILE")]
pub struct ExecArgs {
    /// Profile: a name, a file, or `auto` for the one of this environment
    #[arg(short, long, default_value = "auto", value_name = "NAME|FILE", help_heading = "What may be used")]
    profile: String,
    /// memory.max of each job, such as 512M, 2GiB or 50% of the budget; `max` for none but the budget's
    #[arg(long, value_name = "SIZE", value_parser = option::<Size>, help_heading = "What may be used")]
    memory: Option<Size>,
    /// pids.max of each job: processes and threads; `max` for none
    #[arg(long, value_name = "N", value_parser = option::<Pids>, help_heading = "What may be used")]
    pids: Option<Pids>,
    /// cpu.max of each job, such as 1.5 or 150%; `max` for none
    #[arg(long, value_name = "CPUS", value_parser = option::<Cpu>, help_heading = "What may be used")]
    cpus: Option<Cpu>,
    /// Memory that is kept for the editor and everything else: a size, a percentage, or `auto`
    #[arg(long, value_name = "SIZE", value_parser = option::<Reserve>, help_heading = "What may be used")]
    reserve: Option<Reserve>,
    /// Start nothing while memory, disk or the editor's processors are waited for longer than this, such as 40%
    #[arg(long, value_name = "PERCENT", value_parser = option::<Percent>, help_heading = "What may be used")]
    max_pressure: Option<Percent>,
    /// Hold, freeze or evict jobs before memory runs out; `off` starts as many as there are slots
    #[arg(long, value_name = "MODE", default_value = "on", help_heading = "What may be used")]
    governor: Governing,
    /// Refuse to run without limits held by the kernel, run with what there is, or run bare
    #[arg(long, value_name = "MODE", default_value = "if-available", help_heading = "What may be used")]
    isolation: Mode,

    /// One command a line, in shell words; `-` for standard input
    #[arg(long, value_name = "FILE", conflicts_with = "command", help_heading = "What is run")]
    jobs_from: Option<PathBuf>,
    /// Run the command N times, each with its part: {shard} of {shards}, TEST_SHARD_INDEX, GTEST_SHARD_INDEX
    #[arg(long, value_name = "N", value_parser = shards, conflicts_with = "jobs_from", help_heading = "What is run")]
    shards: Option<u32>,
    #[command(flatten)]
    select: SelectArgs,
    /// Jobs at once [default: what the profile says]
    #[arg(short, long, value_name = "N", value_parser = at_least_one, help_heading = "What is run")]
    jobs: Option<u32>,
    /// Give builds in the jobs a jobserver (make 4.4, cargo, ninja 1.13, gcc -flto): with the jobs they share -j places
    #[arg(long, help_heading = "What is run")]
    jobserver: bool,
    /// Start nothing more after N failures, and end what runs with N:immediate; `all` for never [default: 1]
    #[arg(long, value_name = "N[:MODE]", conflicts_with = "no_fail_fast", help_heading = "What is run")]
    max_fail: Option<MaxFail>,
    /// Leave the test binaries that the command starts in the command's own cgroup
    #[arg(long, help_heading = "What is run")]
    no_runner: bool,
    /// Run all jobs even if one fails
    #[arg(long, help_heading = "What is run")]
    no_fail_fast: bool,

    /// Time for each job, such as 90s or 10min; `none` for no end
    #[arg(long, value_name = "TIME", value_parser = option::<Timeout>, help_heading = "When it ends")]
    timeout: Option<Timeout>,
    /// Time between the stop signal and the kill
    #[arg(long, value_name = "TIME", value_parser = option::<Grace>, help_heading = "When it ends")]
    grace: Option<Grace>,
    /// Time for the whole run; `none` for no end
    #[arg(long, value_name = "TIME", value_parser = option::<Timeout>, help_heading = "When it ends")]
    run_timeout: Option<Timeout>,
    /// Time in which a job may use no processor and write nothing; `none` for no end
    #[arg(long, value_name = "TIME", value_parser = option::<Timeout>, help_heading = "When it ends")]
    idle_timeout: Option<Timeout>,
    /// Tell of a job that takes longer than this, such as 30s; `none` for never
    #[arg(long, value_name = "TIME", value_parser = option::<Timeout>, help_heading = "When it ends")]
    slow_after: Option<Timeout>,
    /// Try a job that failed up to N times more, without delay
    #[arg(long, value_name = "N", value_parser = option::<RetryCount>, help_heading = "When it ends")]
    retries: Option<RetryCount>,
    /// What a job that failed and then passed counts as: pass or fail
    #[arg(long, value_name = "RESULT", value_parser = option::<Flaky>, help_heading = "When it ends")]
    flaky_result: Option<Flaky>,
    /// What is made of things that a job leaves behind: warn or fail
    #[arg(long, value_name = "WHAT", value_parser = option::<Leak>, help_heading = "When it ends")]
    leak: Option<Leak>,

    #[command(flatten)]
    beside: BesideArgs,

    /// Write all that the governor sees and decides to FILE, for sandtest replay
    #[arg(long, value_name = "FILE", value_parser = not_standard_output, help_heading = "What is told")]
    record: Option<PathBuf>,
    #[command(flatten)]
    reports: ReportArgs,

    /// The command and its arguments
    #[arg(value_name = "COMMAND", trailing_var_arg = true, required_unless_present = "jobs_from")]
    command: Vec<OsString>,
}

const EXAMPLES: &str = "Examples:
  One command, its streams untouched
    sandtest exec -- cargo test
    sandtest exec --memory 1G --timeout 5min -- ./run  with limits of its own
  Each test of a test command, or some of them
    sandtest exec --each test -- cargo test            also pytest, and libtest, googletest and Catch2 binaries
    sandtest exec -E 'binary(cli) & test(~parse)' --list -- cargo test
    sandtest exec --each binary --partition slice:1/3 -- pytest
  Many
    sandtest exec --shards 4 -- pytest --shard {shard} each a part of it
    sandtest exec -j 4 --jobs-from tests.txt           one command a line
  What hangs, or fails now and then
    sandtest exec --idle-timeout 1min --retries 2 --jobs-from tests.txt
  For CI, and to look at
    sandtest exec --junit junit.xml --html run.html --jobs-from tests.txt";

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

/// Whether anyone watches the machine's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Governing {
    /// Hold, freeze or evict jobs before memory runs out
    On,
    /// Start as many as there are slots
    Off,
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
    let step = args.select.step();
    if step.is_some() {
        select::end_with_parent();
    }
    let Found { drafts, no_fail_fast } = found(args)?;
    let settings = settings::resolve(&args.profile, &overrides(args)).map_err(Failure::new)?;
    let mut profile = settings.profile.clone();
    // Some fifteen descriptors a job: 1024 would end at some 60 at once. The jobs keep what we were started with.
    let nofile = process::raise_nofile();
    profile.job.nofile = profile.job.nofile.or(nofile);
    let understood = args.select.understands_the_command(args);
    let pass_through = args.jobs_from.is_none() && args.shards.is_none() && !understood;
    let names = source::names::names(&drafts);
    if args.select.lists() && step.is_none() {
        return Ok(args.select.print(&names));
    }
    // A command on its own is rarely meant by all rules, and its standard error is its own.
    if !pass_through {
        warn_of_unmatched(&settings.rules, &names);
    }
    if step.is_none() {
        warn_of_cut(args, &profile.budget);
    }
    let governed = args.governor == Governing::On && args.isolation != Mode::Off;
    let broker = args.beside.seek(governed, tell).map_err(Failure::new)?;
    let kins = broker.as_ref().map(|_| kins(&drafts)).unwrap_or_default();
    let mut jobs = jobs(drafts, names, &settings.rules, &profile);
    let flags = Flags::parse(std::env::var("MAKEFLAGS").ok().as_deref());
    if flags.is_dry_run && std::env::var_os("MAKELEVEL").is_some() {
        tell("make -n: nothing is run");
        return Ok(exit_code::OK);
    }
    let outer = outer_jobserver(&flags);
    // A step has nothing to tell but to the run that it is a step of.
    let reports = if step.is_some() { Ok(Reports::default()) } else { args.reports.open(true) };
    let mut reports = reports.map_err(Failure::new)?;
    let recording =
        args.record.as_deref().filter(|_| step.is_none()).map(create).transpose().map_err(Failure::new)?;
    for interrupted in sweep::sweep() {
        tell(&describe(&interrupted));
    }
    let id = record::new_id();
    // One command alone has the directory that it was given.
    let temporary = (!pass_through).then(|| Temporary::place(&id)).flatten();
    let mut record = Record::begin(&id, temporary.clone()).map_err(Failure::new)?;
    let fifos = match args.jobserver.then(|| Fifos::make(record.jobserver_folder())).transpose() {
        Ok(fifos) => fifos,
        Err(error) => {
            let _ = record.finish(true);
            return Err(Failure::new(error));
        }
    };
    let events = record.events_path();
    reports.add(JsonReporter::new(lines(&events).map_err(Failure::new)?), Some(&events));
    reports.add(DiagnosisFiles, None);
    reports.add(TerminalReporter::on_stderr(), None);
    let mut words = Words::new(&profile);

    // Forked here: everything before this line runs on one thread, and so does the fork.
    let debt = outer.as_ref().map(Outer::debt).transpose().map_err(Failure::new)?;
    let mut guardian = Guardian::fork(debt).map_err(Failure::new)?;
    let limits = (&profile.budget, &smallest(&jobs));
    let slice = beside::slice(broker.as_ref());
    let place = match place(args, &id, limits, slice, &mut guardian, &mut record) {
        Ok(place) => place,
        Err(failure) => {
            guardian.dismiss();
            let _ = record.finish(true);
            return Err(failure);
        }
    };
    let temporary = temporary.and_then(|folder| make_temporary(folder, &mut record));
    let usual = args.jobs.map_or(profile.jobs.max, |jobs| jobs as usize);
    let most = if governed { args.jobs.map_or(profile.jobs.idle_max, |jobs| jobs as usize) } else { usual };
    let count = jobs.len();
    let wanted = pass_through && !args.no_runner && args.isolation != Mode::Off;
    let runner = wanted.then(|| {
        runner::set_up(&mut jobs, &place, record.runner_folder(), usual, (&settings.rules, &profile))
    });
    let (runner, no_runner) = match runner.transpose() {
        Ok(runner) => (runner.flatten(), None),
        Err(error) => (None, Some(format!("tests share the command's cgroup: {error}"))),
    };
    let (runner, runner_folder) = runner.unzip();
    if runner.is_some() && args.isolation == Mode::Required {
        runner::require(&mut jobs);
    }
    let parallel = match &runner {
        // The command itself waits for what it has started: it has a place beside those.
        Some(_) => most.saturating_add(1),
        None if args.jobserver => most.min(count).max(usual),
        None => most.min(count),
    }
    .max(1);
    let name = run_name(args, &jobs);
    let introduction = Introduction {
        name: name.clone(),
        jobs: &jobs,
        parallel,
        groups: profile.groups.values().copied().collect(),
        ground: &place.ground,
        budget: &place.budget,
    };
    let refused = match (refusal(args.isolation, &place.isolation), no_runner) {
        (None, Some(why)) if args.isolation == Mode::Required => {
            Some(format!("isolation is required, and {why}"))
        }
        (refused, why) => {
            why.iter().for_each(|why| tell(&format!("warning: {why}")));
            refused
        }
    };
    let served = match &broker {
        Some(socket) if refused.is_none() => args.beside.introduce(socket, &introduction, tell),
        _ => Ok(None),
    };
    let (served, refused) = match served {
        Ok(greeted) => {
            let known = |greeted| Introduced { greeted, jobs: beside::words(&jobs, kins) };
            (greeted.map(known), refused)
        }
        Err(why) => (None, Some(why)),
    };
    let plan = Plan {
        name,
        jobs,
        parallel,
        served,
        wait: args.beside.wait(),
        tokens: fifos.is_some().then(|| u32::try_from(usual.max(1) - 1).unwrap_or(u32::MAX)),
        jobserver: Some(Jobserver { flags, outer, fifos }),
        outlook: governed.then(|| Outlook {
            memory: settings.visible.visible_memory,
            cpus: settings.visible.cpus,
            usual_jobs: usual + usize::from(runner_folder.is_some()),
            own_machine: settings.environment.owns_proc(),
            editor: settings.protected.group.clone(),
        }),
        runner,
        pulse: record.pulse(),
        recording,
        max_fail: match (args.max_fail, args.no_fail_fast || no_fail_fast) {
            (Some(said), _) => said,
            (None, true) => MaxFail::All,
            (None, false) => MaxFail::FIRST,
        },
        diagnoses: record.output_folder(),
        streams: if pass_through { Streams::PassThrough } else { Streams::Capture(record.output_folder()) },
        temporary: temporary.clone(),
        guardian: guardian.pid(),
        ground: place.ground.clone(),
        isolation: place.isolation.clone(),
        budget: place.budget,
        profile,
        id,
    };
    let ended = match refused {
        Some(refused) => Err(Failure::new(refused)),
        None => crate::run::execute(plan, |event| reports.event(event, words.of(event).as_deref()))
            .map_err(Failure::new),
    };
    let clean = match &ended {
        Ok(summary) => summary.clean,
        Err(_) => place.ground.remove(Duration::ZERO).is_ok(),
    };
    place.leave();
    drop(runner_folder);
    if let Some(temporary) = temporary.filter(|_| clean) {
        remove_temporary(&temporary, &mut record);
    }
    let _ = record.finish(clean);
    if clean {
        guardian.dismiss();
        if step.is_some() {
            record.discard();
        }
    } else {
        tell(
            "something could not be killed (an uninterruptible sleep); the next start of sandtest removes it",
        );
    }
    let summary = ended?;
    if let (Some(error), Some(path)) = (&summary.record_cut, &args.record) {
        tell(&format!("write {}: {error}; the record ends early", path.display()));
    }
    let code = if pass_through { exit_code::of_single(&summary) } else { exit_code::of_many(&summary) };
    Ok(args.select.code(code))
}

/// make's jobserver that we run under. What can't be used is told of, and done without.
fn outer_jobserver(flags: &Flags) -> Option<Outer> {
    match Outer::open(flags.server.as_ref()?) {
        Ok(outer) => Some(outer),
        Err(error) => {
            tell(&format!("warning: {error}; jobs at once are not held to what make gives"));
            None
        }
    }
}

/// Which jobs are alike, said so that it is true from wherever.
fn kins(drafts: &[Draft]) -> Vec<String> {
    source::kin::words(drafts, &std::env::current_dir().unwrap_or_default())
}

/// What people know the run by.
fn run_name(args: &ExecArgs, jobs: &[Job]) -> String {
    let first = || jobs.first().map_or(String::new(), |job| job.name.clone());
    let name = match &args.jobs_from {
        Some(path) if path == Path::new("-") => {
            let others = jobs.len().saturating_sub(1);
            first() + &if others > 0 { format!(", and {others} more") } else { String::new() }
        }
        Some(path) => path.display().to_string(),
        None => {
            let words: Vec<String> =
                args.command.iter().map(|word| word.to_string_lossy().into_owned()).collect();
            shell_words::join(&words)
        }
    };
    cut(name, LONGEST_NAME)
}

/// The folder for the jobs' temporary directories; without it they have the one that we were given.
fn make_temporary(folder: PathBuf, record: &mut Record) -> Option<Arc<Temporary>> {
    match Temporary::make(folder.clone()) {
        Ok(temporary) => Some(Arc::new(temporary)),
        Err(error) => {
            // It is not ours, so nobody of us may remove it.
            record.forget_temporary();
            tell(&format!("make {}: {error}; the jobs share one TMPDIR", folder.display()));
            None
        }
    }
}

fn remove_temporary(temporary: &Temporary, record: &mut Record) {
    if let Some(failure) = temporary.failure() {
        tell(&format!("{failure}; jobs shared one TMPDIR"));
    }
    match temporary.remove_all() {
        None => record.forget_temporary(),
        // It stays noted: the next start tries again.
        Some(why) => tell(&why),
    }
}

/// What is to be run.
fn found(args: &ExecArgs) -> Result<Found, Failure> {
    if args.select.understands_the_command(args) {
        let found = args.select.understand(&args.command);
        return found.map_err(|(message, code)| Failure { message, code });
    }
    let drafts = drafts(args)?;
    let drafts = if args.select.step().is_some() { drafts } else { args.select.choose(drafts) };
    Ok(Found { drafts, no_fail_fast: false })
}

/// The commands of the command line or of a list.
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

/// The drafts with what their names' rules, their own lines and the profile say of them.
fn jobs(drafts: Vec<Draft>, names: Vec<String>, rules: &Rules, profile: &Profile) -> Vec<Job> {
    let kin = source::kin::kin(&drafts);
    let numbered = drafts.into_iter().zip(names).zip(kin).zip(0..);
    numbered
        .map(|(((draft, name), kin), number)| {
            let mut ruled = rules.of(&name);
            let memory = draft.memory.or(ruled.memory);
            needs::raise(&mut ruled, memory, profile.budget.memory_max);
            Job {
                id: JobId(number),
                name,
                command: draft.command,
                shard: draft.shard,
                settings: JobSettings { nofile: profile.job.nofile, ..ruled.settings },
                folder: draft.folder,
                environment: environment(draft.environment, ruled.environment),
                weight: ruled.weight,
                groups: ruled.groups,
                origins: ruled.origins,
                driver: None,
                at_once: false,
                kin,
                memory,
                restartable: draft.restartable.or(ruled.restartable).unwrap_or(true),
            }
        })
        .collect()
}

/// What its source says and what its rules say, which comes before.
fn environment(source: Vec<(String, OsString)>, rules: Vec<(String, String)>) -> Vec<(String, OsString)> {
    let ruled = |name: &str| rules.iter().any(|(other, _)| other == name);
    let kept: Vec<_> = source.into_iter().filter(|(name, _)| !ruled(name)).collect();
    kept.into_iter().chain(rules.into_iter().map(|(name, value)| (name, value.into()))).collect()
}

/// The smallest of each limit: what none of the jobs has, nobody needs to hold.
fn smallest(jobs: &[Job]) -> Limits {
    fn least<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
        one.into_iter().chain(other).min()
    }
    jobs.iter().map(|job| job.settings.limits).fold(Limits::default(), |all, one| Limits {
        memory_max: least(all.memory_max, one.memory_max),
        memory_high: least(all.memory_high, one.memory_high),
        memory_swap_max: least(all.memory_swap_max, one.memory_swap_max),
        pids_max: least(all.pids_max, one.pids_max),
        cpu_max: least(all.cpu_max, one.cpu_max),
    })
}

/// Tells of a limit that is asked for and can't be had.
fn warn_of_cut(args: &ExecArgs, budget: &Limits) {
    if let (Some(Size::Bytes(asked)), Some(most)) = (args.memory, budget.memory_max)
        && asked > most
    {
        tell(&format!(
            "warning: --memory {asked} is more than the budget of all jobs, {most}: each may have that"
        ));
    }
    if let (Some(Pids::Count(asked)), Some(most)) = (args.pids, budget.pids_max)
        && asked > most
    {
        tell(&format!(
            "warning: --pids {asked} is more than the budget of all jobs, {most}: each may have that"
        ));
    }
}

/// Tells of rules that are for none of these jobs: a slip in a pattern is silent otherwise.
fn warn_of_unmatched(rules: &Rules, names: &[String]) {
    let (one, more) = match names.len() {
        // Told of by its exit code.
        0 => return,
        1 => ("does not match the one job".to_owned(), "do not match the one job".to_owned()),
        count => (format!("matches none of the {count} jobs"), format!("match none of the {count} jobs")),
    };
    let mut unmatched = rules.unmatched(names);
    for rule in unmatched.by_ref().take(MOST_WARNINGS) {
        let file = rule.at.file.trim_start_matches("./");
        tell(&format!("warning: {file}:{}: the rule {} {one}", rule.at.line, rule.patterns));
    }
    let others = unmatched.count();
    if others > 0 {
        tell(&format!("warning: {others} more rules {more}"));
    }
}

impl ExecArgs {
    /// The command and its arguments; empty with a list.
    pub fn command(&self) -> &[OsString] {
        &self.command
    }

    /// Whether the command is to be run in parts.
    pub fn is_sharded(&self) -> bool {
        self.shards.is_some()
    }
}

fn overrides(args: &ExecArgs) -> Overrides {
    let overrides = said(args);
    let Some(step) = args.select.step() else { return overrides };
    // What holds for tests is not meant for what comes before them, save a job's limits for a test binary that lists.
    let job = JobSection {
        timeout: Some(if step == Step::List { args.select.list_timeout() } else { Timeout::None }),
        idle_timeout: Some(Timeout::None),
        slow_after: Some(Timeout::None),
        retries: Some(Retries::from(RetryCount(0))),
        leak: Some(Leak(LeakPolicy::Warn)),
        ..overrides.job
    };
    let job = match step {
        Step::List => job,
        Step::Build => JobSection {
            memory_max: Some(Size::Max),
            pids_max: Some(Pids::Max),
            cpu_max: Some(Cpu::Max),
            ..job
        },
    };
    Overrides { run_timeout: Some(Timeout::None), job, ..overrides }
}

/// By the command line.
fn said(args: &ExecArgs) -> Overrides {
    Overrides {
        reserve: args.reserve,
        stall: args.max_pressure,
        run_timeout: args.run_timeout,
        job: JobSection {
            memory_max: args.memory,
            pids_max: args.pids,
            cpu_max: args.cpus,
            timeout: args.timeout,
            slow_after: args.slow_after,
            idle_timeout: args.idle_timeout,
            grace: args.grace,
            retries: args.retries.map(Retries::from),
            flaky_result: args.flaky_result,
            leak: args.leak,
            ..JobSection::default()
        },
    }
}

/// The place where limits hold, as far as there is one.
fn place(
    args: &ExecArgs,
    id: &crate::model::RunId,
    (budget, job): (&Limits, &Limits),
    slice: Option<&str>,
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
    let mut request = Request { id, budget, job, guardian: pid, slice, announce: &mut announce };
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

fn at_least_one(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(0) => Err("at least 1 is needed".into()),
        Ok(number) => Ok(number),
        Err(_) => Err(format!("{text:?} is not a count; expected a whole number of at least 1, such as 4")),
    }
}

fn shards(text: &str) -> Result<u32, String> {
    match at_least_one(text)? {
        number if number > MOST_SHARDS => {
            Err(format!("{number} is more than the {MOST_SHARDS} there may be"))
        }
        number => Ok(number),
    }
}
