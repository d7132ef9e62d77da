//! Plans of small worlds: who gets what, what is held on to, and what no plan may do.

use std::sync::Arc;

use cluster::node::NodeId;
use cluster::region::Region;
use proptest::prelude::*;

use super::*;
use crate::glob::Glob;
use crate::plan::billing::{Bill, Tariff};
use crate::plan::view::{Outlook, Path};

const MBPS: f64 = 1e6;

fn edge(id: &str, usd: f64, capacity_mbps: f64) -> Edge {
    Edge {
        id: NodeId::parse(id).unwrap(),
        country: None,
        capacity_bps: capacity_mbps * MBPS,
        weight: capacity_mbps,
        tariff: Tariff {
            usd_per_mbps_month: usd,
            ..Tariff::default()
        },
        metro: "somewhere".to_owned(),
        bill: Arc::new(Bill::new(0, 8_640)),
        goal_bps: 0.0,
    }
}

fn demand(name: &str, mbps: f64, rtts: &[f32]) -> Demand {
    let path = |(edge, rtt_ms): (usize, &f32)| Path {
        edge,
        rtt_ms: *rtt_ms,
        measured: true,
    };
    let mut paths: Vec<Path> = rtts.iter().enumerate().map(path).collect();
    paths.sort_by(|a, b| a.rtt_ms.total_cmp(&b.rtt_ms));
    Demand {
        region: Region::named(name),
        now_bps: mbps * MBPS,
        outlook: Outlook::STEADY,
        paths,
    }
}

/// The share of a region's demand at each edge.
fn shares(view: &View, planned: &Planned, region: usize) -> Vec<f64> {
    let mut shares = vec![0.0; view.edges.len()];
    for way in planned.of(region) {
        shares[way.edge as usize] += way.share;
    }
    shares
}

fn first(view: &View) -> Planned {
    trade(view, &Policies::default(), None)
}

#[test]
fn the_cheap_edge_within_the_slack_gets_the_demand_and_a_far_one_nothing() {
    let view = View {
        at_s: 0,
        demands: vec![demand("a", 100.0, &[10.0, 20.0, 60.0, 70.0, 80.0])],
        edges: vec![
            edge("near", 2.0, 1_000.0),
            edge("cheap", 0.5, 1_000.0),
            edge("far", 0.1, 1_000.0),
            edge("farther", 0.1, 1_000.0),
            edge("farthest", 0.1, 1_000.0),
        ],
    };
    let planned = first(&view);
    let shares = shares(&view, &planned, 0);
    assert!(shares[1] > 0.9, "{shares:?}");
    assert!(planned.figures.overload_bps < 1.0);
    assert!(planned.quotes[0].money > planned.quotes[1].money);
}

#[test]
fn edges_of_one_site_share_by_their_room() {
    let view = View {
        at_s: 0,
        demands: vec![demand("a", 100.0, &[10.0, 11.5, 10.7, 15.0])],
        edges: vec![
            edge("a1", 1.0, 200.0),
            edge("a2", 1.0, 200.0),
            edge("a3", 1.0, 400.0),
            edge("b1", 1.0, 400.0),
        ],
    };
    let planned = first(&view);
    let shares = shares(&view, &planned, 0);
    for (share, expected) in shares.iter().zip([0.25, 0.25, 0.5, 0.0]) {
        assert!((share - expected).abs() < 0.1, "{shares:?}");
    }
}

#[test]
fn what_is_paid_for_already_is_used_before_what_is_not() {
    let mut view = View {
        at_s: 0,
        demands: vec![demand("a", 100.0, &[10.0, 12.0])],
        edges: vec![edge("one", 1.0, 1_000.0), edge("two", 1.0, 1_000.0)],
    };
    view.edges[1].tariff.commit_mbps = 80.0;
    let planned = first(&view);
    let loads: Vec<f64> = planned
        .quotes
        .iter()
        .map(|it| it.planned_bps / MBPS)
        .collect();
    assert!(loads[1] > 75.0, "{loads:?}");
}

