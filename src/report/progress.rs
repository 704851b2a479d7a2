//! The live line of a terminal: how many are done, what runs, what failed.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::look::Look;
use crate::model::AttemptId;
use crate::model::text::harmless;

/// How often it is redrawn if nothing happens.
const TICK: Duration = Duration::from_millis(250);

/// More names than these fit into no line.
const NAMED: usize = 20;

/// Fewer columns than these have no room for a bar.
const NARROW: usize = 60;

/// Drawn below all lines, and only on a terminal.
pub struct Progress {
    bar: ProgressBar,
    running: BTreeMap<AttemptId, String>,
    failed: u64,
}

impl Progress {
    /// For `jobs` jobs; draws nothing where lines do not stay.
    pub fn new(jobs: usize, look: Look) -> Progress {
        let target =
            if look.live { ProgressDrawTarget::stderr_with_hz(15) } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(jobs as u64), target);
        let template = match (look.width.is_some_and(|width| width < NARROW), look.colour) {
            (false, true) => "{elapsed:>5} [{bar:24.cyan}] {pos}/{len}{prefix:.red.bold}  {wide_msg:.dim}",
            (false, false) => "{elapsed:>5} [{bar:24}] {pos}/{len}{prefix}  {wide_msg}",
            (true, true) => "{elapsed} {pos}/{len}{prefix:.red.bold}  {wide_msg:.dim}",
            (true, false) => "{elapsed} {pos}/{len}{prefix}  {wide_msg}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        if look.live {
            bar.enable_steady_tick(TICK);
        }
        Progress { bar, running: BTreeMap::new(), failed: 0 }
    }

    /// A job runs.
    pub fn started(&mut self, id: AttemptId, name: &str) {
        self.running.insert(id, harmless(name));
        self.show_running();
    }

    /// An attempt ended; `done` if its job will not run again.
    pub fn ended(&mut self, id: AttemptId, done: bool, failed: bool) {
        self.running.remove(&id);
        if done {
            self.bar.inc(1);
        }
        if failed {
            self.failed += 1;
            self.bar.set_prefix(format!(" {} failed", self.failed));
        }
        self.show_running();
    }

    /// Prints `lines` above the bar.
    pub fn above(&self, print: impl FnOnce()) {
        self.bar.suspend(print);
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn show_running(&self) {
        let names: Vec<&str> = self.running.values().take(NAMED).map(String::as_str).collect();
        self.bar.set_message(names.join(", "));
    }
}
