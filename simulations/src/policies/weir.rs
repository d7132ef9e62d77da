//! Sans-IO: the production planner in virtual time: views of a world go in, its plans' shares come
//! out.
//!
//! Views are what the scheduler's planner would see: demand and bills of the slots that are over,
//! the forecast for the slot that begins, edges that are alive. Levels are found at the start of
//! each day. Everything that decides is [`scheduler::plan`]'s.

use std::sync::Arc;

use cluster::node::NodeId;
use cluster::region::Region;
use scheduler::plan::billing::{Bill, Tariff};
use scheduler::plan::cost;
use scheduler::plan::goals::{Goals, PAST_DAYS, Past};
use scheduler::plan::homes;
use scheduler::plan::trade::{self, Planned, trade};
use scheduler::plan::view::{Demand, Edge, Outlook, Path, View};
use scheduler::policy::{Policies, Subject};

use crate::relay::{Keep, Laying, Style, Ways};
use crate::run::{Known, Rule};
use crate::world::World;

/// What is expected of demand.
pub trait Foresight: Send + Sync {
    /// How a region's demand is expected to change into a slot, from what was known before it.
    fn outlook(&self, slot: usize, region: usize) -> Outlook;
}

/// Nothing is expected: demand stays as it was.
#[derive(Clone, Copy, Debug)]
pub struct Nothing;

impl Foresight for Nothing {
    fn outlook(&self, _: usize, _: usize) -> Outlook {
        Outlook::STEADY
    }
}

/// The production planner.
pub struct Weir {
    name: String,
    policies: Arc<Policies>,
    foresight: Arc<dyn Foresight>,
    tariffs: Vec<Tariff>,
    /// By edge of the world.
    bills: Vec<Arc<Bill>>,
    goals: Goals,
    view: View,
    /// The view's edges as edges of the world.
    edges: Vec<usize>,
    planned: Option<Planned>,
    slots_a_bill: usize,
    /// What was carried in the billing slot that is not over, Mbit/s summed over slots.
    carried: Vec<f64>,
    /// Slots that are in it.
    since: usize,
    /// By path of the world, whether the policy lets it be used.
    may: Vec<bool>,
}

impl Weir {
    /// For a world with these prices.
    pub fn new(
        world: &World,
        tariffs: &[Tariff],
        policies: Arc<Policies>,
        foresight: Arc<dyn Foresight>,
    ) -> Self {
        let slots_a_bill = world.time.slots_a_bill();
        let slots = world.time.billed().len() / slots_a_bill;
        Self {
            name: "weir".to_owned(),
            may: may(world, tariffs, &policies),
            policies,
            foresight,
            tariffs: tariffs.to_vec(),
            bills: (0..world.edges.len())
                .map(|_| Arc::new(Bill::new(0, slots)))
                .collect(),
            goals: Goals::default(),
            view: View {
                demands: demands(world),
                ..View::default()
            },
            edges: Vec::new(),
            planned: None,
            slots_a_bill,
            carried: vec![0.0; world.edges.len()],
            since: 0,
        }
    }

    /// The same under another name, to tell two of them apart.
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Plans at a Unix second for what regions ask for now, Mbit/s by region: what is planned, what
    /// was looked at, and which of the world's edges are the view's.
    pub fn plan(
        &mut self,
        known: &Known<'_>,
        at_s: i64,
        now_mbps: &[f32],
    ) -> (&Planned, &View, &[usize]) {
        self.look(known);
        self.view.at_s = at_s;
        let demands = self.view.demands.iter_mut().zip(now_mbps);
        for (region, (demand, mbps)) in demands.enumerate() {
            demand.now_bps = f64::from(*mbps) * 1e6;
            demand.outlook = self.foresight.outlook(known.slot, region);
        }
        let mut goals = std::mem::take(&mut self.goals);
        let mut view = std::mem::take(&mut self.view);
        goals.follow(&mut view, &self.policies, DAY_S, |_| self.past(known));
        (self.goals, self.view) = (goals, view);
        let next = trade(&self.view, &self.policies, self.planned.as_ref());
        (self.planned.insert(next), &self.view, &self.edges)
    }

    /// Looks at the edges that are alive.
    fn look(&mut self, known: &Known<'_>) {
        let world = known.world;
        let alive = (0..world.edges.len()).filter(|edge| known.up[*edge]);
        let edges: Vec<usize> = alive.collect();
        if edges == self.edges {
            return;
        }
        let edge = |at: &usize| Edge {
            id: node(&world.edges[*at].name, *at),
            country: world.metros[world.edges[*at].metro].country.clone(),
            capacity_bps: world.edges[*at].capacity_mbps * 1e6,
            weight: world.edges[*at].capacity_mbps,
            metro: world.metros[world.edges[*at].metro].name.clone(),
            tariff: self.tariffs[*at],
            bill: self.bills[*at].clone(),
            goal_bps: 0.0,
        };
        self.view.edges = edges.iter().map(edge).collect();
        for (region, demand) in self.view.demands.iter_mut().enumerate() {
            let path = |path: &crate::world::Path| {
                let edge = edges.iter().position(|at| *at == path.edge as usize)?;
                Some(Path {
                    edge,
                    rtt_ms: path.rtt_ms as f32,
                    measured: true,
                })
            };
            demand.paths = world.paths(region).iter().filter_map(path).collect();
        }
        self.edges = edges;
        self.planned = None;
    }

