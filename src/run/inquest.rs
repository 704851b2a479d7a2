//! What an attempt was doing when its time was up, found out aside from the loop.
//!
//! ```text
//! a second before ──▶ first look ┐
//! its time is up ────────────────┴▶ whole look ──▶ on_timeout command, if there is one ──▶ told
//! ```

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, oneshot};
use tokio::task::{JoinHandle, spawn_blocking, spawn_local};

use super::attempt::{News, Shared};
use super::live::Live;
use crate::kernel::group::Group;
use crate::kernel::observe::{self, Glance, Scene};
use crate::kernel::spawn::{Child, Program};
use crate::kernel::spawner::{Order, Stream};
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
    going_on: BTreeMap<AttemptId, Rc<Inquest>>,
    told: BTreeMap<AttemptId, Diagnosis>,
}

/// One that goes on.
#[derive(Debug, Default)]
struct Inquest {
    /// Told when nobody wants to know any more.
    enough: Notify,
    /// What is known while a command still asks.
    seen: RefCell<Option<Diagnosis>>,
}

/// An `on_timeout` command that is ready to start.
pub(super) struct Command {
    /// With `{pid}` filled in.
    pub words: Vec<String>,
    pub limit: Duration,
    pub program: Result<Program, SpawnError>,
    /// Limited like the job itself.
    pub group: oneshot::Receiver<Result<Group, KernelError>>,
}

impl Inquests {
    /// Takes the first look.
    pub fn glance(&mut self, id: AttemptId, live: &Live) {
        let (pids, group) = (live.pids(), path_of(live));
        self.glances.insert(id, spawn_blocking(move || Glance::take(&pids, group.as_deref())));
    }

    /// Takes the second, asks `command`, and tells the loop.
    pub fn begin(&mut self, shared: &Rc<Shared>, id: AttemptId, live: &Live, command: Option<Command>) {
        let (glance, shared, inquest) =
            (self.glances.remove(&id), shared.clone(), Rc::new(Inquest::default()));
        self.going_on.insert(id, inquest.clone());
        let (pids, group) = (live.pids(), path_of(live));
        let memory = live.sensors().memory(false).or(live.samples.borrow().memory);
        let memory_max = live.group.limits().memory_max;
        let output = live.capture.as_ref().map_or(Vec::new(), |capture| capture.borrow().end(OUTPUT));
        spawn_local(async move {
            let glance = match glance {
                Some(glance) => glance.await.ok(),
                None => None,
            };
            let look = move || {
                let (since, group) = (glance.as_ref(), group.as_deref());
                observe::observe(Scene { pids: &pids, since, group, memory, memory_max })
            };
            let seen = spawn_blocking(look).await.unwrap_or_default();
            let mut diagnosis = diagnosis::read(seen, &output);
            if let Some(command) = command {
                let ended = "the attempt ended meanwhile".into();
                let asked = Asked { command: command.words.join(" "), ended, output: Vec::new() };
                *inquest.seen.borrow_mut() = Some(Diagnosis { asked: Some(asked), ..diagnosis.clone() });
                diagnosis.asked = Some(ask(&shared, command, &inquest.enough).await);
            }
            let _ = shared.news.send(News::Diagnosed(id, Box::new(diagnosis)));
        });
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
        let unfinished = self.going_on.remove(&id).and_then(|inquest| {
            inquest.enough.notify_one();
            inquest.seen.take()
        });
        self.told.remove(&id).or(unfinished)
    }
}

fn path_of(live: &Live) -> Option<PathBuf> {
    live.group.v2().map(|dir| dir.path().to_owned())
}

