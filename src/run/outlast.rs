//! Shared memory, semaphores, queues and mounts that came while attempts ran, and whose they are.
//!
//! The kernel does not tell who made them, so it is told by when they came:
//!
//! ```text
//! an attempt ends ─▶ new on a list? ── no ──▶ nothing
//!                       │ yes: it, or one that runs beside it, has made it
//!                    pending, until the last of these has ended
//!                       │ still there, and nobody who lives has it in use
//!                    told with that one's end: for certain if there was never another
//! ```
//!
//! Told once, and never removed: somebody may share it. What only an attempt that was given up is left for is not told:
//! who begins later can't have made it.

use std::collections::BTreeSet;

use crate::kernel::objects::{self, Key, List, Watch};
use crate::model::AttemptId;
use crate::model::leftovers::Object;
use crate::model::text::harmless;

/// What there was before, and what has come since.
#[derive(Debug)]
pub struct Outlast {
    watch: Watch,
    known: BTreeSet<Key>,
    running: BTreeSet<AttemptId>,
    pending: Vec<Pending>,
}

/// One that came, and who may have made it.
#[derive(Debug)]
struct Pending {
    object: objects::Object,
    certain: bool,
    makers: BTreeSet<AttemptId>,
}

/// Ready to be told, if it is not gone by then.
#[derive(Debug)]
pub struct Ripe(Vec<(objects::Object, bool)>);

impl Outlast {
    /// Notes what there is.
    pub fn start() -> Outlast {
        let mut watch = Watch::start();
        let all = [List::Shm, List::SysV, List::Mounts].map(|list| watch.read(list));
        let known = all.into_iter().flatten().map(|object| object.key).collect();
        Outlast { watch, known, running: BTreeSet::new(), pending: Vec::new() }
    }

    /// An attempt is about to start.
    pub fn begins(&mut self, id: AttemptId) {
        // What came while nothing ran is nobody's here.
        if self.running.is_empty() {
            self.look();
        }
        self.running.insert(id);
    }

    /// It never began, or can't be killed: nothing is told of it, and nobody waits for its end.
    pub fn forget(&mut self, id: AttemptId) {
        if self.running.contains(&id) {
            // While it is among those that may have made it: what is found later is blamed on the others alone.
            self.look();
        }
        drop(self.left_by_now(id));
    }

    /// An attempt has ended and its processes are gone. What is to be told with its end.
    pub fn ended(&mut self, id: AttemptId) -> Option<Ripe> {
        self.look();
        let ripe = self.left_by_now(id);
        (!ripe.is_empty()).then_some(Ripe(ripe))
    }

    /// Without `id`: what has nobody else to wait for.
    fn left_by_now(&mut self, id: AttemptId) -> Vec<(objects::Object, bool)> {
        self.running.remove(&id);
        for pending in &mut self.pending {
            pending.makers.remove(&id);
        }
        let ripe = self.pending.extract_if(.., |pending| pending.makers.is_empty());
        ripe.map(|pending| (pending.object, pending.certain)).collect()
    }

    fn look(&mut self) {
        for list in self.watch.changed() {
            let now = self.watch.read(list);
            self.update(list, now);
        }
    }

    fn update(&mut self, list: List, now: Vec<objects::Object>) {
        let keys: BTreeSet<&Key> = now.iter().map(|object| &object.key).collect();
        let stays = |key: &Key| List::of(key.kind) != list || keys.contains(key);
        self.known.retain(stays);
        self.pending.retain(|pending| stays(&pending.object.key));
        let makers = &self.running;
        for object in now {
            if self.known.insert(object.key.clone()) && object.ours && !makers.is_empty() {
                self.pending.push(Pending { object, certain: makers.len() == 1, makers: makers.clone() });
            }
        }
    }
}

