//! Sans-IO: which share of each region's demand goes to which edge, by a price per edge.
//!
//! A region splits over its offers by a soft minimum of cost and price; a price rises where more
//! comes than an edge has to spare, and falls where less does. The prices are the dual variables
//! of a linear program: `flow` solves it exactly, which also yields a lower bound of what any
//! split can cost, and `ascent` finds the prices near it at which regions choose softly.
//! The same input gives the same bytes on any machine: sums in the order of the input, `exp` and
//! `ln` from `libm`. Not here: where demand, costs and limits come from, and single streams.

mod ascent;
mod concentrate;
mod flow;

use ascent::{Ascent, Progress};
pub use concentrate::{Burst, concentrate, rehearse};
use flow::Flow;

/// What an edge can carry: free up to `level`, at `beyond` a bit above it, never above `limit`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Supply {
    /// Bits per second with nothing more to pay.
    pub level: f64,
    /// Cost units of a bit and second above the level.
    pub beyond: f64,
    /// Bits per second that it can carry; infinite for an edge without a limit.
    pub limit: f64,
    /// Its share among equals, in any unit that all edges have in common: its capacity.
    pub weight: f64,
}

/// An edge that may serve a region.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Offer {
    /// Index into the supplies.
    pub edge: u32,
    /// Cost units of a bit and second: the network's, and the price of a bit billed by volume.
    pub cost: f64,
}

/// Region `r` demands `demand[r]` bits per second of `offers[starts[r]..starts[r + 1]]`.
///
/// A number that is none makes its row unusable: an offer or an edge is passed over, a demand is 0.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Problem {
    /// By region.
    pub demand: Vec<f64>,
    /// By region, and one more: the number of offers.
    pub starts: Vec<u32>,
    /// Of all regions, one after the other.
    pub offers: Vec<Offer>,
    /// By edge.
    pub supplies: Vec<Supply>,
}

/// The best split that was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Split {
    /// By edge, cost units of a bit and second: what [`shares`] adds to an offer's cost.
    pub prices: Vec<f64>,
    /// The temperature at which the prices hold.
    pub tau: f64,
    /// By offer; of a region they sum to 1, or to 0 when none of its offers is usable.
    pub shares: Vec<f64>,
    /// By edge, bits per second.
    pub loads: Vec<f64>,
    /// Of the network, of what lies beyond levels, and a deterrent price for overload.
    pub cost: f64,
    /// No split costs less.
    pub bound: f64,
    /// Bits per second above limits or without a usable offer.
    pub overload: f64,
    /// How many times the prices were moved.
    pub rounds: u32,
}

impl Split {
    /// How far the cost may lie above the least possible, as a share of it.
    pub fn gap(&self) -> f64 {
        if self.cost > self.bound {
            (self.cost - self.bound) / self.cost.abs().max(self.bound.abs())
        } else {
            0.0
        }
    }
}

/// The shares of one region's offers at these prices, in proportion to
/// `weight * exp(-(cost + price) / tau)`; all 0 when no offer is usable.
pub fn shares(offers: &[Offer], prices: &[f64], supplies: &[Supply], tau: f64, into: &mut [f64]) {
    soft_minimum(offers, prices, supplies, tau, into);
}

/// Fills in the shares; the least cost with price, also in its soft form, or None without a usable
/// offer.
fn soft_minimum(
    offers: &[Offer],
    prices: &[f64],
    supplies: &[Supply],
    tau: f64,
    into: &mut [f64],
) -> Option<(f64, f64)> {
    let mut least = f64::INFINITY;
    for (share, offer) in into.iter_mut().zip(offers) {
        *share = asked(offer, prices, supplies);
        least = least.min(*share);
    }
    if least == f64::INFINITY {
        into.fill(0.0);
        return None;
    }
    let mut sum = 0.0;
    for (share, offer) in into.iter_mut().zip(offers) {
        let colder = (*share - least) / tau;
        *share = if colder < NEGLIGIBLE {
            let weight = supplies[offer.edge as usize].weight;
            weight.clamp(1.0 / LARGEST, LARGEST) * libm::exp(-colder)
        } else {
            0.0
        };
        sum += *share;
    }
    into.iter_mut().for_each(|share| *share /= sum);
    Some((least, least - tau * libm::log(sum)))
}

