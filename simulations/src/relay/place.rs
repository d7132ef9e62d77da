//! Sans-IO: at which edges each stream is watched in a slot, given where traffic flows.
//!
//! Rules say how much of a region's traffic goes where; which streams that are is decided here so
//! that the sums stay as they are. Draws are hashes, so that two rules meet the same chance.

use std::collections::BTreeMap;
use std::sync::Arc;

use scheduler::plan::homes::{AT_HOME, cold, together, usual_bps};
use scheduler::plan::paths::{Ground, Laid, Node, Paths, Stream};
use scheduler::plan::split::Offer;
use scheduler::snapshot::mix;

use super::tree::Net;
use super::{Keep, Laying};
use crate::world::audience::Audience;
use crate::world::{MAX_PATHS, World};

/// The edges at which a stream is watched, ascending, with its viewers there.
pub type Carried = Vec<(u32, f32)>;

/// A slot.
pub(super) struct Places<'a> {
    pub(super) world: &'a World,
    pub(super) slot: usize,
    pub(super) audience: &'a Audience,
    /// By path, Mbit/s.
    pub(super) flow: &'a [f64],
}

/// Where the streams of a slot are watched.
pub(super) struct Placed {
    /// By stream.
    pub(super) carried: Vec<Carried>,
    /// The mean round-trip time of the viewers, as they are kept.
    pub(super) rtt_ms: f64,
    /// The share of the traffic that is at other edges than where it flows.
    pub(super) off: f64,
}

/// Viewers by edge and then stream.
struct Watched {
    streams: usize,
    viewers: Vec<f32>,
}

impl Watched {
    fn new(world: &World) -> Self {
        let streams = world.streams.len();
        Self {
            streams,
            viewers: vec![0.0; streams * world.edges.len()],
        }
    }

    fn of(&mut self, edge: usize) -> &mut [f32] {
        &mut self.viewers[edge * self.streams..(edge + 1) * self.streams]
    }

    /// Each stream's edges, where `there` says whether somebody is.
    fn carried(&self, there: impl Fn(usize, usize, f32) -> Option<f32>) -> Vec<Carried> {
        let mut carried = vec![Carried::new(); self.streams];
        for (edge, viewers) in self.viewers.chunks(self.streams.max(1)).enumerate() {
            for (stream, viewers) in viewers.iter().enumerate().filter(|it| *it.1 > 0.0) {
                let there = there(edge, stream, *viewers);
                carried[stream].extend(there.map(|viewers| (edge as u32, viewers)));
            }
        }
        carried
    }
}

