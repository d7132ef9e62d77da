//! Sans-IO: what edges take from other nodes so that their viewers have it: relay bytes.
//!
//! An edge takes a stream once, however many watch it there. Of a stream with `v` expected viewers
//! at an edge somebody is there with the chance `1 - exp(-v)`; the sum of that over streams, each
//! times its bit rate, is what the edge takes in. How viewers of a stream are spread over edges
//! differs by rule ([`place`]), and so does from whom edges take it ([`tree`]). Both are looked at
//! in one slot of every [`EVERY_S`], since streams change much more slowly than they are counted;
//! the planner's are laid by the scheduler's own [`scheduler::plan::paths`].

pub mod place;
pub mod tree;

use scheduler::plan::paths::{Paths, Terms};
use scheduler::plan::split::Offer;
use scheduler::policy::Policy;

use crate::run::Known;
use crate::world::World;
use crate::world::audience::Audience;
use place::Places;
use tree::Net;

/// How the viewers of one stream are kept together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// Not at all: each viewer goes its own way.
    #[default]
    Apart,
    /// A region's viewers of a stream go together, by a hash of the stream.
    ByStream,
    /// Few viewers in a metro go together, many each its own way.
    Tail,
    /// As the plan says.
    Planned,
}

/// From whom edges take streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ways {
    /// Each from the origin.
    #[default]
    Direct,
    /// From the origin or from an edge that takes it from there, whoever is nearer.
    TwoHops,
    /// From the largest edge of its area, that from the largest edge of the origin's area.
    Tiers,
    /// As the plan says.
    Planned,
}

/// How a rule brings streams to viewers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// How it keeps a stream's viewers together.
    pub keep: Keep,
    /// From whom edges take streams.
    pub ways: Ways,
}

/// What a plan lays streams by.
#[derive(Clone, Debug)]
pub struct Laying<'a> {
    /// Region `r` has `offers[starts[r]..starts[r + 1]]`.
    pub starts: Vec<u32>,
    /// Of the world's edges.
    pub offers: Vec<Offer>,
    /// By edge of the world, what a bit there costs.
    pub prices: Vec<f64>,
    /// By edge of the world, what a bit to another node costs.
    pub relays: Vec<f64>,
    /// By edge of the world, whether it is alive.
    pub up: &'a [bool],
    /// What weighs how much.
    pub terms: Terms,
    /// How few viewers are kept together.
    pub policy: &'a Policy,
}

/// What was relayed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Relayed {
    /// By billed day.
    pub days: Vec<Day>,
    /// By edge, Mbit/s that it sent to other nodes, summed over the slots that were looked at.
    pub sent: Vec<f64>,
}

/// Sums over the slots of a day that were looked at, in Mbit/s.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Day {
    /// Slots that were looked at.
    pub slots: usize,
    /// What viewers were sent.
    pub served: f64,
    /// What nodes took from other nodes.
    pub relayed: f64,
    /// How much of it came from farther than [`tree::LONG_HAUL_KM`].
    pub long_haul: f64,
    /// How much of it origins sent.
    pub origin: f64,
    /// Hops from the origin to the viewers' edges, times what these are sent.
    pub hops: f64,
    /// Round-trip milliseconds of these hops, times what viewers are sent.
    pub way_ms: f64,
    /// The mean round-trip time between viewers and edges as streams are kept, summed over slots.
    pub rtt_ms: f64,
    /// The share of the traffic that homes keep at other edges than where it flows, summed over
    /// slots.
    pub off: f64,
}

/// Counts relay bytes while a run goes on.
pub struct Relays {
    style: Style,
    audience: Audience,
    net: Net,
    homes: Paths,
    trees: Paths,
    every: usize,
    relayed: Relayed,
}

impl Relays {
    /// For a rule of that style; None in a world without streams.
    pub fn new(world: &World, style: Style) -> Option<Self> {
        if world.streams.is_empty() {
            return None;
        }
        Some(Self {
            style,
            audience: Audience::new(world),
            net: Net::new(world),
            homes: Paths::default(),
            trees: Paths::default(),
            every: (EVERY_S / world.time.step_s).max(1) as usize,
            relayed: Relayed {
                days: vec![Day::default(); world.time.days()],
                sent: vec![0.0; world.edges.len()],
            },
        })
    }

    /// Whether a slot is one of those that are looked at.
    pub fn is_due(&self, known: &Known<'_>) -> bool {
        let nth = known.slot - known.world.time.billed_from;
        nth % self.every == self.every / 2
    }

    /// Looks at a slot: `flow` is Mbit/s by path.
    pub fn look(&mut self, known: &Known<'_>, laying: Option<Laying<'_>>, flow: &[f64]) {
        let nth = known.slot - known.world.time.billed_from;
        let places = Places {
            world: known.world,
            slot: known.slot,
            audience: &self.audience,
            flow,
        };
        let placed = match (self.style.keep, &laying) {
            (Keep::Planned, Some(laying)) => places.planned(laying, &self.net, &mut self.homes),
            (keep, _) => places.by_rule(keep),
        };
        let day = &mut self.relayed.days[nth / known.world.time.day()];
        day.slots += 1;
        let carried = &placed.carried;
        day.rtt_ms += placed.rtt_ms;
        day.off += placed.off;
        let trees = &mut self.trees;
        let sent = &mut self.relayed.sent;
        let relays = laying.map(|it| it.relays).unwrap_or_default();
        let on = (self.style.ways, known.up, &*relays);
        let ways = self.net.ways(on, carried, trees);
        for ((stream, carried), ways) in known.world.streams.iter().zip(carried).zip(ways) {
            let mbps = stream.bitrate_kbps / 1000.0;
            self.net
                .count((stream.home, mbps), carried, &ways, (day, sent));
        }
    }

    /// What was relayed.
    pub fn finish(self) -> Relayed {
        self.relayed
    }
}

/// How often a slot is looked at: every hour has been met after half a day, minutes do not matter.
pub const EVERY_S: u32 = 7_500;

#[cfg(test)]
mod tests;
