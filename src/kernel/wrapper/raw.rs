//! One system call with nothing in between: no C library, no `errno`, no lock. Registers alone are touched.

use core::arch::asm;

/// Makes system call `number`. Returns what the kernel returns: negative is an errno.
///
/// # Safety
/// As for the call itself: pointers among `arguments` must be good for what the kernel does with them.
#[inline(always)]
pub unsafe fn raw(number: i64, arguments: [usize; 5]) -> i64 {
    let result: i64;
    // SAFETY: the kernel clobbers rcx and r11 and nothing else; the caller answers for the arguments.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") arguments[0],
            in("rsi") arguments[1],
            in("rdx") arguments[2],
            in("r10") arguments[3],
            in("r8") arguments[4],
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    result
}
