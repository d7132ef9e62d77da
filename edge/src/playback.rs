//! How viewers take a stream: one file per protocol, over the same tags.

pub mod asking;
pub mod timeline;
pub mod scribe;
pub mod dropped;
pub mod lag;
pub mod shed;
pub mod tags;
pub mod flv;
pub mod hls;
pub mod websocket;

use std::time::Duration;

use media::flv::Hevc;
use relay::group::{Group, Key};
use relay::track::Consumer;

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

impl Resume {
    /// The group.
    pub fn key(&self) -> Key {
        Key {
            epoch: self.epoch,
            number: self.group,
        }
    }

    /// Whether a player who ends there has this frame.
    pub fn has(&self, group: Key, frame: u32) -> bool {
        (group, frame) <= (self.key(), self.frame)
    }

    /// The first group that has something for a player who ends there.
    pub fn next(&self, track: &Consumer) -> Option<Group> {
        let key = self.key();
        track.group(key).or_else(|| track.next_after(key))
    }

    /// Whether a player may go on there when this is the newest group: neither long past, nor in a future that may
    /// never come.
    pub fn is_near(&self, track: &Consumer, newest: &Group) -> bool {
        let newest = newest.header();
        if self.epoch > newest.epoch {
            return false;
        }
        let ahead = self.group.saturating_sub(newest.number);
        let began_us = self.next(track).map(|group| group.header().wallclock_us);
        let behind_us = began_us.map_or(0, |began| newest.wallclock_us.saturating_sub(began));
        (ahead <= AHEAD_GROUPS || self.epoch < newest.epoch)
            && behind_us <= RESUME_WITHIN.as_micros() as u64
    }
}

/// An edge may be behind the one a viewer comes from, by less than a player's buffer.
const AHEAD_GROUPS: u64 = 8;
/// A player that was away for longer than its buffer lasts has shown a gap: it rather sees what is live.
const RESUME_WITHIN: Duration = Duration::from_secs(30);
