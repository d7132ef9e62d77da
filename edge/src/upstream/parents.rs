//! Which nodes to ask for a stream, and the one connection to each of them.
//!
//! The plan's parents come first, then the configured ones, then origins that the plan knows: a stream may be
//! younger than the plan. The stream's own origin is asked in the end even when the plan takes it for dead: it may be
//! only the scheduler that does not hear of it. A connection is made once for all who need it, and closed when nobody does.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use cluster::node::{NodeId, Role};
use cluster::plan::{Health, Plan};
use cluster::sample::Link;
use cluster::stream::StreamKey;
use parking_lot::Mutex;
use relay::driver::{PathStats, Peer};
use tokio::net::lookup_host;
use tokio::sync::{OnceCell, watch};
use tokio::time::{Instant, timeout};
use transport::quic::Endpoint;

use super::Setup;

/// The addresses to ask for a stream, best first, each once.
pub(super) fn candidates(
    plan: &Plan,
    stream: &StreamKey,
    here: &NodeId,
    configured: &[String],
) -> Vec<String> {
    let planned = plan.parents_of(stream, here).into_iter();
    let up = plan
        .nodes
        .iter()
        .filter(|state| state.health != Health::Down);
    let origins = up
        .map(|state| &state.node)
        .filter(|node| node.role == Role::Origin);
    let own = plan.stream(stream).and_then(|it| plan.node(&it.origin));
    let own = own.map(|state| &state.node);
    let relays = |node: &cluster::node::Node| node.relay.clone();
    let all = planned
        .filter_map(relays)
        .chain(configured.iter().cloned())
        .chain(origins.chain(own).filter_map(relays));
    let mut unique = Vec::new();
    for address in all {
        if !unique.contains(&address) && unique.len() < MAX_CANDIDATES {
            unique.push(address);
        }
    }
    unique
}

/// The connections to parents.
#[derive(Debug)]
pub(super) struct Peers {
    node: NodeId,
    endpoint: Endpoint,
    open: Mutex<HashMap<String, Arc<Parent>>>,
}

/// A parent that is dialled or connected.
#[derive(Debug)]
pub(super) struct Parent {
    address: String,
    peer: OnceCell<Peer>,
    measured: Mutex<Option<PathStats>>,
    heard: Mutex<Heard>,
    silent: watch::Sender<bool>,
}

/// When something came from a parent, as far as somebody looked.
#[derive(Debug)]
struct Heard {
    bytes: u64,
    at: Instant,
}

/// A parent while it is needed; without anybody who needs it the connection closes.
#[derive(Debug)]
pub(super) struct Held<'a> {
    parent: Option<Arc<Parent>>,
    peers: &'a Peers,
}

impl Deref for Held<'_> {
    type Target = Parent;
    fn deref(&self) -> &Parent {
        self.parent.as_ref().expect("only the drop takes it")
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.parent = None;
        self.peers
            .open
            .lock()
            .retain(|_, parent| Arc::strong_count(parent) > 1);
    }
}

/// What the connections to parents are like.
#[derive(Debug, Default)]
pub struct Paths {
    /// Round trip and loss, by parent.
    pub links: Vec<Link>,
    /// Bytes of UDP received since the paths were looked at before.
    pub received_bytes: u64,
    /// Bytes of parity among them.
    pub parity_bytes: u64,
    /// Bytes of streams that parity gave.
    pub repaired_bytes: u64,
}

