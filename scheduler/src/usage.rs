//! Sans-IO: what each policy's viewers use in the whole cluster, for its caps.
//!
//! Edges count viewers by the policy that a scheduler wrote into their tokens; who came without is
//! counted to the policy of its stream, and so is who was sent by one that is no more. Samples are
//! a second old, so that joins of the last moments are added from this scheduler's own counts: a
//! crowd that comes at once does not pass a cap, and just below one a few are refused that would
//! have had room a moment later.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use cluster::plan::Health;

use crate::policy::{Caps, Named, Subject};
use crate::snapshot::{Count, Sent, Snapshot};

/// What a policy's viewers use.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// By the samples.
    sampled: Count,
    /// Sent by this scheduler, ever.
    pub(crate) sent: Arc<Sent>,
    /// Of those, what the samples must include by now.
    settled: Count,
}

impl Usage {
    /// Viewers and bits per second.
    pub fn count(&self) -> Count {
        let sent = self.sent.count();
        Count {
            viewers: self.sampled.viewers + sent.viewers - self.settled.viewers,
            egress_bps: self.sampled.egress_bps + sent.egress_bps - self.settled.egress_bps,
        }
    }

    /// Whether that is as much as may be.
    pub(crate) fn reaches(&self, caps: &Caps) -> bool {
        let used = self.count();
        let reached = |used: u64, cap: Option<u64>| cap.is_some_and(|cap| used >= cap);
        reached(used.viewers, caps.viewers) || reached(used.egress_bps, caps.egress_bps)
    }
}

/// What this scheduler sent, by the policies' names.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    sent: HashMap<Arc<str>, Readings>,
    read_ms: u64,
}

/// A counter with its readings of the last seconds, the oldest first.
#[derive(Clone, Debug, Default)]
struct Readings {
    sent: Arc<Sent>,
    read: [Count; SETTLES_S],
}

impl Ledger {
    /// Adds up what each policy's viewers use, where one has a cap; `now_ms` is monotonic.
    pub(crate) fn tally(&mut self, snapshot: &Snapshot, now_ms: u64) -> Vec<Usage> {
        let policies = &snapshot.policies;
        if !policies.all().any(is_capped) {
            self.sent.clear();
            return Vec::new();
        }
        let mut before = std::mem::take(&mut self.sent);
        let turns = now_ms.saturating_sub(self.read_ms) >= 1_000;
        if turns {
            self.read_ms = now_ms;
        }
        let sampled = sampled(snapshot);
        let usage = |named: &Named| {
            // A canary's policy and the one that it is to replace have one name.
            let entry = self.sent.entry(named.name.clone());
            let readings = entry.or_insert_with(|| {
                let mut readings = before.remove(&named.name).unwrap_or_default();
                if turns {
                    readings.read.rotate_left(1);
                    readings.read[SETTLES_S - 1] = readings.sent.count();
                }
                readings
            });
            Usage {
                sampled: sampled.get(&*named.name).copied().unwrap_or_default(),
                sent: readings.sent.clone(),
                settled: readings.read[0],
            }
        };
        policies.all().map(usage).collect()
    }
}

fn is_capped(named: &Named) -> bool {
    let caps = &named.policy.caps;
    caps.viewers.or(caps.egress_bps).is_some()
}

/// What the samples say, by the policies' names.
fn sampled(snapshot: &Snapshot) -> HashMap<&str, Count> {
    let known: HashSet<&str> = snapshot.policies.all().map(|it| &*it.name).collect();
    let mut counts = HashMap::<&str, Count>::new();
    let edges = snapshot.nodes.iter().filter(|view| view.is_edge);
    for view in edges.filter(|view| view.health != Health::Down) {
        let bitrate_bps = |key: &str| snapshot.stream(key).map_or(0, |it| it.bitrate_bps);
        let mut add = |policy, key: &str, viewers: u32| {
            let egress_bps = bitrate_bps(key).saturating_mul(viewers.into());
            let count = counts.entry(policy).or_default();
            count.viewers += u64::from(viewers);
            count.egress_bps = count.egress_bps.saturating_add(egress_bps);
        };
        let mut sent: HashMap<&str, u32> = HashMap::new();
        let of = view.sample.policies.iter();
        for of in of.filter(|of| known.contains(of.policy.as_str())) {
            let key = of.key.as_str();
            add(of.policy.as_str(), key, of.viewers);
            let sum = sent.entry(key).or_default();
            *sum = sum.saturating_add(of.viewers);
        }
        for watched in &view.sample.viewers {
            let key = watched.key.as_str();
            let others = watched
                .viewers
                .saturating_sub(sent.get(key).copied().unwrap_or(0));
            if others > 0 {
                let subject = Subject {
                    stream: Some(&watched.key),
                    stream_labels: snapshot.labels(&watched.key),
                    ..Subject::default()
                };
                add(&snapshot.policies.of(&subject).name, key, others);
            }
        }
    }
    counts
}

