//! Hot: the numbers of the format, and a tag head that lives on the stack.
//!
//! Sources: Adobe FLV 10.1 annex E.3 and E.4; Enhanced
//! RTMP v2 "ExVideoTagHeader", "ExAudioTagHeader".

use super::Hevc;
use crate::codec::Codec;
use bytes::Bytes;
use std::ops::Deref;

/// Tag type, and RTMP message type, of sound.
pub const AUDIO: u8 = 8;

/// Tag type, and RTMP message type, of pictures.
pub const VIDEO: u8 = 9;

/// Tag type, and RTMP message type, of AMF0 script data.
pub const SCRIPT: u8 = 18;

/// Tag type, data size, timestamp, extended timestamp and stream id (E.4.1).
pub const HEADER_LEN: usize = 11;

/// PreviousTagSize after each tag (E.3).
pub const TRAILER_LEN: usize = 4;

/// The first bytes of a tag or of a message body: short,
/// and needed once per frame, so kept off the heap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    bytes: [u8; Self::CAPACITY],
    length: u8,
}

impl Head {
    /// Room for a tag header and the longest head of a body: flags, FourCC and composition time.
    pub const CAPACITY: usize = HEADER_LEN + 1 + 4 + 3;

    /// Appends; going beyond `CAPACITY` is a bug of the caller.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let end = usize::from(self.length) + bytes.len();
        self.bytes[usize::from(self.length)..end].copy_from_slice(bytes);
        self.length = end as u8;
    }
}

impl Deref for Head {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl From<Head> for Bytes {
    fn from(head: Head) -> Self {
        Bytes::copy_from_slice(&head)
    }
}

/// The eleven bytes before a tag's body; the timestamp's top byte stands apart (E.4.1).
pub(super) fn header(tag_type: u8, body_len: usize, ts_ms: u32) -> [u8; HEADER_LEN] {
    debug_assert!(
        body_len < 1 << 24,
        "payloads are bounded where they are received"
    );
    let [_, s2, s1, s0] = (body_len as u32).to_be_bytes();
    let [t3, t2, t1, t0] = ts_ms.to_be_bytes();
    [tag_type, s2, s1, s0, t2, t1, t0, t3, 0, 0, 0]
}

/// PreviousTagSize after a tag with a body of this length.
pub(super) fn trailer(body_len: usize) -> [u8; TRAILER_LEN] {
    ((HEADER_LEN + body_len) as u32).to_be_bytes()
}

/// The codec id or sound format of a codec that is
/// written the legacy way, which every player reads.
pub(super) fn legacy_id(codec: Codec, hevc: Hevc) -> Option<u8> {
    match codec {
        Codec::H264 => Some(codec_id::AVC),
        Codec::H265 if hevc == Hevc::Legacy => Some(codec_id::HEVC),
        Codec::Aac => Some(sound::AAC),
        Codec::Mp3 => Some(sound::MP3),
        _ => None,
    }
}

/// Video frame types (E.4.3.1).
pub(super) mod frame_type {
    pub(in crate::flv) const KEY: u8 = 1;
    pub(in crate::flv) const INTER: u8 = 2;
    pub(in crate::flv) const DISPOSABLE: u8 = 3;
    pub(in crate::flv) const GENERATED_KEY: u8 = 4;
    pub(in crate::flv) const COMMAND: u8 = 5;
}

/// Legacy video codec ids (E.4.3.1); 12 is a convention outside the specification.
pub(super) mod codec_id {
    pub(in crate::flv) const AVC: u8 = 7;
    pub(in crate::flv) const HEVC: u8 = 12;
}

/// Legacy sound formats (E.4.2.1); 9 was reserved and announces the enhanced header.
pub(super) mod sound {
    pub(in crate::flv) const MP3: u8 = 2;
    pub(in crate::flv) const ENHANCED: u8 = 9;
    pub(in crate::flv) const AAC: u8 = 10;
    pub(in crate::flv) const MP3_8K: u8 = 14;
}

/// AVCPacketType and AACPacketType (E.4.2.2, E.4.3.2).
pub(super) mod legacy {
    pub(in crate::flv) const SEQUENCE_HEADER: u8 = 0;
    pub(in crate::flv) const CODED: u8 = 1;
    pub(in crate::flv) const END: u8 = 2;
}

/// VideoPacketType and AudioPacketType; 3 to 5 mean other things for sound.
pub(super) mod packet {
    pub(in crate::flv) const SEQUENCE_START: u8 = 0;
    pub(in crate::flv) const CODED_FRAMES: u8 = 1;
    pub(in crate::flv) const SEQUENCE_END: u8 = 2;
    pub(in crate::flv) const CODED_FRAMES_X: u8 = 3;
    pub(in crate::flv) const METADATA: u8 = 4;
    pub(in crate::flv) const MPEG2TS_SEQUENCE_START: u8 = 5;
    pub(in crate::flv) const MULTICHANNEL_CONFIG: u8 = 4;
    pub(in crate::flv) const AUDIO_MULTITRACK: u8 = 5;
    pub(in crate::flv) const VIDEO_MULTITRACK: u8 = 6;
    pub(in crate::flv) const MOD_EX: u8 = 7;
}
