//! Which reports are written where: the same options of a run and of its record, the same readers of the same events.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use crate::model::event::Event;
use crate::report::Reporter;
use crate::report::github::GithubReporter;
use crate::report::html::HtmlReporter;
use crate::report::json::JsonReporter;
use crate::report::junit::JunitReporter;
use crate::report::libtest::LibtestReporter;
use crate::report::lines::Lines;
use crate::report::tap::TapReporter;
use crate::report::terminal::PatientStderr;
use crate::report::trace::TraceReporter;

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
    /// Write TAP to FILE, for prove and Jenkins
    #[arg(long, value_name = "FILE", value_parser = not_standard_output, help_heading = "What is told")]
    tap: Option<PathBuf>,
    /// Write the lines of cargo test's --format json to FILE
    #[arg(long, value_name = "FILE", value_parser = not_standard_output, help_heading = "What is told")]
    libtest_json: Option<PathBuf>,
    /// Write a trace to FILE, for ui.perfetto.dev and chrome://tracing
    #[arg(long, value_name = "FILE", value_parser = not_standard_output, help_heading = "What is told")]
    trace: Option<PathBuf>,
    /// Annotate what failed, and append to the job's summary: `auto` under GitHub Actions
    #[arg(long, value_name = "MODE", default_value = "auto", help_heading = "What is told")]
    github: Github,
}

/// Whether GitHub is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Github {
    /// If GITHUB_ACTIONS is `true`
    Auto,
    /// Always
    On,
    /// Never
    Off,
}

impl ReportArgs {
    /// Whether they name any.
    pub fn any(&self) -> bool {
        let ReportArgs { json, junit, html, tap, libtest_json, trace, github } = self;
        [json, junit, html, tap, libtest_json, trace].into_iter().any(Option::is_some)
            || *github == Github::On
    }

    /// Opens what they name; for a run, also what its surroundings ask for.
    ///
    /// # Errors
    /// In words: the first that can't be written, or two that are one file.
    pub fn open(&self, of_a_run: bool) -> Result<Reports, String> {
        self.are_apart()?;
        let mut reports = Reports::default();
        if let Some(path) = &self.json {
            reports.add(JsonReporter::new(lines(path)?), Some(path));
        }
        if let Some(path) = &self.junit {
            reports.add(JunitReporter::create(path).map_err(unwritable(path))?, Some(path));
        }
        if let Some(path) = &self.html {
            reports.add(HtmlReporter::create(path).map_err(unwritable(path))?, Some(path));
        }
        if let Some(path) = &self.tap {
            reports.add(TapReporter::new(lines(path)?), Some(path));
        }
        if let Some(path) = &self.libtest_json {
            reports.add(LibtestReporter::new(lines(path)?), Some(path));
        }
        if let Some(path) = &self.trace {
            reports.add(TraceReporter::create(path).map_err(unwritable(path))?, Some(path));
        }
        let under_actions = || std::env::var_os("GITHUB_ACTIONS").is_some_and(|value| value == "true");
        if self.github == Github::On || (self.github == Github::Auto && of_a_run && under_actions()) {
            let summary = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty());
            let summary = summary.map(PathBuf::from);
            reports.add(GithubReporter::new(PatientStderr::default(), summary.clone()), summary.as_deref());
        }
        Ok(reports)
    }
}

impl ReportArgs {
    /// Two reports in one file would write over each other.
    fn are_apart(&self) -> Result<(), String> {
        let ReportArgs { json, junit, html, tap, libtest_json, trace, github: _ } = self;
        let mut files: BTreeMap<Place, &Path> = BTreeMap::new();
        for path in [json, junit, html, tap, libtest_json, trace].into_iter().flatten() {
            if let Some(place) = Place::of(path)
                && let Some(other) = files.insert(place, path)
            {
                let (one, other) = (path.display(), other.display());
                return Err(format!("write {one}: another report goes to {other}, the same file; name two"));
            }
        }
        Ok(())
    }
}

/// Which file a path names.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    There { device: u64, inode: u64 },
    New(PathBuf),
}

impl Place {
    /// `None` of what two may share, as a pipe or a device.
    fn of(path: &Path) -> Option<Place> {
        match path.metadata() {
            Ok(found) => found.is_file().then(|| Place::There { device: found.dev(), inode: found.ino() }),
            Err(_) => {
                let folder =
                    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
                Some(Place::New(folder.canonicalize().ok()?.join(path.file_name()?)))
            }
        }
    }
}

/// Everyone who is told the events.
#[derive(Default)]
pub struct Reports {
    all: Vec<(Box<dyn Reporter>, Option<PathBuf>)>,
    failure: Option<io::Error>,
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
            let Err(error) = reporter.event(event, told) else { continue };
            if let Some(file) = file.take() {
                tell(&format!("write {}: {error}; it is not complete", file.display()));
            }
            if error.kind() != io::ErrorKind::BrokenPipe {
                self.failure.get_or_insert(error);
            }
        }
    }

    /// Why the first that could not be written could not, other than that its reader has gone.
    pub fn failure(self) -> Option<io::Error> {
        self.failure
    }
}

/// Makes a file, or says why not.
///
/// # Errors
/// In words: which file, and the system's answer.
pub fn create(path: &Path) -> Result<File, String> {
    File::create(path).map_err(unwritable(path))
}

/// Makes a report of lines, or says why not.
///
/// # Errors
/// As [`create`].
pub fn lines(path: &Path) -> Result<Lines, String> {
    Lines::create(path).map_err(unwritable(path))
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
