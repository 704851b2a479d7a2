//! Leases: what a client comes back with, and what a run inside of one of its jobs names.
//!
//! A lease outlives the broker: whoever comes back to a new one brings it along, so that the runs inside of its jobs,
//! which know it from their environment, find it there too. Nothing comes of a lease that its user may not do anyway.

use std::collections::BTreeMap;

use crate::kernel::random;
use crate::policy::broker::ClientId;

/// Hexadecimal digits of 128 bits.
const DIGITS: usize = 32;

/// Who has which lease.
#[derive(Debug, Default)]
pub struct Leases {
    clients: BTreeMap<String, ClientId>,
}

impl Leases {
    /// Whose it is.
    pub fn find(&self, lease: &str) -> Option<ClientId> {
        self.clients.get(lease).copied()
    }

    /// A lease for this client: the one that it brought, if that is one and nobody has it or it has become this client;
    /// else a new one.
    pub fn grant(&mut self, client: ClientId, brought: Option<&str>) -> String {
        let is_one =
            |lease: &&str| lease.len() == DIGITS && lease.bytes().all(|byte| byte.is_ascii_hexdigit());
        let lease = brought.filter(is_one).map_or_else(|| format!("{:032x}", random::bits()), str::to_owned);
        self.clients.insert(lease.clone(), client);
        lease
    }

    /// A client is gone. One that has become another keeps its lease.
    pub fn end(&mut self, client: ClientId, lease: &str) {
        if self.find(lease) == Some(client) {
            self.clients.remove(lease);
        }
    }
}
