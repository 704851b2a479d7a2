//! Text that a test chose, before a person reads it: names, paths and output may hold anything.

/// A name that moves no cursor and turns no line: `?` for each letter that would.
pub fn harmless(name: &str) -> String {
    name.replace(acts, "?")
}

/// The same with nothing lost: such letters as escapes, a tab as two spaces.
pub fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\t' => shown.push_str("  "),
            letter if acts(letter) => shown.extend(letter.escape_default()),
            letter => shown.push(letter),
        }
    }
    shown
}

/// Whether a terminal does something about it other than to show it: control characters, and those that turn the
/// direction of a line.
pub fn acts(letter: char) -> bool {
    let turns = matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    letter.is_control() || turns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_act_upon_is_shown_or_replaced() {
        let text = "a\tb\u{1b}[2J\u{202e}é";
        assert_eq!(harmless(text), "a?b?[2J?é");
        assert_eq!(escaped(text), "a  b\\u{1b}[2J\\u{202e}é");
    }
}
