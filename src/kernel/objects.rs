//! What outlives the processes that made it: files in `/dev/shm`, System V objects, mounts.
//!
//! The kernel notes no maker of most of them, so what is there is compared with what was there before. Whether
//! anything can have changed costs a few microseconds to know: the folder's mtime, the counts that ipcs(1) reads,
//! and poll(2) on mountinfo, which says so when mounts change. Only then are the lists read.

use std::collections::BTreeSet;
use std::ffi::{OsString, c_int};
use std::fs::{self, File};
use std::io::{Read, Seek};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::process;
use crate::model::Bytes;
use crate::model::leftovers::ObjectKind;

/// Where shm_open(3) and sem_open(3) make their files.
const SHM: &str = "/dev/shm";

/// Times of files are those of the last tick: for so long after a change, another may have the same time.
const TICK: Duration = Duration::from_millis(20);

/// `SHM_INFO` of shmctl(2), which the libc crate lacks.
const SHM_INFO: c_int = 14;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// What tells it from all others, also from later ones of its name.
    pub key: Key,
    /// Its size, where it has one.
    pub bytes: Option<Bytes>,
    /// Whether it is of this user.
    pub ours: bool,
    /// Whether somebody who lives has it attached, as far as the list says.
    pub attached: bool,
}

/// What tells an object from all others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// What it is.
    pub kind: ObjectKind,
    /// Its path or its number.
    pub name: OsString,
    /// Inode, key or mount id.
    pub number: u64,
}

/// Which lists there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum List {
    /// The files in `/dev/shm`.
    Shm,
    /// System V shared memory, semaphores and queues.
    SysV,
    /// The mounts of this mount namespace.
    Mounts,
}

impl List {
    /// The list on which a kind stands.
    pub fn of(kind: ObjectKind) -> List {
        match kind {
            ObjectKind::ShmFile => List::Shm,
            ObjectKind::SysvShm | ObjectKind::SysvSem | ObjectKind::SysvMsg => List::SysV,
            ObjectKind::Mount => List::Mounts,
        }
    }
}

/// Knows whether a list may have changed since it was read last.
#[derive(Debug)]
pub struct Watch {
    shm: Stamp,
    counts: [i64; 7],
    /// Held open: the kernel notes for each opening of it what it has told.
    mountinfo: Option<File>,
}

/// The mtime of a folder, and whether a later change would surely have another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    time: Option<(i64, i64)>,
    settled: bool,
}

impl Watch {
    /// From now on. Whatever was there before is read with [`read`], after this.
    pub fn start() -> Watch {
        let mountinfo = File::open("/proc/self/mountinfo").ok();
        Watch { shm: Stamp::now(), counts: counts(), mountinfo }
    }

    /// The lists that may have changed since the last call.
    pub fn changed(&mut self) -> Vec<List> {
        let mut changed = Vec::new();
        let stamp = Stamp::now();
        if !self.shm.settled || stamp.time != self.shm.time {
            changed.push(List::Shm);
        }
        self.shm = stamp;
        let counts = counts();
        if counts != self.counts {
            changed.push(List::SysV);
        }
        self.counts = counts;
        if self.mountinfo.as_ref().is_some_and(mounts_changed) {
            changed.push(List::Mounts);
        }
        changed
    }

    /// What is on a list now.
    pub fn read(&mut self, list: List) -> Vec<Object> {
        match (list, &mut self.mountinfo) {
            (List::Shm, _) => shm_files(),
            (List::SysV, _) => sysv(),
            (List::Mounts, Some(file)) => {
                let mut text = Vec::new();
                let read = file.rewind().and_then(|()| file.read_to_end(&mut text));
                if read.is_ok() {
                    mounts(&text).into_iter().map(|mount| mount.object).collect()
                } else {
                    Vec::new()
                }
            }
            (List::Mounts, None) => Vec::new(),
        }
    }
}

impl Stamp {
    fn now() -> Stamp {
        // The clock before the folder: what changes between the two looks young, and is read again.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let Ok(meta) = fs::metadata(SHM) else { return Stamp { time: None, settled: true } };
        let time = (meta.mtime(), meta.mtime_nsec());
        let seconds = u64::try_from(time.0).unwrap_or(0);
        let changed = Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(time.1).unwrap_or(0));
        Stamp { time: Some(time), settled: changed + TICK < now }
    }
}

