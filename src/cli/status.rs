//! `sandtest status`: how things stand at the broker, once.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use super::answer::answer;
use super::exit_code::OWN_FAILURE;
use crate::broker::onlooker::{Onlooker, OnlookerError};
use crate::broker::protocol::Status;
use crate::report::board;

/// Columns where nobody says how many there are.
const WIDTH: usize = 80;

/// Options of `sandtest status`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sandtest status                          the broker that a run of yours would ask
  sandtest status --json                   the same for programs, sizes in bytes
  sandtest status --socket /tmp/b.sock     another broker")]
pub struct StatusArgs {
    /// Print what the broker says as JSON
    #[arg(long)]
    json: bool,
    /// Where the broker listens [default: where a run would ask]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

/// Asks once, prints, and returns the exit code.
pub fn run(args: &StatusArgs) -> u8 {
    let page = ask(args.socket.as_deref()).and_then(|status| render(&status, args.json));
    match page {
        Ok(page) => answer(page.as_bytes()),
        Err(message) => {
            let _ = writeln!(io::stderr(), "sandtest: {message}");
            OWN_FAILURE
        }
    }
}

fn ask(socket: Option<&Path>) -> Result<Status, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("set up to ask the broker: {error}"))?;
    let status = runtime.block_on(async { Onlooker::connect(socket).await?.status().await });
    status.map_err(|error| explain(&error))
}

fn render(status: &Status, json: bool) -> Result<String, String> {
    if json {
        let text = serde_json::to_string_pretty(status).map_err(|error| error.to_string())?;
        return Ok(text + "\n");
    }
    let look = Look::of_stdout();
    let lines = board::page(status, look.width);
    Ok(lines.iter().map(|line| line.painted(look.colour).trim_end().to_owned() + "\n").collect())
}

/// The error, and what to do about it.
pub fn explain(error: &OnlookerError) -> String {
    match error {
        OnlookerError::Nobody(_) => {
            format!("{error}; `sandtest serve` starts one, and runs without one are their own broker")
        }
        other => other.to_string(),
    }
}

/// What standard output can show.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// Columns.
    pub width: usize,
    /// Whether colours may be used.
    pub colour: bool,
}

impl Look {
    /// As it is now.
    pub fn of_stdout() -> Look {
        let terminal = io::stdout().is_terminal();
        let width = terminal.then(|| console::Term::stdout().size_checked()).flatten();
        Look { width: width.map_or(WIDTH, |(_, width)| usize::from(width)), colour: terminal && colours() }
    }
}

/// Whether the environment has nothing against colours (no-color.org).
pub fn colours() -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    !dumb && !set("NO_COLOR")
}