impl Places<'_> {
    /// As a rule without a plan has it: expected viewers, and a draw whether anybody is there.
    pub(super) fn by_rule(&self, keep: Keep) -> Placed {
        let mut watched = Watched::new(self.world);
        let metros = self.world.metros.len();
        let tail = match keep {
            Keep::Tail => self.tails(),
            _ => vec![Vec::new(); metros],
        };
        for region in 0..self.world.regions.len() {
            let metro = self.world.regions[region].metro;
            let of = self.audience.of(metro);
            let (paths, all) = self.paths(region);
            match keep {
                Keep::ByStream => {
                    for (stream, viewers) in of.iter().enumerate() {
                        if let Some(edge) = drawn(&paths, stream as u64) {
                            watched.of(edge)[stream] += all as f32 * viewers;
                        }
                    }
                }
                _ => {
                    for &(edge, mbps) in &paths {
                        let to = watched.of(edge);
                        for (to, viewers) in to.iter_mut().zip(of) {
                            *to += mbps as f32 * viewers;
                        }
                    }
                    // Back from there, and to the edge that the metro's few go to.
                    for &(stream, home) in &tail[metro] {
                        let viewers = of[stream];
                        for &(edge, mbps) in &paths {
                            watched.of(edge)[stream] -= mbps as f32 * viewers;
                        }
                        watched.of(home)[stream] += all as f32 * viewers;
                    }
                }
            }
        }
        let carried = watched.carried(|edge, stream, viewers| {
            let there = 1.0 - libm::exp(-f64::from(viewers));
            let random = self.random(edge as u64, stream as u64);
            (random < there).then(|| (f64::from(viewers) / there) as f32)
        });
        let timed = self.world.paths.iter().zip(self.flow);
        let rtt_ms: f64 = timed.map(|(path, mbps)| path.rtt_ms * mbps).sum();
        Placed {
            carried,
            rtt_ms: rtt_ms / self.flow.iter().sum::<f64>().max(LEAST_MBPS),
            off: 0.0,
        }
    }

    /// By metro, the streams that few watch there, with the edge of the metro's traffic that is
    /// drawn for each.
    fn tails(&self) -> Vec<Vec<(usize, usize)>> {
        let mut sent: Vec<BTreeMap<usize, f64>> = vec![BTreeMap::new(); self.world.metros.len()];
        for (region, at) in self.world.regions.iter().enumerate() {
            for (edge, mbps) in self.paths(region).0 {
                *sent[at.metro].entry(edge).or_default() += mbps;
            }
        }
        let tail = |(metro, sent): (usize, BTreeMap<usize, f64>)| {
            let mbps: f64 = sent.values().sum();
            let edges: Vec<(usize, f64)> = sent.into_iter().collect();
            let few = |(_, viewers): &(usize, &f32)| mbps * f64::from(**viewers) < FEW;
            let streams = self.audience.of(metro).iter().enumerate().filter(few);
            let home = |(stream, _)| Some((stream, drawn(&edges, mix(stream as u64 ^ TAIL))?));
            streams.filter_map(home).collect()
        };
        sent.into_iter().enumerate().map(tail).collect()
    }

    /// The edges that a region's traffic goes to, with Mbit/s, and their sum.
    fn paths(&self, region: usize) -> (Vec<(usize, f64)>, f64) {
        let used = self.world.range(region).filter(|at| self.flow[*at] > 0.0);
        let path = |at: usize| (self.world.paths[at].edge as usize, self.flow[at]);
        let paths: Vec<(usize, f64)> = used.map(path).collect();
        let all = paths.iter().map(|(_, mbps)| mbps).sum();
        (paths, all)
    }

    fn random(&self, a: u64, b: u64) -> f64 {
        uniform(mix(mix(self.slot as u64 ^ mix(a)) ^ b))
    }

    /// As the planner has it: viewers are drawn, homes laid for them, and a stream's viewers in a
    /// region go together in as many groups as the plan says.
    pub(super) fn planned(&self, laying: &Laying<'_>, net: &Net, homes: &mut Paths) -> Placed {
        let viewers = self.viewers();
        let mut nodes = net.nodes.clone();
        for (node, price) in nodes.iter_mut().zip(&laying.prices) {
            node.price = *price;
        }
        net.note(laying.up, &laying.relays, &mut nodes);
        let ground = Ground {
            nodes: &nodes,
            rtt_ms: &net.rtt_ms,
            starts: &laying.starts,
            offers: &laying.offers,
        };
        let streams = viewers.iter().enumerate();
        let usual_bps = usual_bps(self.world.edges.iter().map(|it| it.capacity_mbps * 1e6));
        let bitrate_bps = |at: usize| self.world.streams[at].bitrate_kbps * 1e3;
        let streams = streams.map(|(at, viewers)| Stream {
            seed: net.streams[at],
            origin: net.origin(self.world.streams[at].home),
            viewers,
            carriers: &[],
            allowed: None,
            replicas: laying.policy.placement.min_replicas,
            consolidate_below: together(laying.policy, bitrate_bps(at), usual_bps),
            cold: cold(laying.policy, viewers),
        });
        let streams: Vec<Stream<'_>> = streams.collect();
        let laid = homes.lay(&ground, &streams, &laying.terms);
        let mut by_region = vec![Vec::new(); self.world.regions.len()];
        for (stream, viewers) in viewers.iter().enumerate() {
            for &(region, viewers) in viewers {
                by_region[region as usize].push((stream, viewers));
            }
        }
        let homes = Homes::new(self.world, laying, (&laid, &nodes), &by_region);
        let ahead = homes.ahead(self.flow);
        let mut watched = Watched::new(self.world);
        let mut by_path = vec![0.0; self.world.paths.len()];
        for (region, of) in by_region.iter().enumerate() {
            self.send((region, of), (&homes, &ahead), (&mut watched, &mut by_path));
        }
        let carried = watched.carried(|_, _, viewers| Some(viewers));
        self.placed(carried, &by_path)
    }

    /// How what is sent over paths compares with what flows there.
    fn placed(&self, carried: Vec<Carried>, by_path: &[f64]) -> Placed {
        let mut edges = vec![(0.0, 0.0); self.world.edges.len()];
        let (mut all, mut times) = (0.0, 0.0);
        for ((path, mbps), flow) in self.world.paths.iter().zip(by_path).zip(self.flow) {
            let (sent, flows) = &mut edges[path.edge as usize];
            *sent += mbps;
            *flows += flow;
            all += mbps;
            times += mbps * path.rtt_ms;
        }
        let flows: f64 = self.flow.iter().sum();
        let off = |(sent, of): &(f64, f64)| (sent / all - of / flows).abs() / 2.0;
        Placed {
            carried,
            rtt_ms: times / all.max(LEAST_MBPS),
            off: edges.iter().map(off).sum(),
        }
    }

    /// By stream, regions with the viewers that are drawn there.
    fn viewers(&self) -> Vec<Vec<(u32, f32)>> {
        let mut viewers = vec![Vec::new(); self.world.streams.len()];
        for (region, at) in self.world.regions.iter().enumerate() {
            let (_, all) = self.paths(region);
            let of = self.audience.of(at.metro).iter().enumerate();
            for (stream, a_mbps) in of {
                let random = self.random(region as u64 | REGION, stream as u64);
                let drawn = poisson(all * f64::from(*a_mbps), random);
                if drawn > 0 {
                    viewers[stream].push((region as u32, drawn as f32));
                }
            }
        }
        viewers
    }

    /// Sends a region's viewers of streams, in as many groups of each as the plan says.
    fn send(
        &self,
        (region, of): (usize, &[(usize, f32)]),
        (homes, ahead): (&Homes<'_>, &[f64]),
        (watched, by_path): (&mut Watched, &mut [f64]),
    ) {
        let offers = homes.offers(region);
        let path = |offer: &Offer| {
            let mut range = self.world.range(region);
            range.find(|at| self.world.paths[*at].edge == offer.edge)
        };
        let paths: Vec<Option<usize>> = offers.iter().map(path).collect();
        let mut known: BTreeMap<u16, Vec<f64>> = BTreeMap::new();
        for &(stream, viewers) in of {
            let mask = homes.mask(region, stream);
            let chances = known
                .entry(mask)
                .or_insert_with(|| homes.chances((region, mask), ahead));
            let groups = homes.laid[stream].buckets.max(1);
            let each = viewers / groups as f32;
            for group in 0..groups {
                let key = mix(stream as u64 ^ u64::from(group) << 32);
                // Of few viewers most groups have none.
                if each < 1.0 && self.random(key ^ THERE, region as u64) > f64::from(each) {
                    continue;
                }
                let mut left = self.random(key, region as u64 | REGION);
                let at = chances.iter().position(|chance| {
                    left -= chance;
                    left <= 0.0
                });
                let at = at.unwrap_or(chances.len() - 1);
                let viewers = each.max(1.0);
                watched.of(offers[at].edge as usize)[stream] += viewers;
                if let Some(path) = paths[at] {
                    let kbps = self.world.streams[stream].bitrate_kbps;
                    by_path[path] += f64::from(viewers) * kbps / 1000.0;
                }
            }
        }
    }
}

