//! How viewers take a stream: one file per protocol, over the same tags.

pub mod timeline;
pub mod tags;
pub mod flv;
pub mod websocket;

use std::time::Duration;

use media::flv::Hevc;

/// How a viewer wants its stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Options {
    /// How HEVC is written.
    pub hevc: Hevc,
    /// The stream's own time line, and `onWeir` tags that say where in the stream the viewer is.
    pub weir: bool,
    /// Where an earlier connection ended; unset, the newest group is the start.
    pub resume: Option<Resume>,
}

/// The last frame that a player has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Resume {
    /// The stream's life.
    pub epoch: u64,
    /// The group's number within it.
    pub group: u64,
    /// The frame's number within the group, over all tracks.
    pub frame: u32,
}

/// What a viewer is allowed.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// A viewer so far behind goes on at a newer key frame.
    pub skip_after: Duration,
    /// So does a viewer that is behind by so many bytes.
    pub queue: u64,
    /// A viewer that takes nothing, or completes no picture, for so long is closed.
    pub close_after: Duration,
}
