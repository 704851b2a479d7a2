//! `sandtest doctor`: what this environment allows, what it lacks, and the fix to paste.
//!
//! Marks stand in front, so that no colour is needed: `ok` as it should be, `--` worth knowing, `!!` missing.
//! Lines that are to be pasted are never broken; everything else keeps to 80 columns.

use std::fmt::Write;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use super::answer::answer;
use super::exit_code::OWN_FAILURE;
use super::settings::{Chosen, choose};
use crate::host::HostView;
use crate::host::doctor::ceilings::{Ceiling, Resource};
use crate::host::doctor::controllers::Reach;
use crate::host::doctor::pressure::Sensor;
use crate::host::doctor::{Environment, Report, examine, swap};
use crate::host::isolation::{self, Request};
use crate::kernel::guardian::Guardian;
use crate::kernel::hierarchy::Layout;
use crate::model::{Bytes, Cpus, Enforcement, Limits, Tier};
use crate::profile::SearchPlaces;
use crate::run::record;

const WIDTH: usize = 80;
/// Mark, blank, name: where the text of a line begins.
const INDENT: usize = 24;

/// Look at this environment: what it allows, what it lacks, and how to repair that
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Args)]
#[command(after_help = "Examples:
  For people
    sandtest doctor           with the fix of each thing that is missing, to paste
  For programs
    sandtest doctor --json")]
pub struct DoctorArgs {
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

/// Examines this environment and prints what it found. Exits 0 however much is missing: to tell is its success.
pub fn run(args: &DoctorArgs) -> u8 {
    match report().and_then(|report| render(&report, *args).map_err(|error| error.to_string())) {
        Ok(text) => answer(text.as_bytes()),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "sandtest: {error}");
            OWN_FAILURE
        }
    }
}

fn report() -> Result<Report, String> {
    let Chosen { profile, detection, .. } =
        choose("auto", &HostView::capture(), &SearchPlaces::here()).map_err(|e| e.to_string())?;
    let environment = detection.map_or_else(
        || Environment { name: profile.name.clone(), evidence: String::new() },
        |told| Environment { name: told.environment.to_string(), evidence: told.evidence.join("; ") },
    );
    // As for a run, so that a doctor killed in mid-probe leaves nothing either.
    let mut guardian = Guardian::fork(None).map_err(|error| error.to_string())?;
    let id = record::new_id();
    let pid = guardian.pid();
    let probe = || {
        let mut announce =
            |groups: &[PathBuf]| guardian.charge(&id, groups).map_err(|error| error.to_string());
        // Every limit asked for: what can be held is the question here, not what this profile wants.
        let job = Limits {
            memory_max: Some(Bytes::gib(1)),
            memory_swap_max: Some(Bytes(0)),
            pids_max: Some(64),
            cpu_max: Some(Cpus { milli: 1000 }),
            ..Limits::default()
        };
        let mut request = Request {
            id: &id,
            budget: &profile.budget,
            job: &job,
            guardian: pid,
            slice: None,
            announce: &mut announce,
        };
        let place = isolation::establish(&mut request);
        let _ = place.ground.remove(Duration::ZERO);
        place.leave();
        place.isolation.clone()
    };
    let report = examine(environment, probe, &profile.protect);
    guardian.dismiss();
    Ok(report)
}

/// The report as asked for, with its last newline.
pub fn render(report: &Report, args: DoctorArgs) -> Result<String, serde_json::Error> {
    if args.json {
        return Ok(serde_json::to_string_pretty(report)? + "\n");
    }
    let mut page = Page::default();
    isolation(&mut page, report);
    cgroups(&mut page, report);
    warnings(&mut page, report);
    ceilings(&mut page, &report.ceilings);
    victims(&mut page, report);
    fixes(&mut page, report);
    Ok(page.text)
}

#[derive(Debug, Clone, Copy)]
enum Mark {
    Ok,
    Note,
    Missing,
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn heading(&mut self, title: &str) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.plain(title);
    }

    fn plain(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    fn line(&mut self, mark: Mark, name: &str, text: &str) {
        let mark = match mark {
            Mark::Ok => "ok",
            Mark::Note => "--",
            Mark::Missing => "!!",
        };
        let mut head = format!("  {mark}  {name:<17} ");
        for part in wrap(text, WIDTH - INDENT) {
            self.plain(&format!("{head:<INDENT$}{part}"));
            head.clear();
        }
    }
}

fn isolation(page: &mut Page, report: &Report) {
    page.heading("isolation");
    let environment = &report.environment;
    page.line(Mark::Ok, "environment", &format!("{}: {}", environment.name, environment.evidence));
    let (mark, meaning) = match report.tier {
        Tier::Cgroup => (Mark::Ok, "each test in its own cgroup"),
        Tier::Hybrid => (Mark::Note, "v1 groups limit, a v2 group kills and freezes"),
        Tier::Process => (Mark::Missing, "no writable cgroup; the process tree is sampled"),
        Tier::Off => (Mark::Missing, "nothing is limited"),
    };
    page.line(mark, "tier", &format!("{}: {meaning}", report.tier));
    for holder in &report.limits {
        let (mark, who) = match holder.enforcement {
            Enforcement::Kernel => (Mark::Ok, "held by the kernel"),
            Enforcement::Sampled => (Mark::Note, "sampled by sandtest, killed when over"),
            Enforcement::None => (Mark::Missing, "held by nobody"),
        };
        page.line(mark, holder.limit.as_str(), who);
    }
}

