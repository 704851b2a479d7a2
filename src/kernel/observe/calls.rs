//! `/proc/PID/task/TID/syscall` (proc_pid_syscall(5)): the call in which a thread is.

use crate::model::diagnosis::Syscall;

/// Calls in which a thread may stay, by their numbers on this machine.
const NAMES: &[(libc::c_long, &str)] = &[
    (libc::SYS_futex, "futex"),
    (libc::SYS_nanosleep, "nanosleep"),
    (libc::SYS_clock_nanosleep, "clock_nanosleep"),
    (libc::SYS_restart_syscall, "restart_syscall"),
    (libc::SYS_wait4, "wait4"),
    (libc::SYS_waitid, "waitid"),
    (libc::SYS_epoll_pwait, "epoll_pwait"),
    (libc::SYS_ppoll, "ppoll"),
    (libc::SYS_pselect6, "pselect6"),
    (libc::SYS_read, "read"),
    (libc::SYS_readv, "readv"),
    (libc::SYS_pread64, "pread64"),
    (libc::SYS_preadv, "preadv"),
    (libc::SYS_write, "write"),
    (libc::SYS_writev, "writev"),
    (libc::SYS_pwrite64, "pwrite64"),
    (libc::SYS_splice, "splice"),
    (libc::SYS_sendfile, "sendfile"),
    (libc::SYS_copy_file_range, "copy_file_range"),
    (libc::SYS_recvfrom, "recvfrom"),
    (libc::SYS_recvmsg, "recvmsg"),
    (libc::SYS_recvmmsg, "recvmmsg"),
    (libc::SYS_sendto, "sendto"),
    (libc::SYS_sendmsg, "sendmsg"),
    (libc::SYS_accept, "accept"),
    (libc::SYS_accept4, "accept4"),
    (libc::SYS_connect, "connect"),
    (libc::SYS_flock, "flock"),
    (libc::SYS_fcntl, "fcntl"),
    (libc::SYS_fsync, "fsync"),
    (libc::SYS_fdatasync, "fdatasync"),
    (libc::SYS_openat, "openat"),
    (libc::SYS_close, "close"),
    (libc::SYS_ioctl, "ioctl"),
    (libc::SYS_unlinkat, "unlinkat"),
    (libc::SYS_statx, "statx"),
    (libc::SYS_io_uring_enter, "io_uring_enter"),
    (libc::SYS_io_getevents, "io_getevents"),
    (libc::SYS_rt_sigtimedwait, "rt_sigtimedwait"),
    (libc::SYS_rt_sigsuspend, "rt_sigsuspend"),
    (libc::SYS_futex_waitv, "futex_waitv"),
    (libc::SYS_msgrcv, "msgrcv"),
    (libc::SYS_msgsnd, "msgsnd"),
    (libc::SYS_semop, "semop"),
    (libc::SYS_semtimedop, "semtimedop"),
    (libc::SYS_mq_timedreceive, "mq_timedreceive"),
    (libc::SYS_clone, "clone"),
    (libc::SYS_clone3, "clone3"),
    (libc::SYS_execve, "execve"),
    (libc::SYS_exit, "exit"),
    (libc::SYS_exit_group, "exit_group"),
    (libc::SYS_mmap, "mmap"),
    (libc::SYS_munmap, "munmap"),
    (libc::SYS_ptrace, "ptrace"),
];

/// Those that newer architectures have done without.
#[cfg(target_arch = "x86_64")]
const OLD_NAMES: &[(libc::c_long, &str)] = &[
    (libc::SYS_epoll_wait, "epoll_wait"),
    (libc::SYS_poll, "poll"),
    (libc::SYS_select, "select"),
    (libc::SYS_pause, "pause"),
    (libc::SYS_open, "open"),
    (libc::SYS_vfork, "vfork"),
    (libc::SYS_fork, "fork"),
];
#[cfg(not(target_arch = "x86_64"))]
const OLD_NAMES: &[(libc::c_long, &str)] = &[];

/// Calls whose first argument is the descriptor that they wait on.
const ON_DESCRIPTOR: [&str; 24] = [
    "read",
    "readv",
    "pread64",
    "preadv",
    "write",
    "writev",
    "pwrite64",
    "recvfrom",
    "recvmsg",
    "recvmmsg",
    "sendto",
    "sendmsg",
    "accept",
    "accept4",
    "connect",
    "flock",
    "fcntl",
    "fsync",
    "fdatasync",
    "ioctl",
    "epoll_wait",
    "epoll_pwait",
    "splice",
    "close",
];

/// From the text of the file; `None` for `running`, for `-1` (it sleeps, but in no call), and for what is not of this
/// shape.
pub fn parse(text: &str) -> Option<Syscall> {
    let mut words = text.split_ascii_whitespace();
    let number: libc::c_long = words.next()?.parse().ok().filter(|number| *number >= 0)?;
    let mut values = words.map(|word| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok());
    let mut arguments = Vec::with_capacity(6);
    for _ in 0..6 {
        arguments.push(values.next()??);
    }
    let (stack, code) = (values.next()??, values.next()??);
    // A 32-bit program has numbers of its own, and nothing but its addresses tells.
    if stack <= u64::from(u32::MAX) && code <= u64::from(u32::MAX) {
        return Some(Syscall { name: format!("32-bit syscall {number}"), arguments, on: None });
    }
    let known = NAMES.iter().chain(OLD_NAMES).find(|(known, _)| *known == number);
    let name = known.map_or_else(|| format!("syscall {number}"), |(_, name)| (*name).to_owned());
    Some(Syscall { name, arguments, on: None })
}

/// The descriptor that the call waits on.
pub fn descriptor(call: &Syscall) -> Option<u32> {
    let waits = ON_DESCRIPTOR.contains(&call.name.as_str());
    // Descriptors are ints: the upper half of the register may hold anything.
    let fd = call.arguments.first().map(|fd| *fd as u32);
    fd.filter(|fd| waits && i32::try_from(*fd).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(number: libc::c_long, first: &str) -> String {
        format!("{number} {first} 0x1 0x0 0x0 0x0 0x0 0x7ffc04bd0ff8 0x7f6a4ef5d503\n")
    }

    #[test]
    fn a_call_has_its_name_and_arguments() {
        let call = parse(&line(libc::SYS_futex, "0x7f00")).unwrap();
        assert_eq!((call.name.as_str(), call.arguments[0], call.arguments[1]), ("futex", 0x7f00, 1));
        assert_eq!(descriptor(&call), None);
        let read = parse(&line(libc::SYS_read, "0xffffffff00000003")).unwrap();
        assert_eq!(descriptor(&read), Some(3));
        assert_eq!(descriptor(&parse(&line(libc::SYS_read, "0xffffffff")).unwrap()), None);
        assert_eq!(parse(&line(9999, "0x0")).unwrap().name, "syscall 9999");
    }

    #[test]
    fn a_32_bit_program_is_not_read_with_64_bit_numbers() {
        let text = format!("{} 0x0 0x0 0x0 0x0 0x0 0x0 0xffbd0ff8 0xf7f5d503", libc::SYS_futex);
        assert!(parse(&text).unwrap().name.starts_with("32-bit"));
    }

    #[test]
    fn what_is_in_no_call_has_none() {
        for text in
            ["running\n", "-1 0x7ffc04bd0ff8 0x7f6a4ef5d503\n", "", "0", "202 0x1 0x2", "0 a b c d e f g h"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[0-9a-fx -]{0,80}") {
            let _ = parse(&text).as_ref().map(descriptor);
        }
    }
}
