//! `sandtest top`: how things stand at the broker, live, with keys to freeze and kill jobs of one's own.
//!
//! ```text
//! keys, size ──▶ ┌─────┐ ── rows ──▶ screen
//!                │ app │
//! answers ─────▶ └─────┘ ── wishes ──▶ asker ── lines ──▶ broker
//!   ▲                                    │
//!   └────────────────────────────────────┘ keys are heard while the broker is asked
//! ```
//!
//! - [`app`]: what is shown, and what keys mean
//! - [`screen`]: the terminal
//! - [`asker`]: the broker

mod app;
mod asker;
mod screen;
#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use crossterm::event::{Event, EventStream};
use futures_util::StreamExt;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;

use super::exit_code::{OK, OWN_FAILURE};
use super::status::{colours, explain};
use crate::broker::onlooker::Onlooker;
use crate::broker::protocol::ToBroker;
use crate::profile::values::{Timeout, option};
use app::{App, Wish};
use asker::{Answer, Asker};
use screen::Screen;

/// The broker tells nothing newer before that.
const SHORTEST: Duration = Duration::from_millis(250);

/// Options of `sandtest top`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sandtest top                             `?` there tells the keys
  sandtest top --interval 250ms
  sandtest top --socket /tmp/b.sock        another broker")]
pub struct TopArgs {
    /// Ask the broker this often
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = option::<Timeout>)]
    interval: Timeout,
    /// Where the broker listens [default: where a run would ask]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

/// Shows until it is told to end, and returns the exit code.
pub fn run(args: &TopArgs) -> u8 {
    match try_run(args) {
        Ok(code) => code,
        Err(message) => {
            let _ = writeln!(io::stderr(), "sandtest: {message}");
            OWN_FAILURE
        }
    }
}

fn try_run(args: &TopArgs) -> Result<u8, String> {
    let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() || dumb {
        return Err(
            "top needs a terminal; `sandtest status` prints the same once, with --json for programs".into()
        );
    }
    let interval = match args.interval {
        Timeout::After(time) if time >= SHORTEST => time,
        _ => return Err(format!("--interval: {SHORTEST:?} or more, such as 2s")),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("set up to ask the broker: {error}"))?;
    runtime.block_on(async {
        let mut broker = Onlooker::connect(args.socket.as_deref()).await.map_err(|error| explain(&error))?;
        let status = broker.status().await.map_err(|error| explain(&error))?;
        let asker = Asker::start(broker, args.socket.clone());
        show(App::new(status), asker, interval).await.map_err(|error| format!("the terminal: {error}"))
    })
}

async fn show(mut app: App, mut asker: Asker, interval: Duration) -> io::Result<u8> {
    let (mut terminate, mut hang_up) = (signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    let mut screen = Screen::take(colours())?;
    let mut events = EventStream::new();
    let mut ticks = tokio::time::interval(interval);
    // Of a time in which we were stopped nothing is made up for.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.reset();
    loop {
        let (width, height) = screen.size();
        screen.show(&app.screen(width, height), width)?;
        let wish = tokio::select! {
            _ = ticks.tick() => Some(Wish::Refresh),
            answer = asker.answer() => {
                heard(&mut app, answer);
                None
            }
            event = events.next() => match event {
                Some(Ok(Event::Key(key))) => app.press(key),
                // Another size, mostly.
                Some(Ok(_)) => None,
                Some(Err(error)) => return Err(error),
                None => return Ok(OK),
            },
            _ = terminate.recv() => return Ok(128 + libc::SIGTERM as u8),
            _ = hang_up.recv() => return Ok(128 + libc::SIGHUP as u8),
        };
        match wish {
            Some(Wish::Quit) => return Ok(OK),
            Some(Wish::Suspend) => {
                drop(screen);
                nix::sys::signal::raise(nix::sys::signal::Signal::SIGSTOP)?;
                screen = Screen::take(colours())?;
                asker.refresh();
            }
            Some(Wish::Refresh) => asker.refresh(),
            Some(Wish::Pin(of)) => {
                asker.ask(ToBroker::Pin, of, format!("{} stands still; f: go on", app.name(of)))
            }
            Some(Wish::Unpin(of)) => asker.ask(ToBroker::Unpin, of, format!("{} goes on", app.name(of))),
            Some(Wish::Kill(of)) => asker.ask(ToBroker::Kill, of, format!("{} is killed", app.name(of))),
            None => {}
        }
    }
}

fn heard(app: &mut App, answer: Answer) {
    match answer {
        Answer::Status(status) => app.stand(*status),
        Answer::Done(words) | Answer::NotDone(words) => app.tell(words),
        Answer::Gone(why) => app.lose(why),
    }
}
