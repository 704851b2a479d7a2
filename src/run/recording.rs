//! All that the policy was given and said, a line a step, so that it can be asked again.
//!
//! ```text
//! {"sandtest-record":4,"settings":…,"jobs":[…],"names":[…]}
//! {"now":…,"input":…,"effects":[…]}        one a step
//! ```

use std::fs::File;
use std::io::{self, BufRead, Write};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::AttemptId;
use crate::model::governor::Decision;
use crate::model::text::harmless;
use crate::policy::scheduler::{Effect, Heard, Input, JobSpec, Scheduler, Settings};

/// Written first; a record of another version is not read.
const VERSION: u32 = 4;

/// A longer line is none of ours.
const LONGEST_LINE: u64 = 64 << 20;

/// No run is longer, and none has more jobs at once.
const LONGEST: Duration = Duration::from_secs(10 * 366 * 24 * 3600);
/// See [`LONGEST`].
const MOST: usize = 1_000_000;

#[derive(Serialize, Deserialize)]
struct Head {
    #[serde(rename = "sandtest-record")]
    version: u32,
    settings: Settings,
    jobs: Vec<JobSpec>,
    names: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Step<I, E> {
    now: Duration,
    input: I,
    effects: E,
}

/// Writes a record.
#[derive(Debug)]
pub(super) struct Recorder {
    /// `None` once it can't be written any more.
    file: Option<File>,
    failure: Option<io::Error>,
}

impl Recorder {
    /// Begins with what the policy was made of.
    pub fn begin(file: File, settings: Settings, jobs: &[JobSpec], names: Vec<String>) -> Recorder {
        let mut recorder = Recorder { file: Some(file), failure: None };
        recorder.line(&Head { version: VERSION, settings, jobs: jobs.to_vec(), names });
        recorder
    }

    /// Notes one step.
    pub fn step(&mut self, now: Duration, input: &Input, effects: &[Effect]) {
        self.line(&Step { now, input, effects });
    }

    /// Why the record ends early, if it does.
    pub fn failure(self) -> Option<io::Error> {
        self.failure
    }

    /// In one write, so that a run that is killed leaves whole lines.
    fn line(&mut self, line: &impl Serialize) {
        let Some(file) = &mut self.file else { return };
        let written = serde_json::to_vec(line).map_err(io::Error::from).and_then(|mut bytes| {
            bytes.push(b'\n');
            file.write_all(&bytes)
        });
        if let Err(error) = written {
            // A record with a gap would replay to something else: it ends here.
            (self.file, self.failure) = (None, Some(error));
        }
    }
}

/// Why a record can't be replayed, or comes to something else.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The file can't be read.
    #[error("read it: {0}")]
    Read(#[from] io::Error),
    /// It does not begin as a record does.
    #[error("line 1: {0}; expected a file that `sandtest exec --record` wrote")]
    NoRecord(String),
    /// Of another version.
    #[error("it is a record of version {found}; this sandtest reads version {VERSION}")]
    Version {
        /// As it says itself.
        found: u32,
    },
    /// A line that is no step.
    #[error("line {line}: {why}")]
    Malformed {
        /// 1-based.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// The last line has no end.
    #[error("it is cut off in line {line}; the {steps} steps before it came to the same again")]
    CutOff {
        /// 1-based.
        line: usize,
        /// Steps before it.
        steps: usize,
    },
    /// The policy decides otherwise now.
    #[error(
        "line {line}: at {now:?} the decision is another\n  recorded: {recorded}\n  now:      {replayed}"
    )]
    Differs {
        /// 1-based.
        line: usize,
        /// When.
        now: Duration,
        /// What it said then.
        recorded: String,
        /// What it says now.
        replayed: String,
    },
}

