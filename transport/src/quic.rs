//! QUIC endpoints between nodes: one socket that dials and accepts, with bounded windows.
//!
//! Both sides show the cluster's certificates. What flows on the streams is `relay`'s business,
//! as is congestion control: it may take [`transport`], change it and call [`endpoint_with`].

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{AckFrequencyConfig, ClientConfig, EndpointConfig, ServerConfig, TransportConfig};
use quinn::{IdleTimeout, VarInt};
use rustls::pki_types::CertificateDer;
use socket2::{Protocol, Socket, Type};

/// What [`endpoint`] opens and what it accepts, for who holds them without knowing quinn.
pub use quinn::{Connection, Endpoint, Incoming};

use crate::tls::{self, Identity};

/// The relay protocol's name in the handshake.
pub const ALPN: &[u8] = b"weir/1";

/// Opens the socket; `[::]` takes IPv4 too. Must be called within a tokio runtime.
pub fn endpoint(addr: SocketAddr, identity: &Identity) -> Result<Endpoint, Error> {
    endpoint_with(addr, identity, transport())
}

/// Like [`endpoint`], with the caller's transport settings.
pub fn endpoint_with(
    addr: SocketAddr,
    identity: &Identity,
    transport: TransportConfig,
) -> Result<Endpoint, Error> {
    let (server, client) = configs(identity, transport)?;
    let socket = crate::accept::bind_dual_stack(addr, Type::DGRAM, Protocol::UDP)
        .map_err(|source| Error::Bind { addr, source })?;
    enlarge_buffers(&socket);
    let runtime = Arc::new(quinn::TokioRuntime);
    let mut endpoint = Endpoint::new(
        EndpointConfig::default(),
        Some(server),
        socket.into(),
        runtime,
    )
    .map_err(|source| Error::Bind { addr, source })?;
    endpoint.set_default_client_config(client);
    Ok(endpoint)
}

/// The two configurations of an endpoint, for endpoints over other sockets than UDP.
pub fn configs(
    identity: &Identity,
    transport: TransportConfig,
) -> Result<(ServerConfig, ClientConfig), Error> {
    let transport = Arc::new(transport);
    let crypto = QuicServerConfig::try_from(identity.server_config(&[ALPN])?)
        .expect("TLS 1.3 with aws-lc-rs has the suite for initial packets");
    let mut server = ServerConfig::with_crypto(Arc::new(crypto));
    server
        .transport_config(Arc::clone(&transport))
        .max_incoming(MAX_INCOMING)
        .incoming_buffer_size(INCOMING_BUFFER)
        .incoming_buffer_size_total(INCOMING_BUFFER * MAX_INCOMING as u64);
    let crypto = QuicClientConfig::try_from(identity.client_config(&[ALPN])?)
        .expect("TLS 1.3 with aws-lc-rs has the suite for initial packets");
    let mut client = ClientConfig::new(Arc::new(crypto));
    client.transport_config(transport);
    Ok((server, client))
}

/// The settings between nodes, but for congestion control, which stays quinn's: set the relay's.
pub fn transport() -> TransportConfig {
    let mut acks = AckFrequencyConfig::default();
    acks.max_ack_delay(Some(MAX_ACK_DELAY));
    let mut config = TransportConfig::default();
    config
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
        .send_window(CONNECTION_WINDOW.into())
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .max_concurrent_uni_streams(VarInt::from_u32(MAX_STREAMS))
        .max_concurrent_bidi_streams(VarInt::from_u32(MAX_STREAMS))
        .datagram_receive_buffer_size(Some(DATAGRAM_BUFFER))
        .datagram_send_buffer_size(DATAGRAM_BUFFER)
        .ack_frequency_config(Some(acks))
        .initial_rtt(INITIAL_RTT)
        .packet_threshold(PACKET_THRESHOLD)
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_TIMEOUT_MS))));
    config
}

/// The node id in the peer's verified certificate.
pub fn peer_name(connection: &Connection) -> Option<String> {
    let chain = connection
        .peer_identity()?
        .downcast::<Vec<CertificateDer<'static>>>()
        .ok()?;
    tls::peer_name(&chain)
}

