//! The sockets of a network namespace (proc_pid_net(5)), matched by inode with the descriptors of the attempt.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::time::Instant;

use super::folder::Folder;
use crate::model::diagnosis::{LISTENERS, Listener, Socket};
use crate::model::text::harmless;

/// The kernel answers at most a page or so at once; a longer line than this is none of its own.
const PIECE: usize = 64 << 10;

/// The sockets of the attempt, by inode.
#[derive(Default)]
pub(super) struct Sockets {
    known: HashMap<u64, Socket>,
    pub cut: bool,
}

impl Sockets {
    /// Finds those of `wanted` (inode and holder) in the namespaces of their holders, until `end`.
    pub fn find(wanted: &HashMap<u64, u32>, folders: &HashMap<u32, &Folder>, end: Instant) -> Sockets {
        let mut sockets = Sockets::default();
        let mut seen = Vec::new();
        let mut holders: Vec<u32> = wanted.values().copied().collect();
        holders.sort_unstable();
        holders.dedup();
        for folder in holders.iter().filter_map(|pid| folders.get(pid)) {
            // Where that is hidden, they share one, as nearly all do.
            let namespace = folder.open("ns").and_then(|ns| ns.link("net")).unwrap_or_default();
            if seen.contains(&namespace) || sockets.known.len() == wanted.len() {
                continue;
            }
            seen.push(namespace);
            for table in ["tcp", "tcp6", "unix", "udp", "udp6"] {
                if sockets.known.len() < wanted.len()
                    && let Ok(file) = folder.file(&format!("net/{table}"))
                {
                    sockets.read(table, &file, wanted, end);
                }
            }
        }
        sockets
    }

    /// Reads a table piece by piece: it may have a hundred thousand lines of others.
    fn read(&mut self, table: &str, file: &OwnedFd, wanted: &HashMap<u64, u32>, end: Instant) {
        let mut buffer = vec![0; PIECE];
        let mut held = 0;
        loop {
            if Instant::now() >= end {
                self.cut = true;
                return;
            }
            let length = rustix::io::read(file, &mut buffer[held..]).unwrap_or(0);
            let text = &buffer[..held + length];
            let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            for line in text[..whole].split(|byte| *byte == b'\n') {
                if let Some((inode, socket)) = parse(table, line, |inode| wanted.contains_key(&inode)) {
                    self.known.insert(inode, socket);
                }
            }
            let rest = text.len() - whole;
            if length == 0 || rest == PIECE || self.known.len() == wanted.len() {
                return;
            }
            buffer.copy_within(whole..whole + rest, 0);
            held = rest;
        }
    }

    /// One of them.
    pub fn get(&self, inode: u64) -> Option<&Socket> {
        self.known.get(&inode)
    }

    /// How many of each protocol and state; `other` for those of no table.
    pub fn counts(&self, wanted: &HashMap<u64, u32>) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for inode in wanted.keys() {
            let name = match self.known.get(inode) {
                Some(socket) => format!("{} {}", socket.protocol, socket.state),
                None => "other".to_owned(),
            };
            *counts.entry(name).or_default() += 1;
        }
        counts
    }

    /// Those that wait for connections.
    pub fn listening(&self, wanted: &HashMap<u64, u32>) -> Vec<Listener> {
        let listening = self.known.iter().filter(|(_, socket)| socket.state == "listen");
        let mut found: Vec<Listener> = listening
            .filter_map(|(inode, socket)| Some(Listener { pid: *wanted.get(inode)?, socket: socket.clone() }))
            .collect();
        // Those of the network first: there may be many others.
        found.sort_by_cached_key(|Listener { socket, .. }| {
            (socket.port.is_none(), socket.port, socket.local.clone())
        });
        found.truncate(LISTENERS);
        found
    }
}

/// A line of `table`, if its socket is wanted.
fn parse(table: &str, line: &[u8], wanted: impl Fn(u64) -> bool) -> Option<(u64, Socket)> {
    let text = String::from_utf8_lossy(line);
    let words = || text.split_ascii_whitespace();
    if table == "unix" {
        // Num RefCount Protocol Flags Type St Inode Path
        let inode = words().nth(6)?.parse().ok().filter(|inode| wanted(*inode))?;
        let accepts = u32::from_str_radix(words().nth(3)?, 16).ok()? & 0x1_0000 != 0;
        let state = match u32::from_str_radix(words().nth(5)?, 16).ok()? {
            _ if accepts => "listen",
            1 => "unconnected",
            2 => "connecting",
            3 => "connected",
            4 => "disconnecting",
            _ => "free",
        };
        let local = harmless(&words().skip(7).collect::<Vec<_>>().join(" "));
        let socket = Socket { protocol: table.into(), state: state.into(), local, remote: None, port: None };
        return Some((inode, socket));
    }
    // sl local_address rem_address st tx:rx tr:tm->when retrnsmt uid timeout inode
    let inode = words().nth(9)?.parse().ok().filter(|inode| wanted(*inode))?;
    let (local, port) = address(words().nth(1)?)?;
    let (remote, remote_port) = address(words().nth(2)?)?;
    let number = u8::from_str_radix(words().nth(3)?, 16).ok()?;
    let state = if table.starts_with("udp") && number == 7 { "unconnected" } else { state(number) };
    Some((
        inode,
        Socket {
            protocol: table.into(),
            state: state.into(),
            local,
            remote: (remote_port != 0).then_some(remote),
            port: Some(port),
        },
    ))
}