/// Seconds after which a viewer who was sent somewhere is in a sample: it dials and is let in, on a
/// slow link within three, is counted within a second, and a second later that is known here.
const SETTLES_S: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Policies, Policy};
    use crate::snapshot::fixture::{FRANKFURT, sample, snapshot, view};
    use cluster::node::Role;
    use cluster::sample::{PolicyViewers, StreamViewers};
    use cluster::stream::StreamKey;

    fn capped(viewers: u64) -> Policy {
        let mut policy = Policy::default();
        policy.caps.viewers = Some(viewers);
        policy
    }

    /// An edge with viewers of `live/x`, some of them sent by policies.
    fn watched(viewers: u32, sent: &[(&str, u32)], policies: Policies) -> Snapshot {
        let key = StreamKey::parse("live/x").unwrap();
        let mut sample = sample("fra", Role::Edge, FRANKFURT);
        sample.viewers = vec![StreamViewers {
            key: key.clone(),
            viewers,
            joins: 0,
            leaves: 0,
        }];
        let of = |(policy, viewers): &(&str, u32)| PolicyViewers {
            policy: (*policy).to_owned(),
            key: key.clone(),
            viewers: *viewers,
        };
        sample.policies = sent.iter().map(of).collect();
        let mut snapshot = snapshot(vec![view(1, sample)]);
        snapshot.policies = Arc::new(policies);
        snapshot
    }

    #[test]
    fn viewers_count_to_the_policy_that_sent_them_and_others_to_their_streams() {
        let policies = "version = 1\n[policy.default]\ncaps = { viewers = 9 }\n\
            [policy.gold]\nselector = { label = \"gold\" }\npriority = 1\n";
        let policies = crate::policy::file::parse(policies).unwrap();
        let snapshot = watched(10, &[("gold", 3), ("gone", 2)], policies);
        let usage = Ledger::default().tally(&snapshot, 0);
        let of = |name: &str| {
            let named = snapshot
                .policies
                .all()
                .find(|it| &*it.name == name)
                .unwrap();
            usage[named.number].count().viewers
        };
        assert_eq!((of("gold"), of("default")), (3, 7));
    }

    #[test]
    fn joins_count_before_a_sample_tells_of_them_and_once_after() {
        let only = |cap| Policies::new(Vec::new(), capped(cap));
        let mut ledger = Ledger::default();
        let mut at = |viewers: u32, second: u64| {
            let snapshot = watched(viewers, &[], only(5));
            ledger.tally(&snapshot, second * 1_000).remove(0)
        };
        let usage = at(0, 1);
        (0..5).for_each(|_| usage.sent.add(1_000));
        assert!(usage.reaches(&capped(5).caps) && !usage.reaches(&capped(6).caps));
        assert_eq!(usage.count().egress_bps, 5_000);
        assert_eq!(at(0, 2).count().viewers, 5);
        assert_eq!(at(0, 2).count().viewers, 5);
        assert_eq!(at(5, 6).count().viewers, 10);
        let counts = [7, 8, 9, 10, 11].map(|second| at(5, second).count().viewers);
        assert_eq!(counts.last(), Some(&5));
    }

    #[test]
    fn without_a_cap_nothing_is_counted() {
        let policies = Policies::new(Vec::new(), Policy::default());
        let snapshot = watched(3, &[], policies);
        assert!(Ledger::default().tally(&snapshot, 0).is_empty());
    }
}
