//! Sans-IO: demand by region and slot: the shape of days, noise, events, who comes and goes.

use super::super::World;
use super::events;
use crate::dice::Dice;
use crate::world::scenario::{Demand, Network, Scenario};

/// Demand by slot and then region, Mbit/s; `shares` are the regions' parts of the whole.
pub(super) fn demand(
    scenario: &Scenario,
    seed: u64,
    (world, shares): (&World, &[f64]),
) -> Vec<f32> {
    let regions = world.regions.len();
    let slots = world.time.slots;
    let mut demand = vec![0.0_f32; slots * regions];
    let lifts = events::lifts(scenario, seed, world);
    let drops = events::drops(scenario, seed, world);
    let weather = Weather::new(scenario, seed, world);
    let networks = scenario.network.len();
    for (region, share) in shares.iter().enumerate() {
        let metro = world.regions[region].metro;
        let network = &scenario.network[region % networks];
        let days = days(&scenario.demand, network, (seed, world, metro));
        let mean_mbps = scenario.demand.mean_gbps * 1000.0 * share;
        let mut own = Lasting::new(world, OWN_S, OWN_SPREAD);
        let mut churn = Lasting::new(world, scenario.demand.session_min * 60.0, 1.0);
        let mut dice = Dice::new(seed, &format!("region {region}"));
        for slot in 0..slots {
            let noise = weather.at(metro, slot) + own.next(&mut dice);
            let usual = mean_mbps * days[slot % days.len()] * libm::exp(noise);
            let wanted = usual * lifts[metro * slots + slot];
            let viewers = (wanted / scenario.demand.viewer_mbps).max(1.0);
            let churn = 1.0 + churn.next(&mut dice) / libm::sqrt(viewers);
            let gone = drops
                .iter()
                .find(|it| it.0 == region && it.1.contains(&slot));
            let left = gone.map_or(1.0, |(_, _, left)| *left);
            let mbps = wanted * churn.max(LEAST) * left;
            demand[slot * regions + region] = mbps.max(LEAST_MBPS) as f32;
        }
    }
    demand
}

/// A week's shape of a region, a value a slot, of mean 1, beginning at the world's first slot.
fn days(
    demand: &Demand,
    network: &Network,
    (seed, world, metro): (u64, &World, usize),
) -> Vec<f64> {
    let late = SHIFT_H * Dice::new(seed, &format!("clock {metro}")).normal();
    let local_h = |slot: usize| {
        let hours = world.time.second(slot) as f64 / 3600.0;
        hours + world.metros[metro].utc_offset_h
    };
    let shape = |slot: usize| {
        let hour = local_h(slot).rem_euclid(24.0);
        // 1 January 1970 was a Thursday.
        let weekday = ((local_h(slot) / 24.0).floor() as i64 + 3).rem_euclid(7);
        let (noon, evening) = if weekday >= 5 {
            (demand.weekend_noon, demand.weekend_evening)
        } else {
            (1.0, 1.0)
        };
        let bump = |at: f64, width: f64| {
            let away = (hour - at - late + 12.0).rem_euclid(24.0) - 12.0;
            libm::exp(-0.5 * (away / width) * (away / width))
        };
        demand.night
            + demand.noon * network.noon * noon * bump(NOON_H, NOON_WIDTH_H)
            + demand.evening * network.evening * evening * bump(EVENING_H, EVENING_WIDTH_H)
    };
    let mut week: Vec<f64> = (0..7 * world.time.day()).map(shape).collect();
    let mean = week.iter().sum::<f64>() / week.len() as f64;
    week.iter_mut().for_each(|it| *it /= mean);
    week
}

/// Noise that regions of a metro and of an area have in common.
struct Weather {
    slots: usize,
    by_metro: Vec<f64>,
}

impl Weather {
    fn new(scenario: &Scenario, seed: u64, world: &World) -> Self {
        let slots = world.time.slots;
        let day = world.time.day();
        let mut areas: Vec<&str> = world.metros.iter().map(|it| it.area.as_str()).collect();
        areas.sort_unstable();
        areas.dedup();
        let levels = |purpose: String, spread: f64| {
            let mut dice = Dice::new(seed, &purpose);
            let days = slots.div_ceil(day) + 1;
            (0..=days)
                .map(|_| spread * dice.normal())
                .collect::<Vec<f64>>()
        };
        // Levels of days are joined by straight lines.
        let level = |levels: &[f64], slot: usize| {
            let (at, part) = (slot / day, (slot % day) as f64 / day as f64);
            levels[at] * (1.0 - part) + levels[at + 1] * part
        };
        let by_area: Vec<Vec<f64>> = (areas.iter())
            .map(|area| levels(format!("area {area}"), AREA_SPREAD * scenario.demand.noise))
            .collect();
        let mut by_metro = Vec::with_capacity(slots * world.metros.len());
        for (at, metro) in world.metros.iter().enumerate() {
            let area = areas.iter().position(|area| *area == metro.area);
            let area = &by_area[area.unwrap_or(0)];
            let own = levels(format!("days {at}"), scenario.demand.noise);
            let mut lasting = Lasting::new(world, METRO_S, scenario.demand.noise);
            let mut dice = Dice::new(seed, &format!("metro {at}"));
            for slot in 0..slots {
                let noise = lasting.next(&mut dice);
                by_metro.push(noise + level(&own, slot) + level(area, slot));
            }
        }
        Self { slots, by_metro }
    }

    fn at(&self, metro: usize, slot: usize) -> f64 {
        self.by_metro[metro * self.slots + slot]
    }
}

/// Noise that is forgotten over some time (an autoregression of the first order).
struct Lasting {
    keep: f64,
    fresh: f64,
    now: f64,
}

impl Lasting {
    fn new(world: &World, seconds: f64, spread: f64) -> Self {
        let keep = libm::exp(-f64::from(world.time.step_s) / seconds.max(1.0));
        Self {
            keep,
            fresh: spread * libm::sqrt(1.0 - keep * keep),
            now: 0.0,
        }
    }

    fn next(&mut self, dice: &mut Dice) -> f64 {
        self.now = self.keep * self.now + self.fresh * dice.normal();
        self.now
    }
}

/// Hours and widths of the bumps, and how much metros' clocks differ: those of the reference
/// worlds.
const NOON_H: f64 = 13.2;
const NOON_WIDTH_H: f64 = 2.8;
const EVENING_H: f64 = 20.8;
const EVENING_WIDTH_H: f64 = 2.5;
const SHIFT_H: f64 = 0.4;
/// How long noise of a metro and of a region lasts: 0.985 and 0.97 of it after five minutes.
const METRO_S: f64 = 19_850.0;
const OWN_S: f64 = 9_850.0;
const OWN_SPREAD: f64 = 0.04;
/// Of an area's days, in those of its metros.
const AREA_SPREAD: f64 = 0.6;
/// Demand never falls to nothing.
const LEAST: f64 = 0.2;
const LEAST_MBPS: f64 = 1e-3;
