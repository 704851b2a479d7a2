//! How much one may ask of the broker (docs/protocol.md, *How much*).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Connections at once.
pub const MOST_CONNECTIONS: usize = 512;

/// Connections of one user.
pub const MOST_OF_ONE_USER: usize = 64;

/// Messages of one connection in a second.
pub const MOST_MESSAGES: u32 = 2000;

/// A message counts as one more for each of these bytes: long ones cost what many short ones do.
pub const MESSAGE_BYTES: usize = 1024;

/// Bytes that are kept for one that does not read.
pub const MOST_UNREAD: usize = 256 << 10;

/// In which time a `hello` is due.
pub const HELLO_WITHIN: Duration = Duration::from_secs(2);

/// Permits of one run.
pub const MOST_PERMITS: u32 = 10_000;

/// How many are connected.
#[derive(Debug, Clone, Default)]
pub struct Crowd {
    counts: Rc<RefCell<Counts>>,
    emptied: Rc<Notify>,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    of_user: BTreeMap<u32, usize>,
}

/// A place among those that are connected; given back when it is dropped.
#[derive(Debug)]
pub struct Seat {
    crowd: Crowd,
    user: u32,
}

/// As many are connected as may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// Of all users together.
    #[error("{MOST_CONNECTIONS} runs are connected, and no more may be")]
    All,
    /// Of this one.
    #[error("{MOST_OF_ONE_USER} runs of user {0} are connected, and no more of one user may be")]
    User(u32),
}

impl Crowd {
    /// A place for one more of this user.
    pub fn seat(&self, user: u32) -> Result<Seat, Full> {
        let mut counts = self.counts.borrow_mut();
        if counts.all >= MOST_CONNECTIONS {
            return Err(Full::All);
        }
        let of_user = counts.of_user.entry(user).or_default();
        if *of_user >= MOST_OF_ONE_USER {
            return Err(Full::User(user));
        }
        *of_user += 1;
        counts.all += 1;
        Ok(Seat { crowd: self.clone(), user })
    }

    /// Whether nobody is there.
    pub fn is_empty(&self) -> bool {
        self.counts.borrow().all == 0
    }

    /// Waits until the last of them goes: who has said no hello is no news to the loop.
    pub async fn emptied(&self) {
        self.emptied.notified().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut counts = self.crowd.counts.borrow_mut();
        counts.all -= 1;
        if counts.all == 0 {
            self.crowd.emptied.notify_one();
        }
        if let Some(of_user) = counts.of_user.get_mut(&self.user) {
            *of_user -= 1;
            if *of_user == 0 {
                counts.of_user.remove(&self.user);
            }
        }
    }
}

/// What one connection may still say in this second.
#[derive(Debug)]
pub struct Allowance {
    left: f64,
    at: Instant,
}

impl Allowance {
    pub fn new(now: Instant) -> Allowance {
        Allowance { left: f64::from(MOST_MESSAGES), at: now }
    }

    /// Charges for a message of so many bytes. Returns how long nothing more is to be read.
    pub fn charge(&mut self, now: Instant, bytes: usize) -> Duration {
        let most = f64::from(MOST_MESSAGES);
        let earned = now.saturating_duration_since(self.at).as_secs_f64() * most;
        self.left = (self.left + earned).min(most) - 1.0 - (bytes / MESSAGE_BYTES) as f64;
        self.at = now;
        Duration::from_secs_f64((-self.left / most).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_so_many_seats_and_all_have_so_many() {
        let crowd = Crowd::default();
        let mut seats: Vec<Seat> = (0..MOST_OF_ONE_USER).map(|_| crowd.seat(1).unwrap()).collect();
        assert_eq!(crowd.seat(1).unwrap_err(), Full::User(1));
        let users = 2..;
        let others = users.flat_map(|user| [user; MOST_OF_ONE_USER]);
        seats.extend(others.take(MOST_CONNECTIONS - MOST_OF_ONE_USER).map(|user| crowd.seat(user).unwrap()));
        assert_eq!(crowd.seat(1000).unwrap_err(), Full::All);
        seats.remove(0);
        drop(crowd.seat(1).unwrap());
        drop(seats);
        assert!(crowd.is_empty() && crowd.counts.borrow().of_user.is_empty());
    }

    #[test]
    fn a_second_has_so_many_messages_and_long_ones_count_for_more() {
        let begin = Instant::now();
        let mut allowance = Allowance::new(begin);
        let free = (0..MOST_MESSAGES).map(|_| allowance.charge(begin, 100)).all(|wait| wait.is_zero());
        assert!(free);
        assert_eq!(allowance.charge(begin, 100), Duration::from_micros(500));
        let later = begin + Duration::from_secs(10);
        assert!(allowance.charge(later, 100).is_zero());
        let waits =
            (0..100).map(|_| allowance.charge(later, 64 << 10)).filter(|wait| !wait.is_zero()).count();
        assert!(waits >= 100 - 31, "{waits}");
    }
}
