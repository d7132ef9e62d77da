//! What an edge counts, and the sample that it makes of it each second.
//!
//! Labels are bounded: protocols, and reasons from this crate's enums and the token's refusals. Never a stream or a
//! viewer. The rate measured here is also what admission goes by.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use cluster::moves;
use cluster::node::Node;
use cluster::sample::Sample;
use cluster::usage;
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tokio::time::Instant;
use transport::clock;

use crate::limits::Limits;
use crate::playback::dropped::Dropped;
use crate::upstream::{Paths, Upstream};
use crate::viewer::{Closed, Protocol, Viewers};

/// The counters of an edge; a clone counts into the same.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Viewers connected or joining.
    pub viewers: Gauge,
    /// Bytes written for viewers.
    pub egress_bytes: Counter,
    /// Times that a slow viewer was moved to the newest key frame.
    pub skips: Counter,
    /// Streams coming from a parent.
    pub streams: Gauge,
    /// Subscriptions that a parent accepted.
    pub subscriptions: Counter,
    /// Times that a parent could not be reached or was lost.
    pub upstream_failures: Counter,
    upstream_moves: Family<Why, Counter>,
    /// Seconds from the request to the first bytes.
    pub first_frame: Histogram,
    /// Bytes of UDP sent to nodes that take streams from here.
    pub relayed_bytes: Counter,
    /// HLS parts and init sections that were made.
    pub hls_muxed: Counter,
    /// What came from parents.
    upstream: Received,
    hls_requests: Family<Answered, Counter>,
    joins: Family<Via, Counter>,
    refused: Family<Why, Counter>,
    closed: Family<Why, Counter>,
    moves: Family<Cause, Counter>,
    frames_dropped: Family<Lost, Counter>,
    flv_latency: Family<Worker, Gauge<f64, AtomicU64>>,
    flv_viewers: Family<Worker, Gauge>,
    since: Arc<Mutex<Since>>,
}

/// Bytes that came from parents.
#[derive(Clone, Debug, Default)]
struct Received {
    bytes: Counter,
    parity_bytes: Counter,
    repaired_bytes: Counter,
}

/// What was counted since the last sample.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Since {
    /// Viewers who began to watch.
    pub joins: u64,
    /// Viewers turned away or sent on, by reason.
    pub refused: BTreeMap<&'static str, u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Via {
    protocol: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    kind: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Why {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Cause {
    why: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Lost {
    kind: &'static str,
}

/// At most one for each writing thread, whose number is bounded by the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Worker {
    worker: String,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            viewers: Gauge::default(),
            egress_bytes: Counter::default(),
            skips: Counter::default(),
            frames_dropped: Family::default(),
            flv_latency: Family::default(),
            flv_viewers: Family::default(),
            streams: Gauge::default(),
            subscriptions: Counter::default(),
            upstream_failures: Counter::default(),
            upstream_moves: Family::default(),
            first_frame: Histogram::new(FIRST_FRAME_S),
            relayed_bytes: Counter::default(),
            hls_muxed: Counter::default(),
            upstream: Received::default(),
            hls_requests: Family::default(),
            joins: Family::default(),
            refused: Family::default(),
            closed: Family::default(),
            moves: Family::default(),
            since: Arc::default(),
        }
    }
}

impl Received {
    fn register(&self, registry: &mut Registry) {
        let bytes = self.bytes.clone();
        registry.register("upstream_bytes", "Bytes of UDP from parents", bytes);
        let parity = self.parity_bytes.clone();
        registry.register(
            "upstream_parity_bytes",
            "Bytes of parity among them",
            parity,
        );
        let help = "Bytes of streams that parity gave before their retransmission";
        registry.register("upstream_repaired_bytes", help, self.repaired_bytes.clone());
    }

    fn count(&self, paths: &Paths) {
        self.bytes.inc_by(paths.received_bytes);
        self.parity_bytes.inc_by(paths.parity_bytes);
        self.repaired_bytes.inc_by(paths.repaired_bytes);
    }
}

