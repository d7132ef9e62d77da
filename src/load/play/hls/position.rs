//! Sans-IO: a place in a media playlist, and where to begin.

use super::playlist::Media;
use std::time::Duration;

/// The part, or the segment, that comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Media sequence number.
    pub msn: u64,
    /// Index in the segment.
    pub part: usize,
}

/// The last place from which decoding can start that is so far from the end, or the first one of all.
pub fn near(media: &Media, hold_back: Duration) -> Position {
    let mut behind = Duration::ZERO;
    let mut found = Position {
        msn: media.first,
        part: 0,
    };
    for (index, segment) in media.segments.iter().enumerate().rev() {
        let msn = media.first + index as u64;
        if segment.parts.is_empty() {
            behind += segment.duration;
            found = Position { msn, part: 0 };
        }
        for (part, it) in segment.parts.iter().enumerate().rev() {
            behind += it.duration;
            if it.independent {
                found = Position { msn, part };
                if behind >= hold_back {
                    return found;
                }
            }
        }
        if behind >= hold_back && found.msn == msn {
            return found;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{
        super::playlist::{Part, Segment},
        *,
    };

    /// Segments of 400 ms parts, each marked when independent; one without parts lasts a second.
    fn media(segments: &[&[bool]]) -> Media {
        let part = |independent: &bool| Part {
            duration: Duration::from_millis(400),
            independent: *independent,
            ..Part::default()
        };
        let segment = |parts: &&[bool]| Segment {
            duration: Duration::from_secs(1),
            parts: parts.iter().map(part).collect(),
            ..Segment::default()
        };
        Media {
            first: 10,
            segments: segments.iter().map(segment).collect(),
            ..Media::default()
        }
    }

    #[test]
    fn a_player_begins_at_the_last_key_frame_far_enough_from_the_end() {
        const GROUP: &[bool] = &[true, false, false];
        type Row = (&'static [&'static [bool]], u64, (u64, usize));
        let table: [Row; 7] = [
            (&[GROUP, GROUP], 1200, (11, 0)),
            (&[GROUP, GROUP], 1300, (10, 0)),
            (&[GROUP, &[true]], 1200, (10, 0)),
            (&[&[true, true, true, true]], 1200, (10, 1)),
            (&[&[], &[], &[true]], 1200, (11, 0)),
            (&[&[false, true]], 5000, (10, 1)),
            (&[], 1200, (10, 0)),
        ];
        for (segments, hold_back_ms, (msn, part)) in table {
            let position = near(&media(segments), Duration::from_millis(hold_back_ms));
            assert_eq!(position, Position { msn, part }, "{segments:?}");
        }
    }
}
