//! The relay protocol over quinn: a thin shell around the session.
//!
//! The dialler subscribes, the acceptor serves; a node that does both does it on two connections.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::track;
use crate::wire::{self, Refusal, Start};

/// The name in every node's certificate, asked for when dialling.
pub const SERVER_NAME: &str = "node.weir";

/// A stream that a node has, as its peers are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// The stream's name.
    pub stream: String,
    /// Its life.
    pub epoch: u64,
    /// The nodes it came through, the origin first, this node not among them.
    pub hops: Vec<String>,
}

/// A stream as it is served to a peer.
#[derive(Clone, Debug)]
pub struct Served {
    /// Its groups.
    pub track: track::Consumer,
    /// The nodes it came through, the origin first, this node not among them; empty at the origin.
    pub hops: Vec<String>,
}

/// A future in a box, as trait objects need it.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Who has streams to serve.
pub trait Source: Send + Sync + 'static {
    /// The stream's groups, for the nodes in `hops` (this node's subscriber last, itself not among them).
    fn subscribe<'a>(
        &'a self,
        stream: &'a str,
        hops: &'a [String],
    ) -> Boxed<'a, Result<Served, Refusal>>;

    /// The streams that peers are told of.
    fn announced(&self) -> watch::Receiver<Arc<Vec<Announced>>>;
}

/// Why a connection ended or never came to be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The endpoint cannot dial.
    #[error("cannot dial")]
    Connect(#[from] quinn::ConnectError),
    /// The connection was lost, or closed by the peer.
    #[error("connection lost")]
    Lost(#[from] quinn::ConnectionError),
    /// The peer broke the protocol.
    #[error("protocol: {0}")]
    Protocol(#[from] wire::Error),
    /// The peer speaks no version of ours.
    #[error("no version in common")]
    Version,
    /// The peer did not answer in time.
    #[error("no answer in time")]
    Timeout,
}

/// Serves one accepted connection until the peer leaves; once `shutdown` is cancelled new subscriptions are refused,
/// and it returns when the last one is gone.
pub async fn serve(
    connection: quinn::Connection,
    node: &str,
    source: Arc<dyn Source>,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let _ = (connection, node, source, shutdown);
    unimplemented!()
}

/// A node we dialled, to subscribe at; a clone is the same connection, which closes with the last.
#[derive(Clone, Debug)]
pub struct Peer {}

impl Peer {
    /// Dials `addr` and says hello as `node`.
    pub async fn connect(
        endpoint: &quinn::Endpoint,
        addr: SocketAddr,
        node: &str,
    ) -> Result<Self, Error> {
        let _ = (endpoint, addr, node);
        unimplemented!()
    }

    /// The peer's name.
    pub fn remote_node(&self) -> &str {
        unimplemented!()
    }

    /// Asks for a stream, whose groups go `into` a track; `hops` are the nodes that will get it from this one.
    ///
    /// The track ends only when the peer says that the stream ended: after a loss the caller subscribes elsewhere into
    /// the same track.
    pub async fn subscribe(
        &self,
        stream: &str,
        hops: &[String],
        start: Start,
        into: track::Producer,
    ) -> Result<Subscription, SubscribeError> {
        let _ = (stream, hops, start, into);
        unimplemented!()
    }

    /// The streams that the peer announced.
    pub fn announced(&self) -> watch::Receiver<Arc<Vec<Announced>>> {
        unimplemented!()
    }

    /// What the path is like now.
    pub fn stats(&self) -> PathStats {
        unimplemented!()
    }

    /// Waits until the connection is gone.
    pub async fn closed(&self) -> Error {
        unimplemented!()
    }
}

/// Why there is no subscription.
#[derive(Debug, thiserror::Error)]
pub enum SubscribeError {
    /// The peer said no.
    #[error("refused: {0}")]
    Refused(#[from] Refusal),
    /// The connection is gone.
    #[error("connection lost")]
    Lost,
    /// The peer did not answer in time.
    #[error("no answer in time")]
    Timeout,
}

/// A stream that comes from a peer; dropped, it is unsubscribed.
#[derive(Debug)]
pub struct Subscription {}

impl Subscription {
    /// The nodes it comes through, the origin first, the peer last.
    pub fn hops(&self) -> &[String] {
        unimplemented!()
    }

    /// Waits until no more groups will come. Cancel-safe.
    pub async fn ended(&mut self) -> Why {
        unimplemented!()
    }
}

/// Why no more groups come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The stream ended, and its track with it.
    Ended,
    /// The connection is gone; the track goes on.
    Lost,
}

/// What a path is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathStats {
    /// Smoothed round-trip time.
    pub rtt: Duration,
    /// Packets sent.
    pub sent_packets: u64,
    /// Packets of ours that were lost.
    pub lost_packets: u64,
}
