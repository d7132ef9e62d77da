//! Who watches: a guard per viewer, counted when made and when dropped.
//!
//! A [`Place`] is taken under the same lock as the decision to give it, so that the limits hold exactly however many
//! ask at once. It becomes a [`Viewer`] when the stream is there. Both give back what they took when dropped.
//! Whoever shows the session of one who is in already is the same viewer, and shares its place.

mod audience;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use cluster::moves::{Moves, Why};
use cluster::region::Region;
use cluster::sample::Sample;
use cluster::stream::StreamKey;
use cluster::waiting::Outside;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::meter::Metrics;
use crate::playback::asking::{Hand, Looked, Turn};
use crate::playback::tags::{Filled, Pieces, Tags};
use crate::rtt::{Measured, Segments};
use audience::Audience;

pub use audience::Group;
pub(crate) use audience::Sent;

/// All viewers of the node; a clone is the same set.
#[derive(Clone, Debug)]
pub struct Viewers(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    metrics: Metrics,
    counts: Mutex<Counts>,
    outside: Outside,
    since: Mutex<Instant>,
    began: Instant,
    total: AtomicU32,
    gathering_us: AtomicU32,
    hand: Hand,
    next_id: AtomicU64,
}

#[derive(Debug, Default)]
struct Counts {
    /// Viewers by stream and region.
    audience: Audience,
    /// Those of them who have a session.
    sessions: HashMap<Arc<str>, Shares>,
    /// Where those are whose connection is known: one of each viewer of FLV at most.
    peers: HashMap<SocketAddr, Peer>,
    /// Round-trip times of regions that no sample told of yet.
    ways: HashMap<Region, Way>,
}

/// A viewer's connection.
#[derive(Clone, Copy, Debug)]
struct Peer {
    region: Region,
    /// What was sent on it when its loss was told last.
    sent: Segments,
}

/// The median round-trip time of so many viewers, and the median of what their ways lose.
#[derive(Clone, Copy, Debug)]
struct Way {
    rtt_us: u32,
    measured: u32,
    lost_ppm: u32,
}

/// A session's one place.
#[derive(Debug)]
struct Shares {
    count: u32,
    /// What it is counted by.
    group: Group,
}

impl Counts {
    /// One more of a session that is in already; false where it is not, or has too many to be one viewer.
    fn share(&mut self, session: &str) -> bool {
        let shares = self.sessions.get_mut(session);
        let shares = shares.filter(|shares| shares.count < MAX_SHARES);
        shares.map(|shares| shares.count += 1).is_some()
    }

    /// One less of a session; after the last one, what it was counted by.
    fn unshare(&mut self, session: &str) -> Option<Group> {
        let shares = self.sessions.get_mut(session)?;
        shares.count -= 1;
        let last = shares.count == 0;
        last.then(|| self.sessions.remove(session))?
            .map(|shares| shares.group)
    }
}

impl Viewers {
    /// Nobody yet; who is turned away counts as waiting for a minute.
    pub fn new(metrics: Metrics) -> Self {
        Self::with_patience(metrics, PATIENCE)
    }

    /// Nobody yet; who is turned away counts as waiting for that long.
    pub fn with_patience(metrics: Metrics, patience: Duration) -> Self {
        let began = Instant::now();
        Self(Arc::new(Shared {
            metrics,
            counts: Mutex::default(),
            outside: Outside::new(patience),
            since: Mutex::new(began),
            began,
            total: AtomicU32::new(0),
            gathering_us: AtomicU32::new(0),
            hand: Hand::default(),
            next_id: AtomicU64::new(1),
        }))
    }

