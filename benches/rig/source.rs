//! A made-up stream in real time: published over RTMP, and given at the same instants to bare writers as FLV.
//!
//! Pictures and sound have the sizes and times of a real stream; within each payload stands when it was made, by
//! which a viewer in the same process knows its latency. Nothing in it can be decoded.

use bytes::{BufMut, Bytes, BytesMut};
use media::{
    codec::{Catalog, Codec},
    flv::{Hevc, Muxer},
    frame::{Frame, Kind, TrackId},
    timestamp::Timestamp,
};
use origin::push::Push;
use std::{
    net::SocketAddr,
    sync::LazyLock,
    time::{Duration, Instant},
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::sleep_until,
};
use tokio_util::sync::CancellationToken;

const PICTURES_PER_S: u64 = 25;
/// A key frame's size in units of another picture's.
const KEY_UNITS: u64 = 8;
/// AAC at 48 kHz: 1,024 samples a packet.
const AUDIO_PACKET_US: u64 = 1024 * 1_000_000 / 48_000;
/// 64 kbit/s.
const AUDIO_PACKET: u64 = 64_000 / 8 * AUDIO_PACKET_US / 1_000_000;
/// After the 4-byte length of a NAL unit and its head.
const STAMP_AT: usize = 5;
/// Stands before the stamp of sound; a picture has its NAL unit's head there.
const SOUND: u8 = 0x21;
const MAGIC: &[u8; 8] = b"weirtime";

/// What is made up.
#[derive(Clone, Copy)]
pub struct Shape {
    /// Pictures and sound.
    pub kbits: u64,
    /// Pictures from key frame to key frame.
    pub group: u64,
}

impl Shape {
    /// A key frame each two seconds.
    pub fn of_rate(kbits: u64) -> Self {
        Self { kbits, group: 50 }
    }
}

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Streams on air until it is dropped.
pub struct Source {
    /// Where a bare writer gets the first stream: messages of a `u32` length and whole tags, the first what a
    /// stream starts with.
    pub feed: SocketAddr,
    stop: CancellationToken,
}

