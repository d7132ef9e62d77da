//! L0: once a day, the levels that edges are to be billed at, and which metro could not lose an edge.
//!
//! Both are found from the demand of the last weeks. Before there is a day of it no edge has a goal,
//! and what is billed already is all that a plan goes by.

use std::collections::{BTreeMap, HashMap};

use cluster::node::NodeId;

use crate::history::{History, Ring};
use crate::plan::levels::{self, Levels, Scenario, audit, levels, scenarios};
use crate::plan::split::Problem;
use crate::plan::trade::{self, unit_usd};
use crate::plan::view::View;
use crate::policy::{NPlusOne, Policies};

/// The goals of a day.
#[derive(Debug, Default)]
pub(super) struct Goals {
    day: Option<i64>,
    levels: HashMap<NodeId, f64>,
    found: Option<Levels>,
    shortages: Vec<Shortage>,
}

/// A metro that cannot lose its strongest edge at the busiest time.
#[derive(Clone, Debug, PartialEq)]
pub struct Shortage {
    /// The metro.
    pub metro: String,
    /// The edge that it cannot lose.
    pub edge: NodeId,
    /// Bits per second that no other edge could take.
    pub short_bps: f64,
}

impl Goals {
    /// Sets the goals of a new day, or of an edge that has none, and writes them into the view.
    /// Blocks.
    pub(super) fn follow(&mut self, history: &History, view: &mut View, policies: &Policies) {
        let day_s = i64::from(history.time().day_s());
        let day = Some(view.at_s.div_euclid(day_s));
        let known = |id: &NodeId| self.levels.contains_key(id);
        if self.day != day || !view.edges.iter().all(|edge| known(&edge.id)) {
            self.day = day;
            self.set(history, view, policies);
        }
        for edge in &mut view.edges {
            edge.goal_bps = self.levels.get(&edge.id).copied().unwrap_or(0.0);
        }
    }

    /// The metros that cannot lose their strongest edge.
    pub(super) fn shortages(&self) -> &[Shortage] {
        &self.shortages
    }

    fn set(&mut self, history: &History, view: &View, policies: &Policies) {
        let day_s = i64::from(history.time().day_s());
        let slot_s = i64::from(history.step_s(Ring::Coarse));
        let demand = demand(history, view, DAYS * day_s);
        let day = (day_s / slot_s).max(1) as usize;
        let slots = demand.iter().map(Vec::len).min().unwrap_or(0);
        self.levels = view.edges.iter().map(|it| (it.id.clone(), 0.0)).collect();
        if slots < day {
            self.found = None;
            return;
        }
        let scenarios = scenarios(&demand, day, FADING);
        let problem = trade::problem(view, policies);
        let policy = policies.default_policy();
        let (knobs, unit) = (trade::knobs(policy), unit_usd(view));
        let edge = |edge: &crate::plan::view::Edge| {
            let limit = edge.capacity_bps * policy.headroom.util_max;
            levels::Edge::new(&edge.tariff, &edge.bill, edge.goal_bps, unit, limit)
        };
        let edges: Vec<levels::Edge> = view.edges.iter().map(edge).collect();
        let paths = (&*problem.starts, &*problem.offers);
        let found = levels(&scenarios, paths, &edges, &knobs, self.found.as_ref());
        let ids = view.edges.iter().map(|edge| edge.id.clone());
        self.levels = ids.zip(found.levels.iter().copied()).collect();
        self.found = Some(found);
        self.shortages = match policy.headroom.n_plus_one {
            NPlusOne::Metro => shortages(view, problem, &scenarios),
            NPlusOne::Off => Vec::new(),
        };
    }
}

/// What is short at the busiest time when a metro loses its strongest edge.
fn shortages(view: &View, mut problem: Problem, scenarios: &[Scenario]) -> Vec<Shortage> {
    let total = |scenario: &&Scenario| scenario.demand.iter().sum::<f64>();
    let busiest = scenarios
        .iter()
        .max_by(|a, b| total(a).total_cmp(&total(b)));
    let Some(busiest) = busiest else {
        return Vec::new();
    };
    problem.demand.clone_from(&busiest.demand);
    let mut numbers = BTreeMap::new();
    let metros: Vec<u32> = view
        .edges
        .iter()
        .map(|edge| {
            let next = numbers.len() as u32;
            *numbers.entry(edge.metro.as_str()).or_insert(next)
        })
        .collect();
    let shortage = |it: levels::Shortage| {
        let edge = &view.edges[it.edge as usize];
        Shortage {
            metro: edge.metro.clone(),
            edge: edge.id.clone(),
            short_bps: it.short_bps,
        }
    };
    audit(&problem, &metros).into_iter().map(shortage).collect()
}

/// What the view's regions were sent in the last seconds, a value a slot, all equally long; a gap
/// is nothing. Blocks.
fn demand(history: &History, view: &View, seconds: i64) -> Vec<Vec<f32>> {
    let slot_s = i64::from(history.step_s(Ring::Coarse));
    let now = view.at_s.div_euclid(slot_s);
    let from = now - seconds / slot_s;
    let slots = (now - from) as usize;
    let mut first = slots;
    let mut all = Vec::with_capacity(view.demands.len());
    for demand in &view.demands {
        let mut values = vec![0.0; slots];
        let name = format!("region/{}/egress_bps", demand.region);
        let known = history.series(&name, Ring::Coarse, from * slot_s..now * slot_s);
        match known {
            Ok(Some(series)) => {
                for (slot, value) in (series.first..).zip(&series.values) {
                    let at = usize::try_from(slot - from).ok().filter(|at| *at < slots);
                    if let (Some(at), false) = (at, value.is_nan()) {
                        values[at] = *value as f32;
                        first = first.min(at);
                    }
                }
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, series = name, "levels miss a region's past"),
        }
        all.push(values);
    }
    all.iter_mut()
        .for_each(|values| drop(values.drain(..first)));
    all
}

/// Days that levels are found from: two weeks have both weekends, and are what habits last.
const DAYS: i64 = 14;

/// What a day counts against the one after it.
const FADING: f64 = 0.9;
