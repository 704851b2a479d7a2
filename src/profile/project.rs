//! The project's own file: rules and groups that belong to its tests, wherever they run.

use std::path::Path;

use serde::Deserialize;

use super::error::ProfileError;
use super::file::{parse_as, present};
use super::find::is_absence;
use super::groups::Groups;
use super::keys;
use super::rule::Rule;
use super::source::{Home, Source};

/// What it is called, in the working directory.
pub const FILE: &str = "sandtest.yaml";

/// The file as written.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, expecting = "the keys `groups:` and `rules:`")]
pub struct ProjectFile {
    /// Things that its jobs share.
    #[serde(default, deserialize_with = "present")]
    pub groups: Option<Groups>,
    /// What holds for jobs of certain names.
    #[serde(default, deserialize_with = "present")]
    pub rules: Option<Vec<Rule>>,
}

/// A name that others give such files. What stands in it was meant to hold.
const MISNAMED: &str = "sandtest.yml";

/// Whether a path names a project's file rather than a profile.
pub fn is_project(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == FILE)
}

/// Reads the file, if it is there.
pub(super) fn read(path: &Path) -> Result<Option<(Source, ProjectFile)>, ProfileError> {
    let misnamed = path.with_file_name(MISNAMED);
    if misnamed.symlink_metadata().is_ok() {
        return Err(ProfileError::ProjectMisnamed { path: misnamed });
    }
    let source = match Source::read(path, Home::Path) {
        // A link to nothing is no absence.
        Err(ProfileError::Read { source, .. }) if is_absence(&source) && path.symlink_metadata().is_err() => {
            return Ok(None);
        }
        source => source?,
    };
    let file = parse_as(&source, keys::PROJECT, "rules: []")?;
    Ok(Some((source, file)))
}
