//! Sans-IO: how long the ways to an edge are, as it measured them on its running viewers, by region.
//!
//! A report has the median of a region's viewers at one moment; the median of the last reports
//! counts, so that neither a few far viewers nor a bad minute make a way long. A way of which too
//! little was heard is not told, one that nobody measured for an hour is forgotten.

use std::collections::HashMap;

use cluster::region::{MAX_REGIONS, Region};
use cluster::sample::RegionLoad;

/// The ways from regions to one edge.
#[derive(Clone, Debug, Default)]
pub struct Ways(HashMap<Region, Way>);

/// What was reported of one.
#[derive(Clone, Debug)]
struct Way {
    /// Medians in microseconds with how many viewers each is of, the newest last.
    reports: Vec<(u32, u32)>,
    heard_ms: u64,
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
            way.reports.push((load.rtt_us, load.measured));
            way.heard_ms = now_ms;
        }
    }

    /// The median round-trip time from a region, when enough was heard of it.
    pub fn rtt_ms(&self, region: Region) -> Option<f32> {
        let reports = &self.0.get(&region)?.reports;
        let viewers: u64 = reports.iter().map(|(_, viewers)| u64::from(*viewers)).sum();
        if reports.len() < LEAST_REPORTS || viewers < LEAST_VIEWERS {
            return None;
        }
        let mut medians: Vec<u32> = reports.iter().map(|(rtt_us, _)| *rtt_us).collect();
        medians.sort_unstable();
        Some(medians[medians.len() / 2] as f32 / 1000.0)
    }
}

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
