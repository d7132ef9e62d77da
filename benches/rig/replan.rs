//! A whole replan: prices and splits of all regions, then the ways of all streams against them.
//!
//! Regions lie in fifty countries, each with a hub and nine more edges. Four in five of a stream's
//! viewers are in one country, the others anywhere; streams' sizes follow Zipf's law. What a region
//! demands is what its viewers of all streams watch, so both layers plan for the same people.

use super::{Dice, process};
use cluster::node::NodeId;
use cluster::plan::Health;
use cluster::region::Region;
use scheduler::plan::billing::{Bill, MAX_SLOTS, Tariff};
use scheduler::plan::cost;
use scheduler::plan::paths::{Cold, Ground, Laid, Node, Paths, Stream, Terms};
use scheduler::plan::split::Offer;
use scheduler::plan::trade::{Planned, trade};
use scheduler::plan::view::{Demand, Edge, Outlook, Path, View};
use scheduler::policy::Policies;
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

const COUNTRIES: usize = 50;
const REGIONS: usize = 1_000;
const EDGES: usize = 500;
const ORIGINS: usize = 5;
const STREAMS: usize = 10_000;
const VIEWERS: f64 = 1e6;
const BITRATE_BPS: f64 = 2e6;
const REPLANS: usize = 9;

/// A world to plan for.
#[derive(Clone, Copy)]
pub struct Kind {
    pub name: &'static str,
    /// Part of all edges' capacity that is asked for; plans use 92 %.
    pub used: f64,
    /// The dearest edge's price over the cheapest one's.
    pub spread: f64,
    /// The level to be billed at as a part of an edge's capacity; 0 as on the first day.
    pub goal: f64,
    /// How much demand moves from slot to slot, up or down.
    pub drift: f64,
}

/// Plans once from nothing, then slot by slot while demand moves.
pub fn run(kind: Kind) {
    let before = process::resident(std::process::id());
    let mut world = World::new(3, kind);
    let mut state = State::default();
    let cold = state.replan(&world);
    println!(
        "whole replan, {REGIONS} x {EDGES} x {}, {STREAMS} streams: {}",
        super::OFFERS,
        kind.name
    );
    cold.print("cold", cold.total());
    let mut took = Vec::new();
    for _ in 0..=REPLANS {
        world.drift();
        took.push(state.replan(&world));
    }
    // In the first slot every stream is laid anew, because edges carry it now.
    let first = took.remove(0);
    first.print("first slot", first.total());
    took.sort_by_key(Took::total);
    let worst = took[REPLANS - 1].total();
    took[REPLANS / 2].print("warm", worst);
    let gap = took.iter().map(|it| it.gap).fold(0.0, f64::max);
    println!("  widest gap of these {:.3} %", gap * 100.0);
    let copies: usize = state.laid.iter().map(|laid| laid.ways.len()).sum();
    println!(
        "  {copies} copies of streams, {} kB resident for world and plans",
        (process::resident(std::process::id()) - before) / 1000
    );
}

/// What a replan took.
struct Took {
    trade: Duration,
    lay: Duration,
    gap: f64,
    rounds: u32,
    overload_bps: f64,
}

impl Took {
    fn total(&self) -> Duration {
        self.trade + self.lay
    }

    fn print(&self, name: &str, worst: Duration) {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        println!(
            "  {name}: {:.1} ms (worst {:.1}): prices {:.1}, streams {:.1}; {} rounds, gap {:.3} %, \
             overload {:.0} bit/s",
            ms(self.total()),
            ms(worst),
            ms(self.trade),
            ms(self.lay),
            self.rounds,
            self.gap * 100.0,
            self.overload_bps,
        );
    }
}

/// What is kept from one slot to the next.
#[derive(Default)]
struct State {
    planned: Option<Planned>,
    paths: Paths,
    laid: Vec<Arc<Laid>>,
}

