//! HLS and its low-latency form (draft-pantos-hls-rfc8216bis): playlists, init sections, segments and parts.
//!
//! A `Show` follows a stream while somebody plays it by HLS, once for all of them; whoever asks for what is not there
//! yet waits on its newest `View`, without a thread or a lock. Bytes are made when they are first asked for, once per
//! node, and kept by weight. Names and bytes of what a playlist names follow from what the origin decided alone, so
//! that any edge answers for any other. Leaves out HTTP and who may watch.

pub(crate) mod layout;
mod follow;
mod pieces;
pub(crate) mod session;
mod show;
mod view;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cluster::plan::Plan;
use cluster::stream::StreamKey;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::{Instant, timeout_at};
use transport::drain::Drain;

pub(crate) use crate::config::Auth;
use crate::meter::Metrics;
use crate::upstream::{Failure, Upstream};
pub(crate) use pieces::Made;
use pieces::{Find, Pieces};
pub(crate) use show::Show;
pub(crate) use view::{Form, View};

/// A piece of a stream, by the name that it has at every edge; its bytes never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Piece {
    /// How the segments of a configuration are decoded.
    Init {
        /// The stream's life.
        epoch: u64,
        /// The configuration's number within it.
        config_id: u32,
    },
    /// All parts of a segment.
    Segment {
        /// The stream's life.
        epoch: u64,
        /// Media sequence number.
        msn: u64,
    },
    /// A part.
    Part {
        /// The stream's life.
        epoch: u64,
        /// The part's number within it.
        number: u64,
    },
}

impl Piece {
    /// The stream's life that it is of.
    pub fn epoch(self) -> u64 {
        match self {
            Self::Init { epoch, .. } | Self::Segment { epoch, .. } | Self::Part { epoch, .. } => {
                epoch
            }
        }
    }

    /// Reads the last segment of a path; only the form that we write is one.
    pub fn parse(file: &str) -> Option<Self> {
        let mut words = file.split('.');
        let (kind, epoch, number) = (words.next()?, words.next()?, words.next()?);
        let (epoch, number): (u64, u64) = (epoch.parse().ok()?, number.parse().ok()?);
        let piece = match kind {
            "init" => Self::Init {
                epoch,
                config_id: u32::try_from(number).ok()?,
            },
            "seg" => Self::Segment { epoch, msn: number },
            "part" => Self::Part { epoch, number },
            _ => return None,
        };
        (piece.to_string() == file).then_some(piece)
    }
}

impl fmt::Display for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Init { epoch, config_id } => write!(f, "init.{epoch}.{config_id}.mp4"),
            Self::Segment { epoch, msn } => write!(f, "seg.{epoch}.{msn}.m4s"),
            Self::Part { epoch, number } => write!(f, "part.{epoch}.{number}.m4s"),
        }
    }
}

/// What is asked of a media playlist (rfc8216bis 6.2.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reload {
    /// To be answered once the playlist has this segment, or this part of it.
    pub at: Option<(u64, Option<u64>)>,
    /// Older segments may be left out.
    pub skip: bool,
}

impl fmt::Display for Reload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        if let Some((msn, part)) = self.at {
            write!(f, "_HLS_msn={msn}")?;
            part.map_or(Ok(()), |part| write!(f, "&_HLS_part={part}"))?;
            separator = "&";
        }
        if self.skip {
            write!(f, "{separator}_HLS_skip=YES")?;
        }
        Ok(())
    }
}

/// Why something cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Absent {
    /// The stream cannot.
    #[error(transparent)]
    Stream(#[from] Failure),
    /// It is past, was lost, or never was.
    #[error("no such piece of the stream")]
    Gone,
    /// It is further in the future than anybody knows.
    #[error("further ahead than the playlist allows")]
    Ahead,
    /// It did not come in time.
    #[error("it did not come in time")]
    Late,
    /// Too many wait.
    #[error("too many requests wait")]
    Crowded,
    /// The codec has no place in fMP4 as HLS takes it.
    #[error("{0}")]
    Codec(String),
}

impl Absent {
    /// The label in counters.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Stream(failure) => failure.as_str(),
            Self::Gone => "piece_gone",
            Self::Ahead => "piece_ahead",
            Self::Late => "piece_late",
            Self::Crowded => "waiters_full",
            Self::Codec(_) => "codec",
        }
    }
}

/// How HLS is served.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The length of a playlist.
    pub window: Duration,
    /// Bytes of made pieces that are kept.
    pub cache_bytes: u64,
    /// Whether segments are for those alone who have a session.
    pub auth: Auth,
}

/// What HLS is made from.
#[derive(Debug)]
pub struct Setup {
    /// How it is served.
    pub settings: Settings,
    /// Where streams come from.
    pub upstream: Upstream,
    /// Names the rungs of streams.
    pub plan: watch::Receiver<Arc<Plan>>,
    /// Counts what is made.
    pub metrics: Metrics,
    /// Everything ends when it stops.
    pub drain: Drain,
}

/// The streams that are played by HLS; a clone is the same set.
#[derive(Clone, Debug)]
pub struct Hls(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    setup: Setup,
    shows: Mutex<HashMap<StreamKey, Arc<Show>>>,
    pieces: Pieces,
    waiting: Semaphore,
}

