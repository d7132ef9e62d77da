//! Sans-IO: who watches which stream from where: what a sample tells of streams and regions.
//!
//! FLV is counted to its viewers' regions byte by byte. The pieces of HLS are the same for everybody and name nobody:
//! their bytes are shared among the regions by where that stream's sessions are. The regions are those that the
//! scheduler signed into tokens; beyond [`MAX_REGIONS`] all are one. What nobody takes stays bounded.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cluster::region::{MAX_REGIONS, Region};
use cluster::sample::{MAX_WATCHED, PolicyViewers, RegionLoad, StreamViewers};
use cluster::stream::StreamKey;

/// Bytes written, counted up for ever by who writes.
pub(crate) type Sent = Arc<AtomicU64>;

/// All viewers.
#[derive(Debug, Default)]
pub(super) struct Audience {
    streams: HashMap<StreamKey, Count>,
    /// Of those whose token names the policy that they were sent by.
    policies: HashMap<(Arc<str>, StreamKey), u32>,
    regions: HashMap<Region, (Count, Meter)>,
    /// HLS sessions of each stream that has some.
    sessions: HashMap<StreamKey, Sessions>,
}

/// What a viewer is counted by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// What it watches.
    pub stream: StreamKey,
    /// Where it is.
    pub region: Region,
    /// The policy that it was sent by.
    pub policy: Option<Arc<str>>,
}

impl Group {
    /// Viewers of a stream in a region whom no policy sent.
    pub fn of(stream: &StreamKey, region: Region) -> Self {
        Self {
            stream: stream.clone(),
            region,
            policy: None,
        }
    }
}

/// Viewers now, and since they were last taken who began to watch and who went.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    viewers: u32,
    joins: u32,
    leaves: u32,
    /// Of regions only.
    stalls: u32,
}

/// Bytes, and how many of them were taken.
#[derive(Debug, Default)]
struct Meter {
    sent: Sent,
    taken: u64,
}

#[derive(Debug, Default)]
struct Sessions {
    meter: Meter,
    regions: HashMap<Region, u32>,
}

impl Count {
    fn is_silent(&self) -> bool {
        (self.viewers, self.joins, self.leaves) == (0, 0, 0) && self.stalls == 0
    }

    fn take(&mut self) -> Self {
        let viewers = self.viewers;
        std::mem::replace(
            self,
            Self {
                viewers,
                ..Self::default()
            },
        )
    }
}

impl Meter {
    fn take(&mut self) -> u64 {
        let sent = self.sent.load(Ordering::Relaxed);
        let before = std::mem::replace(&mut self.taken, sent);
        sent - before
    }
}

impl Audience {
    /// The region to count a viewer to: its own, unless that would be one too many.
    pub(super) fn region(&self, region: Region) -> Region {
        let known = self.regions.contains_key(&region) || self.regions.len() + 1 < MAX_REGIONS;
        if known { region } else { Region::OTHER }
    }

    /// A viewer takes a place.
    pub(super) fn come(&mut self, group: &Group) {
        self.streams
            .entry(group.stream.clone())
            .or_default()
            .viewers += 1;
        self.regions.entry(group.region).or_default().0.viewers += 1;
        if let Some(policy) = &group.policy {
            let sent = (policy.clone(), group.stream.clone());
            *self.policies.entry(sent).or_default() += 1;
        }
    }

    /// A place is given back.
    pub(super) fn go(&mut self, group: &Group) {
        if let Some((count, _)) = self.regions.get_mut(&group.region) {
            count.viewers = count.viewers.saturating_sub(1);
        }
        let crowded = self.streams.len() > MAX_WATCHED;
        if let Some(count) = self.streams.get_mut(&group.stream) {
            count.viewers = count.viewers.saturating_sub(1);
            if count.is_silent() || (crowded && count.viewers == 0) {
                self.streams.remove(&group.stream);
            }
        }
        let Some(policy) = &group.policy else {
            return;
        };
        if let Entry::Occupied(mut sent) =
            self.policies.entry((policy.clone(), group.stream.clone()))
        {
            *sent.get_mut() -= 1;
            if *sent.get() == 0 {
                sent.remove();
            }
        }
    }

    /// A viewer begins to watch; what is written for it is counted there.
    pub(super) fn join(&mut self, stream: &StreamKey, region: Region) -> Sent {
        if let Some(count) = self.streams.get_mut(stream) {
            count.joins = count.joins.saturating_add(1);
        }
        let (count, meter) = self.regions.entry(region).or_default();
        count.joins = count.joins.saturating_add(1);
        meter.sent.clone()
    }

    /// One who watched goes.
    pub(super) fn leave(&mut self, stream: &StreamKey, region: Region) {
        if let Some(count) = self.streams.get_mut(stream) {
            count.leaves = count.leaves.saturating_add(1);
        }
        let (count, _) = self.regions.entry(region).or_default();
        count.leaves = count.leaves.saturating_add(1);
    }

