//! A line on standard error.

use super::calls;

/// Longer ones are cut.
const LONGEST: usize = 4096;

/// One that is being made.
#[derive(Debug)]
pub struct Line {
    text: [u8; LONGEST],
    length: usize,
}

impl Line {
    /// Begins as all of sandtest's do.
    pub fn new() -> Line {
        let mut line = Line { text: [0; LONGEST], length: 0 };
        line.push(b"sandtest: ");
        line
    }

    /// Adds what fits of `text`.
    pub fn push(&mut self, text: &[u8]) -> &mut Line {
        // The last place is that of its end.
        let count = text.len().min(LONGEST - 1 - self.length);
        self.text[self.length..self.length + count].copy_from_slice(&text[..count]);
        self.length += count;
        self
    }

    /// Adds what a failed call is called, as Rust's library has it.
    pub fn push_errno(&mut self, errno: calls::Errno) -> &mut Line {
        let (mut digits, mut at, mut rest) = ([0; 10], 10, errno.0);
        while rest > 0 || at == 10 {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        self.push(errno.text().as_bytes()).push(b" (os error ").push(&digits[at..]).push(b")")
    }

    /// Writes it.
    pub fn tell(&mut self) {
        self.text[self.length] = b'\n';
        calls::complain(&self.text[..self.length + 1]);
    }
}

impl Default for Line {
    fn default() -> Line {
        Line::new()
    }
}
