//! What the connections, and those who look on, tell the loop.

use std::rc::Rc;

use tokio::sync::oneshot;

use super::before::Known;
use super::wire::Wire;
use crate::broker::metrics::MetricsError;
use crate::broker::protocol::{Hello, ToBroker};
use crate::kernel::peer::Peer;
use crate::policy::broker::{ClientId, Standing};

/// Something that has happened.
#[derive(Debug)]
pub enum News {
    /// A client has said who it is.
    Hello {
        /// A number that nobody ever had.
        id: ClientId,
        /// What it says.
        hello: Box<Hello>,
        /// What the kernel says.
        peer: Peer,
        /// To answer on.
        wire: Rc<Wire>,
    },
    /// A client has said something.
    Said(ClientId, ToBroker),
    /// One who said no `hello` has said something.
    LooksOn {
        /// Whose it is, as the kernel says.
        uid: u32,
        /// What it says.
        message: ToBroker,
        /// To answer on.
        wire: Rc<Wire>,
    },
    /// Its connection is gone.
    Closed(ClientId),
    /// Its process is.
    Died(ClientId),
    /// One that ran something under the last broker has ended without coming back.
    Missed(Known),
    /// Somebody wants to know something.
    Asked(Question),
}

/// What can be asked from within the process.
#[derive(Debug)]
pub enum Question {
    /// How much goes on.
    Standing(oneshot::Sender<Standing>),
    /// What Prometheus reads.
    Metrics(oneshot::Sender<Result<Vec<u8>, MetricsError>>),
}
