//! The command line: one file a subcommand.
//!
//! - [`exec`]: run a command, its shards or a list of commands
//! - [`runner`]: has its test binaries ask for jobs of their own; [`run_wrapper`]: what they are started through
//! - [`select`]: which jobs it makes of a test command, and which of them it runs
//! - [`needs`]: what a job may have that was said to need it
//! - [`beside`]: whether it asks a broker
//! - [`serve`]: hand out permits to all runs of a user, or of the box
//! - [`status`], [`top`]: how things stand there, once and live
//! - [`doctor`]: what this environment allows, and how to get more
//! - [`why`]: what became of a job of the last run, and why
//! - [`show`]: the report of a run that is over, again, or in another form
//! - [`replay`]: ask the policy again what it decided
//! - [`profile`]: list, show and check profiles
//! - [`service`]: the broker as a service of systemd's
//! - [`simulate`]: run modelled jobs on a modelled machine
//! - [`completions`], [`man`]: for the shell and for man(1)
//! - [`answer`]: what they print; [`exit_code`]: what the codes mean
//! - [`terms`]: what one user may have of a shared box
//! - [`reports`]: which reports are written where
//! - [`settings`]: the profile that is in force, command line included

mod answer;
pub mod beside;
pub mod completions;
pub mod doctor;
pub mod exec;
pub mod exit_code;
pub mod man;
pub mod needs;
pub mod profile;
pub mod replay;
pub mod reports;
pub mod run_wrapper;
pub mod runner;
pub mod select;
pub mod serve;
pub mod service;
pub mod settings;
pub mod show;
pub mod simulate;
pub mod status;
pub mod terms;
pub mod top;
pub mod why;

use clap::Parser;

use exit_code::{OK, OWN_FAILURE};

/// The test executor that can't take your machine down: every test in its own limited cgroup.
#[derive(Debug, Parser)]
#[command(name = "sandtest", version, max_term_width = 100, subcommand_required = true, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  Run tests
    sandtest exec -- cargo test                  one command, as it is
    sandtest exec -j 4 --jobs-from tests.txt     one command a line, four at once
  See what happened
    sandtest show                                the last run again
    sandtest why 'cargo test'                    one of its jobs, with all that it waited for
  Beside other runs
    sandtest serve                               one budget for all of them, which find it by themselves
    sandtest status                              who runs, and who waits for what
  Set the limits
    sandtest doctor                              what can be held here, and how to get more
    sandtest profile show auto --resolved        what holds here, and which line says so

sandtest COMMAND --help has more of them.";

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Run a command, its shards or a list of commands, each in a cgroup of its own
    Exec(Box<exec::ExecArgs>),
    /// Show the report of the last run again, or write it in another form
    Show(show::ShowArgs),
    /// Tell what became of a job of the last run, and why: waits, freezes, evictions, ends
    Why(why::WhyArgs),
    /// Tell what this environment allows, what is missing, and how to get it
    Doctor(doctor::DoctorArgs),
    /// List, show and check profiles
    #[command(after_help = profile::EXAMPLES)]
    Profile {
        /// What to do with them
        #[command(subcommand)]
        command: profile::ProfileCommand,
    },
    /// Become a test, in a cgroup of its own: put before tests by sandtest exec, or by hand
    RunWrapper(run_wrapper::RunWrapperArgs),
    /// Share one budget among all runs of a user, or of the box
    Serve(Box<serve::ServeArgs>),
    /// Put the broker in place as a service of systemd's, take it away, or tell of it
    #[command(after_help = service::EXAMPLES)]
    Service {
        /// What to do with it
        #[command(subcommand)]
        command: service::ServiceCommand,
    },
    /// Tell how things stand at the broker: runs, jobs, memory, who waits for what
    Status(status::StatusArgs),
    /// Watch that live, and freeze or kill jobs of your own
    Top(top::TopArgs),
    /// Step through a recorded run again and print what the governor decided
    Replay(replay::ReplayArgs),
    /// Run modelled jobs on a modelled machine, to see what the governor would do
    Simulate(Box<simulate::SimulateArgs>),
    /// Print what a shell completes behind `sandtest`
    Completions(completions::CompletionsArgs),
    /// Write the manual
    Man(man::ManArgs),
}

/// All that the command line may be, for the shell's completions and the manual.
pub fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

/// Parses the command line, does what it says, and returns the exit code.
pub fn main() -> u8 {
    if let Some(words) = run_wrapper::asked_for(std::env::args_os()) {
        return run_wrapper::become_test(words);
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors and go to standard output.
            let _ = error.print();
            return if error.use_stderr() { OWN_FAILURE } else { OK };
        }
    };
    match cli.command {
        Command::Exec(args) => exec::run(&args),
        Command::RunWrapper(args) => run_wrapper::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Top(args) => top::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
        Command::Why(args) => why::run(&args),
        Command::Show(args) => show::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Profile { command } => profile::run(&command),
        Command::Service { command } => service::run(&command),
        Command::Simulate(args) => simulate::run(&args),
    }
}
