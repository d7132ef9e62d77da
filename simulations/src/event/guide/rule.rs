//! Sans-IO: the simpler rules, viewer by viewer: B0, B1, B2, B2p, B5 and B8.
//!
//! Each orders the edges of a region that are alive, as the fluid engine's rules do, by loads as
//! they were told last; B2p adds whom it sent since. Edges take whoever comes, and nobody is moved.

use std::sync::Arc;

use scheduler::snapshot::mix;

use super::super::edge::Edge;
use super::super::viewer::{Edges, NOWHERE};
use super::{Asker, Guide, Pulse};
use crate::policies::{Kind, Setting, within};
use crate::world::World;

/// One of the rules.
pub(in super::super) struct Rule {
    kind: Kind,
    /// By region, the edges it may use in the order of the rule.
    order: Arc<[Vec<u16>]>,
    capacity_bps: Vec<u64>,
    pulse: Pulse,
    telemetry_s: u32,
    /// What edges carried when they told it, bits per second.
    heard_bps: Vec<u64>,
    /// What they were sent since.
    sent_bps: Vec<u64>,
    usable: Vec<bool>,
}

impl Rule {
    /// Of a world; None where the rule decides for regions, not for viewers.
    pub(in super::super) fn new(
        kind: Kind,
        setting: &Setting<'_>,
        pulse: Pulse,
        telemetry_s: u32,
    ) -> Option<Self> {
        let world = setting.world;
        let slack_ms = setting
            .policies
            .default_policy()
            .rtt
            .max_extra_vs_nearest_ms;
        let order = |region: usize| -> Option<Vec<u16>> {
            let mut paths: Vec<usize> = match kind {
                Kind::B0 | Kind::B1 | Kind::B5 => world.range(region).collect(),
                Kind::B2 | Kind::B2p | Kind::B8 => within(world, region, slack_ms),
                _ => return None,
            };
            let edge = |at: usize| world.paths[at].edge as usize;
            let usd = |at: usize| setting.tariffs[edge(at)].marginal_usd();
            let km = |at: usize| world.regions[region].at.km_to(world.edges[edge(at)].at);
            match kind {
                Kind::B0 => paths.sort_by(|a, b| km(*a).total_cmp(&km(*b))),
                Kind::B8 => paths.sort_by(|a, b| usd(*a).total_cmp(&usd(*b))),
                _ => {}
            }
            Some(paths.into_iter().map(|at| edge(at) as u16).collect())
        };
        let order: Option<Vec<_>> = (0..world.regions.len()).map(order).collect();
        let edges = world.edges.len();
        Some(Self {
            kind,
            order: order?.into(),
            capacity_bps: capacities(world),
            pulse,
            telemetry_s,
            heard_bps: vec![0; edges],
            sent_bps: vec![0; edges],
            usable: vec![true; edges],
        })
    }

    fn load(&self, edge: u16) -> f64 {
        let edge = usize::from(edge);
        self.heard_bps[edge] as f64 / self.capacity_bps[edge].max(1) as f64
    }

    fn full(&self) -> f64 {
        if self.kind == Kind::B5 { 0.80 } else { 0.85 }
    }

    /// The edge that the rule picks among those that can be used, if there are any.
    fn pick(&self, usable: &[u16], asker: &Asker) -> Option<usize> {
        if usable.is_empty() {
            return None;
        }
        let least = |at: usize, other: usize| {
            if self.load(usable[other]) < self.load(usable[at]) {
                other
            } else {
                at
            }
        };
        match self.kind {
            Kind::B1 | Kind::B5 | Kind::B8 => {
                let room = usable
                    .iter()
                    .position(|edge| self.load(*edge) < self.full());
                Some(room.unwrap_or(0))
            }
            Kind::B2 => (0..usable.len()).reduce(least),
            Kind::B2p => {
                let drawn = mix(asker.key ^ u64::from(asker.now_ms));
                let count = usable.len() as u64;
                let carried = |at: usize| {
                    let edge = usize::from(usable[at]);
                    let bps = self.heard_bps[edge] + self.sent_bps[edge];
                    bps as f64 / self.capacity_bps[edge].max(1) as f64
                };
                let (one, other) = ((drawn % count) as usize, (mix(drawn) % count) as usize);
                Some(if carried(other) < carried(one) {
                    other
                } else {
                    one
                })
            }
            _ => Some(0),
        }
    }
}

/// By edge, bits per second.
pub(in super::super) fn capacities(world: &World) -> Vec<u64> {
    let bps = |edge: &crate::world::Edge| (edge.capacity_mbps * 1e6) as u64;
    world.edges.iter().map(bps).collect()
}

impl Guide for Rule {
    fn tick(&mut self, now_ms: u32, edges: &[Edge], _: &[u64]) {
        self.pulse.beat(now_ms, edges);
        let tells = (now_ms / 1000).is_multiple_of(self.telemetry_s);
        for (at, edge) in edges.iter().enumerate() {
            self.usable[at] = self.pulse.is_up(at, now_ms) && !edge.draining;
            if tells && self.pulse.is_heard(at, now_ms) {
                (self.heard_bps[at], self.sent_bps[at]) = (edge.demand_bps, 0);
            }
        }
    }

    fn join(&mut self, asker: &Asker) -> Option<Edges> {
        let order = self.order.clone();
        let can = |edge: &u16| self.usable[usize::from(*edge)] && *edge != asker.exclude;
        let mut usable: Vec<u16> = order[asker.region].iter().copied().filter(can).collect();
        let picked = self.pick(&usable, asker).filter(|at| *at < usable.len())?;
        usable[..=picked].rotate_right(1);
        if let Some((_, bitrate_bps)) = asker.stream {
            self.sent_bps[usize::from(usable[0])] += bitrate_bps;
        }
        let mut edges = NOWHERE;
        edges
            .iter_mut()
            .zip(usable)
            .for_each(|(to, from)| *to = from);
        Some(edges)
    }

    fn by_dns(&mut self, asker: &Asker) -> Edges {
        self.join(asker).unwrap_or(NOWHERE)
    }

    fn running(&mut self, _: &Asker) -> Option<Edges> {
        None
    }

    fn again_s(&self, _: &Asker, _: u8) -> Option<u32> {
        None
    }

    fn is_ours(&self) -> bool {
        false
    }

    fn may(&self, region: usize, edge: usize) -> bool {
        self.order[region].contains(&(edge as u16))
    }
}
