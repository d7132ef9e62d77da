//! Sans-IO: tells whether received frames are the source's, one after the other, the source repeating.
//!
//! A viewer joins at an unknown point, and packets of silence are alike: so all points that fit what came so far are kept,
//! and each frame leaves those that it fits. When none is left, a frame was lost, changed or out of order.
//! Stamps do not count: frames are known by the hash of what is left without them.

use super::stamp;
use media::{frame::TrackId, mp4::Movie};
use std::{collections::HashMap, sync::Arc};

/// The source's frames of each track, by the hash of their payloads.
#[derive(Debug, Default)]
pub struct Source {
    tracks: HashMap<TrackId, Track>,
}

#[derive(Debug, Default)]
struct Track {
    order: Vec<u64>,
    places: HashMap<u64, Vec<usize>>,
}

impl Source {
    /// Knows the frames of a clip, in their order.
    pub fn new(movie: &Movie) -> Self {
        let mut source = Self::default();
        for frame in &movie.frames {
            let Some(config) = movie.catalog.track(frame.track) else {
                continue;
            };
            let track = source.tracks.entry(frame.track).or_default();
            let hash = stamp::parts(config.codec, &frame.payload).hash();
            track
                .places
                .entry(hash)
                .or_default()
                .push(track.order.len());
            track.order.push(hash);
        }
        source
    }
}

/// One viewer's position in the source.
#[derive(Debug)]
pub struct Follower {
    source: Arc<Source>,
    /// Where the next frame of each track may be; missing before the first.
    expected: HashMap<TrackId, Vec<usize>>,
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The source's next.
    Right,
    /// The source's, but so many of its frames are missing before it.
    Dropped(u64),
    /// Not the source's.
    Wrong,
}

impl Follower {
    /// At the point of joining.
    pub fn new(source: Arc<Source>) -> Self {
        Self {
            source,
            expected: HashMap::new(),
        }
    }

    /// Takes the next frame received, by the hash of its parts.
    pub fn follow(&mut self, id: TrackId, hash: u64) -> Verdict {
        let Some(track) = self.source.tracks.get(&id) else {
            return Verdict::Wrong;
        };
        let Some(places) = track.places.get(&hash) else {
            return Verdict::Wrong;
        };
        let length = track.order.len();
        let next = |place: &usize| (place + 1) % length;
        let Some(expected) = self.expected.get_mut(&id) else {
            self.expected.insert(id, places.iter().map(next).collect());
            return Verdict::Right;
        };
        let missing = places
            .iter()
            .flat_map(|place| {
                expected
                    .iter()
                    .map(move |due| (place + length - due) % length)
            })
            .min()
            .unwrap_or(0);
        match missing {
            0 => {
                expected.retain(|due| track.order[*due] == hash);
                expected.iter_mut().for_each(|due| *due = next(due));
                Verdict::Right
            }
            missing => {
                *expected = places.iter().map(next).collect();
                Verdict::Dropped(missing as u64)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use media::{
        codec::{Catalog, Codec, TrackConfig},
        frame::{Frame, Kind},
        timestamp::Timestamp,
    };

    fn clip(text: &'static str) -> Movie {
        let frame = |byte: char| Frame {
            track: TrackId::AUDIO,
            kind: Kind::Key,
            dts: Timestamp::ZERO,
            cts: Timestamp::ZERO,
            duration: None,
            payload: byte.to_string().into(),
        };
        let mut catalog = Catalog::default();
        catalog.set(TrackConfig::new(Codec::Aac, Bytes::new()));
        Movie {
            catalog,
            frames: text.chars().map(frame).collect(),
        }
    }

    #[test]
    fn a_viewer_follows_the_source_from_any_point_round_and_round() {
        use Verdict::{Dropped, Right, Wrong};
        let table: [(&str, &[Verdict]); 6] = [
            ("abssc", &[Right; 5]),
            ("sscabssc", &[Right; 8]),
            ("scab", &[Right; 4]),
            ("abc", &[Right, Right, Dropped(2)]),
            ("aza", &[Right, Wrong, Dropped(4)]),
            ("sssc", &[Right, Right, Dropped(3), Right]),
        ];
        for (received, expect) in table {
            let mut follower = Follower::new(Arc::new(Source::new(&clip("abssc"))));
            let said: Vec<_> = clip(received)
                .frames
                .iter()
                .map(|f| follower.follow(f.track, stamp::parts(Codec::Aac, &f.payload).hash()))
                .collect();
            assert_eq!(said, expect, "{received}");
        }
    }
}
