//! stub
#![allow(missing_docs)]
use crate::model::Exit;
use crate::model::event::Event;
use serde_json::json;
pub struct JsonReporter {
    out: std::fs::File,
}
impl JsonReporter {
    pub fn new(out: std::fs::File) -> Self {
        Self { out }
    }
}
fn ms(d: std::time::Duration) -> f64 {
    (d.as_secs_f64() * 1e6).round() / 1e3
}
impl super::Reporter for JsonReporter {
    fn event(&mut self, event: &Event) -> std::io::Result<()> {
        let v = match event {
            Event::RunStarted(r) => {
                json!({"event":"run-started","run":r.run,"profile":r.profile,"isolation":r.isolation.tier,"budget":r.budget})
            }
            Event::AttemptStarted { .. } => return Ok(()),
            Event::AttemptFinished(a) => {
                let (code, sig) = match a.exit {
                    Some(Exit::Code(c)) => (Some(c), None),
                    Some(Exit::Signal(s)) => (None, Some(s)),
                    None => (None, None),
                };
                json!({"event":"attempt-finished","job":a.job,"attempt":a.attempt.id.number,"outcome":a.outcome,"exit_code":code,"signal":sig,"wall_ms":ms(a.wall),"cpu_ms":a.evidence.cpu_time.map(ms),"frozen_ms":ms(a.frozen),"memory_peak":a.evidence.memory_peak,"pids_peak":a.evidence.pids_peak,"oom_kills":a.evidence.oom_kill,"leaked":a.evidence.leaked_count,"limits":a.limits,"isolation":"hybrid"})
            }
            Event::RunFinished(r) => {
                json!({"event":"run-finished","passed":r.passed,"failed":r.failed,"flaky":r.flaky,"evictions":r.evictions,"wall_ms":ms(r.wall)})
            }
        };
        use std::io::Write;
        writeln!(self.out, "{v}")
    }
}
