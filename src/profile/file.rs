//! A profile as one file says it: every key optional, nothing resolved, unknown keys refused.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use super::ending::{Flaky, Leak, Look, Patience, Retries, RetryCause};
use super::error::ProfileError;
use super::groups::Groups;
use super::keys;
use super::place::Place;
use super::rule::Rule;
use super::source::Source;
use super::values::{
    Capabilities, Cpu, Grace, JobCount, Name, Nofile, OomScoreAdj, Percent, Pids, Reserve, Size, Swap,
    Switch, Timeout,
};

/// A profile of sandtest: what an environment's tests may use. A key that is absent comes from `extends`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a profile with keys such as `extends:`, `budget:` and `job:`")]
pub struct ProfileFile {
    /// The name that reports show. The file's own name without `.yaml` unless written; in a profile folder
    /// it must be that.
    #[serde(default, deserialize_with = "present")]
    pub name: Option<Name>,
    /// The profile that gives what is absent here: a name, or a path relative to this file. `native` unless
    /// written.
    #[serde(default, deserialize_with = "present")]
    pub extends: Option<Name>,
    /// What all jobs together may use.
    #[serde(default)]
    pub budget: Option<BudgetSection>,
    /// What one attempt of a job may use, and how it is run.
    #[serde(default)]
    pub job: Option<JobSection>,
    /// How many jobs run at once when `-j` is not given.
    #[serde(default)]
    pub jobs: Option<JobsSection>,
    /// Where free memory changes what runs, in percent of visible memory.
    #[serde(default)]
    pub pressure: Option<PressureSection>,
    /// What belongs to the editor: names of processes, or cgroups, which have a slash and may have `*`.
    #[serde(default, deserialize_with = "present")]
    pub protect: Option<Vec<Name>>,
    /// How long the whole run may take, or `none`.
    #[serde(default, deserialize_with = "present")]
    pub run_timeout: Option<Timeout>,
    /// How long a retry waits for the job's last attempt to be gone.
    #[serde(default, deserialize_with = "present")]
    pub settle_timeout: Option<Patience>,
    /// Things that jobs share, and how many of each there are. Joined with those of `extends`, name by name.
    #[serde(default, deserialize_with = "present")]
    pub groups: Option<Groups>,
    /// What holds for jobs of certain names; of each setting the first rule that fits decides. Those of `extends`
    /// come after these.
    #[serde(default, deserialize_with = "present")]
    pub rules: Option<Vec<Rule>>,
}

/// The limits of the cgroup around the whole run.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "the limits of a run, such as `memory_max: 60%`")]
pub struct BudgetSection {
    /// Memory of all jobs together: a size, a percentage of visible memory, or `max`. Never more than visible
    /// memory less `reserve`, unless `max`.
    #[serde(default, deserialize_with = "present")]
    pub memory_max: Option<Size>,
    /// Memory that is never given to tests: a size, a percentage of visible memory, or `auto`: what the processes
    /// under `protect` use now, and a little for them to grow.
    #[serde(default, deserialize_with = "present")]
    pub reserve: Option<Reserve>,
    /// Above it all jobs are slowed and reclaimed from: a size, a percentage of `memory_max` beside it, or
    /// `max`.
    #[serde(default, deserialize_with = "present")]
    pub memory_high: Option<Size>,
    /// Swap of all jobs together: a size, or `max`.
    #[serde(default, deserialize_with = "present")]
    pub memory_swap_max: Option<Swap>,
    /// Processes and threads of all jobs together, or `max`.
    #[serde(default, deserialize_with = "present")]
    pub pids_max: Option<Pids>,
    /// CPUs of all jobs together: `1.5` or `150%`, or `max`.
    #[serde(default, deserialize_with = "present")]
    pub cpu_max: Option<Cpu>,
}

