//! The plan: what the scheduler decided, as every node keeps it.
//!
//! Plans are ordered by [`Mark`]; a node takes only a higher one and keeps the last for ever, so
//! media needs no scheduler. The lists are sorted (by id, by key) and hold one entry each; a plan
//! is only made by [`Plan::new`], deserialising included. How it is decided is the scheduler's.

use serde::{Deserialize, Serialize};

use crate::node::{Node, NodeId};
use crate::stream::StreamKey;

/// A plan's place in the order of all plans: a new leader takes a higher epoch, each change within
/// it a higher revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mark {
    /// The leader's epoch, taken from the store.
    pub epoch: u64,
    /// Counts changes within the epoch.
    pub revision: u64,
}

/// What the scheduler decided.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Unsorted")]
#[non_exhaustive]
pub struct Plan {
    /// Its place in the order.
    pub mark: Mark,
    /// Every node known, by id.
    pub nodes: Vec<NodeState>,
    /// Every stream on air, by key.
    pub streams: Vec<StreamPlan>,
    /// Publishers to refuse, by key.
    pub kicks: Vec<Kick>,
}

/// A plan as received.
#[derive(Deserialize)]
struct Unsorted {
    mark: Mark,
    nodes: Vec<NodeState>,
    streams: Vec<StreamPlan>,
    kicks: Vec<Kick>,
}

impl From<Unsorted> for Plan {
    fn from(plan: Unsorted) -> Self {
        Self::new(plan.mark, plan.nodes, plan.streams, plan.kicks)
    }
}

/// A node and whether it may be used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeState {
    /// The node.
    pub node: Node,
    /// Whether it may be used.
    pub health: Health,
}

/// Whether a node may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// It answers and takes viewers.
    Up,
    /// It keeps the viewers it has and gets no new ones.
    Draining,
    /// It was silent for too long, or left.
    Down,
}

/// How a stream reaches the edges.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamPlan {
    /// The stream.
    pub key: StreamKey,
    /// The origin that takes it in.
    pub origin: NodeId,
    /// Nodes to take it from, best first; the origin when empty.
    pub parents: Vec<NodeId>,
    /// All streams that a player of this one may switch between, itself among them, whether on air
    /// or not; itself alone when empty. At most [`MAX_RUNGS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rungs: Vec<StreamKey>,
}

/// Streams that one player may switch between: ladders have three to six, and a session's token
/// names them all.
pub const MAX_RUNGS: usize = 8;

/// An order to cut off a stream's publisher and refuse it until a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kick {
    /// The stream.
    pub key: StreamKey,
    /// Unix time at which the order ends.
    pub until_ms: u64,
}

impl Plan {
    /// A plan with its lists put in order. Of two entries with one id or key the first stays.
    pub fn new(
        mark: Mark,
        mut nodes: Vec<NodeState>,
        mut streams: Vec<StreamPlan>,
        mut kicks: Vec<Kick>,
    ) -> Self {
        nodes.sort_by(|a, b| a.node.id.cmp(&b.node.id));
        nodes.dedup_by(|a, b| a.node.id == b.node.id);
        streams.sort_by(|a, b| a.key.cmp(&b.key));
        streams.dedup_by(|a, b| a.key == b.key);
        kicks.sort_by(|a, b| a.key.cmp(&b.key));
        kicks.dedup_by(|a, b| a.key == b.key);
        Self {
            mark,
            nodes,
            streams,
            kicks,
        }
    }

    /// Whether a node that holds `held` should take this plan.
    pub fn supersedes(&self, held: Mark) -> bool {
        self.mark > held
    }

    /// The node of that id.
    pub fn node(&self, id: &NodeId) -> Option<&NodeState> {
        let at = self.nodes.binary_search_by(|n| n.node.id.cmp(id)).ok()?;
        Some(&self.nodes[at])
    }

    /// The stream of that key.
    pub fn stream(&self, key: &StreamKey) -> Option<&StreamPlan> {
        let at = self.streams.binary_search_by(|s| s.key.cmp(key)).ok()?;
        Some(&self.streams[at])
    }

    /// Whether the stream's publisher is to be refused at that time.
    pub fn is_kicked(&self, key: &StreamKey, now_ms: u64) -> bool {
        let found = self.kicks.binary_search_by(|k| k.key.cmp(key));
        found.is_ok_and(|at| now_ms < self.kicks[at].until_ms)
    }

