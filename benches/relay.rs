//! Relay fan-out beside plain QUIC streams of the same bytes: CPU per GB and memory.
//!
//! One origin and N subscribers over loopback, a process each, on a core each when there are two. The plain peer
//! opens a unidirectional stream per group and writes the same payload references, with no header and no cache: the
//! floor. Loopback receives within the sender's call, so the origin's figure holds the kernel's work for both.

// Other benchmarks use more of what they share.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

mod rig;

use bytes::Bytes;
use media::{
    frame::{Frame, Kind, TrackId},
    timestamp::Timestamp,
};
use relay::{cache::Cache, driver, track, wire};
use rig::{
    one::{One, header},
    process::{cpu_seconds, pin, resident},
};
use std::{
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;
use transport::{quic, tls::Identity};

const PICTURES_PER_S: u64 = 25;
const SECONDS: u64 = 10;
/// Two groups of the largest case: what a subscriber holds is not what is compared.
const SUBSCRIBER_CACHE: usize = 2 << 20;
/// Subscribers and bitrate.
const CASES: [(usize, u64); 4] = [
    (20, 2_000_000),
    (50, 4_000_000),
    (60, 8_000_000),
    (200, 1_000_000),
];
/// The argument that makes this program be the subscribers.
const SUBSCRIBERS: &str = "subscribers";
const PLAIN: &str = "plain";
const WEIR: &str = "weir";

fn main() {
    let arguments: Vec<_> = std::env::args().collect();
    if let [_, command, what, addr, count] = &arguments[..]
        && command == SUBSCRIBERS
    {
        let (addr, count) = (addr.parse().unwrap(), count.parse().unwrap());
        return runtime().block_on(subscribe(what == WEIR, addr, count));
    }
    let apart = std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1);
    if !apart {
        println!("one core: origin and subscribers share it");
    }
    println!(
        "{:<6} {:>5} {:>13} {:>16} {:>16} {:>9} {:>15}",
        "what", "subs", "bitrate", "origin, CPU s/GB", "all, CPU s/GB", "received", "resident"
    );
    for (subscribers, bitrate_bps) in CASES {
        let plain = run(PLAIN, subscribers, bitrate_bps, apart);
        let weir = run(WEIR, subscribers, bitrate_bps, apart);
        println!(
            "weir / plain: {:.2} times the origin's CPU, {:.2} times the CPU of all (aim 1.3)",
            weir.origin / plain.origin,
            weir.all / plain.all
        );
    }
}

/// CPU seconds per GB received.
struct Cost {
    origin: f64,
    all: f64,
}

/// One case, with a runtime of its own so that its threads run on the origin's core.
fn run(what: &str, subscribers: usize, bitrate_bps: u64, apart: bool) -> Cost {
    if apart {
        pin(&[rig::SERVER_CORE]);
    }
    let runtime = runtime();
    let _entered = runtime.enter();
    let server = endpoint();
    let stop = CancellationToken::new();
    let feed = match what {
        WEIR => weir_origin(server.clone(), stop.clone()),
        _ => plain_origin(server.clone()),
    };
    if apart {
        pin(&[rig::CLIENT_CORE]);
    }
    let addr = server.local_addr().expect("it is bound");
    let mut crowd = Subscribers::start(what, addr, subscribers);
    if apart {
        pin(&[rig::SERVER_CORE]);
    }
    let here = std::process::id();
    let (cpu, theirs) = (cpu_seconds(here), cpu_seconds(crowd.process.id()));
    runtime.block_on(feed_in_real_time(feed, &frames(bitrate_bps)));
    let gbytes = crowd.received() / 1e9;
    let origin = (cpu_seconds(here) - cpu) / gbytes;
    let all = origin + (cpu_seconds(crowd.process.id()) - theirs) / gbytes;
    let expect = bitrate_bps as f64 / 8.0 * SECONDS as f64 * subscribers as f64 / 1e9;
    println!(
        "{what:<6} {subscribers:>5} {:>6.1} Mbit/s {origin:>16.2} {all:>16.2} {:>7.1} % {:>5} + {:>4} MB",
        bitrate_bps as f64 / 1e6,
        gbytes / expect * 100.0,
        resident(here) >> 20,
        resident(crowd.process.id()) >> 20,
    );
    stop.cancel();
    server.close(0u32.into(), b"");
    Cost { origin, all }
}

/// Takes one second's frames and puts them on air.
enum Feed {
    Weir(track::Producer),
    Plain(broadcast::Sender<Frame>),
}

