//! TCP listeners: dual-stack, and never ending for want of file descriptors.
//!
//! `[::]` takes IPv4 too, and peers' addresses come out as plain IPv4. A failing `accept` is
//! counted and tried again after a pause. Accepted sockets take over what is set on the listener:
//! Nagle's algorithm is off, little waits unsent in the kernel, and a peer that vanished without
//! a word is noticed. Leaves out limits: see `limit`.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};

/// A listening TCP socket.
#[derive(Debug)]
pub struct Listener {
    inner: TcpListener,
    failures: Counter,
}

impl Listener {
    /// Listens on the address; `[::]` means every address of both families.
    pub fn bind(addr: SocketAddr) -> io::Result<Self> {
        let socket = bind_dual_stack(addr, Type::STREAM, Protocol::TCP)?;
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_notsent_lowat(MAX_UNSENT)?;
        let probes = TcpKeepalive::new()
            .with_time(KEEPALIVE_AFTER)
            .with_interval(KEEPALIVE_INTERVAL)
            .with_retries(KEEPALIVE_PROBES);
        socket.set_tcp_keepalive(&probes)?;
        socket.listen(BACKLOG)?;
        let inner = TcpListener::from_std(socket.into())?;
        Ok(Self {
            inner,
            failures: Counter::default(),
        })
    }

    /// The bound address, with the port that the system chose when 0 was asked.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    /// The next connection and who made it. Cancel-safe.
    pub async fn accept(&self) -> (TcpStream, SocketAddr) {
        loop {
            match self.inner.accept().await {
                Ok((stream, peer)) => return (stream, unmap(peer)),
                Err(error) => self.pause(&error).await,
            }
        }
    }

    /// How often accepting failed.
    pub fn failures(&self) -> u64 {
        self.failures.get()
    }

    /// Counts failures into a registered counter.
    pub(crate) fn count_failures(&mut self, counter: Counter) {
        self.failures = counter;
    }

    async fn pause(&self, error: &io::Error) {
        let before = self.failures.inc();
        if is_about_one_connection(error) {
            tracing::debug!(%error, "connection gone before it was accepted");
            return;
        }
        // Ten a second would bury the log of a node that is in trouble already.
        if (before + 1).is_power_of_two() {
            tracing::warn!(%error, failures = before + 1, "cannot accept connections, pausing");
        }
        tokio::time::sleep(BACK_OFF).await;
    }
}

/// The plain IPv4 address of a v4-mapped one, as a dual-stack socket reports it.
pub fn unmap(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(unmap_ip(addr.ip()), addr.port())
}

/// The plain IPv4 address of a v4-mapped one.
pub fn unmap_ip(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

/// Binds a non-blocking socket; on a host without IPv6, `[::]` becomes `0.0.0.0`.
pub(crate) fn bind_dual_stack(addr: SocketAddr, kind: Type, proto: Protocol) -> io::Result<Socket> {
    match bind(addr, kind, proto) {
        Err(error) if addr.is_ipv6() && addr.ip().is_unspecified() && lacks_ipv6(&error) => {
            bind(SocketAddr::from(([0, 0, 0, 0], addr.port())), kind, proto)
        }
        bound => bound,
    }
}

fn bind(addr: SocketAddr, kind: Type, proto: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), kind, Some(proto))?;
    if addr.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    if kind == Type::STREAM {
        // A restarted node gets its port back at once, without waiting for TIME_WAIT.
        socket.set_reuse_address(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    Ok(socket)
}

fn lacks_ipv6(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.kind() == io::ErrorKind::Unsupported
        || error.raw_os_error() == Some(EAFNOSUPPORT)
}

/// Such errors tell of the connection at the head of the queue, not of this process.
fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// Linux's "address family not supported", which the standard library leaves uncategorised.
const EAFNOSUPPORT: i32 = 97;

/// Connections that the kernel holds for us: two seconds of a crowd arriving at 2,000 a second,
/// and as many as Linux allows unless told otherwise (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;

/// Bytes that the kernel takes before it sends them. Its own choice, up to 4 MiB, would hide half a
/// minute of a slow viewer's lag from the rule that skips it to a newer key frame; a viewer that
/// keeps up has nothing unsent, and what is under way to it is not bounded by this.
const MAX_UNSENT: u32 = 128 << 10;

/// A peer to which nothing is sent (a paused player) is asked for a sign of life after this time,
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
/// then this often,
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// and given up after so many questions: two minutes in all.
const KEEPALIVE_PROBES: u32 = 4;

/// Out of descriptors or memory, trying at once would spin; a tenth of a second lets some close.
const BACK_OFF: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn one_listener_takes_both_families_and_names_ipv4_peers_plainly() {
        let listener = Listener::bind("[::]:0".parse().unwrap()).unwrap();
        let port = listener.local_addr().unwrap().port();
        for host in ["127.0.0.1", "::1"] {
            let host: IpAddr = host.parse().unwrap();
            let Ok(mut dialled) = TcpStream::connect((host, port)).await else {
                assert!(host.is_ipv6(), "only IPv6 may be missing on this machine");
                continue;
            };
            let (_accepted, peer) = listener.accept().await;
            assert_eq!(peer, dialled.local_addr().unwrap());
            dialled.shutdown().await.unwrap();
        }
    }

    #[tokio::test]
    async fn accepted_sockets_hold_little_and_notice_a_vanished_peer() {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let _dialled = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (accepted, _) = listener.accept().await;
        let socket = socket2::SockRef::from(&accepted);
        assert_eq!(socket.tcp_notsent_lowat().unwrap(), MAX_UNSENT);
        assert!(socket.tcp_nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE_AFTER);
    }

    #[tokio::test(start_paused = true)]
    async fn running_out_of_descriptors_is_counted_and_waited_out() {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let before = tokio::time::Instant::now();
        listener.pause(&io::Error::from_raw_os_error(24)).await;
        assert_eq!(before.elapsed(), BACK_OFF);
        listener
            .pause(&io::Error::from(io::ErrorKind::ConnectionAborted))
            .await;
        assert_eq!(before.elapsed(), BACK_OFF);
        assert_eq!(listener.failures(), 2);
    }

    #[test]
    fn only_mapped_addresses_change() {
        let check = |addr: &str, expect: &str| {
            assert_eq!(unmap(addr.parse().unwrap()), expect.parse().unwrap());
        };
        check("[::ffff:192.0.2.1]:80", "192.0.2.1:80");
        check("[2001:db8::1]:80", "[2001:db8::1]:80");
        check("192.0.2.1:80", "192.0.2.1:80");
    }
}
