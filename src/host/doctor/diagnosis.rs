//! Facts -> what is missing. What was probed by doing is believed before anything that files suggest.
//!
//! ```text
//! tier "cgroup"?          ── yes ──▶ nothing to say about cgroups
//!      │ no
//! v1 controllers?         ── yes ──▶ NotUnified
//! mounted read-only?      ── yes ──▶ ReadOnly
//! a user without manager? ── yes ──▶ NoUserManager
//! a controller absent     ── each ─▶ ControllerAbsent
//! ... or not handed on    ── each ─▶ NotDelegated
//! ```

use super::controllers::{Cgroups, Reach};
use super::fixes::Lack;
use super::pressure::{Pressure, Sensor};
use super::surroundings::Surroundings;
use crate::kernel::hierarchy::Layout;
use crate::model::Tier;

/// Below this a test suite with many sockets or files runs dry, and sandtest can't raise what is hard.
const NOFILE_LOW: u64 = 4096;

/// What is missing here, most important first.
pub fn diagnose(tier: Tier, cgroups: &Cgroups, pressure: &[Pressure], around: &Surroundings) -> Vec<Lack> {
    let mut lacks = Vec::new();
    if tier != Tier::Cgroup {
        lacks.extend(of_cgroups(cgroups, around));
    }
    // One fix serves all three files; memory is the one that matters.
    match pressure.iter().find(|p| p.sensor != Sensor::Fine).map(|p| &p.sensor) {
        Some(Sensor::Absent) => lacks.push(Lack::PressureAbsent),
        Some(Sensor::Off) => lacks.push(Lack::PressureOff),
        Some(Sensor::Fine | Sensor::Broken(_)) | None => {}
    }
    if let Some(nofile) = around.nofile.filter(|nofile| nofile.hard < NOFILE_LOW) {
        lacks.push(Lack::NofileLow { hard: nofile.hard });
    }
    lacks
}

fn of_cgroups(cgroups: &Cgroups, around: &Surroundings) -> Vec<Lack> {
    match cgroups.layout {
        Layout::Hybrid | Layout::Legacy => return vec![Lack::NotUnified { layout: cgroups.layout }],
        Layout::None => return vec![Lack::ReadOnly],
        Layout::Unified if cgroups.read_only => return vec![Lack::ReadOnly],
        Layout::Unified => {}
    }
    let mut lacks = Vec::new();
    let that = |reach| cgroups.controllers.iter().filter(move |c| c.reach == reach).map(|c| c.name);
    let absent: Vec<_> = that(Reach::Absent).collect();
    if !absent.is_empty() {
        lacks.push(Lack::ControllersAbsent { names: absent });
    }
    if around.uid != 0 && cgroups.user_manager.is_none() {
        // What a manager would hand on can't be told before there is one.
        lacks.push(Lack::NoUserManager);
        return lacks;
    }
    let kept: Vec<_> = that(Reach::NotDelegated).collect();
    if !kept.is_empty() && around.uid != 0 {
        lacks.push(Lack::NotDelegated { names: kept });
    }
    lacks
}

#[cfg(test)]
mod tests {
    use super::super::controllers::{Controller, NEEDED};
    use super::super::surroundings::Nofile;
    use super::*;

    fn cgroups(layout: Layout, reach: [Reach; 3]) -> Cgroups {
        let controllers =
            NEEDED.into_iter().zip(reach).map(|(name, reach)| Controller { name, reach }).collect();
        let manager = Some("/sys/fs/cgroup/user@7.service".to_owned());
        Cgroups { layout, own: None, read_only: false, user_manager: manager, controllers }
    }

    fn user() -> Surroundings {
        let nofile = Some(Nofile { soft: 1024, hard: 1 << 20 });
        Surroundings { uid: 7, wsl: false, engine: None, memory_total: None, nofile, user_manager: None }
    }

    #[test]
    fn a_probe_that_worked_is_believed_before_any_file() {
        let strange = cgroups(Layout::Hybrid, [Reach::Absent; 3]);
        assert_eq!(diagnose(Tier::Cgroup, &strange, &[], &user()), []);
    }

    #[test]
    fn the_controllers_that_stop_at_the_user_manager_are_named() {
        let facts = cgroups(Layout::Unified, [Reach::Ours, Reach::Ours, Reach::NotDelegated]);
        let wanted = [Lack::NotDelegated { names: vec!["cpu"] }];
        assert_eq!(diagnose(Tier::Process, &facts, &[], &user()), wanted);
    }

    #[test]
    fn without_a_user_manager_delegation_is_not_guessed_at() {
        let mut facts = cgroups(Layout::Unified, [Reach::NotDelegated; 3]);
        facts.user_manager = None;
        assert_eq!(diagnose(Tier::Process, &facts, &[], &user()), [Lack::NoUserManager]);
    }

    #[test]
    fn v1_and_a_read_only_tree_hide_the_rest() {
        let hybrid = cgroups(Layout::Hybrid, [Reach::V1; 3]);
        let wanted = [Lack::NotUnified { layout: Layout::Hybrid }];
        assert_eq!(diagnose(Tier::Process, &hybrid, &[], &user()), wanted);
        let mut boxed = cgroups(Layout::Unified, [Reach::Ours; 3]);
        boxed.read_only = true;
        assert_eq!(diagnose(Tier::Process, &boxed, &[], &user()), [Lack::ReadOnly]);
    }

    #[test]
    fn missing_pressure_and_few_descriptors_matter_on_every_tier() {
        let facts = cgroups(Layout::Unified, [Reach::Ours; 3]);
        let off = Pressure { file: "/proc/pressure/memory".into(), sensor: Sensor::Off };
        let mut around = user();
        around.nofile = Some(Nofile { soft: 256, hard: 1024 });
        let wanted = [Lack::PressureOff, Lack::NofileLow { hard: 1024 }];
        assert_eq!(diagnose(Tier::Cgroup, &facts, &[off], &around), wanted);
    }
}
