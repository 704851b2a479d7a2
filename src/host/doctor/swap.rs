//! Is there swap? It decides whether pressure warns before the OOM killer comes.
//!
//! zram is compressed memory: no second place to put things, so it is named, and not counted as swap.

use serde::Serialize;

use crate::model::Bytes;

/// One line of `/proc/swaps`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Device {
    /// `/dev/sdb2`, `/swapfile`, `/dev/zram0`.
    pub name: String,
    /// Its size.
    pub size: Bytes,
    /// How much of it is taken.
    pub used: Bytes,
    /// In memory itself.
    pub zram: bool,
}

/// The devices in a `/proc/swaps`.
pub fn parse(text: &str) -> Vec<Device> {
    text.lines().skip(1).filter_map(device).collect()
}

/// Swap that is outside of memory.
pub fn real(devices: &[Device]) -> Bytes {
    Bytes(devices.iter().filter(|device| !device.zram).map(|device| device.size.0).sum())
}

fn device(line: &str) -> Option<Device> {
    // Filename Type Size Used Priority; sizes in KiB. A blank in the name is written \040.
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [name, _, size, used, ..] = fields.as_slice() else { return None };
    let kib = |text: &str| text.parse::<u64>().ok()?.checked_mul(1024).map(Bytes);
    Some(Device {
        name: (*name).to_owned(),
        size: kib(size)?,
        used: kib(used)?,
        zram: name.rsplit('/').next().is_some_and(|file| file.starts_with("zram")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";

    #[test]
    fn zram_is_no_swap() {
        let text = format!("{HEAD}/dev/zram0   partition\t8388604\t\t1024\t\t100\n");
        let devices = parse(&text);
        assert!(devices[0].zram);
        assert_eq!(real(&devices), Bytes(0));
    }

    #[test]
    fn sizes_are_bytes() {
        let text = format!("{HEAD}/swapfile  file\t2097152\t512\t-2\n/dev/zram0 partition 4 0 100\n");
        let devices = parse(&text);
        assert_eq!(real(&devices), Bytes::gib(2));
        assert_eq!(devices[0].used, Bytes::kib(512));
    }

    #[test]
    fn no_swap_is_an_empty_table() {
        assert_eq!(parse(HEAD), []);
        assert_eq!(parse(""), []);
    }
}
