//! How things stand, green to red, what was decided and why.
//!
//! ```text
//! GREEN ──▶ YELLOW ──▶ ORANGE ──▶ RED      at once
//! GREEN ◀── YELLOW ◀── ORANGE ◀── RED      when the better one has lasted a second
//! ```

use std::time::Duration;

use super::admit::Hold;
use super::room::Room;
use crate::model::governor::{Action, Decision, Governed, Signal, State};
use crate::model::reading::Stalls;
use crate::model::{AttemptId, Bytes};
use crate::policy::tuning::STATE_LASTS;

#[derive(Debug, Default)]
pub(super) struct Standing {
    shown: State,
    /// Since when it has been better than what is shown.
    better_since: Option<Duration>,
    decided: Vec<(Action, Option<AttemptId>, Signal, f64, f64)>,
    /// Why the first in the queue was held in this step.
    hold: Option<Hold>,
    waiting: u32,
    /// Since when starts have been held.
    held_since: Option<Duration>,
    summary: Governed,
    editor_at_first: Option<Duration>,
}

impl Standing {
    pub fn sense(&mut self, room: &Room, stalls: &Stalls) {
        if room.is_known() && room.whole().is_finite() {
            let least = self.summary.least_left.map_or(room.left(), |least| least.min(room.left()));
            self.summary.least_left = Some(least);
        }
        if let Some(editor) = &stalls.editor {
            let first = *self.editor_at_first.get_or_insert(editor.memory_some);
            self.summary.editor_memory_stall = Some(editor.memory_some.saturating_sub(first));
        }
    }

    /// The state that users see.
    pub fn shown(&self) -> State {
        self.shown
    }

    /// Why starts were held in the last step.
    pub fn held_by(&self) -> Option<Hold> {
        self.hold
    }

    /// How many waited in the last step although there was a place for them.
    pub fn waiting(&self) -> u32 {
        self.waiting
    }

    pub fn running(&mut self, count: usize) {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.summary.peak_concurrency = self.summary.peak_concurrency.max(count);
    }

    /// Notes a decision of this step.
    pub fn decide(
        &mut self,
        action: Action,
        about: Option<AttemptId>,
        signal: Signal,
        value: f64,
        line: f64,
    ) {
        match action {
            Action::Freeze => self.summary.freezes += 1,
            Action::Evict => self.summary.evictions += 1,
            _ => {}
        }
        self.decided.push((action, about, signal, value, line));
    }

    pub fn forgive(&mut self, gap: Duration) {
        for since in [&mut self.held_since, &mut self.better_since].into_iter().flatten() {
            *since += gap;
        }
    }

    /// Whether a start was held in the last step, for whatever reason.
    pub fn is_held(&self) -> bool {
        self.hold.is_some()
    }

    /// Notes why nothing, or not everything, started in this step although slots are free. `waiting`: how many wait.
    pub fn hold(&mut self, hold: Option<Hold>, waiting: usize) {
        self.hold = hold;
        self.waiting = if hold.is_some_and(|hold| hold.signal.is_some()) {
            u32::try_from(waiting).unwrap_or(u32::MAX)
        } else {
            0
        };
    }

    /// Closes a step: what was decided in it, as things stand now.
    pub fn settle(&mut self, now: Duration, frozen: usize, evicting: bool, room: &Room) -> Vec<Decision> {
        let held = self.hold.and_then(|hold| Some((hold.signal?, hold.value, hold.line)));
        let state = if evicting {
            State::Red
        } else if frozen > 0 {
            State::Orange
        } else if held.is_some() {
            State::Yellow
        } else {
            State::Green
        };
        let was = self.shown;
        self.show(now, state);
        match (held, self.held_since) {
            (Some((signal, value, line)), None) => {
                self.held_since = Some(now);
                self.decided.push((Action::Hold, None, signal, value, line));
            }
            (None, Some(since)) => {
                self.held_since = None;
                self.summary.held += now.saturating_sub(since);
                self.decided.push(self.release(room));
            }
            // Things look better by time alone.
            _ if self.shown < was && self.decided.is_empty() => self.decided.push(self.release(room)),
            _ => {}
        }
        let held = self.waiting + u32::try_from(frozen).unwrap_or(u32::MAX);
        let decided = std::mem::take(&mut self.decided);
        let decision = |(action, attempt, signal, value, line): (_, _, _, f64, f64)| Decision {
            action,
            attempt,
            state: self.shown,
            signal,
            value: value.max(0.0) as u64,
            line: line.max(0.0) as u64,
            left: room.left(),
            budget: room.whole_bytes(),
            filling: Bytes(room.filling as u64),
            held,
        };
        decided.into_iter().map(decision).collect()
    }

    pub fn summary(&self, now: Duration) -> Governed {
        let held = self.held_since.map_or(Duration::ZERO, |since| now.saturating_sub(since));
        Governed { held: self.summary.held + held, ..self.summary }
    }

    fn release(&self, room: &Room) -> (Action, Option<AttemptId>, Signal, f64, f64) {
        (Action::Release, None, Signal::Memory, room.before_freezing(), room.guard())
    }

    fn show(&mut self, now: Duration, state: State) {
        if state >= self.shown {
            (self.shown, self.better_since) = (state, None);
            return;
        }
        let since = *self.better_since.get_or_insert(now);
        if now.saturating_sub(since) >= STATE_LASTS {
            (self.shown, self.better_since) = (state, None);
        }
    }
}
