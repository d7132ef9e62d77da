//! Sans-IO: the production scheduler in virtual time: its snapshots, its steering, its plans.
//!
//! Each replica has a snapshot of its own, with its own counts of whom it sent where; edges' loads
//! reach all of them as late. Every half minute, and when an edge comes or goes, there is a plan of
//! what was heard, from which steering's market follows. Everything that decides is [`scheduler`]'s.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use cluster::node::{Capacity, Node, NodeId, Place, Role};
use cluster::plan::Health;
use cluster::sample::{RegionLoad, Sample, StreamViewers};
use cluster::stream::{StreamKey, StreamRecord};
use scheduler::collect::registry::SETTLE_MS;
use scheduler::geo::{self, Located, Source};
use scheduler::market::Market;
use scheduler::plan::paths::Paths;
use scheduler::planner::{homes, market};
use scheduler::snapshot::{NodeView, Snapshot, hash, mix};
use scheduler::steer::{Decision, Viewer, may_move, steer};
use scheduler::steering::ttl_s;

use super::super::Times;
use super::super::edge::Edge;
use super::super::viewer::{Edges, NONE, NOWHERE};
use super::rule::capacities;
use super::{Asker, Guide, Pulse};
use crate::policies::Setting;
use crate::policies::weir::{Weir, node, region_of};
use crate::run::Known;
use crate::world::World;

/// The scheduler with its replicas.
pub(in super::super) struct Cluster<'a> {
    world: &'a World,
    weir: Weir,
    paths: Paths,
    market: Arc<Market>,
    replicas: Vec<Replica>,
    telemetry_s: u32,
    times: Times,
    located: Vec<Located>,
    keys: Vec<StreamKey>,
    may: Vec<bool>,
    /// By region and edge, whether nothing but load or money makes a viewer leave it.
    calm: Vec<bool>,
    /// The largest share of viewers that any policy lets move in a minute; None when policies bar
    /// edges from some, so that everybody has to be asked for.
    moves: Option<f64>,
    up: Vec<bool>,
    demand_mbps: Vec<f32>,
    /// The slot that runs, and what edges carried in it, Mbit/s summed over seconds.
    slot: usize,
    carried: Vec<f64>,
    seconds: u32,
}

/// A scheduler.
struct Replica {
    snapshot: Snapshot,
    pulse: Pulse,
}

impl<'a> Cluster<'a> {
    /// Of a world, with a planner that knows its bills, from a second of the world on.
    pub(in super::super) fn new(
        setting: &'a Setting<'_>,
        weir: Weir,
        pulses: Vec<Pulse>,
        (telemetry_s, times): (u32, Times),
    ) -> Self {
        let world = setting.world;
        let keys: Vec<StreamKey> = (0..world.streams.len()).map(key).collect();
        let origins = origins(world);
        let mut base = Snapshot::default();
        base.policies = setting.policies.clone();
        base.streams = Arc::new(records(world, &keys, &origins));
        let replica = |pulse: Pulse| {
            // Counts are each replica's own.
            let mut snapshot = base.clone();
            snapshot.nodes = nodes(world, &origins);
            Replica { snapshot, pulse }
        };
        let policies = || setting.policies.all().map(|named| &named.policy);
        let slack_ms = policies().map(|it| it.rtt.max_extra_vs_nearest_ms);
        let open = policies().all(|it| it.placement.is_open());
        let moves = policies().map(|it| it.motion.max_moved_per_min);
        Self {
            calm: calm(world, slack_ms.fold(f64::INFINITY, f64::min)),
            moves: open.then(|| moves.fold(0.0, f64::max)),
            may: may(setting),
            world,
            weir,
            paths: Paths::default(),
            market: Arc::default(),
            replicas: pulses.into_iter().map(replica).collect(),
            telemetry_s,
            times,
            located: (0..world.regions.len())
                .map(|at| located(world, at))
                .collect(),
            keys,
            up: vec![true; world.edges.len()],
            demand_mbps: Vec::new(),
            slot: 0,
            carried: vec![0.0; world.edges.len()],
            seconds: 0,
        }
    }

    fn unix_ms(&self, now_ms: u32) -> u64 {
        self.times.start_ms + u64::from(now_ms)
    }

    fn replica(&self, asker: &Asker) -> &Replica {
        let random = mix(asker.key ^ u64::from(asker.now_ms / 1000));
        &self.replicas[random as usize % self.replicas.len()]
    }

