//! `systemctl`, the user's or the system's. For what is done once by hand: a run talks to the bus itself
//! ([`crate::systemd::scope`]).

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{ServiceError, Whose};

/// A manager that answers.
#[derive(Debug)]
pub struct Manager {
    whose: Whose,
    /// Where it looks for units.
    searched: Vec<PathBuf>,
}

/// What systemd says of a unit: `ActiveState`, `MainPID`, ...
pub type Properties = BTreeMap<String, String>;

impl Manager {
    /// The manager of this user, or of the system, if it answers.
    ///
    /// # Errors
    /// [`ServiceError::NoManager`].
    pub fn reach(whose: Whose) -> Result<Manager, ServiceError> {
        let silent = Manager { whose, searched: Vec::new() };
        let answer = silent.call(&["show", "--property=UnitPath", "--value"]).map_err(|error| {
            let answer = match error {
                ServiceError::Refused { answer, .. } => answer,
                other => other.to_string(),
            };
            ServiceError::NoManager { whose, answer, booted: Path::new("/run/systemd/system").exists() }
        })?;
        Ok(Manager { whose, searched: answer.split_whitespace().map(PathBuf::from).collect() })
    }

    /// Whose it is.
    pub fn whose(&self) -> Whose {
        self.whose
    }

    /// Where it looks for units, the first one first.
    pub fn searched(&self) -> &[PathBuf] {
        &self.searched
    }

    /// Runs `systemctl` with these arguments. Returns what it printed.
    ///
    /// # Errors
    /// [`ServiceError::Refused`] with what it said.
    pub fn call(&self, arguments: &[&str]) -> Result<String, ServiceError> {
        let command = format!("systemctl{} {}", self.whose.option(), arguments.join(" "));
        let refused = |answer: String| ServiceError::Refused { command: command.clone(), answer };
        let output = self.command(arguments).output().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => refused("there is no systemctl here".into()),
            _ => refused(error.to_string()),
        })?;
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() {
            return Ok(said(&output.stdout));
        }
        let answer = said(&output.stderr);
        Err(refused(if answer.is_empty() { output.status.to_string() } else { answer }))
    }

    /// What it knows of a unit. Of one that is not there, too: its `LoadState` says so.
    ///
    /// # Errors
    /// [`ServiceError::Refused`].
    pub fn show(&self, unit: &str, properties: &[&str]) -> Result<Properties, ServiceError> {
        let wanted = format!("--property={}", properties.join(","));
        let lines = self.call(&["show", &wanted, unit])?;
        let pair = |line: &str| line.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
        Ok(lines.lines().filter_map(pair).collect())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("systemctl");
        if self.whose == Whose::User {
            command.arg("--user");
            // Without PAM (cron, `su`) the variable is missing while the folder is there.
            let folder = PathBuf::from(format!("/run/user/{}", nix::unistd::geteuid()));
            if std::env::var_os("XDG_RUNTIME_DIR").is_none() && folder.is_dir() {
                command.env("XDG_RUNTIME_DIR", folder);
            }
        }
        command.args(arguments).stdin(Stdio::null()).env("LC_ALL", "C.UTF-8").env("SYSTEMD_PAGER", "");
        command
    }
}
