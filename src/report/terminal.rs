//! stub
#![allow(missing_docs)]
use crate::model::event::Event;
pub struct TerminalReporter;
impl TerminalReporter {
    pub fn on_stderr(_: &crate::model::Profile) -> Self {
        Self
    }
}
impl super::Reporter for TerminalReporter {
    fn event(&mut self, event: &Event) -> std::io::Result<()> {
        if let Event::AttemptFinished(f) = event {
            use std::io::Write;
            writeln!(
                std::io::stderr(),
                "memory {:?} {:?} {:?} leaked {:?} {:?}",
                f.outcome,
                f.exit,
                f.spawn_error,
                f.evidence.leaked,
                f.evidence
            )?;
        }
        Ok(())
    }
}
