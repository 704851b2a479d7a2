//! One process, as `/proc/PID` shows it (proc_pid_stat(5), proc_pid_statm(5)).

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::observe::listening;
use crate::model::{Process, text};

/// Its working directory; `None` if it is gone or another user's.
pub fn folder(pid: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/cwd")).ok()
}

/// What `/proc/PID/stat` says, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// Its id.
    pub pid: u32,
    /// Its name, at most 15 bytes.
    pub comm: String,
    /// `R`, `S`, `D`, `T`, `Z`, `X` ...
    pub state: char,
    /// Its parent's id.
    pub ppid: u32,
    /// Threads in it.
    pub num_threads: u64,
    /// User and system time of its own, in clock ticks.
    pub ticks: u64,
    /// The same of its children that have ended and were waited for, and of theirs.
    pub children_ticks: u64,
    /// When it started, in clock ticks since boot: with the pid it names a process for good.
    pub starttime: u64,
}

impl Stat {
    /// Reads `/proc/PID/stat`; `None` if the process is gone.
    pub fn read(pid: u32) -> Option<Stat> {
        // Its name may hold any bytes: it is cut to 15 of them, in the middle of a letter if need be.
        Stat::parse(&String::from_utf8_lossy(&read(pid, "stat")?))
    }

    /// From the text of the file. The name may hold spaces, parentheses and newlines, so the last `)` ends it.
    pub fn parse(text: &str) -> Option<Stat> {
        let (open, close) = (text.find('(')?, text.rfind(')')?);
        let comm = text.get(open + 1..close)?.to_owned();
        let fields: Vec<&str> = text.get(close + 1..)?.split_ascii_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        Some(Stat {
            pid: text[..open].trim().parse().ok()?,
            comm,
            state: fields.first()?.chars().next()?,
            ppid: u32::try_from(number(1)?).ok()?,
            num_threads: number(17)?,
            ticks: number(11)?.checked_add(number(12)?)?,
            children_ticks: number(13)?.checked_add(number(14)?)?,
            starttime: number(19)?,
        })
    }

    /// Processor time of its own, to the clock tick: 10 ms. For what one process or thread is at.
    pub fn own_cpu_time(&self) -> Duration {
        ticks(self.ticks)
    }

    /// The same with that of its children that have ended and were waited for: without those a job that starts one
    /// short process after another would seem to use nothing. Summed over all of a job, each is counted once, for a
    /// child is either there itself or in its parent's; an orphan that sandtest reaps drops out.
    pub fn cpu_time(&self) -> Duration {
        ticks(self.ticks.saturating_add(self.children_ticks))
    }

    /// Neither a zombie nor dead.
    pub fn is_alive(&self) -> bool {
        !matches!(self.state, 'Z' | 'X' | 'x')
    }
}

/// The status that the parent of an ended process is told, from the last field of `/proc/PID/stat`; `None` once it has been, or
/// if the number is another's.
pub fn status_of_ended(pid: u32, starttime: u64) -> Option<i32> {
    let text = String::from_utf8_lossy(&read(pid, "stat")?).into_owned();
    let stat = Stat::parse(&text)?;
    if stat.is_alive() || stat.starttime != starttime {
        return None;
    }
    text.get(text.rfind(')')? + 1..)?.split_ascii_whitespace().nth(49)?.parse().ok()
}

/// Whether `pid` is there and neither a zombie nor dead.
pub fn is_alive(pid: u32) -> bool {
    Stat::read(pid).is_some_and(|stat| stat.is_alive())
}

/// The name of a process, `?` if it is gone. A process may call itself anything: what would move a cursor is `?`.
pub fn name(pid: u32) -> String {
    let Ok(name) = fs::read(file(pid, "comm")) else { return "?".to_owned() };
    text::harmless(String::from_utf8_lossy(&name).trim_end_matches('\n'))
}

/// So much of a command line is shown.
const COMMAND_SHOWN: usize = 200;

/// A process as it is told of: by name and command line, and where it takes connections.
pub fn told(pid: u32) -> Process {
    Process { pid, name: name(pid), command: command_line(pid), listening: listening::addresses(pid) }
}

/// The beginning of its command line, as a shell would read it; empty for a kernel thread, and if it is gone.
fn command_line(pid: u32) -> String {
    shown(&fs::read(file(pid, "cmdline")).unwrap_or_default())
}

/// Words that end in NUL, quoted where a shell would want it. What would move a cursor is shown by its number.
fn shown(words: &[u8]) -> String {
    let words = words.strip_suffix(b"\0").unwrap_or(words);
    // A word may be megabytes long, and quotes make none shorter: no more is looked at than is shown.
    let begin = &words[..words.len().min(COMMAND_SHOWN)];
    let shown = |word: &[u8]| {
        let word = String::from_utf8_lossy(word);
        if word.contains(text::acts) {
            format!("$'{}'", word.escape_default())
        } else {
            shell_words::quote(&word).into_owned()
        }
    };
    let mut line = if begin.is_empty() {
        String::new()
    } else {
        begin.split(|byte| *byte == 0).map(shown).collect::<Vec<_>>().join(" ")
    };
    if line.len() > COMMAND_SHOWN || words.len() > COMMAND_SHOWN {
        let whole = |at: &usize| line.is_char_boundary(*at);
        line.truncate((0..=COMMAND_SHOWN.min(line.len())).rev().find(whole).unwrap_or(0));
        line += "...";
    }
    line
}