/// Why a parent was not reached.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreached {
    /// The name has no address.
    #[error("cannot be resolved: {0}")]
    Name(#[from] std::io::Error),
    /// No address is behind the name, or resolving took too long.
    #[error("has no address")]
    NoAddress,
    /// The last of its addresses did not answer.
    #[error("{0}")]
    Dial(#[from] relay::driver::Error),
}

impl Peers {
    pub(super) fn new(setup: &Setup) -> Self {
        let (node, endpoint) = (setup.node.clone(), setup.endpoint.clone());
        Self {
            node,
            endpoint,
            open: Mutex::default(),
        }
    }

    /// The parent at an address, shared with all who hold it.
    pub(super) fn hold(&self, address: &str) -> Held<'_> {
        let mut open = self.open.lock();
        let parent = open.entry(address.to_owned()).or_insert_with(|| {
            Arc::new(Parent {
                address: address.to_owned(),
                peer: OnceCell::new(),
                measured: Mutex::default(),
                heard: Mutex::new(Heard {
                    bytes: 0,
                    at: Instant::now(),
                }),
                silent: watch::Sender::new(false),
            })
        });
        Held {
            parent: Some(parent.clone()),
            peers: self,
        }
    }

    /// The connection, dialled by the first who asks.
    pub(super) async fn connect<'a>(&self, parent: &'a Parent) -> Result<&'a Peer, Unreached> {
        parent
            .peer
            .get_or_try_init(|| self.dial(&parent.address))
            .await
    }

    /// The connection is of no use any more: who asks next gets another.
    pub(super) fn forget(&self, parent: &Parent) {
        let is_it = |other: &Arc<Parent>| std::ptr::eq(&**other, parent);
        self.open.lock().retain(|_, other| !is_it(other));
    }

    pub(super) fn measure(&self) -> Paths {
        let mut paths = Paths::default();
        // Under the lock: a reference taken out of it would look like somebody who needs the parent.
        for parent in self.open.lock().values() {
            if let Some(peer) = parent.peer.get() {
                parent.measure(peer, &mut paths);
            }
        }
        paths
    }

    /// Notices which parents are silent, to be called every [`LISTEN_EVERY`].
    pub(super) fn listen(&self) {
        let now = Instant::now();
        for parent in self.open.lock().values() {
            if let Some(peer) = parent.peer.get() {
                parent.listen(now, peer.stats().received_bytes);
            }
        }
    }

    async fn dial(&self, address: &str) -> Result<Peer, Unreached> {
        let resolving = timeout(RESOLVE_WITHIN, lookup_host(address)).await;
        let addresses: Vec<SocketAddr> = resolving.map_err(|_| Unreached::NoAddress)??.collect();
        let mut last = Unreached::NoAddress;
        for address in addresses.into_iter().take(MAX_ADDRESSES) {
            match Peer::connect(&self.endpoint, address, self.node.as_str()).await {
                Ok(peer) => return Ok(peer),
                Err(error) => last = error.into(),
            }
        }
        Err(last)
    }
}

impl Parent {
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Whether nothing has come from it for [`SILENT_AFTER`], though a living one answers.
    pub(super) fn is_silent(&self) -> bool {
        *self.silent.borrow()
    }

    /// Waits until it is silent.
    pub(super) async fn falls_silent(&self) {
        let mut silent = self.silent.subscribe();
        // The sender is the parent's own: it cannot be gone.
        let _ = silent.wait_for(|silent| *silent).await;
    }

    fn listen(&self, now: Instant, bytes: u64) {
        let mut heard = self.heard.lock();
        if heard.bytes != bytes {
            *heard = Heard { bytes, at: now };
        }
        let silent = now.duration_since(heard.at) >= SILENT_AFTER;
        self.silent
            .send_if_modified(|before| std::mem::replace(before, silent) != silent);
    }

    fn measure(&self, peer: &Peer, paths: &mut Paths) {
        let now = peer.stats();
        let before = self.measured.lock().replace(now);
        let since = |field: fn(&PathStats) -> u64| {
            field(&now).saturating_sub(before.as_ref().map_or(0, field))
        };
        paths.received_bytes += since(|stats| stats.received_bytes);
        paths.parity_bytes += since(|stats| stats.parity_bytes);
        paths.repaired_bytes += since(|stats| stats.repaired_bytes);
        let (lost, sent) = (
            since(|stats| stats.lost_packets),
            since(|stats| stats.sent_packets),
        );
        if let Ok(node) = NodeId::parse(peer.remote_node()) {
            let rtt_ms = now.rtt.as_secs_f32() * 1000.0;
            paths.links.push(Link {
                node,
                rtt_ms,
                loss: lost as f32 / sent.max(1) as f32,
            });
        }
    }
}

