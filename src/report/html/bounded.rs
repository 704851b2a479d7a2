//! Texts that share a budget: each may be so long until together they are too much; then each may be half as long.
//!
//! So the few failures of a usual run are shown at length, and five thousand of them still make a page that opens.

use serde::Serialize;

use crate::model::event::Captured;
use crate::model::text::shown;

/// Below this a text says nothing, and is left out.
const LEAST: usize = 24;

/// What texts of one kind may take in the page.
#[derive(Debug)]
pub struct Share {
    budget: usize,
    each: usize,
    spent: usize,
}

impl Share {
    /// All of them `budget` bytes, and each `each` at first.
    pub const fn new(budget: usize, each: usize) -> Share {
        Share { budget, each, spent: 0 }
    }

    /// What each may take now.
    pub fn each(&self) -> usize {
        self.each
    }

    /// Notes that one takes so much. False if they are too much together: then [`Share::halve`], cut all and note them again.
    #[must_use]
    pub fn note(&mut self, cost: usize) -> bool {
        self.spent += cost;
        self.spent <= self.budget || self.each == 0
    }

    /// Each may take half as much from now on.
    pub fn halve(&mut self) {
        self.each = if self.each / 2 < LEAST { 0 } else { self.each / 2 };
        self.spent = 0;
    }
}

/// Bytes that a text takes as a JSON string in the page, without its quotes.
pub fn cost(text: &str) -> usize {
    text.chars().map(cost_of).sum()
}

fn cost_of(letter: char) -> usize {
    match letter {
        '"' | '\\' | '\n' | '\t' => 2,
        '<' | '\0'..='\u{1f}' | '\u{2028}' | '\u{2029}' => 6,
        letter => letter.len_utf8(),
    }
}

/// Cuts a text to what `most` bytes hold, and says so in it.
pub fn cut(text: &mut String, most: usize) {
    const MORE: &str = "…";
    if cost(text) <= most {
        return;
    }
    let kept = beginning(text, most.saturating_sub(MORE.len()));
    text.truncate(kept);
    if kept > 0 {
        text.push_str(MORE);
    }
}

/// How many of its bytes from the beginning `most` hold.
fn beginning(text: &str, most: usize) -> usize {
    held(text.char_indices().map(|(at, letter)| (at + letter.len_utf8(), letter)), most).unwrap_or(0)
}

/// Where the end of it begins that `most` hold.
fn end(text: &str, most: usize) -> usize {
    held(text.char_indices().rev(), most).unwrap_or(text.len())
}

fn held(letters: impl Iterator<Item = (usize, char)>, most: usize) -> Option<usize> {
    let mut spent = 0;
    let fits = |(_, letter): &(usize, char)| {
        spent += cost_of(*letter);
        spent <= most
    };
    letters.take_while(fits).last().map(|(at, _)| at)
}

/// What an attempt wrote, as far as it is shown.
#[derive(Debug, Default, Serialize)]
pub struct Output {
    /// The beginning, or all of it.
    pub head: String,
    /// The end, if something between is left out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tail: String,
    /// Bytes of the page's text, or of what was written, that are left out between them.
    #[serde(skip_serializing_if = "is_zero")]
    pub left_out: u64,
    /// Bytes written in all.
    pub total: u64,
    /// Where the whole of it is: a name in the page's folder, or a path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

impl Output {
    /// Of what was captured, no longer than `most`.
    pub fn of(captured: &Captured, most: usize) -> Output {
        // What is surely cut is not looked at: thousands may have written much.
        let (head, tail) = ends(captured, 2 * most);
        let mut output = Output {
            head: shown(&head),
            tail: shown(&tail),
            left_out: captured.total - (head.len() + tail.len()) as u64,
            total: captured.total,
            file: None,
        };
        output.cut(most);
        output
    }

    /// What it takes.
    pub fn cost(&self) -> usize {
        cost(&self.head) + cost(&self.tail)
    }

