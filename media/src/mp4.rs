//! Progressive MP4 files (ISO 14496-12): frames of a file, and a file of frames.
//!
//! For publishing a clip and for keeping what was received; H.264, H.265, AV1, AAC and Opus. For
//! files that an operator names, not for bytes from the network: the box parser recurses as the
//! file nests. Fragmented files are refused; samples stay references into the file.

mod entry;
mod read;
pub(crate) mod track;
mod write;

pub use read::read;
pub use write::write;

use crate::codec::{Catalog, Codec};
use crate::frame::Frame;

/// What a file holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Movie {
    /// The first video and the first audio track that can be carried.
    pub catalog: Catalog,
    /// The frames of both tracks in the order of decoding times, the earliest of which is 0.
    pub frames: Vec<Frame>,
}

/// Why a file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file has no index, is fragmented, or names no track that can be carried.
    #[error("not a progressive MP4 file: {0}")]
    NotProgressive(&'static str),
    /// A box that the parser refuses.
    #[error("MP4 box: {0}")]
    Box(#[from] mp4_atom::Error),
    /// The index contradicts itself or the file.
    #[error("MP4 index: {0}")]
    Index(&'static str),
    /// A codec that is not written to MP4.
    #[error("{} is not written to MP4", .0.name())]
    Codec(Codec),
    /// A configuration record that does not fit its codec.
    #[error(transparent)]
    Record(#[from] crate::codec::Error),
}

#[cfg(test)]
mod tests;
