//! The broker that decides for this run and others, as the loop sees it.
//!
//! What it says goes into the scheduler ([`Input::Heard`]), what the scheduler tells goes to it (`Effect::Tell`), and
//! people are told when something changes. The run's own groups are this side's: it freezes and kills, and says so.

use std::rc::Rc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::attempt::News;
use super::drive::Drive;
use super::live::Live;
use super::program::Nest;
use crate::broker::client::{Link, Told};
use crate::broker::protocol::Scope;
use crate::kernel::cgroup;
use crate::model::event::{BrokerNews, BrokerPlace, Event};
use crate::model::{AttemptId, Bytes, JobId};
use crate::policy::broker::Share;
use crate::policy::scheduler::{Heard, Input};
use crate::policy::tuning::CLIENT_PATIENCE;

/// Between looks at whether all of an attempt stands still, at first; a few microseconds are usual.
const LOOK_SOON: Duration = Duration::from_millis(1);

/// What the broker says next; never anything without one.
pub(super) async fn told(broker: &mut Option<Link>) -> Told {
    match broker {
        Some(link) => link.next().await,
        None => std::future::pending().await,
    }
}

/// For the run's first event.
pub(super) fn place(link: &Link) -> BrokerPlace {
    let scope = match link.scope() {
        Scope::User => "user",
        Scope::System => "system",
    };
    BrokerPlace { socket: link.socket().to_owned(), scope: scope.to_owned() }
}

/// For a run inside of this job.
pub(super) fn nest(link: &Link, job: JobId) -> Nest {
    Nest { socket: link.socket().to_owned(), inside: link.inside(job) }
}

/// Tells the loop when all of the attempt stands still. Until then, or until it is to go on, it is looked at: for as long as
/// the broker waits for it.
pub(super) fn watch_freeze(id: AttemptId, live: Rc<Live>, news: mpsc::UnboundedSender<News>) {
    tokio::task::spawn_local(async move {
        let begun = std::time::Instant::now();
        let mut pause = LOOK_SOON;
        while live.is_held() && begun.elapsed() < CLIENT_PATIENCE {
            // What is stopped by a signal is stopped when that is sent.
            if live.group.v2().is_none_or(|dir| cgroup::frozen(dir).unwrap_or(false)) {
                let _ = news.send(News::Frozen(id));
                return;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(20 * LOOK_SOON);
        }
    });
}

impl Drive {
    /// What follows for the scheduler from what the broker has said; people are told.
    pub(super) fn hear(&mut self, told: Told, report: &mut impl FnMut(&Event)) -> Option<Input> {
        let at = self.shared.clock.now();
        let (news, heard) = match told {
            Told::Heard(heard) => return Some(Input::Heard(heard)),
            Told::Waits(ahead, wait) => (BrokerNews::Waits { ahead, wait }, None),
            Told::Lost => (BrokerNews::Lost, Some(Heard::Lost)),
            Told::Back { sample } => (BrokerNews::Back, Some(Heard::Joined { sample })),
            Told::Complaint(message) => (BrokerNews::Complaint { message }, None),
        };
        report(&Event::Broker { at, news });
        heard.map(Input::Heard)
    }

    /// The run goes on by itself.
    pub(super) fn alone(&self, share: Share) -> Event {
        let memory = (share.memory < Bytes(u64::MAX)).then_some(share.memory);
        let news = BrokerNews::Alone { memory, jobs: share.jobs };
        Event::Broker { at: self.shared.clock.now(), news }
    }
}