/// A living parent answers a keep-alive, which is sent after half a second of silence; this is that,
/// a long round trip, and once more for what was lost.
const SILENT_AFTER: Duration = Duration::from_secs(1);

/// How often it is looked whether something came.
pub(super) const LISTEN_EVERY: Duration = Duration::from_millis(100);

/// Parents asked for one stream: the plan names a few, and a round of silent ones must end.
const MAX_CANDIDATES: usize = 8;

/// Addresses tried behind one name: both families, twice.
const MAX_ADDRESSES: usize = 4;

/// Time for a resolver to answer or to ask its second server.
const RESOLVE_WITHIN: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;
    use cluster::node::{Capacity, Node, Place};
    use cluster::plan::{Mark, NodeState, StreamPlan};

    fn id(name: &str) -> NodeId {
        NodeId::parse(name).unwrap()
    }

    fn node(name: &str, role: Role, health: Health) -> NodeState {
        let node = Node {
            id: id(name),
            role,
            public_url: String::new(),
            relay: Some(format!("{name}:7002")),
            hub: false,
            zone: None,
            admin: None,
            place: Place::default(),
            capacity: Capacity::default(),
            version: String::new(),
        };
        NodeState { node, health }
    }

    fn check(name: &str, here: &str, parents: &[&str], configured: &[&str], expected: &[&str]) {
        let expected: Vec<_> = expected.iter().map(|name| format!("{name}:7002")).collect();
        assert_eq!(found("o1", here, parents, configured), expected, "{name}");
    }

    fn found(origin: &str, here: &str, parents: &[&str], configured: &[&str]) -> Vec<String> {
        let key = StreamKey::parse("live/x").unwrap();
        let stream = StreamPlan {
            key: key.clone(),
            origin: id(origin),
            parents: parents.iter().map(|parent| id(parent)).collect(),
            routes: Vec::new(),
            rungs: Vec::new(),
        };
        let nodes = vec![
            node("o1", Role::Origin, Health::Up),
            node("o2", Role::Origin, Health::Up),
            node("o3", Role::Origin, Health::Down),
            node("e1", Role::Edge, Health::Up),
            node("e2", Role::Edge, Health::Up),
            node("gone", Role::Edge, Health::Down),
        ];
        let plan = Plan::new(Mark::default(), nodes, vec![stream], Vec::new());
        let configured: Vec<_> = configured
            .iter()
            .map(|parent| (*parent).to_owned())
            .collect();
        candidates(&plan, &key, &id(here), &configured)
    }

    #[test]
    fn parents_are_asked_in_order() {
        check("the origin, then others", "e1", &[], &[], &["o1", "o2"]);
        check(
            "the plan's parents first",
            "e1",
            &["e2"],
            &[],
            &["e2", "o1", "o2"],
        );
        check(
            "a parent asks those behind it",
            "e2",
            &["e1", "e2"],
            &[],
            &["o1", "o2"],
        );
        check(
            "a dead parent is not asked",
            "e1",
            &["gone"],
            &[],
            &["o1", "o2"],
        );
        check(
            "configured ones in between",
            "e1",
            &[],
            &["c1:7002"],
            &["o1", "c1", "o2"],
        );
        check(
            "each once",
            "e1",
            &["o1"],
            &["o1:7002", "o1:7002"],
            &["o1", "o2"],
        );
    }

    #[test]
    fn the_streams_own_origin_is_asked_even_when_it_is_taken_for_dead() {
        assert_eq!(
            found("o3", "e1", &["e2"], &[]),
            ["e2:7002", "o1:7002", "o2:7002", "o3:7002"]
        );
    }

    #[test]
    fn without_a_plan_the_configured_parents_are_asked() {
        let configured: Vec<_> = (0..20).map(|n| format!("p{n}:7002")).collect();
        let key = StreamKey::parse("live/x").unwrap();
        let found = candidates(&Plan::default(), &key, &id("e1"), &configured);
        assert_eq!(found, configured[..MAX_CANDIDATES]);
    }
}
