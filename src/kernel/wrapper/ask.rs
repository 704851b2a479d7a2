//! Asking the run, and waiting for its answer.

use core::ffi::CStr;

use super::calls::{self, EAGAIN, EINTR, Errno, Socket};
use super::strings::Strings;
use super::words::{self, Answer, LENGTH, LONGEST_ANSWER, LONGEST_REQUEST};

/// So often it is looked for an answer before we sleep: some 0.1 ms, in which it mostly comes. To fall asleep and be woken takes
/// as long on a virtual machine.
const TRIES: u32 = 100;

/// Room for what is said.
#[derive(Debug)]
pub struct Room {
    request: [u8; LENGTH + LONGEST_REQUEST],
    answer: [u8; LENGTH + LONGEST_ANSWER],
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Failure {
    /// A call failed.
    Call(Errno),
    /// The run is gone.
    Gone,
    /// That was no answer of a run.
    Nonsense,
}

/// Asks the run behind `socket` for a job for `test`, and waits for as long as it takes.
///
/// # Errors
/// Why it has not said anything, or nothing that can be understood.
pub fn ask<'a>(
    socket: &CStr,
    package: &[u8],
    test: Strings,
    room: &'a mut Room,
) -> Result<Answer<'a>, Failure> {
    let socket = Socket::connect(socket).map_err(Failure::Call)?;
    let length = words::write(package, test.iter().map(|word| word.whole().to_bytes()), &mut room.request);
    socket.send(&room.request[..length]).map_err(Failure::Call)?;
    // Mostly all of it comes at once.
    let (mut got, mut whole) = (0, LENGTH);
    while got < whole {
        got += more(&socket, &mut room.answer[got..])?;
        if let Some(length) = room.answer[..got].first_chunk::<LENGTH>() {
            let length = u32::from_le_bytes(*length) as usize;
            whole = Some(length + LENGTH).filter(|_| length <= LONGEST_ANSWER).ok_or(Failure::Nonsense)?;
        }
    }
    words::read(&room.answer[LENGTH..whole]).ok_or(Failure::Nonsense)
}

fn more(socket: &Socket, to: &mut [u8]) -> Result<usize, Failure> {
    let mut tries = 0..TRIES;
    let read = loop {
        match socket.read_now(to) {
            Err(EAGAIN) if tries.next().is_some() => calls::give_way(),
            Err(EAGAIN | EINTR) => break socket.read(to),
            other => break other,
        }
    };
    match read {
        Ok(0) => Err(Failure::Gone),
        Ok(count) => Ok(count),
        Err(errno) => Err(Failure::Call(errno)),
    }
}
