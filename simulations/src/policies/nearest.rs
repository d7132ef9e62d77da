//! Sans-IO: rules without memory: B0, B1 and B8.
//!
//! B0 sends each region to the edge that is nearest on the map, whatever it carries. B1 fills
//! edges up to 85 % in the order of their round-trip times, the largest regions first; B8 does the
//! same in the order of prices, among edges within the slack of the nearest and the nearest three.

use scheduler::plan::billing::Tariff;

use super::within;
use crate::relay::Style;
use crate::run::{Known, Rule};
use crate::world::World;

/// B0.
#[derive(Clone, Debug)]
pub struct Geographic {
    /// By region, its path.
    nearest: Vec<usize>,
}

impl Geographic {
    /// For a world.
    pub fn new(world: &World) -> Self {
        let nearest = |region: usize| {
            let from = world.regions[region].at;
            let edge = |at: usize| &world.edges[world.paths[at].edge as usize];
            let closer = |a: &usize, b: &usize| {
                let (a, b) = (edge(*a), edge(*b));
                let order = from.km_to(a.at).total_cmp(&from.km_to(b.at));
                order.then_with(|| a.name.cmp(&b.name))
            };
            world.range(region).min_by(closer).unwrap_or(0)
        };
        Self {
            nearest: (0..world.regions.len()).map(nearest).collect(),
        }
    }
}

impl Rule for Geographic {
    fn name(&self) -> &str {
        "B0"
    }

    fn split(&mut self, _: &Known<'_>, shares: &mut [f64]) {
        for at in &self.nearest {
            shares[*at] = 1.0;
        }
    }
}

/// B1 and B8.
#[derive(Clone, Debug)]
pub struct Spill {
    name: &'static str,
    /// Regions, the largest first.
    order: Vec<usize>,
    /// By region, its paths in the order in which they are filled.
    paths: Vec<Vec<usize>>,
    /// Part of its capacity up to which an edge is filled.
    full: f64,
    style: Style,
    room: Vec<f64>,
}

impl Spill {
    /// B1 for a world: nearest first, each edge filled up to that share of its capacity.
    pub fn nearest(world: &World, full: f64) -> Self {
        let regions = 0..world.regions.len();
        let paths = regions.map(|region| world.range(region).collect());
        let rule = Self::new("B1", world, paths.collect());
        Self { full, ..rule }
    }

    /// B8 for a world: cheapest first, within so many milliseconds of the nearest.
    pub fn cheapest(world: &World, tariffs: &[Tariff], slack_ms: f64) -> Self {
        let usd = |at: usize| tariffs[world.paths[at].edge as usize].marginal_usd();
        let paths = |region: usize| {
            let mut paths = within(world, region, slack_ms);
            // Of equal prices the nearer stays first.
            paths.sort_by(|a, b| usd(*a).total_cmp(&usd(*b)));
            paths
        };
        let regions = 0..world.regions.len();
        Self::new("B8", world, regions.map(paths).collect())
    }

    /// The same under another name, with another way of bringing streams to viewers.
    pub fn named(self, name: &'static str, style: Style) -> Self {
        Self {
            name,
            style,
            ..self
        }
    }

    fn new(name: &'static str, world: &World, paths: Vec<Vec<usize>>) -> Self {
        let mut order: Vec<usize> = (0..world.regions.len()).collect();
        let mean = means(world);
        order.sort_by(|a, b| {
            let larger = mean[*b].total_cmp(&mean[*a]);
            larger.then_with(|| world.regions[*a].name.cmp(&world.regions[*b].name))
        });
        Self {
            name,
            order,
            paths,
            full: FULL,
            style: Style::default(),
            room: Vec::new(),
        }
    }
}

/// By region, the mean demand before the billed slots.
pub(crate) fn means(world: &World) -> Vec<f64> {
    let mut sums = vec![0.0; world.regions.len()];
    for slot in 0..world.time.billed_from {
        for (sum, demand) in sums.iter_mut().zip(world.demand(slot)) {
            *sum += f64::from(*demand);
        }
    }
    let slots = world.time.billed_from.max(1) as f64;
    sums.into_iter().map(|sum| sum / slots).collect()
}

impl Rule for Spill {
    fn name(&self) -> &str {
        self.name
    }

    fn style(&self) -> Style {
        self.style
    }

    fn split(&mut self, known: &Known<'_>, shares: &mut [f64]) {
        let world = known.world;
        let rooms = world.edges.iter().zip(known.up);
        let room = |(edge, up): (&crate::world::Edge, &bool)| {
            f64::from(u8::from(*up)) * self.full * edge.capacity_mbps
        };
        self.room.clear();
        self.room.extend(rooms.map(room));
        let demand = known.demand();
        for &region in &self.order {
            let whole = f64::from(demand[region]);
            let paths = &self.paths[region];
            let mut left = whole;
            for &at in paths {
                let room = &mut self.room[world.paths[at].edge as usize];
                let put = left.min(*room);
                if put > 0.0 {
                    *room -= put;
                    left -= put;
                    shares[at] += put / whole;
                }
                if left <= 0.0 {
                    break;
                }
            }
            let alive = |at: &&usize| known.up[world.paths[**at].edge as usize];
            let first = paths.iter().find(alive).or(paths.first());
            if let Some(&first) = first.filter(|_| left > 0.0 || whole <= 0.0) {
                shares[first] += if whole > 0.0 { left / whole } else { 1.0 };
            }
        }
    }
}

/// Part of its capacity up to which an edge is filled.
const FULL: f64 = 0.85;
