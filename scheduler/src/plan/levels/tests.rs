//! Levels on worlds of a few edges, where the best is known.

use super::*;

fn tariff(model: BillingModel) -> Tariff {
    Tariff {
        model,
        usd_per_gb: 0.01,
        ..Tariff::default()
    }
}

fn edge(price: f64, free: f64) -> Edge {
    Edge {
        price,
        paid: 0.0,
        limit: 100.0,
        free,
        by_slot: true,
    }
}

/// One region that demands little for most of the time and much for the rest.
fn evening(calm: f64, busy: f64, part: f64) -> Vec<Scenario> {
    let scenario = |weight, demand| Scenario {
        weight,
        demand: vec![demand],
    };
    vec![scenario(1.0 - part, calm), scenario(part, busy)]
}

fn offers(costs: &[f64]) -> Vec<Offer> {
    let offer = |(edge, cost): (usize, &f64)| Offer {
        edge: edge as u32,
        cost: *cost,
    };
    costs.iter().enumerate().map(offer).collect()
}

fn found(scenarios: &[Scenario], edges: &[Edge], costs: &[f64], credit: f64) -> Levels {
    let knobs = Knobs {
        burst_credit: credit,
        ..Knobs::default()
    };
    let offers = offers(costs);
    levels(
        scenarios,
        (&[0, offers.len() as u32], &offers),
        edges,
        &knobs,
        None,
    )
}

fn near(found: f64, expect: f64) -> bool {
    (found - expect).abs() <= 0.03 * expect.max(30.0)
}

#[test]
fn an_edge_alone_pays_for_its_highest_load() {
    let levels = found(&evening(20.0, 60.0, 0.3), &[edge(1.0, 0.0)], &[0.1], 1.0);
    assert!(near(levels.levels[0], 60.0), "{levels:?}");
}

#[test]
fn free_slots_carry_the_rare_peak() {
    let levels = found(&evening(20.0, 60.0, 0.04), &[edge(1.0, 0.05)], &[0.1], 1.0);
    assert!(levels.levels[0] < 25.0, "{levels:?}");
}

#[test]
fn the_cheap_edge_gets_the_level() {
    let edges = [edge(0.5, 0.0), edge(2.0, 0.0)];
    let levels = found(&evening(20.0, 60.0, 0.3), &edges, &[0.1, 0.1], 1.0);
    assert!(
        near(levels.levels[0], 60.0) && levels.levels[1] < 3.0,
        "{levels:?}"
    );
}

#[test]
fn what_is_paid_for_is_used_first() {
    let edges = [
        edge(0.5, 0.0),
        Edge {
            paid: 40.0,
            ..edge(2.0, 0.0)
        },
    ];
    let levels = found(&evening(60.0, 60.0, 0.3), &edges, &[0.1, 0.1], 1.0);
    assert!(
        near(levels.levels[0], 20.0) && near(levels.levels[1], 40.0),
        "{levels:?}"
    );
}

#[test]
fn an_edge_whose_level_is_free_offers_all_it_has() {
    let levels = found(
        &evening(20.0, 60.0, 0.3),
        &[edge(0.0, 0.0), edge(1.0, 0.0)],
        &[0.1; 2],
        1.0,
    );
    assert!(
        near(levels.levels[0], 100.0) && levels.levels[1] < 3.0,
        "{levels:?}"
    );
}

#[test]
fn odd_input_gives_no_nonsense() {
    let strange = Edge {
        price: f64::NAN,
        paid: f64::INFINITY,
        limit: 0.0,
        free: -1.0,
        by_slot: true,
    };
    let levels = found(
        &evening(0.0, 60.0, 0.3),
        &[strange, edge(1.0, 0.0)],
        &[0.1, 0.2],
        1.0,
    );
    assert!(near(levels.levels[1], 60.0), "{levels:?}");
    assert!(found(&[], &[edge(1.0, 0.05)], &[0.1], 0.3).levels[0] < 1.0);
}

