//! Those that want to be jobs, from their arrival to their start: what they are called, and what holds for them.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use super::listen::{Arrival, Connection};
use super::words::{Answer, Request};
use super::xdist::{self, Workers};
use crate::broker::client::JobWords;
use crate::kernel::files::Dir;
use crate::kernel::{pidfd, process};
use crate::model::job::group_variable;
use crate::model::text::{cut, harmless};
use crate::model::{Attempt, AttemptId, Command, Job, JobId};
use crate::run::drive::Drive;
use crate::run::live::Live;
use crate::run::{served, specs};

/// A longer name is cut.
const LONGEST_NAME: usize = 200;

/// What a run that takes in jobs needs.
pub struct Runner {
    /// Where they come to.
    pub listener: UnixListener,
    /// For what they tell of themselves; it lasts as long as the run.
    pub folder: PathBuf,
    /// What the profile and its rules make of a job that has a name, a number, a command and a kin.
    pub settle: Box<dyn Fn(Draft) -> Job>,
}

/// A job before its rules are known.
#[derive(Debug)]
pub struct Draft {
    /// Its place in the run.
    pub id: JobId,
    /// Its name.
    pub name: String,
    /// What it will be.
    pub command: Command,
    /// Those that run the same program are alike.
    pub kin: u32,
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner").field("listener", &self.listener).finish_non_exhaustive()
    }
}

/// Those that wait, and what was seen of those before.
pub(in crate::run) struct Arrivals {
    settle: Box<dyn Fn(Draft) -> Job>,
    waiting: BTreeMap<JobId, Arrival>,
    numbers: HashMap<Connection, JobId>,
    /// How often each name was given.
    names: HashMap<String, u32>,
    kins: HashMap<String, u32>,
    first_kin: u32,
    workers: Workers,
}

impl Arrivals {
    pub fn new(settle: Box<dyn Fn(Draft) -> Job>, folder: PathBuf, jobs: &[Job]) -> Arrivals {
        Arrivals {
            settle,
            waiting: BTreeMap::new(),
            numbers: HashMap::new(),
            names: jobs.iter().map(|job| (job.name.clone(), 1)).collect(),
            kins: HashMap::new(),
            first_kin: jobs.iter().map(|job| job.kin + 1).max().unwrap_or(0),
            workers: Workers::new(folder),
        }
    }

    /// Makes a job of one that has arrived. Returns it with what tells its kin to others.
    fn meet(&mut self, id: JobId, arrival: Arrival) -> (Job, String) {
        let worker = self.workers.name(&arrival.request.words, arrival.peer.pid);
        let at_once = worker.is_some();
        let name = self.alone_called(worker.unwrap_or_else(|| name(&arrival)));
        let kin = kin(&arrival.request);
        let next = self.first_kin + u32::try_from(self.kins.len()).unwrap_or_default();
        let number = *self.kins.entry(kin.clone()).or_insert(next);
        let mut words = arrival.request.words.iter().cloned();
        let command = Command { program: words.next().unwrap_or_default(), arguments: words.collect() };
        self.numbers.insert(arrival.connection, id);
        self.waiting.insert(id, arrival);
        (Job { at_once, ..(self.settle)(Draft { id, name, command, kin: number }) }, kin)
    }

    /// The name, with a number where another has it.
    fn alone_called(&mut self, name: String) -> String {
        let mut number = self.names.get(&name).copied().unwrap_or_default();
        let mut numbered = name.clone();
        while self.names.contains_key(&numbered) {
            number += 1;
            numbered = format!("{name}#{number}");
        }
        self.names.insert(name, number.max(1));
        self.names.entry(numbered.clone()).or_insert(1);
        numbered
    }

    /// One that is about to start.
    pub fn take(&mut self, id: JobId) -> Option<Arrival> {
        let arrival = self.waiting.remove(&id)?;
        self.numbers.remove(&arrival.connection);
        Some(arrival)
    }

    /// The test that one was at when it ended, as far as it says such things.
    pub fn last_test(&self, id: JobId) -> Option<String> {
        self.workers.last_test(id)
    }

    /// One whose connection is gone before it started.
    pub fn leave(&mut self, connection: Connection) -> Option<JobId> {
        let id = self.numbers.remove(&connection)?;
        self.waiting.remove(&id);
        Some(id)
    }
}

