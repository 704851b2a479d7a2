//! The run's folder in the state directory: what it made, what happened, and a lock that lives as long as it.
//!
//! `$XDG_STATE_HOME/sandtest/runs/<run>/` (or `~/.local/state/...`):
//!
//! ```text
//! run.json      which groups were made, in which boot; `state`: running, finished, interrupted
//! events.jsonl  the events, a line each, as `--json` writes them
//! lock          held with flock(2) while sandtest runs: free means that it is gone, however it went; its time of change is
//!               when it was last seen alive
//! output/       what jobs wrote, where it was too long to keep
//! jobserver/    fifos with tokens for the builds in the jobs, while it runs
//! ```

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::model::RunId;

/// Runs whose folders are kept.
const KEPT: usize = 20;

/// A folder that could not be used.
#[derive(Debug, thiserror::Error)]
#[error("{what} {path}: {source}", path = path.display())]
pub struct RecordError {
    what: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// What `run.json` holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunFile {
    /// The run's id.
    pub run: String,
    /// `/proc/sys/kernel/random/boot_id`: another one, and the groups are gone.
    pub boot_id: String,
    /// `DEVICE:INODE` of `/sys/fs/cgroup`: with another one, these groups are out of sight.
    #[serde(default)]
    pub cgroup_root: String,
    /// What became of it.
    pub state: State,
    /// The run's groups, the one with `cgroup.kill` first.
    pub groups: Vec<PathBuf>,
    /// The folder in which the jobs' temporary directories are made, as long as it may be there.
    #[serde(default)]
    pub temporary: Option<PathBuf>,
}

/// What became of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It runs, or was killed: the lock tells.
    Running,
    /// It came to its end.
    Finished,
    /// It was killed, and swept.
    Interrupted,
}

/// The folder of the run that is this process.
#[derive(Debug)]
pub struct Record {
    folder: PathBuf,
    file: RunFile,
    /// Held, not used.
    _lock: File,
}

impl Record {
    /// Makes the folder and takes its lock. Notes `temporary`, the folder for the jobs' temporary directories: before
    /// it is made.
    ///
    /// # Errors
    /// [`RecordError`] if the state directory can't be written.
    pub fn begin(id: &RunId, temporary: Option<PathBuf>) -> Result<Record, RecordError> {
        let runs = runs_folder();
        let folder = runs.join(&id.0);
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(&folder).map_err(at("make", &folder))?;
        let path = folder.join("lock");
        let lock = File::create(&path).map_err(at("make", &path))?;
        lock.lock().map_err(at("lock", &path))?;
        let file = RunFile {
            run: id.0.clone(),
            boot_id: boot_id(),
            cgroup_root: cgroup_root(),
            state: State::Running,
            groups: Vec::new(),
            temporary,
        };
        let record = Record { folder, file, _lock: lock };
        record.write()?;
        prune(&runs);
        Ok(record)
    }

    /// Notes groups that are about to be made: before, so that a kill at any instant leaves none unknown.
    ///
    /// # Errors
    /// [`RecordError`] if the file can't be written.
    pub fn note_groups(&mut self, groups: &[PathBuf]) -> Result<(), RecordError> {
        self.file.groups = groups.to_vec();
        self.write()
    }

    /// Notes that the jobs' temporary directories are gone, and the folder with them.
    pub fn forget_temporary(&mut self) {
        self.file.temporary = None;
    }

    /// Notes that the run came to its end. With something left behind it stays for the next start to sweep.
    ///
    /// # Errors
    /// [`RecordError`] if the file can't be written.
    pub fn finish(&mut self, clean: bool) -> Result<(), RecordError> {
        if clean {
            self.file.state = State::Finished;
            self.file.groups.clear();
        }
        self.write().or_else(|_| overwrite_run_file(&self.folder, &self.file))
    }

    /// Removes all of it: of a run that was only a step of another one.
    pub fn discard(self) {
        let _ = fs::remove_dir_all(&self.folder);
    }

    /// What the run touches now and then, as long as it lives.
    pub fn pulse(&self) -> Option<File> {
        File::open(self.folder.join("lock")).ok()
    }

    /// Where the events go.
    pub fn events_path(&self) -> PathBuf {
        self.folder.join("events.jsonl")
    }

    /// Where the fifos of the jobs' jobserver are.
    pub fn jobserver_folder(&self) -> PathBuf {
        self.folder.join("jobserver")
    }

    /// Where the command's tests ask for jobs of their own.
    pub fn runner_folder(&self) -> PathBuf {
        self.folder.join("runner")
    }

