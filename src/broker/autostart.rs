//! A broker that is started when somebody needs it, where no service manager does that.
//!
//! ```text
//! somebody answers? ── yes ──▶ there it is
//!      │ no
//! sandtest serve --background ── serves ──▶ there it is;  ends by itself, when nobody has been there for a while
//!      └ another one was faster (the lock) ──▶ there it is
//! ```

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A broker that was started so ends after this time without a run.
pub const IDLE_EXIT: Duration = Duration::from_secs(600);

/// It serves within this time, or is not waited for. It takes some tens of milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It would end with the job, and its runs would be without one.
    #[error("inside of a job no broker is started: it would end with the job")]
    Nested,
    /// Our own program can't be run again.
    #[error("start {program}: {source}", program = program.display())]
    Spawn {
        /// What was to be run.
        program: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// It said why.
    #[error("the broker did not come up: {0}")]
    Ended(String),
    /// Not within five seconds.
    #[error("the broker did not come up within {PATIENCE:?}")]
    TimedOut,
}

/// Sees to it that a broker of this user's serves at `socket`. Blocks until it does.
///
/// # Errors
/// [`StartError`]; whoever wanted one can do without.
pub fn ensure(socket: &Path) -> Result<(), StartError> {
    let answers = || UnixStream::connect(socket).is_ok();
    if answers() {
        return Ok(());
    }
    if std::env::var_os("SANDTEST_RUN").is_some() {
        return Err(StartError::Nested);
    }
    let program = std::env::current_exe().unwrap_or_else(|_| "sandtest".into());
    let mut command = Command::new(&program);
    // Not by the profiles of a project: it is for all runs.
    command.current_dir("/");
    command.args(["serve", "--background", "--idle-exit"]).arg(format!("{}s", IDLE_EXIT.as_secs()));
    command
        .arg("--socket")
        .arg(std::path::absolute(socket).unwrap_or_else(|_| socket.to_owned()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child =
        command.spawn().map_err(|source| StartError::Spawn { program: program.clone(), source })?;
    let begun = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(_)) => break,
            Ok(None) if begun.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(2)),
            Ok(None) | Err(_) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(StartError::TimedOut);
            }
        }
    }
    if answers() {
        return Ok(());
    }
    let mut said = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        // To its end: what was started in the background has parted from it, or is gone.
        let _ = stderr.read_to_string(&mut said);
    }
    let said = said.trim().strip_prefix("sandtest: ").unwrap_or(said.trim()).to_owned();
    Err(StartError::Ended(said))
}
