//! Sans-IO: L2: at which edges each stream is kept, and through whom it comes to them.
//!
//! All costs are per bit of the stream, in the planner's unit: 1.0 is the mean price of the edges'
//! tariffs. Nodes, regions and streams are indices. For each stream `open` chooses edges against
//! the prices, then `tree` makes the way to each: everything reaches the origin, without a
//! circle, in at most [`MAX_DEPTH`] hops, and what enters a zone that has a hub enters it once.
//! Both favour what was there before, and a stream whose inputs did not change is not planned
//! anew. The same calls in the same order give the same ways on any machine.
//!
//! Who plays from where is steering's; routes for nodes are made of the ways in [`super::relay`].

mod open;
#[cfg(test)]
mod tests;
mod tree;

use std::collections::HashMap;
use std::sync::Arc;

use cluster::plan::Health;

use super::split::Offer;
use crate::snapshot::mix;

/// A node that serves viewers or other nodes.
#[derive(Clone, Copy, Debug)]
pub struct Node {
    /// Its own random number: [`crate::snapshot::hash`] of its id.
    pub seed: u64,
    /// Its share among equals, in any unit that all nodes have in common: its capacity.
    pub weight: f64,
    /// What a bit that it sends costs now.
    pub price: f64,
    /// What a bit that it sends to another node costs besides.
    pub relay: f64,
    /// The group that takes each stream from far away once.
    pub zone: u32,
    /// Nodes of one metro are equally near to everybody.
    pub metro: u32,
    /// Whether its zone takes streams through it.
    pub hub: bool,
    /// Whether other nodes can reach its relay.
    pub relays: bool,
    /// Whether it may be used; one that drains keeps what it has.
    pub health: Health,
}

/// What all streams have in common.
#[derive(Clone, Copy, Debug)]
pub struct Ground<'a> {
    /// Origins and edges.
    pub nodes: &'a [Node],
    /// Round-trip times in milliseconds: from node `u` to `v` at `u * nodes.len() + v`.
    pub rtt_ms: &'a [f32],
    /// Region `r` has `offers[starts[r]..starts[r + 1]]`.
    pub starts: &'a [u32],
    /// The regions' offers.
    pub offers: &'a [Offer],
}

/// Where the few viewers of a cold stream are kept together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cold {
    /// Nowhere: it is a stream like others.
    #[default]
    Off,
    /// At one edge of each metro.
    Metro,
    /// At one edge of each zone.
    Zone,
}

/// One stream.
#[derive(Clone, Copy, Debug)]
pub struct Stream<'a> {
    /// Its own random number: [`crate::snapshot::hash`] of its key.
    pub seed: u64,
    /// Index of its origin.
    pub origin: u32,
    /// Viewers by region, each region once.
    pub viewers: &'a [(u32, f32)],
    /// Edges that carry it now.
    pub carriers: &'a [u32],
    /// Which nodes may serve it; all when absent.
    pub allowed: Option<&'a [bool]>,
    /// Edges at which it is to be kept at least, once it has a viewer.
    pub replicas: u32,
    /// Fewer viewers than this are no reason for a second edge in a metro.
    pub consolidate_below: f64,
    /// How it is kept together, when it is a cold one.
    pub cold: Cold,
}

/// What weighs how much.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// The cost of a bit for each hop that it takes.
    pub hops: f64,
    /// The cost of a bit for each millisecond of round trip between two nodes.
    pub rtt_ms: f64,
    /// The cost of one more copy, beside its hop.
    pub copy: f64,
    /// What a change must gain, as a share of the cost.
    pub deadband: f64,
    /// Offers that cost this much more than the best one still get viewers of a large stream.
    pub near: f64,
    /// Viewers from which on a stream has a second parent ready.
    pub standby_from: f64,
    /// The temperature at which regions choose: streams that are kept at one edge each spread over
    /// the offers as the regions' shares do.
    pub tau: f64,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            hops: 0.1,
            rtt_ms: 0.02,
            copy: 1.0,
            deadband: 0.02,
            near: 0.3,
            standby_from: 200.0,
            tau: 1e-3,
        }
    }
}

/// From whom a node takes a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// Index of the node.
    pub node: u32,
    /// Index of its parent.
    pub parent: u32,
    /// Another one, to which a connection is kept.
    pub standby: Option<u32>,
    /// Hops from the origin.
    pub depth: u8,
}

/// How one stream is laid.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Laid {
    /// The edges at which its viewers belong, ascending.
    pub open: Vec<u32>,
    /// A way for each node that carries it or is to, ascending by node.
    pub ways: Vec<Way>,
    /// Into so many parts the viewers of its largest region are hashed.
    pub buckets: u32,
}

impl Laid {
    /// The way to a node.
    pub fn way(&self, node: u32) -> Option<&Way> {
        let at = self.ways.binary_search_by_key(&node, |way| way.node).ok()?;
        Some(&self.ways[at])
    }
}

