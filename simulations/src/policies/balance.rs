//! Sans-IO: rules that look at load alone: B2, B2p and B3.
//!
//! They use the edges within the slack of the nearest, whatever these cost.

use super::within;
use crate::dice::Dice;
use crate::relay::{Keep, Style};
use crate::run::{Known, Rule};
use crate::world::World;

/// B2: all newcomers of a region go to the edge that was least loaded when telemetry last told. So
/// do those of its neighbours, hence the herd.
#[derive(Clone, Debug)]
pub struct LeastLoaded {
    paths: Vec<Vec<usize>>,
    loads: Vec<f64>,
}

impl LeastLoaded {
    /// For a world.
    pub fn new(world: &World, slack_ms: f64) -> Self {
        Self {
            paths: all_within(world, slack_ms),
            loads: vec![0.0; world.edges.len()],
        }
    }
}

fn all_within(world: &World, slack_ms: f64) -> Vec<Vec<usize>> {
    let regions = 0..world.regions.len();
    regions
        .map(|region| within(world, region, slack_ms))
        .collect()
}

impl Rule for LeastLoaded {
    fn name(&self) -> &str {
        "B2"
    }

    fn split(&mut self, known: &Known<'_>, shares: &mut [f64]) {
        let world = known.world;
        for paths in &self.paths {
            let used = |at: &usize| {
                let edge = world.paths[*at].edge as usize;
                if known.up[edge] {
                    self.loads[edge] / world.edges[edge].capacity_mbps
                } else {
                    f64::INFINITY
                }
            };
            let least = paths.iter().min_by(|a, b| used(a).total_cmp(&used(b)));
            least.iter().for_each(|at| shares[**at] = 1.0);
        }
    }

    fn carried(&mut self, _: usize, loads: &[f64]) {
        self.loads.copy_from_slice(loads);
    }
}

/// B2p: of two edges drawn at random the one with less load by the rule's own count, for a part of
/// a region's viewers at a time.
#[derive(Clone, Debug)]
pub struct TwoChoices {
    paths: Vec<Vec<usize>>,
    counts: Vec<f64>,
}

impl TwoChoices {
    /// For a world.
    pub fn new(world: &World, slack_ms: f64) -> Self {
        Self {
            paths: all_within(world, slack_ms),
            counts: vec![0.0; world.edges.len()],
        }
    }
}

impl Rule for TwoChoices {
    fn name(&self) -> &str {
        "B2p"
    }

    fn split(&mut self, known: &Known<'_>, shares: &mut [f64]) {
        let world = known.world;
        let mut dice = Dice::new(known.slot as u64, "two choices");
        self.counts.fill(0.0);
        for _ in 0..PARTS {
            for (paths, mbps) in self.paths.iter().zip(known.demand()) {
                let used = |at: usize| {
                    let edge = world.paths[at].edge as usize;
                    if known.up[edge] {
                        self.counts[edge] / world.edges[edge].capacity_mbps
                    } else {
                        f64::INFINITY
                    }
                };
                let first = paths[dice.index(paths.len())];
                let second = paths[dice.index(paths.len())];
                let at = if used(second) < used(first) {
                    second
                } else {
                    first
                };
                shares[at] += 1.0 / PARTS as f64;
                let edge = world.paths[at].edge as usize;
                self.counts[edge] += f64::from(*mbps) / PARTS as f64;
            }
        }
    }
}

/// Into how many parts a region's viewers are cut that choose one after the other.
const PARTS: usize = 32;

/// B3: streams hash to edges in proportion to their capacity; an edge takes no more than its bound
/// above the mean use, and the next on the region's ring takes the rest.
#[derive(Clone, Debug)]
pub struct Bounded {
    /// By region, its paths in the order of its ring.
    rings: Vec<Vec<usize>>,
    counts: Vec<f64>,
}

impl Bounded {
    /// For a world.
    pub fn new(world: &World, slack_ms: f64) -> Self {
        let mut rings = all_within(world, slack_ms);
        for (region, ring) in rings.iter_mut().enumerate() {
            let mut dice = Dice::new(region as u64, "ring");
            let mut drawn: Vec<(f64, usize)> =
                ring.iter().map(|at| (dice.uniform(), *at)).collect();
            drawn.sort_by(|a, b| a.0.total_cmp(&b.0));
            *ring = drawn.into_iter().map(|(_, at)| at).collect();
        }
        Self {
            rings,
            counts: vec![0.0; world.edges.len()],
        }
    }
}

impl Rule for Bounded {
    fn name(&self) -> &str {
        "B3"
    }

    fn style(&self) -> Style {
        Style {
            keep: Keep::ByStream,
            ..Style::default()
        }
    }

    fn split(&mut self, known: &Known<'_>, shares: &mut [f64]) {
        let world = known.world;
        let edge = |at: usize| world.paths[at].edge as usize;
        let room = |at: usize| {
            let up = f64::from(u8::from(known.up[edge(at)]));
            up * world.edges[edge(at)].capacity_mbps
        };
        let all: f64 = known.demand().iter().map(|mbps| f64::from(*mbps)).sum();
        let capacity: f64 = world.edges.iter().map(|edge| edge.capacity_mbps).sum();
        let bound = BOUND * all / capacity.max(1e-9);
        self.counts.fill(0.0);
        for (ring, mbps) in self.rings.iter().zip(known.demand()) {
            let mbps = f64::from(*mbps).max(1e-9);
            let whole: f64 = ring.iter().map(|at| room(*at)).sum();
            let mut over = 0.0;
            // Twice around: first what hashes there, then what found no room.
            for round in 0..2 {
                for &at in ring {
                    let fits = bound * room(at) - self.counts[edge(at)];
                    let comes = if round == 0 && whole > 0.0 {
                        mbps * room(at) / whole + over
                    } else {
                        over
                    };
                    let put = comes.min(fits.max(0.0));
                    over = comes - put;
                    self.counts[edge(at)] += put;
                    shares[at] += put / mbps;
                }
            }
            for &at in ring {
                let part = if whole > 0.0 { room(at) / whole } else { 0.0 };
                self.counts[edge(at)] += over * part;
                shares[at] += over * part / mbps;
            }
        }
    }
}

/// How far above the mean an edge may be used.
const BOUND: f64 = 1.25;
