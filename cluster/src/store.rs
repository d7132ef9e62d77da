//! What a scheduler must remember over a restart: the epoch of plans, which nodes drain, whose
//! publishers are kicked and which shows were announced.
//!
//! Nodes, streams and viewers are not kept: one round of samples tells them again. A leader takes
//! an epoch before its first plan; epochs never repeat, and never go back even when the store was
//! lost, because they also follow the clock. A writer whose epoch is not the newest is refused
//! ([`Error::Fenced`]), so a leader that was replaced without noticing changes nothing.

pub mod embedded;

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;

use serde::{Deserialize, Serialize};

use crate::event::Event;
use crate::node::NodeId;
use crate::plan::Kick;

/// Nodes that may drain at one time: ten times the largest cluster planned for.
pub const MAX_DRAINS: usize = 5_000;

/// Kicks that may hold at one time: past it, an operator bars an application, not its streams.
pub const MAX_KICKS: usize = 1_000;

/// Events kept, past ones among them: three a day for a year. The oldest past one makes room.
pub const MAX_EVENTS: usize = 1_000;

/// How long an event that is over is kept: a quarter of a year, as long as the coarse history.
pub const KEEP_EVENT_MS: u64 = 90 * 86_400_000;

/// The answer of a store, when it comes.
pub type Reply<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// Where a scheduler keeps what it must remember. A write is durable when it is answered.
pub trait Store: Send + Sync + 'static {
    /// Takes a new epoch, higher than any taken before and not below the Unix time: from now on
    /// writers with an older one are refused.
    fn lead(&self, now_s: u64) -> Reply<'_, u64>;

    /// What operators ordered and has not ended at that Unix time.
    fn orders(&self, now_ms: u64) -> Reply<'_, Orders>;

    /// Orders a node to drain, from that Unix time; a second order changes nothing.
    fn drain(&self, epoch: u64, node: NodeId, now_ms: u64) -> Reply<'_, ()>;

    /// Takes back the order to drain.
    fn undrain(&self, epoch: u64, node: NodeId) -> Reply<'_, ()>;

    /// Orders a publisher to be refused; a later order for the stream replaces the earlier.
    fn kick(&self, epoch: u64, kick: Kick, now_ms: u64) -> Reply<'_, ()>;

    /// Keeps an announced event under a new number, which is the answer.
    fn announce(&self, epoch: u64, event: Event, now_ms: u64) -> Reply<'_, u64>;

    /// Takes an event back; whether there was one of that number.
    fn withdraw(&self, epoch: u64, id: u64) -> Reply<'_, bool>;

    /// The events, those over among them, by number.
    fn events(&self) -> Reply<'_, Vec<Event>>;
}

/// What operators ordered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Orders {
    /// Nodes that are to take no new viewers, by id.
    pub drains: Vec<Drain>,
    /// Publishers to refuse, by key.
    pub kicks: Vec<Kick>,
}

/// An order to drain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// The node.
    pub node: NodeId,
    /// Unix time of the order.
    pub since_ms: u64,
}

/// Why a store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be opened: no right to it, or another scheduler has it open.
    #[error("cannot open the scheduler's store {}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The file is damaged beyond repair, or something else altogether.
    #[error(
        "the scheduler's store {} is damaged or is no store: {source}; move it away and start \
         again, then give orders to drain and kick anew",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A newer leader has taken over; the caller must stop planning.
    #[error("epoch {held} is over: epoch {current} leads")]
    Fenced {
        /// The caller's.
        held: u64,
        /// The newest.
        current: u64,
    },
    /// A bound is reached.
    #[error("{0}")]
    Full(&'static str),
    /// Reading or writing failed.
    #[error("the scheduler's store failed: {0}")]
    Failed(Box<dyn std::error::Error + Send + Sync>),
}
