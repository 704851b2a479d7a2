//! Asks the broker while the screen goes on; connects again to one that has gone.

use std::path::{Path, PathBuf};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::broker::onlooker::{Onlooker, OnlookerError};
use crate::broker::protocol::{OfRun, Status, ToBroker};

/// Nobody presses keys faster than they are answered for long.
const AHEAD: usize = 8;

/// What came of a question.
#[derive(Debug)]
pub enum Answer {
    /// How things stand.
    Status(Box<Status>),
    /// What was wanted is on its way, in words.
    Done(String),
    /// It is not, and why.
    NotDone(String),
    /// The broker can't be asked, and why.
    Gone(String),
}

enum Question {
    Status,
    Ask(fn(OfRun) -> ToBroker, OfRun, String),
}

/// Somebody who asks the broker.
#[derive(Debug)]
pub struct Asker {
    questions: mpsc::Sender<Question>,
    answers: mpsc::Receiver<Answer>,
    task: JoinHandle<()>,
}

impl Asker {
    /// Asks this broker, and others at the same place when it is gone.
    pub fn start(broker: Onlooker, place: Option<PathBuf>) -> Asker {
        let (questions, asked) = mpsc::channel(AHEAD);
        let (answer, answers) = mpsc::channel(AHEAD);
        Asker { questions, answers, task: tokio::spawn(ask_all(Some(broker), place, asked, answer)) }
    }

    /// Asks how things stand; the answer comes later.
    pub fn refresh(&self) {
        // So much is asked that is not answered yet that one question more adds nothing.
        let _ = self.questions.try_send(Question::Status);
    }

    /// Asks for something to be done; `words`: what to say then.
    pub fn ask(&self, what: fn(OfRun) -> ToBroker, of: OfRun, words: String) {
        let _ = self.questions.try_send(Question::Ask(what, of, words));
    }

    /// The next answer.
    pub async fn answer(&mut self) -> Answer {
        match self.answers.recv().await {
            Some(answer) => answer,
            // The task ends with us only.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn ask_all(
    mut broker: Option<Onlooker>,
    place: Option<PathBuf>,
    mut asked: mpsc::Receiver<Question>,
    answers: mpsc::Sender<Answer>,
) {
    while let Some(question) = asked.recv().await {
        let wants_more = matches!(question, Question::Ask(..));
        let answer = match put(&mut broker, place.as_deref(), question).await {
            Ok(answer) => answer,
            Err(error) if error.is_survivable() => Answer::NotDone(error.to_string()),
            Err(error) => {
                broker = None;
                Answer::Gone(error.to_string())
            }
        };
        if answers.send(answer).await.is_err() {
            return;
        }
        // Whoever has done something wants to see what came of it.
        if let (true, Ok(status)) = (wants_more, put(&mut broker, place.as_deref(), Question::Status).await) {
            let _ = answers.send(status).await;
        }
    }
}

async fn put(
    broker: &mut Option<Onlooker>,
    place: Option<&Path>,
    question: Question,
) -> Result<Answer, OnlookerError> {
    let broker = match broker {
        Some(broker) => broker,
        none => none.insert(Onlooker::connect(place).await?),
    };
    match question {
        Question::Status => Ok(Answer::Status(Box::new(broker.status().await?))),
        Question::Ask(what, of, words) => {
            broker.ask(what, of).await?;
            Ok(Answer::Done(words))
        }
    }
}
