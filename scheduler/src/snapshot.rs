//! Sans-IO: one immutable view of the cluster, as every decision of a moment sees it.
//!
//! A snapshot never changes; `collect` makes a new one at least once a second and shells swap the
//! pointer. The only moving part is [`Sent`]: the viewers sent to a node by this scheduler, counted
//! up for ever, of which a snapshot remembers how many its sample already includes, and beside it
//! [`Heard`], what players said since the scheduler started.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cluster::node::{Capacity, Node, Role};
use cluster::plan::{Health, Plan};
use cluster::region::Region;
use cluster::sample::Sample;
use cluster::stream::{StreamKey, StreamRecord};

use crate::geo::{Point, Unit};
use crate::market::{Home, Market, Quote, Reach};
use crate::paths::{Links, Ways};
use crate::pathway::Pathway;
use crate::plan::billing::LEAST_RELAY;
use crate::plan::rungs::Shedding;
use crate::policy::{Named, Policies};
use crate::usage::Usage;

pub use cluster::plan::{hash, mix, uniform};

/// The cluster at one moment.
#[derive(Clone, Default)]
pub struct Snapshot {
    /// All known nodes.
    pub nodes: Vec<NodeView>,
    /// Streams on air.
    pub streams: Arc<HashMap<StreamKey, Arc<StreamRecord>>>,
    /// Streams that a player may switch between, by the one that it asks for.
    pub ladders: Arc<Ladders>,
    /// What streams are marked with, by which policies are chosen.
    pub labels: Arc<Labels>,
    /// What nodes are told.
    pub plan: Arc<Plan>,
    /// What the operator asks of steering.
    pub policies: Arc<Policies>,
    /// What was planned for steering.
    pub market: Arc<Market>,
    /// What each policy's viewers use, by the policy's number; empty where none has a cap.
    pub usage: Vec<Usage>,
    /// The market's regions with their edges; empty when it is too old or does not know an edge that
    /// is up.
    pub(crate) reaches: Reaches,
}

/// A market's regions with their edges, by index into a snapshot's nodes, and what that was made of.
#[derive(Clone, Default)]
pub(crate) struct Reaches {
    market: Arc<Market>,
    numbers: Vec<u16>,
    near: Arc<HashMap<Region, Box<[Near]>>>,
}

/// An edge near a region.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Near {
    /// Index into the snapshot's nodes.
    pub node: usize,
    /// The median round-trip time, where it was measured.
    pub rtt_ms: Option<f32>,
}

/// What streams are marked with.
pub type Labels = HashMap<StreamKey, Vec<String>>;

/// The rungs of streams: two or more, best first, the stream among them.
pub type Ladders = HashMap<StreamKey, Vec<StreamKey>>;

/// A node in a snapshot; what each decision reads stands here itself, not behind the sample.
#[derive(Clone)]
pub struct NodeView {
    /// Stands for the node in places too small for its id; never 0.
    pub number: u16,
    /// Its newest sample, with its description.
    pub sample: Arc<Sample>,
    /// When that came, on the scheduler's monotonic clock.
    pub seen_ms: u64,
    /// Whether viewers can be sent here at all.
    pub is_edge: bool,
    /// Whether it may be used.
    pub health: Health,
    /// Since when, on the scheduler's monotonic clock.
    pub health_since_ms: u64,
    /// Whether it has been up for long enough that players may be moved to it just for being
    /// nearer.
    pub settled: bool,
    /// Where it stands.
    pub unit: Unit,
    /// Its own random number, the same in every scheduler.
    pub seed: u64,
    /// Viewers at the time of the sample.
    pub viewers: u32,
    /// Egress at the time of the sample.
    pub egress_bps: u64,
    /// What it may carry.
    pub capacity: Capacity,
    /// Viewers sent there by this scheduler.
    pub sent: Arc<Sent>,
    /// Of those, what the sample includes.
    pub counted: Count,
    /// What players that play from it said.
    pub heard: Arc<Heard>,
    /// What it gives up because of its load.
    pub shedding: Shedding,
    /// How long the ways from regions are, as it measured them.
    pub ways: Arc<Ways>,
    /// How long those to its parents are.
    pub links: Arc<Links>,
    /// What it costs and is planned to carry, where a plan that counts knows it.
    pub quote: Option<Quote>,
    /// What a bit that it sends to other nodes costs, in units of the edges' mean price.
    pub relay_cost: f64,
    /// What it is when it is none of our edges but somebody else's.
    pub pathway: Option<Arc<Pathway>>,
}

