//! The run's link to its broker: when the line is cut, it is laid again, for as long as the run lasts.
//!
//! ```text
//! up ── cut ──▶ down: greeting again, after 20 ms, 40 ms ... 250 ms
//!  ▲              │ welcome
//!  └──────────────┘
//! ```

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::greet::{Greeted, greet};
use super::line::{Cut, Line};
use super::words::{self, JobWords, Meaning};
use crate::broker::protocol::{Hello, Scope, ToBroker, ToRun, write};
use crate::model::view::WaitView;
use crate::model::{AttemptId, JobId};
use crate::policy::scheduler::{Heard, Said};

/// Between the first greetings after a cut: a broker that is started anew takes some tens of milliseconds.
const SOON: Duration = Duration::from_millis(20);

/// And between later ones.
const SELDOM: Duration = Duration::from_millis(250);

/// What the loop is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// For the policy.
    Heard(Heard),
    /// Nothing of the run runs: so many are asked before it, and why.
    Waits(u32, WaitView),
    /// The broker is gone.
    Lost,
    /// It is back, or another one is there.
    Back {
        /// See [`Heard::Joined`].
        sample: Option<Duration>,
    },
    /// The broker did not understand something: one of both is mistaken.
    Complaint(String),
}

/// The run's link to its broker.
#[derive(Debug)]
pub struct Link {
    socket: PathBuf,
    scope: Scope,
    hello: Hello,
    jobs: Vec<JobWords>,
    state: State,
}

#[derive(Debug)]
enum State {
    Up(Line),
    /// Still to be told of.
    Cut,
    Down(JoinHandle<Greeted>),
}

impl Link {
    /// Over this connection. To be called in the loop that runs.
    ///
    /// # Errors
    /// The loop's.
    pub fn over(greeted: Greeted, jobs: Vec<JobWords>) -> io::Result<Link> {
        let (socket, scope, hello) = (greeted.socket.clone(), greeted.scope, greeted.hello.clone());
        Ok(Link { socket, scope, hello, jobs, state: State::Up(Line::over(greeted)?) })
    }

    /// What is to be said of one job more.
    pub fn add(&mut self, job: JobWords) {
        self.jobs.push(job);
    }

    /// Where the broker is.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// For whom it decides.
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// What a run inside of a job of this one names: the lease, and the job.
    pub fn inside(&self, job: JobId) -> String {
        format!("{}:{}", self.hello.lease.as_deref().unwrap_or_default(), job.0)
    }

    /// Whether somebody is there.
    pub fn is_up(&self) -> bool {
        matches!(self.state, State::Up(_))
    }

    /// Keeps what is told for the broker, until [`Link::flush`]. While nobody is there it is lost.
    pub fn tell(&mut self, said: Said) {
        if let State::Up(line) = &mut self.state {
            line.say(&words::lines(said, &self.jobs));
        }
    }

    /// Says that an attempt stands still.
    pub fn frozen(&mut self, id: AttemptId) {
        if let State::Up(line) = &mut self.state {
            line.say(&words::frozen(id));
            line.flush();
        }
    }

    /// Says that nothing runs any more.
    pub fn bye(&mut self) {
        if let State::Up(line) = &mut self.state {
            line.say(&write(&ToBroker::Bye {}).unwrap_or_default());
            line.flush();
        }
    }

    /// Sends what there is room for; the rest goes while the next message is waited for.
    pub fn flush(&mut self) {
        if let State::Up(line) = &mut self.state {
            line.flush();
        }
    }

    /// What comes next. Nothing is lost if it is not waited for to the end.
    pub async fn next(&mut self) -> Told {
        loop {
            match &mut self.state {
                State::Up(line) => match line.next().await {
                    Ok(message) => {
                        if let Some(told) = told(message) {
                            return told;
                        }
                    }
                    Err(Cut) => self.state = State::Cut,
                },
                State::Cut => {
                    self.state = State::Down(self.greet_again());
                    return Told::Lost;
                }
                State::Down(greeting) => {
                    let greeted = greeting.await;
                    let back = greeted.ok().and_then(|greeted| {
                        let (scope, hello, sample) = (greeted.scope, greeted.hello.clone(), greeted.sample);
                        let line = Line::over(greeted).ok()?;
                        // What was not shown this time may be shown to the next one.
                        self.hello.lease = hello.lease;
                        (self.scope, self.state) = (scope, State::Up(line));
                        Some(Told::Back { sample })
                    });
                    match back {
                        Some(back) => return back,
                        None => self.state = State::Down(self.greet_again()),
                    }
                }
            }
        }
    }

    fn greet_again(&self) -> JoinHandle<Greeted> {
        tokio::task::spawn_local(come_back(self.socket.clone(), self.hello.clone()))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let State::Down(greeting) = &self.state {
            greeting.abort();
        }
    }
}

fn told(message: ToRun) -> Option<Told> {
    match words::meaning(message) {
        Meaning::Heard(heard) => Some(Told::Heard(heard)),
        Meaning::Waits(ahead, wait) => Some(Told::Waits(ahead, wait)),
        Meaning::Complaint(message) => Some(Told::Complaint(message)),
        Meaning::Nothing => None,
    }
}

/// Greets until it is welcome.
async fn come_back(socket: PathBuf, hello: Hello) -> Greeted {
    let mut pause = SOON;
    loop {
        tokio::time::sleep(pause).await;
        let (socket, hello) = (socket.clone(), hello.clone());
        // It may take its time: the loop does not wait for it.
        if let Ok(Ok(greeted)) = tokio::task::spawn_blocking(move || greet(&socket, &hello)).await {
            return greeted;
        }
        pause = (pause * 2).min(SELDOM);
    }
}
