//! `sandtest show`: the report of a run that is over, again, or in another form.

use std::fs::File;
use std::io::BufReader;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;

use super::answer::answer;
use super::exit_code::{OK, OWN_FAILURE};
use super::reports::{ReportArgs, tell};
use crate::model::Fate;
use crate::model::event::{Event, RunStarted};
use crate::report::paragraph::short;
use crate::report::recorded::{self, Told, cut_off};
use crate::report::story::{Story, of_name};
use crate::report::terminal::{Look, TerminalReporter};
use crate::run::kept::{self, Kept};

/// Columns for all but a run's name, where those are few.
const WIDEST: usize = 60;

/// Options of `sandtest show`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  On the terminal
    sandtest show                       the last run's report
    sandtest show --list                the runs that are kept
  In another form, although it was not asked for then
    sandtest show --html run.html
    sandtest show --run 6b01cb --junit junit.xml")]
pub struct ShowArgs {
    /// The run, by its id or the beginning of it [default: the last one]
    #[arg(long, value_name = "ID")]
    run: Option<String>,
    /// List the runs that are kept, the last one last
    #[arg(long, conflicts_with = "run")]
    list: bool,
    #[command(flatten)]
    reports: ReportArgs,
}

/// Shows it on standard output, or writes the reports that are asked for. Exit code 0; 125 if there is no such run, or it
/// can't be read or written.
pub fn run(args: &ShowArgs) -> u8 {
    let shown = if args.list { list() } else { show(args) };
    match shown {
        Ok(code) => code,
        Err(message) => {
            tell(&message);
            OWN_FAILURE
        }
    }
}

fn show(args: &ShowArgs) -> Result<u8, String> {
    let kept = kept::find(args.run.as_deref()).map_err(|error| error.to_string())?;
    let mut events = events(&kept)?;
    let mut how_it_is_shown = String::new();
    if !cut_off::has_ended(&events) {
        let lived = cut_off::lived(&events, kept.seen);
        how_it_is_shown = unfinished_in_full(&events, kept.fate, lived);
        if kept.fate != Fate::Runs {
            events.extend(cut_off::missing(&events, kept.fate, lived));
            let end = cut_off::end(&events, kept.fate, lived);
            events.push(Told { event: Event::RunFinished(end), words: None });
        } else if args.reports.any() {
            return Err(format!("run {} still runs: its reports can be written when it has ended", kept.run));
        }
    }
    let mut reports = args.reports.open(false)?;
    if !args.reports.any() {
        let (name, began) = began(&events).map_or(("", None), |started| (&*started.name, Some(started.time)));
        let headline = format!("run {}{}{}{how_it_is_shown}\n", kept.run, of_name(name), ago(began));
        let code = answer(headline.as_bytes());
        if code != OK {
            return Ok(code);
        }
        reports.add(TerminalReporter::on_stdout(), None);
    }
    events.iter().for_each(|told| reports.event(&told.event, told.words.as_deref()));
    match reports.failure() {
        Some(error) if !args.reports.any() => Err(format!("write to standard output: {error}")),
        // That has been told, with its file.
        Some(_) => Ok(OWN_FAILURE),
        None => Ok(OK),
    }
}

/// The events of a run that is kept.
///
/// # Errors
/// In words: which file, and why it can't be read.
pub fn events(kept: &Kept) -> Result<Vec<Told>, String> {
    let read = File::open(&kept.events).and_then(|file| recorded::read(&mut BufReader::new(file)));
    read.map_err(|error| format!("read {}: {error}", kept.events.display()))
}

fn list() -> Result<u8, String> {
    let runs = kept::all();
    if runs.is_empty() {
        return kept::find(None).map(|_| OK).map_err(|error| error.to_string());
    }
    let (look, mut text) = (Look::of(&console::Term::stdout()), String::new());
    for kept in runs {
        let line = match events(&kept) {
            Ok(events) => {
                let story = Story::of_run(events);
                let came_to = story.came_to(unfinished(kept.fate));
                let name = match story.name() {
                    "" => String::new(),
                    name => look.cut(name, WIDEST) + ": ",
                };
                format!("{}  {name}{came_to}{}", kept.run, ago(story.time()))
            }
            Err(error) => format!("{}  {error}", kept.run),
        };
        text += &(line + "\n");
    }
    Ok(answer(text.as_bytes()))
}

fn began(events: &[Told]) -> Option<&RunStarted> {
    events.iter().find_map(|told| match &told.event {
        Event::RunStarted(started) => Some(started),
        _ => None,
    })
}

/// `, 5m 12s ago`
fn ago(time: Option<Duration>) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Of a clock that was set back nothing can be said.
    let Some(past) = time.and_then(|time| now.checked_sub(time)) else { return String::new() };
    match past.as_secs() / (24 * 60 * 60) {
        0 => format!(", {} ago", short(past)),
        1 => ", yesterday".into(),
        days => format!(", {days} days ago"),
    }
}

fn unfinished_in_full(events: &[Told], fate: Fate, lived: Duration) -> String {
    match fate {
        Fate::Ended => ", whose record could not be written to its end: as far as it goes".into(),
        Fate::Runs => {
            let (running, waiting) = (cut_off::in_mid_run(events).len(), cut_off::not_begun(events));
            format!(", which still runs: {running} in mid-run, {waiting} not begun, and until now")
        }
        Fate::Killed => format!(
            ", which was killed before its end; it was last seen alive {} after its begin",
            short(lived)
        ),
    }
}

/// What is said of a run that has no end on record.
pub fn unfinished(fate: Fate) -> &'static str {
    match fate {
        Fate::Runs => "it still runs",
        Fate::Killed => "it was killed before its end",
        Fate::Ended => "its record could not be written to its end",
    }
}
