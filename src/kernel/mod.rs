//! What the kernel offers, by the kernel's names. The only unsafe code of the house; it decides nothing.
//!
//! In the order in which an attempt meets it:
//!
//! - [`error`]: what a failed read or write says
//! - [`files`]: small kernel files, read and written below a held directory
//! - [`hierarchy`]: where the cgroup trees are mounted and where we sit in them
//! - [`cgroup`]: files every v2 group has: events, kill, freeze, cpu.stat
//! - [`controllers`]: limits and readings of memory, pids and cpu, v1 and v2
//! - [`ground`]: the run's group, on either kind of host
//! - [`group`]: an attempt's groups below it; [`reused`]: those that may have served before
//! - [`keeper`]: the one thread that makes and removes the attempts' groups
//! - [`sensors`]: how much memory is left, and who is kept waiting
//! - [`oom`]: being told that a group ran out of memory
//! - [`spawn`], [`child`], [`syscall`]: clone3 into a group, and the steps up to exec
//! - [`spawner`]: the one thread that spawns
//! - [`wrapper`]: what stands in front of a driver's tests, and becomes them; also a program of its own
//! - [`readiness`]: watching a descriptor from the event loop
//! - [`pidfd`]: waiting for and signalling a process that can't be mistaken for another
//! - [`exits`]: how processes ended that are no children of ours
//! - [`peer`]: who is at the other end of a socket; [`handed`]: sockets that a service manager opened
//! - [`random`]: numbers that nobody can guess
//! - [`process`], [`tree`]: `/proc`, and the processes of an attempt where no cgroup holds them
//! - [`observe`]: what an attempt is doing, seen from outside
//! - [`folder`], [`objects`]: what outlives processes: files, shared memory, mounts
//! - [`guardian`]: ends the run's processes when sandtest itself is killed; [`held`]: what it gives back then
//! - [`terminal`]: lending the terminal to a job

pub mod cgroup;
pub mod child;
pub mod controllers;
pub mod error;
pub mod exits;
pub mod files;
pub mod folder;
pub mod ground;
pub mod group;
pub mod guardian;
pub mod handed;
pub mod held;
pub mod hierarchy;
pub mod keeper;
pub mod objects;
pub mod observe;
pub mod oom;
pub mod peer;
pub mod pidfd;
pub mod process;
pub mod random;
pub mod readiness;
pub mod reused;
pub mod sensors;
pub mod spawn;
pub mod spawner;
pub mod syscall;
pub mod terminal;
pub mod tree;
pub mod wrapper;

pub use error::KernelError;
