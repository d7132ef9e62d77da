//! A track fed by hand, and an origin that serves it, for the tests of this crate.

pub(crate) mod av;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cluster::node::{Capacity, Node, NodeId, Place as Site, Role};
use cluster::region::Region;
use cluster::stream::StreamKey;
use media::codec::{Catalog, Codec, TrackConfig};
use media::frame::{Frame, Kind, TrackId};
use media::timestamp::Timestamp;
use relay::cache::Cache;
use relay::driver::{self, Announced, Boxed, Served, Source};
use relay::group::{self, Header};
use relay::track::{self, Consumer, Producer};
use relay::wire::{Refusal, Start};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use transport::quic::{self, Endpoint};
use transport::tls::{self, Identity};

use crate::viewer::{Group, Place, Viewers};

/// What makes the nodes of a test a cluster.
pub(crate) const SECRET: &str = "a secret for these tests";
/// No test waits longer for anything.
pub(crate) const WITHIN: Duration = Duration::from_secs(20);

/// Feeds a track of pictures 40 ms apart, each group a key frame and four others, 200 ms long.
pub(crate) struct Feed {
    pub(crate) track: Producer,
    pub(crate) consumer: Consumer,
    pub(crate) epoch: u64,
    pub(crate) number: u64,
    /// Decoding time of the next frame.
    pub(crate) at_ms: i64,
    pub(crate) catalog: Arc<Catalog>,
}

/// Frames in a group of a [`Feed`].
pub(crate) const FRAMES: usize = 5;
/// Bytes in each picture.
pub(crate) const PICTURE_BYTES: usize = 400;

impl Feed {
    pub(crate) fn new() -> Self {
        let (track, consumer) = track::new(&Cache::new(64 << 20), None).unwrap();
        Self::into(track, consumer)
    }

    /// A feed that says what it is, as fMP4 wants it.
    pub(crate) fn playable() -> Self {
        let record = Bytes::from_static(&[
            0x01, 0x64, 0x00, 0x0c, 0xff, 0xe1, 0x00, 0x1a, 0x67, 0x64, 0x00, 0x0c, 0xac, 0xd9,
            0x41, 0x41, 0x9f, 0x9f, 0x01, 0x10, 0x00, 0x00, 0x03, 0x00, 0x10, 0x00, 0x00, 0x03,
            0x03, 0x20, 0xf1, 0x42, 0x99, 0x60, 0x01, 0x00, 0x06, 0x68, 0xeb, 0xe3, 0xcb, 0x22,
            0xc0, 0xfd, 0xf8, 0xf8, 0x00,
        ]);
        let catalog = Catalog {
            tracks: vec![TrackConfig::new(Codec::H264, record)],
            frame_rate: None,
        };
        Self {
            catalog: Arc::new(catalog),
            ..Self::new()
        }
    }

    pub(crate) fn into(track: Producer, consumer: Consumer) -> Self {
        Self {
            track,
            consumer,
            epoch: 1,
            number: 1,
            at_ms: 90_000,
            catalog: catalog(1),
        }
    }

    /// Opens a group without a frame.
    pub(crate) fn open(&mut self) -> group::Producer {
        let header = Header {
            epoch: self.epoch,
            number: self.number,
            wallclock_us: 1_700_000_000_000_000 + 1000 * self.at_ms.unsigned_abs(),
            first_msn: self.number,
            first_part: self.number,
            discontinuities: 0,
            segment_max: Timestamp::from_millis(6_000),
            part_target: Timestamp::from_millis(400),
            config_id: 0,
            discontinuity: false,
            catalog: self.catalog.clone(),
        };
        self.number += 1;
        self.track.open_group(header).unwrap()
    }

    /// Appends the next frame to a group.
    pub(crate) fn push(&mut self, group: &mut group::Producer) {
        let kind = if group.group().is_empty() {
            Kind::Key
        } else {
            Kind::Reference
        };
        group.push(picture(kind, self.at_ms)).unwrap();
        self.at_ms += 40;
    }

    /// Feeds a whole group.
    pub(crate) fn group(&mut self) {
        let mut group = self.open();
        (0..FRAMES).for_each(|_| self.push(&mut group));
        group.finish();
    }
}

/// H.264 whose record ends with a version, so that catalogs differ.
pub(crate) fn catalog(version: u8) -> Arc<Catalog> {
    let record = Bytes::copy_from_slice(&[1, 0x64, 0, 0x1F, 0xFF, 0xE0, 0, version]);
    Arc::new(Catalog {
        tracks: vec![TrackConfig::new(Codec::H264, record)],
        frame_rate: None,
    })
}

