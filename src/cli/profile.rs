//! `sandtest profile`: which profiles there are, what one comes to on this host, and whether a file is right.

use std::fmt::Write as _;
use std::io::Write as _;

use clap::Subcommand;

use super::exit_code::OWN_FAILURE;
use super::settings::choose;
use crate::host::{Detection, HostView, detect};
use crate::model::profile::Origin;
use crate::model::{Limits, Profile};
use crate::profile::{SearchPlaces, list};

/// What to do with profiles.
#[derive(Debug, Clone, Subcommand)]
pub enum ProfileCommand {
    /// List the profiles that there are, and the one for this environment
    List,
    /// Print a profile as its file has it
    Show {
        /// A name, a path, or auto
        name: String,
        /// Print what it comes to on this host, with the origin of each value
        #[arg(long)]
        resolved: bool,
    },
    /// Say whether a file is a profile
    Check {
        /// The file, or the name of a profile
        file: String,
    },
}

/// Does it, and says with which code to exit.
pub fn run(command: &ProfileCommand) -> u8 {
    let (places, view) = (SearchPlaces::here(), HostView::capture());
    let text = match command {
        ProfileCommand::List => Ok(listed(&places, &detect(&view))),
        ProfileCommand::Show { name, resolved: true } => {
            choose(name, &view, &places).map(|(profile, detection)| resolved(&profile, detection.as_ref()))
        }
        ProfileCommand::Show { name, resolved: false } => {
            let name = if name == "auto" { detect(&view).profile } else { name };
            places.find(name).map(|source| format!("# {}\n{}", source.label, source.text))
        }
        ProfileCommand::Check { file } => choose(file, &view, &places).map(|_| format!("{file}: ok\n")),
    };
    // A reader that has gone away, such as `head`, is no failure of ours.
    match text {
        Ok(text) => {
            let _ = std::io::stdout().lock().write_all(text.as_bytes());
            0
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr().lock(), "sandtest: {error}");
            OWN_FAILURE
        }
    }
}

fn listed(places: &SearchPlaces, detection: &Detection) -> String {
    let all = list(places);
    let width = |of: fn(&crate::profile::Listed) -> &str| all.iter().map(|l| of(l).len()).max().unwrap_or(0);
    let (names, labels) = (width(|listed| &listed.name), width(|listed| &listed.label));
    let mut text = String::new();
    for profile in &all {
        let mark = if profile.name == detection.profile { '*' } else { ' ' };
        let summary = profile.summary.lines().next().unwrap_or_default();
        let _ = writeln!(text, "{mark} {:names$}  {:labels$}  {summary}", profile.name, profile.label);
    }
    let _ =
        writeln!(text, "\n* for this environment, {}: {}", layers(detection), detection.evidence.join("; "));
    text
}

/// `container in WSL2`
fn layers(detection: &Detection) -> String {
    detection.layers.iter().rev().map(ToString::to_string).collect::<Vec<_>>().join(" in ")
}

/// The profile as YAML, each value with its origin.
fn resolved(profile: &Profile, detection: Option<&Detection>) -> String {
    let mut page = Page { text: String::new(), profile };
    if let Some(found) = detection {
        page.text = format!("# for {}: {}\n", layers(found), found.evidence.join("; "));
    }
    let (job, pressure) = (&profile.job, &profile.pressure);
    page.line("", "name", profile.name.clone());
    page.section("budget", &[("reserve", profile.reserve.to_string())], &profile.budget);
    let job_lines = [
        ("nofile", job.nofile.map_or("inherit".to_owned(), |count| count.to_string())),
        ("oom_score_adj", job.oom_score_adj.to_string()),
        (
            "timeout",
            job.timeout.map_or("none".to_owned(), |time| humantime::format_duration(time).to_string()),
        ),
        ("grace", humantime::format_duration(job.grace).to_string()),
        ("no_new_privs", job.no_new_privs.to_string()),
        ("capabilities", if job.drop_capabilities { "drop" } else { "keep" }.to_owned()),
    ];
    page.section("job", &job_lines, &job.limits);
    page.heading("jobs");
    page.line("jobs", "min", profile.jobs.min.to_string());
    page.line("jobs", "max", profile.jobs.max.to_string());
    page.heading("pressure");
    for (key, value) in [("yellow", pressure.yellow), ("orange", pressure.orange), ("red", pressure.red)] {
        page.line("pressure", key, format!("{value}%"));
    }
    page.line("pressure", "stall", format!("{}%", pressure.stall));
    page.line("", "protect", format!("[{}]", profile.protect.join(", ")));
    page.text
}

