//! Sans-IO: who watches from where and when, which edges there are, and how far they are apart.
//!
//! A world is dense: regions, edges, metros and streams are indices into its lists, demand is a
//! value a slot and region. Traffic is in Mbit/s, as contracts count it. Not here: where worlds
//! come from ([`folder`] and its neighbours), and prices, of which one world may have several.

pub mod audience;
pub mod folder;
pub mod generate;
pub mod own;
pub mod prices;
pub mod redraw;
pub mod scenario;

#[cfg(test)]
pub(crate) mod fixture;

use std::collections::BTreeMap;
use std::ops::Range;

use audience::Affinity;
use scheduler::plan::billing::SLOT_S;

/// A world, complete.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct World {
    /// What it is called.
    pub name: String,
    /// Its calendar.
    pub time: Time,
    /// Where people live.
    pub metros: Vec<Metro>,
    /// Who asks.
    pub regions: Vec<Region>,
    /// Who answers.
    pub edges: Vec<Edge>,
    /// Region `r` has the paths `starts[r]..starts[r + 1]`.
    pub starts: Vec<u32>,
    /// The ways from regions to edges, nearest first; an edge without one may not serve a region.
    pub paths: Vec<Path>,
    /// By slot and then region, Mbit/s.
    pub demand: Vec<f32>,
    /// What was announced.
    pub events: Vec<Event>,
    /// What is on air, in order of rank.
    pub streams: Vec<Stream>,
    /// Where streams are watched.
    pub affinity: Affinity,
    /// Edges through which their area takes each stream once, by index; none where edges take it
    /// from whom is nearest.
    pub hubs: Vec<usize>,
    /// When edges are dead.
    pub outages: Vec<Outage>,
}

/// Slots and days of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time {
    /// Seconds of a slot.
    pub step_s: u32,
    /// Unix seconds at which slot 0 begins.
    pub start_s: i64,
    /// All slots.
    pub slots: usize,
    /// The first that is billed; those before are history.
    pub billed_from: usize,
}

impl Default for Time {
    fn default() -> Self {
        Self {
            step_s: 300,
            start_s: 0,
            slots: 0,
            billed_from: 0,
        }
    }
}

impl Time {
    /// Slots of a day.
    pub fn day(&self) -> usize {
        (DAY_S / self.step_s).max(1) as usize
    }

    /// Slots that are one sample of a bill.
    pub fn slots_a_bill(&self) -> usize {
        (SLOT_S / self.step_s).max(1) as usize
    }

    /// The slots that are billed.
    pub fn billed(&self) -> Range<usize> {
        self.billed_from..self.slots
    }

    /// Days that are billed, a part of one counted.
    pub fn days(&self) -> usize {
        self.billed().len().div_ceil(self.day())
    }

    /// Unix seconds at which a slot begins.
    pub fn second(&self, slot: usize) -> i64 {
        self.start_s + slot as i64 * i64::from(self.step_s)
    }
}

/// A place where people live.
#[derive(Clone, Debug, PartialEq)]
pub struct Metro {
    /// Its name.
    pub name: String,
    /// ISO 3166 code of its country, where known.
    pub country: Option<String>,
    /// The part of the world it belongs to.
    pub area: String,
    /// Where it is.
    pub at: Point,
    /// Its clock, hours from UTC.
    pub utc_offset_h: f64,
    /// How many watch there, in any unit common to all.
    pub weight: f64,
}

/// Degrees north and east.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// North.
    pub lat: f64,
    /// East.
    pub lon: f64,
}

impl Point {
    /// Great-circle distance on a sphere of 6,371 km.
    pub fn km_to(self, other: Self) -> f64 {
        let (from, to) = (self.lat.to_radians(), other.lat.to_radians());
        let north = libm::sin((to - from) / 2.0);
        let east = libm::sin((other.lon - self.lon).to_radians() / 2.0);
        let half = north * north + libm::cos(from) * libm::cos(to) * east * east;
        2.0 * EARTH_KM * libm::asin(libm::sqrt(half.clamp(0.0, 1.0)))
    }
}

const EARTH_KM: f64 = 6371.0;
const DAY_S: u32 = 86_400;

/// A metro's viewers in one kind of access network.
#[derive(Clone, Debug, PartialEq)]
pub struct Region {
    /// Its name.
    pub name: String,
    /// Index of its metro.
    pub metro: usize,
    /// Where its viewers are on average.
    pub at: Point,
    /// Milliseconds of its access network, which all its paths include.
    pub access_ms: f64,
}

