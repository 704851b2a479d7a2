//! Why the service can't be put in place or taken away, and the way out.

use std::io;
use std::path::PathBuf;

use super::Whose;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// Root by sudo, and the units would be root's.
    #[error("a user's service, asked for by sudo: it would become root's, and not {user}'s")]
    BySudo {
        /// Who called sudo.
        user: String,
    },
    /// The system's, and not by root.
    #[error("the system's service is root's to put in place and to take away")]
    NotRoot,
    /// No systemd, or not this user's.
    #[error("{} doesn't answer: {answer}", of(*.whose))]
    NoManager {
        /// Whose.
        whose: Whose,
        /// In its words, or in the system's.
        answer: String,
        /// Whether this machine has a systemd.
        booted: bool,
    },
    /// A box: the manager is the host's, and has other files.
    #[error("this is a container, and {} is the host's: it has no {}", of(*.whose), .program.display())]
    Boxed {
        /// Whose.
        whose: Whose,
        /// Our binary.
        program: PathBuf,
    },
    /// Neither `XDG_CONFIG_HOME` nor `HOME`.
    #[error("neither XDG_CONFIG_HOME nor HOME names a folder for the units")]
    NoHome,
    /// Units put there would never be found.
    #[error("{} does not look for units in {}, but in {}", of(*.whose), .folder.display(), .searched)]
    NotSearched {
        /// Whose.
        whose: Whose,
        /// Where they would be.
        folder: PathBuf,
        /// The folders, the first one first.
        searched: String,
    },
    /// Somebody has said that it is not to be.
    #[error("{} is masked: it is a link to /dev/null", .path.display())]
    Masked {
        /// Which file.
        path: PathBuf,
        /// Whose.
        whose: Whose,
    },
    /// Systemd's files can't name it.
    #[error("a unit can't name the path {program:?} of this binary")]
    Unwritable {
        /// Our binary.
        program: PathBuf,
    },
    /// Root would run what others may change, or what its service can't see.
    #[error("the system's service can't run {}: {why}", .program.display())]
    Unsafe {
        /// Our binary.
        program: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A broker without systemd.
    #[error("process {pid} serves {} without systemd", .socket.display())]
    Held {
        /// Where.
        socket: PathBuf,
        /// Who.
        pid: u32,
    },
    /// A file or folder.
    #[error("{what} {}: {source}", .path.display())]
    File {
        /// `write`, `remove`, ...
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// systemctl says no.
    #[error("{command}: {answer}")]
    Refused {
        /// As it could be typed.
        command: String,
        /// In its words.
        answer: String,
    },
}

impl ServiceError {
    /// What to do about it: commands or lines that can be pasted.
    pub fn fix(&self) -> String {
        match self {
            ServiceError::BySudo { .. } => "sandtest service install   # as yourself; for all users of this machine: \
                                            sudo sandtest service install --system"
                .into(),
            ServiceError::NotRoot => "sudo sandtest service install --system".into(),
            ServiceError::NoManager { booted: false, .. } => {
                "sandtest exec --broker start ...   # without systemd the first run starts the broker".into()
            }
            ServiceError::NoManager { whose: Whose::User, .. } => {
                "sudo loginctl enable-linger \"$USER\"   # or log in by PAM (ssh, console): both start a user manager"
                    .into()
            }
            ServiceError::NoManager { whose: Whose::System, .. } => "systemctl is-system-running --wait".into(),
            ServiceError::Boxed { .. } => "sandtest service install   # on the host, with a sandtest of its own".into(),
            ServiceError::NoHome => "export HOME=...   # your home folder".into(),
            ServiceError::NotSearched { .. } => {
                "unset XDG_CONFIG_HOME   # or set it for the manager, too: systemctl --user set-environment".into()
            }
            ServiceError::Masked { path, whose } => {
                let unit = path.file_name().unwrap_or_default().display();
                format!("systemctl{} unmask {unit}", whose.option())
            }
            ServiceError::Unwritable { .. } => "put it where the path has no line break in it".into(),
            ServiceError::Unsafe { program, .. } => format!(
                "install -m 755 {} /usr/local/bin/sandtest && /usr/local/bin/sandtest service install --system",
                program.display()
            ),
            ServiceError::Held { pid, .. } => {
                format!("kill {pid}   # its runs go on, and find the new broker; then once more")
            }
            ServiceError::File { path, .. } => format!("ls -ld {}", path.display()),
            ServiceError::Refused { command, .. } => {
                let user = if command.contains("--user") { " --user" } else { "" };
                format!("journalctl{user} -n 20 -u sandtest.socket -u sandtest.service")
            }
        }
    }
}

fn of(whose: Whose) -> &'static str {
    match whose {
        Whose::User => "your systemd (systemctl --user)",
        Whose::System => "systemd (systemctl)",
    }
}