/// How many System V objects there are, and how large they are together.
fn counts() -> [i64; 7] {
    #[repr(C)]
    #[derive(Default)]
    struct ShmInfo {
        used_ids: c_int,
        shm_tot: libc::c_ulong,
        shm_rss: libc::c_ulong,
        shm_swp: libc::c_ulong,
        swap_attempts: libc::c_ulong,
        swap_successes: libc::c_ulong,
    }
    let mut shm = ShmInfo::default();
    // SAFETY: plain numbers, for which all zeroes are a value.
    let (mut sem, mut msg): (libc::seminfo, libc::msginfo) =
        unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
    // SAFETY: each of these commands writes one struct of its own kind (shmctl(2), semctl(2), msgctl(2)), which
    // lives here; the prototypes name the struct of other commands. A kernel without System V IPC writes nothing.
    let highest = unsafe {
        [
            libc::shmctl(0, SHM_INFO, (&raw mut shm).cast()),
            libc::semctl(0, 0, libc::SEM_INFO, &raw mut sem),
            libc::msgctl(0, libc::MSG_INFO, (&raw mut msg).cast()),
        ]
    };
    let pages = i64::try_from(shm.shm_tot).unwrap_or(i64::MAX);
    let [shm_id, sem_id, msg_id] = highest.map(i64::from);
    // Of the queues only their number: what is in them changes with each message.
    [shm_id, sem_id, msg_id, shm.used_ids.into(), pages, sem.semusz.into(), msg.msgpool.into()]
}

/// poll(2) tells of a change once, to each opening of the file.
fn mounts_changed(file: &File) -> bool {
    let flags = nix::poll::PollFlags::POLLPRI | nix::poll::PollFlags::POLLERR;
    let mut asked = [nix::poll::PollFd::new(file.as_fd(), flags)];
    let answered = nix::poll::poll(&mut asked, nix::poll::PollTimeout::ZERO);
    answered.is_ok_and(|count| count > 0) && asked[0].revents().is_some_and(|events| events.intersects(flags))
}

fn shm_files() -> Vec<Object> {
    let uid = nix::unistd::geteuid().as_raw();
    let entries = fs::read_dir(SHM).into_iter().flatten().flatten();
    let object = |entry: fs::DirEntry| {
        // Not followed: what a symlink shows is elsewhere.
        let meta = entry.metadata().ok()?;
        let key = Key { kind: ObjectKind::ShmFile, name: entry.path().into_os_string(), number: meta.ino() };
        let bytes = meta.is_file().then(|| Bytes(meta.size()));
        Some(Object { key, bytes, ours: meta.uid() == uid, attached: false })
    };
    entries.filter_map(object).collect()
}

fn sysv() -> Vec<Object> {
    let uid = nix::unistd::geteuid().as_raw().into();
    let kinds = [
        (ObjectKind::SysvShm, "shm", "shmid", Some("size")),
        (ObjectKind::SysvSem, "sem", "semid", None),
        (ObjectKind::SysvMsg, "msg", "msqid", Some("cbytes")),
    ];
    let mut found = Vec::new();
    for (kind, file, id, size) in kinds {
        let text = fs::read_to_string(Path::new("/proc/sysvipc").join(file)).unwrap_or_default();
        for row in rows(&text) {
            let Some(number) = row(id) else { continue };
            found.push(Object {
                // The number holds a count of how often its place was used.
                key: Key { kind, name: number.to_string().into(), number },
                bytes: size.and_then(&row).map(Bytes),
                ours: row("uid") == Some(uid) || row("cuid") == Some(uid),
                attached: row("nattch").is_some_and(|count| count > 0),
            });
        }
    }
    found
}

/// The lines of a table, each as a way to ask for the number in a column.
fn rows(text: &str) -> impl Iterator<Item = impl Fn(&str) -> Option<u64>> {
    let mut lines = text.lines();
    let head: Vec<&str> = lines.next().unwrap_or_default().split_ascii_whitespace().collect();
    lines.map(move |line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let head = head.clone();
        move |name: &str| {
            let at = head.iter().position(|column| *column == name)?;
            fields.get(at)?.parse().ok()
        }
    })
}

struct Mount {
    object: Object,
    point: PathBuf,
}

/// From the text of mountinfo (proc_pid_mountinfo(5)).
fn mounts(text: &[u8]) -> Vec<Mount> {
    let uid = nix::unistd::geteuid().as_raw();
    let user_id = format!("user_id={uid}");
    let mount = |line: &[u8]| {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        let id = std::str::from_utf8(fields.first()?).ok()?.parse().ok()?;
        let point = PathBuf::from(OsString::from_vec(unescape(fields.get(4)?)));
        // An ordinary user mounts by fusermount(1) alone; what root's services mount meanwhile is theirs.
        let options = fields.last().copied().unwrap_or_default();
        let ours = uid == 0 || options.split(|byte| *byte == b',').any(|option| option == user_id.as_bytes());
        let key = Key { kind: ObjectKind::Mount, name: point.clone().into_os_string(), number: id };
        Some(Mount { object: Object { key, bytes: None, ours, attached: false }, point })
    };
    text.split(|byte| *byte == b'\n').filter_map(mount).collect()
}

/// mountinfo writes space, tab, newline and backslash as three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let octal =
            after.get(..3).filter(|_| byte == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => (plain.push(byte), rest = &after[3..]).1,
            None => (plain.push(byte), rest = after).1,
        }
    }
    plain
}

