//! Herding: how even loads stay when schedulers know them only as they were some time ago.
//!
//! Four schedulers send viewers to ten equal edges for ten minutes of virtual time, by our decision
//! or to the edge that carried least, in turns over the same viewers.

use cluster::node::{Capacity, Node, NodeId, Place, Role};
use cluster::region::Region;
use cluster::sample::Sample;
use scheduler::geo::{Located, Point, Source};
use scheduler::market::{Market, Quote};
use scheduler::snapshot::{NodeView, Snapshot, mix};
use scheduler::steer::{Viewer, steer};
use std::{collections::BTreeMap, sync::Arc};

const EDGES: usize = 10;
const REPLICAS: usize = 4;
const SESSION_S: f64 = 150.0;
const SECONDS: u64 = 600;
const BITRATE_BPS: u64 = 1_000_000;

/// By what an edge is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum By {
    Weir,
    LeastLoaded,
}

/// The largest load over the mean one in the second half, telemetry being up to `age_s` old.
pub fn worst(by: By, joins_per_s: usize, age_s: u64) -> f64 {
    let mut replicas: Vec<Snapshot> = (0..REPLICAS).map(|_| snapshot()).collect();
    let mut viewers = [0u32; EDGES];
    let mut leaving: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    let mut worst = 0.0f64;
    for second in 0..SECONDS {
        for edge in leaving.remove(&second).unwrap_or_default() {
            viewers[edge] -= 1;
        }
        if second % age_s == 0 {
            replicas.iter_mut().for_each(|it| tell(it, &viewers));
        }
        for nth in 0..joins_per_s {
            let random = mix(second * joins_per_s as u64 + nth as u64 + 1);
            let edge = choose(by, &replicas[nth % REPLICAS], random);
            viewers[edge] += 1;
            let uniform = ((mix(random) >> 11) as f64 + 1.0) / (1u64 << 53) as f64;
            let stays = (-uniform.ln() * SESSION_S) as u64 + 1;
            leaving.entry(second + stays).or_default().push(edge);
        }
        if second >= SECONDS / 2 {
            let mean = f64::from(viewers.iter().sum::<u32>()) / EDGES as f64;
            let most = viewers.iter().copied().max().unwrap_or_default();
            worst = worst.max(f64::from(most) / mean);
        }
    }
    worst
}

/// The edges report what they carry.
fn tell(snapshot: &mut Snapshot, viewers: &[u32]) {
    for (view, viewers) in snapshot.nodes.iter_mut().zip(viewers) {
        view.egress_bps = u64::from(*viewers) * BITRATE_BPS;
        view.counted = view.sent.count();
    }
}

fn choose(by: By, snapshot: &Snapshot, random: u64) -> usize {
    if by == By::LeastLoaded {
        let loads = snapshot.nodes.iter().enumerate();
        let least = loads.min_by_key(|(edge, view)| (view.egress_bps, mix(random ^ *edge as u64)));
        return least.map_or(0, |(edge, _)| edge);
    }
    let located = Located {
        point: Point { lat: 0.0, lon: 0.0 },
        country: None,
        region: Region::UNKNOWN,
        source: Source::Zone,
    };
    let decision = steer(snapshot, &Viewer::new(located, random, 0));
    decision.count(snapshot, BITRATE_BPS);
    decision.chosen().expect("no edge is full").node
}

/// Equal edges at equal prices.
fn snapshot() -> Snapshot {
    let mut snapshot = Snapshot::default();
    let mut market = Market {
        made_ms: 1,
        ..Market::default()
    };
    for number in 1..=EDGES as u16 {
        let id = NodeId::parse(&format!("edge-{number}")).expect("a name");
        let sample = Sample::new(edge(id), 0);
        snapshot
            .nodes
            .push(NodeView::new(number, Arc::new(sample), Arc::default()));
        let quote = Quote {
            money: 1.0,
            planned_bps: 1e9,
            ..Quote::default()
        };
        market.quotes.insert(number, quote);
    }
    snapshot.follow(&Arc::new(market), 1);
    snapshot
}

fn edge(id: NodeId) -> Node {
    Node {
        public_url: format!("https://{id}.example.com"),
        id,
        role: Role::Edge,
        relay: None,
        hub: false,
        zone: None,
        admin: None,
        place: Place::default(),
        capacity: Capacity {
            egress_bps: 1_000_000_000_000,
            viewers: 0,
        },
        version: String::new(),
    }
}
