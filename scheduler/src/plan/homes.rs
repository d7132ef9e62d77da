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

/// How a stream with these viewers by region is kept together.
pub fn cold(policy: &Policy, viewers: &[(u32, f32)]) -> Cold {
    let all: f32 = viewers.iter().map(|(_, viewers)| viewers).sum();
    match policy.tail.cold_scope {
        Scope::Metro if all < policy.tail.cold_below as f32 => Cold::Metro,
        Scope::Region if all < policy.tail.cold_below as f32 => Cold::Zone,
        _ => Cold::Off,
    }
}
