//! Sans-IO: who is at an external pathway, by region.
//!
//! A pathway sends no samples, so its viewers are estimated: those sent there ([`Arrivals`]), of whom
//! a share leaves in each span of time as if stays were exponential. What comes of it is a sample as
//! an edge would send it, so that history, demand and bills hold for a pathway, too.

use std::collections::BTreeMap;

use cluster::node::Node;
use cluster::region::{MAX_REGIONS, Region};
use cluster::sample::{RegionLoad, Sample};
use parking_lot::Mutex;

use crate::snapshot::Count;

/// Viewers sent to a pathway who are not in its crowd yet, by where they are.
#[derive(Debug, Default)]
pub struct Arrivals(Mutex<BTreeMap<Region, Count>>);

impl Arrivals {
    /// Counts one more viewer; of more regions than are told apart the rest counts as one.
    pub fn add(&self, region: Region, egress_bps: u64) {
        let mut arrived = self.0.lock();
        let full = arrived.len() >= MAX_REGIONS && !arrived.contains_key(&region);
        let region = if full { Region::OTHER } else { region };
        let count = arrived.entry(region).or_default();
        count.viewers += 1;
        count.egress_bps += egress_bps;
    }

    fn take(&self) -> BTreeMap<Region, Count> {
        std::mem::take(&mut self.0.lock())
    }
}

/// The viewers who are at a pathway.
#[derive(Clone, Debug)]
pub struct Crowd {
    stay_ms: f64,
    guests: BTreeMap<Region, Guests>,
    /// All that were ever sent there and are, or were, part of it.
    pub counted: Count,
    at_ms: u64,
    seq: u64,
    /// Whether the pathway answers, as far as it is probed.
    pub answers: bool,
}

/// Those of one region.
#[derive(Clone, Copy, Debug, Default)]
struct Guests {
    viewers: f64,
    egress_bps: f64,
    /// Since the last sample.
    joins: u64,
    /// Since the last sample that told of a whole one.
    left: f64,
}

impl Crowd {
    /// Nobody yet; whoever comes stays so long on average.
    pub fn new(stay_ms: f64) -> Self {
        Self {
            stay_ms,
            guests: BTreeMap::new(),
            counted: Count::default(),
            at_ms: 0,
            seq: 0,
            answers: true,
        }
    }

    /// Viewers there.
    pub fn viewers(&self) -> f64 {
        self.guests.values().map(|guests| guests.viewers).sum()
    }

    /// What they pull, in bits per second.
    pub fn egress_bps(&self) -> f64 {
        self.guests.values().map(|guests| guests.egress_bps).sum()
    }

    /// Goes on to a later time with those who came until then.
    pub fn advance(&mut self, now_ms: u64, arrivals: &Arrivals) {
        let past_ms = now_ms.saturating_sub(self.at_ms) as f64;
        let stays = libm::exp(-past_ms / self.stay_ms);
        for guests in self.guests.values_mut() {
            guests.left += guests.viewers * (1.0 - stays);
            guests.viewers *= stays;
            guests.egress_bps *= stays;
        }
        for (region, came) in arrivals.take() {
            let guests = self.guests.entry(region).or_default();
            guests.viewers += came.viewers as f64;
            guests.egress_bps += came.egress_bps as f64;
            guests.joins += came.viewers;
            self.counted.viewers += came.viewers;
            self.counted.egress_bps += came.egress_bps;
        }
        self.at_ms = now_ms.max(self.at_ms);
    }

    /// What the pathway would report of the last second.
    pub fn sample(&mut self, node: Node, unix_ms: u64) -> Sample {
        self.seq += 1;
        let load = |(region, guests): (&Region, &mut Guests)| {
            let leaves = guests.left.floor();
            guests.left -= leaves;
            RegionLoad {
                region: *region,
                viewers: guests.viewers.round() as u32,
                egress_bps: guests.egress_bps.round() as u64,
                joins: std::mem::take(&mut guests.joins) as u32,
                leaves: leaves as u32,
                ..RegionLoad::default()
            }
        };
        let regions = self.guests.iter_mut().map(load).collect();
        self.guests.retain(|_, guests| guests.viewers > NOBODY);
        let mut sample = Sample {
            seq: self.seq,
            egress_bps: self.egress_bps().round() as u64,
            other_viewers: self.viewers().round() as u32,
            joins: self.counted.viewers,
            regions,
            ..Sample::new(node, unix_ms)
        };
        sample.trim();
        sample
    }
}