impl Drive {
    /// One wants to be a job. Returns its number if it will be asked for.
    pub(in crate::run) fn meet(&mut self, arrival: Arrival) -> Option<JobId> {
        let driver = self.driver_of(&arrival);
        let (Some(arrivals), Some(driver), None) = (&mut self.arrivals, driver, self.scheduler.closed())
        else {
            let why =
                if driver.is_some() { "the run ends" } else { "the command of the run has not started it" };
            arrival.reply.say(&Answer::No(why.to_owned()));
            return None;
        };
        let id = self.scheduler.next_job();
        let (job, kin) = arrivals.meet(id, arrival);
        if let Some(link) = &mut self.broker {
            let limit = job.settings.limits.memory_max;
            link.add(JobWords { kin, name: job.name.clone(), limit });
        }
        self.shared.add(Job { driver: Some(driver), ..job });
        Some(id)
    }

    /// The job that runs and has started it: of those in the list, since what is a job already is not asked again.
    fn driver_of(&self, arrival: &Arrival) -> Option<JobId> {
        let live = self.shared.live.all();
        let is_of_list = |id: AttemptId| self.shared.job(id).driver.is_none();
        // Mostly it sits in the very group of its driver; else in one below that, or we have not heard yet that its driver has
        // exec'd.
        let here = pidfd::cgroup(&arrival.peer.pidfd);
        let is_in = |live: &Live| here.is_some() && live.group.v2().and_then(Dir::inode) == here;
        let driver = match live.iter().find(|(id, live)| is_of_list(*id) && is_in(live)) {
            Some((id, _)) => *id,
            None => {
                let group = process::v2_group(arrival.peer.pid)?;
                let run = crate::kernel::ground::run_name(&self.shared.plan.id);
                let own = group.split('/').skip_while(|part| *part != run).nth(1)?;
                self.shared.live.ids().into_iter().find(|id| is_of_list(*id) && id.to_string() == own)?
            }
        };
        arrival.peer.is_alive().then_some(driver.job)
    }

    /// What one is told of itself.
    pub(in crate::run) fn environment(
        &self,
        job: &Job,
        attempt: Attempt,
        groups: &[u32],
    ) -> Vec<(OsString, OsString)> {
        let mut own: Vec<(String, OsString)> = vec![
            ("SANDTEST_JOB".into(), job.name.clone().into()),
            ("SANDTEST_ATTEMPT".into(), attempt.id.number.to_string().into()),
            ("SANDTEST_SLOT".into(), attempt.slot.to_string().into()),
        ];
        if let Some(arrivals) = self.arrivals.as_ref().filter(|_| job.at_once) {
            own.push((xdist::NOTE.into(), arrivals.workers.note(job.id).into()));
        }
        if let Some(nest) = self.broker.as_ref().map(|link| served::nest(link, job.id)) {
            own.push((crate::broker::socket::VARIABLE.into(), nest.socket.into()));
            own.push((crate::broker::socket::LEASE.into(), nest.inside.into()));
        }
        let places = job.groups.iter().zip(groups);
        own.extend(places.map(|(name, slot)| (group_variable(name), slot.to_string().into())));
        let told = |name: &str| own.iter().any(|(other, _)| other == name);
        let said: Vec<_> = job.environment.iter().filter(|(name, _)| !told(name)).cloned().collect();
        own.extend(said);
        own.into_iter().map(|(name, value)| (name.into(), value)).collect()
    }

    /// What the policy is told of one that has arrived.
    pub(in crate::run) fn spec(&self, id: JobId) -> crate::policy::scheduler::JobSpec {
        specs::of(&self.shared.plan, &self.shared.job(AttemptId { job: id, number: 1 }))
    }
}

/// What it is called: the binary as its driver knows it, and what it is to run; else its command line.
fn name(arrival: &Arrival) -> String {
    let binary = binary(&arrival.request);
    let package = is_gos(&binary).then(|| below_here(&process::folder(arrival.peer.pid)?)).flatten();
    called(&arrival.request, package.map(|package| package.join(&binary)))
}

