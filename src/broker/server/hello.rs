//! Who comes, and whether it is who it says.

use std::rc::Rc;

use super::client::Client;
use super::hub::Hub;
use super::limits::MOST_PERMITS;
use super::news::News;
use super::place::Place;
use super::session::refused;
use super::wire::Wire;
use crate::broker::protocol::{Hello, RefusedFor, Scope, ToRun, VERSION};
use crate::kernel::peer::Peer;
use crate::kernel::readiness;
use crate::model::{Bytes, JobId};
use crate::policy::broker::{ClientId, Input, UserId};
use crate::policy::tuning::SAMPLE_SLOWEST;

impl Hub {
    pub(super) fn hello(&mut self, id: ClientId, mut hello: Hello, peer: Peer, wire: Rc<Wire>) {
        let known = self.known(&hello, &peer).and_then(|old| {
            let inside = self.inside(&hello, &peer)?.filter(|(outer, _)| Some(*outer) != old);
            let place = hello.cgroup.as_deref().map(|path| Place::of(path, &peer)).transpose();
            let place = place.map_err(|error| error.to_string())?;
            Ok((old, inside, place.map(|place| place.with_budget(hello.budget))))
        });
        let (old, inside, place) = match known {
            Ok(known) => known,
            Err(message) => return wire.dismiss(&refused(RefusedFor::Denied, message)),
        };
        if self.clients.is_empty() {
            self.look_outside();
        }
        let before = old.and_then(|old| self.part_from(old));
        if let Some(place) = &place
            && self.config.scope == Scope::User
            && let Err(error) = self.eyes.meet(place, &self.config.outside.budget)
        {
            (self.config.log)(&error.to_string());
        }
        hello.parallel = hello.parallel.min(MOST_PERMITS);
        let who = hello.who(UserId(peer.uid), inside);
        // What it had shown it need not show again.
        let (samples, shown, noted) = before.map_or_else(Default::default, |mut before| {
            (std::mem::take(&mut before.samples), before.place.take(), before.noted)
        });
        let lease = self.leases.grant(id, hello.lease.as_deref());
        let (uid, pid, starttime) = (peer.uid, peer.pid, peer.starttime);
        let client = Client {
            run: hello.run,
            uid,
            pid,
            starttime,
            lease: lease.clone(),
            wire: Some(wire),
            place: place.or(shown),
            samples,
            // Until it is told its share. One that believed all until then would take a lie for the fastest growth there is.
            credit: self.fair_part(uid),
            claimed: Bytes(0),
            declared: Vec::new(),
            inside: hello.inside.filter(|_| inside.is_none()),
            noted,
            watch: tokio::task::spawn_local(watch(id, peer, self.news.clone())),
        };
        self.clients.insert(id, client);
        self.take(Input::Hello { client: id, who, instead_of: old });
        let (broker, scope) = (self.config.name.clone(), self.config.scope);
        let looks =
            self.clients.get(&id).and_then(|client| client.place.as_ref()).is_some_and(Place::is_seen);
        let sample_ms = (!looks).then_some(SAMPLE_SLOWEST.as_millis() as u64);
        self.adopt(id, uid, &lease);
        self.tell(id, &ToRun::Welcome { version: VERSION, lease, broker, scope, sample_ms });
    }

    /// Runs inside of its jobs may have come before it: a new broker learns of all in any order.
    fn adopt(&mut self, outer: ClientId, uid: u32, lease: &str) {
        let waits = |client: &&mut Client| {
            client.uid == uid && client.inside.as_ref().is_some_and(|inside| inside.lease == lease)
        };
        let mut found = Vec::new();
        for (id, client) in self.clients.iter_mut().filter(|(id, _)| **id != outer) {
            if let Some(client) = Some(client).filter(waits) {
                found.extend(client.inside.take().map(|inside| (*id, inside.job)));
            }
        }
        for (id, job) in found {
            self.take(Input::Inside(id, (outer, job)));
        }
    }

    /// The one that it was before, by its lease.
    fn known(&self, hello: &Hello, peer: &Peer) -> Result<Option<ClientId>, String> {
        let Some(old) = hello.lease.as_deref().and_then(|lease| self.leases.find(lease)) else {
            return Ok(None);
        };
        let Some(client) = self.clients.get(&old) else { return Ok(None) };
        if client.uid != peer.uid {
            return Err("the lease is another user's".to_owned());
        }
        let same = (client.pid, client.starttime) == (peer.pid, peer.starttime);
        if client.is_connected() && !same {
            return Err("the lease is in use by another process".to_owned());
        }
        Ok(Some(old))
    }

    /// The job that it runs in. One of a run that is gone is none.
    fn inside(&self, hello: &Hello, peer: &Peer) -> Result<Option<(ClientId, JobId)>, String> {
        let Some(inside) = &hello.inside else { return Ok(None) };
        let Some(outer) = self.leases.find(&inside.lease) else { return Ok(None) };
        match self.clients.get(&outer) {
            Some(client) if client.uid != peer.uid => Err("the run around it is another user's".to_owned()),
            Some(_) => Ok(Some((outer, inside.job))),
            None => Ok(None),
        }
    }

    /// Lets go of the one that has become another: its process is the same, or its connection was lost.
    fn part_from(&mut self, old: ClientId) -> Option<Client> {
        // Of a connection that has not ended yet, what it has not said is not heard any more.
        if self.clients.get(&old)?.is_connected() {
            self.take(Input::Lost(old));
        }
        let client = self.clients.remove(&old)?;
        self.eyes.rename(old);
        if let Some(wire) = &client.wire {
            wire.end();
        }
        Some(client)
    }
}

/// Tells when a process has ended.
async fn watch(id: ClientId, peer: Peer, news: tokio::sync::mpsc::WeakSender<News>) {
    // Where it can't be watched its connection tells of its end, and time does.
    let Ok(pidfd) = readiness::watch(peer.pidfd, tokio::io::Interest::READABLE) else { return };
    if pidfd.readable().await.is_ok()
        && let Some(news) = news.upgrade()
    {
        let _ = news.send(News::Died(id)).await;
    }
}