impl Hls {
    /// Nothing is played yet.
    pub fn new(setup: Setup) -> Self {
        let pieces = Pieces::new(setup.settings.cache_bytes, setup.metrics.clone());
        Self(Arc::new(Shared {
            setup,
            shows: Mutex::default(),
            pieces,
            waiting: Semaphore::new(MAX_WAITING),
        }))
    }

    /// The stream and its rungs, best first: those that a player may switch between.
    pub fn rungs(&self, stream: &StreamKey) -> Vec<StreamKey> {
        let plan = self.0.setup.plan.borrow();
        match plan.stream(stream) {
            Some(planned) if !planned.rungs.is_empty() => planned.rungs.clone(),
            _ => vec![stream.clone()],
        }
    }

    /// Whether segments are for those alone who have a session.
    pub fn auth(&self) -> Auth {
        self.0.setup.settings.auth
    }

    /// The stream, followed from now on; joined if need be.
    pub(crate) async fn show(&self, stream: &StreamKey) -> Result<Arc<Show>, Failure> {
        if let Some(show) = self.known(stream).filter(|show| !show.is_ended()) {
            return Ok(show);
        }
        let joined = self.0.setup.upstream.join(stream, &[]).await?;
        let mut shows = self.0.shows.lock();
        if let Some(show) = shows.get(stream)
            && show.is_of(&joined.track)
        {
            return Ok(show.clone());
        }
        let (show, views) = Show::new(joined);
        let show = Arc::new(show);
        shows.insert(stream.clone(), show.clone());
        let task = follow::run(self.clone(), stream.clone(), show.clone(), views);
        self.0.setup.drain.background(task);
        Ok(show)
    }

    /// The stream's playlist, once it has what is asked for, if players can have its codecs.
    pub(crate) async fn playable(
        &self,
        stream: &StreamKey,
        at: Option<(u64, Option<u64>)>,
    ) -> Result<Arc<View>, Absent> {
        let view = self.playlist(stream, at).await?;
        view.about()?;
        Ok(view)
    }

    /// The stream's playlist, once it has what is asked for.
    async fn playlist(
        &self,
        stream: &StreamKey,
        at: Option<(u64, Option<u64>)>,
    ) -> Result<Arc<View>, Absent> {
        // A stream that has ended is still there for those who played it, unless it came back.
        let known = self.known(stream);
        let show = match self.show(stream).await {
            Ok(show) => show,
            Err(failure) => known.ok_or(failure)?,
        };
        show.used();
        if let Some(view) = show.latest().filter(|view| view.has(at)) {
            return Ok(view);
        }
        let _place = self.wait()?;
        show.view(at).await
    }

    /// A piece, made if need be; waits for one that is about to come.
    pub(crate) async fn piece(&self, stream: &StreamKey, piece: Piece) -> Result<Found, Absent> {
        if let Some(made) = self.0.pieces.kept(stream, piece) {
            return Ok(Found { made, hit: true });
        }
        let show = match self.known(stream) {
            Some(show) => show,
            None => self.show(stream).await?,
        };
        show.used();
        let mut views = show.views();
        let (mut place, mut deadline) = (None, None);
        loop {
            views.borrow_and_update();
            let wait = match self.0.pieces.make(stream, piece, show.track())? {
                Find::Found(made) => return Ok(Found { made, hit: false }),
                Find::Never => return Err(Absent::Gone),
                // The past is on its way until there is a first view.
                Find::Past if show.latest().is_some() => return Err(Absent::Gone),
                Find::Past | Find::Soon => show.patience(),
                Find::NewEpoch | Find::Mending => SHORTLY,
            };
            if place.is_none() {
                place = Some(self.wait()?);
            }
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + wait);
            match timeout_at(deadline, views.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(Absent::Gone),
                Err(_) if wait == SHORTLY => return Err(Absent::Gone),
                Err(_) => return Err(Absent::Late),
            }
        }
    }

    /// The newest view of a stream that is followed here.
    fn seen(&self, stream: &StreamKey) -> Option<Arc<View>> {
        self.known(stream)?.latest()
    }

    fn known(&self, stream: &StreamKey) -> Option<Arc<Show>> {
        self.0.shows.lock().get(stream).cloned()
    }

    /// Takes a show off the list, unless another has its place.
    fn forget(&self, stream: &StreamKey, show: &Arc<Show>) {
        let mut shows = self.0.shows.lock();
        if shows
            .get(stream)
            .is_some_and(|held| Arc::ptr_eq(held, show))
        {
            shows.remove(stream);
        }
    }

    fn wait(&self) -> Result<SemaphorePermit<'_>, Absent> {
        self.0.waiting.try_acquire().map_err(|_| Absent::Crowded)
    }
}

/// A piece that was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// Its bytes.
    pub(crate) made: Made,
    /// Whether they were there.
    pub(crate) hit: bool,
}

/// Requests that wait at one time: two for each of as many sessions as a node holds, at a few KiB each.
const MAX_WAITING: usize = 65_536;

/// Another edge knows a new epoch by the time of a slow path earlier, and has a group whole that is mended here.
const SHORTLY: Duration = Duration::from_secs(3);
