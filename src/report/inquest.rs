//! Where a diagnosis goes: a file of its own.

use std::{fs, io};

use super::{Reporter, diagnosis};
use crate::model::event::Event;

/// Writes the whole of each diagnosis into a file of its own, where the event says.
pub struct DiagnosisFiles;

impl Reporter for DiagnosisFiles {
    fn event(&mut self, event: &Event, _told: Option<&str>) -> io::Result<()> {
        let Event::AttemptFinished(finished) = event else { return Ok(()) };
        let Some((found, file)) = finished.diagnosis.as_ref().zip(finished.diagnosis_file.as_ref()) else {
            return Ok(());
        };
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(file, diagnosis::whole(found))
    }
}
