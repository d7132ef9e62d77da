//! What a scheduler counts: decisions and their time, lookups, samples, nodes and streams.

use std::sync::Arc;

use arc_swap::ArcSwap;
use cluster::node::Role;
use cluster::plan::Health;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::geo::Source;
use crate::snapshot::Snapshot;

/// The scheduler's metrics; clones are the same metrics.
#[derive(Clone, Debug)]
pub struct Meter {
    decisions: Family<Outcome, Counter>,
    /// Viewers redirected, looked up once: the hot path takes no lock for a label.
    redirected: Counter,
    /// Seconds from a parsed request to its answer.
    pub seconds: Histogram,
    lookups: Arc<[Counter; Source::ALL.len()]>,
    /// Samples taken.
    pub samples: Counter,
    refused: Family<Refusal, Counter>,
    nodes: Family<Nodes, Gauge>,
    streams: Gauge,
    steered: Family<Outcome, Counter>,
    shed: Family<Shed, Counter>,
    throughput: Histogram,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Shed {
    what: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Lookup {
    source: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refusal {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Nodes {
    role: &'static str,
    health: &'static str,
}

impl Meter {
    /// Makes the metrics and registers them as `weir_scheduler_*`.
    pub fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("weir_scheduler");
        let decisions = Family::<Outcome, Counter>::default();
        let lookups = Family::<Lookup, Counter>::default();
        let redirected = Counter::clone(&decisions.get_or_create(&Outcome {
            outcome: "redirected",
        }));
        let meter = Self {
            redirected,
            seconds: Histogram::new(exponential_buckets(FASTEST_S, 2.0, BUCKETS)),
            lookups: Arc::new(Source::ALL.map(|source| {
                Counter::clone(&lookups.get_or_create(&Lookup {
                    source: source.as_str(),
                }))
            })),
            decisions,
            samples: Counter::default(),
            refused: Family::default(),
            nodes: Family::default(),
            streams: Gauge::default(),
            steered: Family::default(),
            shed: Family::default(),
            throughput: Histogram::new(exponential_buckets(SLOWEST_BYTES_S, 2.0, BUCKETS)),
        };
        registry.register(
            "decisions",
            "Viewers' requests by outcome",
            meter.decisions.clone(),
        );
        registry.register_with_unit(
            "decision",
            "Time to place, decide and sign",
            Unit::Seconds,
            meter.seconds.clone(),
        );
        registry.register(
            "geo_lookups",
            "Addresses placed, by what the place came from",
            lookups,
        );
        registry.register("samples", "Samples taken from nodes", meter.samples.clone());
        registry.register(
            "refused_reports",
            "Reports refused, by reason",
            meter.refused.clone(),
        );
        registry.register(
            "nodes",
            "Known nodes by role and health",
            meter.nodes.clone(),
        );
        registry.register("streams", "Streams on air", meter.streams.clone());
        registry.register(
            "steered",
            "Running players' requests for steering, by outcome",
            meter.steered.clone(),
        );
        registry.register(
            "shed",
            "Times that a viewer who joined got less because its edge was nearly full",
            meter.shed.clone(),
        );
        registry.register_with_unit(
            "player_throughput",
            "What running players measured",
            Unit::Other("bytes_per_second".to_owned()),
            meter.throughput.clone(),
        );
        meter
    }

    /// Counts a viewer sent to an edge.
    pub fn redirected(&self) {
        self.redirected.inc();
    }

    /// Counts a request that ended otherwise.
    pub fn decided(&self, outcome: &'static str) {
        self.decisions.get_or_create(&Outcome { outcome }).inc();
    }

    /// Counts what a viewer who joined did not get.
    pub fn shed(&self, what: &'static str) {
        self.shed.get_or_create(&Shed { what }).inc();
    }

    /// Counts an answer to a running player, or why it got none.
    pub fn steered(&self, outcome: &'static str) {
        self.steered.get_or_create(&Outcome { outcome }).inc();
    }

    /// Counts what a player measured, in bits per second.
    pub fn throughput(&self, bps: u64) {
        self.throughput.observe(bps as f64 / 8.0);
    }

    /// Counts an address placed.
    pub fn located(&self, source: Source) {
        self.lookups[source as usize].inc();
    }

    /// Counts a refused report.
    pub fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&Refusal { reason }).inc();
    }

    /// Shows how many nodes and streams there are.
    pub fn show(&self, snapshot: &Snapshot) {
        for role in [Role::Origin, Role::Edge, Role::Scheduler] {
            for (health, name) in HEALTH {
                let like = |view: &&crate::snapshot::NodeView| {
                    view.node().role == role && view.health == health
                };
                let count = snapshot.nodes.iter().filter(like).count();
                let label = Nodes {
                    role: role.as_str(),
                    health: name,
                };
                self.nodes.get_or_create(&label).set(count as i64);
            }
        }
        self.streams.set(snapshot.streams.len() as i64);
    }
}

/// How many running players of each known edge asked for steering; read from the snapshot when it
/// is scraped, so that a node that is forgotten leaves no label behind.
pub struct Pathways(Arc<ArcSwap<Snapshot>>);

impl Pathways {
    /// Registers them as `weir_scheduler_pathway_requests_total`.
    pub fn register(registry: &mut Registry, snapshot: Arc<ArcSwap<Snapshot>>) {
        let registry = registry.sub_registry_with_prefix("weir_scheduler");
        registry.register_collector(Box::new(Self(snapshot)));
    }
}

impl std::fmt::Debug for Pathways {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pathways")
    }
}

impl Collector for Pathways {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut family = encoder.encode_descriptor(
            "pathway_requests",
            "Running players' requests for steering, by the edge that they play from",
            None,
            MetricType::Counter,
        )?;
        let snapshot = self.0.load();
        for view in snapshot.nodes.iter().filter(|view| view.is_edge) {
            let labels = [("node", view.node().id.as_str())];
            let counter = ConstCounter::new(view.heard.asked());
            counter.encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

const HEALTH: [(Health, &str); 3] = [
    (Health::Up, "up"),
    (Health::Draining, "draining"),
    (Health::Down, "down"),
];

/// From 1 microsecond, faster than any decision, in 14 doublings to 8 milliseconds.
const FASTEST_S: f64 = 1e-6;
const BUCKETS: u16 = 14;

/// From 32 kB/s, which carries sound and little else, to 262 MB/s.
const SLOWEST_BYTES_S: f64 = 32_000.0;
