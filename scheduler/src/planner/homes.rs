//! L2 for steering: at which edges each stream is to be at home, against the plan's prices.
//!
//! Routes then follow from who carries a stream ([`crate::plan::relay`]); here it is decided who
//! should. Samples tell viewers by stream and by region, not by both: at each edge a stream's are
//! taken to be from where the edge's viewers are.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use cluster::region::Region;
use cluster::stream::StreamKey;

use crate::market::Home;
use crate::plan::homes::{cold, offers, terms, together, usual_bps};
use crate::plan::paths::{Ground, Node, Paths, Stream};
use crate::plan::relay;
use crate::plan::trade::Planned;
use crate::plan::view::View;
use crate::policy::Subject;
use crate::snapshot::{NodeView, Snapshot, hash};

/// Viewers of a stream by region, ascending, and the edges that carry it.
#[derive(Default)]
struct Watched {
    viewers: Vec<(u32, f32)>,
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
    let usual_bps = usual_bps(view.edges.iter().map(|edge| edge.capacity_bps));
    let watched = watched(view, &nodes);
    let asked = watched.iter().filter_map(|(key, watched)| {
        let record = snapshot.stream(key.as_str())?;
        let subject = Subject {
            stream: Some(*key),
            stream_labels: snapshot.labels(key),
            ..Subject::default()
        };
        let policy = &policies.of(&subject).policy;
        let stream = Stream {
            seed: hash(key.as_str().as_bytes()),
            origin: *at.get(record.origin.as_str())?,
            viewers: &watched.viewers,
            carriers: &watched.carriers,
            allowed: None,
            replicas: policy.placement.min_replicas,
            consolidate_below: together(policy, record.bitrate_bps as f64, usual_bps),
            cold: cold(policy, &watched.viewers),
        };
        Some((*key, stream))
    });
    let (keys, streams): (Vec<&StreamKey>, Vec<Stream<'_>>) = asked.unzip();
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
    let homes = keys.into_iter().zip(&laid);
    homes.map(|(key, laid)| (key.clone(), home(laid))).collect()
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

/// Who watches what where, and with them who is expected to come.
fn watched<'a>(view: &View, nodes: &[&'a NodeView]) -> BTreeMap<&'a StreamKey, Watched> {
    let regions: HashMap<Region, u32> = (0..)
        .zip(&view.demands)
        .map(|(at, demand)| (demand.region, at))
        .collect();
    let mut watched: BTreeMap<&StreamKey, Watched> = BTreeMap::new();
    for (at, node) in (0..).zip(nodes).filter(|(_, node)| node.is_edge) {
        let from = node.sample.regions.iter();
        let from: Vec<(u32, f32)> = from
            .filter_map(|load| Some((*regions.get(&load.region)?, load.viewers as f32)))
            .filter(|(_, viewers)| *viewers > 0.0)
            .collect();
        let all: f32 = from.iter().map(|(_, viewers)| viewers).sum();
        for stream in node.sample.viewers.iter().filter(|it| it.viewers > 0) {
            let of = watched.entry(&stream.key).or_default();
            of.carriers.push(at);
            let part = |&(region, viewers): &(u32, f32)| {
                let growth = view.demands[region as usize].outlook.median.max(1.0);
                (
                    region,
                    growth as f32 * stream.viewers as f32 * viewers / all,
                )
            };
            of.viewers.extend(from.iter().map(part));
        }
    }
    for of in watched.values_mut() {
        of.viewers.sort_unstable_by_key(|(region, _)| *region);
        of.viewers.dedup_by(|more, of| {
            let same = more.0 == of.0;
            of.1 += if same { more.1 } else { 0.0 };
            same
        });
    }
    watched
}
