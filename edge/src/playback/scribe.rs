//! Sans-IO: Hot: what an FLV stream has around a track's payloads: its start, heads, trailers and `onWeir` tags.
//!
//! Given frames in order, of any groups, it writes what must stand before each: at the start FLV header, metadata and
//! sequence headers, the last two again when the configuration changes, and for viewers who asked for it the place in
//! the stream, and that they should find another edge. Leaves out the payloads, and which frames a viewer gets.

use std::sync::Arc;

use bytes::Bytes;
use media::amf::Value;
use media::codec::Catalog;
use media::flv::{Muxer, tag};
use media::frame::Frame;
use relay::group::{Group, Key};

use super::Options;
use super::timeline::Timeline;

/// Writes one FLV stream.
#[derive(Debug)]
pub struct Scribe {
    muxer: Muxer,
    weir: bool,
    timeline: Timeline,
    catalog: Option<Arc<Catalog>>,
    epoch: Option<u64>,
}

/// What stands around a payload.
#[derive(Clone, Copy, Debug)]
pub struct Envelope {
    /// Tag header and head of the body.
    pub head: tag::Head,
    /// PreviousTagSize.
    pub trailer: [u8; tag::TRAILER_LEN],
    /// The tag's time.
    pub at_ms: u32,
}

impl Scribe {
    /// A stream as the viewer wants it.
    pub fn new(wish: &Options) -> Self {
        let timeline = if wish.weir {
            Timeline::own()
        } else {
            Timeline::default()
        };
        Self {
            muxer: Muxer::new(wish.hevc),
            weir: wish.weir,
            timeline,
            catalog: None,
            epoch: None,
        }
    }

    /// Goes to a group, whose frames from number `from` on come next; answers what is to be written before them.
    pub fn enter(&mut self, group: &Group, from: u32) -> Option<Bytes> {
        let header = group.header();
        let anew = self.epoch.replace(header.epoch) != Some(header.epoch);
        if anew || header.discontinuity {
            let ahead = group.frames(from as usize).take(LOOK_AHEAD);
            let first = ahead.map(|frame| frame.dts).min();
            match first {
                Some(first) if anew => self.timeline.begin(first),
                Some(first) => self.timeline.rebase(first),
                None => {}
            }
        }
        let now_ms = self.timeline.now_ms();
        let catalog = Some(header.catalog.clone());
        match std::mem::replace(&mut self.catalog, catalog) {
            None => Some(self.muxer.start_at(&header.catalog, now_ms)),
            Some(sent) if *sent == *header.catalog => None,
            Some(_) => Some(self.muxer.config(&header.catalog, now_ms)),
        }
    }

    /// Whether the viewer asked for `onWeir` tags.
    pub fn marks(&self) -> bool {
        self.weir
    }

    /// The latest time written, for tags that belong to no frame.
    pub fn now_ms(&self) -> u32 {
        self.timeline.now_ms()
    }

    /// The `onWeir` tag that says of which group the next frame is, and its number.
    pub fn mark(&self, group: Key, frame: u32, at_ms: u32) -> Bytes {
        let mut members = vec![
            ("epoch".to_owned(), Value::from(group.epoch as f64)),
            ("group".to_owned(), Value::from(group.number as f64)),
        ];
        if frame > 0 {
            members.push(("frame".to_owned(), f64::from(frame).into()));
        }
        self.muxer.script("onWeir", Value::Object(members), at_ms)
    }

    /// The `onWeir` tag that asks a viewer to find another edge.
    pub fn asking(&self) -> Bytes {
        let members = vec![("move".to_owned(), Value::from(true))];
        let at_ms = self.timeline.now_ms();
        self.muxer.script("onWeir", Value::Object(members), at_ms)
    }

    /// What stands around a frame's payload; nothing for a track that the catalog does not have.
    pub fn envelope(&mut self, frame: &Frame) -> Option<Envelope> {
        let track = self.catalog.as_ref()?.track(frame.track)?;
        let at_ms = self.timeline.place(frame.track, frame.dts);
        let (head, trailer) = self.muxer.envelope(track.codec, frame, at_ms);
        Some(Envelope {
            head,
            trailer,
            at_ms,
        })
    }

    /// Whether pictures are among what it writes.
    pub fn has_pictures(&self) -> bool {
        self.catalog.as_ref().is_some_and(|c| c.video().is_some())
    }
}

/// Frames looked at for the earliest time of a group: sound interleaved within half a second.
const LOOK_AHEAD: usize = 64;