    fn viewer<'v>(&'v self, asker: &Asker, exclude: &'v str) -> Viewer<'v> {
        let number = |edge: u16| (edge != NONE).then(|| edge + 1);
        Viewer {
            stream: asker.stream.map(|(stream, _)| &self.keys[stream]),
            kept: number(asker.sent),
            playing: number(asker.playing),
            exclude,
            ..Viewer::new(
                self.located[asker.region],
                asker.key,
                self.unix_ms(asker.now_ms) / 1000,
            )
        }
    }

    /// Whether a player surely stays where it plays, so that nobody has to decide.
    fn rests(&self, asker: &Asker, replica: &Replica) -> bool {
        let Some(share) = self.moves else {
            return false;
        };
        let edge = usize::from(asker.playing);
        let view = &replica.snapshot.nodes[edge];
        let load = view.load();
        view.health == Health::Up
            && (load.unlimited || load.worst() <= 1.0)
            && self.calm[asker.region * self.world.edges.len() + edge]
            && !may_move(asker.key, self.unix_ms(asker.now_ms) / 1000, share)
    }

    /// The past slot's loads go into bills.
    fn bill(&mut self, now_ms: u32, edges: &[Edge]) {
        for (carried, edge) in self.carried.iter_mut().zip(edges) {
            *carried += edge.demand_bps.min(edge.capacity_bps) as f64 / 1e6;
        }
        self.seconds += 1;
        let slot = self.times.slot(self.world, now_ms);
        if slot == self.slot {
            return;
        }
        let seconds = f64::from(self.seconds);
        self.carried.iter_mut().for_each(|it| *it /= seconds);
        if self.world.time.billed().contains(&self.slot) {
            use crate::run::Rule;
            self.weir.carried(self.slot, &self.carried);
        }
        self.carried.fill(0.0);
        (self.slot, self.seconds) = (slot, 0);
    }

    /// Plans, and lets all replicas steer by it.
    fn plan(&mut self, now_ms: u32, edges: &[Edge]) {
        let unix_ms = self.unix_ms(now_ms);
        let known = Known {
            world: self.world,
            slot: self.times.slot(self.world, now_ms),
            up: &self.up,
        };
        let mut snapshot = self.replicas[0].snapshot.clone();
        for (view, edge) in snapshot.nodes.iter_mut().zip(edges) {
            view.sample = Arc::new(self.sample(view, edge));
        }
        let at_s = self.world.time.start_s + i64::from(self.times.second(now_ms));
        let (planned, view, of) = self.weir.plan(&known, at_s, &self.demand_mbps);
        let numbers: Vec<u16> = of.iter().map(|edge| *edge as u16 + 1).collect();
        let mut market = market(view, planned, &numbers, unix_ms);
        market.homes = homes(&mut self.paths, &snapshot, (view, planned));
        self.market = Arc::new(market);
    }

    /// What an edge would report.
    fn sample(&self, view: &NodeView, edge: &Edge) -> Sample {
        let mut sample = Sample::new(view.node().clone(), 0);
        let watched = edge.streams.iter().zip(&self.keys);
        let watched = watched.filter(|(viewers, _)| **viewers > 0);
        let viewers = |(viewers, key): (&u32, &StreamKey)| StreamViewers {
            key: key.clone(),
            viewers: *viewers,
            joins: 0,
            leaves: 0,
        };
        sample.viewers = watched.map(viewers).collect();
        let from = edge.regions.iter().zip(&self.located);
        let from = from.filter(|((viewers, _), _)| *viewers > 0);
        let load = |((viewers, bps), at): (&(u32, u64), &Located)| RegionLoad {
            region: at.region,
            viewers: *viewers,
            egress_bps: *bps,
            ..RegionLoad::default()
        };
        sample.regions = from.map(load).collect();
        sample.egress_bps = edge.demand_bps;
        sample.trim();
        sample
    }

    /// What regions ask for, as it is told.
    fn hear(&mut self, edges: &[Edge], waiting_bps: &[u64]) {
        let bps = |(region, waiting): (usize, &u64)| {
            let alive = edges.iter().filter(|edge| edge.alive);
            let watched: u64 = alive.map(|edge| edge.regions[region].1).sum();
            ((watched + waiting) as f64 / 1e6) as f32
        };
        self.demand_mbps = waiting_bps.iter().enumerate().map(bps).collect();
    }
}