    /// Where long output goes.
    pub fn output_folder(&self) -> PathBuf {
        self.folder.join("output")
    }

    fn write(&self) -> Result<(), RecordError> {
        write_run_file(&self.folder, &self.file)
    }
}

/// Writes `run.json` in its own place, for which a full disk has room: what was there was about as long.
fn overwrite_run_file(folder: &Path, file: &RunFile) -> Result<(), RecordError> {
    let path = folder.join("run.json");
    let write = || {
        let text = serde_json::to_string_pretty(file)?;
        // Not cut off before: whoever writes meanwhile would have the room.
        let mut old = File::options().write(true).open(&path)?;
        old.write_all(text.as_bytes())?;
        old.set_len(text.len() as u64)
    };
    write().map_err(at("write", &path))
}

/// Writes `run.json` as a whole or not at all.
pub(super) fn write_run_file(folder: &Path, file: &RunFile) -> Result<(), RecordError> {
    let (new, path) = (folder.join("run.json.new"), folder.join("run.json"));
    let text = serde_json::to_string_pretty(file).map_err(|error| at("write", &path)(error.into()))?;
    fs::write(&new, text).map_err(at("write", &new))?;
    fs::rename(&new, &path).map_err(at("write", &path))
}

/// The folders of runs whose sandtest is gone and that have left something, each with its lock held by us now.
pub(super) fn abandoned() -> Vec<(PathBuf, RunFile, File)> {
    let entries = fs::read_dir(runs_folder()).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let folder = entry.path();
            let file: RunFile =
                serde_json::from_str(&fs::read_to_string(folder.join("run.json")).ok()?).ok()?;
            if file.state != State::Running && file.temporary.is_none() {
                return None;
            }
            let lock = File::open(folder.join("lock")).ok()?;
            match lock.try_lock() {
                Ok(()) => Some((folder, file, lock)),
                Err(TryLockError::WouldBlock | TryLockError::Error(_)) => None,
            }
        })
        .collect()
}

/// Which cgroup tree is in sight: a container or another mount namespace with the same state directory sees another.
pub(super) fn cgroup_root() -> String {
    fs::metadata("/sys/fs/cgroup").map_or(String::new(), |found| format!("{}:{}", found.dev(), found.ino()))
}

/// Which boot of the machine this is.
pub(super) fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// A name for a new run: sorts by time, unique on this host.
pub fn new_id() -> RunId {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    RunId(format!("{:x}-{:03x}-{}", since.as_secs(), since.subsec_millis(), std::process::id()))
}

/// `$XDG_STATE_HOME/sandtest/runs`, or where that can't be written, a folder of our own in the temporary one.
pub(super) fn runs_folder() -> PathBuf {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
    let usable = state.map(|state| state.join("sandtest")).filter(|folder| {
        fs::create_dir_all(folder).is_ok()
            && nix::unistd::access(folder.as_path(), nix::unistd::AccessFlags::W_OK).is_ok()
    });
    usable.unwrap_or_else(own_temporary_folder).join("runs")
}

/// `/tmp/sandtest-UID`; one that somebody else made there first is not used.
fn own_temporary_folder() -> PathBuf {
    let uid = nix::unistd::geteuid().as_raw();
    let folder = std::env::temp_dir().join(format!("sandtest-{uid}"));
    let _ = fs::DirBuilder::new().mode(0o700).create(&folder);
    let ours = fs::symlink_metadata(&folder).is_ok_and(|meta| meta.is_dir() && meta.uid() == uid);
    if ours { folder } else { std::env::temp_dir().join(format!("sandtest-{uid}-{}", std::process::id())) }
}

/// Removes the folders of the oldest runs that have ended.
fn prune(runs: &Path) {
    let mut folders: Vec<PathBuf> =
        fs::read_dir(runs).into_iter().flatten().flatten().map(|e| e.path()).collect();
    if folders.len() <= KEPT {
        return;
    }
    folders.sort();
    for folder in &folders[..folders.len() - KEPT] {
        // Removed with the lock held, so never under a running sandtest.
        let Ok(lock) = File::open(folder.join("lock")) else { continue };
        let ended = fs::read_to_string(folder.join("run.json")).is_ok_and(|text| {
            serde_json::from_str::<RunFile>(&text).is_ok_and(|file| file.state != State::Running)
        });
        if ended && lock.try_lock().is_ok() {
            let _ = fs::remove_dir_all(folder);
        }
    }
}

fn at(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RecordError {
    let path = path.to_owned();
    move |source| RecordError { what, path, source }
}
