//! Sans-IO: all that a plan looks at: who asks for how much from where, and who could carry it.
//!
//! Made by the planner from samples, forecasts, prices and bills, and by the simulator from a world.
//! Regions and edges are indices here; edges are those that may take viewers now.

use std::sync::Arc;

use cluster::node::NodeId;
use cluster::region::Region;

use super::billing::{Bill, Tariff};

/// One moment of a cluster, for planning.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    /// Calendar time, Unix seconds.
    pub at_s: i64,
    /// What regions ask for.
    pub demands: Vec<Demand>,
    /// Who can carry it.
    pub edges: Vec<Edge>,
}

/// What a region asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Demand {
    /// The region.
    pub region: Region,
    /// Bits per second now, those for whom there was no room included.
    pub now_bps: f64,
    /// How much more or less is expected, as factors of what is asked for now.
    pub outlook: Outlook,
    /// The ways to edges, nearest first; no edge that is not named can serve the region.
    pub paths: Vec<Path>,
}

/// What is expected of a demand at the plan's horizon, as factors of what it is now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outlook {
    /// As likely more as less.
    pub median: f64,
    /// Not passed in 90, 95 and 99 of 100 cases.
    pub quantiles: [f64; 3],
    /// The least quantile to plan with, 0 when nothing is unusual: higher while a crowd comes.
    pub risk: f64,
}

impl Outlook {
    /// It stays as it is.
    pub const STEADY: Self = Self {
        median: 1.0,
        quantiles: [1.0; 3],
        risk: 0.0,
    };

    /// What is expected where `now` is asked for, as factors of that.
    pub fn of(now: f64, median: f64, quantiles: [f64; 3]) -> Self {
        let factor = |value: f64| (value / now).clamp(1.0 / MOST_CHANGE, MOST_CHANGE);
        Self {
            median: factor(median),
            quantiles: quantiles.map(factor),
            risk: 0.0,
        }
    }

    /// The factor that is not passed in that share of cases: the next quantile that is known.
    pub fn quantile(&self, share: f64) -> f64 {
        match share.max(self.risk) {
            share if share <= 0.5 => self.median,
            share if share <= 0.9 => self.quantiles[0],
            share if share <= 0.95 => self.quantiles[1],
            _ => self.quantiles[2],
        }
    }
}

/// A forecast of more than tenfold is an announced show; its region is not known to be there yet.
const MOST_CHANGE: f64 = 10.0;

/// The way from a region to an edge.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Path {
    /// Index of the edge.
    pub edge: usize,
    /// Median round-trip time, measured or reckoned from the distance.
    pub rtt_ms: f32,
    /// Whether it was measured.
    pub measured: bool,
}

/// An edge.
#[derive(Clone, Debug, PartialEq)]
pub struct Edge {
    /// Its node.
    pub id: NodeId,
    /// ISO 3166 code of its country, where it names one.
    pub country: Option<String>,
    /// Bits per second that it can send; infinite without a limit.
    pub capacity_bps: f64,
    /// Its share among equals, in any unit common to all.
    pub weight: f64,
    /// The metropolis where it stands; empty for what stands in none that could fail.
    pub metro: String,
    /// Its contract.
    pub tariff: Tariff,
    /// Its running bill.
    pub bill: Arc<Bill>,
    /// The level that it is to be billed at in the end, in bits per second; 0 before that is known.
    pub goal_bps: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_known_quantile_is_planned_with_and_a_crowd_raises_it() {
        let usual = Outlook {
            median: 1.0,
            quantiles: [1.2, 1.3, 1.5],
            risk: 0.0,
        };
        let crowd = Outlook {
            risk: 0.99,
            ..usual
        };
        for (outlook, share, factor) in [
            (usual, 0.5, 1.0),
            (usual, 0.6, 1.2),
            (usual, 0.9, 1.2),
            (usual, 0.95, 1.3),
            (usual, 0.99, 1.5),
            (crowd, 0.5, 1.5),
        ] {
            assert_eq!(outlook.quantile(share), factor, "{share}");
        }
    }
}
