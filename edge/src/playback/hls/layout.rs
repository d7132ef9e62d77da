//! Sans-IO: Hot: the groups of a track as HLS segments and parts.
//!
//! An [`Outline`] is one group: it follows from the group alone, so every edge finds the same parts behind the same
//! numbers. A [`Layout`] is the playlist's window: segments with consecutive numbers, of one epoch. Groups come to it
//! in order; what is lost between two of them stands there as gaps, because the numbers after it must come true.
//! Durations here are the declared ones, which add up; true times are in the media and in the wall clock.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use media::frame::{Frame, Kind, TrackId};
use media::segment::{Cut, Cutter, Terms};
use media::timestamp::Timestamp;
use relay::group::{End, Group, Header};

/// A run of frames within a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// Consecutive over the epoch.
    pub(crate) number: u64,
    /// Which of the group's frames.
    pub(crate) frames: Range<u32>,
    /// As declared.
    pub(crate) duration: Timestamp,
    /// When its last picture ends: where the next part begins.
    pub(crate) end: Timestamp,
    /// Whether decoding can start in it.
    pub(crate) independent: bool,
    /// Of its payloads.
    pub(crate) bytes: u64,
}

/// A group, or a piece of a long one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Media sequence number.
    pub(crate) msn: u64,
    /// Which configuration it is decoded with.
    pub(crate) config_id: u32,
    /// Decoders start anew before it.
    pub(crate) discontinuity: bool,
    /// Discontinuities up to and with its own, from the epoch's floor.
    pub(crate) discontinuities: u64,
    /// Wall-clock time of its first frame, in Unix microseconds.
    pub(crate) wallclock_us: u64,
    /// Its parts that are complete; none when it is lost.
    pub(crate) parts: Vec<Part>,
    /// As declared: the sum of its parts.
    pub(crate) duration: Timestamp,
    /// It is lost.
    pub(crate) gap: bool,
}

impl Segment {
    /// Bytes of its payloads.
    pub(crate) fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.bytes).sum()
    }

    /// When it ends by the wall clock, going by its declared duration.
    fn ends_us(&self) -> u64 {
        self.wallclock_us
            .saturating_add_signed(self.duration.as_micros())
    }

    fn push(&mut self, part: Part) {
        self.duration += part.duration;
        self.parts.push(part);
    }
}

/// One group's segments and parts, as far as its frames are there.
#[derive(Clone, Debug)]
pub(crate) struct Outline {
    cutter: Cutter,
    leading: TrackId,
    frame_rate: Option<f64>,
    wallclock_us: u64,
    first_dts: Option<Timestamp>,
    segments: Vec<Segment>,
    /// The part that frames are added to.
    open: Part,
    /// Duration of the last leading frame, where the source says so.
    last: Option<Timestamp>,
    is_whole: bool,
}

impl Outline {
    /// Of a group whose frames are yet to come.
    pub(crate) fn new(header: &Header) -> Self {
        let leading = header.catalog.leading();
        let first = Segment {
            msn: header.first_msn,
            config_id: header.config_id,
            discontinuity: header.discontinuity,
            discontinuities: header.discontinuities,
            wallclock_us: header.wallclock_us,
            parts: Vec::new(),
            duration: Timestamp::ZERO,
            gap: false,
        };
        Self {
            cutter: Cutter::new(terms(header), leading),
            leading,
            frame_rate: header.catalog.frame_rate,
            wallclock_us: header.wallclock_us,
            first_dts: None,
            segments: vec![first],
            open: empty(header.first_part, 0),
            last: None,
            is_whole: false,
        }
    }

    /// Of what is there of a group by now.
    pub(crate) fn of(group: &Group) -> Self {
        let mut outline = Self::new(group.header());
        // Asked before the frames are read: what is there afterwards is all.
        let end = group.end();
        group.frames(0).for_each(|frame| {
            outline.push(frame);
        });
        if end == Some(End::Finished) {
            outline.finish();
        }
        outline
    }

    /// Adds the group's next frame; true when a part became complete.
    pub(crate) fn push(&mut self, frame: &Frame) -> bool {
        let first_dts = *self.first_dts.get_or_insert(frame.dts);
        let cut = self.cutter.push(frame.track, frame.dts);
        if cut.is_some() {
            self.complete(frame.dts, self.cutter.ended());
        }
        if cut == Some(Cut::Segment) {
            let since_us = (frame.dts - first_dts).as_micros();
            let wallclock_us = self.wallclock_us.saturating_add_signed(since_us);
            self.next_segment(wallclock_us);
        }
        self.open.frames.end += 1;
        self.open.bytes += frame.payload.len() as u64;
        if frame.track == self.leading {
            self.open.independent |= frame.kind == Kind::Key;
            self.last = frame.duration;
        }
        cut.is_some()
    }

