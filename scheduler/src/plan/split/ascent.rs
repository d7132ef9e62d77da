//! Sans-IO: Newton's method on the prices of the smoothed problem, with its line search.
//!
//! At a temperature also an edge answers softly: what it has to spare grows with its price, from
//! nothing at 0 to its level, and about the price beyond it from there to its limit. So the dual is
//! smooth and concave. Its curvature is that of a graph in which regions tie edges to one another,
//! so that conjugate gradients find the way of prices that must move together, which single steps
//! of each would take long for.

use super::flow::{Flow, cheapest};
use super::{LARGEST, Problem, Split, Supply, soft_minimum};

/// The prices on their way up, the loads that they cause, and the best found so far.
pub(super) struct Ascent<'a> {
    problem: &'a Problem,
    demand: Vec<f64>,
    supplies: Vec<Supply>,
    /// Of a bit above a limit: no less than any detour that avoids it.
    deterrent: f64,
    prices: Vec<f64>,
    shares: Vec<f64>,
    loads: Vec<f64>,
    /// By edge, how far its price is above one that some region would take.
    aloof: Vec<f64>,
    /// What the smoothed dual came to at these prices.
    value: f64,
    ties: Ties,
    /// Room that is as good as without a limit.
    ample: f64,
    /// Bits per second without a usable offer.
    unserved: f64,
    pub(super) best: Split,
    /// What the best one costs, less what its spread over edges that are as good is worth.
    best_value: f64,
}

/// What one step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// There is more to gain.
    Part,
    /// Hardly anything is left to gain.
    None,
}

impl<'a> Ascent<'a> {
    pub(super) fn new(problem: &'a Problem) -> Self {
        let edges = problem.supplies.len();
        let supplies: Vec<Supply> = problem.supplies.iter().map(Supply::clean).collect();
        let dearest = supplies.iter().fold(0.0, |most: f64, s| most.max(s.beyond));
        let deterrent = DETERRENT * (problem.mean_cost() + dearest);
        Self {
            problem,
            demand: (0..problem.demand.len())
                .map(|r| problem.demand_of(r))
                .collect(),
            supplies,
            deterrent,
            prices: vec![0.0; edges],
            shares: vec![0.0; problem.offers.len()],
            loads: vec![0.0; edges],
            aloof: vec![0.0; edges],
            value: f64::NEG_INFINITY,
            ties: Ties::default(),
            ample: AMPLE
                * (0..problem.demand.len())
                    .map(|r| problem.demand_of(r))
                    .sum::<f64>()
                    .max(LEAST_BPS),
            unserved: 0.0,
            best: Split {
                cost: f64::INFINITY,
                bound: f64::NEG_INFINITY,
                overload: f64::INFINITY,
                ..Split::default()
            },
            best_value: f64::INFINITY,
        }
    }

    /// The cheapest flow; `start` are prices of one that is like it.
    pub(super) fn flow(&self, start: Option<&[f64]>) -> Flow {
        let aim = |supply: &Supply| supply.aim(self.ample);
        let aims: Vec<Supply> = self.supplies.iter().map(aim).collect();
        cheapest(self.problem, (&self.demand, &aims), self.deterrent, start)
    }

    /// What a bit costs in the mean, by the prices of a cheapest flow.
    pub(super) fn bit_cost(&mut self, flow: &Flow) -> f64 {
        let demand: f64 = self.demand.iter().sum();
        self.prices.clone_from(&flow.prices);
        self.choose(f64::MIN_POSITIVE);
        self.forget();
        if demand > 0.0 {
            self.best.bound / demand
        } else {
            0.0
        }
    }

    /// Begins with the prices of a flow, made soft.
    pub(super) fn start(&mut self, flow: &Flow, tau: f64) {
        for (edge, price) in self.prices.iter_mut().enumerate() {
            let soft = flow.prices[edge] + tau * flow.offsets[edge];
            *price = soft.clamp(0.0, self.supplies[edge].roof(self.deterrent));
        }
        self.choose(tau);
    }

    /// Brings prices nearer to those of the flow, as they are at a part of the temperature.
    pub(super) fn cool(&mut self, flow: &Flow, part: f64) {
        for (price, sharp) in self.prices.iter_mut().zip(&flow.prices) {
            *price = sharp + part * (*price - sharp);
        }
    }

    /// Whether no more overflows than must by a flow and the cost is within this part of the
    /// bound.
    pub(super) fn is_close(&self, flow: &Flow, gap: f64) -> bool {
        let over = |(load, supply): (&f64, &Supply)| (load - supply.limit).max(0.0);
        let must: f64 = flow.loads.iter().zip(&self.supplies).map(over).sum();
        self.best.overload <= self.unserved + must * (1.0 + gap) && self.best.gap() <= gap
    }

