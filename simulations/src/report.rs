//! Sans-IO: what runs come to, and how sure one can be of what they differ by.
//!
//! A [`Cell`] is one rule in one case: a world with prices. Money and bytes are kept apart, and
//! every saving names what it is against. Bills of other months are made of the same days, drawn
//! anew: the same draws for all rules of a case, so that differences are paired.

pub mod draws;

use scheduler::plan::billing::{BillingModel, Tariff, bill};
use serde::{Deserialize, Serialize};

use crate::relay::{self, Relayed};
use crate::run::Ran;
use crate::world::World;
use crate::world::prices::Prices;
use draws::Draws;

/// One rule in one case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// What it comes to.
    pub figures: Figures,
    /// USD of months drawn from its days.
    pub bills: Vec<f64>,
    /// By how much intervals of months that are lived through again are too narrow.
    #[serde(default = "one")]
    pub widening: f64,
    /// By billed day.
    pub days: Vec<Day>,
    /// GB that nodes took from nodes in months drawn from its days; none without streams.
    #[serde(default)]
    pub relays: Vec<f64>,
    /// By edge.
    pub edges: Vec<Edge>,
    /// Share of the traffic up to each round-trip time: milliseconds and share, ascending.
    pub times: Vec<(f64, f64)>,
}

fn one() -> f64 {
    1.0
}

/// What a run comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// The period's bill.
    pub usd: f64,
    /// What it would be by volume, where prices by volume are known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub usd_by_volume: Option<f64>,
    /// 1e9 bytes to viewers.
    pub egress_gb: f64,
    /// USD for an hour of one viewer.
    pub usd_per_viewer_hour: f64,
    /// Round-trip times of the traffic.
    pub rtt_ms_p50: f64,
    /// 95 % have at most this.
    pub rtt_ms_p95: f64,
    /// 99 % have at most this.
    pub rtt_ms_p99: f64,
    /// The mean.
    pub rtt_ms_mean: f64,
    /// The mean above the nearest edge.
    pub extra_rtt_ms: f64,
    /// Minutes in which an edge was sent more than it can carry, of all edges.
    pub overload_edge_min: f64,
    /// What was above capacity, as a share of all traffic.
    pub above_capacity: f64,
    /// Share of the viewers that were moved each minute while their edge lived.
    pub moved_per_min: f64,
    /// Share of the traffic for which no edge was alive.
    pub lost: f64,
    /// What nodes took from nodes; absent where there are no streams.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub relay: Option<Relay>,
}

/// What nodes took from nodes so that edges had what their viewers watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Relay {
    /// 1e9 bytes, each hop counted.
    pub gb: f64,
    /// How many of them went farther than 1,500 km.
    pub long_haul_gb: f64,
    /// How many of them origins sent.
    pub origin_gb: f64,
    /// Hops from the origin to the viewers' edges, in the mean of what viewers were sent.
    pub depth: f64,
    /// Round-trip milliseconds of these hops together.
    pub way_ms: f64,
    /// The mean round-trip time between viewers and edges as streams are kept together.
    pub rtt_ms_mean: f64,
    /// The share of the traffic that is kept at other edges than those whose bills it is in.
    pub off_plan: f64,
    /// USD that edges' bytes to other nodes cost, where they have a price; no part of the bill.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub usd: Option<f64>,
}

/// A day of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Day {
    /// 1e9 bytes to viewers.
    pub egress_gb: f64,
    /// Minutes of overload, of all edges.
    pub overload_edge_min: f64,
}

/// An edge in a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Edge {
    /// Its name.
    pub name: String,
    /// What it can send.
    pub capacity_mbps: f64,
    /// The mean of what it was sent.
    pub mean_mbps: f64,
    /// The level that it is billed at, were it billed by the 95th percentile.
    pub level_mbps: f64,
    /// The most that it was sent.
    pub peak_mbps: f64,
    /// Of the slots that are free, those in which it went beyond what it could carry at its level
    /// by a tenth: how much of them was used to some purpose.
    pub burst_slots: u32,
    /// What it costs.
    pub usd: f64,
    /// The mean of each two hours, for a picture.
    pub two_hours_mbps: Vec<f32>,
}

