//! Hot: a track as the bytes of one viewer's FLV stream.
//!
//! What a scribe writes around the payloads, which are the group's own bytes; heads and trailers are gathered in one
//! small buffer. It starts with the newest group from its key frame on, or where an earlier connection ended.
//! A viewer too far behind loses pictures (see `shed`), and goes on at the newest key frame when sound alone is too
//! much; tags stay whole.
//! Leaves out when to write and how: that is the protocol's.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use media::frame::{Frame, TrackId};
use relay::group::{FRAME_COST, GROUP_COST, Group};
use relay::reader::{Item, Reader, Start};
use relay::track::Consumer;

use super::dropped::Dropped;
use super::lag::Lag;
use super::scribe::Scribe;
use super::shed::{Judged, Shed};
use super::{Options, Resume, Terms};

/// Writes one viewer's stream.
#[derive(Debug)]
pub struct Tags {
    track: Consumer,
    reader: Reader,
    shed: Shed,
    scribe: Scribe,
    group: Option<Place>,
    /// What was left out since the last filling.
    dropped: Dropped,
    /// Something was left out since the viewer was told where it is.
    lost: bool,
    /// A picture was written, or sound where there are none.
    completed: bool,
    /// Heads and trailers on their way into pieces.
    scratch: BytesMut,
    exhausted: bool,
}

/// What a filling brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filled {
    /// Bytes appended.
    pub bytes: usize,
    /// Frames that were left out.
    pub dropped: Dropped,
    /// Whether a picture is among them, or sound where there are no pictures.
    pub completed: bool,
}

impl Tags {
    /// The track from its newest key frame on, or from where the viewer resumes.
    pub fn new(track: Consumer, wish: Options, terms: Terms) -> Self {
        let newest = track.latest();
        let is_near = |resume: &Resume| {
            let newest = newest.as_ref();
            newest.is_some_and(|newest| resume.is_near(&track, newest))
        };
        let start = match wish.resume.filter(is_near) {
            Some(Resume {
                epoch,
                group,
                frame,
            }) => Start::After(epoch, group, frame),
            None => Start::Latest,
        };
        Self {
            reader: Reader::new(track.clone(), start),
            track,
            shed: Shed::new(Lag::bound(&terms)),
            scribe: Scribe::new(&wish),
            group: None,
            dropped: Dropped::default(),
            lost: false,
            completed: false,
            scratch: BytesMut::new(),
            exhausted: false,
        }
    }

