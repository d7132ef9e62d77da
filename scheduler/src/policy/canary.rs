//! Sans-IO: whether a candidate harms the viewers of the regions in which it holds.
//!
//! What edges and the scheduler count of each region is put together in windows. Three measures
//! are followed, each against what is expected: what other regions have in the same window, mixed
//! with what the canary's regions had before. Evidence is a sum of log-likelihood ratios that never
//! falls below nothing (CUSUM of a Poisson rate), so harm that begins late is found as soon as harm
//! from the start. One window gives [`MOST_PER_WINDOW`] at most: a single burst proves nothing.

use std::collections::HashMap;

use cluster::region::Region;
use cluster::sample::RegionLoad;
use serde::{Deserialize, Serialize};

use super::Draw;
use crate::snapshot::mix;

/// What some regions' viewers had in some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Count {
    /// Viewers times seconds.
    pub viewer_s: f64,
    /// Times that a viewer was so far behind that it lost pictures, or was closed for it.
    pub stalls: f64,
    /// Viewers who waited outside for want of room, times seconds.
    pub waiting_s: f64,
    /// Bits sent.
    pub bits: f64,
}

impl Count {
    fn add(&mut self, other: &Self, weight: f64) {
        self.viewer_s += weight * other.viewer_s;
        self.stalls += weight * other.stalls;
        self.waiting_s += weight * other.waiting_s;
        self.bits += weight * other.bits;
    }

    /// Whoever is in or wants in.
    fn demand_s(&self) -> f64 {
        self.viewer_s + self.waiting_s
    }

    fn rate_bps(&self) -> f64 {
        self.bits / self.viewer_s.max(1.0)
    }
}

/// Regions' counts: of the window that goes on, and of the time before, fading.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    window: HashMap<Region, Count>,
    past: HashMap<Region, Count>,
}

/// Regions told apart: as many as a large cluster has. The others count as one.
const MAX_TALLIED: usize = 2_048;

/// The past loses this share a window: with windows of 5 s, a half in six minutes.
const FADES: f64 = 0.01;

/// Below this a region's past is forgotten, in viewer-seconds.
const NOTHING_S: f64 = 1.0;

impl Tally {
    /// A node's report of a region for that many seconds.
    pub fn add(&mut self, load: &RegionLoad, seconds: f64) {
        let count = self.entry(load.region);
        count.viewer_s += f64::from(load.viewers) * seconds;
        count.stalls += f64::from(load.stalls);
        count.waiting_s += f64::from(load.refused) * seconds;
        count.bits += load.egress_bps as f64 * seconds;
    }

    /// Viewers whom the scheduler turned away, for that many seconds.
    pub fn wait(&mut self, region: Region, viewers: u32, seconds: f64) {
        self.entry(region).waiting_s += f64::from(viewers) * seconds;
    }

    fn entry(&mut self, region: Region) -> &mut Count {
        let known = self.window.contains_key(&region) || self.window.len() < MAX_TALLIED;
        let region = if known { region } else { Region::OTHER };
        self.window.entry(region).or_default()
    }

    /// Ends the window: the counts of those regions, and of all others.
    pub fn close(&mut self, is_canary: impl Fn(Region) -> bool) -> Window {
        let window = split(&self.window, &is_canary);
        for count in self.past.values_mut() {
            let whole = *count;
            count.add(&whole, -FADES);
        }
        for (region, count) in self.window.drain() {
            self.past.entry(region).or_default().add(&count, 1.0);
        }
        self.past.retain(|_, count| count.demand_s() >= NOTHING_S);
        window
    }

    /// The past, likewise.
    pub fn past(&self, is_canary: impl Fn(Region) -> bool) -> Window {
        split(&self.past, &is_canary)
    }

    /// Regions that have somebody, with their viewers times seconds.
    pub fn regions(&self) -> Vec<(Region, f64)> {
        let of = |(region, count): (&Region, &Count)| (*region, count.demand_s());
        let mut regions: Vec<_> = self.past.iter().map(of).collect();
        regions.sort_by_key(|(region, _)| *region);
        regions
    }
}

