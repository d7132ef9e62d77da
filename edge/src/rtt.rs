//! How long the way to running viewers is and what it loses, as the kernel measures it on their connections anyway.
//!
//! All connections of the public port are asked for at once, seldom, and on a thread that may wait. Where the kernel
//! does not tell, ways are reckoned from distances, as they are of viewers on this machine, whose region is made up.

mod diag;

use std::io::{self, Read};
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use crate::viewer::Viewers;
use diag::{Connection, Family};

/// What the kernel knows of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    /// The other end.
    pub(crate) peer: SocketAddr,
    /// Its smoothed round-trip time.
    pub(crate) rtt_us: u32,
    /// What was sent on it so far.
    pub(crate) sent: Segments,
}

/// Segments of a connection, counted up from its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Segments {
    /// All with data.
    pub(crate) all: u32,
    /// Those that were sent again.
    pub(crate) resent: u32,
}

impl Segments {
    /// The share that was sent again since then, in millionths, when enough was sent to say.
    pub(crate) fn lost_ppm(&self, before: &Self) -> Option<u32> {
        let all = self.all.wrapping_sub(before.all);
        let resent = self.resent.wrapping_sub(before.resent).min(all);
        let share = || u64::from(resent) * 1_000_000 / u64::from(all);
        (all >= LEAST_SEGMENTS).then(|| share() as u32)
    }
}

/// Measures again and again. Ends where the kernel does not tell.
pub(crate) async fn follow(viewers: Viewers, port: u16) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        let viewers = viewers.clone();
        let measured = tokio::task::spawn_blocking(move || measure(&viewers, port)).await;
        if let Ok(Err(error)) = measured {
            return tracing::info!(%error, "round-trip times are not measured");
        }
    }
}

fn measure(viewers: &Viewers, port: u16) -> io::Result<()> {
    let mut measured = Vec::new();
    for family in [Family::V4, Family::V6] {
        dump(family, port, |it| {
            if it.rtt_us > 0 && !it.peer.ip().is_loopback() {
                let (all, resent) = (it.segments, it.resent);
                measured.push(Measured {
                    peer: it.peer,
                    rtt_us: it.rtt_us,
                    sent: Segments { all, resent },
                });
            }
        })?;
    }
    viewers.measured(&measured);
    Ok(())
}

fn dump(family: Family, port: u16, mut each: impl FnMut(Connection)) -> io::Result<()> {
    let mut socket = Socket::new(
        Domain::from(NETLINK),
        Type::from(RAW),
        Some(Protocol::from(SOCK_DIAG)),
    )?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send(&diag::question(family, port))?;
    let mut buffer = vec![0; DATAGRAM];
    for _ in 0..MAX_DATAGRAMS {
        let length = socket.read(&mut buffer)?;
        if diag::answer(&buffer[..length], &mut each).map_err(io::Error::other)? {
            break;
        }
    }
    Ok(())
}

/// The peer as the kernel's dumps name it.
pub(crate) fn named(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}

/// A way changes within minutes, and a dump of 15,000 connections takes a core some milliseconds.
const INTERVAL: Duration = Duration::from_secs(10);

/// Of fewer a single one that was sent again would look like a per cent.
const LEAST_SEGMENTS: u32 = 200;

/// The kernel answers at once or not at all.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the kernel puts into one datagram is at most 32 KiB.
const DATAGRAM: usize = 64 << 10;

/// A million connections, 80 to a datagram.
const MAX_DATAGRAMS: usize = 1 << 14;

/// `AF_NETLINK`, `SOCK_RAW` and `NETLINK_SOCK_DIAG` (linux/netlink.h).
const NETLINK: i32 = 16;
const RAW: i32 = 3;
const SOCK_DIAG: i32 = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn the_kernel_tells_of_the_connections_to_a_port() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut client = TcpStream::connect(address).unwrap();
        let (mut server, peer) = listener.accept().unwrap();
        client.write_all(b"x").unwrap();
        server.read_exact(&mut [0]).unwrap();
        let mut told = Vec::new();
        dump(Family::V4, address.port(), |it| told.push(it)).unwrap();
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0].peer, peer);
        assert!((1..1_000_000).contains(&told[0].rtt_us), "{told:?}");
    }
}
