//! Shares under load: three users, five runs, each of which wants the whole machine.

use super::world::{Job, World, ms};
use super::*;

/// Numbers that are the same each time (xorshift64*).
struct Numbers(u64);

impl Numbers {
    fn between(&mut self, from: u64, to: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        from + (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % (to - from)
    }
}

/// What each had over a minute, in seconds of the whole machine, and whether anybody ever waited with nothing running.
struct Minute {
    of_users: BTreeMap<UserId, f64>,
    of_runs: BTreeMap<ClientId, f64>,
    /// The longest that a user waited with nothing running.
    hungry: Duration,
    evictions: u64,
}

fn play(weights: [f64; 3], sizes: (u64, u64), lasts: (u64, u64), seed: u64) -> Minute {
    let (budget, jobs) = (2048, 12);
    let mut world = World::new(budget, jobs);
    let mut numbers = Numbers(seed);
    for (number, weight) in (1..).zip(weights) {
        world.step(Input::Terms(UserId(number), Terms { weight, ..Terms::default() }));
    }
    let runs: Vec<ClientId> = [1, 1, 1, 2, 3].map(|number| world.hello(user(number))).to_vec();
    let mut next = 0;
    let (mut of_users, mut of_runs) = (BTreeMap::new(), BTreeMap::new());
    let (mut hungry, mut since) = (Duration::ZERO, BTreeMap::new());
    // The first to come has all until its jobs end, and pays for that: shares are looked at after it.
    let warm = Duration::from_secs(20);
    while world.now < warm + Duration::from_secs(60) {
        for run in &runs {
            while world.waiting.keys().filter(|(of, _)| of == run).count() < 20 {
                next += 1;
                let (mib, lasts) = (numbers.between(sizes.0, sizes.1), numbers.between(lasts.0, lasts.1));
                world.want(*run, Job::new(next, mib, ms(lasts)));
            }
        }
        world.pass(ms(20));
        assert!(world.held() <= world.budget);
        for number in 1..4 {
            let of = |run: &ClientId| world.users[run] == UserId(number);
            if world.running.keys().any(|(run, _)| of(run)) {
                since.remove(&number);
            } else {
                let since: Duration = *since.entry(number).or_insert(world.now);
                hungry = hungry.max(world.now - since);
            }
            if world.now > warm {
                let held = |which: &dyn Fn(&ClientId) -> bool| {
                    let held = world.running.iter().filter(|((run, _), _)| which(run));
                    let (memory, count) =
                        held.fold((0.0, 0.0), |(sum, n), (_, (job, _))| (sum + job.size.0 as f64, n + 1.0));
                    0.02 * f64::max(memory / world.budget.0 as f64, count / f64::from(jobs))
                };
                *of_users.entry(UserId(number)).or_insert(0.0) += held(&of);
                for run in runs.iter().filter(|run| of(run)) {
                    *of_runs.entry(*run).or_insert(0.0) += held(&|other| other == run);
                }
            }
        }
    }
    Minute { of_users, of_runs, hungry, evictions: world.evictions }
}

/// The largest distance of anybody's part from what its weight says, of the latter.
fn off<K>(had: &BTreeMap<K, f64>, weights: &[f64]) -> f64 {
    let (all, sum) = (had.values().sum::<f64>(), weights.iter().sum::<f64>());
    had.values()
        .zip(weights)
        .map(|(had, weight)| (had / all / (weight / sum) - 1.0).abs())
        .fold(0.0, f64::max)
}

#[test]
fn over_a_minute_everybody_has_what_its_weight_says() {
    // Where memory is short, where places are, where it depends, and where jobs are long.
    let memory = ("memory", (100, 400), (300, 4000));
    let places = ("places", (10, 40), (300, 4000));
    let either = ("either", (20, 400), (100, 6000));
    let long = ("long", (100, 300), (5000, 12_000));
    let doubled = [1.0, 1.0, 2.0];
    let loads = [
        (doubled, memory),
        (doubled, places),
        (doubled, either),
        (doubled, long),
        ([1.0, 1.0, 1.0], either),
        ([1.0, 2.0, 3.0], memory),
    ];
    for (number, (weights, (name, sizes, lasts))) in (1..).zip(loads) {
        let minute = play(weights, sizes, lasts, 0x9E37_79B9_7F4A_7C15u64.wrapping_mul(number));
        let users = off(&minute.of_users, &weights);
        let first = minute.of_runs.into_iter().take(3).collect();
        let runs = off(&first, &[1.0; 3]);
        println!(
            "{name} {weights:?}: users {users:.3}, runs {runs:.3} off, {:?} hungry, {} evicted",
            minute.hungry, minute.evictions
        );
        assert!(users <= 0.15, "{name} {weights:?}: {:?}", minute.of_users);
        // Each of these has a place or two, and one of them had all of it in the beginning.
        assert!(runs <= 0.25, "{name} {weights:?}: the runs of one user: {first:?}");
        // Room is made after a second, and then comes with the next look.
        assert!(minute.hungry <= HUNGRY_FOR + ms(200), "{name} {weights:?}: {:?} hungry", minute.hungry);
    }
}
