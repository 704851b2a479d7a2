//! Seeded cases of nine kinds: two demonstrations on 1 GiB that hurt every runner today, one like the second, and six
//! wide families of machines and suites.
//!
//! Whatever a real machine may be or not be besides (swap, zram, PSI, page cache, jobs of several processes, looks that
//! come late) is drawn per case, unless the caller says it.

use super::case::Case;
use super::curve::Curve;
use super::job::Plan;
use super::machine::{GIB, Hardware, MIB, Swap};
use super::random::Random;

/// A kind of cases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Family {
    /// 16 jobs of 250 MiB for 0.5 s, on 1 GiB
    Uniform,
    /// 4 of 300 MiB for 1 s and 40 of 30 MiB for 0.4 s, on 1 GiB
    Mixed,
    /// 3 of 420 MiB, 25 of 60 MiB and 10 of 120 MiB, on 1 GiB
    Mixed2,
    /// Sizes and durations of any scale, all kinds of curves
    General,
    /// Groups of jobs that are alike
    Grouped,
    /// Many that hardly use a processor
    Sleepers,
    /// Many that grow late
    LateSpikes,
    /// The editor grows meanwhile
    EditorGrows,
    /// Another program leaks meanwhile
    LeakyNeighbour,
}

/// All of them, in the order of tables.
pub const ALL: [Family; 9] = [
    Family::Uniform,
    Family::Mixed,
    Family::Mixed2,
    Family::General,
    Family::Grouped,
    Family::Sleepers,
    Family::LateSpikes,
    Family::EditorGrows,
    Family::LeakyNeighbour,
];

impl Family {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Family::Uniform => "uniform",
            Family::Mixed => "mixed",
            Family::Mixed2 => "mixed2",
            Family::General => "general",
            Family::Grouped => "grouped",
            Family::Sleepers => "sleepers",
            Family::LateSpikes => "late-spikes",
            Family::EditorGrows => "editor-grows",
            Family::LeakyNeighbour => "leaky-neighbour",
        }
    }

    /// Whether it is one of the small demonstrations.
    pub fn is_demo(self) -> bool {
        matches!(self, Family::Uniform | Family::Mixed | Family::Mixed2)
    }
}

/// What the caller says instead of leaving it to the seed.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Given {
    /// Whether the kernel tells who waits.
    pub psi: Option<bool>,
    /// Where memory goes when there is none left.
    pub swap: Option<Swap>,
    /// Whether the order of a demonstration's list is left to the seed.
    pub shuffled: bool,
}

/// The case of this family with this seed.
pub fn case(family: Family, seed: u64, given: &Given) -> Case {
    let mut random = Random::new(seed ^ ((family as u64 + 1) << 40));
    let mut case = if family.is_demo() { demo(family, &mut random) } else { wide(family, &mut random) };
    vary(&mut case, family, &mut random, given);
    case
}

/// A machine of 1 GiB beside an editor of 300 MiB.
fn demo(family: Family, random: &mut Random) -> Case {
    let of = |count: usize, size: f64, duration: f64, random: &mut Random| -> Vec<Plan> {
        let plan = |_| {
            let rate = random.scale(0.5 * GIB, 4.0 * GIB);
            Plan::new(format!("{size:.0}M"), Curve::ramp(size * MIB, rate), duration)
        };
        (0..count).map(plan).collect()
    };
    let mut plans = match family {
        Family::Uniform => of(16, 250.0, 0.5, random),
        Family::Mixed => of(4, 300.0, 1.0, random),
        _ => of(3, 420.0, 1.0, random),
    };
    match family {
        Family::Mixed => plans.extend(of(40, 30.0, 0.4, random)),
        Family::Mixed2 => {
            plans.extend(of(25, 60.0, 0.4, random));
            plans.extend(of(10, 120.0, 0.6, random));
        }
        _ => {}
    }
    let hardware = Hardware {
        memory: GIB,
        cpus: 8,
        other: 0.0,
        editor: Curve::flat(300.0 * MIB),
        neighbour: Curve::flat(0.0),
        swap: Swap::None,
        psi: false,
        late: 0.0,
        freeze: (0.0001, 0.005),
        kill: 3.0,
    };
    Case { hardware, plans, budget: Some(692.0 * MIB), reserve: 32.0 * MIB, slots: 32, jobs: 8, seed: 0 }
}