    /// Cuts out of the middle: the end most often says what went wrong, so most of the room is for that.
    pub fn cut(&mut self, most: usize) {
        if self.cost() <= most {
            return;
        }
        let before = self.head.len() + self.tail.len();
        if self.left_out == 0 {
            self.tail = self.head.clone();
        }
        self.tail.drain(..end(&self.tail, most - most / 4));
        self.head.truncate(beginning(&self.head, most / 4));
        self.left_out += before.saturating_sub(self.head.len() + self.tail.len()) as u64;
    }
}

/// Of what was captured the first and the last bytes, `most` of each; the whole of it first if it is no more than that.
fn ends(captured: &Captured, most: usize) -> (Vec<u8>, Vec<u8>) {
    if captured.left_out() > 0 {
        return (first_of(&captured.head, most).to_vec(), last_of(&captured.tail, most).to_vec());
    }
    let whole = [&captured.head[..], &captured.tail].concat();
    if whole.len() <= 2 * most {
        return (whole, Vec::new());
    }
    (first_of(&whole, most).to_vec(), last_of(&whole, most).to_vec())
}

/// Without the part of a letter at the cut.
fn first_of(bytes: &[u8], most: usize) -> &[u8] {
    let mut end = bytes.len().min(most);
    while end < bytes.len() && end > 0 && bytes[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    &bytes[..end]
}

fn last_of(bytes: &[u8], most: usize) -> &[u8] {
    let mut begin = bytes.len().saturating_sub(most);
    while begin > 0 && begin < bytes.len() && bytes[begin] & 0xc0 == 0x80 {
        begin += 1;
    }
    &bytes[begin..]
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captured(head: &[u8], tail: &[u8], total: u64) -> Captured {
        Captured { head: head.to_vec(), tail: tail.to_vec(), total, ..Captured::default() }
    }

    #[test]
    fn nothing_of_a_short_output_is_left_out() {
        let output = Output::of(&captured(b"one\r\n", b"two\n", 9), 100);
        assert_eq!((output.head.as_str(), output.tail.as_str(), output.left_out), ("one\ntwo\n", "", 0));
    }

    #[test]
    fn of_a_long_output_both_ends_stay_and_what_is_missing_is_counted() {
        let text: String = (0..1000).map(|line| format!("{line}\n")).collect();
        let mut output = Output::of(&captured(text.as_bytes(), b"", text.len() as u64), 400);
        assert!(output.head.starts_with("0\n1\n") && output.tail.ends_with("998\n999\n"));
        assert!(output.cost() <= 400 && output.cost() > 380);
        let kept = (output.head.len() + output.tail.len()) as u64;
        assert_eq!(output.left_out, text.len() as u64 - kept);
        output.cut(0);
        assert_eq!((output.cost(), output.left_out), (0, text.len() as u64));
    }

    #[test]
    fn what_is_far_too_long_is_cut_before_it_is_looked_at_and_never_within_a_letter() {
        let text = "é".repeat(1000);
        let (head, tail) = text.as_bytes().split_at(1001);
        for most in 10..40 {
            let output = Output::of(&captured(head, tail, 2000), most);
            let kept = output.head.len() + output.tail.len();
            assert!(output.head.chars().chain(output.tail.chars()).all(|letter| letter == 'é'), "{output:?}");
            assert_eq!(output.left_out + kept as u64, 2000);
        }
    }

    #[test]
    fn a_share_that_is_spent_is_halved_until_all_fit() {
        let mut share = Share::new(1000, 400);
        assert!(share.note(400) && share.note(400) && !share.note(400));
        share.halve();
        assert_eq!(share.each(), 200);
        (0..4).for_each(|_| share.halve());
        assert_eq!(share.each(), 0, "what says nothing is left out");
        assert!(share.note(5000), "and nothing more can be done");
    }

    #[test]
    fn a_cut_is_never_within_a_letter() {
        for most in 0..20 {
            let mut text = "aé<€𝄞\"b<<".to_owned();
            cut(&mut text, most);
            assert!(cost(&text) <= most.max(3), "{text:?} of {most}");
        }
    }
}
