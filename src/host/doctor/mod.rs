//! The facts for `sandtest doctor`: what is here, what is missing, and the exact fix.
//!
//! In the order in which data passes:
//!
//! - [`surroundings`]: user, WSL, container engine, user manager, descriptors
//! - [`controllers`]: how far memory, pids and cpu come towards us
//! - [`ceilings`]: limits that others have put above us
//! - [`pressure`], [`swap`]: what can warn before memory is gone
//! - [`victims`]: whom the kernel would kill next
//! - [`diagnosis`]: all of it -> what is missing
//! - [`fixes`]: what is missing -> text to paste
//!
//! Reads plain files only, and changes nothing. What the environment allows was found out by doing, before:
//! it comes in as [`Isolation`].

pub mod ceilings;
pub mod controllers;
pub mod diagnosis;
pub mod fixes;
pub mod pressure;
pub mod surroundings;
pub mod swap;
pub mod victims;

use std::fs;
use std::path::Path;

use serde::Serialize;

use crate::kernel::hierarchy;
use crate::model::isolation::Missing;
use crate::model::{Enforcement, Isolation, LimitName, Tier};

/// Everything that doctor has to say.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Which environment this was taken for.
    pub environment: Environment,
    /// How an attempt would be kept apart.
    pub tier: Tier,
    /// Who would hold each limit.
    pub limits: Vec<Holder>,
    /// The cgroup tree.
    pub cgroups: controllers::Cgroups,
    /// Limits in force above us.
    pub ceilings: Vec<ceilings::Ceiling>,
    /// Sensors of the whole machine.
    pub pressure: Vec<pressure::Pressure>,
    /// Swap, zram among it.
    pub swap: Vec<swap::Device>,
    /// Who would be killed next.
    pub victims: victims::Victims,
    /// The machine and the user.
    pub surroundings: surroundings::Surroundings,
    /// What to repair, most important first.
    pub missing: Vec<Missing>,
}

/// The environment's name, and how it was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Environment {
    /// `native`, `wsl2`, `distrobox`, `container`, `ci`.
    pub name: String,
    /// The file, variable or text that gave it away.
    pub evidence: String,
}

/// Who holds a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Holder {
    /// Which limit.
    pub limit: LimitName,
    /// Who.
    pub enforcement: Enforcement,
}

/// Reads the facts. `probe` finds out what isolation can be had; `protect` are the names of the editor's
/// processes, from the profile.
pub fn examine(environment: Environment, probe: impl FnOnce() -> Isolation, protect: &[String]) -> Report {
    let uid = nix::unistd::geteuid().as_raw();
    let surroundings = surroundings::read(Path::new("/"), uid, &|name| std::env::var(name).ok());
    let hierarchies = hierarchy::here();
    let cgroups = controllers::read(&hierarchies, surroundings.user_manager.as_deref());
    let ceilings = ceilings::read(&hierarchies);
    let pressure = pressure::read(Path::new("/proc/pressure"));
    // Last, since it may move us into a scope: what stands above us is asked of where we were started.
    let isolation = probe();
    let lacks = diagnosis::diagnose(isolation.tier, &cgroups, &pressure, &surroundings);
    let mut missing: Vec<Missing> = lacks.iter().map(|lack| lack.missing(&surroundings)).collect();
    for probed in &isolation.missing {
        // The probe names what it ran into; where ours is the same remedy, once is enough.
        if !missing.iter().any(|known| known.fix == probed.fix) {
            missing.push(probed.clone());
        }
    }
    Report {
        environment,
        tier: isolation.tier,
        limits: LimitName::ALL.map(|limit| Holder { limit, enforcement: isolation.of(limit) }).into(),
        cgroups,
        ceilings,
        pressure,
        swap: swap::parse(&fs::read_to_string("/proc/swaps").unwrap_or_default()),
        victims: victims::read(Path::new("/proc"), protect),
        surroundings,
        missing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_can_be_examined() {
        let probed = Missing { what: "what the probe ran into".into(), fix: "do this".into() };
        let isolation = Isolation {
            tier: Tier::Process,
            memory_max: Enforcement::Sampled,
            memory_swap_max: Enforcement::None,
            pids_max: Enforcement::Sampled,
            cpu_max: Enforcement::None,
            missing: vec![probed.clone(), probed.clone()],
        };
        let environment = Environment { name: "native".into(), evidence: "nothing says otherwise".into() };
        let report = examine(environment, || isolation, &["code".to_owned()]);
        assert!(report.surroundings.memory_total.is_some());
        assert!(report.victims.processes > 0, "not even ourselves");
        assert_eq!(report.pressure.len(), 3);
        assert_eq!(report.missing.iter().filter(|m| **m == probed).count(), 1);
        assert!(serde_json::to_string(&report).is_ok());
    }
}
