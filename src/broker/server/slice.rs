//! The one group below which all runs of a user are, where systemd has made one: its limits are the budget.
//!
//! ```text
//! user@UID.service/sandtest.slice/            memory.max ... of the budget, written here, kept when the broker goes
//!                                 sandtest-PID.scope/sandtest-run-ID/<job>-<attempt>/
//! ```
//!
//! It is found above the first run that has shown its group. On a hybrid host, and for all users of a box, there is none:
//! there what the runs hold is summed up.

use crate::broker::socket::SLICE;
use crate::kernel::KernelError;
use crate::kernel::controllers::{self, Controllers, Version};
use crate::kernel::files::Dir;
use crate::kernel::sensors::{RunMemory, Sensors};
use crate::model::{Bytes, Limits};

use super::eyes::View;
use super::place::Place;

/// The group, with what tells of it.
#[derive(Debug)]
pub struct Slice {
    dir: Dir,
    /// Of it and of the groups above.
    pub sensors: Sensors,
}

impl Slice {
    /// The one above this run, with the budget in force. `None` if there is none whose limits are ours to write.
    ///
    /// # Errors
    /// [`KernelError`] if the budget can't be put in force.
    pub fn above(place: &Place, budget: &Limits, view: &View) -> Result<Option<Slice>, KernelError> {
        let is_slice = |path: &&std::path::Path| path.file_name().is_some_and(|name| name == SLICE);
        let Some(path) = place.path().ancestors().find(is_slice) else { return Ok(None) };
        let dir = Dir::open(path)?;
        if dir.open_for_writing("memory.max").is_err() {
            return Ok(None);
        }
        let has = Controllers::parse(&dir.read("cgroup.controllers")?);
        controllers::set_limits(&dir, budget, &has, false)?;
        let memory = Some((&dir, Version::V2));
        let sensors = Sensors::over(memory, Some(&dir), view.own_machine, view.editor.as_deref());
        Ok(Some(Slice { dir, sensors }))
    }

    /// What is charged to all in it; `None` once it has been removed.
    pub fn memory(&mut self) -> Option<RunMemory> {
        self.sensors.run()
    }

    /// Sets `memory.max`.
    ///
    /// # Errors
    /// [`KernelError::Write`].
    pub fn set_cap(&self, cap: Bytes) -> Result<(), KernelError> {
        self.dir.write_without_waiting("memory.max", &cap.0.to_string())
    }
}
