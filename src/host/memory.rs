//! How much of the machine is this process' own: inside a container `/proc/meminfo` is the node's, so every limit
//! above the process counts, and the smallest holds.

use crate::model::Bytes;

use super::view::HostView;
use crate::kernel::hierarchy::{self, Hierarchy};

/// What can be used here, and what says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visible<T> {
    /// How much.
    pub value: T,
    /// The file that sets it.
    pub from: String,
}

/// Memory: the smallest of MemTotal and all limits above. `None` if nothing tells.
pub fn visible_memory(view: &HostView) -> Option<Visible<Bytes>> {
    let total = view.file("/proc/meminfo").and_then(mem_total);
    let total = total.map(|value| Visible { value, from: "/proc/meminfo".to_owned() });
    let v2 = limits(view, "memory", "memory.max");
    // Without a limit v1 says 2^63 less a page, which the machine's total is always below.
    let v1 = limits(view, "memory", "memory.limit_in_bytes");
    let limits = v2.chain(v1).map(|(bytes, from)| Visible { value: Bytes(bytes), from });
    total.into_iter().chain(limits).min_by_key(|visible| visible.value)
}

/// Logical CPUs: the smallest of those this process may run on and all quotas above, rounded up. At least 1.
pub fn visible_cpus(view: &HostView) -> Visible<usize> {
    let allowed = view.file("/proc/self/status").and_then(|status| field(status, "Cpus_allowed_list:"));
    let (value, from) = (allowed.and_then(list_length), "/proc/self/status".to_owned());
    let allowed = value.map(|value| Visible { value, from });
    allowed
        .into_iter()
        .chain(cpu_quotas(view))
        .min_by_key(|visible| visible.value)
        .unwrap_or(Visible { value: 1, from: "nothing that tells".to_owned() })
}

/// The smallest `pids.max` above. `None` without a limit.
pub fn pids_limit(view: &HostView) -> Option<Visible<u64>> {
    limits(view, "pids", "pids.max").map(|(value, from)| Visible { value, from }).min_by_key(|v| v.value)
}

/// All values of a file in the groups above, with their paths. `max` is no value.
fn limits<'a>(
    view: &'a HostView,
    controller: &str,
    name: &'a str,
) -> impl Iterator<Item = (u64, String)> + 'a {
    folders(view, controller).into_iter().filter_map(move |folder| {
        let path = format!("{folder}/{name}");
        Some((view.file(&path)?.parse().ok()?, path))
    })
}

fn cpu_quotas(view: &HostView) -> impl Iterator<Item = Visible<usize>> + '_ {
    folders(view, "cpu").into_iter().filter_map(|folder| {
        let (quota, period, from) = match view.file(&format!("{folder}/cpu.max")) {
            Some(line) => {
                let (quota, period) = line.split_once(' ')?;
                (quota.parse::<u64>().ok()?, period.parse::<u64>().ok()?, format!("{folder}/cpu.max"))
            }
            None => {
                let number = |name: &str| view.file(&format!("{folder}/{name}"))?.parse::<u64>().ok();
                // -1 is no quota, and no u64.
                (
                    number("cpu.cfs_quota_us")?,
                    number("cpu.cfs_period_us")?,
                    format!("{folder}/cpu.cfs_quota_us"),
                )
            }
        };
        let cpus = quota.div_ceil(period.max(1)).max(1);
        Some(Visible { value: usize::try_from(cpus).ok()?, from })
    })
}

fn folders(view: &HostView, controller: &str) -> Vec<String> {
    let text = |path| view.file(path).unwrap_or_default();
    let hierarchies = hierarchy::parse(text("/proc/self/mountinfo"), text("/proc/self/cgroup"));
    let limiting = hierarchies.iter().filter(|hierarchy| hierarchy.may_have(controller));
    limiting.flat_map(Hierarchy::ancestors).map(|folder| folder.display().to_string()).collect()
}

/// `MemTotal:       16384000 kB`
fn mem_total(meminfo: &str) -> Option<Bytes> {
    let kib = field(meminfo, "MemTotal:")?.strip_suffix("kB")?.trim().parse::<u64>().ok()?;
    kib.checked_mul(1024).map(Bytes)
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

/// The number of CPUs in `0-3,8,10-11`.
fn list_length(list: &str) -> Option<usize> {
    list.split(',').try_fold(0usize, |sum, part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.trim().parse::<usize>().ok()?, last.trim().parse::<usize>().ok()?);
        sum.checked_add(last.checked_sub(first)?.checked_add(1)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus_are_counted() {
        for (list, wanted) in
            [("0", Some(1)), ("0-7", Some(8)), ("0-3,8,10-11", Some(7)), ("3-1", None), ("", None)]
        {
            assert_eq!(list_length(list), wanted, "{list}");
        }
    }

    #[test]
    fn a_host_that_tells_nothing_has_one_cpu_and_unknown_memory() {
        let view = HostView::default();
        assert_eq!((visible_memory(&view), visible_cpus(&view).value, pids_limit(&view)), (None, 1, None));
    }
}
