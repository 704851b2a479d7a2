//! What an attempt left behind, in sentences: what, how much, and how to be rid of what is still there.

use crate::model::leftovers::{Files, Object, ObjectKind};
use crate::model::{Evidence, Process};

/// So many of each kind are named.
const NAMED: usize = 5;

/// A command line is cut to so many characters; all of it is in the events.
const COMMAND_SHOWN: usize = 60;

/// One sentence a kind, each of which begins with `left`. Empty if nothing was left.
pub fn sentences(evidence: &Evidence) -> Vec<String> {
    let left = &evidence.left;
    let mut told = Vec::new();
    if evidence.leaked_count > 0 {
        let noun = if evidence.leaked_count == 1 { "process" } else { "processes" };
        let count = evidence.leaked_count;
        let named = list(evidence.leaked.iter().map(process), count);
        told.push(format!("left {count} {noun} behind: {named}; killed."));
    }
    told.extend(left.files.as_deref().map(files));
    for certain in [true, false] {
        for kind in [
            ObjectKind::ShmFile,
            ObjectKind::SysvShm,
            ObjectKind::SysvSem,
            ObjectKind::SysvMsg,
            ObjectKind::Mount,
        ] {
            let of_kind = |object: &&Object| object.kind == kind && object.certain == certain;
            let objects: Vec<&Object> = left.objects.iter().filter(of_kind).collect();
            told.extend((!objects.is_empty()).then(|| self::objects(kind, certain, &objects)));
        }
    }
    if let Some(memory) = left.memory {
        let file = left.objects.iter().find(|object| object.kind == ObjectKind::ShmFile);
        let such_as = file.map_or("/dev/shm".to_owned(), |file| file.name.clone());
        told.push(format!(
            "left {memory} charged to the run: shared memory or files in tmpfs, such as {such_as}."
        ));
    }
    told
}

fn process(process: &Process) -> String {
    let mut text = format!("{} (pid {}", process.name, process.pid);
    // A program without arguments has been named.
    if process.command.contains(' ') {
        text += &format!(": {}", cut(&process.command));
    }
    if !process.listening.is_empty() {
        text += &format!(", listening on {}", process.listening.join(", "));
    }
    text + ")"
}

fn cut(command: &str) -> String {
    if command.chars().count() <= COMMAND_SHOWN {
        return command.to_owned();
    }
    command.chars().take(COMMAND_SHOWN - 3).collect::<String>() + "..."
}

fn files(files: &Files) -> String {
    let noun = if files.count == 1 { "file" } else { "files" };
    let named = list(files.first.iter().cloned(), files.count);
    let named = if named.is_empty() { String::new() } else { format!(": {named}") };
    if let (0, Some(why)) = (files.count, &files.kept) {
        return format!("left files in its TMPDIR, not removed: {why}.");
    }
    let now = files.kept.as_ref().map_or("removed".to_owned(), |why| format!("not removed: {why}"));
    format!("left {} {noun} in its TMPDIR ({}){named}; {now}.", files.count, files.bytes)
}

fn objects(kind: ObjectKind, certain: bool, objects: &[&Object]) -> String {
    let (what, command, option) = match kind {
        ObjectKind::ShmFile => ("shared memory", "rm -r", ""),
        ObjectKind::SysvShm => ("System V shared memory", "ipcrm", "-m "),
        ObjectKind::SysvSem => ("System V semaphores", "ipcrm", "-s "),
        ObjectKind::SysvMsg => ("System V queues", "ipcrm", "-q "),
        ObjectKind::Mount => ("mounts", "umount", ""),
    };
    let name = |object: &&Object| match object.bytes {
        Some(bytes) => format!("{} ({bytes})", object.name),
        None => object.name.clone(),
    };
    let named = list(objects.iter().map(name), objects.len() as u64);
    let by = if certain { "" } else { " by it or by one that ran beside it" };
    let colon = if certain { " " } else { ": " };
    let removal: Vec<String> = objects
        .iter()
        .take(NAMED)
        .map(|object| format!("{option}{}", shell_words::quote(&object.name)))
        .collect();
    format!("left{by}{colon}{what} {named}; still there ({command} {}).", removal.join(" "))
}

/// The first of them, and how many more there are.
fn list(names: impl Iterator<Item = String>, count: u64) -> String {
    let named: Vec<String> = names.take(NAMED).collect();
    let more = count.saturating_sub(named.len() as u64);
    let more = if more > 0 && !named.is_empty() { format!(" and {more} more") } else { String::new() };
    named.join(", ") + &more
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Bytes, Leftovers};

    fn told(left: Leftovers) -> String {
        sentences(&Evidence { left, ..Evidence::default() }).join("\n")
    }

    #[test]
    fn each_kind_is_a_sentence_with_its_way_out() {
        let object = |kind, name: &str, bytes, certain| Object { kind, name: name.into(), bytes, certain };
        let left = Leftovers {
            files: Some(Box::new(Files {
                count: 7,
                bytes: Bytes(12 << 10),
                first: ["a.txt", "b/c"].map(String::from).to_vec(),
                kept: None,
            })),
            objects: vec![
                object(ObjectKind::ShmFile, "/dev/shm/x", Some(Bytes::mib(16)), true),
                object(ObjectKind::SysvSem, "3", None, false),
                object(ObjectKind::SysvSem, "4", None, false),
                object(ObjectKind::Mount, "/mnt/it's", None, true),
            ],
            memory: Some(Bytes::mib(16)),
        };
        let wanted = "left 7 files in its TMPDIR (12 KiB): a.txt, b/c and 5 more; removed.\n\
            left shared memory /dev/shm/x (16 MiB); still there (rm -r /dev/shm/x).\n\
            left mounts /mnt/it's; still there (umount '/mnt/it'\\''s').\n\
            left by it or by one that ran beside it: System V semaphores 3, 4; still there (ipcrm -s 3 -s 4).\n\
            left 16 MiB charged to the run: shared memory or files in tmpfs, such as /dev/shm/x.";
        assert_eq!(told(left), wanted);
        assert_eq!(told(Leftovers::default()), "");
    }

    #[test]
    fn files_that_stay_say_why() {
        let kept = Some("/tmp/sandtest-1/0: /tmp/sandtest-1/0/m is mounted in it".to_owned());
        let files = Files { kept, ..Files::default() };
        let text = told(Leftovers { files: Some(Box::new(files)), ..Leftovers::default() });
        let wanted =
            "left files in its TMPDIR, not removed: /tmp/sandtest-1/0: /tmp/sandtest-1/0/m is mounted in it.";
        assert_eq!(text, wanted);
    }
}