    /// Takes a place if `decide` agrees, given how many there are; a session that is in is not asked again.
    pub fn enter<R>(
        &self,
        mut group: Group,
        session: Option<&str>,
        decide: impl FnOnce(u32) -> Result<(), R>,
    ) -> Result<Place, R> {
        let mut counts = self.0.counts.lock();
        group.region = counts.audience.region(group.region);
        let place = |group, session| Place {
            viewers: self.clone(),
            group,
            session,
            peer: None,
            entered: Instant::now(),
        };
        if let Some(session) = session.filter(|session| counts.share(session)) {
            return Ok(place(group, Some(session.into())));
        }
        decide(self.total())?;
        counts.audience.come(&group);
        // One that too many share already is a viewer of its own.
        let session = session.filter(|session| !counts.sessions.contains_key(*session));
        let session: Option<Arc<str>> = session.map(Arc::from);
        if let Some(session) = &session {
            let shares = Shares {
                count: 1,
                group: group.clone(),
            };
            counts.sessions.insert(session.clone(), shares);
        }
        self.0.total.fetch_add(1, Ordering::Relaxed);
        drop(counts);
        self.0.metrics.viewers.inc();
        Ok(place(group, session))
    }

    /// Viewers of all streams.
    pub fn total(&self) -> u32 {
        self.0.total.load(Ordering::Relaxed)
    }

    /// Sets how long frames are gathered for viewers whom the main runtime serves.
    pub fn gather(&self, latency: Duration) {
        let us = u32::try_from(latency.as_micros()).unwrap_or(u32::MAX);
        self.0.gathering_us.store(us, Ordering::Relaxed);
    }

    /// Asks viewers to find another edge, for so long.
    pub fn relieve(&self, moves: Moves, time: Duration) {
        self.0.hand.turn(moves, time);
    }

    /// Viewers of each stream that has some.
    pub fn by_stream(&self) -> Vec<(StreamKey, u32)> {
        self.0.counts.lock().audience.by_stream()
    }

    /// A viewer was turned away for want of room; `who` is the same whenever it asks for this.
    pub fn refuse(&self, who: u64, region: Region) {
        self.0.outside.refuse(who, region, self.now_ms());
    }

    /// A viewer got in, who may have waited outside.
    pub fn admit(&self, who: impl FnOnce() -> u64) {
        self.0.outside.admit(who);
    }

    /// Where bytes of a stream's HLS are counted.
    pub(crate) fn pieces(&self, stream: &StreamKey) -> Sent {
        self.0.counts.lock().audience.pieces(stream)
    }

    /// Writes into a sample what it tells of viewers since this was last asked.
    pub fn tell(&self, sample: &mut Sample) {
        let refused = self.0.outside.by_region(self.now_ms());
        let now = Instant::now();
        let since = now - std::mem::replace(&mut *self.0.since.lock(), now);
        let mut counts = self.0.counts.lock();
        sample.viewers = counts.audience.take_streams();
        sample.regions = counts.audience.take_regions(since, refused);
        sample.policies = counts.audience.by_policy();
        let ways = std::mem::take(&mut counts.ways);
        for load in &mut sample.regions {
            if let Some(way) = ways.get(&load.region) {
                (load.rtt_us, load.measured) = (way.rtt_us, way.measured);
                load.lost_ppm = way.lost_ppm;
            }
        }
    }

    /// Takes what is known of connections; those that are no viewer's are left out.
    pub(crate) fn measured(&self, connections: &[Measured]) {
        let mut counts = self.0.counts.lock();
        let mut regions = HashMap::<Region, (Vec<u32>, Vec<u32>)>::new();
        for it in connections {
            let Some(peer) = counts.peers.get_mut(&it.peer) else {
                continue;
            };
            let (times, losses) = regions.entry(peer.region).or_default();
            times.push(it.rtt_us);
            if let Some(lost_ppm) = it.sent.lost_ppm(&peer.sent) {
                losses.push(lost_ppm);
                peer.sent = it.sent;
            }
        }
        let way = |(region, (mut times, mut losses)): (Region, (Vec<u32>, Vec<u32>))| {
            let way = Way {
                rtt_us: median(&mut times),
                measured: times.len() as u32,
                lost_ppm: median(&mut losses),
            };
            (region, way)
        };
        counts.ways = regions.into_iter().map(way).collect();
    }

    fn now_ms(&self) -> u64 {
        self.0.began.elapsed().as_millis() as u64
    }
}

/// The middle one; 0 of none.
fn median(values: &mut [u32]) -> u32 {
    let middle = values.len() / 2;
    match values {
        [] => 0,
        values => *values.select_nth_unstable(middle).1,
    }
}

