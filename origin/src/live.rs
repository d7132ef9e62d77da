//! Hot: who publishes what, and the track that each stream becomes.
//!
//! One lock per stream, held for one event and never across an await; the table's lock is taken
//! only when publishers come, and by the sweep. A stream has at most one publisher. It stays for
//! the grace window after its publisher left, and a silent publisher gives way to the next one.
//! The numbers are decided in `publish`; tokens are checked before [`Registry::claim`].

mod rate;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use cluster::node::NodeId;
use cluster::plan::Plan;
use cluster::stream::{StreamKey, StreamRecord, TrackRecord};
use media::codec::{Catalog, TrackConfig};
use media::flv;
use media::frame::Frame;
use media::segment::Terms;
use parking_lot::Mutex;
use relay::cache::Cache;
use relay::driver::Announced;
use relay::{group, track};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use transport::clock::Clock;

use crate::meter::Meter;
use crate::publish::{Input, Numbers, Output, Publication};
use rate::{Peak, Rate};

/// The rules by which publishers come and go.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// How long a stream outlives its publisher.
    pub grace: Duration,
    /// Silence after which another publisher takes over.
    pub takeover_after: Duration,
    /// The lengths of HLS segments and parts, as configured.
    pub terms: Terms,
    /// Streams at one time.
    pub max_publishers: usize,
}

/// All streams of this origin.
#[derive(Debug)]
pub struct Registry {
    rules: Rules,
    clock: Clock,
    cache: Cache,
    meter: Arc<Meter>,
    table: Mutex<Table>,
    announced: watch::Sender<Arc<Vec<Announced>>>,
}

#[derive(Debug, Default)]
struct Table {
    streams: HashMap<StreamKey, Arc<Mutex<Live>>>,
    /// Above every number of the streams that ended.
    floor: Numbers,
    next_claim: u64,
}

#[derive(Debug)]
struct Live {
    publication: Publication,
    /// Gone once the stream ended.
    track: Option<track::Producer>,
    group: Option<group::Producer>,
    holder: Option<Holder>,
    /// When its publisher last sent media, came or left.
    heard: Instant,
    /// When it went on air.
    started_ms: Option<u64>,
    bytes: u64,
    rate: Rate,
    peak: Peak,
    publisher: String,
}

#[derive(Debug)]
struct Holder {
    claim: u64,
    stop: CancellationToken,
}

/// Why a claim is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Another publisher has the stream and is not silent.
    #[error("another publisher is live on this stream; it gives way once it falls silent")]
    Busy,
    /// The limit on streams is reached.
    #[error("this origin takes no more streams")]
    Full,
}

impl Refused {
    /// The reason as the counter's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Full => "streams_full",
        }
    }
}

/// The stream went to another publisher, or an operator cut it off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stream was taken over or cut off")]
pub struct Lost;

impl Registry {
    /// No streams yet.
    pub fn new(rules: Rules, clock: Clock, cache: Cache, meter: Arc<Meter>) -> Arc<Self> {
        let announced = watch::Sender::default();
        Arc::new(Self {
            rules,
            clock,
            cache,
            meter,
            table: Mutex::default(),
            announced,
        })
    }

    /// Counts discontinuities above those of the node's last life.
    pub fn begin_above(&self, discontinuities: u64) {
        let floor = &mut self.table.lock().floor;
        floor.discontinuities = floor.discontinuities.max(discontinuities);
    }

    /// How far discontinuities are counted.
    pub fn discontinuities(&self) -> u64 {
        let table = self.table.lock();
        let live = table.streams.values();
        let counts = live.map(|live| live.lock().publication.numbers().discontinuities);
        counts
            .max()
            .max(Some(table.floor.discontinuities))
            .unwrap_or(0)
    }