/// Runs the command within its limits, and keeps the last of what it wrote.
async fn ask(shared: &Shared, command: Command, enough: &Notify) -> Asked {
    let words = command.words.join(" ");
    let failed = |ended: String| Asked { command: words.clone(), ended, output: Vec::new() };
    let program = match command.program {
        Ok(program) => program,
        Err(error) => return failed(error.message),
    };
    let group = match command.group.await {
        Ok(Ok(group)) => group,
        Ok(Err(error)) => return failed(error.to_string()),
        Err(_) => return failed("its cgroup could not be made".into()),
    };
    let (pipe, stdio) = match streams(shared) {
        Ok(streams) => streams,
        Err(error) => return failed(format!("make a pipe: {error}")),
    };
    let (answer, answered) = oneshot::channel();
    let job = &shared.plan.profile.job;
    let order = Order {
        program,
        stdio,
        oom_score_adj: Some(job.oom_score_adj),
        nofile: job.nofile,
        no_new_privs: job.no_new_privs,
        session: true,
        foreground: false,
        group,
    };
    shared.spawner.order(order, |result| drop(answer.send(result)));
    let (group, child) = match answered.await {
        Ok((group, Ok(child))) => (group, child),
        Ok((group, Err(failure))) => {
            let _ = shared.news.send(News::Aside(Box::new(group)));
            return failed(format!(
                "it could not be started: {}",
                io::Error::from_raw_os_error(failure.errno)
            ));
        }
        Err(_) => return failed("the spawner has ended".into()),
    };
    let mut output = Vec::new();
    let limit = command.limit;
    let ended = tokio::select! {
        exit = listen(&pipe, &child, &mut output) => in_words(exit),
        () = tokio::time::sleep(limit) => format!("killed at its limit of {}", humantime::format_duration(limit)),
        () = enough.notified() => "killed, since the attempt had ended".into(),
    };
    clear(shared, group, &child).await;
    Asked { command: words, ended, output: diagnosis::last_lines(&output) }
}

/// Our end of what it writes, and its three streams.
fn streams(shared: &Shared) -> io::Result<(AsyncFd<OwnedFd>, [Stream; 3])> {
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    nix::fcntl::fcntl(&read, nix::fcntl::FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    let write = Arc::new(write);
    let stdio = [Stream::Use(shared.null.clone()), Stream::Use(write.clone()), Stream::Use(write)];
    Ok((readiness::watch(read, Interest::READABLE)?, stdio))
}

/// Takes in what it writes until it ends.
async fn listen(pipe: &AsyncFd<OwnedFd>, child: &Child, output: &mut Vec<u8>) -> Option<Exit> {
    let ended = readiness::watch(child.pidfd.as_fd(), Interest::READABLE).ok()?;
    let mut open = true;
    loop {
        tokio::select! {
            biased;
            ready = pipe.readable(), if open => {
                open = match ready.ok()?.try_io(|pipe| take(pipe.get_ref(), output)) {
                    Ok(more) => more.unwrap_or(false),
                    Err(_would_block) => true,
                };
                // One that floods its output is held back, not us.
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            ready = ended.readable() => {
                drop(ready.ok()?);
                return pidfd::try_wait(&child.pidfd).ok()?.map(|(exit, _)| exit);
            }
        }
    }
}

/// Reads once, and keeps the end of it all. Returns whether there may be more.
fn take(pipe: &OwnedFd, output: &mut Vec<u8>) -> io::Result<bool> {
    let mut piece = vec![0; OUTPUT];
    let count = nix::unistd::read(pipe, &mut piece)?;
    output.extend_from_slice(&piece[..count]);
    output.drain(..output.len().saturating_sub(OUTPUT));
    Ok(count > 0)
}

fn in_words(exit: Option<Exit>) -> String {
    match exit {
        Some(Exit::Code(0)) => "exited".into(),
        Some(Exit::Code(code)) => format!("exited with code {code}"),
        Some(Exit::Signal(signal)) => format!("ended by signal {signal}"),
        None => "its end was not seen".into(),
    }
}

/// Ends what is left of it, and has its groups removed.
async fn clear(shared: &Shared, group: Group, child: &Child) {
    if let Some(dir) = group.v2() {
        let _ = cgroup::kill(dir);
    }
    // Reaped or not, it leads its own session, and no other process has its number while a member of that lives.
    let _ = killpg(Pid::from_raw(child.pid), Signal::SIGKILL);
    let gone = async {
        while !matches!(pidfd::try_wait(&child.pidfd), Ok(Some(_)) | Err(_)) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let _ = tokio::time::timeout(GONE, gone).await;
    let wait = move || {
        let _ = group.v2().map(|dir| cgroup::wait_empty(dir, GONE));
        group
    };
    if let Ok(group) = spawn_blocking(wait).await {
        let _ = shared.news.send(News::Aside(Box::new(group)));
    }
}
