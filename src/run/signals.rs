//! Ctrl-C, Ctrl-Z and their kin, as the loop sees them.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::kernel::spawn::is_ignored;

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// End the run; pass this signal on.
    End(i32),
    /// Stand still until SIGCONT.
    Stop,
    /// A child has changed its state: perhaps a job was stopped.
    Child,
}

/// The signals that sandtest handles.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    quit: Signal,
    /// `None` under nohup: what is ignored stays ignored.
    hangup: Option<Signal>,
    stop: Signal,
    /// Handled, so that a file that may not grow (`ulimit -f`) is an error of the write. Jobs have the default again.
    _file_size: Signal,
    /// Only where a job can be stopped by the terminal: it would wake the loop at every end of a job.
    child: Option<Signal>,
}

impl Signals {
    /// Handles them from now on; the end or stop of a child only with `children`.
    ///
    /// # Errors
    /// The system's, if a handler can't be set.
    pub fn install(children: bool) -> io::Result<Signals> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            quit: signal(SignalKind::quit())?,
            hangup: if is_ignored(libc::SIGHUP) { None } else { Some(signal(SignalKind::hangup())?) },
            stop: signal(SignalKind::from_raw(libc::SIGTSTP))?,
            _file_size: signal(SignalKind::from_raw(libc::SIGXFSZ))?,
            child: if children { Some(signal(SignalKind::child())?) } else { None },
        })
    }

    /// The next one.
    pub async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.interrupt.recv() => Asked::End(libc::SIGINT),
            _ = self.terminate.recv() => Asked::End(libc::SIGTERM),
            _ = self.quit.recv() => Asked::End(libc::SIGQUIT),
            _ = optional(&mut self.hangup) => Asked::End(libc::SIGHUP),
            _ = self.stop.recv() => Asked::Stop,
            _ = optional(&mut self.child) => Asked::Child,
        }
    }
}

async fn optional(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}