fn cgroups(page: &mut Page, report: &Report) {
    let cgroups = &report.cgroups;
    page.heading("cgroups");
    let (mark, layout) = match cgroups.layout {
        Layout::Unified => (Mark::Ok, "unified v2"),
        Layout::Hybrid => (Mark::Note, "hybrid: v1 controllers beside a v2 tree"),
        Layout::Legacy => (Mark::Missing, "legacy: v1 only"),
        Layout::None => (Mark::Missing, "none mounted"),
    };
    let read_only = if cgroups.read_only { ", mounted read-only" } else { "" };
    let mark = if cgroups.read_only { Mark::Missing } else { mark };
    page.line(mark, "hierarchy", &format!("{layout}{read_only}"));
    if let Some(own) = &cgroups.own {
        page.line(Mark::Ok, "own group", own);
    }
    match &cgroups.user_manager {
        Some(manager) => page.line(Mark::Ok, "user manager", manager),
        None if report.surroundings.uid == 0 => {
            page.line(Mark::Note, "user manager", "none; root needs none")
        }
        None => page.line(Mark::Missing, "user manager", "none"),
    }
    for controller in &cgroups.controllers {
        let (mark, reach) = match controller.reach {
            Reach::Ours => (Mark::Ok, "delegated to us"),
            Reach::NotDelegated => (Mark::Missing, "in the kernel, not delegated to us"),
            Reach::V1 => (Mark::Note, "on v1"),
            Reach::Absent => (Mark::Missing, "not offered by this kernel"),
        };
        page.line(mark, controller.name, reach);
    }
}

fn warnings(page: &mut Page, report: &Report) {
    page.heading("what warns before memory is gone");
    for pressure in &report.pressure {
        let (mark, state) = match &pressure.sensor {
            Sensor::Fine if report.environment.name == "container" => {
                (Mark::Note, "the whole machine's, not this container's: not used".to_owned())
            }
            Sensor::Fine => (Mark::Ok, "readable".to_owned()),
            Sensor::Absent => (Mark::Missing, "not there; free memory is watched instead".to_owned()),
            Sensor::Off => (Mark::Missing, "switched off; free memory is watched instead".to_owned()),
            Sensor::Broken(error) => (Mark::Missing, error.clone()),
        };
        page.line(mark, pressure.file.trim_start_matches("/proc/"), &state);
    }
    let real = swap::real(&report.swap);
    let zram = if report.swap.iter().any(|device| device.zram) { " (zram is memory)" } else { "" };
    if real.0 == 0 {
        let text = format!("none{zram}: pressure says little, free memory is the signal");
        page.line(Mark::Note, "swap", &text);
    } else {
        page.line(Mark::Ok, "swap", &format!("{real}{zram}"));
    }
    if let Some(total) = report.surroundings.memory_total {
        page.line(Mark::Ok, "memory", &total.to_string());
    }
    if let Some(nofile) = report.surroundings.nofile {
        let text = format!("{} now, {} at most", nofile.soft, nofile.hard);
        page.line(Mark::Ok, "open files", &text);
    }
}

fn ceilings(page: &mut Page, ceilings: &[Ceiling]) {
    page.heading("limits in force above us");
    if ceilings.is_empty() {
        page.line(Mark::Ok, "none", "");
    }
    for ceiling in ceilings {
        let name = match ceiling.resource {
            Resource::Memory => "memory",
            Resource::MemoryHigh => "memory (throttle)",
            Resource::Pids => "pids",
            Resource::Cpu => "cpus",
        };
        let counts = if ceiling.smallest { " <- the one that counts" } else { "" };
        page.line(Mark::Note, name, &format!("{}{counts}", ceiling.amount));
        page.line_below(&ceiling.file);
    }
}

impl Page {
    /// A path on a line of its own: it may be long, and is to be copied whole.
    fn line_below(&mut self, path: &str) {
        self.plain(&format!("{:INDENT$}{path}", ""));
    }
}

fn victims(page: &mut Page, report: &Report) {
    let victims = &report.victims;
    page.heading(&format!("whom the kernel would kill first, of {} processes seen here", victims.processes));
    page.plain("      place      pid  score   adj        rss  name");
    for (index, next) in victims.next.iter().enumerate() {
        let editor = if next.protected { "  (editor)" } else { "" };
        let (place, pid, score, adj) = (index + 1, next.pid, next.oom_score, next.oom_score_adj);
        let rss = next.rss.to_string();
        page.plain(&format!(
            "      {place:>5} {pid:>8} {score:>6} {adj:>5} {rss:>10}  {}{editor}",
            next.comm
        ));
    }
    match victims.editor_place {
        Some(1) => page.line(
            Mark::Note,
            "editor",
            "would be the first; tests raise their own oom_score_adj, so that they go before it",
        ),
        Some(place) => page.line(Mark::Ok, "editor", &format!("in place {place}")),
        None => page.line(Mark::Ok, "editor", "none seen"),
    }
}

