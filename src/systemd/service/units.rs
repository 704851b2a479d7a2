//! The unit files: shipped below `systemd/`, embedded here, rendered for one binary.

use std::path::{Path, PathBuf};

use super::ServiceError;

/// The program that the shipped files name.
const SHIPPED: &str = "/usr/bin/sandtest";

/// Starts the broker.
pub const SOCKET: &str = "sandtest.socket";
/// The broker.
pub const SERVICE: &str = "sandtest.service";
/// All runs live in it.
pub const SLICE: &str = "sandtest.slice";

/// Whose service it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// One user's: `systemctl --user`.
    User,
    /// All users': `systemctl`, as root.
    System,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// `sandtest.socket` and so on.
    pub name: &'static str,
    /// What is in it.
    pub text: String,
}

impl Whose {
    /// The units, with `program` in them.
    ///
    /// # Errors
    /// [`ServiceError::Unwritable`] if a unit can't name such a path.
    pub fn units(self, program: &Path) -> Result<[Unit; 3], ServiceError> {
        let program = quoted(program)?;
        let [socket, service, slice] = match self {
            Whose::User => [
                include_str!("../../../systemd/user/sandtest.socket"),
                include_str!("../../../systemd/user/sandtest.service"),
                include_str!("../../../systemd/user/sandtest.slice"),
            ],
            Whose::System => [
                include_str!("../../../systemd/system/sandtest.socket"),
                include_str!("../../../systemd/system/sandtest.service"),
                include_str!("../../../systemd/system/sandtest.slice"),
            ],
        };
        let line = format!("\nExecStart={program} ");
        let service = service.replacen(&format!("\nExecStart={SHIPPED} "), &line, 1);
        Ok([
            Unit { name: SOCKET, text: socket.to_owned() },
            Unit { name: SERVICE, text: service },
            Unit { name: SLICE, text: slice.to_owned() },
        ])
    }

    /// The folder in which an administrator, or a user, puts units.
    pub fn folder(self, variable: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
        let absolute = |name| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
        match self {
            Whose::System => Some("/etc/systemd/system".into()),
            Whose::User => absolute("XDG_CONFIG_HOME")
                .or_else(|| absolute("HOME").map(|home| home.join(".config")))
                .map(|config| config.join("systemd/user")),
        }
    }

    /// As it is asked for on the command line, after `systemctl` or `sandtest service install`.
    pub fn option(self) -> &'static str {
        match self {
            Whose::User => " --user",
            Whose::System => "",
        }
    }
}

/// A path as `ExecStart=` takes it (systemd.service(5), "COMMAND LINES"; systemd.syntax(7), "QUOTING").
fn quoted(program: &Path) -> Result<String, ServiceError> {
    let unwritable = || ServiceError::Unwritable { program: program.to_owned() };
    let path = program.to_str().filter(|path| path.starts_with('/')).ok_or_else(unwritable)?;
    if path.chars().any(char::is_control) {
        return Err(unwritable());
    }
    // `%` is a specifier of systemd's, everywhere.
    let path = path.replace('%', "%%");
    let is_plain = |c: char| c.is_alphanumeric() || "/-_.+%@,:~=".contains(c);
    if path.chars().all(is_plain) {
        return Ok(path);
    }
    Ok(format!("\"{}\"", path.replace('\\', "\\\\").replace('"', "\\\"")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exec_start(program: &str) -> String {
        let [_, service, _] = Whose::User.units(Path::new(program)).unwrap();
        let lines: Vec<&str> = service.text.lines().filter(|line| line.starts_with("ExecStart=")).collect();
        let [line] = lines.as_slice() else { panic!("{lines:?}") };
        (*line).to_owned()
    }

    #[test]
    fn the_service_starts_the_binary_that_installed_it() {
        assert_eq!(exec_start("/opt/x/sandtest"), "ExecStart=/opt/x/sandtest serve --idle-exit 10min");
        assert_eq!(exec_start(SHIPPED), "ExecStart=/usr/bin/sandtest serve --idle-exit 10min");
        let [_, service, _] = Whose::System.units(Path::new("/opt/sandtest")).unwrap();
        assert!(service.text.contains("\nExecStart=/opt/sandtest serve --scope system --idle-exit 10min\n"));
    }

    #[test]
    fn odd_paths_are_quoted_and_impossible_ones_refused() {
        assert_eq!(
            exec_start("/my tests/100%/st"),
            "ExecStart=\"/my tests/100%%/st\" serve --idle-exit 10min"
        );
        assert_eq!(exec_start("/a\"b\\c"), "ExecStart=\"/a\\\"b\\\\c\" serve --idle-exit 10min");
        for path in ["relative", "/new\nline"] {
            let refused = Whose::User.units(Path::new(path));
            assert!(matches!(refused, Err(ServiceError::Unwritable { .. })), "{refused:?}");
        }
    }

    #[test]
    fn a_users_units_stand_where_xdg_says() {
        let of = |variables: &[(&str, &str)]| {
            Whose::User.folder(|name| {
                variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
            })
        };
        let (home, config) = (("HOME", "/home/me"), ("XDG_CONFIG_HOME", "/c"));
        assert_eq!(of(&[home, config]).unwrap(), Path::new("/c/systemd/user"));
        assert_eq!(of(&[home, ("XDG_CONFIG_HOME", "")]).unwrap(), Path::new("/home/me/.config/systemd/user"));
        assert_eq!(of(&[]), None);
    }
}
