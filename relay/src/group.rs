//! Hot: one group of frames, written once by its producer and read by thousands.
//!
//! Frames are append-only and never move, so a reader at any position takes no lock: it looks at
//! two `OnceLock`s and clones one payload reference. Only the producer and the cache's eviction
//! share a lock, per append and uncontended. A group that the cache let go can still be read to its
//! end by whoever holds it; it only stops counting against the budget. Who wakes readers, and in
//! which order groups follow each other, is the track's business.

mod frames;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use media::codec::Catalog;
use media::frame::Frame;
use media::timestamp::Timestamp;
use parking_lot::Mutex;

use crate::cache::Account;
use crate::track;
use frames::Frames;

/// What the origin fixed about a group; it travels with the group, so that any group explains
/// itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// Which life of the stream: greater after every restart of the publisher's session at an
    /// origin.
    pub epoch: u64,
    /// The group's number; consecutive within an epoch.
    pub number: u64,
    /// Wall-clock time of the first frame, in Unix microseconds.
    pub wallclock_us: u64,
    /// Media sequence number of the first segment cut from this group.
    pub first_msn: u64,
    /// Number of the first part cut from this group; parts are numbered consecutively over the
    /// epoch.
    pub first_part: u64,
    /// Discontinuities up to and with this group, from the floor that the epoch began with.
    pub discontinuities: u64,
    /// A segment is cut before it gets longer than this; the same for the whole epoch.
    pub segment_max: Timestamp,
    /// A part is cut before it gets longer than this; the same for the whole epoch.
    pub part_target: Timestamp,
    /// Counts the changes of `catalog` within the epoch.
    pub config_id: u32,
    /// Decoders must start anew: the time line or the configuration does not continue the previous
    /// group's.
    pub discontinuity: bool,
    /// How to decode the frames.
    pub catalog: Arc<Catalog>,
}

impl Header {
    /// Where the group stands in its track.
    pub fn key(&self) -> Key {
        Key {
            epoch: self.epoch,
            number: self.number,
        }
    }
}

/// A group's place in its track: a greater epoch always comes after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The stream's life.
    pub epoch: u64,
    /// The group's number within it.
    pub number: u64,
}

impl Key {
    /// The greatest place before it.
    pub fn before(self) -> Self {
        match self.number.checked_sub(1) {
            Some(number) => Self { number, ..self },
            None => Self {
                epoch: self.epoch.saturating_sub(1),
                number: u64::MAX,
            },
        }
    }
}

/// How a group came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All frames are there.
    Finished,
    /// Frames are missing after the last one, and will not come.
    Aborted,
}

/// Why a frame was not appended; the group is aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The group reached [`MAX_FRAMES`] or [`MAX_BYTES`].
    #[error("the group is full")]
    Full,
    /// The cache has no room for it, even after dropping all that it may drop; the group left its
    /// track.
    #[error("the cache's budget is exhausted")]
    Budget,
    /// The cache or the track's window dropped the group while it was still being written.
    #[error("the group was dropped")]
    Dropped,
}

/// Frames in one group: three minutes without a key frame at 240 frames a second with sound.
pub const MAX_FRAMES: usize = frames::CAPACITY;

/// Bytes in one group: 20 s at 50 Mbit/s.
pub const MAX_BYTES: usize = 128 << 20;

/// What a frame counts for beside its payload.
pub const FRAME_COST: usize = frames::SLOT;

/// What a group counts for once it has a frame.
pub const GROUP_COST: usize = size_of::<Shared>() + frames::SMALLEST;

/// A group of frames; a clone is a reference to the same group.
#[derive(Clone, Debug)]
pub struct Group(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    header: Header,
    frames: Frames,
    end: AtomicU8,
    bytes: AtomicUsize,
    account: Arc<Account>,
    /// Whether the group counts against the cache's budget.
    cached: Mutex<bool>,
    age: Age,
    /// Newer groups were there before it.
    past: bool,
}

/// The order in which groups are dropped: by the origin's clock, then as the cache saw them.
pub(crate) type Age = (u64, u64);

const OPEN: u8 = 0;
const FINISHED: u8 = 1;
const ABORTED: u8 = 2;

impl Group {
    pub(crate) fn new(header: Header, account: Arc<Account>, past: bool) -> Self {
        Self(Arc::new(Shared {
            age: (header.wallclock_us, account.next_age()),
            past,
            header,
            frames: Frames::default(),
            end: AtomicU8::new(OPEN),
            bytes: AtomicUsize::new(0),
            account,
            cached: Mutex::new(true),
        }))
    }