/// So many clock ticks as time.
pub fn ticks(count: u64) -> Duration {
    let second = rustix::param::clock_ticks_per_second().max(1);
    let nanos = (count % second).saturating_mul(1_000_000_000) / second;
    Duration::from_secs(count / second) + Duration::from_nanos(nanos)
}

/// Memory that only this process pays for, in bytes.
pub fn private_resident(pid: u32) -> Option<u64> {
    private_of(&fs::read_to_string(file(pid, "statm")).ok()?)
}

/// From the text of `statm`: resident pages less the shared ones, in bytes.
pub fn private_of(text: &str) -> Option<u64> {
    let mut fields = text.split_ascii_whitespace().skip(1).map(|field| field.parse::<u64>().ok());
    let (resident, shared) = (fields.next()??, fields.next()??);
    Some(resident.saturating_sub(shared).saturating_mul(page_size()))
}

/// Its group in the v2 tree, as a path from that tree's root.
pub fn v2_group(pid: u32) -> Option<String> {
    let text = String::from_utf8(read(pid, "cgroup")?).ok()?;
    text.lines().find_map(|line| line.strip_prefix("0::")).map(str::to_owned)
}

/// The environment that the process was started with, as `NAME=value` entries that end in NUL. Empty where it has
/// none, is in the middle of exec, or is gone.
pub fn environment(pid: u32) -> Vec<u8> {
    fs::read(file(pid, "environ")).unwrap_or_default()
}

/// Raises this process's soft limit of open files to the hard one (setrlimit(2)). Returns the soft limit that it
/// had; `None` if it can't be changed.
pub fn raise_nofile() -> Option<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).ok()?;
    Some(soft)
}

/// All process ids.
pub fn all() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Bytes in a page of memory.
pub fn page_size() -> u64 {
    rustix::param::page_size() as u64
}

/// One of its small files, whole: it has no size to ask for first.
fn read(pid: u32, name: &str) -> Option<Vec<u8>> {
    let mut text = Vec::with_capacity(4096);
    fs::File::open(file(pid, name)).ok()?.take(u64::MAX).read_to_end(&mut text).ok()?;
    Some(text)
}

fn file(pid: u32, name: &str) -> PathBuf {
    Path::new("/proc").join(pid.to_string()).join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "42 (a) S (b c)) R 7 1 1 0 -1 4194304 5 0 0 0 11 4 600 70 20 0 3 0 9876 1 2 3";

    #[test]
    fn a_name_with_parentheses_and_spaces_does_not_confuse() {
        let stat = Stat::parse(STAT).unwrap();
        assert_eq!((stat.pid, stat.comm.as_str(), stat.state, stat.ppid), (42, "a) S (b c)", 'R', 7));
        assert_eq!((stat.num_threads, stat.ticks, stat.starttime), (3, 15, 9876));
    }

    #[test]
    fn what_its_ended_children_used_counts_for_the_job_and_not_for_the_process() {
        let stat = Stat::parse(STAT).unwrap();
        assert_eq!((stat.own_cpu_time(), stat.cpu_time()), (ticks(15), ticks(15 + 600 + 70)));
        assert_eq!(ticks(rustix::param::clock_ticks_per_second() * 5 / 2), Duration::from_millis(2500));
    }

    #[test]
    fn memory_is_what_nobody_shares() {
        assert_eq!(private_of("900 70 20 1 0 5 0\n"), Some(50 * page_size()));
        assert_eq!(private_of("900 20 70\n"), Some(0));
        assert_eq!(private_of("900"), None);
    }

    #[test]
    fn a_command_line_reads_as_it_was_typed() {
        assert_eq!(shown(b"sleep\x001000\0"), "sleep 1000");
        assert_eq!(shown(b"sh\0-c\0echo $x\0\0"), "sh -c 'echo $x' ''");
        assert_eq!(shown(b"a'b\0\x1b[2J\0"), r"'a'\''b' $'\u{1b}[2J'");
        assert_eq!(shown(b""), "");
        assert_eq!(shown(&[b'x'; 500]).len(), COMMAND_SHOWN + 3);
    }

    #[test]
    fn own_process_is_alive() {
        let me = std::process::id();
        assert_eq!(Stat::read(me).unwrap().pid, me);
        assert!(is_alive(me));
        assert!(private_resident(me).unwrap() > 0);
        assert!(all().contains(&me));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            let _ = (Stat::parse(&text), private_of(&text));
        }
    }
}
