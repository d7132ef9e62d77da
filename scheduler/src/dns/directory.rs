//! Which addresses are the best edges': the same decision as for a redirect, and where hosts are.
//!
//! Only addresses of registered nodes are given out: the literal one of an edge's `public_url`, or
//! what its name was resolved to in the background. A name within our own zone is not asked for.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::{MissedTickBehavior, interval, timeout};
use transport::clock::Clock;

use super::Wish;
use crate::geo::Geo;
use crate::snapshot::{NodeView, Snapshot, hash, mix};
use crate::steer::{Viewer, steer};

/// Where the best edges are.
pub struct Directory {
    snapshot: Arc<ArcSwap<Snapshot>>,
    geo: Arc<Geo>,
    clock: Clock,
    /// `.live.example.com`, of which nothing is resolved.
    own: String,
    resolved: ArcSwap<HashMap<String, Vec<IpAddr>>>,
}

impl Directory {
    /// Of the edges of those snapshots.
    pub fn new(snapshot: Arc<ArcSwap<Snapshot>>, geo: Arc<Geo>, clock: Clock, zone: &str) -> Self {
        Self {
            snapshot,
            geo,
            clock,
            own: format!(".{}", zone.trim_end_matches('.').to_ascii_lowercase()),
            resolved: ArcSwap::default(),
        }
    }

    /// The addresses of the best edges, best first; None when the stream is not on air.
    pub fn edges(&self, wish: &Wish) -> Option<Vec<IpAddr>> {
        let snapshot = self.snapshot.load();
        let stream = match &wish.stream {
            Some(key) => Some(&snapshot.stream(key.as_str())?.key),
            None => None,
        };
        let network = match wish.network {
            IpAddr::V4(v4) => hash(&v4.octets()),
            IpAddr::V6(v6) => hash(&v6.octets()),
        };
        let name = stream.map_or("", |key| key.as_str());
        let key = mix(network ^ hash(name.as_bytes()).rotate_left(1));
        let located = self.geo.locate(wish.network);
        let viewer = Viewer {
            stream,
            kinds: &[],
            ..Viewer::new(located, key, self.clock.unix_ms() / 1000)
        };
        let decision = steer(&snapshot, &viewer);
        let edges = decision.edges().map(|edge| &snapshot.nodes[edge.node]);
        Some(edges.flat_map(|view| self.addresses(view)).collect())
    }

    /// Keeps the addresses of edges that are known by name. Never ends.
    pub async fn run(self: Arc<Self>) {
        let mut beat = interval(AGAIN);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            beat.tick().await;
            self.resolve().await;
        }
    }

    async fn resolve(&self) {
        let hosts: BTreeSet<String> = {
            let snapshot = self.snapshot.load();
            let edges = snapshot.nodes.iter().filter(|view| view.is_edge);
            let names = edges.filter_map(|view| host(view)).filter(|host| {
                let inside = host.to_ascii_lowercase().ends_with(&self.own);
                literal(host).is_none() && !inside
            });
            names.map(str::to_owned).collect()
        };
        let before = self.resolved.load_full();
        let mut resolved = HashMap::with_capacity(hosts.len());
        for host in hosts {
            let found = addresses_of(&host).await;
            let addresses = found.or_else(|| before.get(&host).cloned());
            resolved.insert(host, addresses.unwrap_or_default());
        }
        self.resolved.store(Arc::new(resolved));
    }

    fn addresses(&self, view: &NodeView) -> Vec<IpAddr> {
        let Some(host) = host(view) else {
            return Vec::new();
        };
        match literal(host) {
            Some(address) => vec![address],
            None => self.resolved.load().get(host).cloned().unwrap_or_default(),
        }
    }
}

/// What a name stands for, if that is known in time.
async fn addresses_of(host: &str) -> Option<Vec<IpAddr>> {
    // The port is of no account: only addresses are looked up.
    let found = timeout(PATIENCE, tokio::net::lookup_host((host, 0))).await;
    let found = found.ok()?.ok()?;
    Some(found.map(|at| at.ip()).take(MAX_ADDRESSES).collect())
}

/// The host of a node's public address, without its port.
fn host(view: &NodeView) -> Option<&str> {
    let (_, authority) = view.node().public_url.split_once("://")?;
    match authority.strip_prefix('[') {
        Some(v6) => v6.split_once(']').map(|(host, _)| host),
        None => authority.split(':').next(),
    }
}

fn literal(host: &str) -> Option<IpAddr> {
    host.parse().ok()
}

/// Who moves an edge waits that long.
const AGAIN: Duration = Duration::from_secs(10);

/// A name server that takes longer is down; what it said before stays.
const PATIENCE: Duration = Duration::from_secs(2);

/// An edge has one address of each family; some have a few.
const MAX_ADDRESSES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::fixture::{FRANKFURT, edge};

    #[test]
    fn hosts_are_read_from_public_addresses() {
        for (url, expected) in [
            ("https://edge.example.com", "edge.example.com"),
            ("http://192.0.2.1:8081", "192.0.2.1"),
            ("http://[2001:db8::1]:8081", "2001:db8::1"),
            ("http://[2001:db8::1]", "2001:db8::1"),
        ] {
            let mut view = edge(1, "fra", FRANKFURT);
            Arc::make_mut(&mut view.sample).node.public_url = url.to_owned();
            assert_eq!(host(&view), Some(expected), "{url}");
            assert_eq!(literal(expected).is_some(), !expected.contains("edge"));
        }
    }
}