/// The homes of all streams, as steering goes by them: an edge's chance falls with its cost, which
/// is less where the stream is at home and more where the edge is ahead of what was planned.
struct Homes<'a> {
    world: &'a World,
    laying: &'a Laying<'a>,
    laid: &'a [Arc<Laid>],
    nodes: &'a [Node],
    /// By region, Mbit/s of streams that have the same of its edges for homes.
    masks: Vec<BTreeMap<u16, f64>>,
}

impl<'a> Homes<'a> {
    fn new(
        world: &'a World,
        laying: &'a Laying<'a>,
        (laid, nodes): (&'a [Arc<Laid>], &'a [Node]),
        watched: &[Vec<(usize, f32)>],
    ) -> Self {
        let mut homes = Self {
            world,
            laying,
            laid,
            nodes,
            masks: Vec::new(),
        };
        for (region, of) in watched.iter().enumerate() {
            let mut masks: BTreeMap<u16, f64> = BTreeMap::new();
            for &(stream, viewers) in of {
                let mbps = f64::from(viewers) * world.streams[stream].bitrate_kbps / 1000.0;
                *masks.entry(homes.mask(region, stream)).or_default() += mbps;
            }
            homes.masks.push(masks);
        }
        homes
    }

    fn offers(&self, region: usize) -> &'a [Offer] {
        let starts = &self.laying.starts[region..region + 2];
        &self.laying.offers[starts[0] as usize..starts[1] as usize]
    }

    /// Which of a region's edges are homes of a stream.
    fn mask(&self, region: usize, stream: usize) -> u16 {
        let open = &self.laid[stream].open;
        let bit = |(nth, offer): (usize, &Offer)| {
            u16::from(open.binary_search(&offer.edge).is_ok()) << nth
        };
        self.offers(region)
            .iter()
            .take(MAX_PATHS)
            .enumerate()
            .map(bit)
            .sum()
    }

    /// Softmin over what an edge costs, less at home, and what it is dearer because it is ahead.
    fn chances(&self, (region, mask): (usize, u16), ahead: &[f64]) -> Vec<f64> {
        let offers = self.offers(region);
        let cost = |(nth, offer): (usize, &Offer)| {
            let is_home = nth < MAX_PATHS && mask >> nth & 1 == 1;
            offer.cost + ahead[offer.edge as usize] - if is_home { AT_HOME } else { 0.0 }
        };
        let costs: Vec<f64> = offers.iter().enumerate().map(cost).collect();
        let least = costs.iter().copied().fold(f64::INFINITY, f64::min);
        let tau = self.laying.terms.tau.max(LEAST_TAU);
        let weight = |(offer, cost): (&Offer, &f64)| {
            self.nodes[offer.edge as usize].weight * libm::exp((least - cost) / tau)
        };
        let weights: Vec<f64> = offers.iter().zip(&costs).map(weight).collect();
        let sum: f64 = weights.iter().sum();
        weights.into_iter().map(|weight| weight / sum).collect()
    }

    /// By how much each edge is dearer because it carries more than flows there, in units of cost:
    /// homes say where a stream is watched, not how much an edge carries.
    fn ahead(&self, flow: &[f64]) -> Vec<f64> {
        let mut flows = vec![0.0; self.world.edges.len()];
        for (path, mbps) in self.world.paths.iter().zip(flow) {
            flows[path.edge as usize] += mbps;
        }
        let whole: f64 = flows.iter().sum();
        let drawn: f64 = self.masks.iter().flat_map(BTreeMap::values).sum();
        let mut ahead = vec![0.0; flows.len()];
        let mut step = STEP;
        for _ in 0..ROUNDS {
            let mut got = vec![0.0; flows.len()];
            for (region, masks) in self.masks.iter().enumerate() {
                for (mask, mbps) in masks {
                    let chances = self.chances((region, *mask), &ahead);
                    for (offer, chance) in self.offers(region).iter().zip(chances) {
                        got[offer.edge as usize] += chance * mbps * whole / drawn;
                    }
                }
            }
            for ((ahead, got), flow) in ahead.iter_mut().zip(got).zip(&flows) {
                let times = got.max(LEAST_MBPS) / flow.max(LEAST_MBPS);
                *ahead += step * libm::log(times).clamp(-1.0, 1.0);
            }
            step *= SHORTER;
        }
        ahead
    }
}