#[test]
fn an_edge_below_the_level_it_is_to_be_billed_at_is_filled_first() {
    let mut view = View {
        at_s: 0,
        demands: vec![demand("a", 100.0, &[10.0, 12.0])],
        edges: vec![edge("one", 1.0, 1_000.0), edge("two", 1.0, 1_000.0)],
    };
    view.edges[0].goal_bps = 20.0 * MBPS;
    view.edges[1].goal_bps = 90.0 * MBPS;
    let planned = first(&view);
    let loads: Vec<f64> = planned
        .quotes
        .iter()
        .map(|it| it.planned_bps / MBPS)
        .collect();
    assert!(loads[1] > 75.0 && loads[0] < 25.0, "{loads:?}");
}

#[test]
fn expected_demand_is_planned_for_not_the_present_one() {
    let mut view = View {
        at_s: 0,
        demands: vec![demand("a", 100.0, &[10.0])],
        edges: vec![edge("one", 1.0, 1_000.0)],
    };
    view.demands[0].outlook.median = 2.0;
    let planned = first(&view);
    assert!((planned.quotes[0].planned_bps - 200.0 * MBPS).abs() < 1.0);
    view.demands[0].outlook.quantiles = [2.0, 3.0, 4.0];
    view.demands[0].outlook.risk = 0.99;
    let planned = first(&view);
    let crowd = "while a crowd comes its upper quantile is planned for";
    assert!(
        (planned.quotes[0].planned_bps - 400.0 * MBPS).abs() < 1.0,
        "{crowd}"
    );
}

#[test]
fn room_is_left_for_surprises_and_less_where_many_regions_come_together() {
    let room = |regions: u32, more: f64| {
        let each = 1_200.0 / f64::from(regions);
        let mut view = View {
            at_s: 0,
            demands: (0..regions)
                .map(|nth| demand(&format!("r{nth}"), each, &[10.0, 20.0]))
                .collect(),
            edges: vec![edge("near", 1.0, 1_000.0), edge("far", 1.0, 1_000.0)],
        };
        for demand in &mut view.demands {
            demand.outlook.quantiles = [1.0 + more; 3];
        }
        920.0 - first(&view).quotes[0].planned_bps / MBPS
    };
    assert!((20.0..35.0).contains(&room(1, 0.0)), "{}", room(1, 0.0));
    assert!(room(1, 0.1) > 70.0, "{}", room(1, 0.1));
    assert!(room(10, 0.1) < 0.7 * room(1, 0.1), "{}", room(10, 0.1));
}

#[test]
fn a_free_slot_is_not_used_up_only_to_hold_on_to_a_plan() {
    let mut view = View {
        at_s: 1_000,
        demands: vec![demand("a", 180.0, &[10.0, 12.0])],
        edges: vec![edge("one", 1.0, 1_000.0), edge("two", 1.0, 1_000.0)],
    };
    view.edges
        .iter_mut()
        .for_each(|edge| edge.goal_bps = 100.0 * MBPS);
    let before = first(&view);
    assert!(before.bursts.iter().all(|burst| *burst == Burst::Shut));
    view.at_s += 1;
    view.demands[0].now_bps = 192.0 * MBPS;
    let planned = trade(&view, &Policies::default(), Some(&before));
    let most = planned.quotes.iter().map(|it| it.planned_bps / MBPS);
    assert!(most.fold(0.0, f64::max) < 98.0, "{:?}", planned.quotes);
    view.demands[0].now_bps = 400.0 * MBPS;
    let burst = trade(&view, &Policies::default(), Some(&planned));
    let open = burst.bursts.iter().filter(|burst| **burst == Burst::Open);
    assert_eq!(open.count(), 1, "{:?}", burst.quotes);
}

#[test]
fn a_plan_holds_on_to_what_is_in_force_until_a_change_is_worth_it() {
    let mut view = View {
        at_s: 1_000,
        demands: vec![
            demand("a", 500.0, &[10.0, 12.0]),
            demand("b", 500.0, &[12.0, 10.0]),
        ],
        edges: vec![edge("one", 1.0, 800.0), edge("two", 1.1, 800.0)],
    };
    let before = first(&view);
    view.at_s += 3_600;
    view.demands[0].now_bps *= 1.001;
    let same = trade(&view, &Policies::default(), Some(&before));
    assert_eq!((same.changed_s, same.figures.moved < 1e-9), (1_000, true));

    view.demands[0].now_bps *= 1.8;
    let moved = trade(&view, &Policies::default(), Some(&same));
    assert_eq!(moved.changed_s, view.at_s, "a limit would be broken");
    assert!(moved.figures.overload_bps < 1_000.0, "{:?}", moved.figures);
}

