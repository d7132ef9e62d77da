//! Samples: what a node measured in the last second, and the message that carries them.
//!
//! A sample is bounded ([`Sample::trim`]) and says all about its node, so that a scheduler that
//! has just started knows the cluster after one round. Gauges hold for the second that ends at
//! `at_ms`; `joins`, `leaves` and the node's `refused` count within it.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::node::{Node, NodeId};
use crate::plan::{Mark, Plan};
use crate::region::{MAX_REGIONS, Region};
use crate::stream::{StreamKey, StreamRecord};

/// Where a scheduler takes reports.
pub const PATH: &str = "/cluster/v1/sample";

/// Watched streams listed one by one in a sample: with usual names 50 kB a second at the bound, and
/// the planner groups the long tail anyway.
pub const MAX_WATCHED: usize = 1_000;

/// Streams of policies listed one by one in a sample; caps are for few streams with many viewers.
pub const MAX_BY_POLICY: usize = 250;

/// Streams that one origin can announce; an origin refuses publishers beyond it, since no viewer
/// would be sent to a stream that no scheduler knows.
pub const MAX_STREAMS: usize = 2_000;

/// Samples in one report: one minute is the scheduler's finest history step, and an outage longer
/// than that shows as a gap.
pub const MAX_BATCH: usize = 60;

/// Largest report a scheduler needs to take: a full batch at the bounds above with the longest
/// names.
pub const MAX_REPORT_BYTES: usize = 20 << 20;

/// What a node measured in one second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The node itself.
    pub node: Node,
    /// Counts up by one per sample, from 0 at the node's start.
    pub seq: u64,
    /// The node's Unix time at the end of the second.
    pub at_ms: u64,
    /// Whether it takes viewers.
    pub state: State,
    /// Bits per second sent to viewers and nodes.
    pub egress_bps: u64,
    /// Bits per second taken from publishers and nodes.
    pub ingress_bps: u64,
    /// Share of all cores that the process may use, 0 to 1.
    pub cpu: f32,
    /// Resident memory of the process.
    pub memory_bytes: u64,
    /// Viewers of each stream, only streams that have some.
    pub viewers: Vec<StreamViewers>,
    /// Viewers by where they are (edges only).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<RegionLoad>,
    /// Viewers of the streams that [`Sample::trim`] took off the list.
    pub other_viewers: u32,
    /// Viewers by the policy that they were sent by (edges only), where a token names one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<PolicyViewers>,
    /// Streams taken in (origins only), present in the newest sample of a report.
    pub streams: Vec<StreamRecord>,
    /// Streams taken in that [`Sample::trim`] took off the list.
    pub other_streams: u32,
    /// The nodes it takes streams from.
    pub parents: Vec<Link>,
    /// Viewers admitted.
    pub joins: u64,
    /// Viewers and publishers refused, by reason.
    pub refused: BTreeMap<String, u64>,
}

/// Whether a node takes viewers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It does.
    #[default]
    Serving,
    /// It keeps those it has and wants no new ones.
    Draining,
    /// This is its last sample: it stops now.
    Leaving,
}

/// How many watch a stream at a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamViewers {
    /// The stream.
    pub key: StreamKey,
    /// Viewers connected.
    pub viewers: u32,
    /// Viewers who began to watch.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub joins: u32,
    /// Viewers who went; the last ones are told of with no viewers left.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub leaves: u32,
}

/// How many of a policy's viewers watch a stream at a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyViewers {
    /// The policy's name.
    pub policy: String,
    /// The stream.
    pub key: StreamKey,
    /// Viewers connected.
    pub viewers: u32,
}

/// What a region's viewers are to a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionLoad {
    /// Where they are.
    pub region: Region,
    /// Viewers connected.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub viewers: u32,
    /// Bits per second sent to them.
    #[serde(default)]
    pub egress_bps: u64,
    /// Viewers who began to watch.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub joins: u32,
    /// Viewers who went.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub leaves: u32,
    /// Viewers who wait because there was no room for them: each once, however often it asked.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub refused: u32,
    /// Times that a viewer of FLV was so far behind that it lost pictures, or was closed for it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub stalls: u32,
    /// The median of their smoothed round-trip times in microseconds, in samples that tell of it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rtt_us: u32,
    /// Of how many viewers that is.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub measured: u32,
    /// The median of the shares of what was sent to them that had to be sent again, in millionths, in
    /// the same samples.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lost_ppm: u32,
}

