//! Which requests are said to a broker, of which no more than it takes wait there.
//!
//! ```text
//! wanted ──▶ backlog ── there is room, or it is known there ──▶ told ── granted ──▶ (runs)
//!               ▲                                                │                    │ ended, and runs again
//!               └──────── not taken; the line was cut ───────────┘                    ▼
//!                                  known there: told in spite of a full line ◀──── resting
//! ```
//!
//! Those that ran before go first, then all as they came. Of those that need one of a group no more wait there than could
//! have it at once: hundreds that take turns would be in the way of all others.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::{AttemptId, JobId};
use crate::policy::broker::Request;
use crate::policy::tuning::{ASK_AGAIN, CLIENT_REQUESTS};

/// A broker keeps no more jobs for a run than it takes requests; half of them may be such as want nothing for now.
const MOST_RESTING: usize = CLIENT_REQUESTS / 2;

/// Whether it is the job's first attempt, and when it came.
type Place = (bool, u64);

#[derive(Debug, Default)]
pub(super) struct Window {
    backlog: BTreeMap<Place, Request>,
    told: BTreeMap<Place, Request>,
    /// Behind as many others that wait for the same group, by that.
    behind: BTreeMap<u32, BTreeMap<Place, Request>>,
    /// How many of those that are told need each group.
    of_group: BTreeMap<u32, u32>,
    /// Where each of all these stands.
    places: BTreeMap<JobId, Place>,
    /// Known there, and wanting nothing for now.
    resting: BTreeSet<JobId>,
    /// When it was said that no more are taken, if nothing has changed since.
    full: Option<Duration>,
    arrivals: u64,
}

impl Window {
    /// A request comes.
    pub fn want(&mut self, request: Request) {
        self.arrivals += 1;
        let place = (request.id.number == 1, self.arrivals);
        self.places.insert(request.id.job, place);
        self.backlog.insert(place, request);
    }

    /// The next one that is to be said at `now`, if there is room for it. `groups`: how many may have each.
    pub fn next(&mut self, now: Duration, groups: &[u32]) -> Option<Request> {
        loop {
            let first = self.backlog.first_entry()?;
            let group = first.get().groups.iter().copied().find(|group| {
                let most = groups.get(*group as usize).copied().unwrap_or(u32::MAX);
                self.of_group.get(group).is_some_and(|told| *told >= most) || most == 0
            });
            if let Some(group) = group {
                let (place, request) = first.remove_entry();
                self.behind.entry(group).or_default().insert(place, request);
                continue;
            }
            let is_full = self.full.is_some_and(|since| now < since + ASK_AGAIN);
            let has_room = !is_full && self.told.len() + self.resting.len() < CLIENT_REQUESTS;
            if !has_room && !self.resting.contains(&first.get().id.job) {
                return None;
            }
            let (place, request) = first.remove_entry();
            self.resting.remove(&request.id.job);
            for group in &request.groups {
                *self.of_group.entry(*group).or_default() += 1;
            }
            self.told.insert(place, request.clone());
            return Some(request);
        }
    }

    /// It does not wait there any more. Who stood behind it in one of its groups is looked at again.
    fn untell(&mut self, place: Place) -> Option<Request> {
        let request = self.told.remove(&place)?;
        for group in &request.groups {
            if let Some(told) = self.of_group.get_mut(group) {
                *told = told.saturating_sub(1);
            }
            let behind = self.behind.get_mut(group).and_then(BTreeMap::pop_first);
            self.backlog.extend(behind);
        }
        Some(request)
    }

    /// It is not told, and need not be any more.
    fn leave(&mut self, place: Place) -> Option<Request> {
        let waits = self.backlog.remove(&place);
        waits.or_else(|| self.behind.values_mut().find_map(|behind| behind.remove(&place)))
    }

    /// When to ask again although nothing has happened.
    pub fn next_try(&self) -> Option<Duration> {
        self.full.filter(|_| !self.backlog.is_empty()).map(|since| since + ASK_AGAIN)
    }

