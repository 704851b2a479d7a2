//! The rules in force, and what they come to for one job.
//!
//! ```text
//! command line ─▶ rules of sandtest.yaml ─▶ rules of the profile ─▶ rules of what it extends ─▶ `job:`
//!                 of each single setting the first that says something decides; env and groups are joined
//! ```
//!
//! Percentages are resolved last: `memory_high: 80%` of one rule is of the `memory_max` of another.

use std::collections::{BTreeMap, BTreeSet};

use super::error::ProfileError;
use super::file::JobSection;
use super::inherit::{Loaded, over_job};
use super::locate::{Step, locate};
use super::place::Place;
use super::resolve::{self, Frame, ResolvedInputs};
use super::rule::Rule;
use super::source::{Home, Source};
use crate::model::Bytes;
use crate::model::nearest::nearest;
use crate::model::profile::{JobSettings, Origin};

/// All rules, nearest first, with what they stand on.
#[derive(Debug, Clone)]
pub struct Rules {
    rules: Vec<Placed>,
    /// Where each of them stands.
    origins: Vec<Origin>,
    sources: Vec<Source>,
    options: JobSection,
    job: JobSection,
    frame: Frame,
}

/// A rule and the file that has it.
#[derive(Debug, Clone)]
pub(super) struct Placed {
    pub rule: Rule,
    /// Of [`Loaded::chain`].
    pub source: usize,
    /// In that file, from 0.
    pub number: usize,
}

/// What holds for one job.
#[derive(Debug, Clone, PartialEq)]
pub struct Ruled {
    /// Of each of its attempts.
    pub settings: JobSettings,
    /// Added to its environment.
    pub environment: Vec<(String, String)>,
    /// The memory that it is said to need.
    pub memory: Option<Bytes>,
    /// Whether it may be killed to make room, if a rule says.
    pub restartable: Option<bool>,
    /// How many jobs it counts for.
    pub weight: u32,
    /// Of each of which it takes one.
    pub groups: Vec<String>,
    /// The rule that set a key: `job.timeout` -> where.
    pub origins: BTreeMap<String, Origin>,
}

/// Whether a section sets a key.
type Sets = fn(&JobSection) -> bool;

/// Keys of which reports say who set them.
const TOLD: [(&str, Sets); 5] = [
    ("job.memory_max", |job| job.memory_max.is_some()),
    ("job.pids_max", |job| job.pids_max.is_some()),
    ("job.cpu_max", |job| job.cpu_max.is_some()),
    ("job.timeout", |job| job.timeout.is_some()),
    ("job.idle_timeout", |job| job.idle_timeout.is_some()),
];

/// A rule as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Its file and line.
    pub at: Box<Place>,
    /// Its keys and values as flow YAML, `match` first.
    pub pairs: Vec<(String, String)>,
}

/// A rule that no job fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmatched {
    /// Where it stands.
    pub at: Box<Place>,
    /// Its patterns, in quotes.
    pub patterns: String,
}

/// The rules of a profile and its project. A group that nobody declared is an error with its place.
pub fn rules(loaded: &Loaded, host: &ResolvedInputs) -> Result<Rules, ProfileError> {
    for placed in &loaded.rules {
        for (number, name) in placed.rule.says.groups.iter().flatten().enumerate() {
            if !loaded.groups.contains_key(&name.0) {
                let steps =
                    [Step::Key("rules"), Step::Item(placed.number), Step::Key("groups"), Step::Item(number)];
                let declared: Vec<String> = loaded.groups.keys().cloned().collect();
                return Err(ProfileError::UnknownGroup {
                    at: locate(&loaded.chain[placed.source], &steps),
                    nearest: nearest(&name.0, declared.iter().map(String::as_str)).map(str::to_owned),
                    name: name.0.clone(),
                    declared,
                });
            }
        }
    }
    let origin = |placed: &Placed| {
        let place = place(&loaded.chain, placed);
        Origin { file: place.file.clone(), line: place.line, text: place.text.trim().to_owned() }
    };
    Ok(Rules {
        origins: loaded.rules.iter().map(origin).collect(),
        rules: loaded.rules.clone(),
        sources: loaded.chain.clone(),
        options: loaded.options.clone(),
        job: loaded.settings.job.clone().unwrap_or_default(),
        frame: Frame::of(loaded, host)?,
    })
}

