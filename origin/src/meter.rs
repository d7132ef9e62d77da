//! What the origin counts: for `/metrics`, and for the sample its agent sends each second.
//!
//! Names begin with `weir_origin_`; labels are bounded sets known at compile time, never a
//! stream's or a peer's name.

use std::collections::BTreeMap;
use std::time::Instant;

use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// The counters of one origin.
#[derive(Debug, Default)]
pub struct Meter {
    pub(crate) streams: Gauge,
    pub(crate) publishers: Gauge,
    pub(crate) players: Gauge,
    pub(crate) edges: Gauge,
    pub(crate) connections: Gauge,
    pub(crate) received: Counter,
    pub(crate) sent: Counter,
    pub(crate) relayed: Counter,
    pub(crate) groups: Counter,
    pub(crate) takeovers: Counter,
    pub(crate) skips: Counter,
    frames_dropped: Family<Reason, Counter>,
    refused: Family<Reason, Counter>,
    broken: Family<Reason, Counter>,
    /// Refusals since the last sample.
    refused_since: Mutex<BTreeMap<&'static str, u64>>,
    /// When the last sample was taken, and the bytes received and sent by then.
    sampled: Mutex<Option<(Instant, u64, u64)>>,
}

/// What passed between two samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub(crate) ingress_bps: u64,
    pub(crate) egress_bps: u64,
}

/// Counts one more in a gauge until it is dropped.
#[derive(Debug)]
pub(crate) struct Held(Gauge);

impl Held {
    pub(crate) fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

impl Meter {
    /// Counters at zero, to be found in `registry`.
    pub fn new(registry: &mut Registry) -> Self {
        let meter = Self::default();
        let registry = registry.sub_registry_with_prefix("weir_origin");
        let gauges = [
            ("streams", "Streams on air", &meter.streams),
            ("publishers", "Publishers connected", &meter.publishers),
            ("players", "RTMP players connected", &meter.players),
            ("edges", "Nodes connected to fetch streams", &meter.edges),
            (
                "rtmp_connections",
                "Open RTMP connections",
                &meter.connections,
            ),
        ];
        for (name, help, gauge) in gauges {
            registry.register(name, help, gauge.clone());
        }
        let counters = [
            ("groups", "Groups opened", &meter.groups),
            (
                "takeovers",
                "Silent publishers replaced by another",
                &meter.takeovers,
            ),
            (
                "player_skips",
                "Times a slow RTMP player skipped to the newest group",
                &meter.skips,
            ),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        let bytes = [
            ("rtmp_received", "Bytes received over RTMP", &meter.received),
            ("rtmp_sent", "Bytes sent over RTMP", &meter.sent),
            (
                "relay_sent",
                "Bytes sent to nodes that fetch streams",
                &meter.relayed,
            ),
        ];
        for (name, help, counter) in bytes {
            registry.register_with_unit(name, help, Unit::Bytes, counter.clone());
        }
        let reasons = [
            (
                "frames_dropped",
                "Frames of publishers left out",
                &meter.frames_dropped,
            ),
            (
                "refused",
                "Connections, publishers and players refused",
                &meter.refused,
            ),
            (
                "rtmp_errors",
                "RTMP connections closed for an error",
                &meter.broken,
            ),
        ];
        for (name, help, family) in reasons {
            registry.register(name, help, family.clone());
        }
        meter
    }

    /// Counts a frame left out.
    pub(crate) fn dropped(&self, reason: &'static str) {
        self.frames_dropped.get_or_create(&Reason { reason }).inc();
    }

    /// Counts somebody refused.
    pub(crate) fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&Reason { reason }).inc();
        *self.refused_since.lock().entry(reason).or_default() += 1;
    }

    /// Counts a connection that ended with an error.
    pub(crate) fn broken(&self, reason: &'static str) {
        self.broken.get_or_create(&Reason { reason }).inc();
    }

    /// Refusals by reason since the last call.
    pub(crate) fn take_refused(&self) -> BTreeMap<String, u64> {
        let since = std::mem::take(&mut *self.refused_since.lock());
        since
            .into_iter()
            .map(|(reason, count)| (reason.to_owned(), count))
            .collect()
    }

    /// Bits per second since the last call.
    pub(crate) fn take_traffic(&self) -> Traffic {
        let now = (
            Instant::now(),
            self.received.get(),
            self.sent.get() + self.relayed.get(),
        );
        let Some((at, received, sent)) = self.sampled.lock().replace(now) else {
            return Traffic::default();
        };
        let seconds = (now.0 - at).as_secs_f64().max(f64::EPSILON);
        let bps = |bytes: u64| (bytes as f64 * 8.0 / seconds) as u64;
        Traffic {
            ingress_bps: bps(now.1 - received),
            egress_bps: bps(now.2 - sent),
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn every_family_has_our_prefix_and_a_help() {
        let mut registry = Registry::default();
        let meter = Meter::new(&mut registry);
        meter.refused("busy");
        meter.dropped("no_config");
        meter.broken("io");
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        let families: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("# TYPE"))
            .collect();
        assert_eq!(families.len(), 14, "{text}");
        assert!(
            families
                .iter()
                .all(|line| line.starts_with("# TYPE weir_origin_")),
            "{text}"
        );
        let helps = text.lines().filter(|line| line.starts_with("# HELP"));
        assert_eq!(helps.count(), families.len());
        assert!(
            text.contains("weir_origin_refused_total{reason=\"busy\"} 1"),
            "{text}"
        );
        assert!(
            text.contains("weir_origin_rtmp_received_bytes_total 0"),
            "{text}"
        );
    }

    #[test]
    fn a_sample_takes_what_came_since_the_last() {
        let meter = Meter::default();
        meter.refused("busy");
        meter.refused("busy");
        assert_eq!(
            meter.take_refused(),
            BTreeMap::from([("busy".to_owned(), 2)])
        );
        assert!(meter.take_refused().is_empty());
        assert_eq!(
            meter.take_traffic(),
            Traffic::default(),
            "nothing to compare with yet"
        );
        meter.received.inc_by(1_000_000);
        let traffic = meter.take_traffic();
        assert!(
            traffic.ingress_bps > 0 && traffic.egress_bps == 0,
            "{traffic:?}"
        );
    }

    #[test]
    fn what_is_held_counts_until_it_is_dropped() {
        let gauge = Gauge::default();
        let held = (Held::new(&gauge), Held::new(&gauge));
        assert_eq!(gauge.get(), 2);
        drop(held);
        assert_eq!(gauge.get(), 0);
    }
}
