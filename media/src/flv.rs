//! Hot: FLV and the bodies of RTMP media messages,
//! which are the same bytes: tags to frames and back.
//!
//! Reads and writes the legacy layout (Adobe FLV 10.1 annex E), the older convention of HEVC as
//! codec id 12, and Enhanced RTMP v1 and v2 (Veovera). A payload is never copied: parsing slices
//! the message that it came in, writing references it between a head and a trailer. Encrypted tags
//! and the picture bytes themselves stay unread.

pub mod tag;

mod demux;
mod metadata;
mod mux;
mod parse;

pub use demux::Demuxer;
pub use metadata::Metadata;
pub use mux::{Muxer, Tag, body_head, metadata_body, script_body, sequence_header};
pub use parse::parse;

use crate::amf;
use crate::codec::{Codec, TrackConfig};
use crate::frame::{Frame, TrackId};

/// What one tag or one RTMP media message says.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A sequence header: how to decode what follows.
    Config(TrackConfig),
    /// A coded picture or audio packet and the codec that its head names.
    ///
    /// A codec that needs no record (`Codec::needs_record`)
    /// may send frames without any `Config` before.
    Frame(Codec, Frame),
    /// `onMetaData`.
    Metadata(Metadata),
    /// The track ends here.
    EndOfSequence(TrackId),
    /// Another script message, by its name.
    Script(String),
    /// Something valid that is not carried on, and what it was.
    Ignored(&'static str),
}

/// How HEVC is written, because players understand only one of the two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Hevc {
    /// FourCC `hvc1` of Enhanced RTMP: ffmpeg 6.1 and later, mpegts.js, OBS.
    #[default]
    Enhanced,
    /// Codec id 12, the older convention of Chinese players and CDNs.
    Legacy,
}

/// Why bytes were refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The stream does not begin with an FLV header.
    #[error("not an FLV stream")]
    NotFlv,
    /// A tag or message ends inside its head.
    #[error("{0} ends too early")]
    Truncated(&'static str),
    /// A tag, payload or record is longer than is taken.
    #[error("{0} is too large")]
    TooLarge(&'static str),
    /// A legacy video codec id that the house cannot carry.
    #[error("video codec id {0} is not supported: use H.264, H.265 or AV1")]
    VideoCodec(u8),
    /// A legacy sound format that the house cannot carry.
    #[error("sound format {0} is not supported: use AAC, MP3 or Opus")]
    SoundFormat(u8),
    /// A FourCC that is unknown, or of the other kind of track.
    #[error("codec {:?} is not supported here", String::from_utf8_lossy(.0))]
    FourCc([u8; 4]),
    /// A tag type that does not exist.
    #[error("tag type {0} does not exist")]
    TagType(u8),
    /// Script data that is no AMF.
    #[error("script data: {0}")]
    Script(#[from] amf::Error),
}

#[cfg(test)]
mod tests;
