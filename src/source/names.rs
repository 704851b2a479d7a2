//! What jobs are called: as their source says or by their command line, with `#N` where two are alike.

use std::collections::HashMap;

use super::Draft;

/// The names of `drafts`, in their order; no two are alike.
pub fn names(drafts: &[Draft]) -> Vec<String> {
    let plain: Vec<String> = drafts.iter().map(plain).collect();
    let mut total: HashMap<&str, u32> = HashMap::new();
    for name in &plain {
        *total.entry(name).or_default() += 1;
    }
    let mut seen: HashMap<&str, u32> = HashMap::new();
    plain
        .iter()
        .map(|name| {
            let number = seen.entry(name).or_default();
            *number += 1;
            if total[name.as_str()] > 1 { format!("{name}#{number}") } else { name.clone() }
        })
        .collect()
}

fn plain(draft: &Draft) -> String {
    if let Some(name) = &draft.name {
        return name.clone();
    }
    let words = std::iter::once(&draft.command.program).chain(&draft.command.arguments);
    let words: Vec<String> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    let line = shell_words::join(&words);
    match draft.shard {
        Some(shard) => format!("{line} shard {}/{}", shard.index, shard.total),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::single;

    fn draft(words: &[&str]) -> Draft {
        single(&words.iter().map(|word| word.into()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn a_name_can_be_pasted_into_a_shell() {
        assert_eq!(names(&[draft(&["echo", "a b", "it's"])]), [r#"echo 'a b' 'it'\''s'"#]);
    }

    #[test]
    fn only_those_that_are_alike_are_numbered() {
        let drafts = [draft(&["true"]), draft(&["false"]), draft(&["true"])];
        assert_eq!(names(&drafts), ["true#1", "false", "true#2"]);
    }
}
