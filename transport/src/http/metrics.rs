//! What the HTTP listeners of a node count, under one `listener` label.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The counters of all listeners of a node; made and registered once.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    connections: Family<Listener, Counter>,
    open: Family<Listener, Gauge>,
    refused: Family<Refusal, Counter>,
    failed: Family<Refusal, Counter>,
    accept_failures: Family<Listener, Counter>,
    requests: Family<Listener, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Listener {
    listener: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refusal {
    listener: &'static str,
    reason: &'static str,
}

impl Metrics {
    /// Makes the counters and registers them as `weir_http_*`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("weir_http");
        registry.register(
            "connections",
            "Connections accepted",
            metrics.connections.clone(),
        );
        registry.register(
            "open_connections",
            "Connections open now",
            metrics.open.clone(),
        );
        registry.register(
            "refused_connections",
            "Connections refused because a limit was reached",
            metrics.refused.clone(),
        );
        registry.register(
            "failed_connections",
            "Connections that did not end cleanly",
            metrics.failed.clone(),
        );
        registry.register(
            "accept_failures",
            "Times that accepting a connection failed, as without file descriptors",
            metrics.accept_failures.clone(),
        );
        registry.register("requests", "Requests received", metrics.requests.clone());
        metrics
    }

    /// The counters of one listener, such as `public` or `admin`.
    pub fn listener(&self, name: &'static str) -> Stats {
        let label = Listener { listener: name };
        Stats {
            connections: self.connections.get_or_create(&label).clone(),
            open: self.open.get_or_create(&label).clone(),
            requests: self.requests.get_or_create(&label).clone(),
            metrics: self.clone(),
            listener: name,
        }
    }
}

/// The counters of one listener; clones are the same counters.
#[derive(Clone, Debug)]
pub struct Stats {
    connections: Counter,
    open: Gauge,
    requests: Counter,
    metrics: Metrics,
    listener: &'static str,
}

impl Stats {
    /// Connections accepted so far.
    pub fn connections(&self) -> u64 {
        self.connections.get()
    }

    /// Connections open now.
    pub fn open(&self) -> u64 {
        u64::try_from(self.open.get()).unwrap_or(0)
    }

    /// Requests received so far.
    pub fn requests(&self) -> u64 {
        self.requests.get()
    }

    /// Connections refused so far for that reason (`full` or `address`).
    pub fn refused(&self, reason: &'static str) -> u64 {
        self.metrics
            .refused
            .get_or_create(&self.reason(reason))
            .get()
    }

    /// Connections that failed so far for that reason (`tls`, `protocol`,
    /// `idle`, `stall`, `gone`, `service` or `panic`).
    pub fn failed(&self, reason: &'static str) -> u64 {
        self.metrics
            .failed
            .get_or_create(&self.reason(reason))
            .get()
    }

    pub(super) fn accept_failures(&self) -> Counter {
        let label = Listener {
            listener: self.listener,
        };
        self.metrics.accept_failures.get_or_create(&label).clone()
    }

    pub(super) fn opened(&self) -> Open {
        self.connections.inc();
        self.open.inc();
        Open(self.open.clone())
    }

    pub(super) fn requested(&self) {
        self.requests.inc();
    }

    pub(super) fn refuse(&self, reason: &'static str) {
        self.metrics
            .refused
            .get_or_create(&self.reason(reason))
            .inc();
    }

    pub(super) fn fail(&self, reason: &'static str) {
        self.metrics
            .failed
            .get_or_create(&self.reason(reason))
            .inc();
    }

    fn reason(&self, reason: &'static str) -> Refusal {
        Refusal {
            listener: self.listener,
            reason,
        }
    }
}

/// Counts one connection as open until it is dropped.
#[derive(Debug)]
pub(super) struct Open(Gauge);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}
