//! The text of a profile with the name that the user knows it by, read with care: by size, kind and encoding.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::error::ProfileError;
use super::place::Place;

/// No profile that a person wrote is larger.
pub const LARGEST: u64 = 64 << 10;

/// Where a profile was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Home {
    /// In the search path's folder of this number.
    Folder(usize),
    /// Named by its path.
    Path,
    /// In the binary.
    BuiltIn,
}

/// One profile file, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The name of the file without `.yaml`.
    pub stem: String,
    /// The file as the user knows it: a path, or `built-in wsl2.yaml`.
    pub label: String,
    /// Where it is, unless in the binary.
    pub path: Option<PathBuf>,
    /// How it was found.
    pub home: Home,
    /// All of it.
    pub text: String,
}

impl Source {
    /// Reads a file: a regular one, of at most [`LARGEST`] bytes, in UTF-8.
    pub fn read(path: &Path, home: Home) -> Result<Source, ProfileError> {
        let failed = |source| ProfileError::Read { path: path.to_owned(), source };
        // Before opening: to open a pipe waits for its writer.
        let metadata = fs::metadata(path).map_err(failed)?;
        if !metadata.is_file() {
            return Err(ProfileError::NotAFile { path: path.to_owned() });
        }
        let too_large = |size| ProfileError::TooLarge { path: path.to_owned(), size, cap: LARGEST };
        if metadata.len() > LARGEST {
            return Err(too_large(metadata.len()));
        }
        let mut bytes = Vec::new();
        File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes)).map_err(failed)?;
        // It grew meanwhile, or is a file of /proc that tells no size.
        if bytes.len() as u64 > LARGEST {
            return Err(too_large(bytes.len() as u64));
        }
        let label = path.display().to_string();
        let text = decode(bytes, &label)?;
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(Source { stem, label, path: Some(path.to_owned()), home, text })
    }

    /// A profile that is part of the binary.
    pub fn built_in(stem: &str, text: &str) -> Source {
        let label = format!("built-in {stem}.yaml");
        Source { stem: stem.to_owned(), label, path: None, home: Home::BuiltIn, text: text.to_owned() }
    }

    /// A place in this text.
    pub fn place(&self, line: usize, column: usize) -> Box<Place> {
        Box::new(Place::new(&self.label, &self.text, line, column))
    }

    /// The first line of its first comment.
    pub fn summary(&self) -> &str {
        let comments = self.text.lines().filter_map(|line| line.strip_prefix('#')).map(str::trim);
        comments
            .into_iter()
            .find(|c| !c.is_empty() && !c.starts_with("yaml-language-server"))
            .unwrap_or_default()
    }
}

fn decode(bytes: Vec<u8>, label: &str) -> Result<String, ProfileError> {
    String::from_utf8(bytes).map_err(|error| {
        let (good, bytes) = (error.utf8_error().valid_up_to(), error.as_bytes());
        let before = &bytes[..good];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let begin = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let column = String::from_utf8_lossy(&before[begin..]).chars().count() + 1;
        let hint = match bytes {
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => ", it looks like UTF-16",
            _ => "",
        };
        let text = String::from_utf8_lossy(bytes);
        ProfileError::NotUtf8 { at: Box::new(Place::new(label, &text, line, column)), hint }
    })
}
