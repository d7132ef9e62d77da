//! A viewer of HLS, as hls.js is one: multivariant playlist, media playlist, parts as they are made.
//!
//! One connection to each server, used again and again: a browser has more of them, or one by HTTP/2. Playlists are
//! asked for as delta updates that wait for the next part; what comes is read by `fmp4.rs` and looked at as FLV is.
//! It takes gzip, as browsers do, stays with the first variant, and follows content steering from pathway to pathway;
//! who steers is asked between two playlists.

mod exchange;
pub mod fmp4;
mod line;
mod playlist;
mod position;
mod steering;

use super::{
    target::Target,
    watch::{Moment, Validate},
    worker::Viewer,
};
use crate::load::delays::record;
use anyhow::{Result, bail, ensure};
use exchange::{Answer, Exchange};
use fmp4::{Fragment, Init};
use line::Line;
use playlist::{Media, Playlist};
use position::Position;
use std::time::Duration;
use steering::{Site, Steering};
use tokio::time::{Instant, sleep, timeout};
use transport::clock::unix_us;

/// What is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Parts, near the present: LL-HLS.
    Parts,
    /// Whole segments.
    Segments,
}

/// Watches until the stream ends or something fails.
pub async fn follow(viewer: &mut Viewer<'_>, pace: Pace) -> Result<()> {
    let mut session = Session::new(viewer, pace);
    let mut playlist = session.open().await?;
    session.next = match pace {
        Pace::Parts => position::near(&playlist, playlist.part_hold_back),
        Pace::Segments => position::near(&playlist, playlist.target * SEGMENTS_BACK),
    };
    loop {
        let progress = session.take_new(&playlist).await?;
        ensure!(!playlist.ended, "the stream ended");
        playlist = session.reload(&playlist, progress).await?;
    }
}

/// Whether a playlist had something new.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Some,
    None,
}

struct Session<'a, 'b> {
    viewer: &'a mut Viewer<'b>,
    exchange: Exchange<'b>,
    pace: Pace,
    /// The media playlist.
    media: Target,
    steering: Option<Steering>,
    next: Position,
    /// The initialisation segment in force, and its URI.
    init: Option<(String, Init)>,
    line: Line,
    loaded: Instant,
}

impl<'a, 'b> Session<'a, 'b> {
    fn new(viewer: &'a mut Viewer<'b>, pace: Pace) -> Self {
        let (media, from) = viewer.target();
        Self {
            exchange: Exchange::new(viewer.worker, from),
            viewer,
            pace,
            media,
            steering: None,
            next: Position::default(),
            init: None,
            line: Line::default(),
            loaded: Instant::now(),
        }
    }

    /// From the URL that was given to the first media playlist.
    async fn open(&mut self) -> Result<Media> {
        for _ in 0..MAX_STEPS {
            let (answer, at) = self
                .ask("multivariant playlist", self.media.clone())
                .await?;
            match playlist::parse(&answer.text()?)? {
                Playlist::Multivariant(multivariant) => {
                    self.media = at.join(&multivariant.variants[0].uri)?;
                    self.steering = Steering::new(&multivariant, &at, &self.media);
                }
                Playlist::Media(media) => {
                    let pathway = self.steering.as_ref().map_or("", Steering::on);
                    self.viewer.plays_from(pathway, &at);
                    self.media = at;
                    self.loaded = Instant::now();
                    self.note_playlist(&answer, Waits::No);
                    return Ok(media);
                }
            }
        }
        bail!("the multivariant playlist leads to no media playlist")
    }

    /// Asks, and where it is redirected to.
    async fn ask(&mut self, what: &str, mut target: Target) -> Result<(Answer, Target)> {
        for _ in 0..MAX_STEPS {
            let answer = self.exchange.get(&target).await?;
            match (answer.status, &answer.location) {
                (200..300, _) => return Ok((answer, target)),
                (300..400, Some(location)) => target = target.join(location)?,
                (status, _) => bail!("{what}: status {status}"),
            }
        }
        bail!("redirected more than {MAX_STEPS} times")
    }

    /// The playlist again, when there is something new in it.
    async fn reload(&mut self, last: &Media, progress: Progress) -> Result<Media> {
        let waits = last.blocks && self.pace == Pace::Parts;
        if !waits || progress == Progress::None {
            sleep(self.pause(last, progress)).await;
        }
        let mut query = String::new();
        if waits {
            query = format!("_HLS_msn={}&_HLS_part={}", self.next.msn, self.next.part);
            if last.skips {
                query += "&_HLS_skip=YES";
            }
        }
        let waits = if waits { Waits::ForPart } else { Waits::No };
        if let Some(site) = self.steered().await {
            match self.load(&site.media, &query, waits).await {
                Ok(media) => {
                    self.go(site);
                    return Ok(media);
                }
                Err(_) => self.stay(site.pathway),
            }
        }
        let media = self.media.clone();
        self.load(&media, &query, waits).await
    }

    async fn load(&mut self, media: &Target, query: &str, waits: Waits) -> Result<Media> {
        self.loaded = Instant::now();
        let (answer, _) = self.ask("playlist", media.with(query)?).await?;
        self.note_playlist(&answer, waits);
        match playlist::parse(&answer.text()?)? {
            Playlist::Media(media) => Ok(media),
            Playlist::Multivariant(_) => bail!("a media playlist became another"),
        }
    }