    /// A request is granted. `None` if there is none, or of another attempt.
    pub fn take(&mut self, id: AttemptId) -> Option<Request> {
        let place = *self.places.get(&id.job)?;
        let of = |all: &BTreeMap<Place, Request>| all.get(&place).is_some_and(|request| request.id == id);
        if ![&self.told, &self.backlog].into_iter().chain(self.behind.values()).any(of) {
            return None;
        }
        let request = self.untell(place).or_else(|| self.leave(place))?;
        self.full = None;
        self.places.remove(&id.job);
        Some(request)
    }

    /// A job does not want to run any more, or not now. Returns what is to be said of that, if anything: whether it will
    /// again.
    pub fn withdraw(&mut self, job: JobId, again: bool) -> Option<bool> {
        self.full = None;
        let place = self.places.remove(&job);
        let was_told = place.is_some_and(|place| {
            self.leave(place);
            self.untell(place).is_some()
        });
        if was_told {
            return Some(again && self.rest(job));
        }
        (!again && self.resting.remove(&job)).then_some(false)
    }

    /// One that ran wants to again, in a while. Returns whether the broker is to keep its place.
    pub fn rest(&mut self, job: JobId) -> bool {
        self.full = None;
        let may = self.resting.len() < MOST_RESTING;
        if may {
            self.resting.insert(job);
        }
        may
    }

    /// The broker takes no more.
    pub fn not_taken(&mut self, now: Duration, id: AttemptId) {
        let Some(place) = self.places.get(&id.job).copied() else { return };
        if self.told.get(&place).is_some_and(|request| request.id == id)
            && let Some(request) = self.untell(place)
        {
            self.backlog.insert(place, request);
            self.full = Some(now);
        }
    }

    /// The line is cut: whoever is asked next knows nobody who does not run.
    pub fn lost(&mut self) {
        self.resting.clear();
        self.backlog.append(&mut self.told);
        self.behind.values_mut().for_each(|behind| self.backlog.append(behind));
        self.of_group.clear();
        self.full = None;
    }

    /// All that is wanted, while nothing waits anywhere.
    pub fn all(&self) -> impl Iterator<Item = &Request> {
        self.backlog.values()
    }

