//! How much memory is left, and who is kept waiting: files that are held open and read again at every look, without
//! an allocation.
//!
//! `MemAvailable` is the machine's. Each group above the run may hold less: its limit, less what it is charged, more
//! what of that is page cache. In a container that is what counts; the smallest of all holds. Swap counts as none:
//! what must be pushed out to make room is what makes an editor slow, and zram pushes it into memory again.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use super::controllers::{Version, memory_max_file};
use super::files::Dir;
use super::ground::Ground;
use super::hierarchy;
use crate::model::Bytes;
use crate::model::reading::{Stall, Stalls};

/// Room for `memory.stat` of a hybrid host's v1 groups and for `/proc/meminfo`, some 2 KiB each.
const ROOM: usize = 8192;

/// v1 writes "no limit" as nearly 2^63.
const UNLIMITED: u64 = 1 << 60;

/// What is held open for a run.
#[derive(Debug)]
pub struct Sensors {
    meminfo: Option<Held>,
    above: Vec<MemoryGroup>,
    run: Option<MemoryGroup>,
    system: Option<Pressures>,
    run_pressure: Option<Pressures>,
    editor: Option<Pressures>,
    /// Where the machine has no PSI.
    vmstat: Option<Held>,
    events: Option<Held>,
    buffer: Box<[u8; ROOM]>,
}

/// What the run's own group said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunMemory {
    /// All that is charged to it.
    pub charged: Bytes,
    /// Of it, page cache and other memory that can be taken back.
    pub cache: Bytes,
    /// Its limit as it is now; `None` without one.
    pub cap: Option<Bytes>,
}

impl Sensors {
    /// For a run in `ground`. `own_machine`: whether `/proc/pressure` is ours, and not a container host's. `editor`:
    /// the v2 group of the editor, where it has one.
    pub fn open(ground: &Ground, own_machine: bool, editor: Option<&Path>) -> Sensors {
        Sensors::over(ground.memory(), ground.v2(), own_machine, editor)
    }

    /// The same for a group that holds all that runs: the one that counts memory, and the one in the v2 tree.
    pub fn over(
        run: Option<(&Dir, Version)>,
        v2: Option<&Dir>,
        own_machine: bool,
        editor: Option<&Path>,
    ) -> Sensors {
        let above = match run {
            Some((dir, version)) => groups_above(dir.path(), version),
            // No group of the run's own: ours counts among those above.
            None => hierarchy::here()
                .iter()
                .filter(|hierarchy| hierarchy.may_have("memory"))
                .flat_map(|hierarchy| {
                    let version = if hierarchy.v2 { Version::V2 } else { Version::V1 };
                    hierarchy
                        .ancestors()
                        .filter_map(move |dir| MemoryGroup::open(dir, version))
                        .collect::<Vec<_>>()
                })
                .collect(),
        };
        let system = own_machine.then(|| Pressures::open(Path::new("/proc/pressure"), "")).flatten();
        let without_psi = own_machine && system.is_none();
        Sensors {
            meminfo: Held::open(Path::new("/proc/meminfo")),
            above,
            run: run.and_then(|(dir, version)| MemoryGroup::open(dir.path(), version)),
            system,
            vmstat: without_psi.then(|| Held::open(Path::new("/proc/vmstat"))).flatten(),
            events: run.and_then(|(dir, _)| Held::open(&dir.path().join("memory.events"))),
            run_pressure: v2.and_then(|dir| Pressures::open(dir.path(), ".pressure")),
            editor: editor.and_then(|dir| Pressures::open(dir, ".pressure")),
            buffer: Box::new([0; ROOM]),
        }
    }

    /// What machine and groups above can still give; `None` where nothing tells.
    pub fn available(&mut self) -> Option<Bytes> {
        let buffer = &mut *self.buffer;
        let machine = self.meminfo.as_ref().and_then(|file| {
            field(file.read(buffer)?, b"MemAvailable:").and_then(|kib| kib.checked_mul(1024))
        });
        let groups = self.above.iter().filter_map(|group| group.left(buffer));
        groups.chain(machine).min().map(Bytes)
    }

