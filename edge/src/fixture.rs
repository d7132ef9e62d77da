//! A track fed by hand, for the tests of this crate.

use std::sync::Arc;

use bytes::Bytes;
use media::codec::{Catalog, Codec, TrackConfig};
use media::frame::{Frame, Kind, TrackId};
use media::timestamp::Timestamp;
use relay::cache::Cache;
use relay::group::{self, Header};
use relay::track::{self, Consumer, Producer};

/// Feeds a track of pictures 40 ms apart, each group a key frame and four others, 200 ms long.
pub(crate) struct Feed {
    pub(crate) track: Producer,
    pub(crate) consumer: Consumer,
    pub(crate) epoch: u64,
    pub(crate) number: u64,
    /// Decoding time of the next frame.
    pub(crate) at_ms: i64,
    pub(crate) catalog: Arc<Catalog>,
}

/// Frames in a group of a [`Feed`].
pub(crate) const FRAMES: usize = 5;

impl Feed {
    pub(crate) fn new() -> Self {
        let (track, consumer) = track::new(&Cache::new(64 << 20), None).unwrap();
        Self::into(track, consumer)
    }

    pub(crate) fn into(track: Producer, consumer: Consumer) -> Self {
        Self {
            track,
            consumer,
            epoch: 1,
            number: 1,
            at_ms: 90_000,
            catalog: catalog(1),
        }
    }

    /// Opens a group without a frame.
    pub(crate) fn open(&mut self) -> group::Producer {
        let header = Header {
            epoch: self.epoch,
            number: self.number,
            wallclock_us: 1_700_000_000_000_000,
            first_msn: self.number,
            config_id: 0,
            discontinuity: false,
            catalog: self.catalog.clone(),
        };
        self.number += 1;
        self.track.open_group(header).unwrap()
    }

    /// Appends the next frame to a group.
    pub(crate) fn push(&mut self, group: &mut group::Producer) {
        let kind = if group.group().is_empty() {
            Kind::Key
        } else {
            Kind::Reference
        };
        group.push(picture(kind, self.at_ms)).unwrap();
        self.at_ms += 40;
    }

    /// Feeds a whole group.
    pub(crate) fn group(&mut self) {
        let mut group = self.open();
        (0..FRAMES).for_each(|_| self.push(&mut group));
        group.finish();
    }
}

/// H.264 whose record ends with a version, so that catalogs differ.
pub(crate) fn catalog(version: u8) -> Arc<Catalog> {
    let record = Bytes::copy_from_slice(&[1, 0x64, 0, 0x1F, 0xFF, 0xE0, 0, version]);
    Arc::new(Catalog {
        tracks: vec![TrackConfig::new(Codec::H264, record)],
        frame_rate: None,
    })
}

/// A picture whose payload no other shares.
pub(crate) fn picture(kind: Kind, at_ms: i64) -> Frame {
    Frame {
        track: TrackId::VIDEO,
        kind,
        dts: Timestamp::from_millis(at_ms),
        cts: Timestamp::ZERO,
        duration: None,
        payload: Bytes::from(vec![at_ms as u8; 400]),
    }
}
