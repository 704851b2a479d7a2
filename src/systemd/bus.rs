//! On which message bus is the systemd that may move us?
//!
//! Pure: what exists and what the environment says comes in as a [`View`].
//!
//! ```text
//! uid 0     $DBUS_SYSTEM_BUS_ADDRESS, /run/dbus/system_bus_socket, /run/host/run/dbus/system_bus_socket
//! others    $DBUS_SESSION_BUS_ADDRESS, $XDG_RUNTIME_DIR/bus, /run/user/UID/bus, /run/host/run/user/UID/bus
//! ```
//!
//! `/run/host` is where distrobox and toolbox show the host. Root never takes a session bus, not even where
//! `sudo -E` kept its address: a bus drops the connections of other users.

use std::fmt;
use std::path::Path;

use serde::Serialize;

/// Whose systemd a bus leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// PID 1's.
    System,
    /// The user manager's.
    User,
}

/// A bus by its D-Bus address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bus {
    /// Whose it is.
    pub kind: Kind,
    /// As D-Bus writes it: `unix:path=/run/user/1000/bus`.
    pub address: String,
}

/// What the choice depends on.
pub struct View<'a> {
    /// The effective user.
    pub uid: u32,
    /// An environment variable.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// Whether there is something at a path.
    pub exists: &'a dyn Fn(&Path) -> bool,
}

/// The buses worth trying, best first, none twice.
pub fn candidates(view: &View<'_>) -> Vec<Bus> {
    let (kind, variable, sockets) = if view.uid == 0 {
        let socket = "/run/dbus/system_bus_socket".to_owned();
        (Kind::System, "DBUS_SYSTEM_BUS_ADDRESS", vec![socket])
    } else {
        let told = (view.variable)("XDG_RUNTIME_DIR").filter(|folder| folder.starts_with('/'));
        // Without PAM (cron, `su`, `docker exec`) the variable is missing while the socket is there.
        let usual = format!("/run/user/{}", view.uid);
        let sockets = told.into_iter().chain([usual]).map(|folder| format!("{folder}/bus")).collect();
        (Kind::User, "DBUS_SESSION_BUS_ADDRESS", sockets)
    };
    let mut addresses: Vec<String> =
        (view.variable)(variable).into_iter().filter(|a| !a.is_empty()).collect();
    let of_the_host = sockets.last().map(|socket| format!("/run/host{socket}"));
    let sockets = sockets.into_iter().chain(of_the_host);
    addresses
        .extend(sockets.filter(|s| (view.exists)(Path::new(s))).map(|s| format!("unix:path={}", escape(&s))));
    let mut buses: Vec<Bus> = Vec::new();
    for address in addresses {
        if !buses.iter().any(|bus| bus.address == address) {
            buses.push(Bus { kind, address });
        }
    }
    buses
}

/// Whether a user manager runs: its private socket is there.
pub fn manager_runs(view: &View<'_>) -> bool {
    let socket = format!("/run/user/{}/systemd/private", view.uid);
    view.uid != 0 && (view.exists)(Path::new(&socket))
}

/// Whether a user manager runs that has no bus.
pub fn manager_without_bus(view: &View<'_>) -> bool {
    manager_runs(view) && candidates(view).is_empty()
}

/// Values in a D-Bus address keep letters, digits and `-_/.\*`; the rest is written as `%xx`.
fn escape(path: &str) -> String {
    let mut escaped = String::new();
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'/' | b'.' | b'\\' | b'*' => {
                escaped.push(byte.into());
            }
            _ => escaped.push_str(&format!("%{byte:02x}")),
        }
    }
    escaped
}

impl fmt::Display for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(uid: u32, variables: &[(&str, &str)], files: &[&str]) -> Vec<String> {
        let variable = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        let exists = |path: &Path| files.iter().any(|file| path == Path::new(file));
        candidates(&View { uid, variable: &variable, exists: &exists })
            .into_iter()
            .map(|b| b.address)
            .collect()
    }

    #[test]
    fn a_login_names_its_bus_once() {
        let variables = [
            ("DBUS_SESSION_BUS_ADDRESS", "unix:path=/run/user/1000/bus"),
            ("XDG_RUNTIME_DIR", "/run/user/1000"),
        ];
        assert_eq!(addresses(1000, &variables, &["/run/user/1000/bus"]), ["unix:path=/run/user/1000/bus"]);
    }

    #[test]
    fn without_any_variable_the_usual_socket_is_found() {
        assert_eq!(addresses(1000, &[], &["/run/user/1000/bus"]), ["unix:path=/run/user/1000/bus"]);
        assert_eq!(addresses(1001, &[], &["/run/user/1000/bus"]), [""; 0]);
    }

    #[test]
    fn a_distrobox_reaches_the_bus_of_the_host() {
        let files = ["/run/host/run/user/1000/bus"];
        let variables = [("DBUS_SESSION_BUS_ADDRESS", "")];
        assert_eq!(addresses(1000, &variables, &files), ["unix:path=/run/host/run/user/1000/bus"]);
    }

    #[test]
    fn a_session_bus_of_its_own_does_not_hide_the_user_managers() {
        let variables =
            [("DBUS_SESSION_BUS_ADDRESS", "unix:abstract=/tmp/dbus-x"), ("XDG_RUNTIME_DIR", "/tmp/r")];
        assert_eq!(
            addresses(7, &variables, &["/tmp/r/bus", "/run/user/7/bus"]),
            ["unix:abstract=/tmp/dbus-x", "unix:path=/tmp/r/bus", "unix:path=/run/user/7/bus"]
        );
    }

    #[test]
    fn root_takes_the_system_bus_even_if_sudo_kept_a_session() {
        let variables = [("DBUS_SESSION_BUS_ADDRESS", "unix:path=/run/user/1000/bus")];
        let files = ["/run/user/1000/bus", "/run/user/0/bus", "/run/dbus/system_bus_socket"];
        assert_eq!(addresses(0, &variables, &files), ["unix:path=/run/dbus/system_bus_socket"]);
    }

    #[test]
    fn odd_characters_are_escaped() {
        let variables = [("XDG_RUNTIME_DIR", "/tmp/my run,1")];
        assert_eq!(addresses(7, &variables, &["/tmp/my run,1/bus"]), ["unix:path=/tmp/my%20run%2c1/bus"]);
    }

    #[test]
    fn a_manager_without_a_bus_is_told_from_none() {
        let none = |_: &str| None;
        let private = |path: &Path| path == Path::new("/run/user/1000/systemd/private");
        assert!(manager_without_bus(&View { uid: 1000, variable: &none, exists: &private }));
        assert!(!manager_without_bus(&View { uid: 1000, variable: &none, exists: &|_| false }));
        assert!(!manager_without_bus(&View { uid: 1000, variable: &none, exists: &|_| true }));
    }
}