/// include/net/tcp_states.h.
fn state(number: u8) -> &'static str {
    match number {
        1 => "established",
        2 => "syn-sent",
        3 | 12 => "syn-recv",
        4 => "fin-wait-1",
        5 => "fin-wait-2",
        6 => "time-wait",
        7 => "closed",
        8 => "close-wait",
        9 => "last-ack",
        10 => "listen",
        11 => "closing",
        _ => "unknown",
    }
}

/// `0100007F:1F90`: words of 32 bits as this machine holds them, and the port.
fn address(text: &str) -> Option<(String, u16)> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = Vec::with_capacity(16);
    for at in (0..address.len()).step_by(8) {
        let word = u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    let address = match bytes.len() {
        4 => IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        _ => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
    };
    Some((std::net::SocketAddr::new(address, port).to_string(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: fn(u64) -> bool = |_| true;

    #[test]
    #[cfg(target_endian = "little")]
    fn lines_of_tcp_have_addresses_and_states() {
        let line = b"   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1603 1 00000000b198649d 100 0 0 10 0";
        let (inode, socket) = parse("tcp", line, ALL).unwrap();
        assert_eq!((inode, socket.state.as_str(), socket.port), (1603, "listen", Some(8080)));
        assert_eq!((socket.local.as_str(), socket.remote), ("127.0.0.1:8080", None));
        assert_eq!(parse("tcp", line, |inode| inode == 4), None);
        let line = b"   1: 00000000000000000000000001000000:C350 0000000000000000FFFF00000100007F:1538 08 00000000:00000000 00:00000000 00000000  1000 0 77 1 0";
        let (_, socket) = parse("tcp6", line, ALL).unwrap();
        assert_eq!((socket.state.as_str(), socket.local.as_str()), ("close-wait", "[::1]:50000"));
        assert_eq!(socket.remote.as_deref(), Some("[::ffff:127.0.0.1]:5432"));
    }

    #[test]
    fn lines_of_unix_have_paths_that_may_hold_anything() {
        let line = b"00000000959f84a8: 00000002 00000000 00010000 0001 01  1600 /run/a b\x1b.sock";
        let (inode, socket) = parse("unix", line, ALL).unwrap();
        assert_eq!((inode, socket.state.as_str(), socket.local.as_str()), (1600, "listen", "/run/a b?.sock"));
        let line = b"00000000959f84a8: 00000003 00000000 00000000 0001 03  1601";
        assert_eq!(parse("unix", line, ALL).unwrap().1.state, "connected");
    }

    #[test]
    fn headlines_and_rubbish_are_no_sockets() {
        let head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
        for line in
            [head, "", "Num       RefCount Protocol Flags    Type St Inode Path", "1 2 3 4 5 6 7 8 9 10"]
        {
            for table in ["tcp", "tcp6", "udp"] {
                assert_eq!(parse(table, line.as_bytes(), ALL), None, "{table}: {line}");
            }
        }
        assert_eq!(parse("unix", b"Num       RefCount Protocol Flags    Type St Inode Path", ALL), None);
        assert_eq!(address("0100007:1F90"), None);
        assert_eq!(address("01000\u{e9}7F:1F90"), None);
        assert_eq!(address(":1F90"), None);
        assert_eq!(address("0100007F0100007F:1F90"), None);
    }

    #[test]
    fn a_table_of_a_hundred_thousand_lines_keeps_to_its_time() {
        use std::io::Write;
        let mut file = tempfile::tempfile().unwrap();
        let line = |inode: u32| {
            format!(
                "{inode:6}: 0100007F:1F90 0100007F:0050 01 00000000:00000000 00:00000000 00000000     0        0 {inode} 1 00000000b198649d 100 0 0 10 0\n"
            )
        };
        let text: String = (1..=100_000).map(line).collect();
        file.write_all(text.as_bytes()).unwrap();
        let open = || {
            use std::io::Seek;
            let mut file = file.try_clone().unwrap();
            file.rewind().unwrap();
            OwnedFd::from(file)
        };
        let wanted = HashMap::from([(99_999, 1), (17, 1)]);
        let mut all = Sockets::default();
        all.read("tcp", &open(), &wanted, Instant::now() + std::time::Duration::from_secs(60));
        assert_eq!((all.known.len(), all.cut), (2, false));
        let mut none = Sockets::default();
        none.read("tcp", &open(), &wanted, Instant::now());
        assert_eq!((none.known.len(), none.cut), (0, true));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(line in proptest::collection::vec(proptest::num::u8::ANY, 0..200), text in "[0-9A-F:]{0,50}") {
            let _ = (parse("tcp", &line, ALL), parse("unix", &line, ALL), address(&text));
        }
    }
}
