//! `sandtest serve`: one budget for all runs that connect.
//!
//! One thread, one loop: what has come is read and told to the state machine ([`crate::policy::broker`]), which decides
//! once for all of it; then is written. Nobody can make it wait: each connection has bounds of its own, and who is
//! slow loses its own.
//!
//! - [`listening`]: the socket
//! - [`session`], [`limits`]: what a connection says, and how much of it is heard
//! - [`wire`]: what is said to it
//! - [`news`]: what the connections tell the loop
//! - [`hub`], [`hello`], [`effects`]: the loop's side: who is there, what is decided, what becomes of it
//! - [`onlookers`]: what they are shown who only look on
//! - [`scrape`]: what Prometheus reads, over HTTP
//! - [`client`], [`leases`], [`place`]: a client, what it comes back with, its groups
//! - [`before`]: who ran under the broker before
//! - [`eyes`], [`slice`]: what all of them hold

mod before;
mod client;
mod effects;
mod eyes;
mod hello;
mod hub;
mod leases;
mod limits;
mod listening;
mod news;
mod onlookers;
mod place;
mod scrape;
mod session;
mod slice;
mod wire;

use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;

use before::Noted;
pub use eyes::View;
use hub::Hub;
use limits::{Crowd, Seat};
pub use listening::{ListenError, Listening};
use news::{News, Question};
pub use scrape::{NotLoopback, Scrape};
use wire::Wire;

use super::metrics::MetricsError;
use super::protocol::{RefusedFor, Scope, ToRun};
use super::socket;
use crate::kernel::peer::{self, Peer};
use crate::kernel::random;
use crate::model::{Bytes, Limits};
use crate::policy::broker::{ClientId, Settings, Standing, Terms, UserId};
use crate::policy::governor;
use crate::policy::tuning::{CLIENT_PATIENCE, CLIENT_REQUESTS, FILL_RATE};
use session::refused;

/// News that wait for the loop. Whoever has more to say waits in line behind all others.
const NEWS_AHEAD: usize = 64;

/// How a broker serves.
pub struct Config {
    /// For whom.
    pub scope: Scope,
    /// Its name: another one after each start.
    pub name: String,
    /// The law, and what clients are given.
    pub settings: Settings,
    /// What there is beside the runs, as it was at the start.
    pub outside: Outside,
    /// Looks at that again; called when somebody comes after a while in which nobody was there.
    pub look_outside: Option<LookOutside>,
    /// What single users may have.
    pub terms: Vec<(UserId, Terms)>,
    /// Without clients for so long, it ends; `None`: never.
    pub idle_exit: Option<Duration>,
    /// Told what people should know.
    pub log: Box<dyn Fn(&str)>,
    /// Called so often, while the loop goes round.
    pub heartbeat: Option<(Duration, fn())>,
}

/// What there is beside the runs: it changes in the days for which a broker may serve.
#[derive(Debug, Clone, PartialEq)]
pub struct Outside {
    /// Limits of all that runs. What the editor uses is taken off.
    pub budget: Limits,
    /// What to look at.
    pub view: View,
}

/// Looks at it; `None` if that can't be done now.
pub type LookOutside = Box<dyn Fn() -> Option<Outside>>;

impl Config {
    /// A broker for these, which goes by this law.
    pub fn new(scope: Scope, governor: governor::Settings, outside: Outside) -> Config {
        let governor = governor::Settings { budget: outside.to_hand_out(scope), ..governor };
        let patience = Some(CLIENT_PATIENCE);
        Config {
            scope,
            name: format!("b-{:012x}", random::bits() >> 80),
            settings: Settings { governor, requests: CLIENT_REQUESTS, patience, recovering: None },
            outside,
            look_outside: None,
            terms: Vec::new(),
            idle_exit: None,
            log: Box::new(|_| ()),
            heartbeat: None,
        }
    }
}

impl Outside {
    /// What of the budget is handed out.
    fn to_hand_out(&self, scope: Scope) -> Option<Bytes> {
        Some(Bytes(self.budget.memory_max?.0 - self.kept_back(scope).0))
    }

    /// What is not. Above the runs of all users together the kernel holds no limit: a part is kept back there for what they
    /// grow by between two looks.
    fn kept_back(&self, scope: Scope) -> Bytes {
        match (scope, self.budget.memory_max) {
            (Scope::System, Some(budget)) => Bytes(budget.0 / KEPT_BACK).min(KEPT_BACK_MOST),
            _ => Bytes(0),
        }
    }
}

impl Config {
    /// Gives a user other terms than all have: what it counts for against others, and the most that it may have.
    pub fn agree(&mut self, uid: u32, weight: Option<f64>, memory_max: Option<Bytes>, jobs_max: Option<u32>) {
        let weight = weight.unwrap_or(Terms::default().weight);
        self.terms.push((UserId(uid), Terms { weight, memory_max, jobs_max }));
    }
}

/// The part of the budget that is kept back: one of so many.
const KEPT_BACK: u64 = 32;