/// A viewer's place, taken before the stream is there.
#[derive(Debug)]
pub struct Place {
    viewers: Viewers,
    group: Group,
    session: Option<Arc<str>>,
    /// The other end of its own connection.
    peer: Option<SocketAddr>,
    entered: Instant,
}

impl Place {
    /// It has a connection of its own, on which the way to its region can be measured.
    pub(crate) fn comes_from(&mut self, peer: SocketAddr) {
        self.peer = Some(crate::rtt::named(peer));
    }

    /// The viewer watches from here on, and the stream is kept coming as long as `lease` is held.
    pub fn watch(self, protocol: Protocol, lease: crate::upstream::Lease) -> Viewer {
        let shared = &self.viewers.0;
        let id = shared.next_id.fetch_add(1, Ordering::Relaxed);
        shared.metrics.joined(protocol);
        let is_session = protocol == Protocol::Hls;
        let Group { stream, region, .. } = &self.group;
        let sent = {
            let mut counts = shared.counts.lock();
            if is_session {
                counts.audience.tune_in(stream, *region);
            }
            if let Some(peer) = self.peer {
                let (region, sent) = (*region, Segments::default());
                counts.peers.insert(peer, Peer { region, sent });
            }
            counts.audience.join(stream, *region)
        };
        tracing::debug!(viewer = id, %stream, ?protocol, "viewer joined");
        Viewer {
            id,
            bytes: 0,
            sent,
            is_session,
            closed: Closed::Left,
            asked: Looked::default(),
            place: self,
            _lease: lease,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let shared = &self.viewers.0;
        let mut counts = shared.counts.lock();
        let counted = match &self.session {
            Some(session) => counts.unshare(session),
            None => Some(self.group.clone()),
        };
        let Some(group) = counted else {
            return;
        };
        counts.audience.go(&group);
        shared.total.fetch_sub(1, Ordering::Relaxed);
        drop(counts);
        shared.metrics.viewers.dec();
    }
}

/// By what a viewer watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// FLV as the body of an HTTP response.
    Flv,
    /// FLV in the messages of a WebSocket.
    WebSocket,
    /// HLS, one session.
    Hls,
}

impl Protocol {
    /// The label in counters.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Flv => "flv",
            Self::WebSocket => "websocket",
            Self::Hls => "hls",
        }
    }
}

/// Why a viewer does not watch any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// It went, or its connection broke, or the node stopped.
    Left,
    /// The stream ended.
    Ended,
    /// It took nothing for too long.
    Stalled,
    /// It took something, but got no whole picture for too long.
    Slow,
}

impl Closed {
    /// The label in counters.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Ended => "ended",
            Self::Stalled => "stalled",
            Self::Slow => "slow",
        }
    }
}

/// Someone who watches; dropped, it is counted with what it got and why it ended.
#[derive(Debug)]
pub struct Viewer {
    id: u64,
    bytes: u64,
    /// What is written for its region.
    sent: Sent,
    /// Whether it plays by HLS.
    is_session: bool,
    closed: Closed,
    /// Whether it was its turn to be asked to leave, where it is alone.
    asked: Looked,
    place: Place,
    _lease: crate::upstream::Lease,
}

impl Viewer {
    /// How long its frames are to be gathered into one write.
    pub fn gathering(&self) -> Duration {
        let us = self.place.viewers.0.gathering_us.load(Ordering::Relaxed);
        Duration::from_micros(us.into())
    }

    /// Its number.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Whose turn it is to be asked to find another edge.
    pub fn turn(&self) -> Turn {
        self.place.viewers.0.hand.look()
    }

    /// It was asked.
    pub fn asked(&self, why: Why) {
        self.place.viewers.0.metrics.asked(why);
    }

    /// Asks it when it is its turn and it understands that; how many bytes that takes.
    pub fn ask(&mut self, tags: &mut Tags, out: &mut Pieces) -> usize {
        let turn = self.turn();
        let passed = self.asked.until(turn);
        if !passed.is_some_and(|passed| passed.has(self.id)) {
            return 0;
        }
        let asked = tags.ask(out);
        if asked > 0 {
            self.asked(turn.why);
        }
        asked
    }

    /// The first bytes of the stream are written for it.
    pub fn first(&self) {
        let first_frame = &self.place.viewers.0.metrics.first_frame;
        first_frame.observe(self.place.entered.elapsed().as_secs_f64());
    }

