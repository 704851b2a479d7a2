//! What there is of the service.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::manager::Properties;
use super::units::{SERVICE, SLICE, SOCKET};
use super::{Manager, ServiceError, Whose};

/// The service, as its manager and its files show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The folder with the units in it; `None` if they are not installed.
    pub folder: Option<PathBuf>,
    /// Whether the units are those that this binary would put there.
    pub current: bool,
    /// `active`, `inactive`, `failed`: of the socket.
    pub socket: String,
    /// The same of the broker.
    pub broker: String,
    /// The broker's process; `None` if it doesn't run.
    pub pid: Option<u32>,
    /// Memory in the slice, in bytes; `None` if there is no slice, or nobody counts.
    pub memory: Option<u64>,
    /// Its limit, in bytes; `None` if there is none.
    pub memory_max: Option<u64>,
}

/// Looks at it.
///
/// # Errors
/// [`ServiceError::Refused`].
pub fn look(manager: &Manager, program: &Path) -> Result<Status, ServiceError> {
    let whose = manager.whose();
    let state = |unit| manager.show(unit, &["ActiveState", "FragmentPath", "MainPID"]);
    let (socket, broker) = (state(SOCKET)?, state(SERVICE)?);
    let slice = manager.show(SLICE, &["MemoryCurrent", "MemoryMax"])?;
    // Where systemd found it: that need not be where we would put it.
    let folder = text(&socket, "FragmentPath").and_then(|path| Some(Path::new(path).parent()?.to_owned()));
    let current = folder.as_deref().is_some_and(|folder| is_current(whose, folder, program));
    Ok(Status {
        folder,
        current,
        socket: text(&socket, "ActiveState").unwrap_or("unknown").to_owned(),
        broker: text(&broker, "ActiveState").unwrap_or("unknown").to_owned(),
        pid: number(&broker, "MainPID").filter(|pid| *pid != 0).and_then(|pid| u32::try_from(pid).ok()),
        memory: number(&slice, "MemoryCurrent"),
        memory_max: number(&slice, "MemoryMax"),
    })
}

/// The process that listens at `socket`; `None` if nobody does.
pub fn listener(socket: &Path) -> Option<u32> {
    // Whoever called listen(2) is the peer: systemd, where that made the socket.
    let stream = UnixStream::connect(socket).ok()?;
    let peer = nix::sys::socket::getsockopt(&stream, nix::sys::socket::sockopt::PeerCredentials).ok()?;
    u32::try_from(peer.pid()).ok()
}

fn is_current(whose: Whose, folder: &Path, program: &Path) -> bool {
    let Ok(units) = whose.units(program) else { return false };
    units.iter().all(|unit| fs::read(folder.join(unit.name)).is_ok_and(|text| text == unit.text.as_bytes()))
}

fn text<'a>(properties: &'a Properties, name: &str) -> Option<&'a str> {
    properties.get(name).map(String::as_str).filter(|value| !value.is_empty())
}

/// systemd writes `[not set]` or `infinity` where there is none, and the largest number where it is an older one.
fn number(properties: &Properties, name: &str) -> Option<u64> {
    text(properties, name)?.parse().ok().filter(|number| *number != u64::MAX)
}
