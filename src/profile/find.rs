//! Where profiles are: folders in order, then the binary. The first that has the name wins.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::error::ProfileError;
use super::project;
use super::source::{Home, Source};
use crate::model::nearest::nearest;

/// The profiles in the binary.
pub const BUILT_IN: [(&str, &str); 5] = [
    ("native", include_str!("../../profiles/native.yaml")),
    ("wsl2", include_str!("../../profiles/wsl2.yaml")),
    ("distrobox", include_str!("../../profiles/distrobox.yaml")),
    ("container", include_str!("../../profiles/container.yaml")),
    ("ci", include_str!("../../profiles/ci.yaml")),
];

/// The folders to look through before the built-in profiles.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SearchPlaces {
    /// First come, first served.
    pub folders: Vec<PathBuf>,
    /// The project's file, if it is there: rules and groups that come before any profile's.
    pub project: Option<PathBuf>,
}

/// One profile of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// What to ask for.
    pub name: String,
    /// The file as the user knows it.
    pub label: String,
    /// Its first comment, or why it can't be read.
    pub summary: String,
}

impl SearchPlaces {
    /// `./.sandtest/`, `$XDG_CONFIG_HOME/sandtest/`, `/etc/sandtest/`, by this process' environment; and
    /// `sandtest.yaml`.
    pub fn here() -> SearchPlaces {
        SearchPlaces::of(std::env::var_os("XDG_CONFIG_HOME"), std::env::var_os("HOME"))
    }

    /// The same for given variables. As the XDG specification wants it, a relative path counts as unset.
    pub fn of(config_home: Option<OsString>, home: Option<OsString>) -> SearchPlaces {
        let absolute = |value: Option<OsString>| value.map(PathBuf::from).filter(|path| path.is_absolute());
        let config = absolute(config_home).or_else(|| absolute(home).map(|home| home.join(".config")));
        let mut folders = vec![PathBuf::from("./.sandtest")];
        folders.extend(config.map(|config| config.join("sandtest")));
        folders.push(PathBuf::from("/etc/sandtest"));
        SearchPlaces { folders, project: Some(PathBuf::from(project::FILE)) }
    }

    /// The profile of this name, or the file of this path.
    pub fn find(&self, name: &str) -> Result<Source, ProfileError> {
        if is_path(name) {
            return read_path(Path::new(name));
        }
        self.find_from(name, 0)?.ok_or_else(|| self.unknown(name))
    }

    /// Looks for the name from the folder of this number on.
    pub(super) fn find_from(&self, name: &str, first: usize) -> Result<Option<Source>, ProfileError> {
        for (number, folder) in self.folders.iter().enumerate().skip(first) {
            match Source::read(&folder.join(format!("{name}.yaml")), Home::Folder(number)) {
                Err(ProfileError::Read { source, .. }) if is_absence(&source) => {}
                found => return found.map(Some),
            }
        }
        let built_in = BUILT_IN.iter().find(|(stem, _)| *stem == name);
        Ok(built_in.map(|(stem, text)| Source::built_in(stem, text)))
    }

    /// The error for a name that is nowhere.
    pub(super) fn unknown(&self, name: &str) -> ProfileError {
        let found: Vec<String> = list(self).into_iter().map(|listed| listed.name).collect();
        let nearest = nearest(name, found.iter().map(String::as_str)).map(str::to_owned);
        ProfileError::Unknown { name: name.to_owned(), nearest, found, searched: self.folders.clone() }
    }
}

/// All profiles there are, each name once: the one that would be taken. A folder that can't be read has none.
pub fn list(places: &SearchPlaces) -> Vec<Listed> {
    let mut names: BTreeSet<String> = BTreeSet::new();
    for entry in places.folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".yaml").filter(|stem| !stem.is_empty()).map(str::to_owned));
    }
    let own = names.into_iter().filter(|name| !BUILT_IN.iter().any(|(stem, _)| stem == name));
    BUILT_IN
        .iter()
        .map(|(stem, _)| (*stem).to_owned())
        .chain(own)
        .filter_map(|name| match places.find_from(&name, 0) {
            Ok(Some(source)) => {
                Some(Listed { name, summary: source.summary().to_owned(), label: source.label })
            }
            Ok(None) => None,
            Err(error) => Some(Listed { name, label: "?".to_owned(), summary: error.to_string() }),
        })
        .collect()
}

/// The profile in a file that is named by its path.
pub(super) fn read_path(path: &Path) -> Result<Source, ProfileError> {
    // All that it may say is what a profile may say too, and it would be taken twice.
    if project::is_project(path) {
        return Err(ProfileError::IsProject { path: path.to_owned() });
    }
    Source::read(path, Home::Path)
}

/// A name has no slash and no `.yaml`.
pub(super) fn is_path(name: &str) -> bool {
    name.contains('/') || name.ends_with(".yaml") || name.ends_with(".yml")
}

pub(super) fn is_absence(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_path_follows_xdg() {
        let folders = |config: Option<&str>, home: Option<&str>| {
            SearchPlaces::of(config.map(Into::into), home.map(Into::into)).folders
        };
        let wanted = |middle: &[&str]| -> Vec<PathBuf> {
            let all = [&["./.sandtest"], middle, &["/etc/sandtest"]].concat();
            all.into_iter().map(PathBuf::from).collect()
        };
        assert_eq!(folders(Some("/c"), Some("/h")), wanted(&["/c/sandtest"]));
        assert_eq!(folders(None, Some("/h")), wanted(&["/h/.config/sandtest"]));
        assert_eq!(folders(Some("relative"), Some("/h")), wanted(&["/h/.config/sandtest"]));
        assert_eq!(folders(Some(""), None), wanted(&[]));
    }
}
