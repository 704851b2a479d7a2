//! Those who look on: how things stand, and what users want of their own jobs.
//!
//! To show it may cost as much as many decisions do. So no more than a part of the time is spent on that: however often,
//! and on however many connections, a user (or Prometheus) asks, it is shown again what was made a moment ago.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use super::hub::Hub;
use super::wire::Wire;
use crate::broker::protocol::{OfRun, Status, ToBroker, ToRun};
use crate::policy::broker::{ClientId, Hand, UserId};

/// What is shown to a user is made anew after so many times of what it took to make it, for each user who looks on...
const SHOWN_FOR_TIMES: u32 = 10;

/// ... and after this in any case.
const SHOWN_FOR: Duration = Duration::from_millis(250);

/// Where nothing runs nobody has looked for long; after so long it is looked for whoever asks.
const LOOKED_FOR: Duration = Duration::from_secs(1);

/// To whom something is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Onlooker {
    /// A user, by number: how things stand.
    User(u32),
    /// Whoever reads the metrics.
    Prometheus,
}

/// What was shown last.
#[derive(Debug, Default)]
pub struct Shown(BTreeMap<Onlooker, Made>);

#[derive(Debug)]
struct Made {
    at: Duration,
    took: Duration,
    text: Vec<u8>,
}

impl Shown {
    /// What this one was shown a moment ago.
    pub fn find(&mut self, now: Duration, who: Onlooker) -> Option<&Vec<u8>> {
        self.0.retain(|_, made| now.saturating_sub(made.at) < SHOWN_FOR);
        let times = SHOWN_FOR_TIMES * u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        let made = self.0.get(&who)?;
        (now.saturating_sub(made.at) < made.took.saturating_mul(times)).then_some(&made.text)
    }

    /// Made at this time, which took so long.
    pub fn keep(&mut self, at: Duration, took: Duration, who: Onlooker, text: Vec<u8>) {
        self.0.insert(who, Made { at, took, text });
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
        if let Some(line) = self.shown.find(now, Onlooker::User(uid)) {
            return wire.say_line(line);
        }
        self.look_if_older_than(LOOKED_FOR);
        let begun = self.now();
        let status = Status {
            scope: self.config.scope,
            broker: self.config.name.clone(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            up_ms: u64::try_from(begun.as_millis()).unwrap_or(u64::MAX),
            view: self.broker.view(begun, UserId(uid)),
        };
        match status.line() {
            Ok(line) => {
                wire.say_line(&line);
                let made = self.now();
                self.shown.keep(made, made.saturating_sub(begun), Onlooker::User(uid), line);
            }
            Err(fault) => wire.say(&ToRun::Error { message: fault.to_string(), closing: false }),
        }
    }

    fn by_hand(&mut self, uid: u32, wire: &Rc<Wire>, of: OfRun, hand: Hand) {
        let (now, run) = (self.now(), ClientId(of.run));
        match self.broker.by_hand(now, UserId(uid), run, of.of.id(), hand) {
            Ok(effects) => {
                if !effects.is_empty() {
                    self.metrics.did_by_hand(hand);
                }
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

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Onlooker = Onlooker::User(1);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn what_takes_long_to_make_is_shown_for_longer() {
        let mut shown = Shown::default();
        shown.keep(ms(1000), ms(2), ONE, b"one".to_vec());
        let find = |shown: &mut Shown, at, who| shown.find(ms(at), who).cloned();
        assert_eq!(find(&mut shown, 1019, ONE).as_deref(), Some(&b"one"[..]));
        assert_eq!((find(&mut shown, 1020, ONE), find(&mut shown, 1001, Onlooker::Prometheus)), (None, None));
        shown.keep(ms(1000), ms(2), Onlooker::Prometheus, b"two".to_vec());
        assert!(find(&mut shown, 1039, ONE).is_some(), "there are two to make it for");
        shown.keep(ms(2000), ms(100), ONE, b"dear".to_vec());
        assert!(find(&mut shown, 2249, ONE).is_some());
        assert_eq!(find(&mut shown, 2250, ONE), None, "but nobody is shown what is older");
        shown.keep(ms(3000), ms(100), ONE, b"done".to_vec());
        shown.forget();
        assert_eq!((find(&mut shown, 3000, ONE), shown.0.len()), (None, 0));
    }
}
