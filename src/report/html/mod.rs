//! One page that a browser shows from a file, without a network: what happened at a glance, when, and every job in detail.
//!
//! ```text
//! events ─▶ collected (bounded) ─▶ page = head and failures as HTML + all of it as JSON + css and js
//! ```
//!
//! - [`collected`]: what is kept of the events
//! - [`rows`]: jobs, attempts and decisions as the page's script reads them
//! - [`bounded`]: texts that share a budget, so that no run makes a page too large to open
//! - [`still`]: what is there without a script
//! - [`page`]: puts it together; what a test chose goes in as data, never as markup

pub mod bounded;
mod collected;
pub mod page;
mod rows;
mod still;

use std::io;
use std::path::Path;

use self::collected::Collected;
use super::whole_file::WholeFile;
use super::{Reporter, diagnosis};
use crate::model::event::{AttemptFinished, Event};

/// Keeps what happened, and writes the page.
pub struct HtmlReporter {
    file: WholeFile,
    run: Collected,
}

impl HtmlReporter {
    /// Writes to `path`.
    ///
    /// # Errors
    /// If it can't be written there: a folder, one that is not there, no right to.
    pub fn create(path: &Path) -> io::Result<HtmlReporter> {
        Ok(HtmlReporter { file: WholeFile::create(path)?, run: Collected::default() })
    }

    fn attempt_finished(&mut self, attempt: &AttemptFinished, told: Option<&str>) -> io::Result<()> {
        let seen = attempt.diagnosis.as_ref().map(|seen| diagnosis::short(seen).join("\n"));
        self.run.finished_attempt(attempt, told.unwrap_or_default().to_owned(), seen.unwrap_or_default());
        self.file.write_if_due(|| page::page(&self.run))
    }
}

impl Reporter for HtmlReporter {
    fn event(&mut self, event: &Event, told: Option<&str>) -> io::Result<()> {
        match event {
            Event::RunStarted(started) => self.run.started(started),
            Event::AttemptStarted(started) => self.run.started_attempt(started),
            Event::Governor { at, decision, job } => self.run.decided(*at, decision, job.as_deref()),
            Event::AttemptFinished(attempt) => return self.attempt_finished(attempt, told),
            Event::GivenUp { attempt, job } => self.run.given_up(attempt.job, job),
            Event::RunFinished(finished) => {
                self.run.finished(finished);
                return self.file.write(&page::page(&self.run)?);
            }
            Event::Slow { .. } | Event::Unsettled { .. } | Event::Broker { .. } => {}
        }
        Ok(())
    }
}