impl Ripe {
    /// Those that are still there and in nobody's use. Looks through all processes, so not in the loop.
    pub fn left(self) -> Vec<Object> {
        let (objects, certain): (Vec<_>, Vec<_>) = self.0.into_iter().unzip();
        let of: Vec<(Key, bool)> = objects.iter().map(|object| object.key.clone()).zip(certain).collect();
        let certain = |key: &Key| of.iter().any(|(other, certain)| other == key && *certain);
        let told = |object: objects::Object| Object {
            kind: object.key.kind,
            certain: certain(&object.key),
            bytes: object.bytes,
            name: harmless(&object.key.name.to_string_lossy()),
        };
        objects::abandoned(objects).into_iter().map(told).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::JobId;
    use crate::model::leftovers::ObjectKind;

    fn id(job: u32) -> AttemptId {
        AttemptId { job: JobId(job), number: 1 }
    }

    fn object(number: u64, ours: bool) -> objects::Object {
        let key = Key { kind: ObjectKind::SysvSem, name: number.to_string().into(), number };
        objects::Object { key, bytes: None, ours, attached: false }
    }

    /// An attempt ends with these numbers on the list. The numbers told with its end, and which for certain.
    fn ends(outlast: &mut Outlast, job: u32, list: &[u64]) -> Vec<(u64, bool)> {
        outlast.update(List::SysV, list.iter().map(|number| object(*number, true)).collect());
        let ripe = outlast.ended(id(job)).map_or(Vec::new(), |ripe| ripe.0);
        let of_list = |(object, certain): (objects::Object, bool)| (object.key.number, certain);
        ripe.into_iter().filter(|(object, _)| object.key.kind == ObjectKind::SysvSem).map(of_list).collect()
    }

    fn with(running: &[u32]) -> Outlast {
        let running = running.iter().map(|job| id(*job)).collect();
        Outlast { watch: Watch::start(), known: BTreeSet::new(), running, pending: Vec::new() }
    }

    #[test]
    fn what_came_while_one_ran_alone_is_its_own_and_told_once() {
        let mut outlast = with(&[1]);
        assert_eq!(ends(&mut outlast, 1, &[5]), [(5, true)]);
        outlast.begins(id(2));
        assert_eq!(ends(&mut outlast, 2, &[5]), []);
        outlast.begins(id(3));
        assert_eq!(ends(&mut outlast, 3, &[]), []);
        outlast.begins(id(4));
        assert_eq!(ends(&mut outlast, 4, &[5]), [(5, true)], "made anew");
    }

    #[test]
    fn what_may_be_anothers_waits_for_the_others_end() {
        let mut outlast = with(&[1, 2, 3]);
        assert_eq!(ends(&mut outlast, 1, &[5, 6]), []);
        assert_eq!(ends(&mut outlast, 2, &[5, 6, 7]), []);
        outlast.begins(id(4));
        assert_eq!(ends(&mut outlast, 3, &[5, 7]), [(5, false), (7, false)], "6 was in use, and is gone");
    }

    #[test]
    fn one_that_is_forgotten_is_not_waited_for() {
        let mut outlast = with(&[1, 2, 3]);
        assert_eq!(ends(&mut outlast, 1, &[5]), []);
        outlast.forget(id(2));
        assert_eq!(ends(&mut outlast, 3, &[5]), [(5, false)]);
    }

    #[test]
    fn who_begins_later_is_not_blamed_for_what_one_that_is_forgotten_leaves_untold() {
        let mut outlast = with(&[1, 2]);
        assert_eq!(ends(&mut outlast, 1, &[5]), []);
        outlast.begins(id(3));
        outlast.forget(id(2));
        assert_eq!(ends(&mut outlast, 3, &[5]), []);
    }

    #[test]
    fn what_one_that_is_forgotten_may_have_made_is_no_other_ones_for_certain() {
        let path = format!("/dev/shm/sandtest-outlast-{}", std::process::id());
        let mut outlast = Outlast::start();
        outlast.begins(id(1));
        outlast.begins(id(2));
        std::fs::write(&path, "").unwrap();
        outlast.forget(id(2));
        let ripe = outlast.ended(id(1)).map_or(Vec::new(), |ripe| ripe.0);
        std::fs::remove_file(&path).unwrap();
        let certain = ripe.iter().find(|(object, _)| *object.key.name == *path).map(|(_, certain)| *certain);
        assert_eq!(certain, Some(false));
    }

    #[test]
    fn what_is_of_another_user_or_came_while_nothing_ran_is_nobodys_here() {
        let mut outlast = with(&[1]);
        outlast.update(List::SysV, vec![object(5, false)]);
        assert!(outlast.pending.is_empty());
        let mut outlast = with(&[]);
        outlast.update(List::SysV, vec![object(5, true)]);
        outlast.begins(id(1));
        assert_eq!(ends(&mut outlast, 1, &[5]), []);
    }
}
