//! Putting the units in place, and taking them away. Twice is the same as once.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::units::{SERVICE, SLICE, SOCKET, Unit};
use super::{Manager, ServiceError, Whose};

/// What was done.
#[derive(Debug)]
pub struct Placed {
    /// Where the units are.
    pub folder: PathBuf,
    /// Which of them were written: those that were there already are not.
    pub written: Vec<&'static str>,
}

/// Whether this process may do it at all. `sudo_user`: who called sudo, if anybody did.
///
/// # Errors
/// [`ServiceError::BySudo`], [`ServiceError::NotRoot`].
pub fn may(whose: Whose, is_root: bool, sudo_user: Option<String>) -> Result<(), ServiceError> {
    match (whose, is_root, sudo_user) {
        (Whose::System, false, _) => Err(ServiceError::NotRoot),
        (Whose::User, true, Some(user)) if user != "root" => Err(ServiceError::BySudo { user }),
        _ => Ok(()),
    }
}

/// Writes the units, so that they start `program`, and has the socket listened on. A broker that runs is stopped if
/// anything has changed: runs go on meanwhile, and the first of them that comes back starts the new one.
///
/// # Errors
/// [`ServiceError`]; units that were written before it stay.
pub fn install(manager: &Manager, program: &Path, socket: &Path) -> Result<Placed, ServiceError> {
    let whose = manager.whose();
    let folder = whose.folder(variable).ok_or(ServiceError::NoHome)?;
    if !manager.searched().contains(&folder) {
        let searched: Vec<String> =
            manager.searched().iter().map(|path| path.display().to_string()).collect();
        return Err(ServiceError::NotSearched { whose, folder, searched: searched.join(", ") });
    }
    if whose == Whose::System {
        safe_for_root(program)?;
    }
    let units = whose.units(program)?;
    free(manager, socket)?;
    fs::create_dir_all(&folder).map_err(failed("make", &folder))?;
    let mut written = Vec::new();
    for unit in &units {
        if write(&folder.join(unit.name), unit, whose)? {
            written.push(unit.name);
        }
    }
    manager.call(&["daemon-reload"])?;
    if !written.is_empty() {
        // The service first: a socket doesn't start while the service that it is for runs.
        manager.call(&["stop", SERVICE, SOCKET])?;
    }
    // After too many failed starts systemd would not try again.
    let _ = manager.call(&["reset-failed", SERVICE, SOCKET]);
    manager.call(&["enable", "--quiet", "--now", SOCKET])?;
    Ok(Placed { folder, written })
}

/// Takes away what [`install`] made. Runs go on, each with a broker of its own. Returns what there was.
///
/// # Errors
/// [`ServiceError`] of files that can't be removed.
pub fn uninstall(
    whose: Whose,
    manager: Option<&Manager>,
    socket: &Path,
) -> Result<Vec<PathBuf>, ServiceError> {
    let folder = whose.folder(variable).ok_or(ServiceError::NoHome)?;
    // The names of the files are all that matters here.
    let units = whose.units(Path::new("/"))?;
    let there: Vec<PathBuf> =
        units.iter().map(|unit| folder.join(unit.name)).filter(|path| is_ours(path)).collect();
    if there.is_empty() {
        return Ok(there);
    }
    if let Some(manager) = manager {
        manager.call(&["disable", "--quiet", "--now", SOCKET])?;
        manager.call(&["stop", SERVICE])?;
    }
    for path in &there {
        fs::remove_file(path).map_err(failed("remove", path))?;
    }
    // Without a manager nobody has disabled it. Folders that are empty now may have been made for these; of a user's
    // `systemd` is as far as that goes.
    let wants = folder.join("sockets.target.wants");
    let _ = fs::remove_file(wants.join(SOCKET));
    let _ = fs::remove_dir(&wants);
    for folder in folder.ancestors().take(if whose == Whose::User { 2 } else { 0 }) {
        let _ = fs::remove_dir(folder);
    }
    // What the broker has had systemd keep of the slice's limits.
    for searched in
        manager.iter().flat_map(|manager| manager.searched()).filter(|path| path.starts_with("/run"))
    {
        let limits = searched.join(format!("{SLICE}.d"));
        if searched.ends_with("user.control") || searched.ends_with("system.control") {
            for name in ["MemoryMax", "MemorySwapMax", "TasksMax", "CPUQuota"] {
                let _ = fs::remove_file(limits.join(format!("50-{name}.conf")));
            }
            let _ = fs::remove_dir(&limits);
        }
    }
    if let Some(manager) = manager {
        manager.call(&["daemon-reload"])?;
        let _ = manager.call(&["reset-failed", SERVICE, SOCKET]);
    }
    // systemd made the folder for the socket, and leaves it; the others are the broker's.
    if let Some(folder) = socket.parent() {
        for left in ["broker.sock.lock", "metrics.sock", "metrics.sock.lock"] {
            let _ = fs::remove_file(folder.join(left));
        }
        let _ = fs::remove_dir(folder);
    }
    Ok(there)
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn failed<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> ServiceError + use<'a> {
    move |source| ServiceError::File { what, path: path.to_owned(), source }
}

