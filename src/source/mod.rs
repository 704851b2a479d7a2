//! Where jobs come from.
//!
//! - [`list`]: one command a line
//! - [`shards`]: one command, cut in parts
//! - [`native`]: test commands that are understood: each binary or each test of them
//! - [`filter`], [`partition`]: which of all those
//! - [`names`]: what jobs are called
//! - [`kin`]: which of them are likely to be alike
//! - [`drivers`]: what makes other drivers of tests start them through our wrapper
//! - [`cargo_config`]: runners and variables that cargo is told of

pub mod cargo_config;
pub mod drivers;
pub mod filter;
pub mod kin;
pub mod list;
pub mod names;
pub mod native;
pub mod partition;
pub mod shards;

use std::ffi::OsString;
use std::path::PathBuf;

use crate::model::{Bytes, Command, Shard};

/// What filters and partitions know a job by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Address {
    /// The package that it belongs to, where there are packages.
    pub package: Option<String>,
    /// The test binary or file; a command's program where its source says nothing.
    pub binary: Option<String>,
    /// The same, unique among all; like `binary` where its source says nothing.
    pub binary_id: Option<String>,
    /// The test; the job's name where its source says nothing.
    pub test: Option<String>,
}

/// A job before it has a number and limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// What its source calls it; by its command line where it has nothing better.
    pub name: Option<String>,
    /// What to execute.
    pub command: Command,
    /// The working directory, if it is not ours.
    pub folder: Option<PathBuf>,
    /// Added to its environment. A rule that says otherwise comes before it.
    pub environment: Vec<(String, OsString)>,
    /// What filters know it by.
    pub address: Address,
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
        Draft {
            name: None,
            command,
            folder: None,
            environment: Vec::new(),
            address: Address::default(),
            shard: None,
            memory: None,
            restartable: None,
        }
    }
}

/// The one command of the command line; `None` without words.
pub fn single(words: &[OsString]) -> Option<Draft> {
    let (program, arguments) = words.split_first()?;
    Some(Draft::of(Command { program: program.clone(), arguments: arguments.to_vec() }))
}
