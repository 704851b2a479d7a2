//! A small process that ends the run's processes when sandtest itself is killed.
//!
//! ```text
//! forked before any thread ─▶ told which groups ─▶ waits on the supervisor's pidfd
//!                                   │                       │ it is gone
//!                                   └─ dismissed: killed    └─▶ cgroup.kill, wait empty, rmdir
//! ```
//!
//! PDEATHSIG alone ends only the first process of each job; what that has started lives on. The guardian holds
//! a pidfd, not a pipe: a pipe's other end leaks into whatever is being spawned at that moment.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigHandler, Signal, kill, signal};
use nix::unistd::{ForkResult, Pid};

use super::files::{self, Dir};
use super::held::Held;
use super::tree::{self, Mark};
use super::{KernelError, cgroup, pidfd};
use crate::model::RunId;

/// How long what was killed may take to go: an uninterruptible sleep can't be waited out.
const PATIENCE: Duration = Duration::from_secs(20);

/// The supervisor's end.
#[derive(Debug)]
pub struct Guardian {
    pid: Pid,
    line: UnixStream,
}

/// What it gives back when the supervisor is killed: bytes, and where they belong.
#[derive(Debug)]
pub struct Debt {
    /// What is owed at this moment.
    pub held: Arc<Held>,
    /// To whom.
    pub to: OwnedFd,
}

/// What the guardian ends. Sent as items that end in NUL; the last one is empty.
#[derive(Debug, Default, PartialEq, Eq)]
struct Charge {
    run: OsString,
    /// The one with `cgroup.kill` first.
    groups: Vec<PathBuf>,
}

impl Guardian {
    /// Forks it. To be called while this process has one thread. `debt`: what is to be given back at the end.
    ///
    /// # Errors
    /// [`KernelError::Call`].
    pub fn fork(debt: Option<Debt>) -> Result<Guardian, KernelError> {
        let failed = |source| KernelError::Call { what: "start the guardian", source };
        let (line, its) = UnixStream::pair().map_err(failed)?;
        let supervisor =
            pidfd::open(std::process::id()).ok_or_else(|| failed(std::io::Error::last_os_error()))?;
        // SAFETY: one thread, so the child has all that a program may use; it never returns from `watch`.
        match unsafe { nix::unistd::fork() } {
            Ok(ForkResult::Parent { child }) => Ok(Guardian { pid: child, line }),
            Ok(ForkResult::Child) => {
                drop(line);
                watch(&supervisor, its, debt);
                // SAFETY: ends the process without running what the supervisor has registered for its own exit.
                unsafe { libc::_exit(0) }
            }
            Err(errno) => Err(failed(errno.into())),
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw().unsigned_abs()
    }

    /// Tells it what to end: the groups of `run`, the one with `cgroup.kill` first; without groups, the processes
    /// that carry the run's mark.
    ///
    /// # Errors
    /// [`KernelError::Call`] if it is gone.
    pub fn charge(&mut self, run: &RunId, groups: &[PathBuf]) -> Result<(), KernelError> {
        let charge = Charge { run: run.0.clone().into(), groups: groups.to_vec() };
        self.line
            .write_all(&charge.encode())
            .map_err(|source| KernelError::Call { what: "charge the guardian", source })
    }

    /// Sends it away: the run has ended and left nothing.
    pub fn dismiss(self) {
        // A word would do, but not for one that some test has stopped. One that is gone already is as good: until it is
        // waited for, its number is nobody else's.
        let _ = kill(self.pid, Signal::SIGKILL);
        let _ = nix::sys::wait::waitpid(self.pid, None);
    }
}

impl Charge {
    fn encode(&self) -> Vec<u8> {
        let items =
            std::iter::once(self.run.as_os_str()).chain(self.groups.iter().map(|path| path.as_os_str()));
        let mut bytes: Vec<u8> = items.flat_map(|item| [item.as_bytes(), b"\0"].concat()).collect();
        bytes.push(0);
        bytes
    }