    /// Appends whole tags, as many as are there and as one write should carry; `None` once the track ended.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>, out: &mut Pieces) -> Poll<Option<Filled>> {
        self.catch_up();
        let before = out.remaining();
        let mut ended = false;
        self.exhausted = false;
        while out.remaining() - before < FILL_BYTES {
            match self.reader.poll_next(cx) {
                Poll::Ready(Some(item)) => self.write(item, out),
                Poll::Ready(None) => {
                    ended = true;
                    break;
                }
                Poll::Pending => {
                    self.exhausted = true;
                    break;
                }
            }
        }
        out.push(self.scratch.split().freeze());
        match out.remaining() - before {
            0 if ended => Poll::Ready(None),
            0 => Poll::Pending,
            bytes => Poll::Ready(Some(Filled {
                bytes,
                dropped: std::mem::take(&mut self.dropped),
                completed: std::mem::take(&mut self.completed),
            })),
        }
    }

    /// Whether the last filling took all that was there.
    pub fn is_exhausted(&self) -> bool {
        self.exhausted
    }

    /// Asks a viewer who understands it to find another edge; how many bytes that takes.
    pub fn ask(&mut self, out: &mut Pieces) -> usize {
        if !self.scribe.marks() {
            return 0;
        }
        let tag = self.scribe.asking();
        let length = tag.len();
        out.push(tag);
        length
    }

    /// Decides what is left out from here on.
    fn catch_up(&mut self) {
        let (Some(place), Some(newest)) = (&self.group, self.track.latest()) else {
            return;
        };
        let here = place.group.key();
        match self.shed.judge(self.lag(place), here, newest.key()) {
            Judged::Same => {}
            Judged::Sheds if self.scribe.has_pictures() => self.dropped.skips += 1,
            Judged::Sheds | Judged::Hopeless => self.skip_to_latest(),
        }
    }

    fn lag(&self, place: &Place) -> Lag {
        let here = place.group.bytes().saturating_sub(place.bytes);
        let mut bytes = here as u64;
        let mut next = self.track.next_after(place.group.key());
        while let Some(group) = next {
            bytes += group.bytes() as u64;
            next = self.track.next_after(group.key());
        }
        let ms = self.reader.lag().as_millis() as u64;
        Lag { ms, bytes }
    }

    /// Goes to the newest group and counts the frames between.
    fn skip_to_latest(&mut self) {
        let Some(place) = self.group.as_ref().filter(|_| self.reader.skip_to_latest()) else {
            return;
        };
        self.dropped.skips += 1;
        let from = place.group.key();
        let newest = self.track.latest().map_or(from, |group| group.key());
        let rest = place.group.frames(place.read);
        rest.for_each(|frame| self.dropped.frame(frame));
        let mut next = self.track.next_after(from);
        while let Some(group) = next.filter(|group| group.key() < newest) {
            group.frames(0).for_each(|frame| self.dropped.frame(frame));
            next = self.track.next_after(group.key());
        }
    }

    fn write(&mut self, item: Item, out: &mut Pieces) {
        match item {
            Item::Group(group) => {
                self.group = Some(Place {
                    group,
                    read: 0,
                    bytes: GROUP_COST,
                    entered: false,
                });
                self.catch_up();
            }
            Item::Frame { number, frame } => self.frame(number, &frame, out),
            Item::Gap => {}
        }
    }

    fn frame(&mut self, number: u32, frame: &Frame, out: &mut Pieces) {
        let Some(place) = &mut self.group else {
            return;
        };
        place.read = number as usize + 1;
        place.bytes += frame.payload.len() + FRAME_COST;
        if !self.shed.keeps(place.group.key(), frame) {
            self.dropped.frame(frame);
            self.lost = true;
            return;
        }
        let entered = std::mem::replace(&mut place.entered, true);
        if !entered || std::mem::take(&mut self.lost) {
            let config = (!entered).then(|| self.scribe.enter(&place.group, number));
            let now_ms = self.scribe.now_ms();
            let marks = self.scribe.marks();
            let mark = marks.then(|| self.scribe.mark(place.group.key(), number, now_ms));
            self.lost = false;
            out.push(self.scratch.split().freeze());
            out.push(config.flatten().unwrap_or_default());
            out.push(mark.unwrap_or_default());
        }
        self.completed |= frame.track == TrackId::VIDEO || !self.scribe.has_pictures();
        let Some(envelope) = self.scribe.envelope(frame) else {
            return;
        };
        self.scratch.put_slice(&envelope.head);
        out.push(self.scratch.split().freeze());
        out.push(frame.payload.clone());
        // Stays in the buffer, to be one piece with the next head.
        self.scratch.put_slice(&envelope.trailer);
    }
}

/// Where in a track a viewer is.
#[derive(Debug)]
struct Place {
    group: Group,
    /// How many frames of it were read.
    read: usize,
    /// What these and the group count for.
    bytes: usize,
    /// Whether what stands before its frames was written.
    entered: bool,
}

/// Bytes on their way to a viewer, in the pieces that a vectored write takes.
#[derive(Debug, Default)]
pub struct Pieces {
    queue: VecDeque<Bytes>,
    length: usize,
}

impl Pieces {
    /// Appends a piece, unless it is empty.
    pub fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.length += piece.len();
            self.queue.push_back(piece);
        }
    }

    /// Prepends a piece.
    pub fn push_front(&mut self, piece: Bytes) {
        self.length += piece.len();
        self.queue.push_front(piece);
    }

    /// Appends the pieces to a write vector.
    pub fn slices<'a>(&'a self, out: &mut Vec<IoSlice<'a>>) {
        out.extend(self.queue.iter().map(|piece| IoSlice::new(piece)));
    }

    /// Takes the first piece.
    pub fn pop(&mut self) -> Option<Bytes> {
        let piece = self.queue.pop_front()?;
        self.length -= piece.len();
        Some(piece)
    }
}

impl Buf for Pieces {
    fn remaining(&self) -> usize {
        self.length
    }

    fn chunk(&self) -> &[u8] {
        self.queue.front().map_or(&[], |piece| piece)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let pairs = slices.iter_mut().zip(&self.queue);
        pairs
            .map(|(slice, piece)| *slice = IoSlice::new(piece))
            .count()
    }

    fn advance(&mut self, mut count: usize) {
        self.length -= count;
        while let Some(piece) = self.queue.front_mut() {
            if count < piece.len() {
                return piece.advance(count);
            }
            count -= piece.len();
            self.queue.pop_front();
        }
    }
}

/// Enough for one vectored write, and little for a stalled viewer to hold on to.
const FILL_BYTES: usize = 256 << 10;

#[cfg(test)]
mod tests;
