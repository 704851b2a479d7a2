//! What clients were asked to do, and by when.
//!
//! ```text
//! freeze ──▶ asked ── frozen, thawed, ended ──▶ done
//!              │ 2 s
//!              └─▶ the broker freezes it ── 2 s, and it still does not say so ──▶ the broker kills it
//! evict  ──▶ asked ── ended ──▶ done
//!              │ 2 s
//!              └─▶ the broker kills it
//! ```
//!
//! Meanwhile nothing is granted to the client. Freezing first what is to be evicted would free nothing: it is killed.

use std::collections::BTreeMap;
use std::time::Duration;

use super::messages::{ClientId, Force};
use crate::model::AttemptId;

#[derive(Debug, Default)]
pub(super) struct Orders {
    open: BTreeMap<(ClientId, AttemptId), Order>,
}

#[derive(Debug, Clone, Copy)]
struct Order {
    asked: Force,
    /// What the broker does if the client does not.
    next: Option<Force>,
    due: Duration,
}

impl Orders {
    /// The client was asked to freeze or to kill.
    pub fn ask(&mut self, client: ClientId, id: AttemptId, force: Force, due: Duration) {
        self.open.insert((client, id), Order { asked: force, next: Some(force), due });
    }

    /// It says that the attempt stands still. Of an eviction that is not enough.
    pub fn frozen(&mut self, client: ClientId, id: AttemptId) -> bool {
        let is_freeze = self.open.get(&(client, id)).is_some_and(|order| order.asked == Force::Freeze);
        is_freeze && self.open.remove(&(client, id)).is_some()
    }

    /// Nothing is wanted of this attempt any more.
    pub fn close(&mut self, client: ClientId, id: AttemptId) {
        self.open.remove(&(client, id));
    }

    /// Nor of any of this client.
    pub fn close_all(&mut self, client: ClientId) {
        self.open.retain(|(of, _), _| *of != client);
    }

    /// What is asked of a client is now asked of the one that it has become.
    pub fn hand_over(&mut self, from: ClientId, to: ClientId) {
        let open = std::mem::take(&mut self.open);
        let handed = |(of, id): (ClientId, AttemptId)| (if of == from { to } else { of }, id);
        self.open = open.into_iter().map(|(key, order)| (handed(key), order)).collect();
    }

    /// When the next one is due.
    pub fn next(&self) -> Option<Duration> {
        self.open.values().filter(|order| order.next.is_some()).map(|order| order.due).min()
    }

    /// Those that are due, with what is done about them.
    pub fn due(&mut self, now: Duration, patience: Duration) -> Vec<(ClientId, AttemptId, Force)> {
        let mut due = Vec::new();
        for ((client, id), order) in &mut self.open {
            let Some(force) = order.next.filter(|_| order.due <= now) else { continue };
            due.push((*client, *id, force));
            // A kill that the kernel took has its end told by the one who looks at the group.
            order.next = (force == Force::Freeze).then_some(Force::Kill);
            order.due = now + patience;
        }
        due
    }

    /// Nobody is charged for a gap in which nobody could do anything.
    pub fn forgive(&mut self, gap: Duration) {
        self.open.values_mut().for_each(|order| order.due += gap);
    }
}
