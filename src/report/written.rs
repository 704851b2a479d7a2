//! What an attempt wrote, as a document holds it: without colours, with nothing in it that acts.

use crate::model::Bytes;
use crate::model::event::AttemptFinished;
use crate::model::text::shown;

/// What is kept of the output, with a line for what is not; `None` if nothing was written.
pub fn written(attempt: &AttemptFinished) -> Option<String> {
    let output = attempt.output.as_ref().filter(|output| output.total > 0)?;
    let mut text = output.head.clone();
    if output.left_out() > 0 {
        text.extend(format!("\n... {} left out ...\n", Bytes(output.left_out())).bytes());
    }
    text.extend(&output.tail);
    Some(shown(&text))
}

/// The last `lines` of a text, of at most `bytes`; a line that does not fit is left out.
pub fn last(text: &str, lines: usize, bytes: usize) -> &str {
    let text = text.trim_end();
    let mut begin = text.len();
    for (at, line) in text.rmatch_indices('\n').map(|(at, _)| at + 1).chain([0]).zip(1..) {
        if line > lines || text.len() - at > bytes {
            break;
        }
        begin = at;
    }
    &text[begin..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_whole() {
        let text = "one\ntwo\nthree\n\n";
        assert_eq!(last(text, 2, 100), "two\nthree");
        assert_eq!(last(text, 9, 9), "two\nthree");
        assert_eq!(last(text, 9, 8), "three");
        assert_eq!(last(text, 9, 3), "");
        assert_eq!((last("one", 1, 3), last("", 3, 3)), ("one", ""));
    }
}
