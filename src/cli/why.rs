//! `sandtest why`: what became of a job of the last run, and why.

use clap::Args;

use super::answer::answer;
use super::exit_code::OWN_FAILURE;
use super::reports::tell;
use super::show;
use crate::model::nearest::nearest;
use crate::report::recorded::cut_off;
use crate::report::story::Story;
use crate::run::kept;

/// No job has that name.
const NO_SUCH_JOB: u8 = 1;

/// Of more jobs than these only the names are told.
const TOLD: usize = 5;

/// Of more names than these only the number is told.
const NAMED: usize = 20;

/// Options of `sandtest why`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  The last run
    sandtest why                     what did not simply pass
    sandtest why 'cargo test #2'     all of one job: waits, freezes, evictions, ends
  An earlier one
    sandtest why slow --run 6b01cb   jobs with `slow` in their names")]
pub struct WhyArgs {
    /// Name of a job, or a part of it; without it those that did not simply pass
    #[arg(value_name = "JOB")]
    job: Option<String>,
    /// The run, by its id or the beginning of it [default: the last one]
    #[arg(long, value_name = "ID")]
    run: Option<String>,
}

/// Tells it on standard output. Exit code 0; 1 if there is no such job, 125 if there is no such run or it can't be read.
pub fn run(args: &WhyArgs) -> u8 {
    match text(args) {
        Ok(text) => answer(text.as_bytes()),
        Err(Refusal { code, message }) => {
            tell(&message);
            code
        }
    }
}

struct Refusal {
    code: u8,
    message: String,
}

fn text(args: &WhyArgs) -> Result<String, Refusal> {
    let refuse = |message: String| Refusal { code: OWN_FAILURE, message };
    let kept = kept::find(args.run.as_deref()).map_err(|error| refuse(error.to_string()))?;
    let mut events = show::events(&kept).map_err(refuse)?;
    events.extend(cut_off::missing(&events, kept.fate, cut_off::lived(&events, kept.seen)));
    let story = Story::of_run(events);
    let mut text = story.headline(show::unfinished(kept.fate)) + "\n";
    let jobs = match &args.job {
        None => story.remarkable(),
        Some(wanted) => {
            let jobs = story.jobs(wanted);
            if jobs.is_empty() {
                let hint = nearest(wanted, story.jobs("")).map(|name| format!("; did you mean {name:?}?"));
                let message = format!(
                    "no job of run {} that has begun has {wanted:?} in its name{}",
                    kept.run,
                    hint.unwrap_or_default()
                );
                return Err(Refusal { code: NO_SUCH_JOB, message });
            }
            jobs
        }
    };
    if jobs.is_empty() {
        text += match story.jobs("").len() {
            0 => "no job has begun\n",
            _ => "each job that has ended has simply passed; sandtest why JOB tells of one\n",
        };
    }
    for job in jobs.iter().take(TOLD) {
        text += &format!("\n{}", story.of(job));
    }
    let others = &jobs[jobs.len().min(TOLD)..];
    if !others.is_empty() {
        text += &format!("\n{} more:\n", others.len());
        others
            .iter()
            .take(NAMED)
            .for_each(|job| text += &format!("  {}\n", crate::model::text::escaped(job)));
        if others.len() > NAMED {
            text += &format!("  and {} more\n", others.len() - NAMED);
        }
    }
    Ok(text)
}
