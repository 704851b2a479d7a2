//! What was decided elsewhere is done: who starts, stands still, goes on, gives way.
//!
//! ```text
//! grant  ──▶ wanted, and there is a place for it?    ── yes ──▶ start    ── no ──▶ given back
//! freeze ──▶ runs, and nobody has told it to end?    ── yes ──▶ its clocks stand still
//! evict  ──▶ the same                                ── yes ──▶ killed; it runs again
//! kill   ──▶ the same                                ── yes ──▶ killed; it has failed
//! ```
//!
//! What was told to end is nobody else's any more: that was said, and the order has crossed it.

use std::time::Duration;

use super::Scheduler;
use super::attempt::{Phase, Running};
use super::messages::Effect;
use super::permits::{Heard, Said};
use crate::model::AttemptId;
use crate::model::reading::Reading;
use crate::policy::verdict::Ended;

impl Scheduler {
    /// Whoever decides is told what the sensors say, and what it orders is done before any clock is looked at.
    pub(super) fn sense(&mut self, now: Duration, reading: Box<Reading>, effects: &mut Vec<Effect>) {
        self.tell(Said::Sensed(reading));
        self.obey(now, effects);
    }

    /// Somebody else has decided something.
    pub(super) fn arrive(&mut self, now: Duration, heard: Heard, effects: &mut Vec<Effect>) {
        let Some(permits) = &mut self.permits else { return };
        permits.arrive(now, heard);
        if permits.has_company() {
            self.running.iter_mut().for_each(|running| running.had_company = true);
        }
        self.obey(now, effects);
    }

    fn obey(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        let heard = self.permits.as_mut().map(|permits| permits.hear()).unwrap_or_default();
        heard.into_iter().for_each(|heard| self.hear(now, heard, effects));
    }

    pub(super) fn tell(&mut self, said: Said) {
        if let Some(permits) = &mut self.permits {
            permits.tell(self.stepped, said);
        }
    }

    pub(super) fn hear(&mut self, now: Duration, heard: Heard, effects: &mut Vec<Effect>) {
        match heard {
            Heard::Grant(id) => self.granted(now, id, effects),
            Heard::Freeze(id) => {
                if let Some(running) = self.find_at_large(id) {
                    running.frozen_at.get_or_insert(now);
                    effects.push(Effect::Freeze(id));
                }
            }
            Heard::Thaw(id) => self.thaw(now, id, effects),
            Heard::Evict(id) => self.kill_at_large(id, Ended::Evicted, effects),
            Heard::Kill(id) => self.kill_at_large(id, Ended::ByHand, effects),
            Heard::Cap(bytes) => effects.push(Effect::Cap(bytes)),
            Heard::Decided(decision) => effects.push(Effect::Decided(decision)),
            Heard::Alone(share) => effects.push(Effect::Alone(share)),
            // Between those two who keep the permits.
            Heard::Stands(_) | Heard::Share(_) | Heard::NotTaken(_) | Heard::Lost | Heard::Joined { .. } => {}
        }
    }

    /// What was frozen has its time given back.
    pub(super) fn thaw(&mut self, now: Duration, id: AttemptId, effects: &mut Vec<Effect>) {
        let Some(running) = self.find(id) else { return };
        let Some(since) = running.frozen_at.take() else { return };
        running.put_off(now.saturating_sub(since));
        effects.push(Effect::Thaw(id));
    }

    fn kill_at_large(&mut self, id: AttemptId, why: Ended, effects: &mut Vec<Effect>) {
        if let Some(running) = self.find_at_large(id) {
            running.phase = Phase::Killed { why };
            effects.push(Effect::Kill(id));
        }
    }

    /// One that nobody has told to end.
    fn find_at_large(&mut self, id: AttemptId) -> Option<&mut Running> {
        self.find(id)
            .filter(|running| matches!(running.phase, Phase::Starting { .. } | Phase::Running { .. }))
    }
}
