//! Sans-IO: up to which level each edge is to be billed, and what going beyond it costs meanwhile.
//!
//! Under a 95th percentile an edge pays for its level all month and may exceed it in one slot of
//! twenty. Which levels are cheapest together is a convex program over scenarios of demand, solved
//! by prices like a split ([`super::split`]), of each edge in each scenario: in turn the regions
//! choose softly, and every edge takes the level and the prices that are best for it while the
//! others' stand. No round lowers the smoothed dual, at any temperature. An edge's prices over all
//! scenarios come to what its level costs, and its price beyond the level uses up the free slots.
//! The same input gives the same bytes on any machine.
//! Not here: bills ([`super::billing`]), where demand comes from, and which edges a region may use.

use super::billing::{Bill, BillingModel, Tariff};
use super::split::{Offer, Problem, Supply, shares, split};

mod fit;
mod scenarios;

pub use fit::{Ground, fit};
pub use scenarios::{Scenario, scenarios};

/// What an edge costs for the rest of its period.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Edge {
    /// Cost units of a bit and second of its level; 0 where the level costs nothing.
    pub price: f64,
    /// Bits per second that are paid for in any case.
    pub paid: f64,
    /// Bits per second that it may be planned to carry.
    pub limit: f64,
    /// Part of the slots to come that may exceed the level for nothing.
    pub free: f64,
    /// Whether it is slots that are billed, so that there are free ones.
    pub by_slot: bool,
}

/// What can be tuned, by replaying past weeks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Knobs {
    /// Part of the free slots that levels count on: a plan fills them with fractions, reality with
    /// whole slots.
    pub burst_credit: f64,
    /// Levels are multiplied by this.
    pub level_scale: f64,
    /// Part of the free slots that is kept at the start; it shrinks with the rest of the period.
    pub reserve: f64,
    /// The price beyond the level while free slots go as fast as the period, in multiples of the
    /// edge's.
    pub burst: f64,
    /// The power by which that price follows the pace at which free slots go: who has more of them
    /// left is next.
    pub turn: f64,
    /// The price beyond the level without a free slot, in multiples of the edge's.
    pub cliff: f64,
    /// How often the prices are moved.
    pub rounds: u32,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            burst_credit: 0.2,
            level_scale: 1.0,
            reserve: 0.1,
            burst: 3.0,
            turn: 1.5,
            cliff: 20.0,
            rounds: 150,
        }
    }
}

/// Levels for the rest of the period.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Levels {
    /// By edge, bits per second.
    pub levels: Vec<f64>,
    /// By edge, the price beyond the level at which the free slots are just used up.
    pub beyond: Vec<f64>,
    /// By scenario and edge: where the next search starts from.
    pub prices: Vec<Vec<f64>>,
}

impl Edge {
    /// How an edge stands, with `level` the one planned so far and `unit_usd` the mean of all
    /// edges' [`Tariff::marginal_usd`].
    pub fn new(
        (tariff, bill): (&Tariff, &Bill),
        level: f64,
        unit_usd: f64,
        limit: f64,
        knobs: &Knobs,
    ) -> Self {
        let paid = bill.level(tariff).min(limit);
        let by_slot = tariff.model == BillingModel::P95;
        let left = bill.free_slots_left(level.max(paid)).unwrap_or(0) as f64;
        let remaining = bill.remaining().max(1) as f64;
        let whole = bill.elapsed() as f64 + remaining;
        let kept = knobs.reserve * bill.budget() as f64 * remaining / whole;
        let by_level = matches!(tariff.model, BillingModel::P95 | BillingModel::DailyPeak);
        Self {
            price: if by_level {
                tariff.marginal_usd() / unit_usd
            } else {
                0.0
            },
            paid,
            limit,
            free: if by_slot {
                ((left - kept).max(0.0) / remaining).min(MOST_FREE)
            } else {
                0.0
            },
            by_slot,
        }
    }
}

/// What an edge offers to the next split: free up to its level, dearer beyond it the faster its
/// free slots go, and nearly never beyond it once they are gone.
///
/// `unit_usd` is that of [`Edge::new`], `planned` the level of [`Levels`].
pub fn supply(
    (tariff, bill): (&Tariff, &Bill),
    planned: f64,
    unit_usd: f64,
    limit: f64,
    knobs: &Knobs,
) -> Supply {
    let price = tariff.marginal_usd() / unit_usd;
    let paid = bill.level(tariff).min(limit);
    let (level, beyond) = match tariff.model {
        // What a bit costs is part of its offer.
        BillingModel::Volume | BillingModel::Flat => (limit, 0.0),
        // Days' peaks that come at other times on each edge add up: only today's is free.
        BillingModel::DailyPeak => (paid, price),
        BillingModel::P95 => {
            let level = (planned * knobs.level_scale).max(paid);
            (level, price * burst(bill, level, knobs))
        }
    };
    Supply {
        level: level.min(limit),
        beyond,
        limit,
        weight: limit,
    }
}

