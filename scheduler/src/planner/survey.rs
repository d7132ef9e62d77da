//! Sans-IO: from samples, forecasts and prices to the view that a plan is made of.

use std::collections::{BTreeMap, HashMap};

use cluster::plan::Health;
use cluster::region::Region;

use super::accounts::{Account, Accounts};
use crate::forecast::Outlook;
use crate::geo::{Geo, Unit};
use crate::plan::cost;
use crate::plan::view::{self, Demand, Edge, Path, View};
use crate::price::Prices;
use crate::snapshot::{NodeView, Snapshot, hash, mix};

/// What a view is made from.
pub(super) struct Survey<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) outlook: &'a Outlook,
    pub(super) geo: &'a Geo,
    pub(super) prices: &'a Prices,
    /// Viewers whom this scheduler turned away and who wait.
    pub(super) waiting: &'a HashMap<Region, u32>,
}

/// Demand of one region as its samples add up.
#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    viewers: f64,
    waiting: f64,
    egress_bps: f64,
}

impl Survey<'_> {
    /// The view, the node numbers of its edges, and their accounts.
    pub(super) fn view(&self, accounts: &Accounts, at_s: i64) -> (View, Vec<u16>, Vec<Account>) {
        let edges = self.snapshot.nodes.iter();
        let edges = edges.filter(|it| it.is_edge && it.health == Health::Up);
        let nodes: Vec<&NodeView> = edges.collect();
        let accounts: Vec<Account> = nodes
            .iter()
            .map(|view| accounts.of(view, self.prices))
            .collect();
        let edge = |(view, account): (&&NodeView, &Account)| Edge {
            id: view.node().id.clone(),
            country: view.node().place.country.clone(),
            capacity_bps: capacity_bps(view),
            weight: view.weight().into(),
            metro: self.metro(view),
            tariff: account.tariff,
            bill: account.bill.clone(),
            goal_bps: 0.0,
        };
        let view = View {
            at_s,
            demands: self.demands(&nodes),
            edges: nodes.iter().zip(&accounts).map(edge).collect(),
        };
        (view, nodes.iter().map(|it| it.number).collect(), accounts)
    }

    /// Where an edge can be missed; nowhere for an external pathway, which is not one machine that
    /// could fail for its metro.
    fn metro(&self, view: &NodeView) -> String {
        if view.pathway.is_some() {
            return String::new();
        }
        let node = view.node();
        let priced = self.prices.of(node.id.as_str());
        priced.metro.unwrap_or(&node.place.name).to_owned()
    }

    fn demands(&self, nodes: &[&NodeView]) -> Vec<Demand> {
        let asked = self.asked();
        let viewers: f64 = asked.values().map(|it| it.viewers).sum();
        let egress: f64 = asked.values().map(|it| it.egress_bps).sum();
        let usual_bps = if viewers > 0.0 && egress > 0.0 {
            egress / viewers
        } else {
            USUAL_BPS
        };
        let demand = |(region, asked): (&Region, &Asked)| {
            let each_bps = if asked.viewers > 0.0 && asked.egress_bps > 0.0 {
                asked.egress_bps / asked.viewers
            } else {
                usual_bps
            };
            Demand {
                region: *region,
                now_bps: (asked.viewers + asked.waiting) * each_bps,
                outlook: self.expected(region, asked.viewers + asked.waiting),
                paths: paths(*region, self.geo.centre(*region).unit(), nodes),
            }
        };
        asked.iter().map(demand).collect()
    }

    /// What regions ask for now: those who watch at any edge, and those who wait.
    fn asked(&self) -> BTreeMap<Region, Asked> {
        let mut asked = BTreeMap::<Region, Asked>::new();
        let alive = |view: &&NodeView| view.is_edge && view.health != Health::Down;
        for view in self.snapshot.nodes.iter().filter(alive) {
            for load in &view.sample.regions {
                let region = asked.entry(load.region).or_default();
                region.viewers += f64::from(load.viewers);
                region.waiting += f64::from(load.refused);
                region.egress_bps += load.egress_bps as f64;
            }
        }
        for (region, waiting) in self.waiting {
            asked.entry(*region).or_default().waiting += f64::from(*waiting);
        }
        while asked.len() > MAX_REGIONS {
            asked.pop_last();
        }
        asked
    }

    /// How a region's demand is expected to change until a plan has had its effect; of those who
    /// were expected, who is there already is not expected again.
    fn expected(&self, region: &Region, there: f64) -> view::Outlook {
        let steady = view::Outlook {
            risk: if self.outlook.is_surging(region) {
                crate::forecast::SURGE_RISK.into()
            } else {
                0.0
            },
            ..view::Outlook::STEADY
        };
        let Some(now) = self.outlook.now(region).filter(|now| *now >= 1.0) else {
            return steady;
        };
        let Some(lane) = self.outlook.demand(region, HORIZON_S) else {
            return steady;
        };
        let come = there.clamp(now, lane.median.max(now));
        view::Outlook {
            risk: steady.risk,
            ..view::Outlook::of(come, lane.median, lane.quantiles)
        }
    }
}

/// The nearest edges of a region, nearest first; of equally near ones each region sees others.
pub(super) fn paths(region: Region, centre: Unit, nodes: &[&NodeView]) -> Vec<Path> {
    let salt = hash(region.as_str().as_bytes());
    let way = |view: &NodeView| match view.ways.rtt_ms(region) {
        Some(rtt_ms) => (rtt_ms, true),
        None => (cost::prior_rtt_ms(view.unit.km_to(centre)), false),
    };
    let own = nodes.iter().filter(|view| view.pathway.is_none());
    let nearest = own.map(|view| way(view).0).reduce(f32::min);
    // What stands near every viewer is as near as the nearest of our edges.
    let everywhere = nearest.unwrap_or(cost::prior_rtt_ms(0.0));
    let path = |(edge, view): (usize, &&NodeView)| {
        let (rtt_ms, measured) = if view.is_everywhere() {
            (everywhere, false)
        } else {
            way(view)
        };
        let path = Path {
            edge,
            rtt_ms,
            measured,
        };
        (rtt_ms.round() as u32, mix(salt ^ view.seed), path)
    };
    let mut all: Vec<_> = nodes.iter().enumerate().map(path).collect();
    let by_time = |it: &(u32, u64, Path)| (it.0, it.1);
    if all.len() > MAX_PATHS {
        all.select_nth_unstable_by_key(MAX_PATHS, by_time);
        all.truncate(MAX_PATHS);
    }
    all.sort_unstable_by_key(by_time);
    all.into_iter().map(|(_, _, path)| path).collect()
}

/// What an edge can send; one that limits viewers alone is taken to send each the usual bit rate.
pub(super) fn capacity_bps(view: &NodeView) -> f64 {
    let capacity = &view.capacity;
    let by_viewers = f64::from(capacity.viewers) * USUAL_BPS;
    match (capacity.egress_bps, capacity.viewers) {
        (0, 0) => f64::INFINITY,
        (0, _) => by_viewers,
        (egress, _) => egress as f64,
    }
}

/// Edges that a region is told of: those that can be among its 16 offers even when a policy bars
/// half of them.
const MAX_PATHS: usize = 32;

/// Regions that are planned for: a thousand is what a large cluster has.
const MAX_REGIONS: usize = 1_000;

/// Of a viewer whose stream was not measured yet.
const USUAL_BPS: f64 = 2e6;

/// Calendar seconds until players that are steered have moved.
const HORIZON_S: u32 = 300;