/// Why an endpoint cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket cannot be bound.
    #[error("cannot listen on UDP {addr}: {source}")]
    Bind {
        /// The address asked for.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The identity makes no TLS configuration.
    #[error(transparent)]
    Tls(#[from] tls::Error),
}

/// The kernel cuts the wish down to its own maximum, which is a slower node but a working one.
fn enlarge_buffers(socket: &Socket) {
    let granted = socket
        .set_recv_buffer_size(SOCKET_BUFFER)
        .and_then(|()| socket.set_send_buffer_size(SOCKET_BUFFER))
        .and_then(|()| socket.recv_buffer_size());
    tracing::debug!(?granted, wanted = SOCKET_BUFFER, "udp socket buffers");
}

/// What may be under way on one connection: rate times round trip. 16 MiB at 200 ms is
/// 670 Mbit/s, room for many streams of one parent; it is also what a peer can make us hold.
const CONNECTION_WINDOW: u32 = 16 << 20;

/// What may be under way on one stream, which is one group: 4 MiB at 200 ms is 168 Mbit/s.
const STREAM_WINDOW: u32 = 4 << 20;

/// Streams that a peer may have open: a few groups under way for each of some hundred tracks.
const MAX_STREAMS: u32 = 1024;

/// Datagrams that wait to be sent or read, the oldest give way: a tenth of 100 Mbit/s, sent beside
/// the streams, for 200 ms.
const DATAGRAM_BUFFER: usize = 256 << 10;

/// How long a node keeps an acknowledgement back (RFC 9000: 25 ms). The last packets of a frame
/// have no others behind them that would show their loss: the probe that finds it waits for a
/// round trip and this.
const MAX_ACK_DELAY: Duration = Duration::from_millis(5);

/// Until it is measured. A lost first packet is repeated after three times this, where RFC 9002
/// section 6.2.2 waits a second; nodes half a world apart repeat one in vain.
const INITIAL_RTT: Duration = Duration::from_millis(100);

/// A packet is lost when so many later ones are there, or an eighth of a round trip after one of
/// them. RFC 9002 section 6.1.1 has 3, which takes a millisecond of disorder at 100 Mbit/s for
/// loss; this takes two, and a lost packet of a live stream is noticed as soon: its frame is short.
const PACKET_THRESHOLD: u32 = 16;

/// An idle connection is given up when four of these in a row are lost.
const KEEP_ALIVE: Duration = Duration::from_millis(500);

/// A dead peer must be noticed within 3 s. The time runs from the first packet sent after the
/// last one received (RFC 9000 section 10.1), on an idle connection a keep-alive: 2.5 s at worst,
/// and half a second to spare for a busy machine.
const IDLE_TIMEOUT_MS: u32 = 2_000;

/// Handshakes that wait to be accepted: all nodes of a large cluster coming back at once.
const MAX_INCOMING: usize = 256;

/// First packets kept for each of them; a first flight with certificates is about 4 KiB.
const INCOMING_BUFFER: u64 = 16 << 10;

/// Holds 40 ms of 800 Mbit/s while the endpoint's task waits for its core.
const SOCKET_BUFFER: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "a secret of the cluster under test";

    fn open(secret: &str, node: &str, addr: &str) -> Endpoint {
        let identity = Identity::from_secret(secret, node).unwrap();
        endpoint(addr.parse().unwrap(), &identity).unwrap()
    }

    async fn dial(from: &Endpoint, to: &Endpoint) -> Result<Connection, quinn::ConnectionError> {
        let port = to.local_addr().unwrap().port();
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        from.connect(addr, tls::NODE_NAME).unwrap().await
    }

    #[tokio::test]
    async fn two_endpoints_dial_each_other_and_know_whom_they_reached() {
        let one = open(SECRET, "fra-1", "[::]:0");
        let two = open(SECRET, "sha-1", "127.0.0.1:0");
        for (from, to, from_name, to_name) in [
            (&one, &two, "fra-1", "sha-1"),
            (&two, &one, "sha-1", "fra-1"),
        ] {
            let (dialled, accepted) = tokio::join!(dial(from, to), async {
                to.accept().await.unwrap().await.unwrap()
            });
            assert_eq!(peer_name(&dialled.unwrap()).as_deref(), Some(to_name));
            assert_eq!(peer_name(&accepted).as_deref(), Some(from_name));
        }
    }

    #[tokio::test]
    async fn a_node_with_another_secret_is_refused_by_both_sides() {
        let ours = open(SECRET, "fra-1", "127.0.0.1:0");
        let stranger = open("another secret, just as long", "fra-2", "127.0.0.1:0");
        for (from, to) in [(&stranger, &ours), (&ours, &stranger)] {
            let (dialled, accepted) =
                tokio::join!(dial(from, to), async { to.accept().await.unwrap().await });
            assert!(dialled.is_err() && accepted.is_err());
        }
    }

    #[test]
    fn a_peer_that_falls_silent_is_noticed_within_three_seconds() {
        let runtime = || {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap()
        };
        let (here, there) = (runtime(), runtime());
        let (ours, theirs) = (
            here.block_on(async { open(SECRET, "fra-1", "127.0.0.1:0") }),
            there.block_on(async { open(SECRET, "sha-1", "127.0.0.1:0") }),
        );
        let addr = theirs.local_addr().unwrap();
        let accept = std::thread::spawn(move || {
            let accepted = there.block_on(async { theirs.accept().await.unwrap().await.unwrap() });
            // Their runtime ends without a word to the peer, as a killed process does.
            drop(there);
            (theirs, accepted)
        });
        here.block_on(async {
            let dialled = ours.connect(addr, tls::NODE_NAME).unwrap().await.unwrap();
            let noticed = tokio::time::timeout(Duration::from_secs(3), dialled.closed()).await;
            assert_eq!(
                noticed.expect("within 3 s"),
                quinn::ConnectionError::TimedOut
            );
        });
        accept.join().unwrap();
    }
}
