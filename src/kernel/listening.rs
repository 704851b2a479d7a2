//! Where a process takes connections: its sockets in `/proc/PID/fd`, looked up in `/proc/PID/net`.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

/// `TCP_LISTEN` of the kernel's tcp_states.h, as `/proc/net/tcp` writes it.
const LISTEN: &str = "0A";

/// `__SO_ACCEPTCON`: a unix socket that listens (unix(7), `/proc/net/unix`).
const ACCEPTS: u64 = 1 << 16;

/// So many addresses of one process are named.
const NAMED: usize = 8;

/// TCP addresses and unix sockets at which `pid` takes connections. Empty where that can't be read.
pub fn addresses(pid: u32) -> Vec<String> {
    let proc = Path::new("/proc").join(pid.to_string());
    let sockets = sockets(&proc);
    if sockets.is_empty() {
        return Vec::new();
    }
    // Those of its own network namespace.
    let read = |name: &str| {
        String::from_utf8_lossy(&fs::read(proc.join("net").join(name)).unwrap_or_default()).into_owned()
    };
    let mut found = tcp(&read("tcp"), &sockets);
    found.extend(tcp(&read("tcp6"), &sockets));
    found.extend(unix(&read("unix"), &sockets));
    found.truncate(NAMED);
    found
}

/// Inodes of the sockets that it has open.
fn sockets(proc: &Path) -> BTreeSet<u64> {
    let inode = |path: PathBuf| path.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok();
    let links = fs::read_dir(proc.join("fd")).into_iter().flatten().flatten();
    links.filter_map(|link| inode(fs::read_link(link.path()).ok()?)).collect()
}

fn tcp(text: &str, sockets: &BTreeSet<u64>) -> Vec<String> {
    let listening = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?.parse().ok()?);
        (*state == LISTEN && sockets.contains(&inode)).then(|| address(local)).flatten()
    };
    text.lines().skip(1).filter_map(listening).map(|address| format!("tcp {address}")).collect()
}

/// `0100007F:1F90` is 127.0.0.1:8080: words of the network's order, printed as numbers of this machine.
fn address(text: &str) -> Option<String> {
    let (host, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| u32::from_str_radix(host.get(at * 8..at * 8 + 8)?, 16).ok().map(u32::to_ne_bytes);
    if host.len() == 8 {
        return Some(format!("{}:{port}", Ipv4Addr::from(word(0)?)));
    }
    let mut bytes = [0; 16];
    for at in 0..4 {
        bytes[at * 4..at * 4 + 4].copy_from_slice(&word(at)?);
    }
    Some(format!("[{}]:{port}", Ipv6Addr::from(bytes)))
}

fn unix(text: &str, sockets: &BTreeSet<u64>) -> Vec<String> {
    let listening = |line: &str| {
        // Num: RefCount Protocol Flags Type St Inode Path
        let mut fields = line.split_ascii_whitespace();
        let flags = u64::from_str_radix(fields.nth(3)?, 16).ok()?;
        let inode = fields.nth(2)?.parse().ok()?;
        let path = fields.collect::<Vec<_>>().join(" ").replace(char::is_control, "?");
        (flags & ACCEPTS != 0 && sockets.contains(&inode))
            .then(|| format!("unix {path}").trim_end().to_owned())
    };
    text.lines().skip(1).filter_map(listening).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_people_do() {
        assert_eq!(address("0100007F:1F90").as_deref(), Some("127.0.0.1:8080"));
        assert_eq!(address("00000000000000000000000001000000:0016").as_deref(), Some("[::1]:22"));
        assert_eq!(address("0100007:16"), None);
        assert_eq!(address(""), None);
    }

    #[test]
    fn only_what_listens_and_is_its_own_is_named() {
        let sockets = BTreeSet::from([5, 6, 7]);
        let tcp_table = "sl\n 0: 0100007F:0050 00000000:0000 0A 0:0 0:0 0 0 0 5 1\n\
            1: 0100007F:0051 00000000:0000 01 0:0 0:0 0 0 0 6 1\n 2: 0100007F:0052 00000000:0000 0A 0:0 0:0 0 0 0 9 1\n";
        assert_eq!(tcp(tcp_table, &sockets), ["tcp 127.0.0.1:80"]);
        let unix_table = "Num\n0: 2 0 00010000 0001 01 7 /tmp/a b\n0: 2 0 00000000 0001 03 5 /tmp/c\n";
        assert_eq!(unix(unix_table, &sockets), ["unix /tmp/a b"]);
    }

    #[test]
    fn own_sockets_are_found() {
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let wanted = format!("tcp {}", tcp.local_addr().unwrap());
        assert!(addresses(std::process::id()).contains(&wanted));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            let _ = (tcp(&text, &BTreeSet::new()), unix(&text, &BTreeSet::new()), address(&text));
        }
    }
}
