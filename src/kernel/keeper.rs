//! The one thread that makes attempts' groups ahead of need and removes used ones behind.
//!
//! One, since mkdir and rmdir of groups take turns on the kernel's `cgroup_mutex`: two threads make fewer groups
//! than one does, and spin while they wait. What is to be made goes before what is to be removed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{self, TryRecvError};
use std::thread::JoinHandle;

use super::KernelError;
use super::ground::Ground;
use super::group::Group;
use crate::model::Limits;

/// So many used groups may wait while others are made. Each holds some descriptors and, in the kernel, memory.
const MOST_USED: usize = 16;

/// The thread's end for those who want groups.
#[derive(Debug)]
pub struct Keeper {
    /// `None` once it is told to end.
    errands: Option<mpsc::Sender<Errand>>,
    thread: Option<JoinHandle<()>>,
}

type MadeAnswer = Box<dyn FnOnce(Result<Group, KernelError>) + Send>;

/// Called once the groups are removed.
type RemovedAnswer = Box<dyn FnOnce() + Send>;

/// Groups to be removed, and who wants to know.
type Used = (Box<Group>, Option<RemovedAnswer>);

/// Gives those that were made and are not wanted.
type Unwanted = Box<dyn FnOnce() -> Option<Group> + Send>;

enum Errand {
    Make(String, Limits, MadeAnswer),
    Undo(Unwanted),
    Remove(Used),
}

impl Keeper {
    /// Starts the thread, for groups in `ground`.
    ///
    /// # Errors
    /// [`KernelError::Call`] without memory.
    pub fn start(ground: Arc<Ground>) -> Result<Keeper, KernelError> {
        let (errands, inbox) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("keeper".into())
            .stack_size(256 << 10)
            .spawn(move || {
                yield_to_others();
                keep(&ground, &inbox);
            })
            .map_err(|source| KernelError::Call { what: "start the keeper thread", source })?;
        Ok(Keeper { errands: Some(errands), thread: Some(thread) })
    }

    /// Asks for the groups of an attempt; `answer` is called on the keeper's thread.
    pub fn make(
        &self,
        name: String,
        limits: Limits,
        answer: impl FnOnce(Result<Group, KernelError>) + Send + 'static,
    ) {
        self.order(Errand::Make(name, limits, Box::new(answer)));
    }

    /// Asks for the removal of groups that were asked for and are wanted no more, before others of their name are made: `made`
    /// is called on the keeper's thread, when those are ready.
    pub fn undo(&self, made: impl FnOnce() -> Option<Group> + Send + 'static) {
        self.order(Errand::Undo(Box::new(made)));
    }

    /// Asks for the removal of empty groups. What can't be removed now is removed with the run's group, or by the
    /// next start.
    pub fn remove(&self, group: Group) {
        self.order(Errand::Remove((Box::new(group), None)));
    }

    /// The same; `answer` is called on the keeper's thread once they are gone.
    pub fn remove_and_tell(&self, group: Group, answer: impl FnOnce() + Send + 'static) {
        self.order(Errand::Remove((Box::new(group), Some(Box::new(answer)))));
    }

    fn order(&self, errand: Errand) {
        // The thread lives as long as the sender does, so the order always arrives.
        if let Some(errands) = &self.errands {
            let _ = errands.send(errand);
        }
    }
}

impl Drop for Keeper {
    /// Ends the thread once it has done what it was asked for.
    fn drop(&mut self) {
        self.errands = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// As much processor time as anyone's, but never in the way of one who wakes up: the loop, the spawner, a job
/// (SCHED_BATCH of sched(7)).
fn yield_to_others() {
    let parameter = libc::sched_param { sched_priority: 0 };
    // SAFETY: reads one struct that lives here. A refusal changes nothing but a few microseconds a job.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const parameter) };
}

fn keep(ground: &Arc<Ground>, inbox: &mpsc::Receiver<Errand>) {
    let mut used = VecDeque::new();
    loop {
        if used.len() > MOST_USED
            && let Some(group) = used.pop_front()
        {
            remove(group);
        }
        let next = match inbox.try_recv() {
            Ok(errand) => Some(errand),
            Err(gone) => match used.pop_front() {
                Some(group) => {
                    remove(group);
                    continue;
                }
                None if gone == TryRecvError::Disconnected => None,
                None => inbox.recv().ok(),
            },
        };
        match next {
            Some(Errand::Make(name, limits, answer)) => answer(Group::make(ground, &name, &limits)),
            Some(Errand::Undo(made)) => {
                if let Some(group) = made() {
                    remove((Box::new(group), None));
                }
            }
            Some(Errand::Remove(group)) => used.push_back(group),
            None => return,
        }
    }
}

fn remove((mut group, answer): Used) {
    if group.remove().is_ok()
        && let Some(answer) = answer
    {
        answer();
    }
}
