//! The planner: each control slot a view of the cluster becomes prices, and these what steering
//! goes by.
//!
//! A plan is made off the request path on a thread that may take its time; until it is there the
//! one before holds. When an edge comes, goes or drains, the next plan does not wait for its slot.
//! Bills are read from the history, which outlives a restart.

mod accounts;
pub mod api;
pub mod export;
mod goals;
mod homes;
mod survey;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use cluster::plan::Health;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use transport::clock::Clock;

use crate::collect::Collector;
use crate::forecast::Outlook;
use crate::geo::Geo;
use crate::history::History;
use crate::market::{Market, Quote, Reach};
use crate::plan::goals::{Goals, Shortage};
use crate::plan::paths::Paths;
use crate::plan::trade::{self, Planned, trade};
use crate::plan::view::View;
use crate::policy::Policies;
use crate::policy::shelf::Shelf;
use crate::price::Prices;
use crate::snapshot::{NodeView, Snapshot};
use accounts::Accounts;

pub use accounts::Account;
pub use homes::homes;

/// Makes plans for a scheduler.
pub struct Planner {
    collector: Arc<Collector>,
    history: Arc<History>,
    outlook: Arc<ArcSwap<Outlook>>,
    geo: Arc<Geo>,
    prices: ArcSwap<Prices>,
    clock: Clock,
    shelf: Arc<Shelf>,
    latest: ArcSwap<Latest>,
    /// A candidate with its own newest plan.
    shadowed: Mutex<Option<(Arc<Policies>, Planned)>>,
    metrics: Metrics,
}

/// What the planner looks at.
pub struct Sources {
    /// Where nodes report, and where a plan goes.
    pub collector: Arc<Collector>,
    /// What nodes carried.
    pub history: Arc<History>,
    /// What is expected.
    pub outlook: Arc<ArcSwap<Outlook>>,
    /// Where regions are.
    pub geo: Arc<Geo>,
    /// What time it is.
    pub clock: Clock,
    /// Where a candidate stands that plans beside.
    pub shelf: Arc<Shelf>,
}

/// What is kept from one plan to the next.
#[derive(Debug, Default)]
struct Kept {
    accounts: Accounts,
    goals: Goals,
    paths: Paths,
}

/// The newest plan, with what it was made of.
#[derive(Clone, Debug, Default)]
pub struct Latest {
    /// When it was made, Unix milliseconds; 0 before the first.
    pub made_ms: u64,
    /// How long that took, a candidate's plan beside it included.
    pub took: Duration,
    /// What was looked at.
    pub view: Arc<View>,
    /// What came of it.
    pub planned: Arc<Planned>,
    /// The edges' bills, in the view's order.
    pub accounts: Arc<Vec<Account>>,
    /// Metros that could not lose their strongest edge at the busiest time.
    pub shortages: Arc<[Shortage]>,
}

#[derive(Clone, Debug, Default)]
struct Metrics {
    seconds: Gauge<f64, std::sync::atomic::AtomicU64>,
    gap: Gauge<f64, std::sync::atomic::AtomicU64>,
    overload: Gauge<f64, std::sync::atomic::AtomicU64>,
    usd: Gauge<f64, std::sync::atomic::AtomicU64>,
    moved: Gauge<f64, std::sync::atomic::AtomicU64>,
    plans: Counter,
}

impl Metrics {
    fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("weir_scheduler_plan");
        let seconds = metrics.seconds.clone();
        registry.register_with_unit(
            "duration",
            "Time the last plan took",
            Unit::Seconds,
            seconds,
        );
        let help = "How far the last plan's cost may lie above the least possible, as a share";
        registry.register("gap_ratio", help, metrics.gap.clone());
        let help = "Demand for which the last plan found no room";
        let per_second = Unit::Other("bytes_per_second".to_owned());
        registry.register_with_unit("overload", help, per_second, metrics.overload.clone());
        let help = "What the last plan's load would cost a month, in USD";
        registry.register("cost_usd", help, metrics.usd.clone());
        let help = "Share of the demand that the last plan sends elsewhere than the one before";
        registry.register("moved_ratio", help, metrics.moved.clone());
        registry.register("made", "Plans made", metrics.plans.clone());
        metrics
    }
}

impl Planner {
    /// A planner that has made no plan yet.
    pub fn new(sources: Sources, registry: &mut Registry) -> Self {
        let Sources {
            collector,
            history,
            outlook,
            geo,
            clock,
            shelf,
        } = sources;
        Self {
            collector,
            history,
            outlook,
            geo,
            prices: ArcSwap::default(),
            clock,
            shelf,
            latest: ArcSwap::default(),
            shadowed: Mutex::default(),
            metrics: Metrics::register(registry),
        }
    }

    /// Plans by other prices from now on.
    pub fn reprice(&self, prices: Prices) {
        self.prices.store(Arc::new(prices));
    }

    /// The newest plan.
    pub fn latest(&self) -> Arc<Latest> {
        self.latest.load_full()
    }

    /// Plans, for ever.
    pub async fn run(self: Arc<Self>) {
        let slot = self.history.time().control_slot().max(LEAST_SLOT);
        let mut beat = tokio::time::interval(BEAT);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut due = tokio::time::Instant::now();
        let mut usable = Vec::new();
        let mut kept = Kept::default();
        loop {
            beat.tick().await;
            let now_usable = usable_edges(&self.collector.snapshot().load());
            if now_usable == usable && tokio::time::Instant::now() < due {
                continue;
            }
            (usable, due) = (now_usable, tokio::time::Instant::now() + slot);
            let planner = self.clone();
            let task = tokio::task::spawn_blocking(move || {
                planner.plan(&mut kept);
                kept
            });
            kept = match task.await {
                Ok(kept) => kept,
                Err(error) => {
                    tracing::error!(%error, "a plan failed; the one before holds");
                    Kept::default()
                }
            };
        }
    }