/// The price of going beyond a level, in multiples of the edge's.
fn burst(bill: &Bill, level: f64, knobs: &Knobs) -> f64 {
    let budget = bill.budget() as f64;
    let slots = (bill.elapsed() + bill.remaining()) as f64;
    let elapsed = (bill.elapsed() + 1) as f64 / slots;
    let used = bill.slots_above(level) as f64;
    if used >= budget * (1.0 - knobs.reserve * (1.0 - elapsed)) {
        return knobs.cliff;
    }
    knobs.turned((used + EARLIEST) / (budget * elapsed + EARLIEST))
}

impl Knobs {
    /// The price beyond a level at this pace of free slots, in multiples of the edge's.
    fn turned(&self, pace: f64) -> f64 {
        let turn = libm::pow(pace, self.turn).clamp(1.0 / MOST_TURN, MOST_TURN);
        (self.burst * turn).min(self.cliff)
    }
}

/// Slots whose use says little of the pace.
const EARLIEST: f64 = 10.0;
/// How much the pace makes bursts dearer or cheaper, at most.
const MOST_TURN: f64 = 4.0;
/// What is left at the end of a period is used by raising no level, not by bursting all the time.
const MOST_FREE: f64 = 0.07;

/// What volume adds to the cost of an offer, cost units of a bit and second.
pub fn per_bit(tariff: &Tariff, unit_usd: f64) -> f64 {
    match tariff.model {
        BillingModel::Volume => tariff.marginal_usd() / unit_usd,
        _ => 0.0,
    }
}

/// The cheapest levels for these scenarios; `before` are those found last.
///
/// `starts` and `offers` are those of [`Problem`].
pub fn levels(
    scenarios: &[Scenario],
    paths: (&[u32], &[Offer]),
    edges: &[Edge],
    knobs: &Knobs,
    before: Option<&Levels>,
) -> Levels {
    let mut search = Search::new(scenarios, paths, edges, knobs, before);
    let mut tau = if before.is_some() { WARM } else { HOT };
    for _ in 0..knobs.rounds {
        search.choose(tau);
        for edge in 0..edges.len() {
            search.balance(edge, tau);
        }
        tau = (tau * COOLING).max(COLD);
    }
    search.found
}

struct Search<'a> {
    scenarios: &'a [Scenario],
    edges: &'a [Edge],
    offers: &'a [Offer],
    /// By region, its offers.
    ranges: Vec<std::ops::Range<usize>>,
    supplies: Vec<Supply>,
    credit: f64,
    found: Levels,
    /// By scenario and edge.
    loads: Vec<Vec<f64>>,
    shares: Vec<f64>,
}

/// The price at which one bit and second would come to an edge in a scenario, and which it is.
struct Wanted {
    price: f64,
    weight: f64,
    scenario: usize,
}

