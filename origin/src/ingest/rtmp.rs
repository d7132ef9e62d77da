//! Hot: RTMP over TCP and TLS: the listener, and a task per connection.
//!
//! Read downwards: a `connection` moves bytes between the socket and its `session`, whose `link`
//! shakes hands, reads and writes `chunk`s and makes `message`s of them; a publisher's messages go
//! to `live`, a `player` makes messages of a track. `client` is the other end, for pushing.

pub mod chunk;
pub mod client;
pub mod command;
mod connection;
pub mod handshake;
pub mod link;
pub mod message;
mod player;
pub mod session;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use transport::accept::Listener;
use transport::limit::{Connections, Permit};
use transport::tls::{self, ServerConfig};

use crate::admit::Admission;
use crate::meter::Held;
use connection::{Connection, Shared};

/// Everybody who speaks RTMP to this node.
#[derive(Debug)]
pub struct Server {
    listener: Listener,
    tls: Option<Arc<ServerConfig>>,
    connections: Connections,
    shared: Arc<Shared>,
}

/// How many connections there may be, and how long they may be silent.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Of all kinds.
    pub connections: usize,
    /// From one address.
    pub per_address: usize,
    /// A publisher silent for this long is closed.
    pub idle: Duration,
}

impl Server {
    /// A server that accepts from `listener`, TLS too if it is configured.
    pub fn new(
        listener: Listener,
        tls: Option<Arc<ServerConfig>>,
        limits: Limits,
        admission: Admission,
    ) -> Self {
        let Limits {
            connections,
            per_address,
            idle,
        } = limits;
        let players = connections / 4 * 3;
        let session = session::Config {
            idle_timeout: idle,
            ..session::Config::default()
        };
        let players = Connections::new(players, players);
        Self {
            listener,
            tls,
            connections: Connections::new(connections, per_address),
            shared: Arc::new(Shared {
                admission,
                session,
                players,
            }),
        }
    }

    /// Accepts until dropped; the node's drain waits for the connections.
    pub async fn run(self) {
        let admission = &self.shared.admission;
        loop {
            let (socket, peer) = self.listener.accept().await;
            match self.connections.try_acquire(peer.ip()) {
                Ok(place) => {
                    let (shared, tls) = (self.shared.clone(), self.tls.clone());
                    admission
                        .drain
                        .spawn(serve(shared, tls, socket, peer, place));
                }
                Err(refused) => admission.meter.refused(refused.as_str()),
            }
        }
    }
}

async fn serve(
    shared: Arc<Shared>,
    tls: Option<Arc<ServerConfig>>,
    socket: TcpStream,
    peer: SocketAddr,
    _place: Permit,
) {
    let _counted = Held::new(&shared.admission.meter.connections);
    let connection = Connection::new(shared.clone(), peer);
    let served = match tls::sniff(socket, tls).await {
        Ok(stream) => connection.run(stream).await,
        Err(error) => Err(error.into()),
    };
    if let Err(error) = served {
        shared.admission.meter.broken(error.reason());
        tracing::debug!(%peer, %error, "rtmp connection broke");
    }
}