impl RegionLoad {
    /// Adds another one's numbers; two medians make none.
    pub fn add(&mut self, other: &Self) {
        self.viewers = self.viewers.saturating_add(other.viewers);
        self.egress_bps = self.egress_bps.saturating_add(other.egress_bps);
        self.joins = self.joins.saturating_add(other.joins);
        self.leaves = self.leaves.saturating_add(other.leaves);
        self.refused = self.refused.saturating_add(other.refused);
        self.stalls = self.stalls.saturating_add(other.stalls);
    }
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// The relay link to a parent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Link {
    /// The parent.
    pub node: NodeId,
    /// Smoothed round-trip time.
    pub rtt_ms: f32,
    /// Share of packets lost, 0 to 1.
    pub loss: f32,
}

impl Sample {
    /// A sample of a node that measured nothing yet.
    pub fn new(node: Node, at_ms: u64) -> Self {
        Self {
            node,
            seq: 0,
            at_ms,
            state: State::Serving,
            egress_bps: 0,
            ingress_bps: 0,
            cpu: 0.0,
            memory_bytes: 0,
            viewers: Vec::new(),
            regions: Vec::new(),
            other_viewers: 0,
            policies: Vec::new(),
            streams: Vec::new(),
            other_streams: 0,
            parents: Vec::new(),
            joins: 0,
            refused: BTreeMap::new(),
        }
    }

    /// Viewers of all streams.
    pub fn total_viewers(&self) -> u32 {
        self.viewers
            .iter()
            .map(|s| s.viewers)
            .fold(self.other_viewers, u32::saturating_add)
    }

    /// Keeps the [`MAX_WATCHED`] most watched streams and sums up the rest, and so with the
    /// [`MAX_REGIONS`] of most viewers; of the policies' streams it keeps the [`MAX_BY_POLICY`]
    /// most watched, so that viewers of the others count as sent by none; of the streams taken in
    /// it keeps those longest on air, because one that was listed should not vanish.
    pub fn trim(&mut self) {
        if self.viewers.len() > MAX_WATCHED {
            self.viewers
                .sort_by(|a, b| (Reverse(a.viewers), &a.key).cmp(&(Reverse(b.viewers), &b.key)));
            let rest = self.viewers.drain(MAX_WATCHED..);
            self.other_viewers = rest
                .map(|s| s.viewers)
                .fold(self.other_viewers, u32::saturating_add);
        }
        if self.policies.len() > MAX_BY_POLICY {
            self.policies.sort_by(|a, b| {
                (Reverse(a.viewers), &a.policy, &a.key).cmp(&(
                    Reverse(b.viewers),
                    &b.policy,
                    &b.key,
                ))
            });
            self.policies.truncate(MAX_BY_POLICY);
        }
        if self.regions.len() > MAX_REGIONS {
            self.regions.sort_by(|a, b| {
                (Reverse(a.viewers), a.region).cmp(&(Reverse(b.viewers), b.region))
            });
            let mut other = RegionLoad {
                region: Region::OTHER,
                ..RegionLoad::default()
            };
            let rest = self.regions.drain(MAX_REGIONS - 1..);
            rest.for_each(|rest| other.add(&rest));
            self.regions.push(other);
        }
        if self.streams.len() > MAX_STREAMS {
            self.streams
                .sort_by(|a, b| (a.started_ms, &a.key).cmp(&(b.started_ms, &b.key)));
            let rest = self.streams.drain(MAX_STREAMS..).count();
            self.other_streams = self.other_streams.saturating_add(rest as u32);
        }
    }
}

/// What a node posts to a scheduler each second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The plan that the node holds: the answer carries one only if it is newer.
    pub held: Mark,
    /// Oldest first: one, or after an outage up to [`MAX_BATCH`].
    pub samples: Vec<Sample>,
}

