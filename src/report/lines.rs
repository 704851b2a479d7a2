//! A report of lines, each written as it comes: after the first that could not be written whole there are none.
//!
//! Who reads it finds whole lines, up to where there was no more room; what came behind a torn one nobody could read.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use super::place;

/// A file of whole lines.
#[derive(Debug)]
pub struct Lines {
    /// `None` after the first failure.
    file: Option<File>,
    written: u64,
    /// So much of that are whole lines.
    whole: u64,
}

impl Lines {
    /// At `path`, empty.
    ///
    /// # Errors
    /// If it can't be made.
    pub fn create(path: &Path) -> io::Result<Lines> {
        Ok(Lines { file: Some(place::open(path)?.0), written: 0, whole: 0 })
    }

    /// Cuts off what is torn, if nobody else has written behind it.
    fn end(&mut self) {
        let Some(file) = self.file.take() else { return };
        if file.metadata().is_ok_and(|found| found.is_file() && found.len() == self.written) {
            let _ = file.set_len(self.whole);
        }
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(file) = &mut self.file else { return Err(io::ErrorKind::BrokenPipe.into()) };
        match file.write(bytes) {
            Ok(count) => {
                self.written += count as u64;
                if bytes[..count].ends_with(b"\n") {
                    self.whole = self.written;
                }
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                self.end();
                Err(error)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
