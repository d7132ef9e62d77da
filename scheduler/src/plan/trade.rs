//! Sans-IO: from a view to prices and splits: what each region may use, what that costs, and how
//! much of it goes where.
//!
//! Same view, same policies, same plan before: same answer, on any machine. A plan holds on to what
//! is in force unless that would break a limit, use up a free slot or cost more by what a change is
//! worth, and then prices move by steps.

use serde::{Deserialize, Serialize};

use crate::policy::{Credit, Policies, Policy, Subject};

use super::billing::BillingModel;
use super::cost;
use super::levels::{self, Knobs, per_bit};
use super::split::{self, Burst, Offer, Problem, Split, Supply};
use super::view::{Demand, Edge, View};

/// What a plan came to.
#[derive(Clone, Debug, Default)]
pub struct Planned {
    /// Calendar time at which the prices changed last, Unix seconds.
    pub changed_s: i64,
    /// What each edge costs, in units of the edges' mean price.
    pub quotes: Vec<Quote>,
    /// How sharply regions choose.
    pub tau: f64,
    /// Region `r` has the ways `starts[r]..starts[r + 1]`.
    pub starts: Vec<u32>,
    /// The ways that regions use.
    pub ways: Vec<Way>,
    /// By edge, whether it is beyond its level.
    pub bursts: Vec<Burst>,
    /// What it comes to.
    pub figures: Figures,
}

/// What a bit at an edge costs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Quote {
    /// The solver's price: what is to be paid beyond the level and what the last room is worth.
    pub price: f64,
    /// How much of it is money, before the policy's weight; volume prices included.
    pub money: f64,
    /// How much of it is scarcity.
    pub scarcity: f64,
    /// Bits per second that it is to carry.
    pub planned_bps: f64,
}

/// A region's use of an edge.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Way {
    /// Index of the edge.
    pub edge: u32,
    /// Round-trip time.
    pub rtt_ms: f32,
    /// Share of the region's demand, 0 to 1.
    pub share: f64,
}

/// What a plan costs and how good it is, to compare plans by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// USD a month, were this load what is billed.
    pub usd_per_month: f64,
    /// Round-trip time that half of the demand has at most.
    pub rtt_p50_ms: f64,
    /// The same of 95 %.
    pub rtt_p95_ms: f64,
    /// Mean round-trip time above that of the nearest edge.
    pub extra_rtt_ms: f64,
    /// Bits per second for which there is no room.
    pub overload_bps: f64,
    /// Share of the demand that goes elsewhere than by the plan before.
    pub moved: f64,
    /// How far the cost of the split that was found may lie above the least possible, as a share;
    /// what is in force may cost the deadband more.
    pub gap: f64,
    /// Rounds that the prices took.
    pub rounds: u32,
}

/// Plans, given what is in force.
pub fn trade(view: &View, policies: &Policies, before: Option<&Planned>) -> Planned {
    let policy = policies.default_policy();
    let known = before.filter(|before| before.quotes.len() == view.edges.len());
    let mut market = Stage::new(view, policies);
    market.leave_room(policy, known);
    market.bursts = bursts(view, known);
    let start: Option<Vec<f64>> = known.map(prices);
    let (problem, bursts) = (&market.problem, &mut market.bursts);
    let mut found = split::concentrate(problem, bursts, start.as_deref());
    market.gap = found.gap();
    market.weigh();
    let Some((before, held)) = known.zip(start) else {
        return market.planned(policy, &found, view.at_s, None);
    };
    let mut kept = found.clone();
    (kept.prices, kept.tau) = (held, before.tau);
    market.settle(&mut kept);
    market.settle(&mut found);
    let broken = kept.overload > found.overload + NOTHING_BPS || market.spends(&kept);
    let worth = kept.cost > found.cost + policy.motion.deadband * found.cost.abs();
    let dwells = (view.at_s - before.changed_s) as f64 >= policy.motion.dwell_s;
    let changes = broken || (worth && dwells);
    if !changes {
        return market.planned(policy, &kept, before.changed_s, Some(before));
    }
    let mut next = found.clone();
    if !broken {
        for (next, before) in next.prices.iter_mut().zip(&kept.prices) {
            let most = STEP * before.max(1.0);
            *next = next.clamp(before - most, before + most);
        }
        market.settle(&mut next);
        if market.spends(&next) {
            next = found;
        }
    }
    market.planned(policy, &next, view.at_s, Some(before))
}

/// How edges stand to their levels: those that were beyond theirs stay so.
fn bursts(view: &View, before: Option<&Planned>) -> Vec<Burst> {
    let burst = |(at, edge): (usize, &Edge)| {
        let was = before.and_then(|before| before.bursts.get(at)).copied();
        match edge.tariff.model {
            BillingModel::P95 if edge.goal_bps > 0.0 => match was {
                Some(Burst::Open) => Burst::Open,
                _ => Burst::Shut,
            },
            _ => Burst::Never,
        }
    };
    view.edges.iter().enumerate().map(burst).collect()
}

