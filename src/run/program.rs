//! A command's file, arguments and environment, ready for exec.
//!
//! The file is looked up here, before the spawn, the way execvp(3) does: the child itself must not.

use std::collections::HashMap;
use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, eaccess};

use crate::kernel::child::Step;
use crate::kernel::spawn::{Program, SpawnFailure};
use crate::model::event::SpawnError;
use crate::model::{Attempt, Command, Job, RunId};

/// Makes programs; remembers where it found them and the environment that all share.
#[derive(Debug)]
pub struct Programs {
    environment: Vec<CString>,
    search: Vec<PathBuf>,
    found: HashMap<OsString, Result<PathBuf, SpawnError>>,
}

impl Programs {
    /// With this process's environment, for `run`.
    pub fn new(run: &RunId) -> Programs {
        let inherited = std::env::vars_os().filter(|(name, _)| !name.as_bytes().starts_with(b"SANDTEST_"));
        let mut environment: Vec<CString> =
            inherited.filter_map(|(name, value)| entry(name.as_bytes(), value.as_bytes())).collect();
        environment.extend(entry(b"SANDTEST_RUN", run.0.as_bytes()));
        let search = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
        Programs { environment, search: std::env::split_paths(&search).collect(), found: HashMap::new() }
    }

    /// The program of `job` for this `attempt`.
    ///
    /// # Errors
    /// [`SpawnError`] with 127 if there is no such file, 126 if it can't be executed.
    pub fn program(&mut self, job: &Job, attempt: Attempt) -> Result<Program, SpawnError> {
        let path = self.find(&job.command.program)?;
        let words = std::iter::once(&job.command.program).chain(&job.command.arguments);
        let mut environment = self.environment.clone();
        environment.extend(entry(b"SANDTEST_JOB", job.name.as_bytes()));
        environment.extend(entry(b"SANDTEST_ATTEMPT", attempt.id.number.to_string().as_bytes()));
        environment.extend(entry(b"SANDTEST_SLOT", attempt.slot.to_string().as_bytes()));
        if let Some(shard) = job.shard {
            for (index, total) in
                [("TEST_SHARD_INDEX", "TEST_TOTAL_SHARDS"), ("GTEST_SHARD_INDEX", "GTEST_TOTAL_SHARDS")]
            {
                let given = |entry: &CString| {
                    [index, total]
                        .iter()
                        .any(|name| entry.as_bytes().starts_with(format!("{name}=").as_bytes()))
                };
                environment.retain(|entry| !given(entry));
                environment.extend(entry(index.as_bytes(), shard.index.to_string().as_bytes()));
                environment.extend(entry(total.as_bytes(), shard.total.to_string().as_bytes()));
            }
        }
        Ok(Program {
            path: c_string(path.as_os_str())?,
            argv: words.map(|word| c_string(word)).collect::<Result<_, _>>()?,
            environment,
        })
    }

    fn find(&mut self, name: &OsStr) -> Result<PathBuf, SpawnError> {
        if let Some(found) = self.found.get(name) {
            return found.clone();
        }
        let found = search(name, &self.search);
        self.found.insert(name.to_owned(), found.clone());
        found
    }
}

/// What to tell of a spawn that failed.
pub fn explain(command: &Command, failure: SpawnFailure) -> SpawnError {
    let cause = std::io::Error::from_raw_os_error(failure.errno);
    let program = command.program.display();
    match (failure.step, failure.errno) {
        (Step::Exec, libc::ENOENT) => SpawnError {
            // The file was there when it was looked up, so what lacks is what it names in its first line.
            message: format!("{program}: its interpreter is missing ({cause})"),
            exit_code: 127,
        },
        (Step::Exec, libc::ENOEXEC) => SpawnError {
            message: format!(
                "{program} can't be executed: it is no program and has no `#!` line (sh {program}?)"
            ),
            exit_code: 126,
        },
        (Step::Exec, libc::EACCES | libc::EISDIR | libc::ETXTBSY | libc::EPERM | libc::ELOOP) => {
            SpawnError { message: format!("{program} can't be executed: {cause}"), exit_code: 126 }
        }
        (Step::Exec, libc::E2BIG) => SpawnError {
            message: format!("{program}: arguments and environment are too long: {cause}"),
            exit_code: 126,
        },
        (step, _) => SpawnError {
            message: format!("start {program}: {}: {cause}", step_in_words(step)),
            exit_code: 125,
        },
    }
}

fn step_in_words(step: Step) -> &'static str {
    match step {
        Step::None => "nothing failed",
        Step::Clone => "clone into its cgroup",
        Step::Orphaned => "sandtest ended meanwhile",
        Step::OomScoreAdj => "write /proc/self/oom_score_adj",
        Step::Join => "enter its v1 cgroup",
        Step::Stdio => "connect its standard streams",
        Step::Close => "close other descriptors",
        Step::Nofile => "set RLIMIT_NOFILE",
        Step::NoNewPrivs => "set no_new_privs",
        Step::Exec => "exec",
    }
}

fn search(name: &OsStr, folders: &[PathBuf]) -> Result<PathBuf, SpawnError> {
    let shown = name.display();
    let not_found = |message: String| SpawnError { message, exit_code: 127 };
    if name.as_bytes().contains(&b'/') {
        let path = Path::new(name);
        return match path.metadata() {
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                Err(SpawnError { message: format!("{shown} can't be executed: {error}"), exit_code: 126 })
            }
            Err(error) => Err(not_found(format!("{shown} was not found: {error}"))),
            Ok(_) => executable(path).map(|()| path.to_owned()),
        };
    }
    let mut refused = None;
    for folder in folders {
        // An empty part of PATH is the working directory.
        let path = if folder.as_os_str().is_empty() { Path::new(".").join(name) } else { folder.join(name) };
        match path.metadata() {
            Ok(_) => match executable(&path) {
                Ok(()) => return Ok(path),
                Err(error) => refused = refused.or(Some(error)),
            },
            Err(_) => continue,
        }
    }
    Err(refused.unwrap_or_else(|| not_found(format!("{shown} was not found in PATH"))))
}

fn executable(path: &Path) -> Result<(), SpawnError> {
    let refuse = |why: &str| SpawnError {
        message: format!("{} can't be executed: {why}", path.display()),
        exit_code: 126,
    };
    if path.is_dir() {
        return Err(refuse("it is a directory"));
    }
    eaccess(path, AccessFlags::X_OK).map_err(|errno| refuse(&format!("{} (chmod +x?)", errno.desc())))
}

/// `NAME=value`; `None` for what no environment can hold.
fn entry(name: &[u8], value: &[u8]) -> Option<CString> {
    CString::new([name, b"=", value].concat()).ok()
}

fn c_string(text: &OsStr) -> Result<CString, SpawnError> {
    CString::new(text.to_owned().into_vec())
        .map_err(|_| SpawnError { message: format!("{} holds a NUL byte", text.display()), exit_code: 126 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_looked_up_as_execvp_does() {
        let folders = [PathBuf::from("/nowhere"), PathBuf::from("/usr/bin"), PathBuf::from("/bin")];
        assert!(search(OsStr::new("true"), &folders).unwrap().ends_with("bin/true"));
        assert_eq!(search(OsStr::new("no-such-command"), &folders).unwrap_err().exit_code, 127);
        assert_eq!(search(OsStr::new("/no/such/program"), &folders).unwrap_err().exit_code, 127);
        assert_eq!(search(OsStr::new("/proc/self/status"), &folders).unwrap_err().exit_code, 126);
        assert_eq!(search(OsStr::new("/etc"), &folders).unwrap_err().exit_code, 126);
    }
}
