//! Sans-IO: tells whether received frames are the source's, one after the other, the source repeating.
//!
//! A viewer joins at an unknown point, and packets of silence are alike: so all points that fit what came so far are kept,
//! and each frame leaves those that it fits. When none is left, a frame was lost, changed or out of order.

use media::frame::{Frame, TrackId};
use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

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
    /// Knows these frames, in this order.
    pub fn new(frames: &[Frame]) -> Self {
        let mut source = Self::default();
        for frame in frames {
            let track = source.tracks.entry(frame.track).or_default();
            let hash = hash(&frame.payload);
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

    /// Takes the next frame received.
    pub fn follow(&mut self, frame: &Frame) -> Verdict {
        let Some(track) = self.source.tracks.get(&frame.track) else {
            return Verdict::Wrong;
        };
        let hash = hash(&frame.payload);
        let Some(places) = track.places.get(&hash) else {
            return Verdict::Wrong;
        };
        let length = track.order.len();
        let next = |place: &usize| (place + 1) % length;
        let Some(expected) = self.expected.get_mut(&frame.track) else {
            self.expected
                .insert(frame.track, places.iter().map(next).collect());
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

fn hash(payload: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    payload.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use media::{frame::Kind, timestamp::Timestamp};

    fn frames(text: &'static str) -> Vec<Frame> {
        let frame = |byte: char| Frame {
            track: TrackId::AUDIO,
            kind: Kind::Key,
            dts: Timestamp::ZERO,
            cts: Timestamp::ZERO,
            duration: None,
            payload: byte.to_string().into(),
        };
        text.chars().map(frame).collect()
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
            let mut follower = Follower::new(Arc::new(Source::new(&frames("abssc"))));
            let said: Vec<_> = frames(received)
                .iter()
                .map(|f| follower.follow(f))
                .collect();
            assert_eq!(said, expect, "{received}");
        }
    }
}
