//! Numbers that nobody can guess (getrandom(2)).

use rustix::rand::{GetRandomFlags, getrandom};

/// 128 bits.
pub fn bits() -> u128 {
    let mut bytes = [0; 16];
    // So few are always given whole, once the machine has gathered enough for its first.
    while getrandom(&mut bytes, GetRandomFlags::empty()).is_err() {}
    u128::from_ne_bytes(bytes)
}
