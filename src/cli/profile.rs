//! `sandtest profile`: which profiles there are, what one comes to on this host, and whether a file is right.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use clap::Subcommand;
use humantime::format_duration;

use super::answer::answer;
use super::exit_code::OWN_FAILURE;
use super::settings::{Chosen, choose};
use crate::host::{Detection, HostView, detect};
use crate::model::profile::{OnTimeout, Origin};
use crate::model::retry::{Backoff, FlakyResult, LeakPolicy, Retry, RetryOn};
use crate::model::{Limits, Profile};
use crate::profile::project::is_project;
use crate::profile::{ProfileError, Rules, SearchPlaces, list};

/// What to do with profiles, shown.
pub const EXAMPLES: &str = "Examples:
  Which there are
    sandtest profile list
  What one comes to
    sandtest profile show auto --resolved    here, and which line says so
    sandtest profile show native             as its file has it, to begin one of your own
  Whether one is right
    sandtest profile check .sandtest/mine.yaml
    sandtest profile check sandtest.yaml     the project's own file";

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
    /// Say whether a file is a profile, or a project's file, and right
    Check {
        /// The file, a project's sandtest.yaml, or the name of a profile
        file: String,
    },
}

/// Does it, and says with which code to exit.
pub fn run(command: &ProfileCommand) -> u8 {
    let (places, view) = (SearchPlaces::here(), HostView::capture());
    let text = match command {
        ProfileCommand::List => Ok(listed(&places, &detect(&view))),
        ProfileCommand::Show { name, resolved: true } => {
            choose(name, &view, &places).map(|chosen| resolved(&chosen))
        }
        ProfileCommand::Show { name, resolved: false } => {
            let name = if name == "auto" { detect(&view).profile } else { name };
            places.find(name).map(|source| format!("# {}\n{}", source.label, source.text))
        }
        ProfileCommand::Check { file } => check(file, &view, places).map(|_| format!("{file}: ok\n")),
    };
    match text {
        Ok(text) => answer(text.as_bytes()),
        Err(error) => {
            let _ = writeln!(std::io::stderr().lock(), "sandtest: {error}");
            OWN_FAILURE
        }
    }
}