    /// What the run holds; `None` where it has no group that counts.
    pub fn run(&mut self) -> Option<RunMemory> {
        self.run.as_ref()?.memory(&mut self.buffer)
    }

    /// Who was kept waiting until now.
    pub fn stalls(&mut self) -> Stalls {
        let buffer = &mut *self.buffer;
        let mut read = |pressures: &Option<Pressures>| pressures.as_ref().map(|files| files.read(buffer));
        Stalls { system: read(&self.system), run: read(&self.run_pressure), editor: read(&self.editor) }
    }

    /// Pages that were given up and read again, where that is looked at.
    pub fn refaults(&mut self) -> Option<u64> {
        let text = self.vmstat.as_ref()?.read(&mut self.buffer)?;
        // Before Linux 5.9 there was one count for both kinds.
        let names: [&[u8]; 3] =
            [b"workingset_refault_anon", b"workingset_refault_file", b"workingset_refault"];
        names.iter().filter_map(|name| field(text, name)).reduce(|sum, pages| sum + pages)
    }

    /// How often the run was slowed at its `memory.high`.
    pub fn high(&mut self) -> Option<u64> {
        field(self.events.as_ref()?.read(&mut self.buffer)?, b"high")
    }

    /// The sensors that this machine does not have, by name.
    pub fn absent(&self) -> Vec<&'static str> {
        let all = [
            ("MemAvailable", self.meminfo.is_some()),
            ("memory of the run", self.run.is_some()),
            ("/proc/pressure", self.system.is_some()),
            ("pressure of the editor", self.editor.is_some()),
        ];
        all.into_iter().filter(|(_, there)| !there).map(|(name, _)| name).collect()
    }
}

/// One attempt's memory and processor time.
#[derive(Debug)]
pub struct JobSensors {
    memory: Option<Held>,
    stat: Option<Held>,
    cpu: Option<Held>,
    version: Version,
}

impl JobSensors {
    /// Of an attempt with these groups: the one that counts memory, and the one in the v2 tree.
    pub fn open(memory: Option<(&Dir, Version)>, v2: Option<&Dir>) -> JobSensors {
        let version = memory.map_or(Version::V2, |(_, version)| version);
        let held = |dir: &Dir, file: &str| dir.open_for_reading(file).ok().map(Held);
        JobSensors {
            memory: memory.and_then(|(dir, version)| held(dir, usage_file(version))),
            stat: memory.and_then(|(dir, _)| held(dir, "memory.stat")),
            cpu: v2.and_then(|dir| held(dir, "cpu.stat")),
            version,
        }
    }

    /// What it is charged; less its page cache where `without_cache` asks for that, which costs ten times as much.
    pub fn memory(&self, without_cache: bool) -> Option<Bytes> {
        let mut buffer = [0; ROOM];
        let charged = number(self.memory.as_ref()?.read(&mut buffer)?)?;
        if !without_cache {
            return Some(Bytes(charged));
        }
        let cache = self.stat.as_ref().and_then(|file| cache(file.read(&mut buffer)?, self.version));
        Some(Bytes(charged.saturating_sub(cache.unwrap_or(0))))
    }

    /// Processor time until now.
    pub fn cpu(&self) -> Option<Duration> {
        let mut buffer = [0; ROOM];
        field(self.cpu.as_ref()?.read(&mut buffer)?, b"usage_usec").map(Duration::from_micros)
    }
}

/// What one run of many holds, where each has a group of its own.
#[derive(Debug)]
pub struct GroupSensors(MemoryGroup);

impl GroupSensors {
    /// Of this group; `None` if it does not count memory.
    pub fn open(dir: &Dir, version: Version) -> Option<GroupSensors> {
        MemoryGroup::open(dir.path(), version).map(GroupSensors)
    }

