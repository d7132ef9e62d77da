//! Relay fan-out beside plain QUIC streams of the same bytes: CPU per GB and memory.
//!
//! Both sides run in this process, over loopback: one origin, N subscribers. The plain peer opens a unidirectional
//! stream per group and writes the same payload references, with no header and no cache: the floor.

use bytes::Bytes;
use media::{
    codec::Catalog,
    frame::{Frame, Kind, TrackId},
    timestamp::Timestamp,
};
use relay::{cache::Cache, driver, group, track, wire};
use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;
use transport::{quic, tls::Identity};

const PICTURES_PER_S: u64 = 25;
const SECONDS: u64 = 10;
/// Two groups of the largest case: what a subscriber holds is not what is compared.
const SUBSCRIBER_CACHE: usize = 2 << 20;
const CASES: [(usize, u64); 3] = [(20, 2_000_000), (60, 8_000_000), (200, 1_000_000)];

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    println!(
        "{:<8} {:>5} {:>12} {:>12} {:>10} {:>8}",
        "what", "subs", "bitrate", "CPU s/GB", "received", "RSS"
    );
    for (subscribers, bitrate_bps) in CASES {
        let plain = runtime.block_on(run(subscribers, bitrate_bps, false));
        let weir = runtime.block_on(run(subscribers, bitrate_bps, true));
        println!("weir / plain: {:.2} times the CPU", weir / plain);
    }
}

/// CPU seconds per GB received, over all of the process.
async fn run(subscribers: usize, bitrate_bps: u64, weir: bool) -> f64 {
    let identity =
        Identity::from_secret("a secret of the benchmarks", "bench").expect("long enough");
    let endpoint = |port| {
        quic::endpoint(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), &identity)
            .expect("an endpoint")
    };
    let (server, client) = (endpoint(0), endpoint(0));
    let addr = server.local_addr().expect("it is bound");
    let received = Arc::new(AtomicU64::new(0));
    let stop = CancellationToken::new();
    let frames = frames(bitrate_bps);
    let feed = if weir {
        weir_case(
            server.clone(),
            client.clone(),
            addr,
            subscribers,
            received.clone(),
            stop.clone(),
        )
        .await
    } else {
        plain_case(
            server.clone(),
            client.clone(),
            addr,
            subscribers,
            received.clone(),
        )
        .await
    };
    let (cpu, start) = (cpu_seconds(), Instant::now());
    feed_in_real_time(feed, &frames).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let gbytes = received.load(Ordering::Relaxed) as f64 / 1e9;
    let per_gb = (cpu_seconds() - cpu) / gbytes;
    let expect = bitrate_bps as f64 / 8.0
        * start.elapsed().as_secs_f64().min(SECONDS as f64)
        * subscribers as f64
        / 1e9;
    println!(
        "{:<8} {subscribers:>5} {:>7.1} Mbit/s {per_gb:>9.3} {:>8.1} % {:>6} MB",
        if weir { "weir" } else { "plain" },
        bitrate_bps as f64 / 1e6,
        gbytes / expect * 100.0,
        resident() >> 20,
    );
    stop.cancel();
    server.close(0u32.into(), b"");
    client.close(0u32.into(), b"");
    per_gb
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
}

fn header(number: u64) -> group::Header {
    group::Header {
        epoch: 1,
        number,
        wallclock_us: 0,
        first_msn: number,
        config_id: 0,
        discontinuity: false,
        catalog: Arc::new(Catalog::default()),
    }
}

struct One {
    track: track::Consumer,
    none: watch::Receiver<Arc<Vec<driver::Announced>>>,
}

impl driver::Source for One {
    fn subscribe<'a>(
        &'a self,
        _: &'a str,
        _: &'a [String],
    ) -> driver::Boxed<'a, Result<driver::Served, wire::Refusal>> {
        let track = self.track.clone();
        Box::pin(async move {
            Ok(driver::Served {
                track,
                hops: Vec::new(),
                lease: None,
            })
        })
    }

    fn announced(&self) -> watch::Receiver<Arc<Vec<driver::Announced>>> {
        self.none.clone()
    }
}

async fn weir_case(
    server: quic::Endpoint,
    client: quic::Endpoint,
    addr: SocketAddr,
    subscribers: usize,
    received: Arc<AtomicU64>,
    stop: CancellationToken,
) -> Feed {
    let (producer, consumer) = track::new(&Cache::new(256 << 20), None).expect("a track");
    let (_, none) = watch::channel(Arc::default());
    let source: Arc<dyn driver::Source> = Arc::new(One {
        track: consumer,
        none,
    });
    let serving = stop.clone();
    tokio::spawn(async move {
        while let Some(incoming) = server.accept().await {
            let (source, stop) = (source.clone(), serving.clone());
            tokio::spawn(async move {
                if let Ok(connection) = incoming.await {
                    let _ = driver::serve(connection, "origin", source, stop).await;
                }
            });
        }
    });
    for number in 0..subscribers {
        let peer = driver::Peer::connect(&client, addr, &format!("edge{number}"))
            .await
            .expect("connects");
        let (into, consumer) = track::new(&Cache::new(SUBSCRIBER_CACHE), None).expect("a track");
        let subscription = peer
            .subscribe("live/x", &[], wire::Start::Latest, into)
            .await
            .expect("accepted");
        let (received, stop) = (received.clone(), stop.clone());
        tokio::spawn(async move {
            let (_peer, _subscription) = (peer, subscription);
            let mut reader = relay::reader::Reader::new(consumer, relay::reader::Start::Latest);
            let counting = async {
                while let Some(item) = reader.next().await {
                    if let relay::reader::Item::Frame { frame, .. } = item {
                        received.fetch_add(frame.payload.len() as u64, Ordering::Relaxed);
                    }
                }
            };
            tokio::select! { () = counting => {} () = stop.cancelled() => {} }
        });
    }
    Feed::Weir(producer)
}

async fn plain_case(
    server: quic::Endpoint,
    client: quic::Endpoint,
    addr: SocketAddr,
    subscribers: usize,
    received: Arc<AtomicU64>,
) -> Feed {
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
    for _ in 0..subscribers {
        let connection = client
            .connect(addr, driver::SERVER_NAME)
            .expect("dials")
            .await
            .expect("connects");
        let received = received.clone();
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
    Feed::Plain(all)
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

/// User and system time of this process so far (fields 14 and 15 of proc_pid_stat(5), in ticks of 10 ms).
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").expect("Linux");
    let after = stat.rsplit_once(')').expect("the name is in brackets").1;
    let ticks: f64 = after
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|t| t.parse::<f64>().ok())
        .sum();
    ticks / 100.0
}

fn resident() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").expect("Linux");
    statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok())
        .unwrap_or(0)
        * 4096
}