/// One of these edges, in proportion to their weights (rendezvous hashing).
fn drawn(edges: &[(usize, f64)], key: u64) -> Option<usize> {
    let rank = |(edge, weight): &(usize, f64)| {
        let random = 1.0 - uniform(mix(key ^ mix(*edge as u64 | EDGE)));
        -libm::log(random) / weight
    };
    let best = edges.iter().min_by(|a, b| rank(a).total_cmp(&rank(b)));
    best.map(|(edge, _)| *edge)
}

/// How many come when so many are expected; near enough to the mean where these are many.
fn poisson(mean: f64, random: f64) -> u32 {
    if mean > MANY {
        return libm::round(mean) as u32;
    }
    let (mut part, mut count) = (libm::exp(-mean), 0);
    let mut sum = part;
    while random >= sum && f64::from(count) < 10.0 * MANY {
        count += 1;
        part *= mean / f64::from(count);
        sum += part;
    }
    count
}

/// From 0 to below 1.
fn uniform(random: u64) -> f64 {
    (random >> 11) as f64 / (1_u64 << 53) as f64
}

/// Fewer viewers than this in a metro are kept together by who keeps a tail: what pays for a copy.
pub const FEW: f64 = 40.0;
/// What is drawn for what is drawn apart.
const REGION: u64 = 1 << 40;
const EDGE: u64 = 1 << 41;
const TAIL: u64 = 1 << 42;
const THERE: u64 = 1 << 43;
/// Above it a mean is as good as a draw.
const MANY: f64 = 30.0;
/// Steps by which edges that are ahead grow dearer: after so many they move nobody any more.
const ROUNDS: usize = 24;
const STEP: f64 = 0.15;
const SHORTER: f64 = 0.9;
/// An edge that carries less carries nothing.
const LEAST_MBPS: f64 = 1.0;
/// Corrections make choices no sharper than this, in units of cost.
const LEAST_TAU: f64 = 0.02;
