//! Which jobs are likely to need alike: those that run the same program, or the same script of an interpreter.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::Path;

use super::Draft;

/// Programs that are whatever their first argument is.
const INTERPRETERS: [&str; 8] = ["bash", "env", "node", "perl", "python", "python3", "ruby", "sh"];

/// Words for a kin are no longer than this, in bytes.
const LONGEST: usize = 250;

/// The kin of each of `drafts`, in their order.
pub fn kin(drafts: &[Draft]) -> Vec<u32> {
    let mut known: HashMap<Key, u32> = HashMap::new();
    drafts
        .iter()
        .map(|draft| {
            let next = u32::try_from(known.len()).unwrap_or(u32::MAX);
            *known.entry(key(draft)).or_insert(next)
        })
        .collect()
}

/// The same in words, for others: what is alike here is in a run from another folder only if it is the same program.
pub fn words(drafts: &[Draft], folder: &Path) -> Vec<String> {
    let place = |word: &OsStr| {
        let path = Path::new(word);
        // A name without a folder is looked up in PATH, here as there.
        let is_path = path.components().count() > 1;
        if is_path { folder.join(path).display().to_string() } else { path.display().to_string() }
    };
    let of = |draft: &Draft| {
        let (program, script, binary) = key(draft);
        let script = script.map(|script| folder.join(script).display().to_string());
        let text = [Some(place(program)), script, binary.map(str::to_owned)]
            .into_iter()
            .flatten()
            .collect::<Vec<String>>()
            .join(" ");
        // Its end tells more than its beginning.
        let begin = (text.len().saturating_sub(LONGEST)..text.len()).find(|at| text.is_char_boundary(*at));
        text[begin.unwrap_or(0)..].to_owned()
    };
    drafts.iter().map(of).collect()
}

/// The program, an interpreter's script, and the test binary or file where a source knows it.
type Key<'a> = (&'a OsStr, Option<&'a OsStr>, Option<&'a str>);

fn key(draft: &Draft) -> Key<'_> {
    let program = draft.command.program.as_os_str();
    let name = Path::new(program).file_name().and_then(OsStr::to_str);
    let interprets = name.is_some_and(|name| INTERPRETERS.contains(&name));
    let first = draft.command.arguments.iter().find(|word| !word.as_encoded_bytes().starts_with(b"-"));
    let script = first.filter(|_| interprets).map(|word| word.as_os_str());
    (program, script, draft.address.binary_id.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::single;

    #[test]
    fn the_same_program_is_the_same_kin() {
        let of = |line: &str| single(&line.split(' ').map(Into::into).collect::<Vec<_>>()).unwrap();
        let drafts =
            ["./a 1", "./b 1", "./a 2", "python3 -q x.py 1", "python3 y.py", "python3 x.py 3"].map(of);
        assert_eq!(kin(&drafts), [0, 1, 0, 2, 3, 2]);
        let said = words(&drafts, Path::new("/home/x"));
        assert_eq!(said[..2], ["/home/x/./a", "/home/x/./b"]);
        assert_eq!((said[3].as_str(), &said[3]), ("python3 /home/x/x.py", &said[5]));
        assert!(words(&drafts, Path::new(&format!("/{}", "ä".repeat(300))))[0].len() <= LONGEST);
    }
}
