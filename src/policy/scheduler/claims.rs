//! What a job takes of what there is only so much of, before it starts: a slot, its weight in the number of jobs at once,
//! and one of each of its groups.
//!
//! All of it at once or nothing, so that two jobs never wait for each other.

use std::collections::BTreeSet;

/// What is left to take.
#[derive(Debug)]
pub(super) struct Claims {
    slots: BTreeSet<u32>,
    weight_left: u32,
    most: u32,
    /// No more weight than this at once, if somebody else says so.
    allowed: u32,
    /// Numbers beyond those, of jobs that may not wait: the free ones, and the next that there has not been.
    beyond: BTreeSet<u32>,
    next: u32,
    /// By the group's number.
    groups: Vec<Places>,
}

/// The places of a group.
#[derive(Debug)]
struct Places {
    free: BTreeSet<u32>,
    /// How many there are, the taken ones too.
    count: usize,
}

/// What one attempt has taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    pub slot: u32,
    /// None of one that may not wait.
    weight: u32,
    groups: Vec<u32>,
    /// Which of each group, in their order.
    pub group_slots: Vec<u32>,
}

/// Why nothing can be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lack {
    /// As many run as may: others wait behind this one, or a heavy one would never start.
    Slots,
    /// One of its groups is taken. Others go on.
    Group,
}

impl Claims {
    pub fn new(parallel: usize, groups: &[u32]) -> Claims {
        let most = u32::try_from(parallel).unwrap_or(u32::MAX);
        Claims {
            slots: (0..most).collect(),
            weight_left: most,
            most,
            allowed: u32::MAX,
            beyond: BTreeSet::new(),
            next: most,
            // No more of them are ever taken at once.
            groups: groups.iter().map(|count| Places::new((*count).min(most))).collect(),
        }
    }

    /// How many there are, the taken ones too, and of each group.
    pub fn limits(&self) -> (u32, Vec<u32>) {
        let count = |places: &Places| u32::try_from(places.count).unwrap_or(u32::MAX);
        (self.now(), self.groups.iter().map(count).collect())
    }

    /// Whether a job of these groups could ever start: of each there is a place that may come free.
    pub fn are_to_be_had(&self, groups: &[u32]) -> bool {
        let lost = |group: &u32| self.groups.get(*group as usize).is_some_and(|places| places.count == 0);
        self.most > 0 && !groups.iter().any(lost)
    }

    /// What a job with this weight and these groups has to wait for.
    pub fn lack(&self, weight: u32, groups: &[u32]) -> Option<Lack> {
        if groups.iter().any(|group| self.groups.get(*group as usize).is_some_and(Places::are_taken)) {
            return Some(Lack::Group);
        }
        let left = self.now().saturating_sub(self.in_use());
        (self.slots.is_empty() || self.weight(weight) > left).then_some(Lack::Slots)
    }

    /// Takes it, the lowest numbers first; `None` if something lacks.
    pub fn take(&mut self, weight: u32, groups: &[u32]) -> Option<Claim> {
        if self.lack(weight, groups).is_some() {
            return None;
        }
        let (slot, weight) = (self.slots.pop_first()?, self.weight(weight));
        self.weight_left -= weight;
        let free = groups.iter().map(|group| self.groups.get_mut(*group as usize)?.free.pop_first());
        let group_slots = free.map(Option::unwrap_or_default).collect();
        Some(Claim { slot, weight, groups: groups.to_vec(), group_slots })
    }

    /// Gives it back. `keep`: what holds it can't be killed, so that nobody else may have it.
    pub fn give_back(&mut self, claim: Claim, keep: bool) {
        if claim.weight == 0 {
            self.beyond.extend((!keep).then_some(claim.slot));
        } else if keep {
            // The others may still be as many as there are slots.
            self.most -= claim.weight.min(self.most);
        } else {
            self.slots.insert(claim.slot);
            self.weight_left += claim.weight;
        }
        for (group, slot) in claim.groups.into_iter().zip(claim.group_slots) {
            let Some(places) = self.groups.get_mut(group as usize) else { continue };
            if keep {
                places.count -= 1;
            } else {
                places.free.insert(slot);
            }
        }
    }

