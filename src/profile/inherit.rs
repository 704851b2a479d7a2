//! A profile with all that it extends: the nearest file that sets a key decides it.
//!
//! ```text
//! ./.sandtest/wsl2.yaml ── extends: wsl2 ──▶ built-in wsl2.yaml ── extends: native ──▶ built-in native.yaml
//!        (its own name: the next one on the search path)        (unless written: native)
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::model::profile::Origin;

use super::error::ProfileError;
use super::file::{self, BudgetSection, JobSection, JobsSection, PressureSection, ProfileFile};
use super::find::{SearchPlaces, is_path, read_path};
use super::groups::Groups;
use super::keys;
use super::locate::{Step, locate};
use super::origins::{self, Spot};
use super::place::Place;
use super::project;
use super::rule::Rule;
use super::rules::Placed;
use super::source::{Home, Source};

/// Extended where nothing is written, so that no limit is absent by oversight.
const ROOT: &str = "native";

/// A profile before it meets a host.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What reports call it.
    pub name: String,
    /// All keys, merged.
    pub settings: ProfileFile,
    /// The files, nearest first.
    pub chain: Vec<Source>,
    /// What the command line says of each job: more than any rule.
    pub options: JobSection,
    /// Keys that the command line sets, and by which option.
    pub set_by: BTreeMap<&'static str, &'static str>,
    /// The rules of all files, in the order in which they are asked.
    pub(super) rules: Vec<Placed>,
    /// The groups of all files.
    pub(super) groups: BTreeMap<String, Group>,
    /// Which file of the chain set a key, and where in it.
    spots: BTreeMap<String, (usize, Spot)>,
}

/// A group and the file that decides it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Group {
    pub count: u32,
    /// Of [`Loaded::chain`].
    pub source: usize,
}

impl Loaded {
    /// What is wrong with a key's value, with who set it: an option, or a place in a file.
    pub(super) fn refuse(&self, key: &str, message: String) -> ProfileError {
        if let Some(option) = self.set_by.get(key) {
            return ProfileError::Option { option, message };
        }
        let at = match self.spots.get(key) {
            Some((source, spot)) => self.chain[*source].place(spot.line, spot.column),
            None => self.chain[0].place(1, 1),
        };
        ProfileError::Value { at, message }
    }

    /// Who set which key.
    pub fn origins(&self) -> BTreeMap<String, Origin> {
        let origin = |(source, spot): &(usize, Spot)| Origin {
            file: self.chain[*source].label.clone(),
            line: spot.line,
            text: spot.text.clone(),
        };
        let is_section = |key: &str| keys::KNOWN.iter().any(|(section, _)| *section == key);
        // Rules and groups are joined, not replaced: each has an origin of its own.
        let is_joined =
            |key: &str| key.starts_with("rules.") || key == "groups" || key.starts_with("groups.");
        let set = self.spots.iter().filter(|(key, _)| !is_section(key) && !is_joined(key));
        let groups = self.groups.iter().map(|(name, group)| {
            let at = locate(&self.chain[group.source], &[Step::Key("groups"), Step::Key(name)]);
            (format!("groups.{name}"), Origin { file: at.file, line: at.line, text: group.count.to_string() })
        });
        let options = self.set_by.iter().map(|(key, option)| {
            let origin = Origin { file: "command line".to_owned(), line: 0, text: (*option).to_owned() };
            ((*key).to_owned(), origin)
        });
        // Of two with the same key the last stays.
        set.map(|(key, at)| (key.clone(), origin(at))).chain(groups).chain(options).collect()
    }

    /// Takes in what is joined rather than replaced: behind what is there already, or, of the project, before it.
    fn join(&mut self, rules: Option<Vec<Rule>>, groups: Option<Groups>, source: usize, first: bool) {
        let new = rules.into_iter().flatten().enumerate();
        let new = new.map(|(number, rule)| Placed { rule, source, number });
        let at = if first { 0 } else { self.rules.len() };
        self.rules.splice(at..at, new);
        for (name, count) in groups.unwrap_or_default().0 {
            let group = Group { count, source };
            if first {
                self.groups.insert(name, group);
            } else {
                self.groups.entry(name).or_insert(group);
            }
        }
    }
}

/// Finds a profile by its name or path, all that it extends, and the project's own rules and groups.
pub fn load(name: &str, places: &SearchPlaces) -> Result<Loaded, ProfileError> {
    let mut loaded = load_chain(name, places)?;
    if let Some((source, file)) = places.project.as_deref().map(project::read).transpose()?.flatten() {
        let number = loaded.chain.len();
        loaded.chain.push(source);
        loaded.join(file.rules, file.groups, number, true);
    }
    Ok(loaded)
}