fn split(counts: &HashMap<Region, Count>, is_canary: &impl Fn(Region) -> bool) -> Window {
    let mut window = Window::default();
    let mut regions: Vec<_> = counts.iter().collect();
    // A fixed order of sums.
    regions.sort_by_key(|(region, _)| **region);
    for (region, count) in regions {
        let side = match is_canary(*region) {
            true => &mut window.canary,
            false => &mut window.others,
        };
        side.add(count, 1.0);
    }
    window
}

/// Both sides in the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// Where the candidate holds.
    pub canary: Count,
    /// Everywhere else.
    pub others: Count,
}

/// What is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Stalls, by viewer-hour.
    Stalls,
    /// The share of those who want to watch that waits outside.
    Refused,
    /// What a viewer is sent: much less than before, and not so elsewhere, is harm.
    Delivery,
}

/// A measure so far.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// Which.
    pub measure: Measure,
    /// Where the candidate holds: stalls by viewer-hour, a share, bits per second.
    pub canary: f64,
    /// What was expected there.
    pub expected: f64,
    /// Evidence of harm, 0 to 1; at 1 the canary ends.
    pub evidence: f64,
}

/// A canary under observation.
#[derive(Clone, Debug)]
pub struct Trial {
    before: Window,
    sums: Window,
    /// What was expected where the candidate holds, weighed by those who are there.
    expected: [f64; 3],
    weighed: [f64; 3],
    evidence: [f64; 3],
}

/// How it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Viewer-hours seen where the candidate holds.
    pub canary_viewer_hours: f64,
    /// The same everywhere else.
    pub other_viewer_hours: f64,
    /// By measure.
    pub standings: Vec<Standing>,
}

/// Evidence at which it is harm: with the steps of [`MOST_PER_WINDOW`], ten bad windows in a row.
/// As a likelihood ratio, twenty thousand to one; noise alone comes there once in some days.
const ENOUGH: f64 = 10.0;

/// Most that one window can tell.
pub const MOST_PER_WINDOW: f64 = 1.0;

/// How many times worse than expected counts as harm.
const HARM: f64 = 2.0;

/// Stalls a viewer-second that nobody minds: two a viewer-hour.
const FEW_STALLS: f64 = 2.0 / 3_600.0;

/// A share of those who wait that nobody minds.
const FEW_WAIT: f64 = 0.01;

/// What is sent falls by as much when rungs change; below it pictures are missing.
const STARVED: f64 = 0.7;

/// Viewer-seconds of the past without which it says nothing about what is sent.
const KNOWN_S: f64 = 60.0;

impl Trial {
    /// Begins, after what both sides had before.
    pub fn new(before: Window) -> Self {
        Self {
            before,
            sums: Window::default(),
            expected: [0.0; 3],
            weighed: [0.0; 3],
            evidence: [0.0; 3],
        }
    }

    /// Takes a window; says what is worse, once that is as good as certain.
    pub fn push(&mut self, window: &Window) -> Option<Standing> {
        let (here, there) = (&window.canary, &window.others);
        self.sums.canary.add(here, 1.0);
        self.sums.others.add(there, 1.0);
        if here.demand_s() <= 0.0 {
            return None;
        }
        let before = &self.before.canary;
        let past = |count: f64, of: f64| if of > 0.0 { count / of } else { 0.0 };
        // The own past weighs as much as the canary's viewers; the others as many as they are.
        let stalls = mixed(
            (there.stalls, there.viewer_s),
            past(before.stalls, before.viewer_s),
            here.viewer_s,
        );
        let waiting = mixed(
            (there.waiting_s, there.demand_s()),
            past(before.waiting_s, before.demand_s()),
            here.demand_s(),
        );
        let steps = [
            poisson(here.stalls, stalls.max(FEW_STALLS) * here.viewer_s),
            poisson(here.waiting_s, waiting.max(FEW_WAIT) * here.demand_s()),
            self.delivery(here, there),
        ];
        let rate = self.expected_bps(there);
        let weights = [here.viewer_s, here.demand_s(), here.viewer_s];
        for (nth, expected) in [stalls, waiting, rate].into_iter().enumerate() {
            self.expected[nth] += expected * weights[nth];
            self.weighed[nth] += weights[nth];
            let step = steps[nth].min(MOST_PER_WINDOW);
            self.evidence[nth] = (self.evidence[nth] + step).clamp(0.0, ENOUGH);
        }
        self.standings().into_iter().find(|it| it.evidence >= 1.0)
    }

