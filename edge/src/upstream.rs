//! Hot: where streams come from: one subscription per stream, however many viewers join it.
//!
//! The first to join a stream opens it and everybody else shares that; while a [`Lease`] is held it is kept coming, and
//! for the linger time after the last one. Viewers see one track throughout: when the parent is lost the stream is
//! taken elsewhere into the same track. A stream that is not there is remembered as missing for a moment, so that a
//! crowd asking for it costs one question. Of the past comes what somebody asked for by [`Joined::past`], and what is
//! missing of it is mended.
//! A parent that does not answer soon is not waited for alone: the next one is asked beside it.
//! A stream whose parent falls silent, or that has a better one by a new plan, moves there between two groups.
//! Leaves out who may watch.

mod follow;
mod hand_over;
mod parents;
mod past;
mod race;
pub mod serve;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use cluster::node::NodeId;
use cluster::plan::Plan;
use cluster::stream::StreamKey;
use parking_lot::Mutex;
use relay::cache::Cache;
use relay::track::Consumer;
use relay::wire::Refusal;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use transport::drain::Drain;
use transport::quic::Endpoint;

use crate::meter::Metrics;
pub use parents::Paths;
use parents::Peers;

/// What streams are taken with.
#[derive(Debug)]
pub struct Setup {
    /// This node.
    pub node: NodeId,
    /// The socket for dialling parents.
    pub endpoint: Endpoint,
    /// The budget for groups.
    pub cache: Cache,
    /// Names the parents of streams.
    pub plan: watch::Receiver<Arc<Plan>>,
    /// Parents to try besides, as `host:port`.
    pub parents: Vec<String>,
    /// How long a stream is kept after its last lease.
    pub linger: Duration,
    /// Counts subscriptions and failures.
    pub metrics: Metrics,
    /// Streams end when it stops.
    pub drain: Drain,
}

/// The streams that come to this node; a clone is the same set.
#[derive(Clone, Debug)]
pub struct Upstream(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    setup: Setup,
    peers: Peers,
    streams: Mutex<HashMap<StreamKey, Arc<Entry>>>,
    joining: Semaphore,
}

/// A stream that comes, or is about to.
#[derive(Debug)]
struct Entry {
    track: Consumer,
    state: watch::Sender<State>,
    leases: watch::Sender<usize>,
    past: watch::Sender<Past>,
}

/// How much of the past is wanted, and of how much all is here that the parent has.
#[derive(Clone, Copy, Debug, Default)]
struct Past {
    wanted: Duration,
    held: Option<Duration>,
}

/// How far a stream is.
#[derive(Clone, Debug)]
enum State {
    Opening,
    /// The nodes it comes through, the origin first.
    Live(Arc<[String]>),
    Failed(Failure),
}

/// Why a stream cannot be joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No parent has it.
    #[error("no such stream")]
    NotFound,
    /// It would come back to a node that it came from.
    #[error("the path would be a loop")]
    Loop,
    /// No parent could be asked.
    #[error("no parent answers")]
    Unreachable,
    /// It was found, but no picture came in time.
    #[error("no picture in time")]
    Silent,
    /// The node has as many streams, or as many who wait for one, as it may.
    #[error("too many streams")]
    Overloaded,
}

/// A joined stream.
#[derive(Clone, Debug)]
pub struct Joined {
    /// Its groups; at least one is there.
    pub track: Consumer,
    /// The nodes it comes through, the origin first, this node not among them.
    pub hops: Arc<[String]>,
    /// Keeps it coming.
    pub lease: Lease,
}

impl Joined {
    /// Brings the groups that began within `window` before the newest one, and keeps the window whole from now on.
    ///
    /// When it returns, all of these that the parent has are in the track and whole: an edge that joined late has then
    /// what those have that were there before, byte by byte. It does so only once for a stream and window, however
    /// many ask, and at once when they are here; what is asked for goes behind all live groups. While the stream comes,
    /// whatever is aborted or left out of it on the way is asked for again, also of the next parent when this one is
    /// lost; a whole group then takes the aborted one's place in the track.
    ///
    /// What the parent left out of its answer, or will not answer for now, is waited for no longer. It returns in any
    /// case after [`PAST_WITHIN`], or when the stream is over; the past then goes on coming. What has no room in the
    /// node's cache, the oldest first, is left out. Cancel-safe.
    pub async fn past(&self, window: Duration) {
        let Some(entry) = &self.lease.0 else { return };
        let window = window.min(MAX_WINDOW);
        entry.past.send_if_modified(|past| {
            let more = window > past.wanted;
            past.wanted = past.wanted.max(window);
            more
        });
        let (mut past, mut state) = (entry.past.subscribe(), entry.state.subscribe());
        let settled = async {
            tokio::select! {
                _ = past.wait_for(|past| past.held >= Some(window)) => {}
                _ = state.wait_for(|state| matches!(state, State::Failed(_))) => {}
            }
        };
        // What has not come by then comes later.
        let _ = timeout(PAST_WITHIN, settled).await;
    }

    /// Whether its track ended because no parent was reached any more: nobody said that the stream is over.
    pub fn is_lost(&self) -> bool {
        let state = self.lease.0.as_ref().map(|entry| entry.state.borrow());
        state.is_some_and(
            |state| matches!(*state, State::Failed(failure) if failure != Failure::NotFound),
        )
    }
}