/// A unit that is there. A link to `/dev/null` is somebody's word that it is not to be.
fn is_ours(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|file| file.is_file())
}

/// Whether it had to be written.
fn write(path: &Path, unit: &Unit, whose: Whose) -> Result<bool, ServiceError> {
    if fs::read_link(path).is_ok_and(|to| to == Path::new("/dev/null")) {
        return Err(ServiceError::Masked { path: path.to_owned(), whose });
    }
    if fs::read(path).is_ok_and(|text| text == unit.text.as_bytes()) {
        return Ok(false);
    }
    // Beside it first, so that systemd never reads the half of one.
    let part = path.with_extension("part");
    fs::write(&part, &unit.text).map_err(failed("write", &part))?;
    fs::rename(&part, path).map_err(failed("write", path))?;
    Ok(true)
}

/// Whether root can run it without trusting anybody else, and its service can see it.
fn safe_for_root(program: &Path) -> Result<(), ServiceError> {
    let not = |why: String| Err(ServiceError::Unsafe { program: program.to_owned(), why });
    for hidden in ["/home", "/root", "/run/user", "/tmp", "/var/tmp"] {
        if program.starts_with(hidden) {
            return not(format!("it is below {hidden}, which the service doesn't see"));
        }
    }
    for part in program.ancestors() {
        let found = fs::metadata(part).map_err(failed("look at", part))?;
        // The sticky bit of a folder keeps others from replacing what is root's, but not from being first.
        if found.uid() != 0 || found.mode() & 0o022 != 0 {
            return not(format!("others than root may change {}", part.display()));
        }
    }
    Ok(())
}

/// Nobody but systemd may listen there: two brokers would give the same memory twice.
fn free(manager: &Manager, socket: &Path) -> Result<(), ServiceError> {
    let state = manager.show(SOCKET, &["ActiveState"])?;
    if state.get("ActiveState").is_some_and(|state| state == "active") {
        return Ok(());
    }
    match crate::systemd::service::status::listener(socket) {
        Some(pid) => Err(ServiceError::Held { socket: socket.to_owned(), pid }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_service_is_not_roots_and_the_systems_is() {
        let me = || Some("me".to_owned());
        assert!(matches!(may(Whose::User, true, me()), Err(ServiceError::BySudo { user }) if user == "me"));
        assert!(matches!(may(Whose::System, false, None), Err(ServiceError::NotRoot)));
        // A root that logged in as root has a manager of its own.
        assert!(may(Whose::User, true, None).is_ok() && may(Whose::User, true, Some("root".into())).is_ok());
        assert!(may(Whose::User, false, None).is_ok() && may(Whose::System, true, me()).is_ok());
    }

    #[test]
    fn root_does_not_run_what_others_may_change() {
        let folder = tempfile::tempdir().unwrap();
        let why = |path: &Path| safe_for_root(path).unwrap_err().to_string();
        assert!(why(&folder.path().join("sandtest")).contains("below /tmp"));
        assert!(why(Path::new("/home/me/sandtest")).contains("below /home"));
        assert!(safe_for_root(Path::new("/bin/sh")).is_ok());
    }
}