impl Replica {
    /// Takes heartbeats, and loads when they are told; whether an edge came or went.
    fn tick(&mut self, now_ms: u32, edges: &[Edge], tells: bool) -> bool {
        self.pulse.beat(now_ms, edges);
        let mut turned = false;
        for (at, (view, edge)) in self.snapshot.nodes.iter_mut().zip(edges).enumerate() {
            let health = match (self.pulse.is_up(at, now_ms), edge.draining) {
                (false, _) => Health::Down,
                (true, true) => Health::Draining,
                (true, false) => Health::Up,
            };
            turned |= view.turn(now_ms.into(), health);
            let since_ms = u64::from(now_ms).saturating_sub(view.health_since_ms);
            view.settled = view.health_since_ms == 0 || since_ms >= SETTLE_MS;
            if tells && self.pulse.is_heard(at, now_ms) {
                view.viewers = edge.counted();
                view.egress_bps = edge.demand_bps;
                view.counted = view.sent.count();
            }
        }
        turned
    }
}

impl Guide for Cluster<'_> {
    fn tick(&mut self, now_ms: u32, edges: &[Edge], waiting_bps: &[u64]) {
        let control = |now_ms: u32| self.times.second(now_ms) / CONTROL_S;
        let is_due = now_ms == 0 || control(now_ms) != control(now_ms - 1000);
        let tells = (now_ms / 1000).is_multiple_of(self.telemetry_s);
        let mut turned = false;
        for replica in &mut self.replicas {
            turned |= replica.tick(now_ms, edges, tells);
        }
        if tells || self.demand_mbps.is_empty() {
            self.hear(edges, waiting_bps);
        }
        if now_ms == 0 {
            self.slot = self.times.slot(self.world, now_ms);
        } else {
            self.bill(now_ms, edges);
        }
        if turned || is_due {
            let nodes = &self.replicas[0].snapshot.nodes;
            let up = nodes.iter().take(self.up.len());
            self.up = up.map(|view| view.health == Health::Up).collect();
            self.plan(now_ms, edges);
        }
        let (market, unix_ms) = (self.market.clone(), self.unix_ms(now_ms));
        for replica in &mut self.replicas {
            replica.snapshot.follow(&market, unix_ms);
        }
    }

    fn join(&mut self, asker: &Asker) -> Option<Edges> {
        let snapshot = &self.replica(asker).snapshot;
        let exclude = match asker.exclude {
            NONE => "",
            edge => snapshot.nodes[usize::from(edge)].node().id.as_str(),
        };
        let viewer = Viewer {
            kept: None,
            playing: None,
            ..self.viewer(asker, exclude)
        };
        let decision = steer(snapshot, &viewer);
        decision.chosen()?;
        let bitrate_bps = asker.stream.map_or(0, |(_, bps)| bps);
        decision.count(snapshot, bitrate_bps);
        Some(edges_of(&decision))
    }

    fn by_dns(&mut self, asker: &Asker) -> Edges {
        let viewer = Viewer {
            kinds: &[],
            ..self.viewer(asker, "")
        };
        edges_of(&steer(&self.replica(asker).snapshot, &viewer))
    }

    fn running(&mut self, asker: &Asker) -> Option<Edges> {
        let replica = self.replica(asker);
        let rests = self.rests(asker, replica);
        if rests && !cfg!(debug_assertions) {
            return None;
        }
        let viewer = self.viewer(asker, "");
        let decision = steer(&replica.snapshot, &viewer);
        let chosen = decision.chosen().map(|it| it.node);
        if rests {
            debug_assert_eq!(chosen, Some(asker.playing.into()), "{asker:?} rests");
            return None;
        }
        let chosen = chosen? as u16;
        if ![asker.playing, asker.sent].contains(&chosen) {
            let bitrate_bps = asker.stream.map_or(0, |(_, bps)| bps);
            decision.count(&replica.snapshot, bitrate_bps);
        }
        Some(edges_of(&decision))
    }

    fn again_s(&self, asker: &Asker, asked: u8) -> Option<u32> {
        let nodes = &self.replica(asker).snapshot.nodes;
        let on = nodes.get(usize::from(asker.playing));
        let random = mix(asker.key ^ u64::from(asker.now_ms));
        Some(ttl_s(on, asked, random))
    }

    fn is_ours(&self) -> bool {
        true
    }

    fn may(&self, region: usize, edge: usize) -> bool {
        self.may[region * self.world.edges.len() + edge]
    }
}

fn edges_of(decision: &Decision<'_>) -> Edges {
    let mut edges = NOWHERE;
    let from = decision.edges().map(|it| it.node as u16);
    edges.iter_mut().zip(from).for_each(|(to, from)| *to = from);
    edges
}

fn key(stream: usize) -> StreamKey {
    StreamKey::parse(&format!("live/s{stream}")).expect("the name is plain and short")
}