impl Metrics {
    /// Makes the counters and registers them as `weir_edge_*`.
    pub fn register(registry: &mut Registry) -> Self {
        let m = Self::default();
        let r = registry.sub_registry_with_prefix("weir_edge");
        r.register("viewers", "Viewers connected or joining", m.viewers.clone());
        r.register(
            "egress_bytes",
            "Bytes written for viewers",
            m.egress_bytes.clone(),
        );
        let relayed = m.relayed_bytes.clone();
        r.register(
            "relayed_bytes",
            "Bytes of UDP sent to nodes that take streams",
            relayed,
        );
        r.register("joins", "Viewers who began to watch", m.joins.clone());
        r.register(
            "refused",
            "Viewers turned away or sent on",
            m.refused.clone(),
        );
        r.register("closed", "Viewers who ended", m.closed.clone());
        let help = "Viewers asked to find another edge";
        r.register("moves", help, m.moves.clone());
        r.register(
            "skips",
            "Slow viewers moved to a newer key frame",
            m.skips.clone(),
        );
        m.drop_frames(&Dropped::default());
        let dropped = m.frames_dropped.clone();
        r.register(
            "frames_dropped",
            "Frames that slow viewers did not get",
            dropped,
        );
        let latency = m.flv_latency.clone();
        let help = "How long frames are gathered at the moment";
        r.register("flv_latency_seconds", help, latency);
        let viewers = m.flv_viewers.clone();
        r.register("flv_viewers", "Viewers of each writing thread", viewers);
        let streams = m.streams.clone();
        r.register("upstream_streams", "Streams coming from a parent", streams);
        let subscriptions = m.subscriptions.clone();
        let help = "Subscriptions that a parent accepted";
        r.register("upstream_subscriptions", help, subscriptions);
        let failures = m.upstream_failures.clone();
        r.register("upstream_failures", "Parents not reached or lost", failures);
        let help = "Streams that left a parent for another one: a planned move, a silent one, a starved stream";
        r.register("upstream_moves", help, m.upstream_moves.clone());
        m.upstream.register(r);
        let help = "HLS parts and init sections made";
        r.register("hls_muxed", help, m.hls_muxed.clone());
        let help =
            "HLS requests answered: pieces that were kept (hit) or made (miss), playlists, errors";
        r.register("hls_requests", help, m.hls_requests.clone());
        let first = m.first_frame.clone();
        r.register(
            "first_frame_seconds",
            "Time from request to first bytes",
            first,
        );
        m
    }

    /// Counts a stream that left its parent for another one.
    pub fn moved(&self, reason: &'static str) {
        self.upstream_moves.get_or_create(&Why { reason }).inc();
    }

    /// Counts a viewer who was turned away or sent on.
    pub fn refuse(&self, reason: &'static str) {
        self.refused.get_or_create(&Why { reason }).inc();
        *self.since.lock().refused.entry(reason).or_default() += 1;
    }

    /// Counts a viewer who was asked to find another edge.
    pub(crate) fn asked(&self, why: moves::Why) {
        let why = why.as_str();
        self.moves.get_or_create(&Cause { why }).inc();
    }

    #[cfg(test)]
    pub(crate) fn asked_for(&self, why: moves::Why) -> u64 {
        let why = why.as_str();
        self.moves.get_or_create(&Cause { why }).get()
    }

    /// Counts frames that slow viewers did not get.
    pub fn drop_frames(&self, dropped: &Dropped) {
        self.skips.inc_by(dropped.skips);
        for (kind, frames) in dropped.by_kind() {
            self.frames_dropped
                .get_or_create(&Lost { kind })
                .inc_by(frames);
        }
    }

    /// Sets what a writing thread does; `worker` is its number, or `"shared"` for the threads of all other work.
    pub fn writes(&self, worker: &str, latency: Duration, viewers: u32) {
        let worker = Worker {
            worker: worker.to_owned(),
        };
        let seconds = latency.as_secs_f64();
        self.flv_latency.get_or_create(&worker).set(seconds);
        self.flv_viewers.get_or_create(&worker).set(viewers.into());
    }

    /// Counts an answered request for HLS.
    pub(crate) fn hls_answered(&self, kind: &'static str, result: &'static str) {
        let answered = Answered { kind, result };
        self.hls_requests.get_or_create(&answered).inc();
    }

    /// What was counted since it was last taken.
    pub fn take(&self) -> Since {
        std::mem::take(&mut self.since.lock())
    }

    pub(crate) fn joined(&self, protocol: Protocol) {
        self.joins
            .get_or_create(&Via {
                protocol: protocol.as_str(),
            })
            .inc();
        self.since.lock().joins += 1;
    }

    pub(crate) fn closed(&self, why: Closed) {
        self.closed
            .get_or_create(&Why {
                reason: why.as_str(),
            })
            .inc();
    }

    #[cfg(test)]
    pub(crate) fn dropped(&self, kind: &'static str) -> u64 {
        self.frames_dropped.get_or_create(&Lost { kind }).get()
    }

    #[cfg(test)]
    pub(crate) fn closed_by(&self, why: Closed) -> u64 {
        self.closed
            .get_or_create(&Why {
                reason: why.as_str(),
            })
            .get()
    }
}

/// The rate of sending, measured once a second.
#[derive(Debug)]
pub struct Rate {
    last: Mutex<(Instant, u64)>,
    egress_bps: AtomicU64,
    /// How many were watching when it was measured.
    viewers: AtomicU32,
}

impl Default for Rate {
    fn default() -> Self {
        Self {
            last: Mutex::new((Instant::now(), 0)),
            egress_bps: AtomicU64::new(0),
            viewers: AtomicU32::new(0),
        }
    }
}