/// A node that serves viewers.
#[derive(Clone, Debug, PartialEq)]
pub struct Edge {
    /// Its name.
    pub name: String,
    /// Index of its metro.
    pub metro: usize,
    /// Where it stands.
    pub at: Point,
    /// Mbit/s that it can send.
    pub capacity_mbps: f64,
    /// Mbit/s that it can take in.
    pub ingress_mbps: f64,
}

/// The way from a region to an edge.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Path {
    /// Index of the edge.
    pub edge: u32,
    /// Round-trip time.
    pub rtt_ms: f64,
}

/// An announced event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The first slot, ramps included.
    pub start: usize,
    /// How many.
    pub slots: usize,
    /// Whose viewers it touches: metros by index.
    pub metros: Vec<usize>,
    /// Expected demand over normal, at the plateau.
    pub multiplier: f64,
    /// The slot from which on it may be known.
    pub announced: usize,
}

/// Something to watch.
#[derive(Clone, Debug, PartialEq)]
pub struct Stream {
    /// What one viewer takes, kbit/s.
    pub bitrate_kbps: f64,
    /// Share of all viewers, before affinity.
    pub popularity: f64,
    /// Index of the metro where it is published.
    pub home: usize,
    /// Whether it is watched alike everywhere.
    pub is_global: bool,
}

/// An edge that is dead for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// Index of the edge.
    pub edge: usize,
    /// When.
    pub slots: Range<usize>,
}

impl World {
    /// What regions ask for in a slot, Mbit/s.
    pub fn demand(&self, slot: usize) -> &[f32] {
        let regions = self.regions.len();
        &self.demand[slot * regions..(slot + 1) * regions]
    }

    /// Where a region's paths lie among all.
    pub fn range(&self, region: usize) -> Range<usize> {
        self.starts[region] as usize..self.starts[region + 1] as usize
    }

    /// A region's paths, nearest first.
    pub fn paths(&self, region: usize) -> &[Path] {
        &self.paths[self.range(region)]
    }

    /// Keeps the nearest paths of each region, of which `paths` has all in any order.
    pub fn route(&mut self, paths: Vec<Vec<Path>>) {
        (self.starts, self.paths) = (vec![0], Vec::new());
        for mut of in paths {
            let names = |path: &Path| &self.edges[path.edge as usize].name;
            of.sort_by(|a, b| {
                let order = a.rtt_ms.total_cmp(&b.rtt_ms);
                order.then_with(|| names(a).cmp(names(b)))
            });
            of.truncate(MAX_PATHS);
            self.paths.extend(of);
            self.starts.push(self.paths.len() as u32);
        }
    }

    /// The edge of each area that can send most, the first of equals.
    pub fn largest_by_area(&self) -> Vec<usize> {
        let mut largest: BTreeMap<&str, usize> = BTreeMap::new();
        for (at, edge) in self.edges.iter().enumerate() {
            let area = self.metros[edge.metro].area.as_str();
            let best = largest.entry(area).or_insert(at);
            if edge.capacity_mbps > self.edges[*best].capacity_mbps {
                *best = at;
            }
        }
        largest.into_values().collect()
    }

    /// Whether an edge is alive in a slot.
    pub fn is_up(&self, edge: usize, slot: usize) -> bool {
        let dead = |it: &Outage| it.edge == edge && it.slots.contains(&slot);
        !self.outages.iter().any(dead)
    }
}

/// Edges that a region can use: as many as a plan offers it.
pub const MAX_PATHS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_the_globe() {
        let at = |lat, lon| Point { lat, lon };
        for (from, to, km) in [
            (at(0.0, 0.0), at(0.0, 90.0), 10_007.5),
            (at(50.11, 8.68), at(51.51, -0.13), 638.0),
            (at(0.0, 179.5), at(0.0, -179.5), 111.2),
            (at(10.0, 10.0), at(10.0, 10.0), 0.0),
        ] {
            let found = from.km_to(to);
            assert!((found - km).abs() < 0.01 * km + 0.1, "{found} not {km}");
        }
    }

    #[test]
    fn paths_are_sorted_by_time_and_then_by_the_edges_names() {
        let edge = |name: &str| Edge {
            name: name.to_owned(),
            metro: 0,
            at: Point::default(),
            capacity_mbps: 1.0,
            ingress_mbps: 1.0,
        };
        let mut world = World {
            edges: vec![edge("b"), edge("a"), edge("c")],
            ..World::default()
        };
        let path = |(edge, rtt_ms)| Path { edge, rtt_ms };
        world.route(vec![[(2, 1.0), (0, 5.0), (1, 5.0)].map(path).to_vec()]);
        let edges: Vec<u32> = world.paths.iter().map(|path| path.edge).collect();
        assert_eq!((edges, world.starts), (vec![2, 1, 0], vec![0, 3]));
    }
}