    /// What is charged to it: cheap to ask. `None` once it is gone.
    pub fn charged(&self) -> Option<Bytes> {
        self.0.charged(&mut [0; ROOM]).map(Bytes)
    }

    /// All that it says.
    pub fn memory(&self) -> Option<RunMemory> {
        self.0.memory(&mut [0; ROOM])
    }
}

/// A group that counts memory.
#[derive(Debug)]
struct MemoryGroup {
    usage: Held,
    limit: Held,
    stat: Option<Held>,
    version: Version,
}

impl MemoryGroup {
    fn open(dir: &Path, version: Version) -> Option<MemoryGroup> {
        Some(MemoryGroup {
            usage: Held::open(&dir.join(usage_file(version)))?,
            limit: Held::open(&dir.join(memory_max_file(version)))?,
            stat: Held::open(&dir.join("memory.stat")),
            version,
        })
    }

    fn memory(&self, buffer: &mut [u8; ROOM]) -> Option<RunMemory> {
        let charged = self.charged(buffer)?;
        let cache = self.cache(buffer).unwrap_or(0).min(charged);
        Some(RunMemory { charged: Bytes(charged), cache: Bytes(cache), cap: self.limit(buffer).map(Bytes) })
    }

    fn charged(&self, buffer: &mut [u8; ROOM]) -> Option<u64> {
        number(self.usage.read(buffer)?)
    }

    fn cache(&self, buffer: &mut [u8; ROOM]) -> Option<u64> {
        cache(self.stat.as_ref()?.read(buffer)?, self.version)
    }

    fn limit(&self, buffer: &mut [u8; ROOM]) -> Option<u64> {
        number(self.limit.read(buffer)?).filter(|limit| *limit < UNLIMITED)
    }

    /// What its limit leaves; `None` without a limit.
    fn left(&self, buffer: &mut [u8; ROOM]) -> Option<u64> {
        let limit = self.limit(buffer)?;
        let held = self.charged(buffer)?.saturating_sub(self.cache(buffer).unwrap_or(0));
        Some(limit.saturating_sub(held))
    }
}

/// Those above `run` that can be seen.
fn groups_above(run: &Path, version: Version) -> Vec<MemoryGroup> {
    run.ancestors().skip(1).map_while(|dir| MemoryGroup::open(dir, version)).collect()
}

/// The PSI files of a group, or of the machine.
#[derive(Debug)]
struct Pressures {
    memory: Held,
    cpu: Option<Held>,
    io: Option<Held>,
}

impl Pressures {
    /// `None` without PSI: the files are absent, or there and answer EOPNOTSUPP.
    fn open(dir: &Path, suffix: &str) -> Option<Pressures> {
        let file = |name: &str| Held::open(&dir.join(format!("{name}{suffix}")));
        let memory = file("memory")?;
        memory.read(&mut [0; ROOM])?;
        Some(Pressures { memory, cpu: file("cpu"), io: file("io") })
    }

    fn read(&self, buffer: &mut [u8; ROOM]) -> Stall {
        let mut totals = |file: Option<&Held>| {
            let text = file.and_then(|file| file.read(buffer)).unwrap_or_default();
            (total(text, b"some"), total(text, b"full"))
        };
        let (memory_some, memory_full) = totals(Some(&self.memory));
        let (cpu_some, _) = totals(self.cpu.as_ref());
        let (io_some, io_full) = totals(self.io.as_ref());
        Stall { memory_some, memory_full, cpu_some, io_some, io_full }
    }
}

/// A file that is held open.
#[derive(Debug)]
struct Held(OwnedFd);

impl Held {
    fn open(path: &Path) -> Option<Held> {
        std::fs::File::open(path).ok().map(|file| Held(file.into()))
    }

    fn read<'a>(&self, buffer: &'a mut [u8; ROOM]) -> Option<&'a [u8]> {
        let length = rustix::io::pread(&self.0, &mut buffer[..], 0).ok()?;
        Some(&buffer[..length])
    }
}

