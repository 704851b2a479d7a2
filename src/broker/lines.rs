//! Bytes from a socket -> lines. Never keeps more than one line, and of that never more than may be.
//!
//! ```text
//! reading ── '\n' ──▶ a line
//!    │ longer than may be
//!    └──▶ skipping (keeps nothing) ── '\n' ──▶ reading
//! ```

/// A line with its end is no longer than this, in bytes: a hundred jobs in one go, and a whole page of status.
pub const LONGEST: usize = 64 << 10;

/// A line was longer than [`LONGEST`]; all of it is skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the line is longer than {LONGEST} bytes")]
pub struct TooLong;

/// Cuts a stream in lines.
#[derive(Debug, Default)]
pub struct Lines {
    /// The beginning of a line, or all of the one that was given out last.
    kept: Vec<u8>,
    state: State,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Reading,
    /// `kept` has been given out.
    GivenOut,
    Skipping,
}

impl Lines {
    /// A stream's beginning.
    pub fn new() -> Lines {
        Lines::default()
    }

    /// The next line, without its end. Takes from `bytes` what belongs to it; `None` when all of them are taken. Of a line
    /// that is too long is told once, as soon as it is.
    pub fn next(&mut self, bytes: &mut &[u8]) -> Option<Result<&[u8], TooLong>> {
        if self.state == State::GivenOut {
            self.kept.clear();
            // One long line must not keep its room for as long as the connection lives.
            self.kept.shrink_to(LONGEST / 16);
            self.state = State::Reading;
        }
        loop {
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let (line, rest) = match end {
                // `end` is a place in it, so there is one behind it.
                Some(end) => (&bytes[..end], &bytes[end + 1..]),
                None => (*bytes, &[][..]),
            };
            match self.state {
                State::Skipping => {
                    *bytes = rest;
                    end?;
                    self.state = State::Reading;
                }
                State::Reading | State::GivenOut => {
                    if self.kept.len() + line.len() + usize::from(end.is_some()) > LONGEST {
                        *bytes = rest;
                        self.kept = Vec::new();
                        self.state = if end.is_some() { State::Reading } else { State::Skipping };
                        return Some(Err(TooLong));
                    }
                    self.kept.extend_from_slice(line);
                    *bytes = rest;
                    end?;
                    self.state = State::GivenOut;
                    return Some(Ok(&self.kept));
                }
            }
        }
    }

    /// Bytes that are kept of a line that has not ended.
    pub fn kept(&self) -> usize {
        if self.state == State::GivenOut { 0 } else { self.kept.len() }
    }

    /// Bytes of memory that it takes.
    pub fn room(&self) -> usize {
        self.kept.capacity()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All of a stream that comes in these pieces.
    fn lines(pieces: &[&[u8]]) -> Vec<Result<Vec<u8>, TooLong>> {
        let (mut lines, mut found) = (Lines::new(), Vec::new());
        for piece in pieces {
            let mut bytes = *piece;
            while let Some(line) = lines.next(&mut bytes) {
                found.push(line.map(<[u8]>::to_vec));
            }
            assert!(bytes.is_empty());
        }
        found
    }

    #[test]
    fn half_lines_wait_for_the_other_half() {
        let found = lines(&[b"on", b"e\ntw", b"o\n\nfour\nfi"]);
        assert_eq!(found, [&b"one"[..], b"two", b"", b"four"].map(|line| Ok(line.to_vec())));
    }

    #[test]
    fn a_line_just_fits_or_is_just_too_long() {
        let mut fits = vec![b'x'; LONGEST - 1];
        fits.push(b'\n');
        assert_eq!(lines(&[&fits]).len(), 1);
        assert!(lines(&[&fits])[0].is_ok());
        let mut long = vec![b'x'; LONGEST];
        long.extend(b"\nnext\n");
        assert_eq!(lines(&[&long]), [Err(TooLong), Ok(b"next".to_vec())]);
    }

    #[test]
    fn a_line_of_a_gigabyte_takes_no_more_room_than_a_short_one() {
        let (mut lines, piece) = (Lines::new(), vec![b'x'; 1 << 20]);
        let mut told = 0;
        for _ in 0..1024 {
            let mut bytes = &piece[..];
            while let Some(line) = lines.next(&mut bytes) {
                assert_eq!(line, Err(TooLong));
                told += 1;
            }
            assert!(lines.room() <= LONGEST);
        }
        assert_eq!(told, 1, "once is enough");
        let mut bytes = &b"\n{}\n"[..];
        assert_eq!(lines.next(&mut bytes), Some(Ok(&b"{}"[..])));
    }

    #[test]
    fn a_line_that_comes_byte_by_byte_takes_no_more_room_than_may_be() {
        let mut lines = Lines::new();
        for _ in 0..3 * LONGEST {
            let _ = lines.next(&mut &b"x"[..]);
            assert!(lines.room() <= 2 * LONGEST && lines.kept() <= LONGEST);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn however_a_stream_is_cut_its_lines_are_the_same(
            stream in prop::collection::vec(prop_oneof![9 => 32u8..127, 1 => Just(b'\n')], 0..600),
            cuts in prop::collection::vec(1usize..50, 1..60),
        ) {
            let (mut pieces, mut rest) = (Vec::new(), &stream[..]);
            for cut in cuts {
                let (piece, more) = rest.split_at(cut.min(rest.len()));
                pieces.push(piece);
                rest = more;
            }
            pieces.push(rest);
            prop_assert_eq!(lines(&pieces), lines(&[&stream]));
        }
    }
}
