//! Runs whose folders are kept in the state directory, found again.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::record::{RunFile, State, runs_folder};
use crate::model::Fate;

/// A run that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its id.
    pub run: String,
    /// Its events, a line each.
    pub events: PathBuf,
    /// What became of it.
    pub fate: Fate,
    /// When it was last seen alive, as far as it says.
    pub seen: Option<SystemTime>,
}

/// A run that is not to be found.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// There are none.
    #[error("no run is kept in {folder}; sandtest exec keeps the last ones there", folder = folder.display())]
    None {
        /// Where they would be.
        folder: PathBuf,
    },
    /// None has this id.
    #[error("no run in {folder} is called {wanted:?}; the last one is {last}", folder = folder.display())]
    Unknown {
        /// Where they are.
        folder: PathBuf,
        /// What was asked for.
        wanted: String,
        /// The id of the last one.
        last: String,
    },
}

/// The run whose id begins with `wanted`, the last of such; without `wanted` the last one.
///
/// # Errors
/// [`KeptError`] if there is none.
pub fn find(wanted: Option<&str>) -> Result<Kept, KeptError> {
    find_in(&runs_folder(), wanted)
}

/// All runs that are kept, the last one last.
pub fn all() -> Vec<Kept> {
    let folder = runs_folder();
    ids(&folder).into_iter().map(|id| kept(&folder, id)).collect()
}

fn ids(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let with_events = |id: &String| folder.join(id).join("events.jsonl").is_file();
    let mut ids: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    // Ids sort by time.
    ids.sort();
    ids.retain(with_events);
    ids
}

fn find_in(folder: &Path, wanted: Option<&str>) -> Result<Kept, KeptError> {
    let ids = ids(folder);
    let last = ids.last().ok_or_else(|| KeptError::None { folder: folder.to_owned() })?;
    let id = match wanted {
        Some(wanted) => ids.iter().rfind(|id| id.starts_with(wanted)).ok_or_else(|| KeptError::Unknown {
            folder: folder.to_owned(),
            wanted: wanted.to_owned(),
            last: last.clone(),
        })?,
        None => last,
    };
    Ok(kept(folder, id.clone()))
}

fn kept(folder: &Path, run: String) -> Kept {
    let home = folder.join(&run);
    let seen = home.join("lock").metadata().and_then(|lock| lock.modified()).ok();
    Kept { run, events: home.join("events.jsonl"), fate: fate(&home), seen }
}

fn fate(home: &Path) -> Fate {
    let file = fs::read_to_string(home.join("run.json")).ok();
    match file.and_then(|text| serde_json::from_str::<RunFile>(&text).ok()).map(|file| file.state) {
        Some(State::Finished) => Fate::Ended,
        Some(State::Running) if is_locked(home) => Fate::Runs,
        _ => Fate::Killed,
    }
}

/// The lock is held for as long as its sandtest lives.
fn is_locked(home: &Path) -> bool {
    let lock = File::open(home.join("lock"));
    lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep(folder: &Path, id: &str, state: &str) {
        let home = folder.join(id);
        fs::create_dir_all(&home).unwrap();
        fs::write(home.join("events.jsonl"), "").unwrap();
        fs::write(home.join("lock"), "").unwrap();
        let file = format!(r#"{{"run":"{id}","boot_id":"","state":"{state}","groups":[]}}"#);
        fs::write(home.join("run.json"), file).unwrap();
    }

    #[test]
    fn the_last_one_is_found_or_the_one_that_is_named() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(find_in(folder.path(), None), Err(KeptError::None { .. })));
        for (id, state) in [("6b01-1", "finished"), ("6b02-2", "interrupted"), ("6b02-3", "running")] {
            keep(folder.path(), id, state);
        }
        fs::create_dir(folder.path().join("6b09-without-events")).unwrap();
        let found = |wanted| find_in(folder.path(), wanted).map(|kept| (kept.run, kept.fate));
        assert_eq!(found(None).unwrap(), ("6b02-3".into(), Fate::Killed), "nobody holds its lock");
        assert_eq!(found(Some("6b01")).unwrap(), ("6b01-1".into(), Fate::Ended));
        assert_eq!(found(Some("6b02-2")).unwrap(), ("6b02-2".into(), Fate::Killed));
        let lock = File::open(folder.path().join("6b02-3/lock")).unwrap();
        lock.lock().unwrap();
        assert_eq!(found(Some("6b02")).unwrap(), ("6b02-3".into(), Fate::Runs));
        let unknown = found(Some("7")).unwrap_err().to_string();
        assert!(unknown.contains("\"7\"") && unknown.contains("6b02-3"), "{unknown}");
    }
}