#[test]
fn what_is_in_force_is_compared_by_the_same_costs_as_what_is_found() {
    let mut view = View {
        at_s: 1_000,
        demands: vec![demand("a", 900.0, &[10.0])],
        edges: vec![edge("one", 1.0, 1_000.0)],
    };
    view.edges[0].goal_bps = 100.0 * MBPS;
    let before = first(&view);
    view.at_s += 3_600;
    let same = trade(&view, &Policies::default(), Some(&before));
    assert_eq!(same.changed_s, 1_000, "it bursts, and nothing is better");
}

#[test]
fn regions_obey_their_own_policies() {
    let mut policy = Policy::default();
    policy.placement.deny = vec![Glob::parse("cheap").unwrap()];
    let policies = Policies::new(Vec::new(), policy);
    let view = View {
        at_s: 0,
        demands: vec![demand("a", 10.0, &[10.0, 10.0])],
        edges: vec![edge("dear", 9.0, 100.0), edge("cheap", 0.1, 100.0)],
    };
    let planned = trade(&view, &policies, None);
    assert_eq!(shares(&view, &planned, 0), [1.0, 0.0]);
}

#[test]
fn a_world_without_edges_or_viewers_has_a_plan() {
    let nothing = first(&View::default());
    assert_eq!((nothing.quotes.len(), nothing.ways.len()), (0, 0));
    let nowhere = first(&View {
        demands: vec![demand("a", 10.0, &[])],
        ..View::default()
    });
    assert!(nowhere.of(0).is_empty() && nowhere.of(7).is_empty());
    let calm = first(&View {
        edges: vec![edge("one", 1.0, 100.0), edge("other", 1.0, 100.0)],
        ..View::default()
    });
    assert!(calm.quotes.iter().all(|quote| quote.scarcity == 0.0));
}

proptest! {
    #[test]
    fn plans_are_finite_keep_to_policies_and_repeat_byte_by_byte(
        demands in prop::collection::vec(
            (0.0..5_000.0, prop::collection::vec(1.0f32..200.0, 5)),
            0..8,
        ),
        edges in prop::collection::vec((0.0..9.0, 1.0..9_000.0), 5),
    ) {
        let view = View {
            at_s: 0,
            demands: demands.iter().enumerate()
                .map(|(nth, (mbps, rtts))| demand(&format!("r{nth}"), *mbps, rtts)).collect(),
            edges: edges.iter().enumerate()
                .map(|(nth, (usd, mbps))| edge(&format!("e{nth}"), *usd, *mbps)).collect(),
        };
        let mut policy = Policy::default();
        policy.placement.deny = vec![Glob::parse("e3").unwrap()];
        let policies = Policies::new(Vec::new(), policy);
        let planned = trade(&view, &policies, None);
        let again = trade(&view, &policies, None);
        prop_assert_eq!(format!("{planned:?}"), format!("{again:?}"));
        for (region, demand) in view.demands.iter().enumerate() {
            let sum: f64 = planned.of(region).iter().map(|way| way.share).sum();
            prop_assert!((sum - 1.0).abs() < 1e-9, "{sum}");
            let nearest = demand.paths.iter().filter(|path| path.edge != 3).map(|path| path.rtt_ms);
            let nearest = nearest.fold(f32::INFINITY, f32::min);
            let beyond = planned.of(region).iter().filter(|way| way.rtt_ms > nearest + 25.0);
            prop_assert!(beyond.count() < 3);
            prop_assert!(planned.of(region).iter().all(|way| way.edge != 3));
        }
        for quote in &planned.quotes {
            prop_assert!(quote.price.is_finite() && quote.money >= 0.0 && quote.scarcity >= 0.0);
        }
    }
}