/// All streams' ways, kept from one plan to the next. A stream is laid anew when so much has
/// changed for so many of its viewers that it matters, and one in `TURNS` each time in any case,
/// since a better parent may have come near without anything else having changed.
#[derive(Clone, Debug, Default)]
pub struct Paths {
    /// Seeds of the nodes that the ways' indices mean.
    nodes: Vec<u64>,
    /// By region.
    regions: Vec<Offered>,
    known: HashMap<u64, Known>,
    round: u64,
}

/// What a region was offered when that last changed by much, and the round in which it did.
#[derive(Clone, Debug, Default)]
struct Offered {
    offers: Vec<Offer>,
    round: u64,
}

/// A stream as it was laid, in which round, for whom.
#[derive(Clone, Debug)]
struct Known {
    laid: Arc<Laid>,
    round: u64,
    mark: u64,
    viewers: Box<[f32]>,
}

impl Paths {
    /// Lays these streams, in their order, and forgets all others.
    pub fn lay(
        &mut self,
        ground: &Ground<'_>,
        streams: &[Stream<'_>],
        terms: &Terms,
    ) -> Vec<Arc<Laid>> {
        self.follow(ground.nodes);
        self.round += 1;
        self.compare(ground);
        let ground = Survey::new(*ground, terms);
        let mut opener = open::Opener::new(&ground);
        let mut known = HashMap::with_capacity(streams.len());
        let lay = |stream: &Stream<'_>| {
            let before = self.known.remove(&stream.seed);
            let its_turn = stream.seed % TURNS == self.round % TURNS;
            let holds = |known: &Known| {
                !its_turn
                    && ground.mark(stream, &known.laid) == known.mark
                    && !self.drifted(stream, known)
            };
            let now = match before {
                Some(known) if holds(&known) => known,
                before => {
                    let before = before.map(|known| known.laid).unwrap_or_default();
                    let laid = Arc::new(ground.lay(&mut opener, stream, &before));
                    Known {
                        round: self.round,
                        mark: ground.mark(stream, &laid),
                        viewers: stream.viewers.iter().map(|(_, viewers)| *viewers).collect(),
                        laid,
                    }
                }
            };
            let laid = now.laid.clone();
            known.insert(stream.seed, now);
            laid
        };
        let laid = streams.iter().map(lay).collect();
        self.known = known;
        laid
    }

    /// Notes the regions whose offers are not what they were.
    fn compare(&mut self, ground: &Ground<'_>) {
        let regions = ground.starts.len().saturating_sub(1);
        self.regions.resize_with(regions, Offered::default);
        let like = |(a, b): (&Offer, &Offer)| {
            let most = CHANGE * a.cost.abs() + LEAST_CHANGE;
            a.edge == b.edge && (a.cost - b.cost).abs() <= most
        };
        for (pair, known) in ground.starts.windows(2).zip(&mut self.regions) {
            let offers = &ground.offers[pair[0] as usize..pair[1] as usize];
            let same = known.offers.len() == offers.len();
            if !(same && known.offers.iter().zip(offers).all(like)) {
                known.offers.clear();
                known.offers.extend_from_slice(offers);
                known.round = self.round;
            }
        }
    }

    /// Whether too many of a stream's viewers came, went, or are offered something else.
    fn drifted(&self, stream: &Stream<'_>, known: &Known) -> bool {
        let (mut all, mut apart) = (0.0, 0.0);
        for (&(region, viewers), was) in stream.viewers.iter().zip(&known.viewers) {
            let offered = self.regions.get(region as usize);
            let other = offered.is_some_and(|offered| offered.round > known.round);
            all += viewers;
            apart += if other {
                viewers
            } else {
                (viewers - was).abs()
            };
        }
        apart > DRIFT * all
    }

    /// Takes over the nodes' indices when nodes came or went.
    fn follow(&mut self, nodes: &[Node]) {
        if self
            .nodes
            .iter()
            .copied()
            .eq(nodes.iter().map(|node| node.seed))
        {
            return;
        }
        let at: HashMap<u64, u32> = (0u32..)
            .zip(nodes)
            .map(|(at, node)| (node.seed, at))
            .collect();
        let now = |old: u32| at.get(&self.nodes[old as usize]).copied();
        for Known { mark, laid, .. } in self.known.values_mut() {
            let way = |way: &Way| {
                Some(Way {
                    node: now(way.node)?,
                    parent: now(way.parent)?,
                    standby: way.standby.and_then(now),
                    depth: way.depth,
                })
            };
            let mut moved = Laid {
                open: laid.open.iter().copied().filter_map(now).collect(),
                ways: laid.ways.iter().filter_map(way).collect(),
                buckets: laid.buckets,
            };
            moved.open.sort_unstable();
            moved.ways.sort_unstable_by_key(|way| way.node);
            (*mark, *laid) = (0, Arc::new(moved));
        }
        self.nodes = nodes.iter().map(|node| node.seed).collect();
    }
}