    /// No other frame comes, and none is missing.
    pub(crate) fn finish(&mut self) {
        if !self.is_whole && !self.open.frames.is_empty() {
            let end = self.cutter.end(self.last, self.frame_rate);
            self.complete(end, self.cutter.finish(end));
        }
        self.is_whole = true;
    }

    /// Its segments that are complete.
    pub(crate) fn complete_segments(&self) -> &[Segment] {
        &self.segments[..self.segments.len() - usize::from(!self.is_whole)]
    }

    /// The segment that parts are added to, unless the group is whole.
    pub(crate) fn open_segment(&self) -> Option<&Segment> {
        self.segments.last().filter(|_| !self.is_whole)
    }

    /// The part that is written, or that follows the last one.
    pub(crate) fn next_part(&self) -> u64 {
        self.open.number
    }

    /// The segment that is written, or that follows the last one.
    pub(crate) fn next_msn(&self) -> u64 {
        let last = self.segments.last().map_or(0, |segment| segment.msn);
        last + u64::from(self.is_whole)
    }

    /// The complete part of that number, if it is in this group.
    pub(crate) fn part(&self, number: u64) -> Option<&Part> {
        let parts = self.segments.iter().flat_map(|segment| &segment.parts);
        parts.into_iter().find(|part| part.number == number)
    }

    /// The complete segment of that number, if it is in this group.
    pub(crate) fn segment(&self, msn: u64) -> Option<&Segment> {
        let complete = self.complete_segments();
        complete.iter().find(|segment| segment.msn == msn)
    }

    fn complete(&mut self, end: Timestamp, duration: Timestamp) {
        let next = empty(self.open.number + 1, self.open.frames.end);
        let part = Part {
            duration,
            end,
            ..std::mem::replace(&mut self.open, next)
        };
        if let Some(segment) = self.segments.last_mut() {
            segment.push(part);
        }
    }

    fn next_segment(&mut self, wallclock_us: u64) {
        let Some(last) = self.segments.last() else {
            return;
        };
        let next = Segment {
            msn: last.msn + 1,
            discontinuity: false,
            wallclock_us,
            parts: Vec::new(),
            duration: Timestamp::ZERO,
            ..last.clone()
        };
        self.segments.push(next);
    }
}

/// The terms that a group's numbers were given by.
pub(crate) fn terms(header: &Header) -> Terms {
    Terms {
        segment_max: header.segment_max,
        part_target: header.part_target,
    }
}

fn empty(number: u64, from: u32) -> Part {
    Part {
        number,
        frames: from..from,
        duration: Timestamp::ZERO,
        end: Timestamp::ZERO,
        independent: false,
        bytes: 0,
    }
}

/// Whether all frames of a group were read before the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// They were.
    Whole,
    /// Some are lost.
    Lost,
}

/// The window of a playlist.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    window: Timestamp,
    epoch: u64,
    terms: Terms,
    segments: VecDeque<Arc<Segment>>,
    open: Option<Outline>,
    /// How many of the open group's segments are in the window.
    moved: usize,
    /// The part that comes next, unless that is not known.
    next_part: Option<u64>,
}

impl Layout {
    /// An empty window of that length, for the epoch of this group.
    pub(crate) fn new(window: Duration, header: &Header) -> Self {
        let terms = terms(header);
        let window_us = i64::try_from(window.as_micros()).unwrap_or(i64::MAX);
        let window = Timestamp::from_micros(window_us);
        let least = (0..LEAST_TARGETS).map(|_| terms.segment_max);
        Self {
            window: window.max(least.fold(Timestamp::ZERO, |sum, max| sum + max)),
            epoch: header.epoch,
            terms,
            segments: VecDeque::new(),
            open: None,
            moved: 0,
            next_part: None,
        }
    }

    /// The epoch that it is of.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The terms of the epoch.
    pub(crate) fn terms(&self) -> Terms {
        self.terms
    }

    /// The complete segments, in order.
    pub(crate) fn segments(&self) -> &VecDeque<Arc<Segment>> {
        &self.segments
    }

