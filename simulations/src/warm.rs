//! Sans-IO: what a forecast adds where edges are started and stopped: the production rule of how
//! many there should be ([`scheduler::scale`]), slot by slot in a world's metros.
//!
//! Each metro's regions are carried by small nodes, ten of which carry what its edges can. A node
//! that is ordered serves after [`scheduler::scale::Config::lead`] and is paid from its order on;
//! one that is given up is gone at once.

use scheduler::plan::view::Outlook;
use scheduler::policy::{NPlusOne, Policy};
use scheduler::scale::{Config, Need, Room, Scaler, Terms, Zone};
use serde::{Deserialize, Serialize};

use crate::forecast::{Told, ahead};
use crate::world::World;

/// What starting and stopping comes to, over the billed slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Warmth {
    /// Nodes paid for, in the mean, of all metros together.
    pub nodes: f64,
    /// Minutes in which a metro's nodes could not carry what was asked for, of all metros.
    pub short_min: f64,
    /// What they could not carry, as a share of all that was asked for.
    pub short: f64,
}

/// Of a world, with what is told of its demand.
pub fn warmth(world: &World, policy: &Policy, told: Told) -> Warmth {
    let config = Config::default();
    let expected: Vec<Vec<Vec<Outlook>>> = (0..world.regions.len())
        .map(|region| ahead(world, region, told, &aheads(world)))
        .collect();
    let mut sum = Warmth::default();
    let mut asked = 0.0;
    for metro in 0..world.metros.len() {
        let room = room(world, metro);
        let mine = |region: &usize| world.regions[*region].metro == metro;
        let regions: Vec<usize> = (0..world.regions.len()).filter(mine).collect();
        if room <= 0.0 || regions.is_empty() {
            continue;
        }
        let orders = orders(world, (metro, &regions, room), (policy, &config), &expected);
        let lead = config
            .lead
            .get()
            .as_secs()
            .div_ceil(world.time.step_s.into()) as usize;
        for (nth, slot) in world.time.billed().enumerate() {
            let since = nth.saturating_sub(lead);
            let ready = orders[since..=nth].iter().copied().min().unwrap_or(0);
            let mbps = now(world, &regions, slot);
            let short = (mbps - f64::from(ready) * room).max(0.0);
            asked += mbps;
            sum.short += short;
            sum.short_min += f64::from(u8::from(short > 0.0)) * f64::from(world.time.step_s) / 60.0;
            sum.nodes += f64::from(orders[nth]);
        }
    }
    sum.nodes /= world.time.billed().len().max(1) as f64;
    sum.short /= if asked > 0.0 { asked } else { 1.0 };
    sum
}

/// By billed slot, the nodes that a metro is to have.
fn orders(
    world: &World,
    (metro, regions, room): (usize, &[usize], f64),
    (policy, config): (&Policy, &Config),
    expected: &[Vec<Vec<Outlook>>],
) -> Vec<u32> {
    let mut scaler = Scaler::default();
    let terms = Terms {
        viewer_bps: 1e6,
        util_max: policy.headroom.util_max,
        spare: u32::from(policy.headroom.n_plus_one == NPlusOne::Metro),
    };
    let mut nodes = 0;
    let mut orders = Vec::with_capacity(world.time.billed().len());
    for (nth, slot) in world.time.billed().enumerate() {
        let last = slot.saturating_sub(1);
        let then = |lane: usize| -> f64 {
            let of = |region: &usize| {
                let factor = expected[*region][nth][lane].quantile(policy.headroom.quantile);
                factor * f64::from(world.demand(last)[*region])
            };
            regions.iter().map(of).sum()
        };
        let at = |(lane, ahead): (usize, &usize)| Need {
            in_s: *ahead as u32 * world.time.step_s,
            viewers: then(lane),
        };
        let present = Need {
            in_s: 0,
            viewers: now(world, regions, last),
        };
        let later = aheads(world);
        let zone = Zone {
            name: world.metros[metro].name.clone(),
            nodes,
            room: Room {
                viewers: 0.0,
                egress_bps: room * 1e6,
            },
            needs: [present]
                .into_iter()
                .chain(later.iter().enumerate().map(at))
                .collect(),
        };
        let now_ms = world.time.second(slot).unsigned_abs() * 1000;
        let wish = scaler.wishes(now_ms, &[zone], &terms, config);
        nodes = wish.first().map_or(0, |wish| wish.desired);
        orders.push(nodes);
    }
    orders
}

/// Mbit/s that a node of a metro can send: a part of what all of its edges can.
fn room(world: &World, metro: usize) -> f64 {
    let edges = world.edges.iter().filter(|edge| edge.metro == metro);
    edges.map(|edge| edge.capacity_mbps).sum::<f64>() / NODES
}

fn now(world: &World, regions: &[usize], slot: usize) -> f64 {
    let demand = world.demand(slot);
    regions
        .iter()
        .map(|region| f64::from(demand[*region]))
        .sum()
}

/// The horizons of production that are whole slots: 5, 15 and 60 minutes.
fn aheads(world: &World) -> Vec<usize> {
    let step_s = world.time.step_s;
    let slots = |horizon_s: u32| (horizon_s / step_s).max(1) as usize;
    [300, 900, 3_600].map(slots).to_vec()
}

/// As many carry what a metro's edges can: fine enough to follow a day.
const NODES: f64 = 10.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::fixture;

    #[test]
    fn who_knows_what_comes_starts_nodes_in_time() {
        let world = fixture::announced(3);
        let of = |told| warmth(&world, &Policy::default(), told);
        let (perfect, ours, nothing) = (of(Told::Perfect), of(Told::Ours), of(Told::Nothing));
        assert_eq!(perfect.short_min, 0.0, "{perfect:?}");
        assert!(ours.short_min <= nothing.short_min, "{ours:?} {nothing:?}");
        assert!(nothing.short > 0.0 && nothing.nodes > 1.0, "{nothing:?}");
        assert!(of(Told::Unannounced).short >= ours.short);
    }
}