impl Cell {
    /// Of a run.
    pub fn new(world: &World, prices: &Prices, ran: &Ran, draws: &Draws) -> Self {
        let tariffs = &prices.tariffs;
        let samples: Vec<Vec<f32>> = (0..world.edges.len()).map(|at| ran.samples(at)).collect();
        let all = || tariffs.iter().zip(&samples);
        let day = samples
            .first()
            .map_or(1, Vec::len)
            .div_ceil(world.time.days().max(1));
        let mut bills = vec![0.0; draws.count()];
        for (tariff, samples) in all() {
            for (sum, usd) in bills.iter_mut().zip(draws.bills(tariff, samples, day)) {
                *sum += usd;
            }
        }
        let by_volume = |tariff: &Tariff| Tariff {
            model: BillingModel::Volume,
            ..*tariff
        };
        let known = tariffs.iter().all(|tariff| tariff.usd_per_gb > 0.0);
        let volume = || {
            all()
                .map(|(it, samples)| bill(&by_volume(it), samples))
                .sum()
        };
        let figures = Figures {
            usd: all().map(|(tariff, samples)| bill(tariff, samples)).sum(),
            usd_by_volume: known.then(volume),
            relay: relay(world, tariffs, &ran.relayed),
            ..figures(world, ran)
        };
        let watched_h = figures.egress_gb * 8e6 / kbps(world) / 3600.0;
        Self {
            figures: Figures {
                usd_per_viewer_hour: ratio(figures.usd, watched_h),
                ..figures
            },
            bills,
            widening: world.redraw_widening(),
            days: ran.days.iter().map(|day| self::day(world, day)).collect(),
            relays: draws.sums(&relay_gb(world, &ran.relayed)),
            edges: (0..samples.len())
                .map(|at| edge(world, (at, &tariffs[at]), &samples[at]))
                .collect(),
            times: times(world, ran),
        }
    }
}

/// What a viewer takes in the mean.
fn kbps(world: &World) -> f64 {
    let streams = world.streams.iter();
    let mean: f64 = streams.map(|it| it.popularity * it.bitrate_kbps).sum();
    if mean > 0.0 { mean } else { USUAL_KBPS }
}

fn ratio(a: f64, b: f64) -> f64 {
    if b > 0.0 { a / b } else { 0.0 }
}

fn gigabytes(world: &World, mbps: f64) -> f64 {
    mbps * f64::from(world.time.step_s) / 8000.0
}

fn figures(world: &World, ran: &Ran) -> Figures {
    let sum = |of: fn(&crate::run::Day) -> f64| -> f64 { ran.days.iter().map(of).sum() };
    let volume = ran.volume();
    let minutes = f64::from(world.time.step_s) / 60.0;
    Figures {
        egress_gb: gigabytes(world, volume),
        rtt_ms_p50: ran.rtt_ms(world, 0.5),
        rtt_ms_p95: ran.rtt_ms(world, 0.95),
        rtt_ms_p99: ran.rtt_ms(world, 0.99),
        rtt_ms_mean: ran.mean_rtt_ms(world),
        extra_rtt_ms: ratio(sum(|day| day.extra), volume),
        overload_edge_min: ran.overload_min(world),
        above_capacity: ran.above(),
        moved_per_min: ratio(sum(|day| day.moved), volume * minutes),
        lost: ratio(sum(|day| day.lost), volume + sum(|day| day.lost)),
        ..Figures::default()
    }
}

fn relay(world: &World, tariffs: &[Tariff], relayed: &Relayed) -> Option<Relay> {
    let sum = |of: fn(&relay::Day) -> f64| -> f64 { relayed.days.iter().map(of).sum() };
    let slots: usize = relayed.days.iter().map(|day| day.slots).sum();
    if slots == 0 {
        return None;
    }
    let billed = world.time.billed().len() as f64;
    let gb = |mbps: f64| gigabytes(world, mbps * billed / slots as f64);
    let sent = tariffs.iter().zip(&relayed.sent);
    let usd: f64 = sent.map(|(it, sent)| it.relay_usd_per_gb * gb(*sent)).sum();
    Some(Relay {
        gb: gb(sum(|day| day.relayed)),
        long_haul_gb: gb(sum(|day| day.long_haul)),
        origin_gb: gb(sum(|day| day.origin)),
        depth: ratio(sum(|day| day.hops), sum(|day| day.served)),
        way_ms: ratio(sum(|day| day.way_ms), sum(|day| day.served)),
        rtt_ms_mean: sum(|day| day.rtt_ms) / slots as f64,
        off_plan: sum(|day| day.off) / slots as f64,
        usd: tariffs
            .iter()
            .any(|it| it.relay_usd_per_gb > 0.0)
            .then_some(usd),
    })
}