/// What players said of an edge when they asked for steering, counted up for ever: who wants a rate
/// or a mean takes the difference of two readings.
#[derive(Debug, Default)]
pub struct Heard {
    asked: AtomicU64,
    measured: AtomicU64,
    throughput_bps: AtomicU64,
}

impl Heard {
    /// Counts a player that asked, and its throughput when it measured one.
    pub fn add(&self, throughput_bps: Option<u64>) {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if let Some(bps) = throughput_bps {
            self.measured.fetch_add(1, Ordering::Relaxed);
            self.throughput_bps.fetch_add(bps, Ordering::Relaxed);
        }
    }

    /// Questions.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    /// Questions with a throughput, and the sum of those in bits per second.
    pub fn throughput(&self) -> (u64, u64) {
        let measured = self.measured.load(Ordering::Relaxed);
        (measured, self.throughput_bps.load(Ordering::Relaxed))
    }
}

/// Viewers sent to a node, with what they pull.
#[derive(Debug, Default)]
pub struct Sent {
    viewers: AtomicU64,
    egress_bps: AtomicU64,
    owed_bps: AtomicU64,
}

/// A reading of [`Sent`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Viewers.
    pub viewers: u64,
    /// The bit rates of their streams, added up.
    pub egress_bps: u64,
}

impl Sent {
    /// Counts one more viewer.
    pub fn add(&self, bitrate_bps: u64) {
        self.viewers.fetch_add(1, Ordering::Relaxed);
        self.egress_bps.fetch_add(bitrate_bps, Ordering::Relaxed);
    }

    /// Counts what it should have been sent, by its chance in a lottery.
    pub fn owe(&self, egress_bps: u64) {
        self.owed_bps.fetch_add(egress_bps, Ordering::Relaxed);
    }

    /// Whether it was sent more than it should have been, by as much as counts when it carries so
    /// much of what it may: in every order of requests each edge then has its share within that.
    fn is_ahead(&self, carried_bps: u64, most_bps: u64) -> bool {
        let Count {
            viewers,
            egress_bps,
        } = self.count();
        let usual_bps = egress_bps / viewers.max(1);
        let few_bps = (AHEAD_VIEWERS * usual_bps).min(most_bps / AHEAD_PART);
        let slack = few_bps.max(usual_bps).max(carried_bps / AHEAD_PART);
        egress_bps > self.owed_bps.load(Ordering::Relaxed) + slack
    }

    /// All counted so far.
    pub fn count(&self) -> Count {
        Count {
            viewers: self.viewers.load(Ordering::Relaxed),
            egress_bps: self.egress_bps.load(Ordering::Relaxed),
        }
    }
}

/// How many viewers an edge may be ahead of its share, so that the few of a small stream stay
/// together, while they are a small part of what it may send.
const AHEAD_VIEWERS: u64 = 8;

/// Or what part of its load: a large stream's come in crowds.
const AHEAD_PART: u64 = 50;

impl Snapshot {
    /// The stream of that name, when it is on air.
    pub fn stream(&self, key: &str) -> Option<&Arc<StreamRecord>> {
        self.streams.get(key)
    }

    /// The stream's rungs, itself among them; empty when it stands alone.
    pub fn rungs(&self, key: &StreamKey) -> &[StreamKey] {
        self.ladders.get(key).map_or(&[], Vec::as_slice)
    }

    /// What the stream is marked with.
    pub fn labels(&self, key: &StreamKey) -> &[String] {
        self.labels.get(key).map_or(&[], Vec::as_slice)
    }

