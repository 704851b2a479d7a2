//! Test binaries: each a job, or each of their tests.
//!
//! ```text
//! each binary: does the filter depend on its tests?  ── no ──▶ one job, or none
//!    │ yes, or each test
//! asked for its tests: as googletest, libtest, Catch2 would be, until it answers
//!    │ a list                                          └ none: from cargo, it runs whole (harness = false); else an error
//! each test: a job each       each binary: one job, told the names that are meant
//! ```
//!
//! googletest is asked first: the others refuse its `--gtest_list_tests`, while googletest takes no notice of what it does not
//! know and would run all tests.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, eaccess};

use super::ask::{Answer, AskError, Question};
use super::{Each, SourceError, Unlisted, Wanted, catch2, googletest, libtest};
use crate::model::Command;
use crate::model::text::escaped;
use crate::source::filter::{self, Subject};
use crate::source::{Address, Draft};

/// A test binary.
#[derive(Debug, Clone)]
pub struct Binary {
    /// The file.
    pub path: PathBuf,
    /// What filters know it by.
    pub name: String,
    /// The same, unique.
    pub id: String,
    /// Its package, where there are packages.
    pub package: Option<String>,
    /// What starts it: a program and its arguments, none for itself.
    pub runner: Vec<OsString>,
    /// Where it runs; `None`: where we do.
    pub folder: Option<PathBuf>,
    /// Added to its environment.
    pub environment: Vec<(String, OsString)>,
    /// What it speaks, if that is known.
    pub harness: Option<Harness>,
    /// Without a list it runs as it is.
    pub runs_whole: bool,
    /// Its place among those of its package.
    pub rank: usize,
}

/// What a test binary speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harness {
    /// Rust's.
    Libtest,
    /// googletest.
    Googletest,
    /// Catch2, version 3.
    Catch2,
    /// Catch2, version 2.
    Catch2Old,
}

/// In this order a binary is asked that speaks nobody knows what.
const ANY: [Harness; 4] = [Harness::Googletest, Harness::Libtest, Harness::Catch2, Harness::Catch2Old];

impl Harness {
    /// What to ask for, given the arguments of the user.
    fn listings(self, arguments: &[OsString]) -> Result<Vec<Option<Vec<OsString>>>, SourceError> {
        Ok(match self {
            Harness::Libtest => libtest(arguments)?.listings().into(),
            Harness::Googletest => vec![Some(googletest::listing(arguments))],
            Harness::Catch2 => vec![Some(catch2::listing(arguments))],
            Harness::Catch2Old => vec![Some(catch2::old_listing(arguments))],
        })
    }

    /// The tests to run, by the answers.
    fn tests(self, arguments: &[OsString], lists: &[Vec<u8>]) -> Result<Vec<OsString>, Unlisted> {
        let list = |number: usize| lists.get(number).map_or(&[][..], Vec::as_slice);
        match self {
            Harness::Libtest => {
                let (all, ignored) = (libtest::names(list(0))?, libtest::names(list(1))?);
                Ok(libtest::Arguments::parse(arguments).unwrap_or_default().chosen(all, ignored))
            }
            Harness::Googletest => googletest::names(list(0), arguments),
            Harness::Catch2 => catch2::names(list(0)),
            Harness::Catch2Old => catch2::old_names(list(0)),
        }
    }

    /// The arguments that run one test.
    fn one(self, arguments: &[OsString], test: &OsStr) -> Result<Vec<OsString>, SourceError> {
        Ok(match self {
            Harness::Libtest => libtest(arguments)?.of_one(test),
            _ => self.some(arguments, vec![test.to_owned()])?,
        })
    }

    /// The arguments that run some of them.
    fn some(self, arguments: &[OsString], tests: Vec<OsString>) -> Result<Vec<OsString>, SourceError> {
        Ok(match self {
            Harness::Libtest => libtest(arguments)?.of_some(tests),
            Harness::Googletest => googletest::of_some(arguments, &tests),
            Harness::Catch2 => catch2::of_some(arguments, &tests),
            Harness::Catch2Old => catch2::of_some_old(arguments, &tests),
        })
    }

    /// What each job has in its environment besides: a shard of one test, told by somebody around us, would be none.
    fn environment(self) -> Vec<(String, OsString)> {
        let whole = [("GTEST_TOTAL_SHARDS", "1"), ("GTEST_SHARD_INDEX", "0")];
        let whole = whole.map(|(name, value)| (name.to_owned(), value.into()));
        if self == Harness::Googletest { whole.into() } else { Vec::new() }
    }
}

fn libtest(arguments: &[OsString]) -> Result<libtest::Arguments, SourceError> {
    libtest::Arguments::parse(arguments).map_err(SourceError::Argument)
}