/// What a region pays for a bit there; infinite when the offer is not usable.
fn asked(offer: &Offer, prices: &[f64], supplies: &[Supply]) -> f64 {
    let edge = offer.edge as usize;
    let (Some(price), Some(supply)) = (prices.get(edge), supplies.get(edge)) else {
        return f64::INFINITY;
    };
    let asked = offer.cost + price;
    if asked.abs() < LARGEST && supply.is_usable() {
        asked
    } else {
        f64::INFINITY
    }
}

impl Supply {
    fn is_usable(&self) -> bool {
        self.weight > 0.0 && self.limit > 0.0 && self.level >= 0.0 && self.beyond >= 0.0
    }
}

/// Above this many temperatures an offer draws less than 1e-13 of the best one's share.
const NEGLIGIBLE: f64 = 30.0;
/// Numbers beyond this are mistakes; sums of products of smaller ones are finite.
const LARGEST: f64 = 1e30;

/// Finds prices at which the regions' own choice is a nearly best split.
///
/// `start` are prices by edge found for a similar problem before: they shorten the way.
pub fn split(problem: &Problem, start: Option<&[f64]>) -> Split {
    let ascent = Ascent::new(problem);
    let flow = ascent.flow(start);
    soften(ascent, &flow)
}

/// From the prices of a cheapest flow to those at which the regions' soft choice costs nearly as
/// little: as soft as the gap lets it be, so that edges that are as good share what comes.
fn soften(mut ascent: Ascent<'_>, flow: &Flow) -> Split {
    let mut tau = (SOFT * ascent.bit_cost(flow)).clamp(COLDEST, WARMEST);
    ascent.start(flow, tau);
    loop {
        for _ in 0..STEPS {
            if ascent.climb(tau) != Progress::Part {
                break;
            }
        }
        if ascent.is_close(flow, GAP) || tau <= COLDEST {
            return ascent.finish();
        }
        ascent.cool(flow, COOLING);
        tau *= COOLING;
        ascent.forget();
        ascent.choose(tau);
    }
}

/// The gap at which to stop.
const GAP: f64 = 0.003;
/// The first temperature, as a part of what a bit costs in the mean.
const SOFT: f64 = 0.005;
/// The lowest and the highest temperature, in cost units.
const COLDEST: f64 = 1e-4;
const WARMEST: f64 = 0.02;
/// What remains of a temperature at which the gap stays too wide.
const COOLING: f64 = 0.5;
/// Steps at each temperature, if it takes so many.
const STEPS: u32 = 8;
impl Problem {
    fn demand_of(&self, region: usize) -> f64 {
        let usable = |demand: &f64| *demand > 1.0 / LARGEST && *demand < LARGEST;
        self.demand[region..]
            .first()
            .copied()
            .filter(usable)
            .unwrap_or(0.0)
    }

    fn offers_of(&self, region: usize) -> std::ops::Range<usize> {
        let end = self.offers.len();
        let start = |region: usize| self.starts.get(region).map_or(end, |at| *at as usize);
        let from = start(region).min(end);
        from..start(region + 1).clamp(from, end)
    }

    /// Over all usable offers; what temperatures are measured by.
    fn mean_cost(&self) -> f64 {
        let usable = |cost: &f64| *cost > 1.0 / LARGEST && *cost < LARGEST;
        let costs = self.offers.iter().map(|offer| offer.cost.abs());
        let (sum, count) = costs
            .filter(usable)
            .fold((0.0, 0.0), |(sum, count), cost| (sum + cost, count + 1.0));
        if count > 0.0 { sum / count } else { 1.0 }
    }
}

#[cfg(test)]
mod tests;