    /// Where to play from now, when it was time to ask and it is somewhere else. A player plays on whatever becomes of
    /// who steers it.
    async fn steered(&mut self) -> Option<Site> {
        let now = self.viewer.start.elapsed();
        let question = self.steering.as_mut()?.question(now)?;
        let (answer, _) = timeout(STEERING, self.ask("steering", question))
            .await
            .ok()?
            .ok()?;
        let text = answer.text().ok()?;
        let now = self.viewer.start.elapsed();
        self.steering.as_mut()?.answer(&text, now).ok().flatten()
    }

    fn go(&mut self, site: Site) {
        self.viewer.plays_from(&site.pathway, &site.media);
        self.viewer.worker.desk.open().0.hls.moved += 1;
        if let Some(steering) = &mut self.steering {
            steering.went(&site.pathway);
        }
        self.media = site.media;
    }

    fn stay(&mut self, pathway: String) {
        if let Some(steering) = &mut self.steering {
            steering.failed(pathway, self.viewer.start.elapsed());
        }
    }

    /// How long not to ask again (6.3.4): counted from the last time where segments are played.
    fn pause(&self, last: &Media, progress: Progress) -> Duration {
        let length = match (self.pace, last.part_target) {
            (Pace::Parts, Some(part)) => return part,
            _ => last
                .segments
                .last()
                .map_or(last.target, |segment| segment.duration),
        };
        let length = match progress {
            Progress::Some => length,
            Progress::None => length / 2,
        };
        length
            .max(SHORTEST_PAUSE)
            .saturating_sub(self.loaded.elapsed())
    }

    /// Takes what a playlist has behind the position.
    async fn take_new(&mut self, media: &Media) -> Result<Progress> {
        let before = self.next;
        ensure!(media.first <= self.next.msn, "fell out of the window");
        for (msn, segment) in (media.first..).zip(&media.segments) {
            if let Some(map) = &segment.map {
                self.take_init(map).await?;
            }
            if msn < self.next.msn {
                continue;
            }
            if segment.discontinuity && self.next.part == 0 {
                self.line = Line::default();
            }
            let by_parts = self.pace == Pace::Parts && !segment.parts.is_empty();
            if by_parts {
                for part in segment.parts.iter().skip(self.next.part) {
                    self.take(&part.uri).await?;
                    self.next.part += 1;
                }
            } else if let Some(uri) = segment.uri.as_ref().filter(|_| self.next.part == 0) {
                self.take(uri).await?;
            }
            if segment.uri.is_some() {
                self.next = Position {
                    msn: msn + 1,
                    part: 0,
                };
            }
        }
        let moved = self.next != before;
        Ok(if moved {
            Progress::Some
        } else {
            Progress::None
        })
    }

    async fn take_init(&mut self, uri: &str) -> Result<()> {
        if self.init.as_ref().is_some_and(|(known, _)| known == uri) {
            return Ok(());
        }
        let (answer, _) = self
            .ask("initialisation segment", self.media.join(uri)?)
            .await?;
        self.init = Some((uri.into(), Init::read(&answer.body)?));
        Ok(())
    }

    /// Takes a part or a segment.
    async fn take(&mut self, uri: &str) -> Result<()> {
        let (answer, _) = self.ask("part", self.media.join(uri)?).await?;
        let at = Moment {
            since_start: self.viewer.start.elapsed(),
            unix_us: unix_us(),
        };
        let read = self.read(&answer);
        let mut desk = self.viewer.worker.desk.open();
        let tally = &mut desk.0;
        record(&mut tally.hls.part, answer.took);
        let first = Moment {
            since_start: answer
                .first_byte
                .saturating_duration_since(self.viewer.start),
            ..at
        };
        self.viewer.watch.begin(first, tally);
        let fragments = match read {
            Ok(fragments) => fragments,
            Err(error) => {
                tally.hls.fault(error.to_string());
                tally.bytes += answer.body.len() as u64;
                return Ok(());
            }
        };
        for fragment in &fragments {
            match self.line.follow(fragment) {
                Ok(gaps) => tally.hls.gaps += gaps,
                Err(fault) => tally.hls.fault(fault.to_string()),
            }
        }
        tally.hls.parts += 1;
        let samples: Vec<_> = fragments.into_iter().flat_map(|it| it.samples).collect();
        let length = answer.body.len();
        Ok(self.viewer.watch.take_part(at, length, &samples, tally)?)
    }

    fn read(&self, answer: &Answer) -> Result<Vec<Fragment>, fmp4::Error> {
        if self.viewer.worker.crowd.plan.validate == Validate::None {
            return Ok(Vec::new());
        }
        let (_, init) = self
            .init
            .as_ref()
            .ok_or(fmp4::Error::Missing("EXT-X-MAP"))?;
        init.fragments(&answer.body)
    }

    fn note_playlist(&self, answer: &Answer, waits: Waits) {
        let mut desk = self.viewer.worker.desk.open();
        let hls = &mut desk.0.hls;
        let times = match waits {
            Waits::No => &mut hls.playlist,
            Waits::ForPart => &mut hls.blocked,
        };
        record(times, answer.took);
        hls.playlist_bytes += answer.length as u64;
    }
}

/// Whether an answer is held back until there is something new.
#[derive(Clone, Copy)]
enum Waits {
    No,
    ForPart,
}

/// More than any honest chain: redirector, edge, multivariant, media, session.
const MAX_STEPS: usize = 6;
/// Where players of segments begin, in target durations before the end (6.3.3).
const SEGMENTS_BACK: u32 = 3;
/// A quarter of what a player of parts has in store.
const STEERING: Duration = Duration::from_millis(250);
/// However short a segment is.
const SHORTEST_PAUSE: Duration = Duration::from_millis(200);
