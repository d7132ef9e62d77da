//! Sans-IO: what is asked of each zone, now and ahead.
//!
//! A region's demand falls on the zone of the edge that is planned as its nearest, without a plan
//! on that of the nearest edge that takes viewers. Viewers at external pathways count where they
//! are, so that what overflows asks for edges to come home to.

use std::collections::{BTreeMap, BTreeSet};

use cluster::node::Node;
use cluster::plan::Health;
use cluster::region::Region;

use super::{Need, Room, Terms, Zone};
use crate::forecast::{Outlook, SURGE_RISK};
use crate::geo::Point;
use crate::policy::NPlusOne;
use crate::snapshot::{NodeView, Snapshot};

/// The zone that an edge counts to: its own, else its place, else itself.
pub fn zone_of(node: &Node) -> &str {
    let zone = node.zone.as_ref().map(|zone| zone.as_str());
    let place = Some(node.place.name.as_str()).filter(|name| !name.is_empty());
    zone.or(place).unwrap_or(node.id.as_str())
}

/// All zones with their demand, by name, and what holds for all of them. `centre` says where a
/// region is, `scale` is that of `[time]`.
pub fn survey(
    snapshot: &Snapshot,
    outlook: &Outlook,
    scale: f64,
    centre: &dyn Fn(Region) -> Point,
) -> (Vec<Zone>, Terms) {
    let policy = snapshot.policies.default_policy();
    let edges = || own_edges(snapshot).filter(|view| view.health != Health::Down);
    let mut zones: BTreeMap<&str, Zone> = BTreeMap::new();
    let horizons = horizons(outlook, scale);
    for view in edges() {
        let name = zone_of(view.node());
        let zone = zones.entry(name).or_insert_with(|| empty(name, &horizons));
        zone.nodes += u32::from(view.health == Health::Up);
    }
    for (name, zone) in &mut zones {
        let capacities = edges().filter(|view| zone_of(view.node()) == *name);
        zone.room = mean(capacities.map(|view| {
            let capacity = &view.capacity;
            (capacity.viewers.into(), capacity.egress_bps as f64)
        }));
    }
    for (region, now) in demand(snapshot, outlook) {
        let Some(name) = falls_on(snapshot, region, centre) else {
            continue;
        };
        let Some(zone) = zones.get_mut(name) else {
            continue;
        };
        for (need, calendar_s) in zone.needs.iter_mut().zip(&horizons) {
            let ahead = expected(outlook, &region, calendar_s.1, policy.headroom.quantile);
            need.viewers += ahead.unwrap_or(now);
        }
    }
    let mut zones: Vec<Zone> = zones.into_values().collect();
    zones.truncate(MAX_ZONES);
    let terms = Terms {
        viewer_bps: viewer_bps(snapshot),
        util_max: policy.headroom.util_max,
        spare: u32::from(policy.headroom.n_plus_one == NPlusOne::Metro),
    };
    (zones, terms)
}

/// Edges that could be started and stopped.
fn own_edges(snapshot: &Snapshot) -> impl Iterator<Item = &NodeView> {
    let own = |view: &&NodeView| view.is_edge && view.pathway.is_none();
    snapshot.nodes.iter().filter(own)
}

fn empty(name: &str, horizons: &[(u32, u32)]) -> Zone {
    let need = |&(in_s, _): &(u32, u32)| Need { in_s, viewers: 0.0 };
    Zone {
        name: name.to_owned(),
        nodes: 0,
        room: Room::default(),
        needs: horizons.iter().map(need).collect(),
    }
}

/// The mean of the limits of those that have one.
fn mean(capacities: impl Iterator<Item = (f64, f64)>) -> Room {
    let (mut viewers, mut egress) = ((0.0, 0.0), (0.0, 0.0));
    for capacity in capacities {
        for (limit, (sum, count)) in [(capacity.0, &mut viewers), (capacity.1, &mut egress)] {
            if limit > 0.0 {
                *sum += limit;
                *count += 1.0;
            }
        }
    }
    let mean = |(sum, count): (f64, f64)| if count > 0.0 { sum / count } else { 0.0 };
    Room {
        viewers: mean(viewers),
        egress_bps: mean(egress),
    }
}

/// From now on all times that something is forecast for: seconds, and calendar seconds.
fn horizons(outlook: &Outlook, scale: f64) -> Vec<(u32, u32)> {
    let lanes = outlook.series.values().flat_map(|expected| &expected.lanes);
    let calendar_s =
        lanes.filter_map(|lane| u32::try_from(lane.ahead).ok()?.checked_mul(outlook.step_s));
    let all: BTreeSet<u32> = [0].into_iter().chain(calendar_s).collect();
    let seconds = |calendar_s: u32| (f64::from(calendar_s) / scale).round() as u32;
    all.into_iter().map(|it| (seconds(it), it)).collect()
}

/// Demand now: the last that was measured, or those who watch, whichever is more.
fn demand(snapshot: &Snapshot, outlook: &Outlook) -> BTreeMap<Region, f64> {
    let mut watching: BTreeMap<Region, f64> = BTreeMap::new();
    let edges = snapshot.nodes.iter().filter(|view| view.is_edge);
    for view in edges.filter(|view| view.health != Health::Down) {
        for load in &view.sample.regions {
            let here = f64::from(load.viewers) + f64::from(load.refused);
            *watching.entry(load.region).or_default() += here;
        }
    }
    for (id, expected) in outlook.series.iter() {
        let name = id
            .strip_prefix("region/")
            .and_then(|id| id.strip_suffix("/demand"));
        if let Some(region) = name.and_then(Region::parse) {
            let known = watching.entry(region).or_default();
            *known = known.max(expected.now);
        }
    }
    watching
}

/// A region's demand then, at the quantile that is planned for; None when it is not forecast.
fn expected(outlook: &Outlook, region: &Region, calendar_s: u32, quantile: f64) -> Option<f64> {
    if calendar_s == 0 {
        return None;
    }
    let lane = outlook.demand(region, calendar_s)?;
    let quantile = if outlook.is_surging(region) {
        SURGE_RISK.into()
    } else {
        quantile
    };
    Some(lane.at_risk(quantile))
}

/// The zone that serves the region.
fn falls_on<'a>(
    snapshot: &'a Snapshot,
    region: Region,
    centre: &dyn Fn(Region) -> Point,
) -> Option<&'a str> {
    let serves = |view: &&NodeView| view.pathway.is_none() && view.health == Health::Up;
    let planned = snapshot.reach(region).unwrap_or_default().iter();
    let mut planned = planned.map(|near| &snapshot.nodes[near.node]);
    let nearest = || {
        let at = centre(region).unit();
        let up = own_edges(snapshot).filter(serves);
        up.min_by(|a, b| a.unit.km_to(at).total_cmp(&b.unit.km_to(at)))
    };
    let edge = planned.find(serves).or_else(nearest)?;
    Some(zone_of(edge.node()))
}

/// What a viewer takes on average; 0 while nobody watches, so that viewers alone count.
fn viewer_bps(snapshot: &Snapshot) -> f64 {
    let edges = || own_edges(snapshot).filter(|view| view.health != Health::Down);
    let viewers: f64 = edges().map(|view| f64::from(view.viewers)).sum();
    let bps: f64 = edges().map(|view| view.egress_bps as f64).sum();
    if viewers > 0.0 { bps / viewers } else { 0.0 }
}

/// More than anybody has metros; metrics have a label for each.
const MAX_ZONES: usize = 256;

#[cfg(test)]
mod tests;
