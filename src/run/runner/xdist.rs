//! Workers of pytest-xdist: who is one, what it is called, and the test that it was at when it ended.
//!
//! ```text
//! pytest ── execnet ──▶ python -u -c BOOTSTRAP ── our sitecustomize ──▶ run-wrapper ══ python again, in its group
//!                                                                                       │ PYTEST_CURRENT_TEST
//!                                                            at its end we read ◀── its note
//! ```
//!
//! pytest makes all its workers before any of them begins, so none may wait (`Job::at_once`).

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::kernel::process::Stat;
use crate::model::JobId;
use crate::model::text::harmless;

/// In the environment of a worker: the file in which it notes its test, up to a NUL.
pub const NOTE: &str = "SANDTEST_NOTE";

/// What execnet, which makes the workers, has Python run.
const BOOTSTRAP: &str = "import sys;exec(eval(sys.stdin.readline()))";

/// A longer note is cut.
const LONGEST_NOTE: u64 = 4096;

/// The workers of a run.
#[derive(Debug)]
pub(super) struct Workers {
    folder: PathBuf,
    /// How many each pytest has made, by its process.
    made: HashMap<u32, u32>,
}

impl Workers {
    /// `folder`: for their notes.
    pub fn new(folder: PathBuf) -> Workers {
        Workers { folder, made: HashMap::new() }
    }

    /// What it is called, if it is one: by its number, as execnet gives them in the order in which it makes them.
    pub fn name(&mut self, words: &[OsString], pid: u32) -> Option<String> {
        if !is_one(words) {
            return None;
        }
        let made = self.made.entry(Stat::read(pid)?.ppid).or_default();
        *made += 1;
        Some(format!("pytest gw{}", *made - 1))
    }

    /// Where it notes its test.
    pub fn note(&self, job: JobId) -> PathBuf {
        self.folder.join(format!("note-{}", job.0))
    }

    /// The test that it was at when it ended.
    pub fn last_test(&self, job: JobId) -> Option<String> {
        read(&self.note(job))
    }
}

/// Whether these words are a worker's.
pub(super) fn is_one(words: &[OsString]) -> bool {
    matches!(words, [.., option, last] if option == "-c" && last == BOOTSTRAP)
}

fn read(note: &Path) -> Option<String> {
    // Its tests may have put something else in its place, and nobody waits for a writer.
    let file =
        OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW).open(note).ok()?;
    file.metadata().ok().filter(|metadata| metadata.is_file())?;
    let mut bytes = Vec::new();
    file.take(LONGEST_NOTE).read_to_end(&mut bytes).ok()?;
    let text = bytes.split(|byte| *byte == 0).next().filter(|text| !text.is_empty())?;
    Some(harmless(&String::from_utf8_lossy(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<OsString> {
        words.iter().map(Into::into).collect()
    }

    #[test]
    fn a_worker_is_known_by_what_execnet_has_it_run() {
        let own = std::process::id();
        let mut workers = Workers::new(PathBuf::new());
        let worker = words(&["/venv/bin/python", "-u", "-c", BOOTSTRAP]);
        assert_eq!(workers.name(&worker, own).unwrap(), "pytest gw0");
        assert_eq!(workers.name(&words(&["python", "-c", "print()"]), own), None);
        assert_eq!(workers.name(&worker, own).unwrap(), "pytest gw1");
    }

    #[test]
    fn a_note_ends_with_its_first_nul() {
        let folder = tempfile::tempdir().unwrap();
        let note = |bytes: &[u8]| {
            let path = folder.path().join("note-1");
            std::fs::write(&path, bytes).unwrap();
            Workers::new(folder.path().to_owned()).last_test(JobId(1))
        };
        assert_eq!(note(b"a.py::b (call)\0longer before\0").unwrap(), "a.py::b (call)");
        assert_eq!(note(b"a\x1b[m\xff\0").unwrap(), "a?[m\u{fffd}");
        assert_eq!(note(b"\0a.py::b (teardown)\0"), None);
        assert_eq!(note(b""), None);
        assert_eq!(Workers::new(folder.path().to_owned()).last_test(JobId(2)), None);
    }

    #[test]
    fn what_is_no_file_is_no_note_and_nobody_waits_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = |number: u32| folder.path().join(format!("note-{number}"));
        nix::unistd::mkfifo(&path(1), nix::sys::stat::Mode::S_IRWXU).unwrap();
        std::fs::create_dir(path(2)).unwrap();
        std::fs::write(folder.path().join("other"), "a.py::b (call)\0").unwrap();
        std::os::unix::fs::symlink(folder.path().join("other"), path(3)).unwrap();
        let workers = Workers::new(folder.path().to_owned());
        for number in 1..=3 {
            assert_eq!(workers.last_test(JobId(number)), None, "{number}");
        }
    }
}
