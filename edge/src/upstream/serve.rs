//! Serving other nodes: the streams that come here go on from here, by the same relay protocol.
//!
//! Who connects has shown a certificate of the cluster. A stream that a node asks for is opened like a viewer's, and
//! kept as long as that node takes it. A path that would be a loop is
//! refused here and by the session.

use std::sync::Arc;
use std::time::Duration;

use cluster::stream::StreamKey;
use relay::driver::{self, Announced, Boxed, Served, Source};
use relay::group::{Group, Key};
use relay::track::Consumer;
use relay::wire::{Refusal, Start};
use tokio::sync::watch;
use transport::limit::Connections;
use transport::quic::{self, Connection, Incoming};

use super::Upstream;

/// Accepts other nodes.
#[derive(Debug)]
pub struct Server {
    upstream: Upstream,
    places: Connections,
}

/// What a connected node can take.
#[derive(Debug)]
struct Streams {
    upstream: Upstream,
    announced: watch::Receiver<Arc<Vec<Announced>>>,
}

impl Server {
    /// A server of what comes upstream.
    pub fn new(upstream: Upstream) -> Self {
        Self {
            upstream,
            places: Connections::new(MAX_NODES, MAX_NODES),
        }
    }

    /// Accepts until dropped; the drain waits for the connections.
    pub async fn run(self) {
        let setup = &self.upstream.0.setup;
        while let Some(incoming) = setup.endpoint.accept().await {
            let Ok(place) = self.places.try_acquire(incoming.remote_address().ip()) else {
                setup.metrics.refuse("nodes_full");
                incoming.refuse();
                continue;
            };
            let upstream = self.upstream.clone();
            setup.drain.spawn(async move {
                serve(upstream, incoming).await;
                drop(place);
            });
        }
    }
}

async fn serve(upstream: Upstream, incoming: Incoming) {
    let setup = &upstream.0.setup;
    let address = incoming.remote_address();
    let connection = match incoming.await {
        Ok(connection) => connection,
        Err(error) => {
            setup.metrics.refuse("node_handshake");
            return tracing::debug!(%address, %error, "no relay connection");
        }
    };
    let node = quic::peer_name(&connection).unwrap_or_default();
    tracing::info!(node, %address, "node connected");
    let source = Arc::new(Streams {
        upstream: upstream.clone(),
        announced: watch::Sender::default().subscribe(),
    });
    let shutdown = setup.drain.start_token();
    let served = driver::serve(connection.clone(), setup.node.as_str(), source, shutdown);
    tokio::select! {
        served = served => match served {
            Ok(()) => tracing::info!(node, "node left"),
            Err(error) => tracing::info!(node, %error, "node lost"),
        },
        () = count(&upstream, &connection) => {}
    }
}

/// Counts what is sent, each second. Never ends.
async fn count(upstream: &Upstream, connection: &Connection) {
    let mut counted = 0;
    let mut beat = tokio::time::interval(COUNT_INTERVAL);
    loop {
        beat.tick().await;
        let sent = connection.stats().udp_tx.bytes;
        upstream
            .0
            .setup
            .metrics
            .relayed_bytes
            .inc_by(sent - counted);
        counted = sent;
    }
}

impl Source for Streams {
    fn subscribe<'a>(
        &'a self,
        stream: &'a str,
        hops: &'a [String],
        start: Start,
    ) -> Boxed<'a, Result<Served, Refusal>> {
        Box::pin(async move {
            let stream = StreamKey::parse(stream).map_err(|_| Refusal::NotFound)?;
            let joined = self.upstream.join(&stream, hops).await?;
            if let Start::Past { before, for_ms } = start {
                joined.past(reach(&joined.track, before, for_ms)).await;
            }
            Ok(Served {
                track: joined.track,
                hops: joined.hops.to_vec(),
                lease: Some(Arc::new(joined.lease)),
            })
        })
    }

    fn announced(&self) -> watch::Receiver<Arc<Vec<Announced>>> {
        self.announced.clone()
    }
}

/// The window that reaches `for_ms` back from a group, or from the first that is there after it.
fn reach(track: &Consumer, before: Key, for_ms: u64) -> Duration {
    let began_us = |group: Group| group.header().wallclock_us;
    let from = track
        .group(before)
        .or_else(|| track.next_after(before))
        .map(began_us);
    let newest = track.latest().map(began_us);
    let since = newest
        .zip(from)
        .map_or(0, |(newest, from)| newest.saturating_sub(from));
    Duration::from_micros(since).saturating_add(Duration::from_millis(for_ms))
}

/// Nodes that take streams from one edge: beyond this it is time for another layer.
const MAX_NODES: usize = 256;

/// Bytes sent go into the sample that leaves each second.
const COUNT_INTERVAL: Duration = Duration::from_secs(1);
