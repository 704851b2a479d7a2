//! Asking a program for its tests, without trusting it: it is run by a sandtest of its own, in its own group with a job's limits,
//! and hears no more than it should.
//!
//! ```text
//! sandtest exec [options of this run] --source-step list -- PROGRAM --list ...
//!    │ stdout: a pipe, read up to LARGEST; past that it is asked to end
//!    │ stderr: a pipe, its end is kept to be shown
//!    └ ends with us (PR_SET_PDEATHSIG), and its job with it
//! ```

use std::ffi::OsString;
use std::io::{self, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::model::Bytes;
use crate::model::text::escaped;

/// A list is no longer; a million names fit.
const LARGEST: u64 = 64 << 20;

/// What a build tells of its artifacts is no longer.
const LARGEST_BUILD: u64 = 256 << 20;

/// So much of what was written on standard error is shown, in bytes.
const SHOWN: usize = 4096;

/// What `sandtest exec --timeout` ends with.
const TIMED_OUT: i32 = 124;

/// Asked no more than so many at once: each is a sandtest of its own.
const AT_ONCE: usize = 8;

/// How to start a sandtest that asks.
#[derive(Debug, Clone)]
pub struct Asker {
    /// The program and its options up to the command.
    pub sandtest: Vec<OsString>,
    /// How long a list may take; it is that sandtest which holds it to this.
    pub patience: Option<Duration>,
}

/// A question: a command, and where and with what it runs.
#[derive(Debug, Clone, Default)]
pub struct Question {
    /// Program and arguments.
    pub words: Vec<OsString>,
    /// Its working directory, if it is not ours.
    pub folder: Option<PathBuf>,
    /// Added to its environment.
    pub environment: Vec<(String, OsString)>,
}

/// What came of it.
#[derive(Debug)]
pub struct Answer {
    /// Standard output.
    pub output: Vec<u8>,
    /// The end of standard error.
    pub said: String,
    /// The exit code, as `sandtest exec` gives it.
    pub code: i32,
    /// Whether its time was up.
    pub late: bool,
}

/// No answer at all.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// sandtest could not be started again.
    #[error("start sandtest to ask {program}: {source}")]
    Start {
        /// Who was to be asked.
        program: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The answer has no end.
    #[error("{program} wrote more than {}; it was ended", Bytes(*.largest))]
    Flood {
        /// Who was asked.
        program: String,
        /// In bytes.
        largest: u64,
    },
}

impl Asker {
    /// Asks all of them, some at once; the answers in the order of the questions.
    pub fn ask_all(&self, questions: &[Question]) -> Vec<Result<Answer, AskError>> {
        let (next, answers) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let askers = processors.clamp(2, AT_ONCE).min(questions.len());
        std::thread::scope(|scope| {
            for _ in 0..askers {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        let Some(question) = questions.get(number) else { return };
                        let answer = self.ask(question);
                        answers
                            .lock()
                            .unwrap_or_else(|poisoned| poisoned.into_inner())
                            .push((number, answer));
                    }
                });
            }
        });
        let mut answers = answers.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        answers.sort_by_key(|(number, _)| *number);
        answers.into_iter().map(|(_, answer)| answer).collect()
    }

    /// Asks one.
    ///
    /// # Errors
    /// [`AskError`] without an end that could be judged.
    pub fn ask(&self, question: &Question) -> Result<Answer, AskError> {
        let begun = Instant::now();
        let mut child = self.start("list", question, Stdio::piped())?;
        let said = child.stderr.take();
        std::thread::scope(|scope| {
            let said = scope.spawn(move || said.map(tail).unwrap_or_default());
            let output = read(&mut child, LARGEST);
            let code = child.wait();
            let said = said.join().unwrap_or_default();
            let mut answer = answer(question, LARGEST, output, code, said)?;
            // A program may end with that code for reasons of its own.
            answer.late =
                answer.code == TIMED_OUT && self.patience.is_some_and(|most| begun.elapsed() >= most);
            Ok(answer)
        })
    }

    /// Has something built, with the budget of the run and no limit of a job's. What it says goes to our standard error.
    ///
    /// # Errors
    /// [`AskError`] without an end that could be judged.
    pub fn build(&self, question: &Question) -> Result<Answer, AskError> {
        let mut child = self.start("build", question, Stdio::inherit())?;
        let output = read(&mut child, LARGEST_BUILD);
        answer(question, LARGEST_BUILD, output, child.wait(), String::new())
    }

    fn start(&self, step: &str, question: &Question, stderr: Stdio) -> Result<Child, AskError> {
        let mut words = self.sandtest.iter();
        let mut command = Command::new(words.next().map_or("sandtest".into(), OsString::clone));
        command.args(words).args(["--source-step", step, "--"]).args(&question.words);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr);
        command.envs(question.environment.iter().map(|(name, value)| (name, value)));
        if let Some(folder) = &question.folder {
            command.current_dir(folder);
        }
        command.spawn().map_err(|source| AskError::Start { program: question.program(), source })
    }
}

impl Question {
    /// The program and its arguments.
    pub fn of(words: impl IntoIterator<Item = OsString>) -> Question {
        Question { words: words.into_iter().collect(), ..Question::default() }
    }

    fn program(&self) -> String {
        escaped(&self.words.first().map(|word| word.to_string_lossy()).unwrap_or_default())
    }
}

/// `Err`: there was more.
fn read(child: &mut Child, largest: u64) -> Result<Vec<u8>, ()> {
    let mut output = Vec::new();
    let Some(stdout) = child.stdout.take() else { return Ok(output) };
    // An error ends it like an end of file: what it means is told by the exit code.
    let _ = stdout.take(largest + 1).read_to_end(&mut output);
    if output.len() as u64 <= largest {
        return Ok(output);
    }
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    // Not SIGKILL: it has its groups to remove. Not reaped yet, so the number is still its own.
    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
    Err(())
}

/// The last lines of a stream, as they may be shown.
fn tail(mut stream: impl Read) -> String {
    let (mut kept, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        kept.extend_from_slice(&buffer[..count]);
        kept.drain(..kept.len().saturating_sub(SHOWN));
    }
    let text = String::from_utf8_lossy(&kept);
    text.lines().map(escaped).collect::<Vec<_>>().join("\n")
}

fn answer(
    question: &Question,
    largest: u64,
    output: Result<Vec<u8>, ()>,
    end: io::Result<std::process::ExitStatus>,
    said: String,
) -> Result<Answer, AskError> {
    let program = question.program();
    let end = end.map_err(|source| AskError::Start { program: program.clone(), source })?;
    let output = output.map_err(|()| AskError::Flood { program, largest })?;
    Ok(Answer { output, said, code: end.code().unwrap_or(125), late: false })
}
