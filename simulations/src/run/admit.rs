//! Sans-IO: the edge's last word: one that is full sends newcomers on to the region's next edges.
//!
//! Only who came in this slot can be sent on; an edge that grows full by its running viewers alone
//! stays overloaded.

use super::Flow;
use crate::world::World;

/// The paths that lead to each edge.
pub(super) struct Doors {
    by_edge: Vec<Vec<usize>>,
    region: Vec<usize>,
}

impl Doors {
    pub(super) fn new(world: &World) -> Self {
        let mut by_edge = vec![Vec::new(); world.edges.len()];
        for (at, path) in world.paths.iter().enumerate() {
            by_edge[path.edge as usize].push(at);
        }
        let regions = 0..world.regions.len();
        let region = regions.flat_map(|region| world.range(region).map(move |_| region));
        Self {
            by_edge,
            region: region.collect(),
        }
    }

    /// Sends on what is beyond that share of an edge's capacity: to the edges where the region's
    /// viewers were to go, then to the nearest, where there is room.
    pub(super) fn send_on(
        &self,
        world: &World,
        (target, may, full_at): (&[f64], &[bool], f64),
        flow: &mut Flow,
    ) {
        let mut loads = vec![0.0; world.edges.len()];
        for (path, mbps) in world.paths.iter().zip(&flow.mbps) {
            loads[path.edge as usize] += mbps;
        }
        let limit = |edge: usize| full_at * world.edges[edge].capacity_mbps;
        for edge in 0..loads.len() {
            let over = loads[edge] - limit(edge);
            if over <= 0.0 {
                continue;
            }
            let new: f64 = self.by_edge[edge].iter().map(|at| flow.new[*at]).sum();
            if new <= 0.0 {
                continue;
            }
            let part = (over / new).min(1.0);
            for &from in &self.by_edge[edge] {
                let mut left = part * flow.new[from];
                if left <= 0.0 {
                    continue;
                }
                for to in self.next(world, self.region[from], target) {
                    let other = world.paths[to].edge as usize;
                    let room = limit(other) - loads[other];
                    if left <= 0.0 {
                        break;
                    }
                    if to == from || !may[to] || room <= 0.0 {
                        continue;
                    }
                    let sent = left.min(room);
                    left -= sent;
                    for (at, edge, mbps) in [(from, edge, -sent), (to, other, sent)] {
                        flow.mbps[at] += mbps;
                        flow.new[at] += mbps;
                        loads[edge] += mbps;
                    }
                }
            }
        }
    }

    /// A region's paths: those it uses, most used first, then the nearest.
    fn next(&self, world: &World, region: usize, target: &[f64]) -> Vec<usize> {
        let mut next: Vec<usize> = world.range(region).collect();
        next.sort_by(|a, b| target[*b].total_cmp(&target[*a]));
        next
    }
}
