//! Sans-IO: once a day, the levels that edges are to be billed at, and which metro could not lose
//! an edge.
//!
//! Both are found from the demand of the last weeks. Before there is a day of it no edge has a goal,
//! and what is billed already is all that a plan goes by. Not here: where the past is kept.

use std::collections::{BTreeMap, HashMap};

use cluster::node::NodeId;

use super::levels::{self, Ground, Knobs, Scenario, audit, fit, levels, scenarios};
use super::split::Problem;
use super::trade::{self, unit_usd};
use super::view::{Edge, View};
use crate::policy::{NPlusOne, Policies};

/// The goals of a day.
#[derive(Debug, Default)]
pub struct Goals {
    day: Option<i64>,
    levels: HashMap<NodeId, f64>,
    /// The slot that the billing period began with for which levels were sought from nothing.
    period: Option<i64>,
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
            self.period = None;
            return;
        }
        let scenarios = scenarios(&past.demand, past.day, FADING);
        let problem = trade::problem(view, policies);
        let policy = policies.default_policy();
        let (knobs, unit) = (trade::knobs(policy), unit_usd(view));
        let known = |edge: &Edge| before.get(&edge.id).copied().unwrap_or(0.0);
        let edge = |edge: &Edge| {
            let limit = edge.capacity_bps * policy.headroom.util_max;
            let bill = (&edge.tariff, &*edge.bill);
            levels::Edge::new(bill, known(edge), unit, limit, &knobs)
        };
        let edges: Vec<levels::Edge> = view.edges.iter().map(edge).collect();
        let period = view.edges.iter().map(|edge| edge.bill.first()).max();
        let anew = self.period != period;
        self.period = period;
        let mut found: Vec<f64> = view.edges.iter().map(known).collect();
        // A level that lasts is kept for the period; a peak is another one each day.
        let sought = |at: usize| anew || found[at] <= 0.0 || !edges[at].by_slot;
        let sought: Vec<usize> = (0..edges.len()).filter(|at| sought(*at)).collect();
        if !sought.is_empty() {
            let paths = (&*problem.starts, &*problem.offers);
            let best = levels(&scenarios, paths, &edges, &knobs, None).levels;
            sought.iter().for_each(|at| found[*at] = best[*at]);
        }
        last(&mut found, past, (&problem, &edges), &knobs, anew);
        let ids = view.edges.iter().map(|edge| edge.id.clone());
        self.levels = ids.zip(found).collect();
        self.shortages = match policy.headroom.n_plus_one {
            NPlusOne::Metro => shortages(view, problem, &scenarios),
            NPlusOne::Off => Vec::new(),
        };
    }
}

/// Moves levels to where they last: a little each day, so that they only rise early and slightly.
fn last(
    found: &mut [f64],
    past: &Past,
    (problem, edges): (&Problem, &[levels::Edge]),
    knobs: &Knobs,
    anew: bool,
) {
    let mut ground = Ground {
        problem: problem.clone(),
        edges,
        past: &past.demand,
        knobs,
    };
    fit(&mut ground, found, if anew { FIRST } else { DAILY });
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

/// How often the past is played: when levels are sought from nothing, and each day.
const FIRST: u32 = 3;
const DAILY: u32 = 1;

/// What a day counts against the one after it.
const FADING: f64 = 0.9;

#[cfg(test)]
mod tests;
