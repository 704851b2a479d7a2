//! Why there is no scope, and the way out of it.

use std::fmt;
use std::time::Duration;

use super::Bus;

/// A bus that was tried, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// Which one.
    pub bus: Bus,
    /// What it answered.
    pub answer: String,
}

/// Why systemd gave no scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// No bus with a systemd on it.
    #[error("no message bus leads to a systemd{}", told(.tried))]
    NoBus {
        /// Whose systemd was looked for.
        uid: u32,
        /// Empty where there was no socket at all.
        tried: Vec<Tried>,
        /// A user manager runs, but has no bus to be asked on.
        manager_without_bus: bool,
    },
    /// The bus or polkit says that we may not.
    #[error("{bus} denies a scope: {message}")]
    Denied {
        /// Which bus.
        bus: Bus,
        /// In its words.
        message: String,
    },
    /// systemd answered with an error.
    #[error("systemd refuses {unit}: {message}")]
    Refused {
        /// The unit that was asked for.
        unit: String,
        /// In its words.
        message: String,
    },
    /// systemd took the job, and it came to nothing.
    #[error("the job for {unit} ended as {result:?}, not \"done\"")]
    JobFailed {
        /// The unit.
        unit: String,
        /// `failed`, `canceled`, `timeout`, `dependency`, ...
        result: String,
    },
    /// No answer in time. systemd may still move us later.
    #[error("no answer from systemd within {after:?}")]
    TimedOut {
        /// How long it was given.
        after: Duration,
    },
    /// The bus numbers processes otherwise than we do: to go on would move a stranger.
    #[error("this process is {ours} here and {theirs} on the bus: another PID namespace")]
    OtherPids {
        /// Our own id.
        ours: u32,
        /// Ours as the bus sees it, 0 if it can't.
        theirs: u32,
    },
    /// systemd said `done`, and the kernel shows the process elsewhere.
    #[error("process {pid} is not in {unit}: its cgroup is {found:?}")]
    NotMoved {
        /// Which process.
        pid: u32,
        /// Where it should be.
        unit: String,
        /// What `/proc/PID/cgroup` says.
        found: String,
    },
    /// A runtime of our own for the conversation could not be had.
    #[error("set up the conversation with systemd: {0}")]
    Setup(String),
}

impl ScopeError {
    /// What to do about it: commands or lines that can be pasted.
    pub fn fix(&self) -> String {
        match self {
            ScopeError::NoBus { uid: 0, .. } => {
                "as root without systemd, start sandtest in a cgroup of its own:\n\
                 mkdir /sys/fs/cgroup/sandtest && echo $$ > /sys/fs/cgroup/sandtest/cgroup.procs"
            }
            ScopeError::NoBus { manager_without_bus: true, .. } => {
                "sudo apt install dbus-user-session   # or your distribution's D-Bus user session; then log in again"
            }
            ScopeError::NoBus { .. } => {
                "sudo loginctl enable-linger \"$USER\"   # or log in by PAM (ssh, console): both start a user manager"
            }
            ScopeError::Denied { bus, .. } if bus.kind == super::bus::Kind::System => {
                "run sandtest as an ordinary user with a user manager: sudo loginctl enable-linger \"$USER\""
            }
            ScopeError::Denied { .. } => "run sandtest as the user that owns the bus, without sudo",
            ScopeError::Refused { .. } => "systemctl --user status   # is the user manager well, and who else runs?",
            ScopeError::JobFailed { .. } => "journalctl --user -n 20 -u 'sandtest-*.scope'",
            ScopeError::TimedOut { .. } => "systemctl --user is-system-running --wait   # then once more",
            ScopeError::OtherPids { .. } => {
                "create the box without a PID namespace of its own: distrobox create without --unshare-process \
                 or --init, podman run --pid=host"
            }
            ScopeError::NotMoved { .. } => {
                "run sandtest on the host, or in a box that shares its PID namespace and its /sys/fs/cgroup"
            }
            ScopeError::Setup(_) => "ulimit -n 1024   # a few descriptors are needed",
        }
        .to_owned()
    }
}

/// What a refusal of `StartTransientUnit` calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Another unit has the name: take the next one.
    NameTaken,
    /// An older systemd, without one of the properties: ask for less.
    UnknownProperty,
    /// Not for us.
    Denied,
    /// Anything else.
    Final,
}

/// Judges an answer by its D-Bus error name; by its words only where systemd's name says too little.
pub(super) fn judge(name: &str, message: &str) -> Refusal {
    match name {
        "org.freedesktop.systemd1.UnitExists" => Refusal::NameTaken,
        "org.freedesktop.DBus.Error.AccessDenied"
        | "org.freedesktop.DBus.Error.AuthFailed"
        | "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired" => Refusal::Denied,
        "org.freedesktop.DBus.Error.PropertyReadOnly" | "org.freedesktop.DBus.Error.UnknownProperty" => {
            Refusal::UnknownProperty
        }
        _ if message.contains("unknown property") => Refusal::UnknownProperty,
        _ => Refusal::Final,
    }
}

fn told(tried: &[Tried]) -> String {
    let each: Vec<String> = tried.iter().map(Tried::to_string).collect();
    if each.is_empty() { " (no socket found)".to_owned() } else { format!(" ({})", each.join("; ")) }
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.bus, self.answer)
    }
}

#[cfg(test)]
mod tests {
    use super::super::bus::Kind;
    use super::*;

    #[test]
    fn an_older_systemd_is_asked_for_less() {
        // systemd 252's own words for a property that it lacks.
        let message = "Cannot set property Nonsense, or unknown property.";
        assert_eq!(judge("org.freedesktop.DBus.Error.PropertyReadOnly", message), Refusal::UnknownProperty);
        assert_eq!(judge("org.freedesktop.DBus.Error.InvalidArgs", message), Refusal::UnknownProperty);
    }

    #[test]
    fn a_taken_name_and_a_closed_door_are_told_apart() {
        let taken = judge("org.freedesktop.systemd1.UnitExists", "Unit x.scope was already loaded");
        assert_eq!(taken, Refusal::NameTaken);
        assert_eq!(judge("org.freedesktop.DBus.Error.AccessDenied", ""), Refusal::Denied);
        assert_eq!(judge("org.freedesktop.DBus.Error.NoReply", "gone"), Refusal::Final);
    }

    #[test]
    fn what_was_tried_stands_in_the_message() {
        let bus = Bus { kind: Kind::User, address: "unix:path=/run/user/7/bus".into() };
        let tried = vec![Tried { bus, answer: "connection refused".into() }];
        let error = ScopeError::NoBus { uid: 7, tried, manager_without_bus: false };
        assert_eq!(
            error.to_string(),
            "no message bus leads to a systemd (unix:path=/run/user/7/bus: connection refused)"
        );
        assert!(error.fix().contains("enable-linger"));
    }

    #[test]
    fn a_manager_without_a_bus_needs_a_package_not_lingering() {
        let error = ScopeError::NoBus { uid: 7, tried: vec![], manager_without_bus: true };
        assert!(error.fix().contains("dbus-user-session"), "{}", error.fix());
    }
}
