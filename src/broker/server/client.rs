//! One client, as the daemon knows it: who it is, how it is talked to, what is known of its groups.

use std::collections::BTreeMap;
use std::rc::Rc;

use tokio::task::JoinHandle;

use super::before::Known;
use super::place::Place;
use super::wire::Wire;
use crate::broker::protocol::{Inside, Job, Sampled};
use crate::model::{AttemptId, Bytes};

/// A run that said `hello`.
#[derive(Debug)]
pub struct Client {
    /// For people.
    pub run: String,
    /// As the kernel says.
    pub uid: u32,
    /// Of its process.
    pub pid: u32,
    /// When that started.
    pub starttime: u64,
    /// To come back with.
    pub lease: String,
    /// `None` while its connection is lost.
    pub wire: Option<Rc<Wire>>,
    /// Its groups, where it has shown them.
    pub place: Option<Place>,
    /// What it says that its jobs hold.
    pub samples: BTreeMap<AttemptId, Sample>,
    /// So much of that is believed; `None`: all.
    pub credit: Option<Bytes>,
    /// So much of what it declared was believed, where not all is.
    pub claimed: Bytes,
    /// Parts of a declaration that has not come to its end.
    pub declared: Vec<Job>,
    /// The job that it runs in, by a lease that nobody has shown yet.
    pub inside: Option<Inside>,
    /// Whether it was granted anything.
    pub noted: bool,
    /// Waits for the end of its process.
    pub watch: JoinHandle<()>,
}

/// What a client says that an attempt holds.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    pub memory: Bytes,
    pub cpu_us: Option<u64>,
}

impl Client {
    /// Its process, for good.
    pub fn process(&self) -> Known {
        (self.pid, self.starttime)
    }

    /// Whether it can be talked to.
    pub fn is_connected(&self) -> bool {
        self.wire.is_some()
    }

    /// Takes in what it says of its jobs. Of as many as may run something is kept.
    pub fn sample(&mut self, jobs: &[Sampled], most: usize) {
        for Sampled { of, memory, cpu_us } in jobs {
            if self.samples.len() < most || self.samples.contains_key(&of.id()) {
                self.samples.insert(of.id(), Sample { memory: *memory, cpu_us: *cpu_us });
            }
        }
    }
}

/// What is left of what is believed.
#[derive(Debug)]
pub struct Credit(pub u64);

impl Credit {
    /// As much of this as is left.
    pub fn take(&mut self, memory: Bytes) -> Option<Bytes> {
        let taken = memory.0.min(self.0);
        self.0 -= taken;
        Some(Bytes(taken))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.watch.abort();
    }
}
