//! Sans-IO: from what the nodes report to the routes that they are told.
//!
//! Where a way is what nodes do without being told (the hub drawn for the stream, a hub from the
//! origin) no route is made. Round trips are those that nodes measured with their parents,
//! otherwise guessed from the distance.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use cluster::node::{Node as Described, NodeId, Place, Role};
use cluster::plan::{Health, Plan, Route};
use cluster::stream::{StreamKey, StreamRecord};

use super::cost;
use super::paths::{Ground, Laid, Node, Paths, Stream, Terms};
use crate::snapshot::{NodeView, hash};

/// The routes of streams that have any.
pub type Routes = HashMap<StreamKey, Vec<Route>>;

/// The ways of all streams, kept from one time to the next.
#[derive(Clone, Debug, Default)]
pub struct Relays {
    paths: Paths,
    /// As they were laid, with the routes made of that.
    known: HashMap<StreamKey, (Arc<Laid>, Vec<Route>)>,
}

impl Relays {
    /// Lays the streams to the edges that carry them; their routes, when some are others.
    pub fn lay<'a>(
        &mut self,
        views: &[&NodeView],
        streams: impl Iterator<Item = &'a StreamRecord>,
    ) -> Option<Routes> {
        let nodes = nodes(views);
        let rtt_ms = round_trips(views);
        let at: HashMap<&NodeId, u32> = (0..)
            .zip(views)
            .map(|(at, view)| (&view.node().id, at))
            .collect();
        let mut watched = watched(views);
        let records: BTreeMap<&StreamKey, &StreamRecord> =
            streams.map(|record| (&record.key, record)).collect();
        let demand: Vec<_> = records
            .values()
            .filter_map(|record| {
                let (carriers, viewers) = watched.remove(&record.key)?;
                Some((*record, *at.get(&record.origin)?, carriers, [(0, viewers)]))
            })
            .collect();
        let asked: Vec<_> = demand
            .iter()
            .map(|(record, origin, carriers, viewers)| Stream {
                seed: hash(record.key.as_str().as_bytes()),
                origin: *origin,
                viewers,
                carriers,
                allowed: None,
                replicas: 1,
                consolidate_below: f64::INFINITY,
                cold: Default::default(),
            })
            .collect();
        let ground = Ground {
            nodes: &nodes,
            rtt_ms: &rtt_ms,
            starts: &[0, 0],
            offers: &[],
        };
        let laid = self.paths.lay(&ground, &asked, &Terms::default());
        let told = told(views);
        let mut changed = demand.len() != self.known.len();
        let mut known = HashMap::with_capacity(demand.len());
        for ((record, ..), laid) in demand.iter().zip(&laid) {
            // Whatever changes about nodes, their streams are laid anew.
            let before = self.known.remove(&record.key);
            let same = |(before, _): &(Arc<Laid>, _)| Arc::ptr_eq(before, laid);
            let routes = match before {
                Some(before) if same(&before) => before.1,
                before => {
                    let routes = routes(&told, views, record, laid);
                    changed |= before.is_none_or(|(_, before)| before != routes);
                    routes
                }
            };
            known.insert(record.key.clone(), (laid.clone(), routes));
        }
        self.known = known;
        changed.then(|| self.routes())
    }

    fn routes(&self) -> Routes {
        let known = self.known.iter().filter(|(_, (_, it))| !it.is_empty());
        known
            .map(|(key, (_, routes))| (key.clone(), routes.clone()))
            .collect()
    }
}

/// What a node would do without a route, as the plan says it.
fn told(views: &[&NodeView]) -> Plan {
    let state = |view: &&NodeView| cluster::plan::NodeState {
        node: view.node().clone(),
        health: view.health,
    };
    Plan::new(
        Default::default(),
        views.iter().map(state).collect(),
        Vec::new(),
        Vec::new(),
    )
}

