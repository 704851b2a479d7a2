//! The wrapper as a program of its own: see `mod.rs`. Compiled by `build.rs`, without a C library and without a runtime.

#![no_std]
#![no_main]
// What stands in for the C library's functions is not made into calls of them.
#![no_builtins]
#![allow(dead_code, reason = "sandtest and its tests use more of it")]

mod ask;
mod become_test;
mod calls;
mod find;
mod line;
mod raw;
mod strings;
mod words;

use core::ffi::c_char;
use core::mem::MaybeUninit;

use strings::Strings;

const EXIT_GROUP: i64 = 231;

/// Where the kernel begins, with the stack as the only thing at hand: the number of words, the words, null, the environment, null.
///
/// # Safety
/// For the kernel alone to call.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn _start() -> ! {
    core::arch::naked_asm!(
        "xor ebp, ebp",
        "mov rdi, rsp",
        "and rsp, -16",
        "call {begin}",
        "ud2",
        begin = sym begin,
    )
}

/// # Safety
/// `stack` is what the kernel has put there.
unsafe extern "C" fn begin(stack: *const usize) -> ! {
    static mut ROOM: MaybeUninit<become_test::Room> = MaybeUninit::zeroed();
    // SAFETY: so the kernel lays it out. The first word is our own path; without even that the list is empty. The room is
    // all zero, which is a valid one, and nobody else borrows it.
    let (words, environment, room) = unsafe {
        let count = *stack;
        let strings = stack.add(1).cast::<*const c_char>();
        let (words, environment) = (strings.add(count.min(1)), strings.add(count + 1));
        (Strings::at(words), Strings::at(environment), (*(&raw mut ROOM)).assume_init_mut())
    };
    exit(become_test::become_test(words, environment, room))
}

fn exit(code: u8) -> ! {
    loop {
        // SAFETY: takes no pointer, and does not return.
        unsafe { raw::raw(EXIT_GROUP, [code.into(), 0, 0, 0, 0]) };
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    line::Line::new().push(b"run-wrapper: a bug of sandtest's").tell();
    exit(become_test::OWN_FAILURE)
}

/// The tables of `core` name it, for the unwinding that there is none of.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// What compiled code takes for granted of a C library.
mod c_library {
    use core::arch::asm;
    use core::ffi::{c_char, c_int};

    /// # Safety
    /// As memcpy(3).
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
        // SAFETY: as the caller promises.
        unsafe {
            asm!("rep movsb", inout("rcx") count => _, inout("rdi") to => _, inout("rsi") from => _,
                options(nostack, preserves_flags));
        }
        to
    }

    /// # Safety
    /// As memmove(3).
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
        if (to as usize).wrapping_sub(from as usize) >= count {
            // SAFETY: from front to back nothing is overwritten before it is read.
            return unsafe { memcpy(to, from, count) };
        }
        for at in (0..count).rev() {
            // SAFETY: as the caller promises.
            unsafe { *to.add(at) = *from.add(at) };
        }
        to
    }

    /// # Safety
    /// As memset(3).
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memset(to: *mut u8, byte: c_int, count: usize) -> *mut u8 {
        // SAFETY: as the caller promises.
        unsafe {
            asm!("rep stosb", inout("rcx") count => _, inout("rdi") to => _, in("al") byte as u8,
                options(nostack, preserves_flags));
        }
        to
    }

    /// # Safety
    /// As memcmp(3).
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memcmp(one: *const u8, other: *const u8, count: usize) -> c_int {
        for at in 0..count {
            // SAFETY: as the caller promises.
            let (one, other) = unsafe { (*one.add(at), *other.add(at)) };
            if one != other {
                return c_int::from(one) - c_int::from(other);
            }
        }
        0
    }

    /// # Safety
    /// As bcmp(3).
    #[unsafe(no_mangle)]
    unsafe extern "C" fn bcmp(one: *const u8, other: *const u8, count: usize) -> c_int {
        // SAFETY: as the caller promises.
        unsafe { memcmp(one, other, count) }
    }

    /// # Safety
    /// As strlen(3).
    #[unsafe(no_mangle)]
    unsafe extern "C" fn strlen(text: *const c_char) -> usize {
        let mut count = 0;
        // SAFETY: as the caller promises.
        while unsafe { *text.add(count) } != 0 {
            count += 1;
        }
        count
    }
}
