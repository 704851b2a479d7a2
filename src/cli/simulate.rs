//! `sandtest simulate`: modelled jobs on a modelled machine, in virtual time.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;
use std::{fs, thread};

use clap::{Args, ValueEnum};

use super::exit_code::{OK, OWN_FAILURE};
use crate::model::Bytes;
use crate::simulate::case::Case;
use crate::simulate::families::{self, Family, Given};
use crate::simulate::laws::{self, LawName};
use crate::simulate::machine::Swap;
use crate::simulate::play::{Outcome, play_ours};
use crate::simulate::statistics::Statistics;
use crate::simulate::trace::Trace;
use crate::simulate::{oracle, plot, scene};

/// What to simulate.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  Seeded suites
    sandtest simulate --cases 10             ten of each family, in a table
  One of your own
    sandtest simulate scene.yaml --plot run.svg")]
pub struct SimulateArgs {
    /// A scene to play: a machine and its jobs, in YAML. Without one, seeded suites are played
    scene: Option<PathBuf>,
    /// The kind of suites; all unless given
    #[arg(long, conflicts_with = "scene")]
    family: Option<FamilyArg>,
    /// How many suites of each kind; one of one family is told in full
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=1_000_000), conflicts_with = "scene")]
    cases: u64,
    /// The first seed; the others follow it
    #[arg(long, default_value_t = 1000, conflicts_with = "scene")]
    seed: u64,
    /// Whose law
    #[arg(long, default_value = "ours", conflicts_with = "scene")]
    law: LawArg,
    /// Whether the kernel tells who waits; left to the seed unless given
    #[arg(long, conflicts_with = "scene")]
    psi: Option<OnOff>,
    /// Where memory goes when there is none left; left to the seed unless given
    #[arg(long, conflicts_with = "scene")]
    swap: Option<SwapArg>,
    /// Tell the law the exact sizes beforehand
    #[arg(long)]
    declared: bool,
    /// Leave the order of the demonstrations' lists to the seed
    #[arg(long, conflicts_with = "scene")]
    shuffled: bool,
    /// Write a picture of the run: of a scene, or of one family with --cases 1
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum OnOff {
    On,
    Off,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum SwapArg {
    None,
    #[value(name = "512M")]
    Disk,
    Zram,
}

/// One family, or all.
#[derive(Debug, Clone)]
struct FamilyArg(Vec<Family>);

/// One law, or all.
#[derive(Debug, Clone)]
struct LawArg(Vec<LawName>);

impl std::str::FromStr for FamilyArg {
    type Err = String;

    fn from_str(text: &str) -> Result<FamilyArg, String> {
        one_or_all(text, &families::ALL, Family::name).map(FamilyArg)
    }
}

impl std::str::FromStr for LawArg {
    type Err = String;

    fn from_str(text: &str) -> Result<LawArg, String> {
        one_or_all(text, &laws::ALL, LawName::name).map(LawArg)
    }
}

fn one_or_all<T: Copy>(text: &str, all: &[T], name: fn(T) -> &'static str) -> Result<Vec<T>, String> {
    if text == "all" {
        return Ok(all.to_vec());
    }
    let found = all.iter().find(|one| name(**one) == text);
    let names: Vec<&str> = all.iter().map(|one| name(*one)).collect();
    found.map(|one| vec![*one]).ok_or_else(|| format!("expected all or one of {}", names.join(", ")))
}

/// Simulates, and says with which code to exit.
pub fn run(args: &SimulateArgs) -> u8 {
    let done = match &args.scene {
        Some(path) => play_scene(path, args),
        None => play_families(args),
    };
    match done {
        Ok(()) => OK,
        Err(error) => {
            let _ = writeln!(std::io::stderr().lock(), "sandtest: {error}");
            OWN_FAILURE
        }
    }
}

/// A reader that has gone away, such as `head`, is no failure of ours.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn play_scene(path: &Path, args: &SimulateArgs) -> Result<(), String> {
    let name = path.display();
    let text = fs::read_to_string(path).map_err(|error| format!("read {name}: {error}"))?;
    let case = scene::parse(&text).map_err(|error| format!("{name}: {error}"))?;
    let case = if args.declared { case.declared() } else { case };
    print(&told(&case, args.plot.as_deref())?);
    Ok(())
}

/// Plays one case with our law and tells what happened.
fn told(case: &Case, plot: Option<&Path>) -> Result<String, String> {
    let (ideal, mut trace) = (oracle::makespan(case), Trace::default());
    let outcome = play_ours(case, limit(ideal, case), Some(&mut trace));
    let mut text = String::new();
    for (at, decision) in &trace.decisions {
        let about =
            decision.attempt.and_then(|id| case.plans.get(id.job.0 as usize)).map_or("", |plan| &plan.name);
        let action = format!("{:?}", decision.action).to_lowercase();
        let left = format!("{} left of {}", decision.left, decision.budget);
        let _ = writeln!(text, "{at:9.3} s  {:6}  {action:7} {about:16} {left}", decision.state.as_str());
    }
    let tolls = &outcome.tolls;
    let _ = writeln!(
        text,
        "\n{} jobs in {:.3} s{}",
        case.plans.len(),
        outcome.makespan,
        against(outcome.makespan, ideal)
    );
    let _ = writeln!(
        text,
        "evictions {}, killed as the budget was full {}, frozen {:.1} job seconds, at once at most {}, attempts at most {}",
        outcome.evictions,
        tolls.budget_kills,
        tolls.frozen,
        outcome.concurrency,
        outcome.most_attempts()
    );
    let _ = writeln!(
        text,
        "machine out of memory {}, editor killed {}, failed {}, without verdict {}{}",
        tolls.machine_out,
        tolls.editor_killed,
        outcome.lost,
        outcome.starved,
        if outcome.stuck { ", stuck" } else { "" }
    );
    outcome.broken.iter().for_each(|what| _ = writeln!(text, "broken promise {what}"));
    if let Some(path) = plot {
        let svg = plot::svg(&trace, case.hardware.memory);
        fs::write(path, svg).map_err(|error| format!("write {}: {error}", path.display()))?;
    }
    Ok(text)
}

