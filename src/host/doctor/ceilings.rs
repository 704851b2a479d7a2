//! Limits that are in force above us already: each ancestor's, on v2 and on v1.
//!
//! In a container `/proc/meminfo` is the node's; what we really have is the smallest limit on the way up.

use std::fs;
use std::path::Path;

use serde::{Serialize, Serializer};

use crate::kernel::hierarchy::Hierarchy;
use crate::model::{Bytes, Cpus};

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resource {
    /// Bytes; above it the kernel kills.
    Memory,
    /// Bytes; above it the kernel throttles.
    MemoryHigh,
    /// Processes and threads.
    Pids,
    /// CPUs' worth of time.
    Cpu,
}

/// How much of it.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub enum Amount {
    /// Of memory.
    Bytes(Bytes),
    /// Of processes.
    Count(u64),
    /// Of processor time.
    Cpus(Cpus),
}

/// A limit that someone else set.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ceiling {
    /// What it limits.
    pub resource: Resource,
    /// To how much.
    pub amount: Amount,
    /// The file that says so.
    pub file: String,
    /// Whether it is the smallest of its resource: the one that counts.
    pub smallest: bool,
}

/// File, resource and parser, v2 then v1. v1's `cpu.cfs_quota_us` needs its neighbour and is read apart.
type Reading = (&'static str, Resource, fn(&str) -> Option<Amount>);
const V2: [Reading; 4] = [
    ("memory.max", Resource::Memory, bytes),
    ("memory.high", Resource::MemoryHigh, bytes),
    ("pids.max", Resource::Pids, count),
    ("cpu.max", Resource::Cpu, quota),
];
const V1: [Reading; 2] =
    [("memory.limit_in_bytes", Resource::Memory, bytes), ("pids.max", Resource::Pids, count)];

/// Every limit above us, innermost first.
pub fn read(hierarchies: &[Hierarchy]) -> Vec<Ceiling> {
    let mut found = Vec::new();
    for hierarchy in hierarchies {
        for folder in hierarchy.ancestors() {
            let files: &[Reading] = if hierarchy.v2 { &V2 } else { &V1 };
            for (name, resource, parse) in files {
                found.extend(one(folder, name, *resource, *parse));
            }
            if !hierarchy.v2 {
                let period = fs::read_to_string(folder.join("cpu.cfs_period_us")).unwrap_or_default();
                let parse = |text: &str| quota(&format!("{} {}", text.trim(), period.trim()));
                found.extend(one(folder, "cpu.cfs_quota_us", Resource::Cpu, parse));
            }
        }
    }
    mark_smallest(&mut found);
    found
}

fn one(
    folder: &Path,
    name: &str,
    resource: Resource,
    parse: impl Fn(&str) -> Option<Amount>,
) -> Option<Ceiling> {
    let file = folder.join(name);
    let amount = parse(fs::read_to_string(&file).ok()?.trim())?;
    Some(Ceiling { resource, amount, file: file.to_string_lossy().into_owned(), smallest: false })
}

fn mark_smallest(ceilings: &mut [Ceiling]) {
    for resource in [Resource::Memory, Resource::MemoryHigh, Resource::Pids, Resource::Cpu] {
        let of_it = ceilings.iter_mut().filter(|c| c.resource == resource);
        let smallest =
            of_it.min_by(|a, b| a.amount.partial_cmp(&b.amount).unwrap_or(std::cmp::Ordering::Equal));
        if let Some(ceiling) = smallest {
            ceiling.smallest = true;
        }
    }
}

/// `max` is none, and so is v1's largest number of whole pages (2^63 less one page, whatever its size).
fn bytes(text: &str) -> Option<Amount> {
    let value: u64 = text.parse().ok()?;
    (value < 1 << 62).then_some(Amount::Bytes(Bytes(value)))
}

fn count(text: &str) -> Option<Amount> {
    text.parse().ok().map(Amount::Count)
}

/// `150000 100000`: quota and period in microseconds; `max` or v1's `-1` as quota is none.
fn quota(text: &str) -> Option<Amount> {
    let (quota, period) = text.split_once(' ')?;
    let (quota, period): (u64, u64) = (quota.parse().ok()?, period.parse().ok()?);
    let milli = quota.checked_mul(1000)?.checked_div(period)?;
    Some(Amount::Cpus(Cpus { milli }))
}

impl std::fmt::Display for Amount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Amount::Bytes(bytes) => bytes.fmt(f),
            Amount::Count(count) => count.fmt(f),
            Amount::Cpus(cpus) => cpus.fmt(f),
        }
    }
}

/// A plain number: bytes, processes or CPUs, as the resource says.
impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Amount::Bytes(bytes) => bytes.serialize(serializer),
            Amount::Count(count) => count.serialize(serializer),
            Amount::Cpus(cpus) => cpus.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hierarchy in a folder of files; our group is `a/b`.
    fn hierarchy(v2: bool, files: &[(&str, &str)]) -> (tempfile::TempDir, Hierarchy) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let file = root.path().join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        let controllers = if v2 { vec![] } else { vec!["memory".into(), "cpu".into(), "pids".into()] };
        let (mount, own) = (root.path().to_owned(), Some(root.path().join("a/b")));
        (root, Hierarchy { controllers, v2, read_only: false, mount, own })
    }

    fn smallest(ceilings: &[Ceiling]) -> Vec<(Resource, String)> {
        ceilings.iter().filter(|c| c.smallest).map(|c| (c.resource, c.amount.to_string())).collect()
    }

    #[test]
    fn the_smallest_limit_on_the_way_up_is_marked() {
        let (_root, v2) = hierarchy(
            true,
            &[
                ("a/b/memory.max", "max\n"),
                ("a/b/pids.max", "512\n"),
                ("a/memory.max", "2147483648\n"),
                ("a/memory.high", "1073741824\n"),
                ("a/pids.max", "64\n"),
                ("memory.max", "8589934592\n"),
                ("cpu.max", "150000 100000\n"),
            ],
        );
        let found = read(&[v2]);
        assert_eq!(found.len(), 6);
        assert_eq!(
            smallest(&found),
            [
                (Resource::Memory, "2 GiB".to_owned()),
                (Resource::MemoryHigh, "1 GiB".to_owned()),
                (Resource::Pids, "64".to_owned()),
                (Resource::Cpu, "1.5".to_owned()),
            ]
        );
    }

    #[test]
    fn v1_says_unlimited_with_a_huge_number_and_minus_one() {
        let (_root, v1) = hierarchy(
            false,
            &[
                ("a/b/memory.limit_in_bytes", "9223372036854771712\n"),
                ("a/b/cpu.cfs_quota_us", "-1\n"),
                ("a/b/cpu.cfs_period_us", "100000\n"),
                ("a/b/pids.max", "max\n"),
                ("a/memory.limit_in_bytes", "536870912\n"),
                ("a/cpu.cfs_quota_us", "50000\n"),
                ("a/cpu.cfs_period_us", "100000\n"),
            ],
        );
        assert_eq!(
            smallest(&read(&[v1])),
            [(Resource::Memory, "512 MiB".to_owned()), (Resource::Cpu, "0.5".to_owned())]
        );
    }

    #[test]
    fn garbage_and_a_period_of_zero_are_no_limit() {
        assert_eq!(quota("100000 0"), None);
        assert_eq!(quota("max 100000"), None);
        assert_eq!(bytes("lots"), None);
    }
}
