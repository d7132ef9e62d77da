//! Sans-IO: what a run comes to: loads by edge and slot, times by path, and sums by day.

use super::{Flow, Known};
use crate::relay::Relayed;
use crate::world::World;

/// What a rule led to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ran {
    /// The rule's name.
    pub rule: String,
    /// By edge and billed slot, Mbit/s; also above capacity.
    pub loads: Vec<Vec<f64>>,
    /// By path, Mbit/s summed over slots.
    pub by_path: Vec<f64>,
    /// By billed day.
    pub days: Vec<Day>,
    /// Slots that are one sample of a bill.
    pub slots_a_bill: usize,
    /// Paths that the rule may not use.
    pub barred: usize,
    /// What nodes took from nodes; of no day in a world without streams.
    pub relayed: Relayed,
}

/// Sums over a day's slots.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Day {
    /// Slots of it.
    pub slots: usize,
    /// Mbit/s summed over slots, of what edges were sent.
    pub mbps: f64,
    /// The same of what lies above edges' capacity.
    pub above: f64,
    /// Slots in which an edge was above its capacity, of all edges.
    pub overloaded: usize,
    /// Mbit/s summed over slots, of viewers that were moved while their edge lived.
    pub moved: f64,
    /// The same of those for whom no edge was alive.
    pub lost: f64,
    /// Milliseconds above the nearest edge times Mbit/s, summed over slots.
    pub extra: f64,
}

/// A run while it goes on.
pub(super) struct Tally {
    ran: Ran,
    first: usize,
    day: usize,
    loads: Vec<f64>,
}

impl Tally {
    pub(super) fn new(world: &World) -> Self {
        let slots = world.time.billed().len();
        Self {
            ran: Ran {
                loads: vec![Vec::with_capacity(slots); world.edges.len()],
                by_path: vec![0.0; world.paths.len()],
                days: vec![Day::default(); world.time.days()],
                slots_a_bill: world.time.slots_a_bill(),
                ..Ran::default()
            },
            first: world.time.billed_from,
            day: world.time.day(),
            loads: vec![0.0; world.edges.len()],
        }
    }

    pub(super) fn enter(&mut self, known: &Known<'_>, flow: &Flow) {
        let world = known.world;
        let day = &mut self.ran.days[(known.slot - self.first) / self.day];
        self.loads.fill(0.0);
        for region in 0..world.regions.len() {
            let range = world.range(region);
            let near = world.paths[range.start..].first();
            let near = near.map_or(0.0, |path| path.rtt_ms);
            for at in range {
                let (path, mbps) = (&world.paths[at], flow.mbps[at]);
                if mbps > 0.0 {
                    self.loads[path.edge as usize] += mbps;
                    self.ran.by_path[at] += mbps;
                    day.extra += mbps * (path.rtt_ms - near);
                }
            }
        }
        for (edge, load) in self.loads.iter().enumerate() {
            let above = load - world.edges[edge].capacity_mbps;
            if above > NOTHING_MBPS {
                day.overloaded += 1;
                day.above += above;
            }
            day.mbps += load;
            self.ran.loads[edge].push(*load);
        }
        day.slots += 1;
        day.moved += flow.moved;
        day.lost += flow.lost;
    }

    /// The loads of the slot entered last.
    pub(super) fn loads(&self) -> &[f64] {
        &self.loads
    }

    pub(super) fn finish(self, rule: &str, barred: usize) -> Ran {
        Ran {
            rule: rule.to_owned(),
            barred,
            ..self.ran
        }
    }
}

impl Ran {
    /// Mbit/s summed over slots and edges.
    pub fn volume(&self) -> f64 {
        self.days.iter().map(|day| day.mbps).sum()
    }

    /// The smallest round-trip time up to which that share of the traffic goes.
    pub fn rtt_ms(&self, world: &World, share: f64) -> f64 {
        let mut by_time: Vec<(f64, f64)> = (world.paths.iter().map(|path| path.rtt_ms))
            .zip(self.by_path.iter().copied())
            .collect();
        by_time.sort_by(|a, b| a.0.total_cmp(&b.0));
        let total: f64 = by_time.iter().map(|(_, mbps)| mbps).sum();
        let mut sum = 0.0;
        let reached = by_time.iter().find(|(_, mbps)| {
            sum += mbps;
            sum >= share * total
        });
        reached.map_or(0.0, |(rtt_ms, _)| *rtt_ms)
    }

    /// The mean round-trip time.
    pub fn mean_rtt_ms(&self, world: &World) -> f64 {
        let timed = world.paths.iter().zip(&self.by_path);
        let sum: f64 = timed.map(|(path, mbps)| path.rtt_ms * mbps).sum();
        sum / self.by_path.iter().sum::<f64>().max(NOTHING_MBPS)
    }

    /// Minutes in which edges were above their capacity, summed over edges.
    pub fn overload_min(&self, world: &World) -> f64 {
        let slots: usize = self.days.iter().map(|day| day.overloaded).sum();
        slots as f64 * f64::from(world.time.step_s) / 60.0
    }

    /// What lay above capacity, as a share of all traffic.
    pub fn above(&self) -> f64 {
        let above: f64 = self.days.iter().map(|day| day.above).sum();
        above / self.volume().max(NOTHING_MBPS)
    }

    /// The samples of an edge as bills take them, bits per second: means of five minutes where
    /// slots are shorter.
    pub fn samples(&self, edge: usize) -> Vec<f32> {
        let mean = |slots: &[f64]| slots.iter().sum::<f64>() / slots.len() as f64;
        let slots = self.loads[edge].chunks(self.slots_a_bill.max(1));
        slots.map(|slots| (mean(slots) * 1e6) as f32).collect()
    }
}

/// Traffic that is none: a rounding error.
const NOTHING_MBPS: f64 = 1e-6;
