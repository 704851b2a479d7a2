//! Where one process takes connections, in words: for one that was left behind.

use std::collections::HashMap;
use std::time::Instant;

use super::PATIENCE;
use super::descriptors::Open;
use super::folder::Folder;
use super::sockets::Sockets;
use crate::model::diagnosis::Listener;

/// So many addresses of one process are named.
const NAMED: usize = 8;

/// TCP addresses and unix sockets at which `pid` takes connections. Empty where that can't be read.
pub fn addresses(pid: u32) -> Vec<String> {
    let Some(folder) = Folder::of(pid) else { return Vec::new() };
    let end = Instant::now() + PATIENCE;
    let open = Open::look([(pid, &folder)].into_iter(), end);
    let sockets = Sockets::find(&open.sockets, &HashMap::from([(pid, &folder)]), end);
    sockets.listening(&open.sockets).iter().take(NAMED).map(address).collect()
}

/// `tcp [::1]:22`: the address itself tells tcp6 from tcp.
fn address(Listener { socket, .. }: &Listener) -> String {
    format!("{} {}", socket.protocol.trim_end_matches('6'), socket.local).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_sockets_are_found_and_those_of_the_network_are_named_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let _unix = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let found = addresses(std::process::id());
        let at = |wanted: String| found.iter().position(|address| *address == wanted);
        let tcp = at(format!("tcp {}", tcp.local_addr().unwrap()));
        let unix = at(format!("unix {}", path.display()));
        assert!(tcp.is_some() && unix.is_some() && tcp < unix, "{found:?}");
    }
}
