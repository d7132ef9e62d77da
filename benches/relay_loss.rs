//! Relay under loss: how late each frame is, beside TCP with cubic and with bbr that carries the same frames.
//!
//! Two network namespaces, 50 ms there and back and 100 Mbit/s between them, emulated packet by packet
//! (`tests/harness/link.rs`), so the kernel's own TCP meets the loss; each relay has a link of its own with the same
//! seed. A frame is due at its place in the stream and late by what passes until it was read whole at the other end.
//! The TCP relay is one connection, a length before each frame, written at once (`TCP_NODELAY`), nothing batched.
//! Skipped, and said so, where links cannot be made. `WEIR_BENCH_QUICK=1` measures three cells.

use bytes::Bytes;
use media::{
    frame::{Frame, Kind, TrackId},
    timestamp::Timestamp,
};
use relay::{
    cache::Cache,
    congestion, driver, group,
    reader::{Item, Reader, Start},
    track, wire,
};
use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, OnceLock, mpsc},
    thread,
    time::{Duration, Instant},
};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use transport::{quic, tls::Identity};

/// The integration tests' emulator, of which this uses a part.
#[allow(dead_code, unreachable_pub, clippy::unwrap_used)]
#[path = "../tests/harness"]
mod harness {
    pub mod link;
}

#[allow(unreachable_pub)]
#[path = "rig/one.rs"]
mod one;

use harness::link::{
    End, Lane, Link, LinkSpec,
    pipe::{Loss, Rate, Spec},
};
use one::{One, header};

const ONE_WAY: Duration = Duration::from_millis(25);
const RATE_BPS: u64 = 100_000_000;
/// 4 Mbit/s: 25 pictures a second, a key frame of seven times the others every two seconds.
const EVERY: Duration = Duration::from_millis(40);
const PICTURES: usize = 50;
const KEY: usize = 122_500;
const OTHER: usize = 17_900;
const FRAMES: usize = 1500;
/// Frames that do not count: five seconds in which both learn what the path is like.
const WARM: usize = 125;
/// How long after the last frame was due the others may still come.
const GRACE: Duration = Duration::from_secs(3);
/// To connect, over any of these links.
const SOON: Duration = Duration::from_secs(20);
const PORT: u16 = 7000;