struct Page<'a> {
    text: String,
    profile: &'a Profile,
}

impl Page<'_> {
    fn heading(&mut self, section: &str) {
        let _ = writeln!(self.text, "{section}:");
    }

    fn section(&mut self, section: &str, others: &[(&str, String)], limits: &Limits) {
        self.heading(section);
        self.line(section, "memory_max", or_max(limits.memory_max));
        self.line(section, "memory_high", or_max(limits.memory_high));
        self.line(section, "memory_swap_max", or_max(limits.memory_swap_max));
        self.line(section, "pids_max", or_max(limits.pids_max));
        self.line(section, "cpu_max", or_max(limits.cpu_max));
        for (key, value) in others {
            self.line(section, key, value.clone());
        }
    }

    /// `  memory_max: 4.8 GiB   # built-in wsl2.yaml:7: 60%`
    fn line(&mut self, section: &str, key: &str, value: String) {
        let (indent, path) = match section {
            "" => ("", key.to_owned()),
            section => ("  ", format!("{section}.{key}")),
        };
        let pair = format!("{indent}{key}: {value}");
        let origin = self.profile.origins.get(&path);
        // A list stands there in full already.
        let written = |origin: &Origin| {
            if origin.text.starts_with('[') {
                origin.to_string()
            } else {
                format!("{origin}: {}", origin.text)
            }
        };
        let _ = match origin.map(written) {
            Some(origin) => writeln!(self.text, "{pair:32}  # {origin}"),
            None => writeln!(self.text, "{pair}"),
        };
    }
}

fn or_max<T: ToString>(limit: Option<T>) -> String {
    limit.map_or("max".to_owned(), |limit| limit.to_string())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;
    use crate::profile::find::BUILT_IN;

    fn wsl2() -> HostView {
        HostView::from_text(include_str!("../../tests/fixtures/hosts/wsl2-6.6.host")).unwrap()
    }

    #[test]
    fn auto_is_the_profile_of_the_environment_with_its_evidence() {
        let (profile, detection) = choose("auto", &wsl2(), &SearchPlaces::default()).unwrap();
        assert_eq!(profile.name, "wsl2");
        assert_eq!(profile.jobs.max, 6, "half of 12 CPUs");
        let text = resolved(&profile, detection.as_ref());
        let first = text.lines().next().unwrap();
        assert_eq!(first, "# for WSL2: /proc/sys/kernel/osrelease says 6.6.87.2-microsoft-standard-WSL2");
        assert!(text.contains("  memory_max: 9.6 GiB             # built-in wsl2.yaml:7: 60%\n"), "{text}");
    }

    #[test]
    fn what_is_shown_resolved_is_a_profile_again() {
        let folder = tempfile::tempdir().unwrap();
        for (name, _) in BUILT_IN {
            let (profile, _) = choose(name, &wsl2(), &SearchPlaces::default()).unwrap();
            let path = folder.path().join(format!("{name}.yaml"));
            std::fs::write(&path, resolved(&profile, None)).unwrap();
            let (again, _) = choose(path.to_str().unwrap(), &wsl2(), &SearchPlaces::default()).unwrap();
            assert_eq!(again.job.limits.pids_max, profile.job.limits.pids_max, "{name}");
            assert_eq!(
                (again.jobs.max, again.job.timeout),
                (profile.jobs.max, profile.job.timeout),
                "{name}"
            );
        }
    }

    #[test]
    fn the_list_marks_the_one_for_this_environment() {
        let text = listed(&SearchPlaces::default(), &detect(&wsl2()));
        let marked: Vec<&str> = text.lines().filter(|line| line.starts_with("* ")).collect();
        assert!(marked[0].starts_with("* wsl2       built-in wsl2.yaml       Linux under Windows"), "{text}");
        assert!(marked[1].starts_with("* for this environment, WSL2: /proc/sys"), "{text}");
    }
}