fn against(makespan: f64, ideal: f64) -> String {
    if !ideal.is_finite() {
        return "; a job does not fit beside the editor at all".into();
    }
    format!(", {:.2} times the {ideal:.3} s of a packing that knows sizes and durations", makespan / ideal)
}

/// When a run counts as stuck.
fn limit(ideal: f64, case: &Case) -> f64 {
    let one_by_one: f64 = case.plans.iter().map(|plan| plan.duration).sum();
    60.0 + 12.0 * if ideal.is_finite() { ideal } else { one_by_one }
}

fn play_families(args: &SimulateArgs) -> Result<(), String> {
    let given = Given {
        psi: args.psi.map(|psi| matches!(psi, OnOff::On)),
        swap: args.swap.map(|swap| match swap {
            SwapArg::None => Swap::None,
            SwapArg::Disk => Swap::Disk(Bytes::mib(512).0 as f64),
            SwapArg::Zram => Swap::Zram(Bytes::gib(2).0 as f64),
        }),
        shuffled: args.shuffled,
    };
    let families =
        args.family.as_ref().map_or(families::ALL.to_vec(), |FamilyArg(families)| families.clone());
    if let [family] = families[..]
        && args.cases == 1
    {
        let case = families::case(family, args.seed, &given);
        let case = if args.declared { case.declared() } else { case };
        print(&told(&case, args.plot.as_deref())?);
        return Ok(());
    }
    if args.plot.is_some() {
        return Err("--plot draws one run; expected a scene, or one --family with --cases 1".into());
    }
    print(&heading());
    let (began, mut simulated) = (Instant::now(), 0.0);
    for law in &args.law.0 {
        let (mut wide, mut all) = (Statistics::default(), Statistics::default());
        for family in &families {
            let statistics = statistics(*law, *family, args, &given);
            print(&row(law.name(), family.name(), &statistics));
            all.merge(&statistics);
            simulated += statistics.simulated;
            if !family.is_demo() {
                wide.merge(&statistics);
            }
        }
        if families.len() > 1 {
            print(&row(law.name(), "wide families", &wide));
            print(&row(law.name(), "all", &all));
        }
    }
    print(&speed(simulated, began.elapsed().as_secs_f64()));
    Ok(())
}

/// How fast that was. Reading what a suite is made of, the oracle and all checks are in it.
fn speed(simulated: f64, took: f64) -> String {
    let minutes = simulated / 60.0;
    let (each, threads) = (minutes / took, threads());
    format!("\n{minutes:.1} machine minutes in {took:.2} s: {each:.0} a second on {threads} threads\n")
}

fn threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

fn heading() -> String {
    format!(
        "{:9} {:15} {:>5}  {:>6} {:>6} {:>6}  {:>9} {:>7} {:>7} {:>6} {:>7} {:>5} {:>5} {:>8} {:>6}\n",
        "law",
        "family",
        "cases",
        "p50",
        "p95",
        "worst",
        "evictions",
        "budget",
        "machine",
        "editor",
        "starved",
        "lost",
        "stuck",
        "attempts",
        "broken"
    ) + &format!(
        "{:31}  {:^20}  {:>9} {:>7} {:>7} {:>6} {:>7} {:>5} {:>5} {:>8} {:>6}\n",
        "", "makespan / oracle", "a case", "kills", "out", "killed", "", "", "", "at most", ""
    )
}

fn row(law: &str, family: &str, of: &Statistics) -> String {
    let cases = of.cases() as f64;
    format!(
        "{law:9} {family:15} {:>5}  {:>6.3} {:>6.3} {:>6.3}  {:>9.2} {:>7.2} {:>7} {:>6} {:>7} {:>5} {:>5} {:>8} {:>6}\n",
        of.cases(),
        of.quantile(0.5),
        of.quantile(0.95),
        of.quantile(1.0),
        of.evictions as f64 / cases,
        of.budget_kills as f64 / cases,
        of.machine_out,
        of.editor_killed,
        of.starved,
        of.lost,
        of.stuck,
        of.most_attempts,
        of.broken
    )
}

/// On all processors; put together in the order of seeds, so that it is the same every time.
fn statistics(law: LawName, family: Family, args: &SimulateArgs, given: &Given) -> Statistics {
    let seeds: Vec<u64> = (0..args.cases).map(|number| args.seed.wrapping_add(number)).collect();
    let workers = threads();
    let play = |seed: &u64| -> (Outcome, f64) {
        let case = families::case(family, *seed, given);
        let case = if args.declared { case.declared() } else { case };
        let ideal = oracle::makespan(&case);
        (law.play(&case, limit(ideal, &case)), ideal)
    };
    let mut all = Statistics::default();
    thread::scope(|scope| {
        let parts = seeds.chunks(seeds.len().div_ceil(workers).max(1));
        let workers: Vec<_> =
            parts.map(|part| scope.spawn(move || part.iter().map(play).collect::<Vec<_>>())).collect();
        for (outcome, ideal) in workers.into_iter().filter_map(|worker| worker.join().ok()).flatten() {
            all.add(&outcome, ideal);
        }
    });
    all
}
