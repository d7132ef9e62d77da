//! What a player sees of a stream at one moment: a playlist that never changes.
//!
//! Its text is written when it is first asked for, once for each form, and compressed once; all who ask share it.

use std::collections::VecDeque;
use std::fmt;
use std::io::Write as _;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use cluster::stream::StreamKey;
use flate2::Compression;
use flate2::write::GzEncoder;
use media::codec::Catalog;
use media::playlist::{self, Content, Edge, Media, Report, Uris};
use media::segment::Terms;
use media::timestamp::Timestamp;

use super::layout::{Layout, Part, Segment};
use super::{Absent, Auth, Piece};

/// The newest place in a playlist: a segment, and a part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Last {
    /// Media sequence number.
    pub(crate) msn: u64,
    /// The part's index; none when the segment is complete.
    pub(crate) part: Option<u64>,
}

/// In which form a playlist is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    /// Older segments are left out (rfc8216bis 4.4.5.2).
    pub(crate) skip: bool,
    /// Compressed.
    pub(crate) gzip: bool,
}

/// What a multivariant playlist says of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct About {
    /// RFC 6381, commas between.
    pub(crate) codecs: String,
    /// Pixels; 0 without video.
    pub(crate) width: u32,
    /// Pixels; 0 without video.
    pub(crate) height: u32,
    /// Frames in a thousand seconds; 0 when unknown.
    pub(crate) frame_rate_milli: u32,
}

impl About {
    fn of(catalog: &Catalog) -> Result<Self, Absent> {
        media::fmp4::init(catalog).map_err(|error| Absent::Codec(error.to_string()))?;
        let infos = catalog.tracks.iter().filter_map(|track| track.info().ok());
        let infos: Vec<_> = infos.collect();
        let video = infos.iter().find(|info| info.width > 0);
        let codecs = infos.iter().map(|info| info.codec_string.as_str());
        let rate = catalog.frame_rate.unwrap_or_default();
        Ok(Self {
            codecs: codecs.collect::<Vec<_>>().join(","),
            width: video.map_or(0, |info| info.width),
            height: video.map_or(0, |info| info.height),
            frame_rate_milli: (rate * 1000.0).round() as u32,
        })
    }
}

/// A playlist at one moment.
#[derive(Debug)]
pub(crate) struct View {
    epoch: u64,
    terms: Terms,
    segments: VecDeque<Arc<Segment>>,
    /// The segment that parts are added to.
    open: Option<Segment>,
    /// The part that comes next.
    hint: Option<u64>,
    ended: bool,
    /// The rungs that are followed here, and how far they are.
    reports: Vec<(StreamKey, Last)>,
    auth: Auth,
    catalog: Option<Arc<Catalog>>,
    about: OnceLock<Result<About, Absent>>,
    full: OnceLock<Text>,
    delta: OnceLock<Text>,
}

/// A text and its compressed form.
#[derive(Debug)]
struct Text {
    plain: Bytes,
    gzip: OnceLock<Bytes>,
}

impl View {
    /// What the layout is at the moment.
    pub(super) fn new(
        layout: &Layout,
        catalog: Option<Arc<Catalog>>,
        ended: bool,
        reports: Vec<(StreamKey, Last)>,
        auth: Auth,
    ) -> Self {
        let open = layout.open();
        Self {
            epoch: layout.epoch(),
            terms: layout.terms(),
            segments: layout.segments().clone(),
            open: open.and_then(|open| open.open_segment()).cloned(),
            hint: layout.next_part(),
            ended,
            reports,
            auth,
            catalog,
            about: OnceLock::new(),
            full: OnceLock::new(),
            delta: OnceLock::new(),
        }
    }

    /// Whether nothing more comes.
    pub(crate) fn is_ended(&self) -> bool {
        self.ended
    }

    /// The target duration.
    pub(crate) fn target(&self) -> Duration {
        Duration::from_secs(Media::target(self.terms))
    }

