//! Sans-IO: from samples to steps of the history.
//!
//! A sample speaks for the time since the one before it of the same node, so its gauges are
//! integrated over that time and its counts spread over it, across the borders of steps. When a
//! sample was taken follows from its number and from when its report came; nodes' clocks are not
//! asked. A sample that comes again is known by its number and its node's time. A step is told once
//! it is over, and again when samples that had waited at a node belong to it. What nobody measured
//! is a gap; what was measured and is no longer there counts as zero for a while.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use cluster::node::{NodeId, Role};
use cluster::region::Region;
use cluster::sample::{MAX_BATCH, RegionLoad, Sample};
use cluster::stream::StreamKey;
use cluster::time::Time;

use super::ring::Point;

/// Collects what the steps that are not over, or were so lately, are made of.
#[derive(Debug)]
pub(super) struct Gather {
    time: Time,
    /// Streams told of in each step, by viewers.
    streams: usize,
    nodes: HashMap<NodeId, Seen>,
    steps: BTreeMap<i64, Step>,
    /// When a region or a stream was last seen with anything.
    lively_regions: HashMap<Region, i64>,
    lively_streams: HashMap<StreamKey, i64>,
    /// Until when those outside were counted.
    outside_ms: u64,
    now_ms: u64,
}

/// A step of every series that has one.
pub(super) type Told = (i64, Vec<(String, Point)>);

/// The last sample taken of a node.
#[derive(Clone, Copy, Debug)]
struct Seen {
    seq: u64,
    at_ms: u64,
    until_ms: u64,
}

#[derive(Debug, Default)]
struct Step {
    nodes: HashMap<NodeId, Node>,
    regions: HashMap<Region, Sums>,
    streams: HashMap<StreamKey, Sums>,
    is_new: bool,
}

/// Gauges times milliseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Node {
    is_edge: bool,
    seen_ms: f64,
    cpu: f64,
    egress_bps: f64,
    viewers: f64,
}

/// Gauges times milliseconds, and counts.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    viewers: f64,
    refused: f64,
    egress_bps: f64,
    joins: f64,
    leaves: f64,
}

impl Sums {
    fn add(&mut self, load: &RegionLoad, ms: f64, share: f64) {
        self.viewers += f64::from(load.viewers) * ms;
        self.refused += f64::from(load.refused) * ms;
        self.egress_bps += load.egress_bps as f64 * ms;
        self.joins += f64::from(load.joins) * share;
        self.leaves += f64::from(load.leaves) * share;
    }

    fn is_lively(&self) -> bool {
        self.viewers + self.refused + self.joins + self.leaves > 0.0
    }
}

impl Gather {
    /// Nothing yet; so many streams are told of in a step.
    pub(super) fn new(time: Time, streams: usize) -> Self {
        Self {
            time,
            streams,
            nodes: HashMap::new(),
            steps: BTreeMap::new(),
            lively_regions: HashMap::new(),
            lively_streams: HashMap::new(),
            outside_ms: 0,
            now_ms: 0,
        }
    }

    /// A region that was last told of in that step, before this process began.
    pub(super) fn remember(&mut self, region: Region, step: i64) {
        self.lively_regions.insert(region, step);
    }

    /// Takes one node's samples, oldest first, that came at that Unix time; gives back those that
    /// are new, with when they were taken.
    pub(super) fn take(&mut self, now_ms: u64, samples: &[Arc<Sample>]) -> Vec<(u64, Arc<Sample>)> {
        self.turn(now_ms);
        let Some(newest) = samples.last().map(|sample| sample.seq) else {
            return Vec::new();
        };
        let mut fresh = Vec::new();
        for sample in samples {
            let age_ms = newest.saturating_sub(sample.seq).min(MAX_BATCH as u64) * BEAT_MS;
            let at_ms = now_ms.saturating_sub(age_ms);
            if self.take_one(at_ms, sample) {
                fresh.push((at_ms, sample.clone()));
            }
        }
        fresh
    }

    /// Notes who waits outside of all edges, at that Unix time.
    pub(super) fn wait(&mut self, now_ms: u64, refused: &HashMap<Region, u32>) {
        self.turn(now_ms);
        let from_ms = self.outside_ms.max(now_ms.saturating_sub(MAX_SPAN_MS));
        self.outside_ms = now_ms;
        for (step, ms) in self.parts(from_ms, now_ms) {
            let step = self.steps.entry(step).or_default();
            for (region, refused) in refused {
                let load = RegionLoad {
                    refused: *refused,
                    ..RegionLoad::default()
                };
                step.region(*region).add(&load, ms, 0.0);
            }
        }
    }

    /// The steps that are over and not told yet, oldest first.
    pub(super) fn close(&mut self, now_ms: u64) -> Vec<Told> {
        self.turn(now_ms);
        let ends = |step: &i64| self.time.step_begins_ms(*step + 1);
        let over = self
            .steps
            .iter()
            .filter(|(step, it)| it.is_new && ends(step) + GRACE_MS <= now_ms);
        let over: Vec<i64> = over.map(|(step, _)| *step).collect();
        let told = over
            .into_iter()
            .map(|step| (step, self.rows(step)))
            .collect();
        let late = |step: &i64| self.time.step_begins_ms(*step + 1) + LATE_MS > now_ms;
        self.steps.retain(|step, _| late(step));
        told
    }

