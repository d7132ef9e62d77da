//! The newest plan over the admin API: prices, loads and bills by edge, splits by region.

use std::sync::Arc;

use cluster::node::NodeId;
use cluster::region::Region;
use serde::{Deserialize, Serialize};
use transport::router::{Json, Router, State, get};

use super::{Latest, Planner};
use crate::plan::billing::BillingModel;
use crate::plan::trade::Figures;

/// The routes, `/api/v1/plan` and `/api/v1/world`.
pub fn router(planner: Arc<Planner>) -> Router {
    Router::new()
        .route("/api/v1/plan", get(plan))
        .route("/api/v1/world", get(super::export::world))
        .with_state(planner)
}

/// The newest plan.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// When it was made, Unix milliseconds; 0 before the first.
    pub made_ms: u64,
    /// How long it took.
    pub took_ms: f64,
    /// When prices changed last, in calendar seconds since 1970.
    pub changed_s: i64,
    /// How sharply viewers go to the cheapest edge, in units of the mean price.
    pub tau: f64,
    /// What it comes to.
    pub figures: Figures,
    /// Metros that could not lose their strongest edge at the busiest time of the last weeks.
    pub shortages: Vec<Shortage>,
    /// The edges that take viewers.
    pub edges: Vec<Edge>,
    /// The regions that ask for something.
    pub regions: Vec<Split>,
}

/// A metro that cannot lose an edge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shortage {
    /// The metro.
    pub metro: String,
    /// The edge.
    pub edge: NodeId,
    /// Bits per second that no other edge could take.
    pub short_bps: f64,
}

/// An edge in a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Edge {
    /// Its node.
    pub id: NodeId,
    /// What a bit more costs, in units of the edges' mean price.
    pub money: f64,
    /// What its last room is worth, in the same units.
    pub scarcity: f64,
    /// Bits per second that it is to carry.
    pub planned_bps: f64,
    /// Bits per second that it can send; null without a limit.
    pub capacity_bps: Option<f64>,
    /// How it is billed.
    pub model: BillingModel,
    /// Its price, in USD per Mbit/s and month.
    pub usd_per_mbps: f64,
    /// Bits per second up to which traffic costs nothing more; null without a limit.
    pub level_bps: Option<f64>,
    /// Bits per second that it is to be billed at in the end; 0 before a day of demand is known.
    pub goal_bps: f64,
    /// USD that the billing period costs already.
    pub usd_so_far: f64,
    /// USD that it comes to if it goes on so.
    pub usd_expected: f64,
    /// Billing slots that may still be above the level for nothing.
    pub free_slots: usize,
    /// Billing slots of the period, and how many of them are over.
    pub slots: (usize, usize),
}

/// Where a region's viewers go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Split {
    /// The region.
    pub region: Region,
    /// Bits per second that it asks for now.
    pub now_bps: f64,
    /// Bits per second that half of the cases do not pass at the plan's horizon, and 90, 95, 99 %.
    pub expected_bps: [f64; 4],
    /// Its edges, those that get something.
    pub ways: Vec<Way>,
}

/// A region's use of an edge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Way {
    /// The edge.
    pub edge: NodeId,
    /// Round-trip time.
    pub rtt_ms: f32,
    /// Share of the region's viewers, 0 to 1.
    pub share: f64,
}

async fn plan(State(planner): State<Arc<Planner>>) -> Json<Answer> {
    Json(Answer::new(&planner.latest()))
}

impl Shortage {
    fn new(it: &crate::plan::goals::Shortage) -> Self {
        Self {
            metro: it.metro.clone(),
            edge: it.edge.clone(),
            short_bps: it.short_bps,
        }
    }
}

impl Answer {
    /// A plan in words.
    pub fn new(latest: &Latest) -> Self {
        let Latest {
            view,
            planned,
            accounts,
            ..
        } = latest;
        let finite = |bps: f64| bps.is_finite().then_some(bps);
        let edges = view.edges.iter().zip(&planned.quotes).zip(accounts.iter());
        let edges = edges.map(|((edge, quote), account)| Edge {
            id: edge.id.clone(),
            money: quote.money,
            scarcity: quote.scarcity,
            planned_bps: quote.planned_bps,
            capacity_bps: finite(edge.capacity_bps),
            model: edge.tariff.model,
            usd_per_mbps: edge.tariff.marginal_usd(),
            level_bps: finite(account.level_bps),
            goal_bps: edge.goal_bps,
            usd_so_far: account.usd_so_far,
            usd_expected: account.usd_expected,
            free_slots: account.free_slots,
            slots: account.slots,
        });
        let regions = view.demands.iter().enumerate().map(|(nth, demand)| {
            let used = planned
                .of(nth)
                .iter()
                .filter(|way| way.share >= LEAST_SHARE);
            let way = |way: &crate::plan::trade::Way| Way {
                edge: view.edges[way.edge as usize].id.clone(),
                rtt_ms: way.rtt_ms,
                share: way.share,
            };
            let [p90, p95, p99] = demand.outlook.quantiles;
            Split {
                region: demand.region,
                now_bps: demand.now_bps,
                expected_bps: [demand.outlook.median, p90, p95, p99].map(|it| it * demand.now_bps),
                ways: used.map(way).collect(),
            }
        });
        Self {
            made_ms: latest.made_ms,
            took_ms: latest.took.as_secs_f64() * 1e3,
            changed_s: planned.changed_s,
            tau: planned.tau,
            figures: planned.figures,
            shortages: latest.shortages.iter().map(Shortage::new).collect(),
            edges: edges.collect(),
            regions: regions.collect(),
        }
    }
}

/// Of a hundred viewers not one goes there: it is not worth a line.
const LEAST_SHARE: f64 = 0.001;