/// A region in which it is this likely that somebody is left has nobody: three stays after one
/// viewer came.
const NOBODY: f64 = 0.05;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pathway::Pathway;

    fn region(text: &str) -> Region {
        Region::parse(text).unwrap()
    }

    fn cloud() -> Node {
        let row = "id = \"cloud\"\nurl = \"http://cdn/{app}/{stream}\"\neverywhere = true\n\
                   egress_mbps = 1000";
        Pathway::new(toml::from_str(row).unwrap()).unwrap().node()
    }

    fn send(arrivals: &Arrivals, from: &str, count: u64) {
        (0..count).for_each(|_| arrivals.add(region(from), 1_000_000));
    }

    #[test]
    fn a_crowd_decays_to_what_is_sent_in_a_stay() {
        let (mut crowd, arrivals) = (Crowd::new(1_200_000.0), Arrivals::default());
        send(&arrivals, "CN", 100);
        crowd.advance(1_000, &arrivals);
        let counted = (crowd.counted.viewers, crowd.counted.egress_bps);
        assert_eq!(
            (crowd.viewers().round(), counted),
            (100.0, (100, 100_000_000))
        );
        crowd.advance(1_201_000, &arrivals);
        assert_eq!(crowd.viewers().round(), 37.0, "a mean stay later");
        assert_eq!((crowd.egress_bps() / 1e6).round(), 37.0);
        // One viewer a second, for five stays.
        for second in 0..6_000 {
            send(&arrivals, "CN", 1);
            crowd.advance(1_201_000 + second * 1_000, &arrivals);
        }
        let viewers = crowd.viewers();
        assert!((1_150.0..1_210.0).contains(&viewers), "{viewers}");
        // A clock that steps back does no harm.
        crowd.advance(0, &arrivals);
        assert_eq!(crowd.viewers(), viewers);
    }

    #[test]
    fn a_sample_tells_of_each_region_and_of_who_came_and_went_once() {
        let (mut crowd, arrivals) = (Crowd::new(10_000.0), Arrivals::default());
        send(&arrivals, "CN", 100);
        send(&arrivals, "DE", 1);
        let mut told = [(0, 0), (0, 0)];
        for second in 1..=60 {
            crowd.advance(second * 1_000, &arrivals);
            let sample = crowd.sample(cloud(), second * 1_000);
            assert_eq!((sample.seq, sample.joins), (second, 101));
            let sum: u64 = sample.regions.iter().map(|load| load.egress_bps).sum();
            assert!(sum.abs_diff(sample.egress_bps) < 100_000);
            for load in &sample.regions {
                let told = &mut told[usize::from(load.region == region("DE"))];
                *told = (told.0 + load.joins, told.1 + load.leaves);
            }
        }
        let [(came, left), (one, gone)] = told;
        assert_eq!((came, one), (100, 1));
        assert!(left >= 98 && gone <= 1, "{left} {gone}");
        assert_eq!(crowd.sample(cloud(), 0).total_viewers(), 0);
    }

    #[test]
    fn regions_are_bounded_and_nobody_is_lost() {
        let (mut crowd, arrivals) = (Crowd::new(1e9), Arrivals::default());
        let letters = || b'A'..=b'Z';
        for name in letters().flat_map(|a| letters().map(move |b| [a, b])) {
            send(&arrivals, std::str::from_utf8(&name).unwrap(), 1);
        }
        crowd.advance(1, &arrivals);
        let sample = crowd.sample(cloud(), 1);
        assert!(
            sample.regions.len() <= MAX_REGIONS + 1,
            "{}",
            sample.regions.len()
        );
        let viewers: u32 = sample.regions.iter().map(|load| load.viewers).sum();
        assert_eq!((viewers, crowd.counted.viewers), (676, 676));
    }
}
