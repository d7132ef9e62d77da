//! Codecs by name, and what their configuration records say.
//!
//! A configuration record is the small blob that a decoder needs before the first frame: avcC,
//! hvcC, av1C, vpcC, an AudioSpecificConfig or an Opus identification header. It is kept as it
//! arrived and read on demand. Frames are looked into only as far as the NAL headers that tell
//! their kind; nothing here decodes pictures.

mod aac;
mod av1;
mod bits;
mod catalog;
mod h264;
mod h265;
mod opus;

pub use catalog::Catalog;
pub(crate) use catalog::sane_frame_rate;

use crate::frame::{Kind, TrackId};
use bytes::Bytes;

/// A coding format that the house can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Codec {
    /// H.264 (AVC).
    H264,
    /// H.265 (HEVC).
    H265,
    /// AV1.
    Av1,
    /// VP8.
    Vp8,
    /// VP9.
    Vp9,
    /// H.266 (VVC).
    Vvc,
    /// AAC, any profile.
    Aac,
    /// Opus.
    Opus,
    /// FLAC.
    Flac,
    /// Dolby AC-3.
    Ac3,
    /// Dolby E-AC-3.
    Eac3,
    /// MPEG-1 Layer III.
    Mp3,
}

/// Every codec with its FourCC (Enhanced RTMP v2, "FourCC") and its name.
const TABLE: [(Codec, [u8; 4], &str); 12] = [
    (Codec::H264, *b"avc1", "h264"),
    (Codec::H265, *b"hvc1", "h265"),
    (Codec::Av1, *b"av01", "av1"),
    (Codec::Vp8, *b"vp08", "vp8"),
    (Codec::Vp9, *b"vp09", "vp9"),
    (Codec::Vvc, *b"vvc1", "vvc"),
    (Codec::Aac, *b"mp4a", "aac"),
    (Codec::Opus, *b"Opus", "opus"),
    (Codec::Flac, *b"fLaC", "flac"),
    (Codec::Ac3, *b"ac-3", "ac3"),
    (Codec::Eac3, *b"ec-3", "eac3"),
    (Codec::Mp3, *b".mp3", "mp3"),
];

impl Codec {
    /// Whether it codes pictures.
    pub fn is_video(self) -> bool {
        matches!(
            self,
            Self::H264 | Self::H265 | Self::Av1 | Self::Vp8 | Self::Vp9 | Self::Vvc
        )
    }

    /// The track that carries it.
    pub fn track(self) -> TrackId {
        if self.is_video() {
            TrackId::VIDEO
        } else {
            TrackId::AUDIO
        }
    }

    /// The four characters that name it in Enhanced RTMP.
    pub fn fourcc(self) -> [u8; 4] {
        TABLE[self as usize].1
    }

    /// The codec of a FourCC.
    pub fn from_fourcc(fourcc: [u8; 4]) -> Option<Self> {
        TABLE.iter().find(|row| row.1 == fourcc).map(|row| row.0)
    }

    /// The name for people, in lower case.
    pub fn name(self) -> &'static str {
        TABLE[self as usize].2
    }

    /// Whether a decoder needs a configuration record before
    /// the first frame; the others are described by each frame.
    pub fn needs_record(self) -> bool {
        !matches!(
            self,
            Self::Vp8 | Self::Vp9 | Self::Ac3 | Self::Eac3 | Self::Mp3
        )
    }

    /// Whether a frame may be shown at another time than it is decoded.
    pub fn reorders(self) -> bool {
        matches!(self, Self::H264 | Self::H265 | Self::Vvc)
    }

    /// The kind of a frame: what the container said,
    /// corrected by the NAL headers where they know better.
    pub fn kind(self, payload: &[u8], container: Kind) -> Kind {
        match self {
            Self::H264 => h264::kind(payload, container),
            Self::H265 => h265::kind(payload, container),
            _ => container,
        }
    }
}

/// One track as its decoder must know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackConfig {
    /// The elementary stream.
    pub id: TrackId,
    /// Its coding format.
    pub codec: Codec,
    /// The configuration record as it stood in the sequence header; empty where the codec has none.
    pub record: Bytes,
}

impl TrackConfig {
    /// The longest record that is taken; HEVC records with encoder banners reach a few KiB.
    pub const MAX_RECORD: usize = 16 * 1024;

    /// A track of this codec in its usual place.
    pub fn new(codec: Codec, record: Bytes) -> Self {
        Self {
            id: codec.track(),
            codec,
            record,
        }
    }

    /// Reads the record.
    pub fn info(&self) -> Result<Info, Error> {
        let record = &self.record[..];
        match self.codec {
            Codec::H264 => h264::info(record),
            Codec::H265 => h265::info(record),
            Codec::Av1 => av1::info(record),
            Codec::Aac => aac::info(record),
            Codec::Opus => opus::info(record),
            codec => Ok(Info {
                codec_string: codec.name().to_owned(),
                ..Info::default()
            }),
        }
    }

    /// How many samples, at the track's sample rate, this packet of sound lasts; none where
    /// neither record nor packet says so.
    pub fn samples(&self, payload: &[u8]) -> Option<u32> {
        match self.codec {
            Codec::Aac => aac::samples(&self.record).ok(),
            Codec::Opus => opus::samples(payload),
            _ => None,
        }
    }
}

/// What a configuration record tells; numbers are 0 where they do not apply or are not said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// The codec as RFC 6381 and the codecs' ISO bindings write it, such as `avc1.64001F`.
    pub codec_string: String,
    /// Width of the picture after cropping, in samples.
    pub width: u32,
    /// Height of the picture after cropping, in samples.
    pub height: u32,
    /// Samples a second of sound, as played.
    pub sample_rate: u32,
    /// Channels of sound.
    pub channels: u32,
}

/// Why a configuration record could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It ends in the middle of a field.
    #[error("configuration record ends too early")]
    Truncated,
    /// A field holds what the format forbids.
    #[error("configuration record: {0}")]
    Invalid(&'static str),
    /// A list or a blob is longer than is taken.
    #[error("configuration is too large: {0}")]
    TooLarge(&'static str),
}

/// A size that a picture can have: AV1 and H.264 stop at 65536 samples, and nothing is 0 wide.
fn picture_size(width: Option<u64>, height: Option<u64>) -> Result<(u32, u32), Error> {
    match (width, height) {
        (Some(width @ 1..=65536), Some(height @ 1..=65536)) => Ok((width as u32, height as u32)),
        _ => Err(Error::Invalid("picture size")),
    }
}

#[cfg(test)]
pub(crate) mod tests;
