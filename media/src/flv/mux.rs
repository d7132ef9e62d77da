//! Hot: frames to FLV tags and RTMP message bodies.
//!
//! H.264, AAC and MP3 are always written the legacy way, which every player
//! reads; HEVC as the viewer asks; all others with the enhanced header. A tag
//! is a head on the stack, the frame's own payload and a trailer: nothing is
//! copied. Sub-millisecond time is left out: no player reads ModEx today.

use super::tag::{self, Head, frame_type, legacy, legacy_id, packet, sound};
use super::{Hevc, metadata};
use crate::amf::{self, Value};
use crate::codec::{Catalog, Codec, TrackConfig};
use crate::frame::{Frame, Kind};
use bytes::{BufMut, Bytes, BytesMut};

/// Writes one FLV stream; holds nothing but how HEVC is wanted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Muxer {
    hevc: Hevc,
}

/// A whole tag in the three pieces that a vectored write takes.
#[derive(Clone, Debug)]
pub struct Tag {
    /// Tag header and head of the body.
    pub head: Head,
    /// The frame's payload, the same bytes.
    pub payload: Bytes,
    /// PreviousTagSize.
    pub trailer: [u8; tag::TRAILER_LEN],
}

impl Muxer {
    /// A muxer that writes HEVC in the given way.
    pub fn new(hevc: Hevc) -> Self {
        Self { hevc }
    }

    /// FLV header, metadata and sequence headers at time 0.
    pub fn start(&self, catalog: &Catalog) -> Bytes {
        self.start_at(catalog, 0)
    }

    /// The same for a stream whose first frame has this time.
    pub fn start_at(&self, catalog: &Catalog, ts_ms: u32) -> Bytes {
        let mut out = BytesMut::new();
        let flags = u8::from(catalog.audio().is_some()) << 2 | u8::from(catalog.video().is_some());
        out.put_slice(b"FLV\x01");
        out.put_u8(flags);
        out.put_u32(FLV_HEADER_LEN);
        out.put_u32(0); // PreviousTagSize0
        self.put_config(&mut out, catalog, ts_ms);
        out.freeze()
    }

    /// Metadata and sequence headers again, for a stream whose configuration changes at this time.
    pub fn config(&self, catalog: &Catalog, ts_ms: u32) -> Bytes {
        let mut out = BytesMut::new();
        self.put_config(&mut out, catalog, ts_ms);
        out.freeze()
    }

    /// The tag of a frame, shown at `ts_ms` plus its composition offset, without touching the heap.
    pub fn tag(&self, codec: Codec, frame: &Frame, ts_ms: u32) -> Tag {
        let (head, trailer) = self.envelope(codec, frame, ts_ms);
        Tag {
            head,
            payload: frame.payload.clone(),
            trailer,
        }
    }

    /// What stands before and after the payload in that tag.
    pub fn envelope(
        &self,
        codec: Codec,
        frame: &Frame,
        ts_ms: u32,
    ) -> (Head, [u8; tag::TRAILER_LEN]) {
        let body_head = body_head(codec, frame, self.hevc);
        let body_len = body_head.len() + frame.payload.len();
        let mut head = Head::default();
        head.push(&tag::header(tag_type(codec), body_len, ts_ms));
        head.push(&body_head);
        (head, tag::trailer(body_len))
    }

    /// The tag of a frame as three buffers that may be kept.
    pub fn frame(&self, codec: Codec, frame: &Frame, ts_ms: u32) -> [Bytes; 3] {
        let tag = self.tag(codec, frame, ts_ms);
        [
            tag.head.into(),
            tag.payload,
            Bytes::copy_from_slice(&tag.trailer),
        ]
    }

    /// A script tag: a name and a value.
    pub fn script(&self, name: &str, value: Value, ts_ms: u32) -> Bytes {
        let mut out = BytesMut::new();
        put_tag(&mut out, tag::SCRIPT, &script_body(name, value), ts_ms);
        out.freeze()
    }

    fn put_config(&self, out: &mut BytesMut, catalog: &Catalog, ts_ms: u32) {
        put_tag(out, tag::SCRIPT, &metadata_body(catalog, self.hevc), ts_ms);
        for track in [catalog.video(), catalog.audio()].into_iter().flatten() {
            if let Some(body) = sequence_header(track, self.hevc) {
                put_tag(out, tag_type(track.codec), &body, ts_ms);
            }
        }
    }
}

