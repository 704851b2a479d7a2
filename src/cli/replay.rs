//! `sandtest replay`: ask the policy again what it decided in a recorded run.

use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::PathBuf;

use clap::Args;

use super::exit_code::OWN_FAILURE;
use crate::report::governor;
use crate::run::recording::{ReplayError, replay};

/// The policy came to another decision.
const DIFFERENT: u8 = 1;

/// Options of `sandtest replay`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  Record, and look
    sandtest exec --record run.record --jobs-from tests.txt
    sandtest replay run.record")]
pub struct ReplayArgs {
    /// What `sandtest exec --record FILE` wrote
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Prints each decision of the governor. Exit code 0 if all come out as they did, 1 if not, 125 if FILE is no record.
pub fn run(args: &ReplayArgs) -> u8 {
    let mut out = io::stdout().lock();
    let mut tell = |now: std::time::Duration, decision: &_, job: Option<&str>| {
        let _ = writeln!(out, "{:>10.3}s  {}", now.as_secs_f64(), governor::line(decision, job));
    };
    let replayed = File::open(&args.file)
        .map_err(ReplayError::from)
        .and_then(|file| replay(&mut BufReader::new(file), &mut tell));
    match replayed {
        Ok(steps) => {
            let _ = writeln!(out, "{steps} steps, every decision as it was recorded");
            0
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "sandtest: replay {}: {error}", args.file.display());
            if matches!(error, ReplayError::Differs { .. }) { DIFFERENT } else { OWN_FAILURE }
        }
    }
}