/// And no more than this: a quarter of a second of the fastest that memory was seen to fill.
const KEPT_BACK_MOST: Bytes = Bytes(FILL_RATE / 4);

/// Why a broker does not serve, or does not any more.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Of the loop itself.
    #[error("set up the broker's loop: {0}")]
    Setup(#[from] io::Error),
    /// A bug of ours.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
}

/// Asks a broker that serves in this process.
#[derive(Debug, Clone)]
pub struct Handle {
    news: mpsc::WeakSender<News>,
}

impl Handle {
    /// How much goes on; `None` once it has ended.
    pub async fn standing(&self) -> Option<Standing> {
        let (answer, standing) = oneshot::channel();
        self.news.upgrade()?.send(News::Asked(Question::Standing(answer))).await.ok()?;
        standing.await.ok()
    }

    /// What Prometheus reads; `None` once it has ended.
    pub async fn metrics(&self) -> Option<Result<Vec<u8>, MetricsError>> {
        let (answer, text) = oneshot::channel();
        self.news.upgrade()?.send(News::Asked(Question::Metrics(answer))).await.ok()?;
        text.await.ok()
    }
}

/// Serves until SIGTERM or SIGINT, or until nobody has been there for long enough. What clients run goes on. `beside` is
/// called once it serves, with what asks the broker; what it spawns on the local set ends with the broker.
///
/// # Errors
/// [`ServeError`], before anybody was served.
pub fn serve(listening: Listening, config: Config, beside: impl FnOnce(Handle)) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    LocalSet::new().block_on(&runtime, async {
        let end = run(&listening, config, beside).await;
        listening.remove();
        end
    })
}

async fn run(listening: &Listening, config: Config, beside: impl FnOnce(Handle)) -> Result<(), ServeError> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let socket = listening.listener.try_clone()?;
    socket.set_nonblocking(true)?;
    let socket = UnixListener::from_std(socket)?;
    let (sender, mut news) = mpsc::channel(NEWS_AHEAD);
    let (idle_exit, heartbeat) = (config.idle_exit, config.heartbeat);
    let crowd = Crowd::default();
    let noted = Noted::read(socket::beside(listening.path(), ".runs"));
    let mut hub = Hub::new(config, sender.downgrade(), noted)?;
    tokio::task::spawn_local(accept(socket, crowd.clone(), sender.clone()));
    beside(Handle { news: sender.downgrade() });
    let mut beat = heartbeat.map(|(every, _)| tokio::time::interval(every));
    let mut idle_since = Some(hub.now());
    loop {
        let wake = hub.next_wake();
        let leave = idle_exit.zip(idle_since).map(|(after, since)| hub.instant(since + after));
        tokio::select! {
            told = news.recv() => told.into_iter().for_each(|told| hub.hear(told)),
            () = until(wake) => {}
            () = until(leave) => if crowd.is_empty() { break },
            () = crowd.emptied() => {}
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            () = tick(&mut beat) => heartbeat.iter().for_each(|(_, beat)| beat()),
        }
        // All that is there is decided about once: it costs as much as one message would.
        for _ in 0..NEWS_AHEAD {
            let Ok(told) = news.try_recv() else { break };
            hub.hear(told);
        }
        hub.step();
        let nobody = crowd.is_empty() && hub.is_idle();
        idle_since = nobody.then(|| idle_since.unwrap_or_else(|| hub.now()));
    }
    hub.close();
    Ok(())
}

/// Lets in who comes.
async fn accept(socket: UnixListener, crowd: Crowd, news: mpsc::Sender<News>) {
    let mut next = 0;
    loop {
        let stream = match socket.accept().await {
            Ok((stream, _)) => stream,
            // Out of descriptors: some come back when a client goes.
            Err(_) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        match let_in(&stream, &crowd) {
            Ok((peer, seat)) => {
                let wire = Rc::new(Wire::new(stream));
                tokio::task::spawn_local(session::listen(ClientId(next), wire, peer, seat, news.clone()));
                next += 1;
            }
            Err(refused) => Wire::new(stream).dismiss(&refused),
        }
        // However many stand at the door: those who are in are heard between any two of them.
        tokio::task::yield_now().await;
    }
}

/// Who it is, and its seat. The seat comes first: to refuse somebody must not cost what it costs to know them.
fn let_in(stream: &UnixStream, crowd: &Crowd) -> Result<(Peer, Seat), ToRun> {
    // Gone already, or not to be seen.
    let unseen = || {
        let message = "the process that connected is gone, or not to be seen from here".to_owned();
        refused(RefusedFor::Denied, message)
    };
    let uid = stream.peer_cred().map_err(|_| unseen())?.uid();
    let seat = crowd.seat(uid).map_err(|full| refused(RefusedFor::Full, full.to_string()))?;
    let peer = peer::of(stream).ok().flatten().ok_or_else(unseen)?;
    Ok((peer, seat))
}

async fn until(time: Option<std::time::Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}

async fn tick(beat: &mut Option<tokio::time::Interval>) {
    match beat {
        Some(beat) => drop(beat.tick().await),
        None => std::future::pending().await,
    }
}
