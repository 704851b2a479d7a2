//! What an attempt left behind, beside processes: on disk, in memory, in the kernel.

use serde::{Deserialize, Serialize};

use super::Bytes;

/// All of it. Empty for nearly every attempt.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leftovers {
    /// In the temporary directory that was its own.
    #[serde(default)]
    pub files: Option<Box<Files>>,
    /// What stays until somebody removes it: never we, somebody may share it.
    #[serde(default)]
    pub objects: Vec<Object>,
    /// Shared memory and files in tmpfs that are charged to its group although nobody is in it any more.
    #[serde(default)]
    pub memory: Option<Bytes>,
}

impl Leftovers {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.files.is_none() && self.objects.is_empty() && self.memory.is_none()
    }

    /// Whether another try of the same job would find some of it there.
    pub fn is_still_there(&self) -> bool {
        !self.objects.is_empty() || self.memory.is_some()
    }

    /// Whether there is something that no other job can have left.
    pub fn is_certain(&self) -> bool {
        self.files.is_some() || self.memory.is_some() || self.objects.iter().any(|object| object.certain)
    }
}

/// Files left in a temporary directory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Files {
    /// How many; an empty directory counts as one.
    pub count: u64,
    /// Their sizes, or what they take on disk where that is less.
    pub bytes: Bytes,
    /// The first of them by name, relative to the directory.
    pub first: Vec<String>,
    /// Why they are still there; `None` if they are removed.
    pub kept: Option<String>,
}

/// Something that outlives the processes that made it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// What it is.
    pub kind: ObjectKind,
    /// Its path, or the number that ipcrm(1) knows it by.
    pub name: String,
    /// Its size, where it has one.
    pub bytes: Option<Bytes>,
    /// Whether it came while this attempt was the only one; else it may be of one that ran beside it.
    pub certain: bool,
}

/// Kinds of what outlives its maker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ObjectKind {
    /// A file in `/dev/shm`: shm_open(3), sem_open(3).
    ShmFile,
    /// A segment of shmget(2).
    SysvShm,
    /// A set of semget(2).
    SysvSem,
    /// A queue of msgget(2).
    SysvMsg,
    /// A mount in sandtest's own mount namespace.
    Mount,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_anothers_is_not_held_against_it() {
        let object =
            |certain| Object { kind: ObjectKind::ShmFile, name: "/dev/shm/x".into(), bytes: None, certain };
        let of = |objects| Leftovers { objects, ..Leftovers::default() };
        assert!(!of(vec![object(false)]).is_certain() && !of(vec![object(false)]).is_empty());
        assert!(of(vec![object(false), object(true)]).is_certain());
        assert!(!Leftovers::default().is_certain() && Leftovers::default().is_empty());
    }
}
