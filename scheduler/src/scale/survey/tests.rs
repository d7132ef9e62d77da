//! Demand of regions on zones.

use std::collections::HashMap;
use std::sync::Arc;

use cluster::node::{Role, Zone as NodeZone};
use cluster::sample::RegionLoad;

use super::*;
use crate::history::Subject;
use crate::snapshot::fixture::{City, FRANKFURT, PARIS, VIRGINIA, sample, snapshot, view};

fn region(name: &str) -> Region {
    Region::parse(name).unwrap()
}

/// An edge of a zone, 1,000 viewers and 1 Gbit/s, with viewers of 1 Mbit/s by region.
fn edge(number: u16, id: &str, city: City, viewers: &[(&str, u32)]) -> NodeView {
    let mut sample = sample(id, Role::Edge, city);
    let zone = id.split_once('-').map_or(id, |(zone, _)| zone);
    sample.node.zone = Some(NodeZone::parse(zone).unwrap());
    let load = |&(name, viewers): &(&str, u32)| RegionLoad {
        region: region(name),
        viewers,
        ..RegionLoad::default()
    };
    sample.regions = viewers.iter().map(load).collect();
    let total: u32 = viewers.iter().map(|(_, viewers)| viewers).sum();
    sample.egress_bps = u64::from(total) * 1_000_000;
    NodeView {
        viewers: total,
        ..view(number, sample)
    }
}

fn outlook(name: &str, now: f64, ahead: usize, quantile: f64) -> Outlook {
    let quantiles = [quantile, 2.0 * quantile, 3.0 * quantile];
    Outlook::of_region(name, now, (ahead, now, quantiles))
}

/// France is at Paris, everything else in Virginia.
fn centre(of: Region) -> Point {
    let (lat, lon) = if of == region("FR") { PARIS } else { VIRGINIA };
    Point { lat, lon }
}

fn needs(zones: &[Zone]) -> Vec<(&str, Vec<(u32, f64)>)> {
    let needs = |zone: &Zone| {
        zone.needs
            .iter()
            .map(|need| (need.in_s, need.viewers))
            .collect()
    };
    zones
        .iter()
        .map(|zone| (zone.name.as_str(), needs(zone)))
        .collect()
}

#[test]
fn a_regions_demand_falls_on_the_nearest_zone() {
    let world = snapshot(vec![
        edge(1, "eu-1", FRANKFURT, &[("FR", 100), ("US", 10)]),
        edge(2, "eu-2", PARIS, &[("FR", 50)]),
        edge(3, "us-1", VIRGINIA, &[("US", 30)]),
    ]);
    let (zones, terms) = survey(&world, &Outlook::default(), 1.0, &centre);
    assert_eq!(
        needs(&zones),
        [("eu", vec![(0, 150.0)]), ("us", vec![(0, 40.0)])]
    );
    assert_eq!((zones[0].nodes, zones[1].nodes), (2, 1));
    assert_eq!(zones[0].room.egress_bps, 1e9);
    assert_eq!((terms.viewer_bps, terms.spare), (1e6, 1));

    // Without the edge in Virginia its region is Europe's, and of a dead edge nothing counts.
    let mut nodes = world.nodes;
    nodes[2].health = Health::Draining;
    nodes[0].health = Health::Down;
    let (zones, _) = survey(&snapshot(nodes), &Outlook::default(), 1.0, &centre);
    assert_eq!(
        needs(&zones),
        [("eu", vec![(0, 80.0)]), ("us", vec![(0, 0.0)])]
    );
    assert_eq!((zones[0].nodes, zones[1].nodes), (1, 0));
}

#[test]
fn what_is_forecast_counts_at_the_planned_quantile() {
    let world = || snapshot(vec![edge(1, "eu-1", PARIS, &[("FR", 100), ("DE", 5)])]);
    let expected = outlook("FR", 110.0, 10, 200.0);
    let (zones, _) = survey(&world(), &expected, 2.0, &centre);
    // Ten steps of a calendar twice as fast are five minutes; Germany stays as it is.
    let at_risk = expected.series["region/FR/demand"].lanes[0]
        .at_risk(world().policies.default_policy().headroom.quantile);
    assert_eq!(
        needs(&zones),
        [("eu", vec![(0, 115.0), (300, at_risk + 5.0)])]
    );
    assert!(at_risk >= 200.0);

    let crowd = HashMap::from([(Subject::Region(region("FR")), 1)]);
    let crowd = Outlook {
        surges: Arc::new(crowd),
        ..expected
    };
    let (zones, _) = survey(&world(), &crowd, 2.0, &centre);
    assert_eq!(
        zones[0].needs[1].viewers, 605.0,
        "a crowd is planned for at 0.99"
    );
}

#[test]
fn viewers_at_a_pathway_ask_for_edges_to_come_home_to() {
    let row = "id = \"cloud\"\nurl = \"http://cdn/{app}/{stream}\"\neverywhere = true\n\
               egress_mbps = 1000";
    let pathway = crate::pathway::Pathway::new(toml::from_str(row).unwrap()).unwrap();
    let mut cloud = NodeView::external(9, pathway);
    let load = |(name, viewers)| RegionLoad {
        region: region(name),
        viewers,
        ..RegionLoad::default()
    };
    Arc::make_mut(&mut cloud.sample).regions = [("FR", 30), ("US", 10)].map(load).into();
    let world = snapshot(vec![
        edge(1, "eu-1", PARIS, &[("FR", 30)]),
        edge(2, "us-1", VIRGINIA, &[("US", 10)]),
        cloud,
    ]);
    let (zones, _) = survey(&world, &Outlook::default(), 1.0, &centre);
    assert_eq!(
        needs(&zones),
        [("eu", vec![(0, 60.0)]), ("us", vec![(0, 20.0)])]
    );
}

#[test]
fn a_zone_is_the_nodes_own_or_its_place_or_itself() {
    let mut node = sample("edge-7", Role::Edge, PARIS).node;
    assert_eq!(
        zone_of(&node),
        "edge-7",
        "the fixture's place has that name"
    );
    node.place.name = String::new();
    assert_eq!(zone_of(&node), "edge-7");
    node.place.name = "Paris".to_owned();
    assert_eq!(zone_of(&node), "Paris");
    node.zone = NodeZone::parse("eu").ok();
    assert_eq!(zone_of(&node), "eu");
}