impl State {
    fn replan(&mut self, world: &World) -> Took {
        let carriers: Vec<Vec<u32>> = (0..STREAMS)
            .map(|stream| {
                let ways = self.laid.get(stream).map_or(&[][..], |laid| &laid.ways);
                ways.iter().map(|way| way.node).collect()
            })
            .collect();
        let began = Instant::now();
        let planned = trade(&world.view, &Policies::default(), self.planned.as_ref());
        let trade = began.elapsed();
        let nodes = world.nodes(&planned);
        let offers = offers(&planned);
        let ground = Ground {
            nodes: &nodes,
            rtt_ms: &world.rtt_ms,
            starts: &planned.starts,
            offers: &offers,
        };
        let stream = |(stream, (viewers, carriers))| Stream {
            seed: stream as u64 + 1,
            origin: (EDGES + stream % ORIGINS) as u32,
            viewers,
            carriers,
            allowed: None,
            replicas: 1,
            consolidate_below: 40.0,
            cold: Cold::Off,
        };
        let viewers = world.viewers.iter().map(Vec::as_slice);
        let streams = viewers.zip(carriers.iter().map(Vec::as_slice));
        let streams: Vec<Stream<'_>> = streams.enumerate().map(stream).collect();
        self.laid = self.paths.lay(&ground, &streams, &Terms::default());
        let lay = began.elapsed() - trade;
        let figures = planned.figures;
        self.planned = Some(planned);
        Took {
            trade,
            lay,
            gap: figures.gap,
            rounds: figures.rounds,
            overload_bps: figures.overload_bps,
        }
    }
}

/// What a region pays for a bit of each edge that it may use.
fn offers(planned: &Planned) -> Vec<Offer> {
    let policies = Policies::default();
    let policy = policies.default_policy();
    let regions = 0..planned.starts.len().saturating_sub(1);
    let of = |region: usize| {
        let nearest_ms = planned.nearest_ms(region);
        planned.of(region).iter().map(move |way| Offer {
            edge: way.edge,
            cost: cost::network(policy, way.rtt_ms.into(), nearest_ms)
                + planned.quotes[way.edge as usize].price,
        })
    };
    regions.flat_map(of).collect()
}

struct World {
    kind: Kind,
    dice: Dice,
    view: View,
    /// By stream: its viewers by region.
    viewers: Vec<Vec<(u32, f32)>>,
    rtt_ms: Vec<f32>,
}

/// A place on a square of 200 ms a side.
type Spot = [f64; 2];

impl World {
    fn new(seed: u64, kind: Kind) -> Self {
        let mut dice = Dice(seed);
        let countries: Vec<Spot> = (0..COUNTRIES).map(|_| [dice.roll(), dice.roll()]).collect();
        let spots = |dice: &mut Dice, count: usize| -> Vec<Spot> {
            let near = |n: usize, dice: &mut Dice| {
                countries[n % COUNTRIES].map(|it| it + 0.1 * (dice.roll() - 0.5))
            };
            (0..count).map(|n| near(n, dice)).collect()
        };
        let regions = spots(&mut dice, REGIONS);
        let nodes = spots(&mut dice, EDGES + ORIGINS);
        let viewers: Vec<_> = (0..STREAMS).map(|nth| audience(nth, &mut dice)).collect();
        let mut demand = vec![0.0; REGIONS];
        for (region, viewers) in viewers.iter().flatten() {
            demand[*region as usize] += f64::from(*viewers) * BITRATE_BPS;
        }
        let demands = regions.iter().zip(&demand).enumerate();
        let demands = demands.map(|(nth, (spot, bps))| Demand {
            region: Region::named(&format!("region-{nth}")),
            now_bps: *bps,
            outlook: Outlook::STEADY,
            paths: nearest(*spot, &nodes[..EDGES]),
        });
        let rtts = nodes.iter().flat_map(|from| {
            let rtt = move |to: &Spot| rtt_ms(*from, *to);
            nodes.iter().map(rtt)
        });
        let view = View {
            at_s: 0,
            demands: demands.collect(),
            edges: edges(&mut dice, &demand, kind),
        };
        Self {
            kind,
            view,
            viewers,
            rtt_ms: rtts.collect(),
            dice,
        }
    }