/// `in_package`: the binary, where that says more than its name.
fn called(request: &Request, in_package: Option<PathBuf>) -> String {
    let text = |word: &OsString| word.to_string_lossy().into_owned();
    let (binary, arguments) = (binary(request), &request.words[1..]);
    let is_cargos = !request.package.is_empty();
    let is_switch = |word: &&OsString| word.as_encoded_bytes().starts_with(b"-");
    // Of the switches of libtest and of go's tests none says what is run.
    let drop_switches = is_cargos || is_gos(&binary);
    let binary = in_package.map_or(binary, |path| path.display().to_string());
    let rest: Vec<String> =
        arguments.iter().filter(|word| !drop_switches || !is_switch(word)).map(text).collect();
    cut(harmless(&[vec![binary], rest].concat().join(" ")), LONGEST_NAME)
}

/// Packages of go may have the same name; each is tested in its own folder.
fn is_gos(binary: &str) -> bool {
    binary.ends_with(".test")
}

/// Where a folder is, seen from where the run began.
fn below_here(folder: &Path) -> Option<PathBuf> {
    folder.strip_prefix(std::env::current_dir().ok()?).ok().map(Path::to_owned)
}

/// Those with the same one are alike.
fn kin(request: &Request) -> String {
    let program = Path::new(&request.words[0]);
    let folder = program.parent().map(|folder| folder.display().to_string()).unwrap_or_default();
    format!("{folder}/{}", binary(request))
}

/// The binary: `package`, `package::target`, or the file's name.
fn binary(request: &Request) -> String {
    let file = Path::new(&request.words[0]).file_name().map_or_else(String::new, plain);
    let package = request.package.to_string_lossy();
    let alike = |name: &str| name.replace('-', "_");
    match &*package {
        "" => file,
        package if alike(package) == alike(&file) => package.to_owned(),
        // What rustdoc makes of examples has no name of its own.
        package if file == "rust_out" || file.starts_with("merged_doctest") => format!("{package} (doctest)"),
        package => format!("{package}::{file}"),
    }
}

/// Without the hash that cargo puts behind the names of files.
fn plain(file: &OsStr) -> String {
    let file = file.to_string_lossy();
    match file.rsplit_once('-') {
        Some((name, hash)) if hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            name.to_owned()
        }
        _ => file.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(package: &str, words: &[&str]) -> String {
        called(&Request { package: package.into(), words: words.iter().map(Into::into).collect() }, None)
    }

    #[test]
    fn a_test_has_the_name_that_its_driver_gives_it() {
        let binary = "/x/target/debug/deps/semver-1a2b3c4d5e6f7a8b";
        assert_eq!(named("semver", &[binary, "-q"]), "semver");
        assert_eq!(named("semver", &[binary, "--exact", "parse::dot", "--nocapture"]), "semver parse::dot");
        let target = "/x/target/debug/deps/test_version-1a2b3c4d5e6f7a8b";
        assert_eq!(named("semver", &[target]), "semver::test_version");
        assert_eq!(named("semver", &["/tmp/rustdoctestA/rust_out"]), "semver (doctest)");
        assert_eq!(named("", &["/tmp/go-build1/b001/shape.test", "-test.timeout=10m0s"]), "shape.test");
        let request = Request {
            package: "".into(),
            words: vec!["/tmp/go-build1/b002/shape.test".into(), "-test.v".into()],
        };
        assert_eq!(called(&request, Some("internal/shape/shape.test".into())), "internal/shape/shape.test");
        assert_eq!(named("", &["./check-it", "-v", "a b\x1b"]), "check-it -v a b?");
        assert_eq!(named("", &["x", &"y".repeat(500)]).len(), LONGEST_NAME + 3);
    }

    #[test]
    fn cases_of_one_binary_are_alike() {
        let of = |words: &[&str]| {
            kin(&Request { package: "p".into(), words: words.iter().map(Into::into).collect() })
        };
        assert_eq!(of(&["/t/a-1a2b3c4d5e6f7a8b", "x"]), of(&["/t/a-0a2b3c4d5e6f7a8b", "y"]));
        assert_ne!(of(&["/t/a-1a2b3c4d5e6f7a8b"]), of(&["/t/b-1a2b3c4d5e6f7a8b"]));
    }
}