#[derive(Clone, Copy)]
enum Way {
    Weir,
    Tcp(&'static str),
}

/// How late each frame was, where it came; and the bytes of IP packets that were sent towards it.
struct Seen {
    late: Vec<Option<Duration>>,
    sent_bytes: u64,
    parity_bytes: u64,
}

fn main() {
    println!(
        "{:<16} {:<10} {:>8} {:>8} {:>8} {:>8} {:>9} {:>8}",
        "loss", "relay", "p50 ms", "p99 ms", "max ms", "missing", "on wire", "parity"
    );
    let bursts = |share| Loss::Bursts { share, length: 4.0 };
    let quick = std::env::var("WEIR_BENCH_QUICK").is_ok_and(|value| value == "1");
    let cells = [
        ("none", Loss::None),
        ("3 % random", Loss::Random(0.03)),
        ("3 % bursts of 4", bursts(0.03)),
        ("1 % random", Loss::Random(0.01)),
        ("5 % random", Loss::Random(0.05)),
        ("1 % bursts of 4", bursts(0.01)),
        ("5 % bursts of 4", bursts(0.05)),
    ];
    for (name, loss) in cells.into_iter().take(if quick { 3 } else { 7 }) {
        let ways = [
            ("weir", Way::Weir),
            ("TCP cubic", Way::Tcp("cubic")),
            ("TCP bbr", Way::Tcp("bbr")),
        ];
        // Beside each other, and hardly a load: each has a link and an emulator of its own.
        let seen = thread::scope(|scope| {
            let runs = ways.map(|(_, way)| scope.spawn(move || run(way, loss)));
            runs.map(|run| run.join().expect("it measures"))
        });
        for ((relay, _), seen) in ways.iter().zip(seen) {
            let Some(seen) = seen else { return };
            seen.print(name, relay);
        }
    }
}

fn run(way: Way, loss: Loss) -> Option<Seen> {
    let spec = |seed| Spec {
        rate: Rate::Bps(RATE_BPS),
        delay: ONE_WAY,
        loss,
        seed,
        ..Spec::default()
    };
    let lane = Lane {
        to_far: spec(1),
        to_near: spec(2),
    };
    let congestion = match way {
        Way::Weir => "cubic",
        Way::Tcp(congestion) => congestion,
    };
    let link = Link::new(&LinkSpec {
        lanes: vec![lane],
        congestion,
    })?;
    let mut seen = match way {
        Way::Weir => weir(&link),
        Way::Tcp(_) => tcp(&link),
    };
    seen.sent_bytes = link.counts(0, End::Far).offered_bytes;
    Some(seen)
}

impl Seen {
    fn print(&self, loss: &str, relay: &str) {
        let mut late: Vec<f64> = self.late[WARM..]
            .iter()
            .flatten()
            .map(|late| late.as_secs_f64() * 1e3)
            .collect();
        late.sort_by(f64::total_cmp);
        let missing = FRAMES - WARM - late.len();
        let at = |share: f64| {
            let last = late.len().saturating_sub(1);
            late.get((last as f64 * share) as usize)
                .copied()
                .unwrap_or(f64::NAN)
        };
        let payload: usize = (0..FRAMES).map(size).sum();
        let share = |bytes: u64| bytes as f64 / payload as f64 * 100.0;
        println!(
            "{loss:<16} {relay:<10} {:>8.1} {:>8.1} {:>8.1} {missing:>8} {:>+7.1} % {:>6.1} %",
            at(0.5),
            at(0.99),
            at(1.0),
            share(self.sent_bytes) - 100.0,
            share(self.parity_bytes),
        );
    }
}

fn size(frame: usize) -> usize {
    if frame.is_multiple_of(PICTURES) {
        KEY
    } else {
        OTHER
    }
}

fn due(start: Instant, frame: usize) -> Instant {
    start + EVERY * frame as u32
}

fn last(start: Instant) -> Instant {
    due(start, FRAMES) + GRACE
}

/// One TCP connection: number, length and bytes of each frame.
fn tcp(link: &Link) -> Seen {
    let addr = SocketAddr::from((link.near(), PORT));
    let begun = OnceLock::new();
    let mut late = vec![None; FRAMES];
    thread::scope(|scope| {
        let (listening, ready) = mpsc::sync_channel(1);
        let begun = &begun;
        scope.spawn(move || {
            let _inside = link.enter(End::Near);
            let listener = TcpListener::bind(addr).expect("a free port");
            listening.send(()).expect("the other end waits");
            let (stream, _) = listener.accept().expect("the other end connects");
            // A connection that cannot carry the stream is given up at the end.
            let _ = send_tcp(&stream, *begun.get_or_init(Instant::now));
        });
        ready.recv().expect("it listens");
        let _inside = link.enter(End::Far);
        let stream = TcpStream::connect_timeout(&addr, SOON).expect("connects");
        // What did not come by the end is missing.
        let _ = receive_tcp(&stream, begun, &mut late);
    });
    Seen {
        late,
        sent_bytes: 0,
        parity_bytes: 0,
    }
}

fn send_tcp(mut stream: &TcpStream, start: Instant) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut bytes = vec![7; KEY + 8];
    for frame in 0..FRAMES {
        thread::sleep(due(start, frame).saturating_duration_since(Instant::now()));
        let left = last(start).saturating_duration_since(Instant::now());
        stream.set_write_timeout(Some(left))?;
        bytes[..4].copy_from_slice(&(frame as u32).to_be_bytes());
        bytes[4..8].copy_from_slice(&(size(frame) as u32).to_be_bytes());
        stream.write_all(&bytes[..8 + size(frame)])?;
    }
    Ok(())
}

fn receive_tcp(
    mut stream: &TcpStream,
    begun: &OnceLock<Instant>,
    late: &mut [Option<Duration>],
) -> io::Result<()> {
    let mut head = [0; 8];
    let mut bytes = vec![0; KEY];
    for _ in 0..FRAMES {
        let until = begun
            .get()
            .map_or(Instant::now() + SOON, |start| last(*start));
        let left = until.saturating_duration_since(Instant::now());
        stream.set_read_timeout(Some(left))?;
        stream.read_exact(&mut head)?;
        let [frame, length] = [&head[..4], &head[4..]]
            .map(|number| u32::from_be_bytes(number.try_into().expect("four bytes")) as usize);
        stream.read_exact(&mut bytes[..length])?;
        let start = begun.get().expect("it has begun to send");
        late[frame] = Some(due(*start, frame).elapsed());
    }
    Ok(())
}

