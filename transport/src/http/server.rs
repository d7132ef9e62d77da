//! The HTTP server: accepts, refuses above the limits, gives each connection a task.
//!
//! Ends when the drain starts: connections then finish their responses, and the drain's stop
//! ends those that do not. One connection's fault, a panic included, ends that connection.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ::http::{Request, Response};
use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::connection::{self, Connection};
use super::take::{self, Place, Taker};
use super::{Body, Incoming, Metrics, Stats, reply};
use crate::accept::Listener;
use crate::drain::Drain;
use crate::limit::{self, Refused};
use crate::tls::ServerConfig;

/// What one listener allows.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections open at once.
    pub connections: usize,
    /// Of these, from one address.
    pub per_address: usize,
    /// Time for a request's header to come, the wait between two HTTP/1.1 requests included.
    pub header_timeout: Duration,
    /// Time without any request under way, after which a connection is closed.
    pub idle_timeout: Duration,
    /// Time without the peer taking a byte that is ready for it, after which it is given up.
    pub write_stall: Duration,
    /// Size of a request's header, and of the write buffer; at least 8 KiB.
    pub header_bytes: usize,
    /// Fields in a request's header.
    pub header_count: usize,
    /// Requests under way at once on one HTTP/2 connection.
    pub h2_streams: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            // One address may be a carrier's NAT with many viewers behind it; still it takes two
            // to fill a listener.
            per_address: 8_192,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            write_stall: Duration::from_secs(15),
            header_bytes: 32 << 10,
            header_count: 100,
            h2_streams: 128,
        }
    }
}

/// A listener that serves HTTP/1.1 with upgrades and HTTP/2, plain or over TLS.
pub struct Server {
    listener: Listener,
    shared: Shared,
    connections: limit::Connections,
}

/// What every connection of a listener needs.
pub(super) struct Shared {
    pub(super) limits: Limits,
    pub(super) drain: Drain,
    pub(super) stats: Stats,
    pub(super) tls: Option<Arc<ServerConfig>>,
}

impl Server {
    /// A server on a bound listener, without TLS and with counters of its own.
    pub fn new(listener: Listener, limits: Limits, drain: Drain) -> Self {
        let connections = limit::Connections::new(limits.connections, limits.per_address);
        let stats = Metrics::default().listener("http");
        let shared = Shared {
            limits,
            drain,
            stats,
            tls: None,
        };
        Self {
            listener,
            shared,
            connections,
        }
    }

    /// Serves over TLS only.
    pub fn tls(mut self, config: impl Into<Arc<ServerConfig>>) -> Self {
        self.shared.tls = Some(config.into());
        self
    }

    /// Counts into registered counters.
    pub fn stats(mut self, stats: Stats) -> Self {
        self.listener.count_failures(stats.accept_failures());
        self.shared.stats = stats;
        self
    }

    /// The bound address.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until the drain starts. The service finds the peer's address in the request's
    /// extensions as [`super::Peer`], and over mutual TLS its node as [`super::PeerIdentity`].
    /// What it spawns for an upgraded connection belongs on the drain.
    pub async fn run<S, F>(self, service: S)
    where
        S: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        self.accept(service, None::<Arc<Infallible>>).await;
    }

    /// The same, where the taker takes over what connections it wants, unless they are over TLS.
    pub async fn run_with<S, F, K>(self, service: S, taker: Arc<K>)
    where
        S: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
        K: Taker,
    {
        let taker = Some(taker).filter(|_| self.shared.tls.is_none());
        self.accept(service, taker).await;
    }

    async fn accept<S, F, K>(self, service: S, taker: Option<Arc<K>>)
    where
        S: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
        K: Taker,
    {
        let Self {
            listener,
            shared,
            connections,
        } = self;
        let shared = Arc::new(shared);
        let refusing = Arc::new(Semaphore::new(MAX_REFUSING));
        let mut started = std::pin::pin!(shared.drain.started());
        loop {
            let (stream, peer) = tokio::select! {
                biased;
                () = started.as_mut() => return,
                accepted = listener.accept() => accepted,
            };
            match connections.try_acquire(peer.ip()) {
                Err(refused) => shared.refuse(stream, refused, &refusing),
                Ok(permit) => {
                    let place = Place::new(permit, shared.stats.opened());
                    let connection = Connection {
                        peer,
                        shared: Arc::clone(&shared),
                        since: Instant::now(),
                        ahead: Bytes::new(),
                    };
                    let service = service.clone();
                    let drain = &shared.drain;
                    match taker.clone() {
                        None => drain.spawn(connection::serve(connection, stream, place, service)),
                        Some(taker) => {
                            drain.spawn(take::offer(connection, stream, place, service, taker));
                        }
                    }
                }
            }
        }
    }
}

impl Shared {
    /// Answers 503 to plain connections; to a TLS one the handshake alone would cost what the
    /// limit protects, so it is closed, as are those beyond [`MAX_REFUSING`].
    fn refuse(&self, stream: TcpStream, refused: Refused, refusing: &Arc<Semaphore>) {
        self.stats.refuse(refused.as_str());
        if self.tls.is_some() {
            return;
        }
        if let Ok(slot) = Arc::clone(refusing).try_acquire_owned() {
            self.drain.spawn(async move {
                let _slot = slot;
                reply::part(stream, UNAVAILABLE).await;
            });
        }
    }
}

const UNAVAILABLE: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    Retry-After: 5\r\n\
    Access-Control-Allow-Origin: *\r\n\
    Content-Length: 0\r\n\
    Connection: close\r\n\r\n";

/// Refusals being said at once: at a second each, 64 a second get the polite answer.
const MAX_REFUSING: usize = 64;