/// What a binary has.
struct Listed {
    harness: Harness,
    tests: Vec<OsString>,
}

/// A binary that answers, and has no list.
struct Refused {
    why: Unlisted,
    /// The end of its standard error.
    said: String,
}

/// Test binaries by their paths, and their arguments behind them.
pub(super) fn find(words: &[OsString], wanted: &Wanted) -> Result<Vec<Draft>, SourceError> {
    let is_binary = |word: &&OsString| {
        let path = Path::new(word);
        word.as_bytes().contains(&b'/') && path.is_file() && eaccess(path, AccessFlags::X_OK).is_ok()
    };
    let count = words.iter().take_while(is_binary).count();
    let (paths, arguments) = words.split_at(count);
    let arguments = arguments.strip_prefix(&[OsString::from("--")]).unwrap_or(arguments);
    if paths.is_empty() {
        let path = escaped(&words.first().map(|word| word.to_string_lossy()).unwrap_or_default());
        return Err(SourceError::Argument(format!("{path} can't be executed (chmod +x?)")));
    }
    let binary = |path: &OsString| {
        let shown = path.to_string_lossy().into_owned();
        let name =
            Path::new(path).file_name().map_or(shown.clone(), |name| name.to_string_lossy().into_owned());
        Binary {
            path: path.into(),
            name,
            id: shown,
            package: None,
            runner: Vec::new(),
            folder: None,
            environment: Vec::new(),
            harness: None,
            runs_whole: false,
            rank: 0,
        }
    };
    drafts(paths.iter().map(binary).collect(), arguments, wanted)
}

/// The jobs that these binaries, given these arguments, come to.
pub(super) fn drafts(
    binaries: Vec<Binary>,
    arguments: &[OsString],
    wanted: &Wanted,
) -> Result<Vec<Draft>, SourceError> {
    let meant: Vec<Option<bool>> =
        binaries.iter().map(|binary| filter::any(wanted.filters, binary.subject(None))).collect();
    let asked = |meant: &Option<bool>| meant.is_none() || (*meant == Some(true) && wanted.each == Each::Test);
    let questioned: Vec<&Binary> =
        binaries.iter().zip(&meant).filter(|(_, meant)| asked(meant)).map(|(binary, _)| binary).collect();
    let mut lists = list(&questioned, arguments, wanted)?.into_iter();
    let mut drafts = Vec::new();
    for (binary, meant) in binaries.iter().zip(&meant) {
        if !asked(meant) {
            drafts.extend((*meant == Some(true)).then(|| binary.draft(arguments.to_vec())));
            continue;
        }
        match lists.next() {
            Some(Ok(listed)) => drafts.extend(binary.of_its_tests(&listed, arguments, wanted)?),
            Some(Err(Refused { why, .. })) if binary.runs_whole && meant.is_some() => {
                (wanted.tell)(&format!("{}: {why}; it runs whole, as one job", binary.shown()));
                drafts.push(binary.draft(arguments.to_vec()));
            }
            Some(Err(Refused { why, .. })) if binary.runs_whole => {
                (wanted.tell)(&format!(
                    "{}: {why}; it is left out: test() can't choose from it",
                    binary.shown()
                ));
            }
            Some(Err(Refused { why, said })) => {
                return Err(SourceError::Unlisted { command: binary.shown(), why, said });
            }
            None => {}
        }
    }
    Ok(drafts)
}

/// Asks each for its tests.
fn list(
    binaries: &[&Binary],
    arguments: &[OsString],
    wanted: &Wanted,
) -> Result<Vec<Result<Listed, Refused>>, SourceError> {
    let mut lists: Vec<Option<Result<Listed, Refused>>> = binaries.iter().map(|_| None).collect();
    let mut last_words = vec![String::new(); binaries.len()];
    for harness in ANY {
        let open: Vec<usize> = (0..binaries.len())
            .filter(|number| {
                lists[*number].is_none() && binaries[*number].harness.is_none_or(|known| known == harness)
            })
            .collect();
        let listings = if open.is_empty() { Vec::new() } else { harness.listings(arguments)? };
        let questions: Vec<Question> = open
            .iter()
            .flat_map(|number| listings.iter().flatten().map(|words| binaries[*number].question(words)))
            .collect();
        let mut answers = wanted.asker.ask_all(&questions).into_iter();
        for number in open {
            let binary = binaries[number];
            let mut outputs = Vec::new();
            let mut refused = None;
            for listing in &listings {
                let answer = listing.as_ref().and_then(|_| answers.next()).transpose();
                match binary.judge(harness, answer) {
                    Ok(output) => outputs.push(output),
                    Err(why) => refused = Some(why?),
                }
            }
            let found = match refused {
                Some(why) => Err(why),
                None => {
                    harness.tests(arguments, &outputs).map_err(|why| Refused { why, said: String::new() })
                }
            };
            match found {
                Ok(tests) => lists[number] = Some(Ok(Listed { harness, tests })),
                Err(why) if binary.harness.is_some() => lists[number] = Some(Err(why)),
                // Perhaps it speaks something else.
                Err(refused) if !refused.said.is_empty() => last_words[number] = refused.said,
                Err(_) => {}
            }
        }
    }
    let unknown = |said| Err(Refused { why: Unlisted::Unknown, said });
    Ok(lists.into_iter().zip(last_words).map(|(list, said)| list.unwrap_or_else(|| unknown(said))).collect())
}