/// Keeps a stream coming while it is held.
#[derive(Debug, Default)]
pub struct Lease(Option<Arc<Entry>>);

impl Lease {
    fn new(entry: &Arc<Entry>) -> Self {
        entry.leases.send_modify(|count| *count += 1);
        Self(Some(entry.clone()))
    }
}

impl Clone for Lease {
    fn clone(&self) -> Self {
        self.0.as_ref().map(Self::new).unwrap_or_default()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(entry) = &self.0 {
            entry.leases.send_modify(|count| *count -= 1);
        }
    }
}

impl Upstream {
    /// No stream yet.
    pub fn new(setup: Setup) -> Self {
        let drain = setup.drain.clone();
        let shared = Arc::new(Shared {
            peers: Peers::new(&setup),
            setup,
            streams: Mutex::default(),
            joining: Semaphore::new(MAX_JOINING),
        });
        drain.background(listen(Arc::downgrade(&shared)));
        Self(shared)
    }

    /// Joins a stream, opening it if need be, and waits for its first picture.
    ///
    /// `hops` are the nodes that will get it from here.
    pub async fn join(&self, stream: &StreamKey, hops: &[String]) -> Result<Joined, Failure> {
        let _place = self
            .0
            .joining
            .try_acquire()
            .map_err(|_| Failure::Overloaded)?;
        let lease = self.lease(stream)?;
        let entry = lease.0.clone().expect("leases of streams have an entry");
        let hops = timeout(OPEN_WITHIN, entry.opened(hops)).await;
        let hops = hops.unwrap_or(Err(Failure::Silent))?;
        Ok(Joined {
            track: entry.track.clone(),
            hops,
            lease,
        })
    }

    /// What the connections to parents are like.
    pub fn measure(&self) -> Paths {
        self.0.peers.measure()
    }

    fn lease(&self, stream: &StreamKey) -> Result<Lease, Failure> {
        let mut streams = self.0.streams.lock();
        if let Some(entry) = streams.get(stream) {
            return Ok(Lease::new(entry));
        }
        if streams.len() >= MAX_STREAMS {
            return Err(Failure::Overloaded);
        }
        let track = relay::track::new(&self.0.setup.cache, None);
        let (producer, track) = track.map_err(|_| Failure::Overloaded)?;
        let entry = Arc::new(Entry {
            track,
            state: watch::Sender::new(State::Opening),
            leases: watch::Sender::new(0),
            past: watch::Sender::default(),
        });
        streams.insert(stream.clone(), entry.clone());
        let lease = Lease::new(&entry);
        let task = follow::run(self.clone(), stream.clone(), entry, producer);
        self.0.setup.drain.background(task);
        Ok(lease)
    }
}

/// Notices silent parents as long as somebody takes streams.
async fn listen(shared: Weak<Shared>) {
    let mut beat = tokio::time::interval(parents::LISTEN_EVERY);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        let Some(shared) = shared.upgrade() else {
            return;
        };
        shared.peers.listen();
    }
}

impl Entry {
    /// Waits until the stream has a picture, and says through which nodes it comes.
    async fn opened(&self, downstream: &[String]) -> Result<Arc<[String]>, Failure> {
        let mut changes = self.track.changes();
        let mut state = self.state.subscribe();
        let found = state
            .wait_for(|state| !matches!(state, State::Opening))
            .await;
        // The sender is the entry's own: it cannot be gone.
        let found = found.map_or(State::Opening, |state| state.clone());
        let hops = match found {
            State::Live(hops) => hops,
            State::Failed(failure) => return Err(failure),
            State::Opening => return Err(Failure::Unreachable),
        };
        if hops.iter().any(|hop| downstream.contains(hop)) {
            return Err(Failure::Loop);
        }
        while self.track.latest().is_none() {
            if self.track.is_ended() {
                return Err(Failure::NotFound);
            }
            changes.changed().await;
        }
        Ok(hops)
    }
}

impl Failure {
    /// The label in counters.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Loop => "loop",
            Self::Unreachable => "upstream_unreachable",
            Self::Silent => "upstream_silent",
            Self::Overloaded => "streams_full",
        }
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NotFound | Failure::Unreachable | Failure::Silent => Self::NotFound,
            Failure::Loop => Self::Loop,
            Failure::Overloaded => Self::Overloaded,
        }
    }
}

/// Streams at one time: more than an edge can send; each costs a task and its newest group.
const MAX_STREAMS: usize = 4_096;

/// Who may wait for a stream to open: a crowd of a few seconds, at a few KiB each.
const MAX_JOINING: usize = 8_192;

/// How long somebody waits for the past: a minute of 8 Mbit/s over 80 Mbit/s, and less than a node waits that asks this
/// one for it.
pub const PAST_WITHIN: Duration = Duration::from_secs(8);

/// The longest past that is brought: longer than a track's groups last.
const MAX_WINDOW: Duration = Duration::from_secs(3_600);

/// From the question to the first picture: a key frame interval of 2 s twice, and a slow path.
const OPEN_WITHIN: Duration = Duration::from_secs(5);