impl Source {
    /// Publishes a stream of this shape to each URL; the streams' beginnings are spread over a group's length.
    pub fn start(catalog: &Catalog, shape: Shape, urls: Vec<String>) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = runtime
            .block_on(TcpListener::bind(("127.0.0.1", 0)))
            .expect("a free port");
        let feed = listener.local_addr().expect("it is bound");
        let stop = CancellationToken::new();
        let (stopped, catalog) = (stop.clone(), catalog.clone());
        std::thread::spawn(move || {
            let local = tokio::task::LocalSet::new();
            let group = Duration::from_millis(shape.group * 1000 / PICTURES_PER_S);
            let spread = group / urls.len() as u32;
            let mut listener = Some(listener);
            for (number, url) in urls.into_iter().enumerate() {
                let (catalog, feed) = (catalog.clone(), listener.take());
                local.spawn_local(async move {
                    tokio::time::sleep(spread * number as u32).await;
                    publish(&url, &catalog, shape, feed).await;
                });
            }
            local.block_on(&runtime, stopped.cancelled());
        });
        Self { feed, stop }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn publish(url: &str, catalog: &Catalog, shape: Shape, listener: Option<TcpListener>) {
    let mut push = Push::connect(url, Hevc::Enhanced)
        .await
        .expect("the origin takes the stream");
    push.send_catalog(catalog).await.expect("sent");
    let mut feed = Feed {
        listener,
        head: Muxer::default().start(catalog),
        writers: Vec::new(),
    };
    let start = tokio::time::Instant::now();
    let (mut picture, mut packet) = (0, 0);
    loop {
        let picture_us = picture * 1_000_000 / PICTURES_PER_S;
        let packet_us = packet * AUDIO_PACKET_US;
        let due_us = picture_us.min(packet_us);
        sleep_until(start + Duration::from_micros(due_us)).await;
        let (codec, frame) = if picture_us <= packet_us {
            picture += 1;
            (Codec::H264, self::picture(picture - 1, due_us, shape))
        } else {
            packet += 1;
            (Codec::Aac, self::packet(due_us))
        };
        feed.send(codec, &frame).await;
        if let Err(error) = push.send_frame(codec, &frame).await {
            super::progress(&format!("{url}: {error}"));
            return;
        }
    }
}

fn picture(number: u64, at_us: u64, shape: Shape) -> Frame {
    let Shape { kbits, group } = shape;
    let video_bps = kbits * 1000 - 64_000;
    let unit = video_bps / 8 * group / PICTURES_PER_S / (group - 1 + KEY_UNITS);
    // Every second picture between key frames is one that no other refers to (nal_ref_idc 0).
    let (kind, units, nal) = match number % group {
        0 => (Kind::Key, KEY_UNITS, 0x65),
        n if n % 2 == 1 => (Kind::Disposable, 1, 0x01),
        _ => (Kind::Reference, 1, 0x41),
    };
    frame(TrackId::VIDEO, kind, at_us, (units * unit) as usize, nal)
}

fn packet(at_us: u64) -> Frame {
    frame(
        TrackId::AUDIO,
        Kind::Key,
        at_us,
        AUDIO_PACKET as usize,
        SOUND,
    )
}

fn frame(track: TrackId, kind: Kind, at_us: u64, size: usize, nal: u8) -> Frame {
    let mut payload = BytesMut::with_capacity(size);
    payload.put_u32(size as u32 - 4);
    payload.put_u8(nal);
    payload.put_slice(MAGIC);
    payload.put_u64(START.elapsed().as_micros() as u64);
    payload.resize(size, 0xAB);
    Frame {
        track,
        kind,
        dts: Timestamp::from_micros(at_us as i64),
        cts: Timestamp::ZERO,
        duration: None,
        payload: payload.freeze(),
    }
}

/// How long ago a payload was made.
pub fn age(payload: &[u8]) -> Option<Duration> {
    let stamp = payload.get(STAMP_AT..)?.strip_prefix(MAGIC)?;
    let made = u64::from_be_bytes(stamp.get(..8)?.try_into().ok()?);
    Some(START.elapsed().saturating_sub(Duration::from_micros(made)))
}

/// When the first picture was made that stands in these bytes.
pub fn made_at(bytes: &[u8]) -> Option<Instant> {
    let stamps = bytes.windows(1 + MAGIC.len());
    let mut stamps = stamps.enumerate().filter(|(_, at)| at[1..] == MAGIC[..]);
    let (start, _) = stamps.find(|(_, at)| at[0] != SOUND)?;
    let us = bytes.get(start + 1 + MAGIC.len()..)?.first_chunk()?;
    Some(*START + Duration::from_micros(u64::from_be_bytes(*us)))
}

/// Bare writers that take the stream from here.
struct Feed {
    listener: Option<TcpListener>,
    head: Bytes,
    writers: Vec<TcpStream>,
}

impl Feed {
    async fn send(&mut self, codec: Codec, frame: &Frame) {
        self.welcome().await;
        if self.writers.is_empty() {
            return;
        }
        let pieces = Muxer::default().frame(codec, frame, frame.dts.as_millis() as u32);
        let message = message(&pieces.concat());
        // A message is far smaller than the socket's buffer: one that is not taken whole ends the comparison.
        self.writers
            .retain(|writer| writer.try_write(&message).is_ok_and(|n| n == message.len()));
    }

    async fn welcome(&mut self) {
        let Some(listener) = &self.listener else {
            return;
        };
        let accepting = tokio::time::timeout(Duration::ZERO, listener.accept());
        if let Ok(Ok((writer, _))) = accepting.await {
            let head = message(&self.head);
            if writer.set_nodelay(true).is_ok() && writer.writable().await.is_ok() {
                let taken = writer.try_write(&head).is_ok_and(|n| n == head.len());
                self.writers.extend(taken.then_some(writer));
            }
        }
    }
}

fn message(bytes: &[u8]) -> Bytes {
    let mut message = BytesMut::with_capacity(4 + bytes.len());
    message.put_u32(bytes.len() as u32);
    message.put_slice(bytes);
    message.freeze()
}
