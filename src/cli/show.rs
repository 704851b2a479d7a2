//! `sandtest show`: the report of a run that is over, again, or in another form.

use std::fs::File;
use std::io::{self, BufReader, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;

use super::exit_code::{OK, OWN_FAILURE};
use super::reports::{ReportArgs, Reports, tell};
use crate::model::Fate;
use crate::model::event::{Event, RunStarted};
use crate::model::text::escaped;
use crate::report::paragraph::short;
use crate::report::recorded::{self, Told, cut_off};
use crate::report::story::Story;
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
/// can't be read.
pub fn run(args: &ShowArgs) -> u8 {
    let shown = if args.list { list() } else { show(args) };
    match shown {
        Ok(()) => OK,
        Err(message) => {
            tell(&message);
            OWN_FAILURE
        }
    }
}

fn show(args: &ShowArgs) -> Result<(), String> {
    let kept = kept::find(args.run.as_deref()).map_err(|error| error.to_string())?;
    let mut events = events(&kept)?;
    let mut how_it_is_shown = String::new();
    if !has_ended(&events) {
        how_it_is_shown = unfinished_in_full(&events, kept.fate);
        events.extend(cut_off::unseen_ends(&events, kept.fate));
        let end = cut_off::end_until_now(&events, kept.fate);
        events.push(Told { event: Event::RunFinished(end), words: None });
    }
    let mut reports = args.reports.open(false)?;
    if !args.reports.any() {
        let (name, began) = began(&events).map_or(("", None), |started| (&*started.name, Some(started.time)));
        print(&format!("run {} of {}{}{how_it_is_shown}\n", kept.run, escaped(name), ago(began)));
        reports.add(TerminalReporter::on_stdout(), None);
    }
    play(&events, &mut reports);
    Ok(())
}

/// The events of a run that is kept.
///
/// # Errors
/// In words: which file, and why it can't be read.
pub fn events(kept: &Kept) -> Result<Vec<Told>, String> {
    let read = File::open(&kept.events).and_then(|file| recorded::read(&mut BufReader::new(file)));
    read.map_err(|error| format!("read {}: {error}", kept.events.display()))
}

fn play(events: &[Told], reports: &mut Reports) {
    events.iter().for_each(|told| reports.event(&told.event, told.words.as_deref()));
}

fn list() -> Result<(), String> {
    let runs = kept::all();
    if runs.is_empty() {
        return kept::find(None).map(drop).map_err(|error| error.to_string());
    }
    let look = Look::of(&console::Term::stdout());
    for kept in runs {
        let line = match events(&kept) {
            Ok(events) => {
                let story = Story::of_run(events);
                let came_to = story.came_to(unfinished(kept.fate));
                format!("{}  {}: {came_to}{}", kept.run, look.cut(story.name(), WIDEST), ago(story.time()))
            }
            Err(error) => format!("{}  {error}", kept.run),
        };
        print(&(line + "\n"));
    }
    Ok(())
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

fn has_ended(events: &[Told]) -> bool {
    events.iter().any(|told| matches!(told.event, Event::RunFinished(_)))
}

fn unfinished_in_full(events: &[Told], fate: Fate) -> String {
    match fate {
        Fate::Ended => ", whose record could not be written to its end: as far as it goes".into(),
        Fate::Runs => match cut_off::in_mid_run(events).len() {
            0 => ", which still runs: what has ended until now".into(),
            running => format!(", which still runs, {running} in mid-run: what has ended until now"),
        },
        Fate::Killed => {
            let last = short(cut_off::last_told(events));
            format!(", which was killed before its end; the last that it told was {last} after its begin")
        }
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

/// Whoever reads no further (`| head`) has seen enough.
fn print(text: &str) {
    let _ = io::stdout().lock().write_all(text.as_bytes());
}
