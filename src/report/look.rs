//! How text looks on the terminal, or the file, that it is written to: colours, and lines no wider than it.

use crate::model::text::acts;

/// What the sink can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Whether a live line may be drawn.
    pub live: bool,
    /// Whether colours may be used.
    pub colour: bool,
    /// Columns; `None` for no end of the line.
    pub width: Option<usize>,
}

impl Look {
    /// What this one can do, and the environment wants of it (`NO_COLOR`, `CI`, `TERM=dumb`).
    pub fn of(sink: &console::Term) -> Look {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let terminal = sink.is_term();
        Look {
            live: terminal && !dumb && !set("CI"),
            colour: terminal && !dumb && !set("NO_COLOR"),
            width: terminal.then(|| usize::from(sink.size().1)),
        }
    }

    /// In the colour with this code, where there are colours.
    pub fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// On a terminal, no wider than it with `taken` columns gone; in full elsewhere. Names are one line always.
    pub fn cut(self, text: &str, taken: usize) -> String {
        let line: String = text.replace(acts, " ");
        let Some(room) = self.width.map(|width| width.saturating_sub(taken).max(10)) else {
            return line;
        };
        if line.chars().count() <= room {
            return line;
        }
        // The end of a command line tells jobs apart more often than its beginning.
        let (begin, end) = (room / 2 - 1, room - room / 2 - 2);
        let begin: String = line.chars().take(begin).collect();
        let end: String = line.chars().skip(line.chars().count() - end).collect();
        format!("{begin}...{end}")
    }

    /// In lines no wider than it, each `indent` columns from the left.
    pub fn wrap(self, text: &str, indent: usize) -> String {
        let room = self.width.map_or(usize::MAX, |width| width.saturating_sub(indent + 1).max(20));
        let margin = " ".repeat(indent);
        let mut wrapped = margin.clone();
        let mut column = 0;
        for word in text.split(' ') {
            let length = word.chars().count();
            if column > 0 && column + 1 + length > room {
                wrapped += &format!("\n{margin}");
                column = 0;
            }
            if column > 0 {
                wrapped.push(' ');
                column += 1;
            }
            wrapped += word;
            column += length;
        }
        wrapped.push('\n');
        wrapped
    }
}
