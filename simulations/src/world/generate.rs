//! Sans-IO: a scenario and a seed to a world and its prices.
//!
//! Demand of a region is its mean by the shape of its day, by noise that lasts for hours, by events
//! and by who comes and goes. The same scenario and seed give the same world on any machine.

mod events;
mod shape;

use scheduler::plan::billing::{BillingModel, Tariff};

use super::audience::Affinity;
use super::prices::Prices;
use super::scenario::{self, Scenario};
use super::{Edge, Metro, Path, Point, Region, Stream, Time, World, folder};
use crate::dice::Dice;
use crate::network::{Fit, Matrix};

/// Makes the world of a seed. Measured times between metros are used where the matrix has them.
pub fn generate(scenario: &Scenario, matrix: &Matrix, seed: u64) -> (World, Prices) {
    let time = &scenario.time;
    let day = (86_400 / time.slot_s) as usize;
    let billed_from = time.history_days as usize * day;
    let mut world = World {
        name: format!("{} {seed}", scenario.name),
        time: Time {
            step_s: time.slot_s,
            start_s: folder::day_s(&time.start).unwrap_or(0),
            slots: billed_from + time.days as usize * day,
            billed_from,
        },
        metros: scenario.metro.iter().map(metro).collect(),
        ..World::default()
    };
    let shares = regions(scenario, seed, &mut world);
    events::announce(scenario, seed, &mut world);
    world.demand = shape::demand(scenario, seed, (&world, &shares));
    world.edges = edges(scenario, seed, &world);
    world.outages = events::outages(scenario, seed, &world);
    let paths = paths(scenario, matrix, (seed, &world));
    world.route(paths);
    world.streams = streams(&scenario.streams, seed, &world.metros);
    world.affinity = Affinity {
        at_home: scenario.streams.at_home,
        in_area: scenario.streams.in_area,
        elsewhere: scenario.streams.elsewhere,
        of_global: scenario.streams.of_global,
    };
    if scenario.relay.hubs {
        world.hubs = world.largest_by_area();
    }
    let prices = prices(scenario, seed, &world);
    (world, prices)
}

fn metro(metro: &scenario::Metro) -> Metro {
    Metro {
        name: metro.name.clone(),
        country: metro.country.clone(),
        area: metro.area.clone(),
        at: Point {
            lat: metro.lat,
            lon: metro.lon,
        },
        utc_offset_h: metro.utc_offset_h,
        weight: metro.million,
    }
}

/// Makes the regions; their parts of the whole demand.
fn regions(scenario: &Scenario, seed: u64, world: &mut World) -> Vec<f64> {
    let mut dice = Dice::new(seed, "regions");
    let mut parts = Vec::new();
    for (at, metro) in world.metros.iter().enumerate() {
        let size = metro.weight * dice.about_one(METRO_SPREAD);
        let drawn: Vec<f64> = (scenario.network.iter())
            .map(|network| network.share * (LEAST_SHARE + dice.gamma(SHARE_SHAPE)))
            .collect();
        let all: f64 = drawn.iter().sum();
        for (network, drawn) in scenario.network.iter().zip(drawn) {
            world.regions.push(Region {
                name: format!("{}-{}", metro.name, network.name),
                metro: at,
                at: near(metro.at, REGION_DEGREES, &mut dice),
                access_ms: tenth(network.access_ms * dice.about_one(ACCESS_SPREAD)),
            });
            parts.push(size * drawn / all);
        }
    }
    let all: f64 = parts.iter().sum();
    parts.iter_mut().for_each(|part| *part /= all);
    parts
}

fn near(at: Point, degrees: f64, dice: &mut Dice) -> Point {
    Point {
        lat: (at.lat + degrees * dice.normal()).clamp(-90.0, 90.0),
        lon: (at.lon + degrees * dice.normal()).clamp(-180.0, 180.0),
    }
}

fn tenth(value: f64) -> f64 {
    libm::round(value * 10.0) / 10.0
}

fn edges(scenario: &Scenario, seed: u64, world: &World) -> Vec<Edge> {
    let of = |name: &str| world.metros.iter().position(|metro| metro.name == name);
    let own = |edge: &scenario::Edge| {
        let metro = of(&edge.metro)?;
        let at = world.metros[metro].at;
        Some(Edge {
            name: edge.name.clone(),
            metro,
            at: Point {
                lat: edge.lat.unwrap_or(at.lat),
                lon: edge.lon.unwrap_or(at.lon),
            },
            capacity_mbps: edge.capacity_mbps,
            ingress_mbps: edge.ingress_mbps.unwrap_or(edge.capacity_mbps / 2.0),
        })
    };
    if !scenario.edge.is_empty() {
        return scenario.edge.iter().filter_map(own).collect();
    }
    let mut dice = Dice::new(seed, "edges");
    let peaks = peaks(world);
    let mut sorted = peaks.clone();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let wish = &scenario.edges;
    let large = sorted
        .get((wish.large_metros as usize).wrapping_sub(1))
        .copied();
    let large = match wish.large_metros {
        0 => f64::INFINITY,
        _ => large.unwrap_or(0.0),
    };
    let mut edges = Vec::new();
    for (at, (metro, peak)) in world.metros.iter().zip(peaks).enumerate() {
        let count = if peak >= large {
            wish.per_large_metro
        } else {
            wish.per_metro
        };
        for (nth, part) in dice
            .parts(count as usize, EDGE_SHAPE)
            .into_iter()
            .enumerate()
        {
            let capacity = wish.capacity_over_peak * peak * part;
            edges.push(Edge {
                name: format!("{}-e{}", metro.name, nth + 1),
                metro: at,
                at: near(metro.at, EDGE_DEGREES, &mut dice),
                capacity_mbps: rounded(capacity),
                ingress_mbps: rounded(capacity) / 2.0,
            });
        }
    }
    edges
}

