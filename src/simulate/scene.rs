//! One described scene: a machine and its jobs, from YAML (docs/simulate.md).

use serde::Deserialize;

use super::case::Case;
use super::curve::Curve;
use super::job::Plan;
use super::machine::{GIB, Hardware, Swap};
use crate::model::Bytes;

/// What a file says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    machine: Machine,
    jobs: Vec<Job>,
    #[serde(default)]
    seed: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Machine {
    memory: String,
    cpus: u32,
    other: Option<String>,
    #[serde(default)]
    editor: Vec<(f64, String)>,
    #[serde(default)]
    neighbour: Vec<(f64, String)>,
    budget: Option<String>,
    reserve: Option<String>,
    jobs: Option<u32>,
    swap: Option<String>,
    #[serde(default)]
    psi: bool,
    #[serde(default)]
    late: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Job {
    name: Option<String>,
    #[serde(default = "one")]
    count: u32,
    #[serde(default)]
    group: u32,
    duration: f64,
    memory: Vec<(f64, String)>,
    #[serde(default = "gib")]
    rate: String,
    #[serde(default = "one_cpu")]
    cpus: f64,
    #[serde(default = "one")]
    processes: u32,
    cache: Option<String>,
    declared: Option<String>,
    limit: Option<String>,
}

fn one() -> u32 {
    1
}

fn one_cpu() -> f64 {
    1.0
}

fn gib() -> String {
    "1GiB".into()
}

/// Most jobs of one scene.
const MOST_JOBS: usize = 10_000;

/// Reads a scene.
///
/// # Errors
/// What is wrong and what was expected, in words.
pub fn parse(text: &str) -> Result<Case, String> {
    let File { machine, jobs, seed } = serde_yaml::from_str(text).map_err(|error| error.to_string())?;
    if jobs.is_empty() {
        return Err("jobs: there are none; expected at least one".into());
    }
    let mut plans = Vec::new();
    for (number, job) in jobs.iter().enumerate() {
        add(job, &mut plans).map_err(|error| format!("jobs[{number}].{error}"))?;
    }
    case(&machine, plans, seed).map_err(|error| format!("machine.{error}"))
}

fn case(machine: &Machine, plans: Vec<Plan>, seed: u64) -> Result<Case, String> {
    let memory = above("memory", size("memory", &machine.memory)?)?;
    let cpus = machine.cpus;
    if !(1..=4096).contains(&cpus) {
        return Err(format!("cpus: {cpus}; expected 1 to 4096"));
    }
    let jobs = machine.jobs.unwrap_or(cpus);
    if !(1..=4096).contains(&jobs) {
        return Err(format!("jobs: {jobs}; expected 1 to 4096"));
    }
    let reserve = optional("reserve", machine.reserve.as_deref())?.unwrap_or(memory / 32.0);
    if reserve >= memory {
        return Err(format!("reserve: more than the machine's memory, {}", Bytes(memory as u64)));
    }
    let hardware = Hardware {
        memory,
        cpus,
        other: optional("other", machine.other.as_deref())?.unwrap_or(0.0),
        editor: through("editor", &machine.editor)?,
        neighbour: through("neighbour", &machine.neighbour)?,
        swap: swap(machine.swap.as_deref(), memory)?,
        psi: machine.psi,
        late: time("late", machine.late)?,
        freeze: (0.0001, 0.005),
        kill: 3.0,
    };
    let budget = optional("budget", machine.budget.as_deref())?;
    let case = Case { hardware, plans, budget, reserve, slots: 4 * jobs as usize, jobs, seed };
    if case.first_room() <= 0.0 {
        return Err("memory: nothing is left of it beside editor, neighbour, other and reserve".into());
    }
    Ok(case)
}

fn add(job: &Job, plans: &mut Vec<Plan>) -> Result<(), String> {
    if job.count as usize + plans.len() > MOST_JOBS {
        return Err(format!("count: {}; expected at most {MOST_JOBS} jobs in all", job.count));
    }
    if !(job.cpus > 0.0 && job.cpus <= 4096.0) {
        return Err(format!("cpus: {}; expected more than 0", job.cpus));
    }
    if !(1..=1_000_000).contains(&job.processes) {
        return Err(format!("processes: {}; expected at least 1", job.processes));
    }
    let steps = points("memory", &job.memory)?;
    let rate = above("rate", size("rate", &job.rate)?)?;
    let name = job.name.clone().unwrap_or_else(|| format!("job{}", plans.len()));
    let plan = Plan {
        group: job.group,
        cpus: job.cpus,
        processes: job.processes,
        cache: optional("cache", job.cache.as_deref())?.unwrap_or(0.0),
        declared: optional("declared", job.declared.as_deref())?,
        limit: optional("limit", job.limit.as_deref())?,
        ..Plan::new(
            name.clone(),
            Curve::steps(&steps, rate),
            above("duration", time("duration", job.duration)?)?,
        )
    };
    for number in 1..=job.count {
        let name = if job.count == 1 { name.clone() } else { format!("{name}#{number}") };
        plans.push(Plan { name, ..plan.clone() });
    }
    Ok(())
}

fn size(key: &str, text: &str) -> Result<f64, String> {
    text.parse::<Bytes>().map(|bytes| bytes.0 as f64).map_err(|error| format!("{key}: {error}"))
}

fn optional(key: &str, text: Option<&str>) -> Result<Option<f64>, String> {
    text.map(|text| size(key, text)).transpose()
}

fn time(key: &str, seconds: f64) -> Result<f64, String> {
    let sane = seconds.is_finite() && (0.0..=1e6).contains(&seconds);
    sane.then_some(seconds).ok_or_else(|| format!("{key}: {seconds}; expected seconds, at most a million"))
}

fn above(key: &str, value: f64) -> Result<f64, String> {
    (value > 0.0).then_some(value).ok_or_else(|| format!("{key}: expected more than 0"))
}

/// Times rise from 0.
fn points(key: &str, points: &[(f64, String)]) -> Result<Vec<(f64, f64)>, String> {
    let read = |(at, text): &(f64, String)| Ok((time(key, *at)?, size(key, text)?));
    let read: Vec<(f64, f64)> = points.iter().map(read).collect::<Result<_, String>>()?;
    if read.windows(2).any(|pair| pair[1].0 <= pair[0].0) {
        return Err(format!("{key}: expected times that rise, as in [[0, 100M], [2, 300M]]"));
    }
    Ok(read)
}

fn through(key: &str, of: &[(f64, String)]) -> Result<Curve, String> {
    Ok(Curve::through(&points(key, of)?))
}

fn swap(text: Option<&str>, memory: f64) -> Result<Swap, String> {
    Ok(match text {
        None | Some("none") => Swap::None,
        Some("zram") => Swap::Zram(memory / 4.0),
        Some(text) => Swap::Disk(size("swap", text)?.min(1024.0 * GIB)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCENE: &str = "
machine: {memory: 1GiB, cpus: 8, editor: [[0, 300M], [5, 300M], [6, 400M]], reserve: 32M}
jobs:
  - {name: big, count: 4, duration: 1, memory: [[0, 300M]]}
  - {name: late, duration: 2, memory: [[0, 20M], [1.5, 200M]], cpus: 0.1}
";

    #[test]
    fn a_scene_is_a_machine_and_its_jobs() {
        let case = parse(SCENE).unwrap();
        assert_eq!(case.plans.len(), 5);
        assert_eq!(case.plans[3].name, "big#4");
        assert_eq!((case.hardware.editor.at(9.0), case.jobs), (400.0 * 1024.0 * 1024.0, 8));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place_and_what_was_expected() {
        for (from, to, wanted) in [
            ("memory: 1GiB", "memory: 1GB", "machine.memory: \"1GB\" is ambiguous"),
            ("cpus: 8", "cpus: 0", "machine.cpus: 0; expected 1 to 4096"),
            ("duration: 1,", "duration: 0,", "jobs[0].duration: expected more than 0"),
            ("[1.5, 200M]", "[0, 200M]", "jobs[1].memory: expected times that rise"),
            ("reserve: 32M", "reserve: 2G", "machine.reserve: more than the machine's memory"),
            ("reserve: 32M", "reserve: 800M", "machine.memory: nothing is left of it"),
            ("cpus: 0.1", "cpu: 0.1", "unknown field `cpu`"),
        ] {
            let error = parse(&SCENE.replace(from, to)).unwrap_err();
            assert!(error.contains(wanted), "{error}");
        }
    }
}