fn prices(planned: &Planned) -> Vec<f64> {
    planned.quotes.iter().map(|quote| quote.price).collect()
}

/// A view as the solver takes it.
struct Stage<'a> {
    view: &'a View,
    problem: Problem,
    rtt_ms: Vec<f32>,
    /// By edge, the price of a bit that is billed by volume, before the policy's weight.
    volume: Vec<f64>,
    /// By edge, the tariff's price in units of the mean one.
    money: Vec<f64>,
    /// Of the split that was found.
    gap: f64,
    /// By edge, the part of its load by which more may come than is planned for.
    margins: Vec<f64>,
    /// By edge, how it stands to its level.
    bursts: Vec<Burst>,
}

impl<'a> Stage<'a> {
    fn new(view: &'a View, policies: &Policies) -> Self {
        let unit = unit_usd(view);
        let money: Vec<f64> = view
            .edges
            .iter()
            .map(|edge| edge.tariff.marginal_usd() / unit)
            .collect();
        let volume = view.edges.iter().map(|edge| per_bit(&edge.tariff, unit));
        let mut stage = Self {
            view,
            problem: Problem::default(),
            rtt_ms: Vec::new(),
            volume: volume.collect(),
            money,
            gap: 0.0,
            margins: vec![LEAST_MARGIN; view.edges.len()],
            bursts: Vec::new(),
        };
        let policy = policies.default_policy();
        let supplies = view.edges.iter().map(|edge| supply(edge, unit, policy));
        stage.problem.supplies = supplies.collect();
        stage.problem.starts.push(0);
        for demand in &view.demands {
            let subject = Subject {
                region: Some(demand.region),
                ..Subject::default()
            };
            stage.offer(demand, &policies.of(&subject).policy);
        }
        stage
    }

    /// Adds a region with the edges that its policy lets it use: those within the slack of the
    /// nearest, and the nearest few in any case, so that what is too much has somewhere to go.
    fn offer(&mut self, demand: &Demand, policy: &Policy) {
        let usable = demand.paths.iter().filter(|path| {
            self.view.edges.get(path.edge).is_some_and(|edge| {
                let usd = edge.tariff.marginal_usd();
                let country = edge.country.as_deref();
                let bar = policy.placement.bars(edge.id.as_str(), country, Some(usd));
                bar.is_none()
            })
        });
        let mut nearest = None;
        let mut offered = 0;
        for path in usable {
            let rtt_ms = f64::from(path.rtt_ms);
            let slack = policy.rtt.max_extra_vs_nearest_ms;
            let nearest_ms = *nearest.get_or_insert(rtt_ms);
            let near = rtt_ms <= nearest_ms + slack;
            if offered >= OFFERS || !(near || offered < ALWAYS) {
                continue;
            }
            offered += 1;
            let spill = if near { 0.0 } else { SPILL };
            let volume = policy.weights.cost * self.volume[path.edge];
            self.problem.offers.push(Offer {
                edge: path.edge as u32,
                cost: cost::network(policy, rtt_ms, nearest_ms) + volume + spill,
            });
            self.rtt_ms.push(path.rtt_ms);
        }
        self.problem.starts.push(self.problem.offers.len() as u32);
        // While a crowd comes its upper quantile is what to expect.
        let factor = demand.outlook.quantile(0.5);
        self.problem.demand.push(demand.now_bps * factor);
    }

    /// Keeps levels and limits free of what may come beyond the expected demand: regions that go
    /// to one edge seldom all surprise at once, so that it is less than each one's.
    fn leave_room(&mut self, policy: &Policy, before: Option<&Planned>) {
        let edges = self.margins.len();
        let (mut squares, mut sums, mut loads) =
            (vec![0.0; edges], vec![0.0; edges], vec![0.0; edges]);
        for (region, demand) in self.view.demands.iter().enumerate() {
            let outlook = &demand.outlook;
            let expected = outlook.quantile(0.5).max(f64::MIN_POSITIVE);
            let more = (outlook.quantile(policy.headroom.quantile) / expected - 1.0).max(0.0);
            let known = before
                .map(|before| before.of(region))
                .filter(|it| !it.is_empty());
            let of = self.problem.starts[region] as usize..self.problem.starts[region + 1] as usize;
            let even = 1.0 / of.len().max(1) as f64;
            let ways = self.problem.offers[of]
                .iter()
                .map(|offer| (offer.edge, even));
            let used = known.into_iter().flatten().map(|way| (way.edge, way.share));
            let bps = self.problem.demand[region];
            for (edge, share) in used.chain(ways.filter(|_| known.is_none())) {
                let (edge, load) = (edge as usize, bps * share);
                loads[edge] += load;
                sums[edge] += load * more;
                squares[edge] += load * more * load * more;
            }
        }
        for (edge, margin) in self.margins.iter_mut().enumerate() {
            let sum = sums[edge] * sums[edge];
            let common = libm::sqrt(TOGETHER * sum + (1.0 - TOGETHER) * squares[edge]);
            let part = if loads[edge] > 0.0 {
                common / loads[edge]
            } else {
                0.0
            };
            *margin = (part + ROUNDING).clamp(LEAST_MARGIN, MOST_MARGIN);
            let supply = &mut self.problem.supplies[edge];
            supply.limit /= 1.0 + *margin;
            supply.level = (supply.level / (1.0 + *margin)).min(supply.limit);
        }
    }