/// What stands before the payload in the body of a tag or RTMP message.
pub fn body_head(codec: Codec, frame: &Frame, hevc: Hevc) -> Head {
    let mut head = Head::default();
    // E.4.3.1 keeps the disposable type to H.263, so players need not know it.
    let kind = match frame.kind {
        Kind::Key => frame_type::KEY,
        Kind::Reference | Kind::Disposable => frame_type::INTER,
    };
    match (legacy_id(codec, hevc), codec.is_video()) {
        (Some(id), true) => {
            head.push(&[kind << 4 | id, legacy::CODED]);
            head.push(&composition_ms(frame));
        }
        (Some(sound::AAC), false) => head.push(&[AAC_FLAGS, legacy::CODED]),
        (Some(_), false) => head.push(&[MP3_FLAGS]),
        (None, true) => put_enhanced_video(&mut head, codec, frame, kind),
        (None, false) => {
            head.push(&[sound::ENHANCED << 4 | packet::CODED_FRAMES]);
            head.push(&codec.fourcc());
        }
    }
    head
}

/// The body that carries a track's configuration record; none where the codec has no record.
pub fn sequence_header(track: &TrackConfig, hevc: Hevc) -> Option<Bytes> {
    if track.record.is_empty() {
        return None;
    }
    let mut out = BytesMut::with_capacity(5 + track.record.len());
    match (legacy_id(track.codec, hevc), track.codec.is_video()) {
        (Some(id), true) => {
            out.put_slice(&[frame_type::KEY << 4 | id, legacy::SEQUENCE_HEADER, 0, 0, 0]);
        }
        (Some(sound::AAC), false) => out.put_slice(&[AAC_FLAGS, legacy::SEQUENCE_HEADER]),
        (Some(_), false) => return None, // MP3 describes itself
        (None, true) => {
            out.put_u8(EX_VIDEO | frame_type::KEY << 4 | packet::SEQUENCE_START);
            out.put_slice(&track.codec.fourcc());
        }
        (None, false) => {
            out.put_u8(sound::ENHANCED << 4 | packet::SEQUENCE_START);
            out.put_slice(&track.codec.fourcc());
        }
    }
    out.put_slice(&track.record);
    Some(out.freeze())
}

/// The body of `onMetaData` for these tracks.
pub fn metadata_body(catalog: &Catalog, hevc: Hevc) -> Bytes {
    script_body("onMetaData", metadata::describe(catalog, hevc))
}

/// The body of a script tag or RTMP data message.
pub fn script_body(name: &str, value: Value) -> Bytes {
    amf::encode_all(&[name.into(), value])
}

/// A composition time only where the codec reorders, and CodedFramesX where it is 0.
fn put_enhanced_video(head: &mut Head, codec: Codec, frame: &Frame, kind: u8) {
    let composition = composition_ms(frame);
    let timed = codec.reorders() && composition != [0; 3];
    let spared = codec.reorders() && !timed;
    let packet = if spared {
        packet::CODED_FRAMES_X
    } else {
        packet::CODED_FRAMES
    };
    head.push(&[EX_VIDEO | kind << 4 | packet]);
    head.push(&codec.fourcc());
    if timed {
        head.push(&composition);
    }
}

/// SI24 milliseconds. Taken between the two rounded times,
/// so that rounding never moves the presentation time.
fn composition_ms(frame: &Frame) -> [u8; 3] {
    let ms = frame.pts().as_millis() - frame.dts.as_millis();
    let [_, a, b, c] = (ms.clamp(-0x80_0000, 0x7F_FFFF) as i32).to_be_bytes();
    [a, b, c]
}

fn put_tag(out: &mut BytesMut, tag_type: u8, body: &[u8], ts_ms: u32) {
    out.put_slice(&tag::header(tag_type, body.len(), ts_ms));
    out.put_slice(body);
    out.put_slice(&tag::trailer(body.len()));
}

fn tag_type(codec: Codec) -> u8 {
    if codec.is_video() {
        tag::VIDEO
    } else {
        tag::AUDIO
    }
}

/// DataOffset of the FLV header (E.2).
const FLV_HEADER_LEN: u32 = 9;

/// IsExVideoHeader, the top bit of the first byte.
const EX_VIDEO: u8 = 0x80;

/// Sound format with 44 kHz, 16 bit and stereo set, as E.4.2.1 asks for AAC whatever its rate.
const AAC_FLAGS: u8 = sound::AAC << 4 | 0xF;

/// The same flags for MP3, whose frames say their own rate.
const MP3_FLAGS: u8 = sound::MP3 << 4 | 0xF;