    /// All that is known of the steps not told yet, over or not: the process ends.
    pub(super) fn close_all(&mut self) -> Vec<Told> {
        let open: Vec<i64> = self
            .steps
            .iter()
            .filter(|(_, it)| it.is_new)
            .map(|(step, _)| *step)
            .collect();
        open.into_iter()
            .map(|step| (step, self.rows(step)))
            .collect()
    }

    /// Begins anew when the clock was put back: what is open would be counted twice.
    fn turn(&mut self, now_ms: u64) {
        if now_ms + BACK_MS < self.now_ms {
            self.nodes.clear();
            self.steps.clear();
            self.outside_ms = now_ms;
        }
        self.now_ms = now_ms;
    }

    fn take_one(&mut self, at_ms: u64, sample: &Sample) -> bool {
        let before = self.nodes.get(&sample.node.id).copied();
        let restarted = |seen: &Seen| seen.seq - sample.seq >= MAX_BATCH as u64;
        let known =
            |seen: &Seen| sample.seq <= seen.seq && sample.at_ms <= seen.at_ms && !restarted(seen);
        if before.as_ref().is_some_and(known) {
            return false;
        }
        if self.nodes.len() >= MAX_NODES && before.is_none() {
            let oldest = at_ms.saturating_sub(LATE_MS);
            self.nodes.retain(|_, seen| seen.until_ms > oldest);
        }
        let since = before.map_or(at_ms.saturating_sub(BEAT_MS), |seen| seen.until_ms);
        let from_ms = since.max(at_ms.saturating_sub(MAX_SPAN_MS)).min(at_ms);
        let until_ms = before.map_or(at_ms, |seen| seen.until_ms.max(at_ms));
        let seen = Seen {
            seq: sample.seq,
            at_ms: sample.at_ms,
            until_ms,
        };
        self.nodes.insert(sample.node.id.clone(), seen);
        let span = (at_ms - from_ms) as f64;
        for (number, ms) in self.parts(from_ms, at_ms) {
            let share = if span > 0.0 { ms / span } else { 1.0 };
            self.steps.entry(number).or_default().add(sample, ms, share);
        }
        true
    }

    /// The steps of a stretch of time, each with its milliseconds of it; one without any when the
    /// stretch is none.
    fn parts(&self, from_ms: u64, to_ms: u64) -> Vec<(i64, f64)> {
        let last = to_ms.saturating_sub(1).max(from_ms);
        let steps = self.time.step_at(from_ms)..=self.time.step_at(last);
        let part = |step: i64| {
            let begins = self.time.step_begins_ms(step).max(from_ms);
            let ends = self.time.step_begins_ms(step + 1).min(to_ms);
            (step, ends.saturating_sub(begins) as f64)
        };
        steps.map(part).collect()
    }

    /// A step as points of its series.
    fn rows(&mut self, number: i64) -> Vec<(String, Point)> {
        let Some(step) = self.steps.get_mut(&number) else {
            return Vec::new();
        };
        step.is_new = false;
        let seen_ms = step
            .nodes
            .values()
            .map(|node| node.seen_ms)
            .fold(0.0, f64::max);
        let mut rows = Rows {
            seen_ms,
            scale: self.time.scale(),
            points: Vec::new(),
        };
        if seen_ms <= 0.0 {
            return rows.points;
        }
        let mut total = Sums::default();
        for (id, node) in &step.nodes {
            rows.node(id, node);
            if node.is_edge {
                total.viewers += node.viewers;
                total.egress_bps += node.egress_bps;
            }
        }
        for (region, sums) in &step.regions {
            total.refused += sums.refused;
            total.joins += sums.joins;
            total.leaves += sums.leaves;
            rows.region(&format!("region/{region}"), sums);
        }
        rows.region("total", &total);
        let mut streams: Vec<_> = step.streams.iter().collect();
        streams.sort_by(|(a, x), (b, y)| y.viewers.total_cmp(&x.viewers).then(a.cmp(b)));
        streams.truncate(self.streams);
        for (key, sums) in &streams {
            rows.stream(key, sums);
        }
        let lively = step.regions.iter().filter(|(_, sums)| sums.is_lively());
        let lively: Vec<Region> = lively.map(|(region, _)| *region).collect();
        let streams: Vec<StreamKey> = streams.into_iter().map(|(key, _)| key.clone()).collect();
        self.silence(&mut rows, number, &lively, streams);
        rows.points
    }