    /// Makes one plan and steers by it.
    fn plan(&self, kept: &mut Kept) {
        let started = std::time::Instant::now();
        let snapshot = self.collector.snapshot().load_full();
        let now_ms = self.clock.unix_ms();
        let at_s = self.history.time().calendar_s(now_ms);
        kept.accounts.follow(&self.history, &snapshot, at_s);
        let survey = survey::Survey {
            snapshot: &snapshot,
            outlook: &self.outlook.load(),
            geo: &self.geo,
            prices: &self.prices.load(),
            waiting: &self.history.outside().by_region(now_ms),
        };
        let (mut view, numbers, accounts) = survey.view(&kept.accounts, at_s);
        let policies = &snapshot.policies;
        goals::follow(&mut kept.goals, &self.history, &mut view, policies);
        let before = self.latest.load();
        let same = same_edges(&before.view, &view);
        let planned = trade(&view, &snapshot.policies, same.then_some(&*before.planned));
        let mut market = market(&view, &planned, &numbers, now_ms);
        market.relays = relays(&snapshot, &self.prices.load(), trade::unit_usd(&view));
        market.homes = homes::homes(&mut kept.paths, &snapshot, (&view, &planned));
        self.collector
            .order(|registry, _| registry.trade(Arc::new(market)));
        let mut latest = Latest {
            made_ms: now_ms,
            took: Duration::ZERO,
            view: Arc::new(view),
            planned: Arc::new(planned),
            accounts: Arc::new(accounts),
            shortages: kept.goals.shortages().into(),
        };
        self.shadow(&latest, same);
        latest.took = started.elapsed();
        self.show(&latest);
        self.latest.store(Arc::new(latest));
    }

    /// Plans the same view under the candidate, from the candidate's own plan before.
    fn shadow(&self, latest: &Latest, same: bool) {
        let mut shadowed = self.shadowed.lock();
        let Some(candidate) = self.shelf.candidate() else {
            *shadowed = None;
            return;
        };
        let before = shadowed.take();
        let known = before.filter(|(of, _)| same && Arc::ptr_eq(of, &candidate));
        let before = known
            .as_ref()
            .map_or(&*latest.planned, |(_, planned)| planned);
        let planned = trade(&latest.view, &candidate, Some(before));
        let (active, theirs) = (&latest.planned.figures, &planned.figures);
        // Its first plan moves what the active one would not have: that is a start, not motion.
        if known.is_some() {
            self.shelf.compare(&candidate, *active, *theirs);
        }
        *shadowed = Some((candidate, planned));
    }

    fn show(&self, latest: &Latest) {
        let figures = &latest.planned.figures;
        self.metrics.seconds.set(latest.took.as_secs_f64());
        self.metrics.gap.set(figures.gap);
        self.metrics.overload.set(figures.overload_bps / 8.0);
        self.metrics.usd.set(figures.usd_per_month);
        self.metrics.moved.set(figures.moved);
        self.metrics.plans.inc();
    }
}

/// The edges that can take viewers, by number.
fn usable_edges(snapshot: &Snapshot) -> Vec<(u16, Health)> {
    let edges = snapshot.nodes.iter().filter(|view| view.is_edge);
    edges.map(|view| (view.number, view.health)).collect()
}

/// Whether a plan for one view starts from one for the other.
fn same_edges(a: &View, b: &View) -> bool {
    let (ours, theirs) = (a.edges.iter(), b.edges.iter());
    !a.edges.is_empty() && ours.map(|edge| &edge.id).eq(theirs.map(|edge| &edge.id))
}

/// What nodes' bits to other nodes cost in that unit, where they have a price.
fn relays(snapshot: &Snapshot, prices: &Prices, unit_usd: f64) -> HashMap<u16, f64> {
    let tariff = |view: &NodeView| prices.of(view.node().id.as_str()).tariff;
    let tariffs = snapshot
        .nodes
        .iter()
        .map(|view| (view.number, tariff(view)));
    let priced = tariffs.filter(|(_, tariff)| tariff.relay_usd_per_gb > 0.0);
    priced
        .map(|(number, tariff)| (number, tariff.relay_cost(unit_usd)))
        .collect()
}

/// What steering goes by, from a plan; `numbers` are those of the view's edges.
pub fn market(view: &View, planned: &Planned, numbers: &[u16], made_ms: u64) -> Market {
    let quotes = planned.quotes.iter().zip(&view.edges).zip(numbers);
    let quotes = quotes.map(|((quote, edge), number)| {
        let quote = Quote {
            money: quote.money,
            scarcity: quote.scarcity,
            planned_bps: quote.planned_bps,
            usd_per_mbps: edge.tariff.marginal_usd(),
        };
        (*number, quote)
    });
    let reaches = view.demands.iter().map(|demand| {
        let reach = |path: &crate::plan::view::Path| Reach {
            number: numbers[path.edge],
            rtt_ms: path.measured.then_some(path.rtt_ms),
        };
        (demand.region, demand.paths.iter().map(reach).collect())
    });
    Market {
        made_ms,
        tau: planned.tau,
        quotes: quotes.collect(),
        relays: HashMap::new(),
        reaches: reaches.collect(),
        homes: Default::default(),
    }
}

/// How often it is looked whether an edge came or went, and the shortest slot of a scaled calendar:
/// samples come each second.
const BEAT: Duration = Duration::from_millis(500);
const LEAST_SLOT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
