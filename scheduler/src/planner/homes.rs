//! L2 for steering: at which edges each stream is to be at home, against the plan's prices.
//!
//! Routes then follow from who carries a stream ([`crate::plan::relay`]); here it is decided who
//! should. Samples tell viewers by stream and by region, not by both: at each edge a stream's are
//! taken to be from where the edge's viewers are.

use std::collections::HashMap;
use std::sync::Arc;

use cluster::region::Region;
use cluster::stream::StreamKey;

use crate::market::Home;
use crate::plan::homes::{cold, offers, terms};
use crate::plan::paths::{Ground, Node, Paths, Stream};
use crate::plan::relay;
use crate::plan::trade::Planned;
use crate::plan::view::View;
use crate::policy::{Policy, Subject};
use crate::snapshot::{NodeView, Snapshot, hash};

/// Viewers of a stream by region, and the edges that carry it.
#[derive(Default)]
struct Watched {
    regions: HashMap<u32, f32>,
    carriers: Vec<u32>,
}

/// The homes of all streams that have viewers.
pub fn homes(
    paths: &mut Paths,
    snapshot: &Snapshot,
    (view, planned): (&View, &Planned),
) -> HashMap<StreamKey, Arc<Home>> {
    // Nothing is relayed to an external pathway, so that no stream is at home there.
    let own = snapshot.nodes.iter().filter(|it| it.pathway.is_none());
    let nodes: Vec<&NodeView> = own.collect();
    let at: HashMap<&str, u32> = (0..)
        .zip(&nodes)
        .map(|(at, node)| (node.node().id.as_str(), at))
        .collect();
    let edge_at: Vec<Option<u32>> = view
        .edges
        .iter()
        .map(|edge| at.get(edge.id.as_str()).copied())
        .collect();
    let priced = priced(&nodes, planned, &edge_at);
    let policies = &*snapshot.policies;
    let (starts, offers) = offers(view, planned, &edge_at, policies);
    let watched = watched(view, &nodes);
    let mut keys: Vec<_> = watched.keys().copied().collect();
    keys.sort_unstable();
    let asked: Vec<Asked<'_>> = keys
        .iter()
        .filter_map(|key| {
            let record = snapshot.stream(key.as_str())?;
            let origin = *at.get(record.origin.as_str())?;
            let Watched { regions, carriers } = &watched[*key];
            let mut viewers: Vec<(u32, f32)> = regions.iter().map(|(r, v)| (*r, *v)).collect();
            viewers.sort_unstable_by_key(|(region, _)| *region);
            let subject = Subject {
                stream: Some(*key),
                stream_labels: snapshot.labels(key),
                ..Subject::default()
            };
            let policy = policies.of(&subject).policy.clone();
            Some((*key, origin, viewers, carriers, policy))
        })
        .collect();
    let streams: Vec<Stream<'_>> = asked.iter().map(stream).collect();
    let rtt_ms = relay::round_trips(&nodes);
    let ground = Ground {
        nodes: &priced,
        rtt_ms: &rtt_ms,
        starts: &starts,
        offers: &offers,
    };
    let terms = terms(policies.default_policy(), planned.tau);
    let laid = paths.lay(&ground, &streams, &terms);
    let home = |laid: &crate::plan::paths::Laid| {
        let mut open: Vec<u16> = laid
            .open
            .iter()
            .map(|at| nodes[*at as usize].number)
            .collect();
        open.sort_unstable();
        let buckets = laid.buckets;
        Arc::new(Home { open, buckets })
    };
    let homes = asked.iter().zip(&laid);
    homes
        .map(|((key, ..), laid)| ((*key).clone(), home(laid)))
        .collect()
}

/// A stream, its origin, its viewers by region, who carries it, and the policy that holds for it.
type Asked<'a> = (
    &'a StreamKey,
    u32,
    Vec<(u32, f32)>,
    &'a Vec<u32>,
    Arc<Policy>,
);

fn stream<'a>((key, origin, viewers, carriers, policy): &'a Asked<'_>) -> Stream<'a> {
    Stream {
        seed: hash(key.as_str().as_bytes()),
        origin: *origin,
        viewers,
        carriers,
        allowed: None,
        replicas: policy.placement.min_replicas,
        consolidate_below: policy.tail.consolidate_below_viewers.into(),
        cold: cold(policy, viewers),
    }
}

/// The nodes with the plan's prices; `edge_at` says which of them the plan's edges are.
fn priced(nodes: &[&NodeView], planned: &Planned, edge_at: &[Option<u32>]) -> Vec<Node> {
    let mut priced = relay::nodes(nodes);
    for (at, quote) in edge_at.iter().zip(&planned.quotes) {
        if let Some(at) = at {
            priced[*at as usize].price = quote.money + quote.scarcity;
        }
    }
    priced
}

/// Who watches what where.
fn watched<'a>(view: &View, nodes: &[&'a NodeView]) -> HashMap<&'a StreamKey, Watched> {
    let regions: HashMap<Region, u32> = (0..)
        .zip(&view.demands)
        .map(|(at, demand)| (demand.region, at))
        .collect();
    let mut watched: HashMap<&StreamKey, Watched> = HashMap::new();
    for (at, node) in (0..).zip(nodes).filter(|(_, node)| node.is_edge) {
        let from = node.sample.regions.iter();
        let from: Vec<(u32, f32)> = from
            .filter_map(|load| Some((*regions.get(&load.region)?, load.viewers as f32)))
            .collect();
        let all: f32 = from.iter().map(|(_, viewers)| viewers).sum();
        for stream in node.sample.viewers.iter().filter(|it| it.viewers > 0) {
            let of = watched.entry(&stream.key).or_default();
            of.carriers.push(at);
            for (region, viewers) in from.iter().filter(|(_, viewers)| *viewers > 0.0) {
                let part = stream.viewers as f32 * viewers / all;
                *of.regions.entry(*region).or_default() += part;
            }
        }
    }
    watched
}