    /// What the origin fixed about it.
    pub fn header(&self) -> &Header {
        &self.0.header
    }

    /// Where it stands in its track.
    pub fn key(&self) -> Key {
        self.0.header.key()
    }

    /// How many frames are there by now.
    pub fn len(&self) -> usize {
        self.0.frames.len()
    }

    /// Whether no frame is there yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Frame number `index`, sharing the payload.
    pub fn frame(&self, index: usize) -> Option<Frame> {
        self.0.frames.at(index).cloned()
    }

    /// The frames from number `from` on, as far as they are there; for a writer that walks many
    /// readers' positions.
    pub fn frames(&self, from: usize) -> impl Iterator<Item = &Frame> {
        (from..).map_while(|index| self.0.frames.at(index))
    }

    /// How it ended; `None` while frames may still come.
    /// Ask before looking for the next frame: what is there afterwards is all.
    pub fn end(&self) -> Option<End> {
        match self.0.end.load(Ordering::Acquire) {
            FINISHED => Some(End::Finished),
            ABORTED => Some(End::Aborted),
            _ => None,
        }
    }

    /// Bytes it counts for: payloads, [`FRAME_COST`] for each and [`GROUP_COST`].
    pub fn bytes(&self) -> usize {
        self.0.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn age(&self) -> Age {
        self.0.age
    }

    /// Whether it may displace nothing younger.
    pub(crate) fn is_past(&self) -> bool {
        self.0.past
    }

    /// Whether it is the same, not one of the same key.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether it counts against the budget.
    pub(crate) fn is_cached(&self) -> bool {
        *self.0.cached.lock()
    }

    /// Takes it out of the budget, aborting it when it is still being written.
    pub(crate) fn let_go(&self) {
        let mut cached = self.0.cached.lock();
        self.close(ABORTED);
        if std::mem::take(&mut *cached) {
            self.0.account.hold(self.bytes());
        }
    }

    /// Ends it as it is; what its writer still has is refused.
    pub(crate) fn abort(&self) {
        let _writing = self.0.cached.lock();
        self.close(ABORTED);
    }

    fn close(&self, end: u8) {
        let _ = self
            .0
            .end
            .compare_exchange(OPEN, end, Ordering::AcqRel, Ordering::Acquire);
    }
}

/// The one writer of a group; dropped without [`Producer::finish`] the group is aborted.
#[derive(Debug)]
pub struct Producer {
    group: Group,
    track: Arc<track::Shared>,
    place: Place,
}

/// Where a group is while it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In its track.
    Track,
    /// Nowhere: once whole it takes the place of one that was aborted.
    Aside,
}

impl Producer {
    pub(crate) fn new(group: Group, track: Arc<track::Shared>, place: Place) -> Self {
        Self {
            group,
            track,
            place,
        }
    }

    /// The group as readers see it.
    pub fn group(&self) -> &Group {
        &self.group
    }

    /// Appends a frame and wakes the track's readers; refused frames abort the group.
    pub fn push(&mut self, frame: Frame) -> Result<(), Refused> {
        let pushed = self.append(frame);
        if pushed.is_err() {
            self.group.close(ABORTED);
        }
        self.track.wake();
        pushed
    }

    /// Ends the group: nothing is missing.
    pub fn finish(self) {
        self.group.close(FINISHED);
        if self.place == Place::Aside {
            self.track.mend(&self.group);
        }
    }

    fn append(&mut self, frame: Frame) -> Result<(), Refused> {
        let shared = &*self.group.0;
        let first = shared.frames.len() == 0;
        let cost = frame.payload.len() + FRAME_COST + if first { GROUP_COST } else { 0 };
        if shared.frames.len() == MAX_FRAMES || self.group.bytes() + cost > MAX_BYTES {
            return Err(Refused::Full);
        }
        if !self.track.cache().reserve(cost, &self.group) {
            self.track.remove(&self.group);
            return Err(Refused::Budget);
        }
        let cached = shared.cached.lock();
        if !*cached || shared.end.load(Ordering::Acquire) == ABORTED {
            shared.account.give_back(cost);
            return Err(Refused::Dropped);
        }
        shared.bytes.fetch_add(cost, Ordering::Relaxed);
        shared.frames.push(frame);
        drop(cached);
        if first && self.place == Place::Track {
            self.track.begun(&self.group);
        }
        Ok(())
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let bytes = *self.bytes.get_mut();
        if *self.cached.get_mut() {
            self.account.give_back(bytes);
        } else {
            self.account.freed(bytes);
        }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.group.close(ABORTED);
        self.track.wake();
    }
}

#[cfg(test)]
mod tests;
