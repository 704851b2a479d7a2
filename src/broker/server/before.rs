//! Who ran under the broker before: noted beside the socket, so that the next one knows whom to wait for.
//!
//! ```text
//! first permit of a run ──▶ noted        before it is told of
//! broker starts ──▶ those noted that still live ── each back with its `declare`, or dead ──▶ it grants
//!                                               └ 2 s ──▶ it grants
//! ```
//!
//! By pid and start time, so that a number that has come round again is nobody. Nothing secret is in it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;

use crate::kernel::{pidfd, process};

/// A process, for good: its pid, and when it started in clock ticks since boot.
pub type Known = (u32, u64);

/// The file, and who is in it.
#[derive(Debug)]
pub struct Noted {
    file: PathBuf,
    /// How many clients of each process; 0 for one that was noted by the last broker and has not come back.
    runs: BTreeMap<Known, u32>,
    changed: bool,
}

impl Noted {
    /// Those that were noted in `file` and live still. What is no such note is none.
    pub fn read(file: PathBuf) -> Noted {
        let text = fs::read_to_string(&file).unwrap_or_default();
        let lives = |(pid, starttime): &Known| {
            process::Stat::read(*pid).is_some_and(|stat| stat.starttime == *starttime && stat.is_alive())
        };
        let runs = text.lines().filter_map(parse).filter(lives).map(|run| (run, 0)).collect();
        Noted { file, runs, changed: false }
    }

    /// All of them.
    pub fn runs(&self) -> impl Iterator<Item = Known> {
        self.runs.keys().copied()
    }

    /// A client of this process runs something.
    pub fn add(&mut self, run: Known) {
        let clients = self.runs.entry(run).or_insert_with(|| {
            self.changed = true;
            0
        });
        *clients += 1;
    }

    /// Nothing of a client of this process runs any more.
    pub fn remove(&mut self, run: Known) {
        if let Some(clients) = self.runs.get_mut(&run) {
            *clients = clients.saturating_sub(1);
        }
        self.settle(run);
    }

    /// What was noted of this one by the last broker has come back, or will not.
    pub fn settle(&mut self, run: Known) {
        if self.runs.get(&run) == Some(&0) {
            self.runs.remove(&run);
            self.changed = true;
        }
    }

    /// Writes what has changed, as a whole.
    ///
    /// # Errors
    /// The system's. It is tried again with the next change.
    pub fn write(&mut self) -> io::Result<()> {
        if !std::mem::take(&mut self.changed) {
            return Ok(());
        }
        let text: String = self.runs.keys().map(|(pid, starttime)| format!("{pid} {starttime}\n")).collect();
        let next = self.file.with_extension("next");
        fs::write(&next, text)?;
        fs::rename(&next, &self.file)
    }

    /// Where it is.
    pub fn file(&self) -> &std::path::Path {
        &self.file
    }

    /// Removes the file, if nobody is in it.
    pub fn remove_if_empty(&self) {
        if self.runs.is_empty() {
            let _ = fs::remove_file(&self.file);
        }
    }
}

/// A handle that tells of its end; `None` if that has come.
pub fn hold((pid, starttime): Known) -> Option<std::os::fd::OwnedFd> {
    let held = pidfd::open(pid)?;
    let same = process::Stat::read(pid).is_some_and(|stat| stat.starttime == starttime);
    (same && !pidfd::has_ended(&held)).then_some(held)
}

fn parse(line: &str) -> Option<Known> {
    let (pid, starttime) = line.split_once(' ')?;
    Some((pid.parse().ok()?, starttime.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_lives_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("b.sock.runs");
        let me = std::process::id();
        let mine = (me, process::Stat::read(me).unwrap().starttime);
        let mut noted = Noted::read(file.clone());
        noted.add(mine);
        noted.add((me, mine.1 + 1));
        noted.add((u32::MAX >> 2, 1));
        noted.write().unwrap();
        assert_eq!(Noted::read(file.clone()).runs().collect::<Vec<_>>(), [mine]);
        noted.add(mine);
        noted.remove(mine);
        noted.write().unwrap();
        assert_eq!(Noted::read(file.clone()).runs().count(), 1, "another client of it is there");
        let mut next = Noted::read(file.clone());
        next.settle(mine);
        next.write().unwrap();
        assert_eq!(Noted::read(file.clone()).runs().count(), 0);
        fs::write(&file, "nonsense\n1\n\n 2 3\n").unwrap();
        assert_eq!(Noted::read(file).runs().count(), 0);
    }
}
