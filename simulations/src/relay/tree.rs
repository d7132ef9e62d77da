//! Sans-IO: from whom each edge takes a stream.
//!
//! A stream's origin stands in its home metro. Round-trip times between nodes are those that the
//! scheduler takes for a distance, [`scheduler::plan::cost::between_nodes_ms`].

use cluster::plan::Health;
use scheduler::plan::billing::LEAST_RELAY;
use scheduler::plan::cost;
use scheduler::plan::paths::{Ground, Node, Paths, Stream, Terms};
use scheduler::snapshot::hash;

use super::place::Carried;
use super::{Day, Ways};
use crate::world::{Point, World};

/// The nodes of a world: its edges, then an origin in each metro.
pub(super) struct Net {
    pub(super) nodes: Vec<Node>,
    /// By sender and then receiver.
    pub(super) rtt_ms: Vec<f32>,
    /// By sender and then receiver.
    far: Vec<bool>,
    /// By stream, its own random number.
    pub(super) streams: Vec<u64>,
    /// By stream, the home metro.
    homes: Vec<usize>,
    edges: usize,
    /// By metro and by edge, the largest edge of its area.
    largest: (Vec<Option<u32>>, Vec<u32>),
}

/// From whom a node takes a stream; parents come before their children.
pub(super) type Way = (u32, u32);

impl Net {
    pub(super) fn new(world: &World) -> Self {
        let edges = world
            .edges
            .iter()
            .map(|edge| (&edge.name, edge.at, edge.metro));
        let origins = world.metros.iter().enumerate();
        let origins = origins.map(|(at, metro)| (&metro.name, metro.at, at));
        let all: Vec<(&String, Point, usize)> = edges.chain(origins).collect();
        let areas: Vec<&str> = all
            .iter()
            .map(|it| world.metros[it.2].area.as_str())
            .collect();
        let first = |area: &str| areas.iter().position(|it| *it == area).unwrap_or(0) as u32;
        let node = |(at, (name, _, metro)): (usize, &(&String, Point, usize))| {
            let is_edge = at < world.edges.len();
            Node {
                seed: hash(name.as_bytes()) ^ u64::from(!is_edge),
                weight: world.edges.get(at).map_or(1.0, |edge| edge.capacity_mbps),
                price: 0.0,
                relay: LEAST_RELAY,
                // An origin is in no edge's zone: its hubs are for others than itself.
                zone: if is_edge { first(areas[at]) } else { at as u32 },
                metro: *metro as u32,
                hub: is_edge && world.hubs.contains(&at),
                relays: true,
                health: Health::Up,
            }
        };
        let km = |from: &(&String, Point, usize)| {
            let from = from.1;
            all.iter().map(move |to| from.km_to(to.1))
        };
        let km: Vec<f64> = all.iter().flat_map(km).collect();
        let largest = world.largest_by_area();
        let of_area = |metro: usize| {
            let same = |at: &&usize| {
                world.metros[world.edges[**at].metro].area == world.metros[metro].area
            };
            largest.iter().find(same).map(|at| *at as u32)
        };
        Self {
            nodes: all.iter().enumerate().map(node).collect(),
            rtt_ms: km
                .iter()
                .map(|km| cost::between_nodes_ms(*km as f32))
                .collect(),
            far: km.iter().map(|km| *km > LONG_HAUL_KM).collect(),
            streams: (0..world.streams.len())
                .map(|at| hash(format!("live/s{at}").as_bytes()))
                .collect(),
            homes: world.streams.iter().map(|it| it.home).collect(),
            edges: world.edges.len(),
            largest: (
                (0..world.metros.len()).map(of_area).collect(),
                (world.edges.iter().enumerate())
                    .map(|(at, edge)| of_area(edge.metro).unwrap_or(at as u32))
                    .collect(),
            ),
        }
    }

    /// The origin of streams of a metro.
    pub(super) fn origin(&self, home: usize) -> u32 {
        (self.edges + home) as u32
    }

    fn rtt_ms(&self, from: u32, to: u32) -> f32 {
        self.rtt_ms[from as usize * self.nodes.len() + to as usize]
    }

    /// Notes which edges are alive, and what their bits to other nodes cost.
    pub(super) fn note(&self, up: &[bool], relays: &[f64], nodes: &mut [Node]) {
        for (node, up) in nodes.iter_mut().zip(up) {
            node.health = if *up { Health::Up } else { Health::Down };
        }
        for (node, relay) in nodes.iter_mut().zip(relays) {
            node.relay = *relay;
        }
    }

    /// The ways of all streams to those who carry them.
    pub(super) fn ways(
        &self,
        (kind, up, relays): (Ways, &[bool], &[f64]),
        carried: &[Carried],
        paths: &mut Paths,
    ) -> Vec<Vec<Way>> {
        let streams = self.homes.iter().zip(carried);
        match kind {
            Ways::Planned => self.planned((up, relays), carried, paths),
            Ways::Direct => streams.map(|(home, of)| self.direct(*home, of)).collect(),
            Ways::TwoHops => streams.map(|(home, of)| self.two_hops(*home, of)).collect(),
            Ways::Tiers => streams
                .map(|(home, of)| self.tiers(*home, of, up))
                .collect(),
        }
    }

