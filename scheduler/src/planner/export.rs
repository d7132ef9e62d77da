//! The cluster as a world to simulate, over the admin API: its edges with their prices, its regions
//! with their ways. What regions asked for is in the history beside it.

use std::collections::BTreeSet;
use std::sync::Arc;

use cluster::node::NodeId;
use cluster::region::Region;
use serde::{Deserialize, Serialize};
use transport::router::{Json, State};

use super::Planner;
use super::survey::paths;
use crate::plan::billing::Tariff;
use crate::snapshot::NodeView;

/// A cluster, as simulations take it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct World {
    /// Calendar seconds in a second.
    pub scale: f64,
    /// Its edges, those that are down too.
    pub edges: Vec<Edge>,
    /// All regions that the history knows.
    pub regions: Vec<Place>,
}

/// An edge with its price.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Edge {
    /// Its node.
    pub id: NodeId,
    /// Its metropolis, or what its place is called.
    pub metro: String,
    /// ISO 3166 code of its country, where it names one.
    pub country: Option<String>,
    /// Degrees north.
    pub lat: f64,
    /// Degrees east.
    pub lon: f64,
    /// Bits per second that it can send; null without a limit.
    pub capacity_bps: Option<f64>,
    /// Its contract.
    pub tariff: Tariff,
}

/// A region with its nearest edges.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// The region.
    pub region: Region,
    /// Degrees north of its middle.
    pub lat: f64,
    /// Degrees east.
    pub lon: f64,
    /// Its nearest edges.
    pub ways: Vec<Way>,
}

/// A way from a region to an edge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Way {
    /// The edge.
    pub edge: NodeId,
    /// Round-trip time.
    pub rtt_ms: f32,
    /// Whether it was measured, or else reckoned from the distance.
    pub measured: bool,
}

pub(super) async fn world(State(planner): State<Arc<Planner>>) -> Json<World> {
    Json(planner.world())
}

impl Planner {
    /// The cluster as it is.
    pub fn world(&self) -> World {
        let snapshot = self.collector.snapshot().load_full();
        let own = |view: &&NodeView| view.is_edge && view.pathway.is_none();
        let nodes: Vec<&NodeView> = snapshot.nodes.iter().filter(own).collect();
        let prices = self.prices.load();
        let edge = |view: &&NodeView| {
            let (node, quote) = (view.node(), prices.of(view.node().id.as_str()));
            let capacity_bps = super::survey::capacity_bps(view);
            Edge {
                id: node.id.clone(),
                metro: quote.metro.unwrap_or(&node.place.name).to_owned(),
                country: node.place.country.clone(),
                lat: node.place.lat,
                lon: node.place.lon,
                capacity_bps: capacity_bps.is_finite().then_some(capacity_bps),
                tariff: quote.tariff,
            }
        };
        let named = |(series, _): (String, i64)| Region::parse(series.split('/').nth(1)?);
        let regions: BTreeSet<Region> = self
            .history
            .list("region/")
            .into_iter()
            .filter_map(named)
            .collect();
        let place = |region: Region| {
            let centre = self.geo.centre(region);
            let way = |path: crate::plan::view::Path| Way {
                edge: nodes[path.edge].node().id.clone(),
                rtt_ms: path.rtt_ms,
                measured: path.measured,
            };
            Place {
                region,
                lat: centre.lat,
                lon: centre.lon,
                ways: paths(region, centre.unit(), &nodes)
                    .into_iter()
                    .map(way)
                    .collect(),
            }
        };
        World {
            scale: self.history.time().scale(),
            edges: nodes.iter().map(edge).collect(),
            regions: regions.into_iter().map(place).collect(),
        }
    }
}