fn wide(family: Family, random: &mut Random) -> Case {
    let memory = [8.0, 16.0, 32.0][random.below(3)] * GIB;
    let cpus = [4, 8, 12, 16][random.below(4)];
    let editor = random.between(0.1, 0.3) * memory;
    let hardware = Hardware {
        memory,
        cpus,
        other: random.between(0.03, 0.08) * memory,
        editor: editor_of(family, editor, memory, random),
        neighbour: neighbour_of(family, memory, random),
        swap: Swap::None,
        psi: false,
        late: 0.0,
        freeze: (0.0001, 0.005),
        kill: 3.0,
    };
    let budget = random.between(0.6, 0.95) * memory;
    let mut case = Case {
        reserve: f64::max(memory / 32.0, 256.0 * MIB),
        hardware,
        plans: Vec::new(),
        budget: Some(budget),
        slots: 4 * cpus as usize,
        jobs: cpus,
        seed: 0,
    };
    // So much of it as all processors together would like, on average.
    let demand = random.scale(0.7, 4.0);
    let room = case.least_room();
    // But a suite whose every job takes most of the machine is no suite for it.
    let typical = (demand * room / f64::from(cpus)).min(0.15 * room);
    case.plans = suite(family, typical, room, random);
    case
}

/// When a machine changes under the run: suites take some ten to a hundred seconds.
fn editor_of(family: Family, size: f64, memory: f64, random: &mut Random) -> Curve {
    if family != Family::EditorGrows {
        return Curve::flat(size);
    }
    let more = random.between(0.1, 0.3) * memory;
    let at = random.between(1.0, 15.0);
    let through = at + more / random.scale(50.0 * MIB, GIB);
    let mut points = vec![(0.0, size), (at, size), (through, size + more)];
    if random.chance(0.5) {
        let back = through + random.between(5.0, 30.0);
        points.extend([(back, size + more), (back + 0.5, size + 0.3 * more)]);
    }
    Curve::through(&points)
}

fn neighbour_of(family: Family, memory: f64, random: &mut Random) -> Curve {
    if family != Family::LeakyNeighbour {
        return Curve::flat(0.0);
    }
    let (before, more) = (random.between(0.0, 0.05) * memory, random.between(0.1, 0.3) * memory);
    let at = random.between(0.0, 10.0);
    let through = at + more / random.scale(5.0 * MIB, 300.0 * MIB);
    let mut points = vec![(0.0, before), (at, before), (through, before + more)];
    if random.chance(0.5) {
        points.extend([(through + 1.0, before + more), (through + 1.1, before)]);
    }
    Curve::through(&points)
}

fn suite(family: Family, typical: f64, room: f64, random: &mut Random) -> Vec<Plan> {
    let count = 60 + random.below(141);
    let duration = random.scale(0.7, 4.0);
    let groups = if family == Family::Grouped { 3 + random.below(8) } else { 1 };
    // The median of a log-normal lies below its mean.
    let sigma = random.between(0.5, 1.1);
    let median = typical / (sigma * sigma / 2.0f64).exp();
    let kind = |random: &mut Random| Kind {
        size: random.log_normal(median, sigma),
        duration: random.log_normal(duration, 0.6),
        shape: Shape::any(family, random),
    };
    let kinds: Vec<Kind> = (0..groups).map(|_| kind(random)).collect();
    let plan = |number: usize| {
        let group = random.below(groups);
        let Kind { size, duration, shape } = match family {
            Family::Grouped => kinds[group].like(random),
            _ => kind(random),
        };
        let size = size.clamp(4.0 * MIB, 0.4 * room);
        let sleeps = family == Family::Sleepers && random.chance(0.6);
        let duration = if sleeps { 2.0 * duration } else { duration }.clamp(0.1, 30.0);
        let mut plan =
            Plan::new(format!("{}{number}", shape.name()), shape.curve(size, duration, random), duration);
        plan.cpus = if sleeps { random.between(0.02, 0.1) } else { random.between(0.7, 1.0) };
        plan.group = group as u32;
        plan
    };
    (0..count).map(plan).collect()
}

#[derive(Debug, Clone, Copy)]
struct Kind {
    size: f64,
    duration: f64,
    shape: Shape,
}

