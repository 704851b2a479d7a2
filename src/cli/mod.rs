//! The command line: one file a subcommand.
//!
//! - [`exec`]: run a command, its shards or a list of commands
//! - [`doctor`]: what this environment allows, and how to get more
//! - [`why`]: what became of a job of the last run, and why
//! - [`show`]: the report of a run that is over, again, or in another form
//! - [`replay`]: ask the policy again what it decided
//! - [`profile`]: list, show and check profiles
//! - [`simulate`]: run modelled jobs on a modelled machine
//! - [`exit_code`]: what the codes mean
//! - [`reports`]: which reports are written where
//! - [`settings`]: the profile that is in force, command line included

pub mod doctor;
pub mod exec;
pub mod exit_code;
pub mod profile;
pub mod replay;
pub mod reports;
pub mod settings;
pub mod show;
pub mod simulate;
pub mod why;

use clap::Parser;

use exit_code::{OK, OWN_FAILURE};

/// The test executor that can't take your machine down: every test in its own limited cgroup.
#[derive(Debug, Parser)]
#[command(name = "sandtest", version, max_term_width = 100, subcommand_required = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Run a command, its shards or a list of commands, each in a cgroup of its own
    Exec(Box<exec::ExecArgs>),
    /// Tell what this environment allows, what is missing, and how to get it
    Doctor(doctor::DoctorArgs),
    /// Tell what became of a job of the last run, and why: waits, freezes, evictions, ends
    Why(why::WhyArgs),
    /// Show the report of the last run again, or write it in another form
    Show(show::ShowArgs),
    /// Step through a recorded run again and print what the governor decided
    Replay(replay::ReplayArgs),
    /// List, show and check profiles
    Profile {
        /// What to do with them
        #[command(subcommand)]
        command: profile::ProfileCommand,
    },
    /// Run modelled jobs on a modelled machine, to see what the governor would do
    Simulate(Box<simulate::SimulateArgs>),
}

/// Parses the command line, does what it says, and returns the exit code.
pub fn main() -> u8 {
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
        Command::Doctor(args) => doctor::run(&args),
        Command::Why(args) => why::run(&args),
        Command::Show(args) => show::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Profile { command } => profile::run(&command),
        Command::Simulate(args) => simulate::run(&args),
    }
}
