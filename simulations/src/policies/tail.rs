//! Sans-IO: B6: what few watch in a metro is served from one of the edges that the metro uses.
//!
//! Like AggCast it gathers the viewers of unpopular streams, so that fewer edges take these; the
//! others go where B1 sends them. A metro's edges get in sum what they got before.

use std::collections::BTreeMap;

use super::nearest::Spill;
use crate::relay::place::FEW;
use crate::relay::{Keep, Style};
use crate::run::{Known, Rule};
use crate::world::World;
use crate::world::audience::Audience;

/// B6.
#[derive(Clone, Debug)]
pub struct Together {
    spill: Spill,
    audience: Audience,
    /// By metro, the share of its traffic that is of streams few watch, and the slot it is of.
    tails: (Option<usize>, Vec<f64>),
}

impl Together {
    /// For a world, over the rule that decides for what many watch.
    pub fn new(world: &World, spill: Spill) -> Self {
        Self {
            spill,
            audience: Audience::new(world),
            tails: (None, Vec::new()),
        }
    }

    /// Looks which streams few watch, once an hour.
    fn look(&mut self, known: &Known<'_>) {
        let hour = known.slot * known.world.time.step_s as usize / HOUR_S;
        if self.tails.0 == Some(hour) {
            return;
        }
        let mut mbps = vec![0.0; known.world.metros.len()];
        for (region, demand) in known.world.regions.iter().zip(known.demand()) {
            mbps[region.metro] += f64::from(*demand);
        }
        let tail = |(metro, mbps): (usize, &f64)| {
            let streams = self.audience.of(metro).iter().zip(&known.world.streams);
            let few = streams.filter(|(a_mbps, _)| mbps * f64::from(**a_mbps) < FEW);
            let of = few.map(|(a_mbps, stream)| f64::from(*a_mbps) * stream.bitrate_kbps / 1000.0);
            of.sum::<f64>().min(1.0)
        };
        self.tails = (Some(hour), mbps.iter().enumerate().map(tail).collect());
    }
}

impl Rule for Together {
    fn name(&self) -> &str {
        "B6"
    }

    fn style(&self) -> Style {
        Style {
            keep: Keep::Tail,
            ..Style::default()
        }
    }

    fn split(&mut self, known: &Known<'_>, shares: &mut [f64]) {
        self.spill.split(known, shares);
        self.look(known);
        let (world, demand) = (known.world, known.demand());
        let mut sent: Vec<BTreeMap<u32, f64>> = vec![BTreeMap::new(); world.metros.len()];
        for (region, at) in world.regions.iter().enumerate() {
            for path in world.range(region).filter(|path| shares[*path] > 0.0) {
                let mbps = f64::from(demand[region]) * shares[path];
                *sent[at.metro].entry(world.paths[path].edge).or_default() += mbps;
            }
        }
        for (region, at) in world.regions.iter().enumerate() {
            let (tail, sent) = (self.tails.1[at.metro], &sent[at.metro]);
            let of = |path: usize| sent.get(&world.paths[path].edge).copied().unwrap_or(0.0);
            let all: f64 = world.range(region).map(of).sum();
            if all > 0.0 {
                for path in world.range(region) {
                    shares[path] += tail * (of(path) / all - shares[path]);
                }
            }
        }
    }
}

const HOUR_S: usize = 3600;
