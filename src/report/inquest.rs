//! Where a diagnosis goes: a file of its own, and what an `on_timeout` command said.

use std::{fs, io};

use super::Reporter;
use super::diagnosis::{safe, whole};
use crate::model::diagnosis::Asked;
use crate::model::event::Event;

/// Writes the whole of each diagnosis into a file of its own, where the event says.
pub struct DiagnosisFiles;

impl Reporter for DiagnosisFiles {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        let Event::AttemptFinished(finished) = event else { return Ok(()) };
        let Some((diagnosis, file)) = finished.diagnosis.as_ref().zip(finished.diagnosis_file.as_ref())
        else {
            return Ok(());
        };
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut text = whole(diagnosis);
        for line in diagnosis.asked.iter().flat_map(asked) {
            text += &format!("{line}\n");
        }
        fs::write(file, text)
    }
}

/// What an `on_timeout` command said, line by line.
pub fn asked(asked: &Asked) -> Vec<String> {
    let first = format!("{}: {}", safe(&asked.command), asked.ended);
    std::iter::once(first).chain(asked.output.iter().map(|line| format!("  {}", safe(line)))).collect()
}
