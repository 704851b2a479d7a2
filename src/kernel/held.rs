//! Bytes that a process holds for somebody else, in memory that its guardian sees as well: so that they can be given back
//! when it is killed.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use super::KernelError;

/// As many as there may be. A make with more jobs at once than this has not been seen.
const MOST: usize = 2048;

/// Set beside each byte that is there: any byte may be a token.
const THERE: u16 = 0x100;

/// Memory shared with what is forked later.
#[derive(Debug)]
pub struct Held(NonNull<[AtomicU16; MOST]>);

// SAFETY: what it points to are atomics, which live as long as it does.
unsafe impl Send for Held {}
// SAFETY: as above.
unsafe impl Sync for Held {}

impl Held {
    /// With nothing in it.
    ///
    /// # Errors
    /// [`KernelError::Call`] if there is no memory for it.
    pub fn new() -> Result<Held, KernelError> {
        let (length, flags) = (size_of::<[AtomicU16; MOST]>(), libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping, of memory that nobody else has.
        let place = unsafe {
            libc::mmap(std::ptr::null_mut(), length, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0)
        };
        if place == libc::MAP_FAILED {
            return Err(KernelError::last("share memory with the guardian"));
        }
        // The kernel has filled it with zeroes, and it begins a page.
        NonNull::new(place.cast())
            .map(Held)
            .ok_or_else(|| KernelError::last("share memory with the guardian"))
    }

    /// Notes one more. Returns whether there was room for it.
    pub fn push(&self, byte: u8) -> bool {
        let free = self.all().iter().find(|one| one.load(Ordering::Relaxed) == 0);
        free.is_some_and(|one| {
            one.store(THERE | u16::from(byte), Ordering::Release);
            true
        })
    }

    /// Takes one off.
    pub fn pop(&self) -> Option<u8> {
        let taken = self.all().iter().rev().find(|one| one.load(Ordering::Acquire) != 0)?;
        u8::try_from(taken.swap(0, Ordering::AcqRel) & 0xff).ok()
    }

    fn all(&self) -> &[AtomicU16; MOST] {
        // SAFETY: mapped above, and unmapped only when this is dropped.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length, and nobody has a reference to it any more.
        unsafe { libc::munmap(self.0.as_ptr().cast(), size_of::<[AtomicU16; MOST]>()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_comes_back_once() {
        let held = Held::new().unwrap();
        assert!(held.push(b'+') && held.push(0) && held.push(255));
        let mut back: Vec<u8> = std::iter::from_fn(|| held.pop()).collect();
        back.sort_unstable();
        assert_eq!(back, [0, b'+', 255]);
        assert_eq!((0..=MOST).filter(|_| held.push(1)).count(), MOST);
    }
}
