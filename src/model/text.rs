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

/// Output as a document holds it: without colours, tabs as spaces, and U+FFFD for what else a terminal would act upon or XML
/// has no place for.
pub fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let length = colour(rest).unwrap_or(letter.len_utf8());
        match letter {
            _ if length > letter.len_utf8() => {}
            '\n' => shown.push('\n'),
            '\r' if rest.starts_with("\r\n") => {}
            '\r' => shown.push('\n'),
            '\t' => shown.push_str("    "),
            '\u{fffe}' | '\u{ffff}' => shown.push('\u{fffd}'),
            letter if acts(letter) => shown.push('\u{fffd}'),
            letter => shown.push(letter),
        }
        rest = &rest[length..];
    }
    shown
}

/// The length of the control sequence (`ESC [ ... letter`) that `text` begins with; `None` if it begins with none, or one
/// without an end.
fn colour(text: &str) -> Option<usize> {
    let after = text.strip_prefix("\u{1b}[")?;
    let parameters = after.bytes().take_while(|byte| (0x20..=0x3f).contains(byte)).count();
    matches!(after.as_bytes().get(parameters), Some(0x40..=0x7e)).then_some(2 + parameters + 1)
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

    #[test]
    fn output_keeps_its_words_whatever_is_between_them() {
        let text =
            "a\tb \u{1b}[1;31mred\u{1b}[0m\r\nbefore \u{1b}]0;title and all else\u{1b}[\u{fffe}\rc\u{9b}d\0";
        let wanted = "a    b red\nbefore \u{fffd}]0;title and all else\u{fffd}[\u{fffd}\nc\u{fffd}d\u{fffd}";
        assert_eq!(plain(text), wanted);
        assert_eq!(plain("\u{1b}["), "\u{fffd}[");
    }
}