impl Rate {
    /// Measures, given the bytes sent since the start.
    pub fn measure(&self, bytes: u64, viewers: u32) {
        let (now, mut last) = (Instant::now(), self.last.lock());
        let seconds = (now - last.0).as_secs_f64();
        if seconds < SHORTEST_S {
            return;
        }
        let bps = bytes.saturating_sub(last.1) as f64 * 8.0 / seconds;
        *last = (now, bytes);
        self.egress_bps.store(bps as u64, Ordering::Relaxed);
        self.viewers.store(viewers, Ordering::Relaxed);
    }

    /// Bits per second, as measured.
    pub fn egress_bps(&self) -> u64 {
        self.egress_bps.load(Ordering::Relaxed)
    }

    /// Bits per second with so many viewers: those who came since are reckoned like the others.
    pub fn expected_bps(&self, viewers: u32) -> u64 {
        let (bps, measured) = (self.egress_bps(), self.viewers.load(Ordering::Relaxed));
        let newcomers = u64::from(viewers.saturating_sub(measured));
        bps.saturating_add(newcomers.saturating_mul(bps / u64::from(measured.max(1))))
    }
}

/// Makes the samples.
#[derive(Debug)]
pub struct Meter {
    /// The node itself.
    pub node: Node,
    /// Who watches.
    pub viewers: Viewers,
    /// The rate of sending.
    pub rate: Arc<Rate>,
    /// The counters.
    pub metrics: Metrics,
    /// The process.
    pub usage: usage::Meter,
    /// What the node may carry.
    pub limits: Limits,
    /// The parents; unset while the node starts.
    pub upstream: Arc<OnceLock<Upstream>>,
}

impl Meter {
    /// What was measured since the sample before.
    pub fn sample(&self) -> Sample {
        let (usage, since) = (self.usage.read(), self.metrics.take());
        let paths = self
            .upstream
            .get()
            .map(Upstream::measure)
            .unwrap_or_default();
        self.metrics.upstream.count(&paths);
        let mut node = self.node.clone();
        node.capacity = self.limits.now();
        let mut sample = Sample {
            egress_bps: self.rate.egress_bps(),
            ingress_bps: paths.received_bytes * 8,
            cpu: usage.cpu,
            memory_bytes: usage.memory_bytes,
            parents: paths.links,
            joins: since.joins,
            refused: since
                .refused
                .into_iter()
                .map(|(why, n)| (why.to_owned(), n))
                .collect(),
            ..Sample::new(node, clock::unix_ms())
        };
        self.viewers.tell(&mut sample);
        sample
    }
}

/// From a cached group on the same machine to a stream opened over a slow path.
const FIRST_FRAME_S: [f64; 10] = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 0.5, 1.0, 2.0, 5.0];

/// Over less than this a single burst would look like a rate.
const SHORTEST_S: f64 = 0.5;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn newcomers_are_reckoned_like_the_others() {
        let rate = Rate::default();
        tokio::time::advance(Duration::from_secs(1)).await;
        rate.measure(1_000_000, 4);
        assert_eq!(rate.egress_bps(), 8_000_000);
        for (viewers, expected) in [
            (4, 8_000_000),
            (2, 8_000_000),
            (5, 10_000_000),
            (8, 16_000_000),
        ] {
            assert_eq!(rate.expected_bps(viewers), expected, "{viewers} viewers");
        }
        tokio::time::advance(Duration::from_secs(2)).await;
        rate.measure(1_000_000, 0);
        assert_eq!((rate.egress_bps(), rate.expected_bps(10)), (0, 0));
    }

    #[test]
    fn what_is_taken_is_counted_once() {
        let metrics = Metrics::default();
        metrics.refuse("draining");
        metrics.refuse("draining");
        metrics.joined(Protocol::Flv);
        let since = metrics.take();
        assert_eq!((since.joins, since.refused["draining"]), (1, 2));
        assert_eq!(metrics.take(), Since::default());
    }

    #[test]
    fn names_and_units_are_as_promised() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        metrics.refuse("draining");
        metrics.joined(Protocol::WebSocket);
        metrics.closed(Closed::Ended);
        metrics.asked(moves::Why::Drain);
        metrics.writes("0", Duration::from_millis(20), 3);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for sample in [
            "weir_edge_viewers 0",
            "weir_edge_egress_bytes_total 0",
            "weir_edge_refused_total{reason=\"draining\"} 1",
            "weir_edge_joins_total{protocol=\"websocket\"} 1",
            "weir_edge_closed_total{reason=\"ended\"} 1",
            "weir_edge_moves_total{why=\"drain\"} 1",
            "weir_edge_first_frame_seconds_count 0",
            "weir_edge_frames_dropped_total{kind=\"disposable\"} 0",
            "weir_edge_flv_latency_seconds{worker=\"0\"} 0.02",
            "weir_edge_flv_viewers{worker=\"0\"} 3",
        ] {
            assert!(text.contains(sample), "{sample} in\n{text}");
        }
    }
}