    /// A viewer there is too far behind.
    pub(super) fn stall(&mut self, region: Region) {
        let (count, _) = self.regions.entry(region).or_default();
        count.stalls = count.stalls.saturating_add(1);
    }

    /// An HLS session plays a stream.
    pub(super) fn tune_in(&mut self, stream: &StreamKey, region: Region) {
        let sessions = self.sessions.entry(stream.clone()).or_default();
        *sessions.regions.entry(region).or_default() += 1;
    }

    /// It does no longer.
    pub(super) fn tune_out(&mut self, stream: &StreamKey, region: Region) {
        let Some(sessions) = self.sessions.get_mut(stream) else {
            return;
        };
        if let Some(count) = sessions.regions.get_mut(&region) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                sessions.regions.remove(&region);
            }
        }
        if sessions.regions.is_empty() {
            let rest = sessions.meter.take();
            self.sessions.remove(stream);
            self.count(region, rest);
        }
    }

    /// Where bytes of a stream's HLS are counted.
    pub(super) fn pieces(&mut self, stream: &StreamKey) -> Sent {
        match self.sessions.get(stream) {
            Some(sessions) => sessions.meter.sent.clone(),
            None => self
                .regions
                .entry(Region::UNKNOWN)
                .or_default()
                .1
                .sent
                .clone(),
        }
    }

    /// Viewers of each stream that has some.
    pub(super) fn by_stream(&self) -> Vec<(StreamKey, u32)> {
        let watched = self.streams.iter().filter(|(_, count)| count.viewers > 0);
        watched
            .map(|(key, count)| (key.clone(), count.viewers))
            .collect()
    }

    /// Of each stream its viewers, and who came and went since this was last asked.
    pub(super) fn take_streams(&mut self) -> Vec<StreamViewers> {
        let take = |(key, count): (&StreamKey, &mut Count)| {
            let Count {
                viewers,
                joins,
                leaves,
                ..
            } = count.take();
            StreamViewers {
                key: key.clone(),
                viewers,
                joins,
                leaves,
            }
        };
        let taken = self.streams.iter_mut().map(take).collect();
        self.streams.retain(|_, count| count.viewers > 0);
        taken
    }

    /// Of each policy its viewers by stream.
    pub(super) fn by_policy(&self) -> Vec<PolicyViewers> {
        let sent = |((policy, key), viewers): (&(Arc<str>, StreamKey), &u32)| PolicyViewers {
            policy: policy.to_string(),
            key: key.clone(),
            viewers: *viewers,
        };
        self.policies.iter().map(sent).collect()
    }

    /// The same of each region, with the rate at which it was sent to; `refused` wait outside.
    pub(super) fn take_regions(
        &mut self,
        since: Duration,
        mut refused: HashMap<Region, u32>,
    ) -> Vec<RegionLoad> {
        self.share();
        let seconds = since.as_secs_f64().max(SHORTEST_S);
        let mut loads: Vec<_> = Vec::with_capacity(self.regions.len());
        for (region, (count, meter)) in &mut self.regions {
            let Count {
                viewers,
                joins,
                leaves,
                stalls,
            } = count.take();
            loads.push(RegionLoad {
                region: *region,
                viewers,
                egress_bps: (meter.take() as f64 * 8.0 / seconds) as u64,
                joins,
                leaves,
                refused: refused.remove(region).unwrap_or_default(),
                stalls,
                ..RegionLoad::default()
            });
        }
        let outside = refused.into_iter().map(|(region, refused)| RegionLoad {
            region,
            refused,
            ..RegionLoad::default()
        });
        loads.extend(outside);
        loads.retain(|load| {
            *load
                != RegionLoad {
                    region: load.region,
                    ..RegionLoad::default()
                }
        });
        self.regions
            .retain(|_, (count, meter)| count.viewers > 0 || Arc::strong_count(&meter.sent) > 1);
        loads
    }

    /// Gives the bytes of HLS to the regions of its sessions.
    fn share(&mut self) {
        let mut shares = Vec::new();
        for sessions in self.sessions.values_mut() {
            let mut bytes = sessions.meter.take();
            let mut viewers: u64 = sessions.regions.values().map(|n| u64::from(*n)).sum();
            for (region, count) in &sessions.regions {
                // Of what is left, so that the parts add up to the whole.
                let part = bytes * u64::from(*count) / viewers.max(1);
                shares.push((*region, part));
                bytes -= part;
                viewers -= u64::from(*count);
            }
        }
        shares
            .into_iter()
            .for_each(|(region, part)| self.count(region, part));
    }

    fn count(&mut self, region: Region, bytes: u64) {
        let (_, meter) = self.regions.entry(region).or_default();
        meter.sent.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Over less than this a single burst would look like a rate.
const SHORTEST_S: f64 = 0.5;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> StreamKey {
        StreamKey::parse(text).unwrap()
    }

    fn regions(audience: &mut Audience) -> HashMap<String, RegionLoad> {
        let loads = audience.take_regions(Duration::from_secs(1), HashMap::new());
        loads
            .into_iter()
            .map(|load| (load.region.to_string(), load))
            .collect()
    }

    #[test]
    fn viewers_are_counted_where_they_are() {
        let (mut audience, stream) = (Audience::default(), key("live/x"));
        let (here, there) = (Region::named("here"), Region::named("there"));
        for region in [here, here, there] {
            audience.come(&Group::of(&stream, region));
            audience
                .join(&stream, region)
                .fetch_add(1_000, Ordering::Relaxed);
        }
        let loads = regions(&mut audience);
        let expected = RegionLoad {
            region: here,
            viewers: 2,
            egress_bps: 16_000,
            joins: 2,
            ..RegionLoad::default()
        };
        assert_eq!((loads["here"], loads["there"].viewers), (expected, 1));
        audience.stall(here);
        assert_eq!(regions(&mut audience)["here"].stalls, 1);
        assert_eq!(regions(&mut audience)["here"].stalls, 0);
        audience.leave(&stream, there);
        audience.go(&Group::of(&stream, there));
        let loads = regions(&mut audience);
        assert_eq!((loads["there"].viewers, loads["there"].leaves), (0, 1));
        assert_eq!((loads["here"].joins, loads["here"].egress_bps), (0, 0));
        assert!(!regions(&mut audience).contains_key("there"));
    }

    #[test]
    fn a_stream_tells_of_its_last_viewer() {
        let (mut audience, stream) = (Audience::default(), key("live/x"));
        audience.come(&Group::of(&stream, Region::UNKNOWN));
        audience.join(&stream, Region::UNKNOWN);
        audience.leave(&stream, Region::UNKNOWN);
        audience.go(&Group::of(&stream, Region::UNKNOWN));
        assert!(audience.by_stream().is_empty());
        let taken = audience.take_streams();
        assert_eq!(
            (taken[0].viewers, taken[0].joins, taken[0].leaves),
            (0, 1, 1)
        );
        assert!(audience.take_streams().is_empty());
    }

    #[test]
    fn pieces_are_shared_by_where_the_sessions_are() {
        let (mut audience, stream) = (Audience::default(), key("live/x"));
        let (here, there) = (Region::named("here"), Region::named("there"));
        for region in [here, here, there] {
            audience.come(&Group::of(&stream, region));
            audience.tune_in(&stream, region);
        }
        audience.pieces(&stream).fetch_add(3_001, Ordering::Relaxed);
        audience
            .pieces(&key("live/y"))
            .fetch_add(10, Ordering::Relaxed);
        let loads = regions(&mut audience);
        let sum: u64 = loads.values().map(|load| load.egress_bps / 8).sum();
        assert_eq!((sum, loads["unknown"].egress_bps), (3_011, 80));
        assert!((2_000..=2_001).contains(&(loads["here"].egress_bps / 8)));
        audience.tune_out(&stream, here);
        audience.tune_out(&stream, there);
        audience.pieces(&stream).fetch_add(700, Ordering::Relaxed);
        audience.tune_out(&stream, here);
        let loads = regions(&mut audience);
        assert_eq!(loads["here"].egress_bps, 5_600);
        assert!(audience.sessions.is_empty());
    }

    #[test]
    fn those_outside_are_demand_too() {
        let mut audience = Audience::default();
        audience.come(&Group::of(&key("live/x"), Region::UNKNOWN));
        let refused = [(Region::UNKNOWN, 2), (Region::named("x"), 3)].into();
        let mut loads = audience.take_regions(Duration::from_secs(1), refused);
        loads.sort_by_key(|load| load.refused);
        assert_eq!((loads[0].viewers, loads[0].refused), (1, 2));
        assert_eq!((loads[1].viewers, loads[1].refused), (0, 3));
    }

    #[test]
    fn regions_and_silent_streams_are_bounded() {
        let mut audience = Audience::default();
        for n in 0..2 * MAX_WATCHED {
            let (stream, region) = (key(&format!("live/{n}")), Region::named(&format!("r{n}")));
            let region = audience.region(region);
            audience.come(&Group::of(&stream, region));
            audience.join(&stream, region);
        }
        assert_eq!(audience.regions.len(), MAX_REGIONS);
        assert_eq!(audience.streams.len(), 2 * MAX_WATCHED);
        for n in 0..2 * MAX_WATCHED {
            audience.go(&Group::of(&key(&format!("live/{n}")), Region::OTHER));
        }
        assert_eq!(audience.streams.len(), MAX_WATCHED);
    }
}