    /// It watches another rung now, if it has a session.
    pub fn moves_to(&mut self, stream: &StreamKey) {
        let Some(session) = &self.place.session else {
            return;
        };
        let Group {
            stream: before,
            region,
            ..
        } = &mut self.place.group;
        if before == stream {
            return;
        }
        let mut counts = self.place.viewers.0.counts.lock();
        let Some(shares) = counts.sessions.get_mut(session) else {
            return;
        };
        let group = Group {
            stream: stream.clone(),
            ..shares.group.clone()
        };
        let counted = std::mem::replace(&mut shares.group, group.clone());
        counts.audience.go(&counted);
        counts.audience.come(&group);
        if self.is_session {
            counts.audience.tune_out(before, *region);
            counts.audience.tune_in(stream, *region);
        }
        drop(counts);
        *before = stream.clone();
    }

    /// Counts what was written for it.
    pub fn sent(&mut self, filled: &Filled) {
        if self.bytes == 0 {
            self.first();
        }
        self.count(filled.bytes as u64);
        let metrics = &self.place.viewers.0.metrics;
        metrics.egress_bytes.inc_by(filled.bytes as u64);
        metrics.drop_frames(&filled.dropped);
        if filled.dropped.skips > 0 {
            self.stall();
        }
    }

    /// Counts to its region that it was too far behind, and loses pictures.
    pub fn stall(&self) {
        let mut counts = self.place.viewers.0.counts.lock();
        counts.audience.stall(self.place.group.region);
    }

    /// Counts bytes written for it that are in the node's sum already.
    pub fn count(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Ends it, after so many more bytes that are in the node's sum already.
    pub fn end(mut self, bytes: u64, why: Closed) {
        self.count(bytes);
        self.closed = why;
    }

    /// Says why it is about to end.
    pub fn close(&mut self, why: Closed) {
        self.closed = why;
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        let Place {
            viewers,
            group: Group { stream, region, .. },
            entered,
            peer,
            ..
        } = &self.place;
        viewers.0.metrics.closed(self.closed);
        {
            let mut counts = viewers.0.counts.lock();
            counts.audience.leave(stream, *region);
            if let Some(peer) = peer {
                counts.peers.remove(peer);
            }
            if self.is_session {
                counts.audience.tune_out(stream, *region);
            }
            if matches!(self.closed, Closed::Stalled | Closed::Slow) {
                counts.audience.stall(*region);
            }
        }
        let (id, bytes, why) = (self.id, self.bytes, self.closed.as_str());
        let seconds = entered.elapsed().as_secs();
        tracing::debug!(viewer = id, %stream, bytes, seconds, why, "viewer gone");
    }
}

/// Places of one session at one time: a player that comes back before its old connection is noticed to be gone, by
/// either protocol. A token that was passed on does not let any number in.
const MAX_SHARES: u32 = 4;

/// The step of a history that is not told otherwise.
const PATIENCE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::playback::dropped::Dropped;
    use crate::upstream::Lease;
    use cluster::node::Role;
    use cluster::sample::PolicyViewers;

    fn sample(viewers: &Viewers) -> Sample {
        let mut sample = Sample::new(crate::fixture::described("edge-1", Role::Edge), 0);
        viewers.tell(&mut sample);
        sample
    }

    fn place(viewers: &Viewers, stream: &str, most: u32) -> Option<Place> {
        let stream = StreamKey::parse(stream).unwrap();
        let decide = |total| if total < most { Ok(()) } else { Err(()) };
        let group = Group::of(&stream, Region::UNKNOWN);
        viewers.enter(group, None, decide).ok()
    }

    #[test]
    fn places_are_counted_and_given_back() {
        let viewers = Viewers::new(Metrics::default());
        let first = place(&viewers, "live/a", 2).unwrap();
        let second = place(&viewers, "live/b", 2).unwrap();
        assert!(place(&viewers, "live/a", 2).is_none());
        assert_eq!((viewers.total(), viewers.by_stream().len()), (2, 2));
        drop(first);
        let third = place(&viewers, "live/b", 2).unwrap();
        assert_eq!(
            viewers.by_stream(),
            [(StreamKey::parse("live/b").unwrap(), 2)]
        );
        drop((second, third));
        assert_eq!((viewers.total(), viewers.by_stream().len()), (0, 0));
        assert_eq!(viewers.0.metrics.viewers.get(), 0);
    }

