//! What an attempt was doing when its time was up, found out aside from the loop.
//!
//! ```text
//! a second before ──▶ first look ┐
//! its time is up ────────────────┴▶ whole look ──▶ on_timeout command, if there is one ──▶ told
//! ```

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::Interest;
use tokio::sync::{Notify, oneshot};
use tokio::task::{JoinHandle, spawn_blocking, spawn_local};

use super::attempt::{News, Shared};
use super::capture::Capture;
use super::live::{Live, Members};
use super::output::Output;
use crate::kernel::group::Group;
use crate::kernel::observe::{self, Glance, Scene};
use crate::kernel::spawn::{Child, Program};
use crate::kernel::{KernelError, cgroup, pidfd, readiness};
use crate::model::diagnosis::{Asked, Diagnosis};
use crate::model::event::SpawnError;
use crate::model::{AttemptId, Exit};
use crate::policy::diagnosis;

/// So much of a job's output, and of an `on_timeout` command's, is looked through for its last lines.
const OUTPUT: usize = 64 << 10;

/// So long may what was killed take to go, before its groups are left to the run's end.
const GONE: Duration = Duration::from_secs(1);

/// First looks that have been taken, inquests that go on, and what was found out.
#[derive(Debug, Default)]
pub(super) struct Inquests {
    glances: BTreeMap<AttemptId, JoinHandle<Glance>>,
    going_on: BTreeMap<AttemptId, (Rc<Inquest>, JoinHandle<()>)>,
    told: BTreeMap<AttemptId, Diagnosis>,
    /// Those that nobody waits for any more, and whose command is being ended.
    ending: Vec<JoinHandle<()>>,
}

/// One that goes on.
#[derive(Debug, Default)]
struct Inquest {
    /// Told when nobody wants to know any more.
    enough: Notify,
    /// What is known while a command still asks.
    seen: RefCell<Option<Diagnosis>>,
    /// What the command has written until now.
    capture: RefCell<Option<Rc<RefCell<Capture>>>>,
}

/// An `on_timeout` command that is ready to start.
pub(super) struct Command {
    /// With `{pid}` filled in.
    pub words: Vec<String>,
    pub limit: Duration,
    /// The program, and groups that limit it like the job itself.
    pub ready: Result<(Program, oneshot::Receiver<Result<Group, KernelError>>), SpawnError>,
}

impl Inquests {
    /// Takes the first look.
    pub fn glance(&mut self, shared: &Shared, id: AttemptId, live: &Live) {
        let (members, known, group) = (members(shared, id, live), shared.live.known(), path_of(live));
        let look = move || Glance::take(&pids(&members, &known), group.as_deref());
        self.glances.insert(id, spawn_blocking(look));
    }

    /// Takes the second, asks `command`, and tells the loop.
    pub fn begin(&mut self, shared: &Rc<Shared>, id: AttemptId, live: &Live, command: Option<Command>) {
        let (glance, shared, inquest) =
            (self.glances.remove(&id), shared.clone(), Rc::new(Inquest::default()));
        let (members, known, group) = (members(&shared, id, live), shared.live.known(), path_of(live));
        let memory = live.sensors().memory(false).or(live.samples.borrow().memory);
        let memory_max = live.group.limits().memory_max;
        let output = live.capture.as_ref().map_or(Vec::new(), |capture| capture.borrow().end(OUTPUT));
        let going_on = inquest.clone();
        let task = spawn_local(async move {
            let glance = match glance {
                Some(glance) => glance.await.ok(),
                None => None,
            };
            let look = move || {
                let (pids, since, group) = (pids(&members, &known), glance.as_ref(), group.as_deref());
                observe::observe(Scene { pids: &pids, since, group, memory, memory_max })
            };
            let seen = spawn_blocking(look).await.unwrap_or_default();
            let mut diagnosis = diagnosis::read(seen, &output);
            if let Some(command) = command {
                let ended = "the attempt ended meanwhile".into();
                let asked = Asked { command: shell_words::join(&command.words), ended, output: Vec::new() };
                *inquest.seen.borrow_mut() = Some(Diagnosis { asked: Some(asked), ..diagnosis.clone() });
                diagnosis.asked = Some(ask(&shared, id, command, &inquest).await);
            }
            let _ = shared.news.send(News::Diagnosed(id, Box::new(diagnosis)));
        });
        self.going_on.insert(id, (going_on, task));
    }

    /// Keeps what was found out until the attempt has ended.
    pub fn tell(&mut self, id: AttemptId, diagnosis: Diagnosis) {
        if self.going_on.remove(&id).is_some() {
            self.told.insert(id, diagnosis);
        }
    }

    /// What was found out about an attempt that has ended. Whatever still goes on about it ends.
    pub fn conclude(&mut self, id: AttemptId) -> Option<Diagnosis> {
        self.glances.remove(&id);
        let unfinished = self.going_on.remove(&id).and_then(|(inquest, task)| {
            inquest.enough.notify_one();
            self.ending.push(task);
            let mut seen = inquest.seen.take()?;
            if let (Some(asked), Some(capture)) = (&mut seen.asked, inquest.capture.take()) {
                asked.output = diagnosis::last_lines(&capture.borrow().end(OUTPUT));
            }
            Some(seen)
        });
        self.told.remove(&id).or(unfinished)
    }

