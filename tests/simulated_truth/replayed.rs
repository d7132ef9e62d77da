//! The same people in the event engine, with the scheduler that steered the real ones.

use super::observed::Stage;
use super::scene::{self, CAP_MBPS, DAY, LEAD_S, PAST_DAYS, SLOT_S, STREAMS};
use super::{Course, Fall};
use crate::harness::EDGES;
use scheduler::plan::billing::Tariff;
use scheduler::policy::file;
use simulations::event::{self, Quality, Setup, Trace, Visit};
use simulations::policies::weir::Nothing;
use simulations::policies::{Kind, Setting};
use simulations::run::Motion;
use simulations::world::scenario::{Players, Streams, Window};
use simulations::world::{Edge, Metro, Outage, Path, Point, Region, Stream, Time, World};
use std::sync::Arc;

/// Plays them under a rule.
pub fn play(stage: &Stage, visits: &[Visit], fall: &Fall, kind: Kind) -> (Quality, Course) {
    let (times, world) = (&stage.times, world(stage, visits, fall));
    let tariffs = tariffs();
    let trace = Trace {
        visits,
        first_s: before() as u32 * SLOT_S as u32 - (LEAD_S * times.scale()) as u32,
        start_ms: times.time().unix_ms(times.begins_s) - (LEAD_S * 1e3) as u64,
        scale: times.scale(),
        seconds: times.seconds().ceil() as u32,
        wire: stage.wire,
    };
    let window = Window {
        viewers: 0.0,
        schedulers: 1,
        heartbeat_loss: 0.0,
        dns: 0.0,
        kill_min: -1.0,
        drain_min: -1.0,
        crowd_min: -1.0,
        notice_s: 0.3,
        ..Window::default()
    };
    let setup = Setup {
        setting: Setting {
            world: &world,
            tariffs: &tariffs,
            policies: Arc::new(file::parse(scene::POLICY).unwrap()),
            foresight: Arc::new(Nothing),
        },
        window: &window,
        players: &Players::default(),
        streams: &Streams::default(),
        motion: Motion::of_players(600.0, 0.8),
        seed: 7,
        trace: Some(&trace),
    };
    let mut egress = vec![vec![(0.0, 0.0)]; world.edges.len()];
    let mut course = Course {
        relay_bits: vec![0.0; world.edges.len()],
        viewer_s: vec![0.0; world.edges.len()],
        ..Course::default()
    };
    let (quality, books) = event::play(&setup, kind, &mut |second, carried| {
        for (at, edge) in carried.iter().enumerate() {
            let sum = egress[at].last().map_or(0.0, |it| it.1) + edge.egress_bits;
            egress[at].push((f64::from(second + 1), sum));
            if f64::from(second) >= LEAD_S {
                course.relay_bits[at] += edge.relay_bits;
                course.viewer_s[at] += f64::from(edge.viewers);
            }
        }
        true
    })
    .unwrap();
    println!("{kind}: {books:?}");
    let slots = |line: &Vec<(f64, f64)>| super::slots(line, times);
    course.egress_bps = egress.iter().map(slots).collect();
    (quality, course)
}

pub fn tariffs() -> Vec<Tariff> {
    let tariff = |usd: f64| Tariff {
        usd_per_mbps_month: usd,
        ..Tariff::default()
    };
    scene::edges().iter().map(|it| tariff(it.2)).collect()
}

/// The cluster as a world: what the scheduler says that it plans with.
fn world(stage: &Stage, visits: &[Visit], fall: &Fall) -> World {
    let times = &stage.times;
    let before = before();
    let slots = before + times.slots as usize;
    let slot = |at_s: f64| before + times.slot(at_s) as usize;
    let point = |(lat, lon): (f64, f64)| Point { lat, lon };
    let metro = |(name, lat, lon, _): &(&str, f64, f64, &str)| Metro {
        name: (*name).to_owned(),
        country: None,
        area: "world".to_owned(),
        at: point((*lat, *lon)),
        utc_offset_h: 0.0,
        weight: 1.0,
    };
    let edges = scene::edges();
    let edge = |(nth, (name, at, _)): (usize, &(String, (f64, f64), f64))| Edge {
        name: name.clone(),
        metro: nth / 2,
        at: point(*at),
        capacity_mbps: CAP_MBPS,
        ingress_mbps: CAP_MBPS,
    };
    let region = |(metro, (name, lat, lon, _)): (usize, &(&str, f64, f64, &str))| Region {
        name: (*name).to_owned(),
        metro,
        at: point((*lat, *lon)),
        access_ms: 0.0,
    };
    let stream = |popularity: f64| Stream {
        bitrate_kbps: stage.stream_bps / 1e3,
        popularity,
        home: 1,
        is_global: true,
    };
    let mut world = World {
        name: "truth".to_owned(),
        time: Time {
            step_s: SLOT_S as u32,
            start_s: times.begins_s - before as i64 * SLOT_S,
            slots,
            billed_from: before,
        },
        metros: EDGES.iter().map(metro).collect(),
        regions: EDGES.iter().enumerate().map(region).collect(),
        edges: edges.iter().enumerate().map(edge).collect(),
        demand: demand(stage, visits, slots),
        streams: STREAMS.into_iter().map(stream).collect(),
        outages: vec![Outage {
            edge: fall.edge,
            slots: slot(fall.dies_s)..slot(fall.returns_s),
        }],
        ..World::default()
    };
    world.route(EDGES.iter().map(|it| paths(stage, it.0)).collect());
    world
}

/// Slots that are history.
fn before() -> usize {
    (PAST_DAYS * DAY) as usize
}

/// The ways of a region as the scheduler knows them.
fn paths(stage: &Stage, region: &str) -> Vec<Path> {
    let place = stage.world.regions.iter();
    let place = place.clone().find(|it| it.region.as_str() == region);
    let names = scene::edges();
    let path = |way: &scheduler::planner::export::Way| Path {
        edge: names
            .iter()
            .position(|it| it.0 == way.edge.as_str())
            .unwrap() as u32,
        rtt_ms: way.rtt_ms.into(),
    };
    place.unwrap().ways.iter().map(path).collect()
}

/// What regions asked for: what the scheduler remembers, then what the visits need in each slot.
fn demand(stage: &Stage, visits: &[Visit], slots: usize) -> Vec<f32> {
    let before = before();
    let mut demand = vec![0.0_f32; slots * 3];
    for (place, past) in stage.past.iter().enumerate() {
        for (nth, bps) in past.values.iter().enumerate() {
            let middle_ms = past.first_ms as f64 + past.step_ms * (nth as f64 + 0.5);
            let slot = stage.times.slot_at(middle_ms) + before as i64;
            let at = usize::try_from(slot).unwrap_or(slots) * 3 + place;
            if let (Some(mbps), Some(bps)) = (demand.get_mut(at), bps) {
                *mbps = (bps / 1e6) as f32;
            }
        }
    }
    for visit in visits {
        let times = if visit.player == event::Player::LowLatency {
            stage.wire.hls
        } else {
            stage.wire.flv
        };
        let mbps = stage.stream_bps * times / 1e6;
        let (from, to) = (visit.at_ms, visit.at_ms + visit.stays_ms);
        let slot = |ms: u32| before as f64 + stage.times.slot(f64::from(ms) / 1e3);
        let (from, to) = (slot(from), slot(to));
        for slot in from as usize..=to as usize {
            let part = to.min(slot as f64 + 1.0) - from.max(slot as f64);
            let at = 3 * slot + usize::from(visit.region);
            if let Some(sum) = demand.get_mut(at) {
                *sum += (mbps * part) as f32;
            }
        }
    }
    demand
}