    /// Nodes to take a stream from, best first and the origin last; those that are down left out.
    pub fn parents(&self, key: &StreamKey) -> impl Iterator<Item = &Node> {
        let stream = self.stream(key);
        let parents = stream.into_iter().flat_map(|s| {
            let others = s.parents.iter().filter(|id| **id != s.origin);
            others.chain(std::iter::once(&s.origin))
        });
        let states = parents.filter_map(|id| self.node(id));
        states
            .filter(|state| state.health != Health::Down)
            .map(|state| &state.node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::{Capacity, Place, Role};

    fn id(text: &str) -> NodeId {
        NodeId::parse(text).unwrap()
    }

    fn key(text: &str) -> StreamKey {
        StreamKey::parse(text).unwrap()
    }

    fn node(name: &str, health: Health) -> NodeState {
        let node = Node {
            id: id(name),
            role: Role::Edge,
            public_url: format!("http://{name}"),
            relay: Some(format!("{name}:4443")),
            admin: None,
            place: Place::default(),
            capacity: Capacity::default(),
            version: "0".into(),
        };
        NodeState { node, health }
    }

    fn stream(name: &str, parents: &[&str]) -> StreamPlan {
        let parents = parents.iter().map(|p| id(p)).collect();
        StreamPlan {
            key: key(name),
            origin: id("origin"),
            parents,
            rungs: Vec::new(),
        }
    }

    fn plan() -> Plan {
        let nodes = [
            ("origin", Health::Up),
            ("b", Health::Down),
            ("a", Health::Draining),
        ];
        Plan::new(
            Mark {
                epoch: 1,
                revision: 1,
            },
            nodes.map(|(name, health)| node(name, health)).into(),
            vec![stream("live/y", &["a", "b", "gone"]), stream("live/x", &[])],
            vec![Kick {
                key: key("live/x"),
                until_ms: 100,
            }],
        )
    }

    #[test]
    fn only_a_higher_mark_supersedes() {
        let held = Mark {
            epoch: 5,
            revision: 7,
        };
        let rows = [
            (5, 8, true),
            (6, 0, true),
            (5, 7, false),
            (5, 6, false),
            (4, 99, false),
        ];
        for (epoch, revision, newer) in rows {
            let plan = Plan {
                mark: Mark { epoch, revision },
                ..Plan::default()
            };
            assert_eq!(plan.supersedes(held), newer, "({epoch}, {revision})");
        }
    }

    #[test]
    fn nodes_and_streams_are_found_whatever_order_they_came_in() {
        let plan = plan();
        let json = serde_json::to_string(&plan).unwrap();
        for plan in [plan.clone(), serde_json::from_str(&json).unwrap()] {
            assert_eq!(plan.node(&id("b")).unwrap().health, Health::Down);
            assert!(plan.node(&id("z")).is_none());
            assert_eq!(plan.stream(&key("live/y")).unwrap().parents.len(), 3);
            assert!(plan.stream(&key("live/z")).is_none());
        }
    }

    #[test]
    fn of_two_entries_the_first_stays() {
        let twice = vec![
            node("a", Health::Up),
            node("b", Health::Up),
            node("a", Health::Down),
        ];
        let plan = Plan::new(Mark::default(), twice, Vec::new(), Vec::new());
        assert_eq!(plan.nodes.len(), 2);
        assert_eq!(plan.node(&id("a")).unwrap().health, Health::Up);
    }

    #[test]
    fn kicks_end() {
        let plan = plan();
        assert!(plan.is_kicked(&key("live/x"), 99));
        assert!(!plan.is_kicked(&key("live/x"), 100));
        assert!(!plan.is_kicked(&key("live/y"), 99));
    }

    #[test]
    fn parents_are_best_first_origin_last_and_alive() {
        let plan = plan();
        let names = |name| {
            plan.parents(&key(name))
                .map(|n| n.id.as_str())
                .collect::<Vec<_>>()
        };
        assert_eq!(names("live/y"), ["a", "origin"]);
        assert_eq!(names("live/x"), ["origin"]);
        assert!(names("live/z").is_empty());
    }

    #[test]
    fn a_plan_stays_small() {
        let streams = (0..10_000).map(|i| stream(&format!("live/stream-{i}"), &["hub-1"]));
        let nodes = (0..500)
            .map(|i| node(&format!("edge-{i}"), Health::Up))
            .collect();
        let plan = Plan::new(Mark::default(), nodes, streams.collect(), Vec::new());
        assert!(serde_json::to_vec(&plan).unwrap().len() < 1 << 20);
    }
}