    /// Lets splits at higher temperatures go: they can be cheap by chance, at prices that say little.
    pub(super) fn forget(&mut self) {
        (self.best.overload, self.best.cost) = (f64::INFINITY, f64::INFINITY);
        self.best_value = f64::INFINITY;
    }

    /// Lets every region choose, sums up what that costs, and keeps it when nothing was better: of
    /// choices that cost the same the one that spreads more.
    pub(super) fn choose(&mut self, tau: f64) {
        self.loads.fill(0.0);
        self.aloof.fill(f64::INFINITY);
        self.ties.clear();
        self.unserved = 0.0;
        let (mut network, mut bound, mut smoothed, mut spread) = (0.0, 0.0, 0.0, 0.0);
        for (region, demand) in self.demand.iter().enumerate() {
            let range = self.problem.offers_of(region);
            let offers = &self.problem.offers[range.clone()];
            let shares = &mut self.shares[range];
            let Some((least, soft)) =
                soft_minimum(offers, &self.prices, &self.supplies, tau, shares)
            else {
                self.unserved += demand;
                continue;
            };
            bound += demand * least;
            smoothed += demand * soft;
            spread -= demand * soft;
            for (share, offer) in shares.iter().zip(offers) {
                let edge = offer.edge as usize;
                if *share > 0.0 {
                    network += demand * share * offer.cost;
                    spread += demand * share * (offer.cost + self.prices[edge]);
                    self.loads[edge] += demand * share;
                } else if let Some(aloof) = self.aloof.get_mut(edge) {
                    *aloof = aloof.min(offer.cost + self.prices[edge] - least);
                }
            }
            self.ties.push(
                *demand,
                offers.iter().map(|o| o.edge).zip(shares.iter().copied()),
            );
        }
        let (mut cost, mut overload) = (network, self.unserved);
        for ((supply, load), price) in self.supplies.iter().zip(&self.loads).zip(&self.prices) {
            let over = (load - supply.limit).max(0.0);
            let paid = (load.min(supply.limit) - supply.level).max(0.0);
            cost += supply.beyond * paid + self.deterrent * over;
            overload += over;
            bound += supply.worth(*price);
            smoothed -= supply.aim(self.ample).earned(*price, tau);
        }
        self.value = smoothed;
        self.best.bound = self.best.bound.max(bound);
        let (least, value) = (self.best.overload, cost - spread);
        if overload < least || (overload == least && value < self.best_value) {
            self.best_value = value;
            self.best.cost = cost;
            self.best.overload = overload;
            self.best.tau = tau;
            self.best.prices.clone_from(&self.prices);
        }
    }

    /// One step of Newton's, shortened until the smoothed dual does not fall.
    pub(super) fn climb(&mut self, tau: f64) -> Progress {
        let (before, value) = (self.prices.clone(), self.value);
        let way = self.way(tau);
        let mut part = 1.0;
        for _ in 0..SHORTENINGS {
            self.best.rounds += 1;
            for (edge, price) in self.prices.iter_mut().enumerate() {
                let moved = before[edge] + part * way[edge];
                *price = moved.clamp(0.0, self.supplies[edge].roof(self.deterrent));
            }
            self.choose(tau);
            if self.value >= value {
                return self.progress(value);
            }
            part *= SHORTER;
        }
        self.prices = before;
        self.choose(tau);
        self.settle(tau, value)
    }

    /// Where Newton's step leads.
    fn way(&self, tau: f64) -> Vec<f64> {
        let edges = 0..self.prices.len();
        let (mut pull, mut stiffness) = (Vec::new(), Vec::new());
        for edge in edges.clone() {
            let (load, price) = (self.loads[edge], self.prices[edge]);
            let (spare, slope) = self.supplies[edge].aim(self.ample).spare(price, tau);
            let at_roof = price >= self.supplies[edge].roof(self.deterrent) && load > spare;
            pull.push(if at_roof { 0.0 } else { load - spare });
            let resists = STIFFNESS * load + STIFFNESS_EMPTY * (spare - load).max(0.0);
            stiffness.push(slope + resists / tau);
        }
        let mut way = self.ties.solve(&pull, &stiffness, tau);
        for edge in edges {
            let (price, supply) = (self.prices[edge], &self.supplies[edge]);
            if self.loads[edge] == 0.0 {
                // Below there it has nothing to spare.
                let least = if supply.level > 0.0 {
                    0.0
                } else {
                    supply.beyond
                };
                way[edge] = (NEARLY * tau - self.aloof[edge]).max(least.min(price) - price);
            }
        }
        way
    }