fn usage_file(version: Version) -> &'static str {
    match version {
        Version::V1 => "memory.usage_in_bytes",
        Version::V2 => "memory.current",
    }
}

/// What can be taken back without waiting for a disk, in a text of `memory.stat`: page cache that is clean and, on v2,
/// slab.
fn cache(stat: &[u8], version: Version) -> Option<u64> {
    let (clean, unclean): ([&[u8]; 3], [&[u8]; 2]) = match version {
        Version::V1 => {
            ([b"total_inactive_file", b"total_active_file", b""], [b"total_dirty", b"total_writeback"])
        }
        Version::V2 => {
            ([b"inactive_file", b"active_file", b"slab_reclaimable"], [b"file_dirty", b"file_writeback"])
        }
    };
    let sum =
        |names: &[&[u8]]| names.iter().filter_map(|name| field(stat, name)).reduce(|sum, bytes| sum + bytes);
    Some(sum(&clean)?.saturating_sub(sum(&unclean).unwrap_or(0)))
}

/// The number of `key` in a text of lines `key number ...`.
fn field(text: &[u8], key: &[u8]) -> Option<u64> {
    let line = text.split(|byte| *byte == b'\n').find(|line| {
        !key.is_empty() && line.starts_with(key) && matches!(line.get(key.len()), Some(b' ' | b'\t'))
    })?;
    number(&line[key.len()..])
}

/// `total=` of the line of a pressure file that begins with `key`, which is in microseconds.
fn total(text: &[u8], key: &[u8]) -> Duration {
    let line = text.split(|byte| *byte == b'\n').find(|line| line.starts_with(key));
    let total = line.and_then(|line| {
        let at = line.windows(6).position(|window| window == b"total=")?;
        number(&line[at + 6..])
    });
    Duration::from_micros(total.unwrap_or(0))
}

/// The first number, after spaces. `max` and what is no number are none.
fn number(text: &[u8]) -> Option<u64> {
    let digits = text.trim_ascii_start();
    let length = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
    std::str::from_utf8(&digits[..length]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_by_whole_names() {
        let meminfo = b"MemTotal:  100 kB\nMemFree:  5 kB\nMemAvailable:   77 kB\n";
        assert_eq!(field(meminfo, b"MemAvailable:"), Some(77));
        assert_eq!(field(b"inactive_file 3\nactive_file 4\nslab_reclaimable 5\n", b"active_file"), Some(4));
        assert_eq!(cache(b"inactive_file 3\nactive_file 4\nslab_reclaimable 5\n", Version::V2), Some(12));
        assert_eq!(
            cache(b"inactive_file 9\ntotal_inactive_file 3\ntotal_active_file 4\n", Version::V1),
            Some(7)
        );
        assert_eq!(cache(b"inactive_file 3\nactive_file 4\nfile_dirty 5\n", Version::V2), Some(2));
        assert_eq!(cache(b"", Version::V1), None);
        assert_eq!((number(b"max\n"), number(b"4096\n"), number(b"")), (None, Some(4096), None));
    }

    #[test]
    fn pressure_is_read_in_microseconds() {
        let text = b"some avg10=0.00 avg60=0.00 avg300=0.00 total=1234\nfull avg10=0.00 total=56\n";
        assert_eq!(total(text, b"some"), Duration::from_micros(1234));
        assert_eq!(total(text, b"full"), Duration::from_micros(56));
        assert_eq!(total(b"", b"full"), Duration::ZERO);
    }

    #[test]
    fn this_machine_has_memory_left() {
        let mut sensors = Sensors::open(&Ground::Bare, true, None);
        assert!(sensors.available().unwrap() > Bytes::mib(1));
        assert_eq!(sensors.run(), None);
        assert!(sensors.absent().contains(&"memory of the run"));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            let _ = (cache(&text, Version::V1), cache(&text, Version::V2), total(&text, b"some"));
        }
    }
}