/// The limits of one attempt's own cgroup, and how it is run.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "the limits of a job, such as `memory_max: 2GiB`")]
pub struct JobSection {
    /// Memory: a size, a percentage of the budget's `memory_max`, or `max`. Never more than the budget's.
    #[serde(default, deserialize_with = "present")]
    pub memory_max: Option<Size>,
    /// Above it the job is slowed and reclaimed from: a size, a percentage of `memory_max` beside it, or
    /// `max`.
    #[serde(default, deserialize_with = "present")]
    pub memory_high: Option<Size>,
    /// Swap: a size, or `max`.
    #[serde(default, deserialize_with = "present")]
    pub memory_swap_max: Option<Swap>,
    /// Processes and threads, or `max`.
    #[serde(default, deserialize_with = "present")]
    pub pids_max: Option<Pids>,
    /// CPUs: `1.5` or `150%`, or `max`.
    #[serde(default, deserialize_with = "present")]
    pub cpu_max: Option<Cpu>,
    /// Open files (`RLIMIT_NOFILE`, soft), or `inherit`.
    #[serde(default, deserialize_with = "present")]
    pub nofile: Option<Nofile>,
    /// How much sooner than others the kernel takes a test when memory runs out.
    #[serde(default, deserialize_with = "present")]
    pub oom_score_adj: Option<OomScoreAdj>,
    /// How long an attempt may run, or `none`.
    #[serde(default, deserialize_with = "present")]
    pub timeout: Option<Timeout>,
    /// An attempt that runs longer is told of, once in each such period; or `none`.
    #[serde(default, deserialize_with = "present")]
    pub slow_after: Option<Timeout>,
    /// How long an attempt may use no processor and write nothing, or `none`.
    #[serde(default, deserialize_with = "present")]
    pub idle_timeout: Option<Timeout>,
    /// Run when an attempt's time is up, before any signal: a command in which `{pid}` is its first process, a map
    /// `{command, limit}`, or `none`.
    #[serde(default, deserialize_with = "present")]
    pub on_timeout: Option<Look>,
    /// Time between the stop signal and the kill.
    #[serde(default, deserialize_with = "present")]
    pub grace: Option<Grace>,
    /// Further attempts of a job that failed: a number, or a map with `count`, `delay`, `backoff`, `jitter` and
    /// `max_delay`.
    #[serde(default, deserialize_with = "present")]
    pub retries: Option<Retries>,
    /// The failures that are tried again.
    #[serde(default, deserialize_with = "present")]
    pub retry_on: Option<Vec<RetryCause>>,
    /// What a job that failed and then passed counts as.
    #[serde(default, deserialize_with = "present")]
    pub flaky_result: Option<Flaky>,
    /// What is made of things that a job leaves behind.
    #[serde(default, deserialize_with = "present")]
    pub leak: Option<Leak>,
    /// Whether setuid programs lose their powers in jobs: sudo, ping, fusermount.
    #[serde(default, deserialize_with = "present")]
    pub no_new_privs: Option<Switch>,
    /// Whether jobs keep root's capabilities.
    #[serde(default, deserialize_with = "present")]
    pub capabilities: Option<Capabilities>,
}

/// Bounds of the number of jobs at once.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "bounds such as `{min: 1, max: 50%}`")]
pub struct JobsSection {
    /// Never fewer: a number, or a percentage of the logical CPUs.
    #[serde(default, deserialize_with = "present")]
    pub min: Option<JobCount>,
    /// Never more: a number, or a percentage of the logical CPUs. Beyond a percentage more jobs run while those that
    /// run leave processors idle, up to four times as many.
    #[serde(default, deserialize_with = "present")]
    pub max: Option<JobCount>,
}

/// Lines of free memory, each below the one before.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "lines such as `{yellow: 20%, orange: 12%, red: 8%}`")]
pub struct PressureSection {
    /// Below it nothing new starts.
    #[serde(default, deserialize_with = "present")]
    pub yellow: Option<Percent>,
    /// Below it the newest jobs are frozen.
    #[serde(default, deserialize_with = "present")]
    pub orange: Option<Percent>,
    /// Below it one job is evicted, to run again later.
    #[serde(default, deserialize_with = "present")]
    pub red: Option<Percent>,
    /// Nothing new starts while memory, disks or, for the editor, processors are waited for more than this part of
    /// the time (pressure stall information).
    #[serde(default, deserialize_with = "present")]
    pub stall: Option<Percent>,
}

/// A key that is written has a value: `memory_max:` alone is a mistake, not an absence.
pub(super) fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// No profile has a bracket in a bracket in a bracket.
const DEEPEST: usize = 64;

