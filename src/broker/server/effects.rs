//! What was decided, done: said to the clients that it concerns, put in force where they have not done it, counted.

use std::time::Duration;

use super::hub::Hub;
use crate::broker::protocol::{Scope, ToRun};
use crate::kernel::KernelError;
use crate::model::{AttemptId, Bytes, text};
use crate::policy::broker::{ClientId, Effect, Force, UserId};

impl Hub {
    /// Does it, and counts it.
    pub(super) fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            self.count(&effect);
            match effect {
                Effect::Enforce(id, attempt, force) => self.enforce(id, attempt, force),
                Effect::Cap(cap) => {
                    if let Err(error) = self.set_cap(cap) {
                        self.complain(&error.to_string());
                    }
                }
                Effect::Decided(None, _) => self.pass_on_to_all(&effect),
                Effect::Freeze(id, _) | Effect::Evict(id, _) | Effect::Kill(id, _) => {
                    self.pass_on(&effect, self.patience_with(id));
                }
                _ => self.pass_on(&effect, None),
            }
        }
    }

    fn set_cap(&mut self, cap: Bytes) -> Result<(), KernelError> {
        let kept_back = self.config.outside.kept_back(self.config.scope);
        let cpus = self.config.settings.governor.cpus;
        self.eyes.set_cap(cap, self.nobodys, kept_back, cpus, &self.clients)
    }

    /// Tells the client that an effect concerns.
    fn pass_on(&mut self, effect: &Effect, patience: Option<Duration>) {
        let within = patience.map(|patience| patience.as_millis() as u64);
        if let Some((id, message)) = ToRun::of(effect, within) {
            self.tell(id, &message);
        }
    }

    /// Tells all that have jobs.
    fn pass_on_to_all(&mut self, effect: &Effect) {
        let Some(message) = ToRun::to_all(effect) else { return };
        for id in self.broker.busy().collect::<Vec<_>>() {
            self.tell(id, &message);
        }
    }

    /// After how long the broker does itself what this client does not; `None` where it can't.
    fn patience_with(&self, id: ClientId) -> Option<Duration> {
        let place = self.clients.get(&id)?.place.as_ref()?;
        self.config.settings.patience.filter(|_| place.has_right())
    }

    /// Tells people of something that goes on to be so: once.
    pub(super) fn complain(&mut self, message: &str) {
        if !std::mem::replace(&mut self.complained, true) {
            (self.config.log)(message);
        }
    }

    /// Does what a client has not done.
    pub(super) fn enforce(&mut self, id: ClientId, attempt: Option<AttemptId>, force: Force) {
        let Some(client) = self.clients.get(&id) else { return };
        // Anybody may call a run anything.
        let who =
            format!("run {} of user {}, process {}", text::harmless(&client.run), client.uid, client.pid);
        let what = match (attempt, force) {
            (None, _) => "its connection is lost".to_owned(),
            (Some(id), Force::Freeze) => format!("it did not freeze job {id}"),
            (Some(id), Force::Kill) => format!("it did not end job {id}"),
        };
        let outcome = match client.place.as_ref().filter(|place| place.has_right()) {
            None => "which the broker can't do".to_owned(),
            Some(place) => match place.force(attempt, force) {
                Ok(()) => "the broker did".to_owned(),
                Err(error) => error.to_string(),
            },
        };
        (self.config.log)(&format!("{who}: {what}: {outcome}"));
        // Of a lost one that has not come back the state machine knows nothing any more.
        if attempt.is_none() {
            self.forget(id);
        }
    }

    fn count(&mut self, effect: &Effect) {
        match effect {
            Effect::Grant(id, attempt) => {
                let Some(client) = self.clients.get_mut(id) else { return };
                let waited = self.broker.waited(*id, *attempt).unwrap_or_default();
                self.metrics.granted(waited);
                if self.config.scope == Scope::System {
                    self.metrics.granted_to(UserId(client.uid), waited);
                }
                if !std::mem::replace(&mut client.noted, true) {
                    self.noted.add(client.process());
                }
            }
            Effect::Share(id, share) => {
                // All that one user has is its own business.
                if let (Scope::System, Some(client)) = (self.config.scope, self.clients.get_mut(id)) {
                    client.credit = Some(share.memory);
                }
            }
            Effect::Decided(_, decision) => self.metrics.decided(decision),
            Effect::Enforce(..) => self.metrics.enforced(),
            _ => {}
        }
    }

    /// Says something to a client, at the end of the step.
    pub(super) fn tell(&mut self, id: ClientId, message: &ToRun) {
        if let Some(wire) = self.clients.get(&id).and_then(|client| client.wire.as_ref()) {
            wire.say(message);
            self.told.insert(id);
        }
    }

    /// Says one thing more, and ends the connection.
    pub(super) fn dismiss(&mut self, id: ClientId, message: &ToRun) {
        if let Some(wire) = self.clients.get(&id).and_then(|client| client.wire.as_ref()) {
            wire.dismiss(message);
        }
    }
}