/// A picture whose payload no other shares.
pub(crate) fn picture(kind: Kind, at_ms: i64) -> Frame {
    Frame {
        track: TrackId::VIDEO,
        kind,
        dts: Timestamp::from_millis(at_ms),
        cts: Timestamp::ZERO,
        duration: None,
        payload: Bytes::from(vec![at_ms as u8; PICTURE_BYTES]),
    }
}

/// An origin that has one stream, `live/x`.
pub(crate) struct Origin {
    streams: Arc<Streams>,
    pub(crate) address: SocketAddr,
    endpoint: Endpoint,
    accepting: JoinHandle<()>,
}

struct Streams {
    track: Consumer,
    subscriptions: AtomicUsize,
    refuses_past: AtomicBool,
    delay_ms: AtomicU64,
}

impl Source for Streams {
    fn subscribe<'a>(
        &'a self,
        stream: &'a str,
        _hops: &'a [String],
        start: Start,
    ) -> Boxed<'a, Result<Served, Refusal>> {
        Box::pin(async move {
            if stream != "live/x" {
                return Err(Refusal::NotFound);
            }
            let delay_ms = self.delay_ms.load(Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(delay_ms)).await;
            let past = matches!(start, Start::Past { .. });
            if past && self.refuses_past.load(Ordering::Relaxed) {
                return Err(Refusal::Overloaded);
            }
            self.subscriptions.fetch_add(1, Ordering::Relaxed);
            Ok(Served {
                track: self.track.clone(),
                hops: Vec::new(),
                lease: None,
            })
        })
    }

    fn announced(&self) -> watch::Receiver<Arc<Vec<Announced>>> {
        watch::Sender::default().subscribe()
    }
}

pub(crate) fn endpoint(node: &str, port: u16) -> Result<Endpoint, quic::Error> {
    tls::install();
    let identity = Identity::from_secret(SECRET, node).unwrap();
    quic::endpoint(([127, 0, 0, 1], port).into(), &identity)
}

impl Origin {
    pub(crate) fn start(feed: &Feed) -> Self {
        Self::over(endpoint("origin", 0).unwrap(), feed)
    }

    /// Starts where another just was, as soon as the system gives its port back.
    pub(crate) async fn restart(feed: &Feed, port: u16) -> Self {
        let again = async {
            loop {
                match endpoint("origin", port) {
                    Ok(endpoint) => return endpoint,
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        };
        Self::over(
            timeout(WITHIN, again).await.expect("the port is free"),
            feed,
        )
    }

    fn over(endpoint: Endpoint, feed: &Feed) -> Self {
        let streams = Arc::new(Streams {
            track: feed.consumer.clone(),
            subscriptions: AtomicUsize::new(0),
            refuses_past: AtomicBool::new(false),
            delay_ms: AtomicU64::new(0),
        });
        let accepting = tokio::spawn(accept(endpoint.clone(), streams.clone()));
        Self {
            streams,
            address: endpoint.local_addr().unwrap(),
            endpoint,
            accepting,
        }
    }

    /// Whether it has no room, from now on, for what is asked of the past.
    pub(crate) fn refuse_past(&self, refuses: bool) {
        self.streams.refuses_past.store(refuses, Ordering::Relaxed);
    }

    /// Takes that long to accept, from now on.
    pub(crate) fn delay(&self, by: Duration) {
        let ms = by.as_millis() as u64;
        self.streams.delay_ms.store(ms, Ordering::Relaxed);
    }

    pub(crate) fn subscriptions(&self) -> usize {
        self.streams.subscriptions.load(Ordering::Relaxed)
    }

    /// Goes as a crash does, but tells the other side at once.
    pub(crate) async fn crash(self) -> u16 {
        self.accepting.abort();
        self.endpoint.close(7_u32.into(), b"");
        self.endpoint.wait_idle().await;
        self.address.port()
    }
}

async fn accept(endpoint: Endpoint, source: Arc<Streams>) {
    while let Some(incoming) = endpoint.accept().await {
        let source = source.clone();
        tokio::spawn(async move {
            let connection = incoming.await.unwrap();
            let _ = driver::serve(connection, "origin", source, Default::default()).await;
        });
    }
}

/// The place of a viewer of `live/x`.
pub(crate) fn place(viewers: &Viewers) -> Place {
    let stream = StreamKey::parse("live/x").unwrap();
    let group = Group::of(&stream, Region::UNKNOWN);
    viewers.enter(group, None, |_| Ok::<_, ()>(())).unwrap()
}

/// A node that viewers reach at `http://NAME.example`.
pub(crate) fn described(name: &str, role: Role) -> Node {
    Node {
        id: NodeId::parse(name).unwrap(),
        role,
        public_url: format!("http://{name}.example"),
        relay: None,
        hub: false,
        zone: None,
        admin: None,
        place: Site::default(),
        capacity: Capacity::default(),
        version: String::new(),
    }
}
