//! What one user may have of a shared box: `dev=weight:2,memory:8GiB,jobs:4`.

use std::str::FromStr;

use nix::unistd::User;

use crate::model::Bytes;

/// What is expected, for those who said something else.
const EXPECTED: &str = "a user and its terms, such as dev=weight:2,memory:8GiB,jobs:4";

/// The terms of one user; what is not said is as for everybody.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UserTerms {
    /// Whose.
    pub uid: u32,
    /// Against other users, of whom each counts 1.
    pub weight: Option<f64>,
    /// All its jobs together; one may always run.
    pub memory: Option<Bytes>,
    /// Its jobs at once.
    pub jobs: Option<u32>,
}

impl FromStr for UserTerms {
    type Err = String;

    fn from_str(text: &str) -> Result<UserTerms, String> {
        let (who, terms) = text.split_once('=').ok_or_else(|| format!("{text:?}: expected {EXPECTED}"))?;
        let mut found = UserTerms { uid: uid(who)?, weight: None, memory: None, jobs: None };
        for term in terms.split(',') {
            let (name, value) = term.split_once(':').unwrap_or((term, ""));
            let odd = |wanted: &str| format!("{name} is {value:?}; expected {wanted}");
            match name {
                "weight" => {
                    let weight = value.parse().ok().filter(|weight: &f64| (0.001..=1000.0).contains(weight));
                    found.weight = Some(weight.ok_or_else(|| odd("a number from 0.001 to 1000"))?);
                }
                "memory" => found.memory = Some(value.parse().map_err(|_| odd("a size such as 8GiB"))?),
                "jobs" => {
                    let jobs = value.parse().ok().filter(|jobs| *jobs >= 1);
                    found.jobs = Some(jobs.ok_or_else(|| odd("a whole number of at least 1"))?);
                }
                _ => return Err(format!("{term:?} is no term; expected {EXPECTED}")),
            }
        }
        Ok(found)
    }
}

/// By number, or by name.
fn uid(who: &str) -> Result<u32, String> {
    if let Ok(uid) = who.parse() {
        return Ok(uid);
    }
    match User::from_name(who) {
        Ok(Some(user)) => Ok(user.uid.as_raw()),
        Ok(None) => Err(format!("there is no user {who:?} here; expected {EXPECTED}")),
        Err(error) => Err(format!("look up the user {who:?}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_read_and_what_is_wrong_with_them_is_said() {
        let of = |text: &str| text.parse::<UserTerms>();
        assert_eq!(
            of("1000=weight:2.5,memory:8GiB,jobs:4"),
            Ok(UserTerms { uid: 1000, weight: Some(2.5), memory: Some(Bytes::gib(8)), jobs: Some(4) })
        );
        assert_eq!(of("root=jobs:1").map(|terms| (terms.uid, terms.jobs)), Ok((0, Some(1))));
        for (text, wanted) in [
            ("1000", "such as dev=weight:2"),
            ("1000=", "is no term"),
            ("1000=weight:0", "from 0.001 to 1000"),
            ("1000=weight:nan", "from 0.001 to 1000"),
            ("1000=memory:lots", "a size such as 8GiB"),
            ("1000=jobs:0", "at least 1"),
            ("no-such-user-here=jobs:1", "there is no user"),
        ] {
            assert!(of(text).unwrap_err().contains(wanted), "{text}: {:?}", of(text));
        }
    }
}