    /// Prices what lies beyond levels as bursts are.
    fn weigh(&mut self) {
        for (supply, burst) in self.problem.supplies.iter_mut().zip(&self.bursts) {
            burst.weigh(supply);
        }
    }

    /// Whether an edge that is not to go beyond its level probably would.
    fn spends(&self, split: &Split) -> bool {
        let edges = split.loads.iter().zip(&self.problem.supplies);
        edges.enumerate().any(|(at, (load, supply))| {
            let level = supply.level * (1.0 + ROUNDING);
            self.bursts[at] == Burst::Shut && *load > level + NOTHING_BPS
        })
    }

    /// Works out what prices lead to.
    fn settle(&self, split: &mut Split) {
        let Problem {
            demand,
            starts,
            offers,
            supplies,
        } = &self.problem;
        split.loads = vec![0.0; supplies.len()];
        split.shares = vec![0.0; offers.len()];
        let (mut cost, mut lost) = (0.0, 0.0);
        for (region, demand) in demand.iter().enumerate() {
            let of = starts[region] as usize..starts[region + 1] as usize;
            let (offers, into) = (&offers[of.clone()], &mut split.shares[of]);
            split::shares(offers, &split.prices, supplies, split.tau, into);
            for (offer, share) in offers.iter().zip(into.iter()) {
                split.loads[offer.edge as usize] += demand * share;
                cost += demand * share * offer.cost;
            }
            lost += demand * (1.0 - into.iter().sum::<f64>().min(1.0));
        }
        for (load, supply) in split.loads.iter().zip(supplies) {
            cost += supply.beyond * (load - supply.level).max(0.0);
            lost += (load - supply.limit * GRACE).max(0.0);
        }
        (split.cost, split.overload) = (cost, lost);
    }

    fn planned(
        &self,
        policy: &Policy,
        split: &Split,
        changed_s: i64,
        before: Option<&Planned>,
    ) -> Planned {
        let weight = policy.weights.cost;
        let quote = |(edge, price): (usize, &f64)| {
            let beyond = self.problem.supplies[edge]
                .beyond
                .min(weight * self.money[edge]);
            let paid = price.min(beyond);
            let money = if weight > 0.0 { paid / weight } else { 0.0 };
            Quote {
                price: *price,
                money: money + self.volume[edge],
                scarcity: price - paid,
                planned_bps: split.loads[edge],
            }
        };
        let ways = self.problem.offers.iter().zip(&self.rtt_ms);
        let ways = ways.zip(&split.shares).map(|((offer, rtt_ms), share)| Way {
            edge: offer.edge,
            rtt_ms: *rtt_ms,
            share: *share,
        });
        let mut planned = Planned {
            changed_s,
            quotes: split.prices.iter().enumerate().map(quote).collect(),
            tau: split.tau,
            starts: self.problem.starts.clone(),
            ways: ways.collect(),
            bursts: self.bursts.clone(),
            figures: Figures::default(),
        };
        planned.figures = self.figures(&planned, split, before);
        planned
    }

