//! Sans-IO: how long the ways to an edge are, as it measured them on its running viewers, by region;
//! and how long those to its parents are, which it measures while it takes streams from them.
//!
//! A report has the medians of a region's viewers at one moment, of the round-trip time and of what is
//! lost; the medians of the last reports count, so that neither a few bad viewers nor a bad minute
//! make a way long. What a way loses makes it count as longer. A way of which too
//! little was heard is not told, one that nobody measured for an hour is forgotten. What a node found
//! out about a parent holds as long: it would otherwise go back and forth between one that is known to
//! be far and one that is thought to be near.

use std::collections::HashMap;

use cluster::node::NodeId;
use cluster::region::{MAX_REGIONS, Region};
use cluster::sample::{Link, RegionLoad};

use crate::plan::cost;

/// The ways from regions to one edge.
#[derive(Clone, Debug, Default)]
pub struct Ways(HashMap<Region, Way>);

/// What was reported of one.
#[derive(Clone, Debug)]
struct Way {
    /// The newest last.
    reports: Vec<Report>,
    heard_ms: u64,
}

/// Medians of so many viewers.
#[derive(Clone, Copy, Debug)]
struct Report {
    rtt_us: u32,
    lost_ppm: u32,
    viewers: u32,
}

impl Ways {
    /// Whether a report has measurements.
    pub fn is_news(loads: &[RegionLoad]) -> bool {
        loads.iter().any(|load| load.measured > 0)
    }

    /// Takes what an edge measured; times are the caller's monotonic ones.
    pub fn hear(&mut self, now_ms: u64, loads: &[RegionLoad]) {
        self.0
            .retain(|_, way| now_ms.saturating_sub(way.heard_ms) < FORGET_MS);
        for load in loads.iter().filter(|load| load.measured > 0) {
            if !self.0.contains_key(&load.region) && self.0.len() >= MAX_WAYS {
                continue;
            }
            let way = self.0.entry(load.region).or_insert(Way {
                reports: Vec::new(),
                heard_ms: now_ms,
            });
            if way.reports.len() >= REPORTS {
                way.reports.remove(0);
            }
            way.reports.push(Report {
                rtt_us: load.rtt_us,
                lost_ppm: load.lost_ppm,
                viewers: load.measured,
            });
            way.heard_ms = now_ms;
        }
    }

    /// The median round-trip time from a region, longer by what is lost on the way
    /// ([`cost::lossy_ms`]), when enough was heard of it.
    pub fn rtt_ms(&self, region: Region) -> Option<f32> {
        let reports = &self.0.get(&region)?.reports;
        let viewers: u64 = reports.iter().map(|it| u64::from(it.viewers)).sum();
        if reports.len() < LEAST_REPORTS || viewers < LEAST_VIEWERS {
            return None;
        }
        let median = |of: fn(&Report) -> u32| {
            let mut all: Vec<u32> = reports.iter().map(of).collect();
            all.sort_unstable();
            all[all.len() / 2] as f32
        };
        let (rtt_ms, loss) = (median(|it| it.rtt_us) / 1e3, median(|it| it.lost_ppm) / 1e6);
        Some(cost::lossy_ms(rtt_ms, loss))
    }
}

/// The ways between a node and those that it took streams from.
#[derive(Clone, Debug, Default)]
pub struct Links(Vec<(NodeId, Known)>);

/// One of them.
#[derive(Clone, Copy, Debug)]
struct Known {
    rtt_ms: f32,
    heard_ms: u64,
}

impl Links {
    /// Takes what a node measured; times are the caller's monotonic ones.
    pub fn hear(&mut self, now_ms: u64, links: &[Link]) {
        self.0
            .retain(|(_, known)| now_ms.saturating_sub(known.heard_ms) < FORGET_MS);
        for link in links.iter().filter(|link| link.rtt_ms > 0.0) {
            let rtt_ms = cost::lossy_ms(link.rtt_ms, link.loss);
            let at = self.0.iter().position(|(node, _)| *node == link.node);
            let before = at.map(|at| self.0.swap_remove(at).1.rtt_ms);
            if self.0.len() >= MAX_LINKS {
                let oldest = self
                    .0
                    .iter()
                    .enumerate()
                    .min_by_key(|(_, it)| it.1.heard_ms);
                oldest.map(|(at, _)| at).map(|at| self.0.swap_remove(at));
            }
            let known = Known {
                rtt_ms: before.map_or(rtt_ms, |before| before + NEWS * (rtt_ms - before)),
                heard_ms: now_ms,
            };
            self.0.push((link.node.clone(), known));
        }
    }

    /// The nodes, each with its round-trip time, longer by what is lost on the way.
    pub fn rtts_ms(&self) -> impl Iterator<Item = (&NodeId, f32)> {
        self.0.iter().map(|(node, known)| (node, known.rtt_ms))
    }
}