/// By day, GB that nodes took from nodes.
fn relay_gb(world: &World, relayed: &Relayed) -> Vec<f64> {
    let slots = world.time.day() as f64;
    let gb = |day: &relay::Day| gigabytes(world, ratio(day.relayed, day.slots as f64) * slots);
    relayed.days.iter().map(gb).collect()
}

fn day(world: &World, day: &crate::run::Day) -> Day {
    Day {
        egress_gb: gigabytes(world, day.mbps),
        overload_edge_min: day.overloaded as f64 * f64::from(world.time.step_s) / 60.0,
    }
}

fn edge(world: &World, (at, tariff): (usize, &Tariff), samples: &[f32]) -> Edge {
    let mut sorted = samples.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let mbps = |bps: Option<&f32>| bps.map_or(0.0, |bps| f64::from(*bps) / 1e6);
    let level_mbps = mbps(sorted.get(samples.len() / FREE_ONE_IN));
    let beyond = (level_mbps.max(tariff.commit_mbps) * 1.1 * 1e6) as f32;
    let sum: f64 = samples.iter().map(|bps| f64::from(*bps) / 1e6).sum();
    let part = (samples.len() / (12 * world.time.days().max(1))).max(1);
    let mean = |part: &[f32]| part.iter().sum::<f32>() / 1e6 / part.len() as f32;
    Edge {
        name: world.edges[at].name.clone(),
        capacity_mbps: world.edges[at].capacity_mbps,
        mean_mbps: ratio(sum, samples.len() as f64),
        level_mbps,
        peak_mbps: mbps(sorted.first()),
        burst_slots: sorted.iter().take_while(|bps| **bps > beyond).count() as u32,
        usd: bill(tariff, samples),
        two_hours_mbps: samples.chunks(part).map(mean).collect(),
    }
}

/// The distribution of round-trip times, at no more points than a chart can show.
fn times(world: &World, ran: &Ran) -> Vec<(f64, f64)> {
    let mut by_time: Vec<(f64, f64)> = (world.paths.iter().map(|path| path.rtt_ms))
        .zip(ran.by_path.iter().copied())
        .filter(|(_, mbps)| *mbps > 0.0)
        .collect();
    by_time.sort_by(|a, b| a.0.total_cmp(&b.0));
    let total: f64 = by_time.iter().map(|(_, mbps)| mbps).sum();
    let (mut sum, mut points, mut shown) = (0.0, Vec::new(), 0.0);
    for (rtt_ms, mbps) in by_time {
        sum += mbps / total;
        if sum >= shown {
            points.push((rtt_ms, sum.min(1.0)));
            shown = sum + 1.0 / POINTS;
        }
    }
    points
}

/// A saving: the share of a baseline's bill that is not paid, with the interval that holds 95 of
/// 100 draws.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Saving {
    /// As it was.
    pub share: f64,
    /// Low end of the interval.
    pub low: f64,
    /// High end.
    pub high: f64,
}

/// What a rule saves of a baseline's bill in the same case.
pub fn saving(rule: &Cell, against: &Cell) -> Saving {
    // Nothing can be saved of nothing.
    let share = |usd: f64, of: f64| if of > 0.0 { 1.0 - usd / of } else { 0.0 };
    let drawn = rule.bills.iter().zip(&against.bills);
    interval(
        share(rule.figures.usd, against.figures.usd),
        drawn.map(|(usd, of)| share(*usd, *of)).collect(),
    )
}

/// What a rule spares of a baseline's relay bytes in the same case; None where there are none.
pub fn relay_saving(rule: &Cell, against: &Cell) -> Option<Saving> {
    let (ours, theirs) = rule.figures.relay.zip(against.figures.relay)?;
    let drawn = rule.relays.iter().zip(&against.relays);
    Some(interval(
        1.0 - ratio(ours.gb, theirs.gb),
        drawn.map(|(gb, of)| 1.0 - ratio(*gb, *of)).collect(),
    ))
}

/// By how much more a rule saves than another one, both against the same baseline.
pub fn lead(rule: &Cell, other: &Cell, against: &Cell) -> Saving {
    let share = |usd: f64, less: f64, of: f64| ratio(less - usd, of);
    let drawn = rule.bills.iter().zip(&other.bills).zip(&against.bills);
    interval(
        share(rule.figures.usd, other.figures.usd, against.figures.usd),
        drawn
            .map(|((usd, less), of)| share(*usd, *less, *of))
            .collect(),
    )
}