/// The routes of one stream, edges of equal parents together.
fn routes(told: &Plan, views: &[&NodeView], record: &StreamRecord, laid: &Laid) -> Vec<Route> {
    let id = |at: u32| &views[at as usize].node().id;
    let mut grouped: BTreeMap<Vec<NodeId>, Vec<NodeId>> = BTreeMap::new();
    for way in &laid.ways {
        let parents = [Some(way.parent), way.standby];
        let parents: Vec<NodeId> = parents
            .into_iter()
            .flatten()
            .map(|at| id(at).clone())
            .collect();
        let hubs = told.hubs_of(&record.key, id(way.node));
        let unasked: Vec<&NodeId> = match hubs.as_slice() {
            [] => vec![&record.origin],
            hubs => hubs.iter().map(|hub| &hub.id).collect(),
        };
        if unasked.len() < parents.len()
            || !parents.iter().eq(unasked.into_iter().take(parents.len()))
        {
            grouped
                .entry(parents)
                .or_default()
                .push(id(way.node).clone());
        }
    }
    let route = |(parents, edges)| Route { edges, parents };
    grouped.into_iter().map(route).collect()
}

/// The edges that carry each stream, and all its viewers.
fn watched<'a>(views: &[&'a NodeView]) -> HashMap<&'a StreamKey, (Vec<u32>, f32)> {
    let mut watched: HashMap<&StreamKey, (Vec<u32>, f32)> = HashMap::new();
    for (at, view) in (0..).zip(views).filter(|(_, view)| view.is_edge) {
        for stream in view
            .sample
            .viewers
            .iter()
            .filter(|stream| stream.viewers > 0)
        {
            let (carriers, viewers) = watched.entry(&stream.key).or_default();
            carriers.push(at);
            *viewers += stream.viewers as f32;
        }
    }
    watched
}

/// The nodes as their samples describe them, with what relays cost but no price of viewers.
pub(crate) fn nodes(views: &[&NodeView]) -> Vec<Node> {
    let hubs: Vec<(u32, &Described)> = (0..)
        .zip(views)
        .filter(|(_, view)| view.health == Health::Up && view.node().is_hub())
        .map(|(at, view)| (at, view.node()))
        .collect();
    // A zone is numbered by its first node, that of a node without one by the nearest hub's.
    let named = |node: &Described, at: u32| match &node.zone {
        Some(_) => {
            let same = |view: &&&NodeView| view.node().zone == node.zone;
            views
                .iter()
                .zip(0..)
                .find(|(view, _)| same(view))
                .map_or(at, |(_, at)| at)
        }
        None => at,
    };
    let is_placed = |view: &NodeView| view.node().place != Place::default();
    let near = |a: &NodeView, b: &NodeView| a.unit.km_to(b.unit) <= METRO_KM;
    // A metro is numbered by the first node that is near; who knows of no place is alone.
    let metro = |view: &NodeView, at: u32| {
        let mut first = (0..at).zip(views).filter(|_| is_placed(view));
        let first = first.find(|(_, other)| is_placed(other) && near(view, other));
        first.map_or(at, |(at, _)| at)
    };
    let zone = |node: &Described, at: u32| {
        if node.zone.is_some() || node.hub || node.role != Role::Edge {
            return named(node, at);
        }
        let away = |hub: &&(u32, &Described)| hub.1.place.chord(&node.place);
        let nearest = hubs.iter().min_by(|a, b| away(a).total_cmp(&away(b)));
        nearest.map_or(at, |&(at, hub)| named(hub, at))
    };
    (0..)
        .zip(views)
        .map(|(at, view)| {
            let node = view.node();
            Node {
                seed: view.seed,
                weight: view.weight().into(),
                price: 0.0,
                relay: view.relay_cost,
                zone: zone(node, at),
                metro: metro(view, at),
                hub: node.hub,
                relays: node.relay.is_some(),
                health: view.health,
            }
        })
        .collect()
}

/// From each node to each other one.
pub(crate) fn round_trips(views: &[&NodeView]) -> Vec<f32> {
    let mut rtt_ms = Vec::with_capacity(views.len() * views.len());
    for from in views {
        rtt_ms.extend(views.iter().map(|to| guessed_rtt_ms(from, to)));
    }
    let all = views.iter().enumerate();
    let at: HashMap<&NodeId, usize> = all.map(|(at, view)| (&view.node().id, at)).collect();
    let at = &at;
    let known = views.iter().enumerate().flat_map(|(here, view)| {
        let links = view.links.rtts_ms();
        links.filter_map(move |(node, rtt_ms)| Some((*at.get(node)?, here, rtt_ms)))
    });
    let known: Vec<(usize, usize, f32)> = known.collect();
    // The way back is as long, where nobody measured that.
    for (parent, here, known) in &known {
        rtt_ms[here * views.len() + parent] = *known;
    }
    for (parent, here, known) in known {
        rtt_ms[parent * views.len() + here] = known;
    }
    rtt_ms
}

