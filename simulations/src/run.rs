//! Sans-IO: the fluid engine: traffic of regions flows over edges, slot by slot.
//!
//! A rule decides for a slot from what was known before it; what regions then ask for goes where it
//! said, as far as viewers can be moved, and edges that are full send newcomers on if the rule has
//! them do so. An edge may be sent more than it can carry: that is counted, and nothing is shed.
//! No traffic is lost or made: what a region asks for is on its edges, or counted as lost when all
//! of them are dead.

pub mod tally;
mod admit;
mod motion;

pub use motion::Motion;
pub use tally::{Day, Ran};

use crate::relay::{Laying, Relays, Style};
use crate::world::World;
use admit::Doors;
use motion::Crowd;
use tally::Tally;

/// A way to decide who is served from where.
pub trait Rule {
    /// What it is called in reports.
    fn name(&self) -> &str;

    /// The share of its demand that each region is to send over each of its paths, in the order of
    /// the world's paths; a region's sum to one.
    fn split(&mut self, known: &Known<'_>, shares: &mut [f64]);

    /// Told what edges carried in a slot, Mbit/s, before the next is decided.
    fn carried(&mut self, _slot: usize, _loads: &[f64]) {}

    /// The share of its capacity at which an edge sends newcomers on, where edges do so.
    fn full_at(&self) -> Option<f64> {
        None
    }

    /// How it brings streams to viewers.
    fn style(&self) -> Style {
        Style::default()
    }

    /// What streams are laid by in a slot that was decided, where it plans them.
    fn laying<'a>(&'a self, _known: &Known<'a>) -> Option<Laying<'a>> {
        None
    }

    /// Whether a path may be used at all, whatever is full or dead.
    fn may(&self, _path: usize) -> bool {
        true
    }
}

/// What may be known when a slot is decided.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    /// Everything that does not change, and what was announced by now.
    pub world: &'a World,
    /// The slot that is decided.
    pub slot: usize,
    /// By edge, whether it is alive: heartbeats tell within seconds.
    pub up: &'a [bool],
}

impl<'a> Known<'a> {
    /// What regions asked for in the slot before, Mbit/s; nothing is known before the first.
    pub fn demand(&self) -> &'a [f32] {
        self.world.demand(self.slot.saturating_sub(1))
    }

    /// What they ask for in this slot. Only for rules that say that they know the future.
    pub fn future(&self) -> &'a [f32] {
        self.world.demand(self.slot)
    }
}

/// Lets a rule decide over the billed slots; `tell` hears of each slot that is over and says
/// whether to go on, and without it there is no result.
pub fn run(
    world: &World,
    rule: &mut dyn Rule,
    motion: Motion,
    tell: &mut dyn FnMut(usize) -> bool,
) -> Option<Ran> {
    let mut tally = Tally::new(world);
    let mut crowd = Crowd::new(world, motion);
    let doors = Doors::new(world);
    let mut relays = Relays::new(world, rule.style());
    let mut target = vec![0.0; world.paths.len()];
    for slot in world.time.billed() {
        let up: Vec<bool> = (0..world.edges.len())
            .map(|edge| world.is_up(edge, slot))
            .collect();
        let known = Known {
            world,
            slot,
            up: &up,
        };
        target.fill(0.0);
        rule.split(&known, &mut target);
        let may: Vec<bool> = (0..world.paths.len())
            .map(|at| up[world.paths[at].edge as usize] && rule.may(at))
            .collect();
        let mut flow = crowd.follow(&known, &may, &mut target);
        if let Some(full_at) = rule.full_at() {
            doors.send_on(world, (&target, &may, full_at), &mut flow);
        }
        crowd.settle(&flow);
        tally.enter(&known, &flow);
        if let Some(relays) = relays.as_mut().filter(|it| it.is_due(&known)) {
            relays.look(&known, rule.laying(&known), &flow.mbps);
        }
        rule.carried(slot, tally.loads());
        if !tell(slot) {
            return None;
        }
    }
    let barred = (0..world.paths.len()).filter(|at| !rule.may(*at)).count();
    let relayed = relays.map(Relays::finish).unwrap_or_default();
    Some(Ran {
        relayed,
        ..tally.finish(rule.name(), barred)
    })
}

/// Where the traffic of a slot is.
#[derive(Clone, Debug, Default)]
pub struct Flow {
    /// By path, Mbit/s.
    pub mbps: Vec<f64>,
    /// By path, how much of it came in this slot, so that it may still be sent elsewhere.
    pub new: Vec<f64>,
    /// Mbit/s of viewers who were asked to move although their edge is alive.
    pub moved: f64,
    /// Mbit/s for which no edge is alive.
    pub lost: f64,
}

#[cfg(test)]
mod tests;