fn load_chain(name: &str, places: &SearchPlaces) -> Result<Loaded, ProfileError> {
    let mut source = places.find(name)?;
    let mut loaded: Option<Loaded> = None;
    loop {
        let mut file = file::parse(&source)?;
        let (rules, groups) = (file.rules.take(), file.groups.take());
        let spots = origins::scan(&source.text);
        check_name(&file, &source, &spots)?;
        let written = file.extends.as_ref().map(|name| name.0.clone());
        let at_extends = spots.get("extends").map_or((1, 1), |spot| (spot.line, spot.column));
        let at = source.place(at_extends.0, at_extends.1);

        let loaded = match &mut loaded {
            Some(nearer) => {
                nearer.settings = over(std::mem::take(&mut nearer.settings), file);
                nearer
            }
            none => none.insert(Loaded {
                name: file.name.clone().map_or_else(|| source.stem.clone(), |name| name.0),
                settings: file,
                chain: Vec::new(),
                options: JobSection::default(),
                set_by: BTreeMap::new(),
                rules: Vec::new(),
                groups: BTreeMap::new(),
                spots: BTreeMap::new(),
            }),
        };
        let number = loaded.chain.len();
        for (key, spot) in spots {
            loaded.spots.entry(key).or_insert((number, spot));
        }
        loaded.chain.push(source.clone());
        loaded.join(rules, groups, number, false);

        let parent = match written {
            Some(name) => name,
            None if source.stem == ROOT && source.home == Home::BuiltIn => return Ok(loaded.clone()),
            None => ROOT.to_owned(),
        };
        source = find_parent(&parent, &source, places, &at)?;
        if loaded.chain.iter().any(|nearer| nearer.label == source.label) {
            let files = loaded.chain.iter().chain([&source]);
            return Err(ProfileError::Cycle { at, chain: files.map(|file| file.label.clone()).collect() });
        }
    }
}

/// Found under one name and called by another, a profile would be asked for in vain.
fn check_name(
    file: &ProfileFile,
    source: &Source,
    spots: &BTreeMap<String, Spot>,
) -> Result<(), ProfileError> {
    match &file.name {
        Some(name) if name.0 != source.stem && source.home != Home::Path => {
            let (line, column) = spots.get("name").map_or((1, 1), |spot| (spot.line, spot.column));
            let message = format!(
                "name: this profile is found by its file's name, {stem:?}, and calls itself {:?}; expected \
                 `name: {stem}`, or no name",
                name.0,
                stem = source.stem
            );
            Err(ProfileError::Value { at: source.place(line, column), message })
        }
        _ => Ok(()),
    }
}

fn find_parent(
    parent: &str,
    child: &Source,
    places: &SearchPlaces,
    at: &Place,
) -> Result<Source, ProfileError> {
    if is_path(parent) {
        let folder = child.path.as_deref().and_then(Path::parent).map(PathBuf::from).unwrap_or_default();
        return read_path(&folder.join(parent));
    }
    // Its own name is that of the profile it overrides: the next one on the search path.
    let first = match child.home {
        Home::Folder(number) if child.stem == parent => number + 1,
        _ => 0,
    };
    places.find_from(parent, first)?.ok_or_else(|| match places.unknown(parent) {
        ProfileError::Unknown { name, nearest, found, searched } => {
            ProfileError::UnknownParent { at: Box::new(at.clone()), name, nearest, found, searched }
        }
        other => other,
    })
}

/// `near`, with what is absent in it from `far`. Lists are replaced, not joined.
fn over(near: ProfileFile, far: ProfileFile) -> ProfileFile {
    ProfileFile {
        name: near.name,
        extends: near.extends,
        budget: both(near.budget, far.budget, over_budget),
        job: both(near.job, far.job, over_job),
        jobs: both(near.jobs, far.jobs, |near, far| JobsSection {
            min: near.min.or(far.min),
            max: near.max.or(far.max),
        }),
        pressure: both(near.pressure, far.pressure, |near, far| PressureSection {
            yellow: near.yellow.or(far.yellow),
            orange: near.orange.or(far.orange),
            red: near.red.or(far.red),
            stall: near.stall.or(far.stall),
        }),
        protect: near.protect.or(far.protect),
        run_timeout: near.run_timeout.or(far.run_timeout),
        settle_timeout: near.settle_timeout.or(far.settle_timeout),
        // Joined by `Loaded`.
        groups: None,
        rules: None,
    }
}

fn both<T>(near: Option<T>, far: Option<T>, over: impl FnOnce(T, T) -> T) -> Option<T> {
    match (near, far) {
        (Some(near), Some(far)) => Some(over(near, far)),
        (near, far) => near.or(far),
    }
}

fn over_budget(near: BudgetSection, far: BudgetSection) -> BudgetSection {
    BudgetSection {
        memory_max: near.memory_max.or(far.memory_max),
        reserve: near.reserve.or(far.reserve),
        memory_high: near.memory_high.or(far.memory_high),
        memory_swap_max: near.memory_swap_max.or(far.memory_swap_max),
        pids_max: near.pids_max.or(far.pids_max),
        cpu_max: near.cpu_max.or(far.cpu_max),
    }
}

pub(super) fn over_job(near: JobSection, far: JobSection) -> JobSection {
    JobSection {
        memory_max: near.memory_max.or(far.memory_max),
        memory_high: near.memory_high.or(far.memory_high),
        memory_swap_max: near.memory_swap_max.or(far.memory_swap_max),
        pids_max: near.pids_max.or(far.pids_max),
        cpu_max: near.cpu_max.or(far.cpu_max),
        nofile: near.nofile.or(far.nofile),
        oom_score_adj: near.oom_score_adj.or(far.oom_score_adj),
        timeout: near.timeout.or(far.timeout),
        slow_after: near.slow_after.or(far.slow_after),
        idle_timeout: near.idle_timeout.or(far.idle_timeout),
        on_timeout: near.on_timeout.or(far.on_timeout),
        grace: near.grace.or(far.grace),
        retries: near.retries.or(far.retries),
        retry_on: near.retry_on.or(far.retry_on),
        flaky_result: near.flaky_result.or(far.flaky_result),
        leak: near.leak.or(far.leak),
        no_new_privs: near.no_new_privs.or(far.no_new_privs),
        capabilities: near.capabilities.or(far.capabilities),
    }
}