    fn direct(&self, home: usize, carried: &Carried) -> Vec<Way> {
        let origin = self.origin(home);
        carried.iter().map(|(edge, _)| (*edge, origin)).collect()
    }

    /// The edges nearest to the origin first: each takes it from there, or from one that does and
    /// is nearer.
    fn two_hops(&self, home: usize, carried: &Carried) -> Vec<Way> {
        let origin = self.origin(home);
        let mut edges: Vec<u32> = carried.iter().map(|(edge, _)| *edge).collect();
        let away = |edge: u32| self.rtt_ms(origin, edge);
        edges.sort_by(|a, b| away(*a).total_cmp(&away(*b)).then(a.cmp(b)));
        let mut ways: Vec<Way> = Vec::with_capacity(edges.len());
        for edge in edges {
            let first = ways.iter().filter(|(_, parent)| *parent == origin);
            let near = first
                .map(|(near, _)| (self.rtt_ms(*near, edge), *near))
                .min_by(|a, b| a.0.total_cmp(&b.0));
            let parent = near.filter(|(rtt_ms, _)| *rtt_ms < away(edge));
            ways.push((edge, parent.map_or(origin, |(_, near)| near)));
        }
        ways
    }

    /// Through the centre of the origin's area and that of the edge's; one that is dead is passed.
    fn tiers(&self, home: usize, carried: &Carried, up: &[bool]) -> Vec<Way> {
        let origin = self.origin(home);
        let alive = |at: &u32| up[*at as usize];
        let first = self.largest.0[home].filter(alive);
        let mut ways: Vec<Way> = Vec::with_capacity(carried.len() + 2);
        let add = |ways: &mut Vec<Way>, node: u32, parent: u32| {
            if node != parent && !ways.iter().any(|way| way.0 == node) {
                ways.push((node, parent));
            }
        };
        if carried.is_empty() {
            return ways;
        }
        let top = first.unwrap_or(origin);
        add(&mut ways, top, origin);
        for (edge, _) in carried {
            let middle = Some(self.largest.1[*edge as usize]).filter(alive);
            let middle = middle.unwrap_or(top);
            add(&mut ways, middle, top);
            add(&mut ways, *edge, middle);
        }
        ways
    }

    /// As the scheduler lays them for the edges that carry them.
    fn planned(
        &self,
        (up, relays): (&[bool], &[f64]),
        carried: &[Carried],
        paths: &mut Paths,
    ) -> Vec<Vec<Way>> {
        let mut nodes = self.nodes.clone();
        self.note(up, relays, &mut nodes);
        let ground = Ground {
            nodes: &nodes,
            rtt_ms: &self.rtt_ms,
            starts: &[0, 0],
            offers: &[],
        };
        let all = |of: &Carried| [(0, of.iter().map(|(_, viewers)| viewers).sum())];
        let viewers: Vec<[(u32, f32); 1]> = carried.iter().map(all).collect();
        let edges = |of: &Carried| of.iter().map(|(edge, _)| *edge).collect();
        let carriers: Vec<Vec<u32>> = carried.iter().map(edges).collect();
        let streams = viewers.iter().zip(&carriers).enumerate();
        let streams = streams.map(|(at, (viewers, carriers))| Stream {
            seed: self.streams[at],
            origin: self.origin(self.homes[at]),
            viewers,
            carriers,
            allowed: None,
            replicas: 1,
            consolidate_below: f64::INFINITY,
            cold: Default::default(),
        });
        let streams: Vec<Stream<'_>> = streams.collect();
        let laid = paths.lay(&ground, &streams, &Terms::default());
        let ways = laid.iter().map(|laid| {
            let mut ways: Vec<_> = laid.ways.iter().collect();
            ways.sort_by_key(|way| way.depth);
            ways.into_iter().map(|way| (way.node, way.parent)).collect()
        });
        ways.collect()
    }

    /// Adds up what a stream with that home and bit rate takes.
    pub(super) fn count(
        &self,
        (home, mbps): (usize, f64),
        carried: &Carried,
        ways: &[Way],
        (day, sent): (&mut Day, &mut [f64]),
    ) {
        let origin = self.origin(home);
        let mut reached: Vec<(u32, f64, f64)> = vec![(origin, 0.0, 0.0)];
        for (node, parent) in ways {
            day.relayed += mbps;
            if *parent == origin {
                day.origin += mbps;
            }
            if self.far[*parent as usize * self.nodes.len() + *node as usize] {
                day.long_haul += mbps;
            }
            if let Some(sent) = sent.get_mut(*parent as usize) {
                *sent += mbps;
            }
            let from = reached.iter().find(|it| it.0 == *parent);
            let (_, hops, way_ms) = from.copied().unwrap_or_default();
            let way_ms = way_ms + f64::from(self.rtt_ms(*parent, *node));
            reached.push((*node, hops + 1.0, way_ms));
        }
        for (edge, viewers) in carried {
            let served = f64::from(*viewers) * mbps;
            let at = reached.iter().find(|it| it.0 == *edge);
            let (_, hops, way_ms) = at.copied().unwrap_or_default();
            day.served += served;
            day.hops += served * hops;
            day.way_ms += served * way_ms;
        }
    }
}

/// From here on a way is a long one: it leaves its part of a continent.
pub const LONG_HAUL_KM: f64 = 1_500.0;
