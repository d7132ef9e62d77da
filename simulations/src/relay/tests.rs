//! Relay bytes against a pencil, the formula, and what keeping streams together should do.

use super::*;
use crate::network::Matrix;
use crate::policies::weir::Nothing;
use crate::policies::{Kind, Setting};
use crate::run::{Motion, Ran, run};
use crate::world::{Stream, generate, scenario};
use scheduler::plan::billing::Tariff;
use scheduler::policy::Policies;
use std::sync::Arc;

fn ran(world: &World, tariffs: &[Tariff], kind: Kind) -> Ran {
    let setting = Setting {
        world,
        tariffs,
        policies: Arc::new(Policies::default()),
        foresight: Arc::new(Nothing),
    };
    let mut rule = kind.rule(&setting);
    run(world, &mut *rule, Motion::AT_ONCE, &mut |_| true).unwrap()
}

fn sum(ran: &Ran, of: fn(&Day) -> f64) -> f64 {
    ran.relayed.days.iter().map(of).sum()
}

/// A day of three metros in two areas, two edges each, with many small streams.
fn small() -> (World, Vec<Tariff>) {
    let mut text = "version = 1\n[time]\ndays = 1\nhistory_days = 2\n[demand]\nmean_gbps = 2\n\
                    [streams]\ncount = 300\n[[network]]\nname = \"n\"\naccess_ms = 5\n\
                    [[network]]\nname = \"m\"\naccess_ms = 15\n"
        .to_owned();
    for (name, area, lon) in [("a", "x", 0), ("b", "x", 5), ("c", "y", 90)] {
        text += &format!(
            "[[metro]]\nname = \"{name}\"\narea = \"{area}\"\nlat = 45\nlon = {lon}\n\
             utc_offset_h = 0\nmillion = 5\n"
        );
    }
    let scenario = scenario::parse("small", &text).unwrap();
    let (world, prices) = generate::generate(&scenario, &Matrix::default(), 3);
    (world, prices.tariffs)
}

#[test]
fn edges_take_the_streams_that_somebody_is_expected_to_watch_there() {
    let (world, tariffs) = small();
    let found = ran(&world, &tariffs, Kind::B0);
    let audience = Audience::new(&world);
    // The sum that the formula makes of the same slots, with B0's edges.
    let mut expected = 0.0;
    let b0 = |region: usize| {
        let paths = world.range(region);
        paths
            .clone()
            .find(|at| found.by_path[*at] > 0.0)
            .unwrap_or(paths.start)
    };
    for nth in (0..288).filter(|nth| nth % 25 == 12) {
        let demand = world.demand(world.time.billed_from + nth);
        for edge in 0..world.edges.len() {
            for (at, stream) in world.streams.iter().enumerate() {
                let regions = 0..world.regions.len();
                let mine = regions.filter(|it| world.paths[b0(*it)].edge as usize == edge);
                let viewers: f64 = mine
                    .map(|it| {
                        let a_mbps = audience.of(world.regions[it].metro)[at];
                        f64::from(demand[it]) * f64::from(a_mbps)
                    })
                    .sum();
                expected += (1.0 - libm::exp(-viewers)) * stream.bitrate_kbps / 1000.0;
            }
        }
    }
    let relayed = sum(&found, |day| day.relayed);
    assert!(
        (relayed / expected - 1.0).abs() < 0.02,
        "{relayed} not {expected}"
    );
    assert_eq!(relayed, sum(&found, |day| day.origin));
    assert_eq!(sum(&found, |day| day.hops), sum(&found, |day| day.served));
    assert!(found.relayed.sent.iter().all(|sent| *sent == 0.0));
    let slots: usize = found.relayed.days.iter().map(|day| day.slots).sum();
    let served = sum(&found, |day| day.served) / slots as f64;
    let demand = found.volume() / 288.0;
    assert!((served / demand - 1.0).abs() < 0.1, "{served} of {demand}");
}

#[test]
fn what_is_kept_together_is_taken_by_fewer_edges_and_trees_spare_origins() {
    let (mut world, tariffs) = small();
    world.hubs = world.largest_by_area();
    let kinds = [Kind::B1, Kind::B5, Kind::B6, Kind::B7, Kind::Weir];
    let [b1, b5, b6, b7, weir] = kinds.map(|kind| ran(&world, &tariffs, kind));
    let relayed = |ran: &Ran| sum(ran, |day| day.relayed);
    let origin = |ran: &Ran| sum(ran, |day| day.origin);
    assert!(relayed(&b6) < 0.95 * relayed(&b1));
    // A hub takes a copy more, so that origins send fewer.
    world.hubs.clear();
    let flat = ran(&world, &tariffs, Kind::Weir);
    assert!(relayed(&flat) < relayed(&b1) && relayed(&flat) < relayed(&weir));
    assert!(origin(&b5) < origin(&b1) && origin(&b7) < 0.7 * origin(&b1));
    assert!(origin(&weir) < origin(&b1));
    let hops = |ran: &Ran| sum(ran, |day| day.hops) / sum(ran, |day| day.served);
    assert_eq!(hops(&b1), 1.0);
    assert!(hops(&b5) > 1.0 && hops(&b5) <= 2.0);
    assert!(hops(&b7) > 1.0 && hops(&b7) <= 3.0);
    assert!(hops(&weir) > 1.0 && hops(&weir) <= 3.0);
    // Who steers as B1 carries what B1 carries.
    assert_eq!(b7.loads, b1.loads);
    let [theirs, ours] = [&b6, &b1].map(|ran| ran.volume());
    assert!((theirs / ours - 1.0).abs() < 1e-9);
}

#[test]
fn one_stream_of_many_viewers_is_taken_once_by_each_edge() {
    let (mut world, tariffs) = crate::world::fixture::pencil();
    world.time.step_s = EVERY_S;
    let stream = |popularity| Stream {
        bitrate_kbps: 1000.0,
        popularity,
        ..world.streams[0].clone()
    };
    world.streams = vec![stream(1.0), stream(1e-9)];
    // B0 sends all to one edge; four slots, each looked at.
    let b0 = ran(&world, &tariffs, Kind::B0);
    let days = &b0.relayed.days;
    let slots: usize = days.iter().map(|day| day.slots).sum();
    assert_eq!((slots, sum(&b0, |day| day.relayed)), (4, 4.0));
    world.streams.clear();
    assert!(ran(&world, &tariffs, Kind::B0).relayed.days.is_empty());
}
