//! Sans-IO: what streams are laid by: a plan's ways as offers of nodes, what weighs how much, and
//! how few viewers are kept together.
//!
//! The planner lays with it what nodes report ([`crate::planner`]), the simulator what a world's
//! regions watch. Laying itself is [`super::paths`]'.

use super::cost;
use super::paths::{Cold, Terms};
use super::split::Offer;
use super::trade::Planned;
use super::view::View;
use crate::policy::{Policies, Policy, Scope, Subject};
use crate::snapshot::LEAST_BITRATE_BPS;

/// How much cheaper an edge is that has the stream, in units of the edges' mean price: a relayed
/// copy costs its bit rate once, and a home that follows each wind is none.
pub const AT_HOME: f64 = 0.3;

/// What weighs how much under a policy, beside a plan that chooses that sharply.
pub fn terms(policy: &Policy, tau: f64) -> Terms {
    Terms {
        hops: policy.weights.hops,
        rtt_ms: policy.weights.rtt_ms,
        deadband: policy.motion.deadband,
        tau,
        ..Terms::default()
    }
}

/// The plan's ways as offers, by region; `edge_at` says which nodes the plan's edges are.
pub fn offers(
    view: &View,
    planned: &Planned,
    edge_at: &[Option<u32>],
    policies: &Policies,
) -> (Vec<u32>, Vec<Offer>) {
    let (mut starts, mut offers) = (vec![0], Vec::new());
    for (region, demand) in view.demands.iter().enumerate() {
        let subject = Subject {
            region: Some(demand.region),
            ..Subject::default()
        };
        let policy = &policies.of(&subject).policy;
        let nearest_ms = planned.nearest_ms(region);
        for way in planned.of(region) {
            if let Some(edge) = edge_at[way.edge as usize] {
                let quote = &planned.quotes[way.edge as usize];
                let price = policy.weights.cost * quote.money + quote.scarcity;
                let cost = cost::network(policy, way.rtt_ms.into(), nearest_ms) + price;
                offers.push(Offer { edge, cost });
            }
        }
        starts.push(offers.len() as u32);
    }
    (starts, offers)
}

/// Fewer viewers of a stream of that bit rate than this are no reason for a second edge: as few as
/// the policy says, and no more than an edge of that capacity hardly feels.
pub fn together(policy: &Policy, bitrate_bps: f64, capacity_bps: f64) -> f64 {
    let unfelt = HARDLY_FELT * capacity_bps / bitrate_bps.max(LEAST_BITRATE_BPS as f64);
    f64::from(policy.tail.consolidate_below_viewers).min(unfelt.max(1.0))
}

/// What an edge can send that is as large as most, of all edges' capacities.
pub fn usual_bps(capacities_bps: impl Iterator<Item = f64>) -> f64 {
    let mut all: Vec<f64> = capacities_bps.collect();
    all.sort_unstable_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::INFINITY)
}

/// The share of an edge that one group of viewers may be who come and go together: half of what
/// plans leave free.
const HARDLY_FELT: f64 = 0.04;

/// How a stream with these viewers by region is kept together.
pub fn cold(policy: &Policy, viewers: &[(u32, f32)]) -> Cold {
    let all: f32 = viewers.iter().map(|(_, viewers)| viewers).sum();
    match policy.tail.cold_scope {
        Scope::Metro if all < policy.tail.cold_below as f32 => Cold::Metro,
        Scope::Region if all < policy.tail.cold_below as f32 => Cold::Zone,
        _ => Cold::Off,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_few_stay_together_that_an_edge_hardly_feels_them() {
        let policy = Policy::default();
        for (bitrate_bps, capacity_bps, viewers) in [
            (2e6, 10e9, 40.0),
            (2e6, f64::INFINITY, 40.0),
            (2e6, 1e9, 20.0),
            (200e3, 10e6, 2.0),
            (8e6, 10e6, 1.0),
            (0.0, 10e6, 4.0),
        ] {
            let together = together(&policy, bitrate_bps, capacity_bps);
            assert_eq!(together, viewers, "{bitrate_bps} of {capacity_bps}");
        }
        assert_eq!(usual_bps([1.0, 9.0, 2.0].into_iter()), 2.0);
        assert_eq!(usual_bps(std::iter::empty()), f64::INFINITY);
    }
}