impl<'a> Search<'a> {
    fn new(
        scenarios: &'a [Scenario],
        (starts, offers): (&[u32], &'a [Offer]),
        edges: &'a [Edge],
        knobs: &Knobs,
        before: Option<&Levels>,
    ) -> Self {
        let fits = |levels: &&Levels| {
            levels.prices.len() == scenarios.len()
                && levels.prices.iter().all(|by| by.len() == edges.len())
        };
        let first: Vec<f64> = edges.iter().map(|edge| edge.price).collect();
        let prices = before.filter(fits).map(|levels| levels.prices.clone());
        let supply = |edge: &Edge| Supply {
            level: edge.limit,
            beyond: 0.0,
            limit: edge.limit,
            weight: edge.limit,
        };
        let end = |at: u32| (at as usize).min(offers.len());
        let range = |pair: &[u32]| end(pair[0])..end(pair[1]).max(end(pair[0]));
        Self {
            scenarios,
            edges,
            offers,
            ranges: starts.windows(2).map(range).collect(),
            supplies: edges.iter().map(supply).collect(),
            credit: knobs.burst_credit,
            found: Levels {
                levels: vec![0.0; edges.len()],
                beyond: vec![0.0; edges.len()],
                prices: prices.unwrap_or_else(|| vec![first; scenarios.len()]),
            },
            loads: vec![vec![0.0; edges.len()]; scenarios.len()],
            shares: vec![0.0; offers.len()],
        }
    }

    fn choose(&mut self, tau: f64) {
        let scenarios = self.scenarios.iter().zip(&self.found.prices);
        for ((scenario, prices), loads) in scenarios.zip(&mut self.loads) {
            loads.fill(0.0);
            for (demand, range) in scenario.demand.iter().zip(&self.ranges) {
                let (offers, into) = (&self.offers[range.clone()], &mut self.shares[range.clone()]);
                shares(offers, prices, &self.supplies, tau, into);
                for (offer, share) in offers.iter().zip(into.iter()) {
                    if *share > 0.0 {
                        loads[offer.edge as usize] += demand * share;
                    }
                }
            }
        }
    }

    /// Takes the level and the prices that are best for one edge while the regions' other prices
    /// stand: at another price its load changes by the exponential of the difference.
    fn balance(&mut self, at: usize, tau: f64) {
        let edge = &self.edges[at];
        if !(edge.limit > 0.0 && edge.limit.is_finite()) {
            self.found.levels[at] = edge.limit;
            return;
        }
        let wanted = self.wanted(at, tau);
        let budget = (edge.free * self.credit).max(0.0) * edge.limit;
        let highest = libm::log(edge.limit);
        let paid = edge.paid.clamp(edge.limit * LEAST_LEVEL, edge.limit);
        let mut low = if edge.price > 0.0 {
            libm::log(paid)
        } else {
            highest
        };
        let mut high = highest;
        let worth = |level: f64| -> f64 {
            let most = ceiling(&wanted, level, budget, tau);
            let price = |it: &Wanted| (it.price - tau * level).clamp(0.0, most) * it.weight;
            wanted.iter().map(price).sum()
        };
        if worth(low) <= edge.price {
            high = low;
        }
        for _ in 0..BISECTIONS {
            let middle = 0.5 * (low + high);
            if worth(middle) > edge.price {
                low = middle;
            } else {
                high = middle;
            }
        }
        let most = ceiling(&wanted, high, budget, tau);
        self.found.levels[at] = libm::exp(high);
        self.found.beyond[at] = most;
        for it in &wanted {
            let price = (it.price - tau * high).clamp(0.0, most);
            let above = it.price - tau * highest;
            self.found.prices[it.scenario][at] = price.max(above);
        }
    }

    /// The highest first.
    fn wanted(&self, at: usize, tau: f64) -> Vec<Wanted> {
        let least = self.edges[at].limit * LEAST_LOAD;
        let of = |(scenario, it): (usize, &Scenario)| Wanted {
            price: self.found.prices[scenario][at]
                + tau * libm::log(self.loads[scenario][at].max(least)),
            weight: it.weight,
            scenario,
        };
        let mut wanted: Vec<Wanted> = self.scenarios.iter().enumerate().map(of).collect();
        wanted.sort_by(|a, b| {
            b.price
                .total_cmp(&a.price)
                .then(a.scenario.cmp(&b.scenario))
        });
        wanted
    }
}

/// The price at which what comes beyond a level, given by its logarithm, is the budget in the mean.
fn ceiling(wanted: &[Wanted], level: f64, budget: f64, tau: f64) -> f64 {
    let Some(first) = wanted.first() else {
        return 0.0;
    };
    let (mut weight, mut drawn, mut ceiling) = (0.0, 0.0, 0.0);
    for (nth, it) in wanted.iter().enumerate() {
        weight += it.weight;
        drawn += it.weight * libm::exp((it.price - first.price) / tau);
        let within = (budget + libm::exp(level) * weight) / drawn;
        ceiling = first.price - tau * libm::log(within);
        let next = wanted.get(nth + 1);
        if next.is_none_or(|next| next.price - tau * level <= ceiling) {
            break;
        }
    }
    ceiling.max(0.0)
}

/// Temperatures, in cost units: at first, after a start from prices found before, and at the end.
const HOT: f64 = 1.0;
const WARM: f64 = 0.1;
const COLD: f64 = 0.02;
/// What remains of a temperature after a round.
const COOLING: f64 = 0.98;
/// Halvings of the range of a level's logarithm, which is less than 10 wide: exact to a millionth.
const BISECTIONS: u32 = 24;
/// Parts of the limit: no level is lower, and a load below that counts as this.
const LEAST_LEVEL: f64 = 1e-4;
const LEAST_LOAD: f64 = 1e-9;

/// What is short when the strongest edge of a metro fails.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shortage {
    /// Of [`audit`]'s numbering.
    pub metro: u32,
    /// The edge that fails.
    pub edge: u32,
    /// Bits per second that no other edge can take.
    pub short_bps: f64,
}

/// The metros that could not lose their strongest edge under this demand; `metros` is by edge, none
/// for what stands in no metro, which is not thought to fail.
pub fn audit(problem: &Problem, metros: &[Option<u32>]) -> Vec<Shortage> {
    let mut strongest = std::collections::BTreeMap::<u32, usize>::new();
    for (edge, metro) in metros.iter().enumerate().take(problem.supplies.len()) {
        let Some(metro) = *metro else {
            continue;
        };
        let best = strongest.entry(metro).or_insert(edge);
        if problem.supplies[edge].limit > problem.supplies[*best].limit {
            *best = edge;
        }
    }
    let whole = split(problem, None);
    let mut without = problem.clone();
    let mut short = Vec::new();
    for (metro, edge) in strongest {
        let limit = std::mem::replace(&mut without.supplies[edge].limit, 0.0);
        let left = split(&without, Some(&whole.prices));
        without.supplies[edge].limit = limit;
        if left.overload > whole.overload * (1.0 + NOISE) {
            short.push(Shortage {
                metro,
                edge: edge as u32,
                short_bps: left.overload - whole.overload,
            });
        }
    }
    short
}

/// Overload that differs by less is the same.
const NOISE: f64 = 1e-6;

#[cfg(test)]
mod tests;