    /// The newest place, if there is one.
    pub(crate) fn last(&self) -> Option<Last> {
        let complete = self.segments.back().map(|segment| Last {
            msn: segment.msn,
            part: (segment.parts.len() as u64).checked_sub(1),
        });
        let open = self.open.as_ref().and_then(|segment| {
            let part = Some((segment.parts.len() as u64).checked_sub(1)?);
            Some(Last {
                msn: segment.msn,
                part,
            })
        });
        open.or(complete)
    }

    /// Whether it has what is asked for: a complete segment at least, or that segment, or that part of it.
    pub(crate) fn has(&self, at: Option<(u64, Option<u64>)>) -> bool {
        if self.ended {
            return true;
        }
        let Some((msn, part)) = at else {
            return !self.segments.is_empty();
        };
        let complete = self.segments.back().map(|segment| segment.msn);
        let open = self.open.as_ref().map(|open| (open.msn, open.parts.len()));
        let parts_of = |msn| {
            let segment = self.segments.iter().rev().find(|found| found.msn == msn);
            segment.map_or(u64::MAX, |segment| segment.parts.len() as u64)
        };
        // A part behind a segment's last is the first of the next one (rfc8216bis 6.2.5.2).
        let (msn, part) = match part {
            Some(part) if complete >= Some(msn) && part >= parts_of(msn) => (msn + 1, Some(0)),
            asked => (msn, asked),
        };
        complete >= Some(msn)
            || part.is_some_and(|part| {
                open.is_some_and(|(of, parts)| of == msn && part < parts as u64)
            })
    }

    /// Whether it is asked for more than may be asked for: two segments ahead.
    pub(crate) fn is_ahead(&self, at: Option<(u64, Option<u64>)>) -> bool {
        let Some((msn, part)) = at.filter(|_| !self.ended) else {
            return false;
        };
        let open = self
            .open
            .as_ref()
            .map(|open| (open.msn, open.parts.len() as u64));
        let complete = self.segments.back().map(|segment| segment.msn);
        let newest = complete.max(open.map(|(msn, _)| msn.saturating_sub(1)));
        let part_us = self.terms.part_target.as_micros().max(1).unsigned_abs();
        let parts_ahead = ADVANCE_US.div_ceil(part_us).max(ADVANCE_PARTS);
        let there = open
            .filter(|(of, _)| *of == msn)
            .map_or(0, |(_, parts)| parts);
        newest.is_some_and(|newest| {
            let far = part.is_some_and(|part| part >= there.saturating_add(parts_ahead));
            msn > newest.saturating_add(2) || (msn > newest && far)
        })
    }

    /// Bits per second of the busiest segment, and over all of them, with what the container adds.
    pub(crate) fn rates(&self) -> (u64, u64) {
        let measured = self.segments.iter().filter(|segment| !segment.gap);
        let rate = |bytes: u64, duration: Timestamp| {
            let us = duration.as_micros().max(1).unsigned_abs();
            let bits = u128::from(bytes) * 8 * 1_000_000;
            u64::try_from(bits / u128::from(us)).unwrap_or(u64::MAX)
        };
        let (mut peak, mut bytes, mut length) = (0, 0, Timestamp::ZERO);
        for segment in measured {
            peak = rate(segment.bytes(), segment.duration).max(peak);
            (bytes, length) = (bytes + segment.bytes(), length + segment.duration);
        }
        (peak + CONTAINER_BPS, rate(bytes, length) + CONTAINER_BPS)
    }

    /// What it is made of, if players can have that.
    pub(crate) fn about(&self) -> Result<&About, Absent> {
        let about = self.about.get_or_init(|| {
            let catalog = self.catalog.as_ref().ok_or(Absent::Gone)?;
            About::of(catalog)
        });
        about.as_ref().map_err(Absent::clone)
    }