    /// Waits until no command asks any more: none outlives the run.
    pub async fn finish(&mut self) {
        for task in self.ending.drain(..) {
            let _ = tokio::time::timeout(2 * GONE, task).await;
        }
    }
}

/// Those of an attempt, and of what it has brought along: mostly that is what it waits for.
fn members(shared: &Shared, id: AttemptId, live: &Live) -> Vec<Members> {
    let brought = shared.brought_along_by(id.job).into_iter().map(|other| other.members());
    std::iter::once(live.members()).chain(brought).collect()
}

fn pids(members: &[Members], known: &[u32]) -> Vec<u32> {
    members.iter().flat_map(|members| members.pids(known)).collect()
}

fn path_of(live: &Live) -> Option<PathBuf> {
    live.group.v2().map(|dir| dir.path().to_owned())
}

/// Runs the command within its limits, and keeps the last of what it wrote.
async fn ask(shared: &Shared, id: AttemptId, command: Command, inquest: &Inquest) -> Asked {
    let words = shell_words::join(&command.words);
    let failed = |ended: String| Asked { command: words.clone(), ended, output: Vec::new() };
    let (program, group) = match command.ready {
        Ok(ready) => ready,
        Err(error) => return failed(error.message),
    };
    let group = match group.await {
        Ok(Ok(group)) => group,
        Ok(Err(error)) => return failed(error.to_string()),
        Err(_) => return failed("its cgroup could not be made".into()),
    };
    let aside = |group| drop(shared.news.send(News::Aside(Box::new(group))));
    let file = shared.plan.diagnoses.join(format!("{id}.on-timeout.log"));
    let (mut output, stdio) = match shared.captured(file) {
        Ok(streams) => streams,
        Err(error) => {
            aside(group);
            return failed(format!("make a pipe: {error}"));
        }
    };
    *inquest.capture.borrow_mut() = Some(output.capture.clone());
    shared.live.begin_aside();
    let answer = shared.spawn(&shared.job(id).settings, program, stdio, group, true).await;
    let pid = answer.as_ref().ok().and_then(|(_, child)| child.as_ref().ok()).map(|child| child.pid);
    shared.live.began_aside(pid.map(i32::unsigned_abs));
    let (group, child) = match answer {
        Ok((group, Ok(child))) => (group, child),
        Ok((group, Err(failure))) => {
            aside(group);
            let cause = io::Error::from_raw_os_error(failure.errno);
            return failed(format!("it could not be started: {cause}"));
        }
        Err(_) => return failed("the spawner has ended".into()),
    };
    let limit = command.limit;
    let cut = tokio::select! {
        // After Ctrl-Z and fg more than one may be ready.
        biased;
        () = listen(&mut output, &child) => None,
        () = tokio::time::sleep(limit) => {
            Some(format!("killed at its limit of {}", humantime::format_duration(limit)))
        }
        () = inquest.enough.notified() => Some("killed, since the attempt had ended".into()),
    };
    let exit = clear(shared, group, &child).await;
    let ended = cut.unwrap_or_else(|| in_words(exit));
    output.drain();
    let output = diagnosis::last_lines(&output.capture.borrow().end(OUTPUT));
    Asked { command: words, ended, output }
}

/// Takes in what it writes until it ends. It is not reaped yet.
async fn listen(output: &mut Output, child: &Child) {
    let ended = end_of(child);
    tokio::pin!(ended);
    loop {
        tokio::select! {
            () = &mut ended => return,
            () = output.read() => {}
        }
    }
}

/// Ready when its first process has ended.
async fn end_of(child: &Child) {
    if let Ok(ended) = readiness::watch(child.pidfd.as_fd(), Interest::READABLE) {
        drop(ended.readable().await);
    }
}

fn in_words(exit: Option<Exit>) -> String {
    match exit {
        Some(Exit::Code(0)) => "exited".into(),
        Some(Exit::Code(code)) => format!("exited with code {code}"),
        Some(Exit::Signal(signal)) => format!("ended by signal {signal}"),
        None => "its end was not seen".into(),
    }
}

/// Ends what is left of it, reaps it, and has its groups removed.
async fn clear(shared: &Shared, group: Group, child: &Child) -> Option<Exit> {
    if let Some(dir) = group.v2() {
        let _ = cgroup::kill(dir);
    }
    // It leads its own session, and until it is reaped that number is nobody else's.
    let _ = killpg(Pid::from_raw(child.pid), Signal::SIGKILL);
    let _ = tokio::time::timeout(GONE, end_of(child)).await;
    let exit = pidfd::try_wait(&child.pidfd).ok().flatten();
    if exit.is_some() {
        shared.live.end_aside(child.pid.unsigned_abs());
    }
    let wait = move || {
        let _ = group.v2().map(|dir| cgroup::wait_empty(dir, GONE));
        group
    };
    if let Ok(group) = spawn_blocking(wait).await {
        let _ = shared.news.send(News::Aside(Box::new(group)));
    }
    exit.map(|(exit, _)| exit)
}