    /// Where the stream is at home, if that was planned.
    pub fn home(&self, key: &StreamKey) -> Option<&Home> {
        self.market.homes.get(key).map(AsRef::as_ref)
    }

    /// The edges near a region, if it is one that was planned for.
    pub fn reach(&self, region: Region) -> Option<&[Near]> {
        self.reaches.near.get(&region).map(AsRef::as_ref)
    }

    /// The round-trip time between a region and the node of that index, if it was measured.
    pub fn measured(&self, region: Region, node: usize) -> Option<f32> {
        let near = self.reach(region)?.iter().find(|near| near.node == node)?;
        near.rtt_ms
    }

    /// Whether all that a policy selects uses as much as it may.
    pub fn is_capped(&self, named: &Named) -> bool {
        let usage = self.usage.get(named.number);
        usage.is_some_and(|usage| usage.reaches(&named.policy.caps))
    }

    /// Goes by a market from now on, as far as that knows the nodes; by none that is too old.
    pub fn follow(&mut self, market: &Arc<Market>, unix_ms: u64) {
        let mut knows_all = market.is_good(unix_ms);
        if knows_all {
            self.market = market.clone();
            for view in &mut self.nodes {
                view.quote = market.quotes.get(&view.number).copied();
                let relay_cost = market.relays.get(&view.number).copied();
                view.relay_cost = relay_cost.unwrap_or(LEAST_RELAY);
                knows_all &= !view.is_edge || view.health != Health::Up || view.quote.is_some();
            }
        }
        if !knows_all {
            self.reaches = Reaches::default();
        } else if !self.reaches.hold(market, &self.nodes) {
            self.reaches = Reaches::new(market, &self.nodes);
        }
    }

    /// The node of that id.
    pub fn node(&self, id: &str) -> Option<&NodeView> {
        self.nodes.iter().find(|view| view.node().id.as_str() == id)
    }
}

impl Reaches {
    fn new(market: &Arc<Market>, nodes: &[NodeView]) -> Self {
        let numbers: Vec<u16> = nodes.iter().map(|view| view.number).collect();
        let indices: HashMap<u16, usize> = numbers.iter().copied().zip(0..).collect();
        let near = |reach: &Reach| {
            let node = indices.get(&reach.number).copied()?;
            let rtt_ms = reach.rtt_ms;
            Some(Near { node, rtt_ms })
        };
        let of = |reaches: &[Reach]| reaches.iter().filter_map(near).collect();
        let regions = market.reaches.iter();
        let near = regions.map(|(region, reaches)| (*region, of(reaches)));
        Self {
            market: market.clone(),
            near: Arc::new(near.collect()),
            numbers,
        }
    }

    /// Whether they are made of this market and the same nodes.
    fn hold(&self, market: &Arc<Market>, nodes: &[NodeView]) -> bool {
        let numbers = nodes.iter().map(|view| view.number);
        Arc::ptr_eq(&self.market, market) && numbers.eq(self.numbers.iter().copied())
    }
}

impl NodeView {
    /// A node as its sample shows it, with nothing sent there since.
    pub fn new(number: u16, sample: Arc<Sample>, sent: Arc<Sent>) -> Self {
        let place = &sample.node.place;
        let mut links = Links::default();
        links.hear(0, &sample.parents);
        Self {
            number,
            seen_ms: 0,
            is_edge: sample.node.role == Role::Edge,
            health: Health::Up,
            health_since_ms: 0,
            settled: false,
            unit: Point {
                lat: place.lat,
                lon: place.lon,
            }
            .unit(),
            seed: hash(sample.node.id.as_str().as_bytes()),
            viewers: sample.total_viewers(),
            egress_bps: sample.egress_bps,
            capacity: sample.node.capacity,
            counted: sent.count(),
            sent,
            heard: Arc::default(),
            shedding: Shedding::default(),
            ways: Arc::default(),
            links: Arc::new(links),
            quote: None,
            relay_cost: LEAST_RELAY,
            pathway: None,
            sample,
        }
    }

