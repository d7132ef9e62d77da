//! Sans-IO: Hot: where a group is cut into HLS segments and parts, and how long each is said to be.
//!
//! The origin numbers by these cuts and every edge lays its playlists out by them, so that all
//! agree by construction: a cut follows from the group's frames and the terms alone.
//!
//! - A segment is a group, cut further at `segment_max`; a part is a run of frames in a segment.
//! - Only frames of the leading track (video, else audio) cut; the others stay in the run in which
//!   they stand.
//! - Parts end at or below their target while frames come evenly. Over gaps the *declared*
//!   durations stay within the terms all the same (rfc8216bis 4.4.3.1, 4.4.3.7); the real times
//!   stand in the media and in the program date time.

use crate::frame::TrackId;
use crate::timestamp::Timestamp;

/// How long segments and parts may be; fixed for an epoch, because playlists may not change them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The longest declared segment.
    pub segment_max: Timestamp,
    /// The longest declared part, which all parts but a segment's last come close to.
    pub part_target: Timestamp,
}

impl Terms {
    /// The terms of a stream whose leading track has `rate` frames a second, where that is known.
    ///
    /// The part target is `part`; but where whole frames fill less than 90 % of it, it is the
    /// greatest whole number of frames that fits, at least one, rounded up to a millisecond: parts
    /// must reach 85 % of the target (rfc8216bis 4.4.4.9). It never exceeds `segment_max`.
    pub fn for_rate(segment_max: Timestamp, part: Timestamp, rate: Option<f64>) -> Self {
        let fitted = rate
            .filter(|rate| rate.is_normal() && *rate > 0.0)
            .map(|rate| (1e6 / rate).min(segment_max.as_micros() as f64))
            .map_or(part, |frame_us| fit(part, frame_us));
        Self {
            segment_max,
            part_target: fitted.min(segment_max),
        }
    }
}

/// `part`, or the whole frames of `frame_us` that fit, where they fill it badly.
fn fit(part: Timestamp, frame_us: f64) -> Timestamp {
    let part_us = part.as_micros() as f64;
    // Rates such as 29.97 are themselves rounded: a thousandth of a frame too long still fits.
    let frames = (part_us / frame_us + 1e-3).floor().max(1.0);
    let filled = frames * frame_us;
    if filled >= FILL * part_us && filled <= part_us * 1.001 {
        return part;
    }
    Timestamp::from_millis((filled / 1000.0 - 1e-3).ceil() as i64)
}

/// What begins with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// A part of the same segment.
    Part,
    /// A segment, and its first part.
    Segment,
}

/// Cuts one group; push its frames in their order.
#[derive(Clone, Debug)]
pub struct Cutter {
    terms: Terms,
    leading: TrackId,
    /// The leading frames so far; none before the first.
    run: Option<Run>,
    /// Declared duration of the part that ended last.
    ended: Timestamp,
}

/// Where the open part and segment stand.
#[derive(Clone, Copy, Debug)]
struct Run {
    segment: Timestamp,
    part: Timestamp,
    /// The newest leading frame, and how long the one before it lasted.
    last: Timestamp,
    step: Option<Timestamp>,
    /// Declared durations of the open segment's ended parts.
    declared: Timestamp,
}

impl Cutter {
    /// A cutter for one group with this leading track.
    pub fn new(terms: Terms, leading: TrackId) -> Self {
        Self {
            terms,
            leading,
            run: None,
            ended: Timestamp::ZERO,
        }
    }

    /// What begins with this frame, if anything; nothing does with the group's first frames.
    ///
    /// A cut comes where the part or segment would exceed its limit if this frame, lasting as long
    /// as the one before it, still belonged to it.
    pub fn push(&mut self, track: TrackId, dts: Timestamp) -> Option<Cut> {
        if track != self.leading {
            return None;
        }
        let Some(run) = &mut self.run else {
            self.run = Some(Run::at(dts));
            return None;
        };
        let dts = dts.max(run.last);
        let step = dts - run.last;
        run.last = dts;
        run.step = Some(step);
        // After a gap nobody knows how long the frame lasts; a part at most, as it is declared.
        let end = dts + step.min(self.terms.part_target);
        let over = |start, limit| dts - start >= limit || end - start > limit + SLACK;
        let cut = if over(run.segment, self.terms.segment_max) {
            Cut::Segment
        } else if over(run.part, self.terms.part_target) {
            Cut::Part
        } else {
            return None;
        };
        self.ended = run.declare(dts, self.terms);
        run.part = dts;
        run.declared += self.ended;
        if cut == Cut::Segment {
            run.segment = dts;
            run.declared = Timestamp::ZERO;
        }
        Some(cut)
    }

    /// The declared duration of the part that ended with the last cut.
    ///
    /// A segment's declared duration is the sum of those of its parts.
    pub fn ended(&self) -> Timestamp {
        self.ended
    }

    /// When the group's last leading frame ends, should it be the last one pushed: it says that it
    /// lasts `duration`, and `rate` is the catalog's frame rate.
    pub fn end(&self, duration: Option<Timestamp>, rate: Option<f64>) -> Timestamp {
        self.run.map_or(Timestamp::ZERO, |run| {
            run.last + lasting(duration, run.step, rate)
        })
    }

    /// The declared duration of the group's last part, which ends when [`end`](Self::end) says; 0
    /// without a leading frame.
    pub fn finish(&self, end: Timestamp) -> Timestamp {
        self.run
            .map_or(Timestamp::ZERO, |run| run.declare(end, self.terms))
    }
}

impl Run {
    fn at(dts: Timestamp) -> Self {
        Self {
            segment: dts,
            part: dts,
            last: dts,
            step: None,
            declared: Timestamp::ZERO,
        }
    }

    /// The declared duration of the open part, should it end here.
    fn declare(&self, end: Timestamp, terms: Terms) -> Timestamp {
        (end - self.part)
            .min(terms.part_target)
            .min(terms.segment_max - self.declared)
    }
}

/// How long a group's last frame of a track lasts: as it says, else as the one before it, else by
/// the frame rate, else [`UNKNOWN`]; never until the next group, which an edge may not have.
pub fn lasting(said: Option<Timestamp>, before: Option<Timestamp>, rate: Option<f64>) -> Timestamp {
    let by_rate = rate.map(|rate| Timestamp::from_micros((1e6 / rate).round() as i64));
    [said, before, by_rate]
        .into_iter()
        .flatten()
        .find(|duration| *duration > Timestamp::ZERO)
        .unwrap_or(UNKNOWN)
}

/// A frame of which nothing is known: one of 25 a second.
pub const UNKNOWN: Timestamp = Timestamp::from_millis(40);

/// How much of the part target whole frames fill: 5 % above what the specification demands, which
/// is more than time stamps in milliseconds are off.
const FILL: f64 = 0.9;

/// RTMP counts milliseconds: part start, frame and step (twice the frame less the one before) are
/// off by less than this in sum, and must not cut a frame too early.
const SLACK: Timestamp = Timestamp::from_millis(2);

#[cfg(test)]
mod tests;
