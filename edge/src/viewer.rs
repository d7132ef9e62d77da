//! Who watches: a guard per viewer, counted when made and when dropped.
//!
//! A [`Place`] is taken under the same lock as the decision to give it, so that the limits hold exactly however many
//! ask at once. It becomes a [`Viewer`] when the stream is there. Both give back what they took when dropped.
//! Whoever shows the session of one who is in already is the same viewer, and shares its place.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use cluster::stream::StreamKey;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::meter::Metrics;
use crate::playback::tags::Filled;

/// All viewers of the node; a clone is the same set.
#[derive(Clone, Debug)]
pub struct Viewers(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    metrics: Metrics,
    counts: Mutex<Counts>,
    total: AtomicU32,
    gathering_us: AtomicU32,
    next_id: AtomicU64,
}

#[derive(Debug, Default)]
struct Counts {
    /// Viewers of each stream that has some.
    streams: HashMap<StreamKey, u32>,
    /// Those of them who have a session.
    sessions: HashMap<Arc<str>, Shares>,
}

/// A session's one place.
#[derive(Debug)]
struct Shares {
    count: u32,
    /// The stream that it counts to.
    stream: StreamKey,
}

impl Counts {
    fn come(&mut self, stream: &StreamKey) {
        *self.streams.entry(stream.clone()).or_default() += 1;
    }

    fn go(&mut self, stream: &StreamKey) {
        if let Some(count) = self.streams.get_mut(stream) {
            *count -= 1;
            if *count == 0 {
                self.streams.remove(stream);
            }
        }
    }

    /// One more of a session that is in already; false where it is not, or has too many to be one viewer.
    fn share(&mut self, session: &str) -> bool {
        let shares = self.sessions.get_mut(session);
        let shares = shares.filter(|shares| shares.count < MAX_SHARES);
        shares.map(|shares| shares.count += 1).is_some()
    }

    /// One less of a session; after the last one, the stream that it counted to.
    fn unshare(&mut self, session: &str) -> Option<StreamKey> {
        let shares = self.sessions.get_mut(session)?;
        shares.count -= 1;
        let last = shares.count == 0;
        last.then(|| self.sessions.remove(session))?
            .map(|shares| shares.stream)
    }
}

impl Viewers {
    /// Nobody yet.
    pub fn new(metrics: Metrics) -> Self {
        Self(Arc::new(Shared {
            metrics,
            counts: Mutex::default(),
            total: AtomicU32::new(0),
            gathering_us: AtomicU32::new(0),
            next_id: AtomicU64::new(1),
        }))
    }

