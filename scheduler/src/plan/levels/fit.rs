//! Sans-IO: levels that last, found by playing past slots again.
//!
//! A convex program fills free slots with fractions, and splits fill whole ones. So the past is
//! split once more as plans do it, at the levels found, and each level goes halfway to what its edge
//! then exceeds in just the free part of the slots.

use super::{Edge, Knobs};
use crate::plan::split::{Burst, Problem, rehearse};

/// What past slots are played on.
pub struct Ground<'a> {
    /// Offers, limits and weights; demand is the past's.
    pub problem: Problem,
    /// How the edges stand.
    pub edges: &'a [Edge],
    /// By region, bits per second a slot, oldest first; all equally long.
    pub past: &'a [Vec<f32>],
    /// How free slots are used.
    pub knobs: &'a Knobs,
}

/// Moves the levels of edges that are billed by slots to where they last, `rounds` times.
pub fn fit(ground: &mut Ground<'_>, levels: &mut [f64], rounds: u32) {
    for (level, edge) in levels.iter_mut().zip(ground.edges) {
        *level = level.max(least(edge));
    }
    for _ in 0..rounds {
        let mut loads = ground.play(levels);
        for ((level, edge), loads) in levels.iter_mut().zip(ground.edges).zip(&mut loads) {
            let skipped = (edge.free * loads.len() as f64) as usize;
            if !edge.by_slot || skipped >= loads.len() {
                continue;
            }
            let (_, lasts, _) = loads.select_nth_unstable_by(skipped, |a, b| b.total_cmp(a));
            let lasts = (*lasts * (1.0 + MARGIN)).max(least(edge));
            *level = libm::sqrt(*level * lasts).clamp(least(edge), edge.limit.max(least(edge)));
        }
    }
}

impl Ground<'_> {
    /// What edges carry in past slots at these levels: by edge, a value a slot.
    fn play(&mut self, levels: &[f64]) -> Vec<Vec<f64>> {
        let slots = self.past.iter().map(Vec::len).min().unwrap_or(0);
        let most = (MOST_WORK / self.problem.offers.len().max(1)).max(LEAST_SLOTS);
        let played: Vec<usize> = (0..slots).step_by(slots.div_ceil(most).max(1)).collect();
        let burst = |edge: &Edge| {
            if edge.by_slot {
                Burst::Shut
            } else {
                Burst::Never
            }
        };
        let mut bursts: Vec<Burst> = self.edges.iter().map(burst).collect();
        let mut loads = vec![Vec::with_capacity(played.len()); levels.len()];
        let mut used = vec![0.0; levels.len()];
        let mut prices: Option<Vec<f64>> = None;
        for (nth, slot) in played.iter().enumerate() {
            let past = self.past.iter().map(|by| f64::from(by[*slot]));
            self.problem.demand = past.collect();
            for (at, supply) in self.problem.supplies.iter_mut().enumerate() {
                let edge = &self.edges[at];
                if edge.by_slot {
                    supply.level = (levels[at] / (1.0 + MARGIN)).min(supply.limit);
                    supply.beyond = self.knobs.beyond(edge, used[at], (nth, played.len()));
                }
            }
            let (found, carried) = rehearse(&self.problem, &mut bursts, prices.as_deref());
            for (at, load) in carried.into_iter().enumerate() {
                used[at] += f64::from(u8::from(bursts[at] == Burst::Open));
                loads[at].push(load);
            }
            prices = Some(found);
        }
        loads
    }
}

impl Knobs {
    /// The price beyond a level after so many of the slots that are played.
    fn beyond(&self, edge: &Edge, used: f64, (nth, slots): (usize, usize)) -> f64 {
        let budget = edge.free * slots as f64;
        if used > budget {
            return edge.price * self.cliff;
        }
        let early = EARLY * slots as f64;
        let pace = (used + early) / (edge.free * (nth + 1) as f64 + early);
        edge.price * self.turned(pace)
    }
}

/// The lowest level worth a thought: an edge is hardly ever without a viewer.
fn least(edge: &Edge) -> f64 {
    let worth = if edge.limit.is_finite() {
        LEAST * edge.limit
    } else {
        0.0
    };
    worth.max(edge.paid)
}

/// By how much what comes differs from what was planned: by as much levels are not filled.
const MARGIN: f64 = 0.03;
/// Part of an edge's limit.
const LEAST: f64 = 0.002;
/// Offers times slots of one play, a second or so of work, and slots of a play at least.
const MOST_WORK: usize = 2_000_000;
const LEAST_SLOTS: usize = 144;
/// The part of the slots played whose use says little of the pace.
const EARLY: f64 = 0.00125;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::split::{Offer, Supply};

    /// One region and three equal edges; of a day's demand an eighth is its evening.
    fn played(free: f64, start: f64) -> Vec<f64> {
        let edge = Edge {
            price: 1.0,
            paid: 0.0,
            limit: 100.0,
            free,
            by_slot: true,
        };
        let supply = Supply {
            level: 0.0,
            beyond: 1.0,
            limit: 100.0,
            weight: 1.0,
        };
        let mut ground = Ground {
            problem: Problem {
                demand: Vec::new(),
                starts: vec![0, 3],
                offers: (0..3).map(|edge| Offer { edge, cost: 0.1 }).collect(),
                supplies: vec![supply; 3],
            },
            edges: &[edge; 3],
            past: &[(0..2 * 288)
                .map(|slot| if slot % 8 == 0 { 90.0 } else { 30.0 })
                .collect()],
            knobs: &Knobs::default(),
        };
        let mut levels = vec![start; 3];
        fit(&mut ground, &mut levels, 8);
        levels
    }

    #[test]
    fn levels_that_are_too_low_rise_and_free_slots_hold_them_down() {
        let sum = |free| played(free, 1.0).iter().sum::<f64>();
        let (some, none) = (sum(0.05), sum(0.0));
        assert!((30.0..75.0).contains(&some), "{some}");
        assert!((85.0..110.0).contains(&none), "{none}");
    }

    #[test]
    fn what_is_billed_otherwise_and_what_is_unknown_stay() {
        let edge = Edge {
            price: 1.0,
            paid: 20.0,
            limit: f64::INFINITY,
            free: 0.0,
            by_slot: false,
        };
        let knobs = Knobs::default();
        let mut ground = Ground {
            problem: Problem::default(),
            edges: &[
                edge,
                Edge {
                    by_slot: true,
                    ..edge
                },
            ],
            past: &[],
            knobs: &knobs,
        };
        let mut levels = vec![70.0, 10.0];
        fit(&mut ground, &mut levels, 2);
        assert_eq!(levels, [70.0, 20.0]);
    }
}
