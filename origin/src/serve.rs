//! Serving edges: the origin's tracks over the relay protocol.
//!
//! Who connects has shown a certificate of the cluster. What is sent, and in which order, is
//! `relay`'s; this only says which streams there are, and counts.

use std::sync::Arc;
use std::time::Duration;

use cluster::node::NodeId;
use cluster::stream::StreamKey;
use relay::driver::{self, Announced, Boxed, Served, Source};
use relay::wire::{Refusal, Start};
use tokio::sync::watch;
use transport::drain::Drain;
use transport::limit::Connections;
use transport::quic::{self, Connection, Endpoint, Incoming};

use crate::live::Registry;
use crate::meter::{Held, Meter};

/// The node's relay listener.
#[derive(Debug)]
pub struct Server {
    endpoint: Endpoint,
    peers: Connections,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    node: NodeId,
    source: Arc<Streams>,
    meter: Arc<Meter>,
    drain: Drain,
}

/// The streams on air, as `relay` asks for them.
#[derive(Debug)]
struct Streams(Arc<Registry>);

impl Server {
    /// A server of the registry's streams, as the node of this name.
    pub fn new(
        endpoint: Endpoint,
        node: NodeId,
        registry: Arc<Registry>,
        meter: Arc<Meter>,
        drain: Drain,
    ) -> Self {
        let source = Arc::new(Streams(registry));
        let shared = Arc::new(Shared {
            node,
            source,
            meter,
            drain,
        });
        Self {
            endpoint,
            peers: Connections::new(MAX_PEERS, MAX_PEERS),
            shared,
        }
    }

    /// Accepts until dropped; the node's drain waits for the connections.
    pub async fn run(self) {
        while let Some(incoming) = self.endpoint.accept().await {
            let Ok(place) = self.peers.try_acquire(incoming.remote_address().ip()) else {
                self.shared.meter.refused("edges_full");
                incoming.refuse();
                continue;
            };
            let shared = self.shared.clone();
            self.shared.drain.spawn(async move {
                shared.serve(incoming).await;
                drop(place);
            });
        }
    }
}

impl Shared {
    async fn serve(&self, incoming: Incoming) {
        let address = incoming.remote_address();
        let connection = match incoming.await {
            Ok(connection) => connection,
            Err(error) => {
                self.meter.refused("edge_handshake");
                return tracing::debug!(%address, %error, "no relay connection");
            }
        };
        let edge = quic::peer_name(&connection).unwrap_or_default();
        tracing::info!(edge, %address, "edge connected");
        let _counted = Held::new(&self.meter.edges);
        let shutdown = self.drain.start_token();
        let source = self.source.clone();
        let served = driver::serve(connection.clone(), self.node.as_str(), source, shutdown);
        tokio::select! {
            served = served => match served {
                Ok(()) => tracing::info!(edge, "edge left"),
                Err(error) => tracing::info!(edge, %error, "edge lost"),
            },
            () = self.count(&connection) => {}
        }
    }

    /// Counts what is sent, each second. Never ends.
    async fn count(&self, connection: &Connection) {
        let mut counted = 0;
        let mut beat = tokio::time::interval(COUNT_INTERVAL);
        loop {
            beat.tick().await;
            let sent = connection.stats().udp_tx.bytes;
            self.meter.relayed.inc_by(sent - counted);
            counted = sent;
        }
    }
}

impl Source for Streams {
    fn subscribe<'a>(
        &'a self,
        stream: &'a str,
        _hops: &'a [String],
        _start: Start,
    ) -> Boxed<'a, Result<Served, Refusal>> {
        let track = StreamKey::parse(stream)
            .ok()
            .and_then(|key| self.0.track(&key));
        let served = track.map(|track| Served {
            track,
            hops: Vec::new(),
            lease: None,
        });
        Box::pin(std::future::ready(served.ok_or(Refusal::NotFound)))
    }

    fn announced(&self) -> watch::Receiver<Arc<Vec<Announced>>> {
        self.0.announced()
    }
}

/// Edges connected to one origin: beyond this it is time for a layer of edges between.
const MAX_PEERS: usize = 512;

/// Bytes sent go into the sample that leaves each second.
const COUNT_INTERVAL: Duration = Duration::from_secs(1);
