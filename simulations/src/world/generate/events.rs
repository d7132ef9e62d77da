//! Sans-IO: what is announced, what comes of it, and what nobody knew of.

use std::ops::Range;

use super::super::{Event, Outage, World};
use crate::dice::Dice;
use crate::world::scenario::{self, Scenario};

/// Draws the announced events of a world.
pub(super) fn announce(scenario: &Scenario, seed: u64, world: &mut World) {
    let mut dice = Dice::new(seed, "announced");
    let day = world.time.day();
    let days = world.time.slots / day;
    let mut events = Vec::new();
    let all: Vec<usize> = (0..world.metros.len()).collect();
    for at in 0..days {
        for _ in 0..dice.count(scenario.events.area) {
            let metros = area_of(world, dice.index(all.len()));
            let hour = dice.between(17.0, 21.0);
            events.push(draw(world, &mut dice, (metros, at, hour), (1.4, 2.4)));
        }
        for _ in 0..dice.count(scenario.events.metro) {
            let metros = vec![dice.index(all.len())];
            let hour = dice.between(10.0, 22.0);
            events.push(draw(world, &mut dice, (metros, at, hour), (1.4, 2.8)));
        }
    }
    for _ in 0..dice.count(scenario.events.world) {
        let (at, hour) = (dice.index(days), dice.between(0.0, 24.0));
        events.push(draw(world, &mut dice, (all.clone(), at, hour), (1.3, 1.6)));
    }
    for event in &scenario.event {
        if let Some(hours) = event.announced_h {
            let mut event = certain(world, event);
            let ahead = (hours * 3600.0 / f64::from(world.time.step_s)) as usize;
            event.announced = event.start.saturating_sub(ahead);
            events.push(event);
        }
    }
    events.retain(|event| event.start < world.time.slots);
    events.sort_by_key(|event| event.start);
    world.events = events;
}

/// The metros of the area of one of them.
fn area_of(world: &World, metro: usize) -> Vec<usize> {
    let area = &world.metros[metro].area;
    let same = |at: &usize| world.metros[*at].area == *area;
    (0..world.metros.len()).filter(same).collect()
}

/// On the full or half hour, local time of the first metro; 90 to 210 minutes, known 12 hours to a
/// week ahead.
fn draw(
    world: &World,
    dice: &mut Dice,
    (metros, day, hour): (Vec<usize>, usize, f64),
    (least, most): (f64, f64),
) -> Event {
    let hour = libm::floor(hour * 2.0) / 2.0 - world.metros[metros[0]].utc_offset_h;
    let start = slot(world, day as f64 * 24.0 + hour);
    let slots = slot(world, dice.between(1.5, 3.5)).max(1);
    let ahead = slot(world, dice.between(12.0, 168.0));
    Event {
        start,
        slots,
        metros,
        multiplier: libm::round(dice.between(least, most) * 20.0) / 20.0,
        announced: start.saturating_sub(ahead),
    }
}

fn slot(world: &World, hours: f64) -> usize {
    (hours.max(0.0) * 3600.0 / f64::from(world.time.step_s)) as usize
}

/// An event of the file, as if known from the start.
fn certain(world: &World, event: &scenario::Event) -> Event {
    let of = |name: &String| world.metros.iter().position(|it| it.name == *name);
    let metro = event.metro.as_ref().and_then(of);
    let in_area = |at: &usize| {
        event
            .area
            .as_ref()
            .is_none_or(|it| world.metros[*at].area == *it)
    };
    let metros = match metro {
        Some(metro) => vec![metro],
        None => (0..world.metros.len()).filter(in_area).collect(),
    };
    let hours = f64::from(event.day) * 24.0 + event.hour;
    Event {
        start: world.time.billed_from + slot(world, hours),
        slots: slot(world, event.minutes / 60.0).max(1),
        metros,
        multiplier: event.multiplier,
        announced: 0,
    }
}