/// Steps through a record again. `tell` is given each decision of the governor with the name of its job. Returns the
/// number of steps.
///
/// # Errors
/// [`ReplayError`] at the first line that is no step, or comes to something else.
pub fn replay(
    source: &mut impl BufRead,
    mut tell: impl FnMut(Duration, &Decision, Option<&str>),
) -> Result<usize, ReplayError> {
    let head = line(source)?.ok_or_else(|| ReplayError::NoRecord("the file is empty".into()))?;
    let version = serde_json::from_str::<serde_json::Value>(&head).ok();
    let version = version.as_ref().and_then(|head| head.get("sandtest-record")?.as_u64());
    match version {
        Some(version) if version == u64::from(VERSION) => {}
        Some(version) => {
            return Err(ReplayError::Version { found: u32::try_from(version).unwrap_or(u32::MAX) });
        }
        None => return Err(ReplayError::NoRecord("it is no record".into())),
    }
    let head: Head = serde_json::from_str(&head).map_err(|error| ReplayError::NoRecord(error.to_string()))?;
    check_head(&head).map_err(ReplayError::NoRecord)?;
    let jobs = head.jobs.len();
    let mut scheduler = Scheduler::new(head.settings, head.jobs);
    let (mut steps, mut last) = (0, Duration::ZERO);
    while let Some(text) = line(source)? {
        let number = steps + 2;
        if !text.ends_with('\n') {
            return Err(ReplayError::CutOff { line: number, steps });
        }
        let malformed = |why: String| ReplayError::Malformed { line: number, why };
        let step: Step<Input, Vec<Effect>> =
            serde_json::from_str(&text).map_err(|error| malformed(error.to_string()))?;
        check_step(&step.input, step.now, last, jobs).map_err(malformed)?;
        let effects = scheduler.step(step.now, step.input);
        if effects != step.effects {
            let shown = |effects: &[Effect]| serde_json::to_string(effects).unwrap_or_default();
            let (recorded, replayed) = (shown(&step.effects), shown(&effects));
            return Err(ReplayError::Differs { line: number, now: step.now, recorded, replayed });
        }
        for effect in &effects {
            if let Effect::Decided(decision) = effect {
                let name = decision.attempt.and_then(|id| head.names.get(id.job.0 as usize));
                // A record may come from anyone: what would move a cursor is not shown.
                let name = name.map(|name| harmless(name));
                tell(step.now, decision, name.as_deref());
            }
        }
        (steps, last) = (steps + 1, step.now);
    }
    Ok(steps)
}

/// The next line with its end, if it has one.
fn line(source: &mut impl BufRead) -> Result<Option<String>, ReplayError> {
    let mut bytes = Vec::new();
    io::Read::take(&mut *source, LONGEST_LINE).read_until(b'\n', &mut bytes)?;
    Ok((!bytes.is_empty()).then(|| String::from_utf8_lossy(&bytes).into_owned()))
}

/// What no run can have would not come to a decision but to an end.
fn check_head(head: &Head) -> Result<(), String> {
    let of_jobs = head.jobs.iter().flat_map(|job| {
        let retry = [job.retry.delay, job.retry.max_delay, job.on_timeout, job.grace];
        [job.timeout, job.slow_after, job.idle_timeout].into_iter().flatten().chain(retry)
    });
    let of_run = head.settings.run_timeout.into_iter().chain([head.settings.settle_timeout]);
    if of_jobs.chain(of_run).any(|time| time > LONGEST) {
        return Err("a time of more than ten years".into());
    }
    if head.names.len() != head.jobs.len() {
        return Err(format!("{} names of {} jobs", head.names.len(), head.jobs.len()));
    }
    if head.settings.parallel == 0 || head.settings.parallel > MOST {
        return Err(format!("{} jobs at once", head.settings.parallel));
    }
    let groups = &head.settings.groups;
    if groups.len() > MOST || groups.iter().any(|count| *count as usize > MOST) {
        return Err("more places in groups than any run has".into());
    }
    let is_ours = |group: &u32| (*group as usize) < groups.len();
    if !head.jobs.iter().all(|job| job.groups.iter().all(is_ours)) {
        return Err("a job is in a group that there is not".into());
    }
    Ok(())
}