    fn figures(&self, planned: &Planned, split: &Split, before: Option<&Planned>) -> Figures {
        let owed = |(edge, load): (&Edge, &f64)| edge.tariff.steady_usd(*load);
        let total: f64 = self.problem.demand.iter().sum();
        let mut carried: Vec<(f32, f64)> = Vec::with_capacity(planned.ways.len());
        let (mut extra, mut moved) = (0.0, 0.0);
        for (region, demand) in self.problem.demand.iter().enumerate() {
            let ways = planned.of(region);
            let nearest = planned.nearest_ms(region);
            let old = before.map(|before| before.of(region));
            for way in ways {
                let bps = demand * way.share;
                carried.push((way.rtt_ms, bps));
                extra += bps * (f64::from(way.rtt_ms) - nearest);
                let was = old.and_then(|old| old.iter().find(|it| it.edge == way.edge));
                moved += demand * (way.share - was.map_or(0.0, |it| it.share)).max(0.0);
            }
        }
        carried.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let quantile = |share: f64| {
            let mut sum = 0.0;
            let reached = carried.iter().find(|(_, bps)| {
                sum += bps;
                sum >= share * total
            });
            reached.map_or(0.0, |(rtt_ms, _)| f64::from(*rtt_ms))
        };
        let of_all = |sum: f64| if total > 0.0 { sum / total } else { 0.0 };
        Figures {
            usd_per_month: self.view.edges.iter().zip(&split.loads).map(owed).sum(),
            rtt_p50_ms: quantile(0.5),
            rtt_p95_ms: quantile(0.95),
            extra_rtt_ms: of_all(extra),
            overload_bps: split.overload,
            moved: if before.is_some() { of_all(moved) } else { 0.0 },
            gap: self.gap,
            rounds: split.rounds,
        }
    }
}

impl Planned {
    /// The ways of a region; none of one that it does not know.
    pub fn of(&self, region: usize) -> &[Way] {
        let at = |region: usize| self.starts.get(region).map(|at| *at as usize);
        match (at(region), at(region + 1)) {
            (Some(from), Some(to)) => &self.ways[from..to],
            _ => &[],
        }
    }

    /// The round-trip time between a region and the nearest edge that it may use; 0 without one.
    pub fn nearest_ms(&self, region: usize) -> f64 {
        self.of(region).first().map_or(0.0, |way| way.rtt_ms.into())
    }
}

/// What an edge offers: by its bill and the level that it is to be billed at in the end, or, before
/// that is known, at its price above what is billed already.
fn supply(edge: &Edge, unit_usd: f64, policy: &Policy) -> Supply {
    let limit = edge.capacity_bps * policy.headroom.util_max;
    let mut tariff = edge.tariff;
    if !policy.billing.respect_commit {
        tariff.commit_mbps = 0.0;
    }
    let by_level = matches!(tariff.model, BillingModel::P95 | BillingModel::DailyPeak);
    let mut supply = if by_level && edge.goal_bps <= 0.0 {
        Supply {
            level: edge.bill.level(&tariff).min(limit),
            beyond: tariff.marginal_usd() / unit_usd,
            limit,
            weight: edge.weight,
        }
    } else {
        let bill = (&tariff, &*edge.bill);
        levels::supply(bill, edge.goal_bps, unit_usd, limit, &knobs(policy))
    };
    supply.beyond *= policy.weights.cost;
    supply.weight = edge.weight;
    supply
}

/// How the policy lets free slots be used.
pub fn knobs(policy: &Policy) -> Knobs {
    let usual = Knobs::default();
    Knobs {
        burst_credit: match policy.billing.burst_credit {
            Credit::Auto => usual.burst_credit,
            Credit::Share(share) => share,
        },
        level_scale: policy.billing.level_scale,
        reserve: policy.billing.burst_reserve,
        ..usual
    }
}

/// The mean of the edges' prices in USD, which is what costs are counted in; 1 where nothing costs.
pub fn unit_usd(view: &View) -> f64 {
    let usd = view.edges.iter().map(|edge| edge.tariff.marginal_usd());
    let mean = usd.sum::<f64>() / view.edges.len().max(1) as f64;
    if mean > 0.0 { mean } else { 1.0 }
}

/// A view as the solver takes it: who may go where at what cost.
pub fn problem(view: &View, policies: &Policies) -> Problem {
    Stage::new(view, policies).problem
}

/// Edges that one region may use, as many as steering looks at.
const OFFERS: usize = 16;

/// Edges that a region may use however far they are: when the nearest is full or dead, there is
/// another.
const ALWAYS: usize = 3;

/// What an edge beyond the slack costs more, in units of the mean price: no price is worth it, only
/// that all others are full.
const SPILL: f64 = 10.0;

/// Limits leave some of the capacity free: what is above one by less is no reason for another plan.
const GRACE: f64 = 1.005;

/// How much of what regions surprise by they do together, as a part of the variance.
const TOGETHER: f64 = 0.2;

/// Bounds of what is kept free for surprises, as a part of the load; the least is what a slot
/// differs by from the one before where nothing is forecast.
const LEAST_MARGIN: f64 = 0.03;
const MOST_MARGIN: f64 = 0.2;

/// By how much a soft split may miss a level.
const ROUNDING: f64 = 0.004;

/// Load that is none.
const NOTHING_BPS: f64 = 1.0;

/// How much of itself, and of the mean price at least, a price moves in one plan.
const STEP: f64 = 0.1;

#[cfg(test)]
mod tests;
