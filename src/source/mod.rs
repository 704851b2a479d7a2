//! Where jobs come from.
//!
//! - [`list`]: one command a line
//! - [`shards`]: one command, cut in parts
//! - [`names`]: what jobs are called

pub mod list;
pub mod names;
pub mod shards;

use std::ffi::OsString;

use crate::model::{Command, Shard};

/// A job before it has a name, a number and limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// What to execute.
    pub command: Command,
    /// Which part of a sharded command it is.
    pub shard: Option<Shard>,
}

/// The one command of the command line; `None` without words.
pub fn single(words: &[OsString]) -> Option<Draft> {
    let (program, arguments) = words.split_first()?;
    let command = Command { program: program.clone(), arguments: arguments.to_vec() };
    Some(Draft { command, shard: None })
}