    /// Moves each price to where its edge would be in balance if no region made up for it: a step
    /// too short, but one that never lowers the smoothed dual.
    fn settle(&mut self, tau: f64, value: f64) -> Progress {
        self.best.rounds += 1;
        for (edge, price) in self.prices.iter_mut().enumerate() {
            let (aim, load) = (self.supplies[edge].aim(self.ample), self.loads[edge]);
            let (mut low, mut high) = (*price - FURTHEST * tau, *price + FURTHEST * tau);
            for _ in 0..BISECTIONS {
                let middle = 0.5 * (low + high);
                let comes = load * libm::exp((*price - middle) / tau);
                if comes > aim.spare(middle.max(0.0), tau).0 {
                    low = middle;
                } else {
                    high = middle;
                }
            }
            *price = low.clamp(0.0, aim.roof(self.deterrent));
        }
        self.choose(tau);
        self.progress(value)
    }

    fn progress(&self, before: f64) -> Progress {
        if self.value > before + LEAST_GAIN * before.abs() {
            Progress::Part
        } else {
            Progress::None
        }
    }

    pub(super) fn finish(mut self) -> Split {
        let mut best = std::mem::take(&mut self.best);
        self.prices.clone_from(&best.prices);
        if best.cost.is_finite() {
            self.choose(best.tau);
        }
        // They may meet in exact arithmetic, and rounding must not let them cross.
        best.bound = best.bound.min(best.cost);
        best.shares = self.shares;
        best.loads = self.loads;
        best
    }
}

/// How regions with a choice tie their edges to one another.
#[derive(Default)]
struct Ties {
    /// Demand, and where its shares end.
    regions: Vec<(f64, u32)>,
    shares: Vec<(u32, f64)>,
}

impl Ties {
    fn clear(&mut self) {
        self.regions.clear();
        self.shares.clear();
    }

    fn push(&mut self, demand: f64, shares: impl Iterator<Item = (u32, f64)>) {
        let from = self.shares.len();
        self.shares
            .extend(shares.filter(|(_, share)| *share > UNTIED));
        if self.shares.len() > from + 1 && demand > 0.0 {
            self.regions.push((demand, self.shares.len() as u32));
        } else {
            self.shares.truncate(from);
        }
    }

    /// The way of prices that takes the pulls away, by conjugate gradients; none where none pulls.
    fn solve(&self, pull: &[f64], stiffness: &[f64], tau: f64) -> Vec<f64> {
        let free: Vec<bool> = pull.iter().map(|pull| *pull != 0.0).collect();
        let mut diagonal: Vec<f64> = stiffness.iter().map(|s| s.max(f64::MIN_POSITIVE)).collect();
        self.each(|demand, shares| {
            for (edge, share) in shares {
                diagonal[*edge as usize] += demand * share * (1.0 - share) / tau;
            }
        });
        let mut way = vec![0.0; pull.len()];
        let mut rest = pull.to_vec();
        let mut heading: Vec<f64> = rest.iter().zip(&diagonal).map(|(r, d)| r / d).collect();
        let mut left = product(&rest, &heading);
        let enough = left * ENOUGH;
        for _ in 0..CONJUGATES {
            if left <= enough || left <= 0.0 {
                break;
            }
            let bent = self.bend(&heading, stiffness, &free, tau);
            let length = left / product(&heading, &bent);
            if !length.is_finite() {
                break;
            }
            for edge in 0..way.len() {
                way[edge] += length * heading[edge];
                rest[edge] -= length * bent[edge];
            }
            let scaled: Vec<f64> = rest.iter().zip(&diagonal).map(|(r, d)| r / d).collect();
            let now = product(&rest, &scaled);
            for (heading, scaled) in heading.iter_mut().zip(&scaled) {
                *heading = scaled + now / left * *heading;
            }
            left = now;
        }
        way
    }

    /// The curvature times `heading`, of the free edges alone.
    fn bend(&self, heading: &[f64], stiffness: &[f64], free: &[bool], tau: f64) -> Vec<f64> {
        let mut bent: Vec<f64> = heading.iter().zip(stiffness).map(|(h, s)| h * s).collect();
        self.each(|demand, shares| {
            let mean: f64 = shares
                .iter()
                .map(|(edge, w)| w * heading[*edge as usize])
                .sum();
            for (edge, share) in shares {
                let apart = heading[*edge as usize] - mean;
                bent[*edge as usize] += demand * share * apart / tau;
            }
        });
        bent.iter_mut()
            .zip(free)
            .filter(|(_, free)| !**free)
            .for_each(|(bent, _)| *bent = 0.0);
        bent
    }

