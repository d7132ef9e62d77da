//! Ways between nodes that are worse than loopback, made by threads that carry bytes: no privileges needed.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use socket2::{Domain, Socket, Type};

/// Carries no more once dropped; its threads end soon after.
pub struct Detour {
    /// Where it is entered.
    pub port: u16,
    over: Arc<AtomicBool>,
}

impl Drop for Detour {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// A TCP way on which each connection brings back so many bytes a second and no more, and keeps little on the way.
pub fn slow(to: &str, bytes_per_s: usize) -> Detour {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (to, over): (SocketAddr, _) = (to.parse().unwrap(), Arc::new(AtomicBool::new(false)));
    let ends = over.clone();
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            if ends.load(Ordering::Relaxed) {
                return;
            }
            let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
            socket.set_recv_buffer_size(KEPT).unwrap();
            if socket.connect(&to.into()).is_err() {
                continue;
            }
            let server = TcpStream::from(socket);
            let (mut up, mut asks) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            thread::spawn(move || std::io::copy(&mut asks, &mut up));
            let ends = ends.clone();
            thread::spawn(move || trickle(server, client, bytes_per_s, &ends));
        }
    });
    Detour { port, over }
}

fn trickle(mut from: TcpStream, mut to: TcpStream, bytes_per_s: usize, over: &AtomicBool) {
    let mut piece = vec![0; bytes_per_s / TICKS_A_SECOND];
    while !over.load(Ordering::Relaxed) {
        let began = Instant::now();
        match from.read(&mut piece) {
            Ok(read @ 1..) if to.write_all(&piece[..read]).is_ok() => {}
            _ => return,
        }
        thread::sleep(
            (Duration::from_secs(1) / TICKS_A_SECOND as u32).saturating_sub(began.elapsed()),
        );
    }
}

/// A UDP way that takes so long in each direction.
pub fn long(to: &str, takes: Duration) -> Detour {
    let near = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = near.local_addr().unwrap().port();
    let (to, over): (SocketAddr, _) = (to.parse().unwrap(), Arc::new(AtomicBool::new(false)));
    let ends = over.clone();
    thread::spawn(move || {
        let mut ways: Vec<(SocketAddr, Late)> = Vec::new();
        let mut packet = [0; PACKET];
        near.set_read_timeout(Some(PAUSE)).unwrap();
        while !ends.load(Ordering::Relaxed) {
            let Ok((length, client)) = near.recv_from(&mut packet) else {
                continue;
            };
            let known = ways.iter().position(|(of, _)| *of == client);
            let at = known.unwrap_or_else(|| {
                let far = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
                let back = Late::new(near.try_clone().unwrap(), client, takes);
                carry_back(far.try_clone().unwrap(), back, ends.clone());
                ways.push((client, Late::new(far, to, takes)));
                ways.len() - 1
            });
            ways[at].1.send(&packet[..length]);
        }
    });
    Detour { port, over }
}

fn carry_back(from: UdpSocket, back: Late, over: Arc<AtomicBool>) {
    from.set_read_timeout(Some(PAUSE)).unwrap();
    thread::spawn(move || {
        let mut packet = [0; PACKET];
        while !over.load(Ordering::Relaxed) {
            if let Ok((length, _)) = from.recv_from(&mut packet) {
                back.send(&packet[..length]);
            }
        }
    });
}

/// Sends packets some time after they were given.
struct Late {
    queue: mpsc::Sender<(Instant, Vec<u8>)>,
    takes: Duration,
}

impl Late {
    fn new(from: UdpSocket, to: SocketAddr, takes: Duration) -> Self {
        let (queue, due) = mpsc::channel::<(Instant, Vec<u8>)>();
        thread::spawn(move || {
            for (at, packet) in due {
                thread::sleep(at.saturating_duration_since(Instant::now()));
                // A peer that died is noticed by those who wait for it.
                let _ = from.send_to(&packet, to);
            }
        });
        Self { queue, takes }
    }

    fn send(&self, packet: &[u8]) {
        let _ = self
            .queue
            .send((Instant::now() + self.takes, packet.to_vec()));
    }
}

/// What a slow way holds for a connection.
const KEPT: usize = 64 << 10;
const TICKS_A_SECOND: usize = 20;
/// The largest datagram.
const PACKET: usize = 65_536;
/// How soon the end is noticed.
const PAUSE: Duration = Duration::from_millis(200);
