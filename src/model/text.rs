//! Text that a test chose, before a person reads it: names, paths and output may hold anything.

/// A name that moves no cursor and turns no line: `?` for each letter that would.
pub fn harmless(name: &str) -> String {
    name.replace(acts, "?")
}

/// The first `most` letters of it, with `...` behind them if there are more.
pub fn cut(mut text: String, most: usize) -> String {
    if let Some((end, _)) = text.char_indices().nth(most) {
        text.truncate(end);
        text += "...";
    }
    text
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

/// Output as a document holds it: without colours and other sequences, each other letter that would act, or that XML has no
/// place for, as its escape.
pub fn shown(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let mut shown = String::with_capacity(text.len());
    let mut rest = &*text;
    while let Some(letter) = rest.chars().next() {
        if let Some(length) = sequence(rest) {
            rest = &rest[length..];
            continue;
        }
        rest = &rest[letter.len_utf8()..];
        match letter {
            '\n' | '\t' => shown.push(letter),
            // Of a line that is written anew each state is a line.
            '\r' if rest.starts_with('\n') => {}
            '\r' => shown.push('\n'),
            '\u{fffe}' | '\u{ffff}' => shown.extend(letter.escape_unicode()),
            letter if acts(letter) => shown.extend(letter.escape_default()),
            letter => shown.push(letter),
        }
    }
    shown
}

/// Length of the terminal sequence that a text begins with: colours and cursor (CSI), titles and links (OSC).
///
/// One without an end is none: else a stray byte would hide all that was written after it.
fn sequence(text: &str) -> Option<usize> {
    if let Some(rest) = text.strip_prefix("\u{1b}[") {
        let end = rest.bytes().position(|byte| !(b' '..=b'?').contains(&byte))?;
        return (b'@'..=b'~').contains(&rest.as_bytes()[end]).then_some(end + 3);
    }
    let rest = text.strip_prefix("\u{1b}]")?;
    let end = rest.find(char::is_control)?;
    [("\u{7}", 1), ("\u{1b}\\", 2)]
        .iter()
        .find_map(|(mark, length)| rest[end..].starts_with(mark).then_some(end + length + 2))
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
            "a\tb \u{1b}[1;31mred\u{1b}[0m\r\nbefore \u{1b}]0;no end\nall else\u{1b}[\u{fffe}\rc\u{9b}d\0";
        let wanted = "a\tb red\nbefore \\u{1b}]0;no end\nall else\\u{1b}[\\u{fffe}\nc\\u{9b}d\\u{0}";
        assert_eq!(shown(text.as_bytes()), wanted);
        assert_eq!(shown(b"\x1b]0;title\x07a\x1b]8;;x\x1b\\b"), "ab");
        assert_eq!(shown(b"\x1b["), "\\u{1b}[");
    }

    #[test]
    fn nothing_acts_upon_the_page_or_the_eye() {
        assert_eq!(
            shown(b"\x1b[31mred\x1b[0m\x1b]0;x\x07 \x00 \xff \xe2\x80\xaeabc"),
            "red \\u{0} \u{fffd} \\u{202e}abc"
        );
        assert_eq!(shown(b"\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\ 1\r2\r\n"), "link 1\n2\n");
    }

    /// A library that strips such sequences took all that came after one without an end for a part of it.
    #[test]
    fn a_sequence_without_an_end_hides_nothing() {
        assert_eq!(shown(b"\x1b]0;no end\nto see\x1b[5"), "\\u{1b}]0;no end\nto see\\u{1b}[5");
        assert_eq!(shown(b"\x1b[31\nm \x1b"), "\\u{1b}[31\nm \\u{1b}");
    }
}
