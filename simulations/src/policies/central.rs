//! Sans-IO: B4: a central program that sees all, and pays by the bit.
//!
//! Like VDN it is solved anew each slot from the last telemetry, with prices of bits and a small
//! cost of time, under capacities; it knows no percentile, no forecast and no memory. The solver is
//! [`scheduler::plan::split`].

use scheduler::plan::billing::Tariff;
use scheduler::plan::split::{Offer, Problem, Supply, split};

use super::within;
use crate::run::{Known, Rule};
use crate::world::World;

/// B4.
#[derive(Clone, Debug)]
pub struct Central {
    problem: Problem,
    /// By offer, its path.
    paths: Vec<usize>,
    prices: Option<Vec<f64>>,
}

impl Central {
    /// For a world.
    pub fn new(world: &World, tariffs: &[Tariff], slack_ms: f64) -> Self {
        let usd: f64 = tariffs.iter().map(Tariff::marginal_usd).sum();
        let unit = (usd / tariffs.len().max(1) as f64).max(1e-9);
        let mut problem = Problem {
            starts: vec![0],
            ..Problem::default()
        };
        let mut paths = Vec::new();
        for region in 0..world.regions.len() {
            for at in within(world, region, slack_ms) {
                let path = &world.paths[at];
                let price = tariffs[path.edge as usize].marginal_usd() / unit;
                problem.offers.push(Offer {
                    edge: path.edge,
                    cost: price + COST_MS * path.rtt_ms,
                });
                paths.push(at);
            }
            problem.starts.push(problem.offers.len() as u32);
        }
        Self {
            problem,
            paths,
            prices: None,
        }
    }
}

impl Rule for Central {
    fn name(&self) -> &str {
        "B4"
    }

    fn split(&mut self, known: &Known<'_>, shares: &mut [f64]) {
        let supply = |(edge, up): (&crate::world::Edge, &bool)| {
            let limit = f64::from(u8::from(*up)) * FULL * edge.capacity_mbps;
            Supply {
                level: limit,
                beyond: 0.0,
                limit,
                weight: edge.capacity_mbps,
            }
        };
        let edges = known.world.edges.iter().zip(known.up);
        self.problem.supplies = edges.map(supply).collect();
        self.problem.demand = known.demand().iter().map(|it| f64::from(*it)).collect();
        let found = split(&self.problem, self.prices.as_deref());
        for (at, share) in self.paths.iter().zip(&found.shares) {
            shares[*at] = *share;
        }
        self.prices = Some(found.prices);
    }
}

/// What a millisecond is worth, in units of the mean price: a tenth of it for ten.
const COST_MS: f64 = 0.01;
/// Part of the capacity that is planned with.
const FULL: f64 = 0.85;