/// What demand of a metro is multiplied by, by metro and then slot: of the announced what comes of
/// them, and what nobody announced.
pub(super) fn lifts(scenario: &Scenario, seed: u64, world: &World) -> Vec<f64> {
    let slots = world.time.slots;
    let mut lifts = vec![1.0; world.metros.len() * slots];
    let mut dice = Dice::new(seed, "what comes of it");
    let minutes = |minutes: f64| slot(world, minutes / 60.0);
    let mut lift =
        |metros: &[usize], (start, length): (usize, usize), extra: f64, ramps: (usize, usize)| {
            for at in 0..length.min(slots.saturating_sub(start)) {
                let up = (at + 1) as f64 / ramps.0.max(1) as f64;
                let down = (length - at) as f64 / ramps.1.max(1) as f64;
                for metro in metros {
                    lifts[metro * slots + start + at] *= 1.0 + extra * up.min(down).min(1.0);
                }
            }
        };
    let ramp = minutes(20.0);
    let own = scenario.event.iter();
    let own: Vec<Event> = own.map(|event| certain(world, event)).collect();
    for event in &own {
        lift(
            &event.metros,
            (event.start, event.slots),
            event.multiplier - 1.0,
            (ramp, ramp),
        );
    }
    let is_own = |event: &Event| {
        own.iter()
            .any(|it| (it.start, &it.metros) == (event.start, &event.metros))
    };
    for event in world.events.iter().filter(|event| !is_own(event)) {
        let (cancelled, late) = (dice.chance(scenario.events.cancelled), dice.index(3));
        let extra = (event.multiplier - 1.0) * libm::exp(0.25 * dice.normal() - 0.03);
        if !cancelled {
            let late = late * minutes(5.0);
            lift(
                &event.metros,
                (event.start + late, event.slots),
                extra,
                (ramp, ramp),
            );
        }
    }
    let mut dice = Dice::new(seed, "crowds");
    for day in 0..slots / world.time.day() {
        for (is_area, mean) in [
            (false, scenario.events.crowd_metro),
            (true, scenario.events.crowd_area),
        ] {
            for _ in 0..dice.count(mean) {
                let metro = dice.index(world.metros.len());
                let start = day * world.time.day() + dice.index(world.time.day());
                let length = minutes(dice.between(50.0, 145.0)).max(1);
                let (metros, extra) = if is_area {
                    (area_of(world, metro), dice.between(0.2, 0.5))
                } else {
                    (vec![metro], dice.between(0.4, 1.6))
                };
                lift(
                    &metros,
                    (start, length),
                    extra,
                    (minutes(10.0), minutes(30.0)),
                );
            }
        }
    }
    lifts
}

/// Regions that lose viewers for up to two hours: which, when, and what is left.
pub(super) fn drops(
    scenario: &Scenario,
    seed: u64,
    world: &World,
) -> Vec<(usize, Range<usize>, f64)> {
    let mut dice = Dice::new(seed, "drops");
    let mut drops = Vec::new();
    for day in 0..world.time.slots / world.time.day() {
        for _ in 0..dice.count(scenario.events.region_outage) {
            let region = dice.index(world.regions.len());
            let start = day * world.time.day() + dice.index(world.time.day());
            let end = start + slot(world, dice.between(0.1, 2.0)).max(1);
            drops.push((region, start..end, 1.0 - dice.between(0.5, 0.9)));
        }
    }
    drops
}

/// When edges are dead: those of the file, and those that are drawn.
pub(super) fn outages(scenario: &Scenario, seed: u64, world: &World) -> Vec<Outage> {
    let mut dice = Dice::new(seed, "edge outages");
    let mut outages = Vec::new();
    for outage in &scenario.outage {
        let edge = world.edges.iter().position(|edge| edge.name == outage.edge);
        let from = slot(world, f64::from(outage.day) * 24.0 + outage.hour);
        let start = world.time.billed_from + from;
        let end = start + slot(world, outage.minutes / 60.0).max(1);
        outages.extend(edge.map(|edge| Outage {
            edge,
            slots: start..end,
        }));
    }
    for day in 0..world.time.days() {
        for _ in 0..dice.count(scenario.events.edge_outage) {
            let start = world.time.billed_from + day * world.time.day();
            let start = start + dice.index(world.time.day());
            let end = start + slot(world, dice.between(1.0 / 6.0, 1.0)).max(1);
            outages.push(Outage {
                edge: dice.index(world.edges.len()),
                slots: start..end,
            });
        }
    }
    outages
}
