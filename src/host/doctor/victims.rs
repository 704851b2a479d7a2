//! Whom would the kernel kill next, and is it the editor?
//!
//! `/proc/PID/oom_score` is the kernel's own arithmetic for a machine that runs out: memory held, and
//! `oom_score_adj` thousandths of all memory on top. Its steps are coarse (0.15 % of memory), so ties go by size.

use std::cmp::Reverse;
use std::fs;
use std::path::Path;

use serde::Serialize;

use crate::model::Bytes;

/// How many are shown.
const SHOWN: usize = 5;

/// Folders whose programs belong to an editor though they are called `node`.
const EDITOR_FOLDERS: [&str; 4] = [".vscode-server", ".vscode-remote", ".cursor-server", ".windsurf-server"];

/// A process that the kernel may choose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Candidate {
    /// Its id.
    pub pid: u32,
    /// `/proc/PID/comm`: at most 15 characters.
    pub comm: String,
    /// `/proc/PID/oom_score`.
    pub oom_score: u64,
    /// `/proc/PID/oom_score_adj`.
    pub oom_score_adj: i16,
    /// Resident memory.
    pub rss: Bytes,
    /// Whether it belongs to the editor.
    pub protected: bool,
}

/// The order in which the kernel would take them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Victims {
    /// The first few.
    pub next: Vec<Candidate>,
    /// Of how many.
    pub processes: usize,
    /// Place of the first one that belongs to the editor, 1-based; `None` if no editor is seen.
    pub editor_place: Option<usize>,
}

/// Ranks all processes that are visible here.
pub fn read(proc: &Path, protect: &[String]) -> Victims {
    let entries = fs::read_dir(proc).into_iter().flatten().flatten();
    rank(entries.filter_map(|entry| candidate(&entry.path(), protect)).collect())
}

/// Highest score first; of equals the larger one.
pub fn rank(mut candidates: Vec<Candidate>) -> Victims {
    candidates.sort_by_key(|c| (Reverse(c.oom_score), Reverse(c.rss), c.pid));
    let editor_place = candidates.iter().position(|c| c.protected).map(|index| index + 1);
    let processes = candidates.len();
    candidates.truncate(SHOWN);
    Victims { next: candidates, processes, editor_place }
}

/// `None` for what the kernel never kills, and for what ended while we looked.
fn candidate(folder: &Path, protect: &[String]) -> Option<Candidate> {
    let pid: u32 = folder.file_name()?.to_str()?.parse().ok()?;
    let read =
        |name: &str| fs::read(folder.join(name)).ok().map(|b| String::from_utf8_lossy(&b).into_owned());
    // Kernel threads have no memory of their own; init is exempt.
    let rss = resident(&read("status")?)?;
    let oom_score_adj = read("oom_score_adj")?.trim().parse().ok()?;
    if pid == 1 || oom_score_adj == -1000 {
        return None;
    }
    let comm = read("comm")?.trim_end().to_owned();
    let protected = belongs(&comm, &read("cmdline").unwrap_or_default(), protect);
    let oom_score = read("oom_score")?.trim().parse().ok()?;
    Some(Candidate { pid, comm, oom_score, oom_score_adj, rss, protected })
}

fn resident(status: &str) -> Option<Bytes> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok().map(Bytes::kib)
}

/// By its name, by the program it runs, or by the script that its interpreter runs.
fn belongs(comm: &str, cmdline: &str, protect: &[String]) -> bool {
    let programs: Vec<&str> = cmdline.split('\0').take(2).collect();
    let files = programs.iter().filter_map(|path| path.rsplit('/').next());
    let mut names = files.chain([comm]);
    // The kernel cuts comm at 15 bytes.
    let named =
        names.any(|name| protect.iter().any(|p| name == p || (p.len() > 15 && p.get(..15) == Some(name))));
    named || programs.iter().any(|path| path.split('/').any(|part| EDITOR_FOLDERS.contains(&part)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, comm: &str, oom_score: u64, rss: Bytes) -> Candidate {
        Candidate { pid, comm: comm.to_owned(), oom_score, oom_score_adj: 0, rss, protected: comm == "code" }
    }

    #[test]
    fn an_editor_that_outranks_everything_is_seen() {
        // Chromium raises its renderers by 300: worth 19 GiB on a machine of 64.
        let victims = rank(vec![
            process(10, "bash", 666, Bytes::mib(4)),
            process(11, "code", 869, Bytes::gib(1)),
            process(12, "test", 690, Bytes::gib(6)),
        ]);
        assert_eq!(victims.editor_place, Some(1));
        assert_eq!(victims.next[1].comm, "test");
    }

    #[test]
    fn of_equals_the_larger_goes_first() {
        let victims = rank(vec![process(1, "small", 666, Bytes(1)), process(2, "large", 666, Bytes(2))]);
        assert_eq!(victims.next[0].comm, "large");
        assert_eq!(victims.editor_place, None);
    }

    #[test]
    fn the_editor_is_placed_even_where_it_is_not_shown() {
        let mut all: Vec<_> = (0..9).map(|pid| process(pid, "test", 900, Bytes::mib(1))).collect();
        all.push(process(99, "code", 1, Bytes::mib(1)));
        let victims = rank(all);
        assert_eq!((victims.next.len(), victims.processes, victims.editor_place), (SHOWN, 10, Some(10)));
    }

    #[test]
    fn a_remote_editor_is_called_node() {
        let protect = ["code".to_owned(), "rust-analyzer-proc-macro-srv".to_owned()];
        assert!(belongs("code", "/usr/share/code/code\0--type=renderer\0", &protect));
        assert!(belongs("node", "/home/u/.vscode-server/bin/1/node\0/x/y.js\0", &protect));
        assert!(belongs("node", "/usr/bin/node\0/usr/lib/code\0", &protect));
        assert!(belongs("rust-analyzer-p", "", &protect));
        assert!(!belongs("node", "node\0server.js\0/opt/code\0", &protect));
        assert!(!belongs("codecov", "codecov\0", &protect));
    }

    #[test]
    fn what_the_kernel_spares_is_left_out() {
        let proc = tempfile::tempdir().unwrap();
        let put = |pid: u32, status: &str, adj: &str| {
            let folder = proc.path().join(pid.to_string());
            fs::create_dir(&folder).unwrap();
            for (name, text) in [
                ("status", status),
                ("oom_score_adj", adj),
                ("comm", "x\n"),
                ("oom_score", "666\n"),
                ("cmdline", "x\0"),
            ] {
                fs::write(folder.join(name), text).unwrap();
            }
        };
        put(1, "VmRSS:\t    9000 kB\n", "0\n");
        put(2, "Name:\tkthreadd\n", "0\n");
        put(30, "VmRSS:\t    9000 kB\n", "-1000\n");
        put(31, "VmRSS:\t    9000 kB\n", "900\n");
        let victims = read(proc.path(), &[]);
        assert_eq!(victims.next.iter().map(|c| c.pid).collect::<Vec<_>>(), [31]);
        assert_eq!(victims.next[0].rss, Bytes::kib(9000));
    }
}
