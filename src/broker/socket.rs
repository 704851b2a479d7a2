//! Where a broker is found.
//!
//! ```text
//! $SANDTEST_BROKER  ── else ──▶  /run/sandtest/broker.sock          the system's
//!                   ── else ──▶  $XDG_RUNTIME_DIR/sandtest/broker.sock   the user's
//!                                └ or /run/user/UID, or /tmp/sandtest-UID where there is no such folder
//! ```

use std::path::{Path, PathBuf};

use super::protocol::Scope;

/// Names the socket of the broker to talk to.
pub const VARIABLE: &str = "SANDTEST_BROKER";

/// In the environment of a job: the lease of its run, and the job's number, for a run inside of it.
pub const LEASE: &str = "SANDTEST_LEASE";

/// The slice of a user's manager below which all of that user's runs are.
pub const SLICE: &str = "sandtest.slice";

/// Where a path may be bound to: `sun_path` of unix(7), with its end.
pub const LONGEST_PATH: usize = 107;

/// The socket of this scope's broker, if nobody says otherwise.
pub fn usual(scope: Scope) -> PathBuf {
    let uid = nix::unistd::geteuid().as_raw();
    usual_of(scope, uid, std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from), Path::is_dir)
}

/// Where to look for a broker, in this order.
pub fn candidates() -> Vec<PathBuf> {
    match std::env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
        Some(path) => vec![path.into()],
        None => vec![usual(Scope::System), usual(Scope::User)],
    }
}

/// Where a broker of one's own is to listen: where it was said to, or at this user's usual place.
pub fn own() -> PathBuf {
    let named = std::env::var_os(VARIABLE).filter(|path| !path.is_empty());
    named.map_or_else(|| usual(Scope::User), PathBuf::from)
}

/// A file beside a socket.
pub fn beside(socket: &Path, extension: &str) -> PathBuf {
    let mut name = socket.as_os_str().to_owned();
    name.push(extension);
    name.into()
}

/// The socket of metrics for the broker that serves `socket`: `metrics.sock` beside `broker.sock`.
pub fn metrics(socket: &Path) -> PathBuf {
    match socket.file_name() {
        Some(name) if name == USUAL_NAME => socket.with_file_name("metrics.sock"),
        _ => beside(socket, ".metrics"),
    }
}

/// What a broker's socket is called in its folder.
const USUAL_NAME: &str = "broker.sock";

fn usual_of(scope: Scope, uid: u32, told: Option<PathBuf>, is_dir: impl Fn(&Path) -> bool) -> PathBuf {
    let folder = match scope {
        Scope::System => "/run/sandtest".into(),
        Scope::User => told
            // A relative one is to be passed over (XDG Base Directory Specification).
            .filter(|folder| folder.is_absolute())
            .or_else(|| Some(PathBuf::from(format!("/run/user/{uid}"))).filter(|folder| is_dir(folder)))
            .map_or_else(|| format!("/tmp/sandtest-{uid}").into(), |folder| folder.join("sandtest")),
    };
    folder.join(USUAL_NAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_have_a_socket_beside_the_brokers() {
        assert_eq!(metrics(Path::new("/run/x/broker.sock")), Path::new("/run/x/metrics.sock"));
        assert_eq!(metrics(Path::new("/tmp/b.sock")), Path::new("/tmp/b.sock.metrics"));
    }

    #[test]
    fn a_user_has_a_socket_with_and_without_a_runtime_folder() {
        let of = |told: Option<&str>, there: bool| {
            usual_of(Scope::User, 7, told.map(PathBuf::from), |_| there).to_str().unwrap().to_owned()
        };
        assert_eq!(of(Some("/run/x"), true), "/run/x/sandtest/broker.sock");
        assert_eq!(of(None, true), "/run/user/7/sandtest/broker.sock");
        assert_eq!(of(Some("x"), false), "/tmp/sandtest-7/broker.sock");
        assert_eq!(usual_of(Scope::System, 7, None, |_| false), Path::new("/run/sandtest/broker.sock"));
    }
}
