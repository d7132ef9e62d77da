//! Hot: a track as the bytes of one viewer's FLV stream.
//!
//! Starts with FLV header, metadata, sequence headers and the newest group from its key frame on. Payloads are the
//! group's own bytes; around them only heads and trailers are written, gathered in one small buffer.
//! A viewer too far behind goes on at the newest key frame: sound and picture jump together, tags stay whole.
//! Leaves out when to write and how: that is the protocol's.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use media::codec::Catalog;
use media::flv::Muxer;
use media::frame::Frame;
use relay::group::{Group, Header};
use relay::reader::{Item, Reader, Start};
use relay::track::Consumer;

use super::timeline::Timeline;
use super::{Options, Terms};

/// Writes one viewer's stream.
#[derive(Debug)]
pub struct Tags {
    track: Consumer,
    reader: Reader,
    skip_after: Duration,
    muxer: Muxer,
    timeline: Timeline,
    catalog: Option<Arc<Catalog>>,
    /// The group being read, and how many of its frames were.
    group: Option<(Group, usize)>,
    /// Heads and trailers on their way into pieces.
    scratch: BytesMut,
    exhausted: bool,
}

/// What a filling brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filled {
    /// Bytes appended.
    pub bytes: usize,
    /// Frames that were skipped before them.
    pub skipped: u64,
}

impl Tags {
    /// The track from its newest key frame on.
    pub fn new(track: Consumer, wish: Options, terms: Terms) -> Self {
        Self {
            reader: Reader::new(track.clone(), Start::Latest),
            track,
            skip_after: terms.skip_after,
            muxer: Muxer::new(wish.hevc),
            timeline: Timeline::default(),
            catalog: None,
            group: None,
            scratch: BytesMut::new(),
            exhausted: false,
        }
    }

    /// Appends whole tags, as many as are there and as one write should carry; `None` once the track ended.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>, out: &mut Pieces) -> Poll<Option<Filled>> {
        let skipped = self.catch_up();
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
            bytes => Poll::Ready(Some(Filled { bytes, skipped })),
        }
    }

    /// Whether the last filling took all that was there.
    pub fn is_exhausted(&self) -> bool {
        self.exhausted
    }

    /// Goes to the newest group when too far behind, and counts the frames between.
    fn catch_up(&mut self) -> u64 {
        if self.reader.lag() <= self.skip_after {
            return 0;
        }
        let Some((group, read)) = &self.group else {
            return 0;
        };
        let (from, mut skipped) = (group.key(), group.len() - read);
        if !self.reader.skip_to_latest() {
            return 0;
        }
        let newest = self.track.latest().map_or(from, |group| group.key());
        let mut next = self.track.next_after(from);
        while let Some(group) = next.filter(|group| group.key() < newest) {
            skipped += group.len();
            next = self.track.next_after(group.key());
        }
        skipped as u64
    }

    fn write(&mut self, item: Item, out: &mut Pieces) {
        match item {
            Item::Group(group) => self.enter(group, out),
            Item::Frame { frame, .. } => self.frame(&frame, out),
            Item::Gap => {}
        }
    }

    fn enter(&mut self, group: Group, out: &mut Pieces) {
        let header = group.header();
        if self.breaks(header) {
            let first = group
                .frames(0)
                .take(LOOK_AHEAD)
                .map(|frame| frame.dts)
                .min();
            if let Some(first) = first {
                self.timeline.rebase(first);
            }
        }
        let config = match &self.catalog {
            None => Some(self.muxer.start(&header.catalog)),
            Some(sent) if **sent == *header.catalog => None,
            Some(_) => Some(self.muxer.config(&header.catalog, self.timeline.now_ms())),
        };
        if let Some(config) = config {
            out.push(self.scratch.split().freeze());
            out.push(config);
        }
        self.catalog = Some(header.catalog.clone());
        self.group = Some((group, 0));
    }

    /// Whether the group's time does not go on from that of the one before.
    fn breaks(&self, header: &Header) -> bool {
        let same = |(group, _): &(Group, usize)| group.header().epoch == header.epoch;
        header.discontinuity || !self.group.as_ref().is_some_and(same)
    }

    fn frame(&mut self, frame: &Frame, out: &mut Pieces) {
        if let Some((_, read)) = &mut self.group {
            *read += 1;
        }
        let Some(track) = self.catalog.as_ref().and_then(|c| c.track(frame.track)) else {
            return;
        };
        let at = self.timeline.place(frame.track, frame.dts);
        let tag = self.muxer.tag(track.codec, frame, at);
        self.scratch.put_slice(&tag.head);
        out.push(self.scratch.split().freeze());
        out.push(tag.payload);
        // Stays in the buffer, to be one piece with the next head.
        self.scratch.put_slice(&tag.trailer);
    }
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

/// Frames looked at for the earliest time of a group: sound interleaved within half a second.
const LOOK_AHEAD: usize = 64;

#[cfg(test)]
mod tests;