    /// What regions demanded in the last days, a value a billing slot.
    fn past(&self, known: &Known<'_>) -> Past {
        let world = known.world;
        let day = world.time.day() / self.slots_a_bill;
        let slots = known.slot / self.slots_a_bill;
        let from = slots.saturating_sub(PAST_DAYS as usize * day);
        let of = |region: usize| {
            let bps = |slot: usize| {
                let first = slot * self.slots_a_bill;
                let slots = first..first + self.slots_a_bill;
                let mbps: f32 = slots.map(|slot| world.demand(slot)[region]).sum();
                mbps / self.slots_a_bill as f32 * 1e6
            };
            (from..slots).map(bps).collect()
        };
        Past {
            demand: (0..world.regions.len()).map(of).collect(),
            day,
        }
    }

    /// Writes the plan's shares to the world's paths.
    fn share(&self, known: &Known<'_>, shares: &mut [f64]) {
        let Some(planned) = &self.planned else {
            return;
        };
        for region in 0..known.world.regions.len() {
            let range = known.world.range(region);
            for way in planned.of(region) {
                let edge = self.edges[way.edge as usize] as u32;
                let mut paths = known.world.paths[range.clone()].iter();
                if let Some(at) = paths.position(|path| path.edge == edge) {
                    shares[range.start + at] += way.share;
                }
            }
        }
    }
}

impl Rule for Weir {
    fn name(&self) -> &str {
        &self.name
    }

    fn split(&mut self, known: &Known<'_>, shares: &mut [f64]) {
        self.plan(known, known.world.time.second(known.slot), known.demand());
        self.share(known, shares);
    }

    fn carried(&mut self, _: usize, loads: &[f64]) {
        for (carried, load) in self.carried.iter_mut().zip(loads) {
            *carried += load;
        }
        let entered = self.bills.first().map_or(0, |bill| bill.elapsed());
        self.since += 1;
        if self.since < self.slots_a_bill {
            return;
        }
        self.since = 0;
        // A bill that nobody else holds is entered into where it is.
        let none = Arc::new(Bill::new(0, 1));
        for edge in &mut self.view.edges {
            edge.bill = none.clone();
        }
        for (bill, carried) in self.bills.iter_mut().zip(&mut self.carried) {
            let mean_bps = *carried * 1e6 / self.slots_a_bill as f64;
            Arc::make_mut(bill).push(entered as i64, mean_bps);
            *carried = 0.0;
        }
        for (edge, at) in self.view.edges.iter_mut().zip(&self.edges) {
            edge.bill = self.bills[*at].clone();
        }
    }

    fn may(&self, path: usize) -> bool {
        self.may[path]
    }

    fn style(&self) -> Style {
        Style {
            keep: Keep::Planned,
            ways: Ways::Planned,
        }
    }

    fn laying<'a>(&'a self, known: &Known<'a>) -> Option<Laying<'a>> {
        let planned = self.planned.as_ref()?;
        let edge_at: Vec<Option<u32>> = self.edges.iter().map(|at| Some(*at as u32)).collect();
        let (starts, offers) = homes::offers(&self.view, planned, &edge_at, &self.policies);
        let mut prices = vec![0.0; known.world.edges.len()];
        for (at, quote) in self.edges.iter().zip(&planned.quotes) {
            prices[*at] = quote.money + quote.scarcity;
        }
        let unit_usd = trade::unit_usd(&self.view);
        let relays = self.tariffs.iter().map(|it| it.relay_cost(unit_usd));
        let policy = self.policies.default_policy();
        Some(Laying {
            starts,
            offers,
            prices,
            relays: relays.collect(),
            up: known.up,
            terms: homes::terms(policy, planned.tau),
            policy,
        })
    }

    fn full_at(&self) -> Option<f64> {
        Some(cost::full_at(self.policies.default_policy()))
    }
}

/// By path, whether the policy of its region lets it be used.
fn may(world: &World, tariffs: &[Tariff], policies: &Policies) -> Vec<bool> {
    let mut may = Vec::with_capacity(world.paths.len());
    for region in 0..world.regions.len() {
        let subject = Subject {
            region: Some(region_of(world, region)),
            ..Subject::default()
        };
        let placement = &policies.of(&subject).policy.placement;
        for path in world.paths(region) {
            let edge = &world.edges[path.edge as usize];
            let id = node(&edge.name, path.edge as usize);
            let country = world.metros[edge.metro].country.as_deref();
            let usd = tariffs[path.edge as usize].marginal_usd();
            may.push(placement.bars(id.as_str(), country, Some(usd)).is_none());
        }
    }
    may
}

/// What regions ask for, before anything is known of it.
fn demands(world: &World) -> Vec<Demand> {
    let demand = |region: usize| Demand {
        region: region_of(world, region),
        now_bps: 0.0,
        outlook: Outlook::STEADY,
        paths: Vec::new(),
    };
    (0..world.regions.len()).map(demand).collect()
}

/// A region's name as policies name it: its own where that is short and plain, else its number.
pub(crate) fn region_of(world: &World, region: usize) -> Region {
    let own = Region::parse(&world.regions[region].name);
    own.unwrap_or_else(|| Region::named(&format!("region-{region}")))
}

/// An edge's name, when a node can have it, so that policies can name it.
pub(crate) fn node(name: &str, at: usize) -> NodeId {
    let numbered = || NodeId::parse(&format!("edge-{at}")).expect("the name is plain and short");
    NodeId::parse(name).unwrap_or_else(|_| numbered())
}

const DAY_S: i64 = 86_400;
