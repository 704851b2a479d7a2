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

use super::place;

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
    /// A pipe or a device, what is open already, or a file in a folder that can't be written: once, at the end.
    Stream(File),
}

impl WholeFile {
    /// At `path`; it is empty until something is written.
    ///
    /// # Errors
    /// If it can't be written there: a folder, one that is not there, no right to.
    pub fn create(path: &Path) -> io::Result<WholeFile> {
        let (file, own) = place::open(path)?;
        let is_file = own && file.metadata().is_ok_and(|file| file.is_file());
        // Through a link to what it names, or the link itself would be replaced.
        let place = path.canonicalize().ok().filter(|_| is_file);
        let to = match place {
            Some(place) if can_write_beside(&place) => Target::File(place),
            _ => Target::Stream(file),
        };
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
                let part = beside(path);
                let written = replace(path, &part, text);
                if written.is_err() {
                    let _ = fs::remove_file(&part);
                }
                written
            }
        }
    }
}

fn replace(path: &Path, part: &Path, text: &str) -> io::Result<()> {
    fs::write(part, text)?;
    // Whoever may read what is there may read what comes.
    fs::set_permissions(part, fs::metadata(path)?.permissions())?;
    fs::rename(part, path)
}

fn beside(path: &Path) -> PathBuf {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    part.into()
}

fn can_write_beside(path: &Path) -> bool {
    let part = beside(path);
    File::create(&part).is_ok_and(|_| fs::remove_file(&part).is_ok())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_link_stays_one_and_rights_stay_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        symlink("file", &link).unwrap();
        WholeFile::create(&link).unwrap().write("new").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