    /// The playlist for a session.
    pub(crate) fn text(&self, form: Form, session: &str) -> Bytes {
        let text = match form.skip {
            true => self.delta.get_or_init(|| self.write(playlist::Form::Delta)),
            false => self.full.get_or_init(|| self.write(playlist::Form::Full)),
        };
        match (self.auth, form.gzip) {
            (Auth::None, false) => text.plain.clone(),
            (Auth::None, true) => text.gzip.get_or_init(|| gzip(&text.plain)).clone(),
            (Auth::Token, compressed) => {
                let plain = String::from_utf8_lossy(&text.plain).replace(SESSION, session);
                match compressed {
                    true => gzip(plain.as_bytes()),
                    false => plain.into(),
                }
            }
        }
    }

    fn write(&self, form: playlist::Form) -> Text {
        let names = Names {
            epoch: self.epoch,
            auth: self.auth,
        };
        Text {
            plain: self.media().text(form, &names).into(),
            gzip: OnceLock::new(),
        }
    }

    fn media(&self) -> Media {
        let all = self.segments.iter().map(|segment| &**segment);
        let all: Vec<&Segment> = all.chain(&self.open).collect();
        let first = all.first();
        let edge = match (self.ended, self.hint) {
            (true, _) => Edge::Ended,
            (false, Some(hint)) if self.open.is_some() => Edge::Open { hint },
            (false, hint) => Edge::Complete { hint },
        };
        let reports = self.reports.iter().map(|(rung, last)| Report {
            uri: format!("../../{rung}/media.m3u8"),
            msn: last.msn,
            part: last.part,
        });
        Media {
            terms: self.terms,
            first_msn: first.map_or(0, |segment| segment.msn),
            discontinuities: first.map_or(0, |segment| segment.discontinuities),
            segments: all.iter().map(|segment| listed(segment)).collect(),
            edge,
            reports: reports.collect(),
        }
    }
}

fn listed(segment: &Segment) -> playlist::Segment {
    let part = |part: &Part| playlist::Part {
        number: part.number,
        duration: part.duration,
        independent: part.independent,
    };
    let media = match segment.gap {
        true => Content::Gap(segment.duration),
        false => Content::Parts(segment.parts.iter().map(part).collect()),
    };
    playlist::Segment {
        wallclock_us: segment.wallclock_us,
        config_id: segment.config_id,
        discontinuities: segment.discontinuity.into(),
        media,
    }
}

/// The names of an epoch's pieces.
struct Names {
    epoch: u64,
    auth: Auth,
}

impl Names {
    fn of(&self, piece: Piece) -> String {
        match self.auth {
            Auth::None => piece.to_string(),
            Auth::Token => format!("{piece}?token={SESSION}"),
        }
    }
}

impl Uris for Names {
    fn init(&self, config_id: u32) -> impl fmt::Display {
        self.of(Piece::Init {
            epoch: self.epoch,
            config_id,
        })
    }

    fn segment(&self, msn: u64) -> impl fmt::Display {
        self.of(Piece::Segment {
            epoch: self.epoch,
            msn,
        })
    }

    fn part(&self, number: u64) -> impl fmt::Display {
        self.of(Piece::Part {
            epoch: self.epoch,
            number,
        })
    }
}

fn gzip(text: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 4), Compression::default());
    // Writing into memory does not fail.
    let _ = encoder.write_all(text);
    encoder.finish().unwrap_or_default().into()
}

/// Stands for the session in a text that all share; no other text of a playlist has braces.
const SESSION: &str = "{session}";

/// The advance part limit (rfc8216bis 6.2.5.2): parts of three seconds, three at least.
const ADVANCE_US: u64 = 3_000_000;
const ADVANCE_PARTS: u64 = 3;

/// What fMP4 adds to frames: an entry of 16 bytes for each, and a head of about 200 for each part.
const CONTAINER_BPS: u64 = 16_000;

#[cfg(test)]
mod tests;
