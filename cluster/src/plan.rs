//! The plan: what the scheduler decided, as every node keeps it.
//!
//! Plans are ordered by [`Mark`]; a node takes only a higher one and keeps the last for ever, so
//! media needs no scheduler. The lists are sorted (by id, by key) and hold one entry each; a plan
//! is only made by [`Plan::new`], deserialising included. How it is decided is the scheduler's.

use serde::{Deserialize, Serialize};

use crate::moves::Moves;
use crate::node::{Node, NodeId, Role};
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
    /// Edges that are to ask their viewers to leave, by id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub moves: Vec<Leaving>,
}

/// A plan as received.
#[derive(Deserialize)]
struct Unsorted {
    mark: Mark,
    nodes: Vec<NodeState>,
    streams: Vec<StreamPlan>,
    kicks: Vec<Kick>,
    #[serde(default)]
    moves: Vec<Leaving>,
}

impl From<Unsorted> for Plan {
    fn from(plan: Unsorted) -> Self {
        Self::new(plan.mark, plan.nodes, plan.streams, plan.kicks).moving(plan.moves)
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
    /// Nodes from which all edges take it, best first, where no route says otherwise.
    pub parents: Vec<NodeId>,
    /// Other ways for some edges, by their first one, each edge in one at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// All streams that a player of this one may switch between, itself among them, whether on air
    /// or not; itself alone when empty. At most [`MAX_RUNGS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rungs: Vec<StreamKey>,
}

/// From where some edges take a stream.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Route {
    /// The edges, by id.
    pub edges: Vec<NodeId>,
    /// Their parents, best first: to the second one they keep a connection, so that it can take
    /// over at once. The origin need not be named to be the last resort.
    pub parents: Vec<NodeId>,
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

/// An order to an edge to ask its viewers to leave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaving {
    /// The edge.
    pub node: NodeId,
    /// How fast, and why.
    #[serde(flatten)]
    pub moves: Moves,
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
        streams.iter_mut().for_each(StreamPlan::sort);
        kicks.sort_by(|a, b| a.key.cmp(&b.key));
        kicks.dedup_by(|a, b| a.key == b.key);
        Self {
            mark,
            nodes,
            streams,
            kicks,
            moves: Vec::new(),
        }
    }

    /// The same plan with these orders to edges; of two for one edge the first stays.
    pub fn moving(mut self, mut moves: Vec<Leaving>) -> Self {
        moves.sort_by(|a, b| a.node.cmp(&b.node));
        moves.dedup_by(|a, b| a.node == b.node);
        self.moves = moves;
        self
    }

    /// How fast that edge is to ask its viewers to leave; one that is drained is even when nobody
    /// said how fast.
    pub fn moves_of(&self, id: &NodeId) -> Option<Moves> {
        let ordered = self.moves.binary_search_by(|it| it.node.cmp(id)).ok();
        let drains = || {
            let state = self.node(id)?;
            (state.health == Health::Draining).then_some(Moves::DRAIN)
        };
        ordered.map(|at| self.moves[at].moves).or_else(drains)
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

    /// Nodes from which the node `here` takes a stream, best first and the origin last; those that
    /// are down left out. Along first parents no way leads in a circle.
    ///
    /// A route that names the node comes first, then the stream's common parents (of which a node
    /// that is one of them itself takes those behind it), then the hubs of the node's zone.
    pub fn parents_of(&self, key: &StreamKey, here: &NodeId) -> Vec<&Node> {
        let Some(stream) = self.stream(key) else {
            return Vec::new();
        };
        let mut parents: Vec<&Node> = match (stream.route_of(here), stream.parents.as_slice()) {
            (Some(route), _) => self.usable(&route.parents).collect(),
            (None, []) => self.hubs_of(key, here),
            (None, common) => {
                let at = common.iter().position(|id| id == here);
                self.usable(&common[at.map_or(0, |at| at + 1)..]).collect()
            }
        };
        parents.retain(|node| node.id != *here && node.id != stream.origin);
        parents.extend(self.usable(std::slice::from_ref(&stream.origin)));
        parents
    }

    /// The parent to which the node keeps a connection beside the one that it takes the stream
    /// from: the second one of its route, or another hub of its zone.
    pub fn standby_of(&self, key: &StreamKey, here: &NodeId) -> Option<&Node> {
        let stream = self.stream(key)?;
        match (stream.route_of(here), stream.parents.as_slice()) {
            (Some(route), _) => self.usable(route.parents.get(1..)?).next(),
            (None, []) => self.hubs_of(key, here).get(1).copied(),
            (None, _) => None,
        }
    }

    /// Those of the nodes that are known and not down.
    fn usable(&self, ids: &[NodeId]) -> impl Iterator<Item = &Node> {
        let states = ids.iter().filter_map(|id| self.node(id));
        states
            .filter(|state| state.health != Health::Down)
            .map(|state| &state.node)
    }

    /// The hubs through which a node takes a stream, best first: those of its zone that are up, in
    /// an order that differs from stream to stream; none for a hub.
    pub fn hubs_of(&self, key: &StreamKey, here: &NodeId) -> Vec<&Node> {
        let Some(here) = self.node(here).map(|state| &state.node) else {
            return Vec::new();
        };
        let up = self
            .nodes
            .iter()
            .filter(|state| state.health == Health::Up && state.node.is_hub());
        let up = up.map(|state| &state.node);
        if here.hub || here.role != Role::Edge {
            return Vec::new();
        }
        let zone = match &here.zone {
            Some(zone) => Some(zone),
            None => {
                let away = |hub: &&Node| hub.place.chord(&here.place);
                let nearest = up.clone().min_by(|a, b| away(a).total_cmp(&away(b)));
                match nearest {
                    Some(Node { zone: None, .. }) => return nearest.into_iter().collect(),
                    Some(hub) => hub.zone.as_ref(),
                    None => None,
                }
            }
        };
        let mut hubs: Vec<&Node> = up
            .filter(|hub| zone.is_some() && hub.zone.as_ref() == zone)
            .collect();
        hubs.sort_by_cached_key(|hub| draw(key, &hub.id));
        hubs
    }
}