impl Rules {
    /// What holds for the job of this name.
    pub fn of(&self, name: &str) -> Ruled {
        let (mut section, mut origins) = (self.options.clone(), BTreeMap::new());
        let (mut memory, mut restartable, mut weight) = (None, None, None);
        let (mut environment, mut groups) = (BTreeMap::new(), BTreeSet::new());
        let placed = self.rules.iter().map(|placed| &placed.rule).zip(&self.origins);
        for (rule, origin) in placed.filter(|(rule, _)| rule.matches.is_match(name)) {
            let says = &rule.says;
            for (key, _) in TOLD.iter().filter(|(_, has)| has(&says.job) && !has(&section)) {
                origins.insert((*key).to_owned(), origin.clone());
            }
            section = over_job(section, says.job.clone());
            memory = memory.or(says.memory.map(|need| need.0));
            restartable = restartable.or(says.restartable.map(|switch| switch.0));
            weight = weight.or(says.weight.map(|weight| weight.0));
            for (name, value) in says.env.iter().flat_map(|variables| &variables.0) {
                environment.entry(name.clone()).or_insert_with(|| value.clone());
            }
            groups.extend(says.groups.iter().flatten().map(|name| name.0.clone()));
        }
        Ruled {
            settings: resolve::job(over_job(section, self.job.clone()), &self.frame),
            environment: environment.into_iter().collect(),
            memory,
            restartable,
            weight: weight.unwrap_or(1),
            groups: groups.into_iter().collect(),
            origins,
        }
    }

    /// The rules of the user's files that fit none of these names. What is built in is for everyone's jobs.
    pub fn unmatched<'a>(&'a self, names: &'a [String]) -> impl Iterator<Item = Unmatched> + 'a {
        let own = self.rules.iter().filter(|placed| self.sources[placed.source].home != Home::BuiltIn);
        own.filter(|placed| !names.iter().any(|name| placed.rule.matches.is_match(name)))
            .map(|placed| Unmatched { at: self.place(placed), patterns: placed.rule.matches.to_string() })
    }

    /// All rules, in the order in which they are asked.
    pub fn shown(&self) -> Vec<Shown> {
        self.rules.iter().map(|placed| Shown { at: self.place(placed), pairs: self.pairs(placed) }).collect()
    }

    fn place(&self, placed: &Placed) -> Box<Place> {
        place(&self.sources, placed)
    }

    /// Read from the file once more: JSON is what YAML takes in a line.
    fn pairs(&self, placed: &Placed) -> Vec<(String, String)> {
        let text = &self.sources[placed.source].text;
        let written = serde_yaml::from_str::<serde_json::Value>(text).unwrap_or_default();
        let rule = written["rules"][placed.number].as_object().cloned().unwrap_or_default();
        let (first, others): (Vec<_>, Vec<_>) = rule.into_iter().partition(|(key, _)| key == "match");
        let value = |key: &str, value: serde_json::Value| match &placed.rule.says.env {
            // A value such as 1.10 is text to a job, and a number to the reader above.
            Some(variables) if key == "env" => serde_json::json!(variables.0).to_string(),
            _ => value.to_string(),
        };
        first.into_iter().chain(others).map(|(key, written)| (key.clone(), value(&key, written))).collect()
    }
}

fn place(sources: &[Source], placed: &Placed) -> Box<Place> {
    locate(&sources[placed.source], &[Step::Key("rules"), Step::Item(placed.number)])
}