fn fixes(page: &mut Page, report: &Report) {
    if report.missing.is_empty() {
        return page.heading("nothing is missing");
    }
    page.heading("to repair");
    for missing in &report.missing {
        let mut mark = "  !!  ";
        for part in wrap(&missing.what, WIDTH - 6) {
            page.plain(&format!("{mark}{part}"));
            mark = "      ";
        }
        for line in missing.fix.lines() {
            page.plain(&format!("          {line}"));
        }
    }
}

/// At blanks; a word that is too long keeps a line of its own.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.len() - 1;
        let line = &mut lines[last];
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= width {
            let _ = write!(line, " {word}");
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::doctor::ceilings::Amount;
    use crate::host::doctor::controllers::{Cgroups, Controller};
    use crate::host::doctor::pressure::Pressure;
    use crate::host::doctor::surroundings::{Nofile, Surroundings};
    use crate::host::doctor::victims::{Candidate, Victims};
    use crate::host::doctor::{Environment, Holder, fixes};
    use crate::model::{Bytes, LimitName};

    /// WSL2 of some years ago: no PSI, pids not delegated, VS Code first in line.
    fn report() -> Report {
        let surroundings = Surroundings {
            uid: 1000,
            wsl: true,
            engine: None,
            memory_total: Some(Bytes::gib(8)),
            nofile: Some(Nofile { soft: 1024, hard: 1 << 20 }),
            user_manager: None,
        };
        let lacks = [fixes::Lack::NotDelegated { names: vec!["pids"] }, fixes::Lack::PressureAbsent];
        let group = "/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service";
        let candidate = |pid, comm: &str, oom_score, oom_score_adj, rss| Candidate {
            pid,
            comm: comm.to_owned(),
            oom_score,
            oom_score_adj,
            rss,
            protected: comm == "code",
        };
        Report {
            environment: Environment {
                name: "wsl2".into(),
                evidence:
                    "/proc/sys/kernel/osrelease says 5.15.90.1-microsoft-standard-WSL2, WSL_INTEROP is set"
                        .into(),
            },
            tier: Tier::Process,
            limits: vec![
                Holder { limit: LimitName::MemoryMax, enforcement: Enforcement::Kernel },
                Holder { limit: LimitName::PidsMax, enforcement: Enforcement::Sampled },
                Holder { limit: LimitName::CpuMax, enforcement: Enforcement::None },
            ],
            cgroups: Cgroups {
                layout: Layout::Unified,
                own: Some("/sys/fs/cgroup/user.slice/user-1000.slice/session-1.scope".into()),
                read_only: false,
                user_manager: Some(group.into()),
                controllers: vec![
                    Controller { name: "memory", reach: Reach::Ours },
                    Controller { name: "pids", reach: Reach::NotDelegated },
                ],
            },
            ceilings: vec![
                Ceiling {
                    resource: Resource::Memory,
                    amount: Amount::Bytes(Bytes::gib(6)),
                    file: format!("{group}/memory.max"),
                    smallest: true,
                },
                Ceiling {
                    resource: Resource::Pids,
                    amount: Amount::Count(9000),
                    file: format!("{group}/pids.max"),
                    smallest: true,
                },
            ],
            pressure: vec![Pressure { file: "/proc/pressure/memory".into(), sensor: Sensor::Absent }],
            swap: vec![swap::Device {
                name: "/dev/zram0".into(),
                size: Bytes::gib(2),
                used: Bytes(0),
                zram: true,
            }],
            victims: Victims {
                next: vec![
                    candidate(4242, "code", 869, 300, Bytes::mib(900)),
                    candidate(17, "bash", 666, 0, Bytes::mib(4)),
                ],
                processes: 61,
                editor_place: Some(1),
            },
            missing: lacks.iter().map(|lack| lack.missing(&surroundings)).collect(),
            surroundings,
        }
    }

    #[test]
    fn people_get_marks_groups_and_text_to_paste() {
        insta::assert_snapshot!(render(&report(), DoctorArgs { json: false }).unwrap());
    }

    #[test]
    fn programs_get_the_same_facts() {
        insta::assert_snapshot!(render(&report(), DoctorArgs { json: true }).unwrap());
    }

    #[test]
    fn only_paths_and_pasted_lines_pass_the_eightieth_column() {
        let text = render(&report(), DoctorArgs { json: false }).unwrap();
        let facts = text.split("\nto repair").next().unwrap();
        for line in facts.lines().filter(|line| line.trim().contains(' ')) {
            let path = line.split_whitespace().any(|word| word.len() > WIDTH - INDENT);
            assert!(path || line.chars().count() <= WIDTH, "{line:?}");
        }
    }
}