/// An origin's track at the near end, an edge's copy of it at the far end.
fn weir(link: &Link) -> Seen {
    let begun = OnceLock::new();
    let (producer, consumer) = track::new(&Cache::new(64 << 20), None).expect("a track");
    thread::scope(|scope| {
        let (bound, ready) = mpsc::sync_channel(1);
        let stop = CancellationToken::new();
        let serving = stop.clone();
        scope.spawn(move || {
            let _inside = link.enter(End::Near);
            runtime().block_on(async {
                let endpoint = endpoint(link.near(), PORT);
                bound.send(()).expect("the other end waits");
                tokio::select! {
                    () = serve(endpoint, consumer) => {}
                    () = serving.cancelled() => {}
                }
            });
        });
        let (subscribed, follows) = oneshot::channel();
        let begun = &begun;
        scope.spawn(move || {
            if follows.blocking_recv().is_ok() {
                publish(&producer, *begun.get_or_init(Instant::now));
            }
        });
        ready.recv().expect("it is bound");
        let _inside = link.enter(End::Far);
        let seen = runtime().block_on(follow(link, subscribed, begun));
        stop.cancel();
        seen
    })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

fn endpoint(addr: Ipv4Addr, port: u16) -> quic::Endpoint {
    let identity =
        Identity::from_secret("a secret of the benchmarks", "bench").expect("long enough");
    let transport = congestion::controlled(quic::transport());
    quic::endpoint_with(SocketAddr::from((addr, port)), &identity, transport).expect("an endpoint")
}

async fn serve(endpoint: quic::Endpoint, track: track::Consumer) {
    let (_, none) = watch::channel(Arc::default());
    let source: Arc<dyn driver::Source> = Arc::new(One { track, none });
    let incoming = endpoint.accept().await.expect("the other end dials");
    let connection = incoming.await.expect("connects");
    let served = driver::serve(connection, "origin", source, CancellationToken::new()).await;
    served.expect("until the other end leaves");
}

fn publish(producer: &track::Producer, start: Instant) {
    let mut open: Option<group::Producer> = None;
    for frame in 0..FRAMES {
        thread::sleep(due(start, frame).saturating_duration_since(Instant::now()));
        let key = frame % PICTURES == 0;
        if key {
            if let Some(before) = open.take() {
                before.finish();
            }
            let header = header((frame / PICTURES) as u64);
            open = Some(producer.open_group(header).expect("numbers go up"));
        }
        let group = open.as_mut().expect("the first is a key frame");
        let dts = Timestamp::from_micros(EVERY.as_micros() as i64 * frame as i64);
        let frame = Frame {
            track: TrackId::VIDEO,
            kind: if key { Kind::Key } else { Kind::Reference },
            dts,
            cts: Timestamp::ZERO,
            duration: None,
            payload: Bytes::from(vec![7; size(frame)]),
        };
        group.push(frame).expect("within bounds");
    }
    if let Some(last) = open {
        last.finish();
    }
    thread::sleep(GRACE);
}

async fn follow(link: &Link, subscribed: oneshot::Sender<()>, begun: &OnceLock<Instant>) -> Seen {
    let endpoint = endpoint(link.far(0), 0);
    let addr = SocketAddr::from((link.near(), PORT));
    let peer = driver::Peer::connect(&endpoint, addr, "edge")
        .await
        .expect("connects");
    let (into, copy) = track::new(&Cache::new(64 << 20), None).expect("a track");
    let _subscription = peer
        .subscribe("live/x", &[], wire::Start::Latest, into)
        .await
        .expect("accepted");
    subscribed.send(()).expect("the publisher waits");
    let mut reader = Reader::new(copy, Start::Latest);
    let mut late = vec![None; FRAMES];
    let longest = EVERY * FRAMES as u32 + GRACE;
    let reading = async {
        while let Some(item) = reader.next().await {
            if let Item::Frame { frame, .. } = item {
                let number = (frame.dts.as_micros() / EVERY.as_micros() as i64) as usize;
                assert_eq!(frame.payload.len(), size(number));
                let start = begun.get().expect("it has begun to send");
                late[number] = Some(due(*start, number).elapsed());
                if number + 1 == FRAMES {
                    return;
                }
            }
        }
    };
    // What did not come by the end is missing.
    let _ = tokio::time::timeout(longest, reading).await;
    Seen {
        late,
        sent_bytes: 0,
        parity_bytes: peer.stats().parity_bytes,
    }
}