async fn feed_in_real_time(feed: Feed, frames: &[Frame]) {
    let start = tokio::time::Instant::now();
    for second in 0..SECONDS {
        let mut group = match &feed {
            Feed::Weir(producer) => {
                Some(producer.open_group(header(second)).expect("numbers go up"))
            }
            Feed::Plain(_) => None,
        };
        for (picture, frame) in frames.iter().enumerate() {
            let due = Duration::from_millis(second * 1000 + picture as u64 * 1000 / PICTURES_PER_S);
            tokio::time::sleep_until(start + due).await;
            match (&feed, group.as_mut()) {
                (Feed::Weir(_), Some(group)) => group.push(frame.clone()).expect("within bounds"),
                (Feed::Plain(all), _) => drop(all.send(frame.clone())),
                _ => {}
            }
        }
        if let Some(group) = group {
            group.finish();
        }
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
}

fn runtime() -> tokio::runtime::Runtime {
    let mut threads = tokio::runtime::Builder::new_multi_thread();
    threads.enable_all().build().expect("a runtime")
}

fn endpoint() -> quic::Endpoint {
    let identity =
        Identity::from_secret("a secret of the benchmarks", "bench").expect("long enough");
    let settings = relay::congestion::controlled(quic::transport());
    quic::endpoint_with(
        SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        &identity,
        settings,
    )
    .expect("an endpoint")
}

fn weir_origin(server: quic::Endpoint, stop: CancellationToken) -> Feed {
    let (producer, consumer) = track::new(&Cache::new(256 << 20), None).expect("a track");
    let (_, none) = watch::channel(Arc::default());
    let source: Arc<dyn driver::Source> = Arc::new(One {
        track: consumer,
        none,
    });
    tokio::spawn(async move {
        while let Some(incoming) = server.accept().await {
            let (source, stop) = (source.clone(), stop.clone());
            tokio::spawn(async move {
                if let Ok(connection) = incoming.await {
                    let _ = driver::serve(connection, "origin", source, stop).await;
                }
            });
        }
    });
    Feed::Weir(producer)
}

fn plain_origin(server: quic::Endpoint) -> Feed {
    let (all, _) = broadcast::channel::<Frame>(256);
    let sending = all.clone();
    tokio::spawn(async move {
        while let Some(incoming) = server.accept().await {
            let mut frames = sending.subscribe();
            tokio::spawn(async move {
                let Ok(connection) = incoming.await else {
                    return;
                };
                let mut stream = None;
                while let Ok(frame) = frames.recv().await {
                    if frame.kind == Kind::Key {
                        stream = connection.open_uni().await.ok();
                    }
                    if let Some(stream) = &mut stream {
                        let _ = stream.write_chunk(frame.payload).await;
                    }
                }
            });
        }
    });
    Feed::Plain(all)
}

/// This program again, as the subscribers.
struct Subscribers {
    process: Child,
    says: BufReader<std::process::ChildStdout>,
}

impl Subscribers {
    /// Returns once all have subscribed.
    fn start(what: &str, addr: SocketAddr, count: usize) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args([SUBSCRIBERS, what, &addr.to_string(), &count.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let says = BufReader::new(process.stdout.take().unwrap());
        let mut started = Self { process, says };
        started.line();
        started
    }

    /// Bytes of payloads so far.
    fn received(&mut self) -> f64 {
        writeln!(self.process.stdin.as_mut().unwrap()).unwrap();
        self.line().parse().unwrap()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.says.read_line(&mut line).unwrap();
        line.trim().into()
    }
}

impl Drop for Subscribers {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The other process: says so when all have subscribed, and what was received whenever it is asked.
async fn subscribe(weir: bool, addr: SocketAddr, count: usize) {
    let received = Arc::new(AtomicU64::new(0));
    let client = endpoint();
    for number in 0..count {
        if weir {
            weir_subscriber(&client, addr, number, received.clone()).await;
        } else {
            plain_subscriber(&client, addr, received.clone()).await;
        }
    }
    println!("ready");
    let asked = tokio::task::spawn_blocking(move || {
        for _ in std::io::stdin().lines() {
            println!("{}", received.load(Ordering::Relaxed));
        }
    });
    asked.await.unwrap();
}

async fn weir_subscriber(
    client: &quic::Endpoint,
    addr: SocketAddr,
    number: usize,
    received: Arc<AtomicU64>,
) {
    let peer = driver::Peer::connect(client, addr, &format!("edge{number}"))
        .await
        .expect("connects");
    let (into, consumer) = track::new(&Cache::new(SUBSCRIBER_CACHE), None).expect("a track");
    let subscription = peer
        .subscribe("live/x", &[], wire::Start::Latest, into)
        .await
        .expect("accepted");
    tokio::spawn(async move {
        let (_peer, _subscription) = (peer, subscription);
        let mut reader = relay::reader::Reader::new(consumer, relay::reader::Start::Latest);
        while let Some(item) = reader.next().await {
            if let relay::reader::Item::Frame { frame, .. } = item {
                received.fetch_add(frame.payload.len() as u64, Ordering::Relaxed);
            }
        }
    });
}

async fn plain_subscriber(client: &quic::Endpoint, addr: SocketAddr, received: Arc<AtomicU64>) {
    let connecting = client.connect(addr, driver::SERVER_NAME).expect("dials");
    let connection = connecting.await.expect("connects");
    tokio::spawn(async move {
        while let Ok(mut stream) = connection.accept_uni().await {
            let received = received.clone();
            tokio::spawn(async move {
                while let Ok(Some(chunk)) = stream.read_chunk(usize::MAX, true).await {
                    received.fetch_add(chunk.bytes.len() as u64, Ordering::Relaxed);
                }
            });
        }
    });
}

/// One second of pictures: a key frame four times the size of the others.
fn frames(bitrate_bps: u64) -> Vec<Frame> {
    let unit = (bitrate_bps / 8 / (PICTURES_PER_S + 3)) as usize;
    let frame = |number: u64| Frame {
        track: TrackId::VIDEO,
        kind: if number == 0 {
            Kind::Key
        } else {
            Kind::Reference
        },
        dts: Timestamp::from_millis((number * 1000 / PICTURES_PER_S) as i64),
        cts: Timestamp::ZERO,
        duration: None,
        payload: Bytes::from(vec![7; if number == 0 { 4 * unit } else { unit }]),
    };
    (0..PICTURES_PER_S).map(frame).collect()
}
