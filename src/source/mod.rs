//! Where jobs come from.
//!
//! - [`list`]: one command a line
//! - [`shards`]: one command, cut in parts
//! - [`names`]: what jobs are called
//! - [`kin`]: which of them are likely to be alike
//! - [`drivers`]: what makes other drivers of tests start them through our wrapper
//! - [`cargo_config`]: runners that cargo is told of

pub mod cargo_config;
pub mod drivers;
pub mod kin;
pub mod list;
pub mod names;
pub mod shards;

use std::ffi::OsString;

use crate::model::{Bytes, Command, Shard};

/// A job before it has a name, a number and limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// What to execute.
    pub command: Command,
    /// Which part of a sharded command it is.
    pub shard: Option<Shard>,
    /// The memory that it is said to need.
    pub memory: Option<Bytes>,
    /// Whether it may be killed to make room, and run again; `None` where nothing is said.
    pub restartable: Option<bool>,
}

impl Draft {
    /// Of a command of which nothing else is said.
    pub fn of(command: Command) -> Draft {
        Draft { command, shard: None, memory: None, restartable: None }
    }
}

/// The one command of the command line; `None` without words.
pub fn single(words: &[OsString]) -> Option<Draft> {
    let (program, arguments) = words.split_first()?;
    Some(Draft::of(Command { program: program.clone(), arguments: arguments.to_vec() }))
}