    /// The part that comes next, if that is known: none is after one that was lost.
    pub(crate) fn next_part(&self) -> Option<u64> {
        let open = self.open.as_ref().map(Outline::next_part);
        open.or(self.next_part)
    }

    /// The group that frames come of.
    pub(crate) fn open(&self) -> Option<&Outline> {
        self.open.as_ref()
    }

    /// The next group of the epoch begins; `read` tells of the one before it.
    pub(crate) fn begin(&mut self, header: &Header, read: Read) {
        self.close(read);
        self.bridge(header);
        (self.open, self.moved) = (Some(Outline::new(header)), 0);
    }

    /// The open group's next frame; true when a part became complete.
    pub(crate) fn push(&mut self, frame: &Frame) -> bool {
        let Some(open) = &mut self.open else {
            return false;
        };
        let completed = open.push(frame);
        if completed {
            self.gather();
        }
        completed
    }

    /// The open group has ended. What was lost of it is a gap once it is known how much.
    pub(crate) fn close(&mut self, read: Read) {
        match (&mut self.open, read) {
            (Some(open), Read::Whole) => {
                open.finish();
                self.next_part = Some(open.next_part());
                self.gather();
                self.open = None;
            }
            (Some(open), Read::Lost) => {
                let lost = open.open_segment().map(|segment| Segment {
                    parts: Vec::new(),
                    gap: true,
                    duration: segment.duration.max(LEAST_GAP),
                    ..segment.clone()
                });
                (self.open, self.next_part) = (None, None);
                lost.into_iter().for_each(|segment| self.add(segment));
            }
            (None, _) => {}
        }
    }

    /// Moves the open group's complete segments into the window.
    fn gather(&mut self) {
        let Some(open) = &self.open else {
            return;
        };
        let complete: Vec<Segment> = open.complete_segments()[self.moved..].to_vec();
        self.moved += complete.len();
        complete.into_iter().for_each(|segment| self.add(segment));
    }

    fn add(&mut self, segment: Segment) {
        self.segments.push_back(Arc::new(segment));
        let mut length = self
            .segments
            .iter()
            .fold(Timestamp::ZERO, |sum, segment| sum + segment.duration);
        while let Some(oldest) = self.segments.front()
            && (length - oldest.duration >= self.window || self.segments.len() > MAX_SEGMENTS)
        {
            length = length - oldest.duration;
            self.segments.pop_front();
        }
    }

    /// Puts gaps where segments before this group are missing; where that cannot be, the window starts anew.
    fn bridge(&mut self, header: &Header) {
        let Some(last) = self.segments.back().cloned() else {
            return;
        };
        let missing = header.first_msn.saturating_sub(last.msn + 1);
        let own = u64::from(header.discontinuity);
        let unseen = header
            .discontinuities
            .saturating_sub(own)
            .checked_sub(last.discontinuities);
        let fits = header.first_msn > last.msn
            && missing <= MAX_GAPS
            && unseen.is_some_and(|unseen| unseen <= missing);
        let Some(unseen) = unseen.filter(|_| fits) else {
            return self.segments.clear();
        };
        let began_us = last.ends_us();
        let lost_us = header.wallclock_us.saturating_sub(began_us);
        let each_us = i64::try_from(lost_us / missing.max(1)).unwrap_or(i64::MAX);
        let each = Timestamp::from_micros(each_us).clamp(LEAST_GAP, self.terms.segment_max);
        for nth in 0..missing {
            let since_us = each.as_micros().saturating_mul(nth as i64);
            self.add(Segment {
                msn: last.msn + 1 + nth,
                discontinuity: nth < unseen,
                discontinuities: last.discontinuities + unseen.min(nth + 1),
                wallclock_us: began_us.saturating_add_signed(since_us),
                parts: Vec::new(),
                duration: each,
                gap: true,
                config_id: last.config_id,
            });
        }
    }
}

/// A live playlist holds three target durations at least (rfc8216bis 6.2.2).
const LEAST_TARGETS: usize = 3;

/// Segments in a window: twelve minutes of half-second ones; a playlist of them has some 100 KiB.
const MAX_SEGMENTS: usize = 1_500;

/// More gaps than that are no playlist: players start anew behind them.
const MAX_GAPS: u64 = 32;

/// A segment of no duration confuses players.
const LEAST_GAP: Timestamp = Timestamp::from_millis(1);

#[cfg(test)]
mod tests;
