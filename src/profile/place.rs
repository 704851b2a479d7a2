//! A place in a file, shown the way a compiler shows it: file:line:column, the line, a caret.

use std::fmt;

use crate::model::text::acts;

/// Longest part of a line that is shown, in characters.
const SHOWN: usize = 100;

/// Where in which file a mistake stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file as the user knows it: a path, or `built-in wsl2.yaml`.
    pub file: String,
    /// 1-based.
    pub line: usize,
    /// 1-based, in characters.
    pub column: usize,
    /// The whole line.
    pub text: String,
}

impl Place {
    /// The place in `text`, moved to the last character of the text where it lies behind the end.
    pub fn new(file: &str, text: &str, line: usize, column: usize) -> Place {
        let lines: Vec<&str> = text.lines().collect();
        let inside = line.clamp(1, lines.len().max(1));
        let shown = lines.get(inside - 1).copied().unwrap_or_default();
        let end = shown.chars().count() + 1;
        let column = if inside < line { end } else { column.clamp(1, end) };
        Place { file: file.to_owned(), line: inside, column, text: shown.to_owned() }
    }

    /// The line with its number, and below it the caret.
    pub fn snippet(&self) -> String {
        // A long line is shown around its caret.
        let skipped = self.column.saturating_sub(SHOWN * 2 / 3);
        let shown: Vec<char> = self.text.chars().skip(skipped).take(SHOWN).map(harmless).collect();
        let line: String = shown.iter().collect();
        let before = self.column - 1 - skipped;
        let pad: String = shown.iter().take(before).map(|c| if is_wide(*c) { "  " } else { " " }).collect();
        let margin = " ".repeat(self.line.to_string().len());
        format!("  {} | {}\n  {margin} | {pad}^", self.line, line.trim_end())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// What a terminal would act upon is not passed on to it.
fn harmless(c: char) -> char {
    match c {
        '\t' => ' ',
        c if acts(c) => char::REPLACEMENT_CHARACTER,
        c => c,
    }
}

/// Whether a terminal gives it two cells: East Asian scripts and emoji, roughly.
fn is_wide(c: char) -> bool {
    matches!(c as u32, 0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f | 0xff00..=0xff60 | 0x1f300..=0x1faff | 0x20000..=0x3fffd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_below_the_character() {
        let place = Place::new("p.yaml", "a: 1\njob: 2\n", 2, 6);
        assert_eq!(place.to_string(), "p.yaml:2:6");
        assert_eq!(place.snippet(), "  2 | job: 2\n    |      ^");
    }

    #[test]
    fn wide_characters_move_the_caret_by_two_cells() {
        let place = Place::new("p.yaml", "名: x", 1, 4);
        assert_eq!(place.snippet(), "  1 | 名: x\n    |     ^");
    }

    #[test]
    fn a_place_behind_the_end_is_the_end() {
        let place = Place::new("p.yaml", "a: \"b\n", 9, 1);
        assert_eq!((place.line, place.column), (1, 6));
        assert_eq!(Place::new("p.yaml", "", 3, 3).to_string(), "p.yaml:1:1");
    }

    #[test]
    fn a_line_of_a_megabyte_is_cut_around_the_caret() {
        let place = Place::new("p.yaml", &"x".repeat(1 << 20), 1, 500_000);
        let snippet = place.snippet();
        assert!(snippet.len() < 300, "{}", snippet.len());
        assert!(snippet.lines().nth(1).unwrap().trim_end().len() <= SHOWN + 10);
    }

    #[test]
    fn escape_sequences_do_not_reach_the_terminal() {
        assert!(!Place::new("p.yaml", "a: \x1b[31m", 1, 4).snippet().contains('\x1b'));
    }
}
