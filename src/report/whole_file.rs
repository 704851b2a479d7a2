//! A report that is one file, whole at any time: written beside it and put in its place.
//!
//! ```text
//! something ended ─▶ not written for a while? ─▶ FILE.part ─▶ FILE          (a run that is killed has a report)
//! run ended ───────────────────────────────────▶ FILE.part ─▶ FILE
//! ```

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// It is written anew at most so often before the end of the run,
const SELDOM: Duration = Duration::from_secs(2);

/// and takes at most such a part of the time.
const PART: u32 = 100;

/// Where a report is written.
#[derive(Debug)]
pub struct WholeFile {
    to: Target,
    due: Instant,
}

#[derive(Debug)]
enum Target {
    /// Written beside it first, so that what is there is whole at any time.
    File(PathBuf),
    /// A pipe or a device: once, at the end.
    Stream(File),
}

impl WholeFile {
    /// At `path`; it is empty until something is written.
    ///
    /// # Errors
    /// If it can't be written there: a folder, one that is not there, no right to.
    pub fn create(path: &Path) -> io::Result<WholeFile> {
        let file = File::create(path)?;
        let to =
            if file.metadata()?.is_file() { Target::File(path.to_owned()) } else { Target::Stream(file) };
        Ok(WholeFile { to, due: Instant::now() + SELDOM })
    }

    /// Writes what `make` makes, unless that was done a moment ago.
    ///
    /// # Errors
    /// The file's, and those of `make`.
    pub fn write_if_due(&mut self, make: impl FnOnce() -> io::Result<String>) -> io::Result<()> {
        let begin = Instant::now();
        if begin < self.due || matches!(self.to, Target::Stream(_)) {
            return Ok(());
        }
        let written = make().and_then(|text| self.write(&text));
        let end = Instant::now();
        self.due = end + SELDOM.max((end - begin).saturating_mul(PART));
        written
    }

    /// Writes `text` in the place of all that is there.
    ///
    /// # Errors
    /// The file's; what was there before is there still.
    pub fn write(&mut self, text: &str) -> io::Result<()> {
        match &mut self.to {
            Target::Stream(file) => file.write_all(text.as_bytes()),
            Target::File(path) => {
                let mut part = path.clone().into_os_string();
                part.push(".part");
                let written = fs::write(&part, text).and_then(|()| fs::rename(&part, path));
                if written.is_err() {
                    let _ = fs::remove_file(&part);
                }
                written
            }
        }
    }
}