    #[test]
    fn a_viewer_is_counted_with_its_reason() {
        let metrics = Metrics::default();
        let viewers = Viewers::new(metrics.clone());
        let place = place(&viewers, "live/a", 1).unwrap();
        let mut viewer = place.watch(Protocol::Flv, Lease::default());
        viewer.sent(&Filled {
            bytes: 100,
            ..Filled::default()
        });
        let dropped = Dropped {
            skips: 1,
            reference: 7,
            ..Dropped::default()
        };
        viewer.sent(&Filled {
            bytes: 10,
            dropped,
            ..Filled::default()
        });
        viewer.close(Closed::Stalled);
        drop(viewer);
        let counts = (
            metrics.egress_bytes.get(),
            metrics.skips.get(),
            metrics.dropped("reference"),
        );
        assert_eq!(counts, (110, 1, 7));
        assert_eq!(metrics.closed_by(Closed::Stalled), 1);
        assert_eq!(viewers.total(), 0);
    }

    #[test]
    fn a_region_is_told_the_median_of_its_viewers_once() {
        let viewers = Viewers::new(Metrics::default());
        let stream = StreamKey::parse("live/a").unwrap();
        let here = Region::named("here");
        let peer = |port| SocketAddr::from(([192, 0, 2, 7], port));
        let mut inside = Vec::new();
        for port in 1..=3 {
            let place = viewers.enter(Group::of(&stream, here), None, |_| Ok::<_, ()>(()));
            let mut place = place.unwrap();
            place.comes_from(peer(port));
            inside.push(place.watch(Protocol::Flv, Lease::default()));
        }
        let mut sent = 0;
        let mut measure = || {
            sent += 1_000;
            viewers.measured(&[1, 2, 3, 4].map(|port| Measured {
                peer: peer(port),
                rtt_us: u32::from(port) * 1000,
                sent: Segments {
                    all: sent,
                    resent: sent * u32::from(port) / 100,
                },
            }));
            let told = sample(&viewers).regions[0];
            let again = sample(&viewers).regions[0];
            assert_eq!((told.region, again.measured), (here, 0));
            (told.rtt_us, told.measured, told.lost_ppm)
        };
        assert_eq!(measure(), (2_000, 3, 20_000));
        inside.remove(0);
        assert_eq!(measure(), (3_000, 2, 30_000));
    }

    #[test]
    fn a_session_is_one_viewer_however_it_watches() {
        let viewers = Viewers::new(Metrics::default());
        let key = |text| StreamKey::parse(text).unwrap();
        let full = |total| if total == 0 { Ok(()) } else { Err(()) };
        let here = Region::named("here");
        let group = Group {
            policy: Some("gold".into()),
            ..Group::of(&key("live/a"), here)
        };
        let enter = |session| viewers.enter(group.clone(), Some(session), full);
        let places: Vec<_> = (0..MAX_SHARES).map(|_| enter("s").unwrap()).collect();
        assert_eq!((viewers.total(), viewers.0.metrics.viewers.get()), (1, 1));
        assert!(enter("other").is_err() && enter("s").is_err());
        let mut viewers_of = places.into_iter();
        let first = viewers_of.next().unwrap();
        let mut first = first.watch(Protocol::Hls, Lease::default());
        first.moves_to(&key("live/b"));
        assert_eq!(viewers.by_stream(), [(key("live/b"), 1)]);
        let told = sample(&viewers);
        let region = told.regions[0];
        assert_eq!((region.region, region.viewers, region.joins), (here, 1, 1));
        let gold = PolicyViewers {
            policy: "gold".to_owned(),
            key: key("live/b"),
            viewers: 1,
        };
        assert_eq!(told.policies, [gold]);
        drop(first);
        assert_eq!(viewers.total(), 1);
        viewers_of.for_each(drop);
        assert_eq!((viewers.total(), viewers.by_stream().len()), (0, 0));
        assert!(enter("other").is_ok());
    }
}