    /// Takes a place if `decide` agrees, given how many there are; a session that is in is not asked again.
    pub fn enter<R>(
        &self,
        stream: &StreamKey,
        session: Option<&str>,
        decide: impl FnOnce(u32) -> Result<(), R>,
    ) -> Result<Place, R> {
        let place = |session| Place {
            viewers: self.clone(),
            stream: stream.clone(),
            session,
            entered: Instant::now(),
        };
        let mut counts = self.0.counts.lock();
        if let Some(session) = session.filter(|session| counts.share(session)) {
            return Ok(place(Some(session.into())));
        }
        decide(self.total())?;
        counts.come(stream);
        // One that too many share already is a viewer of its own.
        let session = session.filter(|session| !counts.sessions.contains_key(*session));
        let session: Option<Arc<str>> = session.map(Arc::from);
        if let Some(session) = &session {
            let stream = stream.clone();
            counts
                .sessions
                .insert(session.clone(), Shares { count: 1, stream });
        }
        self.0.total.fetch_add(1, Ordering::Relaxed);
        drop(counts);
        self.0.metrics.viewers.inc();
        Ok(place(session))
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

    /// Viewers of each stream that has some.
    pub fn by_stream(&self) -> Vec<(StreamKey, u32)> {
        self.0
            .counts
            .lock()
            .streams
            .iter()
            .map(|(key, count)| (key.clone(), *count))
            .collect()
    }
}

/// A viewer's place, taken before the stream is there.
#[derive(Debug)]
pub struct Place {
    viewers: Viewers,
    stream: StreamKey,
    session: Option<Arc<str>>,
    entered: Instant,
}

impl Place {
    /// The viewer watches from here on, and the stream is kept coming as long as `lease` is held.
    pub fn watch(self, protocol: Protocol, lease: crate::upstream::Lease) -> Viewer {
        let shared = &self.viewers.0;
        let id = shared.next_id.fetch_add(1, Ordering::Relaxed);
        shared.metrics.joined(protocol);
        tracing::debug!(viewer = id, stream = %self.stream, ?protocol, "viewer joined");
        Viewer {
            id,
            bytes: 0,
            closed: Closed::Left,
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
            None => Some(self.stream.clone()),
        };
        let Some(stream) = counted else {
            return;
        };
        counts.go(&stream);
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
    closed: Closed,
    place: Place,
    _lease: crate::upstream::Lease,
}

impl Viewer {
    /// How long its frames are to be gathered into one write.
    pub fn gathering(&self) -> Duration {
        let us = self.place.viewers.0.gathering_us.load(Ordering::Relaxed);
        Duration::from_micros(us.into())
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
        if self.place.stream == *stream {
            return;
        }
        let mut counts = self.place.viewers.0.counts.lock();
        let Some(shares) = counts.sessions.get_mut(session) else {
            return;
        };
        let before = std::mem::replace(&mut shares.stream, stream.clone());
        counts.go(&before);
        counts.come(stream);
        drop(counts);
        self.place.stream = stream.clone();
    }

    /// Counts what was written for it.
    pub fn sent(&mut self, filled: &Filled) {
        if self.bytes == 0 {
            self.first();
        }
        let metrics = &self.place.viewers.0.metrics;
        self.bytes += filled.bytes as u64;
        metrics.egress_bytes.inc_by(filled.bytes as u64);
        metrics.drop_frames(&filled.dropped);
    }

    /// Ends it, after so many bytes that were counted elsewhere.
    pub fn end(mut self, bytes: u64, why: Closed) {
        self.bytes += bytes;
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
            stream,
            entered,
            ..
        } = &self.place;
        viewers.0.metrics.closed(self.closed);
        let (id, bytes, why) = (self.id, self.bytes, self.closed.as_str());
        let seconds = entered.elapsed().as_secs();
        tracing::debug!(viewer = id, %stream, bytes, seconds, why, "viewer gone");
    }
}

/// Places of one session at one time: a player that comes back before its old connection is noticed to be gone, by
/// either protocol. A token that was passed on does not let any number in.
const MAX_SHARES: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::playback::dropped::Dropped;
    use crate::upstream::Lease;

    fn place(viewers: &Viewers, stream: &str, most: u32) -> Option<Place> {
        let stream = StreamKey::parse(stream).unwrap();
        let decide = |total| if total < most { Ok(()) } else { Err(()) };
        viewers.enter(&stream, None, decide).ok()
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
    fn a_session_is_one_viewer_however_it_watches() {
        let viewers = Viewers::new(Metrics::default());
        let key = |text| StreamKey::parse(text).unwrap();
        let full = |total| if total == 0 { Ok(()) } else { Err(()) };
        let enter = |session| viewers.enter(&key("live/a"), Some(session), full);
        let places: Vec<_> = (0..MAX_SHARES).map(|_| enter("s").unwrap()).collect();
        assert_eq!((viewers.total(), viewers.0.metrics.viewers.get()), (1, 1));
        assert!(enter("other").is_err() && enter("s").is_err());
        let mut viewers_of = places.into_iter();
        let first = viewers_of.next().unwrap();
        let mut first = first.watch(Protocol::Hls, Lease::default());
        first.moves_to(&key("live/b"));
        assert_eq!(viewers.by_stream(), [(key("live/b"), 1)]);
        drop(first);
        assert_eq!(viewers.total(), 1);
        viewers_of.for_each(drop);
        assert_eq!((viewers.total(), viewers.by_stream().len()), (0, 0));
        assert!(enter("other").is_ok());
    }
}