    /// An external pathway, where nobody is yet.
    pub fn external(number: u16, pathway: Pathway) -> Self {
        let sample = Sample::new(pathway.node(), 0);
        Self {
            pathway: Some(Arc::new(pathway)),
            ..Self::new(number, Arc::new(sample), Arc::default())
        }
    }

    /// Whether it stands near every viewer.
    pub fn is_everywhere(&self) -> bool {
        let pathway = self.pathway.as_ref();
        pathway.is_some_and(|pathway| pathway.is_everywhere())
    }

    /// Counts a viewer of that region and of a stream of that bit rate who is sent there; gives
    /// what is counted.
    pub fn expect(&self, region: Region, bitrate_bps: u64) -> u64 {
        let counted = bitrate_bps.max(LEAST_BITRATE_BPS);
        self.sent.add(counted);
        if let Some(pathway) = &self.pathway {
            pathway.arrivals().add(region, counted);
        }
        counted
    }

    /// Whether it was sent clearly more than its share already.
    pub fn is_ahead(&self) -> bool {
        let most_bps = match self.capacity.egress_bps {
            0 => u64::MAX,
            limited => limited,
        };
        self.sent.is_ahead(self.carried_bps(), most_bps)
    }

    /// What it sends now, to everyone sent there since the sample too, in bits per second.
    pub fn carried_bps(&self) -> u64 {
        let sent_bps = self.sent.count().egress_bps - self.counted.egress_bps;
        self.egress_bps.saturating_add(sent_bps)
    }

    /// Takes another health; false when it is the same one.
    pub fn turn(&mut self, now_ms: u64, health: Health) -> bool {
        let turns = self.health != health;
        if turns {
            (self.health, self.health_since_ms) = (health, now_ms);
        }
        turns
    }

    /// The node's description.
    pub fn node(&self) -> &Node {
        &self.sample.node
    }

    /// What it carries now: the sample and everyone sent there since, as shares of its capacity.
    pub fn load(&self) -> Load {
        let now = self.sent.count();
        let viewers = u64::from(self.viewers) + (now.viewers - self.counted.viewers);
        let egress_bps = self.carried_bps();
        let capacity = &self.capacity;
        let share = |load: u64, of: u64| (of > 0).then(|| load as f32 / of as f32);
        let unlimited = *capacity == Capacity::default();
        let most = if unlimited {
            NOMINAL_VIEWERS
        } else {
            capacity.viewers.into()
        };
        Load {
            viewers: share(viewers, most),
            egress: share(egress_bps, capacity.egress_bps),
            unlimited,
        }
    }

    /// How many more draws than another node it should get: its capacity in some fixed unit.
    pub fn weight(&self) -> f32 {
        let capacity = &self.capacity;
        match (capacity.egress_bps, capacity.viewers) {
            (0, 0) => 1.0,
            (0, viewers) => viewers as f32 / NOMINAL_VIEWERS as f32,
            (bps, _) => bps as f32 / NOMINAL_EGRESS_BPS,
        }
    }
}

/// Shares of a node's capacity in use.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Of its viewers, when limited; of a nominal node's when nothing is.
    pub viewers: Option<f32>,
    /// Of its egress, when limited.
    pub egress: Option<f32>,
    /// Whether the node has no limit, so that it is never full.
    pub unlimited: bool,
}

impl Load {
    /// The larger share.
    pub fn worst(self) -> f32 {
        self.viewers.unwrap_or(0.0).max(self.egress.unwrap_or(0.0))
    }
}

/// What a node without limits is compared against: 10,000 viewers or 10 Gbit/s, a usual server.
/// Only the ratio between nodes matters.
const NOMINAL_VIEWERS: u64 = 10_000;
const NOMINAL_EGRESS_BPS: f32 = 10e9;

/// Until an origin has measured a stream, and for audio: a viewer always weighs something.
pub(crate) const LEAST_BITRATE_BPS: u64 = 100_000;

#[cfg(test)]
pub(crate) mod fixture;