/// By distance; nobody is far from a node of which no place is known.
fn guessed_rtt_ms(from: &NodeView, to: &NodeView) -> f32 {
    let unknown = |view: &NodeView| view.node().place == Place::default();
    if unknown(from) || unknown(to) {
        return cost::between_nodes_ms(0.0);
    }
    cost::between_nodes_ms(from.unit.km_to(to.unit))
}

/// Nodes nearer to each other are equally near to everybody.
const METRO_KM: f32 = 50.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::fixture::{
        City, FRANKFURT, PARIS, SHANGHAI, VIRGINIA, sample, stream, view,
    };
    use cluster::node::Zone;
    use cluster::sample::{Link, StreamViewers};

    fn watching(id: &str, city: City, viewers: u32) -> cluster::sample::Sample {
        let mut sample = sample(id, Role::Edge, city);
        let key = StreamKey::parse("live/x").unwrap();
        sample.viewers = vec![StreamViewers {
            key,
            viewers,
            joins: 0,
            leaves: 0,
        }];
        sample
    }

    /// Edges by parents, as told for `live/x`.
    fn laid(samples: Vec<cluster::sample::Sample>) -> Vec<(Vec<String>, Vec<String>)> {
        laid_by(samples, "", 0.0)
    }

    /// The same where one node's bits to others cost that much.
    fn laid_by(
        samples: Vec<cluster::sample::Sample>,
        dear: &str,
        relay_cost: f64,
    ) -> Vec<(Vec<String>, Vec<String>)> {
        let mut views: Vec<NodeView> = (1..)
            .zip(samples)
            .map(|(at, sample)| view(at, sample))
            .collect();
        let priced = views.iter_mut().find(|it| it.node().id.as_str() == dear);
        if let Some(view) = priced {
            view.relay_cost = relay_cost;
        }
        let views: Vec<&NodeView> = views.iter().collect();
        let record = stream("live/x", "origin");
        let mut relays = Relays::default();
        let mut lay = || relays.lay(&views, [&record].into_iter());
        let routes = lay().expect("the first routes");
        assert!(lay().is_none(), "nothing changed");
        let routes = routes.get(&record.key).map_or(&[][..], Vec::as_slice);
        let names = |ids: &[NodeId]| ids.iter().map(ToString::to_string).collect();
        routes
            .iter()
            .map(|route| (names(&route.edges), names(&route.parents)))
            .collect()
    }

    #[test]
    fn a_way_is_told_only_where_nodes_would_take_another() {
        let origin = || sample("origin", Role::Origin, VIRGINIA);
        let zoned = |mut sample: cluster::sample::Sample, hub| {
            (sample.node.zone, sample.node.hub) = (Zone::parse("eu").ok(), hub);
            sample
        };
        let hub = |viewers| zoned(watching("hub", FRANKFURT, viewers), true);
        let through_hub = vec![origin(), hub(0), zoned(watching("e1", PARIS, 3), false)];
        assert!(laid(through_hub).is_empty(), "what nodes do anyway");
        let near = vec![
            origin(),
            watching("e1", PARIS, 1),
            watching("e2", FRANKFURT, 1),
        ];
        let one = |edge: &str, parent: &str| (vec![edge.to_owned()], vec![parent.to_owned()]);
        assert_eq!(laid(near.clone()), [one("e2", "e1")]);
        assert!(laid_by(near, "e1", 9.0).is_empty(), "its bits are dear");
        let apart = vec![
            origin(),
            watching("e1", PARIS, 1),
            watching("e2", SHANGHAI, 0),
        ];
        assert!(laid(apart).is_empty());
        let mut measured = watching("e2", FRANKFURT, 1);
        let node = NodeId::parse("origin").unwrap();
        measured.parents = vec![Link {
            node,
            rtt_ms: 20.0,
            loss: 0.0,
        }];
        assert!(
            !laid(vec![origin(), watching("e1", PARIS, 1), measured]).contains(&one("e2", "e1"))
        );
        let large = vec![origin(), hub(0), zoned(watching("e1", PARIS, 500), false)];
        let standby = (
            vec!["e1".to_owned()],
            vec!["hub".to_owned(), "origin".to_owned()],
        );
        assert_eq!(laid(large), [standby]);
    }
}