    pub fn forgive(&mut self, gap: Duration) {
        self.full = self.full.map(|since| since + gap);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::broker::About;

    fn attempt(job: u32, number: u32) -> AttemptId {
        AttemptId { job: JobId(job), number }
    }

    fn request(id: AttemptId) -> Request {
        Request {
            id,
            kin: 0,
            memory: None,
            restartable: true,
            driver: None,
            at_once: false,
            weight: 1,
            groups: Vec::new(),
            token: false,
            about: About::default(),
        }
    }

    fn said(window: &mut Window, now: Duration) -> Vec<AttemptId> {
        std::iter::from_fn(|| window.next(now, &[2])).map(|request| request.id).collect()
    }

    const NOW: Duration = Duration::ZERO;

    #[test]
    fn no_more_are_said_than_are_taken_and_the_next_as_soon_as_one_goes() {
        let mut window = Window::default();
        (0..1000).for_each(|job| window.want(request(attempt(job, 1))));
        let first: Vec<AttemptId> = (0..CLIENT_REQUESTS as u32).map(|job| attempt(job, 1)).collect();
        assert_eq!(said(&mut window, NOW), first);
        assert_eq!(window.take(attempt(3, 1)).map(|request| request.id), Some(attempt(3, 1)));
        assert_eq!(said(&mut window, NOW), [attempt(240, 1)]);
        assert_eq!(window.withdraw(JobId(5), false), Some(false));
        assert_eq!(window.withdraw(JobId(999), false), None, "nobody was told");
        assert_eq!(said(&mut window, NOW), [attempt(241, 1)]);
    }

    #[test]
    fn who_ran_before_is_said_first_and_in_spite_of_a_full_line() {
        let mut window = Window::default();
        (0..1000).for_each(|job| window.want(request(attempt(job, 1))));
        said(&mut window, NOW);
        window.take(attempt(0, 1));
        said(&mut window, NOW);
        assert!(window.rest(JobId(0)));
        window.want(request(attempt(0, 2)));
        assert_eq!(said(&mut window, NOW), [attempt(0, 2)]);
    }

    #[test]
    fn a_grant_of_an_earlier_attempt_is_none_of_the_next_one() {
        let mut window = Window::default();
        window.want(request(attempt(0, 2)));
        assert_eq!(window.take(attempt(0, 1)), None);
        assert_eq!(said(&mut window, NOW), [attempt(0, 2)]);
        assert_eq!(window.take(attempt(0, 1)), None);
        assert!(window.take(attempt(0, 2)).is_some() && window.take(attempt(0, 2)).is_none());
    }

    #[test]
    fn of_those_that_rest_the_broker_keeps_so_many_and_no_more() {
        let mut window = Window::default();
        assert!((0..MOST_RESTING as u32).all(|job| window.rest(JobId(job))));
        assert!(!window.rest(JobId(500)));
        (1000..2000).for_each(|job| window.want(request(attempt(job, 1))));
        assert_eq!(said(&mut window, NOW).len(), CLIENT_REQUESTS - MOST_RESTING);
        assert_eq!(window.withdraw(JobId(7), false), Some(false), "it need not be kept any more");
        assert_eq!(said(&mut window, NOW).len(), 1);
    }

    #[test]
    fn hundreds_that_take_turns_are_in_nobodys_way() {
        let mut window = Window::default();
        let of_group = |job| Request { groups: vec![0], ..request(attempt(job, 1)) };
        (0..300).for_each(|job| window.want(of_group(job)));
        (300..303).for_each(|job| window.want(request(attempt(job, 1))));
        let ids = |jobs: &[u32]| jobs.iter().map(|job| attempt(*job, 1)).collect::<Vec<AttemptId>>();
        assert_eq!(said(&mut window, NOW), ids(&[0, 1, 300, 301, 302]));
        window.take(attempt(1, 1));
        assert_eq!(said(&mut window, NOW), ids(&[2]));
        assert_eq!(window.withdraw(JobId(3), false), None);
        assert_eq!(window.withdraw(JobId(0), false), Some(false));
        assert_eq!(said(&mut window, NOW), ids(&[4]));
        window.lost();
        assert_eq!(window.all().count(), 300);
        // Nobody can have it any more.
        assert_eq!(window.next(NOW, &[0]).map(|request| request.id), Some(attempt(300, 1)));
    }

    #[test]
    fn what_is_not_taken_is_said_again_when_something_goes_or_after_a_while() {
        let mut window = Window::default();
        (0..3).for_each(|job| window.want(request(attempt(job, 1))));
        assert_eq!(said(&mut window, NOW).len(), 3);
        [1, 2].into_iter().for_each(|job| window.not_taken(NOW, attempt(job, 1)));
        assert_eq!(said(&mut window, NOW), []);
        window.take(attempt(0, 1));
        assert_eq!(said(&mut window, NOW), [attempt(1, 1), attempt(2, 1)]);
        window.not_taken(NOW, attempt(2, 1));
        assert_eq!((said(&mut window, NOW), window.next_try()), (vec![], Some(ASK_AGAIN)));
        assert_eq!(said(&mut window, ASK_AGAIN), [attempt(2, 1)]);
    }

    #[test]
    fn after_a_cut_all_is_asked_for_again_in_the_same_order() {
        let mut window = Window::default();
        (0..300).for_each(|job| window.want(request(attempt(job, 1))));
        let first = said(&mut window, NOW);
        window.lost();
        assert_eq!(window.all().count(), 300);
        assert_eq!(said(&mut window, NOW), first);
    }
}
