//! The recommendation kept up to date, and told over the admin API and as a metric.
//!
//! Three shapes of one thing: our own, which KEDA's `metrics-api` scaler reads by path
//! (`zones.eu.desired`); the metric `weir_scale_desired_nodes`; and that of Kubernetes' external
//! metrics API (`external.metrics.k8s.io/v1beta1`), which a horizontal pod autoscaler asks.

mod external;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use serde::{Deserialize, Serialize};
use tokio::time::{MissedTickBehavior, interval};
use transport::clock::Clock;
use transport::router::{Json, Router, State, get};

use super::survey::survey;
use super::{Config, Scaler, Terms, Wish, Zone};
use crate::forecast::Outlook;
use crate::geo::Geo;
use crate::snapshot::Snapshot;

/// Recommends, for ever.
pub struct Scaling {
    config: Config,
    sources: Sources,
    scaler: Mutex<Scaler>,
    started: Instant,
    board: ArcSwap<Board>,
}

/// What a recommendation is made from.
pub struct Sources {
    /// The cluster as it is.
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    /// What is expected.
    pub outlook: Arc<ArcSwap<Outlook>>,
    /// Where regions are.
    pub geo: Arc<Geo>,
    /// How many calendar seconds pass in one.
    pub scale: f64,
    /// The time.
    pub clock: Clock,
}

/// What is recommended now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Board {
    /// When it was made, Unix milliseconds; 0 before the first.
    pub made_ms: u64,
    /// What a viewer takes on average, in bits per second.
    pub viewer_bps: f64,
    /// By zone.
    pub zones: BTreeMap<String, Advice>,
}

/// What is recommended for a zone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Advice {
    /// Edges to have now.
    pub desired: u32,
    /// Edges that take viewers now.
    pub nodes: u32,
    /// When so many are needed first, Unix milliseconds.
    pub needed_ms: u64,
    /// Whether fewer would do, and have not for long enough.
    pub held: bool,
    /// Viewers that an edge there takes at most on average; 0 without a limit.
    pub node_viewers: f64,
    /// The same in bits per second.
    pub node_egress_bps: f64,
    /// Demand and the edges for it, by time, now first.
    pub ahead: Vec<Ahead>,
}

/// Demand at one time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ahead {
    /// When, Unix milliseconds.
    pub at_ms: u64,
    /// Viewers, at the quantile that is planned for.
    pub viewers: f64,
    /// Edges that they take, within the zone's bounds.
    pub nodes: u32,
}

impl Scaling {
    /// Recommends by settings that make sense.
    pub fn load(
        config: Config,
        sources: Sources,
        registry: &mut Registry,
    ) -> anyhow::Result<Arc<Self>> {
        config.check()?;
        let scaling = Arc::new(Self {
            config,
            sources,
            scaler: Mutex::default(),
            started: Instant::now(),
            board: ArcSwap::default(),
        });
        let registry = registry.sub_registry_with_prefix("weir_scale");
        registry.register_collector(Box::new(Exposed(scaling.clone())));
        Ok(scaling)
    }

    /// Keeps the recommendation up to date. Never ends.
    pub async fn run(self: Arc<Self>) {
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            beat.tick().await;
            self.refresh();
        }
    }

    fn refresh(&self) {
        let Sources {
            snapshot,
            outlook,
            geo,
            scale,
            clock,
        } = &self.sources;
        let centre = |region| geo.centre(region);
        let (zones, terms) = survey(&snapshot.load(), &outlook.load(), *scale, &centre);
        let passed_ms = self.started.elapsed().as_millis() as u64;
        let mut scaler = self.scaler.lock();
        let wishes = scaler.wishes(passed_ms, &zones, &terms, &self.config);
        drop(scaler);
        let board = Board::new(clock.unix_ms(), &zones, &wishes, &terms);
        self.board.store(Arc::new(board));
    }
}

impl Board {
    fn new(made_ms: u64, zones: &[Zone], wishes: &[Wish], terms: &Terms) -> Self {
        let at = |in_s: u32| made_ms + u64::from(in_s) * 1000;
        let advice = |(zone, wish): (&Zone, &Wish)| {
            let ahead = zone.needs.iter().zip(&wish.nodes);
            let advice = Advice {
                desired: wish.desired,
                nodes: zone.nodes,
                needed_ms: at(wish.in_s),
                held: wish.held,
                node_viewers: zone.room.viewers,
                node_egress_bps: zone.room.egress_bps,
                ahead: ahead
                    .map(|(need, &nodes)| Ahead {
                        at_ms: at(need.in_s),
                        viewers: need.viewers,
                        nodes,
                    })
                    .collect(),
            };
            (zone.name.clone(), advice)
        };
        Self {
            made_ms,
            viewer_bps: terms.viewer_bps,
            zones: zones.iter().zip(wishes).map(advice).collect(),
        }
    }
}

/// The routes, `/api/v1/scale` and those of the external metrics API.
pub fn router(scaling: Arc<Scaling>) -> Router {
    let own = Router::new().route("/api/v1/scale", get(board));
    own.merge(external::router()).with_state(scaling)
}

async fn board(State(scaling): State<Arc<Scaling>>) -> Json<Board> {
    Json(Board::clone(&scaling.board.load()))
}

/// `weir_scale_desired_nodes`, read when it is scraped, so that a zone that is gone leaves no label
/// behind.
struct Exposed(Arc<Scaling>);

impl std::fmt::Debug for Exposed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Exposed")
    }
}

impl Collector for Exposed {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let help = "Edges that a zone should have now";
        let mut family =
            encoder.encode_descriptor("desired_nodes", help, None, MetricType::Gauge)?;
        for (zone, advice) in &self.0.board.load().zones {
            let gauge = ConstGauge::new(i64::from(advice.desired));
            gauge.encode(family.encode_family(&[("zone", zone.as_str())])?)?;
        }
        Ok(())
    }
}

/// Autoscalers ask every 15 to 30 seconds.
const BEAT: Duration = Duration::from_secs(5);
