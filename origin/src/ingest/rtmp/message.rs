//! Sans-IO: RTMP messages.

use bytes::Bytes;
use media::timestamp::Timestamp;

/// One audio, video or script message: the body of an FLV tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// `media::flv::tag::{AUDIO, VIDEO, SCRIPT}`: 8, 9 or 18.
    pub tag_type: u8,
    /// Milliseconds of the message, past the wrap of its 32 bits.
    pub timestamp: Timestamp,
    /// The tag's body.
    pub body: Bytes,
}
