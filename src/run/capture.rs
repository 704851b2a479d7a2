//! What a job writes, bounded: its beginning, its end, and the whole of it in a file where it is long.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;

use crate::model::event::Captured;

/// Bytes kept of the beginning, and again of the end.
const KEPT: usize = 32 << 10;

/// Bytes in the file, at the most.
const FILE_CAP: u64 = 8 << 20;

/// Takes in what a job writes. Never holds more than twice [`KEPT`].
#[derive(Debug)]
pub struct Capture {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    total: u64,
    path: PathBuf,
    file: Spill,
}

/// The file, made when what is written outgrows the head.
#[derive(Debug)]
enum Spill {
    None,
    Open {
        file: File,
        written: u64,
    },
    /// It can't be written; the job has nothing to do with that.
    Failed,
}

impl Capture {
    /// Spills to `path`, if it comes to that.
    pub fn new(path: PathBuf) -> Capture {
        Capture { head: Vec::new(), tail: VecDeque::new(), total: 0, path, file: Spill::None }
    }

    /// Takes in the next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let (first, rest) = bytes.split_at(bytes.len().min(KEPT - self.head.len()));
        self.head.extend_from_slice(first);
        if rest.is_empty() {
            return;
        }
        self.spill(rest);
        // Of one large piece only the end can stay.
        let rest = &rest[rest.len().saturating_sub(KEPT)..];
        let excess = (self.tail.len() + rest.len()).saturating_sub(KEPT);
        self.tail.drain(..excess);
        self.tail.extend(rest);
    }

    /// Bytes taken in until now.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The last of it, at most `most` bytes.
    pub fn end(&self, most: usize) -> Vec<u8> {
        let from = |bytes: usize| bytes.saturating_sub(most);
        if self.tail.is_empty() {
            return self.head[from(self.head.len())..].to_vec();
        }
        self.tail.iter().skip(from(self.tail.len())).copied().collect()
    }

    /// What is kept. Nothing is taken in after it.
    pub fn finish(&mut self) -> Captured {
        let (file, file_lacks) = match &self.file {
            Spill::Open { written, .. } => (Some(self.path.clone()), self.total - written),
            Spill::None | Spill::Failed => (None, 0),
        };
        let (head, tail) = (std::mem::take(&mut self.head), std::mem::take(&mut self.tail));
        Captured { head, tail: tail.into(), total: self.total, file, file_lacks }
    }

    fn spill(&mut self, bytes: &[u8]) {
        if let Spill::None = self.file {
            self.file = self.open().unwrap_or(Spill::Failed);
        }
        let Spill::Open { file, written } = &mut self.file else { return };
        let room = usize::try_from(FILE_CAP - *written).unwrap_or(usize::MAX);
        let bytes = &bytes[..bytes.len().min(room)];
        match file.write_all(bytes) {
            Ok(()) => *written += bytes.len() as u64,
            Err(_) => self.file = Spill::Failed,
        }
    }

    fn open(&self) -> std::io::Result<Spill> {
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = File::create(&self.path)?;
        file.write_all(&self.head)?;
        Ok(Spill::Open { file, written: self.head.len() as u64 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captured(pieces: &[Vec<u8>]) -> (Captured, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let mut capture = Capture::new(folder.path().join("output/0-1.log"));
        pieces.iter().for_each(|piece| capture.push(piece));
        (capture.finish(), folder)
    }

    #[test]
    fn what_is_short_makes_no_file() {
        let (captured, folder) = captured(&[b"one\n".to_vec(), b"two\n".to_vec()]);
        assert_eq!(captured.head, b"one\ntwo\n");
        assert_eq!((captured.total, captured.left_out(), captured.file), (8, 0, None));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_file_has_a_cap_and_says_what_it_lacks() {
        let piece = vec![b'x'; 1 << 20];
        let (captured, _folder) = captured(&vec![piece; 10]);
        assert_eq!(fs::metadata(captured.file.unwrap()).unwrap().len(), FILE_CAP);
        assert_eq!(captured.file_lacks, 2 << 20);
    }

    #[test]
    fn a_file_that_cant_be_made_is_no_harm() {
        let mut capture = Capture::new("/proc/no/such/place".into());
        capture.push(&vec![b'x'; 3 * KEPT]);
        let captured = capture.finish();
        assert_eq!((captured.file, captured.tail.len()), (None, KEPT));
    }

    proptest::proptest! {
        #[test]
        fn head_tail_and_file_are_right_however_it_is_cut(
            lengths in proptest::collection::vec(0usize..50_000, 0..8),
        ) {
            let mut next = 0u8;
            let pieces: Vec<Vec<u8>> = lengths
                .iter()
                .map(|length| (0..*length).map(|_| { next = next.wrapping_mul(31).wrapping_add(7); next }).collect())
                .collect();
            let all = pieces.concat();
            let (captured, _folder) = captured(&pieces);
            proptest::prop_assert_eq!(captured.total, all.len() as u64);
            proptest::prop_assert_eq!(&captured.head, &all[..all.len().min(KEPT)]);
            let rest = &all[captured.head.len()..];
            proptest::prop_assert_eq!(&captured.tail, &rest[rest.len().saturating_sub(KEPT)..]);
            if let Some(file) = captured.file {
                proptest::prop_assert_eq!(fs::read(file).unwrap(), all);
            }
        }
    }
}
