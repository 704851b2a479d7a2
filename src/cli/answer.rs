//! What a command is asked for: on standard output, whole.

use std::io::{self, Write};

use super::exit_code::{OK, OWN_FAILURE};
use super::reports::tell;

/// Prints it. Exit code 0, also if its reader has gone away (`| head`): that has seen enough. 125 if it can't be written.
pub fn answer(text: &[u8]) -> u8 {
    let mut out = io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            tell(&format!("write to standard output: {error}"));
            OWN_FAILURE
        }
        _ => OK,
    }
}