/// To tens where that is little.
fn rounded(mbps: f64) -> f64 {
    if mbps < 1000.0 {
        mbps
    } else {
        libm::round(mbps / 10.0) * 10.0
    }
}

/// By metro, the highest demand of a slot.
fn peaks(world: &World) -> Vec<f64> {
    let mut peaks = vec![0.0_f64; world.metros.len()];
    let mut now = peaks.clone();
    for slot in 0..world.time.slots {
        now.fill(0.0);
        for (region, mbps) in world.regions.iter().zip(world.demand(slot)) {
            now[region.metro] += f64::from(*mbps);
        }
        for (peak, now) in peaks.iter_mut().zip(&now) {
            *peak = peak.max(*now);
        }
    }
    peaks
}

fn paths(scenario: &Scenario, matrix: &Matrix, (seed, world): (u64, &World)) -> Vec<Vec<Path>> {
    let mut dice = Dice::new(seed, "rtt");
    let fit = Fit {
        ms_per_100km: scenario.rtt.ms_per_100km,
        base_ms: scenario.rtt.base_ms,
    };
    let mut of = |region: &Region| {
        let from = &world.metros[region.metro].name;
        let path = |(at, edge): (usize, &Edge)| {
            let measured = matrix.rtt_ms(from, &world.metros[edge.metro].name);
            let way = measured.unwrap_or_else(|| fit.rtt_ms(region.at.km_to(edge.at)));
            let peering = scenario.rtt.peering_ms / PEERING_SHAPE * dice.gamma(PEERING_SHAPE);
            Path {
                edge: at as u32,
                rtt_ms: tenth(way + region.access_ms + peering),
            }
        };
        world.edges.iter().enumerate().map(path).collect()
    };
    world.regions.iter().map(&mut of).collect()
}

fn streams(wish: &scenario::Streams, seed: u64, metros: &[Metro]) -> Vec<Stream> {
    let mut dice = Dice::new(seed, "streams");
    let weights: Vec<f64> = metros.iter().map(|metro| metro.weight).collect();
    let part = |nth: u32| libm::pow(f64::from(nth + 1), -wish.zipf);
    let all: f64 = (0..wish.count).map(part).sum();
    let stream = |nth: u32| Stream {
        bitrate_kbps: wish.bitrates_kbps[dice.weighted(&wish.bitrate_shares)],
        popularity: part(nth) / all,
        home: dice.weighted(&weights),
        is_global: dice.chance(wish.global),
    };
    (0..wish.count).map(stream).collect()
}

fn prices(scenario: &Scenario, seed: u64, world: &World) -> Prices {
    let wish = &scenario.prices;
    let mut dice = Dice::new(seed, "prices");
    let level = |metro: &Metro| {
        let usd = wish.usd.get(&metro.area).unwrap_or(&wish.usd_elsewhere);
        usd * dice.about_one(wish.metro_spread)
    };
    let levels: Vec<f64> = world.metros.iter().map(level).collect();
    let model = match wish.model.as_str() {
        "daily_peak" => BillingModel::DailyPeak,
        "volume" => BillingModel::Volume,
        _ => BillingModel::P95,
    };
    let known = scheduler::price::Prices::new(&scenario.price).unwrap_or_default();
    let tariff = |edge: &Edge| {
        let usd = levels[edge.metro] * dice.about_one(wish.edge_spread);
        let usd = libm::round(usd * 1000.0) / 1000.0;
        let committed = dice.chance(wish.commit_chance) && model != BillingModel::Volume;
        let commit = f64::from(u8::from(committed)) * wish.commit_share * edge.capacity_mbps;
        let made = Tariff {
            model,
            usd_per_mbps_month: usd,
            usd_per_gb: usd / wish.gb_per_mbps,
            commit_mbps: rounded(commit),
            relay_usd_per_gb: scenario.relay.usd_per_gb,
            ..Tariff::default()
        };
        let own = (scenario.price.iter()).find(|row| {
            scheduler::glob::Glob::parse(&row.node).is_some_and(|it| it.matches(&edge.name))
        });
        let Some(own) = own else { return made };
        Tariff {
            relay_usd_per_gb: own.relay_usd_per_gb.unwrap_or(made.relay_usd_per_gb),
            ..known.of(&edge.name).tariff
        }
    };
    Prices {
        name: wish.model.clone(),
        tariffs: world.edges.iter().map(tariff).collect(),
    }
}

/// Deviations, in logarithms, degrees and shapes of gamma distributions: those of the reference
/// worlds.
const METRO_SPREAD: f64 = 0.3;
const ACCESS_SPREAD: f64 = 0.15;
const REGION_DEGREES: f64 = 0.35;
const EDGE_DEGREES: f64 = 0.2;
const SHARE_SHAPE: f64 = 1.5;
/// No network of a metro is without viewers.
const LEAST_SHARE: f64 = 0.2;
const EDGE_SHAPE: f64 = 6.0;
const PEERING_SHAPE: f64 = 1.2;

#[cfg(test)]
mod tests;
