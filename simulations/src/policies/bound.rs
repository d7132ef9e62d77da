//! Sans-IO: O2: what no policy that keeps to the slack can fall below.
//!
//! A relaxation, in four ways: demand is known, billed levels are chosen in hindsight, free slots
//! may be cut into fractions, and hours are averaged (which can only make it cheaper). Capacities
//! and the slack hold. Its value is that of a dual solution: any prices make a bound, and good ones
//! are found by [`scheduler::plan::levels`]. No policy reaches it, and none needs to.

use scheduler::plan::billing::{BillingModel, Tariff};
use scheduler::plan::levels::{Edge, Knobs, Scenario, levels};
use scheduler::plan::split::Offer;

use super::within;
use crate::world::World;

/// USD for the billed slots that no policy can fall below; None unless all edges are billed by a
/// 95th percentile.
pub fn usd(world: &World, tariffs: &[Tariff], slack_ms: f64) -> Option<f64> {
    if tariffs
        .iter()
        .any(|it| it.model != BillingModel::P95 || it.overage < 1.0)
    {
        return None;
    }
    let (mut starts, mut offers) = (vec![0_u32], Vec::new());
    for region in 0..world.regions.len() {
        let offer = |at: usize| Offer {
            edge: world.paths[at].edge,
            cost: 0.0,
        };
        offers.extend(within(world, region, slack_ms).into_iter().map(offer));
        starts.push(offers.len() as u32);
    }
    let scenarios = averaged(world);
    let usd: f64 = tariffs.iter().map(|it| it.usd_per_mbps_month).sum();
    let unit = (usd / tariffs.len().max(1) as f64).max(1e-9);
    let slots = world.time.billed().len();
    let free = (slots / FREE_ONE_IN) as f64 / slots.max(1) as f64;
    let edge = |(edge, tariff): (&crate::world::Edge, &Tariff)| Edge {
        price: tariff.usd_per_mbps_month / unit,
        paid: tariff.commit_mbps.min(edge.capacity_mbps),
        limit: edge.capacity_mbps,
        free,
        by_slot: true,
    };
    let edges: Vec<Edge> = world.edges.iter().zip(tariffs).map(edge).collect();
    let knobs = Knobs {
        burst_credit: 1.0,
        rounds: ROUNDS,
        ..Knobs::default()
    };
    let found = levels(&scenarios, (&starts, &offers), &edges, &knobs, None);
    let port: f64 = tariffs.iter().map(|it| it.port_usd).sum();
    let prices = (&*found.prices, &*found.beyond);
    Some(unit * value(&scenarios, (&starts, &offers), &edges, prices) + port)
}

/// The dual's value at these prices, which no solution falls below.
fn value(
    scenarios: &[Scenario],
    (starts, offers): (&[u32], &[Offer]),
    edges: &[Edge],
    (prices, beyond): (&[Vec<f64>], &[f64]),
) -> f64 {
    let mut bound = 0.0;
    let mut paid = vec![0.0; edges.len()];
    for (scenario, prices) in scenarios.iter().zip(prices) {
        // Beyond its level an edge costs at most `beyond`; a higher price would be that of its
        // capacity, which is left out.
        let price = |edge: usize| prices[edge].clamp(0.0, beyond[edge]);
        for (edge, paid) in paid.iter_mut().enumerate() {
            *paid += scenario.weight * price(edge);
        }
        for (demand, ends) in scenario.demand.iter().zip(starts.windows(2)) {
            let offers = &offers[ends[0] as usize..ends[1] as usize];
            let least = offers.iter().map(|offer| price(offer.edge as usize));
            let least = least.fold(f64::INFINITY, f64::min);
            if least.is_finite() {
                bound += scenario.weight * demand * least;
            }
        }
    }
    for ((edge, paid), beyond) in edges.iter().zip(paid).zip(beyond) {
        // A level between what is committed and the capacity, and bursts from it in the free slots.
        let burst = edge.free * beyond;
        let slope = edge.price - paid + burst;
        bound -= burst * edge.limit;
        bound += slope * if slope > 0.0 { edge.paid } else { edge.limit };
    }
    bound
}

/// Demand of the billed slots, two hours averaged.
fn averaged(world: &World) -> Vec<Scenario> {
    let regions = world.regions.len();
    let billed = world.time.billed();
    let together = (world.time.day() / PARTS_OF_DAY).max(1);
    let all = billed.len().max(1) as f64;
    let first: Vec<usize> = billed.clone().step_by(together).collect();
    let scenario = |first: usize| {
        let slots = first..(first + together).min(billed.end);
        let mut demand = vec![0.0; regions];
        for slot in slots.clone() {
            for (sum, mbps) in demand.iter_mut().zip(world.demand(slot)) {
                *sum += f64::from(*mbps);
            }
        }
        let count = slots.len() as f64;
        demand.iter_mut().for_each(|sum| *sum /= count);
        Scenario {
            weight: count / all,
            demand,
        }
    };
    first.into_iter().map(scenario).collect()
}

const PARTS_OF_DAY: usize = 12;
/// Of a period's slots one in so many is free.
const FREE_ONE_IN: usize = 20;

/// How often the bound is raised: by as much as it is worth.
const ROUNDS: u32 = 400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_of_a_world_on_paper_is_below_what_is_best_and_not_far() {
        let (mut world, tariffs) = crate::world::fixture::pencil();
        // All can go to b, up to the capacity of 200, and b has paid for 70.
        let best = 150.0;
        let bound = usd(&world, &tariffs, 25.0).unwrap();
        assert!(bound <= best && bound > 0.7 * best, "{bound}");
        // Without room at b the rest has to go to a at twice the price.
        world.edges[1].capacity_mbps = 100.0;
        let tight = usd(&world, &tariffs, 25.0).unwrap();
        assert!(tight <= 100.0 + 2.0 * 50.0 && tight > bound, "{tight}");
        let volume = Tariff {
            model: BillingModel::Volume,
            ..tariffs[0]
        };
        assert_eq!(usd(&world, &[volume, volume], 25.0), None);
    }
}
