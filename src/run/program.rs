//! A command's file, arguments and environment, ready for exec.
//!
//! The file is looked up here, before the spawn, the way execvp(3) does: the child itself must not.

use std::collections::HashMap;
use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::unistd::{AccessFlags, eaccess};

use super::jobserver::flags::OTHERS;
use crate::broker::socket::{LEASE, VARIABLE as BROKER};
use crate::kernel::child::Step;
use crate::kernel::spawn::{Environment, Program, SpawnFailure};
use crate::model::event::SpawnError;
use crate::model::job::group_variable;
use crate::model::{Attempt, Command, Job, RunId};

/// Index and total, as bazel's test runners and googletest know them.
const SHARD_VARIABLES: [&str; 4] =
    ["TEST_SHARD_INDEX", "TEST_TOTAL_SHARDS", "GTEST_SHARD_INDEX", "GTEST_TOTAL_SHARDS"];

/// Makes programs; remembers where it found them and the environment that all share.
#[derive(Debug)]
pub struct Programs {
    environment: Arc<[CString]>,
    /// The same without what a shard's own variables take the place of.
    environment_of_shards: Arc<[CString]>,
    search: Vec<PathBuf>,
    found: HashMap<OsString, PathBuf>,
}

/// What a run inside of a job needs to ask the same broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nest {
    /// Its socket.
    pub socket: PathBuf,
    /// The run's lease, and the job.
    pub inside: String,
}

impl Programs {
    /// With this process's environment, for `run`. `temporary`: each attempt has a `TMPDIR` of its own. `makeflags`: what
    /// jobs are told in the place of what we were.
    pub fn new(run: &RunId, temporary: bool, makeflags: Option<&str>) -> Programs {
        let of_make =
            |name: &[u8]| name == b"MAKEFLAGS" || OTHERS.iter().any(|other| name == other.as_bytes());
        // Where the broker is was said by somebody else, for all.
        let is_own = |name: &[u8]| name.starts_with(b"SANDTEST_") && name != BROKER.as_bytes();
        let ours = |name: &[u8]| {
            is_own(name) || (temporary && name == b"TMPDIR") || (makeflags.is_some() && of_make(name))
        };
        let inherited = std::env::vars_os().filter(|(name, _)| !ours(name.as_bytes()));
        let mut environment: Vec<CString> =
            inherited.filter_map(|(name, value)| entry(name.as_bytes(), value.as_bytes())).collect();
        environment.extend(entry(b"SANDTEST_RUN", run.0.as_bytes()));
        let makeflags = makeflags.filter(|flags| !flags.is_empty());
        environment.extend(makeflags.and_then(|flags| entry(b"MAKEFLAGS", flags.as_bytes())));
        let is_of_shards = |entry: &&CString| SHARD_VARIABLES.iter().any(|name| is_named(entry, name));
        let search = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
        Programs {
            environment_of_shards: environment.iter().filter(|entry| !is_of_shards(entry)).cloned().collect(),
            environment: environment.into(),
            search: std::env::split_paths(&search).collect(),
            found: HashMap::new(),
        }
    }

