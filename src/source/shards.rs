//! One command, cut in parts: `{shard}` and `{shards}` in its words become the part's number and their count.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::Draft;
use crate::model::{Command, Shard};

/// `total` parts of `draft`.
pub fn split(draft: &Draft, total: u32) -> Vec<Draft> {
    (0..total).map(|index| part(draft, Shard { index, total })).collect()
}

fn part(draft: &Draft, shard: Shard) -> Draft {
    let fill = |word: &OsString| {
        let word = replace(word, "{shard}", &shard.index.to_string());
        replace(&word, "{shards}", &shard.total.to_string())
    };
    let command = Command {
        program: fill(&draft.command.program),
        arguments: draft.command.arguments.iter().map(fill).collect(),
    };
    Draft { command, shard: Some(shard), ..draft.clone() }
}

fn replace(word: &OsStr, from: &str, to: &str) -> OsString {
    let (mut rest, mut filled) = (word.as_bytes(), Vec::new());
    while let Some(at) = rest.windows(from.len()).position(|window| window == from.as_bytes()) {
        filled.extend_from_slice(&rest[..at]);
        filled.extend_from_slice(to.as_bytes());
        rest = &rest[at + from.len()..];
    }
    filled.extend_from_slice(rest);
    OsString::from_vec(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::single;

    #[test]
    fn each_part_knows_its_number_and_their_count() {
        let draft = single(&["run".into(), "--part={shard}/{shards}".into(), "{other}".into()]).unwrap();
        let parts = split(&draft, 3);
        assert_eq!(parts.len(), 3);
        assert_eq!(parts[2].command.arguments, ["--part=2/3", "{other}"]);
        assert_eq!(parts[2].shard, Some(Shard { index: 2, total: 3 }));
    }
}