    /// Regions and streams of before that are not there now: they have nobody.
    fn silence(
        &mut self,
        rows: &mut Rows,
        number: i64,
        regions: &[Region],
        streams: Vec<StreamKey>,
    ) {
        let steps = |seconds: u32| i64::from(seconds / self.time.step_s()).max(1);
        let (day, hour) = (steps(self.time.day_s()), steps(HOUR_S));
        let step = self.steps.get(&number);
        for region in regions {
            self.lively_regions.insert(*region, number);
        }
        self.lively_regions.retain(|_, seen| number - *seen <= day);
        for region in self.lively_regions.keys() {
            if step.is_none_or(|step| !step.regions.contains_key(region)) {
                rows.region(&format!("region/{region}"), &Sums::default());
            }
        }
        let told: HashSet<&StreamKey> = streams.iter().collect();
        self.lively_streams.retain(|_, seen| number - *seen <= hour);
        for key in self.lively_streams.keys().filter(|key| !told.contains(key)) {
            let sums = step.and_then(|step| step.streams.get(key));
            rows.stream(key, &sums.copied().unwrap_or_default());
        }
        for key in streams {
            if self.lively_streams.len() < self.streams * 2
                || self.lively_streams.contains_key(&key)
            {
                self.lively_streams.insert(key, number);
            }
        }
    }
}

impl Step {
    fn add(&mut self, sample: &Sample, ms: f64, share: f64) {
        self.is_new = true;
        let node = self.nodes.entry(sample.node.id.clone()).or_default();
        node.is_edge = sample.node.role == Role::Edge;
        node.seen_ms += ms;
        node.cpu += f64::from(sample.cpu) * ms;
        node.egress_bps += sample.egress_bps as f64 * ms;
        node.viewers += f64::from(sample.total_viewers()) * ms;
        for load in &sample.regions {
            self.region(load.region).add(load, ms, share);
        }
        for stream in &sample.viewers {
            if self.streams.len() >= MAX_STREAMS && !self.streams.contains_key(&stream.key) {
                continue;
            }
            let sums = self.streams.entry(stream.key.clone()).or_default();
            sums.viewers += f64::from(stream.viewers) * ms;
            sums.joins += f64::from(stream.joins) * share;
            sums.leaves += f64::from(stream.leaves) * share;
        }
    }

    fn region(&mut self, region: Region) -> &mut Sums {
        let full = self.regions.len() >= MAX_REGIONS && !self.regions.contains_key(&region);
        let region = if full { Region::OTHER } else { region };
        self.regions.entry(region).or_default()
    }
}

/// Points being written.
struct Rows {
    /// How much of the step was seen by who saw most of it.
    seen_ms: f64,
    scale: f64,
    points: Vec<(String, Point)>,
}

impl Rows {
    fn node(&mut self, id: &NodeId, node: &Node) {
        let Node {
            seen_ms,
            cpu,
            egress_bps,
            viewers,
            is_edge,
        } = *node;
        let mut gauge = |kind: &str, sum: f64| {
            let point = Point::new(sum / seen_ms, seen_ms / 1000.0);
            self.points
                .extend(point.map(|point| (format!("node/{id}/{kind}"), point)));
        };
        gauge("cpu", cpu);
        gauge("egress_bps", egress_bps);
        if is_edge {
            gauge("viewers", viewers);
        }
    }

    fn region(&mut self, name: &str, sums: &Sums) {
        self.gauge(name, "demand", sums.viewers + sums.refused);
        self.gauge(name, "viewers", sums.viewers);
        self.gauge(name, "egress_bps", sums.egress_bps);
        self.rate(name, "joins", sums.joins);
        self.rate(name, "leaves", sums.leaves);
    }

    fn stream(&mut self, key: &StreamKey, sums: &Sums) {
        let name = format!("stream/{key}");
        self.gauge(&name, "viewers", sums.viewers);
        self.rate(&name, "joins", sums.joins);
        self.rate(&name, "leaves", sums.leaves);
    }

    fn gauge(&mut self, name: &str, kind: &str, sum: f64) {
        let point = Point::new(sum / self.seen_ms, self.seen_ms / 1000.0);
        self.points
            .extend(point.map(|point| (format!("{name}/{kind}"), point)));
    }

    /// A count as a rate in calendar seconds.
    fn rate(&mut self, name: &str, kind: &str, count: f64) {
        self.gauge(name, kind, count * 1000.0 / self.scale);
    }
}

/// Between two samples of a node.
const BEAT_MS: u64 = 1_000;

/// The longest that one sample speaks for: a missed one beside it, and some delay.
const MAX_SPAN_MS: u64 = 2_500;

/// After the end of a step, until the samples of its last second are there.
const GRACE_MS: u64 = 1_500;

/// How long a step may still be added to: a full batch that waited at a node, and its delivery.
const LATE_MS: u64 = 90_000;

/// A clock that is put back by more than this was wrong; less is the steering of a clock.
const BACK_MS: u64 = 5_000;

/// A stream that nobody watches any more is told of for so long, in calendar seconds.
const HOUR_S: u32 = 3_600;

/// As many as a registry knows.
const MAX_NODES: usize = 4_096;

/// Streams of one step that are told apart: ten edges' longest lists.
const MAX_STREAMS: usize = 10_000;

/// Regions of one step that are told apart: twice what the largest cluster is made for.
const MAX_REGIONS: usize = 2_048;

#[cfg(test)]
mod tests;
