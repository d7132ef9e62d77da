//! Goals of a few days: when they are set, from what, and which metros they warn of.

use std::sync::Arc;

use cluster::region::Region;

use super::*;
use crate::plan::billing::{Bill, Tariff};
use crate::plan::view::{Demand, Outlook, Path};

const MBPS: f64 = 1e6;
const DAY_S: i64 = 86_400;

fn edge(id: &str, metro: &str, usd: f64) -> Edge {
    Edge {
        id: NodeId::parse(id).unwrap(),
        country: None,
        capacity_bps: 100.0 * MBPS,
        weight: 1.0,
        metro: metro.to_owned(),
        tariff: Tariff {
            usd_per_mbps_month: usd,
            ..Tariff::default()
        },
        bill: Arc::new(Bill::new(0, 8_640)),
        goal_bps: 0.0,
    }
}

/// One region that reaches all of these edges equally well.
fn view(edges: Vec<Edge>) -> View {
    let path = |edge| Path {
        edge,
        rtt_ms: 10.0,
        measured: true,
    };
    View {
        at_s: 20 * DAY_S,
        demands: vec![Demand {
            region: Region::named("a"),
            now_bps: 60.0 * MBPS,
            outlook: Outlook::STEADY,
            paths: (0..edges.len()).map(path).collect(),
        }],
        edges,
    }
}

/// Days of a demand that never changes.
fn steady(mbps: f64, days: usize) -> Past {
    Past {
        demand: vec![vec![(mbps * MBPS) as f32; 288 * days]],
        day: 288,
    }
}

fn goals(view: &View) -> Vec<f64> {
    view.edges.iter().map(|it| it.goal_bps / MBPS).collect()
}

#[test]
fn goals_are_set_from_a_day_of_demand_once_a_day_and_for_a_new_edge() {
    let (mut goals_of_day, policies) = (Goals::default(), Policies::default());
    let mut view = view(vec![edge("dear", "x", 2.0), edge("cheap", "y", 0.5)]);
    let asked = std::cell::Cell::new(0);
    let mut follow = |view: &mut View, mbps, days| {
        goals_of_day.follow(view, &policies, DAY_S, |_| {
            asked.set(asked.get() + 1);
            steady(mbps, days)
        });
    };
    follow(&mut view, 60.0, 0);
    assert_eq!(goals(&view), [0.0, 0.0], "there is no past");
    view.at_s += DAY_S;
    follow(&mut view, 60.0, 3);
    let found = goals(&view);
    assert!(found[1] > 55.0 && found[0] < 5.0, "{found:?}");
    view.at_s += DAY_S / 2;
    follow(&mut view, 10.0, 3);
    assert_eq!((goals(&view), asked.get()), (found, 2), "the day holds");
    view.edges.push(edge("new", "z", 0.1));
    follow(&mut view, 60.0, 3);
    assert_eq!(asked.get(), 3);
    assert!(view.edges[2].goal_bps > 0.0);
}

#[test]
fn what_stands_in_no_metro_is_no_metro_that_could_lose_it() {
    let mut found = Goals::default();
    let mut view = view(vec![edge("own", "x", 1.0), edge("vendor", "", 3.0)]);
    view.edges[1].capacity_bps = 1_000.0 * MBPS;
    let policies = Policies::default();
    found.follow(&mut view, &policies, DAY_S, |_| steady(120.0, 2));
    assert_eq!(found.shortages(), [], "the vendor takes what is lost");
    view.edges[1].capacity_bps = 40.0 * MBPS;
    view.at_s += DAY_S;
    found.follow(&mut view, &policies, DAY_S, |_| steady(120.0, 2));
    let short: Vec<&str> = found.shortages().iter().map(|it| &*it.metro).collect();
    assert_eq!(short, ["x"]);
}