impl StreamPlan {
    /// The route that names the edge.
    pub fn route_of(&self, edge: &NodeId) -> Option<&Route> {
        let named = |route: &&Route| route.edges.binary_search(edge).is_ok();
        self.routes.iter().find(named)
    }

    fn sort(&mut self) {
        self.routes.iter_mut().for_each(|route| route.edges.sort());
        self.routes.sort();
    }
}

/// A node's number in a stream's lottery, the same on every node and in every version.
pub fn draw(key: &StreamKey, node: &NodeId) -> u64 {
    mix(hash(key.as_str().as_bytes()) ^ hash(node.as_str().as_bytes()))
}

/// A hash that is the same in every process and version: FNV-1a, then mixed.
pub fn hash(bytes: &[u8]) -> u64 {
    let fnv = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    mix(fnv)
}

/// The finaliser of SplitMix64: every bit of the input moves every bit of the output.
pub fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// A random number as one above 0 and at most 1.
pub fn uniform(random: u64) -> f64 {
    ((random >> 11) as f64 + 1.0) / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::{Capacity, Place, Zone};

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
            hub: false,
            zone: None,
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
            routes: Vec::new(),
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
    fn a_plan_of_before_there_were_moves_is_read_and_a_new_one_survives() {
        let plain = plan();
        let json = serde_json::to_string(&plain).unwrap();
        assert!(!json.contains("moves"));
        let read: Plan = serde_json::from_str(&json).unwrap();
        assert_eq!(read, plain);
        // One that is drained asks its viewers by itself.
        assert_eq!(read.moves_of(&id("a")), Some(Moves::DRAIN));
        assert_eq!(read.moves_of(&id("b")), None);
        let order = |name, permille| Leaving {
            node: id(name),
            moves: Moves {
                permille,
                ..Moves::DRAIN
            },
        };
        let moving = plain.moving(vec![order("b", 20), order("a", 50), order("b", 200)]);
        let json = serde_json::to_string(&moving).unwrap();
        let read: Plan = serde_json::from_str(&json).unwrap();
        assert_eq!(read, moving);
        let paces = ["a", "b", "z"].map(|name| read.moves_of(&id(name)).map(|it| it.permille));
        assert_eq!(paces, [Some(50), Some(20), None]);
    }

    #[test]
    fn kicks_end() {
        let plan = plan();
        assert!(plan.is_kicked(&key("live/x"), 99));
        assert!(!plan.is_kicked(&key("live/x"), 100));
        assert!(!plan.is_kicked(&key("live/y"), 99));
    }

    fn names<'a>(plan: &'a Plan, stream: &str, here: &str) -> Vec<&'a str> {
        let parents = plan.parents_of(&key(stream), &id(here));
        parents.iter().map(|node| node.id.as_str()).collect()
    }

    #[test]
    fn parents_are_best_first_origin_last_and_alive() {
        let plan = plan();
        assert_eq!(names(&plan, "live/y", "c"), ["a", "origin"]);
        assert_eq!(names(&plan, "live/y", "a"), ["origin"]);
        assert_eq!(names(&plan, "live/x", "c"), ["origin"]);
        assert!(names(&plan, "live/z", "c").is_empty());
    }

    /// Two zones: `eu` of two hubs, and a hub that stands alone on the other side.
    fn zoned() -> Plan {
        let place = |name: &str, zone: Option<&str>, hub, lon| {
            let mut state = node(name, Health::Up);
            (state.node.hub, state.node.place.lon) = (hub, lon);
            state.node.zone = zone.map(|zone| Zone::parse(zone).unwrap());
            state
        };
        let mut origin = place("origin", None, false, 100.0);
        origin.node.role = Role::Origin;
        let nodes = vec![
            origin,
            place("h1", Some("eu"), true, 0.0),
            place("h2", Some("eu"), true, 0.0),
            place("alone", None, true, 180.0),
            place("e1", Some("eu"), false, 0.0),
            place("near", None, false, 10.0),
            place("far", None, false, -170.0),
            place("asia", Some("as"), false, 150.0),
        ];
        let streams = (0..64).map(|n| stream(&format!("live/{n}"), &[])).collect();
        Plan::new(Mark::default(), nodes, streams, Vec::new())
    }

    #[test]
    fn without_a_route_a_zone_takes_a_stream_through_one_of_its_hubs() {
        let mut plan = zoned();
        let rows: [(&str, &[&str]); 5] = [
            ("h1", &["origin"]),
            ("alone", &["origin"]),
            ("far", &["alone", "origin"]),
            ("asia", &["origin"]),
            ("origin", &["origin"]),
        ];
        for (here, expect) in rows {
            assert_eq!(names(&plan, "live/1", here), expect, "{here}");
        }
        let first = |plan: &Plan, n: usize| names(plan, &format!("live/{n}"), "e1")[0].to_owned();
        let by_first = (0..64).filter(|&n| first(&plan, n) == "h1").count();
        assert!((16..48).contains(&by_first), "{by_first}");
        for n in 0..64 {
            let (e1, near) = ("e1", "near");
            let stream = format!("live/{n}");
            assert_eq!(names(&plan, &stream, e1), names(&plan, &stream, near));
            assert_eq!(
                names(&plan, &stream, e1).len(),
                3,
                "the other hub stands by"
            );
        }
        for state in &mut plan.nodes {
            if state.node.id.as_str() == "h1" {
                state.health = Health::Draining;
            }
        }
        assert_eq!(names(&plan, "live/1", "e1"), ["h2", "origin"]);
    }

    #[test]
    fn a_connection_is_kept_to_the_second_parent() {
        let mut plan = zoned();
        let first = plan.streams[0].key.clone();
        let standby = |plan: &Plan, here: &str| {
            let found = plan.standby_of(&first, &id(here));
            found.map(|node| node.id.to_string())
        };
        let parents = names(&plan, first.as_str(), "e1");
        assert_eq!(standby(&plan, "e1").as_deref(), Some(parents[1]));
        assert_eq!(standby(&plan, "far"), None);
        plan.streams[0].routes = vec![Route {
            edges: vec![id("e1")],
            parents: vec![id("far"), id("origin")],
        }];
        assert_eq!(standby(&plan, "e1").as_deref(), Some("origin"));
    }

    #[test]
    fn a_route_goes_before_all_else() {
        let mut zoned = zoned();
        let route = |edges: &[&str], parents: &[&str]| Route {
            edges: edges.iter().map(|edge| id(edge)).collect(),
            parents: parents.iter().map(|parent| id(parent)).collect(),
        };
        zoned.streams[0].routes = vec![
            route(&["near", "e1"], &["far", "gone", "h2", "e1"]),
            route(&["far"], &["origin"]),
        ];
        let json = serde_json::to_string(&zoned).unwrap();
        let plan: Plan = serde_json::from_str(&json).unwrap();
        let stream = plan.streams[0].key.clone();
        assert_eq!(names(&plan, stream.as_str(), "e1"), ["far", "h2", "origin"]);
        assert_eq!(names(&plan, stream.as_str(), "far"), ["origin"]);
        let none = plan.streams[1].clone();
        assert!(!serde_json::to_string(&none).unwrap().contains("routes"));
    }

    #[test]
    fn a_plan_stays_small() {
        let streams = (0..10_000).map(|i| stream(&format!("live/stream-{i}"), &["hub-1"]));
        let nodes = || {
            (0..500)
                .map(|i| node(&format!("edge-{i}"), Health::Up))
                .collect()
        };
        let plan = Plan::new(Mark::default(), nodes(), streams.collect(), Vec::new());
        assert!(serde_json::to_vec(&plan).unwrap().len() < 1 << 20);
        // Ways of their own for six edges of each stream.
        let routed = |i: usize| {
            let edge = |n: usize| id(&format!("edge-{}", (7 * i + n) % 500));
            let route = |n| Route {
                edges: (n..n + 3).map(edge).collect(),
                parents: vec![edge(100 + n), edge(200 + n)],
            };
            StreamPlan {
                routes: vec![route(0), route(10)],
                ..stream(&format!("live/stream-{i}"), &[])
            }
        };
        let streams = (0..10_000).map(routed).collect();
        let plan = Plan::new(Mark::default(), nodes(), streams, Vec::new());
        let bytes = serde_json::to_vec(&plan).unwrap().len();
        assert!(bytes < 3 << 20, "{bytes}");
    }
}