impl Binary {
    fn subject<'a>(&'a self, test: Option<&'a str>) -> Subject<'a> {
        Subject { package: self.package.as_deref(), binary: &self.name, binary_id: &self.id, test }
    }

    fn shown(&self) -> String {
        escaped(&self.id)
    }

    fn question(&self, words: &[OsString]) -> Question {
        Question {
            words: self.started_with(words.to_vec()).collect(),
            folder: self.folder.clone(),
            environment: self.environment.clone(),
        }
    }

    /// What an answer holds; else why there is none: an inner error ends it, since to ask on would make it no better.
    fn judge(
        &self,
        harness: Harness,
        answer: Result<Option<Answer>, AskError>,
    ) -> Result<Vec<u8>, Result<Refused, SourceError>> {
        match answer {
            Ok(None) => Ok(Vec::new()),
            Ok(Some(answer)) if answer.code == 0 => Ok(answer.output),
            // Its exit code is the number of tests.
            Ok(Some(answer))
                if harness == Harness::Catch2Old && catch2::counts(&answer.output, answer.code) =>
            {
                Ok(answer.output)
            }
            Ok(Some(answer)) if answer.late => {
                let (command, said) = (self.shown(), answer.said);
                Err(Err(SourceError::Unlisted { command, why: Unlisted::Late, said }))
            }
            // Ended by a signal, or for its limits: it would be again.
            Ok(Some(answer)) if answer.code > 124 && self.harness.is_some() => {
                let why = Unlisted::Failed(answer.code);
                Err(Err(SourceError::Unlisted { command: self.shown(), why, said: answer.said }))
            }
            Ok(Some(answer)) => Err(Ok(Refused { why: Unlisted::Failed(answer.code), said: answer.said })),
            Err(error) => Err(Err(error.into())),
        }
    }

    fn of_its_tests(
        &self,
        listed: &Listed,
        arguments: &[OsString],
        wanted: &Wanted,
    ) -> Result<Vec<Draft>, SourceError> {
        let is_meant = |test: &&OsString| {
            filter::any(wanted.filters, self.subject(Some(&test.to_string_lossy()))) == Some(true)
        };
        let harness = listed.harness;
        let meant: Vec<&OsString> = listed.tests.iter().filter(is_meant).collect();
        let with_environment = |mut draft: Draft| {
            draft.environment.extend(harness.environment());
            draft
        };
        if wanted.each == Each::Test {
            return meant
                .into_iter()
                .map(|test| {
                    let mut draft = self.draft(harness.one(arguments, test)?);
                    let test = test.to_string_lossy().into_owned();
                    draft.name = Some(format!("{} {test}", self.id));
                    draft.address.test = Some(test);
                    Ok(with_environment(draft))
                })
                .collect();
        }
        if meant.is_empty() {
            return Ok(Vec::new());
        }
        let words = match meant.len() == listed.tests.len() {
            true => arguments.to_vec(),
            false => harness.some(arguments, meant.into_iter().cloned().collect())?,
        };
        Ok(vec![with_environment(self.draft(words))])
    }

    /// The words that start it.
    fn started_with(&self, arguments: Vec<OsString>) -> impl Iterator<Item = OsString> {
        let path = self.path.clone().into_os_string();
        self.runner.iter().cloned().chain(std::iter::once(path)).chain(arguments)
    }

    /// A job that runs it with these arguments.
    fn draft(&self, arguments: Vec<OsString>) -> Draft {
        let mut words = self.started_with(arguments);
        let program = words.next().unwrap_or_default();
        let mut draft = Draft::of(Command { program, arguments: words.collect() });
        draft.name = Some(self.id.clone());
        draft.folder = self.folder.clone();
        draft.environment = self.environment.clone();
        draft.address = Address {
            package: self.package.clone(),
            binary: Some(self.name.clone()),
            binary_id: Some(self.id.clone()),
            test: None,
        };
        draft
    }
}
