//! What users want of their own jobs: one stands still until they let it go on, or is killed.
//!
//! ```text
//! active, frozen ── pin ──▶ pinned ── unpin ──▶ active: if that does not fit, the brake says so at the next look
//!                             ├── under pressure ──▶ evicted, like any other
//!                             └── told to end ──▶ active
//! ```
//!
//! What is pinned holds its memory and comes to no end. So it is nobody's reason to call the box orange, it is not
//! evicted for having stood still, and being the most senior spares it nothing.

use std::time::Duration;

use super::Governor;
use super::job::Phase;
use crate::model::AttemptId;

impl Governor {
    /// It stands still until it is unpinned. Returns whether it went on until now.
    pub fn pin(&mut self, now: Duration, id: AttemptId) -> bool {
        let job = &mut self.jobs[id.job.0 as usize];
        if !matches!(job.phase, Phase::Active | Phase::Frozen { .. }) {
            return false;
        }
        job.pinned = true;
        let was_active = job.is_active();
        if was_active {
            job.phase = Phase::Frozen { since: now };
        }
        was_active
    }

    /// It may go on. Returns whether it does.
    pub fn unpin(&mut self, now: Duration, id: AttemptId) -> bool {
        let job = &mut self.jobs[id.job.0 as usize];
        if !std::mem::take(&mut job.pinned) || job.frozen_since().is_none() {
            return false;
        }
        job.thaw(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::governor::State;
    use crate::model::reading::{JobReading, Reading};
    use crate::model::{Bytes, JobId};
    use crate::policy::governor::{Act, Answer, JobFacts, Settings};

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn first(job: JobId) -> AttemptId {
        AttemptId { job, number: 1 }
    }

    /// Two jobs that run, of 200 MiB in 1 GiB, and one that waits.
    struct Scene {
        governor: Governor,
        jobs: [JobId; 3],
    }

    impl Scene {
        fn new() -> Scene {
            let line = Bytes::mib(32);
            let settings = Settings {
                budget: Some(Bytes::gib(1)),
                yellow: line,
                orange: line,
                red: line,
                cpus: 8,
                jobs: 8,
                max_pressure: 1000,
            };
            let mut governor = Governor::new(settings, &[]);
            let facts = JobFacts { group: 0, memory: Some(Bytes::mib(200)), restartable: true, weight: 1 };
            let jobs = [governor.add(&facts), governor.add(&facts), governor.add(&facts)];
            let mut scene = Scene { governor, jobs };
            scene.look(0, [0, 0]);
            for job in &jobs[..2] {
                scene.governor.started(ms(0), first(*job));
                scene.governor.born(first(*job));
            }
            scene
        }

        fn look(&mut self, at: u64, mib: [u64; 2]) -> Vec<Act> {
            let jobs = self.jobs.iter().zip(mib).map(|(job, mib)| JobReading {
                id: first(*job),
                memory: Bytes::mib(mib),
                cpu: None,
            });
            let reading = Reading {
                usage: Bytes::mib(mib[0] + mib[1]),
                available: Some(Bytes::gib(64)),
                jobs: jobs.collect(),
                ..Reading::default()
            };
            self.governor.sense(ms(at), &reading);
            let acts = self.governor.act(ms(at));
            acts.into_iter().filter(|act| !matches!(act, Act::Cap(_))).collect()
        }
    }

    #[test]
    fn who_is_pinned_stands_still_until_it_is_unpinned() {
        let mut scene = Scene::new();
        let one = first(scene.jobs[0]);
        scene.look(100, [50, 50]);
        assert!(scene.governor.pin(ms(100), one));
        assert!(!scene.governor.pin(ms(101), one), "it did already");
        // Much longer than it has worked, and alone in the end.
        scene.governor.ended(ms(150), first(scene.jobs[1]), super::super::Ending::Otherwise);
        for at in 2..100 {
            assert_eq!(scene.look(100 * at, [50, 0]), []);
        }
        assert_eq!(scene.governor.decisions(ms(10_000)).len(), 0);
        assert_eq!(scene.governor.state(), State::Green);
        assert_eq!(scene.governor.counts(), (1, 1));
        assert!(scene.governor.unpin(ms(10_000), one));
        assert!(!scene.governor.unpin(ms(10_000), one));
        assert_eq!(scene.governor.counts(), (1, 0));
    }

    #[test]
    fn others_start_beside_one_that_is_pinned() {
        let mut scene = Scene::new();
        scene.governor.pin(ms(0), first(scene.jobs[0]));
        scene.governor.ended(ms(0), first(scene.jobs[1]), super::super::Ending::Otherwise);
        let mut admission = scene.governor.admission();
        assert_eq!(scene.governor.ask(&mut admission, ms(0), scene.jobs[2]), Answer::Start);
    }

    #[test]
    fn under_pressure_one_that_is_pinned_gives_way_and_who_comes_to_an_end_does_not() {
        let mut scene = Scene::new();
        let [one, two] = [first(scene.jobs[0]), first(scene.jobs[1])];
        scene.look(100, [400, 100]);
        scene.governor.pin(ms(100), one);
        scene.look(200, [400, 400]);
        let acts = scene.look(210, [400, 600]);
        assert!(acts.contains(&Act::Evict(one)) && !acts.contains(&Act::Evict(two)), "{acts:?}");
    }

    #[test]
    fn who_is_told_to_end_is_not_pinned_any_more() {
        let mut scene = Scene::new();
        let one = first(scene.jobs[0]);
        scene.governor.pin(ms(0), one);
        scene.governor.stopping(ms(10), one);
        assert_eq!(scene.governor.counts(), (2, 0));
        assert!(!scene.governor.unpin(ms(10), one));
    }
}