/// The mount points at or below `folder`, an absolute path without symlinks. A mountinfo that can't be read counts as
/// one at `folder`.
pub fn mounts_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(text) = fs::read("/proc/self/mountinfo") else { return vec![folder.to_owned()] };
    mounts(&text).into_iter().map(|mount| mount.point).filter(|point| point.starts_with(folder)).collect()
}

/// Those of `objects` that are still there and that no process has in use. Looks through all processes where one is
/// a file in `/dev/shm`.
pub fn abandoned(mut objects: Vec<Object>) -> Vec<Object> {
    let lists: Vec<Vec<Object>> = [List::Shm, List::SysV, List::Mounts]
        .into_iter()
        .filter(|list| objects.iter().any(|object| List::of(object.key.kind) == *list))
        .map(|list| {
            Watch {
                shm: Stamp { time: None, settled: true },
                counts: [0; 7],
                mountinfo: File::open("/proc/self/mountinfo").ok(),
            }
            .read(list)
        })
        .collect();
    let now = |key: &Key| lists.iter().flatten().find(|object| object.key == *key);
    objects.retain_mut(|object| match now(&object.key) {
        Some(now) => {
            *object = now.clone();
            !object.attached
        }
        None => false,
    });
    let files = objects.iter().filter(|object| object.key.kind == ObjectKind::ShmFile);
    let names: BTreeSet<Vec<u8>> = files.map(|object| object.key.name.as_bytes().to_vec()).collect();
    if !names.is_empty() {
        let used = in_use(names);
        objects.retain(|object| !used.contains(object.key.name.as_bytes()));
    }
    objects
}

/// Which of these files a process has open or mapped.
fn in_use(mut names: BTreeSet<Vec<u8>>) -> BTreeSet<Vec<u8>> {
    let mut used = BTreeSet::new();
    let me = std::process::id();
    for pid in process::all().into_iter().filter(|pid| *pid != me) {
        if names.is_empty() {
            break;
        }
        let proc = Path::new("/proc").join(pid.to_string());
        let links = fs::read_dir(proc.join("fd")).into_iter().flatten().flatten();
        let open = links.filter_map(|link| fs::read_link(link.path()).ok());
        let mut held: Vec<Vec<u8>> = open.map(|path| path.into_os_string().into_vec()).collect();
        let maps = fs::read(proc.join("maps")).unwrap_or_default();
        let mapped = maps.split(|byte| *byte == b'\n').filter_map(|line| {
            let at = line.iter().position(|byte| *byte == b'/')?;
            line[at..].starts_with(SHM.as_bytes()).then(|| line[at..].to_vec())
        });
        held.extend(mapped);
        for name in held {
            if let Some(name) = names.take(&name) {
                used.insert(name);
            }
        }
    }
    used
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_read_by_the_names_of_their_columns() {
        let text = "key shmid perms size cpid\n 0 5 600 4096 77\n-1 65542 600 1 x\n";
        let found: Vec<_> =
            rows(text).map(|row| (row("shmid"), row("size"), row("cpid"), row("none"))).collect();
        assert_eq!(found, [(Some(5), Some(4096), Some(77), None), (Some(65542), Some(1), None, None)]);
    }

    #[test]
    fn mount_points_are_read_as_they_are() {
        let text = b"36 35 98:0 / /mnt/a\\040b\\134 rw - ext4 /dev/root rw\nnonsense\n\n7 1 0:1 / /x\\0 rw - fuse x rw,user_id=1";
        let points: Vec<_> = mounts(text).into_iter().map(|mount| mount.point).collect();
        assert_eq!(points, [Path::new("/mnt/a b\\"), Path::new("/x\\0")]);
        assert_eq!(mounts_below(Path::new("/no/such/folder")), Vec::<PathBuf>::new());
        assert!(mounts_below(Path::new("/")).contains(&"/proc".into()));
    }

    #[test]
    fn a_file_in_shared_memory_is_seen_and_whether_it_is_in_use() {
        let mut watch = Watch::start();
        let path = format!("{SHM}/sandtest-test-{}", std::process::id());
        fs::write(&path, [0; 10]).unwrap();
        assert!(watch.changed().contains(&List::Shm));
        let mut found = watch.read(List::Shm);
        found.retain(|object| *object.key.name == *path);
        assert_eq!((found.len(), found[0].bytes, found[0].ours), (1, Some(Bytes(10)), true));
        assert_eq!(abandoned(found.clone()), found);
        let mut holder =
            std::process::Command::new("sleep").arg("60").stdin(File::open(&path).unwrap()).spawn().unwrap();
        assert_eq!(abandoned(found.clone()), []);
        holder.kill().unwrap();
        holder.wait().unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(abandoned(found), []);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text: Vec<u8>) {
            let _ = mounts(&text);
            let _ = rows(&String::from_utf8_lossy(&text)).filter_map(|row| row("key")).count();
        }
    }
}