fn check_step(input: &Input, now: Duration, last: Duration, jobs: usize) -> Result<(), String> {
    if now < last || now > LONGEST {
        return Err(format!("time goes from {last:?} to {now:?}"));
    }
    let is_ours = |id: &AttemptId| (id.job.0 as usize) < jobs && (id.number as usize) < MOST;
    let ids: Vec<AttemptId> = match input {
        Input::Started(id) | Input::Exited(id) | Input::Removed(id) | Input::Active(id, _) => vec![*id],
        Input::Diagnosed(id) | Input::WasOver(id) => vec![*id],
        Input::Heard(Heard::Grant(id) | Heard::Freeze(id) | Heard::Thaw(id) | Heard::Evict(id)) => vec![*id],
        Input::Ended(end) => vec![end.id],
        Input::Sense(reading) => reading.jobs.iter().map(|job| job.id).collect(),
        _ => Vec::new(),
    };
    match ids.iter().find(|id| !is_ours(id)) {
        Some(id) => Err(format!("there is no attempt {id} in it")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::governor::JobFacts;

    fn record(steps: usize) -> Vec<u8> {
        let path = tempfile::NamedTempFile::new().unwrap();
        let settings = Settings::of(1);
        let facts = JobFacts { group: 0, memory: None, restartable: true, weight: 1 };
        let jobs = vec![JobSpec::of(facts); 2];
        let mut recorder =
            Recorder::begin(path.reopen().unwrap(), settings.clone(), &jobs, vec!["a".into(), "b".into()]);
        let mut scheduler = Scheduler::new(settings, jobs);
        for step in 0..steps {
            let (now, input) = (Duration::from_millis(step as u64), Input::Begin);
            recorder.step(now, &input, &scheduler.step(now, input.clone()));
        }
        std::fs::read(path.path()).unwrap()
    }

    fn replayed(bytes: &[u8]) -> Result<usize, String> {
        replay(&mut &bytes[..], |_, _, _| {}).map_err(|error| error.to_string())
    }

    #[test]
    fn a_record_comes_to_the_same_again() {
        assert_eq!(replayed(&record(3)), Ok(3));
    }

    #[test]
    fn another_decision_is_shown_with_its_line() {
        let text = String::from_utf8(record(2)).unwrap().replacen("\"start\"", "\"kill\"", 1);
        assert!(
            replayed(text.as_bytes()).unwrap_err().starts_with("line 2"),
            "{:?}",
            replayed(text.as_bytes())
        );
    }

    #[test]
    fn what_is_no_record_is_refused() {
        let whole = String::from_utf8(record(2)).unwrap();
        assert!(replayed(&whole.as_bytes()[..whole.len() - 5]).unwrap_err().contains("cut off in line 3"));
        for (text, wanted) in [
            (String::new(), "empty"),
            ("hello\n".into(), "--record"),
            (whole.replacen("record\":4", "record\":3", 1), "version 3"),
            (whole.replacen("\"parallel\":1", "\"parallel\":0", 1), "0 jobs at once"),
            (whole.replacen("\"begin\"", "{\"started\":{\"job\":9,\"number\":1}}", 1), "no attempt 9-1"),
            (whole.replacen("\"secs\":0", "\"secs\":99999999999", 3), "years"),
        ] {
            let refusal = replayed(text.as_bytes()).unwrap_err();
            assert!(refusal.contains(wanted), "{wanted}: {refusal}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(at in 0usize..900, byte: u8, cut in 0usize..900) {
            let mut bytes = record(3);
            let (length, at) = (bytes.len(), at % bytes.len());
            bytes[at] = byte;
            bytes.truncate(cut.max(length - cut.min(length)));
            let _ = replayed(&bytes);
        }
    }
}
