//! Hot: one coded picture or audio packet, whatever container or protocol it came in.
//!
//! A `Frame` is cheap to clone: its payload is a reference to
//! bytes that were gathered once where they were received.

use crate::timestamp::Timestamp;
use bytes::Bytes;

/// Which elementary stream of a group a frame belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrackId(pub u8);

impl TrackId {
    /// The one video track.
    pub const VIDEO: Self = Self(0);
    /// The one audio track.
    pub const AUDIO: Self = Self(1);
}

/// What is lost when a frame is dropped: the order is the order in which to keep them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// No other frame refers to it.
    Disposable,
    /// Later frames refer to it.
    Reference,
    /// Decodes alone; decoding can start here. Every audio frame is one.
    Key,
}

/// One coded picture or audio packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The elementary stream.
    pub track: TrackId,
    /// What depends on it.
    pub kind: Kind,
    /// Decoding time on the stream's time line.
    pub dts: Timestamp,
    /// Composition offset: presentation time is `dts + cts`.
    pub cts: Timestamp,
    /// How long it is shown or heard, when the source says so.
    pub duration: Option<Timestamp>,
    /// The coded bytes alone: length-prefixed NAL units, OBUs, raw AAC or Opus; no container bytes.
    pub payload: Bytes,
}

impl Frame {
    /// The longest payload that is taken: a key frame of 4K video at 100 Mbit/s stays below 4 MiB,
    /// and FLV's 24-bit tag sizes leave no room for more than twice this.
    pub const MAX_PAYLOAD: usize = 8 * 1024 * 1024;

    /// Presentation time.
    pub fn pts(&self) -> Timestamp {
        self.dts + self.cts
    }
}