    /// The program of `job` for this `attempt`, which has these places in the job's groups. `nest`: where a broker decides
    /// for this run.
    ///
    /// # Errors
    /// [`SpawnError`] with 127 if there is no such file, 126 if it can't be executed.
    pub fn program(
        &mut self,
        job: &Job,
        attempt: Attempt,
        groups: &[u32],
        nest: Option<&Nest>,
    ) -> Result<Program, SpawnError> {
        let path = self.find(&job.command.program)?;
        let words = std::iter::once(&job.command.program).chain(&job.command.arguments);
        let mut own = Vec::new();
        own.extend(entry(b"SANDTEST_JOB", job.name.as_bytes()));
        own.extend(entry(b"SANDTEST_ATTEMPT", attempt.id.number.to_string().as_bytes()));
        own.extend(entry(b"SANDTEST_SLOT", attempt.slot.to_string().as_bytes()));
        if let Some(nest) = nest {
            own.extend(entry(BROKER.as_bytes(), nest.socket.as_os_str().as_bytes()));
            own.extend(entry(LEASE.as_bytes(), nest.inside.as_bytes()));
        }
        for (name, slot) in job.groups.iter().zip(groups) {
            own.extend(entry(group_variable(name).as_bytes(), slot.to_string().as_bytes()));
        }
        if let Some(shard) = job.shard {
            for (name, number) in
                SHARD_VARIABLES.into_iter().zip([shard.index, shard.total].into_iter().cycle())
            {
                own.extend(entry(name.as_bytes(), number.to_string().as_bytes()));
            }
        }
        // What it is told by us comes before what a rule says, and both before what is inherited.
        let is_told = |name: &str| own.iter().any(|entry| is_named(entry, name));
        let said: Vec<&(String, OsString)> =
            job.environment.iter().filter(|(name, _)| !is_told(name)).collect();
        own.extend(said.iter().filter_map(|(name, value)| entry(name.as_bytes(), value.as_bytes())));
        let mut shared =
            if job.shard.is_some() { &self.environment_of_shards } else { &self.environment }.clone();
        let is_replaced = |entry: &CString| {
            said.iter().any(|(name, _)| is_named(entry, name)) || (nest.is_some() && is_named(entry, BROKER))
        };
        if shared.iter().any(is_replaced) {
            shared = shared.iter().filter(|entry| !is_replaced(entry)).cloned().collect();
        }
        Ok(Program {
            path: c_string(path.as_os_str())?,
            argv: words.map(|word| c_string(word)).collect::<Result<_, _>>()?,
            environment: Environment { shared, own },
            folder: job.folder.as_deref().map(|folder| c_string(folder.as_os_str())).transpose()?,
        })
    }

    /// Another program, in the environment that an attempt has.
    ///
    /// # Errors
    /// As [`Programs::program`].
    pub fn in_environment(
        &mut self,
        environment: Environment,
        words: &[String],
    ) -> Result<Program, SpawnError> {
        let path = self.find(OsStr::new(words.first().map_or("", String::as_str)))?;
        Ok(Program {
            path: c_string(path.as_os_str())?,
            argv: words.iter().map(|word| c_string(OsStr::new(word))).collect::<Result<_, _>>()?,
            environment,
            folder: None,
        })
    }

    fn find(&mut self, name: &OsStr) -> Result<PathBuf, SpawnError> {
        if let Some(found) = self.found.get(name) {
            return Ok(found.clone());
        }
        // What is not there may be made by an earlier job.
        let found = search(name, &self.search)?;
        self.found.insert(name.to_owned(), found.clone());
        Ok(found)
    }
}

/// Gives a program its jobserver.
pub fn set_makeflags(program: &mut Program, flags: &str) {
    program.environment.own.extend(entry(b"MAKEFLAGS", flags.as_bytes()));
}

/// Gives a program its `TMPDIR`; without one of its own, that of this process.
pub fn set_temporary(program: &mut Program, folder: Option<&Path>) {
    let folder = folder.map(|folder| folder.as_os_str().to_owned()).or_else(|| std::env::var_os("TMPDIR"));
    program.environment.own.extend(folder.and_then(|folder| entry(b"TMPDIR", folder.as_bytes())));
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
        Step::Folder => "enter its working directory",
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
    if name.is_empty() {
        return Err(not_found("the command is empty".into()));
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
    let hint = match name.as_bytes() {
        name if name.contains(&b'=') => " (no shell sets variables here: env NAME=value command)",
        name if name.contains(&b' ') => {
            " (it is looked up whole, with its spaces: sh -c '...' for a command line)"
        }
        _ => "",
    };
    Err(refused.unwrap_or_else(|| not_found(format!("{shown} was not found in PATH{hint}"))))
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

fn is_named(entry: &CString, name: &str) -> bool {
    entry.as_bytes().strip_prefix(name.as_bytes()).is_some_and(|rest| rest.starts_with(b"="))
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
        let plain = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(search(plain.path().as_os_str(), &folders).unwrap_err().exit_code, 126);
        assert_eq!(search(OsStr::new("/etc"), &folders).unwrap_err().exit_code, 126);
    }
}
