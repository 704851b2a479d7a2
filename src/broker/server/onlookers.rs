//! Those who look on: how things stand, and what users want of their own jobs.
//!
//! A look costs the broker as much as a decision does. So what one user was shown it is shown again for a while, however
//! often, and on however many connections, it asks.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use super::hub::Hub;
use super::wire::Wire;
use crate::broker::protocol::{OfRun, Status, ToBroker, ToRun};
use crate::policy::broker::{ClientId, Hand, UserId};

/// What was seen is shown again for so long.
const SHOWN_FOR: Duration = Duration::from_millis(250);

/// Where nothing runs nobody has looked for long; after so long it is looked for whoever asks.
const LOOKED_FOR: Duration = Duration::from_secs(1);

/// What users were shown last.
#[derive(Debug, Default)]
pub struct Shown(BTreeMap<u32, (Duration, Vec<u8>)>);

impl Shown {
    /// What this user was shown a moment ago.
    fn find(&mut self, now: Duration, uid: u32) -> Option<&[u8]> {
        self.0.retain(|_, (at, _)| now.saturating_sub(*at) < SHOWN_FOR);
        self.0.get(&uid).map(|(_, line)| line.as_slice())
    }

    /// Something was done by hand: whoever did it wants to see what came of it.
    fn forget(&mut self) {
        self.0.clear();
    }
}

impl Hub {
    /// Answers one of `uid` who looks on, be it a run or not.
    pub(super) fn look_on(&mut self, uid: u32, wire: &Rc<Wire>, message: &ToBroker) {
        match message {
            ToBroker::Status {} => self.show(uid, wire),
            ToBroker::Pin(of) => self.by_hand(uid, wire, *of, Hand::Pin),
            ToBroker::Unpin(of) => self.by_hand(uid, wire, *of, Hand::Unpin),
            ToBroker::Kill(of) => self.by_hand(uid, wire, *of, Hand::Kill),
            _ => {
                let message = "who said no hello may only look on: status, pin, unpin, kill".to_owned();
                wire.dismiss(&ToRun::Error { message, closing: true });
            }
        }
        wire.flush();
    }

    fn show(&mut self, uid: u32, wire: &Rc<Wire>) {
        let now = self.now();
        if let Some(line) = self.shown.find(now, uid) {
            return wire.say_line(line);
        }
        self.look_if_older_than(LOOKED_FOR);
        let status = Status {
            scope: self.config.scope,
            broker: self.config.name.clone(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            up_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
            view: self.broker.view(now, UserId(uid)),
        };
        match status.line() {
            Ok(line) => {
                wire.say_line(&line);
                self.shown.0.insert(uid, (now, line));
            }
            Err(fault) => wire.say(&ToRun::Error { message: fault.to_string(), closing: false }),
        }
    }

    fn by_hand(&mut self, uid: u32, wire: &Rc<Wire>, of: OfRun, hand: Hand) {
        let (now, run) = (self.now(), ClientId(of.run));
        match self.broker.by_hand(now, UserId(uid), run, of.of.id(), hand) {
            Ok(effects) => {
                self.stir(effects);
                self.shown.forget();
                wire.say(&ToRun::Done(of));
            }
            Err(why) => {
                let message = format!("run {}, job {}: {why}", of.run, of.of.id());
                wire.say(&ToRun::Error { message, closing: false });
            }
        }
    }
}
