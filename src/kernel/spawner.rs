//! The thread that spawns, alive for the whole run. A second one comes only where the first is held up.
//!
//! PDEATHSIG follows the thread that cloned, so children of a pool's thread would die with its keep-alive. And
//! a clone into a frozen group waits until that is thawed: the loop that would thaw it must not wait with it.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use super::KernelError;
use super::files::Dir;
use super::group::Group;
use super::spawn::{Child, IgnoredSignals, Program, Setting, SpawnFailure, Stack, spawn};

/// A standard stream of a child.
#[derive(Debug)]
pub enum Stream {
    /// Our own.
    Inherit,
    /// This one. Shared: both output streams of a captured job go into one pipe.
    Use(Arc<OwnedFd>),
}

/// One child to start.
#[derive(Debug)]
pub struct Order {
    /// What to execute.
    pub program: Program,
    /// Standard input, output, error.
    pub stdio: [Stream; 3],
    /// Raised so that the kernel takes it before the editor.
    pub oom_score_adj: Option<i16>,
    /// Soft limit of open files.
    pub nofile: Option<u64>,
    /// Whether setuid programs give nothing.
    pub no_new_privs: bool,
    /// Whether it gets a session of its own, without a terminal.
    pub session: bool,
    /// Whether it becomes the foreground of the terminal on our standard input.
    pub foreground: bool,
    /// The groups it is born in.
    pub group: Group,
}

/// What became of an order; the groups come back with it.
pub type Answer = (Group, Result<Child, SpawnFailure>);

/// Threads that may be held up by execs that hang, and one that is not.
const MOST_THREADS: usize = 8;

type Errand = (Order, Box<dyn FnOnce(Answer) + Send>);

/// The threads' end for those who want children.
#[derive(Debug, Clone)]
pub struct Spawner {
    orders: mpsc::Sender<Errand>,
    threads: Arc<Threads>,
}

#[derive(Debug)]
struct Threads {
    inbox: Arc<Mutex<mpsc::Receiver<Errand>>>,
    count: AtomicUsize,
    drop_capabilities: bool,
    ignored: IgnoredSignals,
}

impl Spawner {
    /// Starts the thread. With `drop_capabilities` the bounding set is emptied on it, so that exec gives root's
    /// children no capability.
    ///
    /// # Errors
    /// [`KernelError::Call`] without memory, or if capabilities can't be dropped.
    pub fn start(drop_capabilities: bool) -> Result<Spawner, KernelError> {
        let (orders, inbox) = mpsc::channel::<Errand>();
        let threads = Threads {
            inbox: Arc::new(Mutex::new(inbox)),
            count: AtomicUsize::new(0),
            drop_capabilities,
            ignored: IgnoredSignals::read(),
        };
        threads.add()?;
        Ok(Spawner { orders, threads: Arc::new(threads) })
    }

    /// Asks for a child; `answer` is called on the spawner's thread once it has exec'd or failed.
    pub fn order(&self, order: Order, answer: impl FnOnce(Answer) + Send + 'static) {
        // A thread lives as long as a sender does, so the order always arrives.
        let _ = self.orders.send((order, Box::new(answer)));
    }

    /// Adds a thread, where one is held up by an exec that hangs: the others' children need not wait for it.
    pub fn help(&self) {
        if self.threads.count.load(Ordering::Relaxed) < MOST_THREADS {
            // Without one it is as slow as before.
            let _ = self.threads.add();
        }
    }
}

impl Threads {
    fn add(&self) -> Result<(), KernelError> {
        let (inbox, ignored, drop_capabilities) = (self.inbox.clone(), self.ignored, self.drop_capabilities);
        let (ready, started) = mpsc::channel();
        let body = move || match Hands::ready(drop_capabilities) {
            Ok(hands) => {
                let _ = ready.send(Ok(()));
                hands.work(&inbox, ignored);
            }
            Err(error) => drop(ready.send(Err(error))),
        };
        let source = |source| KernelError::Call { what: "start the spawner thread", source };
        std::thread::Builder::new()
            .name("spawner".into())
            .stack_size(256 << 10)
            .spawn(body)
            .map_err(source)?;
        started.recv().map_err(|_| source(std::io::Error::other("it ended at once")))??;
        self.count.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// What a thread has for its work.
struct Hands {
    stack: Stack,
    must_stay_without_capabilities: bool,
}

impl Hands {
    fn ready(drop_capabilities: bool) -> Result<Hands, KernelError> {
        // Who has no capabilities can't drop any; that exec gives none is all there is to see to.
        let has_none = caps::read(None, caps::CapSet::Effective).is_ok_and(|set| set.is_empty());
        if drop_capabilities && !has_none {
            caps::clear(None, caps::CapSet::Bounding).map_err(|error| KernelError::Call {
                what: "drop the jobs' capabilities (capabilities: drop in the profile)",
                source: std::io::Error::other(error.to_string()),
            })?;
        }
        Ok(Hands { stack: Stack::new()?, must_stay_without_capabilities: drop_capabilities && has_none })
    }

    /// Until the channel is closed at the end of the run; so long the thread, and so its children, live.
    fn work(mut self, inbox: &Mutex<mpsc::Receiver<Errand>>, ignored: IgnoredSignals) {
        loop {
            let next = inbox.lock().unwrap_or_else(|poison| poison.into_inner()).recv();
            let Ok((mut order, answer)) = next else { return };
            order.no_new_privs |= self.must_stay_without_capabilities;
            let result = carry_out(&order, ignored, &mut self.stack);
            // Our ends of its streams are closed before anyone waits for an end of file on them.
            let Order { group, stdio, .. } = order;
            drop(stdio);
            answer((group, result));
        }
    }
}

fn carry_out(order: &Order, ignored: IgnoredSignals, stack: &mut Stack) -> Result<Child, SpawnFailure> {
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let own = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
    let mut stdio = own;
    for (place, stream) in stdio.iter_mut().zip(&order.stdio) {
        if let Stream::Use(fd) = stream {
            *place = fd.as_fd();
        }
    }
    let setting = Setting {
        cgroup: order.group.v2().map(Dir::as_fd),
        joins: order.group.joins().collect(),
        stdio,
        oom_score_adj: order.oom_score_adj,
        nofile: order.nofile,
        no_new_privs: order.no_new_privs,
        session: order.session,
        terminal: order.foreground.then(|| own[0]),
    };
    spawn(&order.program, &setting, ignored, stack)
}