/// The ground with what is worked out of it once for all streams.
struct Survey<'a> {
    ground: Ground<'a>,
    terms: &'a Terms,
    /// The usable hubs of each zone.
    hubs: Vec<Vec<u32>>,
    /// Changes with the nodes.
    nodes_mark: u64,
}

impl<'a> Survey<'a> {
    fn new(ground: Ground<'a>, terms: &'a Terms) -> Self {
        let zones = ground.nodes.iter().map(|node| node.zone + 1).max();
        let mut hubs = vec![Vec::new(); zones.unwrap_or(0) as usize];
        for (at, node) in (0..).zip(ground.nodes) {
            if node.hub && node.relays && node.health == Health::Up {
                hubs[node.zone as usize].push(at);
            }
        }
        let about = |mark: u64, node: &Node| {
            let flags = u64::from(node.hub) | u64::from(node.relays) << 1;
            let flags = flags | (node.health as u64) << 2 | u64::from(node.zone) << 8;
            mix(mark ^ node.seed ^ mix(flags ^ u64::from(node.metro) << 40))
        };
        Self {
            ground,
            terms,
            hubs,
            nodes_mark: ground.nodes.iter().fold(1, about),
        }
    }

    /// The same while nothing but viewers and offers has changed by much for a stream.
    fn mark(&self, stream: &Stream<'_>, laid: &Laid) -> u64 {
        let mut mark =
            self.nodes_mark ^ u64::from(stream.origin) << 32 ^ u64::from(stream.replicas);
        mark = mix(mark ^ coarse(stream.consolidate_below) << 8 ^ stream.cold as u64);
        for &(region, _) in stream.viewers {
            mark = mix(mark ^ u64::from(region));
        }
        for &carrier in stream.carriers {
            mark = mix(mark ^ u64::from(carrier));
        }
        for way in &laid.ways {
            let parent = self.node(way.parent);
            let price = parent.relay + parent.price;
            mark = mix(mark ^ coarse(price) ^ coarse(self.rtt_ms(way.parent, way.node)) << 16);
        }
        if let Some(allowed) = stream.allowed {
            let bit = |mark: u64, allowed: &bool| mark.rotate_left(1) ^ u64::from(*allowed);
            mark = mix(mark ^ allowed.iter().fold(2, bit));
        }
        mark
    }

    fn lay(&self, opener: &mut open::Opener<'_>, stream: &Stream<'_>, before: &Laid) -> Laid {
        if self.ground.nodes.get(stream.origin as usize).is_none() {
            return Laid::default();
        }
        let open = opener.open(stream, &before.open);
        let ways = tree::ways(self, stream, &open, before);
        let most = stream
            .viewers
            .iter()
            .map(|&(_, viewers)| f64::from(viewers));
        let buckets = buckets(most.fold(0.0, f64::max), stream.consolidate_below);
        Laid {
            open,
            ways,
            buckets,
        }
    }

    fn node(&self, at: u32) -> &Node {
        &self.ground.nodes[at as usize]
    }

    fn rtt_ms(&self, from: u32, to: u32) -> f64 {
        let at = from as usize * self.ground.nodes.len() + to as usize;
        self.ground
            .rtt_ms
            .get(at)
            .copied()
            .unwrap_or_default()
            .into()
    }

    fn offers(&self, region: u32) -> &'a [Offer] {
        let starts = self.ground.starts;
        let at = |region: u32| starts.get(region as usize).map(|&at| at as usize);
        match (at(region), at(region + 1)) {
            (Some(from), Some(to)) => &self.ground.offers[from..to],
            _ => &[],
        }
    }

    /// Whether an edge may be given viewers of a stream.
    fn serves(&self, stream: &Stream<'_>, edge: u32) -> bool {
        let up = self
            .ground
            .nodes
            .get(edge as usize)
            .is_some_and(|node| node.health == Health::Up);
        up && stream
            .allowed
            .is_none_or(|allowed| allowed.get(edge as usize) == Some(&true))
    }
}

/// How many parts viewers of a region are hashed into.
pub fn buckets(viewers: f64, consolidate_below: f64) -> u32 {
    let parts = viewers / consolidate_below.max(1.0);
    (parts as u32).clamp(1, MAX_BUCKETS)
}

/// A value as its exponent and two bits of its fraction: steps of a fifth.
fn coarse(value: f64) -> u64 {
    value.to_bits() >> 50
}

/// A cost that changed by more than this part of it and this much is another one.
const CHANGE: f64 = 0.1;
const LEAST_CHANGE: f64 = 0.01;

/// A stream stays as it is while no more than this part of its viewers is concerned.
const DRIFT: f32 = 0.2;

/// Planned every ten seconds, each stream is looked at within ten minutes.
const TURNS: u64 = 64;

/// Hops from the origin to the farthest edge: through two hubs.
pub const MAX_DEPTH: u8 = 3;

/// More parts than any region has edges are of no use.
pub const MAX_BUCKETS: u32 = 64;