    /// So much weight may run from now on, beside what is said by [`Claims::new`].
    pub fn allow(&mut self, most: Option<u32>) {
        self.allowed = most.unwrap_or(u32::MAX).max(1);
    }

    /// Takes a slot beyond all others, and no weight: for one that may not wait.
    pub fn take_beyond(&mut self) -> Claim {
        let slot = self.beyond.pop_first().unwrap_or(self.next);
        self.next = self.next.max(slot.saturating_add(1));
        Claim { slot, weight: 0, groups: Vec::new(), group_slots: Vec::new() }
    }

    /// Takes weight alone, for what needs no slot: a process more of a job that runs. Returns whether there was any.
    pub fn take_place(&mut self) -> bool {
        let may = self.in_use() < self.now();
        self.weight_left -= u32::from(may && self.weight_left > 0);
        may
    }

    /// Gives that back.
    pub fn give_place(&mut self) {
        self.weight_left += 1;
    }

    /// Weight that is taken.
    pub fn in_use(&self) -> u32 {
        self.most - self.weight_left.min(self.most)
    }

    fn now(&self) -> u32 {
        self.most.min(self.allowed)
    }

    /// One that weighs more than may run at once runs alone.
    fn weight(&self, weight: u32) -> u32 {
        weight.clamp(1, self.now().max(1))
    }
}

impl Places {
    fn new(count: u32) -> Places {
        Places { free: (0..count).collect(), count: count as usize }
    }

    fn are_taken(&self) -> bool {
        self.free.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_a_lock_with_numbered_places() {
        let mut claims = Claims::new(8, &[1, 2]);
        let first = claims.take(1, &[0, 1]).unwrap();
        assert_eq!((first.slot, &first.group_slots[..]), (0, &[0, 0][..]));
        assert_eq!(claims.lack(1, &[0]), Some(Lack::Group));
        assert_eq!(claims.take(1, &[1]).unwrap().group_slots, [1]);
        assert_eq!(claims.lack(1, &[1]), Some(Lack::Group));
        assert_eq!(claims.lack(1, &[]), None);
        claims.give_back(first, false);
        assert_eq!(claims.take(1, &[0, 1]).unwrap().group_slots, [0, 0]);
    }

    #[test]
    fn a_heavy_one_takes_the_place_of_many_and_never_more_than_all() {
        let mut claims = Claims::new(4, &[]);
        let three = claims.take(3, &[]).unwrap();
        assert_eq!(claims.lack(2, &[]), Some(Lack::Slots));
        let one = claims.take(1, &[]).unwrap();
        assert_eq!(claims.lack(1, &[]), Some(Lack::Slots));
        claims.give_back(three, false);
        claims.give_back(one, false);
        assert!(claims.take(100, &[]).is_some());
        assert_eq!(claims.lack(1, &[]), Some(Lack::Slots));
    }

    #[test]
    fn who_may_not_wait_takes_nothing_of_what_the_others_have() {
        let mut claims = Claims::new(1, &[]);
        let beyond = [claims.take_beyond(), claims.take_beyond()];
        assert_eq!((beyond[0].slot, beyond[1].slot, claims.in_use()), (1, 2, 0));
        assert_eq!(claims.take(1, &[]).unwrap().slot, 0);
        let [first, second] = beyond;
        claims.give_back(first, false);
        claims.give_back(second, true);
        assert_eq!(claims.lack(1, &[]), Some(Lack::Slots), "no more of the others run for that");
        assert_eq!(
            (claims.take_beyond().slot, claims.take_beyond().slot),
            (1, 3),
            "2 is held by what can't be killed"
        );
    }

    #[test]
    fn what_cant_be_killed_keeps_its_place() {
        let mut claims = Claims::new(2, &[1]);
        let claim = claims.take(1, &[0]).unwrap();
        claims.give_back(claim, true);
        assert_eq!(claims.lack(1, &[0]), Some(Lack::Group));
        assert!(!claims.are_to_be_had(&[0]), "the only place of the group is lost");
        assert!(claims.are_to_be_had(&[]));
        assert!(claims.take(2, &[]).is_some(), "what is left is all there is");
        assert_eq!(claims.lack(1, &[]), Some(Lack::Slots));
        assert_eq!(claims.limits(), (1, vec![0]));
    }
}