impl Kind {
    fn like(self, random: &mut Random) -> Kind {
        let size = self.size * random.log_normal(1.0, 0.15);
        Kind { size, duration: self.duration * random.log_normal(1.0, 0.2), ..self }
    }
}

#[derive(Debug, Clone, Copy)]
enum Shape {
    Ramp,
    Steps,
    Spike,
    Slow,
    Leak,
}

impl Shape {
    fn any(family: Family, random: &mut Random) -> Shape {
        let spikes = if family == Family::LateSpikes { 0.45 } else { 0.1 };
        match random.unit() {
            part if part < spikes => Shape::Spike,
            _ => match random.unit() {
                part if part < 0.6 => Shape::Ramp,
                part if part < 0.75 => Shape::Steps,
                part if part < 0.9 => Shape::Slow,
                _ => Shape::Leak,
            },
        }
    }

    fn name(self) -> &'static str {
        match self {
            Shape::Ramp => "ramp",
            Shape::Steps => "steps",
            Shape::Spike => "spike",
            Shape::Slow => "slow",
            Shape::Leak => "leak",
        }
    }

    /// Up to `size`, at the speed at which programs touch new memory.
    fn curve(self, size: f64, duration: f64, random: &mut Random) -> Curve {
        let rate = random.scale(0.5 * GIB, 4.0 * GIB);
        let early = size * random.between(0.15, 0.5);
        match self {
            Shape::Ramp => Curve::ramp(size, rate),
            Shape::Steps => {
                let (first, second) = (random.between(0.1, 0.4), random.between(0.4, 0.7));
                Curve::steps(
                    &[(0.0, early), (first * duration, (early + size) / 2.0), (second * duration, size)],
                    rate,
                )
            }
            Shape::Spike => {
                let at = random.between(0.6, 0.9) * duration;
                let after = if random.chance(0.5) { early } else { size };
                let until = at + size / rate + 0.05 * duration;
                Curve::steps(&[(0.0, early), (at, size), (until, after)], rate)
            }
            Shape::Slow => Curve::through(&[(0.0, 0.0), (random.between(0.3, 0.7) * duration, size)]),
            Shape::Leak => Curve::through(&[(0.0, 0.1 * size), (duration, size)]),
        }
    }
}

fn vary(case: &mut Case, family: Family, random: &mut Random, given: &Given) {
    case.seed = (random.unit() * 1e15) as u64;
    let hardware = &mut case.hardware;
    // Drawn in any case, so that what is given changes nothing else.
    let swap = match random.below(4) {
        0 => Swap::Disk(512.0 * MIB),
        1 => Swap::Zram(0.25 * hardware.memory),
        _ => Swap::None,
    };
    let (psi, late) = (random.chance(0.5), random.chance(0.2).then(|| random.scale(0.002, 0.05)));
    let (reads, processes) = (random.chance(0.5), random.chance(0.3));
    if given.shuffled {
        random.shuffle(&mut case.plans);
    }
    hardware.psi = given.psi.unwrap_or(psi && !family.is_demo());
    hardware.swap = given.swap.unwrap_or(if family.is_demo() { Swap::None } else { swap });
    if family.is_demo() {
        return;
    }
    hardware.late = late.unwrap_or(0.0);
    for plan in &mut case.plans {
        if reads {
            plan.cache = random.between(0.0, 1.5) * plan.peak();
        }
        if processes {
            plan.processes = 1 + random.below(6) as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_case_again() {
        for family in ALL {
            let given = Given::default();
            assert_eq!(case(family, 3, &given), case(family, 3, &given));
            assert_ne!(case(family, 3, &given), case(family, 4, &given), "{}", family.name());
        }
    }

    #[test]
    fn every_job_fits_alone() {
        for family in ALL {
            for seed in 0..50 {
                let case = case(family, seed, &Given::default());
                let largest = case.plans.iter().map(Plan::peak).fold(0.0, f64::max);
                assert!(
                    largest < case.least_room(),
                    "{} {seed}: {largest} of {}",
                    family.name(),
                    case.least_room()
                );
            }
        }
    }

    #[test]
    fn what_is_given_changes_nothing_else() {
        let drawn = case(Family::General, 5, &Given::default());
        let given =
            case(Family::General, 5, &Given { psi: Some(true), swap: Some(Swap::None), shuffled: false });
        assert_eq!(drawn.plans, given.plans);
    }
}