    /// `None` for what is none.
    fn decode(bytes: &[u8]) -> Option<Charge> {
        let mut items =
            bytes.split(|byte| *byte == 0).map(OsStr::from_bytes).take_while(|item| !item.is_empty());
        let run = items.next()?.to_owned();
        Some(Charge {
            run,
            groups: items.map(|item| PathBuf::from(OsString::from_vec(item.as_bytes().to_vec()))).collect(),
        })
    }
}

fn watch(supervisor: &OwnedFd, mut line: UnixStream, debt: Option<Debt>) {
    settle_in(supervisor, &line, debt.as_ref());
    let mut charge = Charge::default();
    loop {
        let mut fds = [
            PollFd::new(supervisor.as_fd(), PollFlags::POLLIN),
            PollFd::new(line.as_fd(), PollFlags::POLLIN),
        ];
        if poll(&mut fds, PollTimeout::NONE).is_err() {
            continue;
        }
        let (dead, told) = (fds[0].any() == Some(true), fds[1].any() == Some(true));
        // The line first: a supervisor that was killed at once may have said what is to be ended.
        if told {
            match receive(&mut line).as_deref().and_then(Charge::decode) {
                Some(new) => charge = new,
                // The line is closed: only the pidfd has something to say from now on.
                None => {
                    let _ =
                        poll(&mut [PollFd::new(supervisor.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE);
                    break;
                }
            }
        } else if dead {
            break;
        }
    }
    end(&charge);
    if let Some(debt) = debt {
        let mut to = File::from(debt.to);
        while let Some(byte) = debt.held.pop() {
            let _ = to.write(&[byte]);
        }
    }
}

/// One message: items up to an empty one. `None` at the end of the line.
fn receive(line: &mut UnixStream) -> Option<Vec<u8>> {
    let (mut message, mut piece) = (Vec::new(), [0; 4096]);
    while !message.ends_with(b"\0\0") {
        match line.read(&mut piece) {
            Ok(0) => return None,
            Ok(count) => message.extend_from_slice(&piece[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => return None,
        }
    }
    // Of several that came at once the last one counts.
    Some(last_message(&message).to_vec())
}

/// The last of some messages, each of which ends in an empty item.
fn last_message(messages: &[u8]) -> &[u8] {
    let mut rest = messages;
    while let Some(end) = rest.windows(2).position(|pair| pair == b"\0\0").map(|at| at + 2)
        && end < rest.len()
    {
        rest = &rest[end..];
    }
    rest
}

/// Lets go of all that was inherited: terminal, streams that somebody waits for the end of, working directory.
fn settle_in(supervisor: &OwnedFd, line: &UnixStream, debt: Option<&Debt>) {
    let _ = nix::unistd::setsid();
    let _ = nix::sys::prctl::set_name(c"sandtest-guard");
    for number in
        [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGTSTP, Signal::SIGPIPE]
    {
        // SAFETY: ignoring installs no handler.
        let _ = unsafe { signal(number, SigHandler::SigIgn) };
    }
    let _ = std::env::set_current_dir("/");
    if let Ok(null) = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null") {
        let _ = nix::unistd::dup2_stdin(&null);
        let _ = nix::unistd::dup2_stdout(&null);
        let _ = nix::unistd::dup2_stderr(&null);
    }
    let debt = debt.map(|debt| debt.to.as_raw_fd());
    let keep: Vec<i32> = [supervisor.as_raw_fd(), line.as_raw_fd()].into_iter().chain(debt).collect();
    let open: Vec<i32> = std::fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|fd| *fd > 2 && !keep.contains(fd))
        .collect();
    for fd in open {
        // SAFETY: descriptors that this process inherited and that no object of `watch` owns.
        unsafe { libc::close(fd) };
    }
}

fn end(charge: &Charge) {
    match charge.groups.first().map(Dir::open) {
        Some(Ok(run)) => {
            let _ = cgroup::kill(&run);
            let _ = cgroup::wait_empty(&run, PATIENCE);
            for path in &charge.groups {
                if files::remove_group(path).is_err() {
                    // The one in which we sit ourselves, where that is not the root's: the next start removes it.
                    let parent = path.parent().map(Dir::open);
                    let _ = parent.map(|parent| parent.and_then(|parent| parent.write("cgroup.procs", "0")));
                    let _ = files::remove_group(path);
                }
            }
        }
        Some(Err(_)) => {}
        None if !charge.run.is_empty() => {
            let mark = Mark::of_run(&RunId(charge.run.to_string_lossy().into_owned()));
            let _ = tree::kill_all(|| tree::marked(&mark), PATIENCE);
        }
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_charge_arrives_as_it_was_sent() {
        let charge = Charge { run: "r1".into(), groups: vec!["/a b".into(), "/c".into()] };
        assert_eq!(Charge::decode(&charge.encode()), Some(charge));
        let bare = Charge { run: "r2".into(), groups: vec![] };
        assert_eq!(Charge::decode(&bare.encode()), Some(bare));
        assert_eq!(Charge::decode(b"\0"), None);
    }

    #[test]
    fn of_messages_that_arrive_together_the_last_counts() {
        assert_eq!(last_message(b"r1\0/a\0\0r1\0/b\0\0"), b"r1\0/b\0\0");
        assert_eq!(last_message(b"r1\0\0r2\0\0r3\0\0"), b"r3\0\0");
        assert_eq!(last_message(b"r1\0/a\0\0"), b"r1\0/a\0\0");
    }
}
