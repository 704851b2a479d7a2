//! Text with paint on it, and how it is made to fit.

use console::measure_text_width;

/// How a piece of text looks where there are colours. Nothing is said by colour alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Paint {
    /// As it is.
    #[default]
    Plain,
    /// What matters less.
    Dim,
    /// Titles.
    Bold,
    /// All is well.
    Good,
    /// Something is held.
    Held,
    /// Somebody's doing.
    Hand,
    /// Something ends badly.
    Bad,
}

impl Paint {
    /// Parameters of SGR (ECMA-48, 8.3.117).
    fn code(self) -> Option<&'static str> {
        match self {
            Paint::Plain => None,
            Paint::Dim => Some("2"),
            Paint::Bold => Some("1"),
            Paint::Good => Some("32"),
            Paint::Held => Some("33"),
            Paint::Hand => Some("36"),
            Paint::Bad => Some("31;1"),
        }
    }
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Line(Vec<(Paint, String)>);

impl Line {
    /// A line of one piece.
    pub fn of(paint: Paint, text: impl Into<String>) -> Line {
        Line::default().then(paint, text)
    }

    /// With one piece more.
    pub fn then(mut self, paint: Paint, text: impl Into<String>) -> Line {
        self.0.push((paint, text.into()));
        self
    }

    /// Adds one piece more.
    pub fn push(&mut self, paint: Paint, text: impl Into<String>) {
        self.0.push((paint, text.into()));
    }

    /// Columns that it takes.
    pub fn width(&self) -> usize {
        self.0.iter().map(|(_, text)| measure_text_width(text)).sum()
    }

    /// Without paint.
    pub fn plain(&self) -> String {
        self.0.iter().map(|(_, text)| text.as_str()).collect()
    }

    /// As a terminal takes it.
    pub fn painted(&self, colour: bool) -> String {
        let piece = |(paint, text): &(Paint, String)| match paint.code().filter(|_| colour) {
            Some(code) => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            None => text.clone(),
        };
        self.0.iter().map(piece).collect()
    }

    /// With paint gone, and blanks up to this width: fit to be shown in reverse.
    pub fn filled(&self, width: usize) -> String {
        left(&self.plain(), width)
    }
}

/// At the left of so many columns, with its end cut off.
pub fn left(text: &str, width: usize) -> String {
    let text = begin(text, width);
    let blanks = width.saturating_sub(measure_text_width(&text));
    text + &" ".repeat(blanks)
}

/// At the right of so many columns, with its end cut off.
pub fn right(text: &str, width: usize) -> String {
    let text = begin(text, width);
    " ".repeat(width.saturating_sub(measure_text_width(&text))) + &text
}

/// In so many columns; what is longer lacks its middle. The end of a command line tells jobs apart more often than its
/// beginning.
pub fn cut(text: &str, width: usize) -> String {
    if measure_text_width(text) <= width {
        return text.to_owned();
    }
    let Some(room) = width.checked_sub(".. .".len()) else { return begin(text, width) };
    let end = room / 2 + 1;
    let tail: String = text.chars().rev().collect();
    let tail: String = begin(&tail, end).chars().rev().collect();
    format!("{}...{tail}", begin(text, room + 1 - end))
}

/// Breaks at blanks; lines after the first are indented. A word that is too long is cut.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let word = cut(word, width);
        let last = lines.last_mut().filter(|line| {
            line.is_empty() || measure_text_width(line) + 1 + measure_text_width(&word) <= width
        });
        match last {
            Some(line) if line.is_empty() => *line = word,
            Some(line) => *line += &format!(" {word}"),
            None => lines.push(word),
        }
    }
    lines
}

fn begin(text: &str, width: usize) -> String {
    let mut taken = 0;
    text.chars()
        .take_while(|letter| {
            taken += measure_text_width(letter.encode_utf8(&mut [0; 4]));
            taken <= width
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_lacks_its_middle() {
        assert_eq!(cut("core::tests::parses", 19), "core::tests::parses");
        assert_eq!(cut("core::tests::parses", 12), "core...arses");
        for width in 0..30 {
            assert!(measure_text_width(&cut("core::tests::parses", width)) <= width, "{width}");
            assert!(measure_text_width(&cut("テスト::すべて通る", width)) <= width, "{width}");
        }
    }

    #[test]
    fn letters_that_take_two_columns_move_nothing() {
        assert_eq!(left("テスト", 8), "テスト  ");
        assert_eq!(left("テスト", 5), "テス ");
        assert_eq!(right("7 MiB", 8), "   7 MiB");
    }

    #[test]
    fn sentences_break_at_blanks() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefghijklm no", 7), ["ab...lm", "no"]);
    }

    #[test]
    fn without_colours_there_is_no_escape() {
        let line = Line::of(Paint::Bad, "red").then(Paint::Plain, " and plain");
        assert_eq!(line.painted(false), "red and plain");
        assert_eq!(line.painted(true), "\u{1b}[31;1mred\u{1b}[0m and plain");
        assert_eq!((line.width(), line.filled(15)), (13, "red and plain  ".into()));
    }
}