/// By how much one measurement of a second counts beside those before it.
const NEWS: f32 = 0.1;

/// Nodes that one takes streams from in an hour: its zone's hubs, and origins.
const MAX_LINKS: usize = 64;

/// Reports that count: a minute and a half of an edge with viewers.
const REPORTS: usize = 9;

/// Fewer say more of their moment than of the way.
const LEAST_REPORTS: usize = 3;

/// Viewers in all of them, each counted in each: three who stay for a minute and a half, thirty for
/// half a minute.
const LEAST_VIEWERS: u64 = 25;

/// Routes change, and an hour later the distance is as good a guess.
const FORGET_MS: u64 = 3_600_000;

/// As many as samples can name within an hour or so.
const MAX_WAYS: usize = 2 * MAX_REGIONS;

#[cfg(test)]
mod tests {
    use super::*;

    fn load(region: &str, rtt_us: u32, measured: u32) -> RegionLoad {
        RegionLoad {
            region: Region::named(region),
            rtt_us,
            measured,
            ..RegionLoad::default()
        }
    }

    #[test]
    fn a_way_is_told_when_enough_viewers_were_measured_often_enough() {
        let rtt = |reports: &[(u32, u32)]| {
            let mut ways = Ways::default();
            for (rtt_us, viewers) in reports {
                ways.hear(0, &[load("here", *rtt_us, *viewers)]);
            }
            assert_eq!(ways.rtt_ms(Region::named("there")), None);
            ways.rtt_ms(Region::named("here"))
        };
        for (reports, expected) in [
            (&[][..], None),
            (&[(9_000, 1_000), (9_000, 1_000)], None),
            (&[(9_000, 8), (9_000, 8), (9_000, 8)], None),
            (&[(9_000, 10), (20_000, 10), (8_000, 10)], Some(9.0)),
            (&[(9_000, 10), (9_000, 10), (0, 0), (8_500, 10)], Some(9.0)),
        ] {
            assert_eq!(rtt(reports), expected, "{reports:?}");
        }
        let mut changed = vec![(5_000, 10); 20];
        changed.extend([(50_000, 10); 5]);
        assert_eq!(rtt(&changed), Some(50.0), "the last nine count");
    }

    #[test]
    fn what_is_lost_in_most_reports_makes_a_way_longer() {
        let rtt = |losses: [u32; 5]| {
            let mut ways = Ways::default();
            for lost_ppm in losses {
                let load = load("here", 10_000, 10);
                ways.hear(0, &[RegionLoad { lost_ppm, ..load }]);
            }
            ways.rtt_ms(Region::named("here")).unwrap()
        };
        assert_eq!(rtt([0, 0, 0, 50_000, 50_000]), 10.0, "a bad minute");
        assert_eq!(rtt([0, 50_000, 0, 50_000, 50_000]), 20.0);
        assert_eq!(rtt([u32::MAX; 5]), 50.0);
    }

    #[test]
    fn what_a_node_found_out_about_a_parent_is_kept_for_an_hour() {
        let link = |name: &str, rtt_ms, loss| Link {
            node: NodeId::parse(name).unwrap(),
            rtt_ms,
            loss,
        };
        let mut links = Links::default();
        let known = |links: &Links| {
            let all = links.rtts_ms();
            let mut all: Vec<_> = all.map(|(id, rtt_ms)| (id.to_string(), rtt_ms)).collect();
            all.sort_by(|a, b| a.0.cmp(&b.0));
            all
        };
        links.hear(0, &[link("far", 120.0, 0.0), link("new", 0.0, 0.0)]);
        links.hear(1_000, &[link("near", 10.0, 0.05)]);
        let (far, near) = (("far".to_owned(), 120.0), ("near".to_owned(), 20.0));
        assert_eq!(known(&links), [far, near.clone()]);
        links.hear(2_000, &[link("far", 20.0, 0.0)]);
        assert_eq!(
            known(&links)[0].1,
            110.0,
            "one measurement is not believed at once"
        );
        links.hear(FORGET_MS + 1_500, &[]);
        assert_eq!(known(&links).len(), 1);
        let many: Vec<_> = (0..99).map(|n| link(&format!("n{n}"), 1.0, 0.0)).collect();
        links.hear(FORGET_MS + 1_600, &many);
        assert_eq!(known(&links).len(), MAX_LINKS);
    }

    #[test]
    fn ways_are_forgotten_and_bounded() {
        let mut ways = Ways::default();
        let regions: Vec<_> = (0..2 * MAX_WAYS)
            .map(|n| load(&format!("r{n}"), 1, 1))
            .collect();
        assert!(Ways::is_news(&regions) && !Ways::is_news(&[load("x", 0, 0)]));
        ways.hear(0, &regions);
        assert_eq!(ways.0.len(), MAX_WAYS);
        ways.hear(FORGET_MS, &[load("new", 1, 1)]);
        assert_eq!(ways.0.len(), 1);
    }
}
