//! Which reports are written where: the same options of a run and of its record, the same readers of the same events.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::model::event::Event;
use crate::report::Reporter;
use crate::report::html::HtmlReporter;
use crate::report::json::JsonReporter;
use crate::report::junit::JunitReporter;

/// Options that name reports.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Write an event a line to FILE
    #[arg(long, value_name = "FILE", value_parser = not_standard_output, help_heading = "What is told")]
    json: Option<PathBuf>,
    /// Write JUnit XML to FILE
    #[arg(long, value_name = "FILE", value_parser = not_standard_output, help_heading = "What is told")]
    junit: Option<PathBuf>,
    /// Write a page to FILE that a browser shows: timeline, memory, every job
    #[arg(long, value_name = "FILE", value_parser = not_standard_output, help_heading = "What is told")]
    html: Option<PathBuf>,
}

impl ReportArgs {
    /// Whether they name any.
    pub fn any(&self) -> bool {
        let ReportArgs { json, junit, html } = self;
        [json, junit, html].into_iter().any(Option::is_some)
    }

    /// Opens what they name.
    ///
    /// # Errors
    /// In words: the first that can't be written.
    pub fn open(&self) -> Result<Reports, String> {
        let mut reports = Reports::default();
        if let Some(path) = &self.json {
            reports.add(JsonReporter::new(create(path)?), Some(path));
        }
        if let Some(path) = &self.junit {
            reports.add(JunitReporter::create(path).map_err(unwritable(path))?, Some(path));
        }
        if let Some(path) = &self.html {
            reports.add(HtmlReporter::create(path).map_err(unwritable(path))?, Some(path));
        }
        Ok(reports)
    }
}

/// Everyone who is told the events.
#[derive(Default)]
pub struct Reports {
    all: Vec<(Box<dyn Reporter>, Option<PathBuf>)>,
}

impl Reports {
    /// `file`: what to name if it can't be written.
    pub fn add(&mut self, reporter: impl Reporter + 'static, file: Option<&Path>) {
        self.all.push((Box::new(reporter), file.map(Path::to_owned)));
    }

    /// Tells all of them. `told`: as [`Reporter::event`] has it.
    pub fn event(&mut self, event: &Event, told: Option<&str>) {
        // A reader that has gone away is no reason to stop the tests; but a file that lacks events is told of, once.
        for (reporter, file) in &mut self.all {
            if let Err(error) = reporter.event(event, told)
                && let Some(file) = file.take()
            {
                tell(&format!("write {}: {error}; it is not complete", file.display()));
            }
        }
    }
}

/// Makes a file, or says why not.
///
/// # Errors
/// In words: which file, and the system's answer.
pub fn create(path: &Path) -> Result<File, String> {
    File::create(path).map_err(unwritable(path))
}

fn unwritable(path: &Path) -> impl FnOnce(io::Error) -> String {
    move |error| format!("write {}: {error}", path.display())
}

/// A line on standard error.
pub fn tell(message: &str) {
    let mut stderr = io::stderr().lock();
    let mark = if stderr.is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        "\u{1b}[1msandtest:\u{1b}[0m"
    } else {
        "sandtest:"
    };
    let _ = writeln!(stderr, "{mark} {message}");
}

/// A file: standard output is the jobs' own.
///
/// # Errors
/// In words, if it is none.
pub fn not_standard_output(text: &str) -> Result<PathBuf, String> {
    if text == "-" {
        return Err("standard output is the jobs'; name a file (/dev/stdout, if they may mix)".into());
    }
    Ok(text.into())
}
