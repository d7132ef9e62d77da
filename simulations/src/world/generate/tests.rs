//! Worlds that are made follow from their seed and are as described.

use super::*;
use crate::world::scenario::{DEFAULT, parse};

fn shipped(more: &str) -> Scenario {
    // Two days are enough to look at.
    let text = DEFAULT
        .replace("days = 28 ", "days = 2 ")
        .replace("history_days = 7 ", "history_days = 1 ");
    parse("default.toml", &format!("{text}\n{more}")).unwrap()
}

fn made(scenario: &Scenario, seed: u64) -> (World, Prices) {
    generate(scenario, &Matrix::default(), seed)
}

#[test]
fn a_world_follows_from_its_seed() {
    let scenario = shipped("");
    let first = made(&scenario, 1);
    assert_eq!(first, made(&scenario, 1));
    let second = made(&scenario, 2);
    assert_ne!(first.0.demand, second.0.demand);
    assert_ne!(first.1, second.1);
}

#[test]
fn the_shipped_world_is_as_it_is_described() {
    let (world, prices) = made(&shipped(""), 3);
    assert_eq!((world.regions.len(), world.edges.len()), (192, 80));
    assert_eq!((world.time.slots, world.time.billed_from), (3 * 288, 288));
    let total: f64 = world.demand.iter().map(|mbps| f64::from(*mbps)).sum();
    let mean_gbps = total / world.time.slots as f64 / 1000.0;
    assert!((300.0..600.0).contains(&mean_gbps), "{mean_gbps}");
    let popularity: f64 = world.streams.iter().map(|stream| stream.popularity).sum();
    assert!((popularity - 1.0).abs() < 1e-9);
    for region in 0..world.regions.len() {
        let paths = world.paths(region);
        assert_eq!(paths.len(), crate::world::MAX_PATHS);
        assert!(
            paths
                .windows(2)
                .all(|pair| pair[0].rtt_ms <= pair[1].rtt_ms)
        );
        assert!(paths[0].rtt_ms >= world.regions[region].access_ms);
    }
    let room: f64 = world.edges.iter().map(|edge| edge.capacity_mbps).sum();
    assert!(room > 1.35 * total / world.time.slots as f64);
    assert!(prices.tariffs.iter().all(|it| it.usd_per_mbps_month > 0.05));
    let commits = prices
        .tariffs
        .iter()
        .filter(|it| it.commit_mbps > 0.0)
        .count();
    assert!((10..45).contains(&commits), "{commits}");
}

#[test]
fn what_the_file_names_is_in_the_world() {
    let scenario = shipped(
        "[[edge]]\nname = \"edge-lon-1\"\nmetro = \"london\"\ncapacity_mbps = 40000\n\
         [[edge]]\nname = \"edge-tyo-1\"\nmetro = \"tokyo\"\ncapacity_mbps = 90000\n\
         [[price]]\nnode = \"edge-lon-*\"\nusd_per_mbps_month = 0.45\ncommit_mbps = 4000\n\
         [[event]]\nmetro = \"london\"\nday = 1\nhour = 12.0\nminutes = 120\nmultiplier = 9.0\nannounced_h = 6\n\
         [[outage]]\nedge = \"edge-tyo-1\"\nday = 1\nhour = 6.0\nminutes = 30\n",
    );
    let (world, prices) = made(&scenario, 5);
    assert_eq!(world.edges.len(), 2);
    assert_eq!(prices.tariffs[0].usd_per_mbps_month, 0.45);
    let noon = 2 * 288 + 144;
    assert_eq!(world.outages[0].slots, 2 * 288 + 72..2 * 288 + 78);
    assert!(!world.is_up(1, 2 * 288 + 72) && world.is_up(1, 2 * 288 + 78));
    let event = world
        .events
        .iter()
        .find(|event| event.multiplier == 9.0)
        .unwrap();
    assert_eq!(
        (event.start, event.slots, event.announced),
        (noon, 24, noon - 72)
    );
    let london = world
        .metros
        .iter()
        .position(|it| it.name == "london")
        .unwrap();
    let asked = |slot: usize| -> f32 {
        let regions = world.regions.iter().zip(world.demand(slot));
        regions
            .filter(|(it, _)| it.metro == london)
            .map(|(_, mbps)| mbps)
            .sum()
    };
    assert!(asked(noon + 12) > 5.0 * asked(noon - 1));
}

#[test]
fn shorter_slots_carry_as_much() {
    let mut scenario = shipped("");
    let coarse = made(&scenario, 4).0;
    scenario.time.slot_s = 60;
    let fine = made(&scenario, 4).0;
    let mean = |world: &World| {
        let sum: f64 = world.demand.iter().map(|mbps| f64::from(*mbps)).sum();
        sum / world.time.slots as f64
    };
    assert!((mean(&fine) / mean(&coarse) - 1.0).abs() < 0.15);
    assert_eq!(fine.time.day(), 1440);
}