    /// What a viewer here would be sent if it went on as before, as the others do; 0 when unknown.
    fn expected_bps(&self, there: &Count) -> f64 {
        let Window { canary, others } = &self.before;
        if canary.viewer_s < KNOWN_S {
            return 0.0;
        }
        let elsewhere = others.viewer_s >= KNOWN_S && there.viewer_s > 0.0 && others.bits > 0.0;
        let trend = match elsewhere {
            true => there.rate_bps() / others.rate_bps(),
            false => 1.0,
        };
        canary.rate_bps() * trend.min(1.0)
    }

    fn delivery(&self, here: &Count, there: &Count) -> f64 {
        let expected = self.expected_bps(there);
        match () {
            () if expected <= 0.0 || here.viewer_s <= 0.0 => 0.0,
            () if here.rate_bps() < STARVED * expected => MOST_PER_WINDOW,
            () => -MOST_PER_WINDOW,
        }
    }

    fn standings(&self) -> Vec<Standing> {
        let here = &self.sums.canary;
        let now = [
            3_600.0 * here.stalls / here.viewer_s.max(1.0),
            here.waiting_s / here.demand_s().max(1.0),
            here.rate_bps(),
        ];
        let expected = |nth: usize| {
            let unit = if nth == 0 { 3_600.0 } else { 1.0 };
            unit * self.expected[nth] / self.weighed[nth].max(1.0)
        };
        let measures = [Measure::Stalls, Measure::Refused, Measure::Delivery];
        let standing = |(nth, measure): (usize, Measure)| Standing {
            measure,
            canary: now[nth],
            expected: expected(nth),
            evidence: self.evidence[nth] / ENOUGH,
        };
        measures.into_iter().enumerate().map(standing).collect()
    }

    /// How it stands.
    pub fn report(&self) -> Report {
        Report {
            canary_viewer_hours: self.sums.canary.viewer_s / 3_600.0,
            other_viewer_hours: self.sums.others.viewer_s / 3_600.0,
            standings: self.standings(),
        }
    }
}

impl Standing {
    /// In words, for history and log.
    pub fn words(&self) -> String {
        let (is, was) = (self.canary, self.expected);
        match self.measure {
            Measure::Stalls => {
                format!("{is:.1} stalls a viewer-hour, where {was:.1} were expected")
            }
            Measure::Refused => format!(
                "{:.1} % of the viewers wait outside, where {:.1} % were expected",
                100.0 * is,
                100.0 * was
            ),
            Measure::Delivery => format!(
                "a viewer is sent {:.2} Mbit/s, where {:.2} were expected",
                is / 1e6,
                was / 1e6
            ),
        }
    }
}

/// The rate of the others and of the own past together.
fn mixed((count, exposure): (f64, f64), past: f64, weight: f64) -> f64 {
    let whole = exposure + weight;
    if whole > 0.0 {
        (count + past * weight) / whole
    } else {
        0.0
    }
}

/// The log-likelihood ratio of a count that is expected to be `mean`, against [`HARM`] times it.
fn poisson(count: f64, mean: f64) -> f64 {
    count * libm::log(HARM) - mean * (HARM - 1.0)
}

/// Draws tried: one in a hundred regions is found among them, when there is but one, with 99.99 %.
const DRAWS: u64 = 1_000;

/// Of many draws the one whose regions have the share of the viewers that comes nearest, and some.
pub(super) fn draw(share: f64, seed: u64, regions: &[(Region, f64)]) -> Draw {
    let all: f64 = regions.iter().map(|(_, viewers)| viewers).sum();
    let miss = |draw: &Draw| {
        let drawn = regions.iter().filter(|(region, _)| draw.has(*region));
        let viewers: f64 = drawn.map(|(_, viewers)| viewers).sum();
        match viewers > 0.0 && all > 0.0 {
            true => (viewers / all - share).abs(),
            false => 1.0,
        }
    };
    let draws = (0..DRAWS).map(|nth| Draw {
        share,
        salt: mix(seed.wrapping_add(nth)),
    });
    let best = draws.min_by(|a, b| miss(a).total_cmp(&miss(b)));
    best.unwrap_or(Draw { share, salt: seed })
}

#[cfg(test)]
mod tests;