fn located(world: &World, region: usize) -> Located {
    let at = world.regions[region].at;
    Located {
        point: geo::Point {
            lat: at.lat,
            lon: at.lon,
        },
        country: None,
        region: region_of(world, region),
        source: Source::Zone,
    }
}

/// The metros where something is published, each with its origin.
fn origins(world: &World) -> BTreeMap<usize, NodeId> {
    let homes = world.streams.iter().map(|stream| stream.home);
    let id = |home: usize| NodeId::parse(&format!("origin-{home}")).expect("a plain name");
    homes.map(|home| (home, id(home))).collect()
}

fn records(
    world: &World,
    keys: &[StreamKey],
    origins: &BTreeMap<usize, NodeId>,
) -> HashMap<StreamKey, Arc<StreamRecord>> {
    let record = |(key, stream): (&StreamKey, &crate::world::Stream)| {
        let record = StreamRecord {
            key: key.clone(),
            origin: origins[&stream.home].clone(),
            epoch: 1,
            started_ms: 0,
            tracks: Vec::new(),
            bitrate_bps: (stream.bitrate_kbps * 1e3) as u64,
            peak_bps: 0,
            publisher: String::new(),
        };
        (key.clone(), Arc::new(record))
    };
    keys.iter().zip(&world.streams).map(record).collect()
}

/// The edges in the world's order, then the origins.
fn nodes(world: &World, origins: &BTreeMap<usize, NodeId>) -> Vec<NodeView> {
    let capacities = capacities(world);
    let edge = |(at, edge): (usize, &crate::world::Edge)| Node {
        capacity: Capacity {
            egress_bps: capacities[at],
            viewers: 0,
        },
        ..described(
            world,
            (node(&edge.name, at), Role::Edge),
            (edge.metro, edge.at),
        )
    };
    let edges = world.edges.iter().enumerate().map(edge);
    let origin = |(home, id): (&usize, &NodeId)| {
        described(
            world,
            (id.clone(), Role::Origin),
            (*home, world.metros[*home].at),
        )
    };
    let nodes = edges.chain(origins.iter().map(origin)).zip(1..);
    let view = |(node, number)| NodeView {
        settled: true,
        ..NodeView::new(number, Arc::new(Sample::new(node, 0)), Arc::default())
    };
    nodes.map(view).collect()
}

fn described(
    world: &World,
    (id, role): (NodeId, Role),
    (metro, at): (usize, crate::world::Point),
) -> Node {
    Node {
        public_url: format!("https://{id}.example.com"),
        relay: Some(format!("{id}:4443")),
        id,
        role,
        hub: false,
        zone: None,
        admin: None,
        place: Place {
            lat: at.lat,
            lon: at.lon,
            name: world.metros[metro].name.clone(),
            country: world.metros[metro].country.clone(),
        },
        capacity: Capacity::default(),
        version: String::new(),
    }
}

/// By region and edge, whether the way is one of the world's and not so long that a player leaves.
fn calm(world: &World, slack_ms: f64) -> Vec<bool> {
    let mut calm = vec![false; world.regions.len() * world.edges.len()];
    for region in 0..world.regions.len() {
        let nearest = world.paths(region).first().map_or(0.0, |path| path.rtt_ms);
        for path in world.paths(region) {
            let far = path.rtt_ms >= nearest + 2.0 * slack_ms - ROUNDING_MS;
            calm[region * world.edges.len() + path.edge as usize] = !far;
        }
    }
    calm
}

/// By region and edge, whether policies let it be used.
fn may(setting: &Setting<'_>) -> Vec<bool> {
    let world = setting.world;
    let mut may = vec![false; world.regions.len() * world.edges.len()];
    for region in 0..world.regions.len() {
        for (edge, of) in world.edges.iter().enumerate() {
            let subject = scheduler::policy::Subject {
                region: Some(region_of(world, region)),
                ..Default::default()
            };
            let placement = &setting.policies.of(&subject).policy.placement;
            let country = world.metros[of.metro].country.as_deref();
            let usd = Some(setting.tariffs[edge].marginal_usd());
            let bar = placement.bars(node(&of.name, edge).as_str(), country, usd);
            may[region * world.edges.len() + edge] = bar.is_none();
        }
    }
    may
}

/// A resolver of a region, as one who asks.
pub(in super::super) fn resolver(region: usize, nth: u64) -> u64 {
    hash(&[region.to_le_bytes(), nth.to_le_bytes()].concat())
}

/// Calendar seconds of a control slot, as the scheduler has it.
const CONTROL_S: u32 = 30;

/// Round-trip times are of single precision in decisions.
const ROUNDING_MS: f64 = 0.01;
