//! One part of the jobs, for one machine of several: `slice:m/n`, `count:m/n`, `hash:m/n`, as nextest has them.

use std::collections::HashMap;
use std::str::FromStr;

/// Which part of how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    how: How,
    /// From 0.
    part: u64,
    of: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// In turn, over all jobs.
    Slice,
    /// In turn, within each binary.
    Count,
    /// By name: whatever else there is, a job stays in its part.
    Hash,
}

impl Partition {
    /// Of jobs by binary and name, in their order, which of them are in the part.
    pub fn of<'a>(&self, jobs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<bool> {
        let mut seen: HashMap<&str, u64> = HashMap::new();
        let mut place = |binary| {
            let next = seen.entry(binary).or_default();
            *next += 1;
            *next - 1
        };
        let number = |(binary, name)| match self.how {
            How::Slice => place(""),
            How::Count => place(binary),
            How::Hash => hash(binary, name),
        };
        jobs.into_iter().map(number).map(|number| number % self.of == self.part).collect()
    }
}

/// FNV-1a, mixed once more since it is taken modulo a small number. The same on all machines and in all versions of sandtest:
/// a suite that is cut by it must stay cut alike.
fn hash(binary: &str, name: &str) -> u64 {
    let bytes = binary.bytes().chain([0]).chain(name.bytes());
    let sum = bytes
        .fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    (sum ^ (sum >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32
}

impl FromStr for Partition {
    type Err = String;

    fn from_str(text: &str) -> Result<Partition, String> {
        let expected = "expected slice:M/N, count:M/N or hash:M/N, part M of N, such as slice:1/3";
        let refuse = || format!("{text:?} is no part; {expected}");
        let (how, numbers) = text.split_once(':').ok_or_else(refuse)?;
        let how = match how {
            "slice" => How::Slice,
            "count" => How::Count,
            "hash" => How::Hash,
            _ => return Err(refuse()),
        };
        let (part, of) = numbers.split_once('/').ok_or_else(refuse)?;
        let digits = |text: &str| {
            text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten()
        };
        let (part, of) = digits(part).zip(digits(of)).ok_or_else(refuse)?;
        if !(1..=of).contains(&part) {
            return Err(format!(
                "there is no part {part} of {of}: the first is 1, the last {of}; {expected}"
            ));
        }
        Ok(Partition { how, part: part - 1, of })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(how: &str, of: u64, jobs: &[(&str, &str)]) -> Vec<Vec<bool>> {
        (1..=of)
            .map(|part| format!("{how}:{part}/{of}").parse::<Partition>().unwrap().of(jobs.iter().copied()))
            .collect()
    }

    /// The table in nextest's documentation: three binaries of two tests, in three slices.
    #[test]
    fn slices_go_in_turn_over_all_and_counts_within_a_binary() {
        let jobs = [("1", "a"), ("1", "b"), ("2", "a"), ("2", "b"), ("3", "a"), ("3", "b")];
        assert_eq!(parts("slice", 3, &jobs)[0], [true, false, false, true, false, false]);
        assert_eq!(parts("count", 3, &jobs)[0], [true, false, true, false, true, false]);
        assert_eq!(parts("count", 3, &jobs)[2], [false; 6]);
    }

    /// These figures are a promise: with others each machine of a build would run other tests than the last time.
    #[test]
    fn a_hash_is_the_same_everywhere_and_for_ever() {
        let tenths: Vec<u64> =
            ["a", "b", "parse::list", "ä"].iter().map(|name| hash("tool::cli", name) % 10).collect();
        assert_eq!(tenths, [1, 8, 7, 1]);
        let names: Vec<String> = (0..1000).map(|number| format!("t{number}")).collect();
        let jobs: Vec<(&str, &str)> = names.iter().map(|name| ("many", name.as_str())).collect();
        for part in parts("hash", 4, &jobs) {
            let count = part.iter().filter(|in_it| **in_it).count();
            assert!((200..300).contains(&count), "{count} of 1000 in a quarter");
        }
    }

    #[test]
    fn what_is_no_part_is_refused() {
        for text in [
            "",
            "slice",
            "slice:1",
            "slice:0/2",
            "slice:3/2",
            "slice:1/0",
            "slice:+1/2",
            "slice:a/2",
            "half:1/2",
            "hash:1/2/3",
        ] {
            let error = text.parse::<Partition>().unwrap_err();
            assert!(error.contains("such as slice:1/3"), "{text}: {error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn each_job_is_in_one_part(
            jobs in proptest::collection::vec(("[ab]", "\\PC{0,3}"), 0..40), of in 1u64..9,
            how in proptest::sample::select(vec!["slice", "count", "hash"]),
        ) {
            let jobs: Vec<(&str, &str)> = jobs.iter().map(|(binary, name)| (binary.as_str(), name.as_str())).collect();
            let parts = parts(how, of, &jobs);
            for job in 0..jobs.len() {
                proptest::prop_assert_eq!(parts.iter().filter(|part| part[job]).count(), 1);
            }
        }
    }
}