    fn each(&self, mut visit: impl FnMut(f64, &[(u32, f64)])) {
        let mut from = 0;
        for (demand, end) in &self.regions {
            visit(*demand, &self.shares[from..*end as usize]);
            from = *end as usize;
        }
    }
}

fn product(left: &[f64], right: &[f64]) -> f64 {
    left.iter()
        .zip(right)
        .map(|(left, right)| left * right)
        .sum()
}

impl Supply {
    /// With a level within the limit, and numbers of which sums are finite.
    fn clean(&self) -> Self {
        if !self.is_usable() {
            return Self {
                level: 0.0,
                beyond: 0.0,
                limit: 0.0,
                weight: 0.0,
            };
        }
        let sane = |room: f64| if room < LARGEST { room } else { f64::INFINITY };
        Self {
            level: sane(self.level.min(self.limit)),
            beyond: self.beyond.min(LARGEST.sqrt()),
            limit: sane(self.limit),
            ..*self
        }
    }

    /// What prices aim at: finite, and so that what they miss by stays within the room.
    fn aim(&self, ample: f64) -> Self {
        Self {
            level: (self.level * MARGIN).min(ample),
            limit: (self.limit * MARGIN).min(2.0 * ample),
            ..*self
        }
    }

    /// What it softly has to spare at a price, and how that grows with the price.
    fn spare(&self, price: f64, tau: f64) -> (f64, f64) {
        let below = libm::exp(-price / tau);
        let above = 1.0 / (1.0 + libm::exp((self.beyond - price) / tau));
        let room = self.limit - self.level;
        let spare = self.level * (1.0 - below) + room * above;
        let slope = self.level * below + room * above * (1.0 - above);
        (spare, slope / tau)
    }

    /// What is spare, summed over all prices up to this one.
    fn earned(&self, price: f64, tau: f64) -> f64 {
        let below = price - tau * (1.0 - libm::exp(-price / tau));
        let taus = (price - self.beyond) / tau;
        let above = tau * (taus.max(0.0) + libm::log1p(libm::exp(-taus.abs())));
        self.level * below + (self.limit - self.level) * above
    }

    /// The highest price that still says something.
    fn roof(&self, deterrent: f64) -> f64 {
        if self.level == f64::INFINITY {
            0.0
        } else if self.limit == f64::INFINITY {
            self.beyond
        } else {
            deterrent
        }
    }

    /// What the edge's room adds to the bound at a price: the least over all loads of what lies
    /// beyond the level costs, less what the price takes in.
    fn worth(&self, price: f64) -> f64 {
        if price <= 0.0 || self.level == f64::INFINITY {
            0.0
        } else if price <= self.beyond {
            -price * self.level
        } else {
            self.beyond * (self.limit - self.level) - price * self.limit
        }
    }
}

/// Overload costs this many times what the dearest edge and the mean offer do.
const DETERRENT: f64 = 100.0;
/// Room for so many times all demand is as good as without a limit.
const AMPLE: f64 = 100.0;
/// Demand that room is reckoned by where there is none: an edge that nobody wants is not full.
const LEAST_BPS: f64 = 1.0;
/// Part of an edge's room that prices aim at.
const MARGIN: f64 = 0.9999;
/// Of a load, so that a step stays finite where nothing else resists it.
const STIFFNESS: f64 = 1e-4;
/// Of what an edge lacks: the price of a nearly empty one falls by so many temperatures a step.
const STIFFNESS_EMPTY: f64 = 0.2;
/// Shares below this tie nothing.
const UNTIED: f64 = 1e-6;
/// Steps of conjugate gradients, and the part of the pull's square at which they end.
const CONJUGATES: u32 = 40;
const ENOUGH: f64 = 1e-3;
/// The price of an edge to which nothing comes falls to so many temperatures above one that some
/// region would take.
const NEARLY: f64 = 3.0;
/// Temperatures within which a settling price is sought, and how often that range is halved.
const FURTHEST: f64 = 8.0;
const BISECTIONS: u32 = 16;
/// What a step must raise the smoothed dual by, as a part of it, to be worth another.
const LEAST_GAIN: f64 = 1e-9;
/// How often a step is shortened, and to which part.
const SHORTENINGS: u32 = 6;
const SHORTER: f64 = 0.3;