/// The mean of several cases' savings, with the interval of means of cases drawn anew.
pub fn mean(savings: &[f64]) -> Saving {
    let mean = |of: &mut dyn Iterator<Item = f64>| of.sum::<f64>() / savings.len().max(1) as f64;
    let mut dice = crate::dice::Dice::new(savings.len() as u64, "cases");
    let mut draw = || {
        let mut drawn = (0..savings.len()).map(|_| savings[dice.index(savings.len())]);
        mean(&mut drawn)
    };
    let draws = if savings.is_empty() { 0 } else { MEANS };
    interval(
        mean(&mut savings.iter().copied()),
        (0..draws).map(|_| draw()).collect(),
    )
}

/// A share with the interval that shares of months that were lived through again leave it
/// (Student's distribution, by its expansion around the normal one).
pub fn around(share: f64, months: &[f64], widening: f64) -> Saving {
    let count = months.len() as f64;
    let mean = months.iter().sum::<f64>() / count;
    let squares: f64 = months.iter().map(|it| (it - mean) * (it - mean)).sum();
    let free = (count - 1.0).max(1.0);
    let times = 1.96 + 2.37 / free + 2.82 / (free * free);
    let off = times * widening * libm::sqrt(squares / free);
    Saving {
        share,
        low: share - off,
        high: share + off,
    }
}

fn interval(share: f64, mut drawn: Vec<f64>) -> Saving {
    drawn.sort_by(f64::total_cmp);
    let at = |part: f64| {
        let nth = (part * drawn.len() as f64) as usize;
        let nth = nth.min(drawn.len().saturating_sub(1));
        drawn.get(nth).copied().unwrap_or(share)
    };
    Saving {
        share,
        low: at(0.025),
        high: at(0.975),
    }
}

/// Of a world without streams.
const USUAL_KBPS: f64 = 3000.0;
const FREE_ONE_IN: usize = 20;
const POINTS: f64 = 120.0;
const MEANS: usize = 2_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policies::nearest::{Geographic, Spill};
    use crate::run::{Motion, run};

    #[test]
    fn a_cell_says_what_the_pencil_says() {
        let (world, tariffs) = crate::world::fixture::pencil();
        let draws = Draws::new(world.time.days(), 50, 1);
        let prices = Prices {
            tariffs: tariffs.clone(),
            ..Prices::default()
        };
        let cell = |rule: &mut dyn crate::run::Rule| {
            let ran = run(&world, rule, Motion::AT_ONCE, &mut |_| true).unwrap();
            Cell::new(&world, &prices, &ran, &draws)
        };
        let b1 = cell(&mut Spill::nearest(&world, 0.85));
        let b0 = cell(&mut Geographic::new(&world));
        assert!((b1.figures.egress_gb - 550.0 * 300.0 / 8000.0).abs() < 1e-9);
        assert_eq!(b1.figures.overload_edge_min, 5.0);
        assert_eq!(b1.days[0].overload_edge_min, 5.0);
        assert_eq!(b1.figures.lost, 0.0);
        let saved = saving(&b0, &b1);
        let b1_usd = 2.0 * (100.0 + 50.0 * 5.0 / 60.0) + 70.0;
        assert!(
            (saved.share - (1.0 - 150.0 / b1_usd)).abs() < 1e-6,
            "{saved:?}"
        );
        // There is one day to draw from.
        assert!((saved.low - saved.share).abs() < 1e-6 && saved.low == saved.high);
        assert_eq!(lead(&b0, &b0, &b1).share, 0.0);
        assert!(b1.times.windows(2).all(|pair| pair[0].1 <= pair[1].1));
        let all = b1.times.last().unwrap().1;
        assert!((all - 1.0).abs() < 0.05, "{all}");
    }

    #[test]
    fn months_lived_through_again_tell_how_far_a_share_may_be_off() {
        let found = around(0.3, &[0.28, 0.30, 0.32, 0.30], 1.0);
        // A deviation of 0.01633 by 3.18, Student's quantile for three degrees of freedom.
        assert!((found.low - (0.3 - 0.0519)).abs() < 2e-3, "{found:?}");
        assert!((found.high - (0.3 + 0.0519)).abs() < 2e-3);
        assert_eq!(around(0.3, &[0.1, 0.1], 1.0).low, 0.3);
    }

    #[test]
    fn the_mean_of_cases_lies_in_its_interval() {
        let found = mean(&[0.1, 0.2, 0.3, 0.4]);
        assert!((found.share - 0.25).abs() < 1e-12);
        assert!((0.1..0.25).contains(&found.low) && (0.25..0.4).contains(&found.high));
        assert_eq!(mean(&[]).low, mean(&[]).high);
    }
}