    /// Makes a peer the stream's publisher: of a new one, of one whose publisher left, or of one
    /// whose publisher is silent and is closed hereby.
    pub fn claim(self: &Arc<Self>, key: &StreamKey, peer: String) -> Result<Publisher, Refused> {
        let mut table = self.table.lock();
        let live = match table.streams.get(key) {
            Some(live) => live.clone(),
            None => self.create(&mut table, key)?,
        };
        table.next_claim += 1;
        let holder = Holder {
            claim: table.next_claim,
            stop: CancellationToken::new(),
        };
        let (claim, stop) = (holder.claim, holder.stop.clone());
        {
            let mut live = live.lock();
            if live.holder.is_some() && live.heard.elapsed() < self.rules.takeover_after {
                return Err(Refused::Busy);
            }
            if let Some(silent) = live.holder.replace(holder) {
                silent.stop.cancel();
                self.meter.takeovers.inc();
            }
            live.heard = Instant::now();
            live.publisher = peer;
            live.apply(self.clock.unix_us(), Input::Begin, &self.meter);
        }
        drop(table);
        Ok(Publisher {
            registry: self.clone(),
            live,
            claim,
            stop,
        })
    }

    /// The stream's track, whether or not its publisher is there.
    pub fn track(&self, key: &StreamKey) -> Option<track::Consumer> {
        let live = self.table.lock().streams.get(key)?.clone();
        let live = live.lock();
        live.track.as_ref().map(track::Producer::consumer)
    }

    /// The streams on air, as they come and go.
    pub fn announced(&self) -> watch::Receiver<Arc<Vec<Announced>>> {
        self.announced.subscribe()
    }

    /// Ends the streams that are kicked and those that nobody came back to.
    pub fn sweep(&self, plan: &Plan) {
        let now_us = self.clock.unix_us();
        let mut table = self.table.lock();
        let Table { streams, floor, .. } = &mut *table;
        let mut publishers = 0;
        let before = streams.len();
        streams.retain(|key, live| {
            let mut live = live.lock();
            let kicked = plan.is_kicked(key, now_us / 1000);
            if kicked {
                live.release(now_us, &self.meter);
            }
            let bytes = live.bytes;
            live.rate.update(Instant::now().into_std(), bytes);
            publishers += i64::from(live.holder.is_some());
            let stays = !kicked && live.stays(self.rules.grace);
            if !stays {
                *floor = floor.max(live.publication.numbers());
                live.end();
                tracing::info!(stream = %key, epoch = live.publication.epoch(), "stream ended");
            }
            stays
        });
        self.meter.publishers.set(publishers);
        if table.streams.len() < before {
            self.show(&table);
        }
    }

    /// What the scheduler is told of the streams on air.
    pub fn records(&self, origin: &NodeId) -> Vec<StreamRecord> {
        let table = self.table.lock();
        let records = table.streams.iter().filter_map(|(key, live)| {
            let live = live.lock();
            Some(StreamRecord {
                key: key.clone(),
                origin: origin.clone(),
                epoch: live.publication.epoch(),
                started_ms: live.started_ms?,
                tracks: records(live.publication.catalog()),
                bitrate_bps: live.rate.bps,
                peak_bps: live.peak.bps(),
                publisher: live.publisher.clone(),
            })
        });
        records.collect()
    }

    fn create(&self, table: &mut Table, key: &StreamKey) -> Result<Arc<Mutex<Live>>, Refused> {
        if table.streams.len() >= self.rules.max_publishers {
            return Err(Refused::Full);
        }
        let now_us = self.clock.unix_us();
        let (track, _) = track::new(&self.cache, None).map_err(|_| Refused::Full)?;
        let live = Arc::new(Mutex::new(Live {
            publication: Publication::new(self.rules.terms, table.floor, now_us),
            track: Some(track),
            group: None,
            holder: None,
            heard: Instant::now(),
            started_ms: None,
            bytes: 0,
            rate: Rate::new(Instant::now().into_std()),
            peak: Peak::default(),
            publisher: String::new(),
        }));
        table.streams.insert(key.clone(), live.clone());
        Ok(live)
    }

    fn show(&self, table: &Table) {
        let streams = table.streams.iter().filter_map(|(key, live)| {
            let live = live.lock();
            live.started_ms?;
            let (stream, epoch) = (key.to_string(), live.publication.epoch());
            Some(Announced {
                stream,
                epoch,
                hops: Vec::new(),
            })
        });
        let streams: Vec<Announced> = streams.collect();
        self.meter
            .streams
            .set(i64::try_from(streams.len()).unwrap_or(i64::MAX));
        self.announced.send_replace(Arc::new(streams));
    }
}