#[test]
fn the_same_input_gives_the_same_levels_warm_or_not() {
    let (world, edges) = (evening(20.0, 60.0, 0.3), [edge(0.5, 0.05), edge(2.0, 0.05)]);
    let cold = found(&world, &edges, &[0.1, 0.1], 0.3);
    assert_eq!(cold, found(&world, &edges, &[0.1, 0.1], 0.3));
    let offers = offers(&[0.1, 0.1]);
    let warm = levels(
        &world,
        (&[0, 2], &offers),
        &edges,
        &Knobs {
            burst_credit: 0.3,
            ..Knobs::default()
        },
        Some(&cold),
    );
    assert!(near(warm.levels[0], cold.levels[0]), "{warm:?} {cold:?}");
}

#[test]
fn going_beyond_gets_dearer_with_the_slots_used_and_stops_at_the_cliff() {
    let (contract, knobs) = (tariff(BillingModel::P95), Knobs::default());
    let mut bill = Bill::new(0, 8640);
    let price = |bill: &Bill| supply((&contract, bill), 50e6, 1.0, 100e6, &knobs).beyond;
    let (mut before, mut slot) = (0.0, 4320);
    bill.push(slot, 0.0);
    for (used, cliff) in [(0, false), (100, false), (300, false), (425, true)] {
        while bill.slots_above(50e6) < used {
            slot += 1;
            bill.push(slot, 60e6);
        }
        let now = price(&bill);
        assert!(
            now >= before && (now == knobs.cliff) == cliff,
            "{used}: {now}"
        );
        before = now;
    }
}

#[test]
fn every_contract_makes_a_supply() {
    let knobs = Knobs::default();
    let mut bill = Bill::new(0, 8640);
    bill.push(0, 30e6);
    for (model, level, beyond) in [
        (BillingModel::P95, 50e6, true),
        (BillingModel::DailyPeak, 30e6, true),
        (BillingModel::Volume, 100e6, false),
        (BillingModel::Flat, 100e6, false),
    ] {
        let contract = tariff(model);
        let supply = supply((&contract, &bill), 50e6, 1.0, 100e6, &knobs);
        assert_eq!(
            (supply.level, supply.beyond > 0.0),
            (level, beyond),
            "{model:?}"
        );
        assert_eq!(per_bit(&contract, 1.0) > 0.0, model == BillingModel::Volume);
        let edge = Edge::new((&contract, &bill), 50e6, 1.0, 100e6, &knobs);
        assert_eq!(edge.price > 0.0, beyond, "{model:?}");
        assert_eq!(edge.free > 0.0, model == BillingModel::P95, "{model:?}");
    }
}

#[test]
fn the_audit_names_the_metro_that_cannot_lose_an_edge() {
    let supply = |limit| Supply {
        level: limit,
        beyond: 0.0,
        limit,
        weight: limit,
    };
    let problem = Problem {
        demand: vec![50.0],
        starts: vec![0, 3],
        offers: offers(&[0.1, 0.2, 0.3]),
        supplies: vec![supply(40.0), supply(30.0), supply(15.0)],
    };
    let short = audit(&problem, &[Some(7), Some(7), Some(9)]);
    assert_eq!(short.len(), 1, "{short:?}");
    assert_eq!((short[0].metro, short[0].edge), (7, 0));
    assert!((short[0].short_bps - 5.0).abs() < 0.5, "{short:?}");
}

#[test]
fn scenarios_weigh_the_whole_day_with_its_busy_slots_apart() {
    let region = |scale: f32| {
        (0..2 * 288)
            .map(|slot| scale * (slot % 288) as f32)
            .collect()
    };
    let history: Vec<Vec<f32>> = vec![region(1.0), region(2.0)];
    let found = scenarios(&history, 288, 0.9);
    assert_eq!(found.len(), 24);
    let weight: f64 = found.iter().map(|scenario| scenario.weight).sum();
    assert!((weight - 1.0).abs() < 1e-9);
    let mean: f64 = found.iter().map(|it| it.weight * it.demand[1]).sum();
    assert!((mean - 287.0).abs() < 1.0, "{mean}");
    for pair in found.chunks(2) {
        assert!(pair[0].demand[0] > pair[1].demand[0] && pair[0].weight < pair[1].weight);
    }
    assert!(scenarios(&[], 288, 0.9).is_empty());
}
