//! A name in a filter: `~contains`, `=equal`, `/regex/`, `#glob`.

use globset::{GlobBuilder, GlobMatcher};
use regex::{Regex, RegexBuilder};

/// A compiled pattern is no larger; what is was not written by hand.
const LARGEST: usize = 1 << 20;

/// A glob is no longer than this, in bytes: its compiled form grows with it.
const LONGEST_GLOB: usize = 4096;

/// What a name is held against.
#[derive(Debug, Clone)]
pub enum Matcher {
    /// It stands in the name.
    Contains(String),
    /// It is the name.
    Equal(String),
    /// Some part of the name is like that.
    Regex(Regex),
    /// The whole name is like that.
    Glob(GlobMatcher),
}

impl Matcher {
    /// `/regex/`.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn regex(text: &str) -> Result<Matcher, String> {
        let regex = RegexBuilder::new(text).size_limit(LARGEST).dfa_size_limit(LARGEST).build();
        regex.map(Matcher::Regex).map_err(|error| match error {
            // The last line is the reason; those before draw the pattern.
            regex::Error::Syntax(message) => {
                let reason = message.lines().last().unwrap_or_default();
                format!("no regular expression: {}", reason.strip_prefix("error: ").unwrap_or(reason))
            }
            _ => "this regular expression is too large when compiled".to_owned(),
        })
    }

    /// `#glob`: `*`, `?`, `[ab]`, `{a,b}`; a name is no path, so `*` takes slashes too.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn glob(text: &str) -> Result<Matcher, String> {
        if text.len() > LONGEST_GLOB {
            return Err(format!("this glob is longer than {LONGEST_GLOB} bytes"));
        }
        let glob = GlobBuilder::new(text).literal_separator(false).backslash_escape(false).build();
        glob.map(|glob| Matcher::Glob(glob.compile_matcher()))
            .map_err(|error| format!("no glob: {}", error.kind()))
    }

    /// Whether a name is like that.
    pub fn fits(&self, name: &str) -> bool {
        match self {
            Matcher::Contains(part) => name.contains(part.as_str()),
            Matcher::Equal(whole) => name == whole,
            Matcher::Regex(regex) => regex.is_match(name),
            Matcher::Glob(glob) => glob.is_match(name),
        }
    }
}