    /// The next slot: every region's demand and its viewers change a little.
    fn drift(&mut self) {
        self.view.at_s += 30;
        let drift = self.kind.drift;
        let factors: Vec<f64> = (0..REGIONS)
            .map(|_| 1.0 + drift * (2.0 * self.dice.roll() - 1.0))
            .collect();
        for (demand, factor) in self.view.demands.iter_mut().zip(&factors) {
            demand.now_bps *= factor;
        }
        for (region, viewers) in self.viewers.iter_mut().flatten() {
            *viewers *= factors[*region as usize] as f32;
        }
    }

    fn nodes(&self, planned: &Planned) -> Vec<Node> {
        let node = |at: usize| {
            let quote = planned.quotes.get(at);
            Node {
                seed: scheduler::snapshot::mix(at as u64 + 1),
                weight: 1.0,
                price: quote.map_or(0.0, |quote| quote.price),
                relay: 1.0,
                zone: (at % COUNTRIES) as u32,
                metro: (at % COUNTRIES) as u32,
                hub: at < COUNTRIES,
                relays: true,
                health: Health::Up,
            }
        };
        (0..EDGES + ORIGINS).map(node).collect()
    }
}

/// Viewers by region: four in five of them in the stream's own country.
fn audience(nth: usize, dice: &mut Dice) -> Vec<(u32, f32)> {
    // The sum of n^-0.9 up to 10,000 is 15.7.
    let viewers = VIEWERS / 15.7 / ((nth + 1) as f64).powf(0.9);
    let crowds = (viewers as usize).clamp(1, REGIONS);
    let home = (dice.roll() * COUNTRIES as f64) as usize % COUNTRIES;
    let mut regions: BTreeMap<u32, f32> = BTreeMap::new();
    for _ in 0..crowds {
        let anywhere = (dice.roll() * REGIONS as f64) as usize % REGIONS;
        let at_home = anywhere / COUNTRIES * COUNTRIES + home;
        let region = if dice.roll() < 0.8 { at_home } else { anywhere };
        *regions.entry(region as u32).or_default() += (viewers / crowds as f64) as f32;
    }
    regions.into_iter().collect()
}

/// Edges of different size and price, together what their country needs, billed by 95th percentile
/// above a level.
fn edges(dice: &mut Dice, demand_bps: &[f64], kind: Kind) -> Vec<Edge> {
    let mut edge = |nth: usize| {
        let of_country = demand_bps.iter().skip(nth % COUNTRIES).step_by(COUNTRIES);
        let needed_bps: f64 = of_country.sum();
        let share = (0.5 + dice.roll()) * COUNTRIES as f64 / EDGES as f64;
        let capacity_bps = share * needed_bps / kind.used;
        Edge {
            id: NodeId::parse(&format!("edge-{nth}")).expect("a name"),
            country: None,
            capacity_bps,
            weight: capacity_bps,
            tariff: Tariff {
                usd_per_mbps_month: kind.spread.powf(dice.roll()),
                ..Tariff::default()
            },
            metro: format!("metro-{}", nth % COUNTRIES),
            bill: Arc::new(Bill::new(0, MAX_SLOTS)),
            goal_bps: kind.goal * capacity_bps,
        }
    };
    (0..EDGES).map(&mut edge).collect()
}

fn nearest(spot: Spot, edges: &[Spot]) -> Vec<Path> {
    let path = |(edge, at): (usize, &Spot)| Path {
        edge,
        rtt_ms: rtt_ms(spot, *at),
        measured: true,
    };
    let mut paths: Vec<Path> = edges.iter().enumerate().map(path).collect();
    paths.sort_by(|a, b| a.rtt_ms.total_cmp(&b.rtt_ms));
    paths.truncate(super::OFFERS);
    paths
}

fn rtt_ms(a: Spot, b: Spot) -> f32 {
    (4.0 + 200.0 * (a[0] - b[0]).hypot(a[1] - b[1])) as f32
}