/// What the scheduler answers to a [`Report`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The newest plan, unless the node holds it.
    pub plan: Option<Plan>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::{Capacity, Place, Role};
    use crate::stream::TrackRecord;

    fn sample() -> Sample {
        let node = Node {
            id: NodeId::parse("edge-1").unwrap(),
            role: Role::Edge,
            public_url: "http://127.0.0.1:8080".into(),
            relay: None,
            hub: false,
            zone: None,
            admin: None,
            place: Place::default(),
            capacity: Capacity::default(),
            version: "0".into(),
        };
        Sample::new(node, 1_000)
    }

    fn watched(name: usize, viewers: u32) -> StreamViewers {
        StreamViewers {
            key: StreamKey::parse(&format!("live/{name}")).unwrap(),
            viewers,
            joins: 0,
            leaves: 0,
        }
    }

    #[test]
    fn trimming_keeps_the_most_watched_and_the_total() {
        let mut sample = sample();
        sample.viewers = (0..MAX_WATCHED + 3).map(|i| watched(i, i as u32)).collect();
        let total = sample.total_viewers();
        sample.trim();
        assert_eq!(sample.viewers.len(), MAX_WATCHED);
        assert_eq!(sample.viewers[0].viewers, MAX_WATCHED as u32 + 2);
        assert_eq!(
            (sample.other_viewers, sample.total_viewers()),
            (1 + 2, total)
        );
    }

    #[test]
    fn trimming_keeps_the_most_watched_streams_of_policies() {
        let mut sample = sample();
        let sent = |i: usize| PolicyViewers {
            policy: "gold".to_owned(),
            key: watched(i, 0).key,
            viewers: i as u32,
        };
        sample.policies = (0..MAX_BY_POLICY + 3).map(sent).collect();
        sample.trim();
        let least = sample.policies.iter().map(|it| it.viewers).min();
        assert_eq!((sample.policies.len(), least), (MAX_BY_POLICY, Some(3)));
    }

    #[test]
    fn trimming_sums_up_the_regions_of_few_viewers() {
        let mut sample = sample();
        let region = |i: usize| RegionLoad {
            region: Region::named(&format!("r{i}")),
            viewers: i as u32,
            joins: 1,
            ..RegionLoad::default()
        };
        sample.regions = (0..MAX_REGIONS + 2).map(region).collect();
        sample.trim();
        assert_eq!(sample.regions.len(), MAX_REGIONS);
        let other = sample.regions.last().unwrap();
        assert_eq!(
            (other.region, other.viewers, other.joins),
            (Region::OTHER, 1 + 2, 3)
        );
    }

    #[test]
    fn a_sample_of_a_node_without_regions_is_read() {
        let mut json = serde_json::to_value(sample()).unwrap();
        json["viewers"] = serde_json::json!([{ "key": "live/x", "viewers": 1 }]);
        assert!(json.get("regions").is_none());
        let read: Sample = serde_json::from_value(json).unwrap();
        assert_eq!((read.regions.len(), read.viewers[0].joins), (0, 0));
    }

    fn record(sample: &Sample, i: usize) -> StreamRecord {
        let track = TrackRecord {
            codec: "h264".into(),
            codec_string: "avc1.640028".into(),
            width: 1920,
            height: 1080,
            frame_rate_milli: 59_940,
            sample_rate: 0,
        };
        StreamRecord {
            key: StreamKey::parse(&format!("{}/{i:064}", "x".repeat(64))).unwrap(),
            origin: sample.node.id.clone(),
            epoch: 1,
            started_ms: 10_000 - i as u64,
            tracks: vec![track; 2],
            bitrate_bps: 8_000_000,
            peak_bps: 10_000_000,
            publisher: "[2001:db8::1]:50000".into(),
        }
    }

    #[test]
    fn trimming_keeps_the_streams_longest_on_air() {
        let mut sample = sample();
        sample.streams = (0..MAX_STREAMS + 2).map(|i| record(&sample, i)).collect();
        sample.trim();
        assert_eq!(
            (sample.streams.len(), sample.other_streams),
            (MAX_STREAMS, 2)
        );
        assert!(sample.streams.iter().all(|s| s.started_ms <= 9_998));
    }

    #[test]
    fn a_report_at_the_bounds_fits_its_limit() {
        let mut older = sample();
        let publisher = older.clone();
        let key = |i| record(&publisher, i).key;
        older.viewers = (0..MAX_WATCHED)
            .map(|i| StreamViewers {
                key: key(i),
                viewers: u32::MAX,
                joins: u32::MAX,
                leaves: u32::MAX,
            })
            .collect();
        let region = |i| RegionLoad {
            region: Region::named(&format!("{i:016}")),
            viewers: u32::MAX,
            egress_bps: u64::MAX,
            joins: u32::MAX,
            leaves: u32::MAX,
            refused: u32::MAX,
            stalls: u32::MAX,
            rtt_us: u32::MAX,
            measured: u32::MAX,
            lost_ppm: u32::MAX,
        };
        older.regions = (0..MAX_REGIONS).map(region).collect();
        let sent = |i| PolicyViewers {
            policy: "p".repeat(32),
            key: key(i),
            viewers: u32::MAX,
        };
        older.policies = (0..MAX_BY_POLICY).map(sent).collect();
        let mut newest = older.clone();
        newest.streams = (0..MAX_STREAMS).map(|i| record(&newest, i)).collect();
        let mut samples = vec![older; MAX_BATCH - 1];
        samples.push(newest);
        let report = Report {
            held: Mark::default(),
            samples,
        };
        let bytes = serde_json::to_vec(&report).unwrap().len();
        assert!(bytes < MAX_REPORT_BYTES, "{bytes}");
    }

    #[test]
    fn samples_survive_json() {
        let mut one = sample();
        one.viewers = vec![watched(1, 2)];
        one.refused.insert("token".into(), 3);
        one.regions = vec![RegionLoad::default()];
        let json = serde_json::to_string(&one).unwrap();
        assert_eq!(serde_json::from_str::<Sample>(&json).unwrap(), one);
    }
}