/// A project's file is checked beside the profile that it would meet here.
fn check(file: &str, view: &HostView, places: SearchPlaces) -> Result<Chosen, ProfileError> {
    if !is_project(file.as_ref()) {
        return choose(file, view, &places);
    }
    // Absent is fine where nobody asked for it.
    std::fs::metadata(file).map_err(|source| ProfileError::Read { path: file.into(), source })?;
    choose("auto", view, &SearchPlaces { project: Some(file.into()), ..places })
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
fn resolved(chosen: &Chosen) -> String {
    let profile = &chosen.profile;
    let mut page = Page { text: String::new(), profile };
    if let Some(found) = &chosen.detection {
        page.text = format!("# for {}: {}\n", layers(found), found.evidence.join("; "));
    }
    let (job, pressure) = (&profile.job, &profile.pressure);
    page.line("", "name", profile.name.clone());
    page.section("budget", &[("reserve", profile.reserve.to_string())], &profile.budget);
    let job_lines = [
        ("nofile", job.nofile.map_or("inherit".to_owned(), |count| count.to_string())),
        ("oom_score_adj", job.oom_score_adj.to_string()),
        ("timeout", or_none(job.timeout)),
        ("slow_after", or_none(job.slow_after)),
        ("idle_timeout", or_none(job.idle_timeout)),
        ("on_timeout", job.on_timeout.as_ref().map_or("none".to_owned(), look)),
        ("grace", format_duration(job.grace).to_string()),
        ("retries", retries(&job.retry)),
        ("retry_on", format!("[{}]", causes(&job.retry.on).join(", "))),
        ("flaky_result", if job.flaky_result == FlakyResult::Pass { "pass" } else { "fail" }.to_owned()),
        ("leak", if job.leak == LeakPolicy::Warn { "warn" } else { "fail" }.to_owned()),
        ("no_new_privs", job.no_new_privs.to_string()),
        ("capabilities", if job.drop_capabilities { "drop" } else { "keep" }.to_owned()),
    ];
    page.section("job", &job_lines, &job.limits);
    page.heading("jobs");
    page.line("jobs", "min", profile.jobs.min.to_string());
    page.line("jobs", "max", profile.jobs.max.to_string());
    if profile.jobs.idle_max > profile.jobs.max {
        let _ =
            writeln!(page.text, "  # and up to {} while these leave processors idle", profile.jobs.idle_max);
    }
    page.heading("pressure");
    for (key, value) in [("yellow", pressure.yellow), ("orange", pressure.orange), ("red", pressure.red)] {
        page.line("pressure", key, format!("{value}%"));
    }
    page.line("pressure", "stall", format!("{}%", pressure.stall));
    page.line("", "protect", format!("[{}]", profile.protect.join(", ")));
    page.line("", "run_timeout", or_none(profile.run_timeout));
    page.line("", "settle_timeout", format_duration(profile.settle_timeout).to_string());
    if !profile.groups.is_empty() {
        page.heading("groups");
    }
    for (name, count) in &profile.groups {
        page.line("groups", name, count.to_string());
    }
    page.rules(&chosen.rules);
    page.text
}

fn or_none(time: Option<Duration>) -> String {
    time.map_or("none".to_owned(), |time| format_duration(time).to_string())
}

/// `{command: "gdb -p '{pid}'", limit: 10s}`
fn look(look: &OnTimeout) -> String {
    let command = serde_json::Value::from(shell_words::join(&look.command));
    format!("{{command: {command}, limit: {}}}", format_duration(look.limit))
}

fn retries(retry: &Retry) -> String {
    if *retry == (Retry { count: retry.count, on: retry.on, ..Retry::NEVER }) {
        return retry.count.to_string();
    }
    let backoff = if retry.backoff == Backoff::Fixed { "fixed" } else { "exponential" };
    let (delay, max_delay) = (format_duration(retry.delay), format_duration(retry.max_delay));
    let (count, jitter) = (retry.count, retry.jitter);
    format!(
        "{{count: {count}, delay: {delay}, backoff: {backoff}, jitter: {jitter}, max_delay: {max_delay}}}"
    )
}

fn causes(on: &RetryOn) -> Vec<&'static str> {
    let all = [
        (on.fail, "fail"),
        (on.timeout, "timeout"),
        (on.signal, "signal"),
        (on.oom, "oom"),
        (on.leak, "leak"),
    ];
    all.into_iter().filter(|(on, _)| *on).map(|(_, name)| name).collect()
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

    /// In the order in which they are asked, each with its place.
    fn rules(&mut self, rules: &Rules) {
        let shown = rules.shown();
        if !shown.is_empty() {
            self.heading("rules");
        }
        for rule in shown {
            for (number, (key, value)) in rule.pairs.iter().enumerate() {
                let _ = match number {
                    0 => {
                        let pair = format!("  - {key}: {value}");
                        writeln!(self.text, "{pair:32}  # {}:{}", rule.at.file, rule.at.line)
                    }
                    _ => writeln!(self.text, "    {key}: {value}"),
                };
            }
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
        let chosen = choose("auto", &wsl2(), &SearchPlaces::default()).unwrap();
        assert_eq!(chosen.profile.name, "wsl2");
        assert_eq!(chosen.profile.jobs.max, 6, "half of 12 CPUs");
        let text = resolved(&chosen);
        let first = text.lines().next().unwrap();
        assert_eq!(first, "# for WSL2: /proc/sys/kernel/osrelease says 6.6.87.2-microsoft-standard-WSL2");
        assert!(text.contains("  memory_max: 9.6 GiB             # built-in wsl2.yaml:7: 60%\n"), "{text}");
        assert!(text.contains(": 50%\n  # and up to 24 while these leave processors idle\n"), "{text}");
    }

    #[test]
    fn what_is_shown_resolved_is_a_profile_again() {
        let folder = tempfile::tempdir().unwrap();
        for (name, _) in BUILT_IN {
            let chosen = choose(name, &wsl2(), &SearchPlaces::default()).unwrap();
            let path = folder.path().join(format!("{name}.yaml"));
            std::fs::write(&path, resolved(&chosen)).unwrap();
            let again = choose(path.to_str().unwrap(), &wsl2(), &SearchPlaces::default()).unwrap().profile;
            assert_eq!(again.job.limits.pids_max, chosen.profile.job.limits.pids_max, "{name}");
            assert_eq!(again.jobs.max, chosen.profile.jobs.max, "{name}");
            assert_eq!((again.job.timeout, again.run_timeout), (chosen.profile.job.timeout, None), "{name}");
        }
    }

    const EVERYTHING: &str = "run_timeout: 2h
groups: {gpu: 2}
job:
  on_timeout: {command: \"gdb -p {pid}\", limit: 5s}
  retries: {count: 2, delay: 1s, backoff: exponential}
  retry_on: [fail, oom]
  leak: fail
rules:
  - {match: ['*a b*', '/^x$/'], env: {V: 1.10}, groups: [gpu]}
";

    #[test]
    fn rules_and_groups_are_shown_with_their_places_and_can_be_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mine.yaml");
        std::fs::write(&path, EVERYTHING).unwrap();
        let project = folder.path().join("sandtest.yaml");
        std::fs::write(&project, "rules:\n  - match: \"near*\"\n    weight: 3\n").unwrap();
        let places = SearchPlaces { project: Some(project.clone()), ..SearchPlaces::default() };
        let chosen = choose(path.to_str().unwrap(), &wsl2(), &places).unwrap();
        let text = resolved(&chosen).replace(folder.path().to_str().unwrap(), "");
        let shown = &text[text.find("groups:").unwrap()..];
        insta::assert_snapshot!(shown, @r#"
        groups:
          gpu: 2                          # /mine.yaml:2: 2
        rules:
          - match: "near*"                # /sandtest.yaml:2
            weight: 3
          - match: ["*a b*","/^x$/"]      # /mine.yaml:9
            env: {"V":"1.10"}
            groups: ["gpu"]
        "#);
        assert!(text.contains(
            "  retries: {count: 2, delay: 1s, backoff: exponential, jitter: false, max_delay: 1m}"
        ));

        let copy = folder.path().join("copy.yaml");
        std::fs::write(&copy, &text).unwrap();
        let again = choose(copy.to_str().unwrap(), &wsl2(), &SearchPlaces::default()).unwrap();
        for name in ["near", "a b", "x"] {
            assert_eq!(again.rules.of(name), chosen.rules.of(name), "{name}");
        }
        assert_eq!(again.profile.groups, chosen.profile.groups);
        assert_eq!(again.rules.of("x").environment, [("V".to_owned(), "1.10".to_owned())]);
    }

    #[test]
    fn a_projects_file_is_checked_as_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sandtest.yaml");
        let checked = || {
            check(path.to_str().unwrap(), &wsl2(), SearchPlaces::default())
                .map(|_| ())
                .map_err(|e| e.to_string())
        };
        assert!(checked().unwrap_err().starts_with("read "));
        std::fs::write(&path, "groups: {a: 1}\nrules: [{match: x, groups: [a]}]\n").unwrap();
        assert_eq!(checked(), Ok(()));
        std::fs::write(&path, "job: {grace: 2s}\n").unwrap();
        assert!(
            checked().unwrap_err().contains("sandtest.yaml:1:1: unknown key \"job\""),
            "{checked:?}",
            checked = checked()
        );
    }

    #[test]
    fn the_list_marks_the_one_for_this_environment() {
        let text = listed(&SearchPlaces::default(), &detect(&wsl2()));
        let marked: Vec<&str> = text.lines().filter(|line| line.starts_with("* ")).collect();
        assert!(marked[0].starts_with("* wsl2       built-in wsl2.yaml       Linux under Windows"), "{text}");
        assert!(marked[1].starts_with("* for this environment, WSL2: /proc/sys"), "{text}");
    }
}