/// The right to publish one stream; dropping it starts the grace window.
#[derive(Debug)]
pub struct Publisher {
    registry: Arc<Registry>,
    live: Arc<Mutex<Live>>,
    claim: u64,
    stop: CancellationToken,
}

impl Publisher {
    /// Takes what the publisher sent.
    pub fn push(&self, event: flv::Event) -> Result<(), Lost> {
        let now_us = self.registry.clock.unix_us();
        let mut live = self.live.lock();
        if !live.is_held_by(self.claim) {
            return Err(Lost);
        }
        live.heard = Instant::now();
        if let flv::Event::Frame(_, frame) = &event {
            live.bytes += frame.payload.len() as u64;
        }
        let was_on_air = live.started_ms.is_some();
        live.apply(now_us, Input::Event(event), &self.registry.meter);
        let goes_on_air = !was_on_air && live.started_ms.is_some();
        // The table's lock comes first wherever both are held.
        drop(live);
        if goes_on_air {
            self.registry.show(&self.registry.table.lock());
        }
        Ok(())
    }

    /// Resolves when the stream is no longer this publisher's.
    pub async fn lost(&self) {
        self.stop.cancelled().await;
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        let mut live = self.live.lock();
        if live.is_held_by(self.claim) {
            live.release(self.registry.clock.unix_us(), &self.registry.meter);
        }
    }
}

impl Live {
    fn is_held_by(&self, claim: u64) -> bool {
        self.holder
            .as_ref()
            .is_some_and(|holder| holder.claim == claim)
    }

    /// Parts from the publisher, if there is one; the grace window begins.
    fn release(&mut self, now_us: u64, meter: &Meter) {
        if let Some(holder) = self.holder.take() {
            holder.stop.cancel();
            self.heard = Instant::now();
            self.apply(now_us, Input::End, meter);
        }
    }

    /// A stream nobody ever saw needs no grace.
    fn stays(&self, grace: Duration) -> bool {
        self.holder.is_some() || (self.started_ms.is_some() && self.heard.elapsed() < grace)
    }

    fn apply(&mut self, now_us: u64, input: Input, meter: &Meter) {
        self.publication.handle_input(now_us, input);
        while let Some(output) = self.publication.poll_output() {
            match output {
                Output::Open(header) => self.open(header, meter),
                Output::Frame(frame) => self.append(frame, meter),
                Output::Close => {
                    self.peak.close();
                    self.close();
                }
                Output::Dropped(why) => meter.dropped(why.as_str()),
            }
        }
    }

    fn open(&mut self, header: group::Header, meter: &Meter) {
        self.close();
        self.started_ms.get_or_insert(header.wallclock_us / 1000);
        meter.groups.inc();
        self.peak.open(header.segment_max);
        self.group = self
            .track
            .as_mut()
            .and_then(|track| track.open_group(header).ok());
    }

    /// A group that the cache has no room for is given up; the next one is tried again.
    fn append(&mut self, frame: Frame, meter: &Meter) {
        self.peak.push(frame.dts, frame.payload.len());
        let pushed = self.group.as_mut().map(|group| group.push(frame));
        if !matches!(pushed, Some(Ok(()))) {
            self.group = None;
            meter.dropped("cache_full");
        }
    }

    fn close(&mut self) {
        if let Some(group) = self.group.take() {
            group.finish();
        }
    }

    fn end(&mut self) {
        self.close();
        if let Some(track) = self.track.take() {
            track.end();
        }
    }
}

fn records(catalog: &Catalog) -> Vec<TrackRecord> {
    let tracks = catalog.tracks.iter();
    tracks
        .map(|track| record(track, catalog.frame_rate))
        .collect()
}

/// A record that cannot be read still names its codec.
fn record(track: &TrackConfig, frame_rate: Option<f64>) -> TrackRecord {
    let info = track.info().unwrap_or_default();
    let frame_rate = frame_rate.filter(|_| track.codec.is_video());
    TrackRecord {
        codec: track.codec.name().to_owned(),
        codec_string: info.codec_string,
        width: info.width,
        height: info.height,
        frame_rate_milli: frame_rate.map_or(0, |rate| (rate * 1000.0).round() as u32),
        sample_rate: info.sample_rate,
    }
}

/// How often [`Registry::sweep`] should run: a stream ends this much late, which nobody notices.
pub const SWEEP: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests;