/// Where open brackets become too many: for these the parser takes quadratic time, a minute for 60 KiB.
fn too_deep(text: &str) -> Option<(usize, usize)> {
    let mut depth = 0usize;
    for (number, line) in text.lines().enumerate().filter(|(_, line)| has_content(line)) {
        for (column, c) in line.chars().enumerate() {
            match c {
                '[' | '{' => depth += 1,
                ']' | '}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth > DEEPEST {
                return Some((number + 1, column + 1));
            }
        }
    }
    None
}

/// Reads one profile's text.
pub fn parse(source: &Source) -> Result<ProfileFile, ProfileError> {
    parse_as(source, keys::PROFILE, "extends: native")
}

/// Reads one file's text. The keys come first, so that a slip in a key is told as that.
pub(super) fn parse_as<T: DeserializeOwned>(
    source: &Source,
    root: &'static str,
    such_as: &'static str,
) -> Result<T, ProfileError> {
    if !source.text.lines().any(has_content) {
        return Err(ProfileError::Empty { at: source.place(1, 1), such_as });
    }
    if let Some((line, column)) = too_deep(&source.text) {
        let message =
            format!("brackets within brackets, {DEEPEST} deep; expected at most `{{min: 1, max: 50%}}`");
        return Err(ProfileError::Value { at: source.place(line, column), message });
    }
    keys::check(source, root)?;
    serde_yaml::from_str(&source.text).map_err(|error| syntax(source, &error))
}

/// The parser's error with its place, and without the place in its words.
pub(super) fn syntax(source: &Source, error: &serde_yaml::Error) -> ProfileError {
    let text = error.to_string();
    if text.contains("more than one document") {
        return ProfileError::SecondDocument { at: second_document(source) };
    }
    let at = match error.location() {
        Some(location) => source.place(location.line(), location.column()),
        None => source.place(1, 1),
    };
    // Its column counts from the parser's mark; what matters here is the line that it stopped at.
    let tab = at.text.chars().take_while(|c| c.is_whitespace()).position(|c| c == '\t');
    if let Some(tab) = tab {
        let at = source.place(at.line, tab + 1);
        let message = "a tab is used to indent; expected spaces, the only indentation of YAML".to_owned();
        return ProfileError::Value { at, message };
    }
    let mut message = shortened(&without_place(&text));
    if message == "unknown anchor" || message.contains("while scanning an alias") {
        message += "; expected quotes around a text that begins with *";
    }
    ProfileError::Value { message, at }
}

/// The first `---` that has something before it.
fn second_document(source: &Source) -> Box<Place> {
    let mut begun = false;
    for (number, line) in source.text.lines().enumerate() {
        if line == "---" || line.starts_with("--- ") {
            if begun {
                return source.place(number + 1, 1);
            }
            begun = true;
        }
        begun |= has_content(line) && !line.starts_with('%');
    }
    source.place(1, 1)
}

fn has_content(line: &str) -> bool {
    let line = line.trim_start_matches('\u{feff}').trim();
    !line.is_empty() && !line.starts_with('#') && line != "---" && line != "..."
}

/// What is quoted in a message may be as long as the file: its middle is left out.
pub(super) fn shortened(text: &str) -> String {
    let length = text.chars().count();
    if length <= 600 {
        return text.to_owned();
    }
    let (head, tail): (String, String) =
        (text.chars().take(200).collect(), text.chars().skip(length - 200).collect());
    format!("{head}…{tail}")
}

/// The message without the first place in it, which is the error's own; a second one says where the trouble began.
fn without_place(message: &str) -> String {
    let Some(begin) = [" at line ", " at position "].iter().filter_map(|words| message.find(words)).min()
    else {
        return message.to_owned();
    };
    let place = &message[begin + " at ".len()..];
    let rest = place.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == ' ');
    format!("{}{rest}", &message[..begin])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_said_once() {
        for (message, wanted) in [
            ("job.grace: bad at line 3 column 5", "job.grace: bad"),
            (
                "no x at line 3 column 1, while parsing y at line 1 column 1",
                "no x, while parsing y at line 1 column 1",
            ),
            ("bad at position 0", "bad"),
            ("looked at linear things", "looked at linear things"),
        ] {
            assert_eq!(without_place(message), wanted);
        }
    }
}
