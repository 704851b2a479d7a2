//! Has the tests that a command starts ask for jobs of their own.

use std::ffi::OsStr;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{StatVfsMountFlags, statvfs};

use super::needs;
use super::reports::tell;
use crate::broker::socket::LONGEST_PATH;
use crate::host::isolation::Place;
use crate::kernel::random;
use crate::kernel::wrapper::PROGRAM;
use crate::model::profile::JobSettings;
use crate::model::retry::Retry;
use crate::model::{Job, Profile};
use crate::profile::Rules;
use crate::run::runner::arrivals::Draft;
use crate::run::runner::{REQUIRED, Runner, VARIABLE, listen};
use crate::source::drivers::{PYTHON, SITECUSTOMIZE, Surroundings, WRAPPER, known, wiring};

/// A private folder, removed when it is dropped.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Opens the socket, and tells the one command of `jobs` of it. `None` where there is nothing to put tests into, or no way to tell:
/// then all is one job, as without.
///
/// # Errors
/// The system's, where there is no room for the socket and the wrapper.
pub fn set_up(
    jobs: &mut [Job],
    place: &Place,
    folder: PathBuf,
    workers: usize,
    (rules, profile): (&Rules, &Profile),
) -> io::Result<Option<(Runner, Folder)>> {
    let [job] = jobs else { return Ok(None) };
    let words = || std::iter::once(&job.command.program).chain(&job.command.arguments).map(OsStr::new);
    if place.ground.v2().is_none() {
        // Without a group of its own nobody could tell what is a test's and what its driver's.
        if let Some(driver) = known(&words().collect::<Vec<_>>()) {
            tell(&format!("{driver}: its tests share one job, since there are no cgroups to put each into"));
        }
        return Ok(None);
    }
    let (listener, folder, wrapper) = open(folder)?;
    job.environment.retain(|(name, _)| name != VARIABLE && name != REQUIRED);
    let said = job.environment.clone();
    let of_rules = |name: &str| said.iter().find(|(other, _)| other == name).map(|(_, value)| value.into());
    let here = std::env::current_dir().unwrap_or_default();
    let around = Surroundings {
        variable: &|name| of_rules(name).or_else(|| std::env::var_os(name)),
        names: std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect(),
        folder: &here,
        words: words().collect(),
    };
    let wired = wiring(&wrapper, workers, &around);
    wired.notes.iter().for_each(|note| tell(&format!("warning: {note}")));
    for (name, value) in wired.variables {
        job.environment.retain(|(other, _)| *other != name);
        job.environment.push((name, value.into()));
    }
    let socket = folder.0.join(SOCKET).display().to_string();
    job.environment.push((VARIABLE.to_owned(), socket.into()));
    // It waits while those run that it starts, and holds nothing that they would wait for.
    (job.weight, job.groups) = (1, Vec::new());
    let (rules, profile) = (rules.clone(), profile.clone());
    let settle = move |draft: Draft| self::job(draft, &rules, &profile);
    Ok(Some((Runner { listener, folder: folder.0.clone(), settle: Box::new(settle) }, folder)))
}

/// What the tests start must have a job of its own, or not run.
pub fn require(jobs: &mut [Job]) {
    jobs.iter_mut().for_each(|job| job.environment.push((REQUIRED.to_owned(), "1".into())));
}

const SOCKET: &str = "socket";

fn open(wanted: PathBuf) -> io::Result<(UnixListener, Folder, String)> {
    match fill(make(wanted)) {
        Ok(all) => Ok(all),
        Err(_) => fill(make(Path::new("/tmp").join(format!("sandtest-runner-{:x}", random::bits())))),
    }
}

/// Puts into a folder what there is to be; without room for it the folder goes again.
fn fill(folder: io::Result<Folder>) -> io::Result<(UnixListener, Folder, String)> {
    let folder = folder?;
    let listener = listen::bind(&folder.0.join(SOCKET))?;
    let wrapper = folder.0.join(WRAPPER);
    // Closed before anything is forked that could hold it open: what somebody may write to is not executed.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o700).open(&wrapper)?;
    file.write_all(PROGRAM)?;
    let python = folder.0.join(PYTHON);
    DirBuilder::new().mode(0o700).create(&python)?;
    std::fs::write(python.join("sitecustomize.py"), SITECUSTOMIZE)?;
    Ok((listener, folder, wrapper.display().to_string()))
}

/// A folder whose socket can be bound to, and whose wrapper executed by all drivers.
fn make(path: PathBuf) -> io::Result<Folder> {
    let unfit = |why: &str| Err(io::Error::other(format!("{}: {why}", path.display())));
    if path.join(SOCKET).as_os_str().len() > LONGEST_PATH {
        return unfit("too long a path for a socket");
    }
    // Some of who is told of it splits at spaces or at colons.
    if path.to_str().is_none_or(|text| text.contains(|letter: char| letter.is_whitespace() || letter == ':'))
    {
        return unfit("a path with spaces or colons");
    }
    DirBuilder::new().mode(0o700).create(&path)?;
    let folder = Folder(path);
    if statvfs(&folder.0)?.f_flag.contains(StatVfsMountFlags::NOEXEC) {
        return Err(io::Error::other(format!("{}: mounted noexec", folder.0.display())));
    }
    Ok(folder)
}

/// What `rules` and `profile` make of one that arrives.
fn job(draft: Draft, rules: &Rules, profile: &Profile) -> Job {
    let Draft { id, name, command, kin } = draft;
    let mut ruled = rules.of(&name);
    let needed = ruled.memory;
    needs::raise(&mut ruled, needed, profile.budget.memory_max);
    // Its driver has its own idea of time. Ours counts where a rule speaks of this very test.
    let says = |key: &str| ruled.origins.contains_key(key);
    let settings = JobSettings {
        timeout: ruled.settings.timeout.filter(|_| says("job.timeout")),
        idle_timeout: ruled.settings.idle_timeout.filter(|_| says("job.idle_timeout")),
        slow_after: None,
        retry: Retry::NEVER,
        ..ruled.settings
    };
    Job {
        id,
        name,
        command,
        shard: None,
        settings,
        environment: ruled.environment.into_iter().map(|(name, value)| (name, value.into())).collect(),
        folder: None,
        kin,
        memory: ruled.memory,
        // To its driver the kill would be a failure.
        restartable: false,
        weight: ruled.weight,
        driver: None,
        at_once: false,
        groups: ruled.groups,
        origins: ruled.origins,
    }
}
