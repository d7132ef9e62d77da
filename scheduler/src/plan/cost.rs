//! Sans-IO: what the way from a viewer to an edge costs, the same in plans and in decisions.

use crate::policy::Policy;

/// The cost of a round-trip time, in units of the edges' mean price: a little up to the target,
/// so that of equal edges the nearer one is taken, the full weight above it, and steep above what
/// the operator promised. Who is hardly farther than the region's nearest edge is as near: what
/// no viewer notices is no reason to fill one edge and leave the one beside it empty.
pub fn network(policy: &Policy, rtt_ms: f64, nearest_ms: f64) -> f64 {
    let (weight, rtt) = (policy.weights.rtt_ms, &policy.rtt);
    let rtt_ms = rtt_ms.max(nearest_ms + HARDLY_MS);
    let near = NEAR * rtt_ms.min(rtt.target_ms);
    let far = (rtt_ms - rtt.target_ms).max(0.0);
    let late = STEEP * (rtt_ms - rtt.slo_ms).max(0.0);
    weight * (near + far + late)
}

/// What a running edge costs more when it is nearly full: nothing up to the share that is planned
/// with, the whole weight of risk where it takes no one any more.
pub fn crowding(policy: &Policy, load: f64) -> f64 {
    let to = full_at(policy);
    let from = policy.headroom.util_max.min(to - LAST);
    policy.weights.risk * ((load - from) / (to - from)).clamp(0.0, 1.0)
}

/// The share of its capacity at which an edge is sent no new viewers: half of what the plan leaves
/// free is for those who are on their way, more for who weighs little and less for who weighs much.
pub fn full_at(policy: &Policy) -> f64 {
    let left = (1.0 - policy.headroom.util_max) / 2.0;
    (1.0 - left / policy.caps.weight).max(LEAST_FULL)
}

/// Whoever weighs least may still fill half of an edge.
const LEAST_FULL: f64 = 0.5;

/// The share of an edge over which its last room grows dear, at least.
const LAST: f64 = 0.01;

/// The round-trip time between a viewer and an edge that a distance suggests.
pub fn prior_rtt_ms(distance_km: f32) -> f32 {
    ACCESS_MS + between_nodes_ms(distance_km)
}

/// The same between two nodes. Of 992 measured pairs of cloud regions the median took 0.018 ms per
/// kilometre, the nearer ones 0.026.
pub fn between_nodes_ms(distance_km: f32) -> f32 {
    RTT_BASE_MS + RTT_MS_PER_KM * distance_km
}

/// A round-trip time with what is lost on the way, a share of all packets: what is lost comes a
/// round trip later, so that a path that loses one in twenty counts twice as long.
pub fn lossy_ms(rtt_ms: f32, loss: f32) -> f32 {
    rtt_ms * (1.0 + LOSS_WEIGHT * loss.clamp(0.0, MOST_LOSS))
}

const LOSS_WEIGHT: f32 = 20.0;

/// Beyond it nothing plays, however near it is: such a path counts five times as long.
const MOST_LOSS: f32 = 0.2;

/// What a viewer's access network takes.
const ACCESS_MS: f32 = 3.0;
const RTT_BASE_MS: f32 = 1.0;
const RTT_MS_PER_KM: f32 = 0.02;

/// Edges of one site differ by less, and so do two measurements of one of them.
const HARDLY_MS: f64 = 2.0;

/// Of the weight of a millisecond below the target: with the default weights 25 ms are worth a
/// fifth of the mean price.
const NEAR: f64 = 0.4;

/// Above the promised time a millisecond counts five times more.
const STEEP: f64 = 5.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_longer_way_always_costs_more_and_far_ways_much_more() {
        let policy = Policy::default();
        let costs: Vec<f64> = (3..300)
            .map(|rtt| network(&policy, f64::from(rtt), 1.0))
            .collect();
        assert_eq!(network(&policy, 1.0, 1.0), costs[0]);
        assert!(costs.windows(2).all(|pair| pair[0] < pair[1]));
        let slope = |at: usize| costs[at + 1] - costs[at];
        assert!(slope(60) > 2.0 * slope(10) && slope(200) > 5.0 * slope(60));
    }

    #[test]
    fn a_way_that_loses_packets_counts_as_longer_but_not_without_end() {
        for (loss, expected) in [
            (0.0, 10.0),
            (0.01, 12.0),
            (0.05, 20.0),
            (0.9, 50.0),
            (-1.0, 10.0),
        ] {
            assert!((lossy_ms(10.0, loss) - expected).abs() < 1e-4, "{loss}");
        }
    }

    #[test]
    fn the_last_room_is_for_who_weighs_more() {
        let full_at = |weight| {
            let mut policy = Policy::default();
            policy.caps.weight = weight;
            (full_at(&policy) * 1000.0).round()
        };
        assert_eq!(
            [0.01, 0.5, 1.0, 4.0].map(full_at),
            [500.0, 920.0, 960.0, 990.0]
        );
    }

    #[test]
    fn the_last_room_of_an_edge_is_dear() {
        let policy = Policy::default();
        assert_eq!(crowding(&policy, 0.9), 0.0);
        assert_eq!(crowding(&policy, full_at(&policy)), policy.weights.risk);
        assert_eq!(crowding(&policy, 3.0), policy.weights.risk);
    }
}
