//! Sans-IO: once a day, the levels that edges are to be billed at, and which metro could not lose
//! an edge.
//!
//! Both are found from the demand of the last weeks. Before there is a day of it no edge has a goal,
//! and what is billed already is all that a plan goes by. Not here: where the past is kept.

use std::collections::{BTreeMap, HashMap};

use cluster::node::NodeId;

use super::levels::{self, Levels, Scenario, audit, levels, scenarios};
use super::split::Problem;
use super::trade::{self, unit_usd};
use super::view::{Edge, View};
use crate::policy::{NPlusOne, Policies};

/// The goals of a day.
#[derive(Debug, Default)]
pub struct Goals {
    day: Option<i64>,
    levels: HashMap<NodeId, f64>,
    found: Option<Levels>,
    shortages: Vec<Shortage>,
}

/// What regions demanded lately.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Past {
    /// By region of the view, bits per second in each billing slot, oldest first; all equally long.
    pub demand: Vec<Vec<f32>>,
    /// Slots of a day.
    pub day: usize,
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
    /// Sets the goals of a new day of `day_s` calendar seconds, or of an edge that has none, from
    /// the [`PAST_DAYS`] before, and writes them into the view.
    pub fn follow(
        &mut self,
        view: &mut View,
        policies: &Policies,
        day_s: i64,
        past: impl FnOnce(&View) -> Past,
    ) {
        let day = Some(view.at_s.div_euclid(day_s.max(1)));
        let known = |id: &NodeId| self.levels.contains_key(id);
        if self.day != day || !view.edges.iter().all(|edge| known(&edge.id)) {
            self.day = day;
            let past = past(view);
            self.set(&past, view, policies);
        }
        for edge in &mut view.edges {
            edge.goal_bps = self.levels.get(&edge.id).copied().unwrap_or(0.0);
        }
    }

    /// The metros that cannot lose their strongest edge.
    pub fn shortages(&self) -> &[Shortage] {
        &self.shortages
    }

    fn set(&mut self, past: &Past, view: &View, policies: &Policies) {
        let slots = past.demand.iter().map(Vec::len).min().unwrap_or(0);
        let before = std::mem::take(&mut self.levels);
        self.levels = view.edges.iter().map(|it| (it.id.clone(), 0.0)).collect();
        if slots < past.day.max(1) {
            self.found = None;
            return;
        }
        let scenarios = scenarios(&past.demand, past.day, FADING);
        let problem = trade::problem(view, policies);
        let policy = policies.default_policy();
        let (knobs, unit) = (trade::knobs(policy), unit_usd(view));
        let edge = |edge: &Edge| {
            let limit = edge.capacity_bps * policy.headroom.util_max;
            let planned = before.get(&edge.id).copied().unwrap_or(0.0);
            levels::Edge::new(&edge.tariff, &edge.bill, planned, unit, limit)
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
    let metros: Vec<Option<u32>> = view
        .edges
        .iter()
        .map(|edge| {
            let next = numbers.len() as u32;
            let named = !edge.metro.is_empty();
            named.then(|| *numbers.entry(edge.metro.as_str()).or_insert(next))
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

/// Days that levels are found from: two weeks have both weekends, and are what habits last.
pub const PAST_DAYS: i64 = 14;

/// What a day counts against the one after it.
const FADING: f64 = 0.9;

#[cfg(test)]
mod tests;
